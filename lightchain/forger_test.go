package lightchain

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// forger holds a gateway's keys, the former ones too, and signs with them whatever it likes.
type forger struct{ *testChain }

// dishonest returns a chain of ten blocks of two entries whose key was changed at height 4, in a forger's hands.
func dishonest(t testing.TB) forger {
	c := newTestChain(t)
	for height := 1; height <= 10; height++ {
		if height == 4 {
			c.rotate(2, "gateway 1")
		} else {
			c.seal(2, nil)
		}
	}
	return forger{c}
}

// sign signs the header at a height once more, after change has had its way with it.
func (f forger) sign(height uint64, by string, change func(*Header)) *SignedHeader {
	f.t.Helper()
	h := f.headers[height].Header
	change(&h)
	signed, err := h.Sign(testSigner(by))
	if err != nil {
		f.t.Fatal(err)
	}
	return signed
}

// signAs signs the header at a height as another key's, and says so where the key's id stands.
func (f forger) signAs(height uint64, by, id string) *SignedHeader {
	f.t.Helper()
	signed, err := NewSignedHeader(f.headers[height].Header, HeaderSignature{KeyID: testSigner(id).Public().KeyID()})
	if err != nil {
		f.t.Fatal(err)
	}
	if signed.Signature, err = testSigner(by).Sign(signed.signatureInput()); err != nil {
		f.t.Fatal(err)
	}
	return signed
}

// receipt has an aggregator countersign any header, as one that was deceived or lies does.
func (f forger) receipt(h *SignedHeader, name string, at uint64) *SignedHeader {
	f.t.Helper()
	r, err := h.Countersign(testSigner(name), name, at)
	if err != nil {
		f.t.Fatal(err)
	}
	with := *h
	with.Receipts = []Receipt{r}
	return &with
}

// above returns a header at a height whose history is of the forger's making: it contains leaf at index, whatever the
// others are; and the path that shows it.
func (f forger) above(height, index uint64, leaf Hash, by string, change func(*Header)) LaterHeader {
	f.t.Helper()
	leaves := append([]Hash(nil), f.leaves[:height]...)
	leaves[index] = leaf
	path, err := ProveInclusion(LeafNodes(leaves), height, index)
	if err != nil {
		f.t.Fatal(err)
	}
	h := f.sign(height, by, func(h *Header) {
		h.History = naiveRoot(leaves)
		change(h)
	})
	return LaterHeader{h, path}
}

// among is above for the header that stands at index, with another one at the height odd.
func (f forger) among(height, index uint64, by string, odd uint64) LaterHeader {
	other := f
	c := *f.testChain
	c.leaves = append([]Hash(nil), f.leaves...)
	c.leaves[odd][0] ^= 1
	other.testChain = &c
	return other.above(height, index, f.leaves[index], by, unchanged)
}

// prove proves the second entry of a block under a header of the forger's making.
func (f forger) prove(header *SignedHeader, keys ...uint64) *Proof {
	p := f.testChain.prove(header.Header.Height, 1)
	p.Header, p.Keys = header, nil
	for _, height := range keys {
		p.Keys = append(p.Keys, f.headers[height])
	}
	return p
}

func unchanged(*Header) {}

// refuted is a proof that shows against itself that it is of no history, and the check that finds it.
type refuted struct {
	name, about string
	check       Check
	proof       func() *Proof
}

