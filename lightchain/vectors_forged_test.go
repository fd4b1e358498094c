package lightchain

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// The vectors here are what a gateway can make that has its keys, and signs with them whatever it likes: each is whole but
// for one check, and verifies for whoever leaves that one out.

func writeForgedVectors(t *testing.T, write func(string, vector)) {
	writeForgedProofs(t, write)
	writeForgedBeacons(t, write)
	writeReceiptVectors(t, write)
	writeForgedBundles(t, write)
	writeForgedEdges(t, write)
	writeForgedForks(t, write)
	writePairVectors(t, write)
}

func (f forger) encoded(p *Proof) []byte {
	f.t.Helper()
	b, err := p.Append(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// setting returns a change of a header that has it hand over to the key that a name stands for.
func setting(name string) func(*Header) {
	key := testSigner(name).Public()
	return func(h *Header) { h.NextKey = &key }
}

// with returns the proof with a later header that north countersigned.
func (f forger) with(p *Proof, later LaterHeader) *Proof {
	later.Header = f.receipt(later.Header, "north", testTime)
	p.Later = append(p.Later, later)
	return p
}

func writeForgedProofs(t *testing.T, write func(string, vector)) {
	f := dishonest(t)
	trust := string(f.trust(0, "north").Format())
	elsewhere := func(h *Header) { h.Chain = ChainID{9} }
	block := func(h *SignedHeader, keys ...*SignedHeader) *Proof {
		p := f.testChain.prove(h.Header.Height, 1)
		p.Header, p.Keys = h, append([]*SignedHeader{f.headers[0]}, keys...)
		return p
	}
	bad := func(name, about string, check Check, p *Proof) {
		t.Helper()
		write("proof-bad-"+name, vector{About: about, Kind: "proof", Bytes: f.encoded(p), Trust: trust, Expect: "fail", Check: string(check)})
	}
	k4 := f.headers[4]
	write("proof-bad-chain-untrusted", vector{About: "a good proof of a chain that is not trusted", Kind: "proof", Bytes: f.encoded(block(f.headers[9], k4)),
		Trust: "chain " + ChainID{1}.String() + "\n", Expect: "fail", Check: "chain"})
	noGenesis := block(f.headers[9])
	noGenesis.Keys = []*SignedHeader{f.sign(4, "gateway 1", unchanged)}
	bad("chain-no-genesis", "field 5 begins with another header than a genesis, signed under the key that it sets", CheckChain, noGenesis)
	bad("chain-block", "the block's header names another chain", CheckChain, block(f.sign(9, "gateway 1", elsewhere), k4))
	bad("chain-key", "a header of field 5 names another chain", CheckChain, block(f.headers[9], f.sign(4, "gateway 0", elsewhere)))
	bad("chain-later", "a later header names another chain", CheckChain,
		f.with(block(f.headers[6], k4), f.above(9, 6, f.leaves[6], "gateway 1", elsewhere)))

	bad("keys-order", "headers of field 5 whose heights fall", CheckKeys,
		block(f.sign(9, "gateway 2", unchanged), f.sign(6, "gateway 0", setting("gateway 1")), f.sign(4, "gateway 1", setting("gateway 2"))))
	bad("keys-twice", "a header of field 5 that stands there twice", CheckKeys, block(f.headers[9], k4, k4))
	highest := f.sign(9, "gateway 1", setting("gateway 2"))
	bad("keys-highest", "the highest header sets a key, and stands in field 5", CheckKeys, block(highest, k4, highest))
	bad("keys-signature", "a header of field 5 that another key signed, under the right id", CheckKeys, block(f.headers[9], f.signAs(4, "mallory", "gateway 0")))
	genesis := block(f.headers[3])
	genesis.Keys[0] = f.signAs(0, "mallory", "gateway 0")
	bad("keys-genesis-signature", "a genesis that another key signed, under the right id", CheckKeys, genesis)
	again := f.sign(7, "gateway 1", setting("gateway 1"))
	bad("keys-in-force-later", "the highest header, a later one, sets the key in force at its height", CheckKeys,
		f.with(block(f.headers[6], k4), LaterHeader{again, f.pathOf(6, 7)}))

	bad("signature-block", "the block's header that another key signed, under the right id", CheckSignature, block(f.signAs(9, "mallory", "gateway 1"), k4))
	bad("signature-later", "a later header that another key signed, under the right id", CheckSignature,
		f.with(block(f.headers[6], k4), LaterHeader{f.signAs(9, "mallory", "gateway 1"), f.pathOf(6, 9)}))
	bad("signature-later-old-key", "a later header that the key before signed", CheckSignature,
		f.with(block(f.headers[6], k4), LaterHeader{f.sign(9, "gateway 0", unchanged), f.pathOf(6, 9)}))
	bad("signature-own-key", "a block that sets a key, signed under that key", CheckSignature, f.with(block(f.sign(4, "gateway 1", unchanged), f.sign(4, "gateway 0", unchanged)),
		f.above(9, 4, f.sign(4, "gateway 1", unchanged).Hash(), "gateway 1", unchanged)))

	writeCurveVectors(t, write, f, trust)

	claims := func(height uint64, by string, change func(*Header), path Path, keys ...*SignedHeader) *Proof {
		p := block(f.sign(height, by, change), keys...)
		p.EntryPath = path
		return p
	}
	whole := f.testChain.prove(9, 1).EntryPath
	bad("entry-size", "a path in a block of two entries, of which the header counts three", CheckEntry, claims(9, "gateway 1", func(h *Header) { h.Count = 3 }, whole, k4))
	leaf := LeafHash(f.blocks[9][1])
	bad("entry-index-size", "an index that is the path's size", CheckEntry, claims(9, "gateway 1", func(h *Header) { h.Count, h.Root = 1, leaf }, Path{Size: 1, Index: 1}, k4))
	bad("entry-path-short", "a path with a hash too few, for a root that it leads to", CheckEntry,
		claims(9, "gateway 1", func(h *Header) { h.Count, h.Root = 2, leaf }, Path{Size: 2, Index: 1}, k4))
	bad("entry-path-long", "a path with a hash too many, behind the root", CheckEntry,
		claims(9, "gateway 1", func(h *Header) { h.Count, h.Root = 1, leaf }, Path{Size: 1, Index: 0, Hashes: make([]Hash, 1)}, k4))

	// The trees of these later headers are of other sizes, or have the block at another place, than their heights say.
	bad("later-size", "a later header at height 9, and a path in a history of seven", CheckBlock, f.with(block(f.headers[6], k4),
		LaterHeader{f.sign(9, "gateway 1", func(h *Header) { h.History = naiveRoot(f.leaves[:7]) }), f.pathOf(6, 7)}))
	bad("later-index", "a later header's path of the block at another height", CheckBlock, f.with(block(f.headers[9], k4), f.above(10, 6, f.leaves[9], "gateway 1", unchanged)))
	twin := f.above(4, 2, f.leaves[2], "gateway 0", func(h *Header) { h.NextKey = nil })
	bad("two-at-one-height", "a later header at the height of another of field 5", CheckBlock,
		f.with(f.with(block(f.headers[2], k4), twin), LaterHeader{f.headers[9], f.pathOf(2, 9)}))
	bad("number-later", "a later header whose numbers exceed 2^63-1", CheckBlock,
		f.with(block(f.headers[6], k4), f.above(9, 6, f.leaves[6], "gateway 1", func(h *Header) { h.First = math.MaxInt64 })))

	good := func(name, about string, number, height uint64, by []string, after *uint64, p *Proof) {
		t.Helper()
		write("proof-good-"+name, vector{About: about, Kind: "proof", Bytes: f.encoded(p), Trust: trust, Expect: "ok", Number: &number, Height: &height, ReceiptedBy: by, NotAfter: after})
	}
	second := uint64(testTime + 1)
	good("sets-key-highest", "a block that sets a key, and is the highest header", f.headers[4].Header.First+1, 4, nil, nil, block(k4))
	good("sets-key", "a block that sets a key, below a later header", f.headers[4].Header.First+1, 4, []string{"north"}, &second,
		f.with(block(k4, k4), LaterHeader{f.headers[9], f.pathOf(4, 9)}))
	good("greatest-number", "a block whose last entry is number 2^63-2", math.MaxInt64-1, 9, nil, nil, block(f.sign(9, "gateway 1", func(h *Header) { h.First = math.MaxInt64 - 2 }), k4))
}

// writeCurveVectors writes what libraries of Ed25519 see differently.
func writeCurveVectors(t *testing.T, write func(string, vector), f forger, trust string) {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	little := func(n *big.Int) (b [32]byte) {
		n.FillBytes(b[:])
		slices.Reverse(b[:])
		return b
	}
	number := func(b []byte) *big.Int {
		b = slices.Clone(b)
		slices.Reverse(b)
		return new(big.Int).SetBytes(b)
	}
	signed := func(change func(s *SignedHeader)) []byte {
		s := *f.headers[9]
		change(&s)
		return f.encoded(f.prove(&s, 0, 4))
	}
	number9, height := f.headers[9].Header.First+1, uint64(9)
	write("proof-good-signature-small-r", vector{About: "a signature whose R is the neutral element, which is R all the same", Kind: "proof", Trust: trust, Expect: "ok", Number: &number9, Height: &height,
		Bytes: signed(func(s *SignedHeader) {
			// R is [0]B, so that S is the private scalar times SHA-512(R || A || M).
			seed := sha256.Sum256([]byte("edgechain test key gateway 1"))
			private := sha512.Sum512(seed[:])
			private[0], private[31] = private[0]&248, private[31]&127|64
			key := testSigner("gateway 1").Public()
			r := [32]byte{1}
			k := sha512.Sum512(slices.Concat(r[:], key[:], s.signatureInput()))
			product := new(big.Int).Mul(number(k[:]), number(private[:32]))
			scalar := little(product.Mod(product, order))
			s.Signature = Signature(slices.Concat(r[:], scalar[:]))
		})})
	write("proof-bad-signature-s", vector{About: "a signature whose S is above the order of the group", Kind: "proof", Trust: trust, Expect: "fail", Check: "signature",
		Bytes: signed(func(s *SignedHeader) {
			above := little(new(big.Int).Add(number(s.Signature[32:]), order))
			copy(s.Signature[32:], above[:])
		})})

	// y = 2, 3, … until (y²-1)·(dy²+1) is no square modulo 2^255-19: then no point has this y.
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)
	var none PublicKey
	for y := int64(2); none == (PublicKey{}); y++ {
		square := big.NewInt(y * y)
		v := new(big.Int).Mul(d, square)
		v.Add(v, big.NewInt(1)).Mul(v, square.Sub(square, big.NewInt(1))).Mod(v, p)
		if big.Jacobi(v, p) == -1 {
			none = PublicKey(little(big.NewInt(y)))
		}
	}
	pointless := f.prove(f.headers[9], 0)
	pointless.Keys = append(pointless.Keys, f.sign(4, "gateway 0", func(h *Header) { h.NextKey = &none }))
	own := *f.headers[9]
	own.KeyID = none.KeyID()
	pointless.Header = &own
	write("proof-bad-signature-no-point", vector{About: "a header under a key that is no point of the curve", Kind: "proof", Trust: trust, Expect: "fail", Check: "signature", Bytes: f.encoded(pointless)})
}

// pathOf returns the path of the header at a height in the history of a higher one.
func (f forger) pathOf(height, in uint64) Path {
	f.t.Helper()
	path, err := ProveInclusion(LeafNodes(f.leaves), in, height)
	if err != nil {
		f.t.Fatal(err)
	}
	return path
}

// naming returns a change of a header that has its beacon name the receipts, in the order given.
func naming(receipts ...*Receipt) func(*Header) {
	b := appendArray(nil, len(receipts))
	for _, r := range receipts {
		b = append(b, r.mustEncode()...)
	}
	beacon := Hash(sha256.Sum256(b))
	return func(h *Header) { h.Beacon = &beacon }
}

func writeForgedBeacons(t *testing.T, write func(string, vector)) {
	f, e := dishonest(t), editor{t}
	block := func(height uint64, change func(*Header), beacon ...*SignedHeader) *Proof {
		p := f.prove(f.sign(height, "gateway 1", change), 0, 4)
		p.Beacon = beacon
		return p
	}
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"}
	var one []*SignedHeader // the header at height 5, with one receipt each, in order
	times := map[string]uint64{}
	for _, name := range names {
		times[name] = testTime
	}
	all := f.receipted(5, times)
	var receipts []*Receipt
	for i := range all.Receipts {
		h := *all
		h.Receipts = all.Receipts[i : i+1]
		one, receipts = append(one, &h), append(receipts, &all.Receipts[i])
	}
	trust := string(f.trust(0, "north", "a", "b").Format())
	bad := func(name, about string, check Check, b []byte) {
		t.Helper()
		write("proof-bad-"+name, vector{About: about, Kind: "proof", Bytes: b, Trust: trust, Expect: "fail", Check: string(check)})
	}
	wrapped := func(h *SignedHeader) []byte {
		b, err := appendWrapped(nil, h)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bad("beacon-nine", "nine headers in field 7, all of them in the beacon", CheckDecoding, e.add(f.encoded(block(9, naming(receipts...), one[:8]...)), wrapped(one[8]), 7))
	bad("beacon-order", "two receipts of field 7 in the other order, and a beacon of that order", CheckDecoding,
		e.swap(f.encoded(block(9, naming(receipts[1], receipts[0]), one[:2]...)), 0, 1, 7))
	two := *one[0]
	two.Receipts = all.Receipts[:2]
	bad("beacon-two-receipts", "two receipts on a header of field 7, the first of which is the beacon", CheckDecoding,
		e.replace(f.encoded(block(9, naming(receipts[0]), one[0])), wrapped(&two), 7, 0))
	bad("beacon-none-named", "a header in field 7, and no beacon in the block's", CheckBeacon, f.encoded(block(9, unchanged, one[0])))

	other := f.receipt(f.sign(5, "gateway 1", func(h *Header) { h.Chain = ChainID{9} }), "north", testTime)
	bad("chain-beacon", "a header of field 7 names another chain", CheckChain, f.encoded(block(9, naming(&other.Receipts[0]), other)))
	forged := f.receipt(f.signAs(5, "mallory", "gateway 1"), "north", testTime)
	bad("signature-beacon", "a header of field 7 that another key signed, under the right id", CheckSignature, f.encoded(block(9, naming(&forged.Receipts[0]), forged)))
	spoilt := *f.receipt(f.headers[5], "north", testTime)
	spoilt.Receipts = []Receipt{spoilt.Receipts[0]}
	spoilt.Receipts[0].Signature[3] ^= 1
	bad("receipt-beacon", "a listed receipt in field 7 that does not check", CheckReceipts, f.encoded(block(9, naming(&spoilt.Receipts[0]), &spoilt)))
	sets := f.receipt(f.headers[4], "north", testTime)
	left := f.prove(f.sign(9, "gateway 0", naming(&sets.Receipts[0])), 0)
	left.Beacon = []*SignedHeader{sets}
	bad("keys-beacon-left-out", "a header of field 7 sets a key, and field 5 leaves it out", CheckKeys, f.encoded(left))
	above := f.receipt(f.sign(10, "gateway 1", setting("gateway 1")), "north", testTime)
	bad("keys-beacon-above", "a header of field 7 above the block that sets the key in force", CheckKeys, f.encoded(block(9, naming(&above.Receipts[0]), above)))

	late := f.receipt(f.headers[5], "north", testTime+500)
	early := f.prove(f.sign(9, "gateway 1", unchanged), 0, 4)
	early.Header = f.receipt(early.Header, "north", testTime+100)
	early.Beacon = []*SignedHeader{late}
	bad("bracket-before-beacon", "a bracket that contradicts itself, by a receipt that no beacon names", CheckReceipts, f.encoded(early))

	number, height, before := f.headers[9].Header.First+1, uint64(9), uint64(testTime)
	good := vector{Kind: "proof", Trust: trust, Expect: "ok", Number: &number, Height: &height, NotBefore: &before}
	good.About, good.Bytes = "eight headers in field 7", f.encoded(block(9, naming(receipts[:8]...), one[:8]...))
	write("proof-good-beacon-eight", good)
	first := f.receipt(f.headers[0], "north", testTime)
	good.About, good.Bytes = "a beacon's receipt on genesis", f.encoded(block(9, naming(&first.Receipts[0]), first))
	write("proof-good-beacon-genesis", good)
	good.About, good.Bytes = "a beacon's receipt on a header that sets the key", f.encoded(block(9, naming(&sets.Receipts[0]), sets))
	write("proof-good-beacon-key", good)
}

// writeReceiptVectors writes what receipts mean for the bounds.
func writeReceiptVectors(t *testing.T, write func(string, vector)) {
	f := dishonest(t)
	on := func(height uint64, times map[string]uint64) *SignedHeader { return f.receipted(height, times) }
	number, height := f.headers[6].Header.First+1, uint64(6)
	seconds := func(n uint64) *uint64 { return &n }
	prove := func(own *SignedHeader, later ...*SignedHeader) *Proof {
		p := f.testChain.prove(6, 1, later...)
		p.Header = own
		if len(later) == 0 {
			p.Keys = []*SignedHeader{f.headers[0], f.headers[4]}
		}
		return p
	}
	good := func(name, about string, quorum uint64, trusted []string, p *Proof, by []string, before, after *uint64) {
		t.Helper()
		v := vector{About: about, Kind: "proof", Bytes: f.encoded(p), Trust: string(f.trust(quorum, trusted...).Format()), Expect: "ok",
			Number: &number, Height: &height, ReceiptedBy: by, NotBefore: before, NotAfter: after}
		report, err := p.Verify(f.trust(quorum, trusted...))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v.told(report.Silences, report.Reversals)
		write("proof-good-"+name, v)
	}
	both := []string{"north", "south"}
	good("earliest-counts", "two receipts of one aggregator, of which the earlier counts", 1, both,
		prove(on(6, map[string]uint64{"north": testTime + 600}), on(8, map[string]uint64{"north": testTime + 500})), []string{"north"}, nil, seconds(testTime+501))
	good("falling-times", "an aggregator with falling times on rising headers, who fails nothing", 1, both,
		prove(on(6, map[string]uint64{"north": testTime + 600, "south": testTime + 550}), on(8, map[string]uint64{"north": testTime + 500})), both, nil, seconds(testTime+501))
	named := f.headers[6]
	stranger, err := named.Countersign(testSigner("north"), "south", testTime)
	if err != nil {
		t.Fatal(err)
	}
	renamed := *named
	renamed.Receipts = []Receipt{stranger}
	good("key-of-another-name", "a receipt under the key of another name, which is ignored", 0, both, prove(&renamed), nil, nil, nil)
	if stranger, err = named.Countersign(testSigner("mallory"), "north", testTime); err != nil {
		t.Fatal(err)
	}
	unlisted := *named
	unlisted.Receipts = []Receipt{stranger}
	good("name-of-another-key", "a receipt under a listed name and a key that is not, which is ignored", 0, both, prove(&unlisted), nil, nil, nil)

	beaconOn := on(5, map[string]uint64{"north": testTime + 501})
	closed := f.receipt(f.sign(6, "gateway 1", naming(&beaconOn.Receipts[0])), "north", testTime+500)
	narrow := prove(closed)
	narrow.Beacon = []*SignedHeader{beaconOn}
	good("narrowest", "a bracket of one second", 1, both, narrow, []string{"north"}, seconds(testTime+501), seconds(testTime+501))

	bad := func(name, about string, quorum uint64, p *Proof) {
		t.Helper()
		write("proof-bad-"+name, vector{About: about, Kind: "proof", Bytes: f.encoded(p), Trust: string(f.trust(quorum, both...).Format()), Expect: "fail", Check: "receipts"})
	}
	bad("quorum-one-name", "two receipts of one aggregator, two asked for", 2,
		prove(on(6, map[string]uint64{"north": testTime + 400}), on(8, map[string]uint64{"north": testTime + 500})))
	bad("receipt-own", "a listed receipt on the block's header that does not check", 0, prove(func() *SignedHeader {
		h := *on(6, map[string]uint64{"north": testTime})
		h.Receipts[0].Signature[3] ^= 1
		return &h
	}()))

	// Silences.
	q := newTestChain(t)
	q.seal(2, func(h *Header) { h.Cadence = 60 })
	q.seal(0, nil)
	q.seal(0, nil)
	number, height = 1, 1
	f = forger{q}
	silent := func(name, about string, own map[string]uint64, by []string, after uint64, later ...*SignedHeader) {
		t.Helper()
		p := q.prove(1, 1, later...)
		p.Header = q.receipted(1, own)
		good(name, about, 1, both, p, by, nil, &after)
	}
	silent("silent-later-word", "no later header, and a later word on the block's", map[string]uint64{"north": testTime + 100, "south": testTime + 161}, both, testTime+101)
	silent("silent-not-quite", "a later word, within the time that was promised", map[string]uint64{"north": testTime + 100, "south": testTime + 160}, both, testTime+101)
	silent("silent-until-known", "a later word that came after a higher header did", map[string]uint64{"north": testTime + 100, "south": testTime + 900}, both, testTime+101,
		q.receipted(3, map[string]uint64{"north": testTime + 300}))
	silent("silent-same-second", "a later word in the second in which a higher header came", map[string]uint64{"north": testTime + 100, "south": testTime + 300}, both, testTime+101,
		q.receipted(3, map[string]uint64{"north": testTime + 300}))
	silent("silent-between", "what came between is not here", map[string]uint64{"north": testTime + 100}, []string{"north"}, testTime+101,
		q.receipted(3, map[string]uint64{"north": testTime + 900}))
}

// bundleOf returns a bundle of these blocks with the entries that the chain has at their heights.
func (f forger) bundleOf(keys, blocks []*SignedHeader, end *SignedHeader, later ...LaterHeader) []byte {
	return f.bundleOver(f.edge(blocks[0].Header.Height), keys, blocks, end, later...)
}

// bundleOver is bundleOf with an edge of the forger's making.
func (f forger) bundleOver(edge []Hash, keys, blocks []*SignedHeader, end *SignedHeader, later ...LaterHeader) []byte {
	f.t.Helper()
	b, err := AppendBundleStart(nil, keys, edge)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, h := range blocks {
		b = AppendBundleBlock(b, h.Bytes())
		for _, e := range f.blocks[h.Header.Height] {
			b = AppendBundleEntry(b, e)
		}
	}
	item, err := AppendBundleEnd(nil, end, later)
	if err != nil {
		f.t.Fatal(err)
	}
	return append(b, item...)
}

// run returns headers from first to last, each linked to those before after change has had its way with one of them.
func (f forger) run(first, last, at uint64, change func(*Header)) (all []*SignedHeader) {
	f.t.Helper()
	leaves := append([]Hash(nil), f.leaves...)
	for height := first; height <= last; height++ {
		by := "gateway 0"
		if height > 4 {
			by = "gateway 1"
		}
		all = append(all, f.sign(height, by, func(h *Header) {
			if len(all) > 0 && height != at {
				before := all[len(all)-1]
				h.Previous, h.First, h.History = before.Hash(), before.Header.First+before.Header.Count, naiveRoot(leaves[:height])
			}
			if height == at {
				change(h)
			}
		}))
		leaves[height] = all[len(all)-1].Hash()
	}
	return all
}

func writeForgedBundles(t *testing.T, write func(string, vector)) {
	f := dishonest(t)
	keys := []*SignedHeader{f.headers[0], f.headers[4]}
	bundle := func(all []*SignedHeader) []byte { return f.bundleOf(keys, all, all[len(all)-1]) }
	trust, strange := string(f.trust(0, "north").Format()), "chain "+ChainID{1}.String()+"\n"
	bad := func(name, about string, check Check, b []byte) {
		t.Helper()
		write("bundle-bad-"+name, vector{About: about, Kind: "bundle", Bytes: b, Trust: trust, Expect: "fail", Check: string(check)})
	}
	honest := f.headers[5:8]
	write("bundle-bad-chain-untrusted", vector{About: "a good bundle of a chain that is not trusted", Kind: "bundle", Bytes: bundle(honest), Trust: strange, Expect: "fail", Check: "chain"})
	bad("chain-block", "a block in the middle names another chain", CheckChain, bundle(f.run(5, 7, 6, func(h *Header) { h.Chain, h.Previous = ChainID{9}, f.leaves[5] })))
	bad("chain-later", "a later header names another chain", CheckChain, f.bundleOf(keys, honest, honest[2],
		f.with(&Proof{}, f.above(9, 7, f.leaves[7], "gateway 1", func(h *Header) { h.Chain = ChainID{9} })).Later...))
	other, err := NewGenesis(Genesis{}, f.signer.Public(), 0, Clock{}).Sign(f.signer)
	if err != nil {
		t.Fatal(err)
	}
	above := f.sign(1, "gateway 0", func(h *Header) { h.Previous, h.History = other.Hash(), other.Hash() })
	bad("chain-genesis", "a run that begins with the genesis of another chain", CheckChain, f.bundleOf(keys[:1], []*SignedHeader{other, above}, above))
	torn := f.run(1, 3, 2, func(h *Header) { h.History[0] ^= 1 })
	bad("history", "a block that commits to another history than the headers below it, all of which are here", CheckBlock, f.bundleOf(keys[:1], append([]*SignedHeader{f.headers[0]}, torn...), torn[2]))
	bad("history-from-1", "the same in a run that begins right above genesis", CheckBlock, f.bundleOf(keys[:1], torn, torn[2]))
	bad("history-from-5", "the same in a run that begins further above", CheckBlock, bundle(f.run(5, 7, 6, func(h *Header) { h.History[0] ^= 1 })))
	bad("history-last", "a last block that commits to another history than the headers below it", CheckBlock, bundle(f.run(5, 7, 7, func(h *Header) { h.History[0] ^= 1 })))
	for odd, about := range map[uint64]string{5: "first", 6: "second"} {
		bad(fmt.Sprint("history-path-", odd), "the path at the end has another header in place of the run's "+about, CheckBlock,
			f.bundleOf(keys, honest, honest[2], f.with(&Proof{}, f.among(9, 7, "gateway 1", odd)).Later...))
	}
	changed := f.run(2, 6, 4, func(h *Header) { h.History[0] ^= 1 })
	bad("history-key-inside", "a block in the middle that the start holds, too, and whose key 5 is another than the blocks below it and the first one's give", CheckBlock,
		f.bundleOf([]*SignedHeader{f.headers[0], changed[2]}, changed, changed[4]))
	bad("genesis-above", "a genesis in the middle of a run", CheckBlock, f.bundleOf(keys, []*SignedHeader{f.headers[5], f.headers[0], f.headers[6]}, f.headers[6]))
	over := func(h *Header) { // above block 5, of whatever height it is
		h.Previous, h.First, h.History = f.leaves[5], f.headers[6].Header.First, naiveRoot(f.leaves[:6])
	}
	bad("height-leaps", "blocks left out, a link over them, and a key 5 of the headers that are here", CheckBlock, bundle([]*SignedHeader{f.headers[5], f.sign(9, "gateway 1", over)}))
	lower := f.sign(3, "gateway 0", over)
	bad("height-falls", "a block below the one before, which it names, and a key 5 of the headers that are here", CheckBlock, f.bundleOf(keys[:1], []*SignedHeader{f.headers[5], lower}, lower))
	bad("link", "a block in the middle names another one before it", CheckBlock, bundle(f.run(5, 7, 6, func(h *Header) { h.Previous[0] ^= 1 })))
	bad("first-leaps", "a block in the middle begins later than the one before ends", CheckBlock, bundle(f.run(5, 7, 6, func(h *Header) { h.First++ })))
	write("bundle-bad-numbers", vector{About: "numbers beyond 2^63-1, and a chain that is not trusted, which is looked at later", Kind: "bundle",
		Bytes: f.bundleOf(keys, []*SignedHeader{f.sign(9, "gateway 1", func(h *Header) { h.First = math.MaxInt64 })}, f.sign(9, "gateway 1", func(h *Header) { h.First = math.MaxInt64 })),
		Trust: strange, Expect: "fail", Check: "block"})
	bad("entry-missing", "a block of two entries, of which the header counts three", CheckEntry, bundle(f.run(5, 7, 6, func(h *Header) { h.Count = 3 })))
	bad("end-other", "the end signs another header than the last block's", CheckBlock, f.bundleOf(keys, honest, f.sign(7, "gateway 1", func(h *Header) { h.Sealed++ })))

	keyless := f.run(3, 6, 4, func(h *Header) { h.NextKey = nil })
	bad("keys-start-other", "a header of the start sets a key, and the run's at its height does not", CheckKeys, bundle(keyless))
	silentRun := f.headers[3:7]
	bad("keys-left-out", "a block in the middle sets a key, and the start leaves it out", CheckKeys, f.bundleOf(keys[:1], silentRun, f.sign(6, "gateway 0", unchanged)))
	bad("keys-signature", "a header of the start that another key signed, under the right id", CheckKeys,
		f.bundleOf([]*SignedHeader{f.headers[0], f.signAs(4, "mallory", "gateway 0")}, honest, honest[2]))
	bad("signature", "an end that another key signed, under the right id", CheckSignature, f.bundleOf(keys, honest, f.signAs(7, "mallory", "gateway 1")))
	receipted := func(l LaterHeader) []LaterHeader { return f.with(&Proof{}, l).Later }
	bad("signature-later", "a later header that another key signed, under the right id", CheckSignature,
		f.bundleOf(keys, honest, honest[2], receipted(LaterHeader{f.signAs(9, "mallory", "gateway 1"), f.pathOf(7, 9)})...))
	bad("later-path", "a later header that does not contain the last block's", CheckBlock, f.bundleOf(keys, honest, honest[2], receipted(LaterHeader{f.headers[9], f.pathOf(6, 9)})...))
	bad("later-root", "a path that leads elsewhere", CheckBlock, f.bundleOf(keys, honest, honest[2],
		receipted(LaterHeader{f.headers[9], func() Path { p := f.pathOf(7, 9); p.Hashes[0][0] ^= 1; return p }()})...))
	bad("first-block-falls", "the first of two blocks begins before a header that sets the key ends", CheckBlock,
		bundle(f.run(8, 9, 8, func(h *Header) { h.First = 3 })))
	spoilt := f.receipt(honest[2], "north", testTime)
	spoilt.Receipts[0].Signature[3] ^= 1
	bad("receipt", "a listed receipt that does not check", CheckReceipts, f.bundleOf(keys, honest, spoilt))
	write("bundle-bad-quorum", vector{About: "no receipt, one asked for", Kind: "bundle", Bytes: bundle(honest), Trust: string(f.trust(1, "north").Format()), Expect: "fail", Check: "receipts"})

	good := func(name, about string, number, next, height uint64, b []byte) {
		t.Helper()
		write("bundle-good-"+name, vector{About: about, Kind: "bundle", Bytes: b, Trust: trust, Expect: "ok", Number: &number, Next: &next, Height: &height})
	}
	good("genesis", "a run from genesis on, that ends with a block that sets a key", 0, 8, 4, f.bundleOf(keys[:1], f.headers[:5], f.headers[4]))
	good("key-above", "a header of the start that stands above the run, below a later header", 0, 4, 2, f.bundleOf(keys, f.headers[1:3], f.headers[2],
		LaterHeader{func() *SignedHeader { h := *f.headers[9]; h.Receipts = f.receipt(&h, "mallory", 5).Receipts; return &h }(), f.pathOf(2, 9)}))
}

// Edges that are not of the tree which the rest of the file shows.
func writeForgedEdges(t *testing.T, write func(string, vector)) {
	f := dishonest(t)
	g, k4 := f.headers[0], f.headers[4]
	trust := string(f.trust(0, "north").Format())
	bad := func(name, about string, b []byte) {
		t.Helper()
		write("bundle-bad-edge-"+name, vector{About: about, Kind: "bundle", Bytes: b, Trust: trust, Expect: "fail", Check: string(CheckBlock)})
	}
	over := func(edge []Hash, keys []*SignedHeader, blocks ...*SignedHeader) []byte {
		return f.bundleOver(edge, keys, blocks, blocks[len(blocks)-1])
	}
	gk4 := []*SignedHeader{g, k4}
	bad("few", "an edge without its last hash", over(f.edge(5)[:1], gk4, f.headers[5]))
	bad("none", "no hash in the edge of a block above genesis", over(nil, gk4[:1], f.headers[1]))
	bad("order", "the hashes of an edge, the smallest subtree first", over([]Hash{f.edge(5)[1], f.edge(5)[0]}, gk4, f.headers[5]))
	bad("lower", "the edge of the height below the first block's", over(f.edge(6), gk4, f.headers[7]))
	bad("parts", "two halves in place of their subtree: the hash of all headers below is the right one", over(f.leaves[:2], gk4[:1], f.headers[2]))
	bad("joined", "the hash of all headers below in place of an edge of two", over([]Hash{f.headers[6].Header.History}, gk4[:1], f.sign(6, "gateway 0", unchanged)))
	unsigned := *f.sign(5, "gateway 1", func(h *Header) { h.History[0] ^= 1 })
	unsigned.Signature[0] ^= 1
	bad("other", "a first block that commits to another history than the edge gives, and an end with a signature that does not check", over(f.edge(5), gk4, &unsigned))
	bad("genesis", "a hash below a genesis", over([]Hash{emptyRoot}, gk4[:1], g, f.headers[1]))

	// Blocks over a tree in which another header stands at the height odd.
	lying := func(odd, first, last uint64, by string) (edge []Hash, blocks []*SignedHeader) {
		c := *f.testChain
		c.leaves = append([]Hash(nil), f.leaves...)
		c.leaves[odd][0] ^= 1
		other := forger{&c}
		return c.edge(first), other.run(first, last, first, func(h *Header) { h.History = naiveRoot(c.leaves[:first]) })
	}
	edge, blocks := lying(0, 1, 1, "gateway 0")
	bad("leaf-0", "an edge, to which key 5 commits, with another header than genesis", over(edge, gk4[:1], blocks...))
	edge, blocks = lying(2, 3, 3, "gateway 0")
	bad("leaf", "an edge, to which key 5 commits, with another header than key 4 names", over(edge, gk4[:1], blocks...))
	edge, blocks = lying(2, 3, 4, "gateway 0")
	bad("leaf-run", "the same, and one block more", over(edge, gk4[:1], blocks...))
	edge, blocks = lying(1, 6, 6, "gateway 1")
	bad("key", "an edge, to which key 5 commits, with other headers than a header of the start commits to", over(edge, gk4, blocks...))
	edge, blocks = lying(1, 6, 8, "gateway 1")
	bad("key-run", "the same, and a run that fills the subtree of which these are a half", over(edge, gk4, blocks...))
	bad("path", "the path at the end has another header in place of one below the first block", f.bundleOver(f.edge(3), gk4[:1], f.headers[3:4], f.headers[3],
		f.with(&Proof{}, f.among(4, 3, "gateway 0", 1)).Later...))

	number, next, height := uint64(20), uint64(22), uint64(math.MaxInt64)
	edge = make([]Hash, 63)
	for i := range edge {
		edge[i] = LeafHash([]byte{byte(i)})
	}
	below, err := NewCompactRange(height, edge)
	if err != nil {
		t.Fatal(err)
	}
	top := f.sign(10, "gateway 1", func(h *Header) {
		h.Height, h.First, h.Previous, h.History = height, number, edge[62], below.Root()
	})
	b, err := AppendBundleStart(nil, gk4, edge)
	if err != nil {
		t.Fatal(err)
	}
	b = AppendBundleBlock(b, top.Bytes())
	for _, e := range f.blocks[10] {
		b = AppendBundleEntry(b, e)
	}
	end, err := AppendBundleEnd(nil, top, nil)
	if err != nil {
		t.Fatal(err)
	}
	write("bundle-good-edge-highest", vector{About: "a block at the greatest height, and an edge of 63 hashes", Kind: "bundle", Bytes: append(b, end...), Trust: trust, Expect: "ok",
		Number: &number, Next: &next, Height: &height})
}

func writeForgedForks(t *testing.T, write func(string, vector)) {
	f := dishonest(t)
	g, k4 := f.headers[0], f.headers[4]
	side := func(h *SignedHeader, keys ...*SignedHeader) Side { return Side{Keys: keys, Head: h, Leaf: h.Hash()} }
	moved := func(h *Header) { h.Sealed++ }
	trust := string(f.trust(0, "north").Format())
	encode := func(fork *Fork) []byte {
		t.Helper()
		b, err := fork.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bad := func(name, about string, check Check, fork *Fork) {
		t.Helper()
		write("fork-bad-"+name, vector{About: about, Kind: "fork", Bytes: encode(fork), Trust: trust, Expect: "fail", Check: string(check)})
	}
	keys := func(all ...*SignedHeader) []*SignedHeader { return all }
	h6, other6 := f.headers[6], f.sign(6, "gateway 1", moved)
	bad("no-genesis", "field 2 begins with another header than a genesis, signed under the key that it sets", CheckChain,
		NewFork(keys(f.sign(4, "gateway 1", unchanged)), side(h6), side(other6)))
	elsewhere := func(h *Header) { h.Chain = ChainID{9} }
	bad("other-chain", "a head that names another chain", CheckFork, NewFork(keys(g, k4), side(h6), side(f.sign(6, "gateway 1", elsewhere))))
	bad("other-chain-key", "a header of field 2 that names another chain", CheckFork, NewFork(keys(g, f.sign(4, "gateway 0", elsewhere)), side(h6), side(other6)))
	bad("other-chain-own-key", "a header of a side's list that names another chain", CheckFork,
		NewFork(keys(g), side(h6, f.sign(4, "gateway 0", elsewhere)), side(other6, k4)))
	bad("keyless", "a header of field 2 that sets no key", CheckFork, NewFork(keys(g, f.headers[2], k4), side(h6), side(other6)))
	bad("keys-order", "headers of field 2 whose heights fall", CheckFork, NewFork(keys(g, f.sign(6, "gateway 0", setting("gateway 1")), f.sign(4, "gateway 1", setting("gateway 2"))),
		side(f.sign(9, "gateway 2", unchanged)), side(f.sign(9, "gateway 2", moved))))
	bad("own-keys-order", "a header of a side's list below the last of field 2", CheckFork, NewFork(keys(g, f.sign(6, "gateway 0", setting("gateway 1"))),
		side(f.sign(9, "gateway 2", unchanged), f.sign(4, "gateway 1", setting("gateway 2"))), side(f.sign(9, "gateway 1", moved))))
	bad("keys-kid", "a header of field 2 that names another key than signed it", CheckFork, NewFork(keys(g, f.signAs(4, "gateway 0", "gateway 1")), side(h6), side(other6)))
	bad("keys-signature", "a header of field 2 that another key signed, under the right id", CheckFork, NewFork(keys(g, f.signAs(4, "mallory", "gateway 0")), side(h6), side(other6)))
	bad("genesis-signature", "a genesis that another key signed, under the right id", CheckFork, NewFork(keys(f.signAs(0, "mallory", "gateway 0")), side(f.headers[3]), side(f.sign(3, "gateway 0", moved))))
	bad("head-low", "heads at the height of the last header that sets the key", CheckFork, NewFork(keys(g, k4),
		side(f.sign(4, "gateway 1", unchanged)), side(f.sign(4, "gateway 1", moved))))
	for _, first := range []bool{true, false} {
		spoilt := func(h *SignedHeader, is bool, by, id string) *SignedHeader {
			if !is {
				return h
			}
			if by == id {
				return h
			}
			s := *h
			s.KeyID = testSigner(id).Public().KeyID()
			var err error
			if s.Signature, err = testSigner(by).Sign(s.signatureInput()); err != nil {
				t.Fatal(err)
			}
			return &s
		}
		lower := h6.Hash().String() < other6.Hash().String()
		place := map[bool]string{true: "first", false: "second"}[first]
		bad("head-signature-"+place, fmt.Sprintf("the %s head, that another key signed, under the right id", place), CheckFork,
			NewFork(keys(g, k4), side(spoilt(h6, lower == first, "mallory", "gateway 1")), side(spoilt(other6, lower != first, "mallory", "gateway 1"))))
		bad("head-kid-"+place, fmt.Sprintf("the %s head, that names another key than signed it", place), CheckFork,
			NewFork(keys(g, k4), side(spoilt(h6, lower == first, "gateway 1", "gateway 0")), side(spoilt(other6, lower != first, "gateway 1", "gateway 0"))))
	}
	lie := side(other6)
	lie.Leaf = Hash{0xff}
	bad("hash", "a hash that is not the head's", CheckFork, NewFork(keys(g, k4), side(h6), lie))

	placed := func(l LaterHeader, leaf Hash) Side { return Side{Head: l.Header, Leaf: leaf, Path: &l.Path} }
	short := append([]Hash(nil), f.leaves[:8]...)
	short[6] = other6.Hash()
	path8, err := ProveInclusion(LeafNodes(short), 8, 6)
	if err != nil {
		t.Fatal(err)
	}
	bad("path-size", "a head at height 9, and a path in a history of eight", CheckFork, NewFork(keys(g, k4), side(h6),
		placed(LaterHeader{f.sign(9, "gateway 1", func(h *Header) { h.History = naiveRoot(short) }), path8}, other6.Hash())))
	path := f.above(9, 6, other6.Hash(), "gateway 1", unchanged)
	path.Path.Hashes[0][0] ^= 1
	bad("path", "a path that leads elsewhere", CheckFork, NewFork(keys(g, k4), side(h6), placed(path, other6.Hash())))
	bad("heights-path", "heads whose numbers fall, one of which is there to show another height by a path", CheckFork, NewFork(keys(g, k4), side(h6),
		placed(f.above(9, 7, f.leaves[7], "gateway 1", func(h *Header) { h.First = 3 }), f.leaves[7])))
	bad("heights-neighbours", "two heads of one history, one right above the other", CheckFork, NewFork(keys(g, k4), side(h6), side(f.headers[7])))
	bad("heights-key", "a head that sets the key under which the other is signed", CheckFork, NewFork(keys(g), side(k4), side(f.headers[9], k4)))
	for name, change := range map[string]struct {
		about  string
		change func(*Header)
	}{
		"link":        {"a head right above the other that names another one before it", func(h *Header) { h.Previous[0] ^= 1 }},
		"first-leaps": {"a head right above the other that begins later than that ends", func(h *Header) { h.First++ }},
	} {
		fork := NewFork(keys(g, k4), side(h6), side(f.sign(7, "gateway 1", change.change)))
		write("fork-good-"+name, vector{About: change.about, Kind: "fork", Bytes: encode(fork), Trust: trust, Expect: "ok", Height: &h6.Header.Height})
	}
	h4 := f.headers[4].Header.Height
	twin := NewFork(keys(g), side(k4), side(f.sign(9, "gateway 1", unchanged), f.sign(4, "gateway 0", func(h *Header) { h.Sealed++ })))
	write("fork-good-other-key", vector{About: "a head that sets the key, and another header at its height in the other side's list", Kind: "fork", Bytes: encode(twin), Trust: trust,
		Expect: "ok", Height: &h4})
	shared := NewFork(keys(g), side(h6, k4), side(other6, k4))
	write("fork-good-shared-key", vector{About: "a header that sets the key on both sides, in both sides' lists", Kind: "fork", Bytes: encode(shared), Trust: trust,
		Expect: "ok", Height: &h6.Header.Height})
}

// writePairVectors writes pairs of files, each of which verifies by itself: those of one history, and others.
func writePairVectors(t *testing.T, write func(string, vector)) {
	f := dishonest(t)
	trust := string(f.trust(0, "north").Format())
	honest := f.prove(f.headers[6], 0, 4)
	earlier, later := f.prove(f.headers[3], 0), f.prove(f.headers[9], 0, 4)
	bundle := f.bundleOf([]*SignedHeader{f.headers[0], f.headers[4]}, f.headers[5:8], f.headers[7])
	pair := func(name, about string, a, b []byte) {
		t.Helper()
		expect := "fail"
		if strings.HasPrefix(name, "good") {
			expect = "ok"
		}
		write("pair-"+name, vector{About: about, Kind: "pair", Bytes: a, Other: b, Trust: trust, Expect: expect})
	}
	e := f.encoded
	pair("good-one-history", "two blocks of one history", e(earlier), e(honest))
	pair("good-same", "one file twice", e(honest), e(honest))
	pair("good-bundle", "a proof and a bundle of one history", e(later), bundle)
	keys := []*SignedHeader{f.headers[0], f.headers[4]}
	other := f.sign(5, "gateway 1", func(h *Header) { h.Sealed++ })
	pair("good-inside-bundle", "a proof of a bundle's block that is not its last, whose receipted header stands above it", e(f.proofAt(5, f.receipted(9, map[string]uint64{"north": testTime}))), bundle)
	pair("bad-inside-bundle", "another header at the height of a bundle's block that is not its last", e(f.prove(other, 0, 4)), bundle)
	placed := f.prove(other, 0, 4)
	placed.Later = []LaterHeader{f.above(9, 5, other.Hash(), "gateway 1", unchanged)}
	placed.Later[0].Header = f.receipt(placed.Later[0].Header, "north", testTime)
	pair("bad-inside-bundle-path", "another header at the height of a bundle's block, in the history of a receipted one above it", bundle, e(placed))
	pair("good-below-bundle", "the header right below a bundle's first block", e(f.prove(f.headers[4], 0)), bundle)
	pair("bad-below-bundle", "another header right below a bundle's first block than that names", e(f.prove(f.sign(3, "gateway 0", func(h *Header) { h.Sealed++ }), 0)), f.bundleOf(keys, f.headers[4:6], f.headers[5]))
	pair("bad-below-bundle-numbers", "a header below a bundle's first block that has its entries", e(f.prove(f.sign(2, "gateway 0", func(h *Header) { h.First = f.headers[4].Header.First }), 0)), f.bundleOf(keys, f.headers[4:6], f.headers[5]))
	pair("good-bundles", "two bundles that overlap", f.bundleOf(keys, f.headers[5:8], f.headers[7]), f.bundleOf(keys, f.headers[6:10], f.headers[9]))
	pair("bad-bundles", "two bundles that overlap and differ at the end of the shorter one", f.bundleOf(keys, f.headers[5:10], f.headers[9]), f.bundleOf(keys, []*SignedHeader{other}, other))
	pair("good-key-above", "a key that is set above the other's highest header", e(earlier), e(f.prove(f.headers[4], 0)))
	pair("bad-height", "two headers at one height", e(honest), e(f.prove(f.sign(6, "gateway 1", func(h *Header) { h.Sealed++ }), 0, 4)))
	pair("bad-height-bundle", "another header at the height of a bundle's last block", e(f.prove(f.sign(7, "gateway 1", func(h *Header) { h.Sealed++ }), 0, 4)), bundle)
	pair("bad-first-falls", "one entry number in two blocks", e(honest), e(f.prove(f.sign(8, "gateway 1", func(h *Header) { h.First = f.headers[6].Header.First }), 0, 4)))
	pair("bad-link", "the block right above names another one", e(honest), e(f.prove(f.sign(7, "gateway 1", func(h *Header) { h.Previous[0] ^= 1 }), 0, 4)))
	pair("bad-first-leaps", "the block right above begins later than the other ends", e(honest), e(f.prove(f.sign(7, "gateway 1", func(h *Header) { h.First++ }), 0, 4)))
	pair("bad-key-left-out", "a key that was changed signs on", e(honest), e(f.prove(f.sign(9, "gateway 0", unchanged), 0)))
	pair("bad-key-of-block", "a block that sets a key, and a file above it that leaves it out", e(f.prove(f.headers[4], 0)), e(f.prove(f.sign(9, "gateway 0", unchanged), 0)))
	timed := func(height, at uint64) []byte {
		return e(f.prove(f.receipt(f.headers[height], "north", at), 0, 4))
	}
	pair("bad-times", "receipts of one aggregator with times that fall", timed(6, testTime+600), timed(9, testTime+500))
	pair("good-times", "receipts of one aggregator at one second", timed(6, testTime+600), timed(9, testTime+600))
}
