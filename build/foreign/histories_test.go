package foreign

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"edgechain.example/lightchain"
)

// A history is a chain whose headers are all there, of which others begin anywhere.
type history struct {
	*maker
	t       *testing.T
	name    string
	signer  lightchain.Signer
	spare   []string // names of keys to come
	headers []*lightchain.SignedHeader
	by      []lightchain.Signer // who signed them
	entries [][]byte            // one a block, but for genesis
	leaves  leafMap             // what the next header says of those below it
}

func newHistory(t *testing.T, m *maker) *history {
	t.Helper()
	h := &history{maker: m, t: t, name: "the first", signer: m.signers["gateway 0"], spare: []string{"gateway 1", "gateway 2", "mallory", "a", "b"}, leaves: leafMap{}}
	h.sign(lightchain.NewGenesis(lightchain.Genesis{Nonce: [16]byte{byte(m.rng.Uint32())}}, h.signer.Public(), 5, lightchain.Clock{Boot: 1}), nil)
	return h
}

func (h *history) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *history) sign(header *lightchain.Header, entry []byte) {
	h.t.Helper()
	s, err := header.Sign(h.signer)
	h.check(err)
	h.leaves[uint64(len(h.headers))] = s.Hash()
	h.headers, h.by, h.entries = append(h.headers, s), append(h.by, h.signer), append(h.entries, entry)
}

// grow adds blocks of one entry each.
func (h *history) grow(blocks int) {
	h.t.Helper()
	for range blocks {
		height := uint64(len(h.headers))
		e := lightchain.Entry{Source: "agent:x", Payload: fmt.Append(nil, h.name, height), Flags: lightchain.NotUnderstood}
		entry, err := e.Append(nil)
		h.check(err)
		header := &lightchain.Header{Chain: h.headers[0].ChainID(), Height: height, Previous: h.headers[height-1].Hash(), History: h.leaves.root(0, height),
			Root: lightchain.LeafHash(entry), First: height - 1, Count: 1, Sealed: 7, Clock: lightchain.Clock{Boot: 1}}
		next := h.signer
		if h.rng.IntN(9) == 0 && len(h.spare) > 0 {
			next, h.spare = h.signers[h.spare[0]], h.spare[1:]
			key := next.Public()
			header.NextKey = &key
		}
		h.sign(header, entry)
		h.signer = next
	}
}

// branch is another history from the newest header on.
func (h *history) branch(name string) *history {
	c := *h
	c.name, c.headers, c.by, c.entries, c.leaves = name, slices.Clone(h.headers), slices.Clone(h.by), slices.Clone(h.entries), maps.Clone(h.leaves)
	return &c
}

// shown is a file that verifies, and what it says of its chain.
type shown struct {
	of     *history
	about  string
	file   []byte
	odd    bool
	signed []*lightchain.SignedHeader
	keys   []*lightchain.SignedHeader
	top    uint64                     // its highest header
	blocks []*lightchain.SignedHeader // of a bundle
}

func (h *history) later(s *shown, height uint64) (above []lightchain.LaterHeader) {
	for at := height + 1; at < uint64(len(h.headers)) && len(above) < 3; at++ {
		if h.rng.IntN(6) == 0 {
			with := *h.headers[at]
			r, err := with.Countersign(h.signers["north"], "north", 1000+at)
			h.check(err)
			with.Receipts = []lightchain.Receipt{r}
			above = append(above, lightchain.LaterHeader{Header: &with, Path: h.leaves.path(at, height)})
			s.signed, s.top = append(s.signed, h.headers[at]), at
		}
	}
	return above
}

func (h *history) setters(s *shown) {
	for _, k := range h.headers[:s.top] {
		if k.Header.NextKey != nil {
			s.keys, s.signed = append(s.keys, k), append(s.signed, k)
		}
	}
}

func (h *history) bundle() *shown {
	h.t.Helper()
	n := uint64(len(h.headers))
	from := h.rng.Uint64N(n - 1)
	to := max(1, from+h.rng.Uint64N(n-from))
	s := &shown{of: h, about: fmt.Sprintf("blocks %d to %d of %s", from, to, h.name), signed: []*lightchain.SignedHeader{h.headers[to]}, top: to, blocks: h.headers[from : to+1]}
	above := h.later(s, to)
	h.setters(s)
	edge := h.leaves.edge(from, func(_, _ uint64, _ lightchain.Hash) {})
	b, err := lightchain.AppendBundleStart(nil, s.keys, edge)
	h.check(err)
	for height := from; height <= to; height++ {
		if b = lightchain.AppendBundleBlock(b, h.headers[height].Bytes()); height > 0 {
			b = lightchain.AppendBundleEntry(b, h.entries[height])
		}
	}
	s.file, err = lightchain.AppendBundleEnd(b, h.headers[to], above)
	h.check(err)
	return s
}

// proof proves an entry, now and then under a header of which nobody else knows.
func (h *history) proof() *shown {
	h.t.Helper()
	at := 1 + h.rng.Uint64N(uint64(len(h.headers))-1)
	s := &shown{of: h, about: fmt.Sprintf("block %d of %s", at, h.name), top: at}
	p := lightchain.Proof{Entry: h.entries[at], EntryPath: lightchain.Path{Size: 1}, Header: h.headers[at]}
	if s.odd = h.rng.IntN(3) == 0; s.odd {
		header := p.Header.Header
		switch h.rng.IntN(4) {
		case 0:
			header.Sealed++
		case 1:
			header.First++
		case 2:
			header.First -= min(header.First, 1)
		case 3:
			header.Previous[0] ^= 1
		}
		var err error
		p.Header, err = header.Sign(h.by[at])
		h.check(err)
		s.about += ", another header"
	} else {
		p.Later = h.later(s, at)
	}
	s.signed = append(s.signed, p.Header)
	h.setters(s)
	p.Keys = s.keys
	var err error
	s.file, err = p.Append(nil)
	h.check(err)
	return s
}

