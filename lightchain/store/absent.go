package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// absence says what of a run of heights the store does not have, and why: bodies that retention deleted, bodies
// that a restored chain never had, headers that a sparse copy left out. A height in no run is whole, or damaged.
//
// Nothing else in the store tells a deletion from a loss. So each run lies twice, the second time among the store's own
// notes; where neither can be read the bodies that are not there count as lost, and what is said of them is that they may
// have been deleted.
type absence byte

const (
	bodyPruned    absence = 1 + iota // headers are here, entries were deleted
	bodyNotHeld                      // headers are here, entries never were
	headerNotHeld                    // neither is here; the history's nodes are, as far as the copy brought them
	bodyUnknown                      // headers are here, entries are not, and the note of why is lost
)

// run is a run of heights that are not whole, all in the same way.
type run struct {
	from, to    uint64 // heights, both included
	first, next uint64 // numbers of its first entry and of the first one above it
	what        absence
}

// errAbsence means that nothing tells any more why entries are not there.
var errAbsence = fmt.Errorf("%w, or deleted by retention, or never held: the note of which is lost", ErrDamaged)

func (a run) err() error {
	switch a.what {
	case bodyPruned:
		return ErrPruned
	case bodyUnknown:
		return errAbsence
	}
	return ErrNotHeld
}

// putRun notes a run of heights that are not whole.
func putRun(batch *pebble.Batch, from, to, first, next uint64, what absence) {
	k, v := run{from: from, to: to, first: first, next: next, what: what}.record()
	set(batch, k, v)
	set(batch, spareRunKey(from), v)
}

// deleteRuns deletes the runs that begin at the heights from .. to.
func deleteRuns(batch *pebble.Batch, from, to uint64) error {
	return errors.Join(
		batch.DeleteRange(key(spaceAbsent, from), key(spaceAbsent, to+1), nil),
		batch.DeleteRange(spareRunKey(from), spareRunKey(to+1), nil))
}

// record returns the run's key and value.
func (a run) record() (k, v []byte) {
	v = []byte{byte(a.what)}
	for _, n := range [...]uint64{a.to - a.from, a.first, a.next - a.first} {
		v = binary.AppendUvarint(v, n)
	}
	return key(spaceAbsent, a.from), v
}

var errRun = errors.New("not a run of heights")

// decodeRun reads a run from either copy: a key ends with its height.
func decodeRun(k, v []byte) (run, error) {
	if len(k) < 9 || len(v) == 0 {
		return run{}, errRun
	}
	a := run{from: binary.BigEndian.Uint64(k[len(k)-8:]), what: absence(v[0])}
	v = v[1:]
	for _, to := range [...]*uint64{&a.to, &a.first, &a.next} {
		n, size := binary.Uvarint(v)
		if size <= 0 {
			return run{}, errRun
		}
		*to, v = n, v[size:]
	}
	a.to += a.from
	a.next += a.first
	if a.what < bodyPruned || a.what > bodyUnknown || len(v) != 0 {
		return run{}, errRun
	}
	return a, nil
}

// gapsOf returns the runs of blocks that are not held, with their headers or without, and had entries of the numbers
// first .. next−1.
func (r *Reader) gapsOf(first, next uint64) (gaps []run, err error) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: key(spaceAbsent, 0), UpperBound: []byte{spaceAbsent + 1}})
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if a, err := decodeRun(it.Key(), it.Value()); err == nil && (a.what == headerNotHeld || a.what == bodyNotHeld) && a.first < next && a.next > first {
			gaps = append(gaps, a)
		}
	}
	return gaps, readError(it.Error())
}

// absentAt returns the run that height lies in, if it lies in one.
func (r *Reader) absentAt(height uint64) (run, bool, error) {
	if height == math.MaxUint64 {
		return run{}, false, nil
	}
	a, found, err := r.runBelow(key(spaceAbsent, 0), key(spaceAbsent, height+1))
	if errors.Is(err, ErrDamaged) {
		r.meet(key(spaceAbsent, height))
		if _, complete := r.get(metaKey(metaRuns)); complete == nil {
			a, found, err = r.runBelow(spareRunKey(0), spareRunKey(height+1))
		}
	}
	if err != nil || !found {
		return run{}, false, err
	}
	return a, height <= a.to, nil
}

