package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"edgechain.example/lightchain"
)

// A version is that of one row: how often the row was changed, in the upper half, and a random number, so that each
// change can be told from any other that was made in its place. 0 is that of a row that is not there.
type version int64

func (v version) count() int64 { return int64(v) >> 32 }

func (v version) next() version {
	const most = 1<<31 - 1
	return version((v.count()+1)&most<<32 | int64(rand.Uint32()) | 1) // never 0
}

// written is what a transaction did to its row: one that was not there before it was added, one that is not there after
// it removed.
type written struct{ before, after version }

// A row is what a version stands in.
type row struct {
	lock string // reads the version, and waits for a transaction that is changing it
	add  string // adds the row, and waits for a transaction that is adding it
	key  []any
}

func recordRow(chain lightchain.ChainID) row {
	return row{
		"SELECT version FROM edgechain_chains WHERE chain = $1 FOR UPDATE",
		"INSERT INTO edgechain_chains (chain, version, record) VALUES ($1, 1, '') ON CONFLICT (chain) DO NOTHING",
		[]any{chain[:]},
	}
}

func documentRow(kind, name string) row {
	return row{
		"SELECT version FROM edgechain_documents WHERE kind = $1 AND name = $2 FOR UPDATE",
		"INSERT INTO edgechain_documents (kind, name, version, body) VALUES ($1, $2, 1, '') ON CONFLICT (kind, name) DO NOTHING",
		[]any{kind, name},
	}
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

// doubt is an error of a commit that may have happened all the same.
type doubt struct{ err error }

func (d *doubt) Error() string {
	return "whether a change was written is not known, its commit was not answered: " + d.err.Error()
}
func (d *doubt) Unwrap() error { return d.err }

// errOverwritten ends a write in doubt: its row does not tell any more whether it happened.
var errOverwritten = errors.New("whether a change was written is not known: its commit was not answered, and others have changed the same since")

// write runs work in one transaction, and again for as long as somebody else is first or connections break. What
// happened is never done again.
func (s *Store) write(ctx context.Context, r row, work func(context.Context, pgx.Tx) (written, error)) error {
	var unanswered *written
	return s.again(ctx, func(ctx context.Context) error {
		if unanswered != nil {
			happened, err := s.settle(ctx, r, *unanswered)
			if err != nil || happened {
				return err
			}
			unanswered = nil
		}
		var w written
		err := s.transact(ctx, func(tx pgx.Tx) (err error) {
			w, err = work(ctx, tx)
			return err
		})
		if errors.As(err, new(*doubt)) {
			unanswered = &w
		}
		return err
	})
}

// transact runs work in one transaction, once.
func (s *Store) transact(ctx context.Context, work func(pgx.Tx) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := s.fresh(ctx, conn.Conn()); err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if err := work(tx); err != nil {
		_ = tx.Rollback(ctx) // without an answer the connection is closed, and that rolls back as well
		return err
	}
	// Stopping here, nothing has happened: the server rolls back what its client left.
	return commit(ctx, tx)
}

// commit returns nil when the transaction is where the server is to keep it, the standbys included.
func commit(ctx context.Context, tx pgx.Tx) error {
	notes := tx.Conn().PgConn().CustomData()
	delete(notes, warnedKey)
	err := tx.Commit(ctx)
	if warning, found := notes[warnedKey]; err == nil && found {
		// It has happened here, and somebody ended the wait for the standbys.
		return &doubt{fmt.Errorf("the server warns: %s", warning)}
	}
	if err != nil && !refused(err) {
		// Here all of it has, nothing has, or the server is about to decide.
		return &doubt{err}
	}
	return err
}

// refused reports whether a commit that failed certainly did not happen: the server says so. What [pgconn.SafeToRetry] says
// is not asked for: it calls a connection that broke behind a commit that was sent one that was closed before.
func refused(err error) bool {
	code := sqlState(err)
	return errors.Is(err, pgx.ErrTxCommitRollback) ||
		strings.HasPrefix(code, "40") && code != "40003" || strings.HasPrefix(code, "23")
}

// settle finds out whether a transaction happened whose commit was not answered. That it may be about to happen is why
// the row is locked: whoever holds the lock after it knows that it has ended.
func (s *Store) settle(ctx context.Context, r row, w written) (happened bool, err error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // what it did was for the lock alone; after a commit it does nothing
	var found version
	err = tx.QueryRow(ctx, r.lock, r.key...).Scan(&found)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
		if w.before == 0 { // where no row is none can be locked; of two who add it, the second waits
			var tag pgconn.CommandTag
			if tag, err = tx.Exec(ctx, r.add, r.key...); err == nil && tag.RowsAffected() == 0 {
				return false, errLost // by the unanswered one, or by another: the next look sees the row
			}
		}
	}
	if err != nil {
		return false, err
	}
	switch {
	case found == w.after: // where that is 0, another may have removed the row: it is gone, as it was to be
		// It is visible, which does not mean that it has reached the standbys: a server that is asked to cancel a commit, or
		// is started anew, waits for them no longer. This commit comes behind it, and waits.
		return true, commit(ctx, tx)
	case found == w.before:
		return false, nil
	case found != 0 && found.count() == w.before.next().count(): // another stands where it would
		return false, nil
	}
	return false, &own{fmt.Errorf("database: %w", errOverwritten)}
}
