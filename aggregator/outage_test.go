package aggregator_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/pgstore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/aggregator/replicas"
	"edgechain.example/build/testenv"
)

// A firewall stands between a store and its database, and drops every packet when it is told to: connections stay open, new
// ones are taken, and nothing comes back.
type firewall struct {
	mu       sync.Mutex
	open     *sync.Cond
	dropping bool // guarded by mu
	closed   bool // guarded by mu
}

// startFirewall returns one, and the address by which a store reaches the database of dsn through it.
func startFirewall(t *testing.T, dsn string) (f *firewall, through string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f = &firewall{}
	f.open = sync.NewCond(&f.mu)
	query := u.Query()
	server := filepath.Join(query.Get("host"), ".s.PGSQL.5432")
	query.Del("host")
	u.Host, u.RawQuery = listener.Addr().String(), query.Encode()
	var running sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		f.set(func() { f.closed = true })
		running.Wait()
	})
	running.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer in.Close()
				if !f.pass() {
					return
				}
				out, err := net.Dial("unix", server)
				if err != nil {
					return
				}
				defer out.Close()
				running.Go(func() {
					f.copy(in, out)
					in.Close()
				})
				f.copy(out, in)
			})
		}
	})
	return f, u.String()
}

func (f *firewall) copy(to io.Writer, from io.Reader) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil || !f.pass() {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// pass waits until packets pass, and reports whether the test goes on.
func (f *firewall) pass() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.dropping && !f.closed {
		f.open.Wait()
	}
	return !f.closed
}

func (f *firewall) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.open.Broadcast()
}

// A database that vanishes without a word: the aggregator says so in /readyz, in its status, which it gives at once, and in a
// metric; calls under way end; nobody whom it had approved is taken for a stranger; and when the database is back, it goes on.
func TestADatabaseThatFallsSilentIsTold(t *testing.T) {
	broker := testenv.Mosquitto(t, "")
	wall, dsn := startFirewall(t, testenv.NewPostgres(t).DSN())
	log := &testenv.Log{}
	store, err := pgstore.Open(t.Context(), dsn, pgstore.Options{Patience: time.Second, CrashLoss: registry.WarnLoss, Logger: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	n := startNode(t, broker.Addr, store, func(c *aggregator.Config, _ *aggregator.Options) {
		c.Trust.Gateways, c.Store.URL = registry.TrustApproved, "postgres://"
	})
	c := newChain(t, "quiet")
	c.sealMany(3)
	if err := n.Registry().Approve(t.Context(), c.id(), registry.Settings{}, "test"); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, broker.Addr, c, "", n.self)
	g.awaitReceipt(n.self)
	server := httptest.NewServer(n.Server().Handler())
	t.Cleanup(server.Close)
	get := func(path string) (code int, text string) {
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(b)
	}
	eventually(t, "the aggregator to be ready", func() bool { code, _ := get("/readyz"); return code == http.StatusOK })

	wall.set(func() { wall.dropping = true })
	call := make(chan error, 1)
	go func() {
		_, err := store.Record(context.Background(), c.id())
		call <- err
	}()
	eventually(t, "/readyz to tell", func() bool {
		code, text := get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(text, "does not answer since")
	})
	status, err := api.Local(n.Server()).Status(t.Context())
	if err != nil || !status.Running || status.Live.Database.Silent == nil || !strings.Contains(status.Uncounted, "does not answer since") {
		t.Errorf("the status: %+v, %v", status, err)
	}
	if code, _ := get("/healthz"); code != http.StatusOK {
		t.Error("a database that is away is no ailment of the program")
	}
	if _, text := get("/metrics"); !strings.Contains(text, "edgeaggregator_database_answers 0") {
		t.Error("the metric does not tell")
	}
	select {
	case err := <-call:
		if err == nil {
			t.Error("a call was answered")
		}
	case <-time.After(4 * time.Minute): // TCP would try for 15
		t.Fatal("a call does not end")
	}
	g.seal(3)
	eventually(t, "the replica to own nothing any more", func() bool {
		_, text := get("/metrics")
		return strings.Contains(text, "edgeaggregator_replica_idle 1")
	})
	wall.set(func() { wall.dropping = false })
	g.awaitReceipt(n.self)
	eventually(t, "the aggregator to be ready", func() bool { code, _ := get("/readyz"); return code == http.StatusOK })
	for _, line := range []string{"an unknown gateway", "standing changed to waiting"} {
		if strings.Contains(n.log.String(), line) {
			t.Errorf("an approved gateway was taken for a stranger: %q", line)
		}
	}
	if r, err := store.Record(t.Context(), c.id()); err != nil || r.Standing != registry.Approved {
		t.Errorf("%+v, %v", r, err)
	}
}

// A beat to a database that vanished ends in time, and the next one finds another connection.
func TestABeatEndsWhereTheDatabaseIsSilent(t *testing.T) {
	wall, dsn := startFirewall(t, testenv.Postgres(t))
	s, err := pgstore.Open(t.Context(), dsn, pgstore.Options{CrashLoss: registry.WarnLoss})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b := &replicas.Beat{Replica: "one", Run: "1", Lease: time.Hour}
	if _, err := s.Beat(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	wall.set(func() { wall.dropping = true })
	for range 2 { // over the connection that stands, and over one that cannot be made
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		ended := make(chan error, 1)
		go func() {
			_, err := s.Beat(ctx, b)
			ended <- err
		}()
		select {
		case err := <-ended:
			if err == nil {
				t.Error("it was answered")
			}
		case <-time.After(testenv.Patience): // TCP would try for 15 minutes
			t.Fatal("it does not end")
		}
		cancel()
	}
	wall.set(func() { wall.dropping = false })
	if _, err := s.Beat(t.Context(), b); err != nil {
		t.Errorf("when it answers again: %v", err)
	}
}
