package store

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// The index answers "which blocks may hold readings of this device and name, of this time?". Each block has a small
// summary, and each 64 summaries one above them, and so on, so that a query descends from few summaries to the blocks
// that matter. A summary says too much rather than too little; nothing assumes that times rise with heights, since
// clocks jump.

// fanOut is how many summaries one of the next level covers.
const fanOut = 64

// maxSeries is how many series a summary lists; one with more says "any".
const maxSeries = 4096

// span is a closed range of times, in nanoseconds since the Unix epoch; empty where min > max.
type span struct{ min, max int64 }

var (
	noTime  = span{math.MaxInt64, math.MinInt64}
	allTime = span{math.MinInt64, math.MaxInt64}
)

func (s *span) add(t int64) { s.min, s.max = min(s.min, t), max(s.max, t) }

func (s *span) merge(o span) { s.min, s.max = min(s.min, o.min), max(s.max, o.max) }

func (s span) empty() bool { return s.min > s.max }

func (s span) overlaps(o span) bool { return s.min <= o.max && o.min <= s.max }

// summary says what may be found in a run of blocks.
type summary struct {
	received span // times of arrival
	measured span // the devices' own times, but for those flagged as beyond belief
	any      bool // too many series to list: every one may be there
	series   map[uint32]struct{}
}

func newSummary() summary {
	return summary{received: noTime, measured: noTime, series: map[uint32]struct{}{}}
}

// anything is the summary of blocks of which nothing is known.
func anything() summary { return summary{received: allTime, measured: allTime, any: true} }

// A series is found by device and name, by device alone and by name alone; what the agent says about the chain
// itself by its source. Each is a 32-bit FNV-1a hash: a false match costs a look into a block, nothing else.
const (
	seriesPair   = 'p'
	seriesDevice = 'd'
	seriesName   = 'n'
	seriesSource = 's'
)

func seriesHash(kind byte, a, b string) uint32 {
	const prime = 16777619
	h := (uint32(2166136261) ^ uint32(kind)) * prime
	for i := 0; i < len(a); i++ {
		h = (h ^ uint32(a[i])) * prime
	}
	h = (h ^ 0xff) * prime // no byte of UTF-8: "ab"+"c" and "a"+"bc" differ
	for i := 0; i < len(b); i++ {
		h = (h ^ uint32(b[i])) * prime
	}
	return h
}

// add takes an entry into the summary of its block.
func (s *summary) add(e *lightchain.Entry) {
	s.received.add(e.Received)
	if e.Flags&lightchain.ByAgent != 0 {
		s.put(seriesHash(seriesSource, e.Source, ""))
	}
	for i := range e.Readings {
		r := &e.Readings[i]
		if r.Timed && r.Quality&lightchain.Bad == 0 {
			s.measured.add(r.Time)
		}
		s.put(seriesHash(seriesPair, r.Device, r.Name))
		s.put(seriesHash(seriesDevice, r.Device, ""))
		s.put(seriesHash(seriesName, r.Name, ""))
	}
}

func (s *summary) put(series uint32) {
	if s.any {
		return
	}
	s.series[series] = struct{}{}
	if len(s.series) > maxSeries {
		s.any, s.series = true, nil
	}
}

// merge takes the blocks of o into s.
func (s *summary) merge(o summary) {
	s.received.merge(o.received)
	s.measured.merge(o.measured)
	if o.any {
		s.any, s.series = true, nil
	}
	for series := range o.series {
		s.put(series)
	}
}

// A stored summary is a flag byte, the spans that are not empty as varint min and uvarint max − min, and, unless any
// series may be there, the sorted hashes as uvarint differences.
const (
	summaryReceived = 1 << iota
	summaryMeasured
	summaryAny
)

func (s *summary) append(b []byte) []byte {
	flags := len(b)
	b = append(b, 0)
	for i, t := range [...]span{s.received, s.measured} {
		if !t.empty() {
			b[flags] |= 1 << i
			b = binary.AppendUvarint(binary.AppendVarint(b, t.min), uint64(t.max)-uint64(t.min))
		}
	}
	if s.any {
		b[flags] |= summaryAny
		return b
	}
	series := make([]uint32, 0, len(s.series))
	for h := range s.series {
		series = append(series, h)
	}
	slices.Sort(series)
	last := uint32(0)
	for _, h := range series {
		b = binary.AppendUvarint(b, uint64(h-last))
		last = h
	}
	return b
}

var errSummary = errors.New("not a summary")

func decodeSummary(b []byte) (summary, error) {
	s := newSummary()
	if len(b) == 0 {
		return s, errSummary
	}
	flags, b := b[0], b[1:]
	for i, t := range [...]*span{&s.received, &s.measured} {
		if flags&(1<<i) == 0 {
			continue
		}
		least, n := binary.Varint(b)
		if n <= 0 {
			return s, errSummary
		}
		b = b[n:]
		width, n := binary.Uvarint(b)
		if n <= 0 {
			return s, errSummary
		}
		b = b[n:]
		*t = span{least, int64(uint64(least) + width)}
	}
	if flags&summaryAny != 0 {
		s.any, s.series = true, nil
		return s, nil
	}
	last := uint32(0)
	for len(b) > 0 {
		delta, n := binary.Uvarint(b)
		if n <= 0 {
			return s, errSummary
		}
		b = b[n:]
		last += uint32(delta)
		s.series[last] = struct{}{}
	}
	return s, nil
}

// summary returns the stored summary of the fanOut^level blocks that end at height. Where one was never written,
// there is nothing to find; one that cannot be read excludes nothing.
func (r *Reader) summary(height uint64, level int) summary {
	b, err := r.get(summaryKey(height, level))
	switch {
	case errors.Is(err, ErrNotFound):
		return newSummary()
	case err != nil:
		return anything()
	}
	s, err := decodeSummary(b)
	if err != nil {
		return anything()
	}
	return s
}

// summariesAbove calls put with the summaries of the levels above that the block at height completes, whose own
// summary is given. Heights whose headers came from elsewhere contribute nothing: there are no entries of theirs.
func (r *Reader) summariesAbove(height uint64, own summary, put func(level int, s summary)) {
	width := uint64(1) // of one child
	for level := 1; (height+1)%(width*fanOut) == 0; level++ {
		merged := newSummary()
		for end := height + width - width*fanOut; end < height; end += width {
			merged.merge(r.summary(end, level-1))
		}
		merged.merge(own)
		put(level, merged)
		own, width = merged, width*fanOut
	}
}

// putSummaries puts into the batch the summaries that are completed when the chain moves from one tip to another over
// heights of which no entries are held: of each level the one that those below the old tip still waited for.
func (r *Reader) putSummaries(batch *pebble.Batch, from, to uint64) {
	with := r.on(batch)
	width := uint64(fanOut)
	for level := 1; width <= to+1; level++ {
		last := from/width*width + width - 1
		if last > from && last <= to {
			merged := newSummary()
			child := width / fanOut
			for end := last + child - width; end <= last; end += child {
				merged.merge(with.summary(end, level-1))
			}
			set(batch, summaryKey(last, level), merged.append(nil))
		}
		width *= fanOut
	}
}
