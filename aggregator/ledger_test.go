package aggregator_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
)

// take judges a page as the protocol's machine does.
func take(l collector.Store, id lightchain.ChainID, p *headersync.Pulled, every bool) (verdict collector.Verdict, err error) {
	err = l.Update(context.Background(), id, func(s *collector.State, put func(collector.Held) error) error {
		if verdict, err = collector.Judge(s, p, every, nil, put); err != nil {
			return err
		}
		if verdict != collector.Extended && verdict != collector.Split {
			return collector.ErrUnchanged
		}
		return nil
	})
	return verdict, err
}

// countersign issues a receipt as the protocol's machine does.
func countersign(l collector.Store, id lightchain.ChainID, seconds uint64) error {
	return l.Update(context.Background(), id, func(s *collector.State, _ func(collector.Held) error) error {
		if s.Receipt != nil {
			return collector.ErrUnchanged
		}
		r, err := s.Head.Head.Countersign(testSigner("aggregator agg-1"), "agg-1", seconds)
		if err != nil {
			return err
		}
		s.Receipt, s.Last = &r, seconds
		return nil
	})
}

func approved(t testing.TB, store registry.Store, id lightchain.ChainID) {
	t.Helper()
	mustUpdate(t, store, id, func(r *registry.Record) (*registry.Change, error) {
		r.Standing = registry.Approved
		return nil, nil
	})
}

func (c *chain) leap(from, to uint64) *lightchain.Consistency {
	c.t.Helper()
	nodes, err := lightchain.ProveGrowth(lightchain.LeafNodes(c.leaves), from, to)
	if err != nil {
		c.t.Fatal(err)
	}
	p := &lightchain.Consistency{From: from, Nodes: nodes, Head: c.headers[to]}
	if to == from {
		p.Nodes = nil
	}
	return p
}

// What a page may be, and what becomes of it in the record.
func TestDecisions(t *testing.T) {
	c := newChain(t, "decisions")
	c.sealMany(20)
	forked := c.copy()
	for range 3 {
		forked.seal(func(h *lightchain.Header) { h.Count = 9 })
	}
	c.sealMany(5)
	stranger := newChain(t, "stranger")
	stranger.sealMany(25)
	genesis, run := c.headers[0], func(from, to uint64) *headersync.Pulled { return &headersync.Pulled{Head: to, Run: c.run(from, to)} }
	lying := func(change func(*lightchain.RunHeader)) *headersync.Pulled {
		r := c.run(21, 25)
		change(&r.Headers[2])
		return &headersync.Pulled{Head: 25, Run: r}
	}
	for _, test := range []struct {
		claim string
		page  *headersync.Pulled
		want  collector.Verdict
		head  uint64
	}{
		{"a run from the head on", run(21, 25), collector.Extended, 25},
		{"a proof from the head on", &headersync.Pulled{Head: 25, Consistency: c.leap(21, 25)}, collector.Extended, 25},
		{"a copy of an earlier page", run(5, 20), collector.Known, 20},
		{"genesis again", &headersync.Pulled{Head: 20, Genesis: genesis}, collector.Known, 20},
		{"nothing new", &headersync.Pulled{Head: 20}, collector.Known, 20},
		{"an older head of its own", &headersync.Pulled{Head: 18, Other: []*lightchain.SignedHeader{c.headers[18]}}, collector.Lagging, 20},
		{"another head at the same height", &headersync.Pulled{Head: 20, Other: []*lightchain.SignedHeader{func() *lightchain.SignedHeader {
			other := c.copy()
			other.headers, other.leaves = slices.Clone(other.headers[:20]), slices.Clone(other.leaves[:20])
			other.tip = tipOf(t, other)
			return other.seal(func(h *lightchain.Header) { h.Count = 1 })
		}()}}, collector.Split, 20},
		{"a run with a gap", run(22, 25), collector.Invalid, 20},
		{"a run of another chain", &headersync.Pulled{Head: 25, Run: stranger.run(21, 25)}, collector.Invalid, 20},
		{"a run that lies about a count", lying(func(h *lightchain.RunHeader) { h.Count++ }), collector.Invalid, 20},
		{"a run that lies about a time", lying(func(h *lightchain.RunHeader) { h.Sealed++ }), collector.Invalid, 20},
		{"a run that lies about a root", lying(func(h *lightchain.RunHeader) { h.Root[0] ^= 1 }), collector.Invalid, 20},
		{"a run that smuggles a key", lying(func(h *lightchain.RunHeader) {
			key := testSigner("thief").Public()
			h.NextKey, h.Signature = &key, &lightchain.Signature{}
		}), collector.Invalid, 20},
		{"the gateway has lost what it takes", &headersync.Pulled{Unavailable: true}, collector.Lacking, 20},
	} {
		t.Run(test.claim, func(t *testing.T) {
			store, clock := openPebble(t), newClock()
			l := registry.NewLedger(store, clock.Now, nil)
			approved(t, store, c.id())
			if v, err := take(l, c.id(), &headersync.Pulled{Head: 20, Genesis: genesis, Run: c.run(1, 20)}, true); v != collector.Extended || err != nil {
				t.Fatalf("the first page: %s, %v", v, err)
			}
			clock.advance(time.Minute)
			verdict, err := take(l, c.id(), test.page, true)
			if verdict != test.want || (err != nil) != (verdict == collector.Invalid) {
				t.Errorf("it is %s, %v; want %s", verdict, err, test.want)
			}
			r, err := store.Record(t.Context(), c.id())
			if err != nil {
				t.Fatal(err)
			}
			if r.Head.Height != test.head || r.State.Head.Height() != test.head || r.Name != "decisions" {
				t.Errorf("the record: %+v", r)
			}
			if seen := r.Seen == chainTime+60; seen != (test.want == collector.Extended) {
				t.Errorf("a sign of life: %t", seen)
			}
			forks, err := store.Forks(t.Context(), c.id())
			if err != nil || len(forks) > 0 != (test.want == collector.Split) || (r.Findings[registry.Forked] != nil) != (test.want == collector.Split) {
				t.Errorf("evidence: %d, finding %v, %v", len(forks), r.Findings[registry.Forked], err)
			}
		})
	}
}

