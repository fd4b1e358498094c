package store

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// marked is a chain with a mark: blocks of three entries, the key changed after each of the heights given, and two
// entries staged above.
func marked(t testing.TB, o Options, blocks int, rotate ...uint64) *Store {
	t.Helper()
	s := newStore(t, o)
	grow(t, s, blocks, rotate...)
	stage(t, s, testEntries(3*blocks, 2))
	return s
}

// grow seals blocks of three entries.
func grow(t testing.TB, s *Store, blocks int, rotate ...uint64) {
	t.Helper()
	for range blocks {
		height := s.Tip().Height + 1
		stage(t, s, testEntries(int(s.Next()), 3))
		p := SealParams{Sealed: 1700000000e9 + int64(s.Next())*1e9, Clock: lightchain.Clock{State: lightchain.ClockSynchronised, Boot: 1}}
		for i, at := range rotate {
			if at == height {
				p.NextSigner = testSigner(t, 2+i)
			}
		}
		if _, err := s.Seal(p); err != nil {
			t.Fatal(err)
		}
	}
}

// drop deletes pairs from the database of a store that is closed, as rot would.
func drop(t testing.TB, o Options, keys ...[]byte) {
	t.Helper()
	path, _, err := current("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	o, _ = o.withDefaults()
	db, err := openPebble(path, o, newGuard(o.Fatal), nil, durable{}, nil, nil, newCompactions())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if err := db.Delete(k, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	// Rebuilt from its tables and logs, it must not find them again.
	if err := errors.Join(db.Flush(), db.Compact(t.Context(), []byte{0}, []byte{0xff}, false), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// wentOn checks a store that was opened after its database had lost its end: nothing is signed twice, and the chain goes
// on with entries that can be proved.
func wentOn(t *testing.T, s *Store, tip *lightchain.Tip, next uint64) {
	t.Helper()
	got := s.Tip()
	if got.Hash != tip.Hash || got.Next != tip.Next || got.Key != tip.Key || got.Chain != tip.Chain || got.History.Root() != tip.History.Root() {
		t.Fatalf("the tip is %+v, want %+v", got, tip)
	}
	if s.unsure {
		t.Error("headers are said to be missing")
	}
	if s.Next() != next {
		t.Errorf("the next entry is %d, want %d", s.Next(), next)
	}
	h := seal(t, s)
	if h.Header.Height != tip.Height+1 || h.Header.Previous != tip.Hash || h.Header.Count != next-tip.Next {
		t.Fatalf("%+v", h.Header)
	}
	stage(t, s, testEntries(9000, 20))
	last := seal(t, s)
	grow(t, s, 70)
	o := s.options
	o.Signer = s.signer
	closeStore(t, s)
	s = openStore(t, o)
	if r := s.Info().Recovered; r.Lost() {
		t.Errorf("the start after it tells again: %+v", r)
	}
	verify(t, &s.Reader)
	trust := &lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}}
	p, err := s.Prove(last.Header.First+7, 0)
	if err == nil {
		_, err = p.Verify(trust)
	}
	if err != nil {
		t.Fatalf("an entry that came after it: %v", err)
	}
	closeStore(t, s)
}

func damages(t *testing.T, s *Store) (lost Lost, all []Damage) {
	t.Helper()
	all, err := s.Damages()
	if err != nil {
		t.Fatal(err)
	}
	return s.lost(), all
}

func TestAChainOutlivesTheLossOfItsDatabase(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, fs vfs.FS){
		"its folder": func(t *testing.T, fs vfs.FS) { remove(t, fs, "chain/data-1") },
		"all but the mark and the keys": func(t *testing.T, fs vfs.FS) {
			remove(t, fs, "chain/data-1", "chain/acknowledged", "chain/LOCK")
		},
		"what is in its folder": func(t *testing.T, fs vfs.FS) {
			remove(t, fs, "chain/data-1")
			if err := fs.MkdirAll("chain/data-1", 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, blocks := range []int{1, 2, 7, 300} {
			for _, rotate := range [][]uint64{nil, {1}, {1, 2, 5, 190}} {
				fs := vfs.NewMem()
				o := testOptions(t, fs)
				s := marked(t, o, blocks, rotate...)
				tip := s.Tip()
				o.Signer = s.signer
				closeStore(t, s)
				lose(t, fs)
				if r, err := OpenReader("chain", o); err == nil {
					r.Close()
					t.Fatalf("%s: it is read as if nothing were", name)
				}
				o.Rand = &counter{1 << 40}
				s = openStore(t, o)
				r := s.Info().Recovered
				if b := r.SetBack; b == nil || b.Height != 0 || b.Mark != tip.Height || b.First != 0 || b.Count != tip.Next {
					t.Fatalf("%s: %+v", name, b)
				}
				lost, all := damages(t, s)
				headers := tip.Height - 1
				for _, at := range rotate {
					if at < tip.Height { // it stands beside the database
						headers--
					}
				}
				if lost.Entries != tip.Next || lost.Headers != headers || r.SetBack.Headers != headers {
					t.Errorf("%s, %d blocks: lost %+v: %+v", name, blocks, lost, all)
				}
				if noted := name == "all but the mark and the keys"; !noted && (len(r.Gaps) != 1 || r.Gaps[0].First != tip.Next || r.Gaps[0].Count != 2) {
					t.Errorf("%s: what was acknowledged and not sealed: %+v", name, r.Gaps)
				}
				wentOn(t, s, tip, tip.Next)
			}
		}
	}
}

func remove(t *testing.T, fs vfs.FS, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := fs.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
}

// The database is put back as it was, and everything beside it stays.
func TestADatabaseThatIsSetBackGoesOnAboveTheMark(t *testing.T) {
	between := func(blocks int) uint64 { // headers that are gone: the one that sets the key stands beside the database
		if blocks > 3 {
			return uint64(blocks) - 2
		}
		return uint64(blocks) - 1
	}
	for _, blocks := range []int{1, 2, 3, 64, 290} {
		disk := vfs.NewCrashableMem()
		o := testOptions(t, disk)
		s := marked(t, o, 70, 20)
		image := disk.CrashClone(vfs.CrashCloneCfg{})
		old := s.Tip()
		grow(t, s, blocks, 0, 73)
		staged := s.Next()
		stage(t, s, testEntries(4000, 4))
		tip := s.Tip()
		signer := s.signer
		closeStore(t, s)
		remove(t, disk, "chain/data-1")
		if _, err := vfs.Clone(image, disk, "chain/data-1", "chain/data-1", vfs.CloneSync); err != nil {
			t.Fatal(err)
		}
		if r, err := OpenReader("chain", o); err != nil {
			t.Fatal(err)
		} else {
			if b := r.SetBack(); b == nil || b.Headers != uint64(blocks) || b.Count != tip.Next-old.Next {
				t.Errorf("%d blocks: a reader says %+v", blocks, b)
			}
			r.Close()
		}
		o.Signer, o.Rand = signer, &counter{1 << 40}
		s = openStore(t, o)
		r := s.Info().Recovered
		if blocks == 1 {
			// Two of the three entries of the lost block had been staged when the image was made, and all of it is five.
			if r.SetBack == nil || r.SetBack.Headers != 0 || r.SetBack.Count != 5 || r.SetBack.Restaged != 2 {
				t.Errorf("%+v", r.SetBack)
			}
		} else if r.SetBack == nil || r.SetBack.Headers != between(blocks) || r.SetBack.Count != tip.Next-old.Next || r.SetBack.Restaged != 2 {
			t.Errorf("%d blocks: %+v", blocks, r.SetBack)
		}
		// Four were acknowledged above the newest block; two stand there now, which are others.
		if len(r.Gaps) != 1 || r.Gaps[0].First != staged || r.Gaps[0].Count != 4 {
			t.Errorf("%d blocks: %+v", blocks, r.Gaps)
		}
		if e, err := s.Entry(tip.Next); err != nil || !bytes.Equal(e.Entry.Payload, testEntry(210).Payload) {
			t.Errorf("%d blocks: what had been staged: %v", blocks, err)
		}
		wentOn(t, s, tip, tip.Next+2)
	}
}

// Where the newest header alone is gone and its entries are there, the mark brings it back, and nothing is lost.
func TestTheNewestHeaderComesBackFromTheMark(t *testing.T) {
	for _, blocks := range []int{1, 63, 70} {
		fs := vfs.NewMem()
		o := testOptions(t, fs)
		s := marked(t, o, blocks)
		tip := s.Tip()
		closeStore(t, s)
		drop(t, o, headerKey(tip.Height), summaryKey(tip.Height, 0), nodeKey(tip.Height, 1))
		o.Rand = &counter{1 << 40}
		s = openStore(t, o)
		r := s.Info().Recovered
		if b := r.SetBack; b == nil || b.Headers != 0 || b.Count != 0 || b.Restaged != 0 || len(r.Gaps) > 0 {
			t.Fatalf("%+v", r)
		}
		if lost, all := damages(t, s); lost != (Lost{}) {
			t.Fatalf("%+v", all)
		}
		for n := range tip.Next {
			if _, err := s.Prove(n, 0); err != nil {
				t.Fatal(err)
			}
		}
		if found := len(numbers(t, s, Query{Device: "press-01"})); found == 0 {
			t.Error("the index finds nothing")
		}
		wentOn(t, s, tip, tip.Next+2)
	}
}

func numbers(t *testing.T, s *Store, q Query) (found []uint64) {
	t.Helper()
	for m, err := range s.Find(q) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, m.Number)
	}
	return found
}

// Entries whose header is gone are staged again; those of the open block above it keep their numbers.
func TestWhatIsStillThereUnderALostHeaderIsStagedAgain(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := marked(t, o, 6)
	tip := s.Tip()
	closeStore(t, s)
	drop(t, o, headerKey(4), headerKey(5), headerKey(6))
	o.Rand = &counter{1 << 40}
	s = openStore(t, o)
	r := s.Info().Recovered
	// Block 6 is whole, 4 and 5 are not held any more, their six entries are there.
	if b := r.SetBack; b == nil || b.Headers != 2 || b.First != 9 || b.Count != 6 || b.Restaged != 6 || len(r.Gaps) > 0 {
		t.Fatalf("%+v", b)
	}
	want := []int{18, 19, 9, 10, 11, 12, 13, 14}
	for i, n := range want {
		e, err := s.Entry(tip.Next + uint64(i))
		if err != nil || !bytes.Equal(e.Entry.Payload, testEntry(n).Payload) {
			t.Fatalf("entry %d is not the one that was %d: %v", tip.Next+uint64(i), n, err)
		}
	}
	for n := uint64(9); n < 15; n++ {
		if _, err := s.Entry(n); !errors.Is(err, ErrNotHeld) {
			t.Errorf("entry %d: %v", n, err)
		}
	}
	for _, q := range []Query{{}, {Reverse: true}, {Device: "press-03"}, {Device: "nothing of that name"}, {After: 10, Before: 16}, {Before: 9}, {After: 15}} {
		told := 0
		last := uint64(0)
		for m, err := range s.Find(q) {
			if errors.Is(err, ErrNotHeld) {
				told++
				if !q.Reverse && last >= 15 || q.Reverse && last < 15 {
					t.Errorf("%+v: the gap comes behind entry %d", q, last)
				}
			} else if err != nil {
				t.Fatal(err)
			} else {
				last = m.Number
			}
		}
		if want := q.Before != 9 && q.After != 15; want != (told == 1) || told > 1 {
			t.Errorf("%+v: %d gaps are told of", q, told)
		}
	}
	if _, err := s.Prove(16, 0); err != nil {
		t.Error(err)
	}
	wentOn(t, s, tip, tip.Next+8)
}

// Each loss that the mark shows is recorded once, however often the recording is cut off.
func TestWhatTheMarkShowsIsRememberedUntilItIsRecorded(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := marked(t, o, 9)
	closeStore(t, s)
	remove(t, fs, "chain/data-1")
	o.Rand = &counter{1 << 40}
	closeStore(t, openStore(t, o)) // the program ends before it has recorded anything
	s = openStore(t, o)
	defer closeStore(t, s)
	var told []Damage
	record := func(d Damage) error {
		told = append(told, d)
		return nil
	}
	if err := s.RecordPending(record); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || told[0].First != 0 || told[0].Count != 24 || !told[0].Headers || told[1].First != 24 || told[1].Count != 3 {
		t.Fatalf("%+v", told)
	}
	if err := s.RecordPending(record); err != nil || len(told) != 2 {
		t.Fatalf("told again: %+v, %v", told, err)
	}
	if err := s.Scrub(t.Context(), ScrubOptions{Pace: func(int) error { return nil }, Record: record}); err != nil {
		t.Fatal(err)
	}
	if lost, _ := damages(t, s); lost.Entries != 27 || len(told) != 2 {
		t.Errorf("after a scrub %+v are lost, and it told of %+v", lost, told[2:])
	}
}

// The window's hashes are leaves: whoever knew one of these headers last can be shown that the chain goes on from it.
func TestHeadersThatAreGoneAreProvedWithinTheWindow(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	const blocks = 600
	s := newStore(t, o)
	grow(t, s, blocks)
	roots := map[uint64]lightchain.Hash{}
	for _, size := range []uint64{blocks - 300, blocks - 200, blocks - 50, blocks - 1, blocks} {
		edge, err := s.compactRange(size)
		if err != nil {
			t.Fatal(err)
		}
		roots[size] = edge.Root()
	}
	closeStore(t, s)
	remove(t, fs, "chain/data-1")
	s = openStore(t, o)
	defer closeStore(t, s)
	grow(t, s, 5)
	root := s.Tip().History.Root()
	for size, old := range roots {
		proof, err := s.Consistency(size, s.Tip().Height+1)
		if size < blocks-windowSize {
			if !errors.Is(err, ErrNotHeld) {
				t.Errorf("from %d headers, below the window: %v", size, err)
			}
			continue
		}
		if err == nil {
			err = lightchain.VerifyConsistency(size, s.Tip().Height+1, old, root, proof)
		}
		if err != nil {
			t.Errorf("from %d headers: %v", size, err)
		}
	}
	if _, err := s.Header(blocks - 7); !errors.Is(err, ErrNotHeld) {
		t.Error(err)
	}
}

// With the mark alone left, how a changed key came to be is lost: the chain goes on, and says that it proves no more.
func TestAMarkAloneCarriesTheChainOn(t *testing.T) {
	for _, rotate := range [][]uint64{nil, {3}, {3, 9}} {
		fs := vfs.NewMem()
		o := testOptions(t, fs)
		s := marked(t, o, 9, rotate...)
		tip := s.Tip()
		o.Signer = s.signer
		closeStore(t, s)
		remove(t, fs, "chain/data-1", "chain/keys", "chain/acknowledged", "chain/head-a")
		o.Rand = &counter{1 << 40}
		s = openStore(t, o)
		if s.Tip().Height < tip.Height-1 { // the slot that is left may be the older one
			t.Fatal(s.Tip().Height)
		}
		if !s.unsure {
			t.Error("a slot is gone with the database, and the head is said to be sure")
		}
		if err := s.ConfirmHead(); err != nil {
			t.Fatal(err)
		}
		n := s.Next()
		stage(t, s, testEntries(50, 4))
		seal(t, s)
		verify(t, &s.Reader)
		p, err := s.Prove(n, 0)
		if rotate == nil {
			if err == nil {
				_, err = p.Verify(&lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}})
			}
			if err != nil {
				t.Error(err)
			}
		} else if !errors.Is(err, ErrNotHeld) {
			t.Errorf("an entry whose key nothing explains: %v", err)
		}
		closeStore(t, s)
		s = openStore(t, o)
		verify(t, &s.Reader)
		closeStore(t, s)
	}
}

