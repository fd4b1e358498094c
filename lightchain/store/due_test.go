package store

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Whoever meets damage makes a scrub due, once: a damage that is known asks for none, not after a restart either.
func TestDamageThatIsMetMakesAScrubDue(t *testing.T) {
	for what, meet := range map[string]func(t *testing.T, s *Store){
		"a search": func(_ *testing.T, s *Store) {
			for range s.Find(Query{}) {
			}
		},
		"a proof": func(t *testing.T, s *Store) {
			failed := 0
			for number := uint64(0); number < s.Tip().Next; number += 50 {
				if _, err := s.Prove(number, 0); err != nil {
					failed++
				}
			}
			if failed == 0 {
				t.Error("everything is proved")
			}
		},
		"a merge": func(t *testing.T, s *Store) {
			if err := s.putSynced(summaryKey(s.Tip().Height/2, 0), nil); err != nil {
				t.Fatal(err)
			}
			if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err == nil {
				t.Error("the merge succeeds")
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			disk := vfs.NewMem()
			rottenChain(t, disk)
			var told atomic.Int64
			o := testOptions(t, disk)
			o.MaxBlockEntries = 500
			o.Met = func() { told.Add(1) }
			s := openStore(t, o)
			if s.ScrubDue() {
				t.Fatal("a scrub is due before anything was met")
			}
			meet(t, s)
			if told.Load() == 0 || !s.ScrubDue() {
				t.Fatal("no scrub is due")
			}
			b := &scrubber{t: t, s: s}
			b.round()
			if len(b.recorded) == 0 || s.ScrubDue() {
				t.Errorf("after a scrub: recorded %v, due %t", b.recorded, s.ScrubDue())
			}
			closeStore(t, s)
			s = openStore(t, o)
			meet(t, s)
			if s.ScrubDue() {
				t.Errorf("what is known makes a scrub due: %+v", s.due.due)
			}
			closeStore(t, s)
		})
	}
}

// A table that is damaged where the start merely reads past is met then.
func TestDamageThatAStartMeetsMakesAScrubDue(t *testing.T) {
	disk := vfs.NewMem()
	closeStore(t, scrubStore(t, disk, 6000, 100))
	s := openStore(t, testOptions(t, disk)) // the end moves on to another table
	stage(t, s, testEntries(0, 5))
	seal(t, s)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	met := 0
	for _, name := range tables(t, disk) {
		for at := 40; at < fileSize(t, disk, name); at += 24 << 10 {
			fs := vfs.NewMem()
			if ok, err := vfs.Clone(disk, fs, "chain", "chain"); err != nil || !ok {
				t.Fatal(ok, err)
			}
			flip(t, fs, name, at)
			var log bytes.Buffer
			o := testOptions(t, fs)
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s, err := Open("chain", o)
			if err != nil {
				t.Fatal(err)
			}
			if r := s.Info().Recovered; strings.Contains(log.String(), "failed to read a table of the store") && !r.Lost() {
				met++
				known, err := s.Damages() // a table beside the blocks is mended at once
				if err != nil {
					t.Fatal(err)
				}
				if !s.ScrubDue() && len(known) == 0 {
					t.Errorf("%s at %d: no scrub is due", name, at)
				}
			}
			closeStore(t, s)
		}
	}
	if met == 0 {
		t.Error("no start met any")
	}
}
