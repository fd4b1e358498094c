package lightchain

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"
)

// The vectors here were thought of last: what a gateway or a person could still send, and what would hold a check that
// others refuse, too, later or in other words.

func writeOddVectors(t *testing.T, write func(string, vector)) {
	writeOddItems(t, write)
	writeOddProofs(t, write)
	writeOddBundles(t, write)
	writeOddForks(t, write)
	writeOddNotes(t, write)
	writeOddTrustFiles(t, write)
	writeOddTrees(t, write)
}

func writeOddItems(t *testing.T, write func(string, vector)) {
	e, x := editor{t}, func(s string) []byte { return unhex(t, s) }
	float := func(s string) []byte {
		return unhex(t, "8750"+"000102030405060708090a0b0c0d0e0f"+"006173004060"+"81866164616e60"+s)
	}
	vector{Kind: "entry"}.writeBad(write, "entry", []spoilt{
		{"cut-half", "an entry that ends within a float16", float("f93c")},
		{"cut-single", "an entry that ends within a float32", float("fa47c350")},
		{"cut-double", "an entry that ends within a float64", float("fb3ff199")},
		{"cut-value", "an entry that ends before a value", float("")},
		{"least-subnormal", "a float32 that is the least subnormal float16", float("fa33800000f600")},
	})
	plain := signedReceipts(t, vectorChain(t), 2, 0)
	vector{Kind: "signed header"}.writeBad(write, "signed-header", []spoilt{
		{"payload-version", "a header of version 2 in its payload", e.replace(plain, x("02"), 2, inside, 1)},
		{"payload-trailing", "a byte behind the header in its payload", e.replace(plain, appendBytes(nil, append(bytes.Clone(e.item(plain, 2, inside)), 0)), 2)},
		{"unprotected-null", "null as the unprotected header", e.replace(plain, x("f6"), 1)},
		{"label-long", "label 11 in a longer form", e.replace(plain, x("a1180b80"), 1)},
		{"label-text", "a label that is text", e.replace(plain, x("a1616b40"), 1)},
	})
}

func writeOddProofs(t *testing.T, write func(string, vector)) {
	f, e := dishonest(t), editor{t}
	x := func(s string) []byte { return unhex(t, s) }
	trust := string(f.trust(0, "north").Format())
	bad := func(name, about string, check Check, b []byte) {
		t.Helper()
		write("proof-bad-"+name, vector{About: about, Kind: "proof", Bytes: b, Trust: trust, Expect: "fail", Check: string(check)})
	}
	block := func(height uint64) *Proof { return f.prove(f.headers[height], 0, 4) }
	later := func(path Path) []byte { return f.encoded(f.with(block(6), LaterHeader{f.headers[9], path})) }
	short, long := f.pathOf(6, 9), f.pathOf(6, 9)
	short.Hashes, long.Hashes = short.Hashes[:len(short.Hashes)-1], append(long.Hashes, Hash{})
	bad("later-path-short", "a later header's path with a hash too few", CheckBlock, later(short))
	bad("later-path-long", "a later header's path with a hash too many", CheckBlock, later(long))
	bad("later-path-empty", "a later header's path of no hashes", CheckBlock, later(Path{Size: 9, Index: 6}))
	bad("later-own", "the block's own header as a later one", CheckBlock, f.encoded(f.with(block(6), LaterHeader{f.headers[6], Path{Size: 6, Index: 6}})))
	bad("later-below", "a later header below the block", CheckBlock, f.encoded(f.with(block(6), LaterHeader{f.headers[5], Path{Size: 5, Index: 6}})))
	twice := block(9)
	twice.Keys = []*SignedHeader{f.headers[0], f.headers[0], f.headers[4]}
	bad("keys-genesis-twice", "genesis twice in field 5", CheckKeys, f.encoded(twice))
	genesis := block(6)
	genesis.Header, genesis.Keys, genesis.EntryPath = f.headers[0], f.headers[:1], Path{}
	bad("genesis", "an entry of genesis, which is the highest header and stands in field 5", CheckKeys, f.encoded(genesis))
	received := f.receipt(f.headers[5], "north", testTime)
	same := f.prove(f.sign(9, "gateway 1", naming(&received.Receipts[0])), 0, 4)
	same.Beacon = []*SignedHeader{received}
	encoded := f.encoded(same)
	bad("beacon-twice", "a header of field 7 twice", CheckDecoding, e.add(encoded, e.item(encoded, 7, 0), 7))
	bad("beacon-empty-path", "a later header in place of field 7", CheckDecoding, e.replace(encoded, x("8182"), 7))
	bad("key-0", "field 0", CheckDecoding, e.put(encoded, x("00"), x("00")))
	bad("key-negative", "field -1", CheckDecoding, e.put(encoded, x("20"), x("00")))
	bad("version-long", "the version in a longer form", CheckDecoding, e.replace(encoded, x("1801"), 1))
	text := EncodeText(encoded)
	bad("text-unended", "a proof in text, without its last line", CheckDecoding, text[:bytes.LastIndex(text, []byte("-----END"))])
	write("proof-bad-quorum-greatest", vector{About: "a quorum of 2^31-1", Kind: "proof", Bytes: encoded, Trust: trust + "quorum 2147483647\n",
		Expect: "fail", Check: "receipts"})

	number, height, after := f.headers[6].Header.First+1, uint64(6), uint64(math.MaxInt64)+1
	latest := block(6)
	latest.Header = f.receipt(f.headers[6], "north", math.MaxInt64)
	write("proof-good-latest-second", vector{About: "a receipt at second 2^63-1, whose upper time is 2^63", Kind: "proof", Bytes: f.encoded(latest), Trust: trust,
		Expect: "ok", Number: &number, Height: &height, ReceiptedBy: []string{"north"}, NotAfter: &after})
	foreign := block(6)
	foreign.Header = f.receipt(f.headers[6], "south", testTime)
	foreign.Header.Receipts[0].Name = "north" // whose key has another id
	write("proof-good-listed-name", vector{About: "a receipt under a listed name and another key's id, which counts for nothing", Kind: "proof", Bytes: f.encoded(foreign), Trust: trust,
		Expect: "ok", Number: &number, Height: &height})
}

