package store

import (
	"cmp"
	"fmt"
	"slices"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// SealParams is what the agent knows and the store does not when a block is sealed.
type SealParams struct {
	Sealed int64 // the gateway's clock, nanoseconds since the Unix epoch
	Clock  lightchain.Clock
	// NextSigner, if it is set, signs from the next header on; its key is committed by this one.
	NextSigner lightchain.Signer
	// Cadence is within how many seconds the header promises the next one; 0: it promises nothing.
	Cadence uint64
}

// Seal closes the open block, which may be empty (a heartbeat), with a signed header that names in its beacon the
// receipts held before the block's first entry. The header is durable when Seal returns it, and never seen by anyone
// before. It fails with [ErrUnsure] while the newest header on disk may not be the newest that left: see ConfirmHead;
// and with [ErrWrongKey] while the store has no signer whose key is in force: see AddSigner.
// Groups staged before it are then durable too, since they were written before.
// A header that sets a key is refused with [ErrKeysSpent] where a proof could not show it any more, and with [ErrKeyUsed] where the
// chain had that key before.
func (s *Store) Seal(p SealParams) (*lightchain.SignedHeader, error) {
	header, err := s.seal(p)
	if err != nil {
		return nil, fmt.Errorf("sealing block %d: %w", s.tip.Height+1, err)
	}
	return header, nil
}

func (s *Store) seal(p SealParams) (*lightchain.SignedHeader, error) {
	if err := s.guard.err(); err != nil {
		return nil, err
	}
	if s.unsure {
		return nil, ErrUnsure
	}
	if s.signer == nil {
		return nil, fmt.Errorf("%w, %s, which was not given", ErrWrongKey, s.tip.Key)
	}
	if err := s.room(s.space.enoughToSeal); err != nil {
		return nil, err
	}
	s.mendSides()
	h := s.tip.Header(s.open.root.Root(), s.open.count, p.Sealed, p.Clock)
	h.Cadence = p.Cadence
	if p.NextSigner != nil {
		if changes, err := s.KeyChanges(); err != nil || changes >= MaxKeyChanges {
			return nil, cmp.Or(err, fmt.Errorf("%w: %d times", ErrKeysSpent, changes))
		}
		next := p.NextSigner.Public()
		if used, err := s.UsedKey(next); err != nil || used {
			return nil, cmp.Or(err, ErrKeyUsed)
		}
		h.NextKey = &next
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	if err := s.putBeacon(batch, h); err != nil {
		return nil, err
	}
	signed, err := h.Sign(s.signer)
	if err != nil {
		return nil, err
	}
	tip := s.tip.Clone()
	if err := s.putHeader(batch, tip, signed, &signed.HeaderSignature); err != nil {
		return nil, err
	}
	set(batch, summaryKey(h.Height, 0), s.open.summary.append(nil))
	s.summariesAbove(h.Height, s.open.summary, func(level int, merged summary) {
		set(batch, summaryKey(h.Height, level), merged.append(nil))
	})
	// Before this commit the signed header exists in memory alone: if the power fails now, nobody has seen it, and
	// another one may take its height. After it, recovery finds this header and goes on from it.
	if err := s.guard.commit(batch); err != nil {
		return nil, err
	}
	// The header is durable, and has not left. If the power fails here, the database is one header above the mark, which
	// is ordinary: the chain goes on from it.
	if err := s.advance(signed); err != nil {
		return nil, err
	}
	// From here on the header may leave: a database that loses it goes on above the mark.
	s.tip, s.open = tip, newOpenBlock()
	if p.NextSigner != nil {
		s.signers = nil // the former one is of no use any more, and is kept nowhere
		s.AddSigner(p.NextSigner)
	}
	s.showTip(tip.Clone())
	return signed, nil
}

// putHeader moves tip onto a header and puts into the batch what goes with one: itself, the nodes of the history that
// it completes, the key that it sets. sig is nil for a header that is held without its signature.
func (s *Store) putHeader(batch *pebble.Batch, tip *lightchain.Tip, signed *lightchain.SignedHeader, sig *lightchain.HeaderSignature) error {
	h := &signed.Header
	err := tip.Extend(h, signed.Hash(), func(level int, _ uint64, node lightchain.Hash) {
		if level > 0 { // a leaf is the header's own hash
			putNode(batch, h.Height, level, node)
		}
	})
	if err != nil {
		return err
	}
	set(batch, headerKey(h.Height), appendHeader(nil, sig, signed.Bytes()))
	if h.NextKey != nil {
		set(batch, key(spaceKeys, h.Height), h.NextKey[:])
	}
	return nil
}

// ConfirmHead says that the newest header held is the newest there ever was, as an aggregator's signed word or nobody's
// knowing of any header can tell. It lets a store seal again that lost tables at its end; Adopt and AdoptHead do, too.
// It also lets a restored store seal, until it is closed: for good when [Store.ForgetRestored] has returned.
func (s *Store) ConfirmHead() error {
	if !s.unsure {
		return nil
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	err := batch.Delete(metaKey(metaUnsure), nil)
	if err == nil {
		err = s.guard.commit(batch)
	}
	if err != nil {
		return fmt.Errorf("confirming header %d: %w", s.tip.Height, err)
	}
	s.unsure = false
	return nil
}

// Signer returns what signs the next header; nil if none that was given has the key in force. It belongs to the owner
// of the tail.
func (s *Store) Signer() lightchain.Signer { return s.signer }

// AddSigner gives the store a signer, which signs while its key is the one in force: at once, or when headers come back
// that set it. It reports whether it is at once. It belongs to the owner of the tail.
func (s *Store) AddSigner(signer lightchain.Signer) (inForce bool) {
	s.signers = append(slices.DeleteFunc(s.signers, func(old lightchain.Signer) bool { return old.Public() == signer.Public() }), signer)
	s.signer = s.signerOf(s.tip.Key)
	return signer.Public() == s.tip.Key
}

// AnySigner returns Signer's, or else the first that was given; nil if none was. It belongs to the owner of the tail.
func (s *Store) AnySigner() lightchain.Signer {
	if s.signer == nil && len(s.signers) > 0 {
		return s.signers[0]
	}
	return s.signer
}

// signerOf returns the signer with a key; nil if none was given.
func (s *Store) signerOf(key lightchain.PublicKey) lightchain.Signer {
	for _, signer := range s.signers {
		if signer.Public() == key {
			return signer
		}
	}
	return nil
}
