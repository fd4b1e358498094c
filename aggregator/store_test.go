package aggregator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"edgechain.example/aggregator/pebblestore"
	"edgechain.example/aggregator/pgstore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/sync/collector"
)

// opened is a store under test. again opens it once more: after a restart, or, where that is allowed, beside the first
// as another replica does.
type opened struct {
	registry.Store
	again   func() registry.Store
	replica bool
}

// What both stores must do, and what rests on it.
var onBothStores = []struct {
	claim string
	test  func(*testing.T, opened)
}{
	{"what an update wrote is what the next one reads, after a restart too", updatesAreSeen},
	{"an update that changes nothing or fails writes nothing", updatesAreWhole},
	{"of racing updates each sees what the one before wrote", updatesAreSerial},
	{"headers are found by height", segmentsAreFound},
	{"forgetting removes headers and receipts, and keeps state and evidence", forgettingKeepsEvidence},
	{"records come in pages, ascending, without states", recordsCome},
	{"documents change one writer at a time", documentsChange},
	{"the ledger refuses what must never happen", ledgerRefuses},
	{"replicas countersign a head once", headsAreCountersignedOnce},
	{"of those who show one token one gets in", oneTokenLetsOneIn},
	{"a store has one name and one key until another is adopted", storeHasOneIdentity},
	{"a log grows across the borders of tiles, and others read it", logsGrow},
	{"of those who append to a log at once one does", logsAreAppendedByOne},
	{"two sequencers make one log", twoSequencersMakeOneLog},
	{"a head that is replaced while it is taken into a log waits", replacedHeadsWait},
	{"however a turn of a log is cut off, no size has two roots", noSizeHasTwoRoots},
	{"a check of a log finds what was changed", checksFindWhatWasChanged},
}

func TestOnPebble(t *testing.T) {
	for _, c := range onBothStores {
		t.Run(c.claim, func(t *testing.T) {
			dir := t.TempDir()
			var now *pebblestore.Store
			open := func() registry.Store {
				var err error
				if now != nil {
					if err := now.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if now, err = pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20}); err != nil {
					t.Fatal(err)
				}
				return now
			}
			t.Cleanup(func() { now.Close() })
			c.test(t, opened{Store: open(), again: open})
		})
	}
}

func TestOnPostgreSQL(t *testing.T) {
	dsn := testenv.Postgres(t)
	admin, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	// What databases of this protocol agree on least is what transactions see of each other: their usual way, and the
	// strictest, which is CockroachDB's only one in older versions.
	for _, isolation := range []string{"read committed", "serializable"} {
		for i, c := range onBothStores {
			t.Run(isolation+": "+c.claim, func(t *testing.T) {
				schema := fmt.Sprintf("s%d%.4s", i, isolation) // each in tables of its own
				if _, err := admin.Exec(t.Context(), "CREATE SCHEMA "+schema); err != nil {
					t.Fatal(err)
				}
				settings := "&search_path=" + schema + "&default_transaction_isolation=" + url.PathEscape(isolation)
				open := func() registry.Store { return openPostgres(t, dsn+settings) }
				c.test(t, opened{Store: open(), again: open, replica: true})
			})
		}
	}
	t.Run("many may begin at the same time", func(t *testing.T) {
		if _, err := admin.Exec(t.Context(), "CREATE SCHEMA begins"); err != nil {
			t.Fatal(err)
		}
		var racing sync.WaitGroup
		for range 6 {
			racing.Go(func() {
				s, err := pgstore.Open(context.Background(), dsn+"&search_path=begins", pgstore.Options{CrashLoss: registry.WarnLoss})
				if err != nil {
					t.Error(err)
					return
				}
				s.Close()
			})
		}
		racing.Wait()
	})
}

