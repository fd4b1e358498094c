package broker

import (
	"slices"
	"time"

	"edgechain.example/mqttwire"
)

// outbox is what a client is to get: what waits, and what is on its way and not acknowledged. It is part of the session,
// whose mu guards it.
//
// What waits leaves in the order in which it came, as far as the client's window goes; only QoS 0, which takes no part in
// the window, passes by what waits for it. What is on its way comes again first when the client is back [MQTT-4.4.0-1].
type outbox struct {
	waiting []*outgoing
	zeros   int       // of waiting, QoS 0
	bytes   int       // of waiting and flight
	recalls []*recall // of retained messages; they come before what waits, but for what waited before they were asked for
	before  int       // of waiting: how many are so
	flight  []*outgoing
	resend  int // how many of flight the connection has been given: the rest stem from an earlier one
	lastID  uint16
}

// outgoing is a message for one subscriber.
type outgoing struct {
	*forward
	qos      byte
	retain   bool
	sent     bool // at least once
	received bool // QoS 2: its PUBREC has come, and PUBREL is what is sent
	id       uint16
	ids      []uint32 // the subscriptions' identifiers
	key      string   // where it is written down, "" if it is not
	body     string   // and its message
}

const outgoingOverhead = 128 // bytes, beside what the message is

func (m *outgoing) size() int { return m.forward.size() + 4*cap(m.ids) + outgoingOverhead }

// again has what is on its way sent once more, on another connection. What waits is older than what is retained by now.
func (o *outbox) again() { o.resend, o.before = 0, len(o.waiting) }

// ready tells whether something may be sent.
func (o *outbox) ready(c *conn) bool {
	return o.resend < len(o.flight) || o.recalling(c) || len(o.waiting) > 0 && (o.zeros > 0 || len(o.flight) < c.window)
}

// recalling tells whether there is room for the next retained message. One may always be on its way, or what waits would keep
// it back for ever.
func (o *outbox) recalling(c *conn) bool {
	if len(o.recalls) == 0 || o.before > 0 {
		return false
	}
	full := len(o.flight) >= c.window || o.bytes >= c.b.cfg.Bounds.Queue || c.b.outBytes.Load() >= int64(c.b.cfg.Bounds.Queued)
	return o.recalls[0].qos == 0 || len(o.flight) == 0 || !full
}

// recall has a client given the retained messages that its subscriptions cover, as it takes them.
func (s *session) recall(c *conn, all []*recall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return
	}
	again := make(map[string]bool, len(all))
	for _, r := range all {
		again[r.filter] = true
	}
	// One of each filter, however often it is asked for.
	s.out.recalls = slices.DeleteFunc(s.out.recalls, func(r *recall) bool { return again[r.filter] })
	if len(s.out.recalls) == 0 { // what waits is older than what is retained by now
		s.out.before = len(s.out.waiting)
	}
	s.out.recalls = append(s.out.recalls, all...)
	c.kick()
}

// unrecall keeps back the retained messages of a subscription that is gone.
func (s *session) unrecall(b *Broker, filter string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.out.recalls, func(r *recall) bool { return r.filter == filter })
	if i >= 0 {
		s.out.recalls = slices.Delete(s.out.recalls, i, i+1)
		b.kept.unrecall(s, filter)
	}
}

// dropUnpromised forgets what waits with QoS 0: it is for clients that are connected.
func (o *outbox) dropUnpromised(b *Broker) {
	o.recalls = slices.DeleteFunc(o.recalls, func(r *recall) bool { return r.qos == 0 })
	if o.zeros == 0 {
		return
	}
	kept := o.waiting[:0]
	for _, m := range o.waiting {
		if m.qos > 0 {
			kept = append(kept, m)
		} else {
			o.free(b, m)
		}
	}
	clear(o.waiting[len(kept):])
	o.waiting, o.zeros = kept, 0
	o.before = min(o.before, len(kept))
}

// collect appends packets for the client until they are as long as one write should be.
func (o *outbox) collect(c *conn, b []byte, now time.Time) []byte {
	for o.resend < len(o.flight) && len(b) < writeSize {
		m := o.flight[o.resend]
		o.resend++
		if m.received {
			release := mqttwire.Ack{ID: m.id}
			b = release.Append(c.version, mqttwire.PUBREL, b)
		} else {
			b = c.appendMessage(b, m, now)
		}
	}
	for i := 0; i < o.before && len(b) < writeSize; {
		b, i = o.next(c, b, i, now)
	}
	b = o.collectRetained(c, b, now)
	for i := 0; i < len(o.waiting) && len(b) < writeSize; {
		b, i = o.next(c, b, i, now)
	}
	return b
}

// next appends the message that waits at i, if the client's window allows, and returns where to go on.
func (o *outbox) next(c *conn, b []byte, i int, now time.Time) ([]byte, int) {
	m := o.waiting[i]
	full := len(o.flight) >= c.window
	switch {
	case m.qos > 0 && full && o.zeros == 0:
		return b, len(o.waiting)
	case m.qos > 0 && full:
		return b, i + 1
	}
	o.remove(i)
	return o.hand(c, b, m, now), i
}

