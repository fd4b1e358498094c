package collector

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/pace"
	"edgechain.example/sync/synctest"
)

// catchUp lets an aggregator that knows nothing follow the chain, and returns the bytes that this took on the wire,
// how many messages, and the aggregator's state.
func catchUp(t testing.TB, c *synctest.Chain, p Policy) (bytes uint64, pages int, s *State, took time.Duration) {
	t.Helper()
	now := time.Unix(synctest.Time, 0)
	signer := synctest.Signer("north")
	var toGateway, toAggregator []headersync.Message
	up, down := &synctest.Tap{To: &toAggregator}, &synctest.Tap{To: &toGateway}
	g, err := gateway.New(gateway.Config{
		Conn: up, Chain: c, Receipts: c, Signer: c.Signer, Random: synctest.Random(rand.New(rand.NewPCG(1, 1))),
		Terms: gateway.Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: signer.Public()}}, Announce: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	store := newMemStore()
	k, err := New(Config{
		Conn: down, Store: store, Name: "north", Signer: signer, Workers: 1,
		Policy: func(lightchain.ChainID) (Policy, bool) { return p, true },
		Clock:  func() (uint64, bool) { return uint64(now.Unix()), true },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, start := context.Background(), time.Now()
	for range 2000 {
		g.Tick(now)
		k.Tick(ctx, now)
		for len(toGateway)+len(toAggregator) > 0 {
			a, b := toAggregator, toGateway
			toAggregator, toGateway = nil, nil
			for _, m := range a {
				if _, word, _, _ := headersync.SplitTopic(headersync.DefaultPrefix, m.Topic); word == headersync.TopicPulled {
					pages++
				}
				bytes += pace.Cost(m.Topic, m.Payload)
				k.Receive(ctx, now, m)
			}
			for _, m := range b {
				bytes += pace.Cost(m.Topic, m.Payload)
				g.Receive(now, m)
			}
		}
		if s, err = store.load(c.Tip.Chain); err != nil {
			t.Fatal(err)
		}
		if s != nil && s.Receipt != nil && s.Head.Height() == c.Tip.Height && (p.Mode == headersync.Sparse || s.Every.Height() == c.Tip.Height) {
			return bytes, pages, s, time.Since(start)
		}
		now = now.Add(time.Second)
	}
	t.Fatal("it never catches up")
	return
}

func TestCatchingUpTakesFewBytes(t *testing.T) {
	n := 3000
	if os.Getenv("EDGECHAIN_SOAK") != "" {
		n = 100_000
	}
	c := synctest.Offline(n)
	for _, mode := range []headersync.Mode{headersync.EveryHeader, headersync.Sparse} {
		bytes, pages, s, took := catchUp(t, c, Policy{Mode: mode})
		t.Logf("mode %d, %d blocks: %d bytes (%.2f per header), %d pages, %s", mode, n, bytes, float64(bytes)/float64(n), pages, took)
		if s.Head.Head.Hash() != c.Tip.Hash {
			t.Errorf("mode %d: another head", mode)
		}
		if mode == headersync.Sparse && bytes > 16<<10 {
			t.Errorf("a sparse copy of %d blocks takes %d bytes", n, bytes)
		}
		if mode == headersync.EveryHeader && bytes > uint64(48*n+16<<10) {
			t.Errorf("%d headers take %d bytes", n, bytes)
		}
	}
}

// The newest head is countersigned before the backlog behind it is fetched.
func TestTheNewestHeadComesFirst(t *testing.T) {
	c := synctest.Offline(3000)
	state := &State{Chain: c.Tip.Chain}
	pull, _ := state.next(Policy{Mode: headersync.EveryHeader}, 3000)
	if pull.Want != headersync.Sparse {
		t.Error("the backlog is asked for first")
	}
	g, err := gateway.New(gateway.Config{Chain: c, Receipts: c, Signer: c.Signer})
	if err != nil {
		t.Fatal(err)
	}
	page := synctest.Must(g.Page(&pull, headersync.DefaultPage))
	if v, err := Judge(state, page, true, nil, func(Held) error { return nil }); v != Extended || err != nil || state.Head.Height() != 3000 {
		t.Fatalf("%s %v, at %d", v, err, state.Head.Height())
	}
	if pull, _ = state.next(Policy{Mode: headersync.EveryHeader}, 3001); pull.Want != headersync.Sparse || pull.First != 3001 {
		t.Error("a newer head has to wait for the backlog")
	}
	if pull, _ = state.next(Policy{Mode: headersync.EveryHeader}, 3000); pull.Want != headersync.EveryHeader || pull.First != 1 || pull.Last != 3000 {
		t.Error("the backlog is forgotten")
	}
}

// Run drives both sides with a real clock, and ends when it is told to.
func TestRunServesUntilItIsTold(t *testing.T) {
	c, signer := synctest.NewChain(12), synctest.Signer("north")
	for range 5 {
		c.Seal(3, synctest.Time*1e9, nil)
	}
	bus := &liveBus{}
	receipted := make(chan uint64, 16)
	g, err := gateway.New(gateway.Config{
		Conn: bus.end(), Chain: c, Receipts: c, Signer: c.Signer, Random: synctest.Random(rand.New(rand.NewPCG(1, 1))),
		Terms: gateway.Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: signer.Public()}}},
		Notify: func(n gateway.Notice) {
			if n.Receipt > 0 {
				receipted <- n.Receipt
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := New(Config{
		Conn: bus.end(), Store: newMemStore(), Name: "north", Signer: signer,
		Policy: func(lightchain.ChainID) (Policy, bool) { return Policy{Mode: headersync.EveryHeader}, true },
		Clock:  func() (uint64, bool) { return synctest.Time, true },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- k.Run(ctx) }()
	<-bus.subscribed()
	go func() { ended <- g.Run(ctx) }()
	if height := <-receipted; height != 5 {
		t.Errorf("a receipt on header %d", height)
	}
	stop()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// What a collector remembers of a gateway between messages is small, so that a machine can follow very many.
func TestAKnownGatewayTakesLittleMemory(t *testing.T) {
	const gateways = 20_000
	k, err := New(Config{Name: "north", Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range gateways {
		var chain lightchain.ChainID
		binary.BigEndian.PutUint64(chain[:], uint64(i)*0x9e3779b97f4a7c15)
		s := k.shard(chain)
		s.later(s.follower(chain), time.Unix(int64(i), 0))
	}
	each := (heap() - before) / gateways
	t.Logf("%d bytes for each gateway", each)
	if each > 1024 {
		t.Errorf("a gateway takes %d bytes", each)
	}
	runtime.KeepAlive(k)
}

// A gateway greets and announces its head at the same time, and its aggregator asks at either: once is enough.
func TestTheFirstPageTravelsOnce(t *testing.T) {
	for _, mode := range []headersync.Mode{headersync.EveryHeader, headersync.Sparse} {
		if _, pages, _, _ := catchUp(t, synctest.Offline(500), Policy{Mode: mode}); pages != 1 {
			t.Errorf("mode %d: a page's worth of headers takes %d pages", mode, pages)
		}
	}
}
