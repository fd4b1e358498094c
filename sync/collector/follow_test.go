package collector

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/pace"
	"edgechain.example/sync/synctest"
)

// listens has every message that comes to an end shown to a function first, which says whether it is let through.
func (e *end) listens(f func(word string, m headersync.Message) bool) {
	in := e.receive
	e.receive = func(m headersync.Message) {
		if _, word, _, _ := headersync.SplitTopic(headersync.DefaultPrefix, m.Topic); f(word, m) {
			in(m)
		}
	}
}

func (w *world) follower(k *collectorNode) *follower {
	return k.k.shards[0].followers[w.gateways[0].chain.Tip.Chain]
}

// within lets time pass until something holds.
func (w *world) within(d time.Duration, what string, holds func() bool) {
	w.t.Helper()
	for began := w.now; !holds(); w.run(time.Second) {
		if w.now.Sub(began) > d {
			w.t.Fatalf("not within %s: %s", d, what)
		}
	}
}

func (w *world) caughtUp(k *collectorNode) func() bool {
	return func() bool {
		tip := w.gateways[0].chain.Tip
		s, err := k.store.load(tip.Chain)
		return err == nil && s != nil && s.Head.Height() == tip.Height && s.Receipt != nil && (s.Every == nil || s.Every.Height() == tip.Height)
	}
}

// What could not be sent was not asked: when the broker is back, everything is there within its round trips, and nothing
// counts but what left.
func TestABrokerThatWasAwayLeavesNothingWaiting(t *testing.T) {
	for _, budget := range []uint64{0, 100 << 10} {
		for _, backlog := range []int{1, 2, 400} {
			w, g, k := pair(t, headersync.EveryHeader, 3)
			w.now = pace.Tomorrow(w.now)
			k.policy.BytesPerDay = budget
			w.run(time.Minute)
			sent := k.end.sent
			k.end.listens(func(word string, _ headersync.Message) bool {
				k.end.cut = k.end.cut || word == headersync.TopicHead
				return true
			})
			for range backlog {
				g.chain.Seal(2, w.now.UnixNano(), nil)
			}
			g.g.Sealed()
			w.run(8 * time.Hour)
			if n := w.follower(k).purse.spent.Bytes; !k.end.cut || n > k.end.sent-sent+1000 {
				t.Errorf("%d bytes are counted, %d left", n, k.end.sent-sent)
			}
			k.end.receive = func(m headersync.Message) { k.k.Receive(context.Background(), w.now, m) }
			w.connect(k.end)
			k.k.Connected(t.Context(), w.now)
			w.within(time.Minute, fmt.Sprintf("budget %d, %d headers after the broker is back", budget, backlog), w.caughtUp(k))
		}
	}
}

// A page was on its way when the connection broke, and is gone: the question is repeated at once.
func TestWhatWasUnderWayIsAskedAgainAtAReconnection(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 3)
	lost := 0
	g.end.listens(func(word string, _ headersync.Message) bool {
		if word == headersync.TopicPull && lost == 0 {
			lost++
			return false
		}
		return true
	})
	for range 40 {
		g.chain.Seal(2, w.now.UnixNano(), nil)
	}
	g.g.Sealed()
	w.run(time.Second)
	if lost == 0 || w.caughtUp(k)() {
		t.Fatal("nothing was under way")
	}
	k.k.Connected(t.Context(), w.now)
	w.within(pace.AfterConnect+time.Second, "the repeated question", w.caughtUp(k))
}

