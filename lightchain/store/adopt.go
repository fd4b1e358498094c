package store

import (
	"errors"
	"fmt"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// A gateway that was set back to an old state of its card finds its newest headers with its aggregators, and takes
// them in before it seals anything. Their entries are lost; entries that were staged on top of the old state are
// staged again on top of the new one, under new numbers and with new salts.

// Adopted is one header of this chain that came back from outside.
type Adopted struct {
	Header    lightchain.Header
	Signature *lightchain.HeaderSignature // nil: one above it in the same run vouches for it
}

// Adopt appends a run of headers, the lowest one behind the tip, durably and all or none. The last one and each that
// sets the key must carry their signatures; everything is checked here as if an enemy had sent it. It fails with
// [ErrWrongKey] if the chain would go on under a key that this gateway does not have, and has the one in force now.
func (s *Store) Adopt(run []Adopted) error {
	if err := s.adopt(run); err != nil {
		return fmt.Errorf("taking back %d headers above %d: %w", len(run), s.tip.Height, err)
	}
	return nil
}

func (s *Store) adopt(run []Adopted) error {
	if len(run) == 0 {
		return errors.New("a run of no headers")
	}
	batch := s.db.NewIndexedBatch()
	defer batch.Close()
	tip := s.tip.Clone()
	for i := range run {
		signed, err := lightchain.NewSignedHeader(run[i].Header, lightchain.HeaderSignature{})
		if err != nil {
			return err
		}
		if sig := run[i].Signature; sig != nil {
			signed.HeaderSignature = *sig
			if err := signed.Check(tip.Key); err != nil {
				return err
			}
		} else if run[i].Header.NextKey != nil || i == len(run)-1 {
			// SPEC: only the last and every header with key 12 carry their signatures … a key from a header whose own
			// signature was not checked is never used.
			return fmt.Errorf("header %d: %w", run[i].Header.Height, ErrUnsigned)
		}
		if err := s.putHeader(batch, tip, signed, run[i].Signature); err != nil {
			return err
		}
	}
	putRun(batch, run[0].Header.Height, tip.Height, s.tip.Next, tip.Next, bodyNotHeld)
	return s.moveTo(batch, tip)
}

// AdoptedHead is the newest header of this chain with what is needed to go on from it, for a gateway that gets no
// more: everything between the tip and it stays unknown here.
type AdoptedHead struct {
	Head        *lightchain.SignedHeader
	Edge        []lightchain.Hash          // compact range of Head's history: that of Head.Height headers
	Consistency []lightchain.Hash          // that Head's history begins with this store's, the tip included
	Compared    bool                       // the caller knows that by other means; Consistency is not looked at
	Keys        []*lightchain.SignedHeader // between the tip and Head, those that set the key, ascending
}

// AdoptHead continues from a head without the headers below it, durably. It checks all that can be checked: that the
// head's history contains this store's, that its edge is the one it commits to, and every signature. It fails with
// [ErrWrongKey] like Adopt.
func (s *Store) AdoptHead(a AdoptedHead) error {
	if err := s.adoptHead(a); err != nil {
		return fmt.Errorf("taking back the head above header %d: %w", s.tip.Height, err)
	}
	return nil
}

func (s *Store) adoptHead(a AdoptedHead) error {
	h := &a.Head.Header
	if h.Height <= s.tip.Height+1 {
		return fmt.Errorf("header %d is not above a gap; adopt it as a run", h.Height)
	}
	history, err := lightchain.NewCompactRange(h.Height, a.Edge)
	if err != nil {
		return err
	}
	if history.Root() != h.History {
		return errors.New("the edge is not the one that its history has")
	}
	if !a.Compared {
		if err := lightchain.VerifyConsistency(s.tip.Height+1, h.Height, s.tip.History.Root(), h.History, a.Consistency); err != nil {
			return err
		}
	}
	if h.First < s.tip.Next {
		return fmt.Errorf("its first entry is %d, and %d are sealed here", h.First, s.tip.Next)
	}
	batch := s.db.NewIndexedBatch()
	defer batch.Close()
	inForce, last := s.tip.Key, s.tip.Height
	for _, k := range a.Keys {
		if k.Header.NextKey == nil || k.Header.Height <= last || k.Header.Height >= h.Height || k.ChainID() != s.tip.Chain {
			return fmt.Errorf("header %d does not set a key between here and the head", k.Header.Height)
		}
		if err := k.Check(inForce); err != nil {
			return err
		}
		inForce, last = *k.Header.NextKey, k.Header.Height
		set(batch, headerKey(last), appendHeader(nil, &k.HeaderSignature, k.Bytes()))
		set(batch, key(spaceKeys, last), inForce[:])
	}
	if err := a.Head.Check(inForce); err != nil {
		return err
	}
	putEdge(batch, h.Height, a.Edge)
	from, first := s.tip.Height+1, s.tip.Next
	tip := &lightchain.Tip{Chain: s.tip.Chain, Height: h.Height - 1, Hash: h.Previous, History: history, Next: h.First, Key: inForce}
	if err := s.putHeader(batch, tip, a.Head, &a.Head.HeaderSignature); err != nil {
		return err
	}
	putRun(batch, from, h.Height-1, first, h.First, headerNotHeld)
	putRun(batch, h.Height, h.Height, h.First, h.First+h.Count, bodyNotHeld)
	return s.moveTo(batch, tip)
}

// putEdge stores the nodes of a compact range, each under the height that completed it.
func putEdge(batch *pebble.Batch, size uint64, edge []lightchain.Hash) {
	first := uint64(0)
	for level := 63; level >= 0; level-- {
		if size>>level&1 == 1 {
			first += 1 << level
			putNode(batch, first-1, level, edge[0])
			edge = edge[1:]
		}
	}
}

// moveTo makes what the batch holds durable and tip the end of the chain, and takes the entries of the open block
// along.
func (s *Store) moveTo(batch *pebble.Batch, tip *lightchain.Tip) error {
	// Whoever has the key in force keeps to headers that continue it. Whoever has it not, because the headers that set
	// his own are among those that are missing, must get past the ones before.
	signer := s.signerOf(tip.Key)
	if signer == nil && s.signer != nil {
		return fmt.Errorf("%w: from header %d on it is %s", ErrWrongKey, tip.Height, tip.Key)
	}
	if err := s.guard.err(); err != nil {
		return err
	}
	height := s.tip.Height + 1
	if err := batch.DeleteRange(blockKey(height, partSeed), headerKey(height), nil); err != nil {
		return err
	}
	if err := batch.Delete(metaKey(metaUnsure), nil); err != nil {
		return err
	}
	if err := s.renumberReceived(batch, s.tip.Next, tip.Next-s.tip.Next); err != nil {
		return err
	}
	s.putSummaries(batch, s.tip.Height, tip.Height)
	if err := s.putTakenBack(batch, s.tip, tip); err != nil {
		return err
	}
	oldTip, oldOpen, oldSigner := s.tip, s.open, s.signer
	s.tip, s.open, s.signer = tip, newOpenBlock(), signer
	err := s.moveOpen(batch, height, oldTip.Next, oldOpen.count)
	// A crash before this commit leaves the old end and its open block, from which the same headers are asked for again;
	// one after it, before the mark is durable, a database above the mark.
	if err == nil {
		err = s.guard.commit(batch)
	}
	if err == nil {
		err = s.advanceTo(tip)
	}
	if err != nil {
		s.tip, s.open, s.signer = oldTip, oldOpen, oldSigner
		return errors.Join(err, s.forgetMove())
	}
	s.unsure = s.info.Restored != nil
	s.showMoved(tip.Clone(), tip.Next+s.open.count)
	return nil
}
