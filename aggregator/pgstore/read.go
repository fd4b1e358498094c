package pgstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
)

// Record implements [registry.Chains].
func (s *Store) Record(ctx context.Context, chain lightchain.ChainID) (r *registry.Record, err error) {
	var text, state []byte
	err = s.again(ctx, func(ctx context.Context) error {
		err := s.pool.QueryRow(ctx, "SELECT record, state FROM edgechain_chains WHERE chain = $1", chain[:]).Scan(&text, &state)
		if errors.Is(err, pgx.ErrNoRows) {
			return &own{registry.ErrNotFound}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return decode(text, state)
}

// Records implements [registry.Chains].
func (s *Store) Records(ctx context.Context, above lightchain.ChainID, limit int) ([]*registry.Record, error) {
	return collect(ctx, s, func(rows pgx.Rows) (*registry.Record, error) {
		var text []byte
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		return registry.DecodeRecord(text)
	}, "SELECT record FROM edgechain_chains WHERE chain > $1 ORDER BY chain LIMIT $2", above[:], limit)
}

// Segments implements [registry.History].
func (s *Store) Segments(ctx context.Context, chain lightchain.ChainID, from uint64, limit int) ([]registry.Segment, error) {
	// The segment that from lies in may begin below it: it is the last of those that begin at from or below.
	return collect(ctx, s, func(rows pgx.Rows) (g registry.Segment, err error) {
		var first, last int64
		err = rows.Scan(&first, &last, &g.Body)
		g.First, g.Last = uint64(first), uint64(last)
		return g, err
	}, `SELECT lowest, highest, body FROM edgechain_segments WHERE chain = $1 AND highest >= $2 AND lowest >= COALESCE(
		(SELECT lowest FROM edgechain_segments WHERE chain = $1 AND lowest <= $2 ORDER BY lowest DESC LIMIT 1), 0)
		ORDER BY lowest LIMIT $3`, chain[:], int64(from), limit)
}

// Receipts implements [registry.History].
func (s *Store) Receipts(ctx context.Context, chain lightchain.ChainID, from uint64, limit int) ([]registry.Receipted, error) {
	return collect(ctx, s, func(rows pgx.Rows) (r registry.Receipted, err error) {
		var height, at int64
		err = rows.Scan(&height, &at, &r.Body)
		r.Height, r.Time = uint64(height), uint64(at)
		return r, err
	}, "SELECT height, at, body FROM edgechain_receipts WHERE chain = $1 AND height >= $2 ORDER BY height LIMIT $3", chain[:], int64(from), limit)
}

// Forks implements [registry.History].
func (s *Store) Forks(ctx context.Context, chain lightchain.ChainID) ([]registry.Evidence, error) {
	return collect(ctx, s, func(rows pgx.Rows) (e registry.Evidence, err error) {
		var height int64
		var id []byte
		err = rows.Scan(&height, &id, &e.Seen, &e.Body)
		e.Height = uint64(height)
		copy(e.ID[:], id)
		return e, err
	}, "SELECT height, id, seen, body FROM edgechain_forks WHERE chain = $1 ORDER BY height, id", chain[:])
}

// Documents implements [registry.Documents].
func (s *Store) Documents(ctx context.Context, kind string) (map[string][]byte, error) {
	type document struct {
		name string
		text []byte
	}
	all, err := collect(ctx, s, func(rows pgx.Rows) (d document, err error) {
		err = rows.Scan(&d.name, &d.text)
		return d, err
	}, "SELECT name, body FROM edgechain_documents WHERE kind = $1", kind)
	if err != nil {
		return nil, err
	}
	documents := make(map[string][]byte, len(all))
	for _, d := range all {
		documents[d.name] = d.text
	}
	return documents, nil
}

// collect returns the rows of a query.
func collect[T any](ctx context.Context, s *Store, scan func(pgx.Rows) (T, error), query string, args ...any) (all []T, err error) {
	err = s.again(ctx, func(ctx context.Context) error {
		all = nil
		rows, err := s.pool.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			one, err := scan(rows)
			if err != nil {
				return err
			}
			all = append(all, one)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
