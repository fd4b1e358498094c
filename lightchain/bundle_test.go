package lightchain

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"testing"
	"time"
)

// bundle writes the blocks from .. to of the chain, with a receipted head above them.
func (c *testChain) bundle(from, to uint64, later ...*SignedHeader) [][]byte {
	c.t.Helper()
	p := c.prove(to, 0, later...)
	keys := p.Keys
	start, err := AppendBundleStart(nil, keys, c.edge(from))
	if err != nil {
		c.t.Fatal(err)
	}
	items := [][]byte{start}
	for height := from; height <= to; height++ {
		items = append(items, AppendBundleBlock(nil, c.headers[height].Bytes()))
		for _, e := range c.blocks[height] {
			items = append(items, AppendBundleEntry(nil, e))
		}
	}
	end, err := AppendBundleEnd(nil, c.headers[to], p.Later)
	if err != nil {
		c.t.Fatal(err)
	}
	return append(items, end)
}

// verifyBundle reads a bundle as a program does that has it in a file.
func verifyBundle(b []byte, t *Trust) (*BundleReport, error) {
	v := NewBundleVerifier(t)
	for len(b) > 0 {
		start, end, err := BundleItem(b)
		if err != nil {
			return nil, &CheckError{CheckDecoding, err}
		}
		if end > len(b) {
			return nil, &CheckError{CheckDecoding, errors.New("cut short")}
		}
		if err := v.Add(b[start:end]); err != nil {
			return nil, err
		}
		b = b[end:]
	}
	return v.Report()
}

func TestABundleShowsAllEntriesBetweenTwoNumbers(t *testing.T) {
	c := vectorChain(t)
	head := c.receipted(8, map[string]uint64{"north": testTime + 600})
	for to := range uint64(8) {
		if len(c.blocks[to]) == 0 {
			continue
		}
		for from := range to + 1 {
			r, err := verifyBundle(bytes.Join(c.bundle(from, to, head), nil), c.trust(1, "north"))
			if err != nil {
				t.Fatalf("blocks %d to %d: %v", from, to, err)
			}
			first, next := c.headers[from].Header.First, c.headers[to+1].Header.First
			if r.First != first || r.Next != next || r.From != from || r.To != to || *r.NotAfter != testTime+601 {
				t.Errorf("blocks %d to %d: %+v", from, to, r)
			}
		}
	}
}

func TestABundleThatIsNotWholeFails(t *testing.T) {
	c := vectorChain(t)
	head := c.receipted(8, map[string]uint64{"north": testTime + 600})
	whole := c.bundle(1, 7, head)
	trust := c.trust(1, "north")
	for i := range whole {
		without := append(append([][]byte{}, whole[:i]...), whole[i+1:]...)
		if _, err := verifyBundle(bytes.Join(without, nil), trust); err == nil {
			t.Errorf("item %d of %d may be left out", i, len(whole))
		}
		twice := append(append(append([][]byte{}, whole[:i+1]...), whole[i]), whole[i+1:]...)
		if _, err := verifyBundle(bytes.Join(twice, nil), trust); err == nil {
			t.Errorf("item %d of %d may come twice", i, len(whole))
		}
		if i+1 < len(whole) {
			swapped := append([][]byte{}, whole...)
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			if _, err := verifyBundle(bytes.Join(swapped, nil), trust); err == nil {
				t.Errorf("items %d and %d may change places", i, i+1)
			}
		}
	}
	b := bytes.Join(whole, nil)
	step := 1
	if testing.Short() {
		step = 97
	}
	for i := 0; i < len(b); i += step {
		b[i] ^= 4
		if _, err := verifyBundle(b, trust); err == nil {
			t.Errorf("byte %d may change", i)
		}
		b[i] ^= 4
	}
}

