package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgechain.example/agent/api"
)

// Old data that has rotted is found by reading it, while new data is recorded: its numbers are an entry, once, and
// status and metrics tell of them.
func TestRottenOldDataIsFoundAndRecordedOnce(t *testing.T) {
	t.Parallel()
	const blockEntries = 300
	g := newGateway(t, fmt.Sprintf("[block]\nmax_entries = %d\n", blockEntries))
	before, after := spectra(3000), spectra(3200)[3000:]
	scrubbing := []string{"--set", "store.scrub_every=1s", "--set", "store.scrub_rate=1GiB"}
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), append(before, after...))
	p.allow(len(before))
	g.acknowledged(p, len(before))
	g.stop()
	g.start() // the chain's end moves on to another table: damage there has the database rebuilt
	g.stop()
	chain := g.verify()
	if s := g.status(); s.Scrub.Last != nil || s.Lost.Entries != 0 {
		t.Fatalf("before any round, status says %+v %+v", s.Scrub, s.Lost)
	}
	damage(t, g.data())

	g.start(scrubbing...)
	p.allow(len(before) + len(after))
	g.acknowledged(p, len(before)+len(after))
	g.await("telling of what is lost", func() bool { return g.metric(`edgeagent_damaged{what="entries"}`) > 0 })
	for range 2 { // rounds more
		last := g.metric("edgeagent_scrub_last_timestamp_seconds")
		g.await("through with one more round", func() bool { return g.metric("edgeagent_scrub_last_timestamp_seconds") > last })
	}
	s := g.status()
	if s.Scrub.Last == nil || s.Scrub.Last.Bytes == 0 || s.Scrub.Last.Lost != 0 {
		t.Errorf("after the third round status says %+v", s.Scrub.Last)
	}
	if text := g.stands(7); !strings.Contains(text, fmt.Sprintf("DAMAGE    %d entries are lost", s.Lost.Entries)) || !strings.Contains(text, "last read through") {
		t.Errorf("status says\n%s", text)
	}
	g.stop()

	there, told := map[uint64]bool{}, map[uint64]bool{}
	for _, e := range g.exported() {
		if e.Gone == "" {
			there[e.Number] = true
		}
		if e.Source != "agent:damage" {
			continue
		}
		var d struct{ First, Count uint64 }
		if err := json.Unmarshal(e.Payload, &d); err != nil {
			t.Fatal(err)
		}
		for n := d.First; n < d.First+d.Count; n++ {
			if told[n] {
				t.Errorf("entry %d is told of twice", n)
			}
			told[n] = true
		}
	}
	for n := range s.Entries {
		if there[n] == told[n] {
			t.Errorf("entry %d: there %t, told to be lost %t", n, there[n], told[n])
		}
	}
	if len(told) == 0 || uint64(len(told)) != s.Lost.Entries {
		t.Errorf("%d entries are told to be lost, status says %+v", len(told), s.Lost)
	}
	whole := func(n uint64) bool { // nothing of its block is lost: of a block all entries are needed to prove one
		for m := range told {
			if max(m, n)-min(m, n) < blockEntries {
				return false
			}
		}
		return there[n]
	}
	beside := uint64(0)
	for beside < s.Entries && !whole(beside) {
		beside++
	}
	g.prove(chain, beside) // as ever
	g.prove(chain, s.Entries-1)
}

// A damaged file that holds neither entries nor headers is found, too, and verify names it.
func TestDamageBesideTheBlocksIsFound(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "[block]\nmax_entries = 10\n")
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), spectra(3000))
	p.allow(3000)
	g.acknowledged(p, 3000)
	g.stop()
	g.start() // puts into tables what stood in the log
	g.stop()
	_, _, code := g.output("edgeagent", "verify", "--config", g.config)
	if code != 0 {
		t.Fatalf("verify exits with %d before any damage", code)
	}
	files, err := filepath.Glob(filepath.Join(g.data(), "chain", "data-1", "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rotten := append([]byte(nil), whole...)
		rotten[len(rotten)/3] ^= 1
		if err := os.WriteFile(file, rotten, 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := g.output("edgeagent", "verify", "--config", g.config)
		if code == 0 {
			t.Errorf("verify finds nothing with a flipped bit in the middle of %s", file)
		}
		if code == 3 && strings.Contains(stderr, filepath.Base(file)) {
			found++
		}
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Errorf("of %d files none was named", len(files))
	}
}

// exported returns all that the export shows, gaps included.
func (g *gateway) exported() (all []api.Entry) {
	g.t.Helper()
	stdout, stderr, code := g.output("edgeagent", "export", "--format", "jsonl", "--config", g.config)
	lost := false
	for line := range strings.Lines(stdout) {
		var e api.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			g.t.Fatal(err)
		}
		all = append(all, e)
		lost = lost || e.Gone != "" && e.Why != api.Pruned
	}
	if lost != (code == 3) || !lost && code != 0 {
		g.t.Errorf("export exits with %d, lost %t\n%s", code, lost, stderr)
	}
	return all
}
