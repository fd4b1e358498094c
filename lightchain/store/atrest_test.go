package store

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// folderChain makes a chain on disk with a sealed block and staged entries, closed.
func folderChain(t *testing.T) (dir string, o Options) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "chain")
	o = testOptions(t, vfs.Default)
	o.AllowVolatile, o.Reserve = true, -1
	if _, err := Create(dir, o, Genesis{}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	stage(t, s, testEntries(0, 30))
	seal(t, s)
	stage(t, s, testEntries(30, 3))
	closeStore(t, s)
	return dir, o
}

func TestACopyAtRestIsReadWhileTheChainGoesOn(t *testing.T) {
	dir, o := folderChain(t)
	copies := t.TempDir()
	first, second := filepath.Join(copies, "first"), filepath.Join(copies, "second")
	if err := errors.Join(CopyAtRest(dir, first, Options{}), CopyAtRest(dir, second, Options{})); err != nil {
		t.Fatal(err)
	}
	var readers []*Reader
	for _, copied := range []string{first, second} {
		r, err := OpenReader(copied, Options{})
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	stage(t, s, testEntries(33, 20))
	seal(t, s)
	if err := CopyAtRest(dir, filepath.Join(copies, "third"), Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a chain that is recorded on is copied: %v", err)
	}
	for _, r := range readers {
		if sum := verify(t, r); sum.Entries != 30 || sum.Open != 3 {
			t.Errorf("%+v", sum)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	closeStore(t, s)
	if err := CopyAtRest(copies, filepath.Join(copies, "none"), Options{}); !errors.Is(err, ErrNoChain) {
		t.Error(err)
	}
}

// In one process as between two: readers share the lock, and one who records, or must be alone, has it alone.
func TestReadersShareTheLock(t *testing.T) {
	dir, o := folderChain(t)
	read := func() *Reader {
		t.Helper()
		r, err := OpenReader(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	locked := func(when string) {
		t.Helper()
		if _, err := Open(dir, o); !errors.Is(err, ErrLocked) {
			t.Errorf("%s a store opens for recording: %v", when, err)
		}
		if _, err := OpenReader(dir, Options{MustLock: true}); !errors.Is(err, ErrLocked) {
			t.Errorf("%s a reader is alone: %v", when, err)
		}
	}
	a, b := read(), read()
	locked("beside two readers")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	locked("beside one reader")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	alone, err := OpenReader(dir, Options{MustLock: true})
	if err != nil {
		t.Fatal(err)
	}
	locked("beside one who must be alone")
	if _, err := OpenReader(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("beside one who must be alone another reads: %v", err)
	}
	if err := alone.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	locked("beside the recording")
	closeStore(t, s)
}

// Told to end in the middle of a rebuild, a store begins it again at its next opening, and has lost nothing.
func TestARebuildThatIsToldToEndEnds(t *testing.T) {
	disk := vfs.NewCrashableMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	for i := range 5 {
		stage(t, s, testEntries(i*40, 40))
		seal(t, s)
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	names, err := disk.List("chain/data-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "MANIFEST-") {
			if err := disk.Remove("chain/data-1/" + name); err != nil {
				t.Fatal(err)
			}
		}
	}
	rebuilds := 0 // that were ended
	for end := 1; ; end++ {
		if end > 1000 {
			t.Fatal("it never opens")
		}
		steps := 0
		o.Opening = func(step string, done, total uint64) error {
			if done > total || step == "" {
				t.Errorf("%s: %d of %d", step, done, total)
			}
			if steps++; steps != end {
				return nil
			}
			if strings.HasPrefix(step, "rebuilding") {
				rebuilds++
			}
			return context.Canceled
		}
		s, err := Open("chain", o)
		if errors.Is(err, context.Canceled) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if sum := verify(t, &s.Reader); sum.Entries != 200 {
			t.Errorf("%+v", sum)
		}
		closeStore(t, s)
		break
	}
	if rebuilds < 5 {
		t.Errorf("a rebuild of some tables could be ended at %d places", rebuilds)
	}
}
