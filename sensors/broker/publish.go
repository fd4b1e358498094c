package broker

import (
	"hash/maphash"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"edgechain/lightchain"
	"edgechain/sensors"
)

// publish takes a PUBLISH. It runs on the client's reader: as long as it has not returned, nothing more is read from
// that client's socket. Its error ends the connection.
func (b *Broker) publish(c *conn, pk *packets.Packet) error {
	if code := pk.PublishValidate(topicAliasMax); code != packets.CodeSuccess {
		return c.violate(code)
	}
	topic := pk.TopicName
	if alias := pk.Properties.TopicAlias; alias > 0 {
		topic = c.cl.State.TopicAliases.Inbound.Set(alias, strings.Clone(topic))
		if topic == "" {
			return c.violate(packets.ErrTopicAliasInvalid)
		}
	}
	if code := b.checkTopic(c, topic); code != packets.CodeSuccess {
		return b.refuse(c, pk, topic, code)
	}
	if !c.sess.taking.TryLock() { // the connection before still waits for the disk
		stop := c.keepAlive()
		c.sess.taking.Lock()
		stop()
	}
	defer c.sess.taking.Unlock()
	if b.isStopping() {
		return c.wait()
	}
	if pk.FixedHeader.Qos == 0 {
		return b.takeUnpromised(c, pk, topic)
	}
	return b.takePromised(c, pk, topic)
}

// checkTopic tells whether a client may publish to a topic. What begins with $ is covered by no wildcard of a rule [4.7.2];
// bridges and devices of some clouds publish there all the same, and go on for ever if they are refused. So it is
// recorded for whoever may publish anything, and passed on by rules that name it alone: see reserved.
func (b *Broker) checkTopic(c *conn, topic string) packets.Code {
	users := b.users.Load()
	if b.may(c, topic, Publish) || topic[0] == '$' && users.publishes(c.user) {
		return packets.CodeSuccess
	}
	return packets.ErrNotAuthorized
}

// reserved tells of a topic that begins with $ whether its messages are recorded and not passed on: unless a rule names it,
// and always below $SYS, which is the broker's own.
func (b *Broker) reserved(c *conn, topic string) bool {
	return topic[0] == '$' && (topic == "$SYS" || strings.HasPrefix(topic, "$SYS/") || b.users.Load() == nil || !b.may(c, topic, Publish))
}

// refuse answers a PUBLISH that the client may not make. MQTT 3.1.1 has no word for that: there, an acknowledgement
// would say "on disk", so the connection is closed [MQTT-3.3.5-2].
func (b *Broker) refuse(c *conn, pk *packets.Packet, topic string, code packets.Code) error {
	b.stats.refused.Add(1)
	if c.refused++; c.refused&(c.refused-1) == 0 { // the 1st, 2nd, 4th …: a device may do it a thousand times a second
		b.log.Warn("MQTT message refused", "client", c.clientID, "user", c.user, "topic", topic, "reason", code.Reason, "so far", c.refused)
	}
	switch {
	case pk.FixedHeader.Qos == 0:
		return nil
	case !c.v5:
		return c.violate(code)
	}
	if err := c.awaitRoom(); err != nil {
		return err
	}
	c.sess.refuse(c, &exchange{b: b, s: c.sess, id: pk.PacketID, qos: pk.FixedHeader.Qos, state: refused, code: code.Code})
	return nil
}

// takeUnpromised takes a message of QoS 0.
func (b *Broker) takeUnpromised(c *conn, pk *packets.Packet, topic string) error {
	b.stats.received[0].Add(1)
	pass := b.passable(c, pk, topic)
	m := b.message(c, topic, pk.Payload, lightchain.QoS0)
	m.Done = func(err error) { b.finish(err, pass) }
	if err := b.put(c, topic, m); err != nil {
		return c.wait()
	}
	return nil
}

// takePromised takes a message of QoS 1 or 2, or recognises it.
func (b *Broker) takePromised(c *conn, pk *packets.Packet, topic string) error {
	if err := c.awaitRoom(); err != nil {
		return err
	}
	qos, dup := pk.FixedHeader.Qos, pk.FixedHeader.Dup
	b.stats.received[qos].Add(1)
	ex := &exchange{b: b, s: c.sess, id: pk.PacketID, qos: qos, digest: b.digest(topic, pk)}
	switch c.sess.admit(c, ex, dup) {
	case repeated:
		b.stats.recognised.Add(1)
		return nil
	case late:
		return c.wait()
	}
	var flags lightchain.Flags
	if dup {
		flags = lightchain.Redelivered
		b.stats.redelivered.Add(1)
	}
	ex.pass = b.passable(c, pk, topic)
	m := b.message(c, topic, pk.Payload, flags)
	m.Done = ex.done
	if err := b.put(c, topic, m); err != nil {
		c.sess.withdraw(ex)
		return c.wait()
	}
	return nil
}

// digest tells one message from another; the packet id tells messages of equal content apart.
func (b *Broker) digest(topic string, pk *packets.Packet) uint64 {
	var h maphash.Hash
	h.SetSeed(b.seed)
	_, _ = h.WriteString(topic)
	_ = h.WriteByte(0) // no topic contains it
	if pk.FixedHeader.Retain {
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
		return len(c.sess.queue) >= c.b.cfg.MaxInFlight && c.sess.conn == c
	}
	if !full() {
		return nil
	}
	if c.v5 {
		return c.violate(packets.ErrReceiveMaximum)
	}
	c.b.stats.waiting.Add(1)
	defer c.b.stats.waiting.Add(-1)
	defer c.keepAlive()()
	for full() {
		select {
		case <-c.room:
		case <-c.gone:
			return packets.ErrRejectPacket
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
	return packets.ErrRejectPacket
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
