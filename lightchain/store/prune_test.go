package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// tells is the entry that announces a deletion in these tests.
func tells(p Pruned) lightchain.Entry {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return lightchain.Entry{Source: "agent:prune", Flags: lightchain.ByAgent, Payload: text}
}

// pruneBelow deletes all blocks below a height and returns the steps in which that was done.
func pruneBelow(t testing.TB, s *Store, below uint64) (steps []Pruned) {
	t.Helper()
	for {
		p, err := s.Prune(below, tells)
		if err != nil {
			t.Fatal(err)
		}
		if p.To == 0 {
			return steps
		}
		steps = append(steps, p)
	}
}

func TestPrunedEntriesAreGoneAndTheChainStaysWhole(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	const blocks, each = 300, 7
	for i := range blocks {
		stage(t, s, testEntries(i*each, each))
		seal(t, s)
	}
	kept, err := s.Prove(3*each, 0)
	if err != nil {
		t.Fatal(err)
	}
	next, told := uint64(0), uint64(0)
	for _, below := range []uint64{1, 5, 5, 130, 201} {
		for _, p := range pruneBelow(t, s, below) {
			if p.First != next || p.To != below || p.Next != (below-1)*each {
				t.Fatalf("below %d: %+v", below, p)
			}
			next = p.Next
			told++
		}
	}
	if s.Next() != blocks*each+told {
		t.Fatalf("the next entry is %d after %d deletions", s.Next(), told)
	}
	check := func() {
		t.Helper()
		if sum := verify(t, &s.Reader); sum.Absent != 200 || sum.Entries != 100*each || sum.Open != told {
			t.Fatalf("%+v", sum)
		}
		if number, height, err := s.Oldest(); err != nil || number != 200*each || height != 201 {
			t.Fatalf("oldest %d in block %d: %v", number, height, err)
		}
		if height, err := s.OldestBlock(); err != nil || height != 201 {
			t.Fatalf("oldest block %d: %v", height, err)
		}
		if _, err := s.Entry(3 * each); !errors.Is(err, ErrPruned) {
			t.Fatal(err)
		}
		if _, err := s.Prove(3*each, 0); !errors.Is(err, ErrPruned) {
			t.Fatal(err)
		}
		if _, err := s.Prove(205*each, 0); err != nil {
			t.Fatal(err)
		}
		for m, err := range s.Find(Query{Device: "press-02", Limit: 1}) {
			if err != nil || m.Number < 200*each {
				t.Fatal(m.Record, err)
			}
		}
	}
	check()
	if _, err := kept.Verify(&lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}}); err != nil {
		t.Fatal(err)
	}
	compact(t, s)
	o := s.options
	closeStore(t, s)
	s = openStore(t, o)
	check()
	if _, found, _ := s.absentAt(1); !found {
		t.Fatal("the run is lost")
	}
	for n := uint64(1); n < 300; n += 20 { // a scrub in pieces
		if _, err := s.VerifyRange(t.Context(), n, n+20, nil); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
}

func TestBlocksWithoutEntriesGoWithoutAWord(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	for range 5 {
		seal(t, s)
	}
	if steps := pruneBelow(t, s, 4); len(steps) != 1 || steps[0].To != 4 || s.Next() != 0 {
		t.Fatalf("%+v, and the next entry is %d", steps, s.Next())
	}
	if height, err := s.OldestBlock(); err != nil || height != 4 {
		t.Fatalf("oldest block %d: %v", height, err)
	}
}

func TestTheNewestBlockMayGoAndWhatIsNotSealedStays(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	stage(t, s, testEntries(0, 3))
	seal(t, s)
	stage(t, s, testEntries(3, 2))
	if steps := pruneBelow(t, s, 1<<40); len(steps) != 1 || steps[0].Next != 3 {
		t.Fatalf("%+v", steps)
	}
	if number, height, err := s.Oldest(); err != nil || number != 3 || height != 2 {
		t.Fatalf("oldest %d in block %d: %v", number, height, err)
	}
	seal(t, s)
	if sum := verify(t, &s.Reader); sum.Entries != 3 || sum.Absent != 1 {
		t.Fatalf("%+v", sum)
	}
}

