package broker

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// publish takes a PUBLISH. It runs on the client's reader: as long as it has not returned, nothing more is read from
// that client's socket. Its error ends the connection.
func (b *Broker) publish(c *conn, pk *mqttwire.Publish) error {
	topic, err := c.topicOf(pk)
	if err != nil {
		return err
	}
	if _, ok := pk.Properties.Get(mqttwire.SubscriptionIdentifier); ok { // [MQTT-3.3.4-6]
		return &mqttwire.Error{Code: mqttwire.ProtocolError, Why: "a PUBLISH from a client with a subscription identifier"}
	}
	pk.Payload = alone(pk)
	if code := b.checkTopic(c, topic); code != mqttwire.Success {
		return b.refuse(c, pk, topic, code)
	}
	if err := c.turn(); err != nil {
		return err
	}
	defer func() { <-c.sess.taking }()
	if b.isStopping() {
		return c.wait()
	}
	if pk.QoS == 0 {
		return b.takeUnpromised(c, pk, topic)
	}
	return b.takePromised(c, pk, topic)
}

// alone returns a PUBLISH's payload, in memory of its own where what stands before it in the packet is of any size: a payload
// that lies in the packet keeps all of it, for as long as the message waits for the disk, or for a subscriber.
func alone(pk *mqttwire.Publish) []byte {
	const little = 256
	if len(pk.Topic)+len(pk.Properties) <= little {
		return pk.Payload
	}
	return slices.Clone(pk.Payload)
}

// turn waits until no other connection of the session waits for the disk.
func (c *conn) turn() error {
	select {
	case c.sess.taking <- struct{}{}:
		return nil
	default:
	}
	defer c.keepAlive()()
	select {
	case c.sess.taking <- struct{}{}:
		return nil
	case <-c.gone:
		return errGone
	}
}

// topicOf returns a PUBLISH's topic, which an alias may stand for (3.3.2.3.4).
func (c *conn) topicOf(pk *mqttwire.Publish) (string, error) {
	if c.v5 {
		if alias := pk.Properties.Number(mqttwire.TopicAlias, 0); alias > topicAliasMax { // [MQTT-3.3.2-9]
			return "", &mqttwire.Error{Code: mqttwire.TopicAliasInvalid, Why: "an alias above the Topic Alias Maximum"}
		} else if alias > 0 {
			if c.aliases == nil {
				c.aliases = new([topicAliasMax + 1]string)
			}
			if len(pk.Topic) > 0 {
				if c.aliasBytes += len(pk.Topic) - len(c.aliases[alias]); c.aliasBytes > maxAliasBytes {
					return "", &mqttwire.Error{Code: mqttwire.QuotaExceeded, Why: fmt.Sprintf("topic aliases of more than %d bytes", maxAliasBytes)}
				}
				c.aliases[alias] = string(pk.Topic)
			}
			if c.aliases[alias] == "" {
				return "", &mqttwire.Error{Code: mqttwire.TopicAliasInvalid, Why: "an alias that stands for nothing"}
			}
			return c.aliases[alias], nil
		}
	}
	return string(pk.Topic), nil
}

// checkTopic tells whether a client may publish to a topic. What begins with $ is covered by no wildcard of a rule [4.7.2];
// bridges and devices of some clouds publish there all the same, and go on for ever if they are refused. So it is
// recorded for whoever may publish anything, and passed on by rules that name it alone: see reserved.
func (b *Broker) checkTopic(c *conn, topic string) mqttwire.Reason {
	users := b.users.Load()
	if b.may(c.user, c.clientID, topic, Publish) || mqttwire.Reserved(topic) && users.publishes(c.user) && !users.denies(c.user, c.clientID, topic, Publish) {
		return mqttwire.Success
	}
	return mqttwire.NotAuthorized
}

// reserved tells of a topic that begins with $ whether its messages are recorded and not passed on: unless a rule names it,
// and always below $SYS, which is the broker's own.
func (b *Broker) reserved(c *conn, topic string) bool {
	return mqttwire.Reserved(topic) && (topic == "$SYS" || strings.HasPrefix(topic, "$SYS/") || b.users.Load() == nil || !b.may(c.user, c.clientID, topic, Publish))
}

