package store

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"sync"
	"syscall"
	"testing"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store/salvage"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sidesChain makes a chain, which nobody has open, with something in each of the side spaces: two aggregators, a few keys,
// blocks that retention deleted, nodes of the history, a damage that a scrub found.
func sidesChain(t testing.TB, disk vfs.FS) Options {
	t.Helper()
	o := testOptions(t, disk)
	s := newStore(t, o)
	n := 0
	for i := range 400 {
		stage(t, s, testEntries(n, 3))
		n += 3
		p := SealParams{Sealed: int64(i)}
		if i%130 == 99 {
			p.NextSigner = testSigner(t, 50+i/130)
		}
		h, err := s.Seal(p)
		if err != nil {
			t.Fatal(err)
		}
		for a, name := range []string{"north", "south"} {
			if err := receipt(t, s, h.Header.Height, testSigner(t, 10+a), name, uint64(1000+i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := s.Prune(50, tells); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		s.putDamage(&Damage{From: 7, To: 7, First: 18, Count: 1, Why: "a test", Recorded: true}),
		s.putDamage(&Damage{Table: "000099.sst", Why: "a test", Recorded: true}),
	); err != nil {
		t.Fatal(err)
	}
	o.Signer = s.Signer()
	compact(t, s)
	closeStore(t, s)
	for range 2 { // the logs with what was written last go
		s = openStore(t, o)
		compact(t, s)
		closeStore(t, s)
	}
	return o
}

func receipt(t testing.TB, s *Store, height uint64, signer lightchain.Signer, name string, at uint64) error {
	t.Helper()
	h, err := s.Header(height)
	if err != nil {
		return err
	}
	r, err := h.Countersign(signer, name, at)
	if err != nil {
		return err
	}
	return s.PutReceipt(height, r, func() uint64 { return 0 })
}

// tablesOf returns the paths of a space's tables in a folder that nobody has open.
func tablesOf(t testing.TB, o Options, space byte) (paths []string) {
	t.Helper()
	r, err := OpenReader("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return openTables(t, r, space)
}

// openTables is tablesOf for a store that is open.
func openTables(t testing.TB, r *Reader, space byte) (paths []string) {
	t.Helper()
	levels, err := r.db.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range levels {
		for i := range level {
			if level[i].Smallest.UserKey[0] == space {
				paths = append(paths, r.fs.PathJoin(r.path, salvage.TableName(&level[i])))
			}
		}
	}
	return paths
}

var allSides = []byte{spaceNodes, spaceAbsent, spaceLost, spaceTables, spaceKeys, spaceReceipts, spaceReceived, spaceBeacons, spaceMeta}

// Whatever becomes of what stands beside the blocks, the chain opens, is proved, bundled, sealed, receipted and
// shortened; only a receipt itself can be lost, and it comes again.
func TestDamageBesideTheBlocksStopsNothing(t *testing.T) {
	whole := vfs.NewMem()
	sidesChain(t, whole)
	faults := []struct {
		name    string
		readers bool // may read the folder before it was opened for recording
		do      func(fs vfs.FS, path string, size int) error
	}{
		{"first block flipped", true, func(fs vfs.FS, path string, _ int) error { flip(t, fs, path, 20); return nil }},
		{"index flipped", true, func(fs vfs.FS, path string, size int) error { flip(t, fs, path, indexAt(t, fs, path)); return nil }},
		{"emptied", false, func(fs vfs.FS, path string, _ int) error { overwrite(t, fs, path, nil); return nil }},
		{"removed", false, func(fs vfs.FS, path string, _ int) error { return fs.Remove(path) }},
	}
	for i, space := range allSides {
		for j, fault := range faults {
			if testing.Short() && i%len(faults) != j { // each space once, and each fault
				continue
			}
			t.Run(fmt.Sprintf("%#x, %s, %s", space, contents(space), fault.name), func(t *testing.T) {
				fs := cloneFolder(t, whole)
				o := testOptions(t, fs)
				o.Rand = &counter{1 << 40}
				o.Signer = testSigner(t, 52)
				paths := tablesOf(t, o, space)
				if len(paths) == 0 {
					t.Fatal("no table of this space")
				}
				for _, path := range paths {
					if err := fault.do(fs, path, fileSize(t, fs, path)); err != nil {
						t.Fatal(err)
					}
				}
				if fault.readers {
					r, err := OpenReader("chain", o)
					if err != nil {
						t.Fatal(err)
					}
					goesOn(t, r)
					if err := r.Close(); err != nil {
						t.Fatal(err)
					}
				}
				s := openStore(t, o)
				if s.unsure {
					if err := s.ConfirmHead(); err != nil {
						t.Fatal(err)
					}
				}
				goesOn(t, &s.Reader)
				told(t, s) // a scrub meets what nothing else has read
				records(t, s)
				goesOn(t, &s.Reader)
				compact(t, s) // nothing that is written now is merged with what is damaged
				if rebuilt := s.Info().Recovered.Rebuilt; fault.readers && space != spaceMeta && rebuilt != "" {
					t.Errorf("the whole database was rebuilt for one table: %s", rebuilt)
				}
				closeStore(t, s)
				s = openStore(t, o)
				goesOn(t, &s.Reader)
				if fault.readers && space != spaceMeta && len(told(t, s)) == 0 {
					t.Error("nothing was told of it")
				}
				if err := s.VerifyTables(t.Context(), nil, func(d Damage) error { return &d }); err != nil {
					t.Errorf("it is still damaged: %v", err)
				}
				closeStore(t, s)
			})
		}
	}
}

// told scrubs the store and returns which damaged tables were told of.
func told(t *testing.T, s *Store) (tables []string) {
	t.Helper()
	b := &scrubber{t: t, s: s}
	b.round()
	all, err := s.allDamages()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.Table != "" && d.Table != "000099.sst" && d.Recorded {
			tables = append(tables, d.Table)
		}
	}
	return tables
}

// indexAt returns where in a table its index stands.
func indexAt(t testing.TB, fs vfs.FS, path string) int {
	t.Helper()
	table, err := openBlocks(fs, path)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	layout, err := table.Layout()
	if err != nil {
		t.Fatal(err)
	}
	if len(layout.Index) > 0 {
		return int(layout.Index[0].Offset) + 3
	}
	return int(layout.TopIndex.Offset) + 3
}

// goesOn asks a chain all that may touch what stands beside its blocks.
func goesOn(t testing.TB, r *Reader) {
	t.Helper()
	trust := &lightchain.Trust{Chains: []lightchain.ChainID{r.Chain()}}
	for _, n := range []uint64{200, 201, 600, 900, 1100} {
		p, err := r.Prove(n, 2)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Verify(trust); err != nil {
			t.Fatalf("the proof of entry %d: %v", n, err)
		}
	}
	if err := r.Bundle(t.Context(), io.Discard, 60, 350, 2, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Entry(3); !errors.Is(err, ErrPruned) {
		t.Fatalf("an entry that was deleted: %v", err)
	}
	if oldest, err := r.OldestBlock(); err != nil || oldest < 50 || oldest > 60 {
		t.Fatalf("the oldest block is %d, %v", oldest, err)
	}
	for _, name := range []string{"north", "south"} {
		if _, _, err := r.ReceiptsAround(name, 200); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := r.ReceiptedBy(name, math.MaxUint64); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.NewestReceipt(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Damages(); err != nil {
		t.Fatal(err)
	}
	if heights, err := r.KeyHeights(r.Tip().Height + 1); err != nil || !slices.Equal(heights, []uint64{0, 100, 230, 360}) {
		t.Fatalf("headers that set the key: %v, %v", heights, err)
	}
	verify(t, r)
}

// records records, seals, receipts and deletes some.
func records(t testing.TB, s *Store) {
	t.Helper()
	for i := range 3 {
		stage(t, s, testEntries(10*i, 10))
		h := seal(t, s)
		if err := receipt(t, s, h.Header.Height, testSigner(t, 10), "north", uint64(5000+i)); err != nil {
			t.Fatal(err)
		}
		if at, found, err := s.NewestReceipt("north"); err != nil || !found || at != h.Header.Height {
			t.Fatalf("the newest receipt is on %d: %v, %v", at, found, err)
		}
	}
	for _, height := range []uint64{1, 60, 200, 399} { // what was lost comes again
		if err := receipt(t, s, height, testSigner(t, 11), "south", 999+height); err != nil {
			t.Fatal(err)
		}
		if at, found, err := s.Receipted("south", height); err != nil || !found || at != height {
			t.Fatalf("the receipt on %d came again and is found on %d: %v, %v", height, at, found, err)
		}
	}
	if p, err := s.Prune(55, tells); err != nil || p.To != 55 {
		t.Fatalf("%+v, %v", p, err)
	}
}

// onRemove tells when a file of some name is removed, which it is then.
type onRemove struct {
	vfs.FS
	name string
	tell func()
}

func (fs onRemove) Remove(path string) error {
	err := fs.FS.Remove(path)
	if err == nil && fs.PathBase(path) == fs.name {
		fs.tell()
	}
	return err
}

// The power fails when a damaged table was replaced by what could be read of it, and what else the chain tells was not written anew.
func TestWhatIsLostWithATableIsWrittenAnewAfterAPowerCut(t *testing.T) {
	whole := vfs.NewMem()
	sidesChain(t, whole)
	for _, space := range []byte{spaceNodes, spaceAbsent, spaceKeys, spaceReceipts, spaceReceived} {
		t.Run(contents(space), func(t *testing.T) {
			disk := vfs.NewCrashableMem()
			if ok, err := vfs.Clone(whole, disk, "chain", "chain", vfs.CloneSync); err != nil || !ok {
				t.Fatal(ok, err)
			}
			for _, dir := range []string{"/", "chain", "chain/data-1"} {
				d, err := disk.OpenDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(d.Sync(), d.Close()); err != nil {
					t.Fatal(err)
				}
			}
			var cuts []*vfs.MemFS
			uncut := testOptions(t, disk)
			o := testOptions(t, onRemove{disk, "mend.sst", func() { cuts = append(cuts, disk.CrashClone(vfs.CrashCloneCfg{})) }})
			o.Signer = testSigner(t, 52)
			for _, path := range tablesOf(t, o, space) {
				flip(t, disk, path, 20)
			}
			s := openStore(t, o)
			goesOn(t, &s.Reader) // what no opening reads is met here
			told(t, s)
			s.mendSides()
			closeStore(t, s)
			if len(cuts) == 0 {
				t.Fatal("no table was replaced")
			}
			for _, cut := range cuts {
				o := testOptions(t, cut)
				o.Signer = testSigner(t, 52)
				closeStore(t, openStore(t, o))
				for _, space := range []byte{space, spaceReceived} { // whose entries go with their receipts
					if got, want := pairsOf(t, o, space), pairsOf(t, uncut, space); !maps.Equal(got, want) {
						t.Errorf("%s: %d pairs are there, and %d without a power cut", contents(space), len(got), len(want))
					}
				}
			}
		})
	}
}

// pairsOf returns what a chain that nobody has open holds in a space.
func pairsOf(t testing.TB, o Options, space byte) map[string]string {
	t.Helper()
	r, err := OpenReader("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	scan, err := r.scanSide([]byte{space}, []byte{space + 1})
	if err != nil {
		t.Fatal(err)
	}
	defer scan.close()
	all := map[string]string{}
	for ok := scan.first(); ok; ok = scan.next() {
		all[string(scan.key())] = string(scan.value())
	}
	return all
}

// A scan finds each pair that is not in a damaged block, from either end, whichever blocks of a table are damaged.
func TestAScanOfASideSpaceStepsOverWhatCannotBeRead(t *testing.T) {
	whole := vfs.NewMem()
	o := testOptions(t, whole)
	s := newStore(t, o)
	for i := range 1500 {
		h := seal(t, s)
		for a, name := range []string{"a", "north"} {
			if err := receipt(t, s, h.Header.Height, testSigner(t, 10+a), name, uint64(1000+i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	compact(t, s)
	closeStore(t, s)
	path := tablesOf(t, o, spaceReceipts)[0]
	table, err := openBlocks(whole, path)
	if err != nil {
		t.Fatal(err)
	}
	layout, err := table.Layout()
	if err != nil {
		t.Fatal(err)
	}
	blocks := len(layout.Data)
	if blocks < 6 {
		t.Fatalf("a table of %d blocks shows nothing", blocks)
	}
	for _, bad := range [][]int{{0}, {1}, {blocks - 1}, {0, 2}, {1, 2, 4}, {0, blocks - 2, blocks - 1}} {
		fs := cloneFolder(t, whole)
		for _, b := range bad {
			flip(t, fs, path, int(layout.Data[b].Offset)+7)
		}
		o := testOptions(t, fs)
		r, err := OpenReader("chain", o)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{} // each by itself
		for height := uint64(1); height <= 1500; height++ {
			for _, name := range []string{"a", "north"} {
				if _, err := r.get(receiptKey(height, name)); err == nil {
					want[string(receiptKey(height, name))] = true
				} else if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
			}
		}
		scan, err := r.scanSide([]byte{spaceReceipts}, []byte{spaceReceipts + 1})
		if err != nil {
			t.Fatal(err)
		}
		for i, walk := range [][2]func() bool{{scan.first, scan.next}, {scan.last, scan.prev}} {
			n := 0
			for ok := walk[0](); ok; ok = walk[1]() {
				if !want[string(scan.key())] {
					t.Fatalf("blocks %v: %x is read, and by itself not", bad, scan.key())
				}
				n++
			}
			if n != len(want) || scan.err != nil || !scan.holes {
				t.Errorf("blocks %v damaged, direction %d: %d pairs of %d are found, %v", bad, i, n, len(want), scan.err)
			}
		}
		scan.close()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}

		// What is put in the table's place has all of it, too.
		s := openStore(t, o)
		if _, _, err := s.NewestReceipt("a"); err != nil {
			t.Fatal(err)
		}
		for height := uint64(1); height <= 1500; height++ {
			if _, _, err := s.heldReceipt(height, "a"); err != nil {
				t.Fatal(err)
			}
		}
		seal(t, s)
		for k := range want {
			if _, err := s.get([]byte(k)); err != nil {
				t.Fatalf("blocks %v: %x is gone: %v", bad, k, err)
			}
		}
		for height := uint64(1); height <= 1500; height++ { // and the index names what is there, nothing else
			_, listed := s.get(receivedKey("a", height))
			if (listed == nil) != want[string(receiptKey(height, "a"))] {
				t.Fatalf("blocks %v: receipt on %d: in the index %v", bad, height, listed)
			}
		}
		closeStore(t, s)
	}
}

// What is newer than a damaged table and overlaps it is not lost with it, and writing goes on however often.
func TestAnOverlappedDamagedTableIsReplacedWithWhatIsNewer(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	block := func() {
		t.Helper()
		stage(t, s, testEntries(0, 2))
		h := seal(t, s)
		for a, name := range []string{"a", "north"} {
			if err := receipt(t, s, h.Header.Height, testSigner(t, 10+a), name, 1000+h.Header.Height); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 200 {
		block()
	}
	compact(t, s)
	closeStore(t, s)
	flip(t, disk, tablesOf(t, o, spaceReceived)[0], 30)
	s = openStore(t, o)
	for range 150 {
		block()
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if m := s.db.Metrics(); m.Levels[0].TablesCount > 100 {
		t.Errorf("%d tables wait to be merged", m.Levels[0].TablesCount)
	}
	for _, name := range []string{"a", "north"} {
		if at, _, err := s.NewestReceipt(name); err != nil || at != 350 {
			t.Errorf("the newest receipt of %s is on %d: %v", name, at, err)
		}
		for height := uint64(1); height <= 350; height++ {
			if at, found, err := s.Receipted(name, height); err != nil || !found || at != height {
				t.Fatalf("%s, header %d: found on %d, %v", name, height, at, err)
			}
		}
	}
	compact(t, s)
	closeStore(t, s)
}

// failOnce is a disk that fails one read of a file, the n-th since it was told which.
type failOnce struct {
	vfs.FS
	mu   sync.Mutex
	name string
	n    int
}

func (fs *failOnce) next(name string, n int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.name, fs.n = name, n
}

func (fs *failOnce) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil {
		return f, err
	}
	return &failOnceFile{f, fs, name}, nil
}

type failOnceFile struct {
	vfs.File
	fs   *failOnce
	name string
}

func (f *failOnceFile) ReadAt(b []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	fails := f.name == f.fs.name && f.fs.n == 0
	if f.name == f.fs.name {
		f.fs.n--
	}
	f.fs.mu.Unlock()
	if fails {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, at)
}

// Where a damaged table is replaced, another that overlaps it is read, too: nothing of that is given up because its disk fails once.
func TestAReadThatFailsOnceCostsNothing(t *testing.T) {
	whole := vfs.NewMem()
	o := testOptions(t, whole)
	s := newStore(t, o)
	countersign := func(name string, by int) {
		t.Helper()
		for height := uint64(1); height <= 200; height++ {
			if err := receipt(t, s, height, testSigner(t, by), name, 1000+height); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 200 {
		stage(t, s, testEntries(0, 2))
		seal(t, s)
	}
	countersign("a", 10)
	compact(t, s)
	old := openTables(t, &s.Reader, spaceReceipts)
	s.merges.mu.Lock()
	s.merges.resting = true // what is written next stays above
	s.merges.mu.Unlock()
	countersign("north", 11)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	tables := slices.DeleteFunc(tablesOf(t, o, spaceReceipts), func(path string) bool { return slices.Contains(old, path) })
	if len(old) != 1 || len(tables) != 1 {
		t.Fatalf("tables %v, and above them %v", old, tables)
	}
	flip(t, whole, old[0], 30)
	failed := 0
	for n := 0; n < 100; n += everyRead() {
		fs := &failOnce{FS: cloneFolder(t, whole)}
		fs.next(tables[0], n)
		s := openStore(t, testOptions(t, fs))
		for height := uint64(1); height <= 200; height++ { // some are met where they cannot be read
			_, _, _ = s.heldReceipt(height, "a")
		}
		s.mendSides()
		if fs.n < 0 {
			failed++
		}
		fs.next("", 0)
		for range 2 {
			for height := uint64(1); height <= 200; height++ {
				if _, held, err := s.heldReceipt(height, "north"); err != nil || !held {
					t.Fatalf("read %d failed: the receipt on %d is held: %t, %v", n, height, held, err)
				}
				_, _, _ = s.heldReceipt(height, "a")
			}
			s.mendSides()
		}
		if paths := openTables(t, &s.Reader, spaceReceipts); slices.Contains(paths, old[0]) {
			t.Errorf("read %d failed: the damaged table is still there", n)
		}
		closeStore(t, s)
	}
	if failed == 0 || failed*everyRead() >= 100 {
		t.Errorf("%d reads failed: it says too little", failed)
	}
}

// everyRead is how many reads are passed over to the next that fails: a short run tries some.
func everyRead() int {
	if testing.Short() {
		return 9
	}
	return 1
}

// Whichever read of what the store remembers about itself fails once, the chain opens.
func TestAReadThatFailsOnceKeepsNoChainFromOpening(t *testing.T) {
	whole := vfs.NewMem()
	o := sidesChain(t, whole)
	for _, space := range []byte{spaceMeta, spaceKeys, spaceAbsent} {
		paths := tablesOf(t, o, space)
		for n := 0; n < 30; n += everyRead() {
			fs := &failOnce{FS: cloneFolder(t, whole)}
			fs.next(paths[len(paths)-1], n)
			o := testOptions(t, fs)
			o.Signer = testSigner(t, 52)
			s := openStore(t, o)
			goesOn(t, &s.Reader)
			closeStore(t, s)
		}
	}
}

// The keys that headers tell are those of the table, wherever they changed and wherever one looks.
func TestKeysAreDerivedFromHeaders(t *testing.T) {
	for _, every := range []int{1, 2, 7, 50, 1000} {
		o := testOptions(t, vfs.NewMem())
		s := newStore(t, o)
		for i := range 150 {
			p := SealParams{Sealed: 1}
			if i%every == every-1 {
				p.NextSigner = testSigner(t, 2+i)
			}
			if _, err := s.Seal(p); err != nil {
				t.Fatal(err)
			}
		}
		tip := s.Tip().Height
		want, err := s.KeyHeights(tip + 1)
		if err != nil {
			t.Fatal(err)
		}
		var keys []lightchain.PublicKey
		for h := range tip + 2 {
			k, err := s.keyAt(h)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
		}
		for _, first := range []uint64{0, 3, 70, tip + 1} { // what was asked for first
			s.sides.keys = keyList{}
			s.distrustKeys()
			if _, err := s.keyAt(first); err != nil {
				t.Fatal(err)
			}
			for h := range tip + 2 {
				if k, err := s.keyAt(h); err != nil || k != keys[h] {
					t.Fatalf("a change every %d: the key at %d is %s, want %s: %v", every, h, k, keys[h], err)
				}
			}
			if got, err := s.KeyHeights(tip + 1); err != nil || !slices.Equal(got, want) {
				t.Fatalf("a change every %d: headers %v, want %v: %v", every, got, want, err)
			}
		}
		closeStore(t, s)
	}
}

// Where the table of keys is lost and a header that sets one, too, the chain goes on under the key that signed its end.
func TestAKeyThatNothingTellsIsTheOneThatSignedTheEnd(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	s := newStore(t, o)
	for i := range 20 {
		stage(t, s, testEntries(i, 1))
		p := SealParams{Sealed: 1}
		if i == 9 {
			p.NextSigner = testSigner(t, 2)
		}
		if _, err := s.Seal(p); err != nil {
			t.Fatal(err)
		}
	}
	batch := s.db.NewBatch()
	if err := errors.Join(batch.Delete(headerKey(10), nil), batch.DeleteRange(key(spaceKeys, 0), key(spaceKeys, 100), nil), s.guard.commit(batch)); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	o.Signer = testSigner(t, 2)
	r, err := OpenReader("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	if tip := r.Tip(); tip.Height != 20 {
		t.Errorf("a reader's tip is %d", tip.Height)
	}
	if _, err := r.Prove(3, 1); err != nil {
		t.Errorf("a proof below: %v", err)
	}
	if _, err := r.Prove(15, 1); !errors.Is(err, ErrDamaged) {
		t.Errorf("a proof above, whose key nothing tells: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, o)
	if tip := s.Tip(); tip.Height != 20 || tip.Key != o.Signer.Public() {
		t.Errorf("%+v", tip)
	}
	seal(t, s)
	closeStore(t, s)
}

// Which blocks were deleted is known although one copy of it is lost; where there never was another, bodies that are not
// there may be lost or deleted, and just that is said.
func TestWhatWasDeletedIsNeverTakenForLostNorTheReverse(t *testing.T) {
	for _, spare := range []bool{true, false} {
		disk := vfs.NewMem()
		o := sidesChain(t, disk)
		if !spare { // as a program before it left the store
			s := openStore(t, o)
			batch := s.db.NewBatch()
			if err := errors.Join(batch.DeleteRange(metaKey(metaRuns), append(metaKey(metaRuns), 1), nil), s.guard.commit(batch)); err != nil {
				t.Fatal(err)
			}
			compact(t, s)
			closeStore(t, s)
		}
		flip(t, disk, tablesOf(t, o, spaceAbsent)[0], 10)
		want := ErrPruned
		if !spare {
			want = errAbsence
		}
		r, err := OpenReader("chain", o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Entry(3); !errors.Is(err, want) {
			t.Errorf("copy %v: an entry that was deleted: %v", spare, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, o)
		if _, err := s.Entry(3); !errors.Is(err, want) {
			t.Errorf("copy %v: an entry that was deleted: %v", spare, err)
		}
		if oldest, err := s.OldestBlock(); err != nil || oldest != 50 {
			t.Errorf("copy %v: the oldest block is %d: %v", spare, oldest, err)
		}
		b := &scrubber{t: t, s: s}
		b.round()
		var lost uint64
		for _, d := range b.recorded {
			lost += d.Count
		}
		if first := uint64(49*3 - 1); spare && lost != 0 || !spare && lost != first { // one was known to be
			t.Errorf("copy %v: %d entries are said to be lost: %+v", spare, lost, b.recorded)
		}
		if _, err := s.Verify(t.Context(), nil); spare != (err == nil) {
			t.Errorf("copy %v: verify says %v", spare, err)
		}
		if p, err := s.Prune(60, tells); err != nil || p.From != 50 || p.To != 60 {
			t.Errorf("copy %v: %+v, %v", spare, p, err)
		}
		// A body that is really gone was not deleted.
		batch := s.db.NewBatch()
		if err := errors.Join(batch.DeleteRange(blockKey(100, partSeed), headerKey(100), nil), s.guard.commit(batch)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Entry(99*3 + 1); !errors.Is(err, ErrDamaged) || errors.Is(err, errAbsence) {
			t.Errorf("copy %v: an entry that was lost: %v", spare, err)
		}
		closeStore(t, s)
	}
}

// A receipt that was lost comes again, and counts from then on.
func TestAReceiptThatWasLostIsStoredAgain(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	north := testSigner(t, 10)
	for i := range 5 {
		stage(t, s, testEntries(i, 2))
		h := seal(t, s)
		if err := receipt(t, s, h.Header.Height, north, "north", uint64(1000+i)); err != nil {
			t.Fatal(err)
		}
	}
	batch := s.db.NewBatch()
	if err := errors.Join(batch.DeleteRange([]byte{spaceReceipts}, []byte{spaceReceipts + 1}, nil), s.guard.commit(batch)); err != nil {
		t.Fatal(err)
	}
	stage(t, s, testEntries(50, 2))
	if h := seal(t, s); h.Header.Beacon != nil {
		t.Error("a beacon of receipts that are not there")
	}
	stage(t, s, testEntries(60, 1))
	if err := receipt(t, s, 5, north, "north", 1004); err != nil {
		t.Fatal(err)
	}
	if at, found, err := s.NewestReceipt("north"); err != nil || !found || at != 5 {
		t.Fatalf("the newest receipt is on %d: %v, %v", at, found, err)
	}
	if h := seal(t, s); h.Header.Beacon != nil {
		t.Error("a beacon that names a receipt which came again after the block's first entry")
	}
	stage(t, s, testEntries(70, 1))
	if h := seal(t, s); h.Header.Beacon == nil {
		t.Error("no beacon although the receipt is there again")
	}
	goes, err := s.Prove(3, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := goes.Verify(&lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}}); err != nil {
		t.Fatal(err)
	}
}

// No change of key is made that would leave entries without a proof.
func TestTheKeyChangesAsOftenAsAProofBears(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	for i := range MaxKeyChanges {
		stage(t, s, testEntries(i, 1))
		if _, err := s.Seal(SealParams{Sealed: 1, NextSigner: testSigner(t, 2+i)}); err != nil {
			t.Fatal(i, err)
		}
	}
	stage(t, s, testEntries(0, 1))
	if _, err := s.Seal(SealParams{Sealed: 1, NextSigner: testSigner(t, 2+MaxKeyChanges)}); !errors.Is(err, ErrKeysSpent) {
		t.Fatalf("one more: %v", err)
	}
	seal(t, s)
	trust := &lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}}
	for _, n := range []uint64{0, 511, MaxKeyChanges - 1, MaxKeyChanges} {
		p, err := s.Prove(n, 1)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := p.Append(nil); err != nil {
			t.Fatal(n, len(b), err)
		} else if p, err = lightchain.DecodeProof(b); err != nil {
			t.Fatal(n, err)
		} else if _, err := p.Verify(trust); err != nil {
			t.Fatal(n, err)
		}
	}
}

// A receipt that does not check any more is told of, goes, and may come again; one under a key that is not given stays.
func TestAScrubChecksTheSignaturesOfReceipts(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	north := testSigner(t, 10)
	for i := range 100 {
		stage(t, s, testEntries(i, 1))
		h := seal(t, s)
		for a, name := range []string{"north", "south"} {
			if err := receipt(t, s, h.Header.Height, testSigner(t, 10+a), name, uint64(1000+i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	batch := s.db.NewBatch()
	for _, n := range []named{{40, "north"}, {60, "south"}} {
		r, held, err := s.heldReceipt(n.height, n.name)
		if err != nil || !held {
			t.Fatal(held, err)
		}
		r.Signature[3] ^= 1
		b, err := r.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		set(batch, receiptKey(n.height, n.name), b)
	}
	if err := s.guard.commit(batch); err != nil {
		t.Fatal(err)
	}
	b := &scrubber{t: t, s: s}
	o := b.options()
	o.Aggregators = []lightchain.Aggregator{{Name: "north", Key: testSigner(t, 12).Public()}, {Name: "north", Key: north.Public()}}
	trust := &lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}, Aggregators: o.Aggregators}
	proved := func() error {
		p, err := s.Prove(39, 1)
		if err == nil {
			_, err = p.Verify(trust)
		}
		return err
	}
	if proved() == nil {
		t.Fatal("the receipt checks: this shows nothing")
	}
	if err := s.Scrub(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if len(b.recorded) != 1 || b.recorded[0].From != 40 || b.recorded[0].Holds != "the receipt of north" {
		t.Errorf("%+v", b.recorded)
	}
	if err := proved(); err != nil {
		t.Error(err)
	}
	seal(t, s)
	if err := receipt(t, s, 40, north, "north", 1039); err != nil {
		t.Fatal(err)
	}
	if at, found, err := s.Receipted("north", 40); err != nil || !found || at != 40 {
		t.Errorf("it came again, and is found on %d: %v, %v", at, found, err)
	}
	b.recorded = nil
	if err := s.Scrub(t.Context(), o); err != nil || len(b.recorded) != 0 {
		t.Errorf("%+v, %v", b.recorded, err)
	}
}

// A key that came back would make a proof that leaves out the changes between look like another history: the gateway would stand
// accused of what it did not do.
func TestNoKeyComesBack(t *testing.T) {
	fs := vfs.NewMem()
	s := newStore(t, testOptions(t, fs))
	for i, next := range []int{2, 3} {
		stage(t, s, testEntries(i, 1))
		if _, err := s.Seal(SealParams{Sealed: 1, NextSigner: testSigner(t, next)}); err != nil {
			t.Fatal(err)
		}
	}
	for about, damage := range map[string]func(){"": func() {}, "a table of keys that cannot be read": s.distrustKeys} {
		damage()
		for _, former := range []int{1, 2, 3} {
			if _, err := s.Seal(SealParams{Sealed: 1, NextSigner: testSigner(t, former)}); !errors.Is(err, ErrKeyUsed) {
				t.Errorf("key %d, %s: %v", former, about, err)
			}
		}
	}
	if _, err := s.Seal(SealParams{Sealed: 1, NextSigner: testSigner(t, 4)}); err != nil {
		t.Error(err)
	}
	closeStore(t, s)
}
