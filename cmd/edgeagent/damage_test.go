package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestDamagedChainIsNamedByHeightAndStillRecorded(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "[block]\nmax_entries = 100\n")
	before, after := spectra(1500), spectra(1600)[1500:]
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), append(before, after...))
	p.allow(len(before))
	g.acknowledged(p, len(before))
	g.stop()
	g.start() // the chain's end moves on to another table: damage there has the database rebuilt
	g.stop()
	chain := g.verify()
	damage(t, g.data())

	_, stderr, code := g.output("edgeagent", "verify", "--config", g.config)
	if named := regexp.MustCompile(`block \d+`).FindString(stderr); code != 3 || named == "" {
		t.Fatalf("verify of a damaged chain exits with %d, want 3 and the height\n%s", code, stderr)
	}
	g.start()
	p.allow(len(before) + len(after))
	g.acknowledged(p, len(before)+len(after))
	g.stop()

	exported, stderr, code := g.output("edgeagent", "export", "--format", "jsonl", "--config", g.config)
	if code != 3 || !strings.Contains(stderr, "not all that was recorded is there") && !strings.Contains(stderr, "that were recorded are not there") {
		t.Errorf("export of a damaged chain exits with %d\n%s", code, stderr)
	}
	gone, newest := 0, 0
	for line := range strings.Lines(exported) {
		if strings.Contains(line, `"gone":`) {
			gone++
		} else if strings.Contains(line, `"source":"broker:-/machine-7:`) {
			newest++
		}
	}
	if gone == 0 || newest < len(after) || newest >= len(before)+len(after) {
		t.Errorf("of %d entries %d can be had, and %d gaps are shown", len(before)+len(after), newest, gone)
	}
	s := g.status()
	g.prove(chain, s.Entries-1) // what came after the damage is proved as ever
	if _, stderr, code := g.output("edgeagent", "verify", "--config", g.config); code != 3 || !strings.Contains(stderr, "block") {
		t.Errorf("after the restart verify exits with %d\n%s", code, stderr)
	}
}

// damage flips bits amid the largest table of the store, as a worn card does.
func damage(t testing.TB, dir string) {
	t.Helper()
	var largest string
	var size int64
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".sst" {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	})
	if err != nil || size < 10_000 {
		t.Fatalf("no table to damage: %v", err)
	}
	f, err := os.OpenFile(largest, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bytes := make([]byte, 64)
	if _, err := f.ReadAt(bytes, size/2); err != nil {
		t.Fatal(err)
	}
	for i := range bytes {
		bytes[i] ^= 0x55
	}
	if _, err := f.WriteAt(bytes, size/2); err != nil {
		t.Fatal(err)
	}
}
