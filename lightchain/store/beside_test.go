package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store/salvage"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The table that holds genesis is spoiled. Everything is proved as ever, and genesis is put back; what else stood in the
// table is lost or not, as before.
func TestGenesisIsHadFromBesideAndPutBack(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	next := 0
	for range 3 { // three tables of blocks
		for range 12 {
			stage(t, s, testEntries(next, 40))
			next += 40
			seal(t, s)
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	// What was deleted there stays so.
	if err := s.db.DeleteRange(blockKey(3, partSeed), headerKey(3), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	stage(t, s, testEntries(next, 5))
	closeStore(t, s)
	name := ""
	for _, path := range tables(t, disk) {
		if table, err := salvage.OpenTable(disk, path, isKey, func(error) {}); err != nil {
			t.Fatal(err)
		} else {
			_ = table.Pairs(func(p salvage.Pair) error {
				if bytes.Equal(p.Key, headerKey(0)) {
					name = path
				}
				return nil
			})
			table.Close()
		}
	}
	whole, err := salvage.ReadFile(disk, name)
	if err != nil {
		t.Fatal(err)
	}
	trust := &lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}}
	for what, at := range map[string][]int{
		"its first block": {20}, "its middle": {len(whole) / 2}, "its index": {len(whole) - 700}, "its footer": {len(whole) - 10},
		"all of it": {20, len(whole) / 4, len(whole) / 2, len(whole) - 700, len(whole) - 10},
	} {
		t.Run(what, func(t *testing.T) {
			fs := vfs.NewMem()
			if ok, err := vfs.Clone(disk, fs, "chain", "chain"); err != nil || !ok {
				t.Fatal(ok, err)
			}
			for _, at := range at {
				flip(t, fs, name, at)
			}
			var log bytes.Buffer
			o := testOptions(t, fs)
			o.Rand = &counter{1 << 40}
			r, err := OpenReader("chain", o)
			if err != nil {
				t.Fatal(err)
			}
			readable := lostNumbersOf(t, r)
			proved := func(r *Reader, number uint64) {
				t.Helper()
				p, err := r.Prove(number, 0)
				if err == nil {
					_, err = p.Verify(trust)
				}
				if err != nil {
					t.Errorf("entry %d: %v", number, err)
				}
			}
			proved(r, uint64(next)-1)
			r.Close()
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s := openStore(t, o)
			proved(&s.Reader, uint64(next)-1)
			seal(t, s)
			proved(&s.Reader, s.Next()-1)
			if sig, _, err := s.headerInDatabase(0); err != nil || sig == nil {
				t.Errorf("genesis is not put back: %v", err)
			}
			if what != "its middle" && !strings.Contains(log.String(), "failed to read a whole table") && !strings.Contains(log.String(), "the database was rebuilt") {
				t.Errorf("nothing is said:\n%s", &log)
			}
			if lost := lostNumbersOf(t, &s.Reader); len(lost) > len(readable) {
				t.Errorf("%d entries cannot be read, before it was mended %d", len(lost), len(readable))
			}
			if _, err := s.Entry(81); !errors.Is(err, ErrDamaged) && err == nil {
				t.Error("what was deleted is there again")
			}
			b := &scrubber{t: t, s: s}
			b.round()
			for _, d := range b.recorded {
				if d.Headers && d.From == 0 {
					t.Errorf("genesis is said to be lost: %+v", d)
				}
			}
			// It holds by itself now.
			closeStore(t, s)
			for _, beside := range []string{keysName, slotNames[0], slotNames[1]} {
				if err := fs.Remove("chain/" + beside); err != nil {
					t.Fatal(err)
				}
			}
			s = openStore(t, o)
			proved(&s.Reader, uint64(next)-1)
			closeStore(t, s)
		})
	}
}

// lostNumbersOf returns the numbers that cannot be read, as errors say them.
func lostNumbersOf(t *testing.T, r *Reader) map[string]bool {
	t.Helper()
	lost := map[string]bool{}
	for _, err := range r.Entries(0, r.Next()) {
		first, count := Gone(err)
		for n := first; n < first+count; n++ {
			lost[fmt.Sprint(n)] = true
		}
	}
	return lost
}
