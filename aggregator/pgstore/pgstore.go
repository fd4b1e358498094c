// Package pgstore keeps what an aggregator knows in PostgreSQL, or in a database that speaks its protocol, so that any
// number of replicas share one. It owns the tables and their migrations; what the records mean is package aggregator's,
// whose contracts it implements.
//
// # Two replicas cannot both win
//
// Each record has a version. A change reads both, and writes the new record only where the version is still the one it
// read: the row's own lock then makes one of two writers find no such row, and it begins anew. This holds at every
// isolation level, so it leans on nothing that databases understand differently; where one reports a conflict by
// itself (SQLSTATE 40001, 40P01), that begins anew as well.
//
// # A commit whose answer was lost
//
// It may have happened or not. A version is unlike all others, so the row tells: the change is made again only where it
// did not happen, and where that cannot be told any more the caller gets an error. See doubt.
//
// # What a server may lose
//
// A commit is worth what the server's settings make of it: see survey. Each connection asks for them, and no receipt is
// written where they let a crash, or a failover, take it, unless the options say so. To a standby nothing is written. A
// commit that stopped waiting for the standbys, since somebody cancelled that or nobody heard its answer, is visible all
// the same: whoever finds it makes a commit of his own, which waits for both.
package pgstore

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"edgechain.example/aggregator/registry"
	"edgechain.example/aggregator/replicas"
	"edgechain.example/lightchain"
	"edgechain.example/sync/collector"
)

// layout is the version of the tables. Those of oldest lack some alone.
const (
	layout = 4
	oldest = 2
)

//go:embed schema.sql
var schema string

// Options says how to open a store. The zero value works.
type Options struct {
	Logger *slog.Logger // nil: silence
	// Patience is how long one call goes on trying while connections break or others are always first; 0: 30 s. On a
	// database so slow that this is no more than a few attempts it makes these.
	Patience time.Duration
	// CrashLoss and FailoverLoss say whether receipts are written to a server that, by its settings, may lose them.
	CrashLoss    registry.OnLoss // "": [registry.RefuseLoss]
	FailoverLoss registry.OnLoss // "": [registry.WarnLoss]
}

const defaultPatience = 30 * time.Second

// Store is an open store.
type Store struct {
	pool      *pgxpool.Pool
	patience  time.Duration
	lookEvery time.Duration
	outage    outage
	health    health
	watch     watch
	beats     beats
}

var (
	_ registry.Served = (*Store)(nil)
	_ replicas.Beats  = (*Store)(nil)
)

// Open connects to the database at dsn ("postgres://user@host/database"), and makes or migrates its tables.
func Open(ctx context.Context, dsn string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("the database's address: %w", err) // pgx leaves the password out
	}
	// A proxy between (PgBouncer) may give each statement another connection, which knows no prepared ones.
	if _, chosen := config.ConnConfig.RuntimeParams["default_query_exec_mode"]; !chosen && config.ConnConfig.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	// Else a packet that is lost on the way keeps one of the pool's few places for longer than a call tries.
	config.ConnConfig.ConnectTimeout = cmp.Or(config.ConnConfig.ConnectTimeout, connectTime)
	s := &Store{
		patience: cmp.Or(o.Patience, defaultPatience), lookEvery: lookEvery, outage: outage{log: o.Logger},
		watch: watch{log: o.Logger, crashLoss: o.CrashLoss, failLoss: o.FailoverLoss, changed: make(chan struct{}, 1), grace: grace},
	}
	config.AfterConnect = s.connected
	config.ConnConfig.OnNotice = warned
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	if err := s.migrate(ctx); err != nil {
		s.pool.Close()
		return nil, fmt.Errorf("preparing the database: %w", err)
	}
	return s, nil
}

// Close ends all connections. No beat is under way.
func (s *Store) Close() error {
	drop(s.beats.conn)
	s.beats.conn = nil
	s.pool.Close()
	return nil
}

