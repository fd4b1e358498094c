package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"edgechain.example/lightchain"
)

// broken is a fault of this program where a file should be.
type broken struct{}

func (broken) Read([]byte) (int, error) { panic("a fault") }

// A fault keeps no other file from being judged, and says whose fault it is.
func TestAFaultIsThisProgramsOwn(t *testing.T) {
	proof, chain := proofOf(t, lightchain.Entry{})
	file := writeTemp(t, proof)
	var out, stderr strings.Builder
	if code := run([]string{"--chain", chain, "-", file}, broken{}, &out, &stderr); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	for _, words := range []string{"-: NOT JUDGED\n  a fault of this program", file + ": VERIFIED"} {
		if !strings.Contains(out.String(), words) {
			t.Errorf("%q is not said:\n%s", words, &out)
		}
	}
}

// What the disk does not give back is no forgery.
func TestAFileThatCannotBeReadIsNotCalledForged(t *testing.T) {
	proof, chain := proofOf(t, lightchain.Entry{})
	bundle := bundleOf(t, 2, lightchain.Entry{})
	for about, b := range map[string][]byte{"at once": nil, "within a proof": proof[:200], "within a bundle": bundle[:len(bundle)/2], "within gzip": zipped(t, proof)[:40]} {
		var out strings.Builder
		stdin := io.MultiReader(bytes.NewReader(b), iotest.ErrReader(errors.New("input/output error")))
		if code := run([]string{"--chain", chain, "-"}, stdin, &out, io.Discard); code != exitUnreadable || !strings.HasPrefix(out.String(), "-: CANNOT BE READ\n") {
			t.Errorf("%s: exit code %d\n%s", about, code, &out)
		}
	}
}

// Nothing that comes from elsewhere steers the terminal, nor makes a line of this program's own: neither names of files that do
// not exist, nor what stands in a trust file or behind a flag.
func TestNamesAndForeignTextArePrintedSafely(t *testing.T) {
	proof, chain := proofOf(t, lightchain.Entry{Source: "broker:-/\x1b[31m\u202e:\nVERIFIED", Payload: []byte("\x1b]0;x\a")})
	dir := t.TempDir()
	evil := filepath.Join(dir, "\x1b[31m\nx: VERIFIED")
	trust := filepath.Join(dir, "\x1b[32m.trust")
	for name, b := range map[string][]byte{evil: proof, trust: []byte("chain \x1b[33m\n")} {
		if err := os.WriteFile(name, b, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"--chain", chain, evil},
		{"--chain", chain, "--output", "json", evil},
		{"--chain", chain, filepath.Join(dir, "no\x1b[31m\nx: VERIFIED")},
		{"--trust", trust, evil},
		{"--trust", filepath.Join(dir, "no\x1b[31m"), evil},
		{"--\x1b[31m"},
		{"--output", "\x1b[31m", evil},
		{"--chain", chain, "--chain\x1b=x", evil},
	} {
		var out strings.Builder
		run(args, nil, &out, &out)
		if strings.ContainsAny(out.String(), "\x1b\a") || strings.Contains(out.String(), "\nx: VERIFIED") {
			t.Errorf("%q: %q", args, out.String())
		}
	}
}

// A reading's names, units and text pass for no words of the report: what has a space, a comma or a sign of this program's stands
// in quotes, and text always does.
func TestAReadingsWordsPassForNoneOfTheReport(t *testing.T) {
	for want, r := range map[string]lightchain.Reading{
		`press-07 temperature = 20.5 Cel`:                              {Device: "press-07", Name: "temperature", Unit: "Cel", Value: lightchain.Float(20.5)},
		`line/7 größe/max = "20.5" m²`:                                 {Device: "line/7", Name: "größe/max", Unit: "m²", Value: lightchain.Text("20.5")},
		`"press-07 temperature = 20.0 Cel, measured 2026" x = 1`:       {Device: "press-07 temperature = 20.0 Cel, measured 2026", Name: "x", Value: lightchain.Int(1)},
		`d "" = "on (bad)" "Cel, computed by the gateway"`:             {Device: "d", Unit: "Cel, computed by the gateway", Value: lightchain.Text("on (bad)")},
		`d "a\"b\\" = "\x{9b}31m" "\x{202e}", computed by the gateway`: {Device: "d", Name: `a"b\`, Unit: "\u202e", Value: lightchain.Text("\u009b31m"), Derived: true},
		`d a = "" (bad, stale, or with a time beyond belief)`:          {Device: "d", Name: "a", Value: lightchain.Text(""), Quality: lightchain.Bad},
	} {
		if got := reading(&r); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// Programs are told what people are: that no receipt was required, and that the gateway's clock was wrong, of bundles too.
func TestProgramsAreToldWhatToBewareOf(t *testing.T) {
	proof, chain := proofOf(t, lightchain.Entry{})
	var out strings.Builder
	if code := run([]string{"--chain", chain, "--output", "json", writeTemp(t, proof)}, nil, &out, io.Discard); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &out)
	}
	var report struct{ Beware []string }
	if err := json.Unmarshal([]byte(out.String()), &report); err != nil || len(report.Beware) != 1 || !strings.Contains(report.Beware[0], "No receipt was required") {
		t.Errorf("%s (%v)", &out, err)
	}
	for _, v := range vectorFiles(t, "bundle") {
		if v.name != "bundle-good-outside.json" {
			continue
		}
		trust, err := lightchain.ParseTrust([]byte(v.Trust))
		if err != nil {
			t.Fatal(err)
		}
		o := check(writeTemp(t, v.Bytes), nil, trust)
		if o.err != nil {
			t.Fatal(o.err)
		}
		for _, wrong := range []bool{false, true} {
			o.bundle.Sealed = int64(*o.bundle.NotAfter) * 1e9
			if wrong {
				o.bundle.Sealed += 61e9
			}
			var text, asJSON strings.Builder
			if err := o.writeText(&text); err != nil {
				t.Fatal(err)
			}
			if err := o.writeJSON(&asJSON); err != nil {
				t.Fatal(err)
			}
			const words = "The gateway's clock was wrong"
			if strings.Contains(text.String(), words) != wrong || strings.Contains(asJSON.String(), words) != wrong {
				t.Errorf("clock wrong: %t\n%s%s", wrong, &text, &asJSON)
			}
		}
		return
	}
	t.Error(fmt.Errorf("no bundle with a bound"))
}

// Which chain a chain continues is shown, as the gateway's word.
func TestWhatAChainContinuesIsShown(t *testing.T) {
	before := lightchain.Hash{7}
	for _, o := range []outcome{
		{file: "a", trust: &lightchain.Trust{}, proof: &lightchain.Report{Before: &before}},
		{file: "a", trust: &lightchain.Trust{}, bundle: &lightchain.BundleReport{Before: &before}},
	} {
		var text, asJSON strings.Builder
		if err := errors.Join(o.writeText(&text), o.writeJSON(&asJSON)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), "  continues the chain whose last known header had the hash "+before.String()+", as the gateway says\n") || !strings.Contains(asJSON.String(), `"continues":"`+before.String()+`"`) {
			t.Errorf("%s%s", &text, &asJSON)
		}
	}
}
