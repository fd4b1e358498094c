package recorder

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/agent/sealgate"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// bench is a committer over a real store in memory.
type bench struct {
	*Committer
	fs    *vfs.MemFS
	free  atomic.Uint64 // bytes that the disk says are free
	ended chan error
}

func testSigner(t testing.TB) lightchain.Signer {
	t.Helper()
	s, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testOptions(t testing.TB, fs vfs.FS) store.Options {
	return store.Options{FS: fs, Signer: testSigner(t), AllowVolatile: true, Reserve: -1, MaxBlockEntries: 8}
}

func newBench(t *testing.T, change func(*Committer)) *bench {
	t.Helper()
	b := &bench{fs: vfs.NewCrashableMem(), ended: make(chan error, 1)}
	b.free.Store(1 << 30)
	o := testOptions(t, b.fs)
	if _, err := store.Create("chain", o, store.Genesis{}); err != nil {
		t.Fatal(err)
	}
	o.Reserve = 1 << 20
	o.DiskUsage = func() (uint64, uint64, error) { return b.free.Load(), 1 << 30, nil }
	st, err := store.Open("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	b.Committer = New(Config{
		Store: st, Queue: NewQueue(1<<20, 4), Gate: new(sealgate.Gate),
		Commit: CommitConfig{MaxDelay: 5 * time.Millisecond, MaxEntries: 4, Idle: time.Millisecond},
		Block:  BlockConfig{Interval: time.Hour, MaxEntries: 8, Heartbeat: time.Hour},
		Clock:  func() lightchain.Clock { return lightchain.Clock{} },
		Now:    time.Now, Log: slog.New(slog.DiscardHandler),
	})
	if change != nil {
		change(b.Committer)
	}
	return b
}

// hold closes the gate.
func hold(c *Committer) { c.gate.Add(sealgate.Reason{Kind: sealgate.Unsettled}) }

func (b *bench) start() { go func() { b.ended <- b.Run() }() }

// stop drains the committer and closes the store.
func (b *bench) stop(t *testing.T) {
	t.Helper()
	b.queue.Close()
	if err := <-b.ended; err != nil {
		t.Error(err)
	}
	if err := b.store.Close(); err != nil {
		t.Error(err)
	}
}