func TestASlotThatCannotBeReadIsMadeGood(t *testing.T) {
	spoil := map[string]func(t *testing.T, fs vfs.FS, name string){
		"zeroed":   func(t *testing.T, fs vfs.FS, name string) { put(t, fs, name, make([]byte, slotSize)) },
		"empty":    func(t *testing.T, fs vfs.FS, name string) { put(t, fs, name, nil) },
		"one byte": func(t *testing.T, fs vfs.FS, name string) { flip(t, fs, name, 33) },
		"gone":     func(t *testing.T, fs vfs.FS, name string) { remove(t, fs, name) },
		"a folder": func(t *testing.T, fs vfs.FS, name string) {
			remove(t, fs, name)
			if err := fs.MkdirAll(name, 0o700); err != nil {
				t.Fatal(err)
			}
		},
	}
	for what, spoil := range spoil {
		for _, names := range [][]string{{"chain/head-a"}, {"chain/head-b"}, {"chain/head-a", "chain/head-b"}, {"chain/keys"}, {"chain/acknowledged"}} {
			fs := vfs.NewMem()
			o := testOptions(t, fs)
			s := marked(t, o, 5, 2)
			tip, next := s.Tip(), s.Next()
			o.Signer = s.signer
			closeStore(t, s)
			for _, name := range names {
				spoil(t, fs, name)
			}
			var log bytes.Buffer
			o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
			s = openStore(t, o)
			if lines := strings.Count(log.String(), "\n"); lines != 1 {
				t.Errorf("%s %v: %d lines tell of it:\n%s", what, names, lines, &log)
			}
			o.Logger = nil
			r := s.Info().Recovered
			if both := len(names) == 2; both != (r.Mark != "") || both != r.Lost() || s.unsure {
				t.Errorf("%s %v: %+v", what, names, r)
			}
			if s.Tip().Hash != tip.Hash || s.Next() != next {
				t.Errorf("%s %v: the chain ends elsewhere", what, names)
			}
			found := readSlots("chain", s.options)
			if m := found.newest(); found.bad() != nil || m == nil || m.hash() != tip.Hash {
				t.Errorf("%s %v: after the start: %v", what, names, found.bad())
			}
			if keys := readKeys("chain", s.options, tip.Chain); len(keys) != 2 {
				t.Errorf("%s %v: %d headers that set the key", what, names, len(keys))
			}
			stage(t, s, testEntries(90, 1))
			if noted := readNote("chain", s.options, tip.Chain); noted.next != next+1 {
				t.Errorf("%s %v: the note says %d, want %d", what, names, noted.next, next+1)
			}
			closeStore(t, s)
			// What was mended holds when the database goes.
			remove(t, fs, "chain/data-1")
			wentOn(t, openStore(t, o), tip, tip.Next)
		}
	}
}

