package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// flip changes one byte of a file.
func flip(t testing.TB, fs vfs.FS, name string, at int) {
	t.Helper()
	b, err := salvage.ReadFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x40
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// newest returns the path and size of the newest file of a kind.
func newest(t testing.TB, fs vfs.FS, suffix string) (name string, size int) {
	t.Helper()
	names, err := fs.List("chain/data-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, suffix) && n > name {
			name = n
		}
	}
	name = fs.PathJoin("chain/data-1", name)
	b, err := salvage.ReadFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	return name, len(bytes.TrimRight(b, "\x00")) // a log has zeros where nothing was written yet
}

// Wherever a byte of the log turns, the store opens, keeps what is whole, tells what is missing, and goes on.
func TestADamagedLogCostsItsDamagedGroupsAlone(t *testing.T) {
	disk := vfs.NewCrashableMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	const groups, each = 40, 12
	for i := range groups {
		stage(t, s, testEntries(i*each, each))
	}
	cut := disk.CrashClone(vfs.CrashCloneCfg{})
	name, size := newest(t, cut, ".log")
	steps := 41
	if testing.Short() {
		steps = 9
	}
	for at := 10; at < size-3*size/groups; at += size / steps {
		fs := disk.CrashClone(vfs.CrashCloneCfg{})
		flip(t, fs, name, at)
		if r, err := OpenReader("chain", testOptions(t, fs)); err != nil {
			t.Fatal(err)
		} else if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		o := testOptions(t, fs)
		o.Rand = &counter{1 << 40}
		s := openStore(t, o)
		got := s.Info().Recovered
		there := map[string]bool{}
		n := 0
		for rec, err := range s.Entries(0, 1<<60) {
			if err != nil {
				t.Fatal(err)
			}
			if rec.Number != uint64(n) {
				t.Fatalf("entry %d follows %d", rec.Number, n-1)
			}
			there[string(rec.Entry.Payload)] = true
			n++
		}
		missing := 0
		for i := range groups * each {
			e := testEntry(i)
			if !there[string(e.Payload)] {
				missing++
			}
		}
		if missing > 3*each { // a damaged head hides a chunk or two behind it
			t.Errorf("byte %d of %d: %d entries are missing", at, size, missing)
		}
		if missing > 0 && !got.Lost() {
			t.Errorf("byte %d of %d: %d entries are missing, and nothing is said to be lost", at, size, missing)
		}
		stage(t, s, testEntries(0, 5))
		seal(t, s)
		if sum := verify(t, &s.Reader); sum.Entries != uint64(n+5) {
			t.Fatalf("%+v, want %d entries", sum, n+5)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// At the log's end no chunk says any more what had been synced. Where the program ended and not the power, the note of the
// newest acknowledged entry does, and of sealed blocks the head mark: a damaged group costs itself, and is told of.
func TestADamagedLastButOneGroupCostsNoOther(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		t.Run(fmt.Sprintf("sealed %t", sealed), func(t *testing.T) {
			disk := vfs.NewMem()
			o := testOptions(t, disk)
			s := newStore(t, o)
			const groups, each = 4, 12
			var staged []*Staged
			for i := range groups { // none says that another one was synced
				g, err := s.Stage(testEntries(i*each, each))
				if err != nil {
					t.Fatal(err)
				}
				staged = append(staged, g)
			}
			if sealed {
				seal(t, s)
			}
			for _, g := range staged {
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			name, size := newest(t, disk, ".log")
			copied := func() vfs.FS { // as a killed program leaves it
				fs := vfs.NewMem()
				if ok, err := vfs.Clone(disk, fs, "chain", "chain"); err != nil || !ok {
					t.Fatal(ok, err)
				}
				return fs
			}
			whole, err := salvage.ReadFile(disk, name)
			if err != nil {
				t.Fatal(err)
			}
			var ends []int // of the groups' chunks
			for at := 0; at < size; {
				kind := int(whole[at+6])
				if kind == 0 {
					t.Fatalf("no chunk at %d of %d", at, size)
				}
				at += [...]int{7, 11, 19}[(kind-1)/4] + int(binary.LittleEndian.Uint16(whole[at+4:]))
				ends = append(ends, at)
			}
			if sealed {
				ends = ends[:len(ends)-1] // the header
			}
			ends = ends[len(ends)-groups-1:]
			for group := 1; group < len(ends); group++ {
				for _, at := range []int{ends[group-1] + 2, ends[group-1] + 5, (ends[group-1] + ends[group]) / 2, ends[group] - 2} {
					fs := copied()
					flip(t, fs, name, at)
					if sealed {
						if err := fs.Remove("chain/" + noteName); err != nil { // the mark alone tells
							t.Fatal(err)
						}
					}
					o := testOptions(t, fs)
					o.Rand = &counter{1 << 40}
					s := openStore(t, o)
					missing, told := lost(t, s, groups*each), uint64(0)
					for _, g := range s.Info().Recovered.Gaps {
						told += g.Count
					}
					for e, err := range s.Entries(0, s.Next()) {
						if _, n := Gone(err); e == nil {
							told += n
						}
					}
					if missing != each || told != each {
						t.Errorf("byte %d, group %d: %d entries are missing, of %d it is told", at, group, missing, told)
					}
					closeStore(t, s)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestADamagedTableDoesNotStopTheStore(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(t, disk)
	o.MaxBlockEntries = 100
	s := newStore(t, o)
	const n = 20000
	recordAll(t, s, machineTemperature(n), 10)
	compact(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all := tables(t, disk)
	largest := all[len(all)-1]
	flip(t, disk, largest, fileSize(t, disk, largest)/3)
	s = openStore(t, o)
	defer s.Close()

	// New entries are taken and sealed.
	stage(t, s, testEntries(0, 5))
	seal(t, s)

	// The damaged ones are named, and all others are there.
	lost, next := uint64(0), uint64(0)
	for rec, err := range s.Entries(0, 1<<60) {
		var damage *DamageError
		switch {
		case errors.As(err, &damage):
			if damage.First != next {
				t.Fatalf("entries from %d are said to be lost after entry %d", damage.First, next)
			}
			lost, next = lost+damage.Count, next+damage.Count
		case err != nil:
			t.Fatal(err)
		case rec.Number != next:
			t.Fatalf("entry %d follows %d", rec.Number, next-1)
		default:
			next++
		}
	}
	if lost == 0 || lost > 3000 || next != n+5 {
		t.Fatalf("%d entries are lost, the next one is %d", lost, next)
	}
	t.Logf("%d entries lost with one block of a table", lost)

	_, err := s.Verify(t.Context(), nil)
	var failed *VerifyError
	if !errors.As(err, &failed) {
		t.Fatalf("verifying a damaged chain: %v", err)
	}
	_, _, err = s.BlockOf(n / 2)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Prove(n, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Verify(&lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}}); err != nil {
		t.Fatal(err)
	}
}

// lost counts which of the entries 0 .. n−1 of the test's stream a store no longer has.
func lost(t *testing.T, s *Store, n int) (missing int) {
	t.Helper()
	there := map[string]bool{}
	for rec, err := range s.Entries(0, 1<<60) {
		if err == nil {
			there[string(rec.Entry.Payload)] = true
		} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotHeld) {
			t.Fatal(err)
		}
	}
	for i := range n {
		e := testEntry(i)
		if !there[string(e.Payload)] {
			missing++
		}
	}
	return missing
}

// A card that lied leaves tables that are empty or spoiled, often the newest ones. The store opens all the same, takes
// entries, and does not seal before it knows that nothing newer of it is about.
func TestAStoreWhoseNewestTablesAreSpoiledOpensAndDoesNotFork(t *testing.T) {
	for _, what := range []string{"newest header", "empty", "missing", "no manifest", "several"} {
		t.Run(what, func(t *testing.T) {
			disk := vfs.NewMem()
			o := testOptions(t, disk)
			s := newStore(t, o)
			holdMerges(s) // a table holds what was written between two flushes, whenever they end
			n := 0
			for range 40 {
				for range 5 {
					stage(t, s, testEntries(n, 12))
					n += 12
				}
				seal(t, s)
				if n%300 == 0 {
					if err := s.db.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			head := s.Tip()
			run := runAbove(t, s, 0)
			closeStore(t, s)
			spoil(t, o, what)
			if r, err := OpenReader("chain", Options{FS: disk}); err == nil {
				if sum, err := r.Verify(t.Context(), nil); err == nil && (r.Tip().Height < head.Height || sum.Entries < uint64(n)) {
					t.Errorf("it verifies up to %d of %d: %+v", r.Tip().Height, head.Height, sum)
				}
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}

			o.Rand = &counter{1 << 40}
			s = openStore(t, o)
			defer func() { closeStore(t, s) }()
			if got := s.Info().Recovered; !got.Lost() {
				t.Fatalf("nothing is said to be lost: %+v", got)
			}
			missing := lost(t, s, n)
			t.Logf("%d of %d entries missing, tip %d of %d, %d staged again", missing, n, s.Tip().Height, head.Height, s.Info().Recovered.Restaged)
			if missing > n/2 {
				t.Fatalf("%d of %d entries are missing", missing, n)
			}
			stage(t, s, testEntries(n, 5))
			if s.Tip().Hash != head.Hash {
				if _, err := s.Seal(SealParams{}); !errors.Is(err, ErrUnsure) {
					t.Fatalf("sealing on an old head: %v", err)
				}
				// A restart does not forget it.
				closeStore(t, s)
				s = openStore(t, o)
				if _, err := s.Seal(SealParams{}); !errors.Is(err, ErrUnsure) {
					t.Fatalf("sealing on an old head, later: %v", err)
				}
				if err := s.Adopt(run[s.Tip().Height:]); err != nil {
					t.Fatal(err)
				}
			} else if err := s.ConfirmHead(); err != nil {
				t.Fatal(err)
			}
			if h := seal(t, s); h.Header.Previous != head.Hash {
				t.Fatal("the chain does not go on where it was")
			}
			if got := lost(t, s, n+5); got > missing {
				t.Fatalf("%d entries are missing now, %d before", got, missing)
			}
			if _, err := s.Prove(s.Next()-1, 0); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// holdMerges has a store merge no tables until it is closed. One that runs ends first.
func holdMerges(s *Store) {
	s.merges.mu.Lock()
	defer s.merges.mu.Unlock()
	s.merges.opened = false
	for s.merges.running {
		s.merges.mu.Unlock()
		time.Sleep(time.Millisecond)
		s.merges.mu.Lock()
	}
}

// flipEnd flips a bit in each of the last two pieces of the table that ends highest: the newest header is in one of them.
func flipEnd(t *testing.T, o Options) {
	t.Helper()
	r, err := OpenReader("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	levels, err := r.db.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	var end []byte
	path := ""
	for _, level := range levels {
		for i := range level {
			if k := level[i].Largest.UserKey; k[0] == spaceBlocks && bytes.Compare(k, end) > 0 {
				end, path = k, r.fs.PathJoin(r.path, salvage.TableName(&level[i]))
			}
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	table, err := openBlocks(o.FS, path)
	if err != nil {
		t.Fatal(err)
	}
	layout, err := table.Layout()
	if err := errors.Join(err, table.Close()); err != nil {
		t.Fatal(err)
	}
	for _, piece := range layout.Data[max(0, len(layout.Data)-2):] {
		flip(t, o.FS, path, int(piece.Offset)+7)
	}
}

func spoil(t *testing.T, o Options, what string) {
	t.Helper()
	fs := o.FS
	empty := func(name string) {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	// The newest tables hold what closing wrote; the newest large one holds the last blocks.
	names, err := fs.List("chain/data-1")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var tables []string
	manifest := ""
	for _, n := range names {
		path := fs.PathJoin("chain/data-1", n)
		info, err := fs.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(n, ".sst") && info.Size() > 5000 {
			tables = append(tables, path)
		}
		if strings.HasPrefix(n, "MANIFEST") {
			manifest = path
		}
	}
	last := tables[len(tables)-1]
	switch what {
	case "newest header":
		flipEnd(t, o)
	case "empty":
		empty(last)
	case "missing":
		if err := fs.Remove(last); err != nil {
			t.Fatal(err)
		}
	case "no manifest":
		if err := fs.Remove(manifest); err != nil {
			t.Fatal(err)
		}
	case "several":
		empty(last)
		empty(tables[len(tables)/2])
		empty(manifest)
	}
}
