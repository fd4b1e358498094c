package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
)

// configure adds lines to the gateway's configuration.
func (g *gateway) configure(lines string) {
	g.t.Helper()
	text, err := os.ReadFile(g.config)
	if err == nil {
		err = os.WriteFile(g.config, append(text, lines...), 0o600)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

// publishImages sends messages of 180 kB that nothing makes smaller, and returns when the gateway has sealed them.
func (g *gateway) publishImages(count int) {
	g.t.Helper()
	before, _ := g.ask()
	var lines bytes.Buffer
	image := make([]byte, 135_000)
	for range count {
		_, _ = rand.Read(image)
		lines.WriteString(base64.StdEncoding.EncodeToString(image) + "\n")
	}
	cmd := exec.Command(testenv.Program(g.t, "mosquitto_pub"), "-h", "127.0.0.1", "-p", strconv.Itoa(g.port), "-q", "1", "-t", "factory/camera", "-l")
	cmd.Stdin = &lines
	program.Must(g.t, cmd)
	g.process.Await("all messages are sealed", func() bool {
		s, ok := g.ask()
		return ok && s.Open == 0 && s.Height >= before.Height+uint64(count)
	})
}

// fails runs a command that must fail with the given exit code, and returns what it says.
func (g *gateway) fails(code int, args ...string) string {
	g.t.Helper()
	stdout, stderr, got := program.Output(g.t, g.command(args...))
	if got != code {
		g.t.Errorf("edgeagent %s exits with %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout + stderr
}

// goneFrom returns what the chain says was deleted from a block on, without a gap.
func goneFrom(g *gateway, from uint64) (s api.Stretch) {
	g.t.Helper()
	s.From = from
	for _, e := range g.events("prune") {
		of := func(name string) uint64 { return uint64(e[name].(float64)) }
		if of("from") < from {
			continue
		}
		if next := max(from, s.To+1); of("from") != next {
			g.t.Errorf("block %d and those above it were deleted, and not %d", of("from"), next)
		}
		s.To, s.NextEntry, s.Bytes = of("to"), of("next_entry"), s.Bytes+of("bytes")
	}
	return s
}

// What goes is beyond the limit and countersigned; what went can still be proved by whoever asked for its proof before.
func TestRetentionDeletesWhatIsReceiptedAndNothingElse(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	g.start()
	countersigned(g, n)
	g.record(5)
	head := countersigned(g, n)
	proofs := filepath.Join(g.dir, "proofs")
	g.must("export", "--proofs", proofs, "--file", filepath.Join(g.dir, "entries.csv"))

	// The aggregator is away, and the chain outgrows the limit that is set then.
	n.process.Stop()
	g.publishImages(140)
	g.configure("[retention]\nmax_size = \"16MiB\"\nmin_age = \"0s\"\n")
	var would api.Retention
	g.read(&would, "prune", "--dry-run")
	if would.Goes == nil || would.Goes.To != head.Height || would.HeldBack == nil || would.HeldBack.From != head.Height+1 || would.Receipted != head.Height {
		t.Fatalf("with a head of %d countersigned, %+v would go and %+v is held back", head.Height, would.Goes, would.HeldBack)
	}
	if says := g.fails(2, "prune"); !strings.Contains(says, "edgeagent reload") {
		t.Errorf("limits that are not in force are refused with\n%s", says)
	}
	g.must("reload")
	g.process.Await("what is countersigned goes by itself", func() bool { return len(g.events("prune")) > 0 })
	if told := g.events("prune")[0]; told["next_entry"] != float64(head.Entries) || fmt.Sprint(told["by"]) != "["+n.name+"]" || fmt.Sprint(told["why"]) != "[size]" {
		t.Errorf("of entries below %d the chain says %v", head.Entries, told)
	}
	g.process.Await("what is held back is said", func() bool { s, ok := g.ask(); return ok && s.Live.HeldBack != nil })
	s, _ := g.ask()
	if s.Held != head.Entries || !strings.Contains(g.must("status"), "retention holds back") {
		t.Errorf("the oldest entry held is %d, want %d; status says\n%s", s.Held, head.Entries, g.must("status"))
	}
	large := s.Bytes

	// It comes back, and more may go.
	n.start()
	countersigned(g, n)
	var went api.Retention
	g.read(&went, "prune")
	if went.HeldBack != nil {
		t.Fatalf("then %+v goes and %+v is held back", went.Goes, went.HeldBack)
	}
	gone := goneFrom(g, head.Height+1) // the agent may have looked by itself before the command did
	if gone.To <= head.Height || went.Goes != nil && went.Goes.To != gone.To {
		t.Fatalf("%+v went, and by the command %+v", gone, went.Goes)
	}
	g.process.Await("the space comes back", func() bool {
		s, ok := g.ask()
		return ok && s.Bytes < 16<<20 && s.Bytes < large-gone.Bytes*3/4
	})

	// To whoever asks, what went is said to have gone, and the rest is whole; so it is after a power cut.
	for range 2 {
		if says := g.fails(4, "prove", "1"); !strings.Contains(says, "deleted by retention, as entry") || !strings.Contains(says, "export --proofs") {
			t.Errorf("prove of a deleted entry says\n%s", says)
		}
		bundle := "1-" + strconv.FormatUint(head.Height, 10)
		if says := g.fails(4, "export", "--bundle", bundle, "--file", filepath.Join(t.TempDir(), "b")); !strings.Contains(says, "deleted by retention") {
			t.Errorf("a bundle of deleted entries says\n%s", says)
		}
		g.must("verify")
		list := g.blocks()
		if tip, _ := g.ask(); uint64(len(list)) != tip.Height+1 || list[1].Count == 0 {
			t.Errorf("%d blocks are listed up to height %d", len(list), tip.Height)
		}
		exported := parseLines[api.Entry](t, g.must("export", "--format", "jsonl"))
		if i := slices.IndexFunc(exported, func(e api.Entry) bool { return e.Gone == "" }); i < 0 || exported[i].Number != gone.NextEntry {
			t.Errorf("the export begins at %d of %d, want entry %d first", i, len(exported), gone.NextEntry)
		}
		g.process.Kill()
		g.start()
		countersigned(g, n)
	}
	for number := range head.Entries {
		if says, code := verify(g, filepath.Join(proofs, fmt.Sprint(number)+".edgeproof")); code != 0 {
			t.Errorf("the proof of entry %d, deleted since, exits with %d\n%s", number, code, says)
		}
	}
	if telling := g.events("prune"); len(telling) < 2 {
		t.Errorf("the chain tells of %v", telling)
	}
	g.stop()
	var offline api.Retention
	g.read(&offline, "prune", "--dry-run")
	if offline.Goes != nil || offline.Oldest != gone.To+1 {
		t.Errorf("without the agent, %+v would go, from block %d on", offline.Goes, offline.Oldest)
	}
	if says := g.fails(5, "prune"); !strings.Contains(says, "--dry-run") {
		t.Errorf("without the agent prune says\n%s", says)
	}
}
