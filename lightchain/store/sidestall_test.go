package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/build/testenv"
)

// A table that cannot be read keeps Pebble from merging what is written above it, and 64 flushes later it takes no more
// writes. The store replaces it before: recording goes on, whether blocks are sealed meanwhile or not, the damage is told, and
// what the store knew of itself it still knows.
func TestADamagedTableBesideTheBlocksNeverEndsWriting(t *testing.T) {
	for _, space := range allSides {
		for _, seals := range []bool{true, false} {
			name := fmt.Sprintf("%s %#x", contents(space), space)
			if !seals {
				name += ", nothing sealed"
			}
			t.Run(name, func(t *testing.T) {
				disk := vfs.NewMem()
				o := testOptions(t, disk)
				s := newStore(t, o)
				holdMerges(s)
				flushed := func(i int) error {
					if err := s.db.Set([]byte{space, 0xff}, []byte{byte(i)}, pebble.NoSync); err != nil { // a key that nobody looks for
						return err
					}
					g, err := s.Stage(testEntries(5*i, 5))
					if err != nil {
						return err
					}
					if err := g.Wait(); err != nil {
						return err
					}
					if seals {
						if _, err := s.Seal(SealParams{Sealed: 1}); err != nil {
							return err
						}
					}
					return s.db.Flush()
				}
				if err := flushed(0); err != nil {
					t.Fatal(err)
				}
				for _, path := range openTables(t, &s.Reader, space) {
					flip(t, disk, path, 6)
				}
				s.merges.open()
				done := make(chan error, 1)
				go func() {
					for i := range 100 {
						if err := flushed(1 + i); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
				select {
				case err := <-done:
					if err != nil {
						t.Fatal(err)
					}
				case <-time.After(testenv.Patience):
					t.Fatal("writing waits for ever")
				}

				damages, err := s.Damages()
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(damages, func(d Damage) bool { return d.Table != "" && d.Holds == contents(space) }) {
					t.Errorf("no damaged table is noted: %v", damages)
				}
				closeStore(t, s)
				s = openStore(t, o)
				defer closeStore(t, s)
				if info := s.Info(); info.Opens != 2 || !info.Clean || info.NewBoot {
					t.Errorf("the store has forgotten how often it was opened: %+v", info)
				}
				stage(t, s, testEntries(0, 5))
				seal(t, s)
				if _, err := s.Verify(t.Context(), nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
