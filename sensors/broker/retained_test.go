package broker

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/mqttwire"
)

// retainedFor returns the retained messages that a filter covers, as a subscriber gets them.
func (b *Broker) retainedFor(filter string) (all []*forward) {
	for want := newRecall(&subscription{filter: filter}); ; {
		f, over := b.retained.next(want)
		if f != nil {
			all = append(all, f)
		}
		if over {
			return all
		}
	}
}

// retain has n topics keep a message each, as after their commit.
func (b *Broker) retain(n int, topic string) {
	for i := range n {
		b.keep(&forward{topic: fmt.Sprintf(topic, i), payload: []byte("v"), qos: 1, retain: true})
	}
}

// However many there are, however few a client takes at a time, and whatever else is published meanwhile.
func TestANewSubscriberGetsAllRetainedMessages(t *testing.T) {
	const n = 3*maxOutbound + 7
	for qos := byte(0); qos <= 2; qos++ {
		for _, window := range []uint16{1, 100, 0} {
			t.Run(fmt.Sprintf("qos%d/window%d", qos, window), func(t *testing.T) {
				b := start(t, newDisk(10), nil)
				b.retain(n, "ha/%d/config")
				b.retain(n, "other/%d")
				w := dial(t, b, login{id: "ha", v5: true, clean: true, receiveMax: window})
				w.subscribe(1, "ha/+/config", qos)
				w.wants(fmt.Sprintf("SUBACK 1 %d", qos))
				got := make(map[string]bool)
				for len(got) < n {
					kind, body := w.read()
					if kind != typePublish || w.flags&1 == 0 || w.qos != min(qos, 1) {
						t.Fatalf("got packet %d with the flags %b after %d", kind, w.flags, len(got))
					}
					topic := string(body[2 : 2+binary.BigEndian.Uint16(body)])
					if got[topic] || !strings.HasPrefix(topic, "ha/") {
						t.Fatalf("got %s", topic)
					}
					got[topic] = true
					if w.qos > 0 {
						w.sendID(typePuback<<4, binary.BigEndian.Uint16(body[2+len(topic):]))
					}
				}
				w.silent()
				if lost := b.Stats().Undelivered; lost != 0 {
					t.Errorf("%d are lost", lost)
				}
				await(t, func() bool { return b.outBytes.Load() == 0 })
			})
		}
	}
}

// A session that goes on gets the rest, and a subscription that is gone or was asked for without them gets none.
func TestRetainedMessagesAreAskedForOnce(t *testing.T) {
	b := start(t, newDisk(10), nil)
	b.retain(30, "a/%d")
	b.retain(30, "b/%d")
	who := login{id: "x", v5: true, receiveMax: 10}
	w := dial(t, b, who)
	w.subscribe(1, "a/#", 1)
	w.subscribe(2, "a/#", 1) // begins again
	w.subscribe(3, "b/#", 1)
	w.send(typeUnsubscribe<<4|2, append([]byte{0, 4, 0}, str(nil, "b/#")...))
	seen := make(map[string]int)
	take := func(kind byte, body []byte) {
		if kind != typePublish {
			return
		}
		topic := string(body[2 : 2+binary.BigEndian.Uint16(body)])
		seen[topic]++
		w.sendID(typePuback<<4, binary.BigEndian.Uint16(body[2+len(topic):]))
	}
	for len(seen) < 15 {
		take(w.read())
	}
	w.drop(b, "x")
	w = dial(t, b, who)
	for len(seen) < 30 {
		take(w.read())
	}
	for topic := range seen {
		if !strings.HasPrefix(topic, "a/") {
			t.Errorf("got %s of a subscription that is gone", topic)
		}
	}
}

// What is committed last is what stays, also if it cannot be passed on.
func TestARetainedMessageThatIsNotPassedOnReplacesTheOlderOne(t *testing.T) {
	for _, c := range []struct {
		name  string
		fill  int // messages that wait to be passed on
		after *forward
		want  string
	}{
		{"full", fanoutMessages, &forward{payload: []byte("CLOSED")}, "CLOSED"},
		{"full, empty", fanoutMessages, &forward{}, ""},
		{"large", 0, &forward{payload: make([]byte, fanoutLargest+1)}, string(make([]byte, fanoutLargest+1))},
		{"larger than there is room for", 0, &forward{payload: make([]byte, maxRetainedBytes)}, ""},
		{"large properties", 0, &forward{payload: []byte("CLOSED"), properties: make([]byte, fanoutLargest)}, "CLOSED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &testenv.Log{}
			b, err := New(Config{Decode: undecoded, Listeners: []Listener{{Kind: TCP, Address: "127.0.0.1:0", Anonymous: true}}, Log: slog.New(slog.NewTextHandler(log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			b.fanout.offer(b, &forward{topic: "valve", payload: []byte("OPEN"), retain: true})
			for range c.fill - 1 {
				b.fanout.offer(b, &forward{topic: "x"})
			}
			c.after.topic, c.after.retain, c.after.origin = "valve", true, "plc"
			b.fanout.offer(b, c.after)
			for len(b.fanout.queue) > 0 { // older ones are routed later
				b.route(<-b.fanout.queue, nil)
			}
			got := ""
			for _, f := range b.retainedFor("valve") {
				got = string(f.payload)
			}
			if got != c.want {
				t.Errorf("%.10q is kept, want %.10q", got, c.want)
			}
			if b.Stats().Undelivered != 1 {
				t.Errorf("%d are counted, want 1", b.Stats().Undelivered)
			}
			b.losses.tell(b.log, time.Now(), false)
			if text := log.String(); strings.Count(text, "MQTT messages not passed on") < 1 || !strings.Contains(text, "client=plc") || !strings.Contains(text, "topic=valve") {
				t.Errorf("the log does not tell of it: %s", text)
			}
		})
	}
}

func TestARecallGoesThroughTopicsInOrder(t *testing.T) {
	b := bare()
	topics := []string{"a", "a/b", "a/b/c", "a/bc", "ab", "b", "/", "/a", "$SYS/a", "a/$x", "é"}
	for _, topic := range topics {
		b.keep(&forward{topic: topic, payload: []byte("v"), retain: true})
	}
	b.retain(3*lookedAt, "many/%d")
	for _, filter := range []string{"#", "+", "a/#", "a", "a/+", "+/b", "/#", "/+", "$SYS/#", "many/+", "many/7", "none", "none/#", "a/+/#", "é"} {
		want := make(map[string]bool)
		for topic := range b.retained.byTopic {
			if mqttwire.Match(filter, topic) {
				want[topic] = true
			}
		}
		got := b.retainedFor(filter)
		for _, f := range got {
			if !want[f.topic] {
				t.Errorf("%s: got %s", filter, f.topic)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: got %d, want %d", filter, len(got), len(want))
		}
	}
	if len(b.retained.topics) != len(b.retained.byTopic) {
		t.Errorf("%d topics of %d", len(b.retained.topics), len(b.retained.byTopic))
	}
	for topic := range b.retained.byTopic {
		b.keep(&forward{topic: topic, retain: true})
	}
	if len(b.retained.topics) != 0 || b.retained.bytes != 0 {
		t.Errorf("%d topics and %d bytes are left", len(b.retained.topics), b.retained.bytes)
	}
}
