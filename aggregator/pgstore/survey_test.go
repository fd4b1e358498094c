package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
)

// logged keeps what a store logs.
type logged struct{ testenv.Log }

// has fails the test where the log lacks one of the words.
func (l *logged) has(t *testing.T, words ...string) {
	t.Helper()
	text := l.String()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("the log lacks %q:\n%s", word, text)
		}
	}
}

// openSafe opens a store that leaves the options as they are.
func openSafe(t *testing.T, dsn string, o Options) *Store {
	t.Helper()
	o.Patience = testenv.Patience
	s, err := Open(t.Context(), dsn, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func run(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, one := range statements {
		if _, err := conn.Exec(t.Context(), one); err != nil {
			t.Fatalf("%s: %v", one, err)
		}
	}
}

// reload waits until the server has read a changed setting.
func reload(t *testing.T, conn *pgx.Conn, name, value string) {
	t.Helper()
	run(t, conn, fmt.Sprintf("ALTER SYSTEM SET %s = '%s'", name, value), "SELECT pg_reload_conf()")
	testenv.Await(t, name+" is "+value, func() bool {
		var now string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&now); err != nil {
			t.Fatal(err)
		}
		return now == value
	})
}

// awaitStandby waits until a standby has everything, and stands to its primary as sync says.
func awaitStandby(t *testing.T, conn *pgx.Conn, name, sync string) {
	t.Helper()
	testenv.Await(t, name+" is "+sync, func() bool {
		var n int
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_replication WHERE application_name = $1 AND sync_state = $2 AND flush_lsn = pg_current_wal_flush_lsn()", name, sync).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
}

func TestSettingsAreJudged(t *testing.T) {
	standbys := func(pairs ...string) (all []registry.Standby) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, registry.Standby{Name: pairs[i], Sync: pairs[i+1]})
		}
		return all
	}
	for _, c := range []struct {
		claim                  string
		change                 func(*answers)
		crash, failover, notes string
	}{
		{claim: "one server that keeps what it commits", change: func(*answers) {}},
		{claim: "no fsync", change: func(a *answers) { a.fsync = "off" }, crash: "set fsync = on"},
		{claim: "commits that are not waited for", change: func(a *answers) { a.commit = "off" }, crash: "ALTER ROLE edge SET synchronous_commit = on"},
		{claim: "commits that wait for the server alone, where there is no other", change: func(a *answers) { a.commit = "local" }},
		{claim: "half pages", change: func(a *answers) { a.pages = "off" }, notes: "full_page_writes is off"},
		{claim: "asynchronous standbys", change: func(a *answers) { a.standbys = standbys("b-1", "async", "a", "away", "a", "async") },
			failover: `set synchronous_standby_names = 'ANY 1 ("b-1", a)'`},
		{claim: "asynchronous standbys of which not all can be read", change: func(a *answers) { a.standbys = standbys("a", "") }, failover: "'ANY 1 (a)'"},
		{claim: "a standby that is away", change: func(a *answers) { a.standbys = standbys("a", "away") }, failover: "asynchronous standbys (a)"},
		{claim: "synchronous ones", change: func(a *answers) { a.synchronous, a.standbys = "ANY 1 (a, b)", standbys("a", "quorum", "b", "quorum") }},
		{claim: "synchronous ones that have read it too", change: func(a *answers) { a.synchronous, a.commit = "a", "remote_apply" }},
		{claim: "synchronous ones that nobody waits for", change: func(a *answers) { a.synchronous, a.commit = "a", "local" }, failover: "synchronous_commit is local"},
		{claim: "synchronous ones, and commits not waited for", change: func(a *answers) { a.synchronous, a.commit = "a", "off" }, crash: "synchronous_commit is off", failover: "synchronous_commit is off"},
		{claim: "synchronous ones that have not written it", change: func(a *answers) { a.synchronous, a.commit = "a", "remote_write" }, failover: "remote_write"},
		{claim: "an asynchronous one beside them", change: func(a *answers) { a.synchronous, a.standbys = "a", standbys("a", "sync", "b", "async") }, notes: "the standbys b are asynchronous"},
		{claim: "synchronous ones that cannot be told", change: func(a *answers) { a.synchronous, a.standbys = "a", standbys("a", "") }, notes: "GRANT pg_monitor TO edge"},
		{claim: "a server that says nothing", change: func(a *answers) { *a = answers{unread: "not permitted"} }, notes: "cannot be read (not permitted)"},
		{claim: "standbys that cannot be seen", change: func(a *answers) { a.unlisted = "not permitted" }, notes: "set synchronous_standby_names if it has any"},
	} {
		a := &answers{user: "edge", commit: "on", fsync: "on", pages: "on"}
		c.change(a)
		crash, failover, notes := a.judge()
		for _, one := range []struct {
			got  []string
			want string
		}{{crash, c.crash}, {failover, c.failover}, {notes, c.notes}} {
			if text := strings.Join(one.got, "; "); one.want == "" && text != "" || !strings.Contains(text, one.want) {
				t.Errorf("%s: %q, want %q", c.claim, text, one.want)
			}
		}
	}
}

