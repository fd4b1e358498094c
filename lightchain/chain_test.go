package lightchain

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"testing"
)

// testSigner returns the key that a name stands for, always the same.
func testSigner(name string) Signer {
	seed := sha256.Sum256([]byte("edgechain test key " + name))
	s, err := NewSigner(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return s
}

const testTime = 1_700_000_000 // seconds

// testChain is a whole chain in memory, receipts and all, from which proofs are made.
type testChain struct {
	t       testing.TB
	tip     *Tip
	signer  Signer
	headers []*SignedHeader // by height, without receipts
	leaves  []Hash          // of the headers
	blocks  [][][]byte      // encoded entries by height
	beacons map[uint64][]*SignedHeader
}

func newTestChain(t testing.TB) *testChain {
	c := &testChain{t: t, signer: testSigner("gateway 0"), beacons: map[uint64][]*SignedHeader{}}
	name := "press-hall-3"
	g := NewGenesis(Genesis{Name: &name, Nonce: [16]byte{1, 2, 3}}, c.signer.Public(), testTime*1e9, Clock{ClockSynchronised, 1, 1e9})
	signed, err := g.Sign(c.signer)
	if err != nil {
		t.Fatal(err)
	}
	if c.tip, err = Begin(signed); err != nil {
		t.Fatal(err)
	}
	c.headers, c.leaves, c.blocks = []*SignedHeader{signed}, []Hash{signed.Hash()}, [][][]byte{nil}
	return c
}

// testEntry returns an entry that is different for each number.
func testEntry(number uint64) *Entry {
	seed := Seed{7}
	e := &Entry{
		Salt:     seed.Salt(number),
		Received: (testTime + 1 + int64(number)) * 1e9,
		Source:   "broker:-/press-07:factory/line1/press-07",
		Payload:  fmt.Appendf(nil, `{"temperature":%d.5}`, number),
		Readings: []Reading{{Device: "press-07", Name: "temperature", Unit: "Cel", Value: Float(float64(number) + 0.5)}},
	}
	if number%3 == 1 {
		e.Flags, e.Payload, e.Readings = NotUnderstood|QoS0, []byte{0xff, byte(number)}, nil
	}
	return e
}

// seal adds a block of n entries; change, which may be nil, has the last word on its header.
func (c *testChain) seal(n int, change func(*Header)) *SignedHeader {
	c.t.Helper()
	var entries []*Entry
	for i := range n {
		entries = append(entries, testEntry(c.tip.Next+uint64(i)))
	}
	return c.sealEntries(entries, change)
}

// sealEntries adds a block of these entries.
func (c *testChain) sealEntries(all []*Entry, change func(*Header)) *SignedHeader {
	c.t.Helper()
	var entries [][]byte
	var block CompactRange
	for _, e := range all {
		b, err := e.Append(nil)
		if err != nil {
			c.t.Fatal(err)
		}
		entries = append(entries, b)
		block.Append(LeafHash(b), nil)
	}
	h := c.tip.Header(block.Root(), uint64(len(all)), (testTime+60*int64(c.tip.Height+1))*1e9, Clock{ClockSynchronised, 1, 60e9 * (c.tip.Height + 1)})
	if change != nil {
		change(h)
	}
	signed, err := h.Sign(c.signer)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := signed.Check(c.tip.Key); err != nil {
		c.t.Fatal(err)
	}
	if err := c.tip.Extend(h, signed.Hash(), nil); err != nil {
		c.t.Fatal(err)
	}
	c.headers, c.leaves, c.blocks = append(c.headers, signed), append(c.leaves, signed.Hash()), append(c.blocks, entries)
	return signed
}

// rotate seals a block that hands over to the key that name stands for.
func (c *testChain) rotate(n int, name string) {
	next := testSigner(name)
	key := next.Public()
	c.seal(n, func(h *Header) { h.NextKey = &key })
	c.signer = next
}

// receipted returns the header at height with the receipts of the named aggregators, each at its time.
func (c *testChain) receipted(height uint64, times map[string]uint64) *SignedHeader {
	c.t.Helper()
	h := *c.headers[height]
	h.Receipts = nil
	for name, at := range times {
		r, err := h.Countersign(testSigner(name), name, at)
		if err != nil {
			c.t.Fatal(err)
		}
		h.Receipts = append(h.Receipts, r)
	}
	SortReceipts(h.Receipts)
	return &h
}

// beacon returns what a header says and a proof shows for the receipts of times, all on the header at height.
func (c *testChain) beacon(height uint64, times map[string]uint64) (*Hash, []*SignedHeader) {
	c.t.Helper()
	all := c.receipted(height, times)
	hash, err := Beacon(all.Receipts)
	if err != nil {
		c.t.Fatal(err)
	}
	var headers []*SignedHeader
	for i := range all.Receipts {
		one := *all
		one.Receipts = all.Receipts[i : i+1]
		headers = append(headers, &one)
	}
	return &hash, headers
}

// edge returns the edge of the tree over the headers below a height.
func (c *testChain) edge(height uint64) []Hash { return edgeOf(c.leaves[:height]) }

func edgeOf(leaves []Hash) []Hash {
	var r CompactRange
	for _, h := range leaves {
		r.Append(h, nil)
	}
	return r.Edge()
}

// prove returns the proof of an entry, with the given later headers.
func (c *testChain) prove(height, index uint64, later ...*SignedHeader) *Proof {
	c.t.Helper()
	var leaves []Hash
	for _, e := range c.blocks[height] {
		leaves = append(leaves, LeafHash(e))
	}
	path, err := ProveInclusion(LeafNodes(leaves), uint64(len(leaves)), index)
	if err != nil {
		c.t.Fatal(err)
	}
	p := &Proof{Entry: c.blocks[height][index], EntryPath: path, Header: c.headers[height], Beacon: c.beacons[height]}
	highest := height
	for _, l := range later {
		path, err := ProveInclusion(LeafNodes(c.leaves), l.Header.Height, height)
		if err != nil {
			c.t.Fatal(err)
		}
		p.Later = append(p.Later, LaterHeader{l, path})
		highest = l.Header.Height
	}
	for _, h := range c.headers[:highest] {
		if h.Header.NextKey != nil {
			p.Keys = append(p.Keys, h)
		}
	}
	return p
}

// trust believes the chain and the named aggregators.
func (c *testChain) trust(quorum uint64, names ...string) *Trust {
	t := &Trust{Chains: []ChainID{c.tip.Chain}, Quorum: quorum}
	for _, name := range names {
		t.Aggregators = append(t.Aggregators, Aggregator{name, testSigner(name).Public()})
	}
	return t
}
