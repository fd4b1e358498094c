package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"edgechain.example/aggregator/registry"
)

const (
	// attemptTime bounds an attempt: the network may have lost a connection without telling either end.
	attemptTime   = time.Minute
	connectTime   = 10 * time.Second
	leastAttempts = 4
	firstPause    = 2 * time.Millisecond
	longestPause  = time.Second
)

// own is an error that ends a call without another attempt, and that the caller gets as it is.
type own struct{ err error }

func (o *own) Error() string { return o.err.Error() }
func (o *own) Unwrap() error { return o.err }

// again repeats work until it ends in something that another attempt would not mend, or patience does. Pauses double,
// so that a database in trouble gets room, and are spread, so that those who collided do not meet again.
func (s *Store) again(ctx context.Context, work func(context.Context) error) error {
	began := time.Now()
	for attempt, pause := 1, firstPause; ; attempt, pause = attempt+1, min(2*pause, longestPause) {
		err := s.try(ctx, work)
		var mine *own
		if err == nil || errors.As(err, &mine) {
			s.outage.over()
			if mine == nil || errors.Is(mine.err, registry.ErrUnchanged) {
				return nil
			}
			return mine.err
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("database: %w: %w", context.Cause(ctx), err)
		case broken(err):
			s.outage.broken(err)
		case !collided(err):
			return fmt.Errorf("database: %w", err)
		}
		if took := time.Since(began); took >= s.patience && attempt >= leastAttempts {
			return fmt.Errorf("database: given up after %d attempts in %s: %w", attempt, took.Round(time.Millisecond), err)
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("database: %w: %w", context.Cause(ctx), err)
		case <-timer.C:
		}
	}
}

// try makes one attempt, which ends when the server is gone: an answer would come over another connection by then.
func (s *Store) try(ctx context.Context, work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	gone := s.health.whenGone()
	var ended atomic.Bool
	go func() {
		select {
		case <-gone:
			ended.Store(true)
			cancel()
		case <-done:
		}
	}()
	err := work(ctx)
	var mine *own
	if err != nil && ended.Load() && !errors.As(err, &mine) {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return err
}

// collided reports whether a transaction met another one's, so that what it was to do may succeed after it.
func collided(err error) bool {
	if errors.Is(err, errLost) {
		return true
	}
	switch sqlState(err) {
	case "40001", // serialization_failure
		"40P01", // deadlock_detected
		"23505", // unique_violation: an insert raced another, and reading anew shows what it left
		"XX000", // how YugabyteDB words some conflicts, and changes of tables in between
		"42710", // duplicate_object, and
		"42P07", // duplicate_table: of two who make the same table IF NOT EXISTS, PostgreSQL tells the second so
		"55P03": // lock_not_available
		return true
	}
	return false
}

// broken reports whether a connection was lost or could not be made, with the answer to a commit perhaps. The context
// of the caller has not ended: if one has, it was the attempt's.
func broken(err error) bool {
	switch code := sqlState(err); {
	case code == "":
	case code == "40003", // statement_completion_unknown
		code == "53300",                // too_many_connections
		code == "25006",                // read_only_sql_transaction: a standby behind a proxy
		strings.HasPrefix(code, "08"),  // connection exceptions
		strings.HasPrefix(code, "57P"): // shutting down or starting
		return true
	default:
		return errors.As(err, new(*doubt))
	}
	return errors.As(err, new(*doubt)) || errors.Is(err, errGone) || errors.Is(err, errStandby) || errors.As(err, new(*pgconn.ConnectError)) || pgconn.SafeToRetry(err) ||
		errors.As(err, new(net.Error)) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// outage tells the log that connections break: once when it begins, and at most once a minute where one follows another.
type outage struct {
	log *slog.Logger

	mu    sync.Mutex
	since time.Time // guarded by mu: the first break that no success followed; zero: none
	told  time.Time // guarded by mu: when the last line was written
	open  bool      // guarded by mu: whether since was told
	count int       // guarded by mu: breaks since the last line
}

func (o *outage) broken(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
	}
	o.count++
	if !o.told.IsZero() && now.Sub(o.told) < time.Minute {
		return
	}
	o.log.Warn("failed to reach the database; it is tried again", "times", o.count, "err", err)
	o.told, o.open, o.count = now, true, 0
}

func (o *outage) over() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open {
		o.log.Info("the database answers again", "after", time.Since(o.since).Round(time.Millisecond))
	}
	o.since, o.open = time.Time{}, false
}