// hand appends a message that waits no more, and has it on its way where it was promised.
func (o *outbox) hand(c *conn, b []byte, m *outgoing, now time.Time) []byte {
	switch {
	case m.expired(now): // [MQTT-3.3.2-5]
		o.free(c.b, m)
		c.b.stats.undelivered.Add(1)
		return b
	case c.largest > 0 && c.size(m) > c.largest: // [MQTT-3.1.2-25]
		o.free(c.b, m)
		c.b.lose(tooLargeForClient, c.clientID, m.forward)
		return b
	case m.qos == 0:
		o.free(c.b, m)
	default:
		m.id = o.nextID()
		o.flight = append(o.flight, m)
		o.resend = len(o.flight)
		c.b.kept.moved(m)
	}
	c.b.stats.delivered.Add(1)
	return c.appendMessage(b, m, now)
}

// lookups is how often the retained messages are asked for the next one while a session is locked.
const lookups = 64

// collectRetained appends retained messages, as far as there is room for them. It may find none and not be done: see recalling.
func (o *outbox) collectRetained(c *conn, b []byte, now time.Time) []byte {
	for range lookups {
		if len(b) >= writeSize || !o.recalling(c) {
			break
		}
		r := o.recalls[0]
		f, over := c.b.retained.next(r)
		if over {
			o.recalls = o.recalls[1:]
			c.b.kept.unrecall(c.sess, r.filter)
		}
		if f == nil || f.expired(now) || !c.b.may(c.user, c.clientID, f.topic, Subscribe) {
			continue
		}
		m := &outgoing{forward: f, qos: min(f.qos, r.qos), retain: true}
		if r.id > 0 {
			m.ids = []uint32{r.id}
		}
		o.bytes += m.size()
		c.b.outBytes.Add(int64(m.size()))
		c.b.kept.queue(c.sess, m)
		b = o.hand(c, b, m, now)
	}
	return b
}

func (o *outbox) remove(i int) {
	if o.waiting[i].qos == 0 {
		o.zeros--
	}
	if i == 0 {
		o.waiting[0] = nil
		o.waiting = o.waiting[1:]
	} else {
		o.waiting = append(o.waiting[:i], o.waiting[i+1:]...)
	}
	if i < o.before {
		o.before--
	}
	if len(o.waiting) == 0 {
		o.waiting = nil
	}
}

// free gives back the room that a message took.
func (o *outbox) free(b *Broker, m *outgoing) {
	o.bytes -= m.size()
	b.queued(-m.size())
	b.kept.unqueue(m)
}

// nextID returns a packet id that is not in use. Fewer than there are ids may be on their way.
func (o *outbox) nextID() uint16 {
	for {
		o.lastID++
		used := o.lastID == 0
		for _, m := range o.flight {
			used = used || m.id == o.lastID
		}
		if !used {
			return o.lastID
		}
	}
}

// size is how many bytes the message's packet has without an alias.
func (c *conn) size(m *outgoing) int {
	p := mqttwire.Publish{Topic: m.topicBytes(), QoS: m.qos, Payload: m.payload, Properties: c.propertiesOf(m, time.Now())}
	return p.Size(c.version)
}

// propertiesOf are the properties that a client of MQTT 5 gets with a message.
func (c *conn) propertiesOf(m *outgoing, now time.Time) mqttwire.Properties {
	all := m.properties[:len(m.properties):len(m.properties)]
	if !m.expires.IsZero() { // [MQTT-3.3.2-6]
		left := max(0, m.expires.Sub(now)+time.Second-1)
		all = all.AddNumber(mqttwire.MessageExpiry, uint32(left/time.Second))
	}
	for _, id := range m.ids {
		all = all.AddNumber(mqttwire.SubscriptionIdentifier, id)
	}
	return all
}

// appendMessage appends a PUBLISH. The caller holds sess.mu.
func (c *conn) appendMessage(b []byte, m *outgoing, now time.Time) []byte {
	p := mqttwire.Publish{Dup: m.sent && m.qos > 0, Retain: m.retain, QoS: m.qos, ID: m.id, Topic: m.topicBytes(), Payload: m.payload}
	m.sent = true
	if c.v5 {
		p.Properties = c.propertiesOf(m, now)
		const alone = 5 // bytes that an alias and a longer length take
		if c.mostGiven > 0 && (c.largest == 0 || p.Size(c.version)+alone <= c.largest) {
			alias, known := c.alias(m.topic)
			if alias > 0 {
				p.Properties = p.Properties.AddNumber(mqttwire.TopicAlias, uint32(alias))
			}
			if known {
				p.Topic = nil
			}
		}
	}
	return p.Append(c.version, b)
}

// alias returns the alias of a topic, 0 if it has none, and whether the client knows it already. The first topics get one.
func (c *conn) alias(topic string) (alias uint16, known bool) {
	if alias, known = c.given[topic]; known || len(c.given) >= c.mostGiven {
		return alias, known
	}
	if c.given == nil {
		c.given = make(map[string]uint16)
	}
	alias = uint16(len(c.given) + 1)
	c.given[topic] = alias
	return alias, false
}

