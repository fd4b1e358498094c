package aggregator_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/tlogclient"
	"edgechain.example/lightchain"
)

// headAt returns a head of the chain that a name stands for.
func headAt(t testing.TB, name string, height uint64) headlog.Leaf {
	t.Helper()
	chain := lightchain.ChainID(sha256.Sum256([]byte(name)))
	h := lightchain.Header{Chain: chain, Height: height, Root: lightchain.EmptyRoot(), Sealed: chainTime * 1e9}
	b, err := h.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return headlog.Leaf{Chain: chain, Height: height, Header: b}
}

// wait has heads wait for the log, as their countersigning does.
func wait(t testing.TB, s registry.Store, leaves ...headlog.Leaf) {
	t.Helper()
	for _, l := range leaves {
		mustUpdate(t, s, l.Chain, func(r *registry.Record) (*registry.Change, error) {
			r.Standing = registry.Approved
			return &registry.Change{Logged: &l}, nil
		})
	}
}

func logKey(t testing.TB, origin string) *headlog.Key {
	t.Helper()
	k, err := headlog.NewKey(origin, testSigner("log of "+origin))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const testOrigin = "agg-1.example/heads"

// newLog returns a log whose files are in a folder, and what it says.
func newLog(t testing.TB, s headlog.Store, dir string) (*headlog.Log, *testenv.Log) {
	t.Helper()
	log := &testenv.Log{}
	return headlog.New(headlog.Config{
		Store: s, Key: logKey(t, testOrigin), Mark: filepath.Join(dir, "mark"), Hold: filepath.Join(dir, "hold"), Now: time.Now,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}), log
}

func mustTurn(t testing.TB, l *headlog.Log) *headlog.Head {
	t.Helper()
	if err := l.Turn(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	return l.Standing().Head
}

func mustCheck(t testing.TB, l *headlog.Log) *headlog.Checked {
	t.Helper()
	c, err := l.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A log grows across the borders of tiles, each time by what waited; all of it reads back after a restart, checks, is proved,
// and is what Go's own client of such logs reads over HTTP.
func logsGrow(t *testing.T, s opened) {
	dir := t.TempDir()
	l, _ := newLog(t, s, dir)
	if at := mustTurn(t, l); at.Size != 0 {
		t.Fatalf("a log begins with %d leaves", at.Size)
	}
	var leaves []lightchain.Hash
	var earlier tlog.Tree
	turns := uint64(0)
	for _, more := range []int{1, 254, 1, 1, 255, 2} {
		turns++
		var heads []headlog.Leaf
		for i := range more {
			heads = append(heads, headAt(t, fmt.Sprint("gateway ", i), turns))
		}
		wait(t, s, heads...)
		if n, err := s.LogBacklog(t.Context()); n != more || err != nil {
			t.Fatalf("%d heads wait (%v), want %d", n, err, more)
		}
		order, err := s.LogWaiting(t.Context(), 1000)
		if err != nil || len(order) != more {
			t.Fatal(len(order), err)
		}
		for i := range order {
			leaves = append(leaves, order[i].Hash())
		}
		if at := mustTurn(t, l); at.Size != uint64(len(leaves)) || l.Standing().Backlog != 0 {
			t.Fatalf("it has %d leaves, and %d heads wait; want %d and none", at.Size, l.Standing().Backlog, len(leaves))
		}
		s.Store = s.again()
		l, _ = newLog(t, s, dir)
		if err := l.Turn(t.Context(), false); err != nil { // of a replica that follows
			t.Fatal(err)
		}
		server := httptest.NewServer(l.Handler(true))
		f := tlogclient.Read(t, server.URL, l.Key.String())
		f.Check(leaves, earlier)
		earlier = f.Tree
		server.Close()
		if c := mustCheck(t, l); c.Size != uint64(len(leaves)) || c.Checkpoints != int(turns)+1 {
			t.Errorf("the check found %+v", c)
		}
	}
	if again := mustTurn(t, l); again.Size != uint64(len(leaves)) {
		t.Errorf("without a new head it grew to %d", again.Size)
	}
	newest, second, above := uint64(6), uint64(2), uint64(7)
	for _, q := range []struct {
		name   string
		height *uint64
		want   uint64
	}{{"gateway 0", nil, newest}, {"gateway 0", &second, 2}, {"gateway 200", &second, 2}, {"gateway 100", nil, 5}, {"gateway 1", &newest, newest}} {
		p, leaf, err := l.Prove(t.Context(), headAt(t, q.name, 1).Chain, q.height)
		if err != nil || leaf.Height != q.want {
			t.Fatalf("%s: %+v, %v; want %d", q.name, leaf, err, q.want)
		}
		want := headAt(t, q.name, q.want)
		if c, err := p.Check(want.Hash(), l.Key); err != nil || c.Size != uint64(len(leaves)) {
			t.Errorf("%s: %+v, %v", q.name, c, err)
		}
	}
	for name, height := range map[string]*uint64{"a stranger": nil, "gateway 0": &above} {
		if _, _, err := l.Prove(t.Context(), headAt(t, name, 1).Chain, height); !errors.Is(err, headlog.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of several that append to what they have read one does, and the others leave nothing.
func logsAreAppendedByOne(t *testing.T, s opened) {
	key := logKey(t, testOrigin)
	stores := []registry.Store{s.Store, s.Store}
	if s.replica {
		stores[1] = s.again()
	}
	var before *headlog.Head
	for round := range 5 {
		var racing sync.WaitGroup
		heads := make([]headlog.Head, 6)
		errs := make([]error, len(heads))
		for i := range heads {
			racing.Go(func() {
				leaf := headAt(t, fmt.Sprint("racer ", i), uint64(round)+1)
				var tree lightchain.CompactRange
				if before != nil {
					tree, _ = lightchain.NewCompactRange(before.Size, before.Edge)
				}
				tree.Append(leaf.Hash(), nil)
				c := headlog.Checkpoint{Origin: testOrigin, Size: tree.Size(), Root: tree.Root()}
				signed, err := note.Sign(&note.Note{Text: c.Text()}, key)
				if err != nil {
					t.Error(err)
				}
				heads[i] = headlog.Head{Size: tree.Size(), Edge: tree.Edge(), Checkpoint: signed}
				errs[i] = stores[i%2].LogAppend(context.Background(), testOrigin, before, &headlog.Batch{Leaves: []headlog.Leaf{leaf}, Head: heads[i]})
			})
		}
		racing.Wait()
		won := -1
		for i, err := range errs {
			switch {
			case err == nil && won >= 0:
				t.Fatalf("round %d: %d and %d both appended", round, won, i)
			case err == nil:
				won = i
			case !errors.Is(err, headlog.ErrMoved):
				t.Errorf("round %d: %v", round, err)
			}
		}
		if won < 0 {
			t.Fatalf("round %d: nobody appended", round)
		}
		before = &heads[won]
		at, err := stores[1].LogHead(t.Context(), testOrigin)
		if err != nil || at.Root() != before.Root() || at.Size != uint64(round)+1 {
			t.Fatalf("round %d: the log stands at %+v, %v", round, at, err)
		}
	}
	l, _ := newLog(t, s, t.TempDir())
	mustTurn(t, l)
	mustCheck(t, l)
}

// Two sequencers at once bring each head in once, and what one publishes the other continues.
func twoSequencersMakeOneLog(t *testing.T, s opened) {
	stores := []registry.Store{s.Store, s.Store}
	if s.replica {
		stores[1] = s.again()
	}
	var logs []*headlog.Log
	for _, store := range stores {
		l, _ := newLog(t, store, t.TempDir())
		logs = append(logs, l)
	}
	want := 0
	for round := range 6 {
		for i := range 10 {
			wait(t, s, headAt(t, fmt.Sprint("gateway ", i), uint64(round)+1))
			want++
		}
		var racing sync.WaitGroup
		for _, l := range logs {
			racing.Go(func() {
				if err := l.Turn(context.Background(), true); err != nil {
					t.Error(err)
				}
			})
		}
		racing.Wait()
	}
	for _, l := range logs {
		mustTurn(t, l)
		if c := mustCheck(t, l); c.Size != uint64(want) {
			t.Errorf("%d leaves of %d heads", c.Size, want)
		}
	}
}
