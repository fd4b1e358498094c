package lightchain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// reader reads items in deterministic encoding (RFC 8949, section 4.2.1) one after the other, where it is known which
// kind comes next. It looks at kind and length in the encoded bytes and allocates nothing for what they merely claim.
// After the first error it reads nothing more: its zero values are no input, and end returns the error.
//
// SPEC: Refused before anything is allocated
type reader struct {
	b    []byte // what is left
	err  error
	only bool // the encoding is checked, and texts and byte strings are not kept
}

var (
	errCutShort  = errors.New("cut short")
	errOtherKind = errors.New("an item of another kind than the format has here")

	errNotDeterministic = errors.New("not in deterministic encoding (RFC 8949, section 4.2.1)")
)

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// end returns the first error, one of them being that something follows.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes after the end", len(r.b))
	}
	return r.err
}

// head reads an item's kind and argument, which must be in its shortest form.
func (r *reader) head() (major byte, n uint64) {
	if len(r.b) == 0 {
		r.fail(errCutShort)
		return 0, 0
	}
	major, short := r.b[0]&0xe0, r.b[0]&0x1f
	if short < 24 {
		r.b = r.b[1:]
		return major, uint64(short)
	}
	if short > 27 { // an indefinite length, or what no RFC defines
		r.fail(errNotDeterministic)
		return 0, 0
	}
	width := 1 << (short - 24)
	if len(r.b) < 1+width {
		r.fail(errCutShort)
		return 0, 0
	}
	var least uint64
	switch b := r.b[1:]; width {
	case 1:
		n, least = uint64(b[0]), 24
	case 2:
		n, least = uint64(binary.BigEndian.Uint16(b)), 1<<8
	case 4:
		n, least = uint64(binary.BigEndian.Uint32(b)), 1<<16
	case 8:
		n, least = binary.BigEndian.Uint64(b), 1<<32
	}
	if n < least {
		r.fail(errNotDeterministic)
		return 0, 0
	}
	r.b = r.b[1+width:]
	return major, n
}

// expect reads the head of an item of the given kind. Most are one byte, of which an entry of many readings has millions.
func (r *reader) expect(major byte) uint64 {
	if len(r.b) > 0 && r.b[0]-major < 24 { // in unsigned bytes, so that no other kind passes
		n := r.b[0] - major
		r.b = r.b[1:]
		return uint64(n)
	}
	return r.expectLong(major)
}

func (r *reader) expectLong(major byte) uint64 {
	got, n := r.head()
	if r.err == nil && got != major {
		r.fail(errOtherKind)
		return 0
	}
	return n
}

// SPEC: a `uint` in 0 .. 2^63−1
func (r *reader) uint() uint64 {
	n := r.expect(majorUint)
	if n > math.MaxInt64 {
		r.fail(fmt.Errorf("%d is above 2^63-1", n))
		return 0
	}
	return n
}

// SPEC: An `int` lies in −2^63 .. 2^63−1
func (r *reader) int() int64 {
	major, n := r.head()
	switch {
	case r.err != nil:
		return 0
	case major != majorUint && major != majorNint:
		r.fail(errOtherKind)
		return 0
	case n > math.MaxInt64:
		r.fail(errors.New("an int outside -2^63 to 2^63-1"))
		return 0
	case major == majorNint:
		return -1 - int64(n)
	}
	return int64(n)
}

