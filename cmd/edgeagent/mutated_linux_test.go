package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/mqttwire"
)

// Whatever strangers make of MQTT's packets, over thousands of connections: the agent lives, its memory has an end, and a
// device that does nothing wrong has every message acknowledged and recorded once and in order. SOAK=10m sends some
// millions of them.
func TestSoakMutatedPacketsEndNothing(t *testing.T) {
	wholeSystem(t)
	t.Parallel()
	duration := testenv.Long(t, 5*time.Second)
	g := newGateway(t, "")
	g.start()
	address := fmt.Sprintf("127.0.0.1:%d", g.port)
	honest := newPublisher(address, "machine-0", machineTopic, numbered(0, int(duration.Seconds())*rate/10))
	inBackground(t, honest)
	lag := make(chan time.Duration, 1)
	go func() { lag <- pace(t, time.Now(), []*publisher{honest}, rate/10) }()

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var sent, connections atomic.Int64
	var strangers sync.WaitGroup
	for i := range 8 {
		strangers.Go(func() {
			s := &stranger{rand: rand.New(rand.NewPCG(seed, uint64(i)))}
			for end := time.Now().Add(duration); time.Now().Before(end); {
				n, err := s.converse(address)
				if err != nil {
					t.Error(err)
					return
				}
				sent.Add(int64(n))
				connections.Add(1)
			}
		})
	}
	strangers.Wait()
	g.acknowledged(honest, len(honest.payloads))
	peak := testenv.PeakResident(t, g.process.PID())
	t.Logf("%d packets over %d connections; at most %.1f MB, and acknowledgements %v late", sent.Load(), connections.Load(), float64(peak)/1e6, <-lag)
	if peak > smallMemory {
		t.Errorf("%d bytes were resident", peak)
	}
	if g.logged("panic") {
		t.Error("a packet made the broker panic")
	}
	g.stop()
	strange := 0
	checkNumberedBeside(g, []*publisher{honest}, func(source string) bool {
		if strings.HasPrefix(source, "broker:-/machine-0:") {
			return false
		}
		strange++
		return true
	})
	if strange == 0 {
		t.Error("no stranger's message is recorded: they were cut off before they said anything")
	}
	g.verify()
}

// stranger sends packets that are nearly what the standards allow.
type stranger struct{ rand *rand.Rand }

// converse sends packets over one connection until it is closed or the stranger has enough, and returns how many.
func (s *stranger) converse(address string) (sent int, err error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err // whom the broker refuses it tells so over a connection
	}
	defer nc.Close()
	go io.Copy(io.Discard, nc)
	v := []mqttwire.Version{mqttwire.V31, mqttwire.V311, mqttwire.V5}[s.rand.IntN(3)]
	b := s.connect(v)
	if s.rand.IntN(8) == 0 {
		b = s.mutate(b)
	}
	for packets := range 1 + s.rand.IntN(100) {
		p := s.packet(v)
		if s.rand.IntN(2) == 0 {
			p = s.mutate(p)
		}
		if b = append(b, p...); s.rand.IntN(8) > 0 {
			continue // several go together
		}
		if _, err := nc.Write(b); err != nil {
			return sent, nil // it was closed
		}
		b, sent = b[:0], packets+1
	}
	return sent, nil
}

func (s *stranger) connect(v mqttwire.Version) []byte {
	c := mqttwire.Connect{Version: v, CleanStart: s.rand.IntN(2) == 0, KeepAlive: uint16(s.rand.IntN(100)), ClientID: fmt.Appendf(nil, "stranger-%d", s.rand.IntN(1000))}
	if s.rand.IntN(3) == 0 {
		c.HasWill, c.Will = true, mqttwire.Will{Topic: s.topic(), Payload: s.payload(), QoS: byte(s.rand.IntN(3)), Retain: s.rand.IntN(2) == 0}
	}
	if v == mqttwire.V5 && s.rand.IntN(2) == 0 {
		c.Properties = mqttwire.Properties("\x11\x00\x00\x00\x3c\x21\x00\x05\x22\x00\x0a\x27\x00\x00\x10\x00") // expiry, windows, aliases, size
	}
	return c.Append(nil)
}

func (s *stranger) topic() []byte {
	return fmt.Appendf(nil, "stranger/%d/%s", s.rand.IntN(100), strings.Repeat("a/", s.rand.IntN(8)))
}

func (s *stranger) payload() []byte {
	b := make([]byte, s.rand.IntN(200))
	for i := range b {
		b[i] = byte(s.rand.Uint32())
	}
	return b
}

// packet returns one that may follow a CONNECT.
func (s *stranger) packet(v mqttwire.Version) []byte {
	id := 1 + uint16(s.rand.IntN(50))
	filter := []string{"stranger/#", "stranger/+/a/#", "$share/s/stranger/1/#", "$SYS/#", "+/+/a"}[s.rand.IntN(5)]
	switch s.rand.IntN(12) {
	case 0:
		p := mqttwire.Subscribe{ID: id}
		p.Add(filter, mqttwire.Options{QoS: byte(s.rand.IntN(3))})
		return p.Append(v, nil)
	case 1:
		p := mqttwire.Unsubscribe{ID: id}
		p.Add(filter)
		return p.Append(v, nil)
	case 2:
		return []byte{byte(mqttwire.PINGREQ) << 4, 0}
	case 3:
		p := mqttwire.Ack{ID: id}
		return p.Append(v, []mqttwire.Type{mqttwire.PUBACK, mqttwire.PUBREC, mqttwire.PUBREL, mqttwire.PUBCOMP}[s.rand.IntN(4)], nil)
	case 4:
		if s.rand.IntN(10) == 0 {
			var p mqttwire.Disconnect
			return p.Append(v, []mqttwire.Type{mqttwire.DISCONNECT, mqttwire.AUTH}[s.rand.IntN(2)], nil)
		}
	}
	p := mqttwire.Publish{QoS: byte(s.rand.IntN(3)), Retain: s.rand.IntN(8) == 0, Topic: s.topic(), Payload: s.payload()}
	if p.QoS > 0 {
		p.ID, p.Dup = id, s.rand.IntN(4) == 0
	}
	if v == mqttwire.V5 && s.rand.IntN(4) == 0 {
		p.Properties = mqttwire.Properties("\x01\x01\x02\x00\x00\x00\x09\x23\x00\x03\x26\x00\x01k\x00\x01v") // format, expiry, alias, a pair
	}
	return p.Append(v, nil)
}

// mutate spoils a packet in one to three places.
func (s *stranger) mutate(p []byte) []byte {
	p = bytes.Clone(p)
	for range 1 + s.rand.IntN(3) {
		at := s.rand.IntN(len(p) + 1)
		switch s.rand.IntN(6) {
		case 0: // one bit
			if at < len(p) {
				p[at] ^= 1 << s.rand.IntN(8)
			}
		case 1: // one byte
			if at < len(p) {
				p[at] = byte(s.rand.Uint32())
			}
		case 2: // near the beginning, where lengths and kinds are
			if at %= 8; at < len(p) {
				p[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[s.rand.IntN(5)]
			}
		case 3:
			p = p[:at]
		case 4:
			p = slices.Insert(p, at, s.payload()...)
		case 5:
			if at < len(p) {
				p = slices.Delete(p, at, at+1)
			}
		}
		if len(p) == 0 {
			return []byte{byte(s.rand.Uint32())}
		}
	}
	return p
}
