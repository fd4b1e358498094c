package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// jumping returns entries of several devices whose clocks, like the gateway's, jump back and forth by years.
func jumping(rng *rand.Rand, n int) []lightchain.Entry {
	at := int64(1700000000e9)
	entries := make([]lightchain.Entry, n)
	for i := range entries {
		at += rng.Int64N(2e9)
		if rng.IntN(60) == 0 {
			at = rng.Int64N(2000000000) * 1e9 // the gateway's clock is set
		}
		e := lightchain.Entry{Received: at, Source: fmt.Sprintf("mqtt:a:%d", rng.IntN(3)), Payload: []byte{byte(i)}}
		if rng.IntN(20) == 0 {
			e.Source, e.Flags = "agent:gap", lightchain.ByAgent
		} else {
			for range rng.IntN(4) {
				r := lightchain.Reading{Device: fmt.Sprintf("d%d", rng.IntN(6)), Name: fmt.Sprintf("n%d", rng.IntN(3)), Value: lightchain.Int(int64(i))}
				switch rng.IntN(3) {
				case 0:
					r.Timed, r.Time = true, at-rng.Int64N(1e12)
				case 1:
					r.Timed, r.Time, r.Quality = true, int64(rng.Uint64()), lightchain.Bad
				}
				e.Readings = append(e.Readings, r)
			}
		}
		entries[i] = e
	}
	return entries
}

// search is what Find does, without an index.
func search(entries []lightchain.Entry, q Query) (found []string) {
	in := func(t int64) bool { return q.From == 0 && q.To == 0 || t >= q.From && t < q.To }
	for n, e := range entries {
		if q.Source != "" && e.Source != q.Source || uint64(n) < q.After || q.Before != 0 && uint64(n) >= q.Before {
			continue
		}
		if len(e.Readings) == 0 && q.Device == "" && q.Name == "" && in(e.Received) {
			found = append(found, fmt.Sprint(n, -1))
		}
		for i, r := range e.Readings {
			t := e.Received
			if !q.Received && r.Timed && r.Quality&lightchain.Bad == 0 {
				t = r.Time
			}
			if (q.Device == "" || q.Device == r.Device) && (q.Name == "" || q.Name == r.Name) && in(t) {
				found = append(found, fmt.Sprint(n, i))
			}
		}
	}
	if q.Reverse {
		slices.Reverse(found)
	}
	if q.Limit > 0 && len(found) > q.Limit {
		found = found[:q.Limit]
	}
	return found
}

func TestFindAgreesWithALookAtEveryEntryWhateverTheClocksDo(t *testing.T) {
	queries := 300
	if testing.Short() {
		queries = 50
	}
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 9))
		s := newStore(t, testOptions(t, vfs.NewMem()))
		entries := jumping(rng, 3000)
		for at := 0; at < len(entries); {
			n := min(1+rng.IntN(12), len(entries)-at)
			stage(t, s, entries[at:at+n])
			at += n
			for rng.IntN(3) == 0 {
				seal(t, s)
			}
		}
		pick := func(max int, format string) string {
			if n := rng.IntN(max + 3); n < max {
				return fmt.Sprintf(format, n)
			}
			return ""
		}
		for range queries {
			q := Query{Device: pick(7, "d%d"), Name: pick(4, "n%d"), Reverse: rng.IntN(2) == 0, Received: rng.IntN(2) == 0}
			if rng.IntN(4) == 0 {
				q.Source = []string{"agent:gap", "agent:boot", "mqtt:a:1"}[rng.IntN(3)]
			}
			if rng.IntN(3) > 0 {
				q.From = entries[rng.IntN(len(entries))].Received - rng.Int64N(1e12)
				q.To = q.From + 1 + rng.Int64N(1e13)
			}
			if rng.IntN(3) == 0 {
				q.Limit = 1 + rng.IntN(5)
			}
			if rng.IntN(3) == 0 {
				q.After = uint64(rng.IntN(3000))
				q.Before = q.After + uint64(rng.IntN(1000))
			}
			var found []string
			for m, err := range s.Find(q) {
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, fmt.Sprint(m.Number, m.Reading))
			}
			if want := search(entries, q); !slices.Equal(found, want) {
				t.Fatalf("seed %d, %+v:\nfound %v\n want %v", seed, q, found, want)
			}
		}
		closeStore(t, s)
	}
}

func TestAQueryLooksIntoTheBlocksThatMatter(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	const blocks = 5000
	for i := range blocks {
		e := testEntries(i, 1)
		if i == 3217 {
			e[0].Readings[0].Device = "rare"
		}
		g, err := s.Stage(e)
		if err != nil {
			t.Fatal(err)
		}
		seal(t, s)
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	compact(t, s)
	before := s.db.Metrics().BlockCache
	n := 0
	for m, err := range s.Find(Query{Device: "rare"}) {
		if err != nil || m.Number != 3217 {
			t.Fatal(m, err)
		}
		n++
	}
	if n != 1 {
		t.Fatalf("found %d", n)
	}
	after := s.db.Metrics().BlockCache
	if reads := after.Hits + after.Misses - before.Hits - before.Misses; reads > blocks/4 {
		t.Fatalf("%d reads to find one block among %d", reads, blocks)
	}
	closeStore(t, s)
}
