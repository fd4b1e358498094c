package mqttsource

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"reflect"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// tape is a connection from which given bytes are read.
type tape struct {
	net.Conn
	io.Reader
}

func (t tape) Read(p []byte) (int, error) { return t.Reader.Read(p) }

// through returns the packets that paho reads from r until the first error.
func through(r io.Reader) (out []packets.ControlPacket) {
	for {
		cp, err := packets.ReadPacket(r)
		if err != nil {
			return out
		}
		out = append(out, cp)
	}
}

// message is what there is in a PUBLISH.
type message struct {
	topic, payload          string
	qos                     byte
	id                      uint16
	retained, again, hashed bool
}

// messages takes what is published out of packets, with payloads above the limit as their hashes.
func messages(all []packets.ControlPacket, limit int) (published []message, others []packets.ControlPacket) {
	for _, cp := range all {
		m, ok := cp.(*packets.PublishPacket)
		if !ok {
			others = append(others, cp)
			continue
		}
		is := message{m.TopicName, string(m.Payload), m.Qos, m.MessageID, m.Retain, m.Dup, len(m.Payload) > limit}
		if is.hashed {
			sum := sha256.Sum256(m.Payload)
			is.payload = string(sum[:])
		}
		published = append(published, is)
	}
	return published, others
}

func gateOver(t testing.TB, r io.Reader, maxPayload int) *gate {
	cfg := config("tcp://localhost", 1)
	cfg.QueueBytes, cfg.MaxPayload = 1<<30, maxPayload
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{source: s, wake: make(chan struct{}, 1)}
	l.asked = 1 << 10
	return newGate(tape{Reader: r}, l, time.Second)
}

// FuzzGate: whatever a peer sends, paho sees the same packets through the gate as without it, but for each PUBLISH, of which the
// gate says what paho would have said of it, until the gate ends the connection; only payloads above the limit become their hashes.
func FuzzGate(f *testing.F) {
	for _, n := range []int{0, 1, 99, 100, 101, 120, 200, 300} {
		var b bytes.Buffer
		m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		m.TopicName, m.Qos, m.MessageID, m.Payload = "a/b", byte(n%3), 7, bytes.Repeat([]byte{'x'}, n)
		for _, cp := range []packets.ControlPacket{
			packets.NewControlPacket(packets.Connack), m, packets.NewControlPacket(packets.Pingresp), m,
		} {
			if err := cp.Write(&b); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		const limit = 100
		published, others := messages(through(bytes.NewReader(b)), limit)
		g := gateOver(t, iotest.OneByteReader(bytes.NewReader(b)), limit)
		var got []message
		g.receive = func(p *publish) {
			topic, id, err := p.parse()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, message{string(topic), string(p.body[p.payload:]), p.qos(), id, p.first&1 != 0, p.first&8 != 0, p.hashing})
		}
		gated := through(g)
		if len(gated) > len(others) || len(got) > len(published) {
			t.Fatalf("%d packets became %d, %d messages %d", len(others), len(gated), len(published), len(got))
		}
		if !reflect.DeepEqual(gated, others[:len(gated)]) || !slices.Equal(got, published[:len(got)]) {
			t.Fatalf("%v became %v, %v became %v", others, gated, published, got)
		}
	})
}
