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

// spoilt are ways in which a table comes to be read no more.
var spoilt = map[string]func(t testing.TB, disk vfs.FS, path string){
	"a block": func(t testing.TB, disk vfs.FS, path string) { flip(t, disk, path, 6) },
	"its end": func(t testing.TB, disk vfs.FS, path string) { flip(t, disk, path, fileSize(t, disk, path)-20) },
	"zeroed": func(t testing.TB, disk vfs.FS, path string) {
		overwrite(t, disk, path, make([]byte, fileSize(t, disk, path)))
	},
	"cut short": func(t testing.TB, disk vfs.FS, path string) {
		overwrite(t, disk, path, make([]byte, fileSize(t, disk, path)/2))
	},
	"emptied": func(t testing.TB, disk vfs.FS, path string) { overwrite(t, disk, path, nil) },
	"removed": func(t testing.TB, disk vfs.FS, path string) {
		if err := disk.Remove(path); err != nil {
			t.Fatal(err)
		}
	},
}

// A table that cannot be read keeps Pebble from merging what is written above it, and 64 flushes later it takes no more
// writes. The store replaces it before: recording goes on, whether blocks are sealed meanwhile or not, the damage is told, and
// what the store knew of itself it still knows.
func TestADamagedTableBesideTheBlocksNeverEndsWriting(t *testing.T) {
	for _, space := range allSides {
		for how, spoil := range spoilt {
			// Which space it is decides what becomes of a block; of a whole table two of them show it.
			if how != "a block" && how != "its end" && space != spaceMeta && space != spaceReceipts {
				continue
			}
			if testing.Short() && how != "a block" {
				continue
			}
			for _, seals := range []bool{true, false} {
				name := fmt.Sprintf("%s %#x, %s", contents(space), space, how)
				if !seals {
					name += ", nothing sealed"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					neverEndsWriting(t, space, spoil, seals)
				})
			}
		}
	}
}

func neverEndsWriting(t *testing.T, space byte, spoil func(testing.TB, vfs.FS, string), seals bool) {
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
		spoil(t, disk, path)
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
}
