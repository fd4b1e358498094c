package sensors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"edgechain.example/lightchain"
)

// everyDecoder returns decoders that between them use all that a configuration can say.
func everyDecoder(t testing.TB) map[string]*Decoder {
	out := map[string]*Decoder{}
	for _, dialect := range dialectNames {
		c := Config{Dialect: dialect}
		if dialect == dialectNames[byPattern] {
			c.Pattern = `^(?P<status>\w*),?(?P<weight>[+-]?[\d.]+)(?P<unit> *\w+)?`
		}
		out[dialect] = mustNew(t, c)
	}
	for _, preset := range Presets() {
		out[preset.Name] = mustNew(t, Config{Preset: preset.Name})
	}
	out["fields"] = mustNew(t, Config{
		DevicePath: "a,e.a", UnitPath: "b", TimestampPath: "c", TimestampFormat: "rfc3339_or_unix_ms", MessagesPath: "*.d",
		NamePath: "n", QualityPath: "q", Fields: []string{"e", "x.*"}, Ignore: []string{"f"}, Numbers: []string{"*"},
		Units:        map[string]string{"e": "V"},
		TopicParsing: []TopicRule{{Topic: "#", Measurement: "#/m/_", Fields: "f/#"}},
	})
	return out
}

// seeds are payloads that the decoders understand, at least one each.
func seeds(t testing.TB) []string {
	dump, err := hex.DecodeString(dumpOfSection6)
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		oneValue,
		`{"a":"dev","b":"V","c":1715000000123,"x":{"d":{"c":"2024-05-06T07:08:09.5+02:00","e":[1,-0,-0.0,2.5e-3,null]}}}`,
		`{"params":{"ts":1631186545.04,"switch:0":{"id":0,"\u00e4\ud83d\ude00":true}},"Time":"2017-02-16T10:13:52"}`,
		`[{"bn":"urn:dev:ow:1:","bt":1.276020076001e+09,"bu":"A","bver":5,"bv":1,"bs":2,"n":"a","u":"V","v":120.1,"s":1},` +
			`{"n":"b","t":-5,"vs":"x","ut":1},{"n":"c","vb":false},{"n":"d","vd":"aGkgCg"}]`,
		"\x82\xa3\x21\x62d:\x22\xc4\x82\x20\x05\x25\x01\xa4\x00\x61a\x02\xfb\x40\x5e\x06\x66\x66\x66\x66\x66\x05\x01\x61x\x80",
		`{"a":{"b":nan,"b":1,"x.y":2,"x":{"y":3}}}`, "{\"a\":1}\n{\"a\":2}\n",
		"weather,location=hall\\ 3 t=82.1,h=71i,s=\"a \\\"b\" 1714979289000000000", "a;b\n1;\"2\"", "20;7F;ID=12;TEMP=21.5", "\xff\xfe{\x00}\x00", "00317.3988 kWh",
		p1Telegram(t), "$WIMWV,084.0,R,10.4,N,A*1A\r\n", "ST,+012.345 kg",
		string(dump), "23.5", "-9223372036854775808", "true", "online", "\xff\x00",
	}
}

// check decodes and requires that the result can stand in an entry.
func check(t testing.TB, name string, d *Decoder, topic, clientID string, payload []byte, at time.Time) {
	before := string(payload)
	readings, err := d.Decode(topic, clientID, payload, at)
	if err != nil {
		if ReasonOf(err) == "" || len(readings) > 0 || !utf8.ValidString(err.Error()) {
			t.Errorf("%s: %d readings and the error %q without a reason", name, len(readings), err)
		}
		return
	}
	e := lightchain.Entry{Received: at.UnixNano(), Payload: payload, Readings: readings}
	if _, err := e.Append(nil); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if before != string(payload) {
		t.Errorf("%s: the payload was changed", name)
	}
}

func TestAPayloadCutShortAnywhereNeverPanics(t *testing.T) {
	for name, d := range everyDecoder(t) {
		for _, s := range seeds(t) {
			for i := range len(s) + 1 {
				check(t, name, d, "a/b/c", "", []byte(s[:i]), received)
			}
		}
	}
}

func TestAPayloadWithAnyByteChangedNeverPanics(t *testing.T) {
	for name, d := range everyDecoder(t) {
		for _, s := range seeds(t) {
			b := []byte(s)
			for i := range b {
				for _, x := range []byte{0x01, 0x20, 0x80, 0xff} {
					b[i] ^= x
					check(t, name, d, "a/b/c", "client", b, received)
					b[i] ^= x
				}
			}
		}
	}
}

