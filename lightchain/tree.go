package lightchain

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/bits"
)

// The trees here are those of RFC 9162, section 2.1: a complete subtree of 2^level leaves that starts at leaf
// index·2^level is a node named (level, index), and never changes once its last leaf is there.

// emptyRoot is the Merkle tree hash of no leaves.
//
// SPEC: no entries SHA-256("")
var emptyRoot = Hash(sha256.Sum256(nil))

// EmptyRoot returns the Merkle tree hash of a tree without leaves, SHA-256 of nothing.
func EmptyRoot() Hash { return emptyRoot }

// LeafHash returns the hash of one leaf.
//
// SPEC: leaf SHA-256(0x00 || entry)
func LeafHash(leaf []byte) (h Hash) {
	// Most leaves fit into the stack, and hashing then allocates nothing; of a small one the room is small, since clearing it
	// takes time, too.
	switch {
	case len(leaf) < 128:
		var b [128]byte
		return sha256.Sum256(b[:1+copy(b[1:], leaf)])
	case len(leaf) < 1024:
		var b [1024]byte
		return sha256.Sum256(b[:1+copy(b[1:], leaf)])
	}
	d := sha256.New()
	d.Write([]byte{0})
	d.Write(leaf)
	d.Sum(h[:0])
	return h
}