func TestABundleNamesTheCheckThatFails(t *testing.T) {
	c := vectorChain(t)
	head := c.receipted(8, map[string]uint64{"north": testTime + 600})
	other := newTestChain(t)
	other.tip.Chain[0] ^= 1 // the chains of these tests all begin alike
	for name, b := range map[Check][]byte{
		CheckEntry: bytes.Join(append(c.bundle(1, 1, head)[:2], c.bundle(1, 1, head)[3:]...), nil),
		CheckBlock: bytes.Join(append(append([][]byte{}, c.bundle(5, 7, head)[:10]...), c.bundle(7, 7, head)[1:]...), nil),
	} {
		_, err := verifyBundle(b, c.trust(0))
		var failed *CheckError
		if !errors.As(err, &failed) || failed.Check != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := verifyBundle(bytes.Join(c.bundle(1, 7, head), nil), other.trust(0))
	var failed *CheckError
	if !errors.As(err, &failed) || failed.Check != CheckChain {
		t.Errorf("another chain: %v", err)
	}
}

func TestABundleHoldsNoHeaderOfAnotherChain(t *testing.T) {
	c := vectorChain(t)
	stray := c.tip.Header(emptyRoot, 0, testTime*1e9, Clock{})
	stray.Chain[0] ^= 1
	last := *c.tip.Header(emptyRoot, 0, testTime*1e9, Clock{})
	last.Height, last.Previous = stray.Height+1, LeafHash(mustAppend(t, stray))
	signed, err := last.Sign(c.signer)
	if err != nil {
		t.Fatal(err)
	}
	start, err := AppendBundleStart(nil, keyHeaders(c, 0, stray.Height), c.edge(stray.Height))
	if err != nil {
		t.Fatal(err)
	}
	end, err := AppendBundleEnd(nil, signed, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Join([][]byte{start, AppendBundleBlock(nil, mustAppend(t, stray)), AppendBundleBlock(nil, signed.Bytes()), end}, nil)
	var failed *CheckError
	if _, err := verifyBundle(b, c.trust(0)); !errors.As(err, &failed) || failed.Check != CheckChain {
		t.Errorf("verified: %v", err)
	}
}

func mustAppend(t *testing.T, h *Header) []byte {
	t.Helper()
	b, err := h.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzBundle(f *testing.F) {
	c := vectorChain(f)
	f.Add(bytes.Join(c.bundle(1, 2), nil))
	trust := c.trust(0)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = verifyBundle(b, trust) // it must not panic; what it accepts was compared with its own encoding
	})
}

// manyEntries is a bundle of one block of entries made by make until it has so many bytes.
func manyEntries(t testing.TB, size int, entry func(i int) *Entry) (b []byte, trust *Trust) {
	c := newTestChain(t)
	var all []*Entry
	for n := 0; n < size; {
		e := entry(len(all))
		all = append(all, e)
		encoded, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		n += len(encoded) + 9
	}
	c.sealEntries(all, nil)
	return bytes.Join(c.bundle(1, 1), nil), c.trust(0)
}

// emptyBlocks is a bundle of blocks without entries from a height on, until it has so many bytes, each with extra bytes of unknown
// fields.
func emptyBlocks(t testing.TB, from uint64, size, extra int) (b []byte, trust *Trust) {
	c := newTestChain(t)
	edge := c.edge(1)
	if from > 1 {
		edge = make([]Hash, bits.OnesCount64(from)) // whoever makes a file needs no headers for it
	}
	below, err := NewCompactRange(from, edge)
	if err != nil {
		t.Fatal(err)
	}
	var all []Header
	blocks, tip := []byte(nil), *c.tip
	tip.Height, tip.History = from-1, below
	for len(blocks) < size {
		h := *tip.Header(emptyRoot, 0, testTime, Clock{})
		if extra > 0 {
			h.Extra = []Field{{Key: 99, Raw: appendBytes(nil, make([]byte, extra))}}
		}
		encoded, err := h.Append(nil)
		if err == nil {
			err = tip.Extend(&h, LeafHash(encoded), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		all, blocks = append(all[:0], h), AppendBundleBlock(blocks, encoded)
	}
	last, err := all[0].Sign(testSigner("gateway 0"))
	if err != nil {
		t.Fatal(err)
	}
	start, err := AppendBundleStart(nil, c.headers[:1], edge)
	if err != nil {
		t.Fatal(err)
	}
	end, err := AppendBundleEnd(nil, last, nil)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Join([][]byte{start, blocks, end}, nil), c.trust(0)
}

// What a bundle of 32 MiB costs, whatever it holds. Next to each figure stands how many times that of its hash it is, and of the
// hashes of its tree, which no verifier can do without.
func BenchmarkVerifyBundle(b *testing.B) {
	const size = 32 << 20
	noted := func(i int, signature string) *Entry {
		e := &Entry{Source: SourceNote, Flags: ByAgent, Payload: fmt.Appendf(nil, `{"who":"x","when":"2026-11-28T20:41:48Z","text":"%d"`, i)}
		if signature != "" {
			e.Payload = append(e.Payload, `,"signature":"`+signature+`"`...)
		}
		e.Payload = append(e.Payload, '}')
		return e
	}
	i := 0
	forged := func(name string) string {
		i++
		return signAs(name, nil, func(p *sshParts) {
			var sig [64]byte
			binary.BigEndian.PutUint64(sig[:], uint64(i))
			copy(sig[32:], "\x01")
			p.sig = string(sig[:])
		})
	}
	head := fmt.Sprintf(`,"head":[0,"%s"]`, Hash{})
	entries := func(entry func(i int) *Entry) func() ([]byte, *Trust) {
		return func() ([]byte, *Trust) { return manyEntries(b, size, entry) }
	}
	for _, c := range []struct {
		name string
		make func() ([]byte, *Trust)
	}{
		{"large", entries(func(i int) *Entry { return &Entry{Payload: make([]byte, 1<<20)} })},
		{"readings", entries(func(i int) *Entry { return testEntry(uint64(i)) })},
		{"least", entries(func(int) *Entry { return new(Entry) })},
		{"most readings", entries(func(int) *Entry { return &Entry{Readings: make([]Reading, 1000)} })},
		{"unsigned", entries(func(i int) *Entry { return noted(i, "") })},
		{"stranger", entries(func(i int) *Entry { return noted(i, forged("bert")) })},
		{"forged", entries(func(i int) *Entry { return noted(i, forged("anna")) })},
		{"heads", entries(func(i int) *Entry {
			e := noted(i, forged("bert"))
			e.Payload = append(e.Payload[:len(e.Payload)-1], head+"}"...)
			return e
		})},
		{"empty blocks", func() ([]byte, *Trust) { return emptyBlocks(b, 1, size, 0) }},
		{"empty blocks far above", func() ([]byte, *Trust) { return emptyBlocks(b, 1<<63-1<<19, size, 0) }},
		{"unknown fields", func() ([]byte, *Trust) { return emptyBlocks(b, 1, size, 1700) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			file, trust := c.make()
			trust.Persons = []Person{{"anna", testSigner("anna").Public()}}
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := verifyBundle(file, trust); err != nil {
					b.Fatal(err)
				}
			}
			// The shortest of several each: other programs make none shorter.
			all, hash, tree := time.Hour, time.Hour, time.Hour
			shortest := func(d *time.Duration, of func()) {
				begin := time.Now()
				of()
				*d = min(*d, time.Since(begin))
			}
			for range 8 {
				shortest(&all, func() { _, _ = verifyBundle(file, trust) })
				shortest(&hash, func() { sha256.Sum256(file) })
				shortest(&tree, func() { hashTree(b, file) })
			}
			b.ReportMetric(float64(all)/float64(hash), "×hash")
			b.ReportMetric(float64(all)/float64(tree), "×tree")
		})
	}
}

// hashTree computes what a bundle's verifier must hash: each header, each entry, each node above, and what
// each header commits to of those below it.
func hashTree(t testing.TB, file []byte) {
	var r, below CompactRange
	for len(file) > 0 {
		start, end, err := BundleItem(file)
		if err != nil {
			t.Fatal(err)
		}
		leaf := LeafHash(file[start:end])
		if r.Append(leaf, nil); file[start+1] == itemBlock {
			r = CompactRange{}
			if header, _ := BundleContent(file[start:end]); below.Size() == 0 {
				h, err := DecodeHeader(header)
				if err == nil {
					below, err = NewCompactRange(h.Height, make([]Hash, bits.OnesCount64(h.Height)))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			_ = below.Root()
			below.Append(leaf, nil)
		}
		file = file[end:]
	}
	_ = r.Root()
}

// A verifier's time is bounded by what it must hash: for an entry or a block more in a bundle it allocates nothing, so that none
// costs much more than its bytes.
func TestABundlesItemsAreCheckedWithoutAllocating(t *testing.T) {
	allocations := func(make func(size int) ([]byte, *Trust), size int) float64 {
		file, trust := make(size)
		return testing.AllocsPerRun(3, func() {
			if _, err := verifyBundle(file, trust); err != nil {
				t.Fatal(err)
			}
		})
	}
	for name, make := range map[string]func(size int) ([]byte, *Trust){
		"readings": func(size int) ([]byte, *Trust) {
			return manyEntries(t, size, func(i int) *Entry { return testEntry(uint64(i)) })
		},
		"many readings": func(size int) ([]byte, *Trust) {
			return manyEntries(t, size, func(int) *Entry {
				return &Entry{Decoder: "json/2", Readings: []Reading{{Device: "d", Name: "n", Value: Text("x"), Meaning: new(Hash)}, {Value: Bytes([]byte("x"))}}}
			})
		},
		"empty blocks": func(size int) ([]byte, *Trust) { return emptyBlocks(t, 1, size, 0) },
	} {
		few, many := allocations(make, 20<<10), allocations(make, 400<<10)
		if many > few+100 { // maps and slices that grow
			t.Errorf("%s: %v allocations in 20 KiB, %v in 400 KiB", name, few, many)
		}
	}
}

// A bundle is read once and judged for several people: by what each asks for, whoever came before.
func TestABundleIsJudgedForSeveralPeople(t *testing.T) {
	c := vectorChain(t)
	head := c.receipted(8, map[string]uint64{"north": testTime + 600})
	trust, strict := c.trust(1, "north"), c.trust(2, "north")
	stranger := &Trust{Aggregators: trust.Aggregators}
	v := NewBundleVerifier(strict)
	entries, next := 0, uint64(0)
	for _, item := range c.bundle(1, 7, head) {
		start, end, err := BundleItem(item)
		if err == nil {
			err = v.Add(item[start:end])
		}
		if err != nil {
			t.Fatal(err)
		}
		header, entry := BundleContent(item[start:end])
		if header != nil {
			h, err := DecodeHeader(header)
			if err != nil {
				t.Fatal(err)
			}
			next = h.First + h.Count
		}
		if entry != nil {
			entries++
		}
	}
	if first := c.headers[1].Header.First; uint64(entries) != next-first {
		t.Errorf("%d entries, want those from %d up to %d", entries, first, next)
	}
	for range 2 {
		if _, err := v.Report(); !errors.Is(err, CheckReceipts) {
			t.Errorf("for whoever asks for two receipts: %v", err)
		}
		if _, err := v.ReportFor(stranger); !errors.Is(err, CheckChain) {
			t.Errorf("for whoever trusts no chain: %v", err)
		}
		if r, err := v.ReportFor(trust); err != nil || r.Quorum != 1 || r.NotAfter == nil {
			t.Errorf("for whoever asks for one receipt: %+v (%v)", r, err)
		}
	}
}
