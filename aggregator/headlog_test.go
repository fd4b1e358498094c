package aggregator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
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

// A head that a higher one of its chain replaces while it is taken in leaves that one waiting.
func replacedHeadsWait(t *testing.T, s opened) {
	l, _ := newLog(t, &interrupted{Store: s.Store, before: func() { wait(t, s, headAt(t, "gateway", 2)) }}, t.TempDir())
	wait(t, s, headAt(t, "gateway", 1))
	if err := l.Turn(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	waiting, err := s.LogWaiting(t.Context(), 10)
	if err != nil || len(waiting) != 1 || waiting[0].Height != 2 {
		t.Fatalf("%+v waits, %v; want header 2", waiting, err)
	}
	if at := mustTurn(t, l); at.Size != 2 {
		t.Errorf("it has %d leaves, want 2", at.Size)
	}
	mustCheck(t, l)
}

// interrupted is a store in front of which, or behind which, something happens when leaves are appended.
type interrupted struct {
	headlog.Store
	before func()
	fails  error // instead of the call
	lost   error // instead of its answer
}

func (i *interrupted) LogAppend(ctx context.Context, origin string, before *headlog.Head, b *headlog.Batch) error {
	if len(b.Leaves) == 0 {
		return i.Store.LogAppend(ctx, origin, before, b)
	}
	if i.before != nil {
		i.before()
		i.before = nil
	}
	if i.fails != nil {
		return i.fails
	}
	if err := i.Store.LogAppend(ctx, origin, before, b); err != nil {
		return err
	}
	return i.lost
}

// However a turn is cut off, before, in or behind its transaction, before or behind its mark, whoever begins again publishes no
// second root of a size, and loses no head.
func noSizeHasTwoRoots(t *testing.T, s opened) {
	dir := t.TempDir()
	roots := map[uint64]lightchain.Hash{}
	published := func(l *headlog.Log) {
		t.Helper()
		head, err := l.Newest(t.Context())
		if errors.Is(err, headlog.ErrEmpty) {
			return
		}
		c, err := headlog.OpenCheckpoint(head.Checkpoint, l.Key)
		if err != nil {
			t.Fatal(err)
		}
		if root, known := roots[c.Size]; known && root != c.Root {
			t.Fatalf("%d leaves have two roots", c.Size)
		}
		roots[c.Size] = c.Root
	}
	power := errors.New("the power failed")
	blocked := filepath.Join(dir, "blocked")
	heads := uint64(0)
	for round := range 3 {
		for _, cut := range []struct {
			where string
			store interrupted
			mark  string
		}{
			{"before the transaction", interrupted{fails: power}, "mark"},
			{"behind the transaction, without its answer", interrupted{lost: power}, "mark"},
			{"before the mark", interrupted{}, "blocked/mark"},
			{"nowhere", interrupted{}, "mark"},
		} {
			heads++
			wait(t, s, headAt(t, fmt.Sprint("gateway ", heads%3), heads))
			cut.store.Store = s.Store
			if cut.mark != "mark" { // a folder that is not there; what is known of what was published is
				if known, err := os.ReadFile(filepath.Join(dir, "mark")); err == nil {
					if err := errors.Join(os.Mkdir(blocked, 0o700), os.WriteFile(filepath.Join(dir, cut.mark), known, 0o600)); err != nil {
						t.Fatal(err)
					}
				}
			}
			l, log := newLog(t, &cut.store, filepath.Join(dir, filepath.Dir(cut.mark)))
			if cut.mark != "mark" {
				cut.store.before = func() { _ = os.RemoveAll(blocked) }
			}
			err := l.Turn(t.Context(), true)
			published(l)
			if (err == nil) != (cut.where == "nowhere") {
				t.Fatalf("round %d, cut off %s: %v\n%s", round, cut.where, err, log)
			}
			// Something else comes before the next start does its work.
			heads++
			wait(t, s, headAt(t, fmt.Sprint("gateway ", heads%3), heads))
			s.Store = s.again()
			l, _ = newLog(t, s, dir)
			mustTurn(t, l)
			published(l)
			if c := mustCheck(t, l); c.Size != heads {
				t.Fatalf("round %d, cut off %s: %d leaves of %d heads", round, cut.where, c.Size, heads)
			}
		}
	}
	kept, err := s.LogCheckpoints(t.Context(), testOrigin, 0, 1000)
	if err != nil || len(kept) == 0 {
		t.Fatal(len(kept), err)
	}
	for _, k := range kept {
		c, err := headlog.OpenCheckpoint(k.Note, logKey(t, testOrigin))
		if err != nil {
			t.Fatal(err)
		}
		if root, known := roots[c.Size]; known && root != c.Root {
			t.Errorf("%d leaves have two roots", c.Size)
		}
	}
}

// What is stored and was changed is found, whatever it is.
func checksFindWhatWasChanged(t *testing.T, s opened) {
	dir := t.TempDir()
	l, _ := newLog(t, s, dir)
	for round := range 2 {
		for i := range 300 {
			wait(t, s, headAt(t, fmt.Sprint("gateway ", i), uint64(round)+1))
		}
		mustTurn(t, l)
	}
	mustCheck(t, l)
	other := headAt(t, "another", 1)
	for what, lie := range map[string]*lying{
		"a leaf":                   {leaf: func(i uint64, l *headlog.Leaf) bool { l.Header = choose(i == 411, other.Header, l.Header); return true }},
		"a leaf's height":          {leaf: func(i uint64, l *headlog.Leaf) bool { l.Height += uint64(len(choose(i == 3, "x", ""))); return true }},
		"a leaf that is gone":      {leaf: func(i uint64, _ *headlog.Leaf) bool { return i != 599 }},
		"a hash of a tile":         {hash: func(level int, i uint64, h *lightchain.Hash) { h[0] ^= choose[byte](level == 1 && i == 1, 1, 0) }},
		"a checkpoint's size":      {kept: func(k *headlog.Kept) { k.Note = bytes.Replace(k.Note, []byte("\n300\n"), []byte("\n301\n"), 1) }},
		"a checkpoint's signature": {kept: func(k *headlog.Kept) { k.Note = k.Note[:bytes.LastIndex(k.Note, []byte("—"))] }},
	} {
		lie.Store = s.Store
		v := l.View
		v.Store = lie
		if c, err := v.Check(t.Context()); !errors.Is(err, headlog.ErrInvalid) {
			t.Errorf("%s was changed: %+v, %v", what, c, err)
		}
	}
}

func choose[T any](b bool, yes, no T) T {
	if b {
		return yes
	}
	return no
}

// lying is a store some of whose answers are not what was put into it.
type lying struct {
	headlog.Store
	leaf func(index uint64, l *headlog.Leaf) (there bool)
	hash func(level int, index uint64, h *lightchain.Hash)
	kept func(*headlog.Kept)
}

func (s *lying) LogLeaves(ctx context.Context, origin string, first uint64, limit int) ([]headlog.Leaf, error) {
	all, err := s.Store.LogLeaves(ctx, origin, first, limit)
	for i := range all {
		if s.leaf != nil && !s.leaf(first+uint64(i), &all[i]) {
			return all[:i], err
		}
	}
	return all, err
}

func (s *lying) LogHashes(ctx context.Context, origin string, level int, first uint64, limit int) ([]lightchain.Hash, error) {
	all, err := s.Store.LogHashes(ctx, origin, level, first, limit)
	for i := range all {
		if s.hash != nil {
			s.hash(level, first+uint64(i), &all[i])
		}
	}
	return all, err
}

func (s *lying) LogCheckpoints(ctx context.Context, origin string, from uint64, limit int) ([]headlog.Kept, error) {
	all, err := s.Store.LogCheckpoints(ctx, origin, from, limit)
	for i := range all {
		if s.kept != nil {
			s.kept(&all[i])
		}
	}
	return all, err
}

// Who keeps a log has each head wait for it that is countersigned, the newest of each chain; who keeps none has none wait.
func TestCountersignedHeadsWaitForTheLog(t *testing.T) {
	for _, keeps := range []bool{true, false} {
		s := openPebble(t)
		l := registry.NewLedger(s, time.Now, nil)
		if keeps {
			l.LogHeads()
		}
		c := newChain(t, "waits")
		approved(t, s, c.id())
		for round := range uint64(2) {
			from := uint64(len(c.headers))
			c.sealMany(3)
			page := &headersync.Pulled{Head: from + 2, Run: c.run(from, from+2)}
			if round == 0 {
				page.Genesis = c.headers[0]
			}
			if v, err := take(l, c.id(), page, true); err != nil || v != collector.Extended {
				t.Fatalf("%v, %v", v, err)
			}
			if waiting, err := s.LogWaiting(t.Context(), 10); err != nil || keeps && len(waiting) > 0 && waiting[0].Height == from+2 {
				t.Errorf("a head waits that is not countersigned: %+v, %v", waiting, err)
			}
			if err := countersign(l, c.id(), chainTime+round); err != nil {
				t.Fatal(err)
			}
		}
		waiting, err := s.LogWaiting(t.Context(), 10)
		if err != nil || (len(waiting) == 1) != keeps {
			t.Fatalf("where a log is kept %t: %+v, %v", keeps, waiting, err)
		}
		if keeps && (waiting[0].Height != 6 || waiting[0].Hash() != c.head().Hash() || !bytes.Equal(waiting[0].Header, c.head().Bytes())) {
			t.Errorf("header %d waits, with the hash %s; want 6 and %s", waiting[0].Height, waiting[0].Hash(), c.head().Hash())
		}
	}
}

// A store that holds less than was published, or other leaves, is not appended to, and nothing of it is shown; the newer one goes on.
func TestALogThatWasSetBackIsNotAppendedTo(t *testing.T) {
	dir := t.TempDir()
	newer, older, other, empty := openPebble(t), openPebble(t), openPebble(t), openPebble(t)
	grow := func(s registry.Store, dir, name string, leaves int) {
		l, _ := newLog(t, s, dir)
		for i := range leaves {
			wait(t, s, headAt(t, name, uint64(i)+1))
			mustTurn(t, l)
		}
	}
	grow(newer, dir, "gateway", 5)
	grow(older, t.TempDir(), "gateway", 3)
	grow(other, t.TempDir(), "another", 7)
	for what, c := range map[string]struct {
		store registry.Store
		says  string
	}{
		"fewer leaves": {older, "a checkpoint of 5 leaves was published, and the store holds 3."},
		"other leaves": {other, "a checkpoint of 5 leaves was published, and the store holds others in their place."},
		"no log":       {empty, "a checkpoint of 5 leaves was published, and the store holds 0."},
	} {
		before, err := c.store.LogHead(t.Context(), testOrigin)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, c.store, headAt(t, "one more", 1))
		l, log := newLog(t, c.store, dir)
		for range 2 {
			err := l.Turn(t.Context(), true)
			if now := l.Standing(); err == nil || !strings.Contains(err.Error(), c.says) || !now.SetBack() || now.Head != nil || now.Backlog != 1 || now.Since.IsZero() {
				t.Errorf("%s: %+v, %v", what, now, err)
			}
		}
		if after, err := c.store.LogHead(t.Context(), testOrigin); err != nil || (after == nil) != (before == nil) || after != nil && after.Size != before.Size {
			t.Errorf("%s: it was appended to: %+v, %v", what, after, err)
		}
		if n := strings.Count(log.String(), "failed to append to the log of heads"); n != 1 {
			t.Errorf("%s: it is told %d times\n%s", what, n, log)
		}
		server := httptest.NewServer(l.Handler(true))
		answer, err := http.Get(server.URL + "/checkpoint")
		if err != nil || answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: /checkpoint answers %v, %v", what, answer, err)
		}
		server.Close()
	}
	wait(t, newer, headAt(t, "one more", 1))
	l, _ := newLog(t, newer, dir)
	if at := mustTurn(t, l); at.Size != 6 {
		t.Errorf("the newer one has %d leaves, want 6", at.Size)
	}
}

