package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"edgechain.example/agent"
	"edgechain.example/agent/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/mqttconn"
)

// fleetSize is how many gateways share one broker and one aggregator: as many as show that they do not wait for each other,
// and in a soak as many as one machine bears.
func fleetSize(t testing.TB) int {
	if testenv.Long(t, 0) > 0 {
		return 200
	}
	return 80
}

// A member is a gateway of a fleet: package agent as it runs in edgeagent, with a store and a connection of its own,
// but in the process of the test, so that a fleet of them fits into one machine.
type member struct {
	dir    string
	config *agent.Config
	quiet  atomic.Bool    // what a reload finds: no more blocks of its own
	hangup chan os.Signal // asks for that
	ready  chan struct{}
	ended  chan error
	stop   context.CancelFunc
	chain  string
}

// heartbeat is how often each member seals a block while the fleet works.
const heartbeat = 2 * time.Second

func newMember(t testing.TB, root string, i int, broker string, n *node) *member {
	t.Helper()
	m := &member{dir: filepath.Join(root, fmt.Sprint(i)), hangup: make(chan os.Signal, 1), ready: make(chan struct{}), ended: make(chan error, 1)}
	m.config = m.settings(i, broker, n)
	genesis, err := agent.Init(m.config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m.chain = genesis.ChainID().String()
	return m
}

func (m *member) settings(i int, broker string, n *node) *agent.Config {
	c := agent.DefaultConfig()
	c.Gateway.Name, c.Gateway.Data = fmt.Sprintf("press-%03d", i), filepath.Join(m.dir, "data")
	c.Key.File, c.API.Socket = filepath.Join(m.dir, "key"), filepath.Join(m.dir, "s")
	c.Store.AllowVolatile, c.Store.Reserve, c.Store.ReservePercent = true, 1<<20, 0
	c.Store.Cache, c.Store.Memtable = 2<<20, 512<<10
	c.Block.Interval, c.Block.Heartbeat = heartbeat, heartbeat
	c.Sync.Announce = time.Second
	if m.quiet.Load() {
		c.Block.Heartbeat = time.Hour
	}
	c.Upstream = []agent.UpstreamConfig{{
		Config: mqttconn.Config{
			Name: "office", Servers: []mqttconn.Server{mqttconn.Server("tcp://" + broker)}, KeepAlive: 30 * time.Second, ConnectTimeout: 30 * time.Second,
		},
		Prefix:     "edgechain/v1",
		Aggregator: []agent.AggregatorConfig{{Name: n.name, Key: n.key}},
	}}
	return c
}

// run starts the agent; its end is on ended.
func (m *member) run(t testing.TB, i int, broker string, n *node) {
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	m.stop = stop
	a := agent.New(m.config, agent.Options{
		Log: slog.New(slog.DiscardHandler), Hangup: m.hangup, Ready: func(*agent.Agent) { close(m.ready) },
		Fatal: func(err error) { panic(err) },
		Load:  func() (*agent.Config, error) { return m.settings(i, broker, n), nil },
	})
	go func() { m.ended <- a.Run(ctx) }()
}

// end returns what the agent ended with, which comes once it is stopped.
func (m *member) end() error {
	select {
	case err := <-m.ended:
		return err
	case <-time.After(program.Patience):
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		return errors.New("nothing: it goes on, see the stacks of its goroutines")
	}
}

func (m *member) status(t testing.TB) (s api.Status, err error) {
	ctx, enough := question(t)
	defer enough()
	asked, err := api.Dial(ctx, m.config.API.Socket)
	if err != nil {
		return s, err
	}
	return asked.Status(ctx)
}

// checkReceipts checks every receipt that a stopped gateway holds, and returns how many.
func (m *member) checkReceipts(n *node) (count int, err error) {
	key, err := lightchain.ParsePublicKey(n.key)
	if err != nil {
		return 0, err
	}
	r, err := store.OpenReader(m.config.ChainDir(), store.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for height := range r.Tip().Height + 1 {
		receipts, err := r.Receipts(height)
		if err != nil {
			return count, err
		}
		for _, receipt := range receipts {
			signed, err := r.Header(height)
			if err == nil {
				err = signed.CheckReceipt(&receipt, key)
			}
			if err != nil {
				return count, fmt.Errorf("block %d: %w", height, err)
			}
			count++
		}
	}
	return count, nil
}

// A bridge is the network of one gateway, which can be cut.
type bridge struct {
	addr string
	to   string
	mu   sync.Mutex // guards what follows
	cut  bool
	open map[net.Conn]struct{}
}

func newBridge(t testing.TB, to string) *bridge {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bridge{addr: listener.Addr().String(), to: to, open: map[net.Conn]struct{}{}}
	t.Cleanup(func() { listener.Close(); b.set(true) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go b.carry(conn)
		}
	}()
	return b
}

func (b *bridge) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", b.to)
	if err != nil {
		return
	}
	defer far.Close()
	b.mu.Lock()
	cut := b.cut
	if !cut {
		b.open[near], b.open[far] = struct{}{}, struct{}{}
	}
	b.mu.Unlock()
	if cut {
		return
	}
	go func() { _, _ = io.Copy(far, near); far.Close() }()
	_, _ = io.Copy(near, far)
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, near)
	delete(b.open, far)
}