// tipOf follows a chain's headers from the beginning.
func tipOf(t testing.TB, c *chain) *lightchain.Tip {
	t.Helper()
	tip, err := lightchain.Begin(c.headers[0])
	for _, h := range c.headers[1:] {
		if err == nil {
			err = tip.FollowOne(h)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return tip
}

func ledgerRefuses(t *testing.T, s opened) {
	clock := newClock()
	l := registry.NewLedger(s.Store, clock.Now, nil)
	c := newChain(t, "guarded")
	c.sealMany(10)
	approved(t, s, c.id())
	page := func(from, to uint64) *headersync.Pulled { return &headersync.Pulled{Head: to, Run: c.run(from, to)} }
	first := page(1, 5)
	first.Genesis = c.headers[0]
	if _, err := take(l, c.id(), first, true); err != nil {
		t.Fatal(err)
	}
	if err := countersign(l, c.id(), chainTime+100); err != nil {
		t.Fatal(err)
	}
	if _, err := take(l, c.id(), page(6, 10), true); err != nil {
		t.Fatal(err)
	}
	unchanged := func(claim string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", claim, err)
		}
		r, err := s.Record(t.Context(), c.id())
		if err != nil || r.Receipt.Time != chainTime+100 || r.Receipt.Height != 5 || r.Head.Height != 10 {
			t.Errorf("%s: the record is %+v, %v", claim, r, err)
		}
	}
	unchanged("a time below the last receipt's", countersign(l, c.id(), chainTime+99), registry.ErrBackward)
	unchanged("a shorter head", l.Update(t.Context(), c.id(), func(s *collector.State, _ func(collector.Held) error) error {
		s.Head = &collector.Mark{Head: c.headers[0]}
		return nil
	}), registry.ErrShorter)
	unchanged("another header of the same height", l.Update(t.Context(), c.id(), func(s *collector.State, _ func(collector.Held) error) error {
		other := s.Head.Head.Header
		other.Count++
		signed, err := other.Sign(testSigner("somebody"))
		if err != nil {
			return err
		}
		s.Head = &collector.Mark{Head: signed, Edge: s.Head.Edge}
		return nil
	}), registry.ErrOther)
	mustUpdate(t, s, c.id(), func(r *registry.Record) (*registry.Change, error) {
		r.Standing = registry.Waiting
		return nil, nil
	})
	unchanged("a gateway that waits", countersign(l, c.id(), chainTime+200), registry.ErrUnasked)
	mustUpdate(t, s, c.id(), func(r *registry.Record) (*registry.Change, error) {
		r.Standing = registry.Approved
		r.State.Fork = lightchain.NewFork(c.headers[:1], lightchain.Side{Head: c.headers[4], Leaf: c.leaves[4]}, lightchain.Side{Head: c.headers[5], Leaf: c.leaves[5]})
		return nil, nil
	})
	unchanged("a chain that was forked", countersign(l, c.id(), chainTime+200), registry.ErrForked)
}

func TestAForgottenChainIsNeverCountersignedShorter(t *testing.T) {
	g, store, clock := newRegistry(t, registry.Rules{})
	l := registry.NewLedger(store, clock.Now, nil)
	c := newChain(t, "forgotten")
	c.sealMany(10)
	old := c.copy()
	c.sealMany(10)
	approve := func() {
		if err := g.Approve(t.Context(), c.id(), registry.Settings{}, "test"); err != nil {
			t.Fatal(err)
		}
	}
	approve()
	whole := &headersync.Pulled{Head: 20, Genesis: c.headers[0], Run: c.run(1, 20)}
	if _, err := take(l, c.id(), whole, true); err != nil {
		t.Fatal(err)
	}
	if err := countersign(l, c.id(), chainTime+1000); err != nil {
		t.Fatal(err)
	}
	if err := g.Forget(t.Context(), c.id()); err != nil {
		t.Fatal(err)
	}
	approve()
	// The gateway comes back from an old image: first as if it were unknown here, then with its own continuation.
	if v, err := take(l, c.id(), &headersync.Pulled{Head: 10, Genesis: old.headers[0], Run: old.run(1, 10)}, true); v != collector.Known || err != nil {
		t.Errorf("the chain from its beginning is %s, %v", v, err)
	}
	old.seal(func(h *lightchain.Header) { h.Count = 1 })
	if v, err := take(l, c.id(), &headersync.Pulled{Head: 11, Run: old.run(11, 11)}, true); v == collector.Extended {
		t.Errorf("another continuation is %s, %v", v, err)
	}
	r, err := store.Record(t.Context(), c.id())
	if err != nil || r.Head.Height != 20 || r.Receipt.Time != chainTime+1000 {
		t.Fatalf("the record: %+v, %v", r, err)
	}
	c.sealMany(1)
	if v, err := take(l, c.id(), &headersync.Pulled{Head: 21, Consistency: c.leap(21, 21)}, true); v != collector.Extended || err != nil {
		t.Errorf("its true continuation is %s, %v", v, err)
	}
	if err := countersign(l, c.id(), chainTime+999); !errors.Is(err, registry.ErrBackward) {
		t.Errorf("a receipt before the one that was issued: %v", err)
	}
}

func headsAreCountersignedOnce(t *testing.T, s opened) {
	stores := []registry.Store{s.Store, s.Store}
	if s.replica {
		stores[1] = s.again()
	}
	c := newChain(t, "raced")
	approved(t, s, c.id())
	clock := newClock()
	for round := range 10 {
		c.sealMany(3)
		page := func() *headersync.Pulled {
			p := &headersync.Pulled{Head: c.tip.Height, Run: c.run(c.tip.Height-2, c.tip.Height)}
			if round == 0 {
				p.Genesis = c.headers[0]
			}
			return p
		}
		var racing sync.WaitGroup
		for i := range 4 {
			racing.Go(func() {
				l := registry.NewLedger(stores[i%2], clock.Now, nil)
				if _, err := take(l, c.id(), page(), true); err != nil {
					t.Error(err)
				}
				if err := countersign(l, c.id(), uint64(chainTime+10*round+i)); err != nil && !errors.Is(err, registry.ErrBackward) {
					t.Error(err)
				}
			})
		}
		racing.Wait()
	}
	receipts, err := s.Receipts(t.Context(), c.id(), 0, 1000)
	if err != nil || len(receipts) != 10 {
		t.Fatalf("%d receipts for 10 heads, %v", len(receipts), err)
	}
	r, err := s.Record(t.Context(), c.id())
	if err != nil || r.State.Receipt == nil || r.State.Receipt.Time != receipts[9].Time || r.Head.Every != 30 {
		t.Errorf("the record: %+v, %v", r, err)
	}
	next := uint64(0)
	err = registry.WalkHeaders(t.Context(), s, c.id(), 0, 30, func(h collector.Held) error {
		if h.Height != next {
			return fmt.Errorf("header %d follows %d", h.Height, next)
		}
		next++
		return nil
	})
	if err != nil || next != 31 {
		t.Errorf("%d headers are held, %v", next, err)
	}
}

func TestClockStepsAreFound(t *testing.T) {
	for _, every := range []bool{true, false} {
		for _, test := range []struct {
			claim string
			move  func(*chain)
			found bool
		}{
			{"an even clock", func(*chain) {}, false},
			{"an hour back", func(c *chain) { c.now -= 3600e9 }, true},
			{"two seconds ahead", func(c *chain) { c.now += 2e9 }, true},
			{"a tenth of a second", func(c *chain) { c.now += 1e8 }, false},
			{"another boot", func(c *chain) { c.now += 3600e9; c.clock.Boot++; c.clock.Uptime = 1e9 }, false},
		} {
			t.Run(fmt.Sprintf("%s, every header %t", test.claim, every), func(t *testing.T) {
				store, clock := openPebble(t), newClock()
				l := registry.NewLedger(store, clock.Now, nil)
				c := newChain(t, "stepping")
				approved(t, store, c.id())
				c.sealMany(3)
				if _, err := take(l, c.id(), &headersync.Pulled{Head: 3, Genesis: c.headers[0], Run: c.run(1, 3)}, every); err != nil {
					t.Fatal(err)
				}
				c.sealMany(2)
				test.move(c)
				c.sealMany(2)
				page := &headersync.Pulled{Head: 7, Run: c.run(4, 7)}
				if !every {
					page = &headersync.Pulled{Head: 7, Consistency: c.leap(4, 7)}
				}
				if _, err := take(l, c.id(), page, every); err != nil {
					t.Fatal(err)
				}
				r, err := store.Record(t.Context(), c.id())
				if err != nil || (r.Findings[registry.ClockStep] != nil) != test.found {
					t.Errorf("found: %+v, %v", r.Findings[registry.ClockStep], err)
				}
			})
		}
	}
}
