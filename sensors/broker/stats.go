package broker

import (
	"sync/atomic"

	"edgechain.example/sensors/broker/subscriberstore"
)

// Stats counts what the broker has seen since it was made, and what is there now.
type Stats struct {
	Connected int // connections, now
	Waiting   int // clients whose socket is not read because the disk or their window is full, now
	InSink    int // messages handed to the sink and not yet durable, now

	Received        [3]uint64 // PUBLISH packets by QoS, repetitions included, refused ones not
	Committed       uint64    // messages that became durable, of every QoS, or were only to be passed on
	Failed          uint64    // messages that the sink gave up: none was acknowledged
	Acknowledged    uint64    // PUBACK and PUBREC packets sent, refusals included
	Recognised      uint64    // certain repetitions: acknowledged, not taken again
	Redelivered     uint64    // possible repetitions: taken, with the flag Redelivered
	Wills           uint64    // wills taken
	Refused         uint64    // publications, subscriptions and wills that the client had no right to
	Unauthenticated uint64    // clients that were not let in
	Delivered       uint64    // messages sent to subscribers, repetitions not counted
	Undelivered     uint64    // messages that a subscriber did not get
	Unretained      uint64    // retained messages not kept, because there are too many topics
	Slowed          uint64    // messages taken later than they came, because of their client's rate
	Exceeded        uint64    // messages that came with QoS 0 beyond it, and are lost
	Cut             uint64    // connections that the broker ended: protocol, time-out, limit
	Panics          uint64    // connections that a packet ended by a panic

	Sessions      int // connected or not, now
	Subscriptions int // of all, now
	Retained      int // messages, now
	RetainedBytes int
	QueuedBytes   int // of messages that wait for subscribers, now
	ReadingBytes  int // of large packets that are being read, now
	WillBytes     int // of wills that wait, now

	Kept   subscriberstore.Stats // what is written down for subscribers
	Unkept string                // why what was is lost, or nothing is though it should be; "" where it is, or need not be
}

type counters struct {
	received                                          [3]atomic.Uint64
	committed, failed, acknowledged                   atomic.Uint64
	recognised, redelivered, wills                    atomic.Uint64
	refused, unauthenticated, undelivered, unretained atomic.Uint64
	panics, delivered, cut, slowed, exceeded          atomic.Uint64
	waiting                                           atomic.Int64
}

// Stats may be called at any time.
func (b *Broker) Stats() Stats {
	s := &b.stats
	b.mu.Lock()
	connected, sessions, wills, k, unkept := len(b.conns), len(b.sessions), b.willBytes, b.kept, b.unkept
	b.mu.Unlock()
	retained, retainedBytes := b.retained.held()
	out := Stats{
		Connected: connected, Waiting: int(s.waiting.Load()), InSink: int(b.owed.Load()),
		Committed: s.committed.Load(), Failed: s.failed.Load(), Acknowledged: s.acknowledged.Load(),
		Recognised: s.recognised.Load(), Redelivered: s.redelivered.Load(), Wills: s.wills.Load(),
		Refused: s.refused.Load(), Unauthenticated: s.unauthenticated.Load(),
		Undelivered: s.undelivered.Load(), Unretained: s.unretained.Load(), Panics: s.panics.Load(), Delivered: s.delivered.Load(), Cut: s.cut.Load(),
		Slowed: s.slowed.Load(), Exceeded: s.exceeded.Load(),
	}
	out.Sessions, out.Subscriptions, out.WillBytes = sessions, int(b.tree.count.Load()), wills
	reading, _ := b.reading.held()
	out.Retained, out.RetainedBytes, out.QueuedBytes, out.ReadingBytes = retained, retainedBytes, int(b.outBytes.Load()), reading
	switch {
	case b.cfg.Subscribers == nil:
	case k != nil:
		if out.Kept = k.store.Stats(); out.Kept.Err != nil {
			out.Unkept = out.Kept.Err.Error()
		} else if k.store.Aside != "" {
			out.Unkept = "what was there cannot be read, and is put aside as " + k.store.Aside
		} else if k.store.Gone {
			out.Unkept = "what was there was removed, and begins anew"
		}
	case unkept != nil:
		out.Unkept = unkept.Error()
	}
	for i := range out.Received {
		out.Received[i] = s.received[i].Load()
	}
	return out
}
