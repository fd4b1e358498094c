package lightchain

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

const formatPage = "../docs/format.md"

func readFormatPage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(formatPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pageExample is the worked example of the page: items with their names, and what they say.
type pageExample struct {
	text  bytes.Buffer
	proof []byte
	trust *Trust
}

const pageWidth = 112 // characters of a line in the example

func (e *pageExample) name(format string, args ...any) {
	if e.text.Len() > 0 {
		e.text.WriteByte('\n')
	}
	fmt.Fprintf(&e.text, "    # "+format+"\n", args...)
}

func (e *pageExample) hex(b []byte) {
	for line := range slices.Chunk([]byte(hex.EncodeToString(b)), 96) {
		fmt.Fprintf(&e.text, "    %s\n", line)
	}
}

// diagnostic adds what an item says.
func (e *pageExample) diagnostic(t *testing.T, b []byte) {
	t.Helper()
	text, err := cbor.Diagnose(b)
	if err != nil {
		t.Fatal(err)
	}
	line := "    ;"
	for word := range strings.SplitSeq(text, " ") {
		if len(line)+1+len(word) > pageWidth {
			e.text.WriteString(line + "\n")
			line = "    ;"
		}
		line += " " + word
	}
	e.text.WriteString(line + "\n")
}

// makePageExample makes the chain that the page describes, with the signers and seeds that it names.
func makePageExample(t *testing.T) *pageExample {
	t.Helper()
	signer := func(b byte) Signer {
		s, err := NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	encode := func(append func([]byte) ([]byte, error)) []byte {
		b, err := append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	sign := func(h *Header, s Signer) *SignedHeader {
		signed, err := h.Sign(s)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	e := new(pageExample)
	gateway, north := signer(1), signer(2)
	public, kid := north.Public(), north.Public().KeyID()
	e.name("public key of the gateway")
	e.hex(sliceOf(gateway.Public()))
	e.name("public key of north, and the kid of its receipts")
	e.hex(public[:])
	e.hex(kid[:])

	seed := Seed(bytes.Repeat([]byte{3}, len(Seed{})))
	entries := make([][]byte, 2)
	var block CompactRange
	for i := range entries {
		entry := &Entry{
			Salt: seed.Salt(uint64(i)), Received: (testTime + 10 + int64(i)) * 1e9, Source: "mqtt:plant:line1/press-07", Flags: QoS0,
			Payload:  fmt.Appendf(nil, `{"temperature":2%d.5}`, i),
			Readings: []Reading{{Device: "press-07", Name: "temperature", Unit: "Cel", Value: Float(20.5 + float64(i))}},
		}
		entries[i] = encode(entry.Append)
		block.Append(LeafHash(entries[i]), nil)
	}
	for i, about := range []string{"entry 0, of which the proof shows the hash alone", "entry 1"} {
		leaf := LeafHash(entries[i])
		e.name("%s", about)
		e.hex(entries[i])
		e.diagnostic(t, entries[i])
		e.name("its leaf hash, SHA-256(00 || entry)")
		e.hex(leaf[:])
	}
	root := block.Root()
	e.name("root of the block, SHA-256(01 || leaf 0 || leaf 1)")
	e.hex(root[:])

	name := "press-hall-3"
	genesis := sign(NewGenesis(Genesis{Name: &name, Nonce: [16]byte(bytes.Repeat([]byte{4}, 16))}, gateway.Public(), testTime*1e9, Clock{ClockSynchronised, 1, 1e9}), gateway)
	tip, err := Begin(genesis)
	if err != nil {
		t.Fatal(err)
	}
	first := sign(tip.Header(root, uint64(len(entries)), (testTime+60)*1e9, Clock{ClockSynchronised, 1, 61e9}), gateway)
	if err := tip.FollowOne(first); err != nil {
		t.Fatal(err)
	}
	second := sign(tip.Header(EmptyRoot(), 0, (testTime+120)*1e9, Clock{ClockSynchronised, 1, 121e9}), gateway)
	if err := tip.FollowOne(second); err != nil {
		t.Fatal(err)
	}
	for i, about := range []string{"header 0, genesis", "header 1, the block", "header 2, a heartbeat"} {
		h := []*SignedHeader{genesis, first, second}[i]
		hash := h.Hash()
		e.name("%s", about)
		e.hex(h.Bytes())
		e.diagnostic(t, h.Bytes())
		e.name("its hash, SHA-256(00 || header)")
		e.hex(hash[:])
	}
	e.name("the chain in text: the hash of genesis")
	fmt.Fprintf(&e.text, "    %s\n", tip.Chain)
	e.name("what the gateway signs of header 1")
	e.hex(first.signatureInput())
	e.name("signed header 1")
	e.hex(encode(first.Append))

	receipt, err := second.Countersign(north, "north", testTime+120)
	if err != nil {
		t.Fatal(err)
	}
	e.name("protected header of the receipt of north on header 2")
	e.hex(receipt.protected())
	e.diagnostic(t, receipt.protected())
	e.name("what north signs")
	e.hex(second.countersignatureInput(&receipt))
	e.name("the receipt")
	e.hex(encode(receipt.Append))
	second.Receipts = []Receipt{receipt}
	e.name("signed header 2, with the receipt")
	e.hex(encode(second.Append))

	e.trust = &Trust{Chains: []ChainID{tip.Chain}, Aggregators: []Aggregator{{"north", public}}, Quorum: 1}
	e.name("trust file")
	for line := range strings.Lines(string(e.trust.Format())) {
		e.text.WriteString("    " + line)
	}
	leaves := []Hash{LeafHash(entries[0]), LeafHash(entries[1])}
	inBlock, err := ProveInclusion(LeafNodes(leaves), 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	inHistory, err := ProveInclusion(LeafNodes([]Hash{genesis.Hash(), first.Hash()}), 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	proof := &Proof{Entry: entries[1], EntryPath: inBlock, Header: first, Keys: []*SignedHeader{genesis}, Later: []LaterHeader{{second, inHistory}}}
	e.proof = encode(proof.Append)
	e.name("the proof of entry 1")
	e.hex(e.proof)
	return e
}

func sliceOf(k PublicKey) []byte { return k[:] }

// The page's worked example is what this package makes, byte for byte, and verifies as the page says.
func TestTheWorkedExampleOfThePage(t *testing.T) {
	page, want := readFormatPage(t), makePageExample(t)
	section := regexp.MustCompile(`(?s)## A worked example\n.*?\n\n((?:    [^\n]*\n|\n)+)`).FindStringSubmatchIndex(page)
	if section == nil {
		t.Fatal("the page has no worked example")
	}
	if *update {
		page = page[:section[2]] + want.text.String() + "\n" + page[section[3]:]
		if err := os.WriteFile(formatPage, []byte(page), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := strings.TrimRight(page[section[2]:section[3]], "\n") + "\n"; got != want.text.String() {
		t.Errorf("the example on the page is another one; go test ./lightchain -run WorkedExample -update writes it. Here it is\n%s", want.text.String())
	}
	report, err := Verify(want.proof, want.trust)
	if err != nil {
		t.Fatal(err)
	}
	if report.Number != 1 || report.Header.Height != 1 || len(report.ReceiptedBy) != 1 || report.ReceiptedBy[0].Name != "north" ||
		*report.NotAfter != 1700000121 || report.NotBefore != nil {
		t.Errorf("%+v", report)
	}
	if !strings.Contains(page, "closed not after second 1700000121, and with no lower bound") {
		t.Error("the page says another bound")
	}
}

// Each check that an error of this package may name is described on the page, and the reverse.
func TestThePageNamesEachCheck(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)\bCheck\w+\s+Check = "(\w+)"`).FindAllStringSubmatch(string(b), -1) {
			named[m[1]] = true
		}
	}
	described := map[string]bool{}
	for table := range strings.SplitSeq(readFormatPage(t), "\n\n") {
		if !strings.HasPrefix(table, "| check |") {
			continue
		}
		for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(table, -1) {
			described[m[1]] = true
		}
	}
	if len(named) != 9 {
		t.Errorf("%d checks are found: %v", len(named), named)
	}
	for check := range named {
		if !described[check] {
			t.Errorf("the page says nothing of the check %q", check)
		}
	}
	for check := range described {
		if !named[check] {
			t.Errorf("the page describes the check %q, which is none", check)
		}
	}
}

// The page's tables of the order of checks are those of the code: a proof's is the constants' order.
func TestThePageHasTheChecksOfAProofInOrder(t *testing.T) {
	_, section, found := strings.Cut(readFormatPage(t), "### Checks of a proof\n")
	if !found {
		t.Fatal("the page has no checks of a proof")
	}
	section, _, _ = strings.Cut(section, "\n### ")
	var order []Check
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(section, -1) {
		order = append(order, Check(m[1]))
	}
	want := []Check{CheckDecoding, CheckChain, CheckKeys, CheckSignature, CheckEntry, CheckBlock, CheckReceipts, CheckBeacon}
	if !slices.Equal(order, want) {
		t.Errorf("%v, not %v", order, want)
	}
}

// The limits on the page are those of this package.
func TestThePageHasTheLimits(t *testing.T) {
	_, section, _ := strings.Cut(readFormatPage(t), "### Limits\n")
	section, _, found := strings.Cut(section, "\n## ")
	if !found {
		t.Fatal("the page has no limits")
	}
	for what, limit := range map[string]int{
		"a fork": MaxProof, "each of its items": maxItem, "| an entry |": MaxEntry, "readings in an entry": MaxReadings,
		"| a header |": MaxHeader, "a signed header with its receipts": maxSignedHeader, "receipts on a header": maxReceipts,
		"hashes in a path": MaxPath, "in field 5 of a proof": maxKeyHeaders, "in each list of a fork": maxForkKeys,
		"later headers": maxLaterHeaders, "receipts of a beacon": maxBeacon, "a gateway's name": MaxGatewayName,
		"inside one another, in one item": MaxNesting, "entries into a block": MaxBlock,
	} {
		said := false
		for line := range strings.Lines(section) {
			said = said || strings.Contains(line, what) && regexp.MustCompile(`\b`+thousands(limit)+`\b`).MatchString(line)
		}
		if !said {
			t.Errorf("the page does not say that %q has the limit %s", what, thousands(limit))
		}
	}
}

// thousands writes a number as the page does.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// What the page says of a trust file's lines, one by one.
func TestTrustFilesAreReadAsThePageSays(t *testing.T) {
	chain := "chain " + ChainID{1}.String()
	key := FormatPublicKey(testSigner("north").Public())
	north := "aggregator north " + key
	for _, c := range []struct {
		about, text string
		ok          bool
	}{
		{"nothing", "", true},
		{"spaces and tabs between words and around them", " \t" + strings.ReplaceAll(chain, " ", "\t  ") + " \t\n", true},
		{"no end of the last line", chain, true},
		{"CR LF", chain + "\r\n\r\n" + north + "\r\n", true},
		{"a byte order mark", "\ufeff" + chain + "\n", true},
		{"a byte order mark in another line", chain + "\n\ufeff" + north + "\n", false},
		{"two byte order marks", "\ufeff\ufeff" + chain + "\n", false},
		{"blank lines, comments with blanks before them", "\n \t\n  # whom we trust\n#\n" + chain + "\n", true},
		{"a comment that is not UTF-8", "# \xff\n" + chain + "\n", false},
		{"a comment behind a key", north + " # ours\n", false},
		{"the comment of a .pub file", north + " root@north\n", false},
		{"a space that is not U+0020", strings.Replace(chain, " ", "\u00a0", 1), false},
		{"a form feed", "\f\n", false},
		{"a CR alone between two lines", chain + "\r" + north + "\n", false},
		{"a CR within base64", north[:60] + "\r" + north[60:] + "\n", false},
		{"two CR at the end of a line", north + "\r\r\n", false},
		{"a CR alone at the end of the file", north + "\r", false},
		{"a CR alone, after the last line", north + "\n\r", false},
		{"a CR alone in a comment", "# a\rb\r", true},
		{"capital letters", "Chain" + chain[5:], false},
		{"a chain in capital letters", "chain " + strings.ToUpper(chain[6:]), false},
		{"a chain twice", chain + "\n" + chain + "\n", false},
		{"a key twice", north + "\n" + north + "\n", false},
		{"another kind of key", strings.Replace(north, "ssh-ed25519", "ssh-rsa", 1), false},
		{"a key of small order", "aggregator north " + FormatPublicKey(PublicKey{1}), false},
		{"quorum 0", "quorum 0", true},
		{"the largest quorum, of no aggregators", "quorum 2147483647", true},
		{"a larger quorum", "quorum 2147483648", false},
		{"a quorum with a leading zero", "quorum 01", false},
		{"a quorum with a sign", "quorum +1", false},
		{"a negative quorum", "quorum -1", false},
		{"a quorum in hexadecimal", "quorum 0x1", false},
		{"the same quorum twice", "quorum 1\nquorum 1", false},
		{"keys of devices, of each kind", "device meter-1 ocmf MFkw\ndevice meter-1 cose MFkw\ndevice m.2 jws MFkx\n", true},
		{"another kind of device's signature", "device meter-1 pgp MFkw", false},
		{"a device's key twice", "device meter-1 ocmf MFkw\ndevice meter-2 ocmf MFkw", false},
		{"a device in capital letters", "device Meter ocmf MFkw", false},
		{"a device's key without padding", "device meter-1 ocmf MFk", false},
		{"a device's key with bits that do not count", "device meter-1 ocmf MFl=", false},
		{"the largest key of a device", "device meter-1 ocmf " + strings.Repeat("AAAA", 341) + "AA==", true},
		{"a larger one", "device meter-1 ocmf " + strings.Repeat("AAAA", 341) + "AAA=", false},
		{"a device without a kind", "device meter-1 MFkw", false},
		{"a person, whose key is an aggregator's too", "person a.miller " + key + "\n" + north + "\n", true},
		{"a person's key twice", "person a.miller " + key + "\nperson b " + key, false},
		{"a person in capital letters", "person Miller " + key, false},
		{"a person's key of small order", "person miller " + FormatPublicKey(PublicKey{1}), false},
	} {
		if _, err := ParseTrust([]byte(c.text)); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.about, err)
		}
	}
}
