package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// scrubber runs rounds as fast as they go and gathers what is to be recorded.
type scrubber struct {
	t        *testing.T
	s        *Store
	recorded []Damage
	read     int
	now      time.Time
}

func (b *scrubber) options() ScrubOptions {
	return ScrubOptions{
		Pace:   func(read int) error { b.read += read; b.now = b.now.Add(time.Second); return nil },
		Record: func(d Damage) error { b.recorded = append(b.recorded, d); return nil },
		Now:    func() time.Time { return b.now },
	}
}

func (b *scrubber) round() *ScrubRound {
	b.t.Helper()
	if err := b.s.Scrub(b.t.Context(), b.options()); err != nil {
		b.t.Fatal(err)
	}
	return b.s.Scrubbing().Last
}

// lostNumbers returns which entries reading does not give.
func lostNumbers(t *testing.T, s *Store) map[uint64]bool {
	t.Helper()
	there := map[uint64]bool{}
	for rec, err := range s.Entries(0, math.MaxUint64) {
		if err == nil {
			there[rec.Number] = true
		} else if !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	}
	lost := map[uint64]bool{}
	for n := range s.Next() {
		if !there[n] {
			lost[n] = true
		}
	}
	return lost
}

func scrubStore(t *testing.T, disk vfs.FS, entries, group int) *Store {
	t.Helper()
	o := testOptions(t, disk)
	o.MaxBlockEntries = 500
	s := newStore(t, o)
	recordAll(t, s, machineTemperature(entries), group)
	compact(t, s)
	closeStore(t, s)
	return openStore(t, o)
}

// rottenChain makes a chain, which nobody has open, with damage in the middle of its newest table.
func rottenChain(t *testing.T, disk *vfs.MemFS) {
	t.Helper()
	closeStore(t, scrubStore(t, disk, 6000, 100))
	all := tables(t, disk)
	flip(t, disk, all[len(all)-1], 30_000)
}

func TestASoundStoreIsScrubbedWithoutAWord(t *testing.T) {
	disk := vfs.NewMem()
	s := scrubStore(t, disk, 20000, 100)
	defer closeStore(t, s)
	b := &scrubber{t: t, s: s}
	round := b.round()
	if len(b.recorded) > 0 || round.Lost > 0 || round.Mended > 0 || round.Ended.IsZero() {
		t.Fatalf("%+v, recorded %v", round, b.recorded)
	}
	if size := s.Stats().DiskBytes; round.Bytes < size/2 || round.Bytes > 2*size {
		t.Errorf("%d bytes read of a store of %d", round.Bytes, size)
	}
	if round.Height != s.Tip().Height+1 {
		t.Errorf("the round ends at height %d of %d", round.Height, s.Tip().Height)
	}
}

// Whatever block of whatever table is damaged, a scrub tells exactly the numbers that reading misses, once.
func TestAScrubTellsOfEachLossOnceWithItsNumbers(t *testing.T) {
	disk := vfs.NewMem()
	s := scrubStore(t, disk, 6000, 20)
	closeStore(t, s)
	for _, name := range tables(t, disk) {
		size := fileSize(t, disk, name)
		step := 7 << 10
		if testing.Short() {
			step = 60 << 10
		}
		for at := 50; at < size-61; at += step {
			t.Run(fmt.Sprintf("%s at %d", name, at), func(t *testing.T) {
				fs := cloneFolder(t, disk)
				flip(t, fs, name, at)
				o := testOptions(t, fs)
				o.Rand = &counter{1 << 40}
				s := openStore(t, o)
				if s.Info().Recovered.Rebuilt != "" {
					return // opening it repaired it, and said so
				}
				mended, err := s.Damages()
				if err != nil {
					t.Fatal(err)
				}
				want := lostNumbers(t, s)
				b := &scrubber{t: t, s: s}
				round := b.round()
				got := map[uint64]bool{}
				for _, d := range b.recorded {
					for n := d.First; n < d.First+d.Count; n++ {
						if got[n] {
							t.Errorf("entry %d is told of twice", n)
						}
						got[n] = true
					}
				}
				for n := range want {
					if !got[n] {
						t.Fatalf("entry %d is lost, and not among %+v", n, b.recorded)
					}
				}
				if len(got) != len(want) || round.Lost != uint64(len(want)) || len(b.recorded) == 0 {
					t.Errorf("%d entries are lost, the round tells of %d: %+v", len(want), len(got), b.recorded)
				}
				if stats := s.Stats(); stats.Lost.Entries != uint64(len(want)) || (stats.Lost == Lost{}) && len(mended) == 0 {
					t.Errorf("%+v", stats)
				}
				told := len(b.recorded)
				if round := b.round(); len(b.recorded) != told || round.Lost != 0 {
					t.Errorf("the second round tells of %+v", b.recorded[told:])
				}
				closeStore(t, s)
				s = openStore(t, o)
				b.s = s
				if round := b.round(); len(b.recorded) != told || round.Lost != 0 {
					t.Errorf("after a restart the third round tells of %+v", b.recorded[told:])
				}
				stage(t, s, testEntries(0, 5))
				seal(t, s)
				closeStore(t, s)
			})
		}
	}
}

