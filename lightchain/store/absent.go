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
type absence byte

const (
	bodyPruned    absence = 1 + iota // headers are here, entries were deleted
	bodyNotHeld                      // headers are here, entries never were
	headerNotHeld                    // neither is here; the history's nodes are, as far as the copy brought them
)

// run is a run of heights that are not whole, all in the same way.
type run struct {
	from, to    uint64 // heights, both included
	first, next uint64 // numbers of its first entry and of the first one above it
	what        absence
}

func (a run) err() error {
	if a.what == bodyPruned {
		return ErrPruned
	}
	return ErrNotHeld
}

// putRun notes a run of heights that are not whole.
func putRun(batch *pebble.Batch, from, to, first, next uint64, what absence) {
	k, v := run{from: from, to: to, first: first, next: next, what: what}.record()
	set(batch, k, v)
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

func decodeRun(k, v []byte) (run, error) {
	if len(k) != 9 || k[0] != spaceAbsent || len(v) == 0 {
		return run{}, errRun
	}
	a := run{from: binary.BigEndian.Uint64(k[1:]), what: absence(v[0])}
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
	if a.what < bodyPruned || a.what > headerNotHeld || len(v) != 0 {
		return run{}, errRun
	}
	return a, nil
}

// headerGaps returns the runs of headers that are not held and that had entries of the numbers first .. next−1.
func (r *Reader) headerGaps(first, next uint64) (gaps []run, err error) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: key(spaceAbsent, 0), UpperBound: []byte{spaceAbsent + 1}})
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if a, err := decodeRun(it.Key(), it.Value()); err == nil && a.what == headerNotHeld && a.first < next && a.next > first {
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
	k, v, err := r.seekLT(key(spaceAbsent, 0), key(spaceAbsent, height+1))
	if errors.Is(err, ErrNotFound) {
		return run{}, false, nil
	}
	if err != nil {
		return run{}, false, err
	}
	a, err := decodeRun(k, v)
	if err != nil {
		return run{}, false, fmt.Errorf("heights from %x: %w: %w", k, ErrDamaged, err)
	}
	return a, height <= a.to, nil
}
