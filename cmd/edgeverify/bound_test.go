package main

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgechain.example/lightchain"
)

// beginChain begins a chain, under a key that is always the same.
func beginChain(t *testing.T) (lightchain.Signer, *lightchain.SignedHeader, *lightchain.Tip) {
	t.Helper()
	signer, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	genesis, err := lightchain.NewGenesis(lightchain.Genesis{}, signer.Public(), 0, lightchain.Clock{}).Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	tip, err := lightchain.Begin(genesis)
	if err != nil {
		t.Fatal(err)
	}
	return signer, genesis, tip
}

// A note that does not hold is told, and ends with 3, whatever else the trust file asks for.
func TestABadNoteIsToldThoughReceiptsAreTooFew(t *testing.T) {
	b := newBranch(t)
	b.seal(lightchain.Entry{Source: lightchain.SourceNote, Flags: lightchain.ByAgent,
		Payload: fmt.Appendf(nil, `{"who":"x","when":"2026-11-28T20:41:48Z","entries":[[0,0]],"head":[0,"%s"]}`, lightchain.Hash{7})}, nil)
	trust := writeTemp(t, fmt.Appendf(nil, "chain %s\nquorum 1\n", b.tip.Chain))
	for _, file := range []string{b.proof(1), b.bundle(1, 1)} {
		for _, args := range [][]string{{"--trust", trust}, {"--trust", trust, "--summary"}, {"--chain", strings.Repeat("a", 52)}, {"--trust", trust, "--output", "json"}} {
			var out bytes.Buffer
			if code := run(append(args, file), nil, &out, &out); code != exitVerification || !strings.Contains(out.String(), "entry 0: it names header 0 with the hash") {
				t.Errorf("%v: exit code %d, want %d\n%s", args, code, exitVerification, &out)
			}
		}
	}
}

// A note that names a header of another history than its file, or than another file of the same call, is told before all else.
func TestANoteOfAnotherHistoryIsTold(t *testing.T) {
	signer, genesis, tip := beginChain(t)
	dir := t.TempDir()
	var headers []*lightchain.SignedHeader
	seal := func(name string, e lightchain.Entry) string { // one entry, one block, one proof
		t.Helper()
		entry, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		h := tip.Header(lightchain.LeafHash(entry), 1, 0, lightchain.Clock{})
		signed, err := h.Sign(signer)
		if err == nil {
			err = tip.Extend(h, signed.Hash(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		headers = append(headers, signed)
		p := &lightchain.Proof{Entry: entry, EntryPath: lightchain.Path{Size: 1}, Header: signed, Keys: []*lightchain.SignedHeader{genesis}}
		b, err := p.Append(nil)
		file := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(file, b, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	note := func(name string, height uint64, hash lightchain.Hash) string {
		return seal(name, lightchain.Entry{Source: lightchain.SourceNote, Flags: lightchain.ByAgent,
			Payload: fmt.Appendf(nil, `{"who":"x","when":"2026-11-28T20:41:48Z","entries":[[0,0]],"head":[%d,"%s"]}`, height, hash)})
	}
	data := seal("data", lightchain.Entry{Source: "broker:-/x:t"})
	seal("between", lightchain.Entry{Source: "broker:-/x:t"})
	other := lightchain.Hash{7}
	right, wrong := note("right", 2, headers[1].Hash()), note("wrong", 3, other)
	far, farWrong := note("far", 1, headers[0].Hash()), note("farwrong", 1, other)
	for _, c := range []struct {
		files []string
		code  int
		says  string
	}{
		{[]string{right}, exitOK, "bound     to header 2 by its hash"},
		{[]string{wrong}, exitVerification, "wrong: NOT VERIFIED\n  What a person said does not hold here: entry 3: it names header 3 with the hash " + other.String()},
		{[]string{far, data}, exitOK, "bound     to header 1 with the hash " + headers[0].Hash().String() + ": it could not be compared"},
		{[]string{farWrong}, exitOK, "it could not be compared"},
		{[]string{farWrong, data}, exitVerification, "A NOTE OF ANOTHER HISTORY\n  the note in entry 5 names header 1"},
		{[]string{data, farWrong}, exitVerification, "A NOTE OF ANOTHER HISTORY"},
	} {
		for _, output := range []string{"text", "json"} {
			var out bytes.Buffer
			if code := run(append([]string{"--chain", tip.Chain.String(), "--output", output}, c.files...), nil, &out, &out); code != c.code {
				t.Errorf("%v: exit code %d, want %d\n%s", c.files, code, c.code, &out)
			}
			if output == "text" && !strings.Contains(out.String(), c.says) {
				t.Errorf("%v: %q is not said\n%s", c.files, c.says, &out)
			}
			if output == "json" && strings.Contains(out.String(), `"verified":false`) != (c.code != exitOK) {
				t.Errorf("%v: %s", c.files, &out)
			}
		}
	}
}