// put hands over messages and returns a channel with the outcome of each, in the order in which Done was called.
func (b *bench) put(t *testing.T, payloads ...string) <-chan outcome {
	t.Helper()
	done := make(chan outcome, len(payloads))
	for _, p := range payloads {
		m := &sensors.Message{Source: "test:x", Received: time.Unix(1_700_000_000, 0), Payload: []byte(p), Flags: lightchain.NotUnderstood}
		m.Done = func(err error) { done <- outcome{p, err} }
		if err := b.queue.Put(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	return done
}

type outcome struct {
	payload string
	err     error
}

func payloads(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// The one promise: at the moment of the acknowledgement a power cut can no longer take the entry.
func TestWhatIsAcknowledgedOutlivesAPowerCut(t *testing.T) {
	b := newBench(t, nil)
	var mu sync.Mutex
	var lost []string
	b.start()
	for i := range 50 {
		p := fmt.Sprint("message ", i)
		m := &sensors.Message{Source: "test:x", Received: time.Unix(1_700_000_000, 0), Payload: []byte(p), Flags: lightchain.NotUnderstood}
		acknowledged := make(chan struct{})
		m.Done = func(err error) {
			defer close(acknowledged)
			image := b.fs.CrashClone(vfs.CrashCloneCfg{}) // nothing that was not synced survives
			if err != nil || !holds(t, image, p) {
				mu.Lock()
				defer mu.Unlock()
				lost = append(lost, p)
			}
		}
		if err := b.queue.Put(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			<-acknowledged
		}
	}
	b.stop(t)
	if len(lost) > 0 {
		t.Errorf("acknowledged and lost: %v", lost)
	}
}

// holds opens an image of the disk as the next start would, and looks for a payload.
func holds(t *testing.T, image vfs.FS, payload string) bool {
	r, err := store.OpenReader("chain", testOptions(t, image))
	if err != nil {
		t.Error(err)
		return false
	}
	defer r.Close()
	for rec, err := range r.Entries(0, r.Next()) {
		if err == nil && string(rec.Entry.Payload) == payload {
			return true
		}
	}
	return false
}

func TestAcknowledgementsComeInTheOrderOfArrival(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	all := payloads(40)
	done := b.put(t, all...)
	for _, want := range all {
		if got := <-done; got.err != nil || got.payload != want {
			t.Fatalf("%v, want %s", got, want)
		}
	}
	b.stop(t)
}

func TestABlockIsSealedWhenItIsFullAndTheRestWhenTheAgentStops(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	done := b.put(t, payloads(20)...)
	for range 20 {
		<-done
	}
	b.queue.Close()
	if err := <-b.ended; err != nil {
		t.Fatal(err)
	}
	var counts []uint64
	for h, err := range b.store.Headers(1, 100) {
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, h.Header.Count)
	}
	if fmt.Sprint(counts) != "[8 8 4]" {
		t.Errorf("blocks of %v entries", counts)
	}
	if _, err := b.store.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
	b.store.Close()
}

func TestABlockIsSealedInTimeAndSilenceHasAHeartbeat(t *testing.T) {
	b := newBench(t, func(c *Committer) {
		c.block.Interval, c.block.Heartbeat, c.block.Cadence = 30*time.Millisecond, 60*time.Millisecond, 7*time.Second
	})
	b.start()
	<-b.put(t, "alone")
	await(t, "the block with the one entry, and two heartbeats", func() bool { return b.store.Tip().Height >= 3 })
	for height := range uint64(4) {
		if h, err := b.store.Header(height); err != nil || (h.Header.Cadence == 7) != (height > 0) {
			t.Errorf("header %d promises the next one within %d s: %v", height, h.Header.Cadence, err)
		}
	}
	b.stop(t)
}

func TestAFullDiskDelaysAcknowledgementsAndLosesNothing(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	<-b.put(t, "before")
	b.free.Store(0)
	done := b.put(t, "while full")
	await(t, "the disk to be full", b.waiting.Load)
	select {
	case got := <-done:
		t.Fatalf("%v, though there is no room", got)
	default:
	}
	b.free.Store(1 << 30)
	if got := <-done; got.err != nil {
		t.Fatal(got.err)
	}
	if b.waiting.Load() {
		t.Error("it still says that it waits")
	}
	b.stop(t)
}

// Room for headers is kept: what was acknowledged before the disk was full is sealed while what came later waits.
func TestAFullDiskKeepsNothingFromBeingSealedThatWasAcknowledged(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	<-b.put(t, "before")
	b.free.Store(1 << 19)
	done := b.put(t, "while full")
	await(t, "the disk to be full", b.waiting.Load)
	if err := b.Do(t.Context(), func() { b.block.Interval = 30 * time.Millisecond }); err != nil {
		t.Fatal(err)
	}
	await(t, "a block with what was acknowledged", func() bool { return b.store.Tip().Next == 1 })
	if !b.waiting.Load() {
		t.Error("it does not wait any more")
	}
	b.free.Store(1 << 30)
	if got := <-done; got.err != nil {
		t.Fatal(got.err)
	}
	b.stop(t)
}

// A group ends when it holds as many bytes as one may, not when its time is up.
func TestAGroupIsCommittedWhenItsBytesAreThere(t *testing.T) {
	b := newBench(t, func(c *Committer) {
		c.commit = CommitConfig{MaxDelay: time.Hour, MaxEntries: 10000, Idle: time.Hour}
		c.queue = NewQueue(64<<20, 10000)
	})
	b.start()
	large := strings.Repeat("x", 1<<20)
	done := b.put(t, large, large, large, large, large, large, large, large, large)
	if got := <-done; got.err != nil {
		t.Fatal(got.err)
	}
	b.stop(t)
}

// Whoever stops a source waits for what it gave, and not for what could come besides.
func TestNoGroupIsGatheredWhileSomebodyWaitsForIt(t *testing.T) {
	b := newBench(t, func(c *Committer) {
		c.commit = CommitConfig{MaxDelay: time.Hour, MaxEntries: 10000, Idle: time.Hour}
	})
	b.start()
	before := b.put(t, "before")
	calm := b.queue.Hurry()
	if got := <-before; got.err != nil {
		t.Fatal(got.err)
	}
	during := b.put(t, "during")
	if got := <-during; got.err != nil {
		t.Fatal(got.err)
	}
	calm()
	after := b.put(t, "after")
	select {
	case <-after:
		t.Error("groups are gathered no more")
	case <-time.After(50 * time.Millisecond):
	}
	b.stop(t)
	if got := <-after; got.err != nil {
		t.Error(got.err)
	}
}

// A group ends when nothing came for commit.idle, at the latest commit.max_delay after it was begun, and at once when it is full.
func TestAGroupEndsInTime(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		arrivals []time.Duration
		size     int
		after    time.Duration
	}{
		"one":                      {[]time.Duration{0}, 1, 3 * ms},
		"one that waited":          {[]time.Duration{-20 * ms}, 1, 0},
		"some":                     {[]time.Duration{0, 2 * ms, 4 * ms, 12 * ms}, 3, 7 * ms},
		"each before it is quiet":  {[]time.Duration{0, 2 * ms, 4 * ms, 6 * ms, 8 * ms, 10 * ms}, 5, 9 * ms},
		"as many as a group holds": {[]time.Duration{0, ms, ms, ms, ms, ms, ms, ms}, 8, ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := NewQueue(1<<30, 8)
				committer := &Committer{queue: q, commit: CommitConfig{MaxDelay: 9 * ms, MaxEntries: 8, Idle: 3 * ms}, gathering: time.NewTimer(0)}
				began := time.Now().Add(20 * ms)
				for _, at := range c.arrivals {
					time.AfterFunc(time.Until(began.Add(at)), func() { q.TryPut(&sensors.Message{}) })
				}
				time.Sleep(time.Until(began))
				synctest.Wait()
				if got := len(committer.gather(func() int { return 8 })); got != c.size || time.Since(began) != c.after {
					t.Errorf("%d messages after %v, want %d after %v", got, time.Since(began), c.size, c.after)
				}
				synctest.Wait()
				time.Sleep(20 * ms) // what comes later
			})
		})
	}
}