// A full disk is what retention is for: it works below the reserve, where nothing is staged any more.
func TestPruningGoesOnWhereStagingStops(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	var free atomic.Uint64
	free.Store(1 << 30)
	o.Reserve = 1 << 20
	o.DiskUsage = func() (uint64, uint64, error) { return free.Load(), 1 << 30, nil }
	s := newStore(t, o)
	defer closeStore(t, s)
	stage(t, s, testEntries(0, 3))
	seal(t, s)
	free.Store(1 << 19)
	if _, err := s.Stage(testEntries(3, 1)); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if steps := pruneBelow(t, s, 2); len(steps) != 1 {
		t.Fatalf("%+v", steps)
	}
	free.Store(1 << 17)
	if _, err := s.Prune(2, tells); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
}

func TestAFullBlockRefusesTheEntryAndDeletesNothing(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	o.MaxBlockEntries = 3
	s := newStore(t, o)
	defer closeStore(t, s)
	for i := range 2 {
		stage(t, s, testEntries(3*i, 3))
		if i == 0 {
			seal(t, s)
		}
	}
	if _, err := s.Prune(2, tells); !errors.Is(err, ErrBlockFull) {
		t.Fatal(err)
	}
	if _, err := s.Entry(0); err != nil {
		t.Fatal(err)
	}
	seal(t, s)
	if steps := pruneBelow(t, s, 2); len(steps) != 1 {
		t.Fatalf("%+v", steps)
	}
}

// pruner is a run of the store that deletes as it goes on.
func pruner(o Options, rng *rand.Rand) {
	if _, err := Create("chain", o, Genesis{}); err != nil {
		return
	}
	s, err := Open("chain", o)
	if err != nil {
		return
	}
	for step := range 80 {
		switch {
		case step%3 == 2:
			if _, err := s.Seal(SealParams{Sealed: int64(step)}); err != nil {
				return
			}
		case step%7 == 6:
			if _, err := s.Prune(s.tip.Height-min(s.tip.Height, 4), tells); err != nil {
				return
			}
		case step%20 == 19:
			if err := s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false); err != nil {
				return
			}
		default:
			g, err := s.Stage(testEntries(100*step, 1+rng.IntN(30)))
			if err != nil || g.Wait() != nil {
				return
			}
		}
	}
	s.Close()
}

// checkPruned holds what a power cut left against its own words: each entry is there, or an agent:prune entry says
// that it went; and each that such an entry names is gone. It returns how many deletions there were.
func checkPruned(t *testing.T, o Options, disk *vfs.MemFS) (told int) {
	t.Helper()
	o.FS, o.Rand = disk, &counter{1 << 40}
	s, err := Open("chain", o)
	if errors.Is(err, ErrNoChain) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	var goneUntil, toldUntil uint64
	for number := range s.Next() {
		rec, err := s.Entry(number)
		if errors.Is(err, ErrPruned) {
			if goneUntil != number {
				t.Fatalf("entry %d is gone, entry %d is not", number, goneUntil)
			}
			goneUntil = number + 1
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if rec.Entry.Source == "agent:prune" {
			var p Pruned
			if err := json.Unmarshal(rec.Entry.Payload, &p); err != nil {
				t.Fatal(err)
			}
			toldUntil = max(toldUntil, p.Next)
			told++
		}
	}
	if goneUntil != toldUntil {
		t.Fatalf("entries below %d are gone, the chain says those below %d", goneUntil, toldUntil)
	}
	verify(t, &s.Reader)
	closeStore(t, s)
	return told
}

func TestAPowerCutLeavesNoDeletionWithoutItsEntryAndNoEntryWithoutItsDeletion(t *testing.T) {
	every := 6
	if testing.Short() {
		every = 60
	}
	told := 0
	for seed := range uint64(3) {
		disk := vfs.NewCrashableMem()
		pick := rand.New(rand.NewPCG(seed, 1))
		var crashes []*vfs.MemFS
		var ops atomic.Int64
		clone := make(chan struct{}, 1) // held by who takes a copy
		fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && ops.Add(1)%int64(every) == 0 {
				clone <- struct{}{}
				crashes = append(crashes, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[seed], RNG: pick}))
				<-clone
			}
			return nil
		}))
		o := testOptions(t, fs)
		o.MemTableSize = 64 << 10
		pruner(o, rand.New(rand.NewPCG(seed, 0)))
		clone <- struct{}{}
		t.Logf("seed %d: %d crashes", seed, len(crashes))
		for _, c := range crashes {
			told += checkPruned(t, o, c)
		}
	}
	if told == 0 {
		t.Fatal("no crash came after a deletion")
	}
}

