package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain/store"
)

// All that can be wrong at once stands above all else, and fits on a terminal.
func TestStatusShowsWhatIsWrongFirst(t *testing.T) {
	t.Parallel()
	days, height := 3.25, uint64(812_345)
	s := api.Status{
		Gateway: "press-hall", Height: height, Entries: 9_812_345_678, Open: 4096, Held: 1_234_567, Bytes: 20 << 30,
		Volatile: "overlay", Mark: "the chain was restored from a backup of 2026-03-01T08:00:00Z: the agent seals nothing until an aggregator has told its newest head",
		Lost: store.Lost{Entries: 300, Unproved: 200, Headers: 1, Tables: 2},
		Scrub: &api.Scrub{
			Last: &api.ScrubRound{Ended: time.Unix(1_772_352_000, 0), Seconds: 483_840, Bytes: 20 << 30},
			Now:  &api.ScrubProgress{Height: 1234},
		},
		Version: "1.0.0",
		Live: &api.Live{
			Waiting: true, HeldBy: []sealgate.Reason{{Kind: sealgate.Elsewhere, Why: "this chain cannot go on"}}, Clock: "unsynchronised", ClockError: 16,
			Buffer:   api.Buffer{Rate: 1 << 30, Room: 1 << 30, Deletable: 2 << 30, Days: &days},
			HeldBack: &api.Stretch{From: 1, To: 812_000, Bytes: 3 << 30},
			Kept:     []api.Kept{{By: "room_per_day", Stretch: api.Stretch{From: 1, To: 700_000, Bytes: 2 << 30}}, {By: "min_age", Stretch: api.Stretch{From: 700_001, To: 812_000, Bytes: 1 << 30}}},
			Sources:  []api.Source{{Name: "line-1", Connected: true, Detail: "ssl://mqtt.plant.example:8883"}, {Name: "line-2", Detail: "connection refused"}},
			Upstreams: []api.Upstream{{Name: "office", Connected: true, Detail: "ssl://mqtt.office.example:8883", Standing: "forked",
				Aggregators: []api.Aggregator{{Name: "agg-a", Receipted: &height, Complaint: "it knows less than it countersigned"}, {Name: "agg-b"}}}},
		},
	}
	var out bytes.Buffer
	writeStatus(&out, &s)
	text := out.String()
	alarms, rest, _ := strings.Cut(text, "\nheight ")
	for _, want := range []string{
		"recording has stopped", "source line-2", "on overlay", "restored from a backup", "this chain cannot go on", "300 entries are lost",
		"2 files with receipts", "agg-a is not to be relied on", "retention holds back",
		"room for 2.0 GiB in blocks 1 to 700000", "younger than retention.min_age",
	} {
		if !strings.Contains(alarms, want) {
			t.Errorf("what is wrong does not begin with %q", want)
		}
	}
	if strings.Contains(rest, "WARNING") || strings.Contains(rest, "DAMAGE") {
		t.Error("there are warnings below")
	}
	for line := range strings.Lines(text) {
		if len(line) > 81 {
			t.Errorf("this line has %d characters: %s", len(line)-1, line)
		}
	}
	if t.Failed() {
		t.Log("\n" + text)
	}
}
