package main

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"edgechain.example/agent/api"
)

func TestASummaryFitsATerminalWhateverDevicesSay(t *testing.T) {
	for _, f := range []float64{0, -1, 71.5, -math.MaxFloat64, math.SmallestNonzeroFloat64, 123456789.25, -123456789.25} {
		if text := shortNumber(f); len(text) > valueMost {
			t.Errorf("%g is %q", f, text)
		}
	}
	least, mean := json.RawMessage("-1234567890123.5"), -math.MaxFloat64
	text := json.RawMessage(`"` + strings.Repeat("ä", 300) + `"`)
	all := api.Summary{Readings: 99_999_999, First: time.Unix(0, 0), Last: time.Unix(1, 0), Series: []api.Series{{
		Device: strings.Repeat("d", 300), Name: strings.Repeat("ü", 300), Unit: strings.Repeat("u", 300), Count: 99_999_999, Bad: 999_999,
		Min: &api.Point{Value: least}, Mean: &mean, Max: &api.Point{Value: least}, Last: &api.Point{Value: text},
	}, {Device: "press", Name: "temperature", Unit: "Cel", Count: 1, Min: &api.Point{Value: json.RawMessage("71.5")}}}}
	var out bytes.Buffer
	writeSummary(&out, &all)
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > summaryWidth {
			t.Errorf("%d characters: %s", n, line)
		}
	}
	if !strings.Contains(out.String(), "71.5") {
		t.Errorf("%s", out.String())
	}
}
