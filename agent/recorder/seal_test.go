package recorder

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// restarted runs a committer on the bench's chain as another start would, and returns its height in the end.
func (b *bench) restarted(t *testing.T, now time.Time, messages ...*sensors.Message) uint64 {
	t.Helper()
	next := New(Config{Store: b.store, Queue: NewQueue(1<<20, 4), Gate: b.gate, Commit: b.commit, Block: BlockConfig{Interval: time.Minute, MaxEntries: 8, Heartbeat: time.Hour},
		Clock: b.clock, Now: func() time.Time { return now }, Log: b.log})
	for _, m := range messages {
		if err := next.queue.Put(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- next.Run() }()
	await(t, "what is due is done", func() bool {
		done := false
		_ = next.Do(context.Background(), func() {
			next.queue.mu.Lock()
			defer next.queue.mu.Unlock()
			done = len(next.queue.taken) == 0 && next.untilSeal() > 0
		})
		return done
	})
	next.queue.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return b.store.Tip().Height
}

func bootAt(at time.Time) *sensors.Message {
	return &sensors.Message{Source: "agent:boot", Received: at, Payload: []byte(fmt.Sprintf(`{"at":%d}`, at.Unix()))}
}

// However short runs are, a block is sealed each interval, and none more often, whether they end in order or not.
func TestShortRunsSealAsOftenAsLongOnes(t *testing.T) {
	b := newBench(t, nil)
	at := time.Unix(1_700_000_000, 0)
	first := b.restarted(t, at, bootAt(at))
	if first != 1 {
		t.Fatalf("the first stop leaves height %d, and genesis alone proves nothing", first)
	}
	for i := range 30 { // five minutes, a start each ten seconds
		at = at.Add(10 * time.Second)
		height := b.restarted(t, at, bootAt(at))
		if most := first + uint64(i)/6 + 1; height > most {
			t.Fatalf("after %d starts the height is %d, want %d at most", i+1, height, most)
		}
	}
	if height := b.store.Tip().Height; height < first+4 {
		t.Errorf("in five minutes blocks were sealed up to height %d, one each minute is %d", height, first+4)
	}
	if err := b.store.Close(); err != nil {
		t.Error(err)
	}
}

// What a run that crashed had left open is due when it would have been, and not an interval after each start.
func TestACrashDoesNotPutOffABlock(t *testing.T) {
	for _, c := range []struct {
		name   string
		passed time.Duration
		sealed bool
	}{{"soon", 20 * time.Second, false}, {"an interval later", time.Minute, true}, {"a year later", 365 * 24 * time.Hour, true}, {"before, by a clock that was set back", -time.Hour, false}} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			at := time.Unix(1_700_000_000, 0)
			b.block.Interval = time.Minute
			b.now = func() time.Time { return at }
			b.start()
			<-b.put(t, "left open")
			before := b.store.Tip().Height
			hold(b.Committer) // nothing is sealed any more, as in a crash
			b.queue.Close()
			if err := <-b.ended; err != nil {
				t.Fatal(err)
			}
			b.gate.Release(before)
			next := New(Config{Store: b.store, Now: func() time.Time { return at.Add(c.passed) }, Gate: b.gate, Block: b.block, Log: b.log})
			next.inherit()
			if due := next.untilSeal() <= 0; due != c.sealed || !next.heard {
				t.Errorf("due: %v, heard: %v", due, next.heard)
			}
			if err := b.store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// ignored counts messages that are not recorded.
type ignored struct {
	mu      sync.Mutex
	n, told int // guarded by mu
}

func (i *ignored) ignore() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.n++
}

func (i *ignored) Waits() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.n > i.told
}

func (i *ignored) Untold() (payload []byte, told func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.n - i.told
	if n == 0 {
		return nil, nil
	}
	return []byte(strconv.Itoa(n)), func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.told += n
	}
}

// counting is a bench whose committer tells of what is ignored.
func counting(t *testing.T, change func(*Committer)) (*bench, *ignored) {
	count := new(ignored)
	return newBench(t, func(c *Committer) {
		c.unrecorded = count
		if change != nil {
			change(c)
		}
	}), count
}

// toldFiltered returns what entries agent:filtered say, and their numbers.
func toldFiltered(t *testing.T, r *store.Reader) (said []string, numbers []uint64) {
	t.Helper()
	for m, err := range r.Find(store.Query{Source: sourceFiltered}) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Entry.Flags != lightchain.ByAgent {
			t.Errorf("%s has flags %b", m.Entry.Payload, m.Entry.Flags)
		}
		said, numbers = append(said, string(m.Entry.Payload)), append(numbers, m.Number)
	}
	return said, numbers
}

