package aggregator_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/pebblestore"
	"edgechain.example/aggregator/pgstore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
)

// awaitStandby waits until a standby has all that its primary has.
func awaitStandby(t *testing.T, primary *testenv.PostgresServer, name string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), primary.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var end string
	if err := conn.QueryRow(t.Context(), "SELECT pg_current_wal_flush_lsn()::text").Scan(&end); err != nil {
		t.Fatal(err)
	}
	testenv.Await(t, name+" has everything", func() bool {
		var n int
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_replication WHERE application_name = $1 AND flush_lsn >= $2::pg_lsn", name, end).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
}

// A standby takes over that lacks what was countersigned last. The aggregator puts that back, tells of it, and neither
// countersigns a chain shorter nor another history of it.
func TestNothingCountersignedIsForgottenAtAFailover(t *testing.T) {
	for _, mode := range []registry.Mode{registry.Dense, registry.Sparse} {
		t.Run(string(mode), func(t *testing.T) {
			broker := testenv.Mosquitto(t, "")
			primary := testenv.NewPostgres(t)
			standby := primary.Standby("s1")
			log := &testenv.Log{}
			store, err := pgstore.Open(t.Context(), primary.DSN(standby), pgstore.Options{Patience: testenv.Patience, Logger: log.Logger()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { store.Close() })
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("log of the store:\n%s", log)
				}
			})
			n := startNode(t, broker.Addr, store, func(c *aggregator.Config, _ *aggregator.Options) {
				c.Trust.Gateways, c.Pull.Mode, c.Store.URL = registry.TrustAll, mode, "postgres://"
			})
			begin := func(name string) *gateway {
				c := newChain(t, name)
				c.sealMany(20)
				g := newGateway(t, broker.Addr, c, "", n.self)
				g.awaitReceipt(n.self)
				return g
			}
			honest, quiet, copied := begin("honest"), begin("quiet"), begin("copied")
			awaitStandby(t, primary, "s1")
			standby.Stop()
			image := copied.chain.copy()
			late := begin("late") // of which the standby knows nothing
			known := map[*gateway]uint64{late: 20}
			for _, g := range []*gateway{honest, quiet, copied} {
				g.seal(5)
				g.awaitReceipt(n.self)
				known[g] = 25
			}
			copied.stop() // its copy runs from now on, and has sealed other blocks
			for range 8 {
				image.seal(func(h *lightchain.Header) { h.Count = 9 })
			}
			primary.Stop()
			standby.Start()
			standby.Promote()
			// Before any gateway says a word.
			for g, height := range known {
				var r *registry.Record
				eventually(t, "what was countersigned of "+g.chain.id().String()+" to be back", func() bool {
					r, err = store.Record(t.Context(), g.chain.id())
					if err != nil && !errors.Is(err, registry.ErrNotFound) {
						t.Fatal(err)
					}
					return err == nil && r.Findings[registry.SetBack] != nil
				})
				if r.Head.Height != height || r.State.Head.Height() != height || r.State.Receipt == nil || r.Receipt.Height != height {
					t.Errorf("%s: head %d, receipt %d, want %d", r.Name, r.Head.Height, r.Receipt.Height, height)
				}
				text, want := r.Findings[registry.SetBack].Text, "knew it up to header 20 only, while header 25"
				if g == late {
					want = "knew nothing of it"
				}
				if !strings.Contains(text, want) || len(text) == 256 {
					t.Errorf("%s: the finding says %q", r.Name, text)
				}
				receipts, err := store.Receipts(t.Context(), r.Chain, height, 1)
				if err != nil || len(receipts) != 1 {
					t.Errorf("%s: its newest receipt is not back: %v, %v", r.Name, receipts, err)
				}
			}
			// Histories go on, with all that was between; who decided about them is not known any more where nothing was.
			if err := n.Registry().Approve(t.Context(), late.chain.id(), registry.Settings{}, "command"); err != nil {
				t.Fatal(err)
			}
			for _, g := range []*gateway{honest, late} {
				g.seal(3)
				g.awaitReceipt(n.self)
				eventually(t, "every header is there again", func() bool {
					r, err := store.Record(t.Context(), g.chain.id())
					return err == nil && (mode == registry.Sparse || r.State.Every != nil && r.State.Every.Height() == g.chain.head().Header.Height)
				})
			}
			// Another history does not.
			other := newGateway(t, broker.Addr, image, "", n.self)
			eventually(t, "the other history to be noticed", func() bool {
				r, err := store.Record(t.Context(), image.id())
				return err == nil && r.Findings[registry.Forked] != nil
			})
			forks, err := store.Forks(t.Context(), image.id())
			if err != nil || len(forks) != 1 {
				t.Errorf("evidence: %v, %v", forks, err)
			}
			other.mu.Lock()
			if receipts := other.receipts[n.self.Name]; len(receipts) > 0 {
				t.Errorf("another history was countersigned: %v", receipts)
			}
			other.mu.Unlock()
			asked, err := api.Dial(t.Context(), n.config.API.Socket)
			if err != nil {
				t.Fatal(err)
			}
			status, err := asked.Status(t.Context())
			if err != nil || status.Live.Database == nil || status.Live.Database.Changes != 1 || !strings.Contains(status.Live.Database.Change, "timeline 2") {
				t.Errorf("status: %+v, %+v, %v", status.Live, status.Live.Database, err)
			}
			for _, line := range []string{"the database has asynchronous standbys (s1)", "the database is not the one that it was", "finding=set-back", "was compared with what was countersigned"} {
				if !strings.Contains(log.String()+n.log.String(), line) {
					t.Errorf("the log lacks %q", line)
				}
			}
		})
	}
}

