package aggregator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/lightchain"
)

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
