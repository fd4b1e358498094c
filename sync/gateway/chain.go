package gateway

import (
	"errors"
	"fmt"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// Chain is a gateway's own chain, as far as it is durable. Its methods are called from one goroutine.
type Chain interface {
	// Head returns the tip and the newest signed header. The caller may move the tip.
	Head() (*lightchain.Tip, *lightchain.SignedHeader, error)
	// Header returns the header at a height up to the tip's, and its signature, nil where it is held without one.
	Header(height uint64) (*lightchain.Header, *lightchain.HeaderSignature, error)
	// Node returns the root of a complete subtree of the history of all headers up to the tip.
	Node(level int, index uint64) (lightchain.Hash, error)
	// KeyHeights returns the heights below to of the headers that set the key, genesis first, ascending.
	KeyHeights(to uint64) ([]uint64, error)
}

// Receipts keeps what the aggregators countersigned. Its methods are called from the goroutine that calls [Chain]'s.
type Receipts interface {
	// NewestReceipt returns the highest height that the aggregator has receipted.
	NewestReceipt(aggregator string) (height uint64, found bool, err error)
	// Countersigned returns the highest height that the aggregator is known to have receipted, whether or not that receipt
	// is still held.
	Countersigned(aggregator string) (height uint64, found bool, err error)
	// HasReceipt reports whether a receipt of the aggregator on the header at height is held.
	HasReceipt(height uint64, aggregator string) (bool, error)
	// PutReceipt stores a receipt, which has been checked, and returns when it is durable. With it goes the number of
	// the next entry, which must be such that no entry of that number or a higher one had arrived, messages in queues
	// included, when the receipt was durable: a block's beacon names receipts held before its first entry arrived.
	// An error that wraps [ErrReversed] refuses one whose time is above that of the aggregator's next receipt on a higher
	// header, or below that of the last one on a lower header.
	PutReceipt(height uint64, r lightchain.Receipt) error
}

// ErrReversed means that an aggregator's times fall while the heights rise: its clock or its word is wrong.
//
// SPEC: none issues, for one chain, a time below its last.
var ErrReversed = errors.New("an aggregator's receipts are out of the order of time")

// Restorer puts back what a chain lost. Its methods are called from the goroutine that calls [Chain]'s, and only until
// the head is settled, when nothing is sealed yet. When one returns, [Chain] shows the new tip.
type Restorer interface {
	// RestoreRun appends headers that have been checked against the tip, durably.
	RestoreRun(run *lightchain.Run) error
	// RestoreHead moves the tip onto a copied head that has been checked; the headers between are not held any more, but
	// for those that set the key. It is durable when it returns.
	RestoreHead(tip *lightchain.Tip, copied *headersync.SparseCopy, keys []*lightchain.SignedHeader) error
	// SealedUnconfirmed reports whether a header was ever sealed since an aggregator last agreed with the head: by a
	// run of the program that began to seal although nobody answered. It is remembered durably before such a seal.
	SealedUnconfirmed() (bool, error)
}

// keyHeaders returns the signed headers below the height that set the key, genesis first.
func (g *Gateway) keyHeaders(height uint64) ([]*lightchain.SignedHeader, error) {
	heights, err := g.c.Chain.KeyHeights(height)
	if err != nil {
		return nil, err
	}
	var headers []*lightchain.SignedHeader
	for _, height := range heights {
		s, err := g.signedHeader(height)
		if err != nil {
			return nil, err
		}
		headers = append(headers, s)
	}
	return headers, nil
}

// signedHeader returns the header at a height with its signature; an error wraps [headersync.ErrUnavailable] where that is not
// held.
func (g *Gateway) signedHeader(height uint64) (*lightchain.SignedHeader, error) {
	h, sig, err := g.c.Chain.Header(height)
	if err != nil {
		return nil, err
	}
	if sig == nil {
		return nil, fmt.Errorf("signature of header %d: %w", height, headersync.ErrUnavailable)
	}
	return lightchain.NewSignedHeader(*h, *sig)
}
