package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgechain.example/lightchain"
)

// vectorFiles are the published files of some kinds, written into a folder, by name.
type vectorFile struct {
	Kind   string
	Bytes  []byte
	Other  []byte
	Trust  string
	Expect string

	name string
}

func vectorFiles(t *testing.T, kinds ...string) (all []vectorFile) {
	t.Helper()
	names, err := filepath.Glob("../../lightchain/testdata/vectors/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no vectors (%v)", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		v := vectorFile{name: filepath.Base(name)}
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		for _, kind := range kinds {
			if v.Kind == kind {
				all = append(all, v)
			}
		}
	}
	return all
}

func writeTemp(t *testing.T, b []byte) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err == nil {
		_, err = f.Write(b)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// The program compares files by what it kept of those before; each published pair must come out as the library says, in
// either order.
func TestPublishedPairsAreToldApart(t *testing.T) {
	for _, v := range vectorFiles(t, "pair") {
		trust, a, b := writeTemp(t, []byte(v.Trust)), writeTemp(t, v.Bytes), writeTemp(t, v.Other)
		for _, files := range [][]string{{a, b}, {b, a}, {a, b, a}} {
			want := exitOK
			if v.Expect == "fail" {
				want = exitVerification
			}
			var out bytes.Buffer
			if code := run(append([]string{"--trust", trust}, files...), nil, &out, &out); code != want {
				t.Errorf("%s: exit code %d, want %d\n%s", v.name, code, want, &out)
			}
		}
	}
}

// What is kept of the files before is no more than finds a contradiction, and must find each one: of any few files, in any
// order, the program tells of one where the library, which compares each with each, does.
func TestNoContradictionIsLostAmongSeveralFiles(t *testing.T) {
	byChain := map[lightchain.ChainID][]outcome{}
	none := func(chains []lightchain.ChainID) *lightchain.Trust { return &lightchain.Trust{Chains: chains} }
	for _, v := range vectorFiles(t, "proof", "bundle", "pair") {
		for _, b := range [][]byte{v.Bytes, v.Other} {
			trust, err := lightchain.ParseTrust([]byte(v.Trust))
			if err != nil {
				t.Fatal(err)
			}
			if o := check(writeTemp(t, b), nil, none(trust.Chains)); len(o.sides) > 0 {
				o.file = fmt.Sprintf("%s %d", v.name, len(b))
				chain := o.sides[0].Head.ChainID()
				byChain[chain] = append(byChain[chain], o)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	compared, apart := 0, 0
	for chain, all := range byChain {
		trust := none([]lightchain.ChainID{chain})
		for range 2000 {
			var some []outcome
			for range 2 + rng.IntN(3) {
				some = append(some, all[rng.IntN(len(all))])
			}
			h, found := newHistories(trust), 0
			for i := range some {
				told, err := h.add(&some[i])
				if err != nil {
					t.Fatal(err)
				}
				found += len(told)
			}
			want, between := false, ""
			for i := range some {
				for j := range some[:i] {
					if contradicts(&some[j], &some[i], trust) {
						want, between = true, some[j].file+" and "+some[i].file
					}
				}
			}
			compared++
			if want {
				apart++
			}
			if (found > 0) != want {
				t.Fatalf("%d contradictions told, the library finds one: %t, between %s, among %d files", found, want, between, len(some))
			}
		}
	}
	if apart == 0 || apart == compared {
		t.Errorf("of %d sets of files %d contradict themselves", compared, apart)
	}
}

// contradicts compares all that two files say with each other.
func contradicts(a, b *outcome, trust *lightchain.Trust) bool {
	if lightchain.Contradiction(a.sides, b.sides, trust) != nil {
		return true
	}
	for _, pair := range [][2]*outcome{{a, b}, {b, a}} {
		for i := range pair[1].sides {
			if blocks := pair[0].blocks; blocks != nil {
				if why, _ := blocks.Apart(&pair[1].sides[i]); why != nil {
					return true
				}
			}
		}
	}
	return false
}

// branch is a history of a chain, of which others may begin anywhere.
type branch struct {
	t       *testing.T
	signer  lightchain.Signer
	tip     *lightchain.Tip
	headers []*lightchain.SignedHeader
	entries [][]byte // one a block
}

func newBranch(t *testing.T) *branch {
	signer, genesis, tip := beginChain(t)
	return &branch{t, signer, tip, []*lightchain.SignedHeader{genesis}, [][]byte{nil}}
}

func (b *branch) clone() *branch {
	c := *b
	c.tip, c.headers, c.entries = b.tip.Clone(), slices.Clone(b.headers), slices.Clone(b.entries)
	return &c
}

func (b *branch) seal(e lightchain.Entry, change func(*lightchain.Header)) {
	b.t.Helper()
	entry, err := e.Append(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	h := b.tip.Header(lightchain.LeafHash(entry), 1, 0, lightchain.Clock{})
	if change != nil {
		change(h)
	}
	signed, err := h.Sign(b.signer)
	if err == nil && change == nil {
		err = b.tip.Extend(h, signed.Hash(), nil)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.headers, b.entries = append(b.headers, signed), append(b.entries, entry)
}

// sealUpTo seals blocks of one entry each.
func (b *branch) sealUpTo(height int, payload string) *branch {
	for len(b.headers) <= height {
		b.seal(lightchain.Entry{Source: "broker:-/x:t", Payload: []byte(payload)}, nil)
	}
	return b
}

func (b *branch) proof(height int) string {
	b.t.Helper()
	p := &lightchain.Proof{Entry: b.entries[height], EntryPath: lightchain.Path{Size: 1}, Header: b.headers[height], Keys: b.headers[:1]}
	encoded, err := p.Append(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return writeTemp(b.t, encoded)
}

func (b *branch) bundle(from, to int) string {
	b.t.Helper()
	var below lightchain.CompactRange
	for _, h := range b.headers[:from] {
		below.Append(h.Hash(), nil)
	}
	all, err := lightchain.AppendBundleStart(nil, b.headers[:1], below.Edge())
	for height := from; height <= to; height++ {
		all = lightchain.AppendBundleBlock(all, b.headers[height].Bytes())
		if b.entries[height] != nil {
			all = lightchain.AppendBundleEntry(all, b.entries[height])
		}
	}
	if err == nil {
		all, err = lightchain.AppendBundleEnd(all, b.headers[to], nil)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return writeTemp(b.t, all)
}

// One signature vouches for each block of a bundle, so that each is compared with the other files: as evidence where the bundle
// has a path to what is signed, and else in words that say why there is none.
func TestEachBlockOfABundleIsCompared(t *testing.T) {
	a := newBranch(t).sealUpTo(2, "both")
	b := a.clone()
	a.sealUpTo(10, "true")
	b.sealUpTo(10, "false")
	leaping := a.clone() // its block 11 has numbers that block 12 of a has
	leaping.seal(lightchain.Entry{Source: "broker:-/x:t"}, func(h *lightchain.Header) { h.Count = 5 })
	a.sealUpTo(20, "true")
	hollow := a.clone() // its signed end commits to another history than its links
	hollow.seal(lightchain.Entry{Source: "broker:-/x:t"}, func(h *lightchain.Header) { h.History[0] ^= 1 })
	whole, fromGenesis, later := a.bundle(1, 10), a.bundle(0, 10), a.bundle(3, 10)
	for about, c := range map[string]struct {
		files    []string
		apart    bool
		evidence bool
		says     string
	}{
		"a proof within":                  {[]string{whole, b.proof(5)}, true, true, "height    5: two different headers stand there"},
		"from genesis":                    {[]string{fromGenesis, b.proof(5)}, true, true, "height    5: two different headers stand there"},
		"from above":                      {[]string{later, b.proof(5)}, true, true, "height    5: two different headers stand there"},
		"its first block":                 {[]string{later, b.proof(3)}, true, true, "height    3: two different headers stand there"},
		"below its first block":           {[]string{a.bundle(6, 10), b.proof(5)}, true, false, "the header that contradicts block 6 is signed by itself, and that of the block is not; a bundle that ends with block 6 shows that header signed"},
		"right below it":                  {[]string{a.bundle(6, 10), b.proof(5)}, true, false, "because   header 6 names another header before it than header 5"},
		"right below an odd height":       {[]string{a.bundle(5, 10), b.proof(4)}, true, true, "height    4: two different headers stand there"},
		"two bundles":                     {[]string{whole, b.bundle(1, 8)}, true, true, "height    8: two different headers stand there"},
		"two bundles, neither from 1":     {[]string{a.bundle(3, 10), b.bundle(2, 8)}, true, true, "height    8: two different headers stand there"},
		"one evidence among three":        {[]string{later, b.proof(5), whole}, true, true, "height    5: two different headers stand there"},
		"blocks that both histories have": {[]string{whole, b.proof(2), a.proof(7), a.bundle(2, 9), a.proof(15), a.bundle(12, 20)}, false, false, ""},
	} {
		for _, files := range [][]string{c.files, reversed(c.files)} {
			for _, output := range []string{"text", "json"} {
				want := exitOK
				if c.apart {
					want = exitVerification
				}
				evidence := filepath.Join(t.TempDir(), "found.edgefork")
				var out bytes.Buffer
				args := append([]string{"--chain", a.tip.Chain.String(), "--evidence", evidence, "--output", output}, files...)
				if code := run(args, nil, &out, &out); code != want {
					t.Errorf("%s: exit code %d, want %d\n%s", about, code, want, &out)
				}
				if !strings.Contains(out.String(), c.says) && (output == "text" || strings.Contains(c.says, ";")) {
					t.Errorf("%s: %q is not said\n%s", about, c.says, &out)
				}
				f, err := os.ReadFile(evidence)
				if (err == nil) != c.evidence || c.apart && !c.evidence && !strings.Contains(out.String(), "no evidence is written of what") {
					t.Errorf("%s: evidence: %v\n%s", about, err, &out)
				}
				if err != nil {
					continue
				}
				if _, err := lightchain.VerifyFork(f, &lightchain.Trust{Chains: []lightchain.ChainID{a.tip.Chain}}); err != nil {
					t.Errorf("%s: %v", about, err)
				}
			}
		}
	}
	for _, bundle := range []string{hollow.bundle(1, 21), hollow.bundle(0, 21), hollow.bundle(7, 21)} {
		out := &bytes.Buffer{}
		if code := run([]string{"--chain", a.tip.Chain.String(), bundle, b.proof(5)}, nil, out, out); code != exitVerification || !strings.Contains(out.String(), "header 21 commits to another history than the headers below it") {
			t.Errorf("an end without the history: exit code %d\n%s", code, out)
		}
	}
	if out := (&bytes.Buffer{}); run([]string{"--chain", a.tip.Chain.String(), leaping.proof(11), a.bundle(12, 20)}, nil, out, out) != exitVerification {
		t.Errorf("one number in two files\n%s", out)
	}
}

func reversed(files []string) []string {
	files = slices.Clone(files)
	slices.Reverse(files)
	return files
}

// Each pair of headers that no history holds is told, whichever file comes first: the third file of three may be of the history
// of either.
func TestEachContradictingPairIsNamed(t *testing.T) {
	a := newBranch(t).sealUpTo(4, "both")
	b := a.clone()
	a.sealUpTo(7, "true")
	b.sealUpTo(7, "false")
	a5, a6, b5, b6, a7 := a.proof(5), a.proof(6), b.proof(5), b.proof(6), a.proof(7)
	for _, c := range []struct {
		files []string
		pairs int
	}{
		{[]string{a5, b5, a6}, 2}, {[]string{a6, a5, b5}, 2}, {[]string{b5, a5, a6}, 2}, {[]string{a5, b5, a6, b6}, 4}, {[]string{a5, a6, b6}, 2},
		{[]string{a5, b5, a7}, 1}, // nothing that b5 and a7 show lies so near that one rules out the other
		{[]string{a5, a6, a7}, 0},
	} {
		var out bytes.Buffer
		run(append([]string{"--chain", a.tip.Chain.String()}, c.files...), nil, &out, &out)
		if pairs := strings.Count(out.String(), ": TWO HISTORIES"); pairs != c.pairs {
			t.Errorf("%d pairs are named, want %d\n%s", pairs, c.pairs, &out)
		}
	}
}

// One file can hold both histories: it fails, and accuses whoever signed them where both are signed.
func TestAFileOfTwoHistoriesAccuses(t *testing.T) {
	a := newBranch(t).sealUpTo(4, "both")
	b := a.clone()
	a.sealUpTo(8, "true")
	b.sealUpTo(8, "false")
	leaves := func(b *branch, below int) (all []lightchain.Hash) {
		for _, h := range b.headers[:below] {
			all = append(all, h.Hash())
		}
		return all
	}
	signedBy := func(h *lightchain.SignedHeader, with lightchain.Signature) *lightchain.SignedHeader {
		c := *h
		c.Signature = with
		return &c
	}
	for about, c := range map[string]struct {
		later   *lightchain.SignedHeader
		accuses bool
	}{
		"both signed":    {b.headers[6], true},
		"one not signed": {signedBy(b.headers[6], a.headers[6].Signature), false},
	} {
		r, err := c.later.Countersign(a.signer, "north", 1)
		if err != nil {
			t.Fatal(err)
		}
		c.later = signedBy(c.later, c.later.Signature)
		c.later.Receipts = []lightchain.Receipt{r}
		path, err := lightchain.ProveInclusion(lightchain.LeafNodes(leaves(b, 6)), 6, 5)
		if err != nil {
			t.Fatal(err)
		}
		p := &lightchain.Proof{Entry: a.entries[5], EntryPath: lightchain.Path{Size: 1}, Header: a.headers[5], Keys: a.headers[:1], Later: []lightchain.LaterHeader{{Header: c.later, Path: path}}}
		encoded, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, output := range []string{"text", "json"} {
			file, evidence := writeTemp(t, encoded), filepath.Join(t.TempDir(), "found.edgefork")
			var out bytes.Buffer
			if code := run([]string{"--chain", a.tip.Chain.String(), "--evidence", evidence, "--output", output, file}, nil, &out, &out); code != exitVerification {
				t.Errorf("%s: exit code %d\n%s", about, code, &out)
			}
			if words := map[string]string{"text": "It shows TWO HISTORIES in itself", "json": `"fork":{"height":5,`}[output]; strings.Contains(out.String(), words) != c.accuses {
				t.Errorf("%s: %q\n%s", about, words, &out)
			}
			f, err := os.ReadFile(evidence)
			if (err == nil) != c.accuses {
				t.Errorf("%s: %v\n%s", about, err, &out)
			} else if _, failed := lightchain.VerifyFork(f, &lightchain.Trust{Chains: []lightchain.ChainID{a.tip.Chain}}); err == nil && failed != nil {
				t.Errorf("%s: %v", about, failed)
			}
		}
	}
}

// What there was no room to keep is not passed over in silence.
func TestABlockThatIsNotComparedIsTold(t *testing.T) {
	a := newBranch(t).sealUpTo(2000, "true")
	trust := &lightchain.Trust{Chains: []lightchain.ChainID{a.tip.Chain}}
	for about, c := range map[string]struct {
		height int
		room   uint64
		told   bool
	}{
		"kept":                   {900, 1500, false},
		"the last one kept":      {1500, 1500, false},
		"the first one not kept": {1501, 1500, true},
		"the signed end":         {2000, 1500, false},
		"none kept":              {1, 0, true},
	} {
		for _, files := range [][]string{{a.bundle(1, 2000), a.proof(c.height)}, {a.proof(c.height), a.bundle(1, 2000)}} {
			h := newHistories(trust)
			h.room = c.room
			var told error
			for _, file := range files {
				o := check(file, nil, trust)
				found, err := h.add(&o)
				if len(found) > 0 {
					t.Errorf("%s: a contradiction", about)
				}
				told = errors.Join(told, err)
			}
			if (told != nil) != c.told || told != nil && !strings.Contains(told.Error(), fmt.Sprintf("block %d of ", c.height)) {
				t.Errorf("%s: %v", about, told)
			}
		}
	}
}

// Files that all contradict each other are so many pairs that evidence is made of some; how many more there are is said.
func TestPairsOfFilesAreToldUpToALimit(t *testing.T) {
	const n = 20
	var files []string
	chain := ""
	for i := range n {
		var proof []byte
		proof, chain = proofOf(t, lightchain.Entry{Payload: []byte{byte(i)}})
		files = append(files, writeTemp(t, proof))
	}
	pairs := n * (n - 1) / 2
	var out bytes.Buffer
	code := run(append([]string{"--chain", chain}, files...), nil, &out, &out)
	told, more := bytes.Count(out.Bytes(), []byte("TWO HISTORIES\n\n")), fmt.Sprintf("32 CONTRADICTIONS between two of them, and between %d pairs more that are not listed. Exit code 3.", pairs-mostPairs)
	if code != exitVerification || told != mostPairs || !bytes.Contains(out.Bytes(), []byte(more)) {
		t.Errorf("exit code %d, %d pairs are told, and %q is to be said: %s", code, told, more, out.Bytes()[max(0, out.Len()-200):])
	}
	out.Reset()
	run(append([]string{"--output=json", "--summary", "--chain", chain}, files...), nil, &out, &out)
	if more := fmt.Sprintf(`"contradictions":%d,"not_listed":%d`, mostPairs, pairs-mostPairs); !bytes.Contains(out.Bytes(), []byte(more)) {
		t.Errorf("%s is to be said: %s", more, out.Bytes()[max(0, out.Len()-200):])
	}
}
