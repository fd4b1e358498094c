package broker

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// heap is how many bytes of memory are in use.
func heap() int {
	runtime.GC()
	runtime.GC() // what a finalizer held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A client chooses what a packet consists of: whatever that is, what a message keeps of it while it waits for the disk is
// counted.
func TestWhatWaitsForTheDiskIsCounted(t *testing.T) {
	const n, size = 10, 200_000
	properties := func(n int) (all mqttwire.Properties) {
		for len(all) < n {
			all = all.AddText(mqttwire.UserProperty, "k")
			all = append(all, str(nil, string(bytes.Repeat([]byte("v"), 60_000)))...)
		}
		return all
	}
	for _, c := range []struct {
		name       string
		payload    int
		properties mqttwire.Properties
		topic      string
	}{
		{name: "a payload", payload: size, topic: "a"},
		{name: "properties", payload: 1, properties: properties(size), topic: "a"},
		{name: "a payload and properties", payload: size / 2, properties: properties(size / 2), topic: "a"},
		{name: "a topic", payload: 1, topic: string(bytes.Repeat([]byte("t"), 65_000))},
		{name: "few properties", payload: 1, properties: mqttwire.Properties(nil).AddNumber(mqttwire.PayloadFormat, 1), topic: "a"},
	} {
		for _, subscribed := range []bool{false, true} {
			for _, hashed := range []bool{false, true} {
				for qos := byte(0); qos <= 1; qos++ {
					t.Run(fmt.Sprintf("%s/subscribed=%t/hashed=%t/qos%d", c.name, subscribed, hashed, qos), func(t *testing.T) {
						d := newDisk(1000)
						b, err := New(Config{Listeners: []Listener{{Kind: TCP, Address: "127.0.0.1:0", Anonymous: true}},
							Decode: func(_, _, _ string, _ lightchain.Flags, payload []byte, _ time.Time) *sensors.Message {
								if hashed {
									return &sensors.Message{Payload: make([]byte, 32), Flags: lightchain.PayloadHashed}
								}
								return &sensors.Message{Payload: payload}
							}})
						if err != nil {
							t.Fatal(err)
						}
						b.sink, b.run = d, t.Context()
						if subscribed {
							subscriber(b, "sub", "#", true)
						}
						c1 := &conn{b: b, limits: b.limits, version: mqttwire.V5, v5: true, clientID: "a", source: "broker:-/a:", sess: &session{id: "a", taking: make(chan struct{}, 1), pace: new(pace)}, gone: make(chan struct{})}
						c1.sess.conn = c1
						before := heap()
						for i := range n {
							p := mqttwire.Publish{QoS: qos, ID: uint16(i + 1), Topic: []byte(c.topic), Properties: c.properties, Payload: make([]byte, c.payload)}
							if qos == 0 {
								p.ID = 0
							}
							// As it is read: one slice, of which the message is a part.
							whole := p.Append(mqttwire.V5, nil)
							body := whole[len(whole)-(p.Size(mqttwire.V5)-headerSize(whole)):]
							pk, err := mqttwire.DecodePublish(mqttwire.V5, mqttwire.Header{Type: mqttwire.PUBLISH, Flags: qos << 1, Length: len(body)}, body)
							if err != nil {
								t.Fatal(err)
							}
							if err := b.publish(c1, &pk); err != nil {
								t.Fatal(err)
							}
						}
						counted := 0
						for _, m := range d.pending {
							counted += m.Size()
						}
						if held := heap() - before; held > counted*5/4+n*4000 {
							t.Errorf("%d messages keep %d bytes, %d are counted", n, held, counted)
						}
						runtime.KeepAlive(b)
						runtime.KeepAlive(c1)
					})
				}
			}
		}
	}
}

// So is what waits to be passed on, and what waits for a subscriber, with the identifiers of all its subscriptions.
func TestWhatWaitsForSubscribersIsCounted(t *testing.T) {
	for _, c := range []struct {
		name string
		f    forward
		ids  int
	}{
		{"payloads", forward{topic: "a/a/a/a", payload: make([]byte, 10_000)}, 0},
		{"properties", forward{topic: "a/a/a/a", properties: make([]byte, 10_000)}, 0},
		{"identifiers", forward{topic: "a/a/a/a"}, 5000},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bare()
			s := subscriber(b, "sub", "other", true)
			for i := range c.ids { // as the tree would find them
				s.target.ids = append(s.target.ids, uint32(i))
			}
			ids := s.target.ids
			const n = 1000
			before := heap()
			for range n {
				f := c.f
				f.payload, f.properties = bytes.Clone(f.payload), bytes.Clone(f.properties)
				b.fanout.offer(b, &f)
			}
			queued := b.fanout.bytes.Load()
			if c.ids == 0 && (queued < n*10_000 || heap()-before > int(queued)*5/4+n*1000) {
				t.Errorf("%d bytes are kept to be passed on, %d are counted", heap()-before, queued)
			}
			for range n {
				s.deliver(b, &outgoing{forward: <-b.fanout.queue, qos: 1, ids: append([]uint32(nil), ids...)})
			}
			counted := b.outBytes.Load()
			if held := heap() - before; held > int(counted)*5/4+n*1000 || counted > maxOutboundBytes {
				t.Errorf("%d bytes are kept for a subscriber, %d are counted", held, counted)
			}
			runtime.KeepAlive(b)
			runtime.KeepAlive(s)
		})
	}
}

// headerSize is how many bytes stand before the body of a packet.
func headerSize(packet []byte) int {
	n := 2
	for packet[n-1] >= 0x80 {
		n++
	}
	return n
}
