package broker

import (
	"slices"
	"time"
)

// stranger is a connection that has not shown who it is: a conn, or a visitor.
type stranger interface {
	from() string // the host's address
	Close() error
}

// place is one stranger's among those that may be there at once.
type place struct {
	stranger
	since time.Time
	heard bool // its CONNECT is here, and being looked at
}

const (
	// keptPlace is how long a stranger may have its place while others wait for one.
	keptPlace = time.Second
	// silentPlace is the same where its address has more than fewPlaces, and nothing was heard of it.
	silentPlace = 100 * time.Millisecond
	fewPlaces   = 8
)

// admit lets a connection in, as a stranger.
func (b *Broker) admit(c *conn) bool {
	v := visitorOf(c.Conn)
	if v == nil && !b.enter(c) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if v != nil {
		i := b.placeOf(v)
		if i < 0 {
			return false // it had to go
		}
		v.left.Store(true)
		b.strangers[i].stranger = c
	}
	if b.closed {
		b.shakenHands(c)
		return false
	}
	c.limits = b.limits
	b.conns[c] = struct{}{}
	b.readers.Add(1)
	return true
}

// enter takes a place for a stranger. Where all are taken it waits, and with it all who come behind, until one is free or
// somebody has had his for long enough. It reports false where the broker stops first.
func (b *Broker) enter(s stranger) bool {
	for {
		b.mu.Lock()
		wait := b.makePlace(time.Now())
		if b.closed {
			b.mu.Unlock()
			return false
		}
		if wait == 0 {
			b.strangers = append(b.strangers, place{stranger: s, since: time.Now()})
			b.mu.Unlock()
			return true
		}
		free := b.free
		b.mu.Unlock()
		select {
		case <-free:
		case <-time.After(wait):
		case <-b.stopping:
			return false
		}
	}
}

// makePlace sees to it that one more stranger has a place, or returns how long to wait before it is asked again. Of those
// that have had theirs for long enough that one goes that came first from the address with the most: whoever opens
// connections and says nothing keeps out himself. The caller holds mu.
func (b *Broker) makePlace(now time.Time) (wait time.Duration) {
	if len(b.strangers) < maxHandshaking {
		return 0
	}
	of := make(map[string]int)
	for _, p := range b.strangers {
		of[p.from()]++
	}
	most, wait := -1, keptPlace
	for i, p := range b.strangers {
		kept := keptPlace
		if of[p.from()] > fewPlaces && !p.heard {
			kept = silentPlace
		}
		if left := kept - now.Sub(p.since); left > 0 {
			wait = min(wait, left)
		} else if most < 0 || of[p.from()] > of[b.strangers[most].from()] {
			most = i
		}
	}
	if most < 0 {
		return wait
	}
	s := b.strangers[most].stranger
	b.stats.unauthenticated.Add(1)
	b.told.Warn("MQTT client refused", "too many connections without a CONNECT", "remote", s.from())
	b.shakenHands(s)
	go s.Close() // closing TLS may write
	return 0
}

// placeOf returns the number of a stranger's place, or -1. The caller holds mu.
func (b *Broker) placeOf(s stranger) int {
	return slices.IndexFunc(b.strangers, func(p place) bool { return p.stranger == s })
}

// heardOf notes that a stranger has sent its CONNECT.
func (b *Broker) heardOf(s stranger) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := b.placeOf(s); i >= 0 {
		b.strangers[i].heard = true
	}
}

// shakenHands takes a connection from those that are on their way to a CONNACK. The caller holds mu.
func (b *Broker) shakenHands(s stranger) {
	i := b.placeOf(s)
	if i < 0 {
		return
	}
	if len(b.strangers) >= maxHandshaking { // somebody may wait
		close(b.free)
		b.free = make(chan struct{})
	}
	b.strangers = slices.Delete(b.strangers, i, i+1)
}
