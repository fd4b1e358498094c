package broker

import (
	"context"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"edgechain/lightchain"
)

// will is what a client asked to have published when it goes without taking its leave. Like any message it becomes an
// entry first, and is passed on after the commit.
type will struct {
	conn  *conn // that left it
	pk    packets.Packet
	delay time.Duration
	due   time.Time // when the delay is over; set once the client has gone
}

func newWill(c *conn, connect packets.Packet) *will {
	p := connect.Connect
	w := &will{
		conn:  c,
		delay: time.Duration(p.WillProperties.WillDelayInterval) * time.Second,
		pk: packets.Packet{
			ProtocolVersion: connect.ProtocolVersion,
			FixedHeader:     packets.FixedHeader{Type: packets.Publish, Qos: p.WillQos, Retain: p.WillRetain},
			TopicName:       p.WillTopic,
			Payload:         p.WillPayload,
			Properties:      p.WillProperties.Copy(false),
		},
	}
	w.pk.Properties.WillDelayInterval = 0
	return w
}

// lastWill publishes the will of a client that has gone without taking its leave, or lets it wait.
func (b *Broker) lastWill(c *conn, p packets.Properties) {
	w := c.will
	if w == nil || c.tookLeave || b.isStopping() {
		return
	}
	// 3.1.3.2.2: published when the delay is over or the session ends, whichever is first.
	wait := min(w.delay, time.Duration(p.SessionExpiryInterval)*time.Second)
	if wait == 0 {
		b.publishWill(w)
		return
	}
	b.mu.Lock()
	current := b.sessions[c.clientID]
	if current == c.sess && !c.sess.connected() {
		w.due = time.Now().Add(wait)
		b.wills[c.clientID] = w
	}
	b.mu.Unlock()
	if current != c.sess {
		b.publishWill(w) // its session has ended: another has begun
	}
}

// publishWill takes a will as a message of the client that left it, if that client may publish it now.
func (b *Broker) publishWill(w *will) {
	c, topic := w.conn, w.pk.TopicName
	if code := b.checkTopic(c, topic); code != packets.CodeSuccess {
		b.stats.refused.Add(1)
		b.log.Warn("MQTT will refused", "client", c.clientID, "user", c.user, "topic", topic, "reason", code.Reason)
		return
	}
	var flags lightchain.Flags
	if w.pk.FixedHeader.Qos == 0 {
		flags = lightchain.QoS0
	}
	pass := b.passable(c, &w.pk, topic)
	m := b.message(c, topic, w.pk.Payload, flags)
	m.Done = func(err error) { b.finish(err, pass) }
	b.stats.wills.Add(1)
	if err := b.put(c, topic, m); err != nil {
		b.log.Warn("MQTT will lost", "client", c.clientID, "topic", topic, "error", err)
	}
}

// housekeeping publishes wills whose delay is over.
func (b *Broker) housekeeping(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			for _, w := range b.dueWills(now) {
				b.publishWill(w)
			}
		}
	}
}

func (b *Broker) dueWills(now time.Time) (due []*will) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, w := range b.wills {
		if !now.Before(w.due) {
			due = append(due, w)
			delete(b.wills, id)
		}
	}
	return due
}
