package sparkplug

import (
	"fmt"
	"math"
	"strconv"
	"testing"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

func TestValuesOfAllDatatypes(t *testing.T) {
	null := lightchain.Value{}
	for _, c := range []struct {
		what     string
		datatype uint32
		value    message
		want     lightchain.Value
		bad      bool
	}{
		{"Int8 in 32 bits", typeInt8, message{}.uint(valueInt, uint64(uint32(math.MaxUint32-2))), lightchain.Int(-3), false},
		{"Int8 in 8 bits", typeInt8, message{}.uint(valueInt, 0xfd), lightchain.Int(-3), false},
		{"Int8 in 64 bits", typeInt8, message{}.uint(valueInt, math.MaxUint64-2), lightchain.Int(-3), false},
		{"Int8, the least", typeInt8, message{}.uint(valueInt, 0x80), lightchain.Int(-128), false},
		{"Int8, too much", typeInt8, message{}.uint(valueInt, 300), null, true},
		{"Int16", typeInt16, message{}.uint(valueInt, 0xff9c), lightchain.Int(-100), false},
		{"Int32", typeInt32, message{}.uint(valueInt, 0x80000000), lightchain.Int(math.MinInt32), false},
		{"Int32 in a long of 32 bits", typeInt32, message{}.uint(valueLong, 0xfffffffb), lightchain.Int(-5), false},
		{"Int64", typeInt64, message{}.uint(valueLong, math.MaxUint64-4), lightchain.Int(-5), false},
		{"Int64 in an int", typeInt64, message{}.uint(valueInt, 7), lightchain.Int(7), false},
		{"Int64 in an int that may be negative", typeInt64, message{}.uint(valueInt, 0xfffffffb), null, true},
		{"UInt8", typeUInt8, message{}.uint(valueInt, 255), lightchain.Int(255), false},
		{"UInt8, too much", typeUInt8, message{}.uint(valueInt, 256), null, true},
		{"UInt16", typeUInt16, message{}.uint(valueInt, 65535), lightchain.Int(65535), false},
		{"UInt32", typeUInt32, message{}.uint(valueInt, math.MaxUint32), lightchain.Int(math.MaxUint32), false},
		{"UInt32 in a long", typeUInt32, message{}.uint(valueLong, math.MaxUint32), lightchain.Int(math.MaxUint32), false},
		{"UInt64", typeUInt64, message{}.uint(valueLong, 1<<62), lightchain.Int(1 << 62), false},
		{"UInt64 beyond an int", typeUInt64, message{}.uint(valueLong, math.MaxUint64), lightchain.Text("18446744073709551615"), false},
		{"Float", typeFloat, message{}.float(valueFloat, 20.5), lightchain.Float(20.5), false},
		{"Float NaN", typeFloat, message{}.float(valueFloat, float32(math.NaN())), null, true},
		{"Float in a double", typeFloat, message{}.double(valueDouble, 0.1), lightchain.Float(0.1), false},
		{"Double", typeDouble, message{}.double(valueDouble, -0.1), lightchain.Float(-0.1), false},
		{"Double inf", typeDouble, message{}.double(valueDouble, math.Inf(1)), null, true},
		{"Boolean", typeBoolean, message{}.uint(valueBool, 1), lightchain.Bool(true), false},
		{"Boolean in an int", typeBoolean, message{}.uint(valueInt, 0), lightchain.Bool(false), false},
		{"Boolean as text", typeBoolean, message{}.text(valueString, "true"), null, true},
		{"String", typeString, message{}.text(valueString, "läuft"), lightchain.Text("läuft"), false},
		{"String, no UTF-8", typeString, message{}.text(valueString, "\xff"), lightchain.Bytes([]byte{0xff}), true},
		{"DateTime", typeDateTime, message{}.uint(valueLong, sent), lightchain.Int(sent), false},
		{"Text", typeText, message{}.text(valueString, ""), lightchain.Text(""), false},
		{"UUID", typeUUID, message{}.text(valueString, "669dc8fb"), lightchain.Text("669dc8fb"), false},
		{"Bytes", typeBytes, message{}.bytes(valueBytes, []byte{1, 2}), lightchain.Bytes([]byte{1, 2}), false},
		{"File", typeFile, message{}.bytes(valueBytes, nil), lightchain.Bytes(nil), false},
		{"null", typeInt32, message{}.uint(7, 1), null, false},
		{"null beside a value", typeInt32, message{}.uint(7, 1).uint(valueInt, 4), null, false},
		{"no value", typeInt32, nil, null, true},
		{"two values, the last counts", typeInt32, message{}.uint(valueInt, 4).uint(valueInt, 5), lightchain.Int(5), false},
		{"a wrong wire type is no value", typeInt32, message{}.text(valueInt, "4"), null, true},
		{"an unknown datatype", 99, message{}.uint(valueInt, 4), lightchain.Int(4), false},
		{"an extension", typeInt32, message{}.bytes(valueOther, nil), null, true},
		{"unknown fields beside it", typeInt32, message{}.uint(valueInt, 4).uint(77, 5).text(78, "x"), lightchain.Int(4), false},
		{"no datatype", 0, message{}.uint(valueInt, 4), lightchain.Int(4), false},
		{"no datatype, maybe negative", 0, message{}.uint(valueInt, 1<<31), null, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := newPlant(t, Config{}).must("spBv1.0/G/NBIRTH/E", nbirthOf(0, append(metricOf("m", -1, c.datatype), c.value...)))
			r := readingOf(t, got, "m")
			if fmt.Sprint(r.Value.Kind(), r.Value) != fmt.Sprint(c.want.Kind(), c.want) || (r.Quality&lightchain.Bad != 0) != c.bad {
				t.Errorf("got %v (kind %v, quality %d), want %v", r.Value, r.Value.Kind(), r.Quality, c.want)
			}
			if c.bad && got.Doubt == "" {
				t.Error("nothing is said of it")
			}
		})
	}
}