func openPostgres(t *testing.T, dsn string) registry.Store {
	t.Helper()
	s, err := pgstore.Open(t.Context(), dsn, pgstore.Options{CrashLoss: registry.WarnLoss})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustUpdate(t testing.TB, s registry.Chains, id lightchain.ChainID, change func(*registry.Record) (*registry.Change, error)) {
	t.Helper()
	if err := s.Update(context.Background(), id, change); err != nil {
		t.Fatal(err)
	}
}

func updatesAreSeen(t *testing.T, s opened) {
	c := newChain(t, "seen")
	c.sealMany(5)
	if _, err := s.Record(t.Context(), c.id()); !errors.Is(err, registry.ErrNotFound) {
		t.Fatalf("a chain that nobody wrote: %v", err)
	}
	state := &collector.State{Chain: c.id(), Keys: c.headers[:1], Head: &collector.Mark{Head: c.headers[0]}, Last: 17}
	mustUpdate(t, s, c.id(), func(r *registry.Record) (*registry.Change, error) {
		if r.Known() || r.Chain != c.id() || r.State != nil {
			t.Errorf("a fresh record is %+v", r)
		}
		r.Standing, r.Name, r.Labels, r.State = registry.Approved, "press", map[string]string{"hall": "3"}, state
		r.Note(registry.Gap, chainTime, 4, "12 messages")
		return nil, nil
	})
	check := func(r *registry.Record) {
		t.Helper()
		if r.Standing != registry.Approved || r.Name != "press" || r.Labels["hall"] != "3" || r.Findings[registry.Gap].Text != "12 messages" {
			t.Errorf("read back: %+v", r)
		}
		if r.State == nil || r.State.Last != 17 || r.State.Head.Head.Hash() != c.leaves[0] {
			t.Errorf("its state: %+v", r.State)
		}
	}
	mustUpdate(t, s, c.id(), func(r *registry.Record) (*registry.Change, error) { check(r); return nil, registry.ErrUnchanged })
	s.Store = s.again()
	r, err := s.Record(t.Context(), c.id())
	if err != nil {
		t.Fatal(err)
	}
	check(r)
}

func updatesAreWhole(t *testing.T, s opened) {
	c := newChain(t, "whole")
	c.sealMany(3)
	refused := errors.New("not like this")
	for _, end := range []error{registry.ErrUnchanged, refused} {
		err := s.Update(t.Context(), c.id(), func(r *registry.Record) (*registry.Change, error) {
			r.Standing = registry.Approved
			return &registry.Change{Segments: registry.NewSegments(c.held(0, 3))}, end
		})
		if end == refused && !errors.Is(err, refused) || end != refused && err != nil {
			t.Errorf("a change that ends with %v: %v", end, err)
		}
	}
	if _, err := s.Record(t.Context(), c.id()); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("a record was written: %v", err)
	}
	if found, err := s.Segments(t.Context(), c.id(), 0, 10); err != nil || len(found) > 0 {
		t.Errorf("segments were written: %v, %v", found, err)
	}
}

