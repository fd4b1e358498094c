package lightchain

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Fork is evidence that the holder of a chain's keys signed two histories of it: two signed heads that place
// different headers at one height, or two signed headers at different heights that no one history can hold. Whoever
// knows the chain's 52 characters can check it, with nothing else.
type Fork struct {
	Keys  []*SignedHeader // the headers that set the key on both sides, genesis first, heights strictly ascending
	Sides [2]Side         // ascending by height, then by the hash that each places there
}

// Side is what one side of a fork shows.
type Side struct {
	Keys []*SignedHeader // the headers that set the key on this side alone, heights strictly ascending
	Head *SignedHeader   // with receipts, if it has any: they say who took this side for the chain's one history
	Leaf Hash            // the header's hash at the height where the sides differ: Head's own, or shown by Path
	Path *Path           // of Leaf in Head's history; nil where Leaf is Head's own hash
}

// Height returns where the side places its leaf.
func (s *Side) Height() uint64 {
	if s.Path != nil {
		return s.Path.Index
	}
	return s.Head.Header.Height
}

// NewFork puts two sides in their order.
func NewFork(keys []*SignedHeader, a, b Side) *Fork {
	if compareSides(&a, &b) > 0 {
		a, b = b, a
	}
	return &Fork{Keys: keys, Sides: [2]Side{a, b}}
}

func compareSides(a, b *Side) int {
	return cmp.Or(cmp.Compare(a.Height(), b.Height()), bytes.Compare(a.Leaf[:], b.Leaf[:]))
}

// Height returns the height at which the two sides differ, or the lower of the two that cannot stand together. Below it
// they may differ already.
func (f *Fork) Height() uint64 { return f.Sides[0].Height() }

// Check checks the evidence against the chain's identity.
func (f *Fork) Check(chain ChainID) error {
	if len(f.Keys) == 0 || f.Keys[0].Header.Genesis == nil || f.Keys[0].ChainID() != chain {
		return fmt.Errorf("fork: not of chain %s", chain)
	}
	// A gateway that continues an old chain with the old key has signed headers of both.
	if err := ofChain(chain, f.Keys...); err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	key, height, err := followKeys(*f.Keys[0].Header.NextKey, 0, f.Keys, (*SignedHeader).Check)
	if err != nil {
		return fmt.Errorf("fork: %w", err)
	}
	for i := range f.Sides {
		if err := f.Sides[i].check(chain, key, height, (*SignedHeader).Check); err != nil {
			return fmt.Errorf("fork: side %d: %w", i+1, err)
		}
	}
	if compareSides(&f.Sides[0], &f.Sides[1]) >= 0 {
		return errors.New("fork: the two sides place the same header there, or are not in their order")
	}
	if f.Sides[0].Height() == f.Sides[1].Height() {
		return nil
	}
	if f.Conflict() == nil {
		return errors.New("fork: the two sides speak of different heights, and one history can hold both")
	}
	return nil
}

// Conflict says why two headers at different heights cannot both stand in one history; nil where they can, and where the
// sides speak of one height.
//
// SPEC: Heights that differ are evidence too where both paths are null and the two heads cannot stand in one history
func (f *Fork) Conflict() error {
	lower, higher := &f.Sides[0], &f.Sides[1]
	if lower.Height() == higher.Height() || lower.Path != nil || higher.Path != nil {
		return nil
	}
	return conflict(lower.Head.seen(), higher.Head.seen(), slices.Concat(f.Keys, higher.Keys))
}

// signedUnder checks a header's signature: [SignedHeader.Check], or what remembers its results.
type signedUnder func(*SignedHeader, PublicKey) error

// followKeys checks headers that set the key, each under the key before, and returns the key then in force and the
// height of the last of them.
func followKeys(key PublicKey, lowest uint64, headers []*SignedHeader, check signedUnder) (PublicKey, uint64, error) {
	for _, h := range headers {
		switch {
		case h.Header.NextKey == nil:
			return key, 0, fmt.Errorf("header %d sets no key", h.Header.Height)
		case h.Header.Height < lowest:
			return key, 0, errors.New("the headers that set the key are not in strictly ascending order of height")
		}
		if err := check(h, key); err != nil {
			return key, 0, err
		}
		key, lowest = *h.Header.NextKey, h.Header.Height+1
	}
	return key, lowest, nil
}

