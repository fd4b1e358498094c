package modbus

import (
	"encoding/binary"
	"errors"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"edgechain.example/lightchain"
)

// Readings returns what the table makes of an answer: of each field that lies within it whole, in the table's order.
func (t *Table) Readings(payload []byte) ([]lightchain.Reading, error) {
	e, err := ParseExchange(payload)
	if err != nil {
		return nil, err
	}
	if e.Unit != t.Unit || e.Function != t.Function {
		return nil, errors.New("the table is of another unit, or of another function")
	}
	var all []lightchain.Reading
	for i := range t.Fields {
		f := &t.Fields[i]
		at := int(f.Address) - int(e.Address)
		if at < 0 || at+f.Length > int(e.Quantity) {
			continue
		}
		r := lightchain.Reading{Device: t.Device, Name: f.Name, Unit: f.Unit, Meaning: &t.hash}
		if e.Function.Bits() {
			r.Value = lightchain.Bool(e.bit(at))
		} else if r.Value, err = f.value(e.Data[2*at : 2*(at+f.Length)]); err != nil {
			r.Quality |= lightchain.Bad
		}
		all = append(all, r)
	}
	return all, nil
}

// errNoNumber is about a NaN, an infinity, or what scaling made one of.
var errNoNumber = errors.New("not a finite number")

// value reads a field from its registers.
func (f *TableField) value(registers []byte) (v lightchain.Value, err error) {
	return f.read(f, ordered(registers, f.ByteOrder, f.Type == stringType))
}

// byteOrders says in which order A, the highest byte of a value of two registers, to D, the lowest, come.
var byteOrders = []string{"ABCD", "DCBA", "BADC", "CDAB"}

// ordered returns the bytes of registers with the highest first, and those of a text with the first first: the registers of a
// text stand in its order, whatever that of numbers is.
func ordered(registers []byte, byteOrder string, isText bool) []byte {
	b := slices.Clone(registers)
	swapped := byteOrder == "BADC" || byteOrder == "DCBA"
	if swapped {
		for i := 0; i < len(b); i += 2 {
			b[i], b[i+1] = b[i+1], b[i]
		}
	}
	if lowFirst := byteOrder == "CDAB" || byteOrder == "DCBA"; lowFirst && !isText {
		for i, j := 0, len(b)-2; i < j; i, j = i+2, j-2 {
			b[i], b[i+1], b[j], b[j+1] = b[j], b[j+1], b[i], b[i+1]
		}
	}
	return b
}

// decodeFunc reads a value from bytes in order.
type decodeFunc func(f *TableField, b []byte) (lightchain.Value, error)

// stringType is the one whose length the configuration says.
const stringType = "STRING"

// typeOf is what is known of a type: how many registers it has, 0 where the configuration says it, whether it can be scaled.
type typeOf struct {
	registers int
	number    bool
	decode    decodeFunc
}

// types are Telegraf's, by their names.
var types = map[string]typeOf{
	boolType: {1, false, nil},
	"BIT": {1, false, func(f *TableField, b []byte) (lightchain.Value, error) {
		return lightchain.Bool(word(b)>>f.Bit&1 == 1), nil
	}},
	"INT8L":    {1, true, signed(func(b []byte) int64 { return int64(int8(b[1])) })},
	"INT8H":    {1, true, signed(func(b []byte) int64 { return int64(int8(b[0])) })},
	"UINT8L":   {1, true, signed(func(b []byte) int64 { return int64(b[1]) })},
	"UINT8H":   {1, true, signed(func(b []byte) int64 { return int64(b[0]) })},
	"INT16":    {1, true, signed(func(b []byte) int64 { return int64(int16(word(b))) })},
	"UINT16":   {1, true, signed(func(b []byte) int64 { return int64(word(b)) })},
	"INT32":    {2, true, signed(func(b []byte) int64 { return int64(int32(binary.BigEndian.Uint32(b))) })},
	"UINT32":   {2, true, signed(func(b []byte) int64 { return int64(binary.BigEndian.Uint32(b)) })},
	"INT64":    {4, true, signed(func(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) })},
	"UINT64":   {4, true, func(f *TableField, b []byte) (lightchain.Value, error) { return f.whole(new(big.Int).SetBytes(b)) }},
	"FLOAT16":  {1, true, float(func(b []byte) (float64, int) { return half(word(b)), 32 })}, // each is a 32-bit one, too
	"FLOAT32":  {2, true, float(func(b []byte) (float64, int) { return float64(math.Float32frombits(binary.BigEndian.Uint32(b))), 32 })},
	"FLOAT64":  {4, true, float(func(b []byte) (float64, int) { return math.Float64frombits(binary.BigEndian.Uint64(b)), 64 })},
	stringType: {0, false, text},
}

