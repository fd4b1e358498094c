package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"edgechain.example/lightchain/store/salvage"
)

// rotten is a chain whose disk is going to rot: what it held before, as an outsider noted it.
type rotten struct {
	t        *testing.T
	fs       *vfs.MemFS
	signer   int               // of the key in force
	hashes   []lightchain.Hash // of the headers
	entries  []string          // sources and payloads, by number
	receipts map[uint64]bool   // heights
}

// newRotten makes a chain with tables of several generations, a log, receipts and a change of key, and kills its program.
func newRotten(t *testing.T) *rotten {
	t.Helper()
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	o.Fatal = func(error) {}
	r := &rotten{t: t, signer: 2, receipts: map[uint64]bool{}}
	s := marked(t, o, 30, 12)
	receipt := func(height uint64) {
		h, err := s.Header(height)
		if err != nil {
			t.Fatal(err)
		}
		c, err := h.Countersign(testSigner(t, 10), "north", 1700000000+height)
		if err == nil {
			err = s.PutReceipt(height, c, func() uint64 { return 0 })
		}
		if err != nil {
			t.Fatal(err)
		}
		r.receipts[height] = true
	}
	receipt(5)
	s.db.Flush()
	grow(t, s, 10)
	receipt(20)
	s.db.Flush()
	if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	grow(t, s, 10)
	s.db.Flush()
	grow(t, s, 10)
	stage(t, s, testEntries(7000, 4))
	for height := range s.Tip().Height + 1 {
		h, err := s.Header(height)
		if err != nil {
			t.Fatal(err)
		}
		r.hashes = append(r.hashes, h.Hash())
	}
	for e, err := range s.Entries(0, s.Next()) {
		if err != nil {
			t.Fatal(err)
		}
		r.entries = append(r.entries, noted(&e.Entry))
	}
	r.fs = fs // killed, it leaves what it has written
	r.fs = r.copy().(*vfs.MemFS)
	s.Close()
	return r
}

func noted(e *lightchain.Entry) string { return fmt.Sprint(e.Received, e.Source, string(e.Payload)) }

// copy returns the disk as it was.
func (r *rotten) copy() vfs.FS {
	fs := vfs.NewMem()
	if ok, err := vfs.Clone(r.fs, fs, "chain", "chain"); err != nil || !ok {
		r.t.Fatal(ok, err)
	}
	return fs
}

// files returns all files of the chain's folder, relative to it.
func (r *rotten) files() (files []string) {
	var walk func(dir string)
	walk = func(dir string) {
		names, err := r.fs.List(dir)
		if err != nil {
			r.t.Fatal(err)
		}
		slices.Sort(names)
		for _, name := range names {
			path := r.fs.PathJoin(dir, name)
			info, err := r.fs.Stat(path)
			if err != nil {
				r.t.Fatal(err)
			}
			if info.IsDir() {
				walk(path)
			} else if name != "LOCK" {
				files = append(files, strings.TrimPrefix(path, "chain/"))
			}
		}
	}
	walk("chain")
	return files
}