// deliver gives the client a message, or lets it wait for it; it never waits for a client.
func (s *session) deliver(b *Broker, m *outgoing) {
	why, ok := s.await(b, m)
	if why == allQueuesFull && b.makeWay(s, m.size()) {
		why, ok = s.await(b, m)
	}
	if !ok {
		b.lose(why, s.id, m.forward)
	}
}

// await lets a message wait for the client, or says why not. One that is not for it is taken care of with that.
func (s *session) await(b *Broker, m *outgoing) (why loss, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.conn == nil && m.qos == 0 {
		return 0, true
	}
	o := &s.out
	switch n := m.size(); {
	case len(o.waiting) >= maxOutbound || o.bytes > 0 && o.bytes+n > b.cfg.Bounds.Queue:
		return queueFull, false
	case !b.queued(n):
		return allQueuesFull, false
	}
	m.sent = s.doubt
	o.waiting = append(o.waiting, m)
	b.kept.queue(s, m)
	o.bytes += m.size()
	if m.qos == 0 {
		o.zeros++
	}
	if s.conn != nil {
		s.conn.kick()
	}
	return 0, true
}

// makeWay takes from the queues that are longest what a message needs of the room for all, if there is one that is longer than
// s's would be then; a queue that its client does not take from, since it is not connected, counts twice. So the room goes to
// all in equal parts, and whoever takes what it gets finds some. It tells whether it took anything. It is called by the
// fan-out, which holds no lock.
func (b *Broker) makeWay(s *session, n int) (some bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, own := s.weight()
	room := b.cfg.Bounds.Queued
	for b.outBytes.Load()+int64(n) > int64(room) {
		var largest *session
		most := own + n
		for _, other := range b.sessions {
			if gives, weight := other.weight(); other != s && gives && weight > most {
				largest, most = other, weight
			}
		}
		if largest == nil {
			break
		}
		largest.giveWay(b, n+room/128) // not for each message anew
		some = true
	}
	return some
}

// weight is how much of the room for all a session has, and whether it could give any back.
func (s *session) weight() (gives bool, weight int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return len(s.out.waiting) > 0, 2 * s.out.bytes
	}
	return len(s.out.waiting) > 0, s.out.bytes
}

// giveWay drops the oldest of what waits, of at least so many bytes if there are.
func (s *session) giveWay(b *Broker, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := &s.out; n > 0 && len(o.waiting) > 0; {
		m := o.waiting[0]
		o.remove(0)
		o.free(b, m)
		b.lose(gaveWay, s.id, m.forward)
		n -= m.size()
	}
}

// queued counts bytes that wait for subscribers, and tells whether there is room for them.
func (b *Broker) queued(n int) bool {
	if total := b.outBytes.Add(int64(n)); n > 0 && total > int64(b.cfg.Bounds.Queued) {
		b.outBytes.Add(int64(-n))
		return false
	}
	return true
}

// discard forgets what a session that has ended was to get.
func (s *session) discard(b *Broker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.queued(-s.out.bytes)
	for _, m := range slices.Concat(s.out.flight, s.out.waiting) {
		b.kept.unqueue(m)
	}
	for _, r := range s.out.recalls {
		b.kept.unrecall(s, r.filter)
	}
	if !s.ended {
		b.held.Add(-int64(len(s.received)))
	}
	s.out, s.ended = outbox{}, true
}

// delivered takes PUBACK, PUBREC or PUBCOMP, and returns the answer.
func (s *session) delivered(c *conn, t mqttwire.Type, p mqttwire.Ack) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c {
		return nil, errGone
	}
	o := &s.out
	for i, m := range o.flight {
		if m.id != p.ID || i >= o.resend {
			continue
		}
		switch {
		case t == mqttwire.PUBACK && m.qos == 1, t == mqttwire.PUBCOMP && m.received, t == mqttwire.PUBREC && m.qos == 2 && p.Code >= mqttwire.UnspecifiedError:
			o.flight = append(o.flight[:i], o.flight[i+1:]...)
			o.resend--
			o.free(c.b, m)
			c.kick()
			return nil, nil
		case t == mqttwire.PUBREC && m.qos == 2:
			m.received = true
			c.b.kept.moved(m)
			release := mqttwire.Ack{ID: m.id}
			return release.Append(c.version, mqttwire.PUBREL, nil), nil
		}
		return nil, &mqttwire.Error{Code: mqttwire.ProtocolError, Why: t.String() + " for a message that wants another"}
	}
	if t == mqttwire.PUBREC && p.Code < mqttwire.UnspecifiedError { // 4.13.1: not an error while both recover
		release := mqttwire.Ack{ID: p.ID}
		if c.v5 {
			release.Code = mqttwire.PacketIdentifierNotFound
		}
		return release.Append(c.version, mqttwire.PUBREL, nil), nil
	}
	return nil, nil
}
