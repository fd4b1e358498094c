package aggregator

import (
	"context"
	"log/slog"
	"sync"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// A gateway says on its status topic how it is; see [headersync.Report]. Its connection's last will, "offline", is
// nobody's signed word: whoever may publish on the broker can say it, and a head or a report takes it back.

// presence writes down what status topics say, one after the other: while one is written others may come, and of each
// gateway only the last ones count.
type presence struct {
	registry *registry.Registry
	mine     func(lightchain.ChainID) bool
	found    func(r *registry.Record, kind registry.Kind) // told of findings that a report brought
	log      *slog.Logger
	wake     chan struct{} // capacity 1

	mu   sync.Mutex
	said map[lightchain.ChainID]said // guarded by mu: not written down yet
	held int                         // guarded by mu: bytes of reports that came since the last were written down
}

// said is what a gateway's status topic said since it was last written down.
type said struct {
	reports [][]byte          // the last ones: some may be forged
	word    registry.Presence // after them; "" for none
}

const (
	mostSaid    = 1 << 16  // chains: bounds what made-up ones cost
	mostHeld    = 32 << 20 // bytes of reports: likewise
	mostReports = 4
	maxReport   = 1 << 10 // bytes
)

func newPresence(g *registry.Registry, mine func(lightchain.ChainID) bool, found func(*registry.Record, registry.Kind), log *slog.Logger) *presence {
	return &presence{registry: g, mine: mine, found: found, log: log, wake: make(chan struct{}, 1), said: map[lightchain.ChainID]said{}}
}

// deliver takes what stands on a status topic under the prefix.
func (p *presence) deliver(prefix string, m headersync.Message) {
	defer m.Done()
	chain, ok := headersync.ChainOf(prefix, m.Topic)
	if !ok || len(m.Payload) == 0 || len(m.Payload) > maxReport || !p.mine(chain) {
		return
	}
	p.take(chain, m.Payload)
	signal(p.wake)
}

// take keeps what a gateway said until it is written down.
func (p *presence) take(chain lightchain.ChainID, text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, waiting := p.said[chain]
	if !waiting && len(p.said) >= mostSaid {
		return
	}
	if word := registry.Presence(text); word == registry.Online || word == registry.Offline {
		s.word = word
	} else if p.held+len(text) > mostHeld {
		return // whoever reports repeats it
	} else {
		p.held += len(text)
		s.reports, s.word = append(s.reports, append([]byte(nil), text...)), ""
		s.reports = s.reports[max(0, len(s.reports)-mostReports):]
	}
	p.said[chain] = s
}

func (p *presence) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		p.mu.Lock()
		all := p.said
		p.said, p.held = map[lightchain.ChainID]said{}, 0
		p.mu.Unlock()
		for chain, s := range all {
			if err := p.note(ctx, chain, s); err != nil && ctx.Err() == nil {
				p.log.Error("failed to note what a gateway says of itself", "chain", chain, "err", err)
			}
		}
	}
}

func (p *presence) note(ctx context.Context, chain lightchain.ChainID, s said) error {
	for _, report := range s.reports {
		heard, news, err := p.registry.Reported(ctx, chain, report)
		if err != nil {
			return err
		}
		for _, kind := range news {
			p.found(heard, kind)
		}
	}
	if s.word != "" {
		return p.registry.Present(ctx, chain, s.word)
	}
	return nil
}