func TestAPayloadOfTenMegabytesIsDecodedOrRefused(t *testing.T) {
	const size = 10 << 20
	for dialect, units := range map[string][]string{
		"auto":       {"[", `{"a":`, "0,", `"`, `\`, "\xff"},
		"senml+json": {"[", "{},"},
		"senml+cbor": {"\x81", "\x9f", "\xa1", "\xc4", "\x5f", "\xa0"},
		"json":       {"{", "0", " ", `{"":`},
		"value":      {"0", " "},
		"raw":        {"x", "\x00"},
	} {
		d := mustNew(t, Config{Dialect: dialect})
		for _, unit := range units {
			payload := []byte(strings.Repeat(unit, size/len(unit)))
			check(t, dialect, d, "a/b/c", "", payload, received)
			if dialect == "senml+json" {
				payload[0] = '['
			} else if dialect == "senml+cbor" {
				payload[0] = 0x9f
			}
			check(t, dialect, d, "a/b/c", "", payload, received)
		}
	}
}

func FuzzDecoders(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add("plant/press/temp", "client", []byte(s), received.UnixNano())
	}
	f.Add("t", "", []byte(`{"a":{"v":[`+strings.Repeat("1.5,", 1100)+`2],"n":1}}`), received.UnixNano())
	decoders := everyDecoder(f)
	f.Fuzz(func(t *testing.T, topic, clientID string, payload []byte, at int64) {
		for name, d := range decoders {
			check(t, name, d, topic, clientID, payload, time.Unix(0, at))
		}
	})
}

func FuzzJSONSyntaxIsThatOfTheStandardLibrary(f *testing.F) {
	for _, s := range append(seeds(f), `[1.5E+3,"\u0041\n",{},[]]`, `{"a":[{"b":null}]}`, `[1,]`, `{"a" 1}`, `01`, `"\x"`, "[\x00]") {
		f.Add([]byte(s))
	}
	d := mustNew(f, Config{Dialect: "json"})
	f.Fuzz(func(t *testing.T, payload []byte) {
		if odd := bytes.ToLower(payload); bytes.Contains(odd, []byte("nan")) || bytes.Contains(odd, []byte("inf")) || isWrapped(payload) {
			return // what we take beside it
		}
		_, err := d.Decode("t", "", payload, received)
		valid := json.Valid(payload)
		switch reason := ReasonOf(err); {
		case err == nil && !valid:
			t.Error("took what encoding/json refuses")
		case (reason == Syntax || reason == Empty) && valid:
			t.Errorf("refused what encoding/json takes: %v", err)
		}
		// Other reasons are checks that encoding/json does not make, and may come before the end of the text.
	})
}

// isWrapped reports whether something is around a text that we pass over, and encoding/json does not.
func isWrapped(payload []byte) bool {
	return bytes.HasSuffix(payload, []byte{0}) || bytes.HasPrefix(payload, []byte("\xef\xbb\xbf")) || bytes.HasPrefix(payload, []byte("\xff\xfe")) || bytes.HasPrefix(payload, []byte("\xfe\xff"))
}

func FuzzJSONValuesAreThoseOfTheStandardLibrary(f *testing.F) {
	for _, s := range []string{`0`, `-0`, `-0.0`, `9223372036854775807`, `18446744073709551615`, "0\x00", `1e-400`, `"\ud83d\ude00\/"`, `"é"`, `true`, `null`} {
		f.Add(s)
	}
	d := mustNew(f, Config{Dialect: "json"})
	f.Fuzz(func(t *testing.T, payload string) {
		readings, err := d.Decode("t", "", []byte(payload), received)
		if err != nil || len(readings) != 1 || readings[0].Name != "t" || isWrapped([]byte(payload)) {
			return
		}
		var want any
		if err := json.Unmarshal([]byte(payload), &want); err != nil {
			t.Fatal(err)
		}
		v := readings[0].Value
		switch want := want.(type) {
		case float64:
			if text, ok := v.Text(); ok && want >= 1<<63 && text == strings.Trim(payload, " \t\r\n") {
				break // all digits of 64 bits
			}
			if got, ok := v.Float(); !ok || got != want {
				t.Errorf("%s: %v, want %v", payload, v, want)
			}
		case string:
			if got, _ := v.Text(); v.Kind() != lightchain.KindText || got != want {
				t.Errorf("%s: %q, want %q", payload, got, want)
			}
		case bool:
			if got, ok := v.Bool(); !ok || got != want {
				t.Errorf("%s: %v, want %v", payload, v, want)
			}
		case nil:
			if v.Kind() != lightchain.KindNull {
				t.Errorf("%s: %v, want null", payload, v)
			}
		}
	})
}
