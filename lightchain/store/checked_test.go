package store

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// tables returns the paths of the tables in a chain's folder, the largest last.
func tables(t testing.TB, fs vfs.FS) (paths []string) {
	t.Helper()
	names, err := fs.List("chain/data-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if salvage.IsTable(n) {
			paths = append(paths, fs.PathJoin("chain/data-1", n))
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return fileSize(t, fs, a) - fileSize(t, fs, b) })
	return paths
}

func fileSize(t testing.TB, fs vfs.FS, path string) int {
	t.Helper()
	info, err := fs.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Size())
}

// Wherever a table is damaged, the store opens, records, seals, and opens again; and nobody waits for Pebble to search
// the damaged block for the bit that turned, of which its words for a wrong checksum tell.
func TestADamagedBlockStopsNothingAndIsNotSearched(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	aggregator := testSigner(t, 9)
	n := 0
	for i := range 200 {
		stage(t, s, testEntries(n, 20))
		n += 20
		h := seal(t, s)
		if i%5 == 0 {
			r, err := h.Countersign(aggregator, "north", uint64(1000+i))
			if err == nil {
				err = s.PutReceipt(h.Header.Height, r, func() uint64 { return 0 })
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if i%40 == 39 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	head := s.Tip()
	run := runAbove(t, s, 0)
	closeStore(t, s)
	s = openStore(t, o) // what closing wrote is in a table now
	closeStore(t, s)

	search := func(err error) {
		if err != nil && strings.Contains(err.Error(), "mismatch") {
			t.Errorf("Pebble itself has seen a damaged block: %v", err)
		}
	}
	for i, name := range tables(t, disk) {
		size := fileSize(t, disk, name)
		step := 4 << 10
		if testing.Short() {
			if i%3 > 0 {
				continue
			}
			step = 128 << 10
		}
		for at := min(100, size/2); at < size; at += step {
			fs := cloneFolder(t, disk)
			flip(t, fs, name, at)
			o := testOptions(t, fs)
			o.Rand = &counter{1 << 40}
			s, err := Open("chain", o)
			if err != nil {
				t.Fatalf("%s at %d of %d: %v", name, at, size, err)
			}
			gone := 0
			for rec, err := range s.Entries(0, 1<<60) {
				search(err)
				if rec == nil {
					gone++
				}
			}
			_, err = s.Verify(t.Context(), nil)
			search(err)
			stage(t, s, testEntries(n, 5))
			if s.Tip().Hash != head.Hash {
				if s.Tip().Height < 150 { // where the newest table begins
					t.Errorf("%s at %d of %d: old damage takes the chain's end back to %d", name, at, size, s.Tip().Height)
				}
				if err := s.Adopt(run[s.Tip().Height:]); err != nil {
					t.Fatal(err)
				}
			} else if err := s.ConfirmHead(); err != nil {
				t.Fatal(err)
			}
			if h, err := s.Seal(SealParams{Sealed: 1}); err != nil {
				t.Errorf("%s at %d of %d: %v", name, at, size, err)
			} else if h.Header.Previous != head.Hash {
				t.Errorf("%s at %d of %d: the chain does not go on where it was", name, at, size)
			}
			search(s.merges.ask(t.Context(), func(ctx context.Context) error { return s.db.Compact(ctx, []byte{0}, []byte{0xff}, false) }))
			closeStore(t, s)
			s = openStore(t, o)
			if s.Tip().Height <= head.Height {
				t.Errorf("%s at %d of %d: opened again, it ends at %d", name, at, size, s.Tip().Height)
			}
			closeStore(t, s)
		}
	}
}

// cloneFolder copies a chain's folder to another disk.
func cloneFolder(t testing.TB, from vfs.FS) *vfs.MemFS {
	t.Helper()
	to := vfs.NewMem()
	if ok, err := vfs.Clone(from, to, "chain", "chain", vfs.CloneSync); err != nil || !ok {
		t.Fatal(ok, err)
	}
	return to
}

// A power cut leaves the log's last chunk half written. Pebble would search that, too.
func TestATornEndOfTheLogIsNotSearched(t *testing.T) {
	disk := vfs.NewCrashableMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	for i := range 20 {
		stage(t, s, testEntries(10*i, 10))
	}
	fs := disk.CrashClone(vfs.CrashCloneCfg{})
	name, _ := newest(t, fs, ".log")
	b, err := salvage.ReadFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, fs, name, len(bytes.TrimRight(b, "\x00"))-40) // what follows is zeros: a log has its size before it is written
	shown, err := salvage.UnreadableLogs("chain/data-1", fs, nil)
	if err != nil || len(shown) != 1 {
		t.Fatalf("%v, %v", shown, err)
	}
	log := shown[fs.PathBase(name)]
	if again := salvage.ReadLog(log.Encode(), salvage.LogNumber(name), nil); !log.Torn || log.Bad > 0 || again.Torn || again.Bad > 0 || len(again.Records) != len(log.Records) {
		t.Fatalf("torn %t, %d bytes lost, and of what Pebble sees: torn %t, %d bytes", log.Torn, log.Bad, again.Torn, again.Bad)
	}
	o = testOptions(t, fs)
	o.Rand = &counter{1 << 40}
	s = openStore(t, o)
	if r := s.Info().Recovered; r.Lost() || r.Entries != 190 {
		t.Errorf("%+v", r)
	}
	closeStore(t, s)
	s = openStore(t, o)
	if s.Next() != 190 {
		t.Errorf("opened again, %d entries", s.Next())
	}
	closeStore(t, s)
}