func (f forger) refuted() []refuted {
	t := f.t
	return []refuted{
		{"keys-none-above", "a header of field 5 that sets no key, above one that does", CheckKeys, func() *Proof {
			return f.prove(f.headers[9], 0, 7, 4)
		}},
		{"keys-none-between", "a header of field 5 that sets no key, between two that do", CheckKeys, func() *Proof {
			return f.prove(f.headers[9], 0, 2, 4)
		}},
		{"keys-own-left-out", "the block's own header sets a key, and field 5 leaves it out", CheckKeys, func() *Proof {
			p := f.prove(f.headers[4], 0)
			p.Later = []LaterHeader{f.above(9, 4, f.headers[4].Hash(), "gateway 0", unchanged)}
			p.Later[0].Header = f.receipt(p.Later[0].Header, "north", testTime)
			return p
		}},
		{"keys-kid", "a header of field 5 that names another key than the one that signed it", CheckKeys, func() *Proof {
			p := f.prove(f.headers[9], 0, 4)
			p.Keys[1] = f.signAs(4, "gateway 0", "gateway 1")
			return p
		}},
		{"kid", "the block's header names another key than the one that signed it", CheckSignature, func() *Proof {
			return f.prove(f.signAs(9, "gateway 1", "gateway 0"), 0, 4)
		}},
		{"keys-in-force", "a header of field 5 that sets the key already in force", CheckKeys, func() *Proof {
			same := testSigner("gateway 1").Public()
			p := f.prove(f.headers[9], 0, 4)
			p.Keys = append(p.Keys, f.sign(6, "gateway 1", func(h *Header) { h.NextKey = &same }))
			return p
		}},
		{"keys-come-back", "a header of field 5 that sets the key of genesis once more", CheckKeys, func() *Proof {
			first := testSigner("gateway 0").Public()
			p := f.prove(f.sign(9, "gateway 0", unchanged), 0, 4)
			p.Keys = append(p.Keys, f.sign(6, "gateway 1", func(h *Header) { h.NextKey = &first }))
			return p
		}},
		{"keys-come-back-own", "the block's header, the highest, sets the key of genesis once more", CheckKeys, func() *Proof {
			first := testSigner("gateway 0").Public()
			return f.prove(f.sign(9, "gateway 1", func(h *Header) { h.NextKey = &first }), 0, 4)
		}},
		{"keys-in-force-own", "the block's header, the highest, sets the key already in force", CheckKeys, func() *Proof {
			same := testSigner("gateway 1").Public()
			return f.prove(f.sign(9, "gateway 1", func(h *Header) { h.NextKey = &same }), 0, 4)
		}},
		{"root-of-none", "a later header of no entries with another root", CheckBlock, func() *Proof {
			p := f.prove(f.headers[6], 0, 4)
			p.Later = []LaterHeader{f.above(9, 6, f.headers[6].Hash(), "gateway 1", func(h *Header) { h.Count, h.Root = 0, Hash{1} })}
			p.Later[0].Header = f.receipt(p.Later[0].Header, "north", testTime)
			return p
		}},
		{"root-of-none-key", "a header of field 5 of no entries with another root", CheckBlock, func() *Proof {
			p := f.prove(f.headers[9], 0, 4)
			p.Keys[1] = f.sign(4, "gateway 0", func(h *Header) { h.Count, h.Root = 0, Hash{1} })
			return p
		}},
		{"number", "entry numbers beyond 2^63-1", CheckEntry, func() *Proof {
			p := f.prove(f.headers[9], 0, 4)
			p.EntryPath = Path{Size: 1 << 62, Index: 1<<62 - 1, Hashes: make([]Hash, 62)}
			root, err := p.EntryPath.Root(LeafHash(p.Entry))
			if err != nil {
				t.Fatal(err)
			}
			p.Header = f.sign(9, "gateway 1", func(h *Header) { h.First, h.Count, h.Root = math.MaxInt64, 1<<62, root })
			return p
		}},
		{"first-of-header-1", "header 1 does not begin with entry 0", CheckBlock, func() *Proof {
			return f.prove(f.sign(1, "gateway 0", func(h *Header) { h.First = 7 }), 0)
		}},
		{"link-of-header-1", "header 1 names another header before it", CheckBlock, func() *Proof {
			return f.prove(f.sign(1, "gateway 0", func(h *Header) { h.Previous[0] ^= 1 }), 0)
		}},
		{"history-of-header-1", "header 1 commits to another history", CheckBlock, func() *Proof {
			return f.prove(f.sign(1, "gateway 0", func(h *Header) { h.History[0] ^= 1 }), 0)
		}},
		{"history-of-block", "the path of a later header has the headers below the block another history than the block's own", CheckBlock, func() *Proof {
			p := f.prove(f.sign(6, "gateway 1", func(h *Header) { h.History[0] ^= 1 }), 0, 4)
			return f.with(p, f.above(9, 6, p.Header.Hash(), "gateway 1", unchanged))
		}},
		{"history-other-genesis", "the path of a later header has another genesis", CheckBlock, func() *Proof {
			return f.with(f.prove(f.headers[1], 0, 4), f.among(9, 1, "gateway 1", 0))
		}},
		{"history-other-neighbour", "the path of a later header has another header above the block than the one in sight", CheckBlock, func() *Proof {
			p := f.with(f.prove(f.headers[6], 0, 4), LaterHeader{f.headers[7], f.pathOf(6, 7)})
			return f.with(p, f.among(9, 6, "gateway 1", 7))
		}},
		{"history-other-key", "the path of a later header has another header that sets the key", CheckBlock, func() *Proof {
			return f.with(f.prove(f.headers[5], 0, 4), f.among(9, 5, "gateway 1", 4))
		}},
		{"history-two-paths", "the paths of two later headers differ in the headers below the block", CheckBlock, func() *Proof {
			p := f.with(f.prove(f.headers[6], 0, 4), LaterHeader{f.headers[9], f.pathOf(6, 9)})
			return f.with(p, f.among(10, 6, "gateway 1", 2))
		}},
		{"first-falls-later", "a later header begins before the block ends", CheckBlock, func() *Proof {
			p := f.prove(f.headers[6], 0, 4)
			p.Later = []LaterHeader{f.above(9, 6, f.headers[6].Hash(), "gateway 1", func(h *Header) { h.First = 0 })}
			p.Later[0].Header = f.receipt(p.Later[0].Header, "north", testTime)
			return p
		}},
		{"first-leaps", "the header right above begins later than the block ends", CheckBlock, func() *Proof {
			p := f.prove(f.headers[6], 0, 4)
			p.Later = []LaterHeader{f.above(7, 6, f.headers[6].Hash(), "gateway 1", func(h *Header) { h.First++ })}
			p.Later[0].Header = f.receipt(p.Later[0].Header, "north", testTime)
			return p
		}},
		{"link", "the header right above names another one", CheckBlock, func() *Proof {
			p := f.prove(f.headers[6], 0, 4)
			p.Later = []LaterHeader{f.above(7, 6, f.headers[6].Hash(), "gateway 1", func(h *Header) { h.Previous[5] ^= 1 })}
			p.Later[0].Header = f.receipt(p.Later[0].Header, "north", testTime)
			return p
		}},
		{"first-falls-below-key", "the block begins before a header that sets a key ends", CheckBlock, func() *Proof {
			return f.prove(f.sign(9, "gateway 1", func(h *Header) { h.First = 3 }), 0, 4)
		}},
		{"first-falls-above-beacon", "a beacon's header begins above the block", CheckBlock, func() *Proof {
			old := f.receipt(f.sign(2, "gateway 0", func(h *Header) { h.First = 1000 }), "north", testTime)
			beacon, err := Beacon(old.Receipts)
			if err != nil {
				t.Fatal(err)
			}
			p := f.prove(f.sign(9, "gateway 1", func(h *Header) { h.Beacon = &beacon }), 0, 4)
			p.Beacon = []*SignedHeader{old}
			return p
		}},
		{"beacon-above", "a beacon's receipt on a header above the block", CheckBeacon, func() *Proof {
			newer := f.receipt(f.headers[7], "north", testTime)
			beacon, err := Beacon(newer.Receipts)
			if err != nil {
				t.Fatal(err)
			}
			p := f.prove(f.sign(6, "gateway 1", func(h *Header) { h.Beacon = &beacon }), 0, 4)
			p.Beacon = []*SignedHeader{newer}
			return p
		}},
		{"beacon-other-branch", "a beacon's receipt on a header above the block, of another history", CheckBeacon, func() *Proof {
			other := f.receipt(f.sign(7, "gateway 1", func(h *Header) { h.Sealed++ }), "north", testTime)
			beacon, err := Beacon(other.Receipts)
			if err != nil {
				t.Fatal(err)
			}
			p := f.prove(f.sign(6, "gateway 1", func(h *Header) { h.Beacon = &beacon }), 0, 4)
			p.Beacon = []*SignedHeader{other}
			return p
		}},
		{"beacon-beside", "a beacon's receipt on another header of the block's height", CheckBeacon, func() *Proof {
			twin := f.receipt(f.sign(6, "gateway 1", func(h *Header) { h.Sealed++ }), "north", testTime)
			beacon, err := Beacon(twin.Receipts)
			if err != nil {
				t.Fatal(err)
			}
			p := f.prove(f.sign(6, "gateway 1", func(h *Header) { h.Beacon = &beacon }), 0, 4)
			p.Beacon = []*SignedHeader{twin}
			return p
		}},
	}
}

