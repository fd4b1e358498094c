package store

import (
	"errors"
	"fmt"
	"math/bits"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// The history tree has the headers as its leaves. Each complete subtree's root is stored once, by the height that
// completed it, so that any path costs a handful of point reads however long the chain is.
//
// A large subtree's root follows from nothing but all the headers below it. One damaged table would take it for good,
// and with it the end of the chain, whose history cannot be extended without; so from spareLevel on a copy lies in a
// space, and so a table, of its own. It takes a byte or two per block.
const spareLevel = 6

// node returns the root of the complete subtree of 2^level headers that begins at height index·2^level. A leaf is
// the hash of its header; one whose header is not held, and every node above, is read as stored. A stored node that
// is missing or cannot be read is computed again from those below.
func (r *Reader) node(level int, index uint64) (lightchain.Hash, error) {
	last := (index+1)<<level - 1
	if level == 0 {
		h, err := r.headerBytes(last)
		if err == nil {
			return lightchain.LeafHash(h), nil
		}
		if !errors.Is(err, ErrNotHeld) && !errors.Is(err, ErrDamaged) {
			return lightchain.Hash{}, err
		}
		if h, stored := r.storedNode(last, level); stored == nil {
			return h, nil
		}
		if h, ok := r.markedNode(0, last); ok {
			r.helped.Store(true)
			return h, nil
		}
		return lightchain.Hash{}, fmt.Errorf("history: %w", err)
	}
	h, err := r.storedNode(last, level)
	if err != nil && level >= spareLevel {
		h, err = r.nodeUnder(spareNodeKey(last, level))
	}
	if err == nil {
		return h, nil
	}
	if h, ok := r.markedNode(level, index); ok {
		return h, nil
	}
	left, errLeft := r.node(level-1, 2*index)
	right, errRight := r.node(level-1, 2*index+1)
	if err := errors.Join(errLeft, errRight); err != nil {
		return lightchain.Hash{}, err
	}
	return lightchain.NodeHash(left, right), nil
}

// putNode puts into the batch a node above the leaves that a height completes.
func putNode(batch *pebble.Batch, height uint64, level int, node lightchain.Hash) {
	set(batch, nodeKey(height, level), node[:])
	if level >= spareLevel {
		set(batch, spareNodeKey(height, level), node[:])
	}
}

// Node returns the root of the complete subtree of 2^level headers that begins at height index·2^level. Its error is
// [ErrNotHeld] where a sparse copy left out what it takes.
func (r *Reader) Node(level int, index uint64) (lightchain.Hash, error) {
	if top := r.Tip().Height; level < 0 || level > 63 || index > top>>level || (index+1)<<level > top+1 {
		return lightchain.Hash{}, fmt.Errorf("history: node (%d, %d): %w", level, index, ErrNotFound)
	}
	return r.node(level, index)
}

func (r *Reader) storedNode(height uint64, level int) (lightchain.Hash, error) {
	return r.nodeUnder(nodeKey(height, level))
}

func (r *Reader) nodeUnder(k []byte) (h lightchain.Hash, err error) {
	b, err := r.get(k)
	if err == nil && copy(h[:], b) != len(h) {
		err = fmt.Errorf("%w: a node of the history has %d bytes", ErrDamaged, len(b))
	}
	return h, err
}

// compactRange returns the right edge of the history of the headers below size.
func (r *Reader) compactRange(size uint64) (lightchain.CompactRange, error) {
	var edge []lightchain.Hash
	for first, rest := uint64(0), size; rest > 0; {
		level := bits.Len64(rest) - 1
		h, err := r.node(level, first>>level)
		if err != nil {
			return lightchain.CompactRange{}, err
		}
		edge = append(edge, h)
		first += 1 << level
		rest -= 1 << level
	}
	return lightchain.NewCompactRange(size, edge)
}

// HistoryPath returns the path of the header at height in the history of the header at later, which commits to the
// headers below itself.
func (r *Reader) HistoryPath(height, later uint64) (lightchain.Path, error) {
	if tip := r.view().tip; later > tip.Height+1 {
		return lightchain.Path{}, fmt.Errorf("header %d: %w: the newest is %d", later, ErrNotFound, tip.Height)
	}
	p, err := lightchain.ProveInclusion(r.node, later, height)
	if err != nil {
		return p, fmt.Errorf("path of header %d in the history of header %d: %w", height, later, err)
	}
	return p, nil
}

// Consistency returns the proof that the history of from headers is the beginning of that of to headers.
func (r *Reader) Consistency(from, to uint64) ([]lightchain.Hash, error) {
	if tip := r.view().tip; to > tip.Height+1 {
		return nil, fmt.Errorf("a history of %d headers: %w: the newest header is %d", to, ErrNotFound, tip.Height)
	}
	proof, err := lightchain.ProveConsistency(r.node, from, to)
	if err != nil {
		return nil, fmt.Errorf("consistency of the histories of %d and %d headers: %w", from, to, err)
	}
	return proof, nil
}

// Edge returns the compact range of the history of size headers: the roots of its complete subtrees, the largest
// first.
func (r *Reader) Edge(size uint64) ([]lightchain.Hash, error) {
	if tip := r.view().tip; size > tip.Height+1 {
		return nil, fmt.Errorf("a history of %d headers: %w: the newest header is %d", size, ErrNotFound, tip.Height)
	}
	c, err := r.compactRange(size)
	if err != nil {
		return nil, fmt.Errorf("edge of the history of %d headers: %w", size, err)
	}
	return c.Edge(), nil
}
