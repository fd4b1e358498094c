package lightchain

import (
	"testing"
)

// naiveRoot is the definition in RFC 9162, section 2.1.1, word for word.
func naiveRoot(leaves []Hash) Hash {
	switch n := uint64(len(leaves)); n {
	case 0:
		return EmptyRoot()
	case 1:
		return leaves[0]
	default:
		k := uint64(1)
		for k*2 < n {
			k *= 2
		}
		return NodeHash(naiveRoot(leaves[:k]), naiveRoot(leaves[k:]))
	}
}

func testLeaves(n int) []Hash {
	leaves := make([]Hash, n)
	for i := range leaves {
		leaves[i] = LeafHash([]byte{byte(i), byte(i >> 8)})
	}
	return leaves
}

func TestCompactRangeHasTheRootOfTheDefinition(t *testing.T) {
	leaves := testLeaves(130)
	var r CompactRange
	for n := 0; ; n++ {
		if got, want := r.Root(), naiveRoot(leaves[:n]); got != want {
			t.Fatalf("%d leaves: root %s, want %s", n, got, want)
		}
		kept, err := NewCompactRange(r.Size(), r.Edge())
		if err != nil || kept.Root() != r.Root() {
			t.Fatalf("%d leaves: the kept edge gives another root (%v)", n, err)
		}
		if n == len(leaves) {
			return
		}
		r.Append(leaves[n], func(level int, index uint64, h Hash) {
			first := index << level
			if want := naiveRoot(leaves[first : first+1<<level]); h != want {
				t.Errorf("node (%d, %d) is %s, want %s", level, index, h, want)
			}
		})
	}
}

func TestEveryLeafOfEveryTreeIsProvedByOnePathOnly(t *testing.T) {
	leaves := testLeaves(70)
	for size := uint64(1); size <= uint64(len(leaves)); size++ {
		root := naiveRoot(leaves[:size])
		for index := range size {
			p, err := ProveInclusion(LeafNodes(leaves[:size]), size, index)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := p.Root(leaves[index]); err != nil || got != root {
				t.Fatalf("leaf %d of %d: root %s (%v), want %s", index, size, got, err, root)
			}
			longer := Path{size, index, append(append([]Hash(nil), p.Hashes...), Hash{})}
			if _, err := longer.Root(leaves[index]); err == nil {
				t.Fatalf("leaf %d of %d: a path one hash too long is taken", index, size)
			}
			if len(p.Hashes) > 0 {
				shorter := Path{size, index, p.Hashes[1:]}
				if _, err := shorter.Root(leaves[index]); err == nil {
					t.Fatalf("leaf %d of %d: a path one hash too short is taken", index, size)
				}
			}
			other := Path{size, (index + 1) % size, p.Hashes}
			if got, err := other.Root(leaves[index]); size > 1 && err == nil && got == root {
				t.Fatalf("leaf %d of %d is proved at another index too", index, size)
			}
		}
	}
	if p := (Path{Size: 3, Index: 3}); true {
		if _, err := p.Root(leaves[0]); err == nil {
			t.Fatal("an index beyond the size is taken")
		}
	}
}

func TestConsistencyHoldsBetweenAllSizesAndNoOthers(t *testing.T) {
	leaves := testLeaves(40)
	nodes := LeafNodes(leaves)
	for to := uint64(0); to <= uint64(len(leaves)); to++ {
		after := naiveRoot(leaves[:to])
		for from := range to + 1 {
			before := naiveRoot(leaves[:from])
			proof, err := ProveConsistency(nodes, from, to)
			if err != nil {
				t.Fatal(err)
			}
			if err := VerifyConsistency(from, to, before, after, proof); err != nil {
				t.Fatalf("%d to %d: %v", from, to, err)
			}
			if from > 0 && VerifyConsistency(from, to, Hash{1}, after, proof) == nil {
				t.Fatalf("%d to %d: another earlier tree is taken", from, to)
			}
			if from > 0 && VerifyConsistency(from, to, before, Hash{1}, proof) == nil {
				t.Fatalf("%d to %d: another later tree is taken", from, to)
			}
			if VerifyConsistency(from, to, before, after, append(proof, Hash{})) == nil {
				t.Fatalf("%d to %d: a proof one hash too long is taken", from, to)
			}
			if len(proof) > 0 && VerifyConsistency(from, to, before, after, proof[:len(proof)-1]) == nil {
				t.Fatalf("%d to %d: a proof one hash too short is taken", from, to)
			}
		}
	}
	if _, err := ProveConsistency(nodes, 3, 2); err == nil {
		t.Fatal("a tree is proved to grow backwards")
	}
}

func BenchmarkLeafHash(b *testing.B) {
	leaf := make([]byte, 200)
	for b.Loop() {
		LeafHash(leaf)
	}
}
