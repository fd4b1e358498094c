package headlog

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"edgechain.example/lightchain"
)

func testKey(t testing.TB, origin string, seed byte) *Key {
	t.Helper()
	signer, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKey(origin, signer)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// treeOf returns the tree over so many leaves, and their hashes.
func treeOf(n int) (tree lightchain.CompactRange, leaves []lightchain.Hash) {
	for i := range n {
		h := lightchain.LeafHash(fmt.Append(nil, "leaf ", i))
		tree.Append(h, nil)
		leaves = append(leaves, h)
	}
	return tree, leaves
}

func proofOf(t testing.TB, k *Key, size, index int) (*Proof, lightchain.Hash) {
	t.Helper()
	tree, leaves := treeOf(size)
	path, err := lightchain.ProveInclusion(lightchain.LeafNodes(leaves), uint64(size), uint64(index))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := k.sign(&tree)
	if err != nil {
		t.Fatal(err)
	}
	return &Proof{Index: uint64(index), Hashes: path.Hashes, Checkpoint: signed}, leaves[index]
}

// What this program signs is a checkpoint to Go's own library, under the key as it is shown, and the root and paths are its.
func TestOthersReadOurCheckpointsAndProofs(t *testing.T) {
	k := testKey(t, "agg-1.example/heads", 1)
	for _, size := range []int{1, 2, 255, 256, 257, 600} {
		index := size * 2 / 3
		p, leaf := proofOf(t, k, size, index)
		theirs, err := note.NewVerifier(k.String())
		if err != nil {
			t.Fatal(err)
		}
		n, err := note.Open(p.Checkpoint, note.VerifierList(theirs))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(n.Text, "\n")
		root, err := tlog.ParseHash(lines[2])
		if err != nil || lines[0] != "agg-1.example/heads" || lines[1] != fmt.Sprint(size) {
			t.Fatalf("%q: %v", n.Text, err)
		}
		var path tlog.RecordProof
		for _, h := range p.Hashes {
			path = append(path, tlog.Hash(h))
		}
		if err := tlog.CheckRecord(path, int64(size), root, int64(index), tlog.Hash(leaf)); err != nil {
			t.Errorf("leaf %d of %d: %v", index, size, err)
		}
		read, err := DecodeProof(p.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if c, err := read.Check(leaf, k.PublicKey); err != nil || c.Size != uint64(size) || c.Origin != "agg-1.example/heads" {
			t.Errorf("%+v, %v", c, err)
		}
	}
}

// A proof of another leaf, place, tree or key fails, and so does one with a signature too few; more signatures do no harm.
func TestAFalseProofFails(t *testing.T) {
	k, other := testKey(t, "agg-1.example/heads", 1), testKey(t, "agg-1.example/heads", 2)
	p, leaf := proofOf(t, k, 300, 123)
	if _, err := p.Check(lightchain.LeafHash([]byte("another")), k.PublicKey); !errors.Is(err, ErrInvalid) {
		t.Errorf("of another header: %v", err)
	}
	moved := *p
	moved.Index++
	if _, err := moved.Check(leaf, k.PublicKey); !errors.Is(err, ErrInvalid) {
		t.Errorf("at another place: %v", err)
	}
	shorter := *p
	shorter.Hashes = p.Hashes[1:]
	if _, err := shorter.Check(leaf, k.PublicKey); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a hash: %v", err)
	}
	if _, err := p.Check(leaf, other.PublicKey); !errors.Is(err, ErrKey) {
		t.Errorf("under another key: %v", err)
	}
	changed := *p
	changed.Checkpoint = bytes.Replace(p.Checkpoint, []byte("\n300\n"), []byte("\n301\n"), 1)
	if _, err := changed.Check(leaf, k.PublicKey); !errors.Is(err, ErrInvalid) {
		t.Errorf("of another size: %v", err)
	}
	tree, _ := treeOf(300)
	foreign, err := testKey(t, "witness.example", 3).sign(&tree)
	if err != nil {
		t.Fatal(err)
	}
	line := foreign[bytes.LastIndex(bytes.TrimSpace(foreign), []byte("\n"))+1:]
	seen := *p
	seen.Checkpoint = append(bytes.Clone(p.Checkpoint), line...)
	if _, err := seen.Check(leaf, k.PublicKey); err != nil {
		t.Errorf("with a witness's line: %v", err)
	}
	stolen := testKey(t, "agg-2.example/heads", 1)
	if _, err := p.Check(leaf, stolen.PublicKey); !errors.Is(err, ErrInvalid) {
		t.Errorf("the same key under another name: %v", err)
	}
}

// A checkpoint has one text.
func TestACheckpointIsReadStrictly(t *testing.T) {
	tree, _ := treeOf(7)
	c := &Checkpoint{"a/heads", 7, tree.Root()}
	if read, err := parseCheckpoint(c.Text()); err != nil || *read != *c {
		t.Fatalf("%+v, %v", read, err)
	}
	root := c.RootText()
	for _, text := range []string{
		"", "\n7\n" + root + "\n", "a/heads\n07\n" + root + "\n", "a/heads\n+7\n" + root + "\n", "a/heads\n-1\n" + root + "\n", "a/heads\n7\n" + root,
		"a/heads\n7\n" + root + "\nmore\n", "a/heads\n7\n" + root[1:] + "\n", "a/heads\n7\n\n", "a/heads\n7\n" + root + "\n\n", "a/heads\n9223372036854775808\n" + root + "\n",
	} {
		if read, err := parseCheckpoint(text); err == nil {
			t.Errorf("%q reads as %+v", text, read)
		}
	}
}

// The page's example is the proof of the header that it says, under the key that it shows.
func TestTheExampleOfTheFormatHolds(t *testing.T) {
	page, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)\n    (north\.example/heads\+\S+)\n\n(    c2sp\.org.*?— .*?\n)`).FindSubmatch(page)
	if m == nil {
		t.Fatal("there is no example")
	}
	key, err := ParseKey(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	p, err := DecodeProof(regexp.MustCompile(`(?m)^    `).ReplaceAll(m[2], nil))
	if err != nil {
		t.Fatal(err)
	}
	header, err := lightchain.ParseHash("ac426644467eb482a93a2d03615626ab0607e6245d3eeee0cb4b1580d66dc24c")
	if err != nil || !bytes.Contains(page, []byte("\n    "+header.String()+"\n")) {
		t.Fatalf("header 2 of the worked example has another hash (%v)", err)
	}
	if c, err := p.Check(header, key); err != nil || c.Size != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}

// Whatever its base64 has in it, a key reads back as it is shown.
func TestAKeyReadsBack(t *testing.T) {
	plus := 0
	for seed := range byte(100) {
		k := testKey(t, "agg-1.example/heads", seed)
		read, err := ParseKey(k.String())
		if err != nil || read.KeyHash() != k.KeyHash() || read.Name() != k.Name() {
			t.Errorf("%s: %v", k, err)
		}
		plus += max(0, strings.Count(k.String(), "+")-2)
	}
	if plus == 0 {
		t.Error("no key has a plus in its base64")
	}
}

// A key with which anything would check is none.
func TestAKeyOfSmallOrderIsRefused(t *testing.T) {
	text, err := note.NewEd25519VerifierKey("a/heads", append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	if k, err := ParseKey(text); err == nil {
		t.Errorf("%s is taken", k)
	}
	for _, text := range []string{"", "a/heads", "a/heads+00000000+AQ=="} {
		if _, err := ParseKey(text); err == nil || !strings.Contains(err.Error(), "ORIGIN+HASH+KEY") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What is read as a proof is written as the same bytes.
func FuzzProof(f *testing.F) {
	k := testKey(f, "agg-1.example/heads", 1)
	for _, size := range []int{1, 5, 300} {
		p, _ := proofOf(f, k, size, size/2)
		f.Add(p.Encode())
		p.Extra = []byte("more")
		f.Add(p.Encode())
	}
	f.Add([]byte(proofBegin + "\nindex 0\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodeProof(b)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Encode(), b) {
			t.Errorf("%q is written as %q", b, p.Encode())
		}
		_, _ = p.Check(lightchain.Hash{}, k.PublicKey)
	})
}