// With a synchronous standby a failover takes nothing, and nothing has to be put back.
func TestASynchronousStandbyKnowsWhatIsCountersigned(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	primary := testenv.NewPostgres(t, "synchronous_standby_names=ANY 1 (s1, s2)", "synchronous_commit=local")
	standby := primary.Standby("s1")
	log := &testenv.Log{}
	store, err := pgstore.Open(t.Context(), primary.DSN(standby)+"&synchronous_commit=on", pgstore.Options{FailoverLoss: registry.RefuseLoss, Patience: testenv.Patience, Logger: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	n := startNode(t, broker.Addr, store, func(c *aggregator.Config, o *aggregator.Options) {
		c.Trust.Gateways, c.Store.URL = registry.TrustAll, "postgres://"
	})
	c := newChain(t, "press-1")
	g := newGateway(t, broker.Addr, c, "", n.self)
	for range 5 {
		g.seal(3)
		g.awaitReceipt(n.self)
	}
	primary.Stop() // with all that it had not sent
	standby.Promote()
	after, err := pgstore.Open(t.Context(), standby.DSN(), pgstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	receipts, err := after.Receipts(t.Context(), c.id(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	there := map[uint64]bool{}
	for _, r := range receipts {
		there[r.Height] = true
	}
	g.mu.Lock()
	for height := range g.receipts[n.self.Name] {
		if !there[height] {
			t.Errorf("the receipt on header %d is lost", height)
		}
	}
	g.mu.Unlock()
	g.seal(1)
	g.awaitReceipt(n.self)
	if r, err := store.Record(t.Context(), c.id()); err != nil || r.Findings[registry.SetBack] != nil {
		t.Errorf("after the failover: %+v, %v", r, err)
	}
	if text := log.String(); strings.Contains(text, "may lose") {
		t.Errorf("told of a synchronous standby:\n%s", text)
	}
}

// An aggregator does not begin on a server that may lose what it countersigns, unless it is told to.
func TestAnUnsafeDatabaseIsRefused(t *testing.T) {
	server := testenv.NewPostgres(t)
	for _, loss := range []registry.OnLoss{registry.RefuseLoss, registry.WarnLoss} {
		store, err := pgstore.Open(t.Context(), server.DSN()+"&synchronous_commit=off", pgstore.Options{CrashLoss: loss})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close() })
		c := aggregator.DefaultConfig()
		c.Aggregator.Name, c.Aggregator.Data, c.Store.URL, c.API.Socket = "agg-1", t.TempDir(), "postgres://", t.TempDir()+"/s"
		ctx, cancel := context.WithCancel(t.Context())
		a, err := aggregator.New(c, aggregator.Options{Store: store, Signer: testSigner("aggregator agg-1"), Ready: cancel})
		if err != nil {
			t.Fatal(err)
		}
		err = a.Run(ctx)
		if refused := errors.Is(err, registry.ErrUnsafe); refused != (loss == registry.RefuseLoss) {
			t.Errorf("%s: it ends with %v", loss, err)
		}
		if err != nil && !strings.Contains(fmt.Sprint(err), "synchronous_commit is off in the aggregator's sessions") {
			t.Errorf("it says %v", err)
		}
		cancel()
	}
}

// A failover took what was countersigned, and the aggregator was started anew before it had put that back: what it kept beside
// the database it puts back then, and tells of it.
func TestARestartAmidAFailoverForgetsNothing(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	server := testenv.NewPostgres(t)
	admin, err := pgx.Connect(t.Context(), server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	path := filepath.Join(t.TempDir(), "countersigned")
	start := func() (*node, func()) {
		store, err := pgstore.Open(t.Context(), server.DSN(), pgstore.Options{CrashLoss: registry.WarnLoss})
		if err != nil {
			t.Fatal(err)
		}
		keeper, err := pebblestore.OpenKeeper(path, pebblestore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pebblestore.OpenKeeper(path, pebblestore.Options{}); !errors.Is(err, registry.ErrRunning) {
			t.Errorf("a second one has it too: %v", err)
		}
		n := startNode(t, broker.Addr, store, func(c *aggregator.Config, o *aggregator.Options) {
			c.Trust.Gateways, c.Store.URL, o.Keeper = registry.TrustAll, "postgres://", keeper
		})
		stop := sync.OnceFunc(func() {
			n.stop()
			if err := errors.Join(keeper.Close(), store.Close()); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(stop)
		return n, stop
	}
	n, stop := start()
	c := newChain(t, "press-1")
	c.sealMany(10)
	g := newGateway(t, broker.Addr, c, "", n.self)
	g.awaitReceipt(n.self)
	// What a standby had that takes over later.
	if _, err := admin.Exec(t.Context(), "CREATE TABLE standby AS SELECT * FROM edgechain_chains"); err != nil {
		t.Fatal(err)
	}
	g.seal(5)
	g.awaitReceipt(n.self)
	g.stop()
	stop()
	for _, statement := range []string{"DELETE FROM edgechain_chains", "INSERT INTO edgechain_chains SELECT * FROM standby", "DELETE FROM edgechain_receipts WHERE height > 10"} {
		if _, err := admin.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	n, _ = start()
	var r *registry.Record
	eventually(t, "what was countersigned to be back", func() bool {
		if r, err = n.store.Record(t.Context(), c.id()); err != nil {
			t.Fatal(err)
		}
		return r.Findings[registry.SetBack] != nil
	})
	if r.State.Head.Head.Hash() != c.head().Hash() || r.State.Receipt == nil || r.Standing != registry.Approved {
		t.Errorf("%+v", r)
	}
	if receipts, err := n.store.Receipts(t.Context(), c.id(), 15, 1); err != nil || len(receipts) != 1 {
		t.Errorf("receipts: %v, %v", receipts, err)
	}
}