// NodeHash returns the hash of the node above left and right.
//
// SPEC: node SHA-256(0x01 || left || right)
func NodeHash(left, right Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// CompactRange is the right edge of a growing tree: the roots of the complete subtrees that make it up, one for each
// bit set in its size, the largest first. It is all that is needed to extend the tree and to know its root. The zero
// value is the empty tree.
type CompactRange struct {
	size uint64
	edge []Hash
}

// NewCompactRange returns the tree of the given size whose edge somebody else kept; see [CompactRange.Edge].
func NewCompactRange(size uint64, edge []Hash) (CompactRange, error) {
	if want := bits.OnesCount64(size); len(edge) != want {
		return CompactRange{}, fmt.Errorf("a tree of %d leaves has an edge of %d hashes, not %d", size, want, len(edge))
	}
	return CompactRange{size: size, edge: append([]Hash(nil), edge...)}, nil
}

// Size returns the number of leaves.
func (r *CompactRange) Size() uint64 { return r.size }

// Edge returns the roots of the complete subtrees, the largest first. The caller may keep the slice.
func (r *CompactRange) Edge() []Hash { return append([]Hash(nil), r.edge...) }

// leaves are some that follow each other.
type leaves struct{ first, count uint64 }

// parts yields the complete subtrees and their roots, the largest first.
func (r *CompactRange) parts() iter.Seq2[leaves, Hash] {
	return func(yield func(leaves, Hash) bool) {
		at := uint64(0)
		for _, h := range r.edge {
			part := leaves{at, 1 << (bits.Len64(r.size-at) - 1)}
			if !yield(part, h) {
				return
			}
			at += part.count
		}
	}
}

// Clone returns a copy that grows by itself.
func (r *CompactRange) Clone() CompactRange { return CompactRange{size: r.size, edge: r.Edge()} }

// Append adds one leaf. For each node that the leaf completes, the leaf itself first (level 0), it calls completed,
// which may be nil.
func (r *CompactRange) Append(leaf Hash, completed func(level int, index uint64, h Hash)) {
	h, level := leaf, 0
	if completed != nil {
		completed(0, r.size, h)
	}
	for n := r.size; n&1 == 1; n >>= 1 {
		last := len(r.edge) - 1
		h = NodeHash(r.edge[last], h)
		r.edge = r.edge[:last]
		level++
		if completed != nil {
			completed(level, r.size>>level, h)
		}
	}
	r.edge = append(r.edge, h)
	r.size++
}

// Root returns the Merkle tree hash of the leaves so far.
func (r *CompactRange) Root() Hash {
	if r.size == 0 {
		return emptyRoot
	}
	last := len(r.edge) - 1
	h := r.edge[last]
	for i := last - 1; i >= 0; i-- {
		h = NodeHash(r.edge[i], h)
	}
	return h
}

// Nodes gives the hash of the complete subtree of 2^level leaves that starts at leaf index·2^level.
type Nodes func(level int, index uint64) (Hash, error)

// LeafNodes returns the nodes of the tree over leaves, each computed when it is asked for.
func LeafNodes(leaves []Hash) Nodes { return new(CompactRange).nodes(leaves) }

// nodes returns the nodes of the tree that more leaves continue: those of the edge, and those that end above it.
func (r *CompactRange) nodes(more []Hash) Nodes {
	edge := maps.Collect(r.parts())
	var node Nodes
	node = func(level int, index uint64) (Hash, error) {
		if h, ok := edge[leaves{index << level, 1 << level}]; ok {
			return h, nil
		}
		if level > 0 {
			return pair(node, level-1, 2*index)
		}
		if index < r.size || index-r.size >= uint64(len(more)) {
			return Hash{}, fmt.Errorf("leaf %d of a tree of %d, of which the first %d are not known", index, r.size+uint64(len(more)), r.size)
		}
		return more[index-r.size], nil
	}
	return node
}

// pair returns the hash of the node above (level, index) and its right neighbour.
func pair(nodes Nodes, level int, index uint64) (Hash, error) {
	left, err := nodes(level, index)
	if err != nil {
		return Hash{}, err
	}
	right, err := nodes(level, index+1)
	if err != nil {
		return Hash{}, err
	}
	return NodeHash(left, right), nil
}

// split returns the largest power of two smaller than n, which is at least 2.
func split(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// subtree returns the Merkle tree hash of the n leaves from first on. RFC 9162 splits so that first is always a
// multiple of the power of two at or above n.
func subtree(nodes Nodes, first, n uint64) (Hash, error) {
	if n&(n-1) == 0 {
		level := bits.TrailingZeros64(n)
		return nodes(level, first>>level)
	}
	k := split(n)
	left, err := subtree(nodes, first, k)
	if err != nil {
		return Hash{}, err
	}
	right, err := subtree(nodes, first+k, n-k)
	if err != nil {
		return Hash{}, err
	}
	return NodeHash(left, right), nil
}

// Path shows that one leaf stands in a tree (RFC 9162, section 2.1.3).
type Path struct {
	Size   uint64 // leaves of the tree
	Index  uint64 // of the leaf
	Hashes []Hash // from the leaf upwards
}

// ProveInclusion returns the path of leaf index in the tree of size leaves (RFC 9162, section 2.1.3.1).
func ProveInclusion(nodes Nodes, size, index uint64) (Path, error) {
	if index >= size {
		return Path{}, fmt.Errorf("leaf %d of a tree of %d", index, size)
	}
	p := Path{Size: size, Index: index}
	var climb func(first, n uint64) error
	climb = func(first, n uint64) error {
		if n == 1 {
			return nil
		}
		k := split(n)
		inside, sibling, siblings := first, first+k, n-k
		width := k
		if index >= first+k {
			inside, width, sibling, siblings = first+k, n-k, first, k
		}
		if err := climb(inside, width); err != nil {
			return err
		}
		h, err := subtree(nodes, sibling, siblings)
		p.Hashes = append(p.Hashes, h)
		return err
	}
	if err := climb(0, size); err != nil {
		return Path{}, err
	}
	return p, nil
}

var errPath = errors.New("path does not fit its size and index")

// Root returns the root of the tree in which the path places leaf (RFC 9162, section 2.1.3.2). It fails if the path
// has not the one length that its size and index allow.
func (p *Path) Root(leaf Hash) (Hash, error) {
	if p.Index >= p.Size {
		return Hash{}, errPath
	}
	h := leaf
	fn, sn := p.Index, p.Size-1
	for _, sibling := range p.Hashes {
		if sn == 0 {
			return Hash{}, errPath
		}
		if fn&1 == 1 || fn == sn {
			h = NodeHash(sibling, h)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			h = NodeHash(h, sibling)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 {
		return Hash{}, errPath
	}
	return h, nil
}

// ProveConsistency returns the proof that the tree of from leaves is the beginning of that of to leaves (RFC 9162,
// section 2.1.4.1). It is empty where from is 0 or equals to.
func ProveConsistency(nodes Nodes, from, to uint64) ([]Hash, error) {
	if from > to {
		return nil, fmt.Errorf("a tree of %d leaves is no beginning of one of %d", from, to)
	}
	if from == 0 || from == to {
		return nil, nil
	}
	var proof []Hash
	add := func(first, n uint64) error {
		h, err := subtree(nodes, first, n)
		proof = append(proof, h)
		return err
	}
	// known says that the verifier already knows the subtree's root, as it is the whole old tree.
	var sub func(m, first, n uint64, known bool) error
	sub = func(m, first, n uint64, known bool) error {
		if m == n {
			if known {
				return nil
			}
			return add(first, n)
		}
		k := split(n)
		if m <= k {
			if err := sub(m, first, k, known); err != nil {
				return err
			}
			return add(first+k, n-k)
		}
		if err := sub(m-k, first+k, n-k, false); err != nil {
			return err
		}
		return add(first, k)
	}
	if err := sub(from, 0, to, true); err != nil {
		return nil, err
	}
	return proof, nil
}

var errConsistency = errors.New("the later tree does not begin with the earlier one")

// VerifyConsistency checks that the tree of from leaves with root before is the beginning of that of to leaves with
// root after (RFC 9162, section 2.1.4.2).
func VerifyConsistency(from, to uint64, before, after Hash, proof []Hash) error {
	switch {
	case from > to:
		return errConsistency
	case from == 0:
		if before != emptyRoot || len(proof) != 0 {
			return errConsistency
		}
		return nil
	case from == to:
		if before != after || len(proof) != 0 {
			return errConsistency
		}
		return nil
	}
	if from&(from-1) == 0 {
		proof = append([]Hash{before}, proof...)
	}
	if len(proof) == 0 {
		return errConsistency
	}
	fn, sn := from-1, to-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	fr, sr := proof[0], proof[0]
	for _, h := range proof[1:] {
		if sn == 0 {
			return errConsistency
		}
		if fn&1 == 1 || fn == sn {
			fr, sr = NodeHash(h, fr), NodeHash(h, sr)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			sr = NodeHash(sr, h)
		}
		fn, sn = fn>>1, sn>>1
	}
	if fr != before || sr != after || sn != 0 {
		return errConsistency
	}
	return nil
}
