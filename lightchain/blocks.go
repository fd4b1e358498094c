package lightchain

import (
	"bytes"
	"errors"
	"fmt"
)

// BundleBlocks are the headers of a bundle's blocks, by height. One signature vouches for all of them, since each names the
// one before: what another file says of one of these heights must be the same.
type BundleBlocks struct {
	first seen         // the first block's
	below CompactRange // the tree over the headers below it
	to    uint64       // height of the last one
	end   Side         // its signed header
	name  string       // the gateway's

	pages [][]Hash // of the first blocks, pageOfBlocks each
	kept  uint64
}

const pageOfBlocks = 1024

// KeepBlocks has the verifier keep the hashes of so many blocks' headers, the first ones, for [BundleVerifier.Blocks]. It is
// called before the first [BundleVerifier.Add]; without it none is kept.
func (v *BundleVerifier) KeepBlocks(most uint64) { v.keep = most }

// Blocks returns what the bundle says of the heights from its first block to its last. Call it when [BundleVerifier.Report]
// has returned without an error.
func (v *BundleVerifier) Blocks() *BundleBlocks {
	head, name := v.proof.Header, ""
	if g := v.keys[0].Header.Genesis; g != nil && g.Name != nil {
		name = *g.Name
	}
	b := v.blocks
	b.first, b.below, b.to, b.name = v.first, v.below, v.header.Height, name
	b.end = Side{Keys: keysBelow(v.keys, head), Head: head, Leaf: head.Hash()}
	return &b
}

func (b *BundleBlocks) add(h Hash, most uint64) {
	if b.kept >= most {
		return
	}
	if b.kept%pageOfBlocks == 0 {
		b.pages = append(b.pages, make([]Hash, 0, pageOfBlocks))
	}
	last := &b.pages[len(b.pages)-1]
	*last = append(*last, h)
	b.kept++
}

// Kept returns of how many blocks the hashes are kept.
func (b *BundleBlocks) Kept() uint64 { return b.kept }

// Keep forgets the hashes of all but so many blocks.
func (b *BundleBlocks) Keep(most uint64) {
	if most < b.kept {
		b.kept, b.pages = most, b.pages[:(most+pageOfBlocks-1)/pageOfBlocks:(most+pageOfBlocks-1)/pageOfBlocks]
	}
}

// At returns the hash of the header at a height, if it is one of the bundle's blocks and kept.
func (b *BundleBlocks) At(height uint64) (Hash, bool) {
	at := height - b.first.header.Height
	if height == b.to {
		return b.end.Leaf, true
	}
	if height < b.first.header.Height || height > b.to || at >= b.kept {
		return Hash{}, false
	}
	return b.pages[at/pageOfBlocks][at%pageOfBlocks], true
}

// Apart says why no history holds both what a side of another file shows and these blocks; nil if one may. It is not compared
// where the hash at its height is not kept. What lies above the last block stands to that one, which is signed by itself: see
// [Contradiction].
//
// SPEC: Any signed header of one file is, at its height, the header of the other's blocks; and below the first of them it
// stands to that one in the first three relations.
func (b *BundleBlocks) Apart(s *Side) (why error, compared bool) {
	height := s.Height()
	switch hash, kept := b.At(height); {
	case height > b.to:
	case height < b.first.header.Height && s.Path == nil:
		return conflict(s.Head.seen(), b.first, []*SignedHeader{s.Head}), true
	case height < b.first.header.Height: // the header that the path places is a side by itself
	case !kept:
		return nil, false
	case hash != s.Leaf:
		return fmt.Errorf("two different headers at height %d", height), true
	}
	return nil, true
}

// Evidence returns evidence that the bundle's keys and those of a side which is [BundleBlocks.Apart] signed two histories. Of a
// side below the first block there is none in it, but where the edge shows the header that stands there; nor where too few hashes
// are kept; the error says what would have it.
func (b *BundleBlocks) Evidence(s *Side) (*Fork, error) {
	height, from := s.Height(), b.first.header.Height
	needs := fmt.Sprintf("a bundle that ends with block %d shows that header signed", max(height, from))
	leaf, known := b.At(height)
	if height+1 == from && from&1 == 1 { // the last hash of the edge is that of one header
		leaf, known = b.first.header.Previous, true
	}
	switch {
	case height < from && (!known || leaf == s.Leaf):
		return nil, fmt.Errorf("the header that contradicts block %d is signed by itself, and that of the block is not; %s", from, needs)
	case height < b.to && b.kept < b.to-from:
		return nil, fmt.Errorf("of the bundle's blocks too many lie between block %d and the signed header at its end; %s", height, needs)
	}
	mine := b.end
	if height < b.to { // else the header at the end says it itself
		leaves := make([]Hash, 0, b.kept)
		for _, page := range b.pages {
			leaves = append(leaves, page...)
		}
		path, err := ProveInclusion(b.below.nodes(leaves), b.to, height)
		if err != nil {
			return nil, err
		}
		mine.Leaf, mine.Path = leaf, &path
	}
	f := newForkOf(mine, *s)
	if err := f.Check(b.end.Keys[0].ChainID()); err != nil {
		return nil, err
	}
	return f, nil
}

// Accuse says what these blocks and a side that is [BundleBlocks.Apart] show together, whether or not there is evidence of it
// in a file of its own.
func (b *BundleBlocks) Accuse(s *Side, t *Trust) (*ForkReport, error) {
	why, _ := b.Apart(s)
	if why == nil {
		return nil, errors.New("one history can hold both")
	}
	mine, err := b.end.report(nil, t)
	if err != nil {
		return nil, err
	}
	other, err := s.report(nil, t)
	if err != nil {
		return nil, err
	}
	mine.Height, mine.Hash = b.first.header.Height, b.first.hash
	r := &ForkReport{Chain: b.end.Keys[0].ChainID(), Name: b.name, Height: s.Height(), Sides: [2]SideReport{other, mine}}
	if s.Height() >= b.first.header.Height {
		mine.Height = s.Height()
		mine.Hash, _ = b.At(s.Height())
		if r.Sides[1] = mine; bytes.Compare(other.Hash[:], mine.Hash[:]) > 0 {
			r.Sides = [2]SideReport{mine, other}
		}
	} else {
		r.Conflict = why
	}
	r.Both = countersignedBoth(r)
	return r, nil
}
