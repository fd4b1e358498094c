package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"syscall"
	"testing"
	"time"

	"edgechain.example/agent/recorder"
	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
	headersync "edgechain.example/sync"
	"edgechain.example/tomlconf"
)

// keeper is an agent of which only what retention needs is at work.
type keeper struct {
	*Agent
	chain *aged
}

// newKeeper has a committer own the tail of a chain. The configuration names the aggregators north and south.
func newKeeper(t *testing.T, c *aged, limits RetentionConfig) *keeper {
	t.Helper()
	config := DefaultConfig()
	config.Retention = limits
	config.Upstream = []UpstreamConfig{{Aggregator: []AggregatorConfig{{Name: "north"}, {Name: "south"}}}}
	a := New(config, Options{Log: slog.New(slog.DiscardHandler)})
	a.store = c.store
	a.retention.giveBack = a.store.Reclaim
	a.queue = recorder.NewQueue(1<<20, 4)
	a.committer = recorder.New(recorder.Config{
		Store: a.store, Queue: a.queue, Gate: &a.gate, Commit: recorder.CommitConfig{MaxDelay: time.Millisecond, MaxEntries: 4},
		Block: recorder.BlockConfig{Interval: time.Hour, MaxEntries: 8, Heartbeat: time.Hour},
		Clock: func() lightchain.Clock { return lightchain.Clock{} }, Now: time.Now, Log: a.log, Durable: a.metrics.committed,
	})
	ended := make(chan error, 1)
	go func() { ended <- a.committer.Run() }()
	t.Cleanup(func() {
		a.queue.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &keeper{a, c}
}

// told returns what the chain says about deletions, in order.
func (k *keeper) told(t *testing.T) (events []pruneEvent) {
	t.Helper()
	for m, err := range k.store.Find(store.Query{Source: "agent:prune"}) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Entry.Flags != lightchain.ByAgent {
			t.Errorf("entry %d has flags %b", m.Number, m.Entry.Flags)
		}
		var e pruneEvent
		if err := json.Unmarshal(m.Entry.Payload, &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func TestWhatIsReceiptedAndOldGoesAndTheChainSaysSo(t *testing.T) {
	c := newAged(t)
	c.seal(30)
	c.receipt("north", 20, agedFrom.Add(30*time.Hour))
	c.receipt("south", 8, agedFrom.Add(31*time.Hour))
	k := newKeeper(t, c, RetentionConfig{MaxAge: time.Hour, Quorum: 1})
	c.receipt("north", 25, time.Now()) // by whose clock it is late, whatever this machine's is worth
	limits := k.config.Retention.Limits()

	would, err := k.dryRun(t.Context(), limits)
	if err != nil {
		t.Fatal(err)
	}
	if k.store.Next() != 30 || len(k.told(t)) != 0 {
		t.Fatal("a dry run wrote something")
	}
	did, err := k.pruneNow(t.Context(), limits)
	if err != nil {
		t.Fatal(err)
	}
	if would.Goes == nil || did.Goes == nil || *would.Goes != *did.Goes || did.Goes.From != 1 || did.Goes.To != 20 || did.Goes.NextEntry != 20 {
		t.Fatalf("the dry run says %+v, then %+v went", would.Goes, did.Goes)
	}
	for number := range uint64(30) {
		if _, err := k.store.Entry(number); errors.Is(err, store.ErrPruned) != (number < 20) {
			t.Fatalf("entry %d: %v", number, err)
		}
	}
	events := k.told(t)
	if len(events) != 1 {
		t.Fatalf("%+v", events)
	}
	e := events[0]
	if e.From != 1 || e.To != 20 || e.FirstEntry != 0 || e.NextEntry != 20 || !slices.Equal(e.By, []string{"north"}) || !slices.Equal(e.Why, []string{"age"}) {
		t.Errorf("the chain says %+v", e)
	}
	if again, err := k.pruneNow(t.Context(), limits); err != nil || again.Goes != nil || len(k.told(t)) != 1 {
		t.Errorf("then %+v goes: %v", again.Goes, err)
	}
	if _, err := k.store.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotReceiptedIsHeldBackAndSaidToBe(t *testing.T) {
	c := newAged(t)
	c.seal(30)
	c.receipt("north", 10, agedFrom.Add(11*time.Hour))
	s := &survey{chain: &c.store.Reader, aggregators: []string{"north"}, now: c.next.Add(48 * time.Hour), synchronised: true, room: noBound}
	r, err := s.wouldGo(&RetentionConfig{MaxAge: 24 * time.Hour, Quorum: 1})
	if err != nil {
		t.Fatal(err)
	}
	if r.Goes == nil || r.Goes.To != 10 || r.HeldBack == nil || r.HeldBack.From != 11 || r.HeldBack.To != 30 || r.Receipted != 10 {
		t.Fatalf("%+v goes, %+v is held back", r.Goes, r.HeldBack)
	}
}

func TestManyBlocksGoInSteps(t *testing.T) {
	c := newAged(t)
	c.seal(2*store.PruneBlocks + 100)
	c.receipt("north", 2*store.PruneBlocks+50, agedFrom.Add(time.Hour))
	k := newKeeper(t, c, RetentionConfig{MaxAge: time.Hour, Quorum: 1})
	c.receipt("north", 2*store.PruneBlocks+99, time.Now())
	if _, err := k.prune(t.Context(), k.config, true); err != nil {
		t.Fatal(err)
	}
	next, events := uint64(0), k.told(t)
	for _, e := range events {
		if e.FirstEntry != next || e.To-e.From >= store.PruneBlocks {
			t.Errorf("%+v behind entry %d", e, next)
		}
		next = e.NextEntry
	}
	if len(events) != 3 || next != 2*store.PruneBlocks+50 {
		t.Errorf("%d steps until entry %d", len(events), next)
	}
}

// Where a damaged table keeps the space of what was deleted, no sound block goes in its stead.
func TestSpaceThatDamageKeepsIsNotCounted(t *testing.T) {
	c := newAged(t)
	c.images(40)
	c.receipt("north", 40, time.Now())
	k := newKeeper(t, c, RetentionConfig{MaxSize: 12 << 20, Quorum: 1}) // of 16 MB, logs not counted
	var err error
	if doErr := k.committer.Do(t.Context(), func() { _, err = k.committer.Prune(21, func(p store.Pruned) any { return p }) }); doErr != nil || err != nil {
		t.Fatal(doErr, err)
	}
	limits := k.config.Retention.Limits()
	if r, err := k.dryRun(t.Context(), limits); err != nil || r.Goes == nil {
		t.Fatalf("before the space of 8 MB is given back the store keeps within its limit: %+v, %v", r, err)
	}
	k.retention.stuck.Store(true)
	if r, err := k.dryRun(t.Context(), limits); err != nil || r.Goes != nil {
		t.Errorf("%+v would go for 8 MB that nobody can have back: %v", r.Goes, err)
	}
}

// Where the disk has no room to write what is left of deleted blocks, no more of them go in their stead, and their space comes
// back when there is room.
func TestSpaceThatIsNotGivenBackComesBackLater(t *testing.T) {
	c := newAged(t)
	c.images(40)
	c.receipt("north", 40, time.Now())
	k := newKeeper(t, c, RetentionConfig{MaxSize: 12 << 20, Quorum: 1}) // of 16 MB
	k.retention.giveBack = func(context.Context, uint64, uint64) error { return syscall.ENOSPC }
	for range 5 { // what is in memory at first is in tables then, and counts
		if _, err := k.prune(t.Context(), k.config, false); err != nil {
			t.Fatal(err)
		}
	}
	went, before := k.told(t), k.store.Stats().LiveBytes
	if len(went) == 0 || went[len(went)-1].To > 30 || !k.retention.stuck.Load() {
		t.Fatalf("%+v went; the space is kept: %t", went, k.retention.stuck.Load())
	}
	for range 3 {
		if _, err := k.prune(t.Context(), k.config, false); err != nil {
			t.Fatal(err)
		}
	}
	if more := k.told(t); len(more) != len(went) {
		t.Errorf("%+v went, too, for space that nobody gets", more[len(went):])
	}
	k.retention.giveBack = k.store.Reclaim
	if _, err := k.prune(t.Context(), k.config, false); err != nil {
		t.Fatal(err)
	}
	if after := k.store.Stats().LiveBytes; k.retention.stuck.Load() || after >= before || after > 12<<20 {
		t.Errorf("with room again the store has %d bytes, after %d; the space is kept: %t", after, before, k.retention.stuck.Load())
	}
}

func TestNothingGoesWhileTheHeadIsNotSettledNorUnderOtherLimits(t *testing.T) {
	c := newAged(t)
	c.seal(30)
	c.receipt("north", 20, agedFrom.Add(30*time.Hour))
	k := newKeeper(t, c, RetentionConfig{MaxAge: time.Hour, Quorum: 1})
	c.receipt("north", 25, time.Now())
	limits := k.config.Retention.Limits()
	if err := k.committer.Do(t.Context(), func() { k.gate.Add(sealgate.Reason{Kind: sealgate.Unsettled}) }); err != nil {
		t.Fatal(err)
	}
	if _, err := k.pruneNow(t.Context(), limits); !errors.Is(err, recorder.ErrClosed) {
		t.Error(err)
	}
	if err := k.committer.Do(t.Context(), func() { k.gate.Release(0) }); err != nil {
		t.Fatal(err)
	}
	limits.MaxAge *= 2
	if _, err := k.pruneNow(t.Context(), limits); err == nil {
		t.Error("limits that are not in force were gone by")
	}
	if _, err := k.store.Entry(0); err != nil || len(k.told(t)) != 0 {
		t.Errorf("something went: %v", err)
	}
}

// Deletions go on between groups, and each message is there once.
func TestRecordingGoesOnBesideDeletions(t *testing.T) {
	c := newAged(t)
	k := newKeeper(t, c, RetentionConfig{MaxSize: 16 * tomlconf.MiB, Quorum: 1})
	const n = 300
	errs := make(chan error, n)
	go func() {
		for i := range n {
			m := &sensors.Message{Source: "test:x", Received: agedFrom, Payload: fmt.Appendf(nil, "message %d", i), Flags: lightchain.NotUnderstood, Done: func(err error) { errs <- err }}
			if err := k.queue.Put(t.Context(), m); err != nil {
				errs <- err
			}
		}
	}()
	deleted := uint64(0)
	for range n {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		if tip := k.store.Tip().Height; tip > 2 {
			p, err := k.pruneStep(t.Context(), 1, cut{below: tip - 1, why: []string{"size"}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			deleted = max(deleted, p.Next)
		}
	}
	next, gone := uint64(0), uint64(0)
	for _, e := range k.told(t) {
		if gone == 0 {
			gone, next = e.FirstEntry, e.FirstEntry
		}
		if e.FirstEntry != next {
			t.Fatalf("%+v behind entry %d", e, next)
		}
		next = e.NextEntry
	}
	if deleted == 0 || next != deleted {
		t.Fatalf("entries below %d went, the chain says those below %d", deleted, next)
	}
	if _, err := k.store.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// However often older entries are deleted, what was lost on disk is still said, and counted.
func TestWhatWasLostIsSaidAfterAnyNumberOfDeletions(t *testing.T) {
	c := newAged(t)
	damaged := func(n uint64) {
		t.Helper()
		first := 10 * n
		payload, err := json.Marshal(damageEvent{First: &first, Count: n, Why: "a test", SoFar: headersync.Tally{Times: n, Count: n * (n + 1) / 2}})
		if err != nil {
			t.Fatal(err)
		}
		g, err := c.store.Stage([]lightchain.Entry{{Received: int64(n), Source: "agent:damage", Flags: lightchain.ByAgent, Payload: payload}})
		if err == nil {
			err = g.Wait()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.seal(3)
	c.receipt("south", 1, time.Now()) // by whose clock it is late, whatever this machine's is worth
	k := newKeeper(t, c, RetentionConfig{MaxAge: time.Hour, Quorum: 1})
	for n := range uint64(4) {
		if err := k.committer.Do(t.Context(), func() {
			if n < 3 {
				damaged(n + 1)
			}
			height := c.seal(5)
			c.receipt("north", height, agedFrom.Add(time.Duration(n)*time.Hour))
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := k.prune(t.Context(), k.config, false); err != nil {
			t.Fatal(err)
		}
		events := k.told(t)
		said := events[len(events)-1].Damage
		if want := int(min(n+1, 3)); len(said.Entries) != want || said.LeftOut != 0 {
			t.Fatalf("deletion %d says %+v, want %d damages", n, said, want)
		}
		for i, e := range said.Entries {
			if e.Said.Count != uint64(i+1) || *e.Said.First != uint64(10*(i+1)) || e.Received != int64(i+1) {
				t.Errorf("deletion %d, damage %d: %+v", n, i, e)
			}
		}
	}
	for range k.store.Find(store.Query{Source: "agent:damage"}) {
		t.Error("an entry agent:damage was not deleted: this shows nothing")
	}
	var sums tally
	sums.recall(&k.store.Reader)
	if got := sums.condition().Damage; got.Times != 3 || got.Count != 6 {
		t.Errorf("%+v was lost in all", got)
	}
}
