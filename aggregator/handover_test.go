package aggregator_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/pgstore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/aggregator/replicas"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/mqttlink"
)

// mortal is a store whose process can be killed: its beat stays in the database.
type mortal struct {
	*pgstore.Store
	killed atomic.Bool
}

func (m *mortal) Leave(ctx context.Context, b *replicas.Beat) error {
	if m.killed.Load() {
		return nil
	}
	return m.Store.Leave(ctx, b)
}

// replica is an aggregator that shares a database.
type replica struct {
	*node
	mortal *mortal
}

func startReplica(t *testing.T, broker, dsn, name string, change func(*aggregator.Config)) replica {
	t.Helper()
	store, err := pgstore.Open(t.Context(), dsn, pgstore.Options{CrashLoss: registry.WarnLoss})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	m := &mortal{Store: store}
	return replica{startNode(t, broker, m, func(c *aggregator.Config, _ *aggregator.Options) {
		c.Trust.Gateways, c.Aggregator.Replica, c.Store.URL = registry.TrustAll, name, "postgres://"
		if change != nil {
			change(c)
		}
	}), m}
}

// kill has the replica vanish as a process that is killed.
func (r replica) kill() {
	r.mortal.killed.Store(true)
	r.stop()
}

func (r replica) status(t *testing.T) *api.Live {
	t.Helper()
	s, err := api.Local(r.Server()).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Live
}

// living waits until a replica knows that these live, and owns something itself.
func (r replica) living(t *testing.T, names ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("replica %s to divide the gateways with %v", r.config.Aggregator.Replica, names), func() bool {
		l := r.status(t)
		return slices.Equal(l.Replicas, names) && l.Idle == ""
	})
}

// clean fails where a gateway did anything wrong, in the eyes of the replicas.
func clean(t *testing.T, n *node, gateways []*gateway) {
	t.Helper()
	for _, g := range gateways {
		r, err := n.store.Record(t.Context(), g.chain.id())
		if err != nil {
			t.Fatal(err)
		}
		for kind, f := range r.Findings {
			t.Errorf("an honest gateway, %s: %s: %s", r.Name, kind, f.Text)
		}
		assertOneReceiptEach(t, n, g)
	}
}

