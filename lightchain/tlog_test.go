package lightchain

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// The tree is that of RFC 9162, as Go's checksum database keeps it too: both have the same roots and the same proofs, and each
// verifies what the other proves.
func TestTheTreeIsThatOfATransparencyLog(t *testing.T) {
	const most = 130 // beyond two powers of two
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) (hashes []tlog.Hash, _ error) {
		for _, i := range indexes {
			hashes = append(hashes, stored[i])
		}
		return hashes, nil
	})
	var history CompactRange
	theirs := func(hashes []Hash) (proof []tlog.Hash) {
		for _, h := range hashes {
			proof = append(proof, tlog.Hash(h))
		}
		return proof
	}
	same := func(ours []Hash, proof []tlog.Hash) bool { return fmt.Sprint(theirs(ours)) == fmt.Sprint(proof) }
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var leaves, roots []Hash
	for size := range uint64(most) {
		leaf := fmt.Appendf(nil, "leaf %d", size)
		hashes, err := tlog.StoredHashes(int64(size), leaf, read)
		ok(err)
		stored = append(stored, hashes...)
		leaves = append(leaves, LeafHash(leaf))
		history.Append(leaves[size], nil)
		root, err := tlog.TreeHash(int64(size+1), read)
		ok(err)
		if tlog.Hash(history.Root()) != root {
			t.Fatalf("with %d leaves the roots differ", size+1)
		}
		roots = append(roots, history.Root())
	}
	node := LeafNodes(leaves)
	for to := uint64(1); to <= most; to++ {
		for index := range to {
			path, err := ProveInclusion(node, to, index)
			ok(err)
			record, err := tlog.ProveRecord(int64(to), int64(index), read)
			ok(err)
			if !same(path.Hashes, record) {
				t.Fatalf("the paths from leaf %d of %d differ", index, to)
			}
			ok(tlog.CheckRecord(theirs(path.Hashes), int64(to), tlog.Hash(roots[to-1]), int64(index), tlog.Hash(leaves[index])))
			if root, err := path.Root(leaves[index]); err != nil || root != roots[to-1] {
				t.Fatalf("leaf %d of %d: %v", index, to, err)
			}
		}
		for from := uint64(1); from < to; from++ {
			proof, err := ProveConsistency(node, from, to)
			ok(err)
			tree, err := tlog.ProveTree(int64(to), int64(from), read)
			ok(err)
			if !same(proof, tree) {
				t.Fatalf("the proofs that %d leaves are the first of %d differ", from, to)
			}
			ok(tlog.CheckTree(theirs(proof), int64(to), tlog.Hash(roots[to-1]), int64(from), tlog.Hash(roots[from-1])))
			ok(VerifyConsistency(from, to, roots[from-1], roots[to-1], proof))
		}
	}
}
