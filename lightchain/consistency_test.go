package lightchain

import "testing"

// consistencyOf proves that the head at to continues the chain from the tip at from.
func consistencyOf(t testing.TB, c *testChain, from, to uint64) *Consistency {
	t.Helper()
	nodes := LeafNodes(c.leaves)
	roots, err := ProveGrowth(nodes, from+1, to)
	if err != nil {
		t.Fatal(err)
	}
	p := &Consistency{From: from + 1, Nodes: roots, Head: c.headers[to]}
	for _, s := range c.headers[from+1 : to] {
		if s.Header.NextKey == nil {
			continue
		}
		path, err := ProveInclusion(nodes, to, s.Header.Height)
		if err != nil {
			t.Fatal(err)
		}
		p.Keys = append(p.Keys, KeyHeader{s, path})
	}
	return p
}

func TestALeapLeadsToTheTipThatTheHeadersLeadTo(t *testing.T) {
	c := variedChain(t, 70)
	stepFrom, stepTo := uint64(3), uint64(1)
	if testing.Short() {
		stepFrom, stepTo = 11, 7 // emulated, each signature takes milliseconds
	}
	for from := uint64(0); from < 70; from += stepFrom {
		for to := from + 1; to <= 70; to += stepTo {
			b, err := consistencyOf(t, c, from, to).Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			p, err := DecodeConsistency(b)
			if err != nil {
				t.Fatal(err)
			}
			tip := tipAt(t, c, from)
			if err := tip.Leap(p); err != nil {
				t.Fatalf("from %d to %d: %v", from, to, err)
			}
			want := tipAt(t, c, to)
			if tip.Height != to || tip.Hash != want.Hash || tip.Key != want.Key || tip.Next != want.Next || tip.History.Root() != want.History.Root() {
				t.Fatalf("from %d to %d leads elsewhere", from, to)
			}
		}
	}
}

func TestALeapThatWasTamperedWithLeadsNowhere(t *testing.T) {
	c := variedChain(t, 60)
	fork := variedChain(t, 10)
	fork.signer = testSigner("gateway 0")
	for range 50 {
		fork.seal(1, nil)
	}
	stranger := newTestChain(t)
	stranger.seal(5, nil)
	for name, tamper := range map[string]func(*Consistency){
		"a hash":                   func(p *Consistency) { p.Nodes[1][0] ^= 1 },
		"a hash less":              func(p *Consistency) { p.Nodes = p.Nodes[:len(p.Nodes)-1] },
		"a hash more":              func(p *Consistency) { p.Nodes = append(p.Nodes, Hash{}) },
		"another beginning":        func(p *Consistency) { p.From++ },
		"a key header left out":    func(p *Consistency) { p.Keys = p.Keys[1:] },
		"key headers exchanged":    func(p *Consistency) { p.Keys[0], p.Keys[1] = p.Keys[1], p.Keys[0] },
		"a key header elsewhere":   func(p *Consistency) { p.Keys[0].Path.Index++ },
		"a key header's path":      func(p *Consistency) { p.Keys[0].Path.Hashes[0][0] ^= 1 },
		"a header without a key":   func(p *Consistency) { p.Keys[0].Header = c.headers[18] },
		"the head's signature":     func(p *Consistency) { s := *p.Head; s.Signature[0] ^= 1; p.Head = &s },
		"the head of a fork":       func(p *Consistency) { p.Head = fork.headers[60] },
		"the head of another":      func(p *Consistency) { p.Head = stranger.headers[1] },
		"a head below":             func(p *Consistency) { p.Head = c.headers[4] },
		"a head beyond":            func(p *Consistency) { p.Head = c.headers[59] },
		"the proof of one earlier": func(p *Consistency) { *p = *consistencyOf(t, c, 4, 60) },
	} {
		p := consistencyOf(t, c, 5, 60)
		tamper(p)
		tip := tipAt(t, c, 5)
		if err := tip.Leap(p); err == nil {
			t.Errorf("%s: the leap is made", name)
		}
		if tip.Height != 5 || tip.History.Size() != 6 || tip.Hash != c.leaves[5] {
			t.Errorf("%s: the tip moved", name)
		}
	}
}

