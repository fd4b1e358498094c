// Package pgstore keeps what an aggregator knows in PostgreSQL, or in a database that speaks its protocol, so that any
// number of replicas share one. It owns the tables and their migrations; what the records mean is package aggregator's,
// whose contracts it implements.
//
// # Two replicas cannot both win
//
// Each record has a version. A change reads both, and writes the new record only where the version is still the one it
// read: the row's own lock then makes one of two writers find no such row, and it begins anew. This holds at every
// isolation level, so it leans on nothing that databases understand differently; where one reports a conflict by
// itself (SQLSTATE 40001, 40P01), that begins anew as well. A commit whose answer was lost may have happened or not:
// the change is made again on what is then there.
package pgstore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"edgechain/aggregator"
	"edgechain/lightchain"
	headersync "edgechain/sync"
)

// layout is the version of the tables.
const layout = 1

//go:embed schema.sql
var schema string

// Store is an open store.
type Store struct {
	pool *pgxpool.Pool
}

var _ aggregator.Store = (*Store)(nil)

// Open connects to the database at dsn ("postgres://user@host/database"), and makes or migrates its tables.
func Open(ctx context.Context, dsn string) (*Store, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("the database's address: %w", err) // pgx leaves the password out
	}
	// A proxy between (PgBouncer) may give each statement another connection, which knows no prepared ones.
	if _, chosen := config.ConnConfig.RuntimeParams["default_query_exec_mode"]; !chosen && config.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	s := &Store{pool}
	if err := s.migrate(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("preparing the database: %w", err)
	}
	return s, nil
}

// Close ends all connections.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}

