package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"edgechain.example/aggregator/registry"
)

// lookEvery is after how long a connection asks its server again: settings change under open connections.
const lookEvery = 30 * time.Second

// What is noted on a connection, in its own map; whoever uses the connection owns it.
const (
	lookedKey = "edgechain.looked" // a *looked
	warnedKey = "edgechain.warned" // the text of the last warning that the server sent
)

// looked is what was found out about the server in one session.
type looked struct {
	at      time.Time
	refused string // why no receipt is written; "": they are
}

// grace is how long no receipt is written after the server turned out to be another one: each replica has seen it by
// then, and has put back what it knows. What one has countersigned the others do not know.
const grace = 10 * time.Second

// watch knows how the server keeps what is committed, and tells the log when that changes.
type watch struct {
	log                 *slog.Logger
	crashLoss, failLoss registry.OnLoss
	changed             chan struct{} // capacity 1
	grace               time.Duration // set before the store is used

	mu       sync.Mutex
	last     registry.Database // guarded by mu
	position position          // guarded by mu: where the server's history stood last
	told     []string          // guarded by mu: what stands in last and was told
	other    time.Time         // guarded by mu: when the server was found to be another one; zero: it never was
}

// Database implements [registry.Served].
func (s *Store) Database() registry.Database {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	d := s.watch.last // its slices are replaced, never changed
	if since, err := s.health.since(); err != nil {
		d.Silent, d.Error = &since, err.Error()
	}
	return d
}

// Changed implements [registry.Served].
func (s *Store) Changed() <-chan struct{} { return s.watch.changed }

// connected looks at the server behind a new connection. A standby's is not used: what it shows may be old.
func (s *Store) connected(ctx context.Context, conn *pgx.Conn) error {
	w := &s.watch
	w.mu.Lock()
	before := w.position // from before the question, so that no answer can be older
	w.mu.Unlock()
	a, err := survey(ctx, conn)
	if errors.Is(err, errStandby) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.last.Standby = true
	}
	if err != nil {
		return err
	}
	conn.PgConn().CustomData()[lookedKey] = &looked{time.Now(), w.saw(a, before)}
	return nil
}

// fresh looks again if the last look is old. It returns a connection that must not be used as an error.
func (s *Store) fresh(ctx context.Context, conn *pgx.Conn) error {
	if l := lookedAt(conn); l != nil && time.Since(l.at) < s.lookEvery {
		return nil
	}
	err := s.connected(ctx, conn)
	if err != nil {
		_ = conn.Close(ctx) // the pool makes another
	}
	return err
}

func lookedAt(conn *pgx.Conn) *looked {
	l, _ := conn.PgConn().CustomData()[lookedKey].(*looked)
	return l
}

// mayPromise returns an error where a new receipt is not to be written over the connection.
func (s *Store) mayPromise(conn *pgx.Conn) error {
	if l := lookedAt(conn); l != nil && l.refused != "" {
		return fmt.Errorf("%w: %w: %s", registry.ErrWithheld, registry.ErrUnsafe, l.refused)
	}
	w := &s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.other.IsZero() && time.Since(w.other) < w.grace {
		return fmt.Errorf("%w: another database answers than before, and for %s each replica puts back what it knows", registry.ErrWithheld, w.grace)
	}
	return nil
}

// warned notes what the server warns of.
func warned(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" {
		conn.CustomData()[warnedKey] = n.Message
	}
}

// saw takes in what a server said, tells what is new, and returns why no receipt is to be written to it.
func (w *watch) saw(a *answers, before position) (refused string) {
	crash, failover, notes := a.judge()
	switch {
	case len(crash) > 0 && w.crashLoss != registry.WarnLoss:
		refused = crash[0] + `; or set store.crash_loss = "warn"`
	case len(failover) > 0 && w.failLoss == registry.RefuseLoss:
		refused = failover[0] + `; or set store.failover_loss = "warn"`
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d := registry.Database{
		Asked: time.Now(), System: a.position.system, Timeline: a.position.timeline, Commit: a.commit, Synchronous: a.synchronous,
		Standbys: a.standbys, AtCrash: crash, AtFailover: failover, Notes: notes, Refused: refused,
		Changes: w.last.Changes, Change: w.last.Change,
	}
	if !w.last.Asked.IsZero() && !slices.Equal(d.Standbys, w.last.Standbys) {
		w.log.Info("the database's standbys are others", "now", d.Standbys, "before", w.last.Standbys)
	}
	// Another connection may have found the same meanwhile.
	if change := a.position.since(before); change != "" && w.position.since(before) == "" {
		d.Changes++
		d.Change = change
		w.other = time.Now()
		w.log.Warn("the database is not the one that it was", "what", change)
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
	if refused == "" && w.last.Refused != "" {
		w.log.Info("the database keeps what is countersigned, and it is countersigned again")
	}
	for _, why := range w.untold(slices.Concat(crash, failover)) {
		w.log.Warn("the database may lose what is countersigned", "why", why)
	}
	for _, why := range w.untold(slices.Clone(notes)) {
		w.log.Warn("the database should be looked at", "why", why)
	}
	if refused != "" && refused != w.last.Refused {
		w.log.Error("the database may lose what is countersigned, and nothing is", "why", refused)
	}
	w.told = slices.Concat(crash, failover, notes)
	w.last, w.position = d, a.position
	return refused
}

// untold returns those that were not told before. The caller holds the mutex.
func (w *watch) untold(all []string) []string {
	return slices.DeleteFunc(all, func(why string) bool { return slices.Contains(w.told, why) })
}

// Settled implements [registry.Served]. A commit waits for the standbys until they have all that was before it.
func (s *Store) Settled(ctx context.Context) error {
	if s.Database().Synchronous == "" {
		return nil
	}
	return s.again(ctx, func(ctx context.Context) error {
		return s.transact(ctx, func(tx pgx.Tx) error {
			// A lock alone is written to the log, without which no commit waits; this one keeps nobody out.
			var version int
			return tx.QueryRow(ctx, "SELECT version FROM edgechain_layout WHERE id = 1 FOR SHARE").Scan(&version)
		})
	})
}
