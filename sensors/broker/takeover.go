package broker

import (
	"math"
	"slices"

	"edgechain.example/mqttwire"
)

// What was found is taken over as far as the bounds go that hold now, which may be smaller than those it was kept under. What
// has no room is told like any other loss. Of that the payloads never are in memory at once: see [found.Load].

// takeOver installs what was found.
func (b *Broker) takeOver(l *found) {
	k := b.kept
	b.mu.Lock()
	defer b.mu.Unlock()
	b.takeSessions(l)
	b.tree.kept, b.retained.kept = k, k // from here on it is news
	k.found(l)
	b.takeRetained(l)
	for _, w := range l.wills {
		b.willBytes += w.size()
		b.wills[w.conn.clientID] = w
	}
	for _, w := range l.due {
		b.willBytes += w.size()
	}
	b.endOld(l) // what waits for them takes no room from others
	b.takeQueues(l)
}

// takeSessions installs sessions and their subscriptions. Whoever was told that it subscribed stays so: what it may subscribe to
// counts for what comes.
func (b *Broker) takeSessions(l *found) {
	for _, s := range l.order {
		b.sessions[s.id] = s
	}
	b.tree.granted = true
	defer func() { b.tree.granted = false }()
	for _, sub := range l.subs {
		if _, ok := b.tree.add(sub); !ok {
			b.told.Warn("MQTT subscription refused", "there is no room for what it was before the start", "client", sub.s.id, "user", sub.s.user, "filter", sub.filter)
			b.kept.unsubscribe(sub.s, sub.filter)
		}
	}
}

// endOld ends sessions whose time is over, and of the others those that were away longest, where there are too many.
func (b *Broker) endOld(l *found) {
	for _, s := range l.order {
		if s.expiry == 0 || l.now.Sub(s.left) >= s.expiry {
			b.endSession(s)
		}
	}
	b.makeRoom(0)
}

func (b *Broker) takeRetained(l *found) {
	for _, m := range l.retained {
		switch {
		case m.expired(l.now):
			b.kept.retain(nil, m.forward)
		case !m.whole || !b.retained.restore(m.forward):
			b.kept.retain(nil, m.forward)
			b.stats.unretained.Add(1)
			b.losses.add(tooManyRetained, m.origin, m.topic)
		}
	}
}

// takeQueues takes over what waits for sessions. Where that is too much for all together, each has an equal part, and who needs
// less leaves it to the others; of the rest the oldest goes.
func (b *Broker) takeQueues(l *found) {
	var wants []int
	for _, s := range l.order {
		if !s.ended {
			wants = append(wants, min(l.drop(s), b.cfg.Bounds.Queue))
		}
	}
	part := evenPart(wants, b.cfg.Bounds.Queued)
	for _, s := range l.order {
		if !s.ended {
			l.fit(s, min(part, b.cfg.Bounds.Queue))
		}
	}
}

// evenPart returns what each may have at most so that all together have no more than there is.
func evenPart(wants []int, all int) int {
	slices.Sort(wants)
	for i, n := range wants {
		if part := all / (len(wants) - i); n > part {
			return part
		}
		all -= n
	}
	return math.MaxInt
}

// drop forgets what has expired, and returns how many bytes of a session's queue are left.
func (l *found) drop(s *session) (bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.out.waiting[:0]
	for _, m := range s.out.waiting {
		if m.expired(l.now) {
			l.b.stats.undelivered.Add(1)
			l.b.kept.unqueue(m)
			continue
		}
		held = append(held, m)
	}
	s.out.waiting = held
	for _, m := range slices.Concat(s.out.flight, held) {
		bytes += l.size(m)
	}
	return bytes
}

// fit takes over a session's queue, as far as it has room: what is on its way, and of what waits the newest.
func (l *found) fit(s *session, room int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.out
	flight, waiting := o.flight, o.waiting
	o.flight, o.waiting = nil, nil
	fits := func(m *outgoing) bool {
		n := l.size(m)
		if o.bytes > 0 && o.bytes+n > room || !l.b.queued(n) {
			return false
		}
		o.bytes += n
		return true
	}
	for _, m := range flight {
		if fits(m) {
			o.flight = append(o.flight, m)
		} else {
			l.lose(noRoomAnyMore, s, m)
		}
	}
	first := len(waiting)
	for first > 0 && fits(waiting[first-1]) {
		first--
	}
	for _, m := range waiting[:first] {
		l.lose(noRoomAnyMore, s, m)
	}
	o.waiting = waiting[first:]
	read := func(m *outgoing) bool { return !l.fetch(s, m) }
	o.flight = slices.DeleteFunc(o.flight, read)
	o.waiting = slices.DeleteFunc(o.waiting, read)
}

func (l *found) lose(why loss, s *session, m *outgoing) {
	l.b.kept.unqueue(m)
	l.b.lose(why, s.id, m.forward)
}

// size is what a message takes in a queue.
func (l *found) size(m *outgoing) int { return m.size() - m.forward.size() + l.bodies[m.body].size }

// fetch reads what was left on disk of a message that is to wait on.
func (l *found) fetch(s *session, m *outgoing) bool {
	at := l.bodies[m.body]
	if at.whole {
		return true
	}
	value, err := l.b.kept.store.Get(m.body)
	e := encoded{b: value}
	f := l.forward(&e)
	if err != nil || e.end() != nil {
		s.out.bytes -= l.size(m)
		l.b.queued(-l.size(m))
		l.lose(unreadable, s, m)
		return false
	}
	at.payload, at.properties, at.whole = f.payload, f.properties, true
	return true
}

// found counts the messages on disk that wait for sessions, and forgets what belongs to nothing.
func (k *kept) found(l *found) {
	if k == nil || l.inherited {
		return
	}
	for _, s := range l.order {
		for _, m := range slices.Concat(s.out.flight, s.out.waiting) {
			k.refer(m)
		}
	}
	for key, m := range l.bodies {
		if k.bodies[m.forward] == nil {
			k.store.Delete(key)
		}
	}
	for _, key := range l.stray {
		k.store.Delete(key)
	}
}

// refer counts a message that waits for a session.
func (k *kept) refer(m *outgoing) {
	at := k.bodies[m.forward]
	if at == nil {
		at = &body{key: m.body}
		k.bodies[m.forward] = at
	}
	at.refs++
}

// message is one that was found. Where it is not whole, payload and properties are still on disk alone.
type message struct {
	*forward
	size  int // of the whole
	whole bool
}

// take returns a message without what is large of it, where there is no room for that now.
func (l *found) take(e *encoded, taken *int, overhead, most int) *message {
	f := l.forward(e)
	m := &message{forward: f, size: f.size()}
	if m.whole = *taken+m.size+overhead <= most; m.whole {
		*taken += m.size + overhead
	} else {
		f.payload, f.properties = nil, mqttwire.Properties(nil)
	}
	return m
}