// migrate makes the tables. Every step may run again, beside other replicas that do the same: databases differ in
// whether a change of tables takes part in a transaction.
func (s *Store) migrate(ctx context.Context) error {
	var found int
	err := s.again(ctx, func(ctx context.Context) error {
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
	case found != 0 && found < oldest:
		return errors.New("its tables were made before the format was fixed, and the heads in them are none of this format: begin in another database, and let the gateways enrol again")
	case found > layout:
		return fmt.Errorf("its layout is version %d, this program knows %d", found, layout)
	}
	for _, statement := range statements() {
		err := s.again(ctx, func(ctx context.Context) error {
			_, err := s.pool.Exec(ctx, statement)
			return err
		})
		if err != nil {
			return err
		}
	}
	return s.again(ctx, func(ctx context.Context) error {
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

// Update implements [registry.Chains].
func (s *Store) Update(ctx context.Context, chain lightchain.ChainID, change func(*registry.Record) (*registry.Change, error)) error {
	return s.write(ctx, recordRow(chain), func(ctx context.Context, tx pgx.Tx) (w written, err error) {
		var text, state []byte
		r := &registry.Record{Chain: chain}
		err = tx.QueryRow(ctx, "SELECT version, record, state FROM edgechain_chains WHERE chain = $1", chain[:]).Scan(&w.before, &text, &state)
		if err == nil {
			r, err = decode(text, state)
		} else if errors.Is(err, pgx.ErrNoRows) {
			err = nil
		}
		if err != nil {
			return w, err
		}
		c, err := change(r)
		if err != nil {
			return w, &own{err}
		}
		if c != nil && c.Receipt != nil && !c.Again {
			if err := s.mayPromise(tx.Conn()); err != nil {
				return w, &own{err}
			}
		}
		if text, state, err = encode(r); err != nil {
			return w, &own{err}
		}
		w.after = w.before.next()
		batch := new(pgx.Batch)
		if w.before == 0 {
			batch.Queue("INSERT INTO edgechain_chains (chain, version, record, state) VALUES ($1, $2, $3, $4) ON CONFLICT (chain) DO NOTHING", chain[:], w.after, text, state)
		} else {
			batch.Queue("UPDATE edgechain_chains SET version = $3, record = $4, state = $5 WHERE chain = $1 AND version = $2", chain[:], w.before, w.after, text, state)
		}
		queue(batch, chain, c)
		return w, send(ctx, tx, batch)
	})
}

func queue(b *pgx.Batch, chain lightchain.ChainID, c *registry.Change) {
	if c == nil {
		return
	}
	if c.Decided {
		b.Queue("INSERT INTO edgechain_decisions (chain, at) VALUES ($1, "+clock+") ON CONFLICT (chain) DO UPDATE SET at = excluded.at", chain[:])
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
	if l := c.Logged; l != nil {
		b.Queue("INSERT INTO edgechain_log_waiting (chain, height, header) VALUES ($1, $2, $3) ON CONFLICT (chain) DO UPDATE SET height = excluded.height, header = excluded.header",
			l.Chain[:], int64(l.Height), l.Header)
	}
	if e := c.Evidence; e != nil {
		b.Queue("INSERT INTO edgechain_forks (chain, height, id, seen, body) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (chain, height, id) DO NOTHING",
			chain[:], int64(e.Height), e.ID[:], e.Seen, e.Body)
	}
}

func encode(r *registry.Record) (text, state []byte, err error) {
	if text, err = r.Encode(); err == nil && r.State != nil {
		state, err = r.State.Encode()
	}
	return text, state, err
}

func decode(text, state []byte) (*registry.Record, error) {
	r, err := registry.DecodeRecord(text)
	if err == nil && state != nil {
		r.State, err = collector.DecodeState(state)
	}
	return r, err
}

// UpdateDocument implements [registry.Documents].
func (s *Store) UpdateDocument(ctx context.Context, kind, name string, change func([]byte) ([]byte, error)) error {
	return s.write(ctx, documentRow(kind, name), func(ctx context.Context, tx pgx.Tx) (w written, err error) {
		var old []byte
		err = tx.QueryRow(ctx, "SELECT version, body FROM edgechain_documents WHERE kind = $1 AND name = $2", kind, name).Scan(&w.before, &old)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return w, err
		}
		text, err := change(old)
		if err == nil && text == nil && old == nil {
			err = registry.ErrUnchanged
		}
		if err != nil {
			return w, &own{err}
		}
		b := new(pgx.Batch)
		if text == nil {
			b.Queue("DELETE FROM edgechain_documents WHERE kind = $1 AND name = $2 AND version = $3", kind, name, w.before)
			return w, send(ctx, tx, b)
		}
		w.after = w.before.next()
		if w.before == 0 {
			b.Queue("INSERT INTO edgechain_documents (kind, name, version, body) VALUES ($1, $2, $3, $4) ON CONFLICT (kind, name) DO NOTHING", kind, name, w.after, text)
		} else {
			b.Queue("UPDATE edgechain_documents SET version = $4, body = $5 WHERE kind = $1 AND name = $2 AND version = $3", kind, name, w.before, w.after, text)
		}
		return w, send(ctx, tx, b)
	})
}