func writeOddBundles(t *testing.T, write func(string, vector)) {
	f, e := dishonest(t), editor{t}
	x := func(s string) []byte { return unhex(t, s) }
	keys := []*SignedHeader{f.headers[0], f.headers[4]}
	trust := string(f.trust(0, "north").Format())
	bad := func(name, about string, check Check, items ...[]byte) {
		t.Helper()
		write("bundle-bad-"+name, vector{About: about, Kind: "bundle", Bytes: bytes.Join(items, nil), Trust: trust, Expect: "fail", Check: string(check)})
	}
	// 0 the start, 1 block 5, 2 and 3 its entries, 4 block 6, 5 and 6 its entries, 7 the end
	items, rest := [][]byte{}, f.bundleOf(keys, f.headers[5:7], f.headers[6])
	for len(rest) > 0 {
		_, n, err := BundleItem(rest)
		if err != nil {
			t.Fatal(err)
		}
		items, rest = append(items, rest[:n]), rest[n:]
	}
	seq := func(all ...[]byte) []byte { return bytes.Join(all, nil) }
	with := func(at int, item []byte) []byte { return seq(seq(items[:at]...), item, seq(items[at+1:]...)) }
	bad("item-claims", "an item that claims a byte more than any may have", CheckDecoding, seq(items[:3]...), x("5a01000011"), items[3][2:])
	bad("item-none", "an item of no bytes", CheckDecoding, with(2, x("40")))
	bad("item-head-alone", "an item that is the head of an array", CheckDecoding, with(2, x("4182")))
	bad("item-kind-long", "an item whose kind has a longer form", CheckDecoding, with(2, appendBytes(nil, slicesOf(x("821802"), e.item(items[2], inside, 1)))))
	bad("item-kind-null", "null as an item's kind", CheckDecoding, with(2, e.replace(items[2], x("f6"), inside, 0)))
	bad("last-entry-left-out", "the last block without its last entry", CheckEntry, with(6, nil))
	bad("last-entries-order", "the last block's entries in the other order", CheckEntry, seq(items[:5]...), items[6], items[5], items[7])
	bad("entry-twice", "an entry twice, in place of the next", CheckEntry, with(3, items[2]))
	spoilt := with(0, e.replace(items[0], append(x("a10b"), e.item(mustAppendWrapped(t, f.receipt(f.headers[0], "north", testTime)), inside, 1, 11)...), inside, 2, 0, inside, 1))
	bad("start-receipt-first", "a receipt in the start, and an entry that is missing behind it", CheckDecoding, spoilt[:len(spoilt)-len(items[7])-len(items[6])], items[7])
	torn := f.run(5, 7, 6, func(h *Header) { h.History[0] ^= 1 })
	bad("entry-before-history", "a block without its last entry, and above it one that commits to another history", CheckEntry,
		seq(items[:3]...), AppendBundleBlock(nil, torn[1].Bytes()), seq(items[5:7]...), items[7])
	bad("block-twice", "a block twice", CheckBlock, seq(items[:4]...), seq(items[1:4]...), items[7])
	bad("empty-root", "a block of no entries with another root", CheckEntry, f.bundleOf(keys, f.run(5, 6, 5, func(h *Header) { h.Count, h.Root = 0, Hash{1} })[:1], f.headers[5])[:len(items[0])],
		AppendBundleBlock(nil, f.sign(5, "gateway 1", func(h *Header) { h.Count, h.Root = 0, Hash{1} }).Bytes()), items[7])
	bad("end-first", "an end before any block", CheckDecoding, items[0], items[7], seq(items[1:]...))
	receipted := func(height uint64) LaterHeader {
		return f.with(&Proof{}, LaterHeader{f.headers[height], f.pathOf(6, height)}).Later[0]
	}
	bad("later-order", "later headers whose heights fall", CheckDecoding, f.bundleOf(keys, f.headers[5:7], f.headers[6], receipted(9), receipted(8)))
	bad("later-twice", "a later header twice", CheckDecoding, f.bundleOf(keys, f.headers[5:7], f.headers[6], receipted(9), receipted(9)))
	end := f.bundleOf(keys, f.headers[5:7], f.headers[6], receipted(9))[len(seq(items[:7]...)):]
	bad("later-path-null", "null in place of a later header's path", CheckDecoding, seq(items[:7]...), e.replace(end, x("f6"), inside, 2, 0, 1))
	bad("end-block", "the end's header without its signature", CheckDecoding, with(7, e.replace(items[7], e.item(items[4], inside, 1), inside, 1)))
}

