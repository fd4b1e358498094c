package lightchain

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Numbers that change little from one header to the next travel as columns: the distance of each from the column's
// median, in as few bytes as it takes. Against a general compressor it has three merits here: each column has exactly one
// encoding, it cannot unfold into more than the number of values asked for, and reading or writing it takes no memory
// beyond the values.
//
//	column = 0, zigzag(median)                   where all values are the median
//	       | 1, zigzag(median), zigzag(value − median) for each value
//
// Numbers are unsigned LEB128, all arithmetic is modulo 2^64, and zigzag(0, −1, 1, −2 …) = 0, 1, 2, 3 …. The median is the
// upper one of the values taken as signed.

const (
	columnFlat   = 0
	columnVaried = 1
)

var errColumn = errors.New("a column of numbers is cut short or not in its one encoding")

func zigzag(n uint64) uint64   { return n<<1 ^ uint64(int64(n)>>63) }
func unzigzag(n uint64) uint64 { return n>>1 ^ -(n & 1) }

// appendColumn appends values, at least one. scratch is overwritten and must be as long as values.
func appendColumn(b []byte, values, scratch []uint64) []byte {
	median := medianOf(values, scratch)
	if !slices.ContainsFunc(values, func(v uint64) bool { return v != median }) {
		return binary.AppendUvarint(append(b, columnFlat), zigzag(median))
	}
	b = binary.AppendUvarint(append(b, columnVaried), zigzag(median))
	for _, v := range values {
		b = binary.AppendUvarint(b, zigzag(v-median))
	}
	return b
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

// readColumn reads len(values) values and returns what follows them in b. Whether it was their one encoding is for
// the caller to see, who encodes them again.
func readColumn(b []byte, values []uint64) ([]byte, error) {
	if len(b) == 0 || b[0] > columnVaried {
		return nil, errColumn
	}
	varied := b[0] == columnVaried
	first, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return nil, errColumn
	}
	b = b[1+n:]
	median := unzigzag(first)
	for i := range values {
		values[i] = median
		if !varied {
			continue
		}
		distance, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errColumn
		}
		values[i] += unzigzag(distance)
		b = b[n:]
	}
	return b, nil
}
