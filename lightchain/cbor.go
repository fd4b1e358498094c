package lightchain

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// Encoding is by hand, appending to a buffer the caller owns: hashing a header or an entry then allocates nothing.
//
// Decoding is by hand, too, by [reader], which knows at each place which kind may come next. So it allocates nothing for what
// a file merely claims, and what it accepts is deterministic by construction.

// Major types of RFC 8949, section 3.1, in the initial byte's upper three bits.
const (
	majorUint  = 0 << 5
	majorNint  = 1 << 5
	majorBytes = 2 << 5
	majorText  = 3 << 5
	majorArray = 4 << 5
	majorMap   = 5 << 5

	majorSimple = 7 << 5

	tagSign1  = 0xd2 // tag 18
	cborFalse = 0xf4
	cborTrue  = 0xf5
	cborNull  = 0xf6
)

// appendHead appends a head of the given major type in its shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendUint(b []byte, n uint64) []byte { return appendHead(b, majorUint, n) }

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, majorNint, uint64(-1-n))
	}
	return appendHead(b, majorUint, uint64(n))
}

func appendBytes[S []byte | string](b []byte, s S) []byte {
	return append(appendHead(b, majorBytes, uint64(len(s))), s...)
}

// SPEC: Text is valid UTF-8, kept as it is.
func appendText(b []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return b, fmt.Errorf("text %s is not valid UTF-8", quoted(s))
	}
	return append(appendHead(b, majorText, uint64(len(s))), s...), nil
}

func appendArray(b []byte, n int) []byte { return appendHead(b, majorArray, uint64(n)) }

func appendMap(b []byte, n int) []byte { return appendHead(b, majorMap, uint64(n)) }

// appendFloat appends f, neither NaN nor infinite, in the shortest of the three forms that keeps its value.
func appendFloat(b []byte, f float64) []byte {
	single := float32(f)
	if float64(single) != f {
		return binary.BigEndian.AppendUint64(append(b, 0xfb), math.Float64bits(f))
	}
	if half, ok := halfBits(single); ok {
		return binary.BigEndian.AppendUint16(append(b, 0xf9), half)
	}
	return binary.BigEndian.AppendUint32(append(b, 0xfa), math.Float32bits(single))
}

// halfBits returns f as an IEEE 754 binary16 if that loses nothing.
func halfBits(f float32) (uint16, bool) {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	exponent := int(bits>>23&0xff) - 127
	fraction := bits & 0x7fffff
	switch {
	case bits&0x7fffffff == 0:
		return sign, true
	case exponent >= -14 && exponent <= 15:
		if fraction&0x1fff != 0 {
			return 0, false
		}
		return sign | uint16(exponent+15)<<10 | uint16(fraction>>13), true
	case exponent >= -24 && exponent < -14: // subnormal in binary16: a multiple of 2^-24
		drop := uint(-exponent - 14 + 13)
		whole := fraction | 0x800000
		if whole&(1<<drop-1) != 0 {
			return 0, false
		}
		return sign | uint16(whole>>drop), true
	}
	return 0, false
}
