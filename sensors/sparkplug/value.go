package sparkplug

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"edgechain.example/lightchain"
)

// Datatypes, as metrics have them.
const (
	typeInt8 uint32 = 1 + iota
	typeInt16
	typeInt32
	typeInt64
	typeUInt8
	typeUInt16
	typeUInt32
	typeUInt64
	typeFloat
	typeDouble
	typeBoolean
	typeString
	typeDateTime
	typeText
	typeUUID
	typeDataSet
	typeBytes
	typeFile
	typeTemplate
	typePropertySet
	typePropertySetList
	typeInt8Array
	typeInt16Array
	typeInt32Array
	typeInt64Array
	typeUInt8Array
	typeUInt16Array
	typeUInt32Array
	typeUInt64Array
	typeFloatArray
	typeDoubleArray
	typeBooleanArray
	typeStringArray
	typeDateTimeArray
)

// integers are the widths in bits of the types that are whole numbers, negative for those with a sign.
var integers = map[uint32]int{
	typeInt8: -8, typeInt16: -16, typeInt32: -32, typeInt64: -64, typeUInt8: 8, typeUInt16: 16, typeUInt32: 32, typeUInt64: 64,
	typeDateTime: 64,
}

// What may be wrong with a value. Each costs that value alone.
const (
	doubtKind    = "has a value of another kind than its datatype"
	doubtRange   = "has a number beyond its datatype"
	doubtSign    = "has no datatype, and its number may be negative or large"
	doubtUnknown = "has a datatype, or a kind of value, that this version does not know"
	doubtFinite  = "has a number that is not finite"
	doubtText    = "has text that is not UTF-8"
	doubtNone    = "has no value, and does not say that it has none"
	doubtShape   = "has a dataset, template or array that cannot be read"
	doubtMany    = "has more values than are read"
)

// bad is a value that cannot be told.
var bad = lightchain.Reading{Quality: lightchain.Bad}

// scalar returns the value of a metric that is none of datasets, templates and arrays, and what is wrong with it.
func scalar(datatype uint32, m *metric) (r lightchain.Reading, doubt string) {
	switch {
	case m.null:
		return r, "" // SPEC: null gives a null value
	case m.field == 0:
		return bad, doubtNone
	case m.field == valueOther:
		return bad, doubtUnknown
	}
	if width, is := integers[datatype]; is {
		return integer(width, m)
	}
	switch datatype {
	case typeFloat, typeDouble:
		switch m.field {
		case valueFloat:
			return float(float64(float32Of(m.bits)))
		case valueDouble:
			return float(math.Float64frombits(m.bits))
		case valueInt, valueLong:
			if n := int64(m.bits); n >= 0 && n < 1<<31 {
				return lightchain.Reading{Value: lightchain.Int(n)}, doubtKind
			}
		}
		return bad, doubtKind
	case typeBoolean:
		switch m.field {
		case valueBool:
			return lightchain.Reading{Value: lightchain.Bool(m.bits != 0)}, ""
		case valueInt, valueLong:
			if m.bits <= 1 {
				return lightchain.Reading{Value: lightchain.Bool(m.bits == 1)}, doubtKind
			}
		}
		return bad, doubtKind
	case typeString, typeText, typeUUID:
		if m.field == valueString {
			return text(m.data)
		}
		return bad, doubtKind
	case typeBytes, typeFile:
		if m.field == valueBytes || m.field == valueString {
			return lightchain.Reading{Value: lightchain.Bytes(m.data)}, ""
		}
		return bad, doubtKind
	case 0:
		return untyped(m)
	}
	r, _ = untyped(m)
	return r, doubtUnknown
}

// untyped takes a value by the field in which it stands. A whole number without a datatype may be in two's complement.
func untyped(m *metric) (r lightchain.Reading, doubt string) {
	switch m.field {
	case valueInt, valueLong:
		if m.field == valueInt && m.bits >= 1<<31 || m.bits >= 1<<63 {
			return bad, doubtSign
		}
		return lightchain.Reading{Value: lightchain.Int(int64(m.bits))}, ""
	case valueFloat:
		return float(float64(float32Of(m.bits)))
	case valueDouble:
		return float(math.Float64frombits(m.bits))
	case valueBool:
		return lightchain.Reading{Value: lightchain.Bool(m.bits != 0)}, ""
	case valueString:
		return text(m.data)
	case valueBytes:
		return lightchain.Reading{Value: lightchain.Bytes(m.data)}, ""
	}
	return bad, doubtUnknown
}

