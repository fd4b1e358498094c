package broker

import (
	"slices"
	"strconv"
	"time"

	"edgechain.example/sensors/broker/subscriberstore"
)

// A broker that takes another one's place in the same program, since it listens elsewhere or has other bounds, goes on with what
// that one had for subscribers. Both on disk, it is handed over there; else in memory.

// Inherit has b begin with what another broker has in memory for subscribers, unless b finds it on disk. It is called before
// Run, once the other one's Run has ended, if it ever began.
func (b *Broker) Inherit(from *Broker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.before = from
}

// EndingWith tells how many of b's sessions end when next takes its place, nil where none does.
func (b *Broker) EndingWith(next *Broker) int {
	b.mu.Lock()
	before := b.before
	b.mu.Unlock()
	if before != nil {
		return before.EndingWith(next)
	}
	most := 0
	if next != nil {
		next.mu.Lock()
		most = next.mostSessions()
		next.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := 0
	for _, s := range b.sessions {
		if s.expiry > 0 {
			kept++
		}
	}
	switch {
	case next == nil && !b.keeps():
		return len(b.sessions)
	case next == nil:
		return len(b.sessions) - kept
	}
	return len(b.sessions) - min(kept, most)
}

// ran tells whether Run came as far as clients.
func (b *Broker) ran() bool {
	select {
	case <-b.ready:
		return true
	default:
		return false
	}
}

// keeps tells whether all is written that subscribers are to find again.
func (b *Broker) keeps() bool { return b.kept != nil && b.kept.store.Err() == nil }

// predecessor is the broker of which b takes over what is in memory, or nil.
func (b *Broker) predecessor() *Broker {
	from := b.takeBefore()
	for from != nil && !from.ran() {
		from = from.takeBefore()
	}
	if from == nil || from.keeps() && b.cfg.Subscribers != nil {
		return nil
	}
	return from
}

func (b *Broker) takeBefore() *Broker {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := b.before
	b.before = nil
	return from
}

// inherit takes over what a broker that has ended has in memory.
func (b *Broker) inherit(from *Broker) {
	l := from.leaves(b)
	b.takeOver(l)
	b.mu.Lock()
	b.dueWills = append(b.dueWills, l.due...)
	tell(b.willDue)
	b.kept.all(b)
	b.mu.Unlock()
	var targets []*session
	for {
		select {
		case m := <-from.fanout.queue:
			targets = b.route(m, targets[:0])
			continue
		default:
		}
		return
	}
}

// leaves is what b, which has ended, leaves to another, as if that had found it on disk.
func (b *Broker) leaves(to *Broker) *found {
	l := &found{b: to, now: time.Now(), wall: to.cfg.Now()}
	l.Reset()
	l.inherited = true
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := make(map[*forward]string)
	for _, s := range b.sessions {
		if s.expiry == 0 {
			continue
		}
		old := s.out
		heir := &session{id: s.id, user: s.user, expiry: s.expiry, left: s.left}
		heir.out = outbox{lastID: old.lastID}
		for _, m := range slices.Concat(old.flight, old.waiting) {
			key := keys[m.forward]
			if key == "" {
				key = strconv.Itoa(len(keys))
				keys[m.forward] = key
				l.bodies[key] = &message{m.forward, m.forward.size(), true}
			}
			m.key, m.body = "", key
		}
		heir.out.flight, heir.out.waiting = old.flight, old.waiting
		for _, r := range old.recalls {
			if r.qos > 0 {
				heir.out.recalls = append(heir.out.recalls, r)
			}
		}
		for _, sub := range s.subscriptions {
			l.subs = append(l.subs, &subscription{s: heir, filter: sub.filter, id: sub.id, options: sub.options})
		}
		l.order = append(l.order, heir)
	}
	for _, topic := range b.retained.topics {
		f := b.retained.byTopic[topic]
		l.retained = append(l.retained, &message{f, f.size(), true})
	}
	for _, w := range b.wills {
		l.wills = append(l.wills, w.leftTo(to))
	}
	for _, w := range b.dueWills {
		l.due = append(l.due, w.leftTo(to))
	}
	return l
}

// leftTo is a will as another broker publishes it.
func (w *will) leftTo(b *Broker) *will {
	left, c := *w, w.conn
	left.conn = &conn{b: b, version: c.version, clientID: c.clientID, named: c.named, user: c.user, source: c.source}
	return &left
}

// all writes everything that is there. The caller holds Broker.mu.
func (k *kept) all(b *Broker) {
	if k == nil {
		return
	}
	for _, s := range b.sessions {
		k.begin(s)
		k.session(s)
	}
	for _, w := range b.wills {
		k.will(w, true)
	}
	for _, topic := range b.retained.topics {
		k.retain(b.retained.byTopic[topic], nil)
	}
}

// clean removes what lies on disk where what is in memory is newer.
func (s *Subscribers) clean() error {
	if s == nil {
		return nil
	}
	return subscriberstore.Remove(s.Store)
}