// runBelow returns the last run between two keys.
func (r *Reader) runBelow(lower, upper []byte) (a run, found bool, err error) {
	k, v, err := r.seekLT(lower, upper)
	if errors.Is(err, ErrNotFound) {
		return a, false, nil
	}
	if err != nil {
		return a, false, err
	}
	if a, err = decodeRun(k, v); err != nil {
		return a, false, fmt.Errorf("heights from %x: %w: %w", k, ErrDamaged, err)
	}
	return a, true, nil
}

// metaRuns begins the keys of the copies of all runs; by itself it says that all are there.
const metaRuns = "absent"

func spareRunKey(from uint64) []byte {
	return binary.BigEndian.AppendUint64(append(metaKey(metaRuns), 0), from)
}

// runs returns the runs between two keys that can be read.
func (r *Reader) runs(lower, upper []byte) (runs map[uint64]run, err error) {
	scan, err := r.scanSide(lower, upper)
	if err != nil {
		return nil, err
	}
	defer scan.close()
	runs = map[uint64]run{}
	for ok := scan.first(); ok; ok = scan.next() {
		if a, err := decodeRun(scan.key(), scan.value()); err == nil {
			runs[a.from] = a
		}
	}
	return runs, scan.err
}

// matchRuns writes anew what one copy of the runs lacks beside the other: all, in a store that had but one.
func (s *Store) matchRuns() error {
	runs, err := s.runs(key(spaceAbsent, 0), []byte{spaceAbsent + 1})
	if err != nil {
		return err
	}
	spare, err := s.runs(spareRunKey(0), append(metaKey(metaRuns), 1))
	if err != nil {
		return err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	for _, from := range [...]map[uint64]run{runs, spare} {
		for first, a := range from {
			if b, c := runs[first], spare[first]; b == c || a.to < max(b.to, c.to) { // a run grows
				continue
			}
			putRun(batch, a.from, a.to, a.first, a.next, a.what)
		}
	}
	if _, err := s.get(metaKey(metaRuns)); errors.Is(err, ErrNotFound) {
		set(batch, metaKey(metaRuns), nil)
	}
	if batch.Empty() {
		return nil
	}
	return s.guard.commit(batch)
}

// restoreRuns brings back the runs of a table that was lost: from their copies, or, where there never were any, as those
// blocks at the chain's beginning whose bodies are not there. Of these nothing tells why.
func (s *Store) restoreRuns() error {
	_, noted := s.get(metaKey(metaRuns))
	if err := s.matchRuns(); err != nil || noted == nil {
		return err
	}
	from, err := s.OldestBlock()
	if err != nil {
		return err
	}
	to := s.firstHeld(from)
	if to == from {
		return nil
	}
	_, _, first, err := s.endAround(from-1, 0, s.tip.Height)
	if err != nil {
		return err
	}
	_, _, next, err := s.endAround(to-1, 0, s.tip.Height)
	if err != nil {
		return err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	putRun(batch, from, to-1, first, next, bodyUnknown)
	s.options.Logger.Error("it cannot be told any more which old entries were deleted and which are lost", "from_block", from, "to_block", to-1, "first", first, "count", next-first)
	return s.guard.commit(batch)
}

// firstHeld returns the lowest height from one on at which entries are held, for a chain whose oldest ones are gone.
func (s *Store) firstHeld(from uint64) uint64 {
	low, high := from, s.tip.Height+1
	for low < high {
		middle := low + (high-low)/2
		at, held := s.holdsFrom(middle, high)
		if held {
			high = middle
		} else {
			low = at + 1
		}
	}
	return high
}

// holdsFrom reports whether the first block of a height and above, and below another, that has entries holds some. It
// returns the block's height.
func (s *Store) holdsFrom(height, below uint64) (uint64, bool) {
	for ; height < below; height++ {
		h, err := s.HeaderAt(height)
		if err != nil || h.Count == 0 {
			continue
		}
		_, _, err = s.seekLT(chunkKey(height, 0), headerKey(height))
		return height, !errors.Is(err, ErrNotFound) // what cannot be read was not deleted
	}
	return below - 1, false
}
