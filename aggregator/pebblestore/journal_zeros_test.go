package pebblestore

import (
	"encoding/binary"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain"
)

// journalSize returns how long the file is.
func journalSize(t testing.TB, j *journal) int64 {
	t.Helper()
	info, err := j.file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// Most entries leave the file's length as it is, also after it was written anew; and the zeros are taken for nothing else.
func TestTheJournalIsLongerThanItsEntries(t *testing.T) {
	fs := vfs.NewMem()
	j, _ := openTestJournal(t, fs)
	j.wasted = 30_000
	grew, size := 0, journalSize(t, j)
	const n = 2000
	for i := range int64(n) {
		if err := j.add(testRecord(byte(i%5), i+1)); err != nil {
			t.Fatal(err)
		}
		if now := journalSize(t, j); now > size {
			grew++
			size = now
		}
		if i%50 == 0 {
			again, found := openTestJournal(t, fs)
			if found.bad+found.torn > 0 || again.end != j.end || again.needed != j.needed {
				t.Fatalf("after %d entries: %+v, its end is %d, not %d", i+1, found, again.end, j.end)
			}
			again.close()
		}
	}
	if grew > n/100 {
		t.Errorf("%d of %d entries have made the file longer", grew, n)
	}
	j.close()
}

// Of entries that were written together, and were not durable yet, a power cut keeps any: what is missing among them is no
// damage. What was durable when another one was written is.
func TestWhatWasNotDurableYetIsNoDamage(t *testing.T) {
	for _, c := range []struct {
		name    string
		durable int // entries that are, of five
		lost    int // the one that is zeros
		bad     bool
	}{
		{"the first of those under way", 2, 2, false},
		{"the last but one of those under way", 2, 3, false},
		{"one that was durable", 2, 1, true},
		{"one that was durable, of many", 4, 3, true},
		{"the only one under way", 4, 4, false},
	} {
		fs := vfs.NewMem()
		j, _ := openTestJournal(t, fs)
		var spans []span
		for i := range 5 {
			n, err := j.write(testRecord(byte(i), 1))
			if err == nil && i < c.durable {
				err = j.sync(n)
			}
			if err != nil {
				t.Fatal(err)
			}
			spans = append(spans, j.newest[lightchain.ChainID{byte(i)}])
		}
		if _, err := j.file.WriteAt(make([]byte, spans[c.lost].size), spans[c.lost].at); err != nil {
			t.Fatal(err)
		}
		j.close()
		j, found := openTestJournal(t, fs)
		if found.damaged() != c.bad || len(j.newest) != 4 {
			t.Errorf("%s: %+v, %d chains are left", c.name, found, len(j.newest))
		}
		j.close()
	}
}

// A journal of the version before is read, and goes on in this one.
func TestAJournalOfTheVersionBeforeIsRead(t *testing.T) {
	fs := vfs.NewMem()
	f, err := fs.Create("journal", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	for chain := range byte(3) {
		b, err := encodeEntry(testRecord(chain, 1), 0)
		if err != nil {
			t.Fatal(err)
		}
		before := append([]byte{}, b[:headBefore]...)
		before[3] = versionBefore
		before = append(before, b[entryHead:]...)
		binary.BigEndian.PutUint32(before[8:], entryChecksum(before[:headBefore], before[headBefore:]))
		if _, err := f.Write(before); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	j, found := openTestJournal(t, fs)
	if found.bad+found.torn > 0 || len(j.newest) != 3 {
		t.Errorf("%+v, %d chains", found, len(j.newest))
	}
	if err := j.add(testRecord(7, 2)); err != nil {
		t.Fatal(err)
	}
	j.close()
	j, found = openTestJournal(t, fs)
	defer j.close()
	if found.bad+found.torn > 0 || len(j.newest) != 4 {
		t.Errorf("%+v, %d chains", found, len(j.newest))
	}
}

// What an entry costs on a disk, with zeros ahead and in a file that grows with each: in turn, so that what else the disk does
// weighs on both, and of each the median.
func BenchmarkJournal(b *testing.B) {
	kinds := []struct {
		unit  string
		ahead int64
		j     *journal
		took  []time.Duration
	}{{unit: "grows-µs/entry"}, {unit: "zeros-µs/entry", ahead: zerosAhead}}
	for i := range kinds {
		j, _, err := openJournal(vfs.Default, filepath.Join(b.TempDir(), "journal"))
		if err != nil {
			b.Fatal(err)
		}
		defer j.close()
		j.ahead = kinds[i].ahead
		kinds[i].j = j
	}
	for i := 0; b.Loop(); i++ {
		r := testRecord(byte(i), int64(i))
		for k := range kinds {
			began := time.Now()
			if err := kinds[k].j.add(r); err != nil {
				b.Fatal(err)
			}
			kinds[k].took = append(kinds[k].took, time.Since(began))
		}
	}
	for _, k := range kinds {
		slices.Sort(k.took)
		b.ReportMetric(float64(k.took[len(k.took)/2].Microseconds()), k.unit)
	}
}