// A power cut between remembering a damage and recording it is made up for, and one afterwards records nothing twice.
func TestADamageThatWasNotRecordedIsRecordedAtTheNextStart(t *testing.T) {
	disk := vfs.NewCrashableMem()
	rottenChain(t, disk)
	o := testOptions(t, disk)
	s := openStore(t, o)
	b := &scrubber{t: t, s: s}
	cut := errors.New("the power fails")
	var after *vfs.MemFS
	options := b.options()
	options.Record = func(d Damage) error {
		after = disk.CrashClone(vfs.CrashCloneCfg{})
		return cut
	}
	if err := s.Scrub(t.Context(), options); !errors.Is(err, cut) {
		t.Fatal(err)
	}
	closeStore(t, s)

	o = testOptions(t, after)
	o.Rand = &counter{1 << 40}
	b.s = openStore(t, o)
	b.round()
	lost := uint64(0)
	for _, d := range b.recorded {
		lost += d.Count
	}
	if lost == 0 || b.s.Stats().Lost.Entries != lost {
		t.Fatalf("recorded %+v, known %+v", b.recorded, b.s.Stats())
	}
	told := len(b.recorded)
	b.round()
	if len(b.recorded) != told {
		t.Fatalf("recorded again: %+v", b.recorded[told:])
	}
	closeStore(t, b.s)
}

func TestARoundGoesOnWhereItWasCutOff(t *testing.T) {
	disk := vfs.NewMem()
	s := scrubStore(t, disk, 100_000, 500)
	ctx, stop := context.WithCancel(t.Context())
	b := &scrubber{t: t, s: s}
	options := b.options()
	options.Pace = func(read int) error {
		if b.read += read; b.read > 700_000 {
			stop()
		}
		return nil
	}
	if err := s.Scrub(ctx, options); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	before := s.Scrubbing().Now
	closeStore(t, s)
	b.s = openStore(t, testOptions(t, disk))
	if noted := b.s.ScrubState().Now; noted == nil || noted.Height == 0 || noted.Height != before.Height || noted.Bytes != before.Bytes {
		t.Fatalf("noted %+v, reached %+v", noted, before)
	}
	b.read = 0
	if round := b.round(); round.Bytes != before.Bytes+uint64(b.read) || round.Height != b.s.Tip().Height+1 {
		t.Errorf("%+v after %+v and %d bytes", round, before, b.read)
	}
	closeStore(t, b.s)
}

func TestAScrubThatIsToldToStopFindsNoDamage(t *testing.T) {
	s := scrubStore(t, vfs.NewMem(), 20000, 100)
	defer closeStore(t, s)
	b := &scrubber{t: t, s: s}
	enough := errors.New("enough for now")
	for after := range 5 {
		options, paces := b.options(), 0
		options.Pace = func(int) error {
			if paces++; paces > after {
				return enough
			}
			return nil
		}
		if err := s.Scrub(t.Context(), options); !errors.Is(err, enough) {
			t.Errorf("told to stop at pace %d: %v", after, err)
		}
	}
	if len(b.recorded) > 0 {
		t.Errorf("recorded %+v", b.recorded)
	}
}

// What was deleted by retention is neither read nor missed, and losses among it are no longer counted.
func TestAScrubSkipsWhatIsPruned(t *testing.T) {
	disk := vfs.NewMem()
	rottenChain(t, disk)
	s := openStore(t, testOptions(t, disk))
	b := &scrubber{t: t, s: s}
	b.round()
	told := len(b.recorded)
	headers := 0 // went with their entries, and nothing brings them back
	for _, d := range b.recorded {
		if d.Headers {
			headers++
		}
	}
	if told <= headers {
		t.Fatalf("%+v", b.recorded)
	}
	pruneBelow(t, s, s.Tip().Height+1)
	b.round()
	if left, err := s.Damages(); err != nil || len(b.recorded) != told || len(left) != headers {
		t.Errorf("recorded %+v, left %+v, %v", b.recorded, left, err)
	}
	closeStore(t, s)
}

// Headers rot at the edge of what retention deleted: the entries above the edge are lost with them, those below were deleted.
func TestHeadersAtTheEdgeOfWhatWasDeletedTakeWhatWasHeldWithThem(t *testing.T) {
	const edge = 20
	o := testOptions(t, vfs.NewMem())
	s := marked(t, o, 400)
	blocks := prunedAt(t, s, edge)
	closeStore(t, s)
	for _, rotten := range []heightRun{{edge - 3, edge + 2}, {edge - 3, edge - 1}, {edge, edge + 2}} {
		t.Run(fmt.Sprint(rotten), func(t *testing.T) {
			fs := cloneFolder(t, o.FS)
			o := o
			o.FS = fs
			s := openStore(t, o)
			defer closeStore(t, s)
			for height := rotten.from; height <= rotten.to; height++ {
				if err := s.putSynced(headerKey(height), []byte{1}); err != nil {
					t.Fatal(err)
				}
			}
			b := &scrubber{t: t, s: s}
			b.round()
			b.round()
			checkLost(t, b.recorded, rotten, edge, blocks)
		})
	}
}

