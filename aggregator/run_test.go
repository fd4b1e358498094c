package aggregator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/pebblestore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
	syncgateway "edgechain.example/sync/gateway"
	"edgechain.example/sync/mqttlink"
)

// gateway is a gateway's side of the protocol over a real connection, on a chain that lives in memory.
type gateway struct {
	t    testing.TB
	sync *syncgateway.Gateway
	link *mqttlink.Link
	told chan syncgateway.Notice
	stop func()

	mu       sync.Mutex
	chain    *chain                                   // guarded by mu
	receipts map[string]map[uint64]lightchain.Receipt // guarded by mu
}

func (g *gateway) Head() (*lightchain.Tip, *lightchain.SignedHeader, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.chain.tip.Clone(), g.chain.head(), nil
}

func (g *gateway) Header(height uint64) (*lightchain.Header, *lightchain.HeaderSignature, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.chain.headers[height]
	return &h.Header, &h.HeaderSignature, nil
}

func (g *gateway) Node(level int, index uint64) (lightchain.Hash, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return lightchain.LeafNodes(g.chain.leaves)(level, index)
}

func (g *gateway) KeyHeights(to uint64) (heights []uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.chain.headers[:min(to, uint64(len(g.chain.headers)))] {
		if h.Header.NextKey != nil {
			heights = append(heights, h.Header.Height)
		}
	}
	return heights, nil
}

func (g *gateway) Countersigned(name string) (uint64, bool, error) { return g.NewestReceipt(name) }

func (g *gateway) NewestReceipt(name string) (newest uint64, found bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for height := range g.receipts[name] {
		newest, found = max(newest, height), true
	}
	return newest, found, nil
}

func (g *gateway) HasReceipt(height uint64, name string) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, found := g.receipts[name][height]
	return found, nil
}

func (g *gateway) PutReceipt(height uint64, r lightchain.Receipt) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.receipts[r.Name] == nil {
		g.receipts[r.Name] = map[uint64]lightchain.Receipt{}
	}
	g.receipts[r.Name][height] = r
	return nil
}

