package modbus

import (
	"crypto/sha256"
	"math"
	"reflect"
	"slices"
	"testing"

	"edgechain.example/lightchain"
)

// field returns a field of the given type with the defaults of a configuration.
func field(address int, name, kind string, change ...func(*Field)) Field {
	f := Field{Address: address, Name: name, Type: kind}
	f.SetDefaults()
	for _, c := range change {
		c(&f)
	}
	return f
}

func request(register string, fields ...Field) *Request {
	r := &Request{Name: "g", Fields: fields}
	r.SetDefaults()
	r.Register = register
	return r
}

func scaled(scale, offset float64) func(*Field) {
	return func(f *Field) { f.Scale, f.Offset = scale, offset }
}

// null is the value of what is no number.
var null lightchain.Value

func TestRegistersBecomeValues(t *testing.T) {
	i, f, s, b := lightchain.Int, lightchain.Float, lightchain.Text, lightchain.Bool
	bit := func(n int) func(*Field) { return func(f *Field) { f.Bit = n } }
	long := func(n int) func(*Field) { return func(f *Field) { f.Length = n } }
	for _, test := range []struct {
		kind, order string
		change      func(*Field)
		registers   []uint16
		want        lightchain.Value
	}{
		{"INT16", "ABCD", nil, []uint16{0xff85}, i(-123)},
		{"UINT16", "ABCD", nil, []uint16{0xff85}, i(65413)},
		{"UINT16", "DCBA", nil, []uint16{0x0102}, i(0x0201)},
		{"UINT16", "BADC", nil, []uint16{0x0102}, i(0x0201)},
		{"UINT16", "CDAB", nil, []uint16{0x0102}, i(0x0102)},
		{"INT8L", "ABCD", nil, []uint16{0x01ff}, i(-1)},
		{"INT8H", "ABCD", nil, []uint16{0x80ff}, i(-128)},
		{"UINT8L", "ABCD", nil, []uint16{0x01ff}, i(255)},
		{"UINT8H", "DCBA", nil, []uint16{0x01ff}, i(255)},
		{"INT32", "ABCD", nil, []uint16{0xfffe, 0xee90}, i(-70000)},
		{"INT32", "CDAB", nil, []uint16{0xee90, 0xfffe}, i(-70000)},
		{"INT32", "BADC", nil, []uint16{0xfeff, 0x90ee}, i(-70000)},
		{"INT32", "DCBA", nil, []uint16{0x90ee, 0xfeff}, i(-70000)},
		{"UINT32", "ABCD", nil, []uint16{0xffff, 0xffff}, i(4294967295)},
		{"INT64", "ABCD", nil, []uint16{0xffff, 0xfffe, 0xd5fa, 0x0e00}, i(-5000000000)},
		{"INT64", "CDAB", nil, []uint16{0x0e00, 0xd5fa, 0xfffe, 0xffff}, i(-5000000000)},
		{"INT64", "DCBA", nil, []uint16{0x000e, 0xfad5, 0xfeff, 0xffff}, i(-5000000000)},
		{"UINT64", "ABCD", nil, []uint16{0xffff, 0xffff, 0xffff, 0xffff}, s("18446744073709551615")},
		{"UINT64", "ABCD", nil, []uint16{0, 0, 0, 7}, i(7)},
		{"FLOAT32", "ABCD", nil, []uint16{0x41ad, 0x999a}, f(21.7)}, // not 21.700000762939453
		{"FLOAT32", "CDAB", nil, []uint16{0x999a, 0x41ad}, f(21.7)},
		{"FLOAT32", "ABCD", nil, []uint16{0x7fc0, 0}, null},
		{"FLOAT32", "ABCD", nil, []uint16{0xff80, 0}, null},
		{"FLOAT32", "ABCD", nil, []uint16{0x8000, 0}, f(math.Copysign(0, -1))},
		{"FLOAT64", "ABCD", nil, []uint16{0xbf50, 0x624d, 0xd2f1, 0xa9fc}, f(-0.001)},
		{"FLOAT16", "ABCD", nil, []uint16{0x3e00}, f(1.5)},
		{"FLOAT16", "ABCD", nil, []uint16{0xfbff}, f(-65504)},
		{"FLOAT16", "ABCD", nil, []uint16{0x0001}, f(5.9604645e-08)},
		{"FLOAT16", "ABCD", nil, []uint16{0x7c00}, null},
		{"FLOAT16", "ABCD", nil, []uint16{0x7c01}, null},
		{"BIT", "ABCD", bit(0), []uint16{0x0001}, b(true)},
		{"BIT", "ABCD", bit(15), []uint16{0x8000}, b(true)},
		{"BIT", "DCBA", bit(15), []uint16{0x8000}, b(false)},
		{"STRING", "ABCD", long(3), []uint16{0x5072, 0x6573, 0x7320}, s("Press")},
		{"STRING", "ABCD", long(3), []uint16{0x5072, 0x6500, 0x7320}, s("Pre")},
		{"STRING", "DCBA", long(2), []uint16{0x7250, 0x7365}, s("Pres")},
		{"STRING", "CDAB", long(2), []uint16{0x5072, 0x6573}, s("Pres")},
		{"STRING", "ABCD", long(1), []uint16{0xb043}, lightchain.Bytes([]byte{0xb0, 0x43})},

		// Scaled values are the decimals that a person would write.
		{"INT16", "ABCD", scaled(0.1, 0), []uint16{235}, f(23.5)},
		{"INT16", "ABCD", scaled(0.1, 0), []uint16{3}, f(0.3)}, // not 0.30000000000000004
		{"INT16", "ABCD", scaled(0.1, 0), []uint16{200}, f(20)},
		{"INT16", "ABCD", scaled(0.01, -273.15), []uint16{29815}, f(25)},
		{"UINT16", "ABCD", scaled(10, 0), []uint16{7}, i(70)},
		{"UINT16", "ABCD", scaled(1, 5), []uint16{7}, i(12)},
		{"UINT32", "ABCD", scaled(0.001, 0), []uint16{0xffff, 0xffff}, f(4294967.295)},
		{"INT64", "ABCD", scaled(0.01, 0), []uint16{0x7fff, 0xffff, 0xffff, 0xffff}, f(92233720368547758.07)},
		{"UINT64", "ABCD", scaled(2, 0), []uint16{0x7fff, 0xffff, 0xffff, 0xffff}, s("18446744073709551614")},
		{"UINT64", "ABCD", scaled(2, 0), []uint16{0xffff, 0xffff, 0xffff, 0xffff}, f(36893488147419103230)},
		{"FLOAT32", "ABCD", scaled(1000, 0), []uint16{0x41ad, 0x999a}, f(21700)},
		{"FLOAT64", "ABCD", scaled(1e300, 0), []uint16{0x7fe0, 0, 0, 0}, null},
	} {
		fd := field(5, "x", test.kind)
		if test.change != nil {
			test.change(&fd)
		}
		r := request("holding", fd)
		r.ByteOrder = test.order
		table := newTable("bus", r)
		e := Exchange{Unit: 1, Function: Holding, Address: 5, Quantity: uint16(len(test.registers))}
		for _, n := range test.registers {
			e.Data = append(e.Data, byte(n>>8), byte(n))
		}
		got, err := table.Readings(e.Append(nil))
		if err != nil || len(got) != 1 {
			t.Errorf("%s %s %x: %v, %v", test.kind, test.order, test.registers, got, err)
			continue
		}
		if got[0].Value != test.want || (got[0].Quality&lightchain.Bad != 0) != (test.want == null) {
			t.Errorf("%s %s %x, scale %v: got %v, quality %d, want %v", test.kind, test.order, test.registers, fd.Scale, got[0].Value, got[0].Quality, test.want)
		}
	}
}