// prunedAt deletes the entries below a height. It returns the numbers of the first entry of each block up to there and a
// few more.
func prunedAt(t *testing.T, s *Store, edge uint64) (first []uint64) {
	t.Helper()
	for height := range edge + 5 {
		h, err := s.HeaderAt(height)
		if err != nil {
			t.Fatal(err)
		}
		first = append(first, h.First)
	}
	pruneBelow(t, s, edge)
	return first
}

// checkLost holds what is told against the first numbers of the blocks, whose entries below the edge were deleted.
func checkLost(t *testing.T, told []Damage, gone heightRun, edge uint64, first []uint64) {
	t.Helper()
	got, want := map[uint64]int{}, map[uint64]int{}
	headers := uint64(0)
	for _, d := range told {
		if !d.Headers {
			t.Errorf("%v", &d)
		}
		headers += d.To - d.From + 1
		for n := d.First; n < d.First+d.Count; n++ {
			got[n]++
		}
	}
	for height := max(edge, gone.from); height <= gone.to; height++ {
		for n := first[height]; n < first[height+1]; n++ {
			want[n]++
		}
	}
	if !maps.Equal(got, want) || headers != gone.to-gone.from+1 {
		t.Errorf("headers %v are gone, entries of %d and above were held: told of %d headers and the entries %v, want %v", gone, edge, headers, got, want)
	}
}

// What follows from the rest is written anew where it was wrong.
func TestAScrubMendsNodesAndSummaries(t *testing.T) {
	disk := vfs.NewMem()
	s := scrubStore(t, disk, 50_000, 500)
	defer closeStore(t, s)
	for _, k := range [][]byte{nodeKey(63, 6), nodeKey(7, 1), summaryKey(20, 0), summaryKey(63, 1)} {
		if err := s.putSynced(k, []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Verify(t.Context(), nil); err == nil {
		t.Fatal("nothing is wrong")
	}
	b := &scrubber{t: t, s: s}
	for range 2 { // a summary above a wrong one follows in the next round
		b.round()
	}
	if len(b.recorded) > 0 {
		t.Errorf("recorded %+v", b.recorded)
	}
	verify(t, &s.Reader)
}

// What is read again and again stays in Pebble's cache while a scrub reads many times as much once.
func TestAScrubLeavesTheCacheToOthers(t *testing.T) {
	disk := vfs.NewMem()
	o := testOptions(t, disk)
	o.CacheSize, o.MemTableSize = 512<<10, 64<<10
	s := newStore(t, o)
	defer func() { closeStore(t, s) }()
	recordAll(t, s, machineTemperature(80_000), 1000)
	compact(t, s)
	closeStore(t, s)
	s = openStore(t, o)
	hot := []uint64{3, 8, 15}
	read := func() (misses int64) {
		before := s.db.Metrics().BlockCache.Misses
		for _, height := range hot {
			if _, err := s.HeaderAt(height); err != nil {
				t.Fatal(err)
			}
		}
		return s.db.Metrics().BlockCache.Misses - before
	}
	for range 5 {
		read()
	}
	b := &scrubber{t: t, s: s}
	pace := b.options()
	misses, n := int64(0), 0
	pace.Pace = func(size int) error { b.read += size; misses += read(); n++; return nil }
	if err := s.Scrub(t.Context(), pace); err != nil {
		t.Fatal(err)
	}
	if size := int(o.CacheSize); b.read < 3*size {
		t.Fatalf("only %d bytes were read, beside a cache of %d", b.read, size)
	}
	if misses > int64(n/10) {
		t.Errorf("of %d reads of the same headers %d missed the cache", n*len(hot), misses)
	}
}

// A block of large messages is neither gathered in memory nor read in one go.
func TestALargeBlockIsReadInPieces(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	rng := rand.NewChaCha8([32]byte{1}) // nothing that compresses
	const messages, size = 24, 1 << 20
	for i := range messages {
		e := testEntry(i)
		e.Payload = make([]byte, size)
		rng.Read(e.Payload)
		stage(t, s, []lightchain.Entry{e})
	}
	seal(t, s)
	b := &scrubber{t: t, s: s}
	o := b.options()
	most, waits := 0, 0
	o.Pace = func(read int) error { most, waits = max(most, read), waits+1; return nil }
	if err := s.Scrub(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if len(b.recorded) > 0 || waits < messages/2 || most > 3*size {
		t.Errorf("%d waits, %d bytes at once, recorded %+v", waits, most, b.recorded)
	}
	if sum := verify(t, &s.Reader); sum.Entries != messages {
		t.Errorf("%+v", sum)
	}
}