// newGateway returns a gateway that runs until the test ends.
func newGateway(t testing.TB, broker string, c *chain, token string, aggregators ...lightchain.Aggregator) *gateway {
	t.Helper()
	g := &gateway{t: t, chain: c, receipts: map[string]map[uint64]lightchain.Receipt{}, told: make(chan syncgateway.Notice, 1024)}
	var err error
	g.link, err = mqttlink.New(mqttlink.Config{
		Config: mqttconn.Config{
			Name: "test", Servers: []mqttconn.Server{mqttconn.Server("tcp://" + broker)}, KeepAlive: time.Minute,
			ClientID: "gateway-" + c.id().String()[:12] + "-" + fmt.Sprint(time.Now().UnixNano()),
		},
		Options:   mqttconn.Options{BackoffMin: 20 * time.Millisecond, BackoffMax: 200 * time.Millisecond},
		Will:      &mqttconn.Will{Topic: headersync.StatusTopic(headersync.DefaultPrefix, c.id()), Payload: []byte("offline")},
		Connected: func() { g.sync.Connected() },
	})
	if err != nil {
		t.Fatal(err)
	}
	g.sync, err = syncgateway.New(syncgateway.Config{
		Conn: g.link, Chain: g, Receipts: g, Signer: c.signer,
		Terms:   syncgateway.Terms{Aggregators: aggregators, Announce: time.Millisecond, EnrolToken: token},
		Confirm: syncgateway.ConfirmNever, Random: testRandom{},
		Notify: func(n syncgateway.Notice) {
			select {
			case g.told <- n:
			default:
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.link.Run(ctx) })
	running.Go(func() { _ = g.sync.Run(ctx) })
	g.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(g.stop)
	return g
}

func (g *gateway) seal(n int) {
	g.mu.Lock()
	g.chain.sealMany(n)
	g.mu.Unlock()
	g.sync.Sealed()
}

// awaitReceipt waits for a receipt on the newest head, and checks it.
func (g *gateway) awaitReceipt(a lightchain.Aggregator) lightchain.Receipt {
	g.t.Helper()
	_, head, _ := g.Head()
	var r lightchain.Receipt
	eventually(g.t, fmt.Sprintf("a receipt of %s on header %d of %s", a.Name, head.Header.Height, g.chain.id()), func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		var found bool
		r, found = g.receipts[a.Name][head.Header.Height]
		return found
	})
	if err := head.CheckReceipt(&r, a.Key); err != nil {
		g.t.Error(err)
	}
	return r
}

// eventually waits until a condition holds that other goroutines bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// node is an aggregator that runs.
type node struct {
	*aggregator.Aggregator
	config *aggregator.Config
	store  registry.Store
	self   lightchain.Aggregator
	log    *testenv.Log
	stop   func()
}

// startNode runs an aggregator until the test ends or it is stopped; change, which may be nil, has the last word on its
// configuration.
func startNode(t testing.TB, broker string, store registry.Store, change func(*aggregator.Config, *aggregator.Options)) *node {
	t.Helper()
	c := aggregator.DefaultConfig()
	c.Aggregator.Name, c.Aggregator.Data = "agg-1", t.TempDir()
	c.API.Socket = filepath.Join(c.Aggregator.Data, "s")
	b := aggregator.BrokerConfig{Config: mqttconn.Config{Name: "test", Servers: []mqttconn.Server{mqttconn.Server("tcp://" + broker)}}}
	b.SetDefaults()
	b.KeepAlive = time.Minute
	c.Broker = []aggregator.BrokerConfig{b}
	signer := testSigner("aggregator agg-1")
	log := &testenv.Log{}
	o := aggregator.Options{
		Version: "test", Store: store, Signer: signer,
		Log:   slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Clock: func() lightchain.ClockState { return lightchain.ClockSynchronised },
	}
	if change != nil {
		change(c, &o)
	}
	a, err := aggregator.New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			t.Errorf("the aggregator ended: %v", err)
		}
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", c.Aggregator.Replica, log)
		}
	})
	return &node{a, c, store, lightchain.Aggregator{Name: c.Aggregator.Name, Key: signer.Public()}, log, stop}
}

