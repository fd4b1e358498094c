package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/lightchain"
)

func logRow(origin string) row {
	return row{
		"SELECT version FROM edgechain_logs WHERE origin = $1 FOR UPDATE",
		"INSERT INTO edgechain_logs (origin, version, size, root, head) VALUES ($1, 1, 0, '', '') ON CONFLICT (origin) DO NOTHING",
		[]any{origin},
	}
}

// LogHead implements [headlog.Store].
func (s *Store) LogHead(ctx context.Context, origin string) (*headlog.Head, error) {
	heads, err := collect(ctx, s, func(rows pgx.Rows) (*headlog.Head, error) {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, err
		}
		return headlog.DecodeHead(b)
	}, "SELECT head FROM edgechain_logs WHERE origin = $1", origin)
	if err != nil || len(heads) == 0 {
		return nil, err
	}
	// What another replica has committed can be read before the standbys have it, and whoever reads it here publishes it.
	return heads[0], s.Settled(ctx)
}

// LogAppend implements [headlog.Store].
func (s *Store) LogAppend(ctx context.Context, origin string, before *headlog.Head, b *headlog.Batch) error {
	return s.write(ctx, logRow(origin), func(ctx context.Context, tx pgx.Tx) (w written, err error) {
		if err := s.mayPromise(tx.Conn()); err != nil {
			return w, &own{err}
		}
		var size int64
		var root []byte
		err = tx.QueryRow(ctx, "SELECT version, size, root FROM edgechain_logs WHERE origin = $1", origin).Scan(&w.before, &size, &root)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return w, err
		}
		if begun := err == nil; begun != (before != nil) || begun && !standsAt(before, size, root) {
			return w, &own{headlog.ErrMoved}
		}
		head, err := b.Head.Encode()
		if err != nil {
			return w, &own{err}
		}
		w.after = w.before.next()
		batch, now := new(pgx.Batch), b.Head.Root()
		if before == nil {
			batch.Queue("INSERT INTO edgechain_logs (origin, version, size, root, head) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (origin) DO NOTHING",
				origin, w.after, int64(b.Head.Size), now[:], head)
		} else {
			batch.Queue("UPDATE edgechain_logs SET version = $2, size = $3, root = $4, head = $5 WHERE origin = $1 AND version = $6 AND size = $7 AND root = $8",
				origin, w.after, int64(b.Head.Size), now[:], head, w.before, size, root)
		}
		queueLog(batch, origin, uint64(size), b)
		return w, send(ctx, tx, batch)
	})
}

func standsAt(h *headlog.Head, size int64, root []byte) bool {
	want := h.Root()
	return uint64(size) == h.Size && bytes.Equal(root, want[:])
}

func queueLog(batch *pgx.Batch, origin string, size uint64, b *headlog.Batch) {
	batch.Queue("INSERT INTO edgechain_log_checkpoints (origin, size, at, note) VALUES ($1, $2, $3, $4)", origin, int64(b.Head.Size), b.Head.Time, b.Head.Checkpoint)
	for i := range b.Leaves {
		l := &b.Leaves[i]
		batch.Queue("INSERT INTO edgechain_log_leaves (origin, position, chain, height, header) VALUES ($1, $2, $3, $4, $5)",
			origin, int64(size)+int64(i), l.Chain[:], int64(l.Height), l.Header)
		// One that took its place waits on.
		batch.Queue("DELETE FROM edgechain_log_waiting WHERE chain = $1 AND height = $2", l.Chain[:], int64(l.Height))
	}
	for _, n := range b.Nodes {
		batch.Queue("INSERT INTO edgechain_log_nodes (origin, level, position, hash) VALUES ($1, $2, $3, $4)", origin, n.Level, int64(n.Index), n.Hash[:])
	}
}

// LogWaiting implements [headlog.Store].
func (s *Store) LogWaiting(ctx context.Context, limit int) ([]headlog.Leaf, error) {
	return collect(ctx, s, scanLeaf, "SELECT chain, height, header FROM edgechain_log_waiting ORDER BY chain LIMIT $1", limit)
}

// LogBacklog implements [headlog.Store].
func (s *Store) LogBacklog(ctx context.Context) (n int, err error) {
	err = s.again(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, "SELECT count(*) FROM edgechain_log_waiting").Scan(&n)
	})
	return n, err
}

