package gateway

import (
	"errors"
	"fmt"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// receiveReceipt takes an aggregator's receipt on one of this chain's headers.
func (g *Gateway) receiveReceipt(now time.Time, p *peer, b []byte) error {
	s, err := lightchain.DecodeSignedHeader(b)
	if err != nil {
		return err
	}
	if len(s.Receipts) != 1 || s.ChainID() != g.chain {
		return errors.New("not one receipt on a header of this chain")
	}
	r := &s.Receipts[0]
	key, ok := p.key(r.KeyID)
	if !ok || r.Name != p.name {
		return headersync.ErrStranger
	}
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		return err
	}
	height := s.Header.Height
	if height > tip.Height {
		return fmt.Errorf("a receipt on header %d, the newest is %d", height, tip.Height)
	}
	// A copy of a receipt that is held costs a look into the store, not a signature.
	if held, err := g.c.Receipts.HasReceipt(height, p.name); err != nil {
		return err
	} else if held {
		return headersync.ErrOld
	}
	if !p.checks.Take(now) {
		return headersync.ErrBusy
	}
	if err := s.CheckReceipt(r, key); err != nil {
		return err
	}
	own, err := g.signedHeader(height)
	if err != nil {
		return err
	}
	if own.Hash() != s.Hash() {
		return g.foundFork(p, s, nil)
	}
	if own.Signature != s.Signature {
		return errors.New("a receipt on a signature that is not this gateway's")
	}
	err = g.c.Receipts.PutReceipt(height, *r)
	if errors.Is(err, ErrReversed) {
		g.notify(Notice{Aggregator: p.name, Err: err})
	}
	if err != nil {
		return err
	}
	g.reportAgain(p, height)
	g.notify(Notice{Aggregator: p.name, Receipt: height})
	return nil
}

// foundFork looks whether a head that an aggregator shows is another history of this chain, up to this gateway's
// newest height.
func (g *Gateway) foundFork(p *peer, other *lightchain.SignedHeader, otherKeys []*lightchain.SignedHeader) error {
	own, err := g.ownSide(other.Header.Height)
	if err != nil {
		return err
	}
	bare := *other
	bare.Receipts = nil
	f := headersync.Accuse(g.chain, own.Keys, own, headersync.HeadSide(&bare, otherKeys...))
	if f == nil {
		return errors.New("a head that no key of this chain signed")
	}
	g.stand(p, Forked, other, f)
	return nil
}
