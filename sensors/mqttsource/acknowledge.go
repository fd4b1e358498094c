package mqttsource

import (
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
)

// ticket is one acknowledgement owed, in its place among the others of its connection.
type ticket struct {
	link  *link
	of    *delivery
	id    uint16
	qos   byte
	state due // under Source.mu
}

type due byte

const (
	waiting due = iota // the entry is not durable yet
	ready              // to be acknowledged when those before it are
	refused            // the sink gave it up: never to be acknowledged
)

// settle records what became of the entry. Under s.mu.
func (t *ticket) settle(state due) {
	t.state = state
	t.link.signal()
}

// settled is the Done of the message made of d. It runs on the committer's goroutine.
func (s *Source) settled(d *delivery, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	notify(s.idle)
	if err != nil {
		if s.stats.Failed++; s.stats.Failed == 1 {
			s.log.Error("failed to make a message durable, which is not acknowledged; the broker delivers it again on a later connection",
				"topic", d.topic, "err", err)
		}
		s.disown(d)
		return
	}
	s.stats.Committed++
	s.durable(d)
}

// durable has the broker told of a message, and of those that wait for it. Under s.mu.
func (s *Source) durable(d *delivery) {
	if d.replay != (lightchain.Hash{}) {
		s.replays[d.replay] = nil
	}
	for _, each := range d.followers {
		each.isDurable()
	}
	d.followers = nil
	d.isDurable()
}

func (d *delivery) isDurable() {
	d.durable = true
	if d.ticket != nil {
		d.ticket.settle(ready)
	}
}

// disown makes sure that messages equal to d, which will not become durable, are taken for new ones, and that neither
// it nor those that wait for it are ever acknowledged. Under s.mu.
func (s *Source) disown(d *delivery) {
	if d.replay != (lightchain.Hash{}) {
		delete(s.replays, d.replay)
	}
	for _, each := range append(d.followers, d) {
		if s.unacked[each.id] == each {
			delete(s.unacked, each.id)
		}
		if each.ticket != nil {
			each.ticket.settle(refused)
		}
	}
	d.followers = nil
}

// signal wakes the acknowledging goroutine.
func (l *link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// acknowledge writes what [link.collect] finds due, until the connection ends.
func (l *link) acknowledge() {
	defer close(l.acking)
	var due []byte
	for range l.wake {
		for {
			var ended bool
			due, ended = l.collect(due[:0])
			if len(due) == 0 && ended {
				return
			}
			if len(due) == 0 {
				break
			}
			if _, err := l.gate.Write(due); err != nil {
				return // the gate has closed the connection
			}
		}
	}
}

// collect appends the acknowledgements that are due: those at the head of the order whose messages are durable. What
// it returns may reach the broker from then on, whatever becomes of the write: a message that comes again afterwards
// is no longer certain to be the same. It reports that the connection ends when nothing will become due any more.
//
// MQTT-4.6.0-2 and -3: PUBACK and PUBREC go in the order in which the messages came.
func (l *link) collect(due []byte) (_ []byte, ended bool) {
	s := l.source
	s.mu.Lock()
	defer s.mu.Unlock()
	for !l.closed && l.order.len() > 0 && len(due) < 16<<10 {
		t := l.order.first()
		if t.state == waiting {
			break
		}
		l.order.pop()
		if t.state == refused {
			continue
		}
		if s.unacked[t.id] == t.of {
			delete(s.unacked, t.id)
		}
		kind := mqttwire.PUBACK
		if t.qos == 2 {
			kind = mqttwire.PUBREC
		}
		ack := mqttwire.Ack{ID: t.id}
		due = ack.Append(mqttwire.V311, kind, due)
		s.stats.Acknowledged++
	}
	return due, l.closed || l.last
}

// drain lets nothing more in, waits for what the sink has taken, and sends the last acknowledgements.
func (s *Source) drain(l *link, pumped <-chan struct{}) {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	<-pumped
	limit := time.NewTimer(s.cfg.DrainTimeout)
	defer limit.Stop()
	for {
		s.mu.Lock()
		open := s.open
		s.mu.Unlock()
		if open == 0 {
			break
		}
		select {
		case <-s.idle:
		case <-l.gate.ended:
			s.log.Warn("failed to acknowledge the last messages before the connection ended; they will come again", "err", l.ended())
			return
		case <-limit.C:
			s.log.Warn("the last messages did not become durable in time and will come again", "unacknowledged", open)
			return
		}
	}
	s.mu.Lock()
	l.last = true
	l.signal()
	s.mu.Unlock()
	<-l.acking
}
