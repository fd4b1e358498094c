package pebblestore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
)

func testRecord(chain byte, decided int64) *registry.Record {
	return &registry.Record{Chain: lightchain.ChainID{chain}, Standing: registry.Approved, Decided: decided, Name: fmt.Sprint("gateway ", chain)}
}

func openTestJournal(t *testing.T, fs vfs.FS) (*journal, journalRead) {
	t.Helper()
	j, found, err := openJournal(fs, "journal")
	if err != nil {
		t.Fatal(err)
	}
	return j, found
}

// What was added is in the journal after a power cut at any later moment, while it is written anew too, and it stays small.
func TestTheJournalKeepsTheNewestOfEachChain(t *testing.T) {
	disk := vfs.NewCrashableMem()
	j, _ := openTestJournal(t, disk)
	defer func() { j.close() }()
	j.wasted = 4000
	newest := map[byte]int64{}
	for i := range int64(300) {
		chain := byte(i*i%7 + 1)
		if err := j.add(testRecord(chain, i+1)); err != nil {
			t.Fatal(err)
		}
		newest[chain] = i + 1
		if size := j.end; size > j.needed+max(j.wasted, j.needed)+1000 {
			t.Fatalf("%d bytes, of which %d are needed", size, j.needed)
		}
		for _, percent := range []int{0, 50} { // of what was not synced is kept
			crashed, found := openTestJournal(t, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(i), 1))}))
			if found.bad > 0 {
				t.Fatalf("%d bytes are damaged", found.bad)
			}
			for chain, decided := range newest {
				e, err := crashed.of(lightchain.ChainID{chain})
				if err != nil || e.record.Decided != decided {
					t.Fatalf("after %d entries chain %d is at %+v, %v, want %d", i+1, chain, e, err, decided)
				}
			}
			crashed.close()
		}
	}
}

