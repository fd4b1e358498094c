package sensors

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// Each preset is tried on payloads as its maker's documentation has them.
func TestPresetsReadWhatTheirMakersDocument(t *testing.T) {
	file, err := os.ReadFile("testdata/presets.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Preset, Source, Topic, Payload string
		Readings                       []string
	}
	if err := json.Unmarshal(file, &cases); err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for _, c := range cases {
		tried[c.Preset] = true
		if c.Source == "" {
			t.Errorf("%s: no source is named", c.Preset)
		}
		want := strings.Join(c.Readings, "\n")
		if got := decodeLines(mustNew(t, Config{Preset: c.Preset}), c.Topic, "client", c.Payload); got != want {
			t.Errorf("%s (%s), topic %s\n got %s\nwant %s", c.Preset, c.Source, c.Topic, got, want)
		}
	}
	for _, p := range Presets() {
		if !tried[p.Name] || p.For == "" || p.Topics == "" || len(p.Signs) == 0 {
			t.Errorf("the preset %s lacks what it is for, its topics, its signs, or a payload in testdata", p.Name)
		}
	}
}
