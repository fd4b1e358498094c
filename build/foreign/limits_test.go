package foreign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"os"
	"testing"

	"edgechain.example/lightchain"
)

const (
	mebibyte = 1 << 20
	setting  = 1024 // headers that set the key, at most
)

// keyChain is a chain of which each header sets the key, to one that it has not had.
type keyChain struct {
	t       *testing.T
	m       *maker
	tip     *lightchain.Tip
	headers []*lightchain.SignedHeader
}

func newKeyChain(t *testing.T) *keyChain {
	c := &keyChain{t: t, m: newMaker(t, 1)}
	g, err := lightchain.NewGenesis(lightchain.Genesis{}, c.signer(0).Public(), 0, lightchain.Clock{}).Sign(c.signer(0))
	if err == nil {
		c.tip, err = lightchain.Begin(g)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.headers = append(c.headers, g)
	return c
}

// signer returns the key that signs the header at a height.
func (c *keyChain) signer(height int) lightchain.Signer {
	c.t.Helper()
	seed := sha256.Sum256(fmt.Append(nil, "limits ", max(0, height-1)))
	s, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// seal adds a header with an entry, whose hash is the root, or with none.
func (c *keyChain) seal(entry []byte, sets bool, change func(*lightchain.Header)) {
	c.t.Helper()
	root, count := lightchain.EmptyRoot(), uint64(0)
	if entry != nil {
		root, count = lightchain.LeafHash(entry), 1
	}
	h := c.tip.Header(root, count, 1, lightchain.Clock{Boot: 1})
	if sets {
		next := c.signer(len(c.headers) + 1).Public()
		h.NextKey = &next
	}
	if change != nil {
		change(h)
	}
	signed, err := h.Sign(c.signer(len(c.headers)))
	if err == nil {
		err = c.tip.Extend(h, signed.Hash(), nil)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.headers = append(c.headers, signed)
}

// prove returns the proof of the newest header's entry, with the first of the headers that set the key.
func (c *keyChain) prove(entry []byte, keys int) []byte {
	c.t.Helper()
	p := lightchain.Proof{Entry: entry, EntryPath: lightchain.Path{Size: 1}, Header: c.headers[len(c.headers)-1], Keys: c.headers[:keys]}
	b, err := p.Append(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// with returns a file whose item, which change is given, is another.
func with(b []byte, change func(root *node)) []byte {
	root, _ := parse(b, 0)
	change(root)
	return root.encode(nil)
}

func inBytes(b []byte) *node { return &node{head: []byte{majorBytes << 5}, content: b} }

func (c *keyChain) encode(h *lightchain.SignedHeader) *node {
	b, err := h.Encode()
	if err != nil {
		c.t.Fatal(err)
	}
	return inBytes(b)
}

// entryOfSize returns an entry of so many bytes.
func entryOfSize(size int) []byte {
	head := append([]byte{0x87, 0x50}, make([]byte, 16)...)
	head = append(head, 0x00, 0x60, 0x00)
	payload := size - len(head) - 5 - 2
	return append(append(appendHead(head, majorBytes, uint64(payload)), make([]byte, payload)...), 0x60, 0x80)
}

// What is at a limit of the page is taken by both verifiers, and what is above it refused. The files are too long to be
// published.
func TestBothVerifiersKeepTheLimits(t *testing.T) {
	if testing.Short() {
		t.Skip("files of 32 MiB")
	}
	type file struct {
		about string
		b     []byte
		fail  string
	}
	var files []file
	c := newKeyChain(t)
	one := func(about string, entry []byte, fail string) {
		c := newKeyChain(t)
		c.seal(entry, false, nil)
		files = append(files, file{about, c.prove(entry, 1), fail})
	}
	one("an entry of 16 MiB", entryOfSize(16*mebibyte), "")
	one("an entry of 16 MiB and a byte", entryOfSize(16*mebibyte+1), "decoding")
	for _, n := range []int{65535, 65536} {
		reading := []byte{0x86, 0x60, 0x60, 0x60, 0x00, 0xf6, 0x00}
		head := append(append([]byte{0x87, 0x50}, make([]byte, 16)...), 0x00, 0x60, 0x00, 0x40, 0x60)
		fail := map[int]string{65536: "decoding"}[n]
		one(text(n)+" readings", append(appendHead(head, majorArray, uint64(n)), bytes.Repeat(reading, n)...), fail)
	}

	small := entryOfSize(100)
	c.seal(small, false, nil)
	proof := c.prove(small, 1)
	outside := func(pieces, size int) []byte {
		return with(proof, func(root *node) {
			list := &node{head: []byte{majorArray << 5}}
			for range pieces {
				list.kids = append(list.kids, &node{head: []byte{majorArray << 5}, kids: []*node{{head: []byte{0x61}, content: []byte("x")}, {head: []byte{0}}, inBytes(make([]byte, size))}})
			}
			root.kids = append(root.kids, &node{head: []byte{8}}, list)
		})
	}
	files = append(files, file{"evidence of 1 MiB", outside(1, mebibyte), ""}, file{"evidence of 1 MiB and a byte", outside(1, mebibyte+1), "decoding"})

	// 16 pieces of evidence beside an entry that fills up to 32 MiB.
	around := len(outside(16, mebibyte)) - len(small) + 3 // a longer length before the entry
	c = newKeyChain(t)
	large := entryOfSize(32*mebibyte - around)
	c.seal(large, false, nil)
	proof = c.prove(large, 1)
	whole := outside(16, mebibyte)
	files = append(files, file{"a proof of 32 MiB", whole, ""})
	c = newKeyChain(t)
	large = entryOfSize(32*mebibyte - around + 1)
	c.seal(large, false, nil)
	proof = c.prove(large, 1)
	longer := outside(16, mebibyte)
	hollow := append([]byte{0xa5, 1, 1, 2, 0x9a, 0x01, 0xef, 0, 0}, bytes.Repeat([]byte{0x80}, 32*mebibyte-9)...)
	files = append(files, file{"a proof of 32 MiB and a byte", longer, "decoding"}, file{"a proof of empty arrays", hollow, "decoding"})
	if len(whole) != 32*mebibyte || len(longer) != 32*mebibyte+1 {
		t.Fatalf("proofs of %d and %d bytes", len(whole), len(longer))
	}

	c = newKeyChain(t)
	for range setting - 1 {
		c.seal(nil, true, nil)
	}
	c.seal(small, true, nil) // at height 1024: the last header that a bundle or list below has
	block := c.headers[setting]
	files = append(files, file{"1,024 headers that set the key", c.prove(small, setting), ""})
	wholeRun := func(from int) []byte {
		b, err := lightchain.AppendBundleStart(nil, c.headers[:setting], edgeBelow(c.headers[:from]))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range c.headers[from : setting+1] {
			b = lightchain.AppendBundleBlock(b, h.Bytes())
		}
		b = lightchain.AppendBundleEntry(b, small)
		end, err := lightchain.AppendBundleEnd(nil, block, nil)
		if err != nil {
			t.Fatal(err)
		}
		return append(b, end...)
	}
	files = append(files, file{"a run of 1,024 blocks that set the key", wholeRun(1), ""}, file{"a run of 1,025 blocks that set the key", wholeRun(0), "keys"})
	c.seal(small, false, nil)
	tooMany := with(c.prove(small, setting), func(root *node) {
		five := root.value(5)
		five.kids = append(five.kids, c.encode(block))
	})
	files = append(files, file{"1,025 headers that set the key", tooMany, "decoding"})

	head := c.headers[setting+1]
	moved := head.Header
	moved.Sealed++
	other, err := moved.Sign(c.signer(setting + 1))
	if err != nil {
		t.Fatal(err)
	}
	// A list of the key that the heads are not signed under any more would be refused for that.
	low, err := lightchain.NewFork(c.headers[:setting], lightchain.Side{Head: block, Leaf: block.Hash()}, func() lightchain.Side {
		twin := block.Header
		twin.Sealed++
		signed, err := twin.Sign(c.signer(setting))
		if err != nil {
			t.Fatal(err)
		}
		return lightchain.Side{Head: signed, Leaf: signed.Hash()}
	}()).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	high, err := lightchain.NewFork(c.headers[:setting], lightchain.Side{Head: head, Leaf: head.Hash()}, lightchain.Side{Head: other, Leaf: other.Hash()}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	high = with(high, func(root *node) {
		two := root.value(2)
		two.kids = append(two.kids, c.encode(block))
	})
	files = append(files, file{"a fork with 1,024 headers that set the key", low, ""}, file{"a fork with 1,025 headers that set the key", high, "decoding"})

	chain := func(b []byte) []byte { // of whichever chain the file is: each has its own genesis
		sum := sha256.Sum256(append([]byte{0}, b...))
		return []byte("chain " + lightchain.ChainID(sum).String() + "\n")
	}
	trust := chain(c.headers[0].Bytes())
	asked, _ := compare(t, func(yield func(question) bool) {
		for _, f := range files {
			q := question{Trust: trust, File: f.b, about: f.about}
			if got := ask(q); got.Fail != f.fail {
				t.Errorf("%s: %q fails, not %q", f.about, got.Fail, f.fail)
			}
			if !yield(q) {
				return
			}
		}
	})
	if asked != len(files) {
		t.Errorf("%d of %d files were judged", asked, len(files))
	}
}

// edgeBelow returns the edge of the tree over these headers.
func edgeBelow(headers []*lightchain.SignedHeader) []lightchain.Hash {
	var r lightchain.CompactRange
	for _, h := range headers {
		r.Append(h.Hash(), nil)
	}
	return r.Edge()
}

// A note's header is compared with the 65,536 blocks before its own.
func TestBothVerifiersKeepAsManyBlocksInMind(t *testing.T) {
	if testing.Short() {
		t.Skip("a bundle of 65,540 blocks")
	}
	const back, last = 65536, 65540
	c := newKeyChain(t)
	start, err := lightchain.AppendBundleStart(nil, c.headers, edgeBelow(c.headers[:1]))
	if err != nil {
		t.Fatal(err)
	}
	b, hashes := start, []lightchain.Hash{c.headers[0].Hash()}
	var entries [][]byte
	for height := uint64(1); height <= last; height++ {
		root, count := lightchain.EmptyRoot(), uint64(0)
		if height == last {
			for _, named := range []uint64{last - back, last - back - 1} {
				e := lightchain.Entry{Source: lightchain.SourceNote, Payload: fmt.Appendf(nil, `{"who":"x","when":"2026-11-28T20:41:48Z","head":[%d,"%s"]}`, named, hashes[named])}
				encoded, err := e.Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				entries = append(entries, encoded)
			}
			root, count = lightchain.NodeHash(lightchain.LeafHash(entries[0]), lightchain.LeafHash(entries[1])), 2
		}
		h := c.tip.Header(root, count, 1, lightchain.Clock{Boot: 1})
		encoded, err := h.Append(nil)
		if err == nil {
			err = c.tip.Extend(h, lightchain.LeafHash(encoded), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, lightchain.LeafHash(encoded))
		b = lightchain.AppendBundleBlock(b, encoded)
		if height < last {
			continue
		}
		for _, e := range entries {
			b = lightchain.AppendBundleEntry(b, e)
		}
		signed, err := h.Sign(c.signer(0))
		if err == nil {
			b, err = lightchain.AppendBundleEnd(b, signed, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	q := question{Trust: []byte("chain " + c.tip.Chain.String() + "\n"), File: b, about: "65,540 blocks"}
	got := ask(q)
	if len(got.Notes) != 2 || got.Notes[0].Binding != string(lightchain.BindingSame) || got.Notes[1].Binding != string(lightchain.BindingUnseen) {
		t.Errorf("%s: %+v", got.Fail, got.Notes)
	}
	if os.Getenv("SOAK") == "" {
		return // the other verifier takes a minute for it
	}
	if asked, _ := compare(t, func(yield func(question) bool) { yield(q) }); asked != 1 {
		t.Error("it was not judged")
	}
}
