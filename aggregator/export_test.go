package aggregator

import (
	"log/slog"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// What the tests look at besides.

// ErrBackward, ErrUnasked, ErrForked and ErrShorter are what the ledger refuses with.
var ErrBackward, ErrUnasked, ErrForked, ErrShorter = errBackward, errUnasked, errForked, errShorter

// Replicas is who shares a store.
type Replicas struct{ *replicas }

// NewReplicas returns one of those who share a store.
func NewReplicas(s Documents, self string, run byte) Replicas {
	return Replicas{newReplicas(s, self, [8]byte{run}, slog.New(slog.DiscardHandler))}
}

// Highest returns to whom of the names a chain falls.
func Highest(names []string, chain lightchain.ChainID) string { return highest(names, chain) }

// PassedHeads are the heads that fall to other replicas.
type PassedHeads struct{ passedHeads }

// Keep keeps one.
func (p *PassedHeads) Keep(now time.Time, chain lightchain.ChainID, m headersync.Message) {
	p.keep(now, chain, m)
}

// Take takes those that are mine now.
func (p *PassedHeads) Take(now time.Time, mine func(lightchain.ChainID) bool) []headersync.Message {
	return p.take(now, mine)
}

// KeptOfStatus returns how many bytes of reports are kept of those that come on the topics before any is written down.
func KeptOfStatus(g *Registry, messages func(yield func(headersync.Message) bool)) (bytes int) {
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
