package collector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// A chain that was forked has two heads that grow apart. Where every header of one history is held, a head of the other
// shows it at once. Where only heads are, it may stand at a height of which nothing is known here; then it is a suspect,
// and the gateways of the chain are asked for what they have at that height: whoever has the history known here answers
// with another header, which is the evidence, or with the proof that goes on from the suspect, which was an old head.

// compareHead looks for a second history, and keeps the evidence, or the suspect. In state it leaves what was stored; asks
// says that the gateways are to be asked about the suspect.
func (s *shard) compareHead(ctx context.Context, now time.Time, f *follower, state *State, head *lightchain.SignedHeader) (verdict Verdict, asks bool, err error) {
	if state.Fork != nil {
		return Known, false, nil
	}
	try := *state
	verdict, err = try.compare(headersync.HeadSide(head), s.own(ctx, state))
	if err != nil || verdict != Split && (verdict != Lagging || try.Suspect == nil || now.Before(f.suspicion)) {
		return verdict, false, err
	}
	if verdict == Lagging {
		f.suspicion = now.Add(guessEvery) // old heads, repeated, are no reason to ask at once either
		if f.cleared = f.cleared && try.Suspect == state.Suspect; f.cleared {
			return verdict, false, nil
		}
		asks = true
		if try.Suspect == state.Suspect {
			return verdict, asks, nil
		}
	}
	err = s.c.c.Store.Update(ctx, f.chain, func(stored *State, _ func(Held) error) error {
		if stored.Fork != nil {
			return ErrUnchanged
		}
		stored.Fork, stored.Suspect = try.Fork, try.Suspect
		f.keep(stored)
		return nil
	})
	*state = try
	return verdict, asks, err
}

// own shows headers of the history that is known, if every header is held there.
func (s *shard) own(ctx context.Context, state *State) Own {
	every, chain := state.Every, state.Chain
	return func(height uint64, unless lightchain.Hash) (*lightchain.Side, bool, error) {
		if every == nil || height > every.Height() {
			return nil, false, nil
		}
		side, err := s.heldSide(ctx, chain, height, every.Height(), unless)
		if errors.Is(err, headersync.ErrUnavailable) {
			return nil, false, nil
		}
		return side, true, err
	}
}

var errFound = errors.New("found")

// heldSide shows a header that is held: by its own signature, or by its path in the next header that has one; nil if it
// has the hash given.
func (s *shard) heldSide(ctx context.Context, chain lightchain.ChainID, height, last uint64, unless lightchain.Hash) (*lightchain.Side, error) {
	side := new(lightchain.Side)
	err := s.c.c.Store.Headers(ctx, chain, height, last, func(h Held) error {
		if h.Height == height {
			side.Leaf = lightchain.LeafHash(h.Bytes)
			if side.Leaf == unless {
				side = nil
				return errFound
			}
		}
		if h.Signature == nil {
			return nil
		}
		header, err := lightchain.DecodeHeader(h.Bytes)
		if err != nil {
			return err
		}
		if side.Head, err = lightchain.NewSignedHeader(header, *h.Signature); err != nil {
			return err
		}
		return errFound
	})
	if !errors.Is(err, errFound) {
		return nil, errors.Join(err, fmt.Errorf("header %d: %w", height, headersync.ErrUnavailable))
	}
	if side == nil || side.Head.Header.Height == height {
		return side, nil
	}
	at := side.Head.Header.Height
	var leaves []lightchain.Hash
	err = s.c.c.Store.Headers(ctx, chain, 0, at-1, func(h Held) error {
		leaves = append(leaves, lightchain.LeafHash(h.Bytes))
		return nil
	})
	if err != nil {
		return nil, err
	}
	path, err := lightchain.ProveInclusion(lightchain.LeafNodes(leaves), at, height)
	side.Path = &path
	return side, err
}

// suspicion returns what to ask the gateways about a suspect.
func (s *State) suspicion() headersync.Pull {
	height := headersync.Placed(s.Suspect)
	return headersync.Pull{Chain: s.Chain, Want: headersync.Sparse, First: height + 1, Below: s.Suspect.Leaf, Last: s.Head.Height()}
}