// ofChain refuses headers of other chains.
func ofChain(chain ChainID, headers ...*SignedHeader) error {
	for _, h := range headers {
		if h.ChainID() != chain {
			return fmt.Errorf("header %d belongs to another chain", h.Header.Height)
		}
	}
	return nil
}

func (s *Side) check(chain ChainID, key PublicKey, lowest uint64, check signedUnder) error {
	if err := cmp.Or(ofChain(chain, s.Head), ofChain(chain, s.Keys...)); err != nil {
		return err
	}
	key, lowest, err := followKeys(key, lowest, s.Keys, check)
	if err != nil {
		return err
	}
	if s.Head.Header.Height < lowest {
		return fmt.Errorf("header %d stands below one that sets its key", s.Head.Header.Height)
	}
	if err := check(s.Head, key); err != nil {
		return err
	}
	if s.Path == nil {
		if s.Leaf != s.Head.Hash() {
			return errors.New("the hash is not that of the head")
		}
		return nil
	}
	if s.Path.Size != s.Head.Header.Height {
		return errors.New("the path is not one in the head's history")
	}
	root, err := s.Path.Root(s.Leaf)
	if err != nil {
		return err
	}
	if root != s.Head.Header.History {
		return errors.New("the head's history does not contain the header")
	}
	return nil
}

const maxForkKeys = 1024

// Append appends the encoding of the evidence to b:
//
//	fork = {
//	  1: 1,             ; format version
//	  2: [1*1024 bstr], ; signed headers that set the key on both sides, genesis first
//	  3: [side, side]   ; ascending by height, then by hash
//	}
//	side = [[*1024 bstr], bstr, hash, path / null]   ; signed headers that set the key, signed head, leaf and its path
func (f *Fork) Append(b []byte) ([]byte, error) {
	start := len(b)
	b, err := f.append(b)
	if err != nil {
		return b[:start], fmt.Errorf("fork: %w", err)
	}
	return b, nil
}

func (f *Fork) append(b []byte) (_ []byte, err error) {
	if b, err = appendWrappedAll(append(appendMap(b, 3), 1, Version, 2), f.Keys); err != nil {
		return b, err
	}
	b = appendArray(append(b, 3), 2)
	for i := range f.Sides {
		s := &f.Sides[i]
		if b, err = appendWrappedAll(appendArray(b, 4), s.Keys); err != nil {
			return b, err
		}
		if b, err = appendWrapped(b, s.Head); err != nil {
			return b, err
		}
		b = appendBytes(b, s.Leaf[:])
		if s.Path == nil {
			b = append(b, cborNull)
		} else if b, err = s.Path.append(b); err != nil {
			return b, err
		}
	}
	return b, nil
}

func appendWrappedAll(b []byte, headers []*SignedHeader) (_ []byte, err error) {
	if len(headers) > maxForkKeys {
		return b, fmt.Errorf("%d headers that set the key are above the limit of %d", len(headers), maxForkKeys)
	}
	b = appendArray(b, len(headers))
	for _, h := range headers {
		if b, err = appendWrapped(b, h); err != nil {
			return b, err
		}
	}
	return b, nil
}

// DecodeFork reads evidence of a fork. It checks the encoding alone; see [Fork.Check].
func DecodeFork(b []byte) (*Fork, error) {
	f, err := decodeFork(b)
	if err != nil {
		return nil, fmt.Errorf("fork: %w", err)
	}
	return f, nil
}

func decodeFork(b []byte) (*Fork, error) {
	if len(b) > MaxProof {
		return nil, fmt.Errorf("%d bytes are above the limit of %d", len(b), MaxProof)
	}
	f, r := new(Fork), reader{b: b}
	set := r.fields(func(key uint64) {
		switch key {
		case 1:
			r.version()
		case 2:
			f.Keys = r.wrappedAll(1, maxForkKeys)
		case 3:
			r.tuple(len(f.Sides))
			for i := range f.Sides {
				f.Sides[i].decode(&r)
			}
		default:
			r.unknown(key)
		}
	})
	if err := r.end(); err != nil {
		return nil, err
	}
	if needed := uint64(1<<4 - 1<<1); set != needed {
		return nil, errors.New("one of the fields 1 to 3 is missing")
	}
	return f, nil
}

func (s *Side) decode(r *reader) {
	r.tuple(4)
	s.Keys, s.Head = r.wrappedAll(0, maxForkKeys), r.wrapped()
	r.fixed(s.Leaf[:])
	if !r.null() {
		path := r.path()
		s.Path = &path
	}
}