func TestAnotherHistoryIsNoticed(t *testing.T) {
	before := position{system: 7, timeline: 2, end: 100}
	for _, c := range []struct {
		now  position
		want string
	}{
		{position{7, 2, 100}, ""},
		{position{7, 2, 200}, ""},
		{position{7, 0, 0}, ""}, // it cannot be read
		{position{8, 2, 200}, "another cluster"},
		{position{7, 3, 90}, "timeline 3 in place of 2: a standby took over"},
		{position{7, 1, 300}, "an older history"},
		{position{7, 2, 99}, "it was set back"},
	} {
		if got := c.now.since(before); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.now, got, c.want)
		}
	}
	if change := before.since(position{}); change != "" {
		t.Errorf("the first look finds %q", change)
	}
	// Two connections that looked at the same time have found one change.
	w := &watch{log: slog.New(slog.DiscardHandler), changed: make(chan struct{}, 1), position: before}
	for range 2 {
		w.saw(&answers{position: position{7, 3, 90}}, before)
	}
	if w.last.Changes != 1 {
		t.Errorf("two connections found %d changes", w.last.Changes)
	}
}

// No receipt is written where a crash takes it; all else is, since it is no promise.
func TestNoReceiptIsWrittenWhereACrashTakesIt(t *testing.T) {
	server := testenv.NewPostgres(t)
	admin := adminOf(t, server.DSN())
	var log logged
	s := openSafe(t, server.DSN(), Options{Logger: log.Logger()})
	s.lookEvery = 0 // each write looks
	if err := s.Update(t.Context(), chainOf("one"), count("first")); err != nil {
		t.Fatal(err)
	}
	reload(t, admin, "synchronous_commit", "off")
	// The session hears of it in its own time.
	testenv.Await(t, "the receipt is refused", func() bool {
		err := s.Update(t.Context(), chainOf("other"), func(r *registry.Record) (*registry.Change, error) {
			r.Decided++
			return &registry.Change{Receipt: &registry.Receipted{Height: uint64(r.Decided)}}, nil
		})
		if err != nil && !(errors.Is(err, registry.ErrWithheld) && errors.Is(err, registry.ErrUnsafe) && strings.Contains(err.Error(), "SET synchronous_commit = on")) {
			t.Fatal(err)
		}
		return err != nil
	})
	if by := counted(t, s, chainOf("one")); !slices.Equal(by, []string{"first"}) {
		t.Errorf("counted for %v", by)
	}
	err := s.Update(t.Context(), chainOf("one"), func(r *registry.Record) (*registry.Change, error) {
		r.Name = "noted"
		return nil, nil
	})
	if err != nil {
		t.Errorf("what is no receipt: %v", err)
	}
	d := s.Database()
	if len(d.AtCrash) != 1 || !strings.Contains(d.Refused, `or set store.crash_loss = "warn"`) || d.Commit != "off" {
		t.Errorf("the database is told as %+v", d)
	}
	log.has(t, "level=ERROR", "the database may lose what is countersigned, and nothing is", "synchronous_commit is off")
	reload(t, admin, "synchronous_commit", "on")
	testenv.Await(t, "receipts are written again", func() bool {
		err := s.Update(t.Context(), chainOf("one"), count("second"))
		if err != nil && !errors.Is(err, registry.ErrWithheld) {
			t.Fatal(err)
		}
		return err == nil
	})
	log.has(t, "it is countersigned again")
	for _, o := range []Options{{}, {CrashLoss: registry.RefuseLoss}, {CrashLoss: registry.WarnLoss}} {
		s := openSafe(t, server.DSN()+"&synchronous_commit=off", o)
		if refused := s.Database().Refused != ""; refused != (o.CrashLoss != registry.WarnLoss) {
			t.Errorf("with %q, refused is %v", o.CrashLoss, refused)
		}
	}
}

