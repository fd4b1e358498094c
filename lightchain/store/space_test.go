package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/build/testenv"
)

// On a disk without room for more than the reserve a chain is not recorded for long, and somebody is to know.
func TestASmallDiskIsTold(t *testing.T) {
	for _, c := range []struct {
		total, reserve, memtable uint64
		percent                  int
		small                    bool
	}{
		{40 << 20, 64 << 20, 1 << 20, 0, true},
		{79 << 20, 64 << 20, 1 << 20, 0, true},
		{80 << 20, 64 << 20, 1 << 20, 0, false},
		{8 << 20, 4 << 20, 256 << 10, 0, false},
		{7 << 20, 4 << 20, 256 << 10, 0, true},
		{100 << 20, 4 << 20, 1 << 20, 90, true},
	} {
		o := testOptions(t, vfs.NewMem())
		o.Reserve, o.ReservePercent, o.MemTableSize, o.CacheSize = int64(c.reserve), c.percent, c.memtable, 8<<20
		o.DiskUsage = func() (free, total uint64, err error) { return 1 << 20, c.total, nil }
		if why := SmallDisk("chain", o); (why != "") != c.small || c.small && !strings.Contains(why, "store.reserve") {
			t.Errorf("%+v: %q", c, why)
		}
	}
}

// Where the folder is removed under a running program, renamed, or another one put in its place, what is written goes with the program, or to where nobody
// looks for it: nothing more is acknowledged, and that is said.
func TestAFolderThatIsRemovedEndsRecording(t *testing.T) {
	writes := map[string]func(*Store) error{
		"staging": func(s *Store) error { _, err := s.Stage(testEntries(5, 5)); return err },
		"sealing": func(s *Store) error { _, err := s.Seal(SealParams{Sealed: 1}); return err },
		"pruning": func(s *Store) error { _, err := s.Prune(1, nil); return err },
	}
	for name, away := range map[string]func(string) error{
		"removed":                removeAll,
		"renamed":                func(dir string) error { return os.Rename(dir, dir+".away") },
		"removed and made again": func(dir string) error { return errors.Join(removeAll(dir), os.Mkdir(dir, 0o700)) },
		"its database removed":   func(dir string) error { return removeAll(filepath.Join(dir, "data-1")) },
		"another in its place": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o700), os.Mkdir(filepath.Join(dir, "data-1"), 0o700))
		},
	} {
		for what, write := range writes {
			t.Run(name+", "+what, func(t *testing.T) {
				o := testOptions(t, vfs.Default)
				o.AllowVolatile = true
				failed := make(chan error, 1)
				o.Fatal = func(err error) { failed <- err }
				dir := filepath.Join(t.TempDir(), "chain")
				if _, err := Create(dir, o, Genesis{Name: "press hall"}); err != nil {
					t.Fatal(err)
				}
				s, err := Open(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				stage(t, s, testEntries(0, 5))
				if err := away(dir); err != nil {
					t.Fatal(err)
				}
				if err := write(s); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "removed or renamed") {
					t.Errorf("it goes on: %v", err)
				}
				select {
				case <-failed:
				default:
					t.Error("the program is not told")
				}
			})
		}
	}
}

// removeAll removes a folder in which a store has files open, and makes more of them now and then.
func removeAll(dir string) (err error) {
	for began := time.Now(); time.Since(began) < testenv.Patience; time.Sleep(time.Millisecond) {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
	}
	return err
}
