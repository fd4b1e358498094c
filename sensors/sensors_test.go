package sensors

import (
	"fmt"
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

// decodeLines decodes, and shows each reading as one line: "device|name|unit|kind value|time|quality". An error is
// one line, "error: reason".
func decodeLines(d *Decoder, topic, clientID, payload string) string {
	readings, err := d.Decode(topic, clientID, []byte(payload), received)
	if err != nil {
		return "error: " + string(ReasonOf(err))
	}
	kinds := [...]string{"null", "bool", "int", "float", "text", "bytes"}
	var lines []string
	for _, r := range readings {
		at := ""
		if r.Timed {
			at = time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)
		}
		quality := strings.Trim(strings.Join([]string{
			bit(r, lightchain.Historical, "historical"), bit(r, lightchain.Bad, "bad"), bit(r, lightchain.Zoneless, "zoneless"),
		}, " "), " ")
		lines = append(lines, fmt.Sprintf("%s|%s|%s|%s %s|%s|%s", r.Device, r.Name, r.Unit, kinds[r.Value.Kind()], r.Value, at, quality))
	}
	return strings.Join(lines, "\n")
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
		{"", `{"a":1}`, "json/1"}, {"json", `{"a":1}`, "json/1"},
		{"", `[{"n":"t","v":1}]`, "senml-json/1"}, {"senml+json", `[{"n":"t","v":1}]`, "senml-json/1"},
		{"", "\x81\xa2\x00\x61t\x02\x01", "senml-cbor/1"}, {"senml+cbor", "\x81\xa2\x00\x61t\x02\x01", "senml-cbor/1"},
		{"", "20.5", "json/1"}, {"", "open", "value/1"}, {"value", "20.5", "value/1"},
		{"", "\xff\xfe", "raw/1"}, {"", "\x80\xff", "raw/1"}, {"raw", "20.5", "raw/1"},
		{"", `{"a":`, ""}, {"json", "open", ""},
	} {
		readings, got, err := mustNew(t, Config{Dialect: c.dialect}).Read("plant/press/temp", "", []byte(c.payload), received)
		if got != c.want || (err == nil) != (c.want != "") || err != nil && readings != nil {
			t.Errorf("%q of %q: %q, want %q (%v)", c.dialect, c.payload, got, c.want, err)
		}
		if err := lightchain.CheckDecoder(got); err != nil {
			t.Error(err)
		}
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