// judge starts a program on a disk that has rotted. It must start by itself; what was acknowledged is there, or is told
// of; and no height is signed twice.
func (r *rotten) judge(what string, fs vfs.FS) {
	t := r.t
	t.Helper()
	o := testOptions(t, fs)
	o.Signer, o.Rand = testSigner(t, r.signer), &counter{1 << 40}
	s, err := Open("chain", o)
	if err != nil {
		t.Errorf("%s: it does not start: %v", what, err)
		return
	}
	defer s.Close()
	if err := s.ConfirmHead(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	newest := uint64(len(r.hashes) - 1)
	for height := range s.Tip().Height + 1 {
		h, err := s.HeaderAt(height)
		if err != nil || height > newest {
			continue
		}
		b, err := h.Append(nil)
		if err != nil || lightchain.LeafHash(b) != r.hashes[height] {
			t.Errorf("%s: header %d is another one", what, height)
		}
	}
	if height := s.Tip().Height; height < newest {
		t.Errorf("%s: the chain goes on above height %d: header %d would be signed twice", what, height, height+1)
	}

	// Entries may have got other numbers; each must be there, or its loss be told of.
	left := map[string]int{}
	for e, err := range s.Entries(0, s.Next()) {
		if err == nil {
			left[noted(&e.Entry)]++
		}
	}
	missing := uint64(0)
	for _, e := range r.entries {
		if left[e]--; left[e] < 0 {
			missing++
		}
	}
	told := uint64(0)
	for _, g := range s.Info().Recovered.Gaps {
		told += g.Count
	}
	all, err := s.Damages()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	for _, d := range all {
		told += d.Count
	}
	for _, err := range s.Entries(0, s.Next()) {
		var d *DamageError
		if errors.As(err, &d) {
			told += d.Count
		}
	}
	if missing > told {
		t.Errorf("%s: %d acknowledged entries are missing, of %d it is told", what, missing, told)
	}
	entries := testEntries(9000, 3)
	stage(t, s, entries)
	if _, err := s.Seal(SealParams{Sealed: 1800000000e9}); err != nil {
		t.Errorf("%s: it does not seal: %v", what, err)
	}
}

// Each file of the chain's folder is lost, emptied, cut off, zeroed and changed, one after the other.
func TestNoFileCostsMoreThanItHolds(t *testing.T) {
	if testing.Short() {
		newRotten(t).rotEachFile(8191, 251)
		return
	}
	newRotten(t).rotEachFile(1021, 17)
}

// TestSoakNoFileCostsMoreThanItHolds changes each 16th byte, and each one of the record of files.
func TestSoakNoFileCostsMoreThanItHolds(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("SOAK is not set: `make soak` runs it")
	}
	newRotten(t).rotEachFile(16, 1)
}

// rotEachFile changes one byte of so many of each file, and one of others in the database's record of its files.
func (r *rotten) rotEachFile(step, stepOfRecord int) {
	t := r.t
	r.judge("nothing at all", r.copy())
	for _, file := range r.files() {
		path := "chain/" + file
		b, err := salvage.ReadFile(r.fs, path)
		if err != nil {
			t.Fatal(err)
		}
		change := func(what string, changed []byte) {
			fs := r.copy()
			overwrite(t, fs, path, changed)
			r.judge(file+" "+what, fs)
		}
		fs := r.copy()
		if err := fs.Remove(path); err != nil {
			t.Fatal(err)
		}
		r.judge(file+" is gone", fs)
		fs = r.copy()
		if err := errors.Join(fs.Remove(path), fs.MkdirAll(path, 0o700)); err != nil {
			t.Fatal(err)
		}
		r.judge(file+" is a folder", fs)
		if len(b) == 0 {
			continue
		}
		size := min(len(b), len(bytes.TrimRight(b, "\x00"))+64) // a log has zeros where nothing was written yet
		change("is empty", nil)
		for _, n := range []int{1, size / 3, size / 2, size - 1, len(b) - 1} {
			change(fmt.Sprintf("is cut off at %d of %d", n, len(b)), b[:n])
		}
		for at := 0; at < size; at += 4096 {
			zeroed := slices.Clone(b)
			clear(zeroed[at:min(len(b), at+4096)])
			change(fmt.Sprintf("is zeroed from %d on", at), zeroed)
		}
		every := step
		if strings.Contains(file, "MANIFEST") {
			every = stepOfRecord
		}
		for at := every / 2; at < size; at += every {
			flipped := slices.Clone(b)
			flipped[at] ^= 1 << (at % 8)
			change(fmt.Sprintf("has another byte at %d of %d", at, len(b)), flipped)
		}
	}
}