// The write that carries the deletion may fail, and be on disk all the same.
func TestAFailedDeletionIsWholeOrNotAtAllWhetherItPersistedOrNot(t *testing.T) {
	failure := errors.New("the card said no")
	step := int32(17)
	if testing.Short() {
		step = 97
	}
	for _, percent := range []int{0, 100} {
		for k := int32(20); k < 320; k += step {
			disk := vfs.NewCrashableMem()
			var count atomic.Int32
			var on atomic.Bool // not while opening, where Pebble panics on a goroutine of its own
			fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				switch op.Kind {
				case errorfs.OpFileSync, errorfs.OpFileWrite, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
					if count.Add(1) > k && on.Load() {
						return failure
					}
				}
				return nil
			}))
			o := testOptions(t, fs)
			if _, err := Create("chain", o, Genesis{}); err != nil {
				t.Fatal(err)
			}
			fatal := make(chan struct{})
			o.Fatal = func(error) {
				close(fatal)
				runtime.Goexit()
			}
			s := openStore(t, o)
			on.Store(true)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range 60 {
					g, err := s.Stage(testEntries(10*i, 10))
					if err != nil || g.Wait() != nil {
						return
					}
					if _, err := s.Seal(SealParams{}); err != nil {
						return
					}
					if _, err := s.Prune(uint64(i), tells); err != nil {
						return
					}
				}
			}()
			select {
			case <-done:
			case <-fatal: // the program would exit now
			}
			checkPruned(t, testOptions(t, nil), disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))}))
		}
	}
}

// sealRandom seals blocks of 20 entries whose payloads no compression makes smaller.
func sealRandom(t *testing.T, s *Store, blocks int) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1})
	for i := range blocks {
		entries := testEntries(20*i, 20)
		for j := range entries {
			entries[j].Payload = make([]byte, 2000)
			random.Read(entries[j].Payload)
		}
		stage(t, s, entries)
		seal(t, s)
	}
}

// awaitMerged waits until what the writing of the chain has left to be merged is merged: it is no cost of a deletion.
func awaitMerged(s *Store) {
	for m := s.db.Metrics(); m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0 || m.Levels[0].Sublevels >= 2; m = s.db.Metrics() {
		time.Sleep(time.Millisecond)
	}
}

// What the deletion of many megabytes writes is in proportion to what stays among them, not to the chain.
func TestTheSpaceOfPrunedBlocksComesBackAtABoundedCost(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs a chain larger than what one compaction takes along")
	}
	o := testOptions(t, vfs.NewMem())
	o.Rand = nil
	s := newStore(t, o)
	defer closeStore(t, s)
	sealRandom(t, s, 1600)
	awaitMerged(s)
	before := s.Stats()
	pruned := uint64(0)
	for below := uint64(200); below <= 800; below += 200 {
		size, err := s.BlockBytes(below-200, below)
		if err != nil {
			t.Fatal(err)
		}
		pruned += size
		from, err := s.OldestBlock()
		if err != nil {
			t.Fatal(err)
		}
		pruneBelow(t, s, below)
		stage(t, s, testEntries(int(below), 1)) // the tail moves on in the same memtable
		if err := s.Reclaim(t.Context(), from, below); err != nil {
			t.Fatal(err)
		}
	}
	after := s.Stats()
	if want := uint64(799 * 20 * 2000); pruned < want || pruned > want*5/4 {
		t.Errorf("blocks with %d bytes of payload are said to take up %d", want, pruned)
	}
	if freed := int64(before.LiveBytes) - int64(after.LiveBytes); freed < int64(pruned)*9/10 {
		t.Errorf("%d of %d bytes came back", freed, pruned)
	}
	if written := after.TableBytes - before.TableBytes; written > pruned/2 {
		t.Errorf("deleting %d bytes wrote %d", pruned, written)
	}
	left, err := s.BlockBytes(0, 800)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes pruned, %d written, %d left of the 800 blocks", pruned, after.TableBytes-before.TableBytes, left)
	if left > pruned/20 {
		t.Errorf("%d bytes of %d are left", left, pruned)
	}
	verify(t, &s.Reader)
}

