package collector

import (
	"slices"
	"sync"
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/synctest"
)

// liveBus carries messages between ends that run on goroutines of their own.
type liveBus struct {
	mu    sync.Mutex
	ends  []*liveEnd
	first chan struct{}
}

type liveEnd struct {
	bus     *liveBus
	filters []string
	deliver func(headersync.Message)
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
			to.deliver(headersync.Message{Topic: topic, Payload: slices.Clone(payload)})
		}
	}
	return nil
}

func (e *liveEnd) Subscribe(filters []string, deliver func(headersync.Message)) error {
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

// welcomed has a gateway that nobody drives take the aggregator for one that answered its hello: it answers no pull before.
// said is what the gateway publishes.
func welcomed(t testing.TB, g *gateway.Gateway, now time.Time, said *[]headersync.Message, aggregator lightchain.Signer) {
	t.Helper()
	g.Connected()
	g.Tick(now)
	for _, m := range *said {
		chain, word, _, _ := headersync.SplitTopic(headersync.DefaultPrefix, m.Topic)
		if word != headersync.TopicHello {
			continue
		}
		h, _, err := headersync.DecodeHello(m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		welcome := synctest.Must((&headersync.Welcome{Chain: chain, Name: "north", Nonce: h.Nonce}).Sign(aggregator))
		g.Receive(now, headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, chain, headersync.TopicWelcome, "north"), Payload: welcome})
	}
	*said = nil
}
