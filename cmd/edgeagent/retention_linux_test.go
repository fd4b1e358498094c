package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"edgechain.example/agent/api"
)

// A gateway without aggregators, told to delete what nobody has countersigned, never stops recording: it keeps the
// newest part of what came, whole, and says in the chain what it deleted.
func TestRetentionKeepsAFullDiskRecording(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t)
	g := prepareGateway(t, disk.dir, "[retention]\nmax_size = \"1GiB\"\nmin_age = \"0s\"\ndelete_unreceipted_evidence = true\n[block]\nmax_entries = 500\n")
	g.must("init")
	payloads := spectra(24_000)
	g.start("--set", "store.reserve=16MiB")
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), payloads)
	p.allow(len(payloads))
	g.acknowledged(p, len(payloads))
	s := g.status()
	if s.Held == 0 || !s.Live.Buffer.Endless {
		t.Fatalf("%d messages fit on the disk: %+v", len(payloads), s)
	}
	g.await("counting in its metric what status says went", func() bool { // deletions may go on between the two
		before := g.metric("edgeagent_pruned_entries_total")
		return before > 0 && before == float64(g.status().Held)
	})
	g.kill()
	g.start("--set", "store.reserve=16MiB")
	g.stop()
	g.verify()

	row, next, told := -1, uint64(0), uint64(0)
	out := json.NewDecoder(strings.NewReader(g.must("export", "--format", "jsonl")))
	for out.More() {
		var e api.Entry
		if err := out.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if next != 0 && e.Number != next {
			t.Fatalf("entry %d follows entry %d", e.Number, next-1)
		}
		if next == 0 && e.Number < s.Held {
			t.Fatalf("entry %d is there, those below %d are not, says status", e.Number, s.Held)
		}
		next = e.Number + 1
		switch {
		case e.Source == "agent:prune":
			var said struct {
				NextEntry uint64 `json:"next_entry"`
			}
			if err := json.Unmarshal(e.Payload, &said); err != nil {
				t.Fatal(err)
			}
			told = said.NextEntry
		case strings.HasPrefix(e.Source, "broker:"):
			var said struct{ Count int }
			if err := json.Unmarshal(e.Payload, &said); err != nil {
				t.Fatal(err)
			}
			if row >= 0 && said.Count != row+1 {
				t.Fatalf("row %d follows row %d", said.Count, row)
			}
			row = said.Count
		}
	}
	if row != len(payloads)-1 || told < s.Held {
		t.Errorf("the last row is %d of %d; the chain says that entries below %d went, status those below %d", row, len(payloads), told, s.Held)
	}
}

// A file of somebody else's fills the disk. As shipped nothing of today goes for that: recording waits, says why, and goes
// on with all that was sent when there is room.
func TestAFileThatFillsTheDiskDeletesNothingOfToday(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t)
	g := prepareGateway(t, disk.dir, "[retention]\nmax_size = \"1GiB\"\ndelete_unreceipted_evidence = true\n")
	g.must("init")
	payloads := spectra(4_000)
	g.start("--set", "store.reserve=16MiB")
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), payloads)
	p.allow(2_000)
	g.acknowledged(p, 2_000)
	disk.leave(10 * mib)
	p.allow(len(payloads))
	g.await("that it keeps what there is no room for", func() bool { return g.metric(`edgeagent_kept_bytes{by="min_age"}`) > 0 })
	text := strings.Join(strings.Fields(g.stands(7)), " ")
	for _, want := range []string{"recording has stopped", "they are younger than retention.min_age"} {
		if !strings.Contains(text, want) {
			t.Errorf("status does not say %q: %s", want, text)
		}
	}
	disk.leave(smallDiskSize)
	g.acknowledged(p, len(payloads))
	if s := g.status(); s.Held != 0 || strings.Contains(g.must("log", "--source", "agent:prune"), "agent:prune") {
		t.Errorf("entries below %d were deleted", s.Held)
	}
	g.stop()
	g.verify()
}
