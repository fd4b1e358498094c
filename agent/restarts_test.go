package agent

import (
	"context"
	"fmt"
	"testing"
	"time"

	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// A program that ends right after each start, in order as it is, adds no block for each: what its starts say is durable, and is
// sealed with what comes next.
func TestStartsAddNoBlockEach(t *testing.T) {
	c, _ := keptGateway(t)
	c.Block.Interval, c.Block.MaxEntries = time.Hour, 4096
	const starts = 50
	for range starts {
		_, stop := runAgent(t, c)
		stop()
	}
	a, stop := runAgent(t, c)
	if height := a.store.Tip().Height; height > 1 {
		t.Errorf("%d starts made %d blocks", starts, height)
	}
	boots := 0
	for range a.store.Find(store.Query{Source: "agent:boot"}) {
		boots++
	}
	if boots < starts {
		t.Errorf("the chain tells of %d of %d starts", boots, starts)
	}
	before := a.store.Tip().Height
	recordDurably(t, a)
	stop()
	r := openReader(t, c)
	if tip := r.Tip(); tip.Height != before+1 || r.Next() != tip.Next {
		t.Errorf("stopped with something to tell, the chain is at height %d with %d entries open; before it was at %d", tip.Height, r.Next()-tip.Next, before)
	}
}

// openReader reads the chain of a gateway that does not run.
func openReader(t *testing.T, c *Config) *store.Reader {
	t.Helper()
	r, err := store.OpenReader(c.ChainDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// restarted runs a committer on the bench's chain as another start would, and returns its height in the end.
func (b *bench) restarted(t *testing.T, now time.Time, messages ...*sensors.Message) uint64 {
	t.Helper()
	c := b.committer // of which only settings are used
	next := &committer{store: c.store, queue: newQueue(1<<20, 4), gate: c.gate, commit: c.commit, block: BlockConfig{Interval: time.Minute, MaxEntries: 8, Heartbeat: time.Hour},
		clock: c.clock, now: func() time.Time { return now }, log: c.log, metrics: c.metrics, jobs: make(chan func()), staged: make(chan group), failed: make(chan error, 1)}
	for _, m := range messages {
		if err := next.queue.Put(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- next.run() }()
	await(t, "what is due is done", func() bool {
		done := false
		_ = next.do(context.Background(), func() {
			next.queue.mu.Lock()
			defer next.queue.mu.Unlock()
			done = len(next.queue.taken) == 0 && next.untilSeal() > 0
		})
		return done
	})
	next.queue.close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return c.store.Tip().Height
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
			hold(b.committer) // nothing is sealed any more, as in a crash
			b.queue.close()
			if err := <-b.ended; err != nil {
				t.Fatal(err)
			}
			b.gate.Release(before)
			next := &committer{store: b.store, now: func() time.Time { return at.Add(c.passed) }, gate: b.gate, block: b.block, log: b.log}
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