// A store that is set back while the program runs is met as well: nothing is shown any more.
func TestALogThatIsSetBackUnderARunningAggregatorStops(t *testing.T) {
	newer, older := openPebble(t), openPebble(t)
	behind := &exchanged{Store: newer}
	l, _ := newLog(t, behind, t.TempDir())
	for i := range 4 {
		wait(t, newer, headAt(t, "gateway", uint64(i)+1))
		mustTurn(t, l)
	}
	behind.Store = older
	if err := l.Turn(t.Context(), true); !errors.As(err, new(*headlog.SetBackError)) {
		t.Errorf("it goes on: %v", err)
	}
	if _, err := l.Newest(t.Context()); !errors.Is(err, headlog.ErrEmpty) {
		t.Errorf("it is shown: %v", err)
	}
	behind.Store = newer
	if at := mustTurn(t, l); at.Size != 4 {
		t.Errorf("with the newer store back it has %d leaves", at.Size)
	}
}

type exchanged struct{ headlog.Store }

// A restored log whose newest checkpoint nobody knows is shown as it is, and waits for somebody's word.
func TestAHeldLogIsNotAppendedTo(t *testing.T) {
	s, dir := openPebble(t), t.TempDir()
	l, _ := newLog(t, s, dir)
	wait(t, s, headAt(t, "gateway", 1))
	mustTurn(t, l)
	hold := filepath.Join(dir, "hold")
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wait(t, s, headAt(t, "gateway", 2))
	if err := l.Turn(t.Context(), true); err == nil || !strings.Contains(err.Error(), "remove "+hold) {
		t.Errorf("it goes on: %v", err)
	}
	if now := l.Standing(); now.Head.Size != 1 || now.Backlog != 1 || now.SetBack() {
		t.Errorf("%+v", now)
	}
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	if at := mustTurn(t, l); at.Size != 2 {
		t.Errorf("released it has %d leaves", at.Size)
	}
}

