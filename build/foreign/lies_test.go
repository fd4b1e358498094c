package foreign

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"testing"

	"edgechain.example/lightchain"
)

// leafMap is a tree over all headers of a chain of any height: a few of them by height, the others are all alike.
type leafMap map[uint64]lightchain.Hash

// alike are the roots of whole subtrees of the others, by level.
var alike = func() (all [63]lightchain.Hash) {
	all[0] = lightchain.LeafHash([]byte("no header"))
	for i := 1; i < len(all); i++ {
		all[i] = lightchain.NodeHash(all[i-1], all[i-1])
	}
	return all
}()

// half is where RFC 9162 splits n leaves.
func half(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

func (m leafMap) root(first, n uint64) lightchain.Hash {
	in := maps.Clone(m)
	maps.DeleteFunc(in, func(height uint64, _ lightchain.Hash) bool { return height < first || height-first >= n })
	switch {
	case n&(n-1) == 0 && len(in) == 0:
		return alike[bits.TrailingZeros64(n)]
	case n == 1:
		return in[first]
	}
	k := half(n)
	return lightchain.NodeHash(in.root(first, k), in.root(first+k, n-k))
}

func (m leafMap) path(size, index uint64) lightchain.Path {
	p := lightchain.Path{Size: size, Index: index}
	parts(size, index, func(first, count uint64) { p.Hashes = append(p.Hashes, m.root(first, count)) })
	slices.Reverse(p.Hashes)
	return p
}

// parts calls visit for each part of the tree of which a path has the hash, from the root down.
func parts(size, index uint64, visit func(first, count uint64)) {
	for first := uint64(0); size > 1; {
		k := half(size)
		if index >= first+k {
			visit(first, k)
			first, size = first+k, size-k
		} else {
			visit(first+k, size-k)
			size = k
		}
	}
}

// edge returns the edge of a height, and calls visit for each part of the tree of which it has the hash.
func (m leafMap) edge(height uint64, visit func(first, count uint64, h lightchain.Hash)) (all []lightchain.Hash) {
	for at := uint64(0); at < height; {
		size := uint64(1) << (bits.Len64(height-at) - 1)
		h := m.root(at, size)
		visit(at, size, h)
		all, at = append(all, h), at+size
	}
	return all
}

// span are leaves that follow each other.
type span struct{ first, count uint64 }

// sight is what a file shows of the tree, followed to its end in the plainest way.
type sight struct {
	hash map[span]lightchain.Hash
	torn bool
}

func (s *sight) add(first, count uint64, h lightchain.Hash) (isNew bool) {
	before, known := s.hash[span{first, count}]
	s.torn = s.torn || known && before != h
	s.hash[span{first, count}] = h
	return !known
}

func (s *sight) header(h *lightchain.SignedHeader) {
	height := h.Header.Height
	s.add(height, 1, h.Hash())
	if height > 0 {
		s.add(height-1, 1, h.Header.Previous)
		s.add(0, height, h.Header.History)
	}
}

func (s *sight) path(p lightchain.Path) {
	i := len(p.Hashes)
	parts(p.Size, p.Index, func(first, count uint64) {
		i--
		s.add(first, count, p.Hashes[i])
	})
}

// follow joins what stands side by side until nothing new comes of it, and reports whether two hashes of the same leaves differ.
func (s *sight) follow() bool {
	for again := true; again && !s.torn; {
		again = false
		counts := map[uint64][]uint64{}
		for l := range s.hash {
			counts[l.first] = append(counts[l.first], l.count)
		}
		for first, left := range counts {
			for _, k := range left {
				for _, n := range counts[first+k] {
					if k&(k-1) == 0 && first%k == 0 && n <= k {
						again = s.add(first, k+n, lightchain.NodeHash(s.hash[span{first, k}], s.hash[span{first + k, n}])) || again
					}
				}
			}
		}
	}
	return s.torn
}

// A liar holds a gateway's keys and signs whatever it likes, in a chain of which a few headers exist.
type liar struct {
	*maker
	from, last uint64 // the blocks of the file
	odds       int    // a header in so many lies; 0: none
	lies       int
}

func (l *liar) lies1in(n int) bool {
	if l.odds == 0 || l.rng.IntN(n*l.odds) > 0 {
		return false
	}
	l.lies++
	return true
}

// height returns one where trees of many sizes have their edges, or near the blocks.
func (l *liar) height() uint64 {
	rng := l.rng
	switch power := uint64(1) << rng.IntN(63); rng.IntN(6) {
	case 0:
		return rng.Uint64N(40)
	case 1:
		return power + rng.Uint64N(4)
	case 2:
		return l.from - min(l.from, rng.Uint64N(6))
	case 3:
		return min(l.last+rng.Uint64N(8), math.MaxInt64)
	case 4:
		return l.from &^ (power - 1)
	default:
		return min(rng.Uint64()>>(1+rng.IntN(62)), math.MaxInt64-rng.Uint64N(40))
	}
}

// file makes a proof or a bundle, and says whether it shows that it is of no history.
func (l *liar) file(t *testing.T, bundle bool) (q question, torn bool) {
	t.Helper()
	rng := l.rng
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l.from = min(max(1, l.height()), math.MaxInt64-40)
	l.last = l.from
	if bundle {
		if rng.IntN(3) == 0 {
			l.from = rng.Uint64N(3)
		}
		l.last = l.from + 1 + rng.Uint64N(20)
	}
	inFile, later, sets := map[uint64]bool{0: true}, map[uint64]bool{}, map[uint64]bool{0: true}
	for range rng.IntN(6) {
		if h := l.height(); h > l.last {
			later[h], inFile[h] = true, true
		}
	}
	for h := l.from; h <= l.last; h++ {
		inFile[h] = true
	}
	highest := slices.Max(slices.Collect(maps.Keys(inFile)))
	for range rng.IntN(5) {
		if h := l.height(); h < highest {
			inFile[h], sets[h] = true, true
		}
	}
	heights := slices.Sorted(maps.Keys(inFile))

	all, run, headers, entries := leafMap{}, leafMap{}, map[uint64]*lightchain.SignedHeader{}, map[uint64][][]byte{}
	shown := &sight{hash: map[span]lightchain.Hash{}}
	var keys []*lightchain.SignedHeader
	var above []lightchain.LaterHeader
	var chain lightchain.ChainID
	spare := []string{"gateway 0", "gateway 1", "gateway 2", "mallory", "a", "b"}
	signer, next := l.signers[spare[0]], uint64(0)
	for i, height := range heights {
		var h *lightchain.Header
		var path lightchain.Path
		below := all
		if height > l.from && (height <= l.last || rng.IntN(2) == 0) {
			below = run
		}
		if height == 0 {
			h = lightchain.NewGenesis(lightchain.Genesis{Nonce: [16]byte{1}}, signer.Public(), 5, lightchain.Clock{Boot: 1})
		} else {
			if heights[i-1] != height-1 {
				next += rng.Uint64N(1000)
			}
			if l.lies1in(1) { // of a history with another header in it
				odd := heights[rng.IntN(i)]
				if rng.IntN(2) == 0 {
					odd = min(l.height(), height-1)
				}
				if odd != l.last {
					other := all.root(odd, 1)
					other[0] ^= 1
					below = maps.Clone(below)
					below[odd] = other
				}
			}
			h = &lightchain.Header{Chain: chain, Height: height, Previous: all.root(height-1, 1), History: below.root(0, height),
				Root: lightchain.EmptyRoot(), First: next, Sealed: 7, Clock: lightchain.Clock{Boot: 1}}
			if later[height] {
				path = below.path(height, l.last)
			}
			if l.lies1in(2) {
				h.Previous[3] ^= 1
			}
			if !later[height] && l.lies1in(3) {
				h.History[3] ^= 1
			}
			if height >= l.from && height <= l.last {
				tree := leafMap{}
				for j := range 1 + rng.Uint64N(3) {
					e := lightchain.Entry{Source: "agent:x", Payload: fmt.Append(nil, height, j), Flags: lightchain.NotUnderstood}
					b, err := e.Append(nil)
					check(err)
					entries[height], tree[j] = append(entries[height], b), lightchain.LeafHash(b)
				}
				h.Count = uint64(len(tree))
				h.Root = tree.root(0, h.Count)
			}
			next = h.First + h.Count
		}
		by := signer
		if height > 0 && sets[height] && len(spare) > 1 {
			spare = spare[1:]
			signer = l.signers[spare[0]]
			key := signer.Public()
			h.NextKey = &key
		}
		s, err := h.Sign(by)
		check(err)
		if height == 0 {
			chain = s.ChainID()
		}
		headers[height], all[height] = s, s.Hash()
		if height == l.from { // the blocks above it stay with what it says
			run = maps.Clone(below)
		}
		run[height] = s.Hash()
		if h.NextKey != nil {
			keys = append(keys, s)
		}
		if later[height] {
			with := *s
			r, err := s.Countersign(l.signers["north"], "north", 1000)
			check(err)
			with.Receipts = []lightchain.Receipt{r}
			above = append(above, lightchain.LaterHeader{Header: &with, Path: path})
			shown.path(path)
		}
		if h.NextKey != nil || later[height] || height >= l.from && height <= l.last {
			shown.header(s)
		}
	}
	q = question{Trust: []byte("chain " + chain.String() + "\n"), about: fmt.Sprintf("blocks %d to %d of %d with %d lies", l.from, l.last, heights, l.lies)}
	if !bundle {
		i, tree := rng.Uint64N(uint64(len(entries[l.from]))), leafMap{}
		for j, e := range entries[l.from] {
			tree[uint64(j)] = lightchain.LeafHash(e)
		}
		p := lightchain.Proof{Entry: entries[l.from][i], EntryPath: tree.path(uint64(len(tree)), i), Header: headers[l.from], Keys: keys, Later: above}
		b, err := p.Append(nil)
		check(err)
		q.File = b
		return q, shown.follow()
	}
	edge := run.edge(l.from, func(first, count uint64, h lightchain.Hash) { shown.add(first, count, h) })
	b, err := lightchain.AppendBundleStart(nil, keys, edge)
	check(err)
	for height := l.from; height <= l.last; height++ {
		b = lightchain.AppendBundleBlock(b, headers[height].Bytes())
		for _, e := range entries[height] {
			b = lightchain.AppendBundleEntry(b, e)
		}
	}
	b, err = lightchain.AppendBundleEnd(b, headers[l.last], above)
	check(err)
	q.File = b
	return q, shown.follow()
}

// Who holds the key signs any header: what a file shows of the tree is judged by both verifiers as by a third reckoning, which
// knows nothing of theirs, at heights up to the last one. No honest file is refused.
func TestBothVerifiersFindWhatIsNotOfOneTree(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 100
	}
	l, refused := &liar{maker: newMaker(t, 3)}, 0
	asked, by := compare(t, func(yield func(question) bool) {
		for i := range n {
			if l.odds, l.lies = 0, 0; i%4 > 0 {
				l.odds = 1 + l.rng.IntN(30)
			}
			q, torn := l.file(t, i%2 == 0)
			want := ""
			if torn {
				want, refused = string(lightchain.CheckBlock), refused+1
			}
			if torn && l.lies == 0 {
				t.Errorf("an honest file is called torn: %s", q.about)
			}
			if got := ask(q).Fail; got != want {
				t.Errorf("%s fails at %q, not %q: file %s", q.about, got, want, base64.StdEncoding.EncodeToString(q.File))
			}
			if !yield(q) {
				return
			}
		}
	})
	t.Logf("%d files, by the check that failed: %v", asked, by)
	if refused < n/10 || refused > n/2 {
		t.Errorf("%d of %d files are of no one tree: they say too little", refused, n)
	}
}