func slicesOf(all ...[]byte) []byte { return bytes.Join(all, nil) }

func mustAppendWrapped(t *testing.T, h *SignedHeader) []byte {
	t.Helper()
	b, err := appendWrapped(nil, h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeOddForks(t *testing.T, write func(string, vector)) {
	f, e := dishonest(t), editor{t}
	x := func(s string) []byte { return unhex(t, s) }
	trust := string(f.trust(0, "north").Format())
	encode := func(fork *Fork) []byte {
		t.Helper()
		b, err := fork.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bad := func(name, about string, check Check, b []byte) {
		t.Helper()
		write("fork-bad-"+name, vector{About: about, Kind: "fork", Bytes: b, Trust: trust, Expect: "fail", Check: string(check)})
	}
	keys := []*SignedHeader{f.headers[0], f.headers[4]}
	side := func(h *SignedHeader, keys ...*SignedHeader) Side { return Side{Keys: keys, Head: h, Leaf: h.Hash()} }
	moved := func(h *Header) { h.Sealed++ }
	other := f.sign(6, "gateway 1", moved)
	fork := NewFork(keys, side(f.headers[6]), side(other))
	good := encode(fork)
	through := func(path Path, leaf Hash) Side { return Side{Head: f.headers[9], Leaf: leaf, Path: &path} }
	whole := f.pathOf(6, 9)
	bad("path-one-history", "a head, and its header at the height of the other's path: one history", CheckFork, encode(NewFork(keys, side(f.headers[6]), through(whole, f.leaves[6]))))
	bad("path-index-size", "a path whose index is its size", CheckFork, encode(NewFork(keys, side(other), Side{Head: f.headers[6], Leaf: f.leaves[6], Path: &Path{Size: 6, Index: 6}})))
	long := whole
	long.Hashes = append(append([]Hash(nil), whole.Hashes...), Hash{})
	bad("path-long", "a path with a hash too many", CheckFork, encode(NewFork(keys, side(other), through(long, f.leaves[6]))))
	bad("path-other-leaf", "a path that leads from another hash", CheckFork, encode(NewFork(keys, side(other), through(whole, Hash{9}))))
	again := NewFork(keys, side(f.headers[6], f.headers[4]), side(other))
	bad("key-again", "a side's own list with a header of field 2", CheckFork, encode(again))
	bad("genesis-again", "a side's own list with genesis", CheckFork, encode(NewFork(keys, side(f.headers[6], f.headers[0]), side(other))))
	bad("genesis-head", "genesis as a head", CheckFork, encode(NewFork(keys[:1], side(f.headers[0]), side(f.headers[2]))))
	spoilt := f.receipt(f.sign(4, "gateway 0", moved), "north", testTime)
	spoilt.Receipts[0].Signature[3] ^= 1
	bad("own-key-receipt", "a listed receipt on a header of a side's own list that does not check", CheckReceipts,
		encode(NewFork(keys[:1], side(f.headers[5], f.headers[4]), side(f.sign(5, "gateway 1", moved), spoilt))))
	bad("keys-order-fields", "field 3 before field 2", CheckDecoding, swapFields(e, good))
	bad("side-map", "a map as a side", CheckDecoding, e.replace(good, x("a0"), 3, 0))
	bad("leaf-null", "null in place of a side's hash", CheckDecoding, e.replace(good, x("f6"), 3, 0, 2))
	bad("head-null", "null in place of a head", CheckDecoding, e.replace(good, x("f6"), 3, 1, 1))
	bad("path-empty", "an empty array in place of a path", CheckDecoding, e.replace(good, x("80"), 3, 1, 3))
	height := uint64(6)
	stranger := *f.headers[6]
	stranger.Receipts = f.receipt(f.headers[6], "mallory", testTime).Receipts
	stranger.Receipts[0].Signature[3] ^= 1
	write("fork-good-stranger", vector{About: "a receipt of nobody who is listed, which does not check", Kind: "fork", Bytes: encode(NewFork(keys, side(&stranger), side(other))), Trust: trust,
		Expect: "ok", Height: &height})
}

// swapFields exchanges fields 2 and 3 of a fork.
func swapFields(e editor, b []byte) []byte {
	two, three := e.item(b, 2), e.item(b, 3)
	return slicesOf([]byte{0xa3, 1, 1, 3}, three, []byte{2}, two)
}

func writeOddNotes(t *testing.T, write func(string, vector)) {
	chain := ChainID{7}
	trust := "chain " + chain.String() + "\nperson anna " + FormatPublicKey(testSigner("anna").Public()) + "\n"
	const least = `"who":"x","when":"2026-11-28T20:41:48Z"`
	entry := func(payload string) []byte {
		b, err := (&Entry{Source: SourceNote, Flags: ByAgent, Payload: []byte(payload)}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	hash := "a" + strings.Repeat("0b", 31) + "1"
	for name, c := range map[string]struct{ about, payload string }{
		"no-colon":         {"no colon behind a member's name", "{" + least + `,"a" 0}`},
		"colon-other":      {"a semicolon in place of a colon", "{" + least + `,"a";0}`},
		"no-comma":         {"no comma between two members", "{" + least + ` "a":0}`},
		"list-no-comma":    {"no comma between two elements", "{" + least + `,"a":[0 0]}`},
		"comma-last":       {"a comma behind the last member", "{" + least + `,"a":0,}`},
		"raw-control":      {"LF as it is in a member that is not known", "{" + least + ",\"a\":\"x\ny\"}"},
		"escape-x":         {"an escape that JSON does not have", "{" + least + `,"a":"\x41"}`},
		"escape-u":         {"an escape of four digits, one of which is none", "{" + least + `,"a":"\u00g0"}`},
		"text-unended":     {"a text that does not end", "{" + least + `,"a":"x}`},
		"leading-zero":     {"a leading zero in a member that is not known", "{" + least + `,"a":01}`},
		"minus-alone":      {"a minus without digits", "{" + least + `,"a":-}`},
		"dot-alone":        {"a fraction without digits", "{" + least + `,"a":1.}`},
		"exponent-alone":   {"an exponent without digits", "{" + least + `,"a":1e+}`},
		"nan":              {"NaN", "{" + least + `,"a":NaN}`},
		"true-capital":     {"True", "{" + least + `,"a":True}`},
		"form-feed":        {"U+000C between two members", "{" + least + ",\f\"a\":0}"},
		"no-break-space":   {"U+00A0 between two members", "{" + least + ",\u00a0\"a\":0}"},
		"comment":          {"a comment", "{" + least + ` /* x */}`},
		"single-quotes":    {"a text in single quotes", "{" + least + `,'a':0}`},
		"unquoted":         {"a name without quotes", "{" + least + `,a:0}`},
		"nothing":          {"no payload", ""},
		"null":             {"null", "null"},
		"zero-behind":      {"U+0000 behind the object", "{" + least + "}\x00"},
		"spaces-and-order": {"a byte order mark behind a space", " \ufeff{" + least + "}"},
		"escaped-nul":      {"U+0000 as an escape", "{" + least + `,"reason":"a\u0000"}`},
		"list-null":        {"null as stretches", "{" + least + `,"entries":null}`},
		"list-zero":        {"a leading zero in a stretch", "{" + least + `,"entries":[[03,5]]}`},
		"list-inside":      {"a stretch inside another array", "{" + least + `,"entries":[[[3,5]]]}`},
		"list-comma":       {"a comma behind the last stretch", "{" + least + `,"entries":[[3,5],]}`},
		"list-true":        {"true in a stretch", "{" + least + `,"entries":[[3,true]]}`},
		"list-object":      {"an object as stretches", "{" + least + `,"entries":{"0":[3,5]}}`},
		"head-zero":        {"a leading zero in a head's height", "{" + least + `,"head":[02,"` + hash + `"]}`},
		"head-none":        {"an empty head", "{" + least + `,"head":[]}`},
		"head-null":        {"null as a head", "{" + least + `,"head":null}`},
		"head-long":        {"a head's hash of 66 digits", "{" + least + `,"head":[2,"` + hash + `00"]}`},
		"head-object":      {"an object as a head", "{" + least + `,"head":{"height":2,"hash":"` + hash + `"}}`},
		"head-prefix":      {"a head's hash behind 0x", "{" + least + `,"head":[2,"0x` + hash[2:] + `"]}`},
		"when-letters":     {"letters where a time has digits", `{"who":"x","when":"yyyy-11-28T20:41:48Z"}`},
		"when-space":       {"a space behind a time", `{"who":"x","when":"2026-11-28T20:41:48Z "}`},
		"when-small":       {"small letters in a time", `{"who":"x","when":"2026-11-28t20:41:48z"}`},
		"who-null":         {"null as who", `{"who":null,"when":"2026-11-28T20:41:48Z"}`},
		"who-empty":        {"an empty who", `{"who":"","when":"2026-11-28T20:41:48Z"}`},
		"who-capital":      {"a capital letter in a member's name", `{"Who":"x","when":"2026-11-28T20:41:48Z"}`},
		"signature-null":   {"null as a signature", "{" + least + `,"signature":null}`},
		"signature-list":   {"a list of signatures", "{" + least + `,"signature":["` + signAs("anna", nil, nil) + `"]}`},
		"signature-spaces": {"a space before a signature", "{" + least + `,"signature":" ` + signAs("anna", nil, nil) + `"}`},
	} {
		write("note-bad-"+name, vector{About: c.about, Kind: "note", Trust: trust, Bytes: entry(c.payload), Expect: "fail"})
	}
	for name, c := range map[string]struct{ about, payload string }{
		"inside-twice": {"a member that is not known, with one member twice and half a surrogate pair inside", "{" + least + `,"a":{"b":0,"b":"\ud800"}}`},
		"spaces-alone": {"a who of spaces", `{"who":"  ","when":"2026-11-28T20:41:48Z"}`},
		"depths":       {"many arrays beside one another", "{" + least + `,"a":[[[[[[[]]]]]],[[[[[[]]]]]]]}`},
		"prototype":    {"members called __proto__ and constructor", "{" + least + `,"__proto__":{"who":"y"},"constructor":0,"toString":0}`},
		"name-empty":   {"a member whose name is empty", "{" + least + `,"":0}`},
		"big-number":   {"a number that no reader has", "{" + least + `,"a":` + strings.Repeat("9", 400) + `.5e99999}`},
	} {
		n, _, err := ReadNote(&Entry{Source: SourceNote, Payload: []byte(c.payload)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		write("note-good-"+name, vector{About: c.about, Kind: "note", Trust: trust, Bytes: entry(c.payload), Expect: "ok", Standing: NoteUnsigned, Statement: string(n.Statement(chain))})
	}
}

func writeOddTrustFiles(t *testing.T, write func(string, vector)) {
	chain := ChainID{}.String()
	key := strings.TrimPrefix(FormatPublicKey(testSigner("north").Public()), "ssh-ed25519 ")
	for name, c := range map[string]struct{ about, text, expect string }{
		"bad-quorum-zeros":      {"a quorum of two zeros", "quorum 00\n", "fail"},
		"bad-quorum-hex":        {"a quorum in hexadecimal", "quorum 0x1\n", "fail"},
		"bad-quorum-underscore": {"a quorum with an underscore", "quorum 1_0\n", "fail"},
		"bad-quorum-digits":     {"a quorum in digits of another script", "quorum ٣\n", "fail"},
		"bad-quorum-fraction":   {"a quorum with a fraction", "quorum 1.0\n", "fail"},
		"bad-quorum-minus":      {"a quorum below zero", "quorum -0\n", "fail"},
		"bad-quorum-comment":    {"a comment right behind a quorum", "quorum 1#\n", "fail"},
		"bad-chain-51":          {"a chain of 51 characters", "chain " + chain[:51] + "\n", "fail"},
		"bad-chain-53":          {"a chain of 53 characters", "chain " + chain + "a\n", "fail"},
		"bad-chain-digit":       {"a chain with a digit that base32 does not have", "chain 1" + chain[1:] + "\n", "fail"},
		"bad-chain-padded":      {"a chain with padding", "chain " + chain + "====\n", "fail"},
		"bad-vertical-tab":      {"U+000B between two words", "chain\v" + chain + "\n", "fail"},
		"bad-form-feed":         {"U+000C between two words", "quorum\f1\n", "fail"},
		"bad-next-line":         {"U+0085 between two words", "quorum\u00851\n", "fail"},
		"bad-byte-order-later":  {"a byte order mark before the second line", "quorum 1\n\ufeffchain " + chain + "\n", "fail"},
		"bad-zero":              {"U+0000 behind a word", "quorum 1\x00\n", "fail"},
		"bad-name-64":           {"a name of 64 characters", "aggregator " + strings.Repeat("n", 64) + " ssh-ed25519 " + key + "\n", "fail"},
		"bad-name-underscore":   {"a name with an underscore", "aggregator no_rth ssh-ed25519 " + key + "\n", "fail"},
		"bad-name-hyphen":       {"a name that begins with a hyphen", "person -anna ssh-ed25519 " + key + "\n", "fail"},
		"bad-key-comment":       {"a comment behind a key, as files of OpenSSH have one", "person anna ssh-ed25519 " + key + " anna@host\n", "fail"},
		"bad-key-url":           {"a key in the other alphabet of base64", "person anna ssh-ed25519 " + strings.NewReplacer("+", "-", "/", "_").Replace(key) + "_\n", "fail"},
		"bad-key-31":            {"a key of 31 bytes", "person anna ssh-ed25519 " + key[:64] + "\n", "fail"},
		"bad-key-certificate":   {"a certificate's kind", "person anna ssh-ed25519-cert-v01@openssh.com " + key + "\n", "fail"},
		"bad-device-five":       {"a word behind a device's key", "device m jws AAAA x\n", "fail"},
		"bad-device-capital":    {"a device's kind in capitals", "device m JWS AAAA\n", "fail"},
		"good-comment-zero":     {"a comment that holds U+0000 and U+FEFF", "# \x00\ufeff\n", "ok"},
		"good-name-63":          {"names of 63 characters, and of one", "aggregator " + strings.Repeat("n", 63) + " ssh-ed25519 " + key + "\nperson 0 ssh-ed25519 " + key + "\n", "ok"},
		"good-nothing":          {"spaces and the end of no line", " \t ", "ok"},
	} {
		write("trust-"+name, vector{About: c.about, Kind: "trust", Text: c.text, Expect: c.expect})
	}
	utf16 := []byte{0xff, 0xfe}
	for _, c := range "quorum 1\n" {
		utf16 = append(utf16, byte(c), 0)
	}
	write("trust-bad-utf16", vector{About: "a file in UTF-16", Kind: "trust", Bytes: utf16, Expect: "fail"})
}

func writeOddTrees(t *testing.T, write func(string, vector)) {
	leaves := testLeaves(13)
	proof, err := ProveConsistency(LeafNodes(leaves), 6, 13)
	if err != nil {
		t.Fatal(err)
	}
	before, after := naiveRoot(leaves[:6]), naiveRoot(leaves)
	extra := Hash{1}
	for name, v := range map[string]vector{
		"bad-6-none":  {About: "6 leaves, and no hash", Before: before.String(), Hashes: nil},
		"bad-6-extra": {About: "a hash too many, and roots that it leads to", Before: NodeHash(extra, before).String(), After: NodeHash(extra, after).String(), Hashes: append(proof[:len(proof):len(proof)], extra)},
		"bad-6-short": {About: "a hash too few", Before: before.String(), Hashes: proof[:len(proof)-1]},
		"bad-6-other": {About: "another end", Before: before.String(), After: hex.EncodeToString(make([]byte, 32)), Hashes: proof},
	} {
		v.Kind, v.From, v.To, v.Expect = "consistency", 6, 13, "fail"
		if v.After == "" {
			v.After = after.String()
		}
		write("consistency-"+name, v)
	}
}
