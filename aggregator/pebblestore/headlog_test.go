package pebblestore

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
)

// testLog returns a log over a store, whose mark is in a folder.
func testLog(t *testing.T, s *Store, dir string) *headlog.Log {
	t.Helper()
	signer, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	key, err := headlog.NewKey("agg-1.example/heads", signer)
	if err != nil {
		t.Fatal(err)
	}
	return headlog.New(headlog.Config{Store: s, Key: key, Mark: filepath.Join(dir, "mark"), Hold: filepath.Join(dir, "hold"), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
}

// wait has the head of a chain at a height wait for the log.
func wait(t *testing.T, s *Store, name string, height uint64) {
	t.Helper()
	chain := lightchain.ChainID(sha256.Sum256([]byte(name)))
	header, err := (&lightchain.Header{Chain: chain, Height: height}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), chain, func(r *registry.Record) (*registry.Change, error) {
		r.Standing = registry.Approved
		return &registry.Change{Logged: &headlog.Leaf{Chain: chain, Height: height, Header: header}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// openOn opens a store whose memory is so large that its log is not changed for a reused one: errorfs sees no operation on such.
func openOn(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open("store", Options{FS: fs, Cache: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The power fails before each operation on the disk of a turn in turn: leaves, checkpoint and what waits are there whole or as before,
// what was published is there, and the log goes on without a second root of any size.
func TestAPowerCutLeavesALogWholeOrAsItWas(t *testing.T) {
	for k := 0; ; k++ {
		disk, dir := vfs.NewCrashableMem(), t.TempDir()
		var mu sync.Mutex
		var image *vfs.MemFS
		left := -1
		var held uint64 // leaves published before the cut
		s := openOn(t, errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && left >= 0 {
				if left--; left == -1 {
					image = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(uint64(k), 1))})
				}
			}
			return nil
		})))
		l := testLog(t, s, dir)
		for i := range 300 {
			wait(t, s, fmt.Sprint("gateway ", i), 1)
		}
		if err := l.Turn(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		held = l.Standing().Head.Size
		for i := range 7 {
			wait(t, s, fmt.Sprint("gateway ", i), 2)
		}
		mu.Lock()
		left = k
		mu.Unlock()
		// Without the mark of this turn: the power failed before that was written, too.
		before := testLog(t, s, t.TempDir())
		if err := before.Turn(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		cut := image
		left = -1
		mu.Unlock()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if cut == nil {
			if k < 2 {
				t.Errorf("a turn has %d operations", k)
			}
			return
		}
		s = openOn(t, cut)
		head, err := s.LogHead(t.Context(), "agg-1.example/heads")
		waiting, waitErr := s.LogBacklog(t.Context())
		if err != nil || waitErr != nil || head == nil || head.Size != held && head.Size != held+7 || int(held+7-head.Size) != waiting {
			t.Fatalf("cut off at operation %d: the log stands at %+v, %v, and %d heads wait (%v)", k, head, err, waiting, waitErr)
		}
		l = testLog(t, s, dir)
		wait(t, s, "another gateway", 1)
		if err := l.Turn(t.Context(), true); err != nil {
			t.Fatalf("cut off at operation %d: %v", k, err)
		}
		if c, err := l.Check(t.Context()); err != nil || c.Size != held+8 {
			t.Fatalf("cut off at operation %d: %+v, %v", k, c, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A store whose record of files is gone is rebuilt with its log, and what waited for it.
func TestARebuiltStoreHasItsLog(t *testing.T) {
	fs, dir := vfs.NewMem(), t.TempDir()
	s := openOn(t, fs)
	l := testLog(t, s, dir)
	for round := range uint64(3) {
		for i := range 200 {
			wait(t, s, fmt.Sprint("gateway ", i), round+1)
		}
		if round == 2 {
			break
		}
		if err := l.Turn(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "marker.manifest") {
			if err := fs.Remove(fs.PathJoin("store", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s = openOn(t, fs)
	defer s.Close()
	if !s.Opened().Rebuilt {
		t.Fatal("it was not rebuilt")
	}
	l = testLog(t, s, dir)
	if err := l.Turn(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Check(t.Context()); err != nil || c.Size != 600 {
		t.Errorf("%+v, %v", c, err)
	}
}

// Heads that were taken into the log are gone from those that wait, and a table that a crash left behind and that still has them
// is no damage.
func TestWhatWaitedAndIsGoneIsNoDamage(t *testing.T) {
	fs, dir := vfs.NewMem(), t.TempDir()
	s := openOn(t, fs)
	l := testLog(t, s, dir)
	wait(t, s, "gateway", 1)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	left := map[string][]byte{} // tables as they are now
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			f, err := fs.Open(fs.PathJoin("store", name))
			if err != nil {
				t.Fatal(err)
			}
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, info.Size())
			if _, err := f.ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			left[name] = b
			f.Close()
		}
	}
	if err := l.Turn(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range left {
		f, err := fs.Create(fs.PathJoin("store", name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if len(left) == 0 {
		t.Fatal("there is no table")
	}
	s = openOn(t, fs)
	defer s.Close()
	if s.Opened().Lost() {
		t.Errorf("it was taken for damage: %+v", s.Opened())
	}
	if n, err := s.LogBacklog(t.Context()); n != 0 || err != nil {
		t.Errorf("%d heads wait (%v)", n, err)
	}
}
