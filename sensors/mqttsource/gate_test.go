package mqttsource

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"reflect"
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

// FuzzGate: whatever a peer sends, paho sees the same packets through the gate as without it, until the gate ends the
// connection; only payloads above the limit become their hashes.
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
		plain := through(bytes.NewReader(b))
		gated := through(gateOver(t, iotest.OneByteReader(bytes.NewReader(b)), limit))
		if len(gated) > len(plain) {
			t.Fatalf("%d packets became %d", len(plain), len(gated))
		}
		for i := range gated {
			want := plain[i]
			if m, ok := want.(*packets.PublishPacket); ok {
				if len(m.Payload) > limit {
					sum := sha256.Sum256(m.Payload)
					m.Payload = sum[:]
				}
				m.RemainingLength = gated[i].(*packets.PublishPacket).RemainingLength
			}
			if !reflect.DeepEqual(gated[i], want) {
				t.Fatalf("packet %d: %v became %v", i, want, gated[i])
			}
		}
	})
}
