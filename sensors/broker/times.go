package broker

import (
	"slices"
	"time"

	"edgechain.example/mqttwire"
	"edgechain.example/sensors/broker/subscriberstore"
)

// In memory times are those of a clock that nobody sets. What is written outlives that clock, so it is in the wall clock's, and
// that one may be wrong: a board without a battery comes up in 1970, or where it was switched off, until it hears of the time.
//
// Whatever the wall clock says, all that is written is by the same one, which the newest write names: when it is stepped, all
// times are written again. At a start it counts if it can have gone on from there. Else nobody knows how long the board was off,
// and no time has passed: something ends late then, and nothing is lost by a clock.

// noClock is before any time at which this program was there.
var noClock = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// written takes the moment of the newest write.
func (l *found) written(at time.Time) {
	if at.Before(noClock) || l.wall.Before(at) {
		l.at = at
	}
}

// later is the moment that a written time stands for; zero for 0.
func (l *found) later(nano int64) time.Time {
	if nano == 0 {
		return time.Time{}
	}
	return l.now.Add(time.Unix(0, nano).Sub(l.at.Round(0)))
}

// forward decodes a message.
func (l *found) forward(e *encoded) *forward {
	e.begun()
	f := &forward{qos: e.octet(), retain: e.octet() == 1}
	f.expires = l.later(e.signed())
	f.origin, f.topic, f.properties, f.payload = e.text(), e.text(), mqttwire.Properties(slices.Clone(e.part())), slices.Clone(e.part())
	return f
}

// wall is a moment as it is written.
func (k *kept) wall(t time.Time) int64 { return k.b.cfg.Now().Add(time.Until(t)).UnixNano() }

// value is a message as it is written.
func (k *kept) value(f *forward) subscriberstore.Value {
	if f.expires.IsZero() {
		return f
	}
	return expiring{f, k}
}

// expiring is a message that expires.
type expiring struct {
	f *forward
	k *kept
}

// Append implements [subscriberstore.Value].
func (m expiring) Append(b []byte) []byte { return m.f.append(b, m.k.wall(m.f.expires)) }

// clock tells whether the wall clock was stepped.
type clock struct{ at, wall time.Time }

// mostDrift is by how much the two clocks may go apart before what is written is written again.
const mostDrift = time.Second

func (c *clock) stepped(now, wall time.Time) bool {
	drift := wall.Round(0).Sub(c.wall.Round(0)) - now.Sub(c.at)
	if !c.at.IsZero() && drift.Abs() < mostDrift {
		return false
	}
	first := c.at.IsZero()
	c.at, c.wall = now, wall
	return !first
}

// followClock writes all times again where the wall clock was stepped.
func (k *kept) followClock() {
	b := k.b
	if !k.clock.stepped(time.Now(), b.cfg.Now()) {
		return
	}
	k.store.Begin()
	defer k.store.End()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions {
		k.session(s)
	}
	for _, w := range b.wills {
		k.will(w, false)
	}
	b.retained.rewrite()
	k.mu.Lock()
	for f, at := range k.bodies {
		if !f.expires.IsZero() {
			k.store.Set(at.key, k.value(f), false)
		}
	}
	k.mu.Unlock()
	k.store.Touch()
}
