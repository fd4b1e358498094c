package lightchain

import (
	"bytes"
	"slices"
	"testing"
)

func (c *testChain) proofAt(height uint64, later ...*SignedHeader) *Proof {
	return c.prove(height, 0, later...)
}

func TestEvidenceSaysWhoCountersignedWhichSide(t *testing.T) {
	a, b := forked(t)
	f := forkOf(t, a, b, 25)
	for i := range f.Sides {
		if f.Sides[i].Leaf == a.leaves[25] {
			f.Sides[i].Head = a.receipted(25, map[string]uint64{"north": testTime, "south": testTime})
		} else {
			f.Sides[i].Head = b.receipted(30, map[string]uint64{"north": testTime + 9, "stranger": 1})
		}
	}
	encoded, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	trust := a.trust(1, "north", "south")
	r, err := VerifyFork(encoded, trust)
	if err != nil {
		t.Fatal(err)
	}
	if r.Height != 25 || r.Chain != a.tip.Chain || r.Name != "press-hall-3" || !slices.Equal(r.Both, []string{"north"}) {
		t.Errorf("fork at %d of %s (%s), both sides by %v", r.Height, r.Chain, r.Name, r.Both)
	}
	for _, s := range r.Sides {
		want := 2
		if s.Hash == b.leaves[25] {
			want = 1
		}
		if len(s.ReceiptedBy) != want || s.Head.Height < 25 {
			t.Errorf("the side with %s is countersigned by %v", s.Hash, s.ReceiptedBy)
		}
	}
}

// SPEC: what is free to change are receipts that are ignored
func TestNoByteOfEvidenceIsFreeToChange(t *testing.T) {
	a, b := forked(t)
	f := forkOf(t, a, b, 25)
	for i := range f.Sides {
		if f.Sides[i].Leaf == a.leaves[25] {
			f.Sides[i].Head = a.receipted(25, map[string]uint64{"north": testTime})
		}
	}
	encoded, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	trust := a.trust(1, "north")
	step := 1
	if testing.Short() {
		step = 61 // emulated, each try takes milliseconds
	}
	for i := 0; i < len(encoded); i += step {
		encoded[i] ^= 0x10
		r, err := VerifyFork(encoded, trust)
		// A renamed receipt is a stranger's, and accuses nobody.
		if err == nil && len(r.Sides[0].ReceiptedBy)+len(r.Sides[1].ReceiptedBy) > 0 {
			t.Errorf("byte %d is free to change", i)
		}
		encoded[i] ^= 0x10
	}
}

func TestTwoProofsOfTwoHistoriesAccuse(t *testing.T) {
	a, b := forked(t)
	both := a.trust(1, "north", "south")
	pa := a.proofAt(22, a.receipted(25, map[string]uint64{"north": testTime}), a.receipted(28, map[string]uint64{"south": testTime}))
	pb := b.proofAt(23, b.receipted(25, map[string]uint64{"south": testTime}), b.receipted(28, map[string]uint64{"south": testTime}))
	for _, p := range []*Proof{pa, pb} {
		if _, err := p.Verify(both); err != nil {
			t.Fatal(err)
		}
	}
	f := Contradiction(pa.Sides(), pb.Sides(), both)
	if f == nil {
		t.Fatal("two histories, and nobody is accused")
	}
	encoded, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := VerifyFork(encoded, both)
	if err != nil || r.Height != 28 || !slices.Equal(r.Both, []string{"south"}) {
		t.Errorf("the evidence is at %d against %v, want 28 against south: %v", r.Height, r.Both, err)
	}
	// Whoever trusts nobody sees the gateway's part in it, where it is lowest.
	if f = Contradiction(pa.Sides(), pb.Sides(), a.trust(0)); f == nil || f.Height() != 25 || f.Check(a.tip.Chain) != nil {
		t.Errorf("without trusted aggregators there is %v", f)
	}
	// The block of one history stands where the other's receipted head has another one.
	pb = b.proofAt(25, b.receipted(30, map[string]uint64{"south": testTime}))
	if f = Contradiction(pa.Sides(), pb.Sides(), both); f == nil || f.Height() != 25 {
		t.Errorf("a block under a path is not compared: %v", f)
	}
}