// A log is its key's: another one signs nothing in its place. A mark that is damaged is no reason to forget what was published.
func TestALogIsNotAppendedToUnderAnotherKeyOrADamagedMark(t *testing.T) {
	s, dir := openPebble(t), t.TempDir()
	l, _ := newLog(t, s, dir)
	mustTurn(t, l)
	wait(t, s, headAt(t, "gateway", 1))
	stranger, err := headlog.NewKey(testOrigin, testSigner("another"))
	if err != nil {
		t.Fatal(err)
	}
	config := l.Config
	config.Key, config.Mark = stranger, filepath.Join(t.TempDir(), "mark")
	if err := headlog.New(config).Turn(t.Context(), true); !errors.Is(err, headlog.ErrKey) || !strings.Contains(err.Error(), "transparency.key_file") {
		t.Errorf("under another key: %v", err)
	}
	mark := filepath.Join(dir, "mark")
	whole, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	for what, damaged := range map[string][]byte{"cut short": whole[:len(whole)/2], "empty": nil, "zeros": make([]byte, 200)} {
		if err := os.WriteFile(mark, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		l, _ := newLog(t, s, dir)
		if err := l.Turn(t.Context(), true); err == nil || !strings.Contains(err.Error(), mark) {
			t.Errorf("with a mark that is %s: %v", what, err)
		}
	}
	if err := os.WriteFile(mark, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	l, _ = newLog(t, s, dir)
	if at := mustTurn(t, l); at.Size != 1 {
		t.Errorf("it has %d leaves", at.Size)
	}
}

// A third level of tiles begins at 65,536 leaves; Go's own tree has the same root there and behind.
func TestALogOfThreeLevelsOfTiles(t *testing.T) {
	s := openPebble(t)
	l, _ := newLog(t, s, t.TempDir())
	mustTurn(t, l)
	var leaves []lightchain.Hash
	var tree lightchain.CompactRange
	header := headAt(t, "gateway", 1)
	head := l.Standing().Head
	for size := range 65536 - 100 { // in one transaction, as no turn makes them
		leaf := header
		leaf.Chain[0], leaf.Chain[1] = byte(size), byte(size>>8)
		leaves = append(leaves, leaf.Hash())
	}
	b := &headlog.Batch{}
	for i, h := range leaves {
		leaf := header
		leaf.Chain[0], leaf.Chain[1] = byte(i), byte(i>>8)
		b.Leaves = append(b.Leaves, leaf)
		tree.Append(h, func(level int, index uint64, h lightchain.Hash) {
			if level > 0 && level%8 == 0 {
				b.Nodes = append(b.Nodes, headlog.Node{Level: level / 8, Index: index, Hash: h})
			}
		})
	}
	c := headlog.Checkpoint{Origin: testOrigin, Size: tree.Size(), Root: tree.Root()}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, logKey(t, testOrigin))
	if err != nil {
		t.Fatal(err)
	}
	b.Head = headlog.Head{Size: tree.Size(), Edge: tree.Edge(), Checkpoint: signed}
	if err := s.LogAppend(t.Context(), testOrigin, head, b); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(l.Handler(false))
	defer server.Close()
	var earlier tlog.Tree
	for height, more := range []int{0, 99, 1, 1, 300} {
		for i := range more {
			wait(t, s, headAt(t, fmt.Sprint("one more ", i), uint64(height)))
		}
		order, err := s.LogWaiting(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range order {
			leaves = append(leaves, order[i].Hash())
		}
		mustTurn(t, l)
		f := tlogclient.Read(t, server.URL, l.Key.String())
		f.Check(leaves, earlier)
		earlier = f.Tree
	}
	mustCheck(t, l)
}

// What the newest checkpoint does not cover, what is no tile and what is not to be shown is answered with a sentence.
func TestALogServesWhatItsCheckpointCovers(t *testing.T) {
	s := openPebble(t)
	l, _ := newLog(t, s, t.TempDir())
	for i := range 258 {
		wait(t, s, headAt(t, fmt.Sprint("gateway ", i), 1))
	}
	mustTurn(t, l)
	wait(t, s, headAt(t, "gateway", 2))
	for entries, paths := range map[bool]map[string]int{
		false: {"/tile/0/000": 8192, "/tile/0/001.p/2": 64, "/tile/0/001.p/1": 32, "/tile/0/000.p/7": 224, "/tile/1/000.p/1": 32,
			"/tile/0/001": -404, "/tile/0/001.p/3": -404, "/tile/0/002.p/1": -404, "/tile/1/000": -404, "/tile/1/000.p/2": -404, "/tile/2/000.p/1": -404,
			"/tile/entries/000": -404, "/tile/0/1": -404, "/": -404, "/tile/": -404, "/log/v3": -404},
		true: {"/tile/entries/001.p/3": -404, "/tile/entries/x000/000": -404},
	} {
		server := httptest.NewServer(l.Handler(entries))
		for path, want := range paths {
			answer, err := http.Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			switch {
			case want > 0 && (answer.StatusCode != 200 || len(body) != want):
				t.Errorf("%s: %s, %d bytes, want %d", path, answer.Status, len(body), want)
			case want < 0 && (answer.StatusCode != -want || len(body) < 30 || answer.Header.Get("Cache-Control") != "no-cache"):
				t.Errorf("%s: %s %q, want %d with a sentence", path, answer.Status, body, -want)
			}
		}
		if entries {
			f := tlogclient.Read(t, server.URL, l.Key.String())
			bundle := f.Get("/tile/entries/001.p/2", "application/octet-stream", "public, max-age=31536000, immutable")
			hashes := f.Get("/tile/0/001.p/2", "application/octet-stream", "public, max-age=31536000, immutable")
			for len(bundle) > 2 {
				n := int(bundle[0])<<8 | int(bundle[1])
				if leaf := lightchain.LeafHash(bundle[2 : 2+n]); !bytes.Equal(leaf[:], hashes[:32]) {
					t.Errorf("an entry hashes to %s", leaf)
				}
				bundle, hashes = bundle[2+n:], hashes[32:]
			}
			if len(bundle)+len(hashes) > 0 {
				t.Errorf("%d bytes of entries and %d of hashes are left", len(bundle), len(hashes))
			}
		}
		server.Close()
	}
}

// What is exported is what is served; a folder is taken up where it was left, and refused where it is of another history.
func TestAnExportedLogIsServedByAnyServer(t *testing.T) {
	s, dir := openPebble(t), filepath.Join(t.TempDir(), "public")
	l, _ := newLog(t, s, t.TempDir())
	fetch := func(of *headlog.Log, entries bool) headlog.Fetch {
		server := httptest.NewServer(of.Handler(entries))
		t.Cleanup(server.Close)
		return headlog.From(server.Client(), server.URL)
	}
	files := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer files.Close()
	var kept []byte
	for round, more := range []int{0, 7, 300, 0} {
		for i := range more {
			wait(t, s, headAt(t, fmt.Sprint("gateway ", i), uint64(round)))
		}
		mustTurn(t, l)
		newest, written, err := headlog.Export(t.Context(), fetch(l, round == 3), l.Key, headlog.Folder{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if want := []int{1, 2, 4, 3}[round]; written != want {
			t.Errorf("round %d: %d files are written, want %d", round, written, want)
		}
		again, signed, err := headlog.CheckServed(t.Context(), headlog.From(files.Client(), files.URL), l.Key, kept, true)
		if err != nil || *again != *newest {
			t.Fatalf("round %d: %+v, %v", round, again, err)
		}
		kept = signed
	}
	other, _ := newLog(t, openPebble(t), t.TempDir())
	mustTurn(t, other)
	if _, _, err := headlog.Export(t.Context(), fetch(other, false), l.Key, headlog.Folder{Dir: dir}); !errors.Is(err, headlog.ErrInvalid) {
		t.Errorf("a shorter log goes into the folder: %v", err)
	}
	if _, _, err := headlog.CheckServed(t.Context(), fetch(other, false), l.Key, kept, true); !errors.Is(err, headlog.ErrInvalid) {
		t.Errorf("a shorter log verifies: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, "tile/0/000"), 8160); err != nil {
		t.Fatal(err)
	}
	if _, _, err := headlog.CheckServed(t.Context(), headlog.From(files.Client(), files.URL), l.Key, kept, true); !errors.Is(err, headlog.ErrInvalid) {
		t.Errorf("with a tile cut short: %v", err)
	}
}