// On a small disk that is full there is no room to write the chain anew for the space of its oldest part.
func TestTheSpaceOfASmallChainsOldestBlocksComesBackWithoutWritingTheOthers(t *testing.T) {
	for _, memtable := range []uint64{256 << 10, 1 << 20} {
		// Pebble merges by itself, too, and now and then amid a deletion. One that writes the others does so each time.
		var wrote string
		for range 4 {
			if wrote = writtenByDeletions(t, memtable); wrote == "" {
				break
			}
		}
		if wrote != "" {
			t.Errorf("memtables of %d KiB, four times of four: %s", memtable>>10, wrote)
		}
	}
}

// writtenByDeletions makes a small chain, deletes its oldest blocks bit by bit, and says where that wrote more than the memtables
// and what lies next to the deleted; "" if nowhere.
func writtenByDeletions(t *testing.T, memtable uint64) (more string) {
	t.Helper()
	o := testOptions(t, vfs.NewMem())
	o.Rand, o.MemTableSize, o.CacheSize = nil, memtable, int64(4*memtable)
	s := newStore(t, o)
	defer closeStore(t, s)
	sealRandom(t, s, 350)
	for below := uint64(20); below <= 200; below += 20 {
		awaitMerged(s)
		before := s.Stats()
		from, err := s.OldestBlock()
		if err != nil {
			t.Fatal(err)
		}
		pruneBelow(t, s, below)
		stage(t, s, testEntries(int(below), 1))
		if err := s.Reclaim(t.Context(), from, below); err != nil {
			t.Fatal(err)
		}
		after := s.Stats()
		if written := after.TableBytes - before.TableBytes; written > 3*memtable+1<<20 {
			more = fmt.Sprintf("below block %d: %d KiB were written, of %d that are held", below, written>>10, after.LiveBytes>>10)
		}
	}
	verify(t, &s.Reader)
	return more
}

func TestTheOldestEntryIsFoundBehindHeartbeats(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	if _, _, err := s.Oldest(); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	want := func(number, height uint64) {
		t.Helper()
		if n, h, err := s.Oldest(); err != nil || n != number || h != height {
			t.Fatalf("oldest %d in block %d, %v; want %d in block %d", n, h, err, number, height)
		}
	}
	stage(t, s, testEntries(0, 2))
	want(0, 1)
	seal(t, s)
	for range 20 {
		seal(t, s)
	}
	stage(t, s, testEntries(2, 2))
	seal(t, s)
	want(0, 1)
	pruneBelow(t, s, 5)
	want(2, 22)
	pruneBelow(t, s, 23)
	want(4, 23) // the first of the entries that tell of it, not sealed yet
	for range 3 {
		seal(t, s)
	}
	want(4, 23)
}

// Pebble cannot compact over a damaged table: its space stays, and nothing else does.
func TestDamageAmongWhatIsPrunedStopsNothing(t *testing.T) {
	disk := vfs.NewMem()
	rottenChain(t, disk)
	s := openStore(t, testOptions(t, disk))
	below := s.Tip().Height + 1
	pruneBelow(t, s, below)
	if err := s.Reclaim(t.Context(), 1, below); err != nil && !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	for i := range 50 {
		stage(t, s, testEntries(10_000+100*i, 100))
		seal(t, s)
	}
	oldest, height, err := s.Oldest()
	if err != nil || height < below {
		t.Fatalf("oldest %d in block %d: %v", oldest, height, err)
	}
	for number := oldest; number < s.Next(); number++ {
		if _, err := s.Entry(number); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
}
