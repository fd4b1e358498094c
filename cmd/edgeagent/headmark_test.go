package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/agent/sealgate"
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
	if _, stderr, code := g.output("edgeagent", "verify", "--config", g.config); code != 3 || !strings.Contains(stderr, fmt.Sprintf("header %d has left", before.Height)) {
		t.Errorf("verify of a chain without a database exits with %d: %s", code, stderr)
	}
	for _, args := range [][]string{{"export"}, {"log"}, {"blocks"}, {"prove", "1"}} {
		if _, stderr, code := g.output("edgeagent", append(args, "--config", g.config)...); code != 6 || strings.Contains(stderr, "no chain") {
			t.Errorf("edgeagent %s of a chain without a database exits with %d: %s", args[0], code, stderr)
		}
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
	for _, args := range [][]string{{"blocks", "--from", "2", "--to", "4"}, {"receipts", "-n", "0"}, {"log", "-n", "0"}} {
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
	if stdout, stderr, code := g.output("edgeagent", "verify", "--output", "json", "--config", g.config); code != 3 || !strings.Contains(stdout, `"headers_not_held":`) || !strings.Contains(stderr, "headers with their blocks' entries: sealed, and not here") {
		t.Errorf("verify exits with %d\n%s%s", code, stdout, stderr)
	}
	if _, stderr, code := g.output("edgeagent", "export", "--bundle", "3-14", "--file", filepath.Join(t.TempDir(), "b"), "--config", g.config); code == 0 || !strings.Contains(stderr, "header 3: not held here") {
		t.Errorf("a bundle across the gap exits with %d: %s", code, stderr)
	}
}

// The log goes, and with it the newest headers: whoever reads what is left says so before the agent starts again.
func TestReadersTellThatTheDatabaseEndsBelowTheHeadMark(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "[block]\nmax_entries = 50\n")
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), spectra(200))
	p.allow(200)
	g.acknowledged(p, 200)
	g.stop()
	height := g.status().Height
	logs, err := filepath.Glob(filepath.Join(g.data(), "chain", "data-1", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	for _, log := range logs {
		if err := os.Remove(log); err != nil {
			t.Fatal(err)
		}
	}
	told := fmt.Sprintf("header %d has left", height)
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"verify"}, 3}, {[]string{"export"}, 3}, {[]string{"export", "--format", "jsonl", "--from", "1"}, 3},
		{[]string{"log", "-n", "0"}, 0}, {[]string{"blocks"}, 0},
	} {
		if _, stderr, code := g.output("edgeagent", append(c.args, "--config", g.config)...); code != c.code || !strings.Contains(stderr, told) {
			t.Errorf("edgeagent %v exits with %d: %s", c.args, code, stderr)
		}
	}
}

// All that says where the chain ended goes at once, and nobody can be asked. The gateway records, seals nothing, says why and
// what to do, and goes on by the operator's word alone.
func TestAGatewayThatDoesNotKnowItsHeadRecordsAndSealsNothing(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "[block]\nmax_entries = 50\n")
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), spectra(200))
	p.allow(150)
	g.acknowledged(p, 150)
	g.kill()
	before := g.status()
	logs, err := filepath.Glob(filepath.Join(g.data(), "chain", "data-1", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	for _, name := range append(logs, filepath.Join(g.data(), "chain", "head-a"), filepath.Join(g.data(), "chain", "head-b")) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		g.start()
		p.allow(175)
		g.acknowledged(p, 175)
		s := g.status()
		if held := s.Live.HeldBy; len(held) == 0 || held[0].Kind != sealgate.SetBack || !strings.Contains(held[0].Do, "init --continue") || !strings.Contains(held[0].Do, "restore --newest") {
			t.Errorf("%+v", s.Live)
		}
		if s.Height >= before.Height {
			t.Errorf("header %d is sealed again, of %d that have left", s.Height, before.Height)
		}
		g.stop()
		if says := g.stands(5); !strings.Contains(says, "init --continue") {
			t.Errorf("status of a folder in doubt: %s", says)
		}
		if _, stderr, code := g.output("edgeagent", "verify", "--config", g.config); code != 3 {
			t.Errorf("verify of a folder in doubt exits with %d: %s", code, stderr)
		}
	}
	g.must("restore", "--newest")
	g.start()
	p.allow(200)
	g.acknowledged(p, 200)
	g.await("sealing", func() bool { return g.status().Live.Held == "" })
	g.stop()
}

// Whoever reads a chain as it lies, of which the end is lost, is told so in the answer itself: a program reads no warnings.
func TestAnAnswerSaysThatTheChainsEndIsLost(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	publish(t, g, "press/state", `{"temperature":71.5}`)
	g.stop()
	database := filepath.Join(g.data(), "chain", "data-1")
	before := t.TempDir()
	if err := os.CopyFS(before, os.DirFS(database)); err != nil {
		t.Fatal(err)
	}
	g.start()
	publish(t, g, "press/state", `{"temperature":72.5}`)
	g.stop()
	if err := os.RemoveAll(database); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(database, os.DirFS(before)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"devices"}, {"log", "--summary"}} {
		var all struct{ Gone []string }
		if text := g.must(append(args, "--output", "json")...); json.Unmarshal([]byte(text), &all) != nil || len(all.Gone) != 1 || !strings.Contains(all.Gone[0], "are not in it") {
			t.Errorf("edgeagent %s: %s", strings.Join(args, " "), text)
		}
	}
	ends := g.status()
	for _, args := range [][]string{{"log"}, {"log", "--name", "temperature"}, {"blocks", "--forwards"}} {
		text := strings.TrimSpace(g.must(append(args, "--output", "json")...))
		var last struct{ Gone string }
		if err := json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), &last); err != nil || !strings.Contains(last.Gone, "are not in it") {
			t.Errorf("edgeagent %s: %s", strings.Join(args, " "), text)
		}
	}
	var first struct{ Gone string }
	if text, _, _ := strings.Cut(g.must("receipts", "--output", "json"), "\n"); json.Unmarshal([]byte(text), &first) != nil || !strings.Contains(first.Gone, "are not in it") {
		t.Errorf("edgeagent receipts: %s", text)
	}
	var proved struct{ Extreme struct{ Gone []string } }
	proof := filepath.Join(t.TempDir(), "p")
	if text := g.must("prove", "--device", "press/state", "--name", "temperature", "--last", "-o", proof, "--output", "json"); json.Unmarshal([]byte(text), &proved) != nil || len(proved.Extreme.Gone) != 1 {
		t.Errorf("edgeagent prove --last: %s", text)
	}
	// What is beyond is not there, and no block.interval brings it.
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"prove", fmt.Sprint(ends.Entries)}, "the entry was sealed, and is not here"},
		{[]string{"prove", fmt.Sprint(ends.Entries + 1000)}, "whether there was one is not known"},
		{[]string{"export", "--bundle", fmt.Sprint(ends.Height + 1), "-o", filepath.Join(t.TempDir(), "b")}, "was sealed, and is not here"},
	} {
		_, stderr, code := g.output("edgeagent", append(c.args, "--config", g.config)...)
		if code != 4 || !strings.Contains(stderr, c.says) || !strings.Contains(stderr, "take a newer one") || strings.Contains(stderr, "not sealed yet") {
			t.Errorf("edgeagent %s exits with %d: %s", strings.Join(c.args, " "), code, stderr)
		}
	}
	if s := ends; !s.Has(api.DamageFound) || !strings.Contains(s.SetBack, "are not in it") {
		t.Errorf("%+v", s.Verdict)
	}
}