// apart reports whether no history holds two headers, by what they show themselves.
func apart(a, b *lightchain.SignedHeader) bool {
	x, y := a.Header, b.Header
	switch {
	case x.Height > y.Height:
		return apart(b, a)
	case x.Height == y.Height:
		return a.Hash() != b.Hash()
	case x.Height+1 == y.Height:
		return y.Previous != a.Hash() || y.First != x.First+x.Count
	}
	return y.First < x.First+x.Count
}

// apart reports whether two files cannot be of one history, each header of one against each of the other, and whether there must
// be evidence of it.
func (s *shown) apart(other *shown) (told, evidence bool) {
	for _, pair := range [][2]*shown{{s, other}, {other, s}} {
		for _, one := range pair[0].signed {
			height := one.Header.Height
			for _, b := range pair[1].signed {
				evidence = evidence || apart(one, b)
			}
			if one.Header.NextKey != nil && height < pair[1].top {
				evidence = evidence || !slices.ContainsFunc(pair[1].keys, func(k *lightchain.SignedHeader) bool { return k.Hash() == one.Hash() })
			}
			for i, b := range pair[1].blocks {
				evidence = evidence || b.Header.Height == height && apart(one, b)
				if i == 0 && height < b.Header.Height && apart(one, b) {
					told = true // and the edge of an odd height shows the header right below it
					evidence = evidence || height+1 == b.Header.Height && height&1 == 0 && one.Hash() != b.Header.Previous
				}
			}
		}
	}
	return told || evidence, evidence
}

// forks returns the evidence that two files of one chain show together.
func forks(t *testing.T, a, b said, trust *lightchain.Trust) (all [][]byte) {
	t.Helper()
	add := func(f *lightchain.Fork) {
		encoded, err := f.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, encoded)
	}
	if f := lightchain.Contradiction(a.sides, b.sides, trust); f != nil {
		add(f)
	}
	for _, pair := range [][2]said{{a, b}, {b, a}} {
		if pair[0].blocks == nil {
			continue
		}
		for i := range pair[1].sides {
			if why, _ := pair[0].blocks.Apart(&pair[1].sides[i]); why == nil {
				continue
			} else if f, err := pair[0].blocks.Evidence(&pair[1].sides[i]); err == nil {
				add(f)
			}
		}
	}
	return all
}

// Files of three histories of a chain, the third of which lies about a header that stands far below, and proofs under headers of no
// history: both verifiers find what a third reckoning finds that knows all headers; and where two signed headers show it, or one
// and a block of a bundle or what its edge shows of the header below, there is evidence, which both take.
func TestBothVerifiersTellHistoriesApart(t *testing.T) {
	worlds := 12
	if testing.Short() {
		worlds = 2
	}
	m := newMaker(t, 4)
	pairs, told, evidence := 0, 0, 0
	compare(t, func(yield func(question) bool) {
		for range worlds {
			first := newHistory(t, m)
			first.grow(3 + m.rng.IntN(20))
			second := first.branch("the second")
			first.grow(2 + m.rng.IntN(20))
			second.grow(2 + m.rng.IntN(20))
			third := first.branch("a liar")
			below := m.rng.Uint64N(uint64(len(third.headers)))
			lied := third.leaves[below]
			lied[0] ^= 1
			third.leaves[below] = lied
			third.grow(2 + m.rng.IntN(12))
			text := []byte("chain " + first.headers[0].ChainID().String() + "\n")
			trust, err := lightchain.ParseTrust(text)
			if err != nil {
				t.Fatal(err)
			}
			var files []*shown
			for len(files) < 12 {
				h := []*history{first, second, third}[m.rng.IntN(3)]
				s := h.proof()
				if m.rng.IntN(3) > 0 {
					s = h.bundle()
				}
				q := question{Trust: text, File: s.file, about: s.about}
				if !yield(q) {
					return
				}
				if fail := ask(q).Fail; fail == "" {
					files = append(files, s)
				} else if !s.odd && h != third {
					t.Errorf("%s fails at %q", s.about, fail)
				}
			}
			for i, a := range files {
				for _, b := range files[:i] {
					q := question{Trust: text, File: a.file, Other: b.file, about: a.about + " and " + b.about}
					want, shows := a.apart(b)
					if got := ask(q).Apart; got != want {
						t.Errorf("%s: apart %t, not %t", q.about, got, want)
					}
					if want && a.of == b.of && a.of != third && !a.odd && !b.odd {
						t.Errorf("%s: of one history, and apart", q.about)
					}
					if !yield(q) {
						return
					}
					if pairs++; !want {
						continue
					}
					told++
					_, one := judge(a.file, trust)
					_, other := judge(b.file, trust)
					found := forks(t, one, other, trust)
					if shows && len(found) == 0 {
						t.Errorf("%s: no evidence", q.about)
					}
					for _, f := range found {
						q := question{Trust: text, File: f, about: "evidence of " + q.about}
						if fail := ask(q).Fail; fail != "" {
							t.Errorf("%s fails at %q", q.about, fail)
						}
						if evidence++; !yield(q) {
							return
						}
					}
				}
			}
		}
	})
	t.Logf("%d pairs, %d apart, %d pieces of evidence", pairs, told, evidence)
	if told < pairs/5 || told > pairs*4/5 || evidence < told {
		t.Error("they say too little")
	}
}