// content returns the next n bytes, which stay those of the reader's input.
func (r *reader) content(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)) {
		r.fail(errCutShort)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// bytes reads a byte string of at most so many bytes; the result is a part of the input.
func (r *reader) bytes(most int) []byte {
	n := r.expect(majorBytes)
	if n > uint64(most) {
		r.fail(fmt.Errorf("%d bytes are above the limit of %d", n, most))
		return nil
	}
	return r.content(n)
}

// fixed reads a byte string of exactly the length of to.
func (r *reader) fixed(to []byte) {
	n := r.expect(majorBytes)
	if r.err == nil && n != uint64(len(to)) {
		r.fail(fmt.Errorf("a byte string of %d bytes, not %d", n, len(to)))
		return
	}
	copy(to, r.content(n))
}

// SPEC: Text is valid UTF-8, kept as it is.
func (r *reader) text() string { return r.kept(r.textBytes()) }

// shortText reads text of at most so many bytes; the result is a part of the input.
func (r *reader) shortText(most int) []byte {
	n := r.expect(majorText)
	if n > uint64(most) {
		r.fail(fmt.Errorf("a text of %d bytes is above the limit of %d", n, most))
		return nil
	}
	return r.utf8(r.content(n))
}

// textBytes reads text; the result is a part of the input.
func (r *reader) textBytes() []byte {
	return r.utf8(r.content(r.expect(majorText)))
}

func (r *reader) utf8(b []byte) []byte {
	if !utf8.Valid(b) {
		r.fail(errors.New("text that is not valid UTF-8"))
		return nil
	}
	return b
}

// kept returns a copy of what was read, if it is to be kept.
func (r *reader) kept(b []byte) string {
	if r.only {
		return ""
	}
	return string(b)
}

// array reads the head of an array of least to most elements, of which each takes at least so many bytes.
func (r *reader) array(least, most, width int) int {
	n := r.expect(majorArray)
	switch {
	case r.err != nil:
		return 0
	case n < uint64(least) || n > uint64(most):
		r.fail(fmt.Errorf("an array of %d elements, not %d to %d", n, least, most))
		return 0
	case n*uint64(width) > uint64(len(r.b)):
		r.fail(errCutShort)
		return 0
	}
	return int(n)
}

// tuple reads the head of an array of exactly n elements.
func (r *reader) tuple(n int) { r.array(n, n, 1) }

// null reads null, if that comes next, and reports whether it did.
func (r *reader) null() bool {
	if r.err != nil || len(r.b) == 0 || r.b[0] != cborNull {
		return false
	}
	r.b = r.b[1:]
	return true
}

// true reads true, if that comes next, and reports whether it did.
func (r *reader) true() bool {
	if r.err != nil || len(r.b) == 0 || r.b[0] != cborTrue {
		return false
	}
	r.b = r.b[1:]
	return true
}

// fields reads the head of a map with small keys and calls field for each, which reads the value. Keys ascend; which of
// them must be there is its caller's to check, by the set that comes back.
func (r *reader) fields(field func(key uint64)) (set uint64) {
	n := r.expect(majorMap)
	last := -1
	for ; n > 0 && r.err == nil; n-- {
		key := r.expect(majorUint)
		if r.err != nil {
			break
		}
		if key > 63 || int(key) <= last {
			r.fail(fmt.Errorf("key %d is not one of the format, or out of order", key))
			break
		}
		last, set = int(key), set|1<<key
		field(key)
	}
	return set
}

// pairs reads the head of a map of exactly n keys.
func (r *reader) pairs(n uint64) {
	if got := r.expect(majorMap); r.err == nil && got != n {
		r.fail(fmt.Errorf("a map of %d keys, not %d", got, n))
	}
}

// label reads the one key that may come next.
func (r *reader) label(expected int64) {
	if label := r.int(); r.err == nil && label != expected {
		r.fail(fmt.Errorf("label %d, not %d", label, expected))
	}
}

// keys reads the head of a map whose keys are uints of any size, and calls field for each, which reads the value.
func (r *reader) keys(field func(key uint64)) {
	n := r.expect(majorMap)
	for next := uint64(0); n > 0 && r.err == nil; n-- {
		key := r.uint()
		if r.err == nil && key < next {
			r.fail(fmt.Errorf("key %d is out of order", key))
		}
		if r.err != nil {
			break
		}
		next = key + 1
		field(key)
	}
}

// unknown refuses a key that the format does not have here.
func (r *reader) unknown(key uint64) { r.fail(fmt.Errorf("key %d is not one of the format", key)) }

// version reads the format's version.
func (r *reader) version() {
	if v := r.uint(); r.err == nil && v != Version {
		r.fail(fmt.Errorf("format version %d, this program knows %d", v, Version))
	}
}

// value reads a reading's value.
func (r *reader) value() Value {
	if len(r.b) == 0 {
		r.fail(errCutShort)
		return Value{}
	}
	switch first := r.b[0]; first & 0xe0 {
	case majorUint, majorNint:
		return Int(r.int())
	case majorText:
		return Text(r.text())
	case majorBytes:
		return Value{kind: KindBytes, text: r.kept(r.content(r.expect(majorBytes)))}
	case majorSimple:
		switch first {
		case cborNull:
			r.b = r.b[1:]
			return Value{}
		case cborFalse, cborFalse + 1:
			r.b = r.b[1:]
			return Bool(first != cborFalse)
		case 0xf9, 0xfa, 0xfb:
			return r.float(1 << (first - 0xf8))
		}
	}
	r.fail(errors.New("a value that is not an int, float, boolean, text, bytes or null"))
	return Value{}
}

// float reads a floating-point number of so many bytes, which must be its shortest form.
//
// SPEC: A decoder refuses everything else: longer forms, […] NaN and infinities
func (r *reader) float(width int) Value {
	if len(r.b) < 1+width {
		r.fail(errCutShort)
		return Value{}
	}
	var f float64
	switch b := r.b[1:]; width {
	case 2:
		f = halfFloat(binary.BigEndian.Uint16(b))
	case 4:
		f = float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
	default:
		f = math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	var shortest [9]byte
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		r.fail(errNotFinite)
	case len(appendFloat(shortest[:0], f)) != 1+width:
		r.fail(errNotDeterministic)
	default:
		r.b = r.b[1+width:]
		return Float(f)
	}
	return Value{}
}

// halfFloat returns the number that an IEEE 754 binary16 is.
func halfFloat(bits uint16) float64 {
	sign := 1.0
	if bits&0x8000 != 0 {
		sign = -1
	}
	exponent, fraction := int(bits>>10&31), float64(bits&1023)
	switch exponent {
	case 0:
		return math.Copysign(math.Ldexp(fraction, -24), sign)
	case 31:
		return math.NaN() // or an infinity: neither can stand
	}
	return sign * math.Ldexp(1+fraction/1024, exponent-15)
}