// What a file shows against itself fails, and the check that it fails is the one that the format names.
func TestAFileThatRefutesItselfIsNotVerified(t *testing.T) {
	f := dishonest(t)
	for _, c := range f.refuted() {
		encoded, err := c.proof().Append(nil)
		if err != nil {
			t.Fatalf("%s: %v", c.about, err)
		}
		_, err = Verify(encoded, f.trust(0, "north"))
		var failed *CheckError
		if !errors.As(err, &failed) || failed.Check != c.check {
			t.Errorf("%s: %v, not the check %s", c.about, err, c.check)
		}
	}
}

func TestABundleThatRefutesItselfIsNotVerified(t *testing.T) {
	f := dishonest(t)
	write := func(keys []*SignedHeader, blocks ...*SignedHeader) []byte {
		return f.bundleOf(keys, blocks, blocks[len(blocks)-1])
	}
	stranger, err := NewGenesis(Genesis{}, f.signer.Public(), 0, Clock{}).Sign(f.signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		check  Check
		bundle []byte
	}{
		"a header that sets no key among those that do": {CheckKeys, write([]*SignedHeader{f.headers[0], f.headers[7], f.headers[4]}, f.headers[9], f.headers[10])},
		"the first block begins before a key's header ends": {CheckBlock, write([]*SignedHeader{f.headers[0], f.headers[4]},
			f.sign(9, "gateway 1", func(h *Header) { h.First = 3 }))},
		"the block above a key's header names another": {CheckBlock, write([]*SignedHeader{f.headers[0], f.headers[4]},
			f.sign(5, "gateway 1", func(h *Header) { h.Previous[0] ^= 1 }))},
		"more entries than can be numbered": {CheckBlock, write([]*SignedHeader{f.headers[0]},
			f.sign(3, "gateway 0", func(h *Header) { h.First = math.MaxInt64 }))},
		"the genesis of another chain before the blocks of this one": {CheckChain, write([]*SignedHeader{f.headers[0]}, stranger,
			f.sign(1, "gateway 0", func(h *Header) { h.Previous, h.History = stranger.Hash(), stranger.Hash() }))},
	} {
		_, err := verifyBundle(c.bundle, f.trust(0))
		var failed *CheckError
		if !errors.As(err, &failed) || failed.Check != c.check {
			t.Errorf("%s: %v, not the check %s", name, err, c.check)
		}
	}
}

