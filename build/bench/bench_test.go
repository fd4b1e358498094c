package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"testing"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childVariable); name != "" {
		os.Exit(beChild(name))
	}
	os.Exit(m.Run())
}

// How fast anything is does not belong into a test: it asserts that each part runs, and yields numbers.
func TestEachPartYieldsNumbers(t *testing.T) {
	for _, p := range parts() {
		t.Run(p.name, func(t *testing.T) {
			if _, err := exec.LookPath("mosquitto"); err != nil && p.name == "ingest" && os.Getenv("CI") == "" {
				t.Skip("mosquitto is not installed: build/testenv/install.sh installs it")
			}
			var out, log bytes.Buffer
			if err := run(t.Context(), []string{"-short", "-dir", t.TempDir(), "-only", p.name, "-output", "json"}, &out, &log); err != nil {
				t.Fatalf("%v\n%s", err, &log)
			}
			var result struct{ Figures []figure }
			if err := json.Unmarshal(out.Bytes(), &result); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			if len(result.Figures) == 0 {
				t.Error("no figures")
			}
			for _, f := range result.Figures {
				if f.Part != p.name || f.Name == "" || f.Unit == "" || f.N == 0 || math.IsNaN(f.Value) {
					t.Errorf("not a figure: %+v", f)
				}
			}
		})
	}
}

func TestNumbersAreReadable(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.12345: "0.123", 41.27: "41.3", 999.6: "1000", 1234567: "1 234 567", -12345: "-12 345"} {
		if got := plain(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}