// The whole database is lost, or all that stands beside it.
func TestTheChainSurvivesTheLossOfAFolder(t *testing.T) {
	r := newRotten(t)
	for _, lost := range [][]string{{"data-1"}, {slotNames[0], slotNames[1], keysName}} {
		fs := r.copy()
		for _, name := range lost {
			if err := fs.RemoveAll("chain/" + name); err != nil {
				t.Fatal(err)
			}
		}
		r.judge(fmt.Sprint(lost, " are gone"), fs)
	}
	for _, stray := range []string{"data-2", "data-x", "data-2.new", "lost+found"} {
		fs := r.copy()
		if err := fs.MkdirAll("chain/"+stray, 0o700); err != nil {
			t.Fatal(err)
		}
		r.judge("an empty folder "+stray, fs)
		fs = r.copy()
		overwrite(t, fs, "chain/"+stray, []byte("stray"))
		r.judge("a file "+stray, fs)
	}
	for _, marker := range []string{"marker.manifest.000099.MANIFEST-000099", "marker.manifest.x.MANIFEST-000001", "marker.manifest"} {
		fs := r.copy()
		overwrite(t, fs, "chain/data-1/"+marker, nil)
		r.judge("another marker "+marker, fs)
	}
}

// What Pebble removes while it opens is there until the chain was found whole: a start that fails after it costs no file.
func TestAStartThatFailsRemovesNothing(t *testing.T) {
	r := newRotten(t)
	before := r.files()
	gone := func(fs vfs.FS) (names []string) {
		for _, file := range before {
			if slices.Contains(slotNames[:], file) {
				continue
			}
			// A file whose name was used again has another one.
			kept := fs.PathJoin("chain", fs.PathDir(file), salvage.KeptPrefix+fs.PathBase(file))
			_, err := fs.Stat("chain/" + file)
			_, keptErr := fs.Stat(kept)
			if err != nil && keptErr != nil {
				names = append(names, file)
			}
		}
		return names
	}
	failed := errors.New("refused")
	for _, c := range []struct {
		what  string
		fails func(o *Options) // nil: it succeeds
	}{
		{"told to end while it looks for the chain's end", func(o *Options) {
			o.Opening = func(step string, _, _ uint64) error {
				if step == "looking for the chain's end" {
					return failed
				}
				return nil
			}
		}},
		{"that makes the head mark anew, which the disk refuses", func(o *Options) {
			for _, name := range slotNames {
				if err := o.FS.Remove("chain/" + name); err != nil {
					t.Fatal(err)
				}
			}
			o.FS = errorfs.Wrap(o.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && slices.Contains(slotNames[:], vfs.Default.PathBase(op.Path)) {
					return failed
				}
				return nil
			}))
		}},
		{"that succeeds", nil},
	} {
		fs := r.copy()
		o := testOptions(t, fs)
		o.Signer, o.Rand = testSigner(t, r.signer), &counter{1 << 40}
		if c.fails != nil {
			o.Fatal = func(error) {}
			c.fails(&o)
		}
		s, err := Open("chain", o)
		if err == nil {
			closeStore(t, s)
		}
		names := gone(fs)
		switch {
		case c.fails == nil && err != nil:
			t.Errorf("a start %s: %v", c.what, err)
		case c.fails == nil && len(names) == 0:
			t.Error("nothing is there that a start removes: the others claim nothing")
		case c.fails != nil && !errors.Is(err, failed):
			t.Errorf("a start %s: %v", c.what, err)
		case c.fails != nil && len(names) > 0:
			t.Errorf("a start %s: %q are gone, of %d files", c.what, names, len(before))
		}
	}
}

