package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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
					if lightchain.Contradiction(some[j].sides, some[i].sides, trust) != nil {
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