// Two files that verify, each by itself, and cannot be of one history: the evidence can be handed on.
func TestTwoFilesOfNoOneHistoryAccuse(t *testing.T) {
	f := dishonest(t)
	north := f.trust(0, "north")
	honest := f.prove(f.headers[6], 0, 4)
	for name, c := range map[string]struct {
		other *Proof
		says  string
	}{
		"another header at one height": {f.prove(f.sign(6, "gateway 1", func(h *Header) { h.Sealed++ }), 0, 4), ""},
		"one entry number in two blocks": {f.prove(f.sign(8, "gateway 1", func(h *Header) { h.First = f.headers[6].Header.First }), 0, 4),
			"header 8 begins with entry 10, although header 6 ended before entry 12"},
		"the block right above is not": {f.prove(f.sign(7, "gateway 1", func(h *Header) { h.Previous[0] ^= 1 }), 0, 4),
			"header 7 names another header before it than header 6"},
		"an old key signs on": {f.prove(f.sign(9, "gateway 0", unchanged), 0),
			"header 4 hands over to another key, and header 9 is signed as if it did not"},
	} {
		if _, err := c.other.Verify(north); err != nil {
			t.Errorf("%s: it does not verify by itself: %v", name, err)
			continue
		}
		for range 2 { // whichever comes first
			fork := Contradiction(honest.Sides(), c.other.Sides(), north)
			if fork == nil {
				t.Errorf("%s: nothing is told", name)
				break
			}
			encoded, err := fork.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			r, err := VerifyFork(encoded, north)
			if err != nil {
				t.Errorf("%s: the evidence does not verify: %v", name, err)
				break
			}
			if says := ""; r.Conflict != nil || c.says != "" {
				if r.Conflict != nil {
					says = r.Conflict.Error()
				}
				if !strings.Contains(says, c.says) {
					t.Errorf("%s: %q", name, says)
				}
			}
			honest, c.other = c.other, honest
		}
	}
}

