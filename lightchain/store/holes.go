package store

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// A table that is gone takes the headers that stood in it, and those above and below are whole. What of the history is
// needed to go on, and to prove across the gap, follows from what is left: the hash of a header stands in the next one, and
// the newest ones' stand in the head mark. So the chain keeps its end, and the gap is noted as what it is.

// heightRun is a run of heights, both included.
type heightRun struct{ from, to uint64 }

// gapsBetween returns the heights up to a highest one that are in none of the runs.
func gapsBetween(runs []heightRun, highest uint64) (gaps []heightRun) {
	slices.SortFunc(runs, func(a, b heightRun) int { return cmp.Compare(a.from, b.from) })
	next := uint64(0)
	for _, r := range runs {
		if r.from > next {
			gaps = append(gaps, heightRun{next, min(r.from-1, highest)})
		}
		if next = max(next, r.to+1); next > highest {
			return gaps
		}
	}
	return append(gaps, heightRun{next, highest})
}

// have notes that a header was taken over.
func (r *rebuilder) have(height uint64) {
	if n := len(r.held); n > 0 && r.held[n-1].to+1 == height {
		r.held[n-1].to = height
		return
	}
	r.held = append(r.held, heightRun{height, height})
}

// noteHoles notes the headers that a rebuild has not found below the newest one as not held, and what can still be read of
// their blocks to be staged again.
//
// Cut off before it is durable, a scrub finds them: then they count as damaged, and what can be read of their blocks stays
// where it is.
func (s *Store) noteHoles() error {
	if len(s.rebuilt) == 0 && s.marked != nil && s.helped.Load() {
		s.rebuilt = s.heldInWindow() // of a rebuild that was cut off, or of rot that no rebuild was needed for
	}
	if len(s.rebuilt) == 0 {
		return nil
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	s.putKeyHeaders(batch)
	var strays []heightRun
	for _, gap := range gapsBetween(s.rebuilt, s.tip.Height) {
		for at := gap.from; at <= gap.to; {
			a, absent, err := s.absentAt(at)
			if err != nil {
				return err
			}
			if absent && a.what == headerNotHeld { // that is known
				at = a.to + 1
				continue
			}
			hole := heightRun{at, gap.to}
			if a, err := s.nextRun(at, gap.to, func(a run) bool { return a.what == headerNotHeld }); err != nil {
				return err
			} else if a != nil {
				hole.to = a.from - 1
			}
			at = hole.to + 1
			first, next, err := s.between(hole.from, hole.to)
			if err != nil {
				return err
			}
			lost, err := s.withoutHeaders(Damage{From: hole.from, To: hole.to, Headers: true, Why: "a part of the database is gone"})
			if err != nil {
				return err
			}
			for _, lost := range lost {
				s.options.Logger.Error("headers are gone from the database", "from_block", lost.From, "to_block", lost.To, "first", lost.First, "count", lost.Count)
			}
			if err := deleteRuns(batch, hole.from, hole.to); err != nil { // what of their bodies was deleted counts no more
				return err
			}
			putRun(batch, hole.from, hole.to, first, next, headerNotHeld)
			s.putLeaves(batch, hole)
			for _, lost := range lost {
				if err := s.putLost(batch, lost, s.tip); err != nil {
					return err
				}
			}
			there, err := s.countStrays(hole.from, hole.to+1)
			if err != nil {
				return err
			}
			if there > 0 {
				strays = append(strays, hole)
				// As where the mark brings the end back: no receipt counts for entries that may have come before it.
				if err := s.renumberReceived(batch, first, s.tip.Next-first+there); err != nil && !errors.Is(err, ErrDamaged) {
					return err
				}
			}
		}
	}
	if batch.Empty() {
		return nil
	}
	if len(strays) > 0 {
		putStrays(batch, append(s.straysBelow(), strays...))
	}
	return s.guard.commit(batch)
}

// heldInWindow returns the heights but for those that the head mark holds the hash of, and the database no header.
func (s *Store) heldInWindow() (held []heightRun) {
	from := uint64(0)
	for height := s.marked.bottom(); height <= s.marked.head.Height; height++ {
		if _, err := s.get(headerKey(height)); !errors.Is(err, ErrNotFound) {
			continue // what cannot be read may be there: a scrub tells of it
		}
		if height > from {
			held = append(held, heightRun{from, height - 1})
		}
		from = height + 1
	}
	return append(held, heightRun{from, math.MaxUint64 - 1})
}

// holds adds a height to those whose headers a rebuild has brought.
func (s *Store) holds(height uint64) {
	if len(s.rebuilt) > 0 {
		s.rebuilt = append(s.rebuilt, heightRun{height, height})
	}
}

// putKeyHeaders puts the headers that set the key, and stand beside the database, back where the rebuild has not found them.
func (s *Store) putKeyHeaders(batch *pebble.Batch) {
	if s.marked == nil || s.marked.chain() != s.tip.Chain {
		return
	}
	for _, h := range knownKeys(s.dir, s.options, s.marked) {
		height := h.Header.Height
		if _, err := s.get(headerKey(height)); height < s.tip.Height && errors.Is(err, ErrNotFound) {
			set(batch, headerKey(height), appendHeader(nil, &h.HeaderSignature, h.Bytes()))
			set(batch, key(spaceKeys, height), h.Header.NextKey[:])
			s.holds(height)
		}
	}
}

// nextRun returns the lowest run of the wanted ones that begins between two heights, both included, or nil.
func (s *Store) nextRun(from, to uint64, wanted func(run) bool) (*run, error) {
	scan, err := s.scanSide(key(spaceAbsent, from), key(spaceAbsent, to+1))
	if err != nil {
		return nil, err
	}
	defer scan.close()
	for ok := scan.first(); ok; ok = scan.next() {
		if a, err := decodeRun(scan.key(), scan.value()); err == nil && wanted(a) {
			return &a, nil
		}
	}
	return nil, scan.err
}

// putLeaves puts the hashes of headers that are gone into the batch, as far as they are known.
func (s *Store) putLeaves(batch *pebble.Batch, hole heightRun) {
	for height := hole.from; height <= hole.to; height++ {
		if leaf, ok := s.markedNode(0, height); ok {
			set(batch, nodeKey(height, 0), leaf[:])
		}
	}
	if h, err := s.HeaderAt(hole.to + 1); err == nil { // a header says which is the one before
		set(batch, nodeKey(hole.to, 0), h.Previous[:])
	}
}

// markedNode returns a node of the history that the head mark holds, as it was when the store was opened.
func (r *Reader) markedNode(level int, index uint64) (h lightchain.Hash, ok bool) {
	m := r.marked
	if m == nil {
		return h, false
	}
	if level == 0 && index >= m.bottom() && index <= m.head.Height {
		return m.window[index-m.bottom()], true
	}
	first := uint64(0)
	for edge, at := m.below.Edge(), 63; at >= 0 && len(edge) > 0; at-- {
		if m.bottom()>>at&1 == 0 {
			continue
		}
		if at == level && first>>at == index {
			return edge[0], true
		}
		first, edge = first+1<<at, edge[1:]
	}
	return h, false
}