func TestStoppingWithAFullDiskAcknowledgesNothing(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	b.free.Store(0)
	done := b.put(t, "while full")
	await(t, "the disk to be full", b.waiting.Load)
	b.queue.Close()
	if err := <-b.ended; err != nil { // that is an ordinary end
		t.Error(err)
	}
	if got := <-done; !errors.Is(got.err, store.ErrNoSpace) {
		t.Errorf("its source hears %v", got.err)
	}
	b.store.Close()
}

func TestAnEntryThatCannotBeEncodedIsKeptBare(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	done := make(chan error, 1)
	m := &sensors.Message{
		Source: "test:\xff", Received: time.Unix(1_700_000_000, 0), Payload: []byte("evidence"),
		Readings: []lightchain.Reading{{Device: "\xff"}}, Done: func(err error) { done <- err },
	}
	if err := b.queue.Put(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	rec, err := b.store.Entry(0)
	if err != nil {
		t.Fatal(err)
	}
	if e := rec.Entry; string(e.Payload) != "evidence" || e.Flags != lightchain.NotUnderstood || len(e.Readings) != 0 || !strings.HasPrefix(e.Source, "test:") {
		t.Errorf("%+v", e)
	}
	b.stop(t)
}

func TestWhileTheHeadIsNotSettledEntriesAreKeptAndNothingIsSealed(t *testing.T) {
	b := newBench(t, func(c *Committer) { hold(c); c.block.Interval = time.Millisecond })
	b.start()
	done := b.put(t, payloads(12)...)
	for range 8 { // as many as the block takes are durable and acknowledged
		if got := <-done; got.err != nil {
			t.Fatal(got.err)
		}
	}
	if err := b.Do(t.Context(), func() {}); err != nil {
		t.Fatal(err)
	}
	if height := b.store.Tip().Height; height != 0 {
		t.Fatalf("block %d was sealed", height)
	}
	select {
	case got := <-done:
		t.Fatalf("%v, beyond what the block takes", got)
	default:
	}
	// Messages wait, for as long as it takes: no reason to be started again, and said.
	b.alive.mark(time.Now().Add(-time.Hour))
	b.queue.mu.Lock()
	b.queue.busy = time.Now().Add(-time.Hour)
	b.queue.mu.Unlock()
	if stuck := b.Stuck(); stuck != 0 {
		t.Errorf("the watchdog is left alone after %v", stuck)
	}
	if !b.Full() {
		t.Error("it does not say that it takes nothing")
	}
	if err := b.Do(t.Context(), func() { b.gate.Release(0) }); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if got := <-done; got.err != nil {
			t.Fatal(got.err)
		}
	}
	b.stop(t)
	if height := b.store.Tip().Height; height < 2 {
		t.Errorf("height %d", height)
	}
}