// Types returns the names of the types that a register's field can have, in their order.
func Types() (names []string) {
	for name := range types {
		if name != boolType {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func word(b []byte) uint16 { return binary.BigEndian.Uint16(b) }

func signed(read func(b []byte) int64) decodeFunc {
	return func(f *TableField, b []byte) (lightchain.Value, error) {
		n := read(b)
		if f.scale == nil {
			return lightchain.Int(n), nil
		}
		return f.whole(big.NewInt(n))
	}
}

// whole scales an integer. It stays one where scale and offset are.
func (f *TableField) whole(n *big.Int) (lightchain.Value, error) {
	if f.scale == nil {
		return integer(n)
	}
	exact := new(big.Rat).SetInt(n)
	exact.Add(exact.Mul(exact, f.scale), f.offset)
	if f.scale.IsInt() && f.offset.IsInt() {
		return integer(exact.Num())
	}
	return nearest(exact)
}

// integer returns a whole number, as text where 64 bits without a sign hold it alone, and as a float beyond.
func integer(n *big.Int) (lightchain.Value, error) {
	switch {
	case n.IsInt64():
		return lightchain.Int(n.Int64()), nil
	case n.IsUint64():
		return lightchain.Text(n.String()), nil
	}
	return nearest(new(big.Rat).SetInt(n))
}

// nearest returns the float that lies nearest.
func nearest(exact *big.Rat) (lightchain.Value, error) {
	f, _ := exact.Float64()
	return finite(f)
}

func finite(f float64) (lightchain.Value, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return lightchain.Value{}, errNoNumber
	}
	return lightchain.Float(f), nil
}

// float reads a number with a fraction as the shortest decimal that gives its bits back: that is what the device would
// display, and what scaling goes on with. Of 32 bits that is not the 64-bit float with the same value: 0.1, not
// 0.10000000149011612.
func float(read func(b []byte) (f float64, bits int)) decodeFunc {
	return func(f *TableField, b []byte) (lightchain.Value, error) {
		n, bits := read(b)
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return lightchain.Value{}, errNoNumber
		}
		digits := strconv.FormatFloat(n, 'g', -1, bits)
		if f.scale == nil {
			n, err := strconv.ParseFloat(digits, 64)
			if err != nil {
				return lightchain.Value{}, err
			}
			return finite(n)
		}
		exact, ok := new(big.Rat).SetString(digits)
		if !ok {
			return lightchain.Value{}, errNoNumber
		}
		return nearest(exact.Add(exact.Mul(exact, f.scale), f.offset))
	}
}

// half reads a 16-bit float (IEEE 754, binary16).
func half(bits uint16) float64 {
	sign, exponent, fraction := 1.0, int(bits>>10&31), float64(bits&1023)
	if bits>>15 == 1 {
		sign = -1
	}
	switch {
	case exponent == 31 && fraction == 0:
		return math.Inf(int(sign))
	case exponent == 31:
		return math.NaN()
	case exponent == 0:
		return sign * math.Ldexp(fraction, -24)
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

// text reads characters up to the first zero byte, without spaces at the end. What is no UTF-8 is kept as bytes.
func text(f *TableField, b []byte) (lightchain.Value, error) {
	s, _, _ := strings.Cut(string(b), "\x00")
	if !utf8.ValidString(s) {
		return lightchain.Bytes(b), nil
	}
	return lightchain.Text(strings.TrimRight(s, " ")), nil
}