// Whatever fails for a while, policy, store, or the aggregator's own program, what is missing comes afterwards, without a
// new head.
func TestWhatFailsForAWhileIsTriedAgain(t *testing.T) {
	for name, spell := range map[string]func(w *world, k *collectorNode) (over func()){
		"the policy": func(_ *world, k *collectorNode) func() {
			down := true
			k.k.c.Policy = func(lightchain.ChainID) (Policy, bool) { return k.policy, !down }
			return func() { down = false }
		},
		"loading": func(_ *world, k *collectorNode) func() {
			k.k.c.Store = &failingStore{k.store, true, false}
			return func() { k.k.c.Store = k.store }
		},
		"updating": func(_ *world, k *collectorNode) func() {
			k.k.c.Store = &failingStore{k.store, false, true}
			return func() { k.k.c.Store = k.store }
		},
		"publishing": func(_ *world, k *collectorNode) func() {
			k.end.cut = true
			return func() { k.end.cut = false }
		},
		"the clock": func(w *world, k *collectorNode) func() {
			k.k.c.Clock = func() (uint64, bool) { return uint64(w.now.Unix()), false }
			return func() { k.k.c.Clock = func() (uint64, bool) { return uint64(w.now.Unix()), true } }
		},
		"the program": func(w *world, k *collectorNode) func() { return k.start },
	} {
		w, g, k := pair(t, headersync.EveryHeader, 3)
		k.policy.LeapOver = 20
		drop := true
		k.end.listens(func(word string, m headersync.Message) bool {
			p, err := headersync.DecodePulled(m.Payload)
			return !drop || err != nil || p.Run == nil // the backlog's page is lost
		})
		for range 200 {
			g.chain.Seal(2, w.now.UnixNano(), nil)
		}
		g.g.Sealed()
		w.run(2 * time.Second)
		over := spell(w, k)
		w.run(50 * time.Second)
		drop = false
		over()
		w.within(pullRest+time.Minute, name+": what is missing", w.caughtUp(k))
	}
}

// failingStore fails to read or to write.
type failingStore struct {
	*memStore
	load, update bool
}

func (s *failingStore) Load(ctx context.Context, chain lightchain.ChainID) (*State, error) {
	if s.load {
		return nil, fmt.Errorf("reading fails")
	}
	return s.memStore.Load(ctx, chain)
}

func (s *failingStore) Update(ctx context.Context, chain lightchain.ChainID, f func(*State, func(Held) error) error) error {
	if s.update {
		return fmt.Errorf("writing fails")
	}
	return s.memStore.Update(ctx, chain, f)
}

// A head that waits for a clock has no page asked for more often.
func TestAHeadThatWaitsForTheClockHastensNoQuestion(t *testing.T) {
	pulls := map[bool]int{}
	for _, right := range []bool{true, false} {
		w, g, k := pair(t, headersync.EveryHeader, 3)
		k.k.c.Clock = func() (uint64, bool) { return uint64(w.now.Unix()), right }
		k.policy.LeapOver = 20
		away := false
		g.end.listens(func(word string, _ headersync.Message) bool {
			if word == headersync.TopicPull && away {
				pulls[right]++
			}
			return !away
		})
		k.end.listens(func(word string, m headersync.Message) bool {
			if p, err := headersync.DecodePulled(m.Payload); err == nil && p.Consistency != nil {
				away = true // it goes away after its newest head was shown
			}
			return true
		})
		for range 200 {
			g.chain.Seal(2, w.now.UnixNano(), nil)
		}
		g.g.Sealed()
		w.run(8 * time.Hour)
	}
	if pulls[true] == 0 || pulls[true] > 60 || pulls[false] > pulls[true]+2 {
		t.Errorf("in eight hours it asks %d times, and %d times with a clock that is wrong", pulls[true], pulls[false])
	}
}

// Pulls that a broker kept for a gateway that was away cost no more than twice what is missing.
func TestPullsThatWaitedCostLittle(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 3)
	k.policy.LeapOver = 2000
	away := false
	var kept []headersync.Message
	in := g.end.receive
	g.end.listens(func(_ string, m headersync.Message) bool {
		if away {
			kept = append(kept, m)
		}
		return !away
	})
	k.end.listens(func(word string, _ headersync.Message) bool {
		away = away || word == headersync.TopicHead
		return true
	})
	for range 1500 {
		g.chain.Seal(2, w.now.UnixNano(), nil)
	}
	g.g.Sealed()
	w.run(8 * time.Hour)
	page, err := g.g.Page(&headersync.Pull{Want: headersync.EveryHeader, First: 4, Below: g.chain.Headers[3].Hash(), Last: 1503}, headersync.MaxPage)
	if err != nil {
		t.Fatal(err)
	}
	needed := uint64(len(synctest.Must(page.Run.Append(nil))))
	k.end.receive = func(m headersync.Message) { k.k.Receive(context.Background(), w.now, m) }
	away = false
	sent := g.end.sent
	for _, m := range kept {
		in(m)
	}
	w.within(time.Minute, "what is missing", w.caughtUp(k))
	w.run(time.Hour)
	if bytes := g.end.sent - sent; bytes > 2*needed {
		t.Errorf("%d messages waited, and the gateway sends %d bytes for headers of %d", len(kept), bytes, needed)
	}
}