func TestProofsOfOneHistoryDoNotContradictEachOther(t *testing.T) {
	c := vectorChain(t)
	trust := c.trust(1, "north")
	other := newTestChain(t)
	g := NewGenesis(Genesis{}, other.signer.Public(), 0, Clock{})
	s, err := g.Sign(other.signer)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]Side
	for height, block := range c.blocks {
		if len(block) > 0 && height < 8 {
			all = append(all, c.proofAt(uint64(height), c.receipted(8, map[string]uint64{"north": testTime})).Sides())
		}
	}
	for _, a := range all {
		for _, b := range all {
			if f := Contradiction(a, b, trust); f != nil {
				t.Errorf("accused at height %d", f.Height())
			}
		}
		if f := Contradiction(a, []Side{{Keys: []*SignedHeader{s}, Head: s, Leaf: s.Hash()}}, trust); f != nil {
			t.Error("accused because of another chain")
		}
	}
}

func TestAnAggregatorWhoseTimesFallContradictsItself(t *testing.T) {
	at := func(name string, height, time uint64) ReceiptedBy { return ReceiptedBy{name, height, time} }
	for _, c := range []struct {
		about    string
		receipts []ReceiptedBy
		want     []Reversal
	}{
		{"nothing", nil, nil},
		{"times that rise or stay", []ReceiptedBy{at("a", 9, 30), at("a", 3, 10), at("a", 5, 10), at("b", 1, 99)}, nil},
		{"one header twice", []ReceiptedBy{at("a", 3, 10), at("a", 3, 5)}, nil},
		{"a fall", []ReceiptedBy{at("a", 9, 9), at("a", 3, 10)}, []Reversal{{at("a", 3, 10), at("a", 9, 9)}}},
		{"a fall over others", []ReceiptedBy{at("a", 1, 5), at("a", 2, 50), at("a", 3, 50), at("a", 9, 9), at("b", 4, 1)}, []Reversal{{at("a", 2, 50), at("a", 9, 9)}}},
		{"two", []ReceiptedBy{at("b", 1, 5), at("b", 2, 4), at("a", 1, 5), at("a", 2, 4)}, []Reversal{{at("a", 1, 5), at("a", 2, 4)}, {at("b", 1, 5), at("b", 2, 4)}}},
	} {
		if got := Reversals(c.receipts); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.about, got, c.want)
		}
	}
}

// One of three lies; two must agree.
func TestAQuorumBearsALiarAndNamesIt(t *testing.T) {
	build := func(before, after map[string]uint64) (*Proof, *testChain) {
		c := newTestChain(t)
		c.seal(1, nil)
		hash, headers := c.beacon(1, before)
		c.seal(1, func(h *Header) { h.Beacon = hash })
		p := c.prove(2, 0)
		p.Header = c.receipted(2, after)
		p.Beacon = headers
		return p, c
	}
	honest := map[string]uint64{"a": testTime, "b": testTime + 1, "c": testTime + 2}
	for about, lie := range map[string]struct{ before, after uint64 }{
		"the far future before": {testTime * 3, testTime + 60}, "the far past after": {testTime, 5}, "the far future after": {testTime, testTime * 3}, "the far past before": {5, testTime + 60},
	} {
		before, after := map[string]uint64{}, map[string]uint64{}
		for name, at := range honest {
			before[name], after[name] = at, at+60
		}
		before["c"], after["c"] = lie.before, lie.after
		p, c := build(before, after)
		r, err := p.Verify(c.trust(2, "a", "b", "c"))
		if err != nil {
			t.Errorf("%s: %v", about, err)
			continue
		}
		if *r.NotBefore > testTime+1 || *r.NotAfter < testTime+61 || *r.NotBefore < testTime || *r.NotAfter > testTime+62 {
			t.Errorf("%s: the bracket is %d to %d", about, *r.NotBefore, *r.NotAfter)
		}
		if len(r.NotBeforeBy) != 2 || len(r.NotAfterBy) != 2 {
			t.Errorf("%s: the bounds rest on %v and %v", about, r.NotBeforeBy, r.NotAfterBy)
		}
		if reversed := lie.after < lie.before; reversed != (len(r.Reversals) == 1) || reversed && r.Reversals[0].Lower.Name != "c" {
			t.Errorf("%s: reversals %v", about, r.Reversals)
		}
		// Where one is enough, a liar can make a proof fail, and never makes it say what is false unnoticed by name.
		_, err = p.Verify(c.trust(1, "a", "b", "c"))
		if contradicts := lie.before > testTime+62 || lie.after < testTime; contradicts != (err != nil) || contradicts && !bytes.Contains([]byte(err.Error()), []byte("on the word of c")) && !bytes.Contains([]byte(err.Error()), []byte("on that of c")) {
			t.Errorf("%s: with a quorum of 1: %v", about, err)
		}
	}
}