// A file that does not verify is looked into, too: of a hundred keys and a few heads that nobody signed, which all contradict each
// other, each signature is checked once, and not for each pair.
func TestHeadsThatNobodySignedCostLittle(t *testing.T) {
	c := newTestChain(t)
	c.seal(2, nil)
	for i := range 100 {
		c.rotate(0, fmt.Sprint("gateway ", i+1))
	}
	c.seal(2, nil)
	f := forger{c}
	p := c.prove(102, 1)
	p.Header = f.sign(102, "mallory", func(h *Header) { h.First = 0 })
	for height := uint64(110); height < 126; height++ {
		h := p.Header.Header
		h.Height = height
		signed, err := h.Sign(testSigner("mallory"))
		if err != nil {
			t.Fatal(err)
		}
		p.Later = append(p.Later, LaterHeader{signed, Path{Size: height, Index: 102}})
	}
	checked, sides := 0, p.Sides()
	if fork := contradiction(sides, sides, f.trust(0), func(h *SignedHeader, key PublicKey) error {
		checked++
		return h.Check(key)
	}); fork != nil {
		t.Error("what nobody signed is taken for evidence")
	}
	if most := len(p.Keys) + 1 + len(p.Later); checked == 0 || checked > most {
		t.Errorf("%d signatures were checked, of %d", checked, most)
	}
	p.Later = append(p.Later, LaterHeader{f.sign(101, "gateway 99", func(h *Header) { h.Sealed++ }), Path{Size: 101}})
	sides = p.Sides()
	if fork := Contradiction(sides, sides, f.trust(0)); fork == nil || fork.Height() != 101 {
		t.Error("two headers that are signed are not found among them")
	}
}

// Of each block of a bundle there is evidence, the first and the last ones too, wherever it begins; and of the header right below
// the first one, where the edge shows that one alone.
func TestEvidenceOfEachBlockOfABundle(t *testing.T) {
	f := dishonest(t)
	for from := uint64(0); from < 10; from++ {
		b := f.bundleOf([]*SignedHeader{f.headers[0], f.headers[4]}, f.headers[from:], f.headers[10])
		_, blocks, err := judgeWithBlocks(b, f.trust(0))
		if err != nil {
			t.Fatal(err)
		}
		for height := max(1, from-from&1); height <= 10; height++ {
			keys, by := []*SignedHeader{f.headers[0]}, "gateway 0"
			if height > 4 {
				keys, by = append(keys, f.headers[4]), "gateway 1"
			}
			head := f.sign(height, by, func(h *Header) { h.Sealed++ })
			other := Side{Keys: keys, Head: head, Leaf: head.Hash()}
			fork, err := blocks.Evidence(&other)
			if err != nil {
				t.Errorf("blocks %d to 10, of block %d: %v", from, height, err)
				continue
			}
			encoded, err := fork.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := VerifyFork(encoded, f.trust(0)); err != nil || r.Height != height {
				t.Errorf("blocks %d to 10, of block %d: %v", from, height, err)
			}
		}
	}
}

