package aggregator

import (
	"fmt"
	"log/slog"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// What the tests look at besides.

// What the ledger refuses with.
var ErrBackward, ErrUnasked, ErrForked, ErrShorter, ErrOther = errBackward, errUnasked, errForked, errShorter, errOther

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

// Tenure is what one replica makes of the beats.
type Tenure struct{ *tenure }

// NewTenure returns that of a replica and its process.
func NewTenure(self, run string) Tenure { return Tenure{newTenure(leaseTerms, self, run)} }

// Next returns the beat to send.
func (t Tenure) Next(now time.Time, links int) *Beat { return t.next(now, links) }

// Learn takes in the answer.
func (t Tenure) Learn(sent, heard time.Time, b *Beat, a *Beaten) { t.learn(sent, heard, b, a) }

// Owners returns among whom the chains are divided, nil where this replica owns nothing.
func (t Tenure) Owners(now time.Time) []string { return t.view.owners(now) }

// Owns reports whether a chain is this replica's.
func (t Tenure) Owns(now time.Time, chain lightchain.ChainID) bool { return t.view.owns(now, chain) }

// String shows it in a failing test.
func (t Tenure) String() string {
	if t.tenure == nil {
		return "none"
	}
	return fmt.Sprintf("%+v, joined %d, others %v", t.view, t.since, t.others)
}

// Why returns why this replica owns nothing.
func (t Tenure) Why() string { return t.view.why }

// Owner returns to whom of the names a chain falls.
func Owner(names []string, chain lightchain.ChainID) string { return owner(names, chain) }

// The times of a lease.
var LeaseEvery, LeaseCall, Lease = leaseTerms.every, leaseTerms.call, leaseTerms.lease

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
