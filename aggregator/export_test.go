package aggregator

import (
	"log/slog"
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// What the tests look at besides.

// Passed are the heads and hellos of chains that others own.
type Passed struct{ passed }

// Keep keeps one.
func (p *Passed) Keep(now time.Time, chain lightchain.ChainID, m headersync.Message) {
	p.keep(now, chain, m)
}

// Take takes those that are mine now.
func (p *Passed) Take(now time.Time, mine func(lightchain.ChainID) bool) []headersync.Message {
	return p.take(now, mine)
}

// KeptOfStatus returns how many bytes of reports are kept of those that come on the topics before any is written down.
func KeptOfStatus(g *registry.Registry, messages func(yield func(headersync.Message) bool)) (bytes int) {
	p := newPresence(g, func(lightchain.ChainID) bool { return true }, nil, slog.New(slog.DiscardHandler))
	for m := range messages {
		p.deliver(headersync.DefaultPrefix, m)
	}
	for _, s := range p.said {
		for _, report := range s.reports {
			bytes += len(report)
		}
	}
	return bytes
}