// Evidence of heights that differ shows something only where no history holds both.
func TestHeadersOfOneHistoryAreNoEvidence(t *testing.T) {
	f := dishonest(t)
	side := func(height uint64, keys ...*SignedHeader) Side {
		return Side{Keys: keys, Head: f.headers[height], Leaf: f.leaves[height]}
	}
	keys := []*SignedHeader{f.headers[0]}
	for name, fork := range map[string]*Fork{
		"two blocks, far apart":           NewFork(keys, side(2), side(9, f.headers[4])),
		"neighbours":                      NewFork(keys, side(2), side(3)),
		"a change of key, and after it":   NewFork(keys, side(4), side(5, f.headers[4])),
		"one header twice":                NewFork(keys, side(2), side(2)),
		"higher first":                    {Keys: keys, Sides: [2]Side{side(3), side(2)}},
		"a path where heights differ":     NewFork(keys, side(2), pathSide(f, 9, 3)),
		"genesis and the block above it":  NewFork(keys, side(0), side(1)),
		"the newest header and a key's":   NewFork(keys, side(4), side(10, f.headers[4])),
		"a key's header as of both sides": NewFork(keys, side(1), side(4)),
	} {
		if err := fork.Check(f.tip.Chain); err == nil {
			t.Errorf("%s: it counts as evidence", name)
		}
	}
}

func pathSide(f forger, height, index uint64) Side {
	path, err := ProveInclusion(LeafNodes(f.leaves), height, index)
	if err != nil {
		f.t.Fatal(err)
	}
	return Side{Keys: []*SignedHeader{f.headers[4]}, Head: f.headers[height], Leaf: f.leaves[index], Path: &path}
}

// SPEC: one that is listed and does not check fails, on whichever header it stands
func TestABadReceiptAnywhereInEvidenceFails(t *testing.T) {
	a, b := forked(t)
	base := forkOf(t, a, b, 25)
	spoil := func(h *SignedHeader) *SignedHeader {
		with := *h
		r, err := h.Countersign(testSigner("north"), "north", testTime)
		if err != nil {
			t.Fatal(err)
		}
		r.Signature[3] ^= 1
		with.Receipts = []Receipt{r}
		return &with
	}
	places := map[string]func(f *Fork) **SignedHeader{
		"genesis":            func(f *Fork) **SignedHeader { return &f.Keys[0] },
		"a key of both":      func(f *Fork) **SignedHeader { return &f.Keys[len(f.Keys)-1] },
		"the head of side 1": func(f *Fork) **SignedHeader { return &f.Sides[0].Head },
		"the head of side 2": func(f *Fork) **SignedHeader { return &f.Sides[1].Head },
	}
	for i := range base.Sides {
		if len(base.Sides[i].Keys) > 0 {
			places["a key of one side alone"] = func(f *Fork) **SignedHeader { return &f.Sides[i].Keys[0] }
		}
	}
	for name, place := range places {
		f := forkOf(t, a, b, 25)
		at := place(f)
		*at = spoil(*at)
		encoded, err := f.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var failed *CheckError
		if _, err := VerifyFork(encoded, a.trust(0, "north")); !errors.As(err, &failed) || failed.Check != CheckReceipts {
			t.Errorf("on %s: %v", name, err)
		}
		if _, err := VerifyFork(encoded, a.trust(0)); err != nil {
			t.Errorf("on %s, of a stranger: %v", name, err)
		}
	}
}
