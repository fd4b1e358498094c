package lightchain

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Kind says which of the CBOR kinds a [Value] holds.
type Kind uint8

// The kinds that a reading's value can have.
const (
	KindNull Kind = iota
	KindBool
	KindInt
	KindFloat
	KindText
	KindBytes
)

// Value is what a reading says was measured: an integer, a floating-point number, a boolean, text, bytes, or null.
// Its zero value is null. Values compare with ==, except that floats compare by their bits (so −0.0 is not 0.0).
type Value struct {
	kind Kind
	bits uint64
	text string
}

// Int returns an integer value.
func Int(n int64) Value { return Value{kind: KindInt, bits: uint64(n)} }

// Float returns a floating-point value. NaN and the infinities are refused when the entry is encoded.
func Float(f float64) Value { return Value{kind: KindFloat, bits: math.Float64bits(f)} }

// Bool returns a boolean value.
func Bool(b bool) Value {
	if b {
		return Value{kind: KindBool, bits: 1}
	}
	return Value{kind: KindBool}
}

// Text returns a text value, which must be valid UTF-8.
func Text(s string) Value { return Value{kind: KindText, text: s} }

// Bytes returns a byte-string value.
func Bytes(b []byte) Value { return Value{kind: KindBytes, text: string(b)} }

// Kind returns the kind of v.
func (v Value) Kind() Kind { return v.kind }

// Int returns v's integer; ok is false if v is of another kind.
func (v Value) Int() (n int64, ok bool) { return int64(v.bits), v.kind == KindInt }

// Float returns v's number, an integer's too; ok is false if v is not a number.
func (v Value) Float() (f float64, ok bool) {
	switch v.kind {
	case KindFloat:
		return math.Float64frombits(v.bits), true
	case KindInt:
		return float64(int64(v.bits)), true
	}
	return 0, false
}

// Bool returns v's boolean; ok is false if v is of another kind.
func (v Value) Bool() (b, ok bool) { return v.bits == 1, v.kind == KindBool }

// Text returns v's text or bytes; ok is false if v is of another kind.
func (v Value) Text() (s string, ok bool) {
	return v.text, v.kind == KindText || v.kind == KindBytes
}

// String returns v as a person reads it: text without quotes, bytes in hexadecimal, null as "null".
func (v Value) String() string {
	switch v.kind {
	case KindBool:
		return strconv.FormatBool(v.bits == 1)
	case KindInt:
		return strconv.FormatInt(int64(v.bits), 10)
	case KindFloat:
		return formatFloat(math.Float64frombits(v.bits))
	case KindText:
		return v.text
	case KindBytes:
		return fmt.Sprintf("%x", v.text)
	}
	return "null"
}

// formatFloat keeps a fraction in sight, so that 20.0 is not mistaken for the integer 20.
func formatFloat(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".eIN") {
		s += ".0"
	}
	return s
}

// MarshalJSON implements [encoding/json.Marshaler]: bytes become hexadecimal text.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.kind {
	case KindText, KindBytes:
		return appendJSONString(nil, v.String()), nil
	case KindFloat:
		if f := math.Float64frombits(v.bits); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, errNotFinite
		}
	}
	return []byte(v.String()), nil
}

// appendJSONString quotes s as RFC 8259 wants it. (encoding/json would pull reflection into the browser's build.)
func appendJSONString(b []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s { // invalid UTF-8 becomes U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20 || r == 0x7f || r == 0x2028 || r == 0x2029:
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}

var errNotFinite = errors.New("a value that is not a finite number cannot be recorded")

// append encodes v.
func (v Value) append(b []byte) ([]byte, error) {
	switch v.kind {
	case KindBool:
		return append(b, cborFalse+byte(v.bits)), nil
	case KindInt:
		return appendInt(b, int64(v.bits)), nil
	case KindFloat:
		f := math.Float64frombits(v.bits)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return b, errNotFinite
		}
		return appendFloat(b, f), nil
	case KindText:
		return appendText(b, v.text)
	case KindBytes:
		return appendBytes(b, v.text), nil
	}
	return append(b, cborNull), nil
}
