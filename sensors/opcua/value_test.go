//go:build !noopcua

package opcua

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

var at = time.Date(2026, time.March, 1, 8, 0, 0, 125_000_000, time.UTC)

// payloadOf is that of a value of the node ns=2;s=x, with both times.
func payloadOf(t testing.TB, value any, status ua.StatusCode) []byte {
	t.Helper()
	v := &ua.DataValue{Status: status, SourceTimestamp: at, ServerTimestamp: at.Add(time.Second)}
	if value != nil {
		variant, err := ua.NewVariant(value)
		if err != nil {
			t.Fatal(err)
		}
		v.Value = variant
	}
	v.UpdateMask()
	b, err := appendPayload(nil, ua.NewStringNodeID(2, "x"), v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEachTypeOfValueIsReadAsThePageHasIt(t *testing.T) {
	when := time.Date(2026, time.March, 1, 7, 0, 0, 100, time.UTC)
	for _, c := range []struct {
		value  any
		status ua.StatusCode
		want   string
	}{
		{true, 0, "true"}, {int8(-5), 0, "-5"}, {uint8(200), 0, "200"}, {int16(-300), 0, "-300"}, {uint16(60000), 0, "60000"},
		{int32(-70000), 0, "-70000"}, {uint32(4e9), 0, "4000000000"}, {int64(math.MinInt64), 0, "-9223372036854775808"},
		{uint64(math.MaxInt64), 0, "9223372036854775807"}, {uint64(math.MaxUint64), 0, "18446744073709551615"},
		{float32(21.7), 0, "21.7"}, {float64(0.1), 0, "0.1"}, {math.NaN(), 0, "null bad"}, {float32(math.Inf(1)), 0, "null bad"},
		{"Press 07", 0, "Press 07"}, {when, 0, "2026-03-01T07:00:00.0000001Z"}, {[]byte{1, 2}, 0, "0102"},
		{&ua.LocalizedText{EncodingMask: ua.LocalizedTextText, Text: "läuft"}, 0, "läuft"}, {&ua.QualifiedName{NamespaceIndex: 2, Name: "q"}, 0, "2:q"},
		{ua.StatusCode(0x80340000), 0, "2150891520"}, {ua.NewStringNodeID(3, "y"), 0, "ns=3;s=y"},
		{nil, 0x808C0000, "null bad"}, {1.5, 0x40900000, "1.5 bad"}, {1.5, 0x00000480, "1.5"},
	} {
		got, err := readings(payloadOf(t, c.value, c.status), meaning{"p7", "x", ""}, sensors.Nanoseconds(at))
		if err != nil || len(got) != 1 {
			t.Errorf("%v: %v, %v", c.value, got, err)
			continue
		}
		want, isBad := strings.CutSuffix(c.want, " bad")
		if r := got[0]; r.Value.String() != want && !(c.want == "0102" && r.Value.Kind() == lightchain.KindBytes) || r.Quality&lightchain.Bad != 0 != isBad || r.Time != at.UnixNano() || !r.Timed || r.Device != "p7" || r.Name != "x" {
			t.Errorf("%v: %s, want %s", c.value, lineOf(&r), c.want)
		}
	}
	got, err := readings(payloadOf(t, []float32{1, 2.5}, 0), meaning{"p7", "axes", "mm"}, sensors.Nanoseconds(at))
	if err != nil || len(got) != 2 || lineOf(&got[1]) != "p7 axes.1 = 2.5 mm at 2026-03-01T08:00:00.125Z" {
		t.Errorf("%v, %v", got, err)
	}
	for _, c := range []struct {
		value any
		want  sensors.Reason
	}{{make([]int16, 1025), sensors.TooMany}, {make([]float64, 70000), sensors.TooMany}, {[][]int16{{1, 2}, {3, 4}}, sensors.WrongType}} {
		if got, err := readings(payloadOf(t, c.value, 0), meaning{}, sensors.Nanoseconds(at)); sensors.ReasonOf(err) != c.want || got != nil {
			t.Errorf("%T: %v, %v", c.value, got, err)
		}
	}
}

// Of a structure that only its server describes the library keeps no bytes, unless it is told to. Half of one must not be an entry.
func TestAStructureOfAServersOwnIsKeptWholeOrNotAtAll(t *testing.T) {
	value := slices.Concat([]byte{byte(ua.TypeIDExtensionObject)}, []byte{0x01, 0x02, 0x39, 0x30}, []byte{ua.ExtensionObjectBinary, 3, 0, 0, 0, 1, 2, 3})
	decoded := func() *ua.DataValue {
		v := &ua.DataValue{EncodingMask: ua.DataValueValue, Value: new(ua.Variant)}
		if _, err := v.Value.Decode(value); err != nil {
			t.Fatal(err)
		}
		return v
	}
	node := ua.NewStringNodeID(2, "x")
	v := decoded()
	if _, err := appendPayload(nil, node, v); err != errStructure {
		t.Errorf("got %v", err)
	}
	if !learn(v.Value) || learn(nil) {
		t.Error("nothing was learned, or of nothing")
	}
	payload, err := appendPayload(nil, node, decoded())
	if err != nil || !bytes.HasSuffix(payload, value) {
		t.Errorf("got %x, %v", payload, err)
	}
	if got, err := readings(payload, meaning{}, at.UnixNano()); sensors.ReasonOf(err) != sensors.WrongType || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

// The library wraps a time that its nanoseconds do not hold: nothing is recorded of one that may be another one on the wire.
func TestATimeThatMayBeAnotherOneIsNotRecorded(t *testing.T) {
	node := ua.NewStringNodeID(2, "x")
	ticks := func(years int) []byte { // since 1601, 100 ns each
		seconds := time.Date(1601+years, 1, 1, 0, 0, 0, 0, time.UTC).Unix() + 11644473600
		return binary.LittleEndian.AppendUint64(nil, uint64(seconds)*1e7)
	}
	for years, want := range map[int]error{0: nil, 1: errDate, 368: errDate, 369: nil, 425: nil, 499: errDate, 600: errDate, 8398: errDate} {
		scalar := slices.Concat([]byte{ua.DataValueValue, byte(ua.TypeIDDateTime)}, ticks(years))
		array := slices.Concat([]byte{ua.DataValueValue, byte(ua.TypeIDDateTime) | ua.VariantArrayValues, 1, 0, 0, 0}, ticks(years))
		stamped := slices.Concat([]byte{ua.DataValueSourceTimestamp | ua.DataValueServerTimestamp}, ticks(years), ticks(400))
		for _, wire := range [][]byte{scalar, array, stamped} {
			v := new(ua.DataValue)
			if _, err := v.Decode(wire); err != nil {
				t.Fatal(err)
			}
			payload, err := appendPayload(nil, node, v)
			if err != want || err == nil && !bytes.HasSuffix(payload, wire) {
				t.Errorf("year %d, %x: %x, %v", 1601+years, wire, payload, err)
			}
		}
	}
	none := new(ua.DataValue)
	if _, err := none.Decode([]byte{ua.DataValueValue, 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := appendPayload(nil, node, none); err != nil {
		t.Error(err)
	}
}

// The library reads an array of byte strings, and writes none of its elements.
func TestAnArrayOfByteStringsIsKept(t *testing.T) {
	wire := slices.Concat([]byte{ua.DataValueValue | ua.DataValueStatusCode, byte(ua.TypeIDByteString) | ua.VariantArrayValues, 2, 0, 0, 0},
		[]byte{1, 0, 0, 0, 9}, []byte{2, 0, 0, 0, 2, 3}, []byte{0, 0, 0, 0x80})
	v := new(ua.DataValue)
	if _, err := v.Decode(wire); err != nil {
		t.Fatal(err)
	}
	b, err := appendPayload(nil, ua.NewStringNodeID(2, "x"), v)
	if err != nil || !bytes.HasSuffix(b, wire) {
		t.Fatalf("%x became %x: %v", wire, b, err)
	}
	got, err := readings(b, meaning{"p7", "x", ""}, sensors.Nanoseconds(at))
	if err != nil || len(got) != 2 || got[1].Name != "x.1" || got[1].Value != lightchain.Bytes([]byte{2, 3}) || got[1].Quality&lightchain.Bad == 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAnOverflowShowsInTheStatus(t *testing.T) {
	for status, want := range map[ua.StatusCode]bool{0x480: true, 0x40900480: true, 0x80: false, 0x400: false, 0: false} {
		if overflowed(status) != want {
			t.Errorf("%#x", status)
		}
	}
}

// What a server may say ends no program, and what is taken is given back byte for byte.
func FuzzPayload(f *testing.F) {
	for _, value := range []any{true, uint64(7), float32(21.7), "x", []byte{1}, []int16{1, 2}, at, &ua.QualifiedName{Name: "q"}, ua.NewStringNodeID(3, "y"), nil} {
		f.Add(payloadOf(f, value, 0x40900480))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		node, v, err := parsePayload(b)
		if err != nil {
			return
		}
		again, err := appendPayload(nil, node, v)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x: %v", b, again, err)
		}
		all, err := readings(b, meaning{"d", "n", ""}, at.UnixNano())
		if err != nil && sensors.ReasonOf(err) == "" {
			t.Fatal(err)
		}
		e := lightchain.Entry{Received: at.UnixNano(), Payload: b, Readings: all}
		if _, err := e.Append(nil); err != nil {
			t.Fatal(err)
		}
	})
}