func TestArrays(t *testing.T) {
	texts := func(values ...string) (all []string) { return values }
	for _, c := range []struct {
		what     string
		datatype uint32
		bytes    []byte
		want     []string
	}{
		{"Int8", typeInt8Array, []byte{0xef, 0x7b}, texts("-17", "123")},
		{"Int16", typeInt16Array, []byte{0xd0, 0x8a, 0x30, 0x75}, texts("-30000", "30000")},
		{"Int32", typeInt32Array, []byte{0xff, 0xff, 0xff, 0xff, 0xe7, 0xe6, 0xc2, 0x12}, texts("-1", "314762983")},
		{"Int64", typeInt64Array, little(8, -5, 1<<40), texts("-5", "1099511627776")},
		{"UInt8", typeUInt8Array, []byte{23, 250}, texts("23", "250")},
		{"UInt16", typeUInt16Array, []byte{0x1e, 0x00, 0x1e, 0xd3}, texts("30", "54046")},
		{"UInt32", typeUInt32Array, little(4, 52, -1), texts("52", "4294967295")},
		{"UInt64", typeUInt64Array, little(8, 52, -1), texts("52", `"18446744073709551615"`)},
		{"Float", typeFloatArray, little(4, int64(math.Float32bits(1.23046875)), int64(math.Float32bits(-0.5))), texts("1.23046875", "-0.5")},
		{"Double", typeDoubleArray, little(8, int64(math.Float64bits(12.354213))), texts("12.354213")},
		{"Boolean", typeBooleanArray, []byte{12, 0, 0, 0, 0x34, 0xd0}, texts("false", "false", "true", "true", "false", "true", "false", "false", "true", "true", "false", "true")},
		{"String", typeStringArray, []byte("ABC\x00hello\x00"), texts(`"ABC"`, `"hello"`)},
		{"DateTime", typeDateTimeArray, little(8, sent), texts(fmt.Sprint(sent))},
		{"none", typeInt32Array, nil, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := newPlant(t, Config{}).must("spBv1.0/G/NBIRTH/E", nbirthOf(0, metricOf("m", -1, c.datatype).bytes(valueBytes, c.bytes)))
			for i, want := range c.want {
				if r := readingOf(t, got, fmt.Sprintf("m.%d", i)); fmt.Sprint(jsonOf(t, r.Value)) != want {
					t.Errorf("element %d is %v, want %v", i, r.Value, want)
				}
			}
			if len(got.Readings) != len(c.want)+2 {
				t.Errorf("%d readings: %v", len(got.Readings), got.Readings)
			}
		})
	}
	t.Run("cut short", func(t *testing.T) {
		for _, datatype := range []uint32{typeInt16Array, typeDoubleArray, typeBooleanArray} {
			got := newPlant(t, Config{}).must("spBv1.0/G/NBIRTH/E", nbirthOf(0, metricOf("m", -1, datatype).bytes(valueBytes, []byte{9, 0, 0, 0, 1})))
			if r := readingOf(t, got, "m"); r.Quality&lightchain.Bad == 0 || got.Doubt == "" {
				t.Errorf("datatype %d: %v, %q", datatype, r, got.Doubt)
			}
		}
	})
	t.Run("of many numbers", func(t *testing.T) {
		all := make([]int64, 2000)
		for i := range all {
			all[i] = int64(i)
		}
		got := newPlant(t, Config{}).must("spBv1.0/G/NBIRTH/E",
			nbirthOf(0, metricOf("m", -1, typeInt32Array).bytes(9, property("engUnit", typeString, message{}.text(8, "°C"))).bytes(valueBytes, little(4, all...))))
		for name, want := range map[string]string{"m/count": "2000", "m/min": "0", "m/max": "1999", "m/mean": "999.5"} {
			r := readingOf(t, got, name)
			if jsonOf(t, r.Value) != want || !r.Derived {
				t.Errorf("%s is %v", name, r)
			}
			if unit := map[bool]string{true: "", false: "Cel"}[name == "m/count"]; r.Unit != unit {
				t.Errorf("%s has unit %q", name, r.Unit)
			}
		}
	})
}