func openPebble(t testing.TB) registry.Store {
	t.Helper()
	s, err := pebblestore.Open(t.TempDir(), pebblestore.Options{Cache: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (n *node) awaitStanding(t testing.TB, id lightchain.ChainID, want registry.Standing) *registry.Record {
	t.Helper()
	var r *registry.Record
	eventually(t, fmt.Sprintf("chain %s to be %s", id, want), func() bool {
		var err error
		r, err = n.store.Record(t.Context(), id)
		return err == nil && r.Standing == want
	})
	return r
}

func TestAGatewayIsFollowedOnceItIsApproved(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	n := startNode(t, broker.Addr, openPebble(t), nil)
	c := newChain(t, "press-1")
	c.sealMany(100)
	g := newGateway(t, broker.Addr, c, "", n.self)
	n.awaitStanding(t, c.id(), registry.Waiting)
	var r *registry.Record
	eventually(t, "the gateway that waits to say its name", func() bool {
		var err error
		r, err = n.store.Record(t.Context(), c.id())
		return err == nil && r.Name == "press-1"
	})
	if r.Head.Height != 0 || r.Receipt.Time != 0 || r.Announced != 100 {
		t.Errorf("of a gateway that waits: %+v", r)
	}
	if err := n.Registry().Approve(t.Context(), c.id(), registry.Settings{Labels: map[string]string{"hall": "3"}}, "test"); err != nil {
		t.Fatal(err)
	}
	g.awaitReceipt(n.self)
	for range 5 {
		g.seal(3)
		g.awaitReceipt(n.self)
	}
	r, err := n.store.Record(t.Context(), c.id())
	if err != nil {
		t.Fatal(err)
	}
	if r.Name != "press-1" || r.Labels["hall"] != "3" || !r.Head.Known || r.Head.Height != 115 || r.Head.Every != 115 || r.Receipt.Height != 115 {
		t.Errorf("the record: %+v", r)
	}
	height := uint64(0)
	err = registry.WalkHeaders(t.Context(), n.store, c.id(), 0, 115, func(h collector.Held) error {
		if h.Height != height || !bytes.Equal(h.Bytes, c.headers[height].Bytes()) {
			t.Errorf("header %d reads as %d, or differs", height, h.Height)
		}
		height++
		return nil
	})
	if err != nil || height != 116 {
		t.Errorf("%d headers are held: %v", height, err)
	}
	if r.Online != registry.Online {
		t.Errorf("it is %q", r.Online)
	}
	g.stop()
	eventually(t, "the gateway to be offline", func() bool {
		r, err := n.store.Record(t.Context(), c.id())
		return err == nil && r.Online == registry.Offline
	})
}

func TestATokenLetsOneGatewayInOnce(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	n := startNode(t, broker.Addr, openPebble(t), nil)
	token, err := n.Registry().NewToken(t.Context(), time.Hour, map[string]string{"site": "north"})
	if err != nil {
		t.Fatal(err)
	}
	first, second := newChain(t, "first"), newChain(t, "second")
	g := newGateway(t, broker.Addr, first, token.Text, n.self)
	g.awaitReceipt(n.self)
	if r := n.awaitStanding(t, first.id(), registry.Approved); r.Labels["site"] != "north" || r.By != "token "+token.ID {
		t.Errorf("the record: %+v", r)
	}
	newGateway(t, broker.Addr, second, token.Text, n.self)
	n.awaitStanding(t, second.id(), registry.Waiting)
	tokens, err := n.Registry().Tokens(t.Context())
	if err != nil || len(tokens) != 1 || tokens[0].UsedBy == nil || *tokens[0].UsedBy != first.id() || tokens[0].Text != "" {
		t.Errorf("tokens: %+v, %v", tokens, err)
	}
}

func TestTwoGatewaysOfOneCardLeaveEvidence(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	n := startNode(t, broker.Addr, openPebble(t), func(c *aggregator.Config, _ *aggregator.Options) { c.Trust.Gateways = registry.TrustAll })
	c := newChain(t, "copied")
	c.sealMany(10)
	d := c.copy()
	g := newGateway(t, broker.Addr, c, "", n.self)
	g.seal(1)
	g.awaitReceipt(n.self)
	d.seal(func(h *lightchain.Header) { h.Count = 7 })
	h := newGateway(t, broker.Addr, d, "", n.self)
	h.seal(1)
	var forks []registry.Evidence
	eventually(t, "evidence of the fork", func() bool {
		g.seal(1)
		h.seal(1)
		var err error
		forks, err = n.store.Forks(t.Context(), c.id())
		return err == nil && len(forks) > 0
	})
	evidence, err := lightchain.DecodeFork(forks[0].Body)
	if err == nil {
		err = evidence.Check(c.id())
	}
	if err != nil {
		t.Errorf("the evidence does not check: %v", err)
	}
	before, err := n.store.Record(t.Context(), c.id())
	if err != nil || before.Findings[registry.Forked] == nil {
		t.Fatalf("the record: %+v, %v", before, err)
	}
	g.seal(1)
	// Nothing is countersigned any more; that the messages were dealt with shows in the links' counters.
	eventually(t, "the next head to be dealt with", func() bool { return g.link.Status().Waiting == 0 && g.link.Status().Sent > 3 })
	after, err := n.store.Record(t.Context(), c.id())
	if err != nil || after.Receipt != before.Receipt {
		t.Errorf("a receipt after the fork: %+v, %v", after.Receipt, err)
	}
}

func TestNothingIsCountersignedByAClockThatIsNotSynchronised(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	n := startNode(t, broker.Addr, openPebble(t), func(c *aggregator.Config, o *aggregator.Options) {
		c.Trust.Gateways = registry.TrustAll
		o.Clock = func() lightchain.ClockState { return lightchain.ClockUnsynchronised }
	})
	c := newChain(t, "clockless")
	newGateway(t, broker.Addr, c, "", n.self)
	eventually(t, "the head to be stored", func() bool {
		r, err := n.store.Record(t.Context(), c.id())
		return err == nil && r.Head.Known
	})
	eventually(t, "the refusal to countersign", func() bool { return bytes.Contains([]byte(n.log.String()), []byte("failed to countersign")) })
	r, err := n.store.Record(t.Context(), c.id())
	if err != nil || r.Receipt.Time != 0 || r.State.Receipt != nil {
		t.Errorf("the record: %+v, %v", r, err)
	}
}

func TestAnOperatorMayVouchForTheClock(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	n := startNode(t, broker.Addr, openPebble(t), func(c *aggregator.Config, o *aggregator.Options) {
		c.Trust.Gateways, c.Clock.AssumeSynchronised, o.Clock = registry.TrustAll, true, nil
	})
	newGateway(t, broker.Addr, newChain(t, "vouched"), "", n.self).awaitReceipt(n.self)
}

func TestWhatWasAcceptedSurvivesRestarts(t *testing.T) {
	broker := testenv.Mosquitto(t, testenv.Persistent)
	dir := t.TempDir()
	c := newChain(t, "restarts")
	c.sealMany(50)
	var g *gateway
	var last uint64
	for round := range 3 {
		store, err := pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		n := startNode(t, broker.Addr, store, func(c *aggregator.Config, _ *aggregator.Options) { c.Trust.Gateways = registry.TrustAll })
		if g == nil {
			g = newGateway(t, broker.Addr, c, "", n.self)
		}
		g.seal(2)
		r := g.awaitReceipt(n.self)
		if r.Time < last {
			t.Errorf("round %d: a receipt of %d after one of %d", round, r.Time, last)
		}
		last = r.Time
		if round == 1 {
			broker.Kill()
			broker.Restart()
			g.seal(1)
			g.awaitReceipt(n.self)
		}
		n.stop()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// assertOneReceiptEach fails where a head was countersigned twice, or times went back.
func assertOneReceiptEach(t *testing.T, n *node, g *gateway) {
	t.Helper()
	receipts, err := n.store.Receipts(t.Context(), g.chain.id(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	for _, r := range receipts {
		signed, err := lightchain.DecodeSignedHeader(r.Body)
		if err != nil || len(signed.Receipts) != 1 || signed.Receipts[0].Time != r.Time || r.Time < last {
			t.Errorf("receipt on header %d: %+v, %v", r.Height, r, err)
		}
		last = r.Time
		g.mu.Lock()
		got, found := g.receipts[n.self.Name][r.Height]
		g.mu.Unlock()
		if found && err == nil && got != signed.Receipts[0] {
			t.Errorf("header %d was countersigned twice differently", r.Height)
		}
	}
}

func TestAMeteredGatewayIsFollowedByItsHeadsAlone(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	n := startNode(t, broker.Addr, openPebble(t), func(c *aggregator.Config, _ *aggregator.Options) {
		c.Trust.Gateways, c.Pull.Mode = registry.TrustAll, registry.Sparse
	})
	c := newChain(t, "metered")
	c.sealMany(3000)
	g := newGateway(t, broker.Addr, c, "", n.self)
	g.awaitReceipt(n.self)
	g.seal(500)
	g.awaitReceipt(n.self)
	r, err := n.store.Record(t.Context(), c.id())
	if err != nil || r.Head.Height != 3500 || r.Head.Every != 0 || r.State.Head.Head.Hash() != c.tip.Hash {
		t.Errorf("the record: %+v, %v", r, err)
	}
	if got := r.State.Head.Edge; len(got) != bits.OnesCount(3500) {
		t.Errorf("the head's compact range has %d hashes", len(got))
	}
	if segments, err := n.store.Segments(t.Context(), c.id(), 0, 10); err != nil || len(segments) > 0 {
		t.Errorf("headers are held: %v, %v", segments, err)
	}
}

func TestTheConfigurationIsReadAgainWhenAsked(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	hangup := make(chan os.Signal)
	var loaded *aggregator.Config
	n := startNode(t, broker.Addr, openPebble(t), func(c *aggregator.Config, o *aggregator.Options) {
		changed := *c
		changed.Trust.Gateways = registry.TrustAll
		loaded = &changed
		o.Hangup, o.Load = hangup, func() (*aggregator.Config, error) {
			if loaded == nil {
				return nil, errors.New("a mistake")
			}
			return loaded, nil
		}
	})
	first := newChain(t, "first")
	newGateway(t, broker.Addr, first, "", n.self)
	n.awaitStanding(t, first.id(), registry.Waiting)
	hangup <- os.Interrupt
	eventually(t, "the rules to change", func() bool { return n.Registry().Rules().Trust == registry.TrustAll })
	second := newChain(t, "second")
	newGateway(t, broker.Addr, second, "", n.self).awaitReceipt(n.self)
	loaded = nil
	hangup <- os.Interrupt
	eventually(t, "the mistake to be told", func() bool { return strings.Contains(n.log.String(), "failed to reload the configuration") })
}

func TestBrokersComeAndGoWhileOthersStayConnected(t *testing.T) {
	first, second := testenv.Mosquitto(t, ""), testenv.Mosquitto(t, "")
	hangup := make(chan os.Signal)
	var started, loaded *aggregator.Config
	n := startNode(t, first.Addr, openPebble(t), func(c *aggregator.Config, o *aggregator.Options) {
		c.Trust.Gateways = registry.TrustAll
		started = c
		o.Hangup, o.Load = hangup, func() (*aggregator.Config, error) { return loaded, nil }
	})
	c := newChain(t, "first")
	newGateway(t, first.Addr, c, "", n.self).awaitReceipt(n.self)

	added := started.Broker[0]
	added.Name, added.Servers = "added", []mqttconn.Server{mqttconn.Server("tcp://" + second.Addr)}
	both := *started
	both.Broker = []aggregator.BrokerConfig{added, started.Broker[0]}
	both.Store.Cache *= 2
	loaded = &both
	hangup <- os.Interrupt
	there := newGateway(t, second.Addr, newChain(t, "second"), "", n.self)
	there.awaitReceipt(n.self)
	if n := first.Connections("edgechain-" + started.Aggregator.Name); n != 1 {
		t.Errorf("the broker that stays has seen %d connections", n)
	}
	eventually(t, "the key that waits to be named", func() bool { return strings.Contains(n.log.String(), "keys=store.cache") })

	wrong := both
	wrong.Broker = []aggregator.BrokerConfig{added}
	wrong.Broker[0].TLSCA = "/nowhere/ca.pem"
	loaded = &wrong
	hangup <- os.Interrupt
	eventually(t, "the mistake to be told", func() bool { return strings.Contains(n.log.String(), "/nowhere/ca.pem") })

	alone := both
	alone.Broker = []aggregator.BrokerConfig{both.Broker[0]}
	alone.Broker[0].TLSCA = ""
	loaded = &alone
	hangup <- os.Interrupt
	var brokers []api.Broker
	eventually(t, "the first broker to be left", func() bool {
		status, err := api.Local(n.Server()).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		brokers = status.Live.Brokers
		return len(brokers) == 1
	})
	if b := brokers[0]; b.Name != "added" || !b.Connected || second.Connections("edgechain-"+started.Aggregator.Name) != 1 {
		t.Errorf("the broker that stays: %+v", b)
	}
}

// An aggregator countersigns whoever has its API's port, says so, and answers there when it is free.
func TestATakenPortKeepsNothingFromBeingCountersigned(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	broker := testenv.Mosquitto(t, "")
	n := startNode(t, broker.Addr, openPebble(t), func(c *aggregator.Config, _ *aggregator.Options) {
		c.Trust.Gateways, c.API.Listen = registry.TrustAll, taken.Addr().String()
	})
	c := newChain(t, "any")
	c.sealMany(3)
	newGateway(t, broker.Addr, c, "", n.self).awaitReceipt(n.self)
	status := func() api.Status {
		s, err := api.Local(n.Server()).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := status(); !strings.HasPrefix(s.Live.Deaf, "api.listen: not since ") || !strings.Contains(n.log.String(), "failed to listen for the API") {
		t.Errorf("the status says %+v", s.Live)
	}
	taken.Close()
	eventually(t, "it to listen", func() bool { return status().Live.Deaf == "" })
}