func TestStoppingBeforeTheHeadIsSettledSealsNothing(t *testing.T) {
	b := newBench(t, hold)
	b.start()
	done := b.put(t, payloads(12)...)
	for range 8 {
		<-done
	}
	b.queue.Close()
	if err := <-b.ended; err != nil {
		t.Error(err)
	}
	for range 4 {
		if got := <-done; !errors.Is(got.err, errHeld) {
			t.Errorf("a message beyond the block hears %v", got.err)
		}
	}
	if height := b.store.Tip().Height; height != 0 {
		t.Errorf("block %d was sealed", height)
	}
	b.store.Close()
}

// A clock beyond all that 64 bits hold, and one that comes back from there, keep no block open.
func TestAClockFarInTheFutureStopsNoSealing(t *testing.T) {
	years := func(n int) time.Time { return time.Date(n, 1, 1, 0, 0, 0, 0, time.UTC) } // without Go's monotonic reading
	for _, clock := range [][2]time.Time{{years(2026), years(2300)}, {years(2300), years(2026)}, {years(2300), years(1)}, {years(1960), years(9999)}} {
		if d := untilPast(time.Minute, clock[0], clock[1]); d != 0 {
			t.Errorf("a block begun in %d waits %v in %d", clock[0].Year(), d, clock[1].Year())
		}
	}
	if d := untilPast(time.Minute, years(2300), years(2300).Add(20*time.Second)); d != 40*time.Second {
		t.Errorf("%v", d)
	}
	var now atomic.Pointer[time.Time]
	at := years(2300)
	now.Store(&at)
	b := newBench(t, func(c *Committer) {
		c.now = func() time.Time { return *now.Load() }
		c.block.MaxEntries = 2
	})
	b.start()
	done := b.put(t, payloads(5)...)
	for range 5 {
		if o := <-done; o.err != nil {
			t.Fatal(o.err)
		}
	}
	back := years(2026) // the open block holds one
	now.Store(&back)
	done = b.put(t, "last")
	if o := <-done; o.err != nil {
		t.Fatal(o.err)
	}
	reader := &b.store.Reader
	b.queue.Close()
	if err := <-b.ended; err != nil {
		t.Fatal(err)
	}
	for height := uint64(1); height <= 2; height++ {
		if h, err := reader.HeaderAt(height); err != nil || h.Sealed != 1<<63-1 {
			t.Errorf("header %d: sealed at %d, %v", height, h.Sealed, err)
		}
	}
	if _, err := reader.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := b.store.Close(); err != nil {
		t.Error(err)
	}
}

// Messages that wait for a disk that hangs are seen long before the watchdog ends the agent.
func TestWaitingForADiskThatHangsShows(t *testing.T) {
	b := newBench(t, nil)
	if b.Stuck() != 0 {
		t.Error("nothing waits, and it is stuck")
	}
	b.put(t, "one")
	first := b.Stuck()
	await(t, "stuck for longer", func() bool { return b.Stuck() > first })
	b.start()
	await(t, "stuck no more", func() bool { return b.Stuck() == 0 })
	b.stop(t)
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	testenv.Await(t, what, holds)
}

// Whoever needs the tail does not wait for a group that is gathered, and the group goes on as the tail is then.
func TestAGroupThatIsGatheredKeepsNobodyFromTheTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Committer) { c.commit = CommitConfig{MaxDelay: time.Hour, MaxEntries: 4, Idle: time.Hour} })
		b.start()
		done := b.put(t, "gathered", "with it")
		synctest.Wait()
		began := time.Now()
		if err := b.Do(t.Context(), func() {
			if _, err := b.SealWith(nil); err != nil {
				t.Error(err)
			}
			b.Configure(CommitConfig{MaxDelay: time.Minute, MaxEntries: 4, Idle: time.Minute}, b.block, 0)
		}); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it waited %v", waited)
		}
		for range 2 {
			if got := <-done; got.err != nil {
				t.Fatal(got.err)
			}
		}
		if waited := time.Since(began); waited != time.Minute || b.store.Tip().Height != 1 {
			t.Errorf("the group was closed after %v, at height %d", waited, b.store.Tip().Height)
		}
		b.stop(t)
	})
}