// On a link of any speed no page goes out more than twice.
func TestASlowLinkCarriesEachPageOnce(t *testing.T) {
	for _, rate := range []float64{40_000, 4000, 1200, 600} {
		c := synctest.Offline(3000)
		w := newWorld(t, 7, headersync.EveryHeader)
		g, k := w.gateways[0], w.collectors[0]
		g.chain = c
		pages, headers := 0, 0
		busy := w.now
		w.pace = func(e *end, m headersync.Message) time.Duration {
			if e == g.end {
				return 200 * time.Millisecond
			}
			if busy.Before(w.now) {
				busy = w.now
			}
			busy = busy.Add(time.Duration(float64(pace.Cost(m.Topic, m.Payload)) / rate * 1e9))
			if p, err := headersync.DecodePulled(m.Payload); err == nil && p.Run != nil {
				pages++
				headers += len(p.Run.Headers)
			}
			return busy.Sub(w.now) + 200*time.Millisecond
		}
		g.start(gateway.ConfirmNever)
		w.within(3*time.Hour, fmt.Sprintf("at %.0f bytes a second", rate), func() bool {
			s, err := k.store.load(c.Tip.Chain)
			return err == nil && s != nil && s.Every != nil && s.Every.Height() == c.Tip.Height
		})
		if headers > 2*3000 {
			t.Errorf("at %.0f bytes a second %d headers come in %d pages for 3000", rate, headers, pages)
		}
	}
}

// An aggregator that is away costs the others next to nothing.
func TestAnAggregatorThatIsAwayCostsTheOthersNothing(t *testing.T) {
	w := newWorld(t, 7, headersync.EveryHeader, headersync.EveryHeader)
	w.calm0()
	w.collectors[1].end.cut = true
	g, k := w.gateways[0], w.collectors[0]
	g.start(gateway.ConfirmIfReachable)
	w.run(2 * time.Hour)
	w.now = pace.Tomorrow(w.now)
	sent := g.end.sent + k.end.sent
	w.run(23 * time.Hour)
	if bytes := g.end.sent + k.end.sent - sent; bytes > 100<<10 {
		t.Errorf("in 23 hours in which nothing happens %d bytes are sent", bytes)
	}
	w.connect(w.collectors[1].end)
	w.within(2*time.Minute, "a receipt of the aggregator that is back", w.caughtUp(w.collectors[1]))
}

// Changes of key within seconds of each other hold up no receipt.
func TestChangesOfKeyWithinSecondsAreFollowed(t *testing.T) {
	for _, mode := range []headersync.Mode{headersync.EveryHeader, headersync.Sparse} {
		w, g, k := pair(t, mode, 3)
		for i := range 5 {
			for j := range 3 {
				next := synctest.Signer(fmt.Sprint("hasty ", i, j))
				g.chain.Seal(1, w.now.UnixNano(), next)
				g.g.SetSigner(next)
			}
			g.chain.Seal(1, w.now.UnixNano(), nil)
			g.g.Sealed()
			w.within(45*time.Second, "a head after changes of key", w.caughtUp(k))
		}
	}
}

