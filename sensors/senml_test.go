package sensors

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// The packs are those of RFC 8428, section 5.1; some are shortened.
func TestSenMLExamplesOfTheRFC(t *testing.T) {
	table{
		{"5.1.1 a single data point", `[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]`,
			"press|urn:dev:ow:10e2073a01080063|Cel|float 23.1||"},
		{"5.1.2 multiple data points", `[
			{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},
			{"n":"current","u":"A","v":1.2}]`,
			"urn:dev:ow:10e2073a01080063|voltage|V|float 120.1||\nurn:dev:ow:10e2073a01080063|current|A|float 1.2||"},
		{"5.1.2 base time and base unit", `[
			{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
			{"n":"current","t":-5,"v":1.2},
			{"n":"current","v":1.7}]`,
			"urn:dev:ow:10e2073a0108006|voltage|V|float 120.1|2010-06-08T18:01:16.001Z|\n" +
				"urn:dev:ow:10e2073a0108006|current|A|float 1.2|2010-06-08T18:01:11.001Z|\n" +
				"urn:dev:ow:10e2073a0108006|current|A|float 1.7|2010-06-08T18:01:16.001Z|"},
		{"5.1.3 multiple measurements", `[
			{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
			{"u":"lon","v":24.30621},
			{"u":"%EL","t":150,"v":98}]`,
			"urn:dev:ow:10e2073a01080063|10e2073a01080063|%RH|int 20|2011-10-31T13:24:24Z|\n" +
				"urn:dev:ow:10e2073a01080063|10e2073a01080063|lon|float 24.30621|2011-10-31T13:24:24Z|\n" +
				"urn:dev:ow:10e2073a01080063|10e2073a01080063|%EL|int 98|2011-10-31T13:26:54Z|"},
		{"5.1.5 multiple data types", `[
			{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
			{"n":"label","vs":"Machine Room"},
			{"n":"open","vb":false},
			{"n":"nfc-reader","vd":"aGkgCg"}]`,
			"urn:dev:ow:10e2073a01080063|temp|Cel|float 23.1||\n" +
				"urn:dev:ow:10e2073a01080063|label||text Machine Room||\n" +
				"urn:dev:ow:10e2073a01080063|open||bool false||\n" +
				"urn:dev:ow:10e2073a01080063|nfc-reader||bytes 6869200a||"},
		{"5.1.6 collection of resources", `[
			{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},
			{"n":"humidity","u":"%RH","v":30},
			{"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3}]`,
			"2001:db8::2|temperature|Cel|float 25.2|2011-10-31T16:27:09Z|\n" +
				"2001:db8::2|humidity|%RH|int 30|2011-10-31T16:27:09Z|\n" +
				"2001:db8::1|temperature|Cel|float 12.3|2011-10-31T16:27:09Z|"},
		{"an unknown label is ignored, whatever it holds", `[
			{"bn":"urn:dev:ow:10e2073a01080063:","l":[{"href":"humidity","foo":["bar"]}],"n":"temperature","u":"Cel","v":27.2}]`,
			"urn:dev:ow:10e2073a01080063|temperature|Cel|float 27.2||"},
		{"5.1.7 setting an actuator, relative to now", `[{"bt":0,"bu":"/","n":"2001:db8::3","v":1},{"n":"2001:db8::3","t":0.1,"v":0}]`,
			"press|2001:db8::3|/|int 1|2024-05-06T07:08:09Z|\npress|2001:db8::3|/|int 0|2024-05-06T07:08:09.1Z|"},
	}.run(t, Config{Dialect: "senml+json"})
}

