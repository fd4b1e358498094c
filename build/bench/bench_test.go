package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
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
			// Not t.TempDir: PostgreSQL's user could not enter it.
			dir, err := os.MkdirTemp("", "bench")
			if err == nil {
				err = os.Chmod(dir, 0o755)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			var out, log bytes.Buffer
			if err := run(t.Context(), []string{"-short", "-dir", dir, "-only", p.name, "-output", "json"}, &out, &log); err != nil {
				t.Fatalf("%v\n%s", err, &log)
			}
			var result struct {
				Figures []figure
				LeftOut []string `json:"left_out"`
			}
			if err := json.Unmarshal(out.Bytes(), &result); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			if len(result.LeftOut) > 0 && (os.Getenv("CI") == "" || p.name == "card") { // which takes root
				t.Skipf("left out: %s", result.LeftOut)
			}
			if len(result.Figures) == 0 || len(result.LeftOut) > 0 {
				t.Errorf("%d figures, left out: %s", len(result.Figures), result.LeftOut)
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
