package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lastOf is what Latest does, without an index.
func lastOf(entries []lightchain.Entry, q LatestQuery) (found []string) {
	type seen struct {
		text            string
		first, measured int64
	}
	all := map[[2]string]*seen{}
	for n, e := range slices.Backward(entries) {
		for _, r := range slices.Backward(e.Readings) {
			if e.Received < q.Since || q.Device != "" && r.Device != q.Device || q.Of != nil && !q.Of(r.Device) {
				continue
			}
			of, measured := [2]string{r.Device, r.Name}, MeasuredAt(&e, &r)
			if all[of] == nil {
				all[of] = &seen{first: e.Received, measured: math.MinInt64}
			}
			if s := all[of]; measured > s.measured && e.Received >= s.first-latestSpan {
				s.text, s.measured = fmt.Sprint(n, r.Device, r.Name, r.Value, measured), measured
			}
		}
	}
	for _, s := range all {
		found = append(found, s.text)
	}
	slices.Sort(found)
	return found
}

func TestLatestAgreesWithALookAtEveryEntryWhateverTheClocksDo(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 11))
		s := newStore(t, testOptions(t, vfs.NewMem()))
		entries := jumping(rng, 2000)
		for at := 0; at < len(entries); {
			n := min(1+rng.IntN(12), len(entries)-at)
			stage(t, s, entries[at:at+n])
			at += n
			for rng.IntN(3) == 0 {
				seal(t, s)
			}
		}
		for range 40 {
			q := LatestQuery{Since: entries[rng.IntN(len(entries))].Received}
			switch rng.IntN(4) {
			case 0:
				q.Device = fmt.Sprintf("d%d", rng.IntN(7))
			case 1:
				q.Of = func(device string) bool { return device < "d3" }
			case 2:
				q.Since = 1
			}
			latest, err := s.Latest(q)
			if err != nil || latest.More || len(latest.Gone) > 0 {
				t.Fatal(latest, err)
			}
			var found []string
			for _, n := range latest.Series {
				found = append(found, fmt.Sprint(n.Number, n.Reading.Device, n.Reading.Name, n.Reading.Value, n.Measured))
			}
			slices.Sort(found)
			if want := lastOf(entries, q); !slices.Equal(found, want) {
				t.Fatalf("seed %d, %+v:\nfound %v\n want %v", seed, q, found, want)
			}
		}
		closeStore(t, s)
	}
}

// A list of devices is asked for often, and a chain holds years.
func TestLatestLooksIntoFewBlocks(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	const blocks = 5000
	for i := range blocks {
		e := testEntries(i, 1)
		switch i {
		case 3:
			e[0].Readings[0].Device = "gone"
		case 3217:
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
	latest, err := s.Latest(LatestQuery{Since: 1})
	if err != nil {
		t.Fatal(err)
	}
	after := s.db.Metrics().BlockCache
	if reads := after.Hits + after.Misses - before.Hits - before.Misses; reads > blocks/4 {
		t.Errorf("%d reads to find what %d blocks have last", reads, blocks)
	}
	found := map[string]uint64{}
	for _, n := range latest.Series {
		found[n.Reading.Device] = max(found[n.Reading.Device], n.Number)
	}
	if found["gone"] != 3 || found["rare"] != 3217 || len(found) < 3 {
		t.Errorf("found %v", found)
	}
	if latest, err = s.Latest(LatestQuery{Since: 1, Most: 2}); err != nil || !latest.More || len(latest.Series) != 2 {
		t.Errorf("of two series at most: %+v, %v", latest, err)
	}
	closeStore(t, s)
}

// A list with a block missing in the middle is a list all the same, and says that it may lack something.
func TestLatestGoesOnBehindWhatIsDamaged(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	for n := range 5 {
		e := testEntries(n, 1)
		e[0].Readings[0].Device = fmt.Sprint("d", n)
		stage(t, s, e)
		seal(t, s)
	}
	wipe(t, s, blockKey(3, partSeed), headerKey(3))
	latest, err := s.Latest(LatestQuery{Since: 1})
	if err != nil || len(latest.Series) != 4 || len(latest.Gone) != 1 {
		t.Fatalf("%+v, %v", latest, err)
	}
	if first, count := Gone(latest.Gone[0]); first != 2 || count != 1 {
		t.Errorf("entries %d and so on, %d of them, are told to be gone", first, count)
	}
	closeStore(t, s)
}
