package main

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv/program"
)

func TestBadInputIsSealedCountedAndPassedBy(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `
[[broker.decode]]
topics = ["json/#"]
dialect = "json"
[[broker.decode]]
topics = ["senml/#"]
dialect = "senml+json"
[[broker.decode]]
topics = ["value/#"]
dialect = "value"
`)
	g.start()
	const notUnderstood, hashed = "not-understood", "payload-hashed"
	large := fmt.Sprintf(`{"temperature":21.5,"spectrum":"%s"}`, strings.Repeat("0123456789", 1<<20))
	flat := `{"temperature":21.5}` + strings.Repeat(" ", 10<<20)
	cases := []struct {
		what, topic, payload string
		flags                []string
		reason               string
		readings             int
	}{
		{"cut short", "json/press", `{"temperature":73.9`, []string{notUnderstood}, "syntax", 0},
		{"SenML cut short", "senml/press", `[{"n":"temperature","u":"Cel","v":2`, []string{notUnderstood}, "syntax", 0},
		{"nested a thousand deep", "json/press", strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000), []string{notUnderstood}, "depth", 0},
		{"arrays that never end", "json/press", strings.Repeat("[", 100_000), []string{notUnderstood}, "depth", 0},
		{"text that is not UTF-8", "json/press", "{\"state\":\"\xc3\x28\"}", []string{notUnderstood}, "utf8", 0},
		{"NaN", "value/press", "NaN", []string{notUnderstood}, "not_finite", 0},
		{"NaN in JSON", "json/press", `{"temperature":NaN}`, nil, "", 1},
		{"a number beyond all bounds", "json/press", `{"temperature":1e999}`, nil, "", 1},
		{"a name that stands twice", "json/press", `{"a":1,"a":2}`, nil, "", 1},
		{"nothing", "json/press", "", []string{notUnderstood}, "empty", 0},
		{"10 MB of text", "json/press", large, []string{notUnderstood, hashed}, "too_large", 0},
		{"10 MB of which one value is", "json/press", flat, []string{hashed}, "", 1},
		{"zero bytes", "auto/press", "\x00\x00\x00", []string{notUnderstood}, "empty", 0},
		{"bytes", "auto/press", "\x01\x80", []string{notUnderstood}, "utf8", 0}, // auto guesses nothing
	}
	good := func(i int) string { return fmt.Sprintf(`{"temperature":%d}`, i) }
	reasons := map[string]float64{}
	for i, c := range cases {
		publish(t, g, c.topic, c.payload)
		publish(t, g, "json/press", good(i)) // the stream goes on
		if c.reason != "" {
			reasons[c.reason]++
		}
	}
	for reason, want := range reasons {
		if got := g.metric(fmt.Sprintf("edgeagent_not_understood_total{reason=%q}", reason)); got != want {
			t.Errorf("%v messages were not understood because of %s, want %v", got, reason, want)
		}
	}
	if unread := g.status().Live.Unread; !slices.ContainsFunc(unread, func(u api.Unread) bool {
		return u.Source == "broker" && u.Topic == "json/press" && u.Reason == "syntax" && u.Messages == 1 && strings.Contains(u.Detail, "cut short")
	}) {
		t.Errorf("status says of what was not understood %+v", unread)
	}
	g.stop()
	entries := g.entries()
	if len(entries) != 2*len(cases) {
		t.Fatalf("%d entries, want %d", len(entries), 2*len(cases))
	}
	for i, c := range cases {
		bad, next := &entries[2*i], &entries[2*i+1]
		slices.Sort(bad.Flags)
		if !slices.Equal(bad.Flags, c.flags) || len(bad.Readings) != c.readings || !keeps(bad, c.payload) {
			t.Errorf("%s: entry with flags %v, %d readings and %d bytes of payload; want %v and %d readings",
				c.what, bad.Flags, len(bad.Readings), len(bad.Payload), c.flags, c.readings)
		}
		if string(next.Payload) != good(i) || len(next.Readings) != 1 || len(next.Flags) > 0 {
			t.Errorf("%s: what followed was read as %+v", c.what, next)
		}
	}
	for i, chain := 0, g.verify(); i < len(entries); i += 2 {
		g.prove(chain, entries[i].Number)
	}
}

// keeps says whether the entry holds the payload, or its hash if it says so.
func keeps(e *api.Entry, payload string) bool {
	if slices.Contains(e.Flags, "payload-hashed") {
		sum := sha256.Sum256([]byte(payload))
		return string(e.Payload) == string(sum[:])
	}
	return string(e.Payload) == payload
}

// publish publishes one message, byte for byte, and returns when it is acknowledged.
func publish(t testing.TB, g *gateway, topic, payload string) {
	t.Helper()
	from := "-s" // standard input, of which mosquitto_pub takes nothing for a mistake
	if payload == "" {
		from = "-n"
	}
	pub := mosquittoPub(t, g.port, "-i", "press-07", "-t", topic, from)
	pub.Stdin = strings.NewReader(payload)
	program.Must(t, pub)
}
