package store

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"

	"edgechain.example/lightchain"
)

// Query says which readings to find. Its zero value finds every entry.
type Query struct {
	Device string // who measured; "" any
	Name   string // what was measured; "" any
	Source string // where the entry came from, exactly; "" any
	From   int64  // nanoseconds since the Unix epoch, included; 0 and To 0: any time
	To     int64  // excluded
	// Received compares the time of arrival. Otherwise the time when it was measured counts, as the device says, and
	// the time of arrival where the device says none or one beyond belief.
	Received bool
	Reverse  bool   // the newest number first
	After    uint64 // numbers from this one on: where to go on
	Before   uint64 // numbers below this one only; 0: to the end
	Limit    int    // how many to find; 0: all

	Done <-chan struct{} // closed, it ends the search where it stands, without an error; nil: nothing does
}

// Match is one reading found, or one entry if the query asks for no device or name and the entry has no readings.
type Match struct {
	*Record
	Reading int // its index in Entry.Readings; -1: the entry as such
}

// Find returns what the query asks for in the order of numbers. It descends the index, so it looks only into blocks
// that may hold a match. Where entries are gone an error stands in for them, and the search goes on if the caller
// does.
func (r *Reader) Find(q Query) iter.Seq2[Match, error] {
	return func(yield func(Match, error) bool) {
		f := &finder{r: r, q: q, at: r.view(), yield: yield, times: allTime}
		if q.From != 0 || q.To != 0 {
			if q.To <= q.From {
				return
			}
			f.times = span{q.From, q.To - 1}
		}
		f.to = f.at.next
		if q.Before != 0 {
			f.to = min(f.to, q.Before)
		}
		if f.q.After >= f.to {
			return
		}
		f.run()
	}
}

type finder struct {
	r     *Reader
	q     Query
	at    *view
	yield func(Match, error) bool
	times span
	to    uint64 // number to stop before
	low   uint64 // heights to look at: low .. high
	high  uint64
	found int
	done  bool
	gaps  []run // of blocks that are not held, in the order in which they are met

	worth func(summary) bool // tells further which blocks may matter; nil: all that match
}

func (f *finder) run() {
	var err error
	if f.low, _, err = f.r.BlockOf(f.q.After); err != nil {
		f.yield(Match{}, err)
		return
	}
	if f.high, _, err = f.r.BlockOf(f.to - 1); err != nil {
		f.yield(Match{}, err)
		return
	}
	if f.gaps, err = f.r.gapsOf(f.q.After, f.to); err != nil && !errors.Is(err, ErrDamaged) {
		f.yield(Match{}, err)
		return
	}
	if f.q.Reverse {
		slices.Reverse(f.gaps)
	}
	level := 0
	for width := uint64(1); width <= f.high; width *= fanOut {
		level++
	}
	f.descend(level, 0)
}

// descend looks at the blocks of heights index·64^level .. (index+1)·64^level − 1.
func (f *finder) descend(level int, index uint64) {
	width := uint64(1)
	for range level {
		width *= fanOut
	}
	first, last := index*width, (index+1)*width-1
	if f.done || first > f.high || last < f.low {
		return
	}
	select {
	case <-f.q.Done:
		f.done = true
		return
	default:
	}
	// A summary stands where its last block is sealed; the open block and runs still growing have none.
	pruned := false
	if last <= f.at.tip.Height {
		s := f.r.summary(last, level)
		pruned = !f.matches(s) || f.worth != nil && !f.worth(s)
	}
	if pruned || level == 0 {
		f.tellGaps(first, last)
	}
	if pruned || f.done {
		return
	}
	if level == 0 {
		f.block(first)
		return
	}
	for i := range uint64(fanOut) {
		if f.q.Reverse {
			i = fanOut - 1 - i
		}
		f.descend(level-1, index*fanOut+i)
	}
}

// tellGaps says once of each run of blocks that are not held that something may have been there, when the search meets
// the first of its heights.
func (f *finder) tellGaps(first, last uint64) {
	for len(f.gaps) > 0 {
		a := f.gaps[0]
		if !f.q.Reverse && a.from > last || f.q.Reverse && a.to < first {
			return
		}
		f.gaps = f.gaps[1:]
		first := max(a.first, f.q.After)
		f.give(Match{}, &GoneError{first, min(a.next, f.to) - first, ErrNotHeld})
	}
}

// matches tells whether blocks with this summary may hold what is looked for.
func (f *finder) matches(s summary) bool {
	if !s.received.overlaps(f.times) && (f.q.Received || !s.measured.overlaps(f.times)) {
		return false
	}
	if s.any {
		return true
	}
	for _, series := range f.series() {
		if _, ok := s.series[series]; !ok {
			return false
		}
	}
	return true
}