// may tells whether a client may publish to a topic, or subscribe to a filter.
func (b *Broker) may(user, clientID, topic string, what Access) bool {
	users := b.users.Load()
	return users == nil || users.allow(user, clientID, topic, what)
}

// refuse answers a PUBLISH that the client may not make. MQTT 3.1.1 has no word for that: there, an acknowledgement
// would say "on disk", so the connection is closed [MQTT-3.3.5-2].
func (b *Broker) refuse(c *conn, pk *mqttwire.Publish, topic string, code mqttwire.Reason) error {
	b.stats.refused.Add(1)
	b.told.Warn("MQTT message refused", code.String(), "client", c.clientID, "user", c.user, "topic", topic)
	switch {
	case pk.QoS == 0:
		return nil
	case !c.v5:
		return &mqttwire.Error{Code: code, Why: "a message that it may not publish"}
	}
	if err := c.awaitRoom(); err != nil {
		return err
	}
	c.sess.refuse(c, &exchange{b: b, s: c.sess, id: pk.ID, qos: pk.QoS, state: refused, code: code})
	return nil
}

// passesOn tells of a topic whether its messages are passed on and never recorded, and what counts each that is taken.
func (b *Broker) passesOn(topic string) (pass bool, count func()) {
	if b.cfg.PassOn == nil {
		return false, nil
	}
	pass, count = b.cfg.PassOn(topic)
	if count == nil {
		count = func() {}
	}
	return pass, count
}

// takeUnpromised takes a message of QoS 0.
func (b *Broker) takeUnpromised(c *conn, pk *mqttwire.Publish, topic string) error {
	b.stats.received[0].Add(1)
	pass := b.passable(c, pk, topic)
	if unrecorded, count := b.passesOn(topic); unrecorded {
		count()
		b.owed.Add(1)
		b.finish(nil, pass, nil)
		return nil
	}
	if c.sess.pace.take(int(b.rate.Load())) > 0 {
		b.stats.exceeded.Add(1)
		b.exceeded.add(c.clientID, topic)
		if b.cfg.Exceeded != nil {
			b.cfg.Exceeded(topic)
		}
		return nil
	}
	m := b.message(c, topic, pk.Payload, lightchain.QoS0)
	m.Beside = pass.beside(m, b.kept != nil)
	m.Done = func(err error) { b.finish(err, pass, m) }
	if err := b.put(c, m); err != nil {
		return c.wait()
	}
	return nil
}

// takePromised takes a message of QoS 1 or 2, or recognises it.
func (b *Broker) takePromised(c *conn, pk *mqttwire.Publish, topic string) error {
	if err := c.awaitRoom(); err != nil {
		return err
	}
	unrecorded, count := b.passesOn(topic)
	if !unrecorded {
		if err := c.awaitPace(); err != nil {
			return err
		}
	}
	b.stats.received[pk.QoS].Add(1)
	ex := &exchange{b: b, s: c.sess, id: pk.ID, qos: pk.QoS, digest: b.digest(topic, pk)}
	if pk.QoS == 2 && b.kept != nil {
		ex.sum = sum(topic, pk)
	}
	var flags lightchain.Flags
	if pk.Dup {
		flags = lightchain.Redelivered
	}
	// Decoded before the session knows of it, so that a decoder that panics leaves nothing behind that would be taken for a
	// message on its way.
	var m *sensors.Message
	if !unrecorded {
		m = b.message(c, topic, pk.Payload, flags)
		m.Done = func(err error) { ex.done(err, m) }
	}
	ex.pass = b.passable(c, pk, topic)
	if m != nil {
		m.Beside = ex.pass.beside(m, b.kept != nil)
	}
	switch c.sess.admit(c, ex, pk.Dup) {
	case repeated:
		b.stats.recognised.Add(1)
		return nil
	case late:
		return c.wait()
	case tooMany:
		return &mqttwire.Error{Code: mqttwire.ReceiveMaximumExceeded, Why: "QoS 2 messages that it does not release"}
	}
	if pk.Dup {
		b.stats.redelivered.Add(1)
	}
	if m == nil {
		count()
		b.owed.Add(1)
		b.kept.noteAlone(ex.pass, func() { ex.done(nil, nil) })
		return nil
	}
	pass := ex.pass // the sink's from put on
	b.kept.note(m.Source, pass, m.Flags&lightchain.PayloadHashed != 0)
	if err := b.put(c, m); err != nil {
		b.kept.unnote(pass)
		c.sess.withdraw(ex)
		return c.wait()
	}
	return nil
}

