package pebblestore

import (
	"bytes"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// A record of files that is cut off names too few tables. Wherever it is cut, what only they hold is not forgotten, though the
// journal knows nothing of it; and the start after that finds a whole store.
func TestWhatATableHoldsOutlivesARecordOfFilesThatDoesNotNameIt(t *testing.T) {
	const kind, name, promised = "test", "kept", "promised"
	disk := vfs.NewMem()
	var log bytes.Buffer
	s := openTelling(t, disk, &log)
	if err := s.UpdateDocument(t.Context(), kind, name, func([]byte) ([]byte, error) { return []byte(promised), nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	approve(t, s, 1) // and this stands in the next one, so that nothing is lacking that the journal knows
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := disk.List("store")
	if err != nil {
		t.Fatal(err)
	}
	// A log whose pairs stand in tables is kept to be written over.
	logs := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !salvage.IsLog(name) })
	slices.Sort(logs)
	for _, old := range logs[:len(logs)-1] {
		if err := disk.Remove(disk.PathJoin("store", old)); err != nil {
			t.Fatal(err)
		}
	}
	record := disk.PathJoin("store", salvage.Marked(salvage.Markers(names)[0]))
	whole, err := salvage.ReadFile(disk, record)
	if err != nil {
		t.Fatal(err)
	}
	rebuilt := 0
	for n := len(whole) - 1; n > 0; n -= 3 {
		fs := vfs.NewMem()
		for _, path := range []string{"store", "store" + journalSuffix} {
			if ok, err := vfs.Clone(disk, fs, path, path); err != nil || !ok {
				t.Fatal(ok, err)
			}
		}
		f, err := fs.Create(record, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(bytes.Clone(whole[:n])); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		s := openTelling(t, fs, &log)
		if s.Opened().Rebuilt {
			rebuilt++
		}
		if all, err := s.Documents(t.Context(), kind); err != nil || string(all[name]) != promised {
			t.Errorf("cut off at %d of %d: %v, %v\n%s", n, len(whole), all, err, &log)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s = openTelling(t, fs, &log); s.Opened().Lost() {
			t.Errorf("cut off at %d of %d: told again at the next start: %+v", n, len(whole), s.Opened())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if rebuilt == 0 {
		t.Error("nothing was cut off that counts")
	}
	t.Logf("%d times it was rebuilt", rebuilt)
}
