package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"edgechain.example/aggregator/replicas"
	"edgechain.example/lightchain"
)

// Beats have a connection of their own: where calls wait for one of the pool's, a replica would be taken for dead.

// beats is that connection. Its one user owns it.
type beats struct {
	conn    *pgx.Conn // nil: there is none
	cleared time.Time // when what is old was removed last
}

const (
	decidedFor = time.Minute      // decisions are shown for so long
	keptFor    = 10 * time.Minute // and kept, as are beats of the dead
	clearEvery = time.Minute
)

// clock is the database's time in microseconds since the Unix epoch.
const clock = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

// Beat implements [replicas.Beats]. Each statement is a transaction of its own, so that what is read is from after the beat
// can be read by others.
func (s *Store) Beat(ctx context.Context, b *replicas.Beat) (a *replicas.Beaten, err error) {
	conn, err := s.beatOn(ctx)
	if err != nil {
		return nil, err
	}
	defer s.beaten(&err)
	_, err = conn.Exec(ctx, `INSERT INTO edgechain_replicas (name, run, number, links, aside, since, at)
		SELECT $1::text, $2::text, $9::bigint, $3::bigint, $4::boolean, now.micros, now.micros FROM (SELECT `+clock+` AS micros) AS now
		ON CONFLICT (name) DO UPDATE SET run = excluded.run, number = excluded.number, links = excluded.links, aside = excluded.aside, at = excluded.at,
			since = CASE WHEN edgechain_replicas.run <> excluded.run OR excluded.at - edgechain_replicas.at > $5::bigint THEN excluded.since
				WHEN $6::boolean THEN excluded.since - $7::bigint ELSE edgechain_replicas.since END
		WHERE CASE WHEN edgechain_replicas.run = excluded.run THEN excluded.number > edgechain_replicas.number
			ELSE excluded.at - edgechain_replicas.at > $5::bigint OR edgechain_replicas.run = $8::text AND edgechain_replicas.number = $10::bigint END`,
		b.Replica, b.Run, b.Links, b.Aside, b.Lease.Microseconds(), b.Join, b.Ago.Microseconds(), b.Over, b.Number, b.OverNumber)
	if err != nil {
		return nil, err
	}
	a = new(replicas.Beaten)
	rows, err := conn.Query(ctx, "SELECT name, run, number, links, aside, since, at, "+clock+" FROM edgechain_replicas")
	if err != nil {
		return nil, err
	}
	var r replicas.Beating
	_, err = pgx.ForEachRow(rows, []any{&r.Replica, &r.Run, &r.Number, &r.Links, &r.Aside, &r.Since, &r.At, &a.Clock}, func() error {
		r.Joined, r.Age = time.Duration(a.Clock-r.Since)*time.Microsecond, time.Duration(a.Clock-r.At)*time.Microsecond
		a.Beats = append(a.Beats, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	rows, err = conn.Query(ctx, "SELECT chain, at FROM edgechain_decisions WHERE at > "+clock+" - $1::bigint", decidedFor.Microseconds())
	if err != nil {
		return nil, err
	}
	var chain []byte
	var d replicas.Decided
	_, err = pgx.ForEachRow(rows, []any{&chain, &d.At}, func() error {
		d.Chain = lightchain.ChainID(chain)
		a.Decided = append(a.Decided, d)
		return nil
	})
	if err == nil && time.Since(s.beats.cleared) > clearEvery {
		s.beats.cleared = time.Now()
		for _, table := range []string{"edgechain_replicas", "edgechain_decisions"} {
			if _, err = conn.Exec(ctx, "DELETE FROM "+table+" WHERE at < "+clock+" - $1::bigint", keptFor.Microseconds()); err != nil {
				break
			}
		}
	}
	return a, err
}

// Leave implements [replicas.Beats].
func (s *Store) Leave(ctx context.Context, b *replicas.Beat) (err error) {
	conn, err := s.beatOn(ctx)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "DELETE FROM edgechain_replicas WHERE name = $1 AND run = $2", b.Replica, b.Run)
	drop(conn)
	s.beats.conn = nil
	return err
}

// beatOn returns the connection of the beats.
func (s *Store) beatOn(ctx context.Context) (*pgx.Conn, error) {
	if s.beats.conn == nil {
		config := s.pool.Config().ConnConfig
		if until, bounded := ctx.Deadline(); bounded {
			config.ConnectTimeout = max(time.Until(until), time.Millisecond)
		}
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return nil, err
		}
		s.beats.conn = conn
	}
	return s.beats.conn, nil
}

// beaten gives the connection up where a beat failed.
func (s *Store) beaten(err *error) {
	if *err != nil {
		drop(s.beats.conn)
		s.beats.conn = nil
	}
}
