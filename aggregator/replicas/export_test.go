package replicas

import (
	"fmt"
	"time"

	"edgechain.example/lightchain"
)

// What the tests look at besides.

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

// The times of a lease.
var LeaseEvery, LeaseCall, Lease = leaseTerms.every, leaseTerms.call, leaseTerms.lease