// integer reads a whole number, width as in integers.
//
// Sparkplug 3.0, chapter 6: int_value is a uint32 and long_value a uint64; what has a sign stands there in two's complement. Some
// write it in as many bits as the datatype has, others in all 32.
func integer(width int, m *metric) (r lightchain.Reading, doubt string) {
	var field int // bits of the field
	switch m.field {
	case valueInt:
		field = 32
		m.bits = uint64(uint32(m.bits)) // a reader of a uint32 drops what is above
	case valueLong:
		field = 64
	case valueBool:
		return lightchain.Reading{Value: lightchain.Int(int64(min(m.bits, 1)))}, doubtKind
	default:
		return bad, doubtKind
	}
	u := m.bits
	if width > 0 {
		if width < 64 && u>>width != 0 {
			return bad, doubtRange
		}
		return unsigned(u), ""
	}
	width = -width
	switch {
	case width > field && u>>(field-1) != 0:
		return bad, doubtKind // a long in 32 bits: with or without its sign
	case u>>(width-1) == 0: // not negative
	case width < 64 && u>>width == 0: // negative, in as many bits as the datatype has
		u |= ^uint64(0) << width
	case field == 32:
		u |= math.MaxUint64 &^ math.MaxUint32
	}
	n := int64(u)
	if most := int64(1)<<(width-1) - 1; n > most || n < -most-1 {
		return bad, doubtRange
	}
	return lightchain.Reading{Value: lightchain.Int(n)}, ""
}

// unsigned is a number without a sign.
//
// SPEC: one that fits 64 bits without a sign is the text of its digits
func unsigned(u uint64) lightchain.Reading {
	if u > math.MaxInt64 {
		return lightchain.Reading{Value: lightchain.Text(strconv.FormatUint(u, 10))}
	}
	return lightchain.Reading{Value: lightchain.Int(int64(u))}
}

func float(f float64) (lightchain.Reading, string) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return bad, doubtFinite
	}
	return lightchain.Reading{Value: lightchain.Float(f)}, ""
}

func text(b []byte) (lightchain.Reading, string) {
	if !utf8.Valid(b) {
		return lightchain.Reading{Value: lightchain.Bytes(b), Quality: lightchain.Bad}, doubtText
	}
	return lightchain.Reading{Value: lightchain.Text(string(b))}, ""
}

// elements calls do for each element of an array.
//
// Sparkplug 3.0, chapter 6: arrays are bytes: numbers little-endian one behind the other, booleans a count of 32 bits and then
// bits, the first the highest, texts each ended by a zero byte.
func elements(datatype uint32, b []byte, do func(lightchain.Reading, string)) (ok bool) {
	size := map[uint32]int{
		typeInt8Array: 1, typeUInt8Array: 1, typeInt16Array: 2, typeUInt16Array: 2, typeInt32Array: 4, typeUInt32Array: 4,
		typeInt64Array: 8, typeUInt64Array: 8, typeFloatArray: 4, typeDoubleArray: 8, typeDateTimeArray: 8,
	}[datatype]
	switch datatype {
	case typeBooleanArray:
		if len(b) < 4 {
			return len(b) == 0
		}
		n, bits := uint64(binary.LittleEndian.Uint32(b)), b[4:]
		if (n+7)/8 != uint64(len(bits)) {
			return false
		}
		for i := range n {
			do(lightchain.Reading{Value: lightchain.Bool(bits[i/8]>>(7-i%8)&1 != 0)}, "")
		}
		return true
	case typeStringArray:
		for start := 0; start < len(b); {
			end := start
			for end < len(b) && b[end] != 0 {
				end++
			}
			do(text(b[start:end]))
			start = end + 1
		}
		return true
	}
	if size == 0 || len(b)%size != 0 {
		return false
	}
	for ; len(b) > 0; b = b[size:] {
		switch datatype {
		case typeInt8Array:
			do(lightchain.Reading{Value: lightchain.Int(int64(int8(b[0])))}, "")
		case typeUInt8Array:
			do(lightchain.Reading{Value: lightchain.Int(int64(b[0]))}, "")
		case typeInt16Array:
			do(lightchain.Reading{Value: lightchain.Int(int64(int16(binary.LittleEndian.Uint16(b))))}, "")
		case typeUInt16Array:
			do(lightchain.Reading{Value: lightchain.Int(int64(binary.LittleEndian.Uint16(b)))}, "")
		case typeInt32Array:
			do(lightchain.Reading{Value: lightchain.Int(int64(int32(binary.LittleEndian.Uint32(b))))}, "")
		case typeUInt32Array:
			do(lightchain.Reading{Value: lightchain.Int(int64(binary.LittleEndian.Uint32(b)))}, "")
		case typeInt64Array:
			do(lightchain.Reading{Value: lightchain.Int(int64(binary.LittleEndian.Uint64(b)))}, "")
		case typeUInt64Array, typeDateTimeArray:
			do(unsigned(binary.LittleEndian.Uint64(b)), "")
		case typeFloatArray:
			do(float(float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))))
		case typeDoubleArray:
			do(float(math.Float64frombits(binary.LittleEndian.Uint64(b))))
		}
	}
	return true
}
