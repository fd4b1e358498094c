package lightchain

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Any two headers of one history stand in relations that both show by themselves, without a path between them. Where
// two signed headers do not, whoever holds the chain's keys signed two histories, or a history that no gateway could
// have recorded; within one file it refutes the file.

// seen is a header in sight: signed, or vouched for by a header that is.
type seen struct {
	header *Header
	hash   Hash
}

func (s *SignedHeader) seen() seen { return seen{&s.Header, s.Hash()} }

// conflict says why two headers of one chain cannot both stand in one history, as far as they show it; nil if they do
// not. keys are the headers that set the key below the higher of the two, as its file has them, genesis first.
//
// SPEC: At one height they are the same. […] First numbers never fall: key 7 of the higher one is at least 7 + 8 of the
// lower one. […] A header right above another names it in key 4 and begins where it ends […] A header that sets a key is
// one of those under which a higher one is signed
func conflict(a, b seen, keys []*SignedHeader) error {
	lower, higher := a, b
	if lower.header.Height > higher.header.Height {
		lower, higher = b, a
	}
	below, above := lower.header, higher.header
	next := below.First + below.Count // each is below 2^63
	switch {
	case below.Height == above.Height:
		if lower.hash != higher.hash {
			return fmt.Errorf("two different headers at height %d", below.Height)
		}
		return nil
	case above.First < next:
		return fmt.Errorf("header %d begins with entry %d, although header %d ended before entry %d", above.Height, above.First, below.Height, next)
	case below.Height+1 == above.Height && above.Previous != lower.hash:
		return fmt.Errorf("header %d names another header before it than header %d", above.Height, below.Height)
	case below.Height+1 == above.Height && above.First != next:
		return fmt.Errorf("header %d begins with entry %d, although header %d ended before entry %d", above.Height, above.First, below.Height, next)
	case below.NextKey != nil && !sets(keys, lower):
		return fmt.Errorf("header %d hands over to another key, and header %d is signed as if it did not", below.Height, above.Height)
	}
	return nil
}

// Apart reports whether two signed headers of one chain, at any heights, show by their numbers and links that no history
// holds both. That the keys they are signed under differ is not looked at; see [Contradiction].
func Apart(a, b *SignedHeader) bool {
	lower := a
	if b.Header.Height < a.Header.Height {
		lower = b
	}
	return conflict(a.seen(), b.seen(), []*SignedHeader{lower}) != nil
}

// sets reports whether a header is one of those that set the key, whose heights ascend.
func sets(keys []*SignedHeader, h seen) bool {
	i, found := slices.BinarySearchFunc(keys, h.header.Height, func(k *SignedHeader, height uint64) int {
		return cmp.Compare(k.Header.Height, height)
	})
	return found && keys[i].Hash() == h.hash
}

// checkRelations checks how the headers in sight of one file stand to each other, and that what is shown of their tree fits
// together; keys are those of them that set the key. What else is shown of the tree stands in shown.
//
// SPEC: every relation between the headers in sight
func checkRelations(keys []*SignedHeader, others []seen, shown *shown) error {
	all := slices.Clone(others)
	for _, k := range keys {
		all = append(all, k.seen())
	}
	slices.SortStableFunc(all, func(a, b seen) int { return cmp.Compare(a.header.Height, b.header.Height) })
	for i, h := range all {
		if h.header.Count > math.MaxInt64-h.header.First {
			return fmt.Errorf("header %d: %w", h.header.Height, errNumbers)
		}
		// SPEC: A header of no entries has the root `empty`.
		if h.header.Count == 0 && h.header.Root != emptyRoot {
			return fmt.Errorf("header %d has no entries and another root than that of none", h.header.Height)
		}
		if i > 0 {
			// What holds of neighbours holds of all: numbers do not fall, and links speak of neighbours alone.
			if err := conflict(all[i-1], h, keys); err != nil {
				return err
			}
		}
		if err := shown.header(h); err != nil {
			return err
		}
	}
	return shown.check()
}

// SPEC: No entry has a number above 2^63−1
var errNumbers = errors.New("more entries than can be numbered")