func updatesAreSerial(t *testing.T, s opened) {
	c := newChain(t, "serial")
	stores := []registry.Store{s.Store, s.Store}
	if s.replica {
		stores[1] = s.again()
	}
	const each = 25
	var racing sync.WaitGroup
	for i := range 4 {
		racing.Go(func() {
			for range each {
				err := stores[i%2].Update(context.Background(), c.id(), func(r *registry.Record) (*registry.Change, error) {
					r.Standing = registry.Approved
					r.Decided++
					return &registry.Change{Receipt: &registry.Receipted{Height: uint64(r.Decided), Time: 1, Body: []byte{1}}}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	racing.Wait()
	r, err := s.Record(t.Context(), c.id())
	if err != nil {
		t.Fatal(err)
	}
	receipts, err := s.Receipts(t.Context(), c.id(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if r.Decided != 4*each || len(receipts) != 4*each {
		t.Errorf("of %d updates %d counted, with %d receipts", 4*each, r.Decided, len(receipts))
	}
}

func segmentsAreFound(t *testing.T, s opened) {
	c := newChain(t, "segments")
	c.sealMany(60)
	for _, piece := range [][2]uint64{{0, 0}, {1, 20}, {21, 21}, {40, 60}} {
		mustUpdate(t, s, c.id(), func(r *registry.Record) (*registry.Change, error) {
			r.Standing = registry.Approved
			return &registry.Change{Segments: registry.NewSegments(c.held(piece[0], piece[1]))}, nil
		})
	}
	for _, q := range []struct {
		from  uint64
		limit int
		want  []uint64 // where the segments begin
	}{
		{0, 10, []uint64{0, 1, 21, 40}}, {0, 2, []uint64{0, 1}}, {1, 1, []uint64{1}}, {20, 2, []uint64{1, 21}},
		{21, 1, []uint64{21}}, {22, 5, []uint64{40}}, {60, 5, []uint64{40}}, {61, 5, nil},
	} {
		found, err := s.Segments(t.Context(), c.id(), q.from, q.limit)
		if err != nil {
			t.Fatal(err)
		}
		var first []uint64
		for i := range found {
			first = append(first, found[i].First)
			height := found[i].First
			err := found[i].Walk(func(h collector.Held) error {
				want := c.headers[height]
				signed := height == found[i].Last || height == 0
				if h.Height != height || !bytes.Equal(h.Bytes, want.Bytes()) || (h.Signature != nil) != signed || signed && *h.Signature != want.HeaderSignature {
					t.Errorf("header %d reads as %d, signed %t", height, h.Height, h.Signature != nil)
				}
				height++
				return nil
			})
			if err != nil || height != found[i].Last+1 {
				t.Errorf("walking %d to %d ended before %d: %v", found[i].First, found[i].Last, height, err)
			}
		}
		if !slices.Equal(first, q.want) {
			t.Errorf("from %d, at most %d: segments from %v, want %v", q.from, q.limit, first, q.want)
		}
	}
	damaged := registry.Segment{First: 3, Last: 4, Body: []byte{0, 200, 1, 2, 3}}
	if err := damaged.Walk(func(collector.Held) error { return nil }); err == nil {
		t.Error("a damaged segment reads well")
	}
}

func forgettingKeepsEvidence(t *testing.T, s opened) {
	c := newChain(t, "forgotten")
	c.sealMany(4)
	id := sha256.Sum256([]byte("evidence"))
	mustUpdate(t, s, c.id(), func(r *registry.Record) (*registry.Change, error) {
		r.Standing = registry.Approved
		r.State = &collector.State{Chain: c.id(), Keys: c.headers[:1], Head: &collector.Mark{Head: c.headers[0]}}
		return &registry.Change{
			Segments: registry.NewSegments(c.held(0, 4)),
			Receipt:  &registry.Receipted{Height: 4, Time: chainTime, Body: []byte("receipted")},
			Evidence: &registry.Evidence{Height: 3, ID: id, Seen: chainTime, Body: []byte("evidence")},
		}, nil
	})
	receipts, err := s.Receipts(t.Context(), c.id(), 4, 10)
	if err != nil || len(receipts) != 1 || receipts[0].Time != chainTime || string(receipts[0].Body) != "receipted" {
		t.Errorf("receipts: %+v, %v", receipts, err)
	}
	mustUpdate(t, s, c.id(), func(r *registry.Record) (*registry.Change, error) {
		r.Standing = registry.Forgotten
		return &registry.Change{Forget: true}, nil
	})
	segments, err1 := s.Segments(t.Context(), c.id(), 0, 10)
	receipts, err2 := s.Receipts(t.Context(), c.id(), 0, 10)
	if len(segments)+len(receipts) > 0 || err1 != nil || err2 != nil {
		t.Errorf("left: %v, %v (%v, %v)", segments, receipts, err1, err2)
	}
	forks, err := s.Forks(t.Context(), c.id())
	if err != nil || len(forks) != 1 || forks[0].ID != id || forks[0].Height != 3 || forks[0].Seen != chainTime || string(forks[0].Body) != "evidence" {
		t.Errorf("evidence: %+v, %v", forks, err)
	}
	if r, err := s.Record(t.Context(), c.id()); err != nil || r.State == nil {
		t.Errorf("the record: %+v, %v", r, err)
	}
}

func recordsCome(t *testing.T, s opened) {
	for i := range 25 {
		id := lightchain.ChainID(sha256.Sum256([]byte(fmt.Sprint("record", i))))
		mustUpdate(t, s, id, func(r *registry.Record) (*registry.Change, error) {
			r.Standing = registry.Waiting
			r.State = &collector.State{Chain: id}
			return nil, nil
		})
	}
	var all []lightchain.ChainID
	for after := (lightchain.ChainID{}); ; {
		page, err := s.Records(t.Context(), after, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			if r.State != nil {
				t.Fatal("a record came with its state")
			}
			all = append(all, r.Chain)
		}
		if len(page) < 7 {
			break
		}
		after = all[len(all)-1]
	}
	ascending := slices.IsSortedFunc(all, func(a, b lightchain.ChainID) int { return bytes.Compare(a[:], b[:]) })
	if len(all) != 25 || !ascending || len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("%d records, ascending: %t", len(all), ascending)
	}
}

func documentsChange(t *testing.T, s opened) {
	put := func(name string, text []byte, want string) {
		t.Helper()
		err := s.UpdateDocument(t.Context(), "token", name, func(old []byte) ([]byte, error) {
			if string(old) != want {
				t.Errorf("%s held %q, want %q", name, old, want)
			}
			return text, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("a", []byte("1"), "")
	put("a", []byte("2"), "1")
	put("b", []byte("3"), "")
	put("gone", nil, "")
	put("b", nil, "3")
	found, err := s.Documents(t.Context(), "token")
	if err != nil || len(found) != 1 || string(found["a"]) != "2" {
		t.Errorf("documents %q, %v", found, err)
	}
	if others, err := s.Documents(t.Context(), "tok"); err != nil || len(others) != 0 {
		t.Errorf("documents of another kind: %q, %v", others, err)
	}
	// Two who take the same thing: one gets it.
	var racing sync.WaitGroup
	taken := make(chan int, 8)
	for i := range 8 {
		racing.Go(func() {
			mine := false
			err := s.UpdateDocument(context.Background(), "token", "a", func(old []byte) ([]byte, error) {
				if mine = string(old) == "2"; !mine {
					return nil, registry.ErrUnchanged
				}
				return []byte("taken"), nil
			})
			if err != nil {
				t.Error(err)
			} else if mine {
				taken <- i
			}
		})
	}
	racing.Wait()
	if len(taken) != 1 {
		t.Errorf("%d took it", len(taken))
	}
}
