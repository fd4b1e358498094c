package lightchain

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
)

// Numbers that change little from one header to the next travel as columns: the distance of each from the column's
// median, in Golomb-Rice code (R. F. Rice, JPL Publication 79-22; the code that lossless audio uses). Against a
// general compressor it has three merits here: each column has exactly one encoding, it cannot unfold into more
// than the number of values asked for, and reading or writing it takes no memory beyond the values.
//
//	column   = parameter (one byte), median (zigzag, LEB128), codes, zero bits to the end of the byte
//	code     = (v >> parameter) ones, a zero, the lower parameter bits of v
//	         | riceEscape ones, v in 64 bits, where v >> parameter is not below riceEscape
//	v        = zigzag(value − median), all modulo 2^64; zigzag(0, −1, 1, −2 …) = 0, 1, 2, 3 …
//
// Parameter riceFlat says that all values are the median, and no codes follow. The median is the upper one of the
// values taken as signed; the parameter is one less than the upper median of the lengths in bits of the v, at least 0
// and at most riceMost.

const (
	riceEscape = 32
	riceFlat   = 63
	riceMost   = 62 // the largest parameter
)

var errColumn = errors.New("a column of numbers is cut short or not in its one encoding")

func zigzag(n uint64) uint64   { return n<<1 ^ uint64(int64(n)>>63) }
func unzigzag(n uint64) uint64 { return n>>1 ^ -(n & 1) }

// appendColumn appends values, at least one. scratch is overwritten and must be as long as values.
func appendColumn(b []byte, values, scratch []uint64) []byte {
	median := medianOf(values, scratch)
	all := uint64(0)
	for i, v := range values {
		scratch[i] = zigzag(v - median)
		all |= scratch[i]
	}
	if all == 0 {
		return binary.AppendUvarint(append(b, riceFlat), zigzag(median))
	}
	k := riceParameter(scratch)
	w := bitWriter{b: binary.AppendUvarint(append(b, byte(k)), zigzag(median))}
	for _, v := range scratch {
		if q := v >> k; q < riceEscape {
			w.write(1<<q-1, uint(q))
			w.write(0, 1)
			w.write(v&(1<<k-1), k)
		} else {
			w.write(1<<riceEscape-1, riceEscape)
			w.write(v, 64)
		}
	}
	return w.end()
}

// medianOf returns the upper median of values taken as signed numbers.
func medianOf(values, scratch []uint64) uint64 {
	const sign = 1 << 63
	for i, v := range values {
		scratch[i] = v ^ sign
	}
	slices.Sort(scratch)
	return scratch[len(scratch)/2] ^ sign
}

// riceParameter returns one less than the upper median of the values' lengths in bits, or 0: within a few per cent of
// the best, whatever the outliers are, and found in one pass.
func riceParameter(values []uint64) uint {
	var lengths [65]int
	for _, v := range values {
		lengths[bits.Len64(v)]++
	}
	n, below := 0, len(values)/2
	for below >= lengths[n] {
		below -= lengths[n]
		n++
	}
	return uint(min(max(n-1, 0), riceMost))
}

// readColumn reads len(values) values and returns what follows them in b. Whether it was their one encoding is for
// the caller to see, who encodes them again.
func readColumn(b []byte, values []uint64) ([]byte, error) {
	if len(b) < 2 {
		return nil, errColumn
	}
	k := uint(b[0])
	zigzagged, n := binary.Uvarint(b[1:])
	if n <= 0 || k > riceFlat {
		return nil, errColumn
	}
	b = b[1+n:]
	median := unzigzag(zigzagged)
	if k == riceFlat {
		for i := range values {
			values[i] = median
		}
		return b, nil
	}
	r := bitReader{b: b}
	for i := range values {
		q := r.ones(riceEscape)
		if q == riceEscape {
			values[i] = median + unzigzag(r.read(64))
		} else {
			values[i] = median + unzigzag(uint64(q)<<k|r.read(k))
		}
		if r.short {
			return nil, errColumn
		}
	}
	return r.rest(), nil
}

// bitWriter appends bits, the most significant of a byte first.
type bitWriter struct {
	b    []byte
	part uint64 // the bits not yet in b, in its lower end
	n    uint   // how many: below 8 between calls
}

// write appends the lower n bits of v, which has no others.
func (w *bitWriter) write(v uint64, n uint) {
	for n > 32 {
		n -= 32
		w.write(v>>n&(1<<32-1), 32)
	}
	w.part = w.part<<n | v&(1<<n-1)
	for w.n += n; w.n >= 8; {
		w.n -= 8
		w.b = append(w.b, byte(w.part>>w.n))
	}
}

func (w *bitWriter) end() []byte {
	if w.n > 0 {
		w.b = append(w.b, byte(w.part<<(8-w.n)))
	}
	return w.b
}

// bitReader reads what a bitWriter wrote. Past the end it reads zeros and says so.
type bitReader struct {
	b     []byte
	part  uint64
	n     uint // bits of part that are not read yet
	short bool
}

func (r *bitReader) fill(n uint) {
	for r.n < n {
		next := byte(0)
		if len(r.b) > 0 {
			next, r.b = r.b[0], r.b[1:]
		} else {
			r.short = true
		}
		r.part = r.part<<8 | uint64(next)
		r.n += 8
	}
}

func (r *bitReader) read(n uint) uint64 {
	if n > 32 {
		high := r.read(n - 32)
		return high<<32 | r.read(32)
	}
	r.fill(n)
	r.n -= n
	return r.part >> r.n & (1<<n - 1)
}

// ones reads ones up to the first zero, which it takes too, or up to most of them.
func (r *bitReader) ones(most int) int {
	for i := range most {
		if r.read(1) == 0 {
			return i
		}
	}
	return most
}

// rest returns what follows the byte that was read last.
func (r *bitReader) rest() []byte { return r.b }
