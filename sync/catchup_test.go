package headersync

import (
	"context"
	"encoding/binary"
	"os"
	"runtime"
	"testing"
	"time"

	"edgechain.example/lightchain"
)

// offline is a gateway that was offline for n blocks, each minute one.
func offline(n int) *memChain {
	c := newMemChain(11)
	for i := range n {
		c.seal(uint64(500+i*7919%97), testTime*1e9+int64(i)*60e9+int64(i*7919%1000)*1000, nil)
	}
	return c
}

// catchUp lets an aggregator that knows nothing follow the chain, and returns the bytes that this took on the wire,
// how many messages, and the aggregator's state.
func catchUp(t testing.TB, c *memChain, p Policy) (bytes uint64, pages int, s *State, took time.Duration) {
	t.Helper()
	now := time.Unix(testTime, 0)
	signer := testSigner("north")
	var toGateway, toAggregator []Message
	up, down := &tap{to: &toAggregator}, &tap{to: &toGateway}
	g, err := NewGateway(GatewayConfig{
		Conn: up, Chain: c, Receipts: c, Signer: c.signer, Random: seeded{newWorldRand()},
		Terms: Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: signer.Public()}}, Announce: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	store := newMemStore()
	k, err := NewCollector(CollectorConfig{
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
				if _, word, _, _ := splitTopic(DefaultPrefix, m.Topic); word == topicPulled {
					pages++
				}
				bytes += cost(m.Topic, m.Payload)
				k.Receive(ctx, now, m)
			}
			for _, m := range b {
				bytes += cost(m.Topic, m.Payload)
				g.Receive(now, m)
			}
		}
		if s, err = store.load(c.tip.Chain); err != nil {
			t.Fatal(err)
		}
		if s != nil && s.Receipt != nil && s.Head.Height() == c.tip.Height && (p.Mode == Sparse || s.Every.Height() == c.tip.Height) {
			return bytes, pages, s, time.Since(start)
		}
		now = now.Add(time.Second)
	}
	t.Fatal("it never catches up")
	return
}

// tap puts what is published into a queue.
type tap struct{ to *[]Message }

func (p *tap) Publish(topic string, payload []byte, _ bool) error {
	*p.to = append(*p.to, Message{Topic: topic, Payload: payload})
	return nil
}

func (p *tap) Subscribe([]string, func(Message)) error { return nil }

func TestCatchingUpTakesFewBytes(t *testing.T) {
	n := 3000
	if os.Getenv("EDGECHAIN_SOAK") != "" {
		n = 100_000
	}
	c := offline(n)
	for _, mode := range []Mode{EveryHeader, Sparse} {
		bytes, pages, s, took := catchUp(t, c, Policy{Mode: mode})
		t.Logf("mode %d, %d blocks: %d bytes (%.2f per header), %d pages, %s", mode, n, bytes, float64(bytes)/float64(n), pages, took)
		if s.Head.Head.Hash() != c.tip.Hash {
			t.Errorf("mode %d: another head", mode)
		}
		if mode == Sparse && bytes > 16<<10 {
			t.Errorf("a sparse copy of %d blocks takes %d bytes", n, bytes)
		}
		if mode == EveryHeader && bytes > uint64(48*n+16<<10) {
			t.Errorf("%d headers take %d bytes", n, bytes)
		}
	}
}

// The newest head is countersigned before the backlog behind it is fetched.
func TestTheNewestHeadComesFirst(t *testing.T) {
	c := offline(3000)
	state := &State{Chain: c.tip.Chain}
	pull, _ := state.next(Policy{Mode: EveryHeader}, 3000)
	if pull.Want != Sparse {
		t.Error("the backlog is asked for first")
	}
	g, err := NewGateway(GatewayConfig{Chain: c, Receipts: c, Signer: c.signer})
	if err != nil {
		t.Fatal(err)
	}
	page := must(g.page(&pull, DefaultPage))
	if v, err := Judge(state, page, true, nil, func(Held) error { return nil }); v != Extended || err != nil || state.Head.Height() != 3000 {
		t.Fatalf("%s %v, at %d", v, err, state.Head.Height())
	}
	if pull, _ = state.next(Policy{Mode: EveryHeader}, 3001); pull.Want != Sparse || pull.First != 3001 {
		t.Error("a newer head has to wait for the backlog")
	}
	if pull, _ = state.next(Policy{Mode: EveryHeader}, 3000); pull.Want != EveryHeader || pull.First != 1 || pull.Last != 3000 {
		t.Error("the backlog is forgotten")
	}
}

// Run drives both sides with a real clock, and ends when it is told to.
func TestRunServesUntilItIsTold(t *testing.T) {
	c, signer := newMemChain(12), testSigner("north")
	for range 5 {
		c.seal(3, testTime*1e9, nil)
	}
	bus := &liveBus{}
	receipted := make(chan uint64, 16)
	g, err := NewGateway(GatewayConfig{
		Conn: bus.end(), Chain: c, Receipts: c, Signer: c.signer, Random: seeded{newWorldRand()},
		Terms: Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: signer.Public()}}},
		Notify: func(n Notice) {
			if n.Receipt > 0 {
				receipted <- n.Receipt
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewCollector(CollectorConfig{
		Conn: bus.end(), Store: newMemStore(), Name: "north", Signer: signer,
		Policy: func(lightchain.ChainID) (Policy, bool) { return Policy{Mode: EveryHeader}, true },
		Clock:  func() (uint64, bool) { return testTime, true },
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
	k, err := NewCollector(CollectorConfig{Name: "north", Workers: 2})
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
	for _, mode := range []Mode{EveryHeader, Sparse} {
		if _, pages, _, _ := catchUp(t, offline(500), Policy{Mode: mode}); pages != 1 {
			t.Errorf("mode %d: a page's worth of headers takes %d pages", mode, pages)
		}
	}
}