func TestALeapCannotNumberEntriesTwice(t *testing.T) {
	c := newTestChain(t)
	c.seal(5, nil)
	at := c.tip.Clone()
	c.seal(5, nil)
	h := c.tip.Header(emptyRoot, 0, testTime, Clock{})
	h.First = 3
	signed, err := h.Sign(c.signer)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := ProveGrowth(LeafNodes(c.leaves), 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := at.Leap(&Consistency{From: 2, Nodes: roots, Head: signed}); err == nil {
		t.Error("a head whose entries begin below those known is followed")
	}
}

func TestGrowthAndConsistencyAgree(t *testing.T) {
	c := variedChain(t, 40)
	nodes := LeafNodes(c.leaves)
	for from := uint64(0); from <= 40; from++ {
		for to := from; to <= 40; to++ {
			var tree, want CompactRange
			for _, leaf := range c.leaves[:from] {
				tree.Append(leaf, nil)
			}
			for _, leaf := range c.leaves[:to] {
				want.Append(leaf, nil)
			}
			before := tree.Root()
			roots, err := ProveGrowth(nodes, from, to)
			if err != nil {
				t.Fatal(err)
			}
			if err := tree.Grow(to, roots); err != nil || tree.Root() != want.Root() || tree.Size() != to {
				t.Fatalf("%d to %d: %v", from, to, err)
			}
			proof, err := ProveConsistency(nodes, from, to)
			if err != nil {
				t.Fatal(err)
			}
			if err := VerifyConsistency(from, to, before, tree.Root(), proof); err != nil {
				t.Fatalf("%d to %d: %v", from, to, err)
			}
		}
	}
}

func FuzzDecodeConsistency(f *testing.F) {
	c := variedChain(f, 40)
	for _, span := range [][2]uint64{{0, 40}, {0, 1}, {16, 18}, {30, 39}} {
		b, err := consistencyOf(f, c, span[0], span[1]).Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	fuzzCodec(f, "consistency", DecodeConsistency, func(c *Consistency) ([]byte, error) { return c.Append(nil) })
}

// forked returns two chains that are one up to height 20, and both go on to height 30, the second with a change of key.
func forked(t testing.TB) (a, b *testChain) {
	a, b = variedChain(t, 20), variedChain(t, 20)
	a.seal(3, nil)
	b.rotate(2, "another")
	for range 9 {
		a.seal(1, nil)
		b.seal(1, nil)
	}
	return a, b
}

func keyHeaders(c *testChain, from, to uint64) (keys []*SignedHeader) {
	for _, s := range c.headers[from:to] {
		if s.Header.NextKey != nil {
			keys = append(keys, s)
		}
	}
	return keys
}

// forkOf returns the evidence at height: one side with the header itself, the other with its path in a later one.
func forkOf(t testing.TB, a, b *testChain, height uint64) *Fork {
	t.Helper()
	path, err := ProveInclusion(LeafNodes(b.leaves), 30, height)
	if err != nil {
		t.Fatal(err)
	}
	return NewFork(keyHeaders(a, 0, 20),
		Side{Head: a.headers[height], Leaf: a.leaves[height]},
		Side{Keys: keyHeaders(b, 20, 30), Head: b.headers[30], Leaf: b.leaves[height], Path: &path})
}

func TestAForkIsEvidenceForWhoeverKnowsTheChain(t *testing.T) {
	a, b := forked(t)
	chain := a.tip.Chain
	encoded, err := forkOf(t, a, b, 25).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := DecodeFork(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Check(chain); err != nil || f.Height() != 25 {
		t.Errorf("at height %d: %v", f.Height(), err)
	}
	if err := f.Check(ChainID{1}); err == nil {
		t.Error("it accuses another chain")
	}
}

func TestNobodyIsAccusedWhoDidNotFork(t *testing.T) {
	a, b := forked(t)
	chain := a.tip.Chain
	// Another chain of the same gateway went over to a key that somebody stole.
	other := newTestChain(t)
	other.signer, other.tip.Key, other.tip.Chain = a.signer, a.tip.Key, ChainID{1}
	for other.tip.Height < 19 {
		other.seal(0, nil)
	}
	other.rotate(0, "another")
	foreign := other.headers[20]
	mine, err := a.headers[25].Header.Sign(testSigner("another"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tamper := range map[string]func(*Fork){
		"the same header twice": func(f *Fork) { f.Sides[1] = f.Sides[0] },
		"different heights":     func(f *Fork) { *f = *NewFork(f.Keys, Side{Head: a.headers[24], Leaf: a.leaves[24]}, f.Sides[1]) },
		"the other order":       func(f *Fork) { f.Sides[0], f.Sides[1] = f.Sides[1], f.Sides[0] },
		"a forged hash":         func(f *Fork) { f.Sides[0].Leaf[31] ^= 1 },
		"a forged signature": func(f *Fork) {
			s := *f.Sides[0].Head
			s.Signature[0] ^= 1
			f.Sides[0].Head = &s
		},
		"without genesis":        func(f *Fork) { f.Keys = f.Keys[1:] },
		"without a side's key":   func(f *Fork) { f.Sides[0].Keys, f.Sides[1].Keys = nil, nil },
		"the heights that agree": func(f *Fork) { *f = *forkOf(t, a, b, 19) },
		"under a key that another chain set": func(f *Fork) {
			*f = *NewFork(append(f.Keys, foreign), Side{Head: mine, Leaf: mine.Hash()}, Side{Head: b.headers[25], Leaf: b.leaves[25]})
		},
	} {
		f := forkOf(t, a, b, 25)
		tamper(f)
		if err := f.Check(chain); err == nil {
			t.Errorf("%s: accepted as evidence", name)
		}
	}
}

func FuzzDecodeFork(f *testing.F) {
	a, b := forked(f)
	for _, height := range []uint64{21, 25, 29} {
		encoded, err := forkOf(f, a, b, height).Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	fuzzCodec(f, "fork", DecodeFork, func(f *Fork) ([]byte, error) { return f.Append(nil) })
}