// unreleased is how many QoS 2 messages the client may have published and not released. One of MQTT 5 was told.
func (c *conn) unreleased() int {
	if c.v5 {
		return max(c.limits.MaxInFlight, 1)
	}
	return maxUnreleased
}

// digest tells one message from another; the packet id tells messages of equal content apart.
func (b *Broker) digest(topic string, pk *mqttwire.Publish) uint64 {
	var h maphash.Hash
	h.SetSeed(b.seed)
	_, _ = h.WriteString(topic)
	_ = h.WriteByte(0) // no topic contains it
	if pk.Retain {
		_ = h.WriteByte(1)
	} else {
		_ = h.WriteByte(0)
	}
	_, _ = h.Write(pk.Payload)
	return h.Sum64()
}

// awaitRoom waits while the client has as many unacknowledged messages as it may: its socket is not read meanwhile. A
// client of MQTT 5 was told how many that are [MQTT-3.3.4-9].
func (c *conn) awaitRoom() error {
	full := func() bool {
		c.sess.mu.Lock()
		defer c.sess.mu.Unlock()
		return len(c.sess.queue) >= c.limits.MaxInFlight && c.sess.conn == c
	}
	if !full() {
		return nil
	}
	if c.v5 {
		return &mqttwire.Error{Code: mqttwire.ReceiveMaximumExceeded, Why: "more unacknowledged messages than it may have"}
	}
	c.b.stats.waiting.Add(1)
	defer c.b.stats.waiting.Add(-1)
	defer c.keepAlive()()
	for full() {
		select {
		case <-c.room:
		case <-c.gone:
			return errGone
		}
	}
	return nil
}

// awaitPace waits until the client's rate lets one more message pass: its socket is not read meanwhile.
func (c *conn) awaitPace() error {
	b := c.b
	wait := c.sess.pace.take(int(b.rate.Load()))
	if wait == 0 {
		return nil
	}
	b.stats.slowed.Add(1)
	b.stats.waiting.Add(1)
	defer b.stats.waiting.Add(-1)
	defer c.keepAlive()()
	for ; wait > 0; wait = c.sess.pace.take(int(b.rate.Load())) {
		select {
		case <-time.After(min(wait, time.Second)): // the rate may be another by then
		case <-c.gone:
			return errGone
		case <-b.stopping:
			return c.wait()
		}
	}
	return nil
}

// wait ends the reading of a connection whose messages can no longer be taken. While the broker is stopping, it lets the
// acknowledgements that are still owed go out first.
func (c *conn) wait() error {
	if c.b.isStopping() {
		<-c.gone
	}
	return errGone
}

func (b *Broker) isStopping() bool {
	select {
	case <-b.stopping:
		return true
	default:
		return false
	}
}

func (b *Broker) message(c *conn, topic string, payload []byte, flags lightchain.Flags) *sensors.Message {
	now := b.cfg.Now()
	m := b.cfg.Decode(topic, c.named, c.user, flags, payload, now)
	m.Source, m.Received = c.source+topic, now
	m.Flags |= flags
	return m
}

// passable is what passing the message on takes, or nil if nobody could want it.
func (b *Broker) passable(c *conn, pk *mqttwire.Publish, topic string) *forward {
	if !pk.Retain && b.tree.count.Load() == 0 || b.reserved(c, topic) {
		return nil
	}
	f := &forward{origin: c.clientID, topic: topic, payload: pk.Payload, qos: pk.QoS, retain: pk.Retain}
	if len(pk.Properties) > 0 {
		if expiry, ok := pk.Properties.Get(mqttwire.MessageExpiry); ok {
			f.expires = time.Now().Add(time.Duration(expiry.Number) * time.Second)
		}
		f.properties = pk.Properties.Without(mqttwire.MessageExpiry, mqttwire.TopicAlias, mqttwire.WillDelay)
	}
	return f
}
