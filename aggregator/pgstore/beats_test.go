package pgstore

import (
	"slices"
	"testing"
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/aggregator/replicas"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
)

// What the statement does with beats: the tests of package aggregator take that for granted.
func TestBeats(t *testing.T) {
	dsn := testenv.Postgres(t)
	one, two := open(t, dsn, Options{}), open(t, dsn, Options{})
	const lease = time.Hour
	number := int64(1)
	beat := func(s *Store, b replicas.Beat) map[string]replicas.Beating {
		t.Helper()
		if b.Lease == 0 {
			b.Lease = lease
		}
		if number++; b.Number == 0 {
			b.Number = number
		}
		a, err := s.Beat(t.Context(), &b)
		if err != nil {
			t.Fatal(err)
		}
		if off := time.Since(time.UnixMicro(a.Clock)).Abs(); off > testenv.Patience {
			t.Errorf("the database's clock is off by %s", off)
		}
		all := map[string]replicas.Beating{}
		for _, r := range a.Beats {
			if r.Age < 0 || r.Joined < r.Age || r.At-r.Since != (r.Joined-r.Age).Microseconds() {
				t.Errorf("%+v", r)
			}
			all[r.Replica] = r
		}
		return all
	}
	first := beat(one, replicas.Beat{Replica: "one", Run: "1", Join: true})["one"]
	if first.Since != first.At || first.Run != "1" {
		t.Errorf("joined: %+v", first)
	}
	next := beat(one, replicas.Beat{Replica: "one", Run: "1", Links: 2, Aside: true})["one"]
	if next.Since != first.Since || next.At <= first.At || next.Links != 2 || !next.Aside {
		t.Errorf("and lives: %+v", next)
	}
	if r := beat(one, replicas.Beat{Replica: "one", Run: "1", Number: 1, Join: true})["one"]; r.At != next.At {
		t.Errorf("a beat that comes late: %+v", r)
	}
	if r := beat(one, replicas.Beat{Replica: "one", Run: "1", Join: true, Ago: 14 * time.Second})["one"]; r.At-r.Since != (14 * time.Second).Microseconds() {
		t.Errorf("and counts at once: %+v", r)
	}
	if r := beat(one, replicas.Beat{Replica: "one", Run: "1", Join: true, Ago: 14 * time.Second, Lease: -1})["one"]; r.At != r.Since {
		t.Errorf("but not after it was found dead: %+v", r)
	}
	all := beat(two, replicas.Beat{Replica: "two", Run: "2", Join: true})
	if len(all) != 2 {
		t.Errorf("two see %v", all)
	}
	rival := beat(two, replicas.Beat{Replica: "one", Run: "3", Join: true})["one"]
	if rival.Run != "1" {
		t.Errorf("another process took a living one's place: %+v", rival)
	}
	if r := beat(two, replicas.Beat{Replica: "one", Run: "3", Join: true, Over: rival.Run, OverNumber: rival.Number - 1})["one"]; r.Run != "1" {
		t.Errorf("it does where that moved meanwhile: %+v", r)
	}
	if r := beat(two, replicas.Beat{Replica: "one", Run: "3", Join: true, Over: rival.Run, OverNumber: rival.Number})["one"]; r.Run != "3" || r.Since != r.At {
		t.Errorf("it does not where that stands still: %+v", r)
	}
	if r := beat(two, replicas.Beat{Replica: "one", Run: "4", Join: true, Lease: -1})["one"]; r.Run != "4" {
		t.Errorf("nor where that is old: %+v", r)
	}
	if err := one.Leave(t.Context(), &replicas.Beat{Replica: "one", Run: "1"}); err != nil {
		t.Fatal(err)
	}
	if err := one.Leave(t.Context(), &replicas.Beat{Replica: "two", Run: "2"}); err != nil {
		t.Fatal(err)
	}
	if all := beat(one, replicas.Beat{Replica: "three", Run: "5"}); len(all) != 2 || all["one"].Run != "4" {
		t.Errorf("after some left: %v", all)
	}
}

func TestDecisionsAreTold(t *testing.T) {
	s := open(t, testenv.Postgres(t), Options{})
	number := int64(0)
	decided := func() (all []lightchain.ChainID) {
		t.Helper()
		number++
		a, err := s.Beat(t.Context(), &replicas.Beat{Replica: "one", Run: "1", Number: number, Lease: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range a.Decided {
			all = append(all, d.Chain)
		}
		return all
	}
	if all := decided(); len(all) != 0 {
		t.Errorf("before any: %v", all)
	}
	for range 2 {
		err := s.Update(t.Context(), chainOf("a"), func(*registry.Record) (*registry.Change, error) { return &registry.Change{Decided: true}, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	if all := decided(); !slices.Equal(all, []lightchain.ChainID{chainOf("a")}) {
		t.Errorf("decided: %v", all)
	}
	for _, statement := range []string{"UPDATE edgechain_decisions SET at = at - 61000000", "UPDATE edgechain_replicas SET at = at - 700000000"} {
		if _, err := s.pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if all := decided(); len(all) != 0 {
		t.Errorf("a minute later: %v", all)
	}
	// What is old is removed.
	s.beats.cleared = time.Time{}
	if _, err := s.pool.Exec(t.Context(), "UPDATE edgechain_decisions SET at = at - 700000000"); err != nil {
		t.Fatal(err)
	}
	decided()
	var left int
	if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM edgechain_decisions").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d decisions are left: %v", left, err)
	}
}

// Tables of before are made whole, and what stands in them stays.
func TestTablesThatLackSomeAreCompleted(t *testing.T) {
	dsn := testenv.Postgres(t)
	s := open(t, dsn, Options{})
	if err := s.Update(t.Context(), chainOf("kept"), count("one")); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"DROP TABLE edgechain_replicas", "DROP TABLE edgechain_decisions", "UPDATE edgechain_layout SET version = 2"} {
		if _, err := s.pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	again := open(t, dsn, Options{})
	if _, err := again.Beat(t.Context(), &replicas.Beat{Replica: "one", Run: "1", Lease: time.Hour}); err != nil {
		t.Error(err)
	}
	if by := counted(t, again, chainOf("kept")); len(by) != 1 {
		t.Errorf("of what was there %v is left", by)
	}
}