func overwrite(t testing.TB, fs vfs.FS, path string, b []byte) {
	t.Helper()
	_ = fs.RemoveAll(path)
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	// A copy: under the race detector Pebble's file system overwrites what it was given.
	if _, err := f.Write(slices.Clone(b)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Each block of a table is read by itself, with its index or without.
func TestAnUnreadableBlockCostsItselfAlone(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := newStore(t, o)
	const blocks, each = 200, 60
	for i := range blocks {
		stage(t, s, testEntries(each*i, each))
		seal(t, s)
	}
	if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	levels, err := s.db.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	size := uint64(0)
	for _, l := range levels {
		for _, table := range l {
			if table.Smallest.UserKey[0] == spaceBlocks && table.Size > size {
				name, size = table.BackingSSTNum.String()+".sst", table.Size
			}
		}
	}
	closeStore(t, s)
	path := "chain/data-1/" + name
	b, err := salvage.ReadFile(fs, path)
	if err != nil {
		t.Fatal(err)
	}
	whole := pairsIn(t, fs, path)
	if len(whole) < blocks {
		t.Fatalf("%d pairs in a table of %d bytes", len(whole), len(b))
	}
	table, err := salvage.OpenTable(fs, path, isKey, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	layout, err := table.Layout()
	if err != nil {
		t.Fatal(err)
	}
	table.Close()
	for i, d := range layout.Data {
		changed := slices.Clone(b)
		changed[d.Offset+d.Length/2] ^= 1
		overwrite(t, fs, path, changed)
		if got := pairsIn(t, fs, path); len(got) >= len(whole) || len(got) < len(whole)*(len(layout.Data)-2)/len(layout.Data) {
			t.Errorf("block %d of %d damaged: %d pairs of %d are left", i, len(layout.Data), len(got), len(whole))
		}
	}
	last := layout.Data[len(layout.Data)-1]
	for at := int(last.Offset+last.Length) + salvage.BlockTrailer; at < len(b); at += 7 {
		changed := slices.Clone(b)
		changed[at] ^= 0x40
		overwrite(t, fs, path, changed)
		if got := pairsIn(t, fs, path); !slices.Equal(got, whole) {
			t.Errorf("byte %d of %d, behind the data: %d pairs of %d are left", at, len(b), len(got), len(whole))
		}
		overwrite(t, fs, path, changed[:at])
		if got := pairsIn(t, fs, path); !slices.Equal(got, whole) {
			t.Errorf("cut off at byte %d of %d, behind the data: %d pairs of %d are left", at, len(b), len(got), len(whole))
		}
	}
}

func pairsIn(t *testing.T, fs vfs.FS, path string) (pairs []string) {
	t.Helper()
	table, err := salvage.OpenTable(fs, path, isKey, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if err := table.Pairs(func(p salvage.Pair) error {
		if p.Kind == pebble.InternalKeyKindSet {
			pairs = append(pairs, fmt.Sprintf("%x %x", p.Key, p.Value))
		}
		return nil
	}); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return pairs
}

// Cut off while it begins, a chain can be begun there once more; whatever else is in a folder, it is not empty.
func TestAFolderIsEmptyUntilAChainHasBegun(t *testing.T) {
	for _, c := range []struct {
		names []string
		empty bool
	}{
		{nil, true}, {[]string{"LOCK"}, true}, {[]string{"LOCK", "data-1.new"}, true},
		{[]string{"data-1"}, false}, {[]string{slotNames[0]}, false}, {[]string{keysName}, false}, {[]string{asideName}, false}, {[]string{restoredName}, false}, {[]string{"LOCK", "something"}, false},
	} {
		fs := vfs.NewMem()
		o := testOptions(t, fs)
		if err := fs.MkdirAll("chain", 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range c.names {
			overwrite(t, fs, "chain/"+name, []byte("x"))
		}
		if empty, err := Empty("chain", o); err != nil || empty != c.empty {
			t.Errorf("%q: %v, %v", c.names, empty, err)
		}
		if c.empty {
			closeStore(t, newStore(t, o))
		}
	}
	if empty, err := Empty("nowhere", testOptions(t, vfs.NewMem())); err != nil || !empty {
		t.Error(empty, err)
	}
}