func TestManyShareASyncOfTheJournal(t *testing.T) {
	fs := vfs.NewMem()
	j, _ := openTestJournal(t, fs)
	j.wasted = 2000
	var all sync.WaitGroup
	for chain := range byte(16) {
		all.Go(func() {
			for i := range int64(50) {
				if err := j.add(testRecord(chain, i+1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	j.close()
	j, found := openTestJournal(t, fs)
	defer j.close()
	if found.bad+found.torn > 0 || len(j.newest) != 16 {
		t.Errorf("%+v, %d chains", found, len(j.newest))
	}
	for chain := range j.newest {
		if e, err := j.of(chain); err != nil || e.record.Decided != 50 {
			t.Errorf("%v, %v", e, err)
		}
	}
}

// A damaged place costs what stands in it and nothing behind it, whatever its bytes say.
func TestADamagedPlaceOfTheJournalIsPassedOver(t *testing.T) {
	fs := vfs.NewMem()
	j, _ := openTestJournal(t, fs)
	const n = 12
	for chain := range byte(n) {
		if err := j.add(testRecord(chain, 1)); err != nil {
			t.Fatal(err)
		}
	}
	size := j.end
	whole := make([]byte, size)
	if _, err := j.file.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	j.close()
	for at := int64(0); at < size; at += 5 {
		b := bytes.Clone(whole)
		b[at] ^= 0x10
		f, err := fs.Create("journal", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		f.Close()
		j, found := openTestJournal(t, fs)
		if len(j.newest) != n-1 || found.bad == 0 && found.torn == 0 {
			t.Errorf("byte %d: %d chains, %+v", at, len(j.newest), found)
		}
		entries := 0
		if err := j.each(func(*entry) error { entries++; return nil }); err != nil || entries != n-1 {
			t.Errorf("byte %d: %d entries, %v", at, entries, err)
		}
		j.close()
	}
}

func approve(t *testing.T, s *Store, chain byte) {
	t.Helper()
	err := s.Update(t.Context(), lightchain.ChainID{chain}, func(r *registry.Record) (*registry.Change, error) {
		r.Standing, r.Decided = registry.Approved, 1
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// openTelling opens the store, whose log goes to a buffer.
func openTelling(t *testing.T, fs vfs.FS, log *bytes.Buffer) *Store {
	t.Helper()
	s, err := Open("store", Options{FS: fs, Cache: 1 << 20, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A store of a program before journals gets one, without a word; that one is gone is said, and it is made anew.
func TestAJournalIsMadeWhereThereIsNone(t *testing.T) {
	for _, before := range []bool{true, false} {
		fs := vfs.NewMem()
		var log bytes.Buffer
		open := func() *Store { return openTelling(t, fs, &log) }
		s := open()
		approve(t, s, 1)
		if before {
			b := s.db.NewBatch()
			if err := errors.Join(b.Delete([]byte{keyJournal}, nil), s.commit(b)); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(s.Close(), fs.Remove("store"+journalSuffix)); err != nil {
			t.Fatal(err)
		}
		s = open()
		if told := strings.Contains(log.String(), "is gone"); told == before || s.Opened().Journal == before {
			t.Errorf("before journals: %t, opened %+v:\n%s", before, s.Opened(), &log)
		}
		if e, err := s.journal.of(lightchain.ChainID{1}); err != nil || e.record.Standing != registry.Approved {
			t.Errorf("%v, %v", e, err)
		}
		s.Close()
		if s = open(); s.Opened().Lost() {
			t.Errorf("told again: %+v", s.Opened())
		}
		s.Close()
	}
}

// A journal in which nothing can be read is no end that a power cut left.
func TestAJournalOfOtherBytesIsTold(t *testing.T) {
	fs := vfs.NewMem()
	var log bytes.Buffer
	open := func() *Store { return openTelling(t, fs, &log) }
	s := open()
	approve(t, s, 1)
	s.Close()
	f, err := fs.Create("store"+journalSuffix, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Repeat([]byte("no journal"), 50)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s = open()
	defer s.Close()
	if !s.Opened().Journal || !strings.Contains(log.String(), "is damaged") {
		t.Errorf("%+v\n%s", s.Opened(), &log)
	}
	if e, err := s.journal.of(lightchain.ChainID{1}); err != nil || e.record.Standing != registry.Approved {
		t.Errorf("%v, %v", e, err)
	}
}

// Cut off anywhere while a damaged store is rebuilt, the next start does it.
func TestARebuildMayBeCutOff(t *testing.T) {
	damaged := func() *vfs.MemFS {
		fs := vfs.NewCrashableMem()
		s, err := Open("store", Options{FS: fs, Cache: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		approve(t, s, 1)
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
		if err := syncFolder(fs, "store"); err != nil {
			t.Fatal(err)
		}
		return fs
	}
	for k := 0; ; k++ {
		fs := damaged()
		cut := &cutFS{FS: fs, disk: fs, left: k}
		s, err := Open("store", Options{FS: cut, Cache: 1 << 20})
		if err == nil {
			s.Close()
		}
		if cut.image == nil {
			if k < 10 {
				t.Errorf("%d steps only", k)
			}
			return
		}
		s, err = Open("store", Options{FS: cut.image, Cache: 1 << 20})
		if err != nil {
			t.Fatalf("cut off at step %d: %v", k, err)
		}
		if r, err := s.Record(t.Context(), lightchain.ChainID{1}); err != nil || r.Standing != registry.Approved {
			t.Errorf("cut off at step %d: %v, %v", k, r, err)
		}
		s.Close()
	}
}

// cutFS keeps what a power cut leaves before its k-th step.
type cutFS struct {
	vfs.FS
	disk  *vfs.MemFS
	mu    sync.Mutex
	left  int
	image *vfs.MemFS
}

func (c *cutFS) step() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == -1 {
		c.image = c.disk.CrashClone(vfs.CrashCloneCfg{})
	}
}

func (c *cutFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	c.step()
	return c.FS.Create(name, category)
}

func (c *cutFS) Rename(from, to string) error {
	c.step()
	return c.FS.Rename(from, to)
}

func (c *cutFS) Remove(name string) error {
	c.step()
	return c.FS.Remove(name)
}

func (c *cutFS) OpenDir(name string) (vfs.File, error) { // to be synced
	c.step()
	return c.FS.OpenDir(name)
}
