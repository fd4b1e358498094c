package sensors

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"
)

// received is when all messages of the tests arrive.
var received = time.Date(2024, time.May, 6, 7, 8, 9, 0, time.UTC)

func mustNew(t testing.TB, cfg Config) *Decoder {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// decodeLines decodes, and shows each reading as one line. An error is one line, "error: reason".
func decodeLines(d *Decoder, topic, clientID, payload string) string {
	readings, err := d.Decode(topic, clientID, []byte(payload), received)
	if err != nil {
		return "error: " + string(ReasonOf(err))
	}
	var lines []string
	for i := range readings {
		lines = append(lines, lineOf(&readings[i]))
	}
	return strings.Join(lines, "\n")
}

// lineOf shows a reading as "device|name|unit|kind value|time|quality".
func lineOf(r *lightchain.Reading) string {
	kinds := [...]string{"null", "bool", "int", "float", "text", "bytes"}
	at := ""
	if r.Timed {
		at = time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)
	}
	quality := strings.Trim(strings.Join([]string{
		bit(*r, lightchain.Historical, "historical"), bit(*r, lightchain.Bad, "bad"), bit(*r, lightchain.Zoneless, "zoneless"),
	}, " "), " ")
	return fmt.Sprintf("%s|%s|%s|%s %s|%s|%s", r.Device, r.Name, r.Unit, kinds[r.Value.Kind()], r.Value, at, quality)
}

func bit(r lightchain.Reading, q lightchain.Quality, name string) string {
	if r.Quality&q != 0 {
		return name
	}
	return ""
}

// table is a list of payloads and what they become, on the topic "plant/press/temp".
type table []struct{ claim, payload, want string }

func (cases table) run(t *testing.T, cfg Config) {
	t.Helper()
	cfg.DeviceFrom = cmp.Or(cfg.DeviceFrom, "level")
	d := mustNew(t, cfg)
	for _, c := range cases {
		if got := decodeLines(d, "plant/press/temp", "", c.payload); got != c.want {
			t.Errorf("%s\npayload %s\n got %s\nwant %s", c.claim, c.payload, got, c.want)
		}
	}
}

// An entry names the decoder that read it: of auto the one that it chose.
func TestADecoderIsNamedWithItsVersion(t *testing.T) {
	for _, c := range []struct{ dialect, payload, want string }{
		{"", `{"a":1}`, "json/2"}, {"json", `{"a":1}`, "json/2"},
		{"", `[{"n":"t","v":1}]`, "senml-json/2"}, {"senml+json", `[{"n":"t","v":1}]`, "senml-json/2"},
		{"", "\x81\xa2\x00\x61t\x02\x01", "senml-cbor/2"}, {"senml+cbor", "\x81\xa2\x00\x61t\x02\x01", "senml-cbor/2"},
		{"", "20.5", "json/2"}, {"", "open", "value/2"}, {"value", "20.5", "value/2"},
		{"", "\xff\xfd", ""}, {"raw", "\x80\xff", "raw/2"}, {"raw", "20.5", "raw/2"},
		{"ndjson", `{"a":1}`, "ndjson/2"}, {"cbor", "\xa1\x61a\x01", "cbor/2"}, {"influx", "m a=1", "influx/2"}, {"", "m a=1 1714979289000000000", "influx/2"},
		{"csv", "a,b\n1,2", "csv/2"}, {"pairs", "a=1", "pairs/2"},
		{"p1", "/X\r\n\r\n1-0:1.8.1(1*kWh)\r\n!", "p1/2"}, {"nmea", "$A,1", "nmea/2"},
		{"", `{"a":`, ""}, {"json", "open", ""},
	} {
		got, err := mustNew(t, Config{Dialect: c.dialect}).Read("plant/press/temp", "", []byte(c.payload), received)
		if got.Decoder != c.want || (err == nil) != (c.want != "") || err != nil && got.Readings != nil {
			t.Errorf("%q of %q: %q, want %q (%v)", c.dialect, c.payload, got.Decoder, c.want, err)
		}
		if err := lightchain.CheckDecoder(got.Decoder); err != nil {
			t.Error(err)
		}
	}
	if got, err := mustNew(t, Config{Dialect: "regexp", Pattern: "(?P<a>.)"}).Read("t", "", []byte("1"), received); err != nil || got.Decoder != "regexp/2" {
		t.Error(got, err)
	}
}

func TestANameInASourceHasNoSeparator(t *testing.T) {
	for name, want := range map[string]string{"press-07": "press-07", "a:b/c%d": "a%3Ab%2Fc%25d", "%3A": "%253A", "": ""} {
		if got := SourceName(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
		if got := NameInSource(want); got != name {
			t.Errorf("%q was %q, want %q", want, got, name)
		}
	}
}

// What reads a payload again is what New makes of no configuration, but for its dialect.
func TestDecodersWithoutAConfigurationAreThoseOfAnEmptyOne(t *testing.T) {
	decoders, err := unconfigured()
	if err != nil || len(decoders) < 8 {
		t.Fatal(len(decoders), err)
	}
	for name, d := range decoders {
		made, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		made.dialect, made.cbor, made.units, made.rules = d.dialect, d.cbor, nil, nil // an empty map and list are none
		if !reflect.DeepEqual(d, made) {
			t.Errorf("%s: %+v, and not %+v", name, d, made)
		}
	}
}