// A head that continues the one known is countersigned without a question.
func TestAHeadThatContinuesIsNotAskedFor(t *testing.T) {
	for _, mode := range []headersync.Mode{headersync.EveryHeader, headersync.Sparse} {
		w, g, k := pair(t, mode, 3)
		asked := 0
		g.end.listens(func(word string, _ headersync.Message) bool {
			if word == headersync.TopicPull {
				asked++
			}
			return true
		})
		for i := range 20 {
			var next lightchain.Signer
			if i%7 == 3 {
				next = synctest.Signer(fmt.Sprint("while following ", i))
			}
			g.chain.Seal(1, w.now.UnixNano(), next)
			g.g.SetSigner(g.chain.Signer)
			g.g.Sealed()
			w.run(15 * time.Second)
			if mode == headersync.EveryHeader && !w.caughtUp(k)() {
				w.within(time.Minute, "a receipt", w.caughtUp(k))
			}
		}
		w.within(2*time.Minute, "the last receipt", w.caughtUp(k))
		if asked > 0 {
			t.Errorf("mode %d: 20 heads are asked for %d times", mode, asked)
		}
		w.check()
	}
}

// forgeries are messages that prove nothing, each of another kind.
func forgeries(w *world, g *gatewayNode, k *collectorNode, numbers ...uint64) (all []headersync.Message) {
	chain, tip := g.chain.Tip.Chain, g.chain.Tip.Height
	run := &lightchain.Run{First: tip + 1}
	for i := range 4096 {
		run.Headers = append(run.Headers, lightchain.RunHeader{Root: lightchain.EmptyRoot(), Sealed: w.now.UnixNano() + int64(i),
			Clock: lightchain.Clock{State: 2, Boot: 1, Uptime: 1e15 + uint64(i)}})
	}
	run.Headers[4095].Signature = &lightchain.Signature{1}
	page := func(p *headersync.Pulled) {
		for _, number := range append(numbers, 1<<62, 0) {
			p.Correlation, p.Head = number, 1<<40
			all = append(all, headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, chain, headersync.TopicPulled, "a"), Payload: synctest.Must(p.Encode())})
		}
	}
	page(&headersync.Pulled{Run: run})
	page(&headersync.Pulled{Unavailable: true})
	page(&headersync.Pulled{})
	page(&headersync.Pulled{Other: []*lightchain.SignedHeader{g.chain.Headers[tip/2]}})
	head := func(s *lightchain.SignedHeader) {
		all = append(all, headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, chain, headersync.TopicHead, ""), Payload: synctest.Must(s.Encode())})
	}
	for _, height := range []uint64{1, tip / 2, tip, tip + 1, tip + 2, tip + 1000} {
		h := g.chain.Headers[min(height, tip)].Header
		h.Height, h.Sealed = height, h.Sealed+1
		head(synctest.Must(h.Sign(synctest.Signer("mallory"))))
	}
	head(g.chain.Headers[tip/2]) // a genuine one, replayed
	return all
}

// What proves nothing moves nothing: no question goes out for it, no finding accuses the gateway, and the store is asked at
// a bounded rate.
func TestWhatProvesNothingMovesNothing(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 40)
	store := &countingStore{memStore: k.store}
	k.k.c.Store = store
	var found []Finding
	k.k.c.Notify = func(f Finding) { found = append(found, f) }
	all := forgeries(w, g, k)
	sent, counted := g.end.sent+k.end.sent, w.follower(k).purse.spent.Bytes
	const seconds = 600
	for range seconds {
		for range 5 {
			for _, m := range all {
				k.k.Receive(t.Context(), w.now, m)
			}
		}
		w.run(time.Second)
	}
	if looks := store.loads + store.updates + store.walks; looks > 8*seconds {
		t.Errorf("%d messages that prove nothing have the store asked %d times in %d seconds", 5*seconds*len(all), looks, seconds)
	}
	if bytes := g.end.sent + k.end.sent - sent; bytes > 8<<10 || w.follower(k).purse.spent.Bytes-counted > 20<<10 {
		t.Errorf("they cost %d bytes, of which %d are counted", bytes, w.follower(k).purse.spent.Bytes-counted)
	}
	for _, f := range found {
		if f.Verdict == Invalid || f.Verdict == Lacking {
			t.Errorf("they accuse the gateway: %+v", f)
		}
	}
	g.chain.Seal(1, w.now.UnixNano(), nil)
	g.g.Sealed()
	w.within(time.Minute, "the next receipt", w.caughtUp(k))
}