func TestSenMLIsResolved(t *testing.T) {
	table{
		{"the base value is added, integers as integers", `[{"bn":"d/","bv":20,"n":"a","v":1},{"n":"b","v":0.5},{"n":"c","vs":"x"}]`,
			"d|a||int 21||\nd|b||float 20.5||\nd|c||text x||"},
		{"what does not fit an int becomes a float", `[{"bv":9223372036854775807,"n":"a","v":1}]`, "press|a||float 9.223372036854776e+18||"},
		{"and what fits no float is not understood", `[{"bv":1e308,"n":"a","v":1e308}]`, "error: overflow"},
		{"a sum beside a value", `[{"bn":"d/","n":"a","u":"W","v":1,"s":7}]`, "d|a|W|int 1||\nd|a/sum|J|int 7||"},
		{"a sum alone, on a base", `[{"bs":10,"n":"a","u":"lx","s":0.5},{"n":"b","v":1}]`,
			"press|a/sum|lx.s|float 10.5||\npress|b||int 1||\npress|b/sum||int 10||"},
		{"just below 2^28 is relative", `[{"n":"a","v":1,"t":268435455}]`, "press|a||int 1|2032-11-07T04:32:24Z|bad"},
		{"2^28 is absolute", `[{"n":"a","v":1,"t":268435456}]`, "press|a||int 1|1978-07-04T21:24:16Z|bad"},
		{"the past", `[{"n":"a","v":1,"t":-60}]`, "press|a||int 1|2024-05-06T07:07:09Z|"},
		{"base and time count together", `[{"bt":268435450,"n":"a","v":1,"t":6}]`, "press|a||int 1|1978-07-04T21:24:16Z|bad"},
		{"no time", `[{"n":"a","v":1}]`, "press|a||int 1||"},
		{"a time that fits no number", `[{"n":"a","v":1,"t":1e300}]`, "press|a||int 1||bad"},
		{"update time is not used", `[{"n":"a","v":1,"ut":60}]`, "press|a||int 1||"},
		{"only one separator goes", `[{"bn":"a.b..","v":1}]`, "a.b.|b||int 1||"},
		{"base fields alone, for what follows", `[{"bn":"d/","bu":"V"},{"n":"a","v":1}]`, "d|a|V|int 1||"},
		{"a new base name", `[{"bn":"d/","n":"a","v":1},{"bn":"","n":"a","v":1}]`, "d|a||int 1||\npress|a||int 1||"},
	}.run(t, Config{Dialect: "senml+json"})
}

func TestSenMLRefusesWhatTheRFCForbids(t *testing.T) {
	table{
		{"a label that must be understood", `[{"n":"a","v":1,"x_":1}]`, "error: unknown_label"},
		{"a newer version", `[{"bver":11,"n":"a","v":1}]`, "error: version"},
		{"a version of zero", `[{"bver":0,"n":"a","v":1}]`, "error: not_senml"},
		{"a version in pieces", `[{"bver":5.5,"n":"a","v":1}]`, "error: not_senml"},
		{"no name", `[{"v":1}]`, "error: name"},
		{"a name that begins with a slash", `[{"n":"/a","v":1}]`, "error: name"},
		{"a name with a space", `[{"bn":"a","n":"b c","v":1}]`, "error: name"},
		{"a name with an umlaut", `[{"n":"ä","v":1}]`, "error: name"},
		{"a name made legal by its base", `[{"bn":"d","n":"/a","v":1}]`, "d|/a||int 1||"},
		{"no value", `[{"n":"a"}]`, "error: not_senml"},
		{"two values", `[{"n":"a","v":1,"vs":"1"}]`, "error: not_senml"},
		{"two values and a sum", `[{"n":"a","v":1,"vs":"1","s":1}]`, "error: not_senml"},
		{"a text as a number", `[{"n":"a","v":"1"}]`, "error: not_senml"},
		{"a null", `[{"n":"a","v":null}]`, "error: not_senml"},
		{"a number as a text", `[{"n":"a","vs":1}]`, "error: not_senml"},
		{"an object as a value", `[{"n":"a","v":{}}]`, "error: not_senml"},
		{"base64 with padding", `[{"n":"a","vd":"aGkgCg=="}]`, "error: not_senml"},
		{"base64 of the other alphabet", `[{"n":"a","vd":"+/"}]`, "error: not_senml"},
		{"base64 over two lines", `[{"n":"a","vd":"aGk\ngCg"}]`, "error: not_senml"},
		{"base64 with loose bits", `[{"n":"a","vd":"aGkgCh"}]`, "error: not_senml"},
		{"a repeated label", `[{"n":"a","v":1,"v":1}]`, "error: duplicate_key"},
		{"no record", `[]`, "error: not_senml"},
		{"base fields only", `[{"bn":"a"}]`, "error: not_senml"},
		{"an object", `{"n":"a","v":1}`, "error: not_senml"},
		{"a number in the pack", `[1]`, "error: not_senml"},
		{"something behind", `[{"n":"a","v":1}]x`, "error: syntax"},
		{"1,025 readings", `[{"bn":"d/"}` + strings.Repeat(`,{"n":"a","v":1}`, 1025) + `]`, "error: too_many_values"},
		{"too deep where it is ignored", `[{"n":"a","v":1,"x":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}]`, "error: depth"},
	}.run(t, Config{Dialect: "senml+json"})
}

// dumpOfSection6 is the CBOR that RFC 8428, section 6, prints for an example of section 5.1.2.
const dumpOfSection6 = "87a721781b75726e3a6465763a6f773a313065323037336130313038303036" +
	"3a22fb41d303a15b00106223614120050067766f6c7461676501615602fb405e066666666666a3006763757272656e74062402" +
	"fb3ff3333333333333a3006763757272656e74062302fb3ff4cccccccccccda3006763757272656e74062202fb3ff666666666" +
	"6666a3006763757272656e74062102f93e00a3006763757272656e74062002fb3ff999999999999aa3006763757272656e7406" +
	"0002fb3ffb333333333333"