func jsonOf(t testing.TB, v lightchain.Value) string {
	b, err := v.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDataSetsAreReadCellByCell(t *testing.T) {
	cell := func(m message) message { return message{}.bytes(1, m) }
	set := message{}.uint(1, 3).text(2, "Id").text(2, "Temperature").text(2, "State").
		uint(3, uint64(typeInt8)).uint(3, uint64(typeDouble)).uint(3, uint64(typeString)).
		bytes(4, append(append(cell(message{}.uint(1, 0xfe)), cell(message{}.double(4, 20.5))...), cell(message{}.text(6, "on"))...)).
		bytes(4, append(append(cell(message{}.uint(1, 2)), cell(nil)...), cell(message{}.text(6, "off"))...))
	got := newPlant(t, Config{}).must("spBv1.0/G/NBIRTH/E", nbirthOf(0, metricOf("Batch", -1, typeDataSet).bytes(valueDataSet, set)))
	for name, want := range map[string]string{"Batch.0.Id": "-2", "Batch.0.Temperature": "20.5", "Batch.0.State": `"on"`, "Batch.1.Id": "2", "Batch.1.Temperature": "null", "Batch.1.State": `"off"`} {
		if r := readingOf(t, got, name); jsonOf(t, r.Value) != want || r.Quality != 0 {
			t.Errorf("%s is %v", name, r)
		}
	}
	packed := message{}.text(2, "A").bytes(3, []byte{byte(typeInt32)}).bytes(4, cell(message{}.uint(1, 5)))
	if r := readingOf(t, newPlant(t, Config{}).must("spBv1.0/G/NBIRTH/E", nbirthOf(0, metricOf("p", -1, typeDataSet).bytes(valueDataSet, packed))), "p.0.A"); jsonOf(t, r.Value) != "5" {
		t.Errorf("with packed types: %v", r)
	}
}

func TestColumnsOfOneNameAreNumbered(t *testing.T) {
	for _, columns := range [][]string{{"A", "A", "B"}, {"A", "", "1"}} {
		set := message{}.uint(1, 3)
		for _, column := range columns {
			set = set.text(2, column)
		}
		var row message
		for i := range uint64(3) {
			set, row = set.uint(3, uint64(typeInt32)), row.bytes(1, message{}.uint(1, 10+i))
		}
		got := newPlant(t, Config{}).must(birthTopic, nbirthOf(0, metricOf("S", 1, typeDataSet).bytes(valueDataSet, set.bytes(4, row))))
		for i := range int64(3) {
			if r := readingOf(t, got, "S.0."+strconv.FormatInt(i, 10)); r.Value != lightchain.Int(10+i) {
				t.Errorf("%q: got %v", columns, r)
			}
		}
	}
}

func TestTemplatesAreReadMemberByMember(t *testing.T) {
	definition := message{}.bytes(2, metricOf("RPMs", -1, typeInt32).uint(valueInt, 0)).uint(5, 1)
	instance := message{}.text(1, "v1").text(4, "Motor").uint(5, 0).
		bytes(2, metricOf("RPMs", 31, typeInt32).bytes(9, property("engUnit", typeString, message{}.text(8, "rpm"))).uint(valueInt, 1500)).
		bytes(2, metricOf("Amps", -1, typeInt16).uint(valueInt, 0xffff)).
		bytes(3, message{}.text(1, "Index").uint(2, uint64(typeString)).text(8, "1"))
	p := newPlant(t, Config{})
	got := p.must("spBv1.0/G/NBIRTH/E", nbirthOf(0,
		metricOf("_types_/Motor", -1, typeTemplate).bytes(valueTemplate, definition),
		metricOf("My Motor", 30, typeTemplate).bytes(valueTemplate, instance)))
	for name, want := range map[string]string{"My Motor.RPMs": "1500", "My Motor.Amps": "-1", "My Motor.Index": `"1"`} {
		if r := readingOf(t, got, name); jsonOf(t, r.Value) != want || r.Device != "G/E" || !r.Timed {
			t.Errorf("%s is %v", name, r)
		}
	}
	if len(got.Readings) != 5 {
		t.Errorf("a definition measures nothing: %v", got.Readings)
	}
	// Later a member may come by its alias, or by its name without a datatype.
	got = p.must("spBv1.0/G/NDATA/E", payloadOf(1, metricOf("", 30, 0).uint(5, 1).bytes(valueTemplate,
		message{}.text(4, "Motor").bytes(2, metricOf("", 31, 0).uint(valueInt, 1501)).bytes(2, message{}.text(1, "Amps").uint(valueInt, 0xfffe)))))
	for name, want := range map[string]string{"My Motor.RPMs": "1501", "My Motor.Amps": "-2"} {
		r := readingOf(t, got, name)
		if jsonOf(t, r.Value) != want || r.Quality != lightchain.Historical || r.Meaning == nil || !r.Timed {
			t.Errorf("%s is %v", name, r)
		}
	}
	if r := readingOf(t, got, "My Motor.RPMs"); r.Unit != "1/min" {
		t.Errorf("the unit of the birth is lost: %v", r)
	}
	deep := message{}.bytes(2, metricOf("x", -1, typeInt32).uint(valueInt, 1))
	for range 40 {
		deep = message{}.bytes(2, metricOf("t", -1, typeTemplate).bytes(valueTemplate, deep))
	}
	if got := newPlant(t, Config{}).must("spBv1.0/G/NBIRTH/E", nbirthOf(0, metricOf("d", -1, typeTemplate).bytes(valueTemplate, deep))); got.Doubt == "" {
		t.Error("templates inside one another have no end")
	}
}

func TestCompressedPayloads(t *testing.T) {
	inner := nbirthOf(0, metricOf("m", 1, typeInt32).uint(valueInt, 5))
	for _, algorithm := range []string{"DEFLATE", "GZIP", "raw"} {
		p := newPlant(t, Config{})
		outer := message{}.text(4, compressed).bytes(5, squeeze(t, algorithm, inner))
		if algorithm == "GZIP" {
			outer = outer.bytes(2, metricOf("algorithm", -1, typeString).text(valueString, algorithm))
		}
		if r := readingOf(t, p.must("spBv1.0/G/NBIRTH/E", outer), "m"); jsonOf(t, r.Value) != "5" {
			t.Errorf("%s: %v", algorithm, r)
		}
		// The birth that names what comes later is the message as it came.
		r := readingOf(t, p.must("spBv1.0/G/NDATA/E", payloadOf(1, metricOf("", 1, 0).uint(valueInt, 6))), "m")
		if *r.Meaning != hashOf(outer) {
			t.Errorf("%s: the hash is of something else", algorithm)
		}
		if events := p.events(); len(events) != 0 {
			t.Errorf("%s: %v", algorithm, events)
		}
	}
	bomb := message{}.text(4, compressed).bytes(5, squeeze(t, "GZIP", make([]byte, 64<<20)))
	if _, err := newPlant(t, Config{}).hear("spBv1.0/G/NBIRTH/E", bomb); sensors.ReasonOf(err) != sensors.TooLarge {
		t.Errorf("64 MiB of zeros in %d bytes: %v", len(bomb), err)
	}
	if _, err := newPlant(t, Config{}).hear("spBv1.0/G/NBIRTH/E", message{}.text(4, compressed).text(5, "no compression")); sensors.ReasonOf(err) != sensors.Syntax {
		t.Errorf("a body that is not compressed: %v", err)
	}
}