// countingStore counts what it is asked.
type countingStore struct {
	*memStore
	loads, updates, walks int
}

func (c *countingStore) Load(ctx context.Context, chain lightchain.ChainID) (*State, error) {
	c.loads++
	return c.memStore.Load(ctx, chain)
}

func (c *countingStore) Update(ctx context.Context, chain lightchain.ChainID, f func(*State, func(Held) error) error) error {
	c.updates++
	return c.memStore.Update(ctx, chain, f)
}

func (c *countingStore) Headers(ctx context.Context, chain lightchain.ChainID, from, to uint64, visit func(Held) error) error {
	c.walks++
	return c.memStore.Headers(ctx, chain, from, to, visit)
}

// Who overhears a pull and answers it first, with what is not so, delays what is missing, and no more.
func TestAFalseAnswerToAnOpenQuestionDelaysOnly(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 40)
	for range 30 {
		g.chain.Seal(2, w.now.UnixNano(), nil)
	}
	pulls := 0
	g.end.listens(func(word string, m headersync.Message) bool {
		if word == headersync.TopicPull {
			pulls++
			p, _, err := headersync.DecodePull(m.Payload)
			if err != nil {
				t.Fatal(err)
			}
			for _, forged := range forgeries(w, g, k, p.Sequence) {
				k.k.Receive(t.Context(), w.now, forged)
			}
		}
		return true
	})
	g.g.Sealed()
	w.within(pullRest, "what is missing", w.caughtUp(k))
	if pulls > 12 {
		t.Errorf("it asks %d times", pulls)
	}
	if s := w.state(k); s.Fork != nil {
		t.Error("a fork that nobody made")
	}
}

// A thousand forged messages a second on one chain leave the others of the same shard their receipts.
func TestAVictimInTheSameShardGetsItsReceipts(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 30)
	victim := w.addGateway(synctest.NewChain(8), g.config.Aggregators)
	victim.start(gateway.ConfirmIfReachable)
	w.run(time.Minute)
	k.k.c.Clock = func() (uint64, bool) { return uint64(w.now.Unix()), true }
	all := forgeries(w, g, k)
	receipted := 0
	var spent time.Duration
	for i := range 16 {
		for j := range 500 {
			began := time.Now()
			k.k.Receive(t.Context(), w.now, all[(i+j)%len(all)])
			spent += time.Since(began)
		}
		victim.chain.Seal(1, w.now.UnixNano(), nil)
		victim.g.Sealed()
		w.run(15 * time.Second)
		if newest, _, _ := victim.chain.NewestReceipt("a"); newest == victim.chain.Tip.Height {
			receipted++
		}
	}
	t.Logf("a forged message takes %s", spent/(16*500))
	if receipted != 16 {
		t.Errorf("%d of 16 heads are receipted", receipted)
	}
}

// What a collector remembers of a gateway that was pulled very often is as small.
func TestManyPagesTakeNoRoom(t *testing.T) {
	var p purse
	now := time.Unix(synctest.Time, 0)
	for i := range 300 {
		p.reserve(now.Add(time.Duration(i)*time.Minute), uint64(i+1), 5000)
		p.arrived(now.Add(time.Duration(i)*time.Minute), uint64(i+1), 700, true)
	}
	if cap(p.asked) > 8 {
		t.Errorf("room for %d pulls after 300 that were answered", cap(p.asked))
	}
	runtime.KeepAlive(&p)
}

// However often its key changes, a chain's state can be read.
func TestAStateWithManyKeysIsRead(t *testing.T) {
	c := synctest.NewChain(5)
	s := &State{Chain: c.Tip.Chain, Head: &Mark{Head: c.Headers[0]}}
	for range 3000 {
		s.Keys = append(s.Keys, c.Headers[0])
	}
	if back, err := DecodeState(synctest.Must(s.Encode())); err != nil || len(back.Keys) != 3000 {
		t.Error(err)
	}
}
