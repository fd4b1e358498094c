package broker

import (
	"context"
	"sync/atomic"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// What may wait to be passed on. Beyond it messages are not passed on, and counted; the chain has them.
const (
	fanoutMessages = 4096
	fanoutBytes    = 16 << 20
	fanoutLargest  = 1 << 20 // with topic and properties: each subscriber is written a copy
)

// fanout is the queue between the committer and those who subscribed.
type fanout struct {
	queue chan *forward
	bytes atomic.Int64 // of what is in queue

	owed atomic.Int64  // messages offered and not routed
	done atomic.Uint64 // entries below it were offered, or nothing follows from them
}

// forward is a message on its way to those who subscribed. It never changes once it is in the fan-out's queue.
type forward struct {
	origin     string // client id of the publisher
	topic      string
	payload    []byte
	properties mqttwire.Properties // of MQTT 5, as they are passed on
	expires    time.Time           // zero: never
	qos        byte
	retain     bool
	held       bool   // among the retained messages, if it is one
	own        bool   // the program's, which makes it again: it is not kept over a restart
	entry      uint64 // the number after that of its entry; 0: it has none
	note       uint64 // what says what its entry does not: see kept.note
	alone      uint64 // its number, if it is in no entry and noted: see kept.noteAlone
}

func (f *forward) size() int { return len(f.topic) + len(f.payload) + len(f.properties) }

// beside is what the message takes beside what becomes its entry, while it waits for the disk; noted says that it is noted as well.
func (f *forward) beside(m *sensors.Message, noted bool) int {
	if f == nil {
		return 0
	}
	n := f.size()
	if m.Flags&lightchain.PayloadHashed == 0 { // else the entry has its hash alone
		n -= len(f.payload)
	}
	if noted {
		n *= 2
	}
	return n
}

func (f *forward) expired(now time.Time) bool { return !f.expires.IsZero() && !now.Before(f.expires) }
func (f *forward) topicBytes() []byte         { return []byte(f.topic) }

// Publish passes a message of the program's own on to those who subscribed, and keeps it if it is retained. It is never
// recorded, and what waits for subscribers when the broker ends is lost. It does not block.
func (b *Broker) Publish(topic string, payload []byte, qos byte, retained bool) {
	const own = "" // no client's id, so that none is taken for the publisher
	b.fanout.offer(b, &forward{origin: own, topic: topic, payload: payload, qos: qos, retain: retained, own: true})
}

// offer hands a committed message over, or drops it. It is called by the committer, and never waits. A retained message is kept
// here, in the order of the commits: one that is dropped must not leave an older one in its topic's place.
func (f *fanout) offer(b *Broker, m *forward) {
	if m == nil {
		return
	}
	b.keep(m)
	if b.cfg.Passed != nil && !m.own {
		b.cfg.Passed(m.topic, m.payload)
	}
	n, why := int64(m.size()), tooLarge
	if n <= fanoutLargest {
		why = fanoutFull
		f.owed.Add(1)
		if f.bytes.Add(n) <= fanoutBytes {
			select {
			case f.queue <- m:
				return
			default:
			}
		}
		f.bytes.Add(-n)
		f.owed.Add(-1)
	}
	b.kept.unnote(m)
	b.lose(why, m.origin, m)
}

// keep keeps a retained message, unless it is kept.
func (b *Broker) keep(m *forward) {
	if !m.retain || m.held {
		return
	}
	m.held = true
	if !b.retained.keep(m) {
		b.stats.unretained.Add(1)
		b.losses.add(tooManyRetained, m.origin, m.topic)
	}
}

// passOn gives committed messages to those who subscribed, and keeps the retained ones.
func (b *Broker) passOn(ctx context.Context) {
	var targets []*session
	for {
		select {
		case m := <-b.fanout.queue:
			b.fanout.bytes.Add(-int64(m.size()))
			targets = b.passOnOne(m, targets[:0])
			clear(targets)
		case <-ctx.Done():
			return
		}
	}
}

// passOnOne routes one message; what is written of that is written by one write, with the word that it was routed.
func (b *Broker) passOnOne(m *forward, targets []*session) []*session {
	defer b.fanout.owed.Add(-1)
	if b.kept == nil {
		return b.route(m, targets)
	}
	b.kept.store.Begin()
	defer b.kept.store.End()
	targets = b.route(m, targets)
	b.kept.routed(m)
	return targets
}

// target is what a session gets of the message that is being routed: one copy, with the highest QoS of the filters that
// cover it and the identifiers of all of them (3.3.4).
type target struct {
	wanted bool
	qos    byte
	retain bool
	ids    []uint32
}

// route hands a message to the sessions that subscribed to it. targets has room for them.
func (b *Broker) route(f *forward, targets []*session) []*session {
	b.keep(f)
	if b.tree.count.Load() == 0 {
		return targets
	}
	b.tree.match(f.topic, func(sub *subscription) {
		if sub.options.NoLocal && sub.s.id == f.origin {
			return
		}
		t := &sub.s.target
		if !t.wanted {
			*t = target{wanted: true}
			targets = append(targets, sub.s)
		}
		t.qos = max(t.qos, sub.options.QoS)
		t.retain = t.retain || sub.options.RetainAsPublished
		if sub.id > 0 {
			t.ids = append(t.ids, sub.id)
		}
	})
	for _, s := range targets {
		t := s.target
		s.target = target{}
		if b.may(s.user, s.id, f.topic, Subscribe) {
			s.deliver(b, &outgoing{forward: f, qos: min(f.qos, t.qos), retain: f.retain && t.retain, ids: t.ids})
		}
	}
	return targets
}
