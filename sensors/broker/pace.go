package broker

import (
	"sync"
	"time"

	"edgechain.example/sensors"
)

// A client's pace is that of its name: one that connects anew for each message, without a session, would else begin at each
// connection with a second's worth.

// pace is how fast a client may publish: of a session, and for a moment of its client after that.
type pace struct {
	mu sync.Mutex
	of sensors.Pace // guarded by mu
}

func (p *pace) take(rate int) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of.Take(time.Now(), rate)
}

func (p *pace) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of.Idle(time.Now())
}

// client is who has a pace.
type client struct{ user, id string }

// mostPaces is how many clients without a session are remembered; each for a second, or as long as the rate gives one message.
const mostPaces = 4096

// paceOf returns the pace of a client that begins a session, in the place of an old one, if that is not nil: of that something may
// be on its way. The caller holds mu.
func (b *Broker) paceOf(c client, old *session) *pace {
	p := b.paces[c]
	delete(b.paces, c)
	if old != nil && old.user == c.user && old.pace != nil {
		p = old.pace
	}
	if p == nil {
		p = new(pace)
	}
	return p
}

// keepPace remembers the pace of a session that ends, while it says anything. The caller holds mu.
func (b *Broker) keepPace(s *session) {
	if s.pace == nil || s.pace.idle() {
		return
	}
	if len(b.paces) >= mostPaces {
		for c, p := range b.paces {
			if p.idle() {
				delete(b.paces, c)
			}
		}
	}
	if len(b.paces) < mostPaces {
		b.paces[client{s.user, s.id}] = s.pace
	}
}
