package broker

import (
	"context"
	"slices"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
)

// will is what a client asked to have published when it goes without taking its leave. Like any message it becomes an
// entry first, and is passed on after the commit.
type will struct {
	conn  *conn // that left it; only who it is is used
	pk    mqttwire.Publish
	topic string
	delay time.Duration
	due   time.Time // when the delay is over; set once the client has gone
}

// Wills that wait for their delay, or for the disk. Beyond that they are lost, and it is told.
const (
	maxWillBytes = 16 << 20
	willOverhead = 512
)

func (w *will) size() int {
	return len(w.pk.Payload) + len(w.topic) + len(w.pk.Properties) + willOverhead
}

func newWill(c *conn, p *mqttwire.Will) *will {
	return &will{
		conn:  c,
		topic: string(p.Topic),
		delay: time.Duration(p.Properties.Number(mqttwire.WillDelay, 0)) * time.Second,
		pk: mqttwire.Publish{
			QoS: p.QoS, Retain: p.Retain, Payload: slices.Clone(p.Payload),
			Properties: p.Properties.Without(mqttwire.WillDelay),
		},
	}
}

// lastWill lets the will of a client that has gone without taking its leave become due, or wait. The caller holds mu.
func (b *Broker) lastWill(c *conn, current, connected bool) {
	w := c.will
	if w == nil || c.tookLeave || b.isStopping() {
		return
	}
	if b.willBytes+w.size() > maxWillBytes {
		b.told.Warn("MQTT will lost", "too many wait", "client", c.clientID, "user", c.user, "topic", w.topic)
		return
	}
	// 3.1.3.2.2: published when the delay is over or the session ends, whichever is first.
	wait := min(w.delay, c.sess.expiry)
	switch {
	case wait == 0 || !current:
		b.willBytes += w.size()
		b.willIsDue(w)
	case !connected:
		b.lapse(c.clientID) // of a connection that ended later, and was dealt with before
		b.willBytes += w.size()
		w.due = time.Now().Add(wait)
		b.wills[c.clientID] = w
		b.kept.will(w, true)
	}
}

// lapse forgets the will of a client that waits for its delay, if there is one. The caller holds mu.
func (b *Broker) lapse(clientID string) {
	if w := b.forgetWill(clientID); w != nil {
		b.willBytes -= w.size()
	}
}

// willIsDue has a will published. The caller holds mu.
func (b *Broker) willIsDue(w *will) {
	b.dueWills = append(b.dueWills, w)
	tell(b.willDue)
}

// publishWills publishes the wills that are due, one after the other: while the disk is full, they wait for it here and
// hold up nothing else.
func (b *Broker) publishWills(ctx context.Context) {
	for {
		b.mu.Lock()
		var w *will
		if len(b.dueWills) > 0 {
			w = b.dueWills[0]
			b.dueWills = b.dueWills[1:]
		}
		b.mu.Unlock()
		if w == nil {
			select {
			case <-b.willDue:
				continue
			case <-ctx.Done():
				return
			}
		}
		b.publishWill(w)
		b.mu.Lock()
		b.willBytes -= w.size()
		b.mu.Unlock()
	}
}

// publishWill takes a will as a message of the client that left it, if that client may publish it now.
func (b *Broker) publishWill(w *will) {
	c, topic := w.conn, w.topic
	if code := b.checkTopic(c, topic); code != mqttwire.Success {
		b.stats.refused.Add(1)
		b.told.Warn("MQTT will refused", code.String(), "client", c.clientID, "user", c.user, "topic", topic)
		return
	}
	if b.isStopping() {
		return
	}
	var flags lightchain.Flags
	if w.pk.QoS == 0 {
		flags = lightchain.QoS0
	}
	b.stats.wills.Add(1)
	pass := b.passable(c, &w.pk, topic)
	if unrecorded, count := b.passesOn(topic); unrecorded {
		count()
		b.owed.Add(1)
		b.kept.noteAlone(pass, func() { b.finish(nil, pass, nil) })
		return
	}
	m := b.message(c, topic, w.pk.Payload, flags)
	m.Beside = pass.beside(m, b.kept != nil)
	b.kept.note(m.Source, pass, m.Flags&lightchain.PayloadHashed != 0)
	m.Done = func(err error) { b.finish(err, pass, m) }
	err := b.put(nil, m)
	if err != nil {
		b.kept.unnote(pass)
	}
	if err != nil && !b.isStopping() {
		b.told.Warn("MQTT will lost", err.Error(), "client", c.clientID, "user", c.user, "topic", topic)
	}
}
