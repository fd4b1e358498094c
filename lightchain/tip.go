package lightchain

import (
	"errors"
	"fmt"
	"math"
)

// Tip is all that is needed to continue a chain: to write its next header, or to check somebody else's. The same
// code seals, recovers, verifies and follows.
type Tip struct {
	Chain   ChainID
	Height  uint64       // of the newest header
	Hash    Hash         // of the newest header
	History CompactRange // over the headers 0 .. Height
	Next    uint64       // number of the next entry
	Key     PublicKey    // the key that signs the next header
}

// Begin checks a genesis header, its signature too, and returns the tip of the chain that it begins.
func Begin(genesis *SignedHeader) (*Tip, error) {
	h := &genesis.Header
	if h.Genesis == nil {
		return nil, fmt.Errorf("header %d is not a genesis", h.Height)
	}
	if err := genesis.Check(*h.NextKey); err != nil {
		return nil, err
	}
	t := &Tip{Chain: genesis.ChainID(), Hash: genesis.Hash(), Key: *h.NextKey}
	t.History.Append(t.Hash, nil)
	return t, nil
}

// NewGenesis returns the header that begins a chain under key. Of sealed and clock it has the gateway's word.
func NewGenesis(g Genesis, key PublicKey, sealed int64, clock Clock) *Header {
	return &Header{History: emptyRoot, Root: emptyRoot, Sealed: sealed, Clock: clock, NextKey: &key, Genesis: &g}
}

// Header returns the next header for a block of count entries with the given root; what the chain itself dictates
// is filled in.
func (t *Tip) Header(root Hash, count uint64, sealed int64, clock Clock) *Header {
	return &Header{
		Chain: t.Chain, Height: t.Height + 1, Previous: t.Hash, History: t.History.Root(),
		Root: root, First: t.Next, Count: count, Sealed: sealed, Clock: clock,
	}
}

// ErrNotNext means that a header does not continue the chain at its tip.
var ErrNotNext = errors.New("header does not continue the chain")

// Extend moves the tip onto h, whose hash is hash, if h continues the chain; completed, which may be nil, is called
// as by [CompactRange.Append]. It checks everything that follows from the headers before h, but not h's signature:
// check that under t.Key first, if h has one. A key from a header whose own signature was not checked must never be
// used, so a header that sets one may not be skipped. On an error the tip stays where it is.
func (t *Tip) Extend(h *Header, hash Hash, completed func(level int, index uint64, h Hash)) error {
	if err := t.check(h); err != nil {
		return fmt.Errorf("header %d: %w: %w", h.Height, ErrNotNext, err)
	}
	t.move(h, hash, completed)
	return nil
}

// move puts the tip on h, which has been checked.
func (t *Tip) move(h *Header, hash Hash, completed func(level int, index uint64, h Hash)) {
	t.Height, t.Hash, t.Next = h.Height, hash, h.First+h.Count
	t.History.Append(hash, completed)
	if h.NextKey != nil {
		t.Key = *h.NextKey
	}
}

func (t *Tip) check(h *Header) error {
	switch {
	case h.Genesis != nil || h.Chain != t.Chain:
		return errors.New("it belongs to another chain")
	case h.Height != t.Height+1:
		return fmt.Errorf("the next height is %d", t.Height+1)
	case h.Previous != t.Hash:
		return errors.New("the header before it is another one (key 4)")
	case h.History != t.History.Root():
		return errors.New("it commits to another history (key 5)")
	}
	return t.checkBlock(h)
}

// checkBlock checks what is left where the links of h were derived from the tip.
func (t *Tip) checkBlock(h *Header) error {
	switch {
	// SPEC: number of the block's first entry: the previous header's 7 + 8
	case h.First != t.Next:
		return fmt.Errorf("its first entry is %d, the next one is %d", h.First, t.Next)
	case h.Count > math.MaxInt64-h.First:
		return errors.New("more entries than can be numbered")
	case h.Count == 0 && h.Root != emptyRoot:
		return errors.New("a block of no entries with a root")
	case h.NextKey != nil && *h.NextKey == t.Key:
		return errors.New("it sets the key that is in force (key 12)")
	}
	return nil
}

// Clone returns a copy that moves by itself.
func (t *Tip) Clone() *Tip {
	c := *t
	c.History = t.History.Clone()
	return &c
}
