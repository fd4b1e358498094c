package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Retention deletes the entries of old blocks and keeps their headers, so that the chain stays whole and whoever kept
// an entry with its proof still proves it. (The store keeps no leaf hashes of what it deletes: they would be a third
// of what was to be freed. An export that shall prove later keeps the proofs.)

// Pruned says what was deleted.
type Pruned struct {
	From, To    uint64 // heights, To excluded
	First, Next uint64 // numbers of the entries, Next excluded
}

// pruneBatch is how many blocks are deleted in one synced batch.
const pruneBatch = 1000

// Prune deletes the entries of all blocks below a height, durably, oldest first, and returns what was there to delete.
// If it is cut off, what is deleted is known to be, and the rest is whole. The space comes back as Pebble compacts.
func (s *Store) Prune(below uint64) (Pruned, error) {
	below = min(below, s.tip.Height+1)
	var pruned Pruned
	for height := uint64(1); height < below; { // there are no entries in genesis
		a, found, err := s.absentAt(height)
		if err != nil {
			return pruned, fmt.Errorf("pruning block %d: %w", height, err)
		}
		if found {
			height = a.to + 1
			continue
		}
		to, err := s.wholeUntil(height, min(below, height+pruneBatch))
		var first, next uint64
		if err == nil {
			first, next, err = s.pruneRun(height, to)
		}
		if err != nil {
			return pruned, fmt.Errorf("pruning block %d: %w", height, err)
		}
		if pruned.To == 0 {
			pruned.From, pruned.First = height, first
		}
		pruned.To, pruned.Next = to, next
		height = to
	}
	return pruned, nil
}

// wholeUntil returns the first height from height on, at most to, at which a run of absent ones begins.
func (s *Store) wholeUntil(height, to uint64) (uint64, error) {
	it, err := s.from.NewIter(&pebble.IterOptions{LowerBound: key(spaceAbsent, height), UpperBound: key(spaceAbsent, to)})
	if err != nil {
		return 0, readError(err)
	}
	defer it.Close()
	if it.First() {
		a, err := decodeRun(it.Key(), it.Value())
		return a.from, err
	}
	return to, readError(it.Error())
}

// pruneRun deletes the entries of the blocks from .. to−1, of which none is absent yet.
func (s *Store) pruneRun(from, to uint64) (first, next uint64, err error) {
	_, _, first, err = s.endAround(from-1, 0, s.tip.Height)
	if err != nil {
		return 0, 0, err
	}
	if _, _, next, err = s.endAround(to-1, 0, s.tip.Height); err != nil {
		return 0, 0, err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	for height := from; height < to; height++ {
		if err := batch.DeleteRange(blockKey(height, partSeed), headerKey(height), nil); err != nil {
			return 0, 0, err
		}
	}
	// A run that ends where this one begins grows, so that years of retention leave one record.
	begin := run{from: from, first: first}
	if before, found, err := s.absentAt(from - 1); err != nil {
		return 0, 0, err
	} else if found && before.what == bodyPruned && before.to == from-1 {
		begin = before
	}
	putRun(batch, begin.from, to-1, begin.first, next, bodyPruned)
	return first, next, s.guard.commit(batch)
}

// Oldest returns the number and the height of the oldest entry that is held, for a store whose retention deletes from
// the oldest on. Its error is [ErrNotFound] if there is none.
func (r *Reader) Oldest() (number, height uint64, err error) {
	at := r.view()
	for height := uint64(0); height <= at.tip.Height; height++ {
		if a, found, err := r.absentAt(height); err != nil {
			return 0, 0, err
		} else if found {
			height = a.to
			continue
		}
		h, err := r.HeaderAt(height)
		if errors.Is(err, ErrDamaged) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		if h.Count > 0 {
			return h.First, height, nil
		}
	}
	if at.next > at.tip.Next {
		return at.tip.Next, at.tip.Height + 1, nil
	}
	return 0, 0, fmt.Errorf("oldest entry: %w", ErrNotFound)
}
