package pgstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
)

// forever is for a test in which each call gets through in the end, on whatever machine.
const forever = time.Hour

func open(t *testing.T, dsn string, o Options) *Store {
	t.Helper()
	if o.CrashLoss == "" {
		o.CrashLoss = registry.WarnLoss // of servers without fsync
	}
	s, err := Open(t.Context(), dsn, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func chainOf(text string) lightchain.ChainID { return sha256.Sum256([]byte(text)) }

// count adds one to a chain's record, which is wrong to do twice, and signs it with what it is done for.
func count(by string) func(*registry.Record) (*registry.Change, error) {
	return func(r *registry.Record) (*registry.Change, error) {
		r.Standing = registry.Approved
		r.Decided++
		return &registry.Change{Receipt: &registry.Receipted{Height: uint64(r.Decided), Time: 1, Body: []byte(by)}}, nil
	}
}

// counted returns for what a chain's record was counted up, and fails the test if the two differ or something was
// counted twice.
func counted(t *testing.T, s *Store, chain lightchain.ChainID) (by []string) {
	t.Helper()
	r, err := s.Record(t.Context(), chain)
	if err != nil {
		t.Fatal(err)
	}
	receipts, err := s.Receipts(t.Context(), chain, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, receipt := range receipts {
		by = append(by, string(receipt.Body))
	}
	slices.Sort(by)
	if once := slices.Compact(slices.Clone(by)); len(once) != len(by) || r.Decided != int64(len(by)) {
		t.Fatalf("%d changes left %d receipts, and the record says %d", len(once), len(by), r.Decided)
	}
	return by
}

// An operation is what the store does while a connection breaks. begin prepares its nth run, and returns the run itself
// and what must be true after it.
type operation struct {
	name  string
	begin func(t *testing.T, s *Store, n int) (run func() error, check func())
}

func operations() []operation {
	text := func(t *testing.T, s *Store, name string) string {
		t.Helper()
		all, err := s.Documents(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		return string(all[name])
	}
	// write appends to a document as it finds it, "" removes it. It returns what it found, as the caller learns it.
	write := func(s *Store, name, more string, found *string) error {
		return s.UpdateDocument(context.Background(), "test", name, func(old []byte) ([]byte, error) {
			if *found = string(old); more == "" {
				return nil, nil
			}
			return append(old, more...), nil
		})
	}
	document := func(old, more, want string) func(*testing.T, *Store, int) (func() error, func()) {
		return func(t *testing.T, s *Store, n int) (run func() error, check func()) {
			name := fmt.Sprintf("document %q %q %d", old, more, n)
			var found string
			if old != "" {
				if err := write(s, name, old, &found); err != nil {
					t.Fatal(err)
				}
			}
			return func() error { return write(s, name, more, &found) }, func() {
				if got := text(t, s, name); got != want || found != old {
					t.Errorf("it is %q and was found to be %q, want %q and %q", got, found, want, old)
				}
			}
		}
	}
	return []operation{
		{name: "a record is added", begin: func(t *testing.T, s *Store, n int) (run func() error, check func()) {
			chain := chainOf(fmt.Sprint("added ", n))
			return func() error { return s.Update(context.Background(), chain, count("one")) }, func() {
				if by := counted(t, s, chain); len(by) != 1 {
					t.Errorf("counted %d times", len(by))
				}
			}
		}},
		{name: "a record is changed", begin: func(t *testing.T, s *Store, n int) (run func() error, check func()) {
			chain := chainOf("changed")
			return func() error { return s.Update(context.Background(), chain, count(fmt.Sprint(n))) }, func() {
				if by := counted(t, s, chain); len(by) != n+1 {
					t.Errorf("after %d changes %d counted", n+1, len(by))
				}
			}
		}},
		{name: "a log is appended to", begin: func(t *testing.T, s *Store, n int) (run func() error, check func()) {
			const origin = "agg-1.example/heads"
			before, err := s.LogHead(t.Context(), origin)
			if err != nil {
				t.Fatal(err)
			}
			var tree lightchain.CompactRange
			if before != nil {
				if tree, err = lightchain.NewCompactRange(before.Size, before.Edge); err != nil {
					t.Fatal(err)
				}
			}
			leaf := headlog.Leaf{Chain: chainOf("logged"), Height: uint64(n), Header: fmt.Append(nil, "header ", n)}
			tree.Append(leaf.Hash(), nil)
			b := &headlog.Batch{Leaves: []headlog.Leaf{leaf}, Head: headlog.Head{Size: tree.Size(), Edge: tree.Edge(), Checkpoint: []byte("signed")}}
			return func() error { return s.LogAppend(context.Background(), origin, before, b) }, func() {
				after, err := s.LogHead(t.Context(), origin)
				if err != nil || after.Size != tree.Size() || after.Root() != tree.Root() {
					t.Errorf("the log stands at %+v, %v; want %d leaves", after, err, tree.Size())
				}
				leaves, err := s.LogLeaves(t.Context(), origin, 0, 1<<20)
				if err != nil || uint64(len(leaves)) != tree.Size() {
					t.Errorf("it has %d leaves, %v; want %d", len(leaves), err, tree.Size())
				}
			}
		}},
		{name: "a document is added", begin: document("", "a", "a")},
		{name: "a document is changed", begin: document("a", "b", "ab")},
		{name: "a document is removed", begin: document("a", "", "")},
		{name: "records are read", begin: func(t *testing.T, s *Store, n int) (run func() error, check func()) {
			var all []*registry.Record
			read := func() (err error) {
				all, err = s.Records(context.Background(), lightchain.ChainID{}, 20)
				return err
			}
			if err := read(); err != nil {
				t.Fatal(err)
			}
			want := all
			return read, func() {
				same := slices.EqualFunc(all, want, func(a, b *registry.Record) bool { return a.Chain == b.Chain })
				if len(all) < 20 || !same {
					t.Errorf("%d records were read, not the %d that are there", len(all), len(want))
				}
			}
		}},
	}
}

// A connection is broken before, in and after each message of each exchange, in both directions, one point after the
// other until an exchange has no more of them: on a connection that knows the statements already, and on one that knows none,
// as a new one does. The making of a connection, which is the longest exchange and the same for all, is broken under one of them.
func TestConnectionMayBreakAtEveryPoint(t *testing.T) {
	dsn := testenv.Postgres(t)
	p, through := startProxy(t, dsn)
	s := open(t, through, Options{Patience: forever})
	for i := range 20 { // for the one that reads
		if err := s.Update(t.Context(), chainOf(fmt.Sprint("record ", i)), count("one")); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range operations() {
		t.Run(o.name, func(t *testing.T) {
			forms := []form{before, amid, after}
			if testing.Short() {
				if o.name != "a record is added" {
					t.Skip("all operations are carried out alike: one of them is broken behind every message")
				}
				forms = []form{after}
			}
			hits := map[string]int{}
			runs := 0
			connections := []string{"knows all", "knows none"}
			must := []string{"to the server: before P", "to the server: after E",
				"to the client: after 2", "to the client: in the middle of D", "to the client: after Z"}
			if o.name == "a record is added" {
				connections = append(connections, "none")
				must = append(must, "to the server: before startup")
			}
			for _, connection := range connections {
				these := forms
				if connection == "knows none" && o.name != "a record is added" {
					// Of half a message neither side has more than of none: how the driver takes that is the same for
					// every statement.
					these = slices.DeleteFunc(slices.Clone(forms), func(f form) bool { return f == amid })
				}
				everyPoint(t, p, hits, func() (func() error, func()) {
					run, check := o.begin(t, s, runs)
					runs++
					switch connection {
					case "knows none":
						forget(t, s)
					case "none":
						s.pool.Reset()
					}
					p.awaitQuiet(t, s)
					return run, check
				}, these...)
			}
			if o.name == "a record is added" || o.name == "a document is added" { // nothing is there to be read
				must = slices.DeleteFunc(must, func(name string) bool { return strings.HasSuffix(name, " D") })
			}
			if o.name != "records are read" {
				must = append(must, "to the server: before Q begin", "to the client: before C BEGIN",
					"to the server: before Q commit", "to the server: in the middle of Q commit", "to the server: after Q commit",
					"to the client: before C COMMIT", "to the client: in the middle of C COMMIT", "to the client: after C COMMIT")
			}
			for _, name := range must {
				if _, at, _ := strings.Cut(name, ": "); !slices.ContainsFunc(forms, func(f form) bool { return strings.HasPrefix(at, string(f)) }) {
					continue
				}
				if hits[name] == 0 {
					t.Errorf("no connection broke %s; they did %v", name, slices.Sorted(maps.Keys(hits)))
				}
			}
			t.Logf("broken at %d points of %d kinds", runs, len(hits))
		})
	}
}

// forget has the store's connections forget the statements they know: what a new one sends and gets is the same then, and to
// make one costs more than all else that the test does.
func forget(t *testing.T, s *Store) {
	t.Helper()
	if err := s.pool.Ping(t.Context()); err != nil { // which makes one where there is none
		t.Fatal(err)
	}
	for _, c := range s.pool.AcquireAllIdle(t.Context()) {
		err := c.Conn().DeallocateAll(t.Context())
		c.Release()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// everyPoint breaks a connection at each point of an exchange in turn, and counts them by name.
func everyPoint(t *testing.T, p *proxy, hits map[string]int, begin func() (run func() error, check func()), forms ...form) {
	t.Helper()
	for _, w := range []way{toServer, toClient} {
		for _, f := range forms {
			for nth, came := 1, true; came; nth++ {
				run, check := begin()
				c := &point{way: w, nth: nth, form: f}
				p.breakAt(c)
				err := run()
				if came = p.broke(); came {
					hits[fmt.Sprintf("%s: %s %s", w, f, c.name)]++
				}
				if err != nil {
					t.Fatalf("broken %s, %s message %d, %q: %v", w, f, nth, c.name, err)
				}
				if check(); t.Failed() {
					t.Fatalf("broken %s, %s message %d, %q", w, f, nth, c.name)
				}
			}
		}
	}
}

func TestConnectionMayBreakWhileTablesAreMade(t *testing.T) {
	dsn := testenv.Postgres(t)
	admin := adminOf(t, dsn)
	p, through := startProxy(t, dsn)
	hits := map[string]int{}
	n := 0
	everyPoint(t, p, hits, func() (func() error, func()) {
		n++
		schema := fmt.Sprint("made", n)
		if _, err := admin.Exec(t.Context(), "CREATE SCHEMA "+schema); err != nil {
			t.Fatal(err)
		}
		p.awaitQuiet(t, nil)
		var s *Store
		run := func() (err error) {
			s, err = Open(t.Context(), through+"&search_path="+schema, Options{Patience: forever, CrashLoss: registry.WarnLoss})
			return err
		}
		return run, func() {
			defer s.Close()
			if err := s.Update(t.Context(), chainOf("one"), count("one")); err != nil {
				t.Error(err)
			}
		}
	}, after)
	t.Logf("broken at %d points of %d kinds", n, len(hits))
}

func adminOf(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	admin, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close(context.Background()) })
	return admin
}

// The client's connection breaks when it has sent its commit, and the server gets that later: after the client has begun
// to look whether it happened.
func TestCommitThatIsOnItsWayIsWaitedFor(t *testing.T) {
	dsn := testenv.Postgres(t)
	admin := adminOf(t, dsn)
	for _, isolation := range []string{"read%20committed", "serializable"} {
		p, through := startProxy(t, dsn)
		s := open(t, through+"&default_transaction_isolation="+isolation, Options{Patience: forever})
		for _, o := range operations() {
			if o.name == "records are read" {
				continue
			}
			t.Run(isolation+": "+o.name, func(t *testing.T) {
				run, check := o.begin(t, s, len(isolation))
				if o.name == "a record is changed" {
					chain := chainOf("changed " + isolation)
					if err := s.Update(t.Context(), chain, count("first")); err != nil {
						t.Fatal(err)
					}
					// Who would begin anew before it is settled would find that its own change refuses.
					calls := 0
					run = func() error {
						return s.Update(context.Background(), chain, func(r *registry.Record) (*registry.Change, error) {
							if calls++; calls > 1 {
								return nil, errors.New("called again")
							}
							return count("second")(r)
						})
					}
					check = func() {
						if by := counted(t, s, chain); !slices.Equal(by, []string{"first", "second"}) {
							t.Errorf("counted for %v", by)
						}
					}
				}
				c := &point{way: toServer, hold: true}
				p.breakAt(c)
				done := make(chan error, 1)
				go func() { done <- run() }()
				<-c.hit
				await(t, "somebody waits for the lock", func() bool {
					var n int
					if err := admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").Scan(&n); err != nil {
						t.Fatal(err)
					}
					return n == 1
				})
				p.release()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				check()
			})
		}
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

// Where others have changed the row since, it does not tell any more whether the unanswered commit happened: the caller
// hears that, and nothing is done twice.
func TestCommitThatCannotBeSettledIsToldAndNotMadeAgain(t *testing.T) {
	dsn := testenv.Postgres(t)
	p, through := startProxy(t, dsn)
	s := open(t, through, Options{Patience: forever})
	other := open(t, dsn, Options{Patience: forever})
	chain := chainOf("overwritten")
	if err := other.Update(t.Context(), chain, count("first")); err != nil {
		t.Fatal(err)
	}
	for _, f := range []form{before, after} { // it did not happen, it did
		for _, others := range []int{1, 2} {
			mine := fmt.Sprintf("mine %s, %d", f, others)
			p.breakAt(&point{way: toServer, form: f, meanwhile: func() {
				for n := range others {
					if err := other.Update(context.Background(), chain, count(fmt.Sprintf("%s: other %d", mine, n))); err != nil {
						t.Error(err)
					}
				}
			}})
			err := s.Update(t.Context(), chain, count(mine))
			told := errors.Is(err, errOverwritten)
			happened := slices.Contains(counted(t, other, chain), mine)
			switch {
			case err != nil && !told:
				t.Errorf("%s: %v", mine, err)
			case err == nil && !happened:
				t.Errorf("%s: told that it happened, which it did not", mine)
			case told && f == before && others == 1:
				t.Errorf("%s: another's change in its place shows that it did not happen: %v", mine, err)
			}
		}
	}
}

// Every connection is ended again and again, with a pause between that shrinks to less than an update takes here and
// grows until one gets through.
func TestConnectionsMayBreakAtAnyMoment(t *testing.T) {
	dsn := testenv.Postgres(t)
	admin := adminOf(t, dsn)
	stores := []*Store{open(t, dsn+"&application_name=victim", Options{Patience: forever}), open(t, dsn+"&application_name=victim", Options{Patience: forever})}
	chain := chainOf("moments")
	began := time.Now()
	if err := stores[0].Update(t.Context(), chain, count("first")); err != nil {
		t.Fatal(err)
	}
	shortest := time.Since(began)/8 + time.Microsecond
	var done, broken atomic.Int64
	stop := make(chan struct{})
	var breaking sync.WaitGroup
	defer breaking.Wait() // however the test ends
	defer close(stop)
	breaking.Go(func() {
		for pause, before := shortest, int64(0); ; pause += pause / 8 {
			if now := done.Load(); now > before {
				before, pause = now, shortest
			}
			select {
			case <-stop:
				return
			case <-time.After(pause):
			}
			tag, err := admin.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'")
			if err != nil {
				t.Error(err)
				return
			}
			broken.Add(tag.RowsAffected())
		}
	})
	var mu sync.Mutex
	happened, unknown := []string{"first"}, []string(nil) // guarded by mu
	var racing sync.WaitGroup
	for i := range 4 {
		racing.Go(func() {
			for n := range 10 {
				by := fmt.Sprint(i, " ", n)
				err := stores[i%2].Update(context.Background(), chain, count(by))
				done.Add(1)
				mu.Lock()
				switch {
				case err == nil:
					happened = append(happened, by)
				case errors.Is(err, errOverwritten):
					unknown = append(unknown, by)
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	racing.Wait()
	by := counted(t, stores[0], chain)
	for _, one := range happened {
		if !slices.Contains(by, one) {
			t.Errorf("%s was told that it happened, and is not there", one)
		}
	}
	if broken.Load() == 0 || len(happened) == 1 {
		t.Errorf("%d connections broke, %d updates happened", broken.Load(), len(happened))
	}
	t.Logf("%d connections broke under %d updates, of which %d could not tell whether they happened", broken.Load(), done.Load(), len(unknown))
}

// What the log says of a database that is away: one line when it goes, one when it is back. What the error says: how
// long was tried, and what was wrong.
func TestDatabaseThatIsAwayIsTold(t *testing.T) {
	dsn := testenv.NewPostgres(t).DSN() // of which nothing else is to be told
	p, through := startProxy(t, dsn)
	var log bytes.Buffer
	s := open(t, through, Options{Patience: time.Nanosecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	server := p.setBackend("/nowhere")
	s.pool.Reset()
	err := s.Update(t.Context(), chainOf("one"), count("away"))
	if want := fmt.Sprintf("given up after %d attempts in", leastAttempts); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error %v does not say %q", err, want)
	}
	if _, err := s.Record(t.Context(), chainOf("one")); err == nil || errors.Is(err, registry.ErrNotFound) {
		t.Errorf("reading: %v", err)
	}
	p.setBackend(server)
	if err := s.Update(t.Context(), chainOf("one"), count("back")); err != nil {
		t.Fatal(err)
	}
	if by := counted(t, s, chainOf("one")); !slices.Equal(by, []string{"back"}) {
		t.Errorf("counted for %v", by)
	}
	text := log.String()
	if strings.Count(text, "level=WARN") != 1 || strings.Count(text, "level=INFO") != 1 || !strings.Contains(text, "the database answers again") {
		t.Errorf("the log:\n%s", text)
	}
}
