package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/api"
)

func TestAnAgeIsToldInItsTwoLargestUnits(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 999 * time.Millisecond, "59s": time.Minute - 1, "1m0s": time.Minute, "2h59m": 3*time.Hour - 1, "3d23h": 4*24*time.Hour - 1,
		"10d": 10*24*time.Hour + time.Hour, "5m0s ahead": -5 * time.Minute,
	} {
		if got := ageText(d); got != want {
			t.Errorf("%v is told as %q, want %q", d, got, want)
		}
	}
}

// One device with an absurd name leaves the others readable.
func TestALongNameIsCutWhereOthersStandBesideIt(t *testing.T) {
	all := api.Devices{Devices: []api.Device{
		{Name: strings.Repeat("x", 1000), Readings: []api.LastReading{{Reading: api.Reading{Name: strings.Repeat("y", 1000), Value: json.RawMessage("1")}}}},
		{Name: "press-07", Readings: []api.LastReading{{Reading: api.Reading{Name: "temperature", Value: json.RawMessage("20.5")}}}},
	}}
	var out strings.Builder
	writeDevices(&out, &all)
	for line := range strings.Lines(out.String()) {
		if len(line) > 250 {
			t.Errorf("%d characters: %.100s", len(line), line)
		}
	}
}