// Three share the work; one is killed, another one comes, one leaves. No head is left out, no gateway accused, and each page
// goes over the wire once.
func TestReplicasShareADatabaseAndOutliveEachOther(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	dsn := testenv.Postgres(t)
	one := startReplica(t, broker.Addr, dsn, "one", nil)
	two := startReplica(t, broker.Addr, dsn, "two", nil)
	three := startReplica(t, broker.Addr, dsn, "three", nil)
	for _, r := range []replica{one, two, three} {
		r.living(t, "one", "three", "two")
	}
	var gateways []*gateway
	for i := range 24 {
		c := newChain(t, fmt.Sprint("press-", i))
		c.sealMany(20 + i)
		gateways = append(gateways, newGateway(t, broker.Addr, c, "", one.self))
	}
	round := func() {
		t.Helper()
		for _, g := range gateways {
			g.seal(2)
		}
		for _, g := range gateways {
			g.awaitReceipt(one.self)
		}
	}
	round()
	server := httptest.NewServer(one.Server().Handler())
	defer server.Close()
	eventually(t, "/readyz to tell what is this replica's", func() bool {
		r, err := http.Get(server.URL + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode == http.StatusOK && strings.Contains(string(text), "replica: one\nliving: one three two\ngateways owned: ")
	})
	two.kill()
	round() // before anybody has noticed, and after
	one.living(t, "one", "three")
	round()
	four := startReplica(t, broker.Addr, dsn, "four", nil)
	round()
	four.living(t, "four", "one", "three")
	three.stop()
	round()
	one.living(t, "four", "one")
	clean(t, one.node, gateways)
	for _, r := range []replica{one, three, four} {
		if text := r.log.String(); strings.Contains(text, "answers something else") {
			t.Errorf("replica %s accuses somebody", r.config.Aggregator.Replica)
		}
	}
}

// What a gateway may cost in a day it may cost all of them together, also when its owner changes.
func TestReplicasKeepOneBudget(t *testing.T) {
	const budget = 60 << 10
	broker := testenv.Mosquitto(t, "")
	dsn := testenv.Postgres(t)
	limited := func(c *aggregator.Config) { c.Pull.BytesPerDay, c.Pull.Page = budget, 8<<10 }
	wire := newWiretap(t, broker.Addr)
	replicas := []replica{startReplica(t, broker.Addr, dsn, "one", limited)}
	c := newChain(t, "press-1")
	c.sealMany(4000)
	g := newGateway(t, broker.Addr, c, "", replicas[0].self)
	g.awaitReceipt(replicas[0].self)
	for i := range 3 {
		replicas = append(replicas, startReplica(t, broker.Addr, dsn, fmt.Sprint("next-", i), limited))
		last := replicas[len(replicas)-1]
		replicas[i].kill()
		eventually(t, "another one to take over", func() bool { return last.status(t).Idle == "" && len(last.status(t).Replicas) == 1 })
		g.seal(1)
		eventually(t, "the head to be looked at", func() bool { return wire.passed() })
	}
	last := replicas[len(replicas)-1]
	eventually(t, "the budget to be used up", func() bool {
		r, err := last.store.Record(t.Context(), c.id())
		if err != nil {
			t.Fatal(err)
		}
		return r.State.Every != nil && r.State.Spent.Bytes > budget-8<<10
	})
	if sent := wire.bytes.Load(); sent > budget {
		t.Errorf("%d bytes went over the wire, of %d", sent, budget)
	}
	clean(t, last.node, []*gateway{g})
}

// wiretap hears everything that goes over a broker, and counts what the budget is for.
type wiretap struct {
	bytes atomic.Int64
	mu    sync.Mutex
	heads int // guarded by mu
}

func newWiretap(t *testing.T, broker string) *wiretap {
	t.Helper()
	w := &wiretap{}
	l, err := mqttlink.New(mqttlink.Config{Config: mqttconn.Config{Name: "tap", ClientID: "tap", Servers: []mqttconn.Server{mqttconn.Server("tcp://" + broker)}}, CleanSession: true})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Subscribe([]string{headersync.DefaultPrefix + "/#"}, func(m headersync.Message) {
		defer m.Done()
		if strings.Contains(m.Topic, "/status") {
			return
		}
		w.bytes.Add(int64(len(m.Topic) + len(m.Payload)))
		if strings.HasSuffix(m.Topic, "/head") {
			w.mu.Lock()
			w.heads++
			w.mu.Unlock()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	eventually(t, "the tap to hear", func() bool { return l.Status().Connected })
	return w
}

// passed reports whether a head passed since it said so last.
func (w *wiretap) passed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.heads > 0
	w.heads = 0
	return found
}

// Whoever is asked decides, and the owner acts upon it: the gateway says nothing meanwhile.
func TestADecisionAtOneReplicaIsActedUponAtTheOwner(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	dsn := testenv.Postgres(t)
	approving := func(c *aggregator.Config) { c.Trust.Gateways = registry.TrustApproved }
	one := startReplica(t, broker.Addr, dsn, "one", approving)
	two := startReplica(t, broker.Addr, dsn, "two", approving)
	one.living(t, "one", "two")
	two.living(t, "one", "two")
	for i, owned := range []string{"one", "two"} {
		var c *chain
		for n := 0; c == nil || replicas.Owner([]string{"one", "two"}, c.id()) != owned; n++ {
			c = newChain(t, fmt.Sprint("press-", i, "-", n))
		}
		c.sealMany(5)
		g := newGateway(t, broker.Addr, c, "", one.self)
		one.awaitStanding(t, c.id(), registry.Waiting)
		eventually(t, "its name to be known", func() bool {
			r, err := one.store.Record(t.Context(), c.id())
			return err == nil && r.Name != ""
		})
		if err := one.Registry().Approve(t.Context(), c.id(), registry.Settings{}, "test"); err != nil {
			t.Fatal(err)
		}
		g.awaitReceipt(one.self)
	}
}

// Of replicas with the same name one works, and the other says why it does not.
func TestTwoReplicasOfOneNameAreTold(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	dsn := testenv.Postgres(t)
	first := startReplica(t, broker.Addr, dsn, "one", nil)
	first.living(t, "one")
	second := startReplica(t, broker.Addr, dsn, "one", func(c *aggregator.Config) { c.Broker[0].ClientID = "another" })
	eventually(t, "the second to say why it does nothing", func() bool {
		return strings.Contains(second.status(t).Idle, "another process runs, or ran a moment ago, as replica one")
	})
	c := newChain(t, "press-1")
	c.sealMany(5)
	newGateway(t, broker.Addr, c, "", first.self).awaitReceipt(first.self)
	first.kill()
	second.living(t, "one")
}

func TestWhatOthersOwnIsKeptForAMomentAndWithinBounds(t *testing.T) {
	var p aggregator.Passed
	now := time.Now()
	mine := func(lightchain.ChainID) bool { return true }
	chain := func(n int) (c lightchain.ChainID) {
		binary.BigEndian.PutUint64(c[:], uint64(n))
		return c
	}
	keep := func(at time.Duration, n int, word, payload string) {
		p.Keep(now.Add(at), chain(n), headersync.Message{Topic: fmt.Sprint(n, "/", word), Payload: []byte(payload)})
	}
	keep(0, 1, "head", "old")
	keep(0, 2, "head", "other")
	keep(31*time.Second, 1, "head", "new")
	keep(31*time.Second, 1, "hello", "hello")
	if all := p.Take(now.Add(32*time.Second), func(c lightchain.ChainID) bool { return c == chain(1) }); len(all) != 2 || string(all[0].Payload)+string(all[1].Payload) == "old" {
		t.Errorf("taken over: %v", all)
	}
	if all := p.Take(now.Add(33*time.Second), mine); len(all) != 1 || string(all[0].Payload) != "other" {
		t.Errorf("taken over after that: %v", all)
	}
	keep(33*time.Second, 3, "head", strings.Repeat("x", 100<<10))
	if all := p.Take(now.Add(33*time.Second), mine); len(all) != 0 {
		t.Error("a message too long for a head is kept")
	}
	for i := range 1 << 17 {
		keep(33*time.Second, i, "head", "a stranger's")
	}
	if all := p.Take(now.Add(34*time.Second), mine); len(all) == 0 || len(all) > 1<<15 {
		t.Errorf("%d heads are kept", len(all))
	}
	keep(34*time.Second, 1, "head", "old")
	if all := p.Take(now.Add(100*time.Second), mine); len(all) != 0 {
		t.Errorf("taken over long after: %v", all)
	}
}
