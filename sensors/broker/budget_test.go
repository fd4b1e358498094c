package broker

import (
	"edgechain.example/build/testenv"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Limits where none are set.
const (
	maxRetainedBytes = 32 << 20
	maxOutboundBytes = 8 << 20
	maxQueuedBytes   = 48 << 20
	maxSubscriptions = 4096
)

// bare is a broker that does not run.
func bare() *Broker {
	b := &Broker{sessions: make(map[string]*session), fanout: fanout{queue: make(chan *forward, fanoutMessages)}}
	b.cfg.setDefaults()
	b.retained = retained{byTopic: make(map[string]*forward), most: b.cfg.Bounds.Retained}
	b.tree.most = b.cfg.Bounds.Subscriptions
	return b
}

// subscriber is a session that has a subscription, without a client where it is away.
func subscriber(b *Broker, id, filter string, away bool) *session {
	s := &session{id: id, left: time.Now(), expiry: time.Hour}
	if !away {
		s.conn = &conn{b: b, clientID: id, sess: s, writing: true} // its writer is stuck
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions[id] = s
	sub := &subscription{s: s, filter: filter}
	sub.options.QoS = 1
	b.tree.add(sub)
	return s
}

// Whoever lets its messages lie, connected or not, takes the room of no other: one that takes what it gets finds some, and of
// those that are away none is left with nothing.
func TestFullQueuesOfSomeStarveNoOther(t *testing.T) {
	for _, away := range []bool{true, false} {
		t.Run(fmt.Sprintf("away=%t", away), func(t *testing.T) {
			log := &testenv.Log{}
			b, err := New(Config{Decode: undecoded, Listeners: []Listener{{Kind: TCP, Address: "127.0.0.1:0", Anonymous: true}}, Log: slog.New(slog.NewTextHandler(log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			var hogs []*session
			for i := range 2 * maxQueuedBytes / maxOutboundBytes {
				hogs = append(hogs, subscriber(b, fmt.Sprintf("hog-%d", i), "img/#", away))
			}
			image := make([]byte, 16<<10)
			for range 2 * maxOutboundBytes / len(image) {
				b.route(&forward{topic: "img/1", qos: 1, payload: image}, nil)
			}
			if got := b.outBytes.Load(); got > maxQueuedBytes || got < maxQueuedBytes*9/10 {
				t.Fatalf("%d bytes wait", got)
			}
			least, most := maxQueuedBytes, 0
			for _, s := range hogs {
				least, most = min(least, s.out.bytes), max(most, s.out.bytes)
			}
			if most > 2*least+maxQueuedBytes/64 {
				t.Errorf("one queue has %d bytes, another %d", most, least)
			}
			for _, late := range []*session{subscriber(b, "healthy", "live/#", false), subscriber(b, "away", "live/#", true)} {
				before := len(late.out.waiting)
				for i := range 20 {
					b.route(&forward{topic: "live/a", qos: 1, payload: []byte(fmt.Sprint("alarm ", i))}, nil)
				}
				if got := len(late.out.waiting) - before; got != 20 {
					t.Errorf("%s got %d of 20", late.id, got)
				}
			}
			sum := 0
			for _, s := range b.sessions {
				sum += s.out.bytes
			}
			if int64(sum) != b.outBytes.Load() || sum > maxQueuedBytes {
				t.Errorf("the queues have %d bytes, %d are counted", sum, b.outBytes.Load())
			}
			now := time.Now()
			for range 3 { // housekeeping comes by
				b.losses.tell(b.log, now, false)
			}
			if text := log.String(); strings.Count(text, lossReasons[gaveWay]) != 1 || !strings.Contains(text, "client=hog-") || strings.Contains(text, "healthy") {
				t.Errorf("the log says %s", text)
			}
		})
	}
}

// The newest stay: what a queue gives up is what waits for longest.
func TestAQueueGivesUpItsOldest(t *testing.T) {
	b := bare()
	s := subscriber(b, "hog", "x", true)
	for i := range 10 {
		b.route(&forward{topic: "x", qos: 1, payload: []byte{byte(i)}}, nil)
	}
	size := s.out.waiting[0].size()
	s.giveWay(b, 3*size)
	if len(s.out.waiting) != 7 || s.out.waiting[0].payload[0] != 3 || int64(s.out.bytes) != b.outBytes.Load() || s.out.bytes != 7*size {
		t.Errorf("%d wait, with %d bytes of %d", len(s.out.waiting), s.out.bytes, b.outBytes.Load())
	}
}

// Each reason is told once a minute, with how many messages it was and with the client that lost most.
func TestWhatIsNotPassedOnIsToldOnceAMinuteForEachReason(t *testing.T) {
	log := &testenv.Log{}
	var l losses
	tell := func(at time.Time) (lines []string) {
		before := len(log.String())
		l.tell(slog.New(slog.NewTextHandler(log, nil)), at, false)
		return strings.Split(strings.TrimSuffix(log.String()[before:], "\n"), "\n")
	}
	start := time.Now()
	for why := range lossKinds {
		if lossReasons[why] == "" {
			t.Errorf("loss %d has no reason", why)
		}
		for i := range 3 * lossClients {
			l.add(why, fmt.Sprint("client-", i), "t")
		}
		l.add(why, "client-7", "newest")
	}
	lines := tell(start)
	if len(lines) != int(lossKinds) {
		t.Fatalf("%d lines for %d reasons", len(lines), lossKinds)
	}
	for _, line := range lines {
		if !strings.Contains(line, fmt.Sprintf("messages=%d client=client-7 clients=%d topic=newest", 3*lossClients+1, lossClients)) {
			t.Errorf("the line is %s", line)
		}
	}
	l.add(queueFull, "a", "t")
	if lines := tell(start.Add(toldEvery - 1)); lines[0] != "" {
		t.Errorf("told again: %q", lines)
	}
	if lines := tell(start.Add(toldEvery)); len(lines) != 1 || !strings.Contains(lines[0], "messages=1 client=a") {
		t.Errorf("after a minute: %q", lines)
	}
}