func TestAReadingSaysWhoseItIsAndWhatGaveItItsMeaning(t *testing.T) {
	r := request("input", field(3, "b", "UINT16", func(f *Field) { f.Unit = "°C" }), field(0, "a", "UINT16"), field(9, "elsewhere", "UINT16"))
	r.SlaveID = 7
	table := newTable("line-1", r)
	e := Exchange{Unit: 7, Function: Input, Address: 0, Quantity: 4, Data: []byte{0, 1, 0, 2, 0, 3, 0, 4}}
	got, err := table.Readings(e.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	const text = "edgechain modbus table 1\nunit 7\nfunction 4\ndevice \"line-1/7\"\n" +
		"3 UINT16 1 0 ABCD 1 0 \"b\" \"Cel\"\n0 UINT16 1 0 ABCD 1 0 \"a\" \"\"\n9 UINT16 1 0 ABCD 1 0 \"elsewhere\" \"\"\n"
	if table.Text() != text {
		t.Errorf("the table is\n%s", table.Text())
	}
	hash := lightchain.Hash(sha256.Sum256([]byte(text)))
	want := []lightchain.Reading{{Device: "line-1/7", Name: "b", Unit: "Cel", Value: lightchain.Int(4), Meaning: &hash},
		{Device: "line-1/7", Name: "a", Value: lightchain.Int(1), Meaning: &hash}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	e.Unit = 8
	if _, err := table.Readings(e.Append(nil)); err == nil {
		t.Error("another unit's registers were read")
	}
}

func TestBitsAreCountedFromTheLowest(t *testing.T) {
	table := newTable("x", request("coil", field(10, "a", ""), field(18, "b", ""), field(19, "c", "")))
	e := Exchange{Unit: 1, Function: Coils, Address: 10, Quantity: 10, Data: []byte{0x01, 0x02}}
	got, err := table.Readings(e.Append(nil))
	if err != nil || len(got) != 3 || got[0].Value != lightchain.Bool(true) || got[1].Value != lightchain.Bool(false) || got[2].Value != lightchain.Bool(true) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestReadsAreMergedAndLeaveGapsAlone(t *testing.T) {
	var many []Field
	for i := range 130 {
		many = append(many, field(i, "x", "UINT16"))
	}
	text := func(n int) func(*Field) { return func(f *Field) { f.Length = n } }
	for _, test := range []struct {
		name   string
		fields []Field
		fill   int
		want   []Span
	}{
		{"side by side", []Field{field(2, "b", "UINT32"), field(0, "a", "UINT16"), field(1, "c", "INT16")}, 0, []Span{{0, 4}}},
		{"a gap", []Field{field(0, "a", "UINT16"), field(2, "b", "UINT16")}, 0, []Span{{0, 1}, {2, 1}}},
		{"a gap that may be read", []Field{field(0, "a", "UINT16"), field(2, "b", "UINT16"), field(5, "c", "UINT16")}, 1, []Span{{0, 3}, {5, 1}}},
		{"two of one register", []Field{field(0, "a", "INT8L"), field(0, "b", "INT8H"), field(0, "c", "UINT32")}, 0, []Span{{0, 2}}},
		{"above the limit", many, 0, []Span{{0, 125}, {125, 5}}},
		{"a value is not parted", append(slices.Clone(many[:124]), field(124, "x", "UINT32")), 0, []Span{{0, 124}, {124, 2}}},
		{"a gap beyond the limit", []Field{field(0, "a", "UINT16"), field(125, "b", "UINT16")}, 124, []Span{{0, 1}, {125, 1}}},
		{"the last one", []Field{field(65535, "a", "UINT16"), field(65411, "b", "STRING", text(124))}, 0, []Span{{65411, 125}}},
		{"longer than what lies in it", []Field{field(0, "a", "STRING", text(125)), field(3, "b", "UINT16")}, 0, []Span{{0, 125}}},
	} {
		if got := newTable("x", request("holding", test.fields...)).Spans(test.fill); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
	var coils []Field
	for i := range 2001 {
		coils = append(coils, field(i, "x", ""))
	}
	if got := newTable("x", request("coil", coils...)).Spans(0); !slices.Equal(got, []Span{{0, 2000}, {2000, 1}}) {
		t.Errorf("coils: %v", got)
	}
}

func TestAPayloadIsReadStrictly(t *testing.T) {
	good := []byte{1, 3, 0, 5, 0, 2, 3, 4, 0, 1, 0, 2}
	if _, err := ParseExchange(good); err != nil {
		t.Fatal(err)
	}
	change := func(at int, to byte) []byte {
		b := slices.Clone(good)
		b[at] = to
		return b
	}
	for name, payload := range map[string][]byte{
		"empty": nil, "cut": good[:11], "longer": append(slices.Clone(good), 0), "another function": change(1, 5), "no function": change(1, 0),
		"none asked for": change(5, 0), "too many": change(5, 126), "beyond the last": {1, 3, 255, 255, 0, 2, 3, 4, 0, 1, 0, 2},
		"another was answered": change(6, 4), "an exception": change(6, 0x83), "a wrong count": change(7, 3),
	} {
		if e, err := ParseExchange(payload); err == nil {
			t.Errorf("%s: taken as %+v", name, e)
		}
	}
}

func FuzzReadings(f *testing.F) {
	f.Add([]byte{1, 3, 0, 0, 0, 4, 3, 8, 0xff, 0xff, 0x7f, 0xc0, 0, 0, 0xb0, 0x43}, uint16(0), uint8(0), uint8(0), 0.1, -273.15)
	f.Add([]byte{1, 3, 0, 0, 0, 4, 3, 8, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint16(0), uint8(14), uint8(1), 1e300, 1e-300)
	f.Fuzz(func(t *testing.T, payload []byte, address uint16, kind, order uint8, scale, offset float64) {
		e, err := ParseExchange(payload)
		if err != nil {
			return
		}
		if again := e.Append(nil); !slices.Equal(again, payload) {
			t.Fatalf("%x became %x", payload, again)
		}
		names := Types()
		fd := field(int(address), "x", names[int(kind)%len(names)])
		fd.Length, fd.Bit = 1+int(kind)%4, int(order)%16
		if !math.IsNaN(scale) && !math.IsInf(scale, 0) && scale != 0 && types[fd.Type].number {
			fd.Scale = scale
		}
		if !math.IsNaN(offset) && !math.IsInf(offset, 0) && types[fd.Type].number {
			fd.Offset = offset
		}
		r := request("holding", fd)
		r.ByteOrder, r.SlaveID = byteOrders[int(order)%4], int(e.Unit)
		table := newTable("x", r)
		table.Function = e.Function
		if e.Function.Bits() {
			for i := range table.Fields {
				table.Fields[i].Type, table.Fields[i].Length = boolType, 1
			}
		}
		readings, err := table.Readings(payload)
		if err != nil {
			t.Fatal(err)
		}
		entry := lightchain.Entry{Source: entrySource("x", &e), Payload: payload, Decoder: decoderName, Readings: readings}
		encoded, err := entry.Append(nil)
		if err != nil {
			t.Fatalf("%+v cannot stand in an entry: %v", readings, err)
		}
		if _, err := lightchain.DecodeEntry(encoded); err != nil {
			t.Fatal(err)
		}
	})
}
