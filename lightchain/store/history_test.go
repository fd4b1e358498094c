package store

import (
	"math/rand/v2"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A long chain of heartbeats, against the tree that is kept whole in memory.
func TestHistoryProofsHoldOverALongChain(t *testing.T) {
	heights := 100000
	if testing.Short() {
		heights = 5000
	}
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	// Sealing syncs, and signs: a run of unsigned headers through the same functions is the same chain, sooner.
	leaves := []lightchain.Hash{s.tip.Hash}
	for len(leaves) < heights {
		batch := s.db.NewBatch()
		tip := s.tip.Clone()
		for range 1000 {
			h := tip.Header(lightchain.EmptyRoot(), 0, int64(len(leaves)), lightchain.Clock{})
			signed, err := lightchain.NewSignedHeader(*h, lightchain.HeaderSignature{})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.putHeader(batch, tip, signed, nil); err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, signed.Hash())
		}
		if err := s.guard.commit(batch); err != nil {
			t.Fatal(err)
		}
		s.tip = tip
		s.showTip(tip.Clone())
	}
	nodes := memoNodes(leaves)
	roots := map[uint64]lightchain.Hash{}
	root := func(size uint64) lightchain.Hash {
		if _, ok := roots[size]; !ok {
			var r lightchain.CompactRange
			for _, h := range leaves[:size] {
				r.Append(h, nil)
			}
			roots[size] = r.Root()
		}
		return roots[size]
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for range 15 {
		size := 2 + rng.Uint64N(uint64(len(leaves))-1)
		for range 20 {
			index := rng.Uint64N(size)
			p, err := s.HistoryPath(index, size)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := p.Root(leaves[index]); err != nil || got != root(size) {
				t.Fatalf("path of %d in %d: %v", index, size, err)
			}
			proof, err := s.Consistency(index, size)
			if err != nil {
				t.Fatal(err)
			}
			want, err := lightchain.ProveConsistency(nodes, index, size)
			if err != nil || len(want) != len(proof) {
				t.Fatalf("consistency of %d and %d: %v", index, size, err)
			}
			for i := range want {
				if want[i] != proof[i] {
					t.Fatalf("consistency of %d and %d differs at %d", index, size, i)
				}
			}
		}
		edge, err := s.Edge(size)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := lightchain.NewCompactRange(size, edge); err != nil || c.Root() != root(size) {
			t.Fatalf("edge of %d: %v", size, err)
		}
	}
	// The same tip comes back from disk.
	tip, _, err := s.findTip()
	if err != nil || tip.Hash != s.tip.Hash || tip.History.Root() != s.tip.History.Root() {
		t.Fatalf("tip: %v", err)
	}
}

func memoNodes(leaves []lightchain.Hash) lightchain.Nodes {
	type id struct {
		level int
		index uint64
	}
	memo := map[id]lightchain.Hash{}
	var node lightchain.Nodes
	node = func(level int, index uint64) (lightchain.Hash, error) {
		if level == 0 {
			return leaves[index], nil
		}
		if h, ok := memo[id{level, index}]; ok {
			return h, nil
		}
		left, err := node(level-1, 2*index)
		if err != nil {
			return left, err
		}
		right, err := node(level-1, 2*index+1)
		h := lightchain.NodeHash(left, right)
		memo[id{level, index}] = h
		return h, err
	}
	return node
}