// migrate makes the tables. Every step may run again, beside other replicas that do the same: databases differ in
// whether a change of tables takes part in a transaction.
func (s *Store) migrate(ctx context.Context) error {
	var found int
	err := s.again(ctx, func() error {
		err := s.pool.QueryRow(ctx, "SELECT version FROM edgechain_layout WHERE id = 1").Scan(&found)
		if code := sqlState(err); code == "42P01" || errors.Is(err, pgx.ErrNoRows) { // undefined_table
			found = 0
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case found == layout:
		return nil
	case found > layout:
		return fmt.Errorf("its layout is version %d, this program knows %d", found, layout)
	}
	for _, statement := range statements() {
		err := s.again(ctx, func() error {
			_, err := s.pool.Exec(ctx, statement)
			return err
		})
		if err != nil {
			return err
		}
	}
	return s.again(ctx, func() error {
		_, err := s.pool.Exec(ctx, "INSERT INTO edgechain_layout (id, version) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET version = excluded.version", layout)
		return err
	})
}

// statements returns those of the schema.
func statements() (all []string) {
	for part := range strings.SplitSeq(schema, "\n\n") {
		if !strings.HasPrefix(part, "--") {
			all = append(all, part)
		}
	}
	return all
}

// Update implements [aggregator.Chains].
func (s *Store) Update(ctx context.Context, chain lightchain.ChainID, change func(*aggregator.Record) (*aggregator.Change, error)) error {
	return s.transact(ctx, func(tx pgx.Tx) error {
		var version int64
		var text, state []byte
		r := &aggregator.Record{Chain: chain}
		err := tx.QueryRow(ctx, "SELECT version, record, state FROM edgechain_chains WHERE chain = $1", chain[:]).Scan(&version, &text, &state)
		if err == nil {
			r, err = decode(text, state)
		} else if errors.Is(err, pgx.ErrNoRows) {
			err = nil
		}
		if err != nil {
			return err
		}
		c, err := change(r)
		if err != nil {
			return &own{err}
		}
		if text, state, err = encode(r); err != nil {
			return &own{err}
		}
		batch := new(pgx.Batch)
		if version == 0 {
			batch.Queue("INSERT INTO edgechain_chains (chain, version, record, state) VALUES ($1, 1, $2, $3) ON CONFLICT (chain) DO NOTHING", chain[:], text, state)
		} else {
			batch.Queue("UPDATE edgechain_chains SET version = $3, record = $4, state = $5 WHERE chain = $1 AND version = $2", chain[:], version, version+1, text, state)
		}
		queue(batch, chain, c)
		return send(ctx, tx, batch)
	})
}

func queue(b *pgx.Batch, chain lightchain.ChainID, c *aggregator.Change) {
	if c == nil {
		return
	}
	if c.Forget {
		b.Queue("DELETE FROM edgechain_segments WHERE chain = $1", chain[:])
		b.Queue("DELETE FROM edgechain_receipts WHERE chain = $1", chain[:])
	}
	for _, g := range c.Segments {
		b.Queue("INSERT INTO edgechain_segments (chain, lowest, highest, body) VALUES ($1, $2, $3, $4) ON CONFLICT (chain, lowest) DO UPDATE SET highest = excluded.highest, body = excluded.body",
			chain[:], int64(g.First), int64(g.Last), g.Body)
	}
	if t := c.Receipt; t != nil {
		b.Queue("INSERT INTO edgechain_receipts (chain, height, at, body) VALUES ($1, $2, $3, $4) ON CONFLICT (chain, height) DO UPDATE SET at = excluded.at, body = excluded.body",
			chain[:], int64(t.Height), int64(t.Time), t.Body)
	}
	if e := c.Evidence; e != nil {
		b.Queue("INSERT INTO edgechain_forks (chain, height, id, seen, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (chain, height, id) DO NOTHING",
			chain[:], int64(e.Height), e.ID[:], e.Seen, e.Body)
	}
}

func encode(r *aggregator.Record) (text, state []byte, err error) {
	if text, err = r.Encode(); err == nil && r.State != nil {
		state, err = r.State.Encode()
	}
	return text, state, err
}

func decode(text, state []byte) (*aggregator.Record, error) {
	r, err := aggregator.DecodeRecord(text)
	if err == nil && state != nil {
		r.State, err = headersync.DecodeState(state)
	}
	return r, err
}

// errLost means that somebody else changed the row meanwhile.
var errLost = errors.New("another replica was first")

// send sends the statements in one go. The first must have changed one row.
func send(ctx context.Context, tx pgx.Tx, b *pgx.Batch) (err error) {
	results := tx.SendBatch(ctx, b)
	defer func() { err = errors.Join(err, results.Close()) }()
	for i := range b.Len() {
		tag, err := results.Exec()
		if err != nil {
			return err
		}
		if i == 0 && tag.RowsAffected() != 1 {
			return errLost
		}
	}
	return nil
}

// own is an error of the caller's, which ends the transaction without another attempt.
type own struct{ err error }

func (o *own) Error() string { return o.err.Error() }
func (o *own) Unwrap() error { return o.err }

// transact runs work in one transaction, and again for as long as somebody else is first.
func (s *Store) transact(ctx context.Context, work func(pgx.Tx) error) error {
	return s.again(ctx, func() error {
		tx, err := s.pool.Begin(ctx)
		if err != nil {
			return err
		}
		if err := work(tx); err != nil {
			// The connection goes back to the pool, or is closed if it is in no state to.
			if err := tx.Rollback(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
				return err
			}
			return err
		}
		return tx.Commit(ctx)
	})
}

const (
	attempts  = 32
	firstWait = 2 * time.Millisecond
	mostWait  = time.Second
)

// again repeats work until it ends in something that another attempt would not mend.
func (s *Store) again(ctx context.Context, work func() error) error {
	wait := firstWait
	for attempt := 1; ; attempt++ {
		err := work()
		var mine *own
		switch {
		case err == nil, errors.Is(err, aggregator.ErrUnchanged):
			return nil
		case errors.As(err, &mine):
			return mine.err
		case !passing(err) || attempt == attempts:
			return fmt.Errorf("database: %w", err)
		}
		// Spread, so that those who collided do not meet again.
		pause := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		case <-pause.C:
		}
		wait = min(2*wait, mostWait)
	}
}

// passing reports whether an error may not come again: a conflict with another transaction, or a connection that was
// lost, with the answer to a commit perhaps. An attempt more does no harm in either case: it begins with reading.
func passing(err error) bool {
	if errors.Is(err, errLost) {
		return true
	}
	switch code := sqlState(err); {
	case code == "":
	case code == "40001", // serialization_failure
		code == "40P01", // deadlock_detected
		code == "40003", // statement_completion_unknown
		code == "23505", // unique_violation: an insert raced another, and reading anew shows what it left
		code == "XX000", // how YugabyteDB words some conflicts, and changes of tables in between
		code == "42710", // duplicate_object, and
		code == "42P07", // duplicate_table: of two who make the same table IF NOT EXISTS, PostgreSQL tells the second so
		code == "55P03": // lock_not_available
		return true
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "57P"): // connection exceptions; shutting down or starting
		return true
	default:
		return false
	}
	var broken *pgconn.ConnectError
	return errors.As(err, &broken) || pgconn.SafeToRetry(err) || isNetwork(err)
}

func isNetwork(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "unexpected EOF")
}

func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// UpdateDocument implements [aggregator.Documents].
func (s *Store) UpdateDocument(ctx context.Context, kind, name string, change func([]byte) ([]byte, error)) error {
	return s.transact(ctx, func(tx pgx.Tx) error {
		var version int64
		var old []byte
		err := tx.QueryRow(ctx, "SELECT version, body FROM edgechain_documents WHERE kind = $1 AND name = $2", kind, name).Scan(&version, &old)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		text, err := change(old)
		if err == nil && text == nil && old == nil {
			err = aggregator.ErrUnchanged
		}
		if err != nil {
			return &own{err}
		}
		b := new(pgx.Batch)
		switch {
		case text == nil:
			b.Queue("DELETE FROM edgechain_documents WHERE kind = $1 AND name = $2 AND version = $3", kind, name, version)
		case version == 0:
			b.Queue("INSERT INTO edgechain_documents (kind, name, version, body) VALUES ($1, $2, 1, $3) ON CONFLICT (kind, name) DO NOTHING", kind, name, text)
		default:
			b.Queue("UPDATE edgechain_documents SET version = $4, body = $5 WHERE kind = $1 AND name = $2 AND version = $3", kind, name, version, version+1, text)
		}
		return send(ctx, tx, b)
	})
}
