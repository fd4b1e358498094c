package broker

import (
	"slices"
	"time"

	"edgechain/mqttwire"
)

// outbox is what a client is to get: what waits, and what is on its way and not acknowledged. It is part of the session,
// whose mu guards it.
//
// What waits leaves in the order in which it came, as far as the client's window goes; only QoS 0, which takes no part in
// the window, passes by what waits for it. What is on its way comes again first when the client is back [MQTT-4.4.0-1].
type outbox struct {
	waiting []*outgoing
	zeros   int // of waiting, QoS 0
	bytes   int // of waiting and flight
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

func (m *outgoing) size() int { return m.forward.size() + outgoingOverhead }

// again has what is on its way sent once more, on another connection.
func (o *outbox) again() { o.resend = 0 }

// ready tells whether something may be sent.
func (o *outbox) ready(c *conn) bool {
	return o.resend < len(o.flight) || len(o.waiting) > 0 && (o.zeros > 0 || len(o.flight) < c.window)
}

// dropUnpromised forgets what waits with QoS 0: it is for clients that are connected.
func (o *outbox) dropUnpromised(b *Broker) {
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
	for i := 0; i < len(o.waiting) && len(b) < writeSize; {
		m := o.waiting[i]
		full := len(o.flight) >= c.window
		switch {
		case m.qos > 0 && full && o.zeros == 0:
			return b
		case m.qos > 0 && full:
			i++
			continue
		}
		o.remove(i)
		if m.expired(now) || c.largest > 0 && c.size(m) > c.largest { // [MQTT-3.3.2-5], [MQTT-3.1.2-25]
			o.free(c.b, m)
			c.b.stats.undelivered.Add(1)
			continue
		}
		if m.qos == 0 {
			o.free(c.b, m)
		} else {
			m.id = o.nextID()
			o.flight = append(o.flight, m)
			o.resend = len(o.flight)
			c.b.kept.moved(m)
		}
		c.b.stats.delivered.Add(1)
		b = c.appendMessage(b, m, now)
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

// deliver gives the client a message, or lets it wait for it; it never blocks.
func (s *session) deliver(b *Broker, m *outgoing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.conn == nil && m.qos == 0 {
		return
	}
	o := &s.out
	if n := m.size(); len(o.waiting) >= maxOutbound || o.bytes > 0 && o.bytes+n > b.cfg.Bounds.Queue || !b.queued(n) {
		b.stats.undelivered.Add(1)
		return
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