// A user who may not see how standbys are doing is told of them all the same, and which right is missing.
func TestWhatCannotBeReadIsSaid(t *testing.T) {
	primary := testenv.NewPostgres(t)
	admin := adminOf(t, primary.DSN())
	run(t, admin, "CREATE ROLE poor LOGIN", "GRANT ALL ON SCHEMA public TO poor")
	primary.Standby("s1")
	awaitStandby(t, admin, "s1", "async")
	poor := strings.Replace(primary.DSN(), "user=edgechain", "user=poor", 1)
	d := openSafe(t, poor, Options{}).Database()
	if len(d.AtFailover) != 1 || !strings.Contains(d.AtFailover[0], "(s1)") || d.System == 0 || d.Timeline != 1 {
		t.Errorf("asynchronous: %+v", d)
	}
	reload(t, admin, "synchronous_standby_names", "ANY 1 (s1)")
	awaitStandby(t, admin, "s1", "quorum")
	d = openSafe(t, poor, Options{}).Database()
	if len(d.AtFailover) != 0 || len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "GRANT pg_monitor TO poor") {
		t.Errorf("synchronous: %+v", d)
	}
	run(t, admin, "GRANT pg_monitor TO poor")
	if d = openSafe(t, poor, Options{}).Database(); len(d.Notes) != 0 {
		t.Errorf("synchronous, with the right to see it: %+v", d)
	}
}

func TestAStandbyIsNotWrittenTo(t *testing.T) {
	primary := testenv.NewPostgres(t)
	openSafe(t, primary.DSN(), Options{})
	standby := primary.Standby("s1")
	_, err := Open(t.Context(), standby.DSN(), Options{Patience: time.Nanosecond})
	if !errors.Is(err, errStandby) || !strings.Contains(err.Error(), "it is a standby") {
		t.Fatalf("opened on a standby: %v", err)
	}
	// Whoever waits for it to take over gets through then.
	opened := make(chan error, 1)
	var log logged
	go func() {
		s, err := Open(context.Background(), standby.DSN(), Options{Patience: forever, Logger: log.Logger()})
		if err == nil {
			err = s.Update(context.Background(), chainOf("one"), count("first"))
			s.Close()
		}
		opened <- err
	}()
	testenv.Await(t, "the log tells of the standby", func() bool { return strings.Contains(log.String(), "it is a standby") })
	primary.Stop()
	standby.Promote()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
}