// set cuts the network or mends it.
func (b *bridge) set(cut bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut = cut
	for conn := range b.open {
		if cut {
			conn.Close()
		}
	}
}

// The two fleets follow each other: either has all that the machine gives.
func TestSoakFleetEndsWithEqualHeadsWhateverFails(t *testing.T) {
	t.Parallel()
	t.Run("one aggregator", func(t *testing.T) {
		broker := newBroker(t)
		n := newNode(t, broker.Addr, everyone)
		n.start()
		soak(t, broker, n, n)
	})
	t.Run("three replicas", soakReplicas)
}

func soakReplicas(t *testing.T) {
	broker := newBroker(t)
	database := testenv.Postgres(t)
	key := filepath.Join(shortDir(t), "key") // all replicas have one
	var replicas []*node
	for _, name := range []string{"a", "b", "c"} {
		n := newNode(t, broker.Addr, everyone, "--store", database, "--set", "store.crash_loss=warn", "--set", "aggregator.replica="+name, "--set", "key.file="+key)
		n.start()
		replicas = append(replicas, n)
	}
	soak(t, broker, replicas[0], replicas[1])
}

// work returns when each member has sealed two blocks more, and in a soak after a fifth of its time.
func work(t *testing.T, members []*member) {
	t.Helper()
	share := time.After(testenv.Long(t, 0) / 5)
	sealed := func(i int) uint64 {
		t.Helper()
		s, err := members[i].status(t)
		if err != nil {
			t.Fatalf("gateway %d: %v", i, err)
		}
		return s.Height
	}
	before := make([]uint64, len(members))
	for i := range members {
		before[i] = sealed(i)
	}
	end := time.Now().Add(program.Patience) // of all together
	for i := range members {
		for ; sealed(i) < before[i]+2; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("gateway %d seals nothing more than %d blocks", i, before[i])
			}
		}
	}
	<-share
}

// soak has a fleet work while one aggregator, or replica of it, is killed and the network fails, and checks what the
// other one, or the same again, knows in the end.
func soak(t *testing.T, broker *testenv.Broker, killed, n *node) {
	cable := newBridge(t, broker.Addr)
	root := shortDir(t)
	members := make([]*member, fleetSize(t))
	for i := range members {
		through := broker.Addr
		if i == 0 {
			through = cable.addr
		}
		m := newMember(t, root, i, through, n)
		members[i] = m
		m.run(t, i, through, n)
		t.Cleanup(m.stop)
	}
	for i, m := range members {
		select {
		case <-m.ready:
		case err := <-m.ended:
			t.Fatalf("gateway %d ended: %v", i, err)
		case <-time.After(program.Patience):
			t.Fatalf("gateway %d does not begin", i)
		}
	}

	// Each failure strikes while the fleet seals.
	work(t, members)
	broker.Restart()
	work(t, members)
	cable.set(true)
	killed.process.Signal(syscall.SIGKILL)
	killed.process.Ended()
	work(t, members)
	killed.start()
	work(t, members)
	cable.set(false)
	broker.Kill()
	broker.Restart()
	work(t, members)

	for _, m := range members {
		m.quiet.Store(true)
		select {
		case m.hangup <- syscall.SIGHUP:
		case <-time.After(program.Patience):
			t.Fatal("a gateway does not load its configuration")
		}
	}
	heads := make([]api.Status, len(members))
	agreed := func(i int) bool {
		m := members[i]
		select {
		case err := <-m.ended:
			t.Fatalf("gateway %d ended: %v", i, err)
		default:
		}
		var err error
		heads[i], err = m.status(t)
		if err != nil || heads[i].Open > 0 || len(heads[i].Live.Upstreams) == 0 {
			return false
		}
		receipted := heads[i].Live.Upstreams[0].Aggregators[0].Receipted
		known, ok := n.gateway(m.chain)
		return ok && known.Head.Hash == heads[i].Head && receipted != nil && *receipted == heads[i].Height
	}
	agreeing := 0
	n.process.Await("each gateway and the aggregator have one head", func() bool {
		for agreeing < len(members) && agreed(agreeing) {
			agreeing++
		}
		return agreeing == len(members)
	})
	blocks := uint64(0)
	for i, m := range members {
		blocks += heads[i].Height
		known, _ := n.gateway(m.chain)
		for _, kind := range []registry.Kind{registry.Forked, registry.Rollback, registry.Invalid} {
			if finding(known, kind) {
				t.Errorf("gateway %d: the aggregator shows %+v", i, known.Findings)
			}
		}
	}
	for _, m := range members {
		m.stop()
	}
	receipts := 0
	for i, m := range members {
		if err := m.end(); err != nil {
			t.Fatalf("gateway %d ended with %v", i, err)
		}
		count, err := m.checkReceipts(n)
		if err != nil || count == 0 {
			t.Errorf("gateway %d holds %d receipts: %v", i, count, err)
		}
		receipts += count
	}
	t.Logf("%d gateways sealed %d blocks and hold %d receipts", len(members), blocks, receipts)
}