func TestSenMLCBORGivesWhatJSONGives(t *testing.T) {
	payload, err := hex.DecodeString(dumpOfSection6)
	if err != nil {
		t.Fatal(err)
	}
	got := decodeLines(mustNew(t, Config{Dialect: "senml+cbor"}), "plant/press/temp", "", string(payload))
	want := decodeLines(mustNew(t, Config{Dialect: "senml+json"}), "plant/press/temp", "", `[
		{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
		{"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3},{"n":"current","t":-3,"v":1.4},
		{"n":"current","t":-2,"v":1.5},{"n":"current","t":-1,"v":1.6},{"n":"current","t":0,"v":1.7}]`)
	if got != want || strings.Count(got, "\n") != 6 {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSenMLCBORReadsAllTypes(t *testing.T) {
	type m = map[any]any
	encode := func(v any) string {
		b, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	one := func(label, v any) string { return encode([]m{{0: "a", label: v}}) }
	table{
		{"an integer", one(2, 5), "press|a||int 5||"},
		{"a negative one", one(2, -5), "press|a||int -5||"},
		{"one beyond an int", one(2, uint64(math.MaxUint64)), "press|a||float 1.8446744073709552e+19||"},
		{"a single-precision float", one(2, float32(0.5)), "press|a||float 0.5||"},
		{"a decimal fraction", one(2, cbor.Tag{Number: 4, Content: []any{-2, 2731}}), "press|a||float 27.31||"},
		{"one with a positive exponent", one(2, cbor.Tag{Number: 4, Content: []any{2, -3}}), "press|a||float -300.0||"},
		{"one beyond a float", one(2, cbor.Tag{Number: 4, Content: []any{999, 1}}), "error: overflow"},
		{"one of another shape", one(2, cbor.Tag{Number: 4, Content: []any{1}}), "error: not_senml"},
		{"a binary fraction, which the RFC does not name", one(2, cbor.Tag{Number: 5, Content: []any{1, 1}}), "error: not_senml"},
		{"a time as a decimal fraction", encode([]m{{0: "a", 2: 1, 6: cbor.Tag{Number: 4, Content: []any{-3, int64(1276020076001)}}}}),
			"press|a||int 1|2010-06-08T18:01:16.001Z|"},
		{"a text", one(3, "x"), "press|a||text x||"},
		{"a boolean", one(4, true), "press|a||bool true||"},
		{"bytes", one(8, []byte{1, 2}), "press|a||bytes 0102||"},
		{"a sum", one(5, 3), "press|a/sum||int 3||"},
		{"NaN", one(2, math.NaN()), "error: not_finite"},
		{"infinity", one(2, math.Inf(-1)), "error: overflow"},
		{"null", one(2, nil), "error: not_senml"},
		{"bytes as a text", one(3, []byte{1}), "error: not_senml"},
		{"a text as a number", one(2, "1"), "error: not_senml"},
		{"an unknown number as a label", encode([]m{{0: "a", 2: 1, 99: 1, -99: []int{1}}}), "press|a||int 1||"},
		{"an unknown text as a label", encode([]m{{0: "a", 2: 1, "x": 1}}), "press|a||int 1||"},
		{"a label that must be understood", encode([]m{{0: "a", 2: 1, "x_": 1}}), "error: unknown_label"},
		{"a pack of unknown length", "\x9f\xa2\x00\x61a\x02\x01\xff", "press|a||int 1||"},
		{"a pack of unknown length without an end", "\x9f\xa2\x00\x61a\x02\x01", "error: syntax"},
		{"a length in more bytes than needed", "\x98\x01\xa2\x00\x61a\x02\x01", "press|a||int 1||"},
		{"a length beyond the payload", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "error: syntax"},
		{"a repeated label", "\x81\xa3\x00\x61a\x02\x01\x02\x01", "error: duplicate_key"},
		{"text that is not UTF-8", "\x81\xa2\x00\x61a\x03\x61\xff", "error: utf8"},
		{"a record that is no map", "\x81\x01", "error: not_senml"},
		{"no array", "\xa0", "error: not_senml"},
		{"nothing", "", "error: empty"},
		{"no record", "\x80", "error: not_senml"},
		{"something behind", "\x81\xa2\x00\x61a\x02\x01\x00", "error: syntax"},
		{"a thousand levels", "\x81\xa3\x00\x61a\x02\x01\x18\x63" + strings.Repeat("\x81", 1000) + "\x01", "error: depth"},
	}.run(t, Config{Dialect: "senml+cbor"})
}
