package mqttsource

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// mostAllocs is how many allocations a message of one reading may cost between the broker's socket and the committer, all of the
// source's own work and the decoder's included.
const mostAllocs = 8.1

// instant is a sink that has everything durable at once.
type instant struct{ messages int }

func (s *instant) Put(_ context.Context, m *sensors.Message) error {
	s.messages++
	m.Done(nil)
	return nil
}

func (s *instant) TryPut(m *sensors.Message) bool { return s.Put(context.Background(), m) == nil }

// A message costs so many allocations and no more: what is counted here is the whole way but for the network and the disk.
func TestAMessageCostsFewAllocations(t *testing.T) {
	if testing.Short() {
		t.Skip("under the race detector, pools forget a part of what is put into them")
	}
	d, err := sensors.New(sensors.Config{TimestampPath: "time", UnitPath: "unit"})
	if err != nil {
		t.Fatal(err)
	}
	in := &sensors.Intake{Decoder: d}
	cfg := config("tcp://broker", 1)
	cfg.QueueBytes = 1 << 30
	cfg.Subscriptions[0].Decode = func(topic string, flags lightchain.Flags, payload []byte, received time.Time) *sensors.Message {
		return in.Message("", topic, "", flags, payload, received)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	var packets []byte
	for i := range n {
		packets = appendPublish(packets, "line/press-07/state", uint16(i+1), `{"time":"2013-12-02T21:15:00Z","temperature":73.96732207,"unit":"[degF]"}`)
	}
	sink := new(instant)
	var due []byte
	runs := 0
	each := testing.AllocsPerRun(5, func() {
		runs++
		l := &link{source: s, wake: make(chan struct{}, 1)}
		g := newGate(tape{Reader: bytes.NewReader(packets)}, l, time.Second)
		var buf [64]byte
		for {
			if _, err := g.Read(buf[:]); err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				break
			}
		}
		for d := s.head(); d != nil; d = s.head() {
			if s.ignores(d) || !s.awaitPace(t.Context(), d) {
				t.Fatal("a message is ignored")
			}
			s.opened(1)
			if err := sink.Put(t.Context(), s.message(d)); err != nil {
				t.Fatal(err)
			}
			s.taken()
			due, _ = l.collect(due[:0])
		}
	}) / n
	if sink.messages != runs*n {
		t.Fatalf("%d messages of %d", sink.messages, runs*n)
	}
	t.Logf("%.2f allocations a message", each)
	if each > mostAllocs {
		t.Errorf("%.2f allocations a message, at most %v are allowed", each, mostAllocs)
	}
}

func appendPublish(b []byte, topic string, id uint16, payload string) []byte {
	b = mqttwire.AppendHeader(b, byte(mqttwire.PUBLISH)<<4|2, 2+len(topic)+2+len(payload))
	b = append(append(b, byte(len(topic)>>8), byte(len(topic))), topic...)
	return append(append(b, byte(id>>8), byte(id)), payload...)
}