// An asynchronous standby is told of or refused, and so is that it took over.
func TestAsynchronousStandbysAreTold(t *testing.T) {
	primary := testenv.NewPostgres(t)
	admin := adminOf(t, primary.DSN())
	s1 := primary.Standby("s1")
	awaitStandby(t, admin, "s1", "async")
	var log logged
	s := openSafe(t, primary.DSN(s1), Options{Logger: log.Logger()})
	log.has(t, "level=WARN", "the database has asynchronous standbys (s1)", "set synchronous_standby_names = 'ANY 1 (s1)'")
	if err := s.Update(t.Context(), chainOf("one"), count("first")); err != nil {
		t.Errorf("a warning alone: %v", err)
	}
	strict := openSafe(t, primary.DSN(s1), Options{FailoverLoss: registry.RefuseLoss})
	if err := strict.Update(t.Context(), chainOf("one"), count("second")); !errors.Is(err, registry.ErrWithheld) || !strings.Contains(err.Error(), "synchronous_standby_names") {
		t.Errorf("refused: %v", err)
	}
	awaitStandby(t, admin, "s1", "async")
	s.watch.grace = time.Hour
	s1.Stop()
	if err := s.Update(t.Context(), chainOf("one"), count("third")); err != nil {
		t.Fatal(err)
	}
	primary.Stop()
	s1.Start()
	s1.Promote()
	if by := counted(t, s, chainOf("one")); !slices.Equal(by, []string{"first"}) {
		t.Errorf("after the failover it is counted for %v", by)
	}
	if d := s.Database(); d.Changes != 1 || d.Timeline != 2 || len(d.AtFailover) != 0 || !strings.Contains(d.Change, "timeline 2 in place of 1") {
		t.Errorf("after the failover: %+v", d)
	}
	log.has(t, "the database is not the one that it was")
	// Nothing new is countersigned before the replicas have put back what they know.
	if err := s.Update(t.Context(), chainOf("one"), count("fourth")); !errors.Is(err, registry.ErrWithheld) || errors.Is(err, registry.ErrUnsafe) {
		t.Errorf("countersigned at once: %v", err)
	}
	err := s.Update(t.Context(), chainOf("one"), func(r *registry.Record) (*registry.Change, error) {
		c, err := count("third")(r)
		c.Again = true
		return c, err
	})
	if err != nil {
		t.Errorf("put back: %v", err)
	}
	s.watch.grace = 0
	if err := s.Update(t.Context(), chainOf("one"), count("fourth")); err != nil {
		t.Errorf("countersigned after a while: %v", err)
	}
	select {
	case <-s.Changed():
	default:
		t.Error("nobody is told that the server changed")
	}
}

// Of what is committed with a synchronous standby, a failover takes nothing; not even where the wait for the standby is
// cancelled, as it is when a call has waited too long.
func TestSynchronousStandbysLoseNothing(t *testing.T) {
	primary := testenv.NewPostgres(t)
	admin := adminOf(t, primary.DSN())
	s1 := primary.Standby("s1")
	reload(t, admin, "synchronous_standby_names", "ANY 1 (s1, s2)")
	awaitStandby(t, admin, "s1", "quorum")
	var log logged
	s := openSafe(t, primary.DSN(s1)+"&application_name=aggregator", Options{Logger: log.Logger(), FailoverLoss: registry.RefuseLoss})
	if log.String() != "" {
		t.Errorf("told of synchronous standbys:\n%s", log.String())
	}
	want := []string{"a", "b", "c"}
	for _, by := range want {
		if err := s.Update(t.Context(), chainOf("one"), count(by)); err != nil {
			t.Fatal(err)
		}
	}
	s1.Stop()
	done := make(chan error, 1)
	go func() { done <- s.Update(context.Background(), chainOf("one"), count("cancelled")) }()
	// A commit waits; its wait is cancelled; then the next one waits, by which the first is found.
	var pid, next int32
	waits := func(pid *int32) func() bool {
		return func() bool {
			err := admin.QueryRow(t.Context(), "SELECT pid FROM pg_stat_activity WHERE application_name = 'aggregator' AND wait_event = 'SyncRep'").Scan(pid)
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				t.Fatal(err)
			}
			return err == nil
		}
	}
	testenv.Await(t, "the commit waits for the standby", waits(&pid))
	run(t, admin, fmt.Sprintf("SELECT pg_cancel_backend(%d)", pid))
	testenv.Await(t, "the next commit waits for the standby", func() bool {
		return waits(&next)() && strings.Contains(log.String(), "the server warns")
	})
	select {
	case err := <-done:
		t.Fatalf("it ended with %v while the standby had nothing of it", err)
	default:
	}
	// What was committed here alone can be read; that it is settled is not said before the standby has it.
	by := counted(t, s, chainOf("one"))
	if !slices.Contains(by, "cancelled") {
		t.Errorf("counted for %v", by)
	}
	settled := make(chan error, 1)
	go func() { settled <- s.Settled(context.Background()) }()
	testenv.Await(t, "two wait for the standby", func() bool {
		var n int
		if err := admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aggregator' AND wait_event = 'SyncRep'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 2
	})
	s1.Start()
	for _, end := range []chan error{done, settled} {
		if err := <-end; err != nil {
			t.Fatal(err)
		}
	}
	primary.Stop()
	s1.Promote()
	if by := counted(t, s, chainOf("one")); !slices.Equal(by, append(slices.Clone(want), "cancelled")) {
		t.Errorf("after the failover it is counted for %v", by)
	}
}