func put(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 0 {
		_, err = f.Write(b)
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestAMarkThatIsNotThisHistorysDoesNotCount(t *testing.T) {
	other := vfs.NewMem()
	oo := testOptions(t, other)
	oo.Rand = &counter{1 << 30}
	closeStore(t, marked(t, oo, 12))

	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := marked(t, o, 5)
	tip, next := s.Tip(), s.Next()
	closeStore(t, s)
	for _, name := range slotNames {
		b, err := salvage.ReadFile(other, "chain/"+name)
		if err != nil {
			t.Fatal(err)
		}
		put(t, fs, "chain/"+name, b)
	}
	s = openStore(t, o)
	if r := s.Info().Recovered; r.Mark == "" || r.SetBack != nil || s.Tip().Hash != tip.Hash || s.Next() != next {
		t.Fatalf("another chain's: %+v", r)
	}
	if _, err := fs.Stat("chain/aside/1/head-a"); err != nil {
		t.Error(err)
	}
	closeStore(t, s)

	// Two histories of one chain: the database goes on if it is the higher one, the mark if that is.
	for _, blocks := range []int{3, 9} {
		disk := vfs.NewCrashableMem()
		o := testOptions(t, disk)
		s := marked(t, o, 3)
		image := disk.CrashClone(vfs.CrashCloneCfg{})
		grow(t, s, 5)
		tip := s.Tip()
		closeStore(t, s)
		o.FS = image
		o.Rand = &counter{1 << 40}
		s = openStore(t, o)
		stage(t, s, testEntries(500, 1))
		grow(t, s, blocks)
		fork := s.Tip()
		closeStore(t, s)
		remove(t, disk, "chain/data-1")
		if _, err := vfs.Clone(image, disk, "chain/data-1", "chain/data-1", vfs.CloneSync); err != nil {
			t.Fatal(err)
		}
		o.FS = disk
		s = openStore(t, o)
		if r := s.Info().Recovered; r.Mark == "" || s.Tip().Height != max(tip.Height, fork.Height) {
			t.Errorf("%d blocks: at height %d, %+v", blocks, s.Tip().Height, r)
		}
		if h := seal(t, s); h.Header.Height != max(tip.Height, fork.Height)+1 {
			t.Errorf("%d blocks: sealed %d", blocks, h.Header.Height)
		}
		closeStore(t, s)
	}
}

// A program that knows no marks has recorded meanwhile.
func TestAMarkOlderThanTheDatabaseIsRenewed(t *testing.T) {
	for _, blocks := range []int{1, 2, 300} {
		fs := vfs.NewMem()
		o := testOptions(t, fs)
		s := marked(t, o, 5, 2)
		o.Signer = s.signer
		old := map[string][]byte{}
		for _, name := range append(slotNames[:], keysName) {
			b, err := salvage.ReadFile(fs, "chain/"+name)
			if err != nil {
				t.Fatal(err)
			}
			old[name] = b
		}
		grow(t, s, blocks, 0, 6)
		tip, next := s.Tip(), s.Next()
		o.Signer = s.signer
		closeStore(t, s)
		for name, b := range old {
			put(t, fs, "chain/"+name, b)
		}
		s = openStore(t, o)
		if r := s.Info().Recovered; r.Lost() || s.Tip().Hash != tip.Hash || s.Next() != next {
			t.Fatalf("%d blocks: %+v", blocks, r)
		}
		closeStore(t, s)
		remove(t, fs, "chain/data-1")
		wentOn(t, openStore(t, o), tip, tip.Next)
	}
}

// testdata/older was written by the last program whose signed headers named neither a key nor a subject: six blocks, a key
// changed by the third, two entries staged above.
func TestAStoreFromBeforeTheFormatWasFixedIsRefused(t *testing.T) {
	for about, without := range map[string][]string{
		"whole":                 nil,
		"without its marks":     {"chain/head-a", "chain/head-b"},
		"without its database":  {"chain/data-1"},
		"without a mark's twin": {"chain/head-b", "chain/data-1"},
	} {
		fs := vfs.NewMem()
		if _, err := vfs.Clone(vfs.Default, fs, "testdata/older", "chain"); err != nil {
			t.Fatal(err)
		}
		remove(t, fs, without...)
		o := testOptions(t, fs)
		o.Signer = testSigner(t, 2)
		if _, err := Open("chain", o); !errors.Is(err, ErrOlder) {
			t.Errorf("%s: %v", about, err)
		}
		if len(without) == 0 || about == "without its marks" {
			if _, err := OpenReader("chain", o); !errors.Is(err, ErrOlder) {
				t.Errorf("%s, reading: %v", about, err)
			}
		}
	}
}

// A store without marks, and without the note that it had them, gets some at its first start.
func TestAStoreWithoutMarksGetsThemAtItsFirstStart(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := newStore(t, o)
	grow(t, s, 9, 3)
	stage(t, s, testEntries(27, 3))
	closeStore(t, s)
	remove(t, fs, "chain/head-a", "chain/head-b", "chain/keys", "chain/acknowledged")
	o.Signer = testSigner(t, 2)
	drop(t, o, metaKey(metaMarked))
	r, err := OpenReader("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	if r.SetBack() != nil {
		t.Errorf("%+v", r.SetBack())
	}
	r.Close()
	s = openStore(t, o)
	if r := s.Info().Recovered; r.Lost() || r.Entries != 3 {
		t.Fatalf("%+v", r)
	}
	tip := s.Tip()
	if tip.Height != 9 || tip.Next != 27 {
		t.Fatalf("%+v", tip)
	}
	closeStore(t, s)
	if head, err := ReadHead("chain", o); err != nil || head == nil || head.Bad != nil || head.Hash != tip.Hash || head.Next != 27 {
		t.Fatalf("%+v: %v", head, err)
	}
	remove(t, fs, "chain/data-1")
	wentOn(t, openStore(t, o), tip, tip.Next)
	// From now on a mark that is gone is told of.
	remove(t, fs, "chain/head-a", "chain/head-b")
	s = openStore(t, o)
	if r := s.Info().Recovered; r.Mark == "" {
		t.Errorf("%+v", r)
	}
	closeStore(t, s)
}

// A checkpoint has the mark of its own end, also when the store goes on.
func TestACheckpointCarriesItsMark(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := marked(t, o, 9, 4)
	o.Signer = s.signer
	if err := s.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	tip := s.Tip()
	grow(t, s, 3)
	closeStore(t, s)
	files, err := Files("copy", o)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, fs, "chain/data-1")
	if left, err := Files("chain", o); err != nil || len(left) != 3 {
		t.Errorf("without a database the chain is %v: %v", left, err)
	}
	remove(t, fs, "chain")
	for _, name := range files {
		to := fs.PathJoin("chain", name)
		if err := fs.MkdirAll(fs.PathDir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := vfs.Copy(fs, fs.PathJoin("copy", name), to); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, o)
	if r := s.Info().Recovered; r.Lost() || s.Tip().Hash != tip.Hash {
		t.Fatalf("%+v", r)
	}
	closeStore(t, s)
	remove(t, fs, "chain/data-1")
	wentOn(t, openStore(t, o), tip, tip.Next)
}

func TestANewerMarkIsRefusedAndNoFolderWithAMarkIsBegunAgain(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	closeStore(t, marked(t, o, 2))
	b, err := salvage.ReadFile(fs, "chain/head-a")
	if err != nil {
		t.Fatal(err)
	}
	remove(t, fs, "chain/data-1")
	if _, err := Create("chain", o, Genesis{}); !errors.Is(err, ErrExists) {
		t.Errorf("a second chain: %v", err)
	}
	put(t, fs, "chain/head-a", newerMark(b))
	if _, err := Open("chain", o); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer mark: %v", err)
	}
	put(t, fs, "chain/head-a", nil)
	put(t, fs, "chain/head-b", nil)
	remove(t, fs, "chain/keys") // else they tell the chain
	if _, err := Open("chain", o); !errors.Is(err, ErrDamaged) {
		t.Errorf("neither database nor mark: %v", err)
	}
	remove(t, fs, "chain/head-a", "chain/head-b")
	if _, err := Open("chain", o); !errors.Is(err, ErrNoChain) {
		t.Errorf("nothing: %v", err)
	}
}

func TestABeaconNamesNoReceiptBesideEntriesThatWereStagedAgain(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := marked(t, o, 4)
	seen, err := s.Header(2)
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := seen.Countersign(testSigner(t, 10), "north", 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutReceipt(2, receipt, func() uint64 { return 0 }); err != nil { // 14 entries have arrived
		t.Fatal(err)
	}
	grow(t, s, 3)
	closeStore(t, s)
	drop(t, o, headerKey(3), headerKey(4), headerKey(5), headerKey(6))
	o.Rand = &counter{1 << 40}
	s = openStore(t, o)
	defer closeStore(t, s)
	if s.Info().Recovered.Restaged == 0 {
		t.Fatal("nothing was staged again")
	}
	if height, found := s.MarkedReceipt("north"); !found || height != 2 {
		t.Errorf("the mark says %d, %t", height, found)
	}
	if h := seal(t, s).Header; h.Beacon != nil {
		t.Error("a beacon names a receipt that came after some of its block's entries")
	}
	stage(t, s, testEntries(800, 12)) // as many as it took, at most, to be sure
	seal(t, s)
	if h := seal(t, s).Header; h.Beacon == nil {
		t.Error("the receipt is forgotten")
	}
}

func TestAStoreOnDiskGoesOnAboveItsMark(t *testing.T) {
	dir := t.TempDir() + "/chain"
	o := testOptions(t, vfs.Default)
	o.AllowVolatile, o.Reserve = true, -1
	if _, err := Create(dir, o, Genesis{}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	grow(t, s, 20)
	tip := s.Tip()
	closeStore(t, s)
	info, err := os.Stat(dir + "/head-a")
	if err != nil || info.Size() != slotSize {
		t.Fatalf("%v: %v", info, err)
	}
	if err := os.RemoveAll(dir + "/data-1"); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	if got := s.Tip(); got.Hash != tip.Hash {
		t.Errorf("%+v", got)
	}
	closeStore(t, s)
}
