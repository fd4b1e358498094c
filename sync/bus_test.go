package headersync

import (
	"math/rand/v2"
	"slices"
	"sync"
)

func newWorldRand() *rand.Rand { return rand.New(rand.NewPCG(1, 1)) }

// liveBus carries messages between ends that run on goroutines of their own.
type liveBus struct {
	mu    sync.Mutex
	ends  []*liveEnd
	first chan struct{}
}

type liveEnd struct {
	bus     *liveBus
	filters []string
	deliver func(Message)
}

func (b *liveBus) end() *liveEnd {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := &liveEnd{bus: b}
	b.ends = append(b.ends, e)
	return e
}

// subscribed is closed when somebody has subscribed.
func (b *liveBus) subscribed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.first == nil {
		b.first = make(chan struct{})
		if slices.ContainsFunc(b.ends, func(e *liveEnd) bool { return e.deliver != nil }) {
			close(b.first)
		}
	}
	return b.first
}

func (e *liveEnd) Publish(topic string, payload []byte, _ bool) error {
	e.bus.mu.Lock()
	defer e.bus.mu.Unlock()
	for _, to := range e.bus.ends {
		if to.deliver != nil && slices.ContainsFunc(to.filters, func(f string) bool { return matches(f, topic) }) {
			to.deliver(Message{Topic: topic, Payload: slices.Clone(payload)})
		}
	}
	return nil
}

func (e *liveEnd) Subscribe(filters []string, deliver func(Message)) error {
	e.bus.mu.Lock()
	defer e.bus.mu.Unlock()
	e.filters, e.deliver = append(e.filters, filters...), deliver
	if e.bus.first != nil {
		select {
		case <-e.bus.first:
		default:
			close(e.bus.first)
		}
	}
	return nil
}

// listens reports whether the end has subscribed.
func (e *liveEnd) listens() bool {
	e.bus.mu.Lock()
	defer e.bus.mu.Unlock()
	return e.deliver != nil
}
