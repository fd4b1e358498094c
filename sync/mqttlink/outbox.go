package mqttlink

import (
	"sync"
)

// message is one to be sent.
type message struct {
	topic    string
	payload  []byte
	retained bool
}

func (m *message) size() int { return len(m.topic) + len(m.payload) + 128 }

// outbox holds what waits to be sent, in order, bounded in bytes.
type outbox struct {
	most int
	wake chan struct{} // capacity 1: something waits

	mu    sync.Mutex
	open  bool           // guarded by mu: there is a connection
	queue []message      // guarded by mu
	gone  int            // guarded by mu: elements taken from the queue's front since it began
	place map[string]int // guarded by mu: of the retained messages that wait, by topic, counted from the first ever
	bytes int            // guarded by mu: of what waits
}

func newOutbox(most int) *outbox {
	return &outbox{most: most, wake: make(chan struct{}, 1), place: make(map[string]int)}
}

// put takes a message. A retained one takes the place of an older one of its topic.
func (o *outbox) put(m message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.retained {
		if at, waits := o.place[m.topic]; waits {
			old := &o.queue[at-o.gone]
			o.bytes += m.size() - old.size()
			*old = m
			return nil
		}
	} else if !o.open {
		return ErrNotConnected
	}
	if o.bytes+m.size() > o.most && len(o.queue) > 0 {
		return ErrFull
	}
	if m.retained {
		o.place[m.topic] = o.gone + len(o.queue)
	}
	o.queue = append(o.queue, m)
	o.bytes += m.size()
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return nil
}

// take returns the next message, or false if none waits.
func (o *outbox) take() (message, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return message{}, false
	}
	m := o.queue[0]
	o.queue[0] = message{}
	o.queue = o.queue[1:]
	o.gone++
	o.bytes -= m.size()
	if m.retained {
		delete(o.place, m.topic)
	}
	return m, true
}

// connected notes that there is a connection, or that there is none: then only what is retained goes on waiting.
func (o *outbox) connected(open bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = open
	if open {
		return
	}
	var kept []message
	clear(o.place)
	o.gone, o.bytes = 0, 0
	for _, m := range o.queue {
		if m.retained {
			o.place[m.topic] = len(kept)
			kept = append(kept, m)
			o.bytes += m.size()
		}
	}
	o.queue = kept
}

func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue)
}