// series returns the hashes that a block's summary must hold.
func (f *finder) series() []uint32 {
	q := &f.q
	var hashes []uint32
	switch {
	case q.Device != "" && q.Name != "":
		hashes = append(hashes, seriesHash(seriesPair, q.Device, q.Name))
	case q.Device != "":
		hashes = append(hashes, seriesHash(seriesDevice, q.Device, ""))
	case q.Name != "":
		hashes = append(hashes, seriesHash(seriesName, q.Name, ""))
	}
	if isAgent(q.Source) {
		hashes = append(hashes, seriesHash(seriesSource, q.Source, ""))
	}
	return hashes
}

// block looks into one block.
func (f *finder) block(height uint64) {
	first, next, err := f.r.extent(f.at, height)
	switch {
	case errors.Is(err, ErrNotHeld):
		return // tellGaps has said so
	case errors.Is(err, ErrDamaged):
		f.tellDamaged(height, err)
		return
	case err != nil:
		f.give(Match{}, err)
		return
	}
	first, next = max(first, f.q.After), min(next, f.to)
	if first >= next {
		return
	}
	var matches []Match // of the whole block, when they are wanted from its end
	scan, err := f.r.scanBlock(height, first, next)
	if errors.Is(err, ErrPruned) || errors.Is(err, ErrNotHeld) {
		return
	}
	if err != nil {
		f.give(Match{}, fmt.Errorf("block %d: %w", height, err))
		return
	}
	defer scan.close()
	for !f.done && scan.next() {
		if scan.err != nil {
			f.give(Match{}, scan.err)
			continue
		}
		if !f.mayMatch(scan.chunk.bodies[scan.at]) {
			continue
		}
		rec := &Record{Number: scan.number, Height: height, Sealed: height <= f.at.tip.Height, Bytes: scan.entry(nil)}
		if rec.Entry, err = lightchain.DecodeEntry(rec.Bytes); err != nil {
			f.give(Match{}, &DamageError{height, scan.number, 1, err})
			continue
		}
		for _, i := range f.readings(&rec.Entry) {
			if f.q.Reverse {
				matches = append(matches, Match{rec, i})
			} else {
				f.give(Match{rec, i}, nil)
			}
		}
	}
	for i := len(matches) - 1; i >= 0; i-- {
		f.give(matches[i], nil)
	}
}

// tellDamaged says of a run of headers that cannot be read which numbers may have matched, at the lowest of its heights.
func (f *finder) tellDamaged(height uint64, why error) {
	first := uint64(0)
	_, _, end, err := f.r.endAround(height, 0, f.at.tip.Height)
	if err == nil && height > 0 {
		_, _, first, err = f.r.endAround(height-1, 0, f.at.tip.Height) // the same end, where that one belongs to the run
	}
	if err != nil {
		f.give(Match{}, why)
		return
	}
	if first, end = max(first, f.q.After), min(end, f.to); first < end {
		f.give(Match{}, &DamageError{height, first, end - first, why})
	}
}

// mayMatch rules out entries without decoding them: text stands in a body as it is.
func (f *finder) mayMatch(body []byte) bool {
	for _, s := range [...]string{f.q.Device, f.q.Name, f.q.Source} {
		if s != "" && !bytes.Contains(body, []byte(s)) {
			return false
		}
	}
	return true
}

// readings returns the indices of the entry's readings that match, or −1 for the entry as such.
func (f *finder) readings(e *lightchain.Entry) (matches []int) {
	q := &f.q
	if q.Source != "" && e.Source != q.Source {
		return nil
	}
	if len(e.Readings) == 0 && q.Device == "" && q.Name == "" && f.inTime(e.Received) {
		return []int{-1}
	}
	for i := range e.Readings {
		reading := &e.Readings[i]
		if (q.Device == "" || q.Device == reading.Device) && (q.Name == "" || q.Name == reading.Name) && f.inTime(f.timeOf(e, reading)) {
			matches = append(matches, i)
		}
	}
	return matches
}

func (f *finder) timeOf(e *lightchain.Entry, r *lightchain.Reading) int64 {
	if f.q.Received {
		return e.Received
	}
	return MeasuredAt(e, r)
}

// MeasuredAt returns when a reading of the entry was measured: as its device says, or when the entry arrived if the
// device says nothing, or a time beyond belief.
func MeasuredAt(e *lightchain.Entry, r *lightchain.Reading) int64 {
	if r.Timed && r.Quality&lightchain.Bad == 0 {
		return r.Time
	}
	return e.Received
}

func (f *finder) inTime(t int64) bool { return t >= f.times.min && t <= f.times.max }

// give yields one match or error, unless enough was found or the caller has left.
func (f *finder) give(m Match, err error) {
	if f.done {
		return
	}
	if err == nil {
		f.found++
	}
	f.r.meets(err)
	if !f.yield(m, err) || f.q.Limit > 0 && f.found >= f.q.Limit {
		f.done = true
	}
}

// isAgent tells whether a source is the agent itself, which the index lists.
func isAgent(source string) bool { return len(source) > 6 && source[:6] == "agent:" }