func scanLeaf(rows pgx.Rows) (l headlog.Leaf, err error) {
	var chain []byte
	var height int64
	err = rows.Scan(&chain, &height, &l.Header)
	copy(l.Chain[:], chain)
	l.Height = uint64(height)
	return l, err
}

// placed is a row with where it stands.
type placed[T any] struct {
	at int64
	it T
}

// inOrder returns the rows as they follow each other from an index on.
func inOrder[T any](what, origin string, first uint64, rows []placed[T]) (all []T, err error) {
	for i, r := range rows {
		if uint64(r.at) != first+uint64(i) {
			return all, fmt.Errorf("%s %d of the log %s is gone from the database", what, first+uint64(i), origin)
		}
		all = append(all, r.it)
	}
	return all, nil
}

// LogLeaves implements [headlog.Store].
func (s *Store) LogLeaves(ctx context.Context, origin string, first uint64, limit int) ([]headlog.Leaf, error) {
	rows, err := collect(ctx, s, func(rows pgx.Rows) (p placed[headlog.Leaf], err error) {
		var chain []byte
		var height int64
		err = rows.Scan(&p.at, &chain, &height, &p.it.Header)
		copy(p.it.Chain[:], chain)
		p.it.Height = uint64(height)
		return p, err
	}, "SELECT position, chain, height, header FROM edgechain_log_leaves WHERE origin = $1 AND position >= $2 ORDER BY position LIMIT $3", origin, int64(first), limit)
	if err != nil {
		return nil, err
	}
	return inOrder("leaf", origin, first, rows)
}

// LogHashes implements [headlog.Store].
func (s *Store) LogHashes(ctx context.Context, origin string, level int, first uint64, limit int) (hashes []lightchain.Hash, err error) {
	if level == 0 {
		leaves, err := s.LogLeaves(ctx, origin, first, limit)
		for i := range leaves {
			hashes = append(hashes, leaves[i].Hash())
		}
		return hashes, err
	}
	rows, err := collect(ctx, s, func(rows pgx.Rows) (p placed[lightchain.Hash], err error) {
		var hash []byte
		err = rows.Scan(&p.at, &hash)
		copy(p.it[:], hash)
		return p, err
	}, "SELECT position, hash FROM edgechain_log_nodes WHERE origin = $1 AND level = $2 AND position >= $3 ORDER BY position LIMIT $4", origin, level, int64(first), limit)
	if err != nil {
		return nil, err
	}
	return inOrder("a hash", origin, first, rows)
}

// LogFind implements [headlog.Store].
func (s *Store) LogFind(ctx context.Context, origin string, size uint64, chain lightchain.ChainID, height *uint64) (index uint64, leaf *headlog.Leaf, err error) {
	query, least := "SELECT position, height, header FROM edgechain_log_leaves WHERE origin = $1 AND chain = $2 AND height >= $3 AND position < $4 ORDER BY height DESC, position DESC LIMIT 1", int64(0)
	if height != nil {
		query, least = "SELECT position, height, header FROM edgechain_log_leaves WHERE origin = $1 AND chain = $2 AND height >= $3 AND position < $4 ORDER BY height, position LIMIT 1", int64(*height)
	}
	found, err := collect(ctx, s, func(rows pgx.Rows) (p placed[headlog.Leaf], err error) {
		var at int64
		err = rows.Scan(&p.at, &at, &p.it.Header)
		p.it.Chain, p.it.Height = chain, uint64(at)
		return p, err
	}, query, origin, chain[:], least, int64(size))
	switch {
	case err != nil:
		return 0, nil, err
	case len(found) == 0:
		return 0, nil, fmt.Errorf("chain %s: %w", chain, headlog.ErrNotFound)
	}
	return uint64(found[0].at), &found[0].it, nil
}

// LogCheckpoints implements [headlog.Store].
func (s *Store) LogCheckpoints(ctx context.Context, origin string, from uint64, limit int) ([]headlog.Kept, error) {
	return collect(ctx, s, func(rows pgx.Rows) (k headlog.Kept, err error) {
		var size int64
		err = rows.Scan(&size, &k.Time, &k.Note)
		k.Size = uint64(size)
		return k, err
	}, "SELECT size, at, note FROM edgechain_log_checkpoints WHERE origin = $1 AND size >= $2 ORDER BY size LIMIT $3", origin, int64(from), limit)
}