// Each block tells of what was ignored before it, in the block itself; where nothing was, none does.
func TestEachBlockTellsOnceWhatWasIgnored(t *testing.T) {
	b, count := counting(t, func(c *Committer) { c.block.MaxEntries = 2 })
	b.start()
	for round := range 3 {
		for range 5 * round {
			count.ignore()
		}
		done := b.put(t, payloads(2)...)
		<-done
		<-done
		await(t, "the block", func() bool { return b.store.Tip().Height >= uint64(round)+1 })
	}
	b.queue.Close()
	if err := <-b.ended; err != nil {
		t.Fatal(err)
	}
	said, numbers := toldFiltered(t, &b.store.Reader)
	if !slices.Equal(said, []string{"5", "10"}) {
		t.Errorf("told are %q", said)
	}
	for i, number := range numbers {
		if h, err := b.store.HeaderAt(uint64(i) + 2); err != nil || number < h.First || number >= h.First+h.Count {
			t.Errorf("entry %d is not in block %d: %+v, %v", number, i+2, h, err)
		}
	}
	if err := b.store.Close(); err != nil {
		t.Error(err)
	}
}

// A block that has no place left leaves the count to the next one, and a stop tells of it.
func TestACountWaitsForRoomAndAStopTells(t *testing.T) {
	b, count := counting(t, hold)
	b.start()
	done := b.put(t, payloads(8)...) // as many as the store takes into one block
	for range 8 {
		<-done
	}
	count.ignore()
	b.gate.Release(0)
	if err := b.Do(t.Context(), func() {}); err != nil {
		t.Fatal(err)
	}
	await(t, "the block", func() bool { return b.store.Tip().Height == 1 })
	if told, _ := toldFiltered(t, &b.store.Reader); len(told) != 0 {
		t.Errorf("told are %v, and the block was full", told)
	}
	b.queue.Close()
	if err := <-b.ended; err != nil {
		t.Fatal(err)
	}
	if told, _ := toldFiltered(t, &b.store.Reader); !slices.Equal(told, []string{"1"}) {
		t.Errorf("told are %v", told)
	}
	if err := b.store.Close(); err != nil {
		t.Error(err)
	}
}

// While the disk has no room nothing is told, and the count stays.
func TestACountIsToldWhenTheDiskHasRoomAgain(t *testing.T) {
	b, count := counting(t, nil)
	count.ignore()
	b.free.Store(0)
	if err := b.recordFiltered(); err != nil || !b.unrecorded.Waits() {
		t.Errorf("without room: %v", err)
	}
	b.free.Store(1 << 30)
	b.start()
	b.stop(t)
	if b.unrecorded != nil || count.told != 1 {
		t.Errorf("told are %d", count.told)
	}
}

// A gateway whose messages are all ignored tells of them with its heartbeat, and makes no block for each.
func TestWhatIsIgnoredBeginsNoBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, count := counting(t, func(c *Committer) { c.block.Interval = time.Minute })
		b.start()
		for range 50 {
			count.ignore()
			time.Sleep(time.Minute)
		}
		if h := b.store.Tip().Height; h != 0 {
			t.Errorf("%d blocks before the heartbeat", h)
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if told, _ := toldFiltered(t, &b.store.Reader); b.store.Tip().Height != 1 || !slices.Equal(told, []string{"50"}) {
			t.Errorf("%d blocks, told are %q", b.store.Tip().Height, told)
		}
		b.stop(t)
	})
}

// Messages wait for room with their group's place in the open block taken: the entry about the deletion that makes
// the room finds its own.
func TestADeletionMakesRoomWhileMessagesWaitForIt(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	for i := range 8 { // a full block, which is sealed
		<-b.put(t, fmt.Sprint(i))
	}
	first := b.put(t, "in the open block", "with it", "and this", "and that")
	for range 4 {
		<-first
	}
	b.free.Store(1 << 19) // below the reserve of a mebibyte
	done := b.put(t, "a", "b", "c", "d")
	await(t, "the disk to be full", b.waiting.Load)
	var p store.Pruned
	var err error
	if doErr := b.Do(t.Context(), func() {
		p, err = b.Prune(2, func(store.Pruned) any { return "gone" })
		b.free.Store(1 << 30)
	}); doErr != nil || err != nil || p.Next != 8 {
		t.Fatalf("%+v, %v, %v", p, doErr, err)
	}
	for range 4 {
		if o := <-done; o.err != nil {
			t.Fatal(o)
		}
	}
	var payloads []string
	for rec, err := range b.store.Entries(8, 100) {
		if err != nil {
			t.Fatal(err)
		}
		payloads = append(payloads, string(rec.Entry.Payload))
	}
	if want := []string{"in the open block", "with it", "and this", "and that", `"gone"`, "a", "b", "c", "d"}; !slices.Equal(payloads, want) {
		t.Errorf("the chain goes on with %q, want %q", payloads, want)
	}
	b.stop(t)
}
