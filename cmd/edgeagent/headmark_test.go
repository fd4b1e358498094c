package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgechain/agent/api"
)

// A gateway's whole database goes. It starts by itself and seals above what had left; the chain says what is lost, and so
// does whoever meets the gap.
func TestAGatewayOutlivesItsDatabase(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "[block]\nmax_entries = 50\n")
	lines := spectra(700)
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), lines)
	p.allow(600)
	g.acknowledged(p, 600)
	g.stop()
	before := g.status()
	if err := os.RemoveAll(filepath.Join(g.data(), "chain", "data-1")); err != nil {
		t.Fatal(err)
	}
	if _, _, code := g.output("edgeagent", "verify", "--config", g.config); code == 0 {
		t.Error("verify of a chain without a database is content")
	}

	g.start()
	p.allow(len(lines))
	g.acknowledged(p, len(lines))
	g.await("the loss is recorded", func() bool {
		lost := uint64(0)
		for line := range strings.Lines(g.must("log", "--source", "agent:damage", "--output", "json")) {
			var e api.Entry
			var said struct{ First, Count *uint64 }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if json.Unmarshal(e.Payload, &said) == nil && said.First != nil && said.Count != nil {
				lost += *said.Count
			}
		}
		return lost == before.Entries
	})
	var now api.Status
	g.await("it has sealed", func() bool {
		now = g.status()
		return now.Height > before.Height+1
	})
	if now.Chain != before.Chain || now.Lost.Entries != before.Entries {
		t.Errorf("%+v, was %+v", now, before)
	}
	g.stop()
	g.prove(before.Chain.String(), before.Entries+20)
	for _, args := range [][]string{{"blocks", "--from", "2", "--to", "4"}, {"log", "-n", "0"}} {
		if says := g.must(args...); !strings.Contains(says, "not held") && !strings.Contains(says, "not_held") {
			t.Errorf("edgeagent %s says nothing of the gap:\n%.500s", args[0], says)
		} else if strings.Contains(says, "1970") {
			t.Errorf("edgeagent %s gives a time to what is not there:\n%.500s", args[0], says)
		}
	}
	for _, format := range []string{"csv", "jsonl"} {
		stdout, stderr, code := g.output("edgeagent", "export", "--format", format, "--config", g.config)
		if told := fmt.Sprintf("at least %d entries", before.Entries); code != 3 || !strings.Contains(stdout, "not held here") || !strings.Contains(stderr, told) || strings.Contains(stderr, "agent:prune") {
			t.Errorf("export as %s exits with %d\n%s\n%.300s", format, code, stderr, stdout)
		}
	}
	if stdout, stderr, code := g.output("edgeagent", "verify", "--output", "json", "--config", g.config); code != 3 || !strings.Contains(stdout, `"NotHeld":`) || !strings.Contains(stderr, "headers with their blocks' entries: sealed, and not here") {
		t.Errorf("verify exits with %d\n%s%s", code, stdout, stderr)
	}
	if _, stderr, code := g.output("edgeagent", "export", "--bundle", "3-14", "--file", filepath.Join(t.TempDir(), "b"), "--config", g.config); code == 0 || !strings.Contains(stderr, "header 3: not held here") {
		t.Errorf("a bundle across the gap exits with %d: %s", code, stderr)
	}
}
