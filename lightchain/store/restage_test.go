package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// largeEntries returns entries of some size whose payloads say which they are, and do not compress to nothing.
func largeEntries(from, n, size int) []lightchain.Entry {
	entries := make([]lightchain.Entry, n)
	for i := range entries {
		entries[i] = testEntry(from + i)
		random := rand.New(rand.NewPCG(uint64(from+i), 1))
		payload := fmt.Appendf(nil, "payload %06d ", from+i)
		for len(payload) < size {
			payload = append(payload, byte(random.Uint32()))
		}
		entries[i].Payload = payload
	}
	return entries
}

// stagedOnce fails unless the store holds, from a number on, each of the payloads once and in order.
func stagedOnce(t *testing.T, r *Reader, from uint64, want []lightchain.Entry) {
	t.Helper()
	n := 0
	for rec, err := range r.Entries(from, 1<<60) {
		if err != nil {
			t.Fatal(err)
		}
		if n == len(want) || rec.Number != from+uint64(n) || !bytes.Equal(rec.Entry.Payload, want[n].Payload) {
			t.Fatalf("entry %d is not the %d-th of %d: %.20s", rec.Number, n, len(want), rec.Entry.Payload)
		}
		n++
	}
	if n != len(want) {
		t.Fatalf("%d entries of %d", n, len(want))
	}
}

// A group, and what a held gateway has staged, may be larger than any chunk.
func TestALargeGroupIsStagedInPieces(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	group := largeEntries(0, 20, 1<<20)
	stage(t, s, group)
	chunks := 0
	scan, err := s.scanSide([]byte{spaceBlocks}, []byte{spaceBlocks + 1})
	if err != nil {
		t.Fatal(err)
	}
	for ok := scan.first(); ok; ok = scan.next() {
		if _, p, _, _ := parseBlockKey(scan.key()); p == partChunk {
			if chunks++; len(scan.value()) > 2*pieceBytes {
				t.Errorf("a chunk of %d bytes", len(scan.value()))
			}
		}
	}
	scan.close()
	if chunks < 5 {
		t.Errorf("%d chunks", chunks)
	}
	bad := largeEntries(20, 20, 1<<20)
	bad[19].Source = "\xff"
	var which *EntryError
	if _, err := s.Stage(bad); !errors.As(err, &which) || which.Index != 19 {
		t.Errorf("a group whose last entry cannot be encoded: %v", err)
	}
	stagedOnce(t, &s.Reader, 0, group)
	closeStore(t, s)
	s = openStore(t, o)
	stagedOnce(t, &s.Reader, 0, group)
	seal(t, s)
	verify(t, &s.Reader)
	closeStore(t, s)
}

// Wherever the power fails while what stands behind a gap is staged again, each entry is there once afterwards, and
// everything that is durable then stays.
func TestWhatStandsBehindAGapMovesInPieces(t *testing.T) {
	disk := vfs.NewCrashableMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	all := largeEntries(0, 40, 350<<10)
	for i := range 20 {
		if i == 2 {
			s.open.count += 2 // two numbers whose chunk is nowhere
		}
		stage(t, s, all[2*i:2*i+2])
	}
	closeStore(t, s)
	atEachWrite(t, disk, o, func(t *testing.T, s *Store, first bool) {
		got := s.Info().Recovered
		if first && (len(got.Gaps) != 1 || got.Gaps[0].First != 4 || got.Gaps[0].Count != 2 || got.Restaged != 36) {
			t.Errorf("%+v", got)
		}
		stagedOnce(t, &s.Reader, 0, all)
	}, nil)
}

// The same, while headers come back from outside below an open block that is large.
func TestALargeOpenBlockMovesInPieces(t *testing.T) {
	ahead, old := setBack(t, 7, false)
	run := runAbove(t, ahead, old.Tip().Height)
	staged := largeEntries(0, 30, 350<<10)
	before, err := old.Entry(old.Tip().Next)
	var have []lightchain.Entry
	if err == nil {
		for rec, err := range old.Entries(before.Number, 1<<60) {
			if err != nil {
				t.Fatal(err)
			}
			have = append(have, rec.Entry)
		}
	}
	for i := range 10 {
		stage(t, old, staged[3*i:3*i+3])
	}
	want := append(have, staged...)
	o := old.options
	disk, ok := o.FS.(*vfs.MemFS)
	if !ok {
		t.Fatal("not in memory")
	}
	oldTip, newTip := old.Tip(), ahead.Tip()
	closeStore(t, old)
	closeStore(t, ahead)
	atEachWrite(t, disk, o, func(t *testing.T, s *Store, _ bool) {
		switch tip := s.Tip(); {
		case tip.Height == oldTip.Height:
			stagedOnce(t, &s.Reader, oldTip.Next, want)
			if err := s.Adopt(run); err != nil {
				t.Fatal(err)
			}
			fallthrough
		case tip.Height == newTip.Height:
			stagedOnce(t, &s.Reader, newTip.Next, want)
		default:
			t.Fatalf("the tip is %d", tip.Height)
		}
	}, func(s *Store) error { return s.Adopt(run) })
}

// atEachWrite opens a store as the disk would be if the power had failed at some of the moments at which something became
// durable while it was opened before, and did what is given.
func atEachWrite(t *testing.T, disk *vfs.MemFS, o Options, check func(t *testing.T, s *Store, first bool), do func(*Store) error) {
	t.Helper()
	most := 12 // disks at once: each holds all that is staged
	if testing.Short() {
		most = 6
	}
	var cuts []*vfs.MemFS
	moments, stride := 0, 1
	whole := disk.CrashClone(vfs.CrashCloneCfg{})
	watched := &cutFS{FS: whole}
	watched.cut = func() {
		if len(cuts) == most { // every second one goes
			for i := range most / 2 {
				cuts[i] = cuts[2*i]
			}
			clear(cuts[most/2:])
			cuts, stride = cuts[:most/2], 2*stride
		}
		if moments++; moments%stride == 0 {
			cuts = append(cuts, whole.CrashClone(vfs.CrashCloneCfg{}))
		}
	}
	o.FS = watched
	o.Rand = &counter{1 << 40}
	s := openStore(t, o)
	if do == nil {
		check(t, s, true)
	} else if err := do(s); err != nil {
		t.Fatal(err)
	}
	watched.stop()
	closeStore(t, s)
	if moments < 5 {
		t.Fatalf("%d moments", moments)
	}
	for i := range cuts {
		o.FS, cuts[i] = cuts[i], nil
		o.Rand = &counter{1 << 50}
		s := openStore(t, o)
		check(t, s, false)
		seal(t, s)
		verify(t, &s.Reader)
		closeStore(t, s)
	}
}

// cutFS tells of each sync, one at a time.
type cutFS struct {
	vfs.FS
	mu  sync.Mutex
	cut func() // guarded by mu; nil: nothing is told
}

func (fs *cutFS) stop() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.cut = nil
}

func (fs *cutFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, c)
	return cutFile{f, fs}, err
}

// ReuseForWrite of the file system in memory cannot stand being cloned meanwhile.
func (fs *cutFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f, err := fs.FS.ReuseForWrite(old, name, c)
	return cutFile{f, fs}, err
}

type cutFile struct {
	vfs.File
	fs *cutFS
}

func (f cutFile) Sync() error     { return f.told(f.File.Sync()) }
func (f cutFile) SyncData() error { return f.told(f.File.SyncData()) }

func (f cutFile) told(err error) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.fs.cut != nil {
		f.fs.cut()
	}
	return err
}
