package lightchain

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

// vectorChain is the chain behind the published proofs: a key change at height 4, a beacon from height 6 on.
func vectorChain(t testing.TB) *testChain {
	c := newTestChain(t)
	c.seal(1, nil)
	c.seal(5, nil)
	c.seal(0, nil) // a heartbeat
	c.rotate(3, "gateway 1")
	c.seal(8, nil)
	hash, headers := c.beacon(5, map[string]uint64{"north": testTime + 310, "south": testTime + 305})
	c.seal(7, func(h *Header) { h.Beacon = hash })
	c.beacons[6] = headers
	c.seal(2, func(h *Header) { h.Extra = []Field{{Key: 99, Raw: []byte{0x82, 0x01, 0x61, 'x'}}} })
	c.seal(4, func(h *Header) { h.Cadence = 3600 })
	return c
}

// makeVectors returns the published vectors by their names.
func makeVectors(t *testing.T) map[string][]byte {
	made := map[string][]byte{}
	write := func(name string, v vector) {
		t.Helper()
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if made[name] != nil {
			t.Fatalf("two vectors %s", name)
		}
		made[name] = append(b, '\n')
	}
	writeCodecVectors(t, write)
	writeShapeVectors(t, write)
	writeTreeVectors(t, write)
	writeTrustVectors(t, write)
	writeProofVectors(t, write)
	writeBundleVectors(t, write)
	writeForkVectors(t, write)
	writeRunVectors(t, write)
	writeForgedVectors(t, write)
	writeNoteVectors(t, write)
	writeNotedVectors(t, write)
	writeOddVectors(t, write)
	return made
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeCodecVectors(t *testing.T, write func(string, vector)) {
	entry, err := testEntry(0).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	write("entry-good", vector{About: "a reading of 0.5 Cel", Kind: "entry", Bytes: entry, Expect: "ok", Hash: LeafHash(entry).String()})
	kinds := testEntry(0)
	kinds.Readings = []Reading{
		{Device: "d", Name: "int", Value: Int(-5), Time: testTime * 1e9, Timed: true},
		{Device: "d", Name: "half", Value: Float(1.5)}, {Device: "d", Name: "single", Value: Float(65536.5)},
		{Device: "d", Name: "double", Value: Float(73.96732207)}, {Device: "d", Name: "minus zero", Value: Float(math.Copysign(0, -1))},
		{Device: "d", Name: "bool", Value: Bool(true), Quality: Bad}, {Device: "d", Name: "text", Value: Text("Grüße")},
		{Device: "d", Name: "bytes", Value: Bytes([]byte{0, 1})}, {Device: "d", Name: "null", Quality: Historical | Zoneless},
		{Device: "d", Name: "derived", Value: Int(1), Derived: true}, {Device: "d", Name: "meaning", Value: Int(2), Meaning: &Hash{31: 1}},
		{Device: "d", Name: "both", Value: Int(3), Derived: true, Meaning: &Hash{1}},
	}
	kinds.Decoder = "vendor.example-7/2147483647"
	all, err := kinds.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	write("entry-every-kind-of-value", vector{About: "one reading of each kind of value, and of what a reading may have more", Kind: "entry", Bytes: all, Expect: "ok", Hash: LeafHash(all).String()})

	// Each bad entry is this frame with one thing wrong: [salt, received, "s", flags, payload, "", readings].
	frame := func(received, source, flags, payload, readings string) []byte {
		return unhex(t, "8750"+"000102030405060708090a0b0c0d0e0f"+received+source+flags+payload+"60"+readings)
	}
	reading := func(value, time, quality string) string { return "81866164616e60" + value + time + quality }
	bad := map[string]struct {
		about string
		b     []byte
	}{
		"long-int":            {"an int that is not in its shortest form", frame("1800", "6173", "00", "40", "80")},
		"long-float":          {"a float that fits a shorter form", frame("00", "6173", "00", "40", reading("fa3fc00000", "f6", "00"))},
		"nan":                 {"NaN as a value", frame("00", "6173", "00", "40", reading("f97e00", "f6", "00"))},
		"infinity":            {"infinity as a value", frame("00", "6173", "00", "40", reading("f97c00", "f6", "00"))},
		"undefined":           {"undefined as a value", frame("00", "6173", "00", "40", reading("f7", "f6", "00"))},
		"simple-value":        {"simple value 32 as a value", frame("00", "6173", "00", "40", reading("f820", "f6", "00"))},
		"tag":                 {"a tagged value", frame("00", "6173", "00", "40", reading("c100", "f6", "00"))},
		"big-int":             {"an int of 2^63", frame("00", "6173", "00", "40", reading("1b8000000000000000", "f6", "00"))},
		"array-value":         {"an array as a value", frame("00", "6173", "00", "40", reading("80", "f6", "00"))},
		"indefinite":          {"readings of indefinite length", frame("00", "6173", "00", "40", "9fff")},
		"not-utf8":            {"a source that is not UTF-8", frame("00", "61ff", "00", "40", "80")},
		"undefined-flag":      {"flag bit 6", frame("00", "6173", "1840", "40", "80")},
		"undefined-quality":   {"quality bit 3", frame("00", "6173", "00", "40", reading("00", "f6", "08"))},
		"not-understood-read": {"flag 3 beside a reading", frame("00", "6173", "08", "40", reading("00", "f6", "00"))},
		"null-time":           {"null where the time of arrival stands", frame("f6", "6173", "00", "40", "80")},
		"trailing":            {"a byte after the end", append(frame("00", "6173", "00", "40", "80"), 0)},
		"longer-array":        {"an eighth element", append([]byte{0x88}, append(frame("00", "6173", "00", "40", "80")[1:], 0)...)},
		"short-salt":          {"a salt of 15 bytes", unhex(t, "874f"+"000102030405060708090a0b0c0d0e"+"006173004060"+"80")},
	}
	more := func(elements, rest string) []byte {
		return frame("00", "6173", "00", "40", "81"+elements+"6164616e6000f600"+rest)
	}
	decoder := func(name string) []byte {
		b, _ := appendText(nil, name)
		return unhex(t, "8750"+"000102030405060708090a0b0c0d0e0f"+"0061730040"+hex.EncodeToString(b)+"80")
	}
	for name, c := range map[string]struct {
		about string
		b     []byte
	}{
		"empty-map":        {"a reading with an empty map", more("87", "a0")},
		"derived-false":    {"a derived bit that is false", more("87", "a101f4")},
		"short-meaning":    {"a meaning of 31 bytes", more("87", "a102581f"+strings.Repeat("00", 31))},
		"unknown-in-map":   {"key 3 in a reading's map", more("87", "a10300")},
		"map-order":        {"key 2 before key 1 in a reading's map", more("87", "a2025820"+strings.Repeat("00", 32)+"01f5")},
		"map-missing":      {"a reading of seven elements without the map", more("87", "")},
		"eighth":           {"a reading of eight elements", more("88", "a101f500")},
		"decoder-none":     {"a decoder without a version", decoder("json")},
		"decoder-zero":     {"version 0 of a decoder", decoder("json/0")},
		"decoder-leading":  {"a version with a leading zero", decoder("json/01")},
		"decoder-too-high": {"version 2^31 of a decoder", decoder("json/2147483648")},
		"decoder-name":     {"a decoder in capital letters", decoder("JSON/1")},
		"decoder-long":     {"a decoder's name of 64 characters", decoder(strings.Repeat("a", 64) + "/2147483647")},
		"decoder-null":     {"null where the decoder stands", unhex(t, "8750"+"000102030405060708090a0b0c0d0e0f"+"0061730040"+"f6"+"80")},
	} {
		bad[name] = c
	}
	for name, c := range bad {
		write("entry-bad-"+name, vector{About: c.about, Kind: "entry", Bytes: c.b, Expect: "fail"})
	}

	c := vectorChain(t)
	for height, about := range map[uint64]string{0: "genesis", 3: "a heartbeat", 4: "a change of key", 6: "a beacon", 7: "a field of a later version, key 99", 8: "a cadence"} {
		h := c.headers[height]
		write(fmt.Sprintf("header-good-%d", height), vector{About: about, Kind: "header", Bytes: h.Bytes(), Expect: "ok", Hash: h.Hash().String()})
		signed, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		write(fmt.Sprintf("signed-header-good-%d", height), vector{About: about + ", signed", Kind: "signed header", Bytes: signed, Expect: "ok"})
	}
	writeLabelVectors(t, c.headers[2], write)
	plain := c.headers[2].Bytes()
	unsorted := editor{t}.elements(plain, majorMap)
	unsorted[4], unsorted[5], unsorted[6], unsorted[7] = unsorted[6], unsorted[7], unsorted[4], unsorted[5]
	for name, h := range map[string]struct {
		about string
		b     []byte
	}{
		"key-0":         {"key 0", append([]byte{plain[0] + 1, 0, 0}, plain[1:]...)},
		"negative-key":  {"key -1", append(append([]byte{plain[0] + 1}, plain[1:]...), 0x20, 0)},
		"name":          {"a name, which only genesis has", append(append([]byte{plain[0] + 1}, plain[1:]...), 13, 0x61, 'x')},
		"unsorted":      {"key 4 before key 3", join(majorMap, len(unsorted)/2, unsorted)},
		"float-extra":   {"a float in an unknown field", append(append([]byte{plain[0] + 1}, plain[1:]...), 0x18, 99, 0xf9, 0x3c, 0x00)},
		"map-extra":     {"a map in an unknown field", append(append([]byte{plain[0] + 1}, plain[1:]...), 0x18, 99, 0xa0)},
		"depth-5-extra": {"arrays to depth 5 in an unknown field", append(append([]byte{plain[0] + 1}, plain[1:]...), 0x18, 99, 0x81, 0x81, 0x81, 0x81, 0x80)},
		"cadence-0":     {"a cadence of 0 s", append(append([]byte{plain[0] + 1}, plain[1:]...), 16, 0)},
		"cadence-2^31":  {"a cadence of 2^31 s", append(append([]byte{plain[0] + 1}, plain[1:]...), 16, 0x1a, 0x80, 0, 0, 0)},
		"cadence-text":  {"text as a cadence", append(append([]byte{plain[0] + 1}, plain[1:]...), 16, 0x61, '5')},
		"weak-key":      {"a key of small order", append(append(append([]byte{plain[0] + 1}, plain[1:]...), 12, 0x58, 0x20, 1), make([]byte, 31)...)},
		"too-large":     {"2,049 bytes", append(append(append([]byte{plain[0] + 1}, plain[1:]...), 0x18, 99, 0x59, 0x08, 0x00), make([]byte, 2048)...)},
	} {
		write("header-bad-"+name, vector{About: h.about, Kind: "header", Bytes: h.b, Expect: "fail"})
	}
	r := c.receipted(5, map[string]uint64{"north": testTime}).Receipts[0]
	write("receipt-good", vector{About: "a receipt of north", Kind: "receipt", Bytes: r.mustEncode(), Expect: "ok"})
	badName := bytes.Replace(r.mustEncode(), []byte("north"), []byte("North"), 1)
	write("receipt-bad-name", vector{About: "an upper-case letter in a name", Kind: "receipt", Bytes: badName, Expect: "fail"})
}

// writeLabelVectors writes signed headers whose protected header is another one than the format has.
func writeLabelVectors(t *testing.T, h *SignedHeader, write func(string, vector)) {
	whole, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	chain, sound := h.ChainID().String(), h.protected()
	begins := len(headerProtected) + len(KeyID{})
	claims := func(pairs ...[]byte) []byte {
		return append(appendMap(append(bytes.Clone(sound[:begins]), labelClaims), len(pairs)), bytes.Join(pairs, nil)...)
	}
	claim := func(label byte, text string) []byte {
		b, _ := appendText([]byte{label}, text)
		return b
	}
	issuer, subject := claim(claimIssuer, chain), claim(claimSubject, chain+"/2")
	other := "a" + chain[1:]
	for name, c := range map[string]struct {
		about     string
		protected []byte
	}{
		"issuer":       {"another chain as iss", claims(claim(claimIssuer, other), subject)},
		"subject":      {"another chain in sub", claims(issuer, claim(claimSubject, other+"/2"))},
		"height":       {"another height in sub", claims(issuer, claim(claimSubject, chain+"/3"))},
		"height-zero":  {"a height with a leading zero in sub", claims(issuer, claim(claimSubject, chain+"/02"))},
		"no-subject":   {"no sub", claims(issuer)},
		"third-claim":  {"a time (iat) as a third claim", claims(issuer, subject, []byte{claimIssuedAt, 0})},
		"no-claims":    {"no claims", append([]byte{0xa3}, sound[1:begins]...)},
		"claims-order": {"sub before iss", claims(subject, issuer)},
		"short-kid":    {"a kid of 7 bytes", append(append(append(bytes.Clone(sound[:len(headerProtected)-1]), 0x47), sound[len(headerProtected)+1:begins]...), sound[begins:]...)},
		"no-kid":       {"no kid", append(append([]byte{0xa3}, sound[1:len(headerProtected)-2]...), sound[begins:]...)},
		"media-type":   {"the media type of a proof", bytes.Replace(sound, []byte(".header+cbor"), []byte(".prooff+cbor"), 1)},
		"algorithm":    {"ES256 (-7)", bytes.Replace(sound, []byte{1, 0x27}, []byte{1, 0x26}, 1)},
	} {
		b := bytes.Replace(whole, appendBytes(nil, sound), appendBytes(nil, c.protected), 1)
		write("signed-header-bad-"+name, vector{About: c.about, Kind: "signed header", Bytes: b, Expect: "fail"})
	}
}

func writeTreeVectors(t *testing.T, write func(string, vector)) {
	for _, n := range []int{0, 1, 2, 3, 7, 8} {
		v := vector{About: fmt.Sprintf("%d leaves", n), Kind: "tree", Expect: "ok"}
		var r CompactRange
		for i := range n {
			leaf := fmt.Sprintf("leaf %d", i)
			v.Leaves = append(v.Leaves, leaf)
			r.Append(LeafHash([]byte(leaf)), nil)
		}
		v.Root = r.Root().String()
		write(fmt.Sprintf("tree-%d", n), v)
	}
	leaves := testLeaves(13)
	nodes := LeafNodes(leaves)
	end, empty := naiveRoot(leaves).String(), emptyRoot.String()
	for name, v := range map[string]vector{
		"good-0":      {About: "no leaves begin 13", To: 13, Before: empty, After: end, Expect: "ok"},
		"bad-0":       {About: "no leaves, and the root of one", To: 13, Before: leaves[0].String(), After: end, Expect: "fail"},
		"bad-0-hash":  {About: "no leaves, and a hash", To: 13, Before: empty, After: end, Hashes: leaves[:1], Expect: "fail"},
		"bad-13-hash": {About: "the whole tree, and a hash", From: 13, To: 13, Before: end, After: end, Hashes: leaves[:1], Expect: "fail"},
		"bad-falls":   {About: "13 leaves as the beginning of 12", From: 13, To: 12, Before: end, After: naiveRoot(leaves[:12]).String(), Expect: "fail"},
		"bad-4-none":  {About: "4 leaves, and no hash", From: 4, To: 13, Before: naiveRoot(leaves[:4]).String(), After: naiveRoot(leaves[:4]).String(), Expect: "fail"},
	} {
		v.Kind = "consistency"
		write("consistency-"+name, v)
	}
	for _, from := range []uint64{1, 4, 6, 8, 12, 13} {
		proof, err := ProveConsistency(nodes, from, 13)
		if err != nil {
			t.Fatal(err)
		}
		v := vector{About: fmt.Sprintf("%d leaves begin 13", from), Kind: "consistency", From: from, To: 13, Hashes: proof,
			Before: naiveRoot(leaves[:from]).String(), After: naiveRoot(leaves).String(), Expect: "ok"}
		write(fmt.Sprintf("consistency-good-%d", from), v)
		v.About, v.Expect, v.Before = "another beginning", "fail", naiveRoot(testLeaves(14)[1:from+1]).String()
		write(fmt.Sprintf("consistency-bad-%d", from), v)
	}
}

func writeProofVectors(t *testing.T, write func(string, vector)) {
	c := vectorChain(t)
	trust := string(c.trust(1, "north", "south").Format())
	seconds := func(n uint64) *uint64 { return &n }
	encode := func(p *Proof) []byte {
		t.Helper()
		b, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	alone := c.prove(2, 3)
	aloneBytes := encode(alone)
	write("proof-good-alone", vector{About: "no receipt, none asked for", Kind: "proof", Bytes: aloneBytes, Trust: string(c.trust(0).Format()),
		Expect: "ok", Number: seconds(4), Height: seconds(2)})
	write("proof-bad-quorum", vector{About: "no receipt, one asked for", Kind: "proof", Bytes: aloneBytes, Trust: trust, Expect: "fail", Check: "receipts"})
	text := string(EncodeText(aloneBytes))
	write("text-good", vector{About: "a proof in PEM", Kind: "text", Text: text, Expect: "ok"})
	write("text-bad-after", vector{About: "something after the block", Kind: "text", Text: text + "x", Expect: "fail"})
	write("text-bad-label", vector{About: "another label", Kind: "text", Text: strings.Replace(text, "PROOF", "PROOV", 1), Expect: "fail"})

	later := c.receipted(8, map[string]uint64{"north": testTime + 600, "south": testTime + 590, "stranger": 5})
	both := c.prove(6, 2, later)
	write("proof-good-bracket", vector{About: "receipts of two on a later header, a beacon, a change of key, a stranger's receipt", Kind: "proof", Bytes: encode(both), Trust: trust,
		Expect: "ok", Number: seconds(19), Height: seconds(6), ReceiptedBy: []string{"north", "south"}, NotBefore: seconds(testTime + 310), NotAfter: seconds(testTime + 591)})
	write("proof-good-quorum-2", vector{About: "the same, two must agree", Kind: "proof", Bytes: encode(both), Trust: string(c.trust(2, "north", "south").Format()),
		Expect: "ok", Number: seconds(19), Height: seconds(6), ReceiptedBy: []string{"north", "south"}, NotBefore: seconds(testTime + 305), NotAfter: seconds(testTime + 601)})
	own := c.prove(2, 0)
	own.Header = c.receipted(2, map[string]uint64{"south": testTime + 130})
	write("proof-good-own-receipt", vector{About: "a receipt on the block's own header", Kind: "proof", Bytes: encode(own), Trust: trust,
		Expect: "ok", Number: seconds(1), Height: seconds(2), ReceiptedBy: []string{"south"}, NotAfter: seconds(testTime + 131)})

	bad := func(name, about, check string, change func(p *Proof)) {
		t.Helper()
		p := c.prove(6, 2, c.receipted(8, map[string]uint64{"north": testTime + 600, "south": testTime + 590}))
		change(p)
		write("proof-bad-"+name, vector{About: about, Kind: "proof", Bytes: encode(p), Trust: trust, Expect: "fail", Check: check})
	}
	outside := c.prove(2, 3)
	outside.Outside = []Outside{{"cose-receipt", 2, []byte{0xd2, 0x84}}, {"rfc3161", 1 << 40, nil}}
	write("proof-good-outside", vector{About: "evidence from outside, of which a verifier knows nothing", Kind: "proof", Bytes: encode(outside), Trust: string(c.trust(0).Format()),
		Expect: "ok", Number: seconds(4), Height: seconds(2)})
	for name, b := range map[string]struct {
		about string
		raw   []byte
	}{
		"none":      {"field 8 with nothing in it", []byte{8, 0x80}},
		"kind":      {"evidence from outside of a kind in capital letters", []byte{8, 0x81, 0x83, 0x61, 'A', 0, 0x40}},
		"kind-long": {"evidence from outside of a kind of 64 characters", append(append([]byte{8, 0x81, 0x83, 0x78, 64}, bytes.Repeat([]byte{'a'}, 64)...), 0, 0x40)},
		"no-height": {"evidence from outside of two elements", []byte{8, 0x81, 0x82, 0x61, 'a', 0x40}},
		"height":    {"evidence from outside on height 2^63", append(append([]byte{8, 0x81, 0x83, 0x61, 'a', 0x1b, 0x80}, make([]byte, 7)...), 0x40)},
		"seventeen": {"seventeen pieces of evidence from outside", append([]byte{8, 0x91}, bytes.Repeat([]byte{0x83, 0x61, 'a', 0, 0x40}, 17)...)},
	} {
		spoilt := append(append([]byte{aloneBytes[0] + 1}, aloneBytes[1:]...), b.raw...)
		write("proof-bad-outside-"+name, vector{About: b.about, Kind: "proof", Bytes: spoilt, Trust: trust, Expect: "fail", Check: "decoding"})
	}
	writeReadingVectors(t, write)
	quiet := newTestChain(t)
	quiet.seal(2, func(h *Header) { h.Cadence = 60 })
	quiet.seal(0, func(h *Header) { h.Cadence = MaxCadence })
	silent := quiet.prove(1, 1, quiet.receipted(2, map[string]uint64{"north": testTime + 1000}))
	silent.Header = quiet.receipted(1, map[string]uint64{"north": testTime + 100, "south": testTime + 90})
	write("proof-good-silent", vector{About: "the next header was promised within 60 s, and has its first receipt 910 s after that on this one", Kind: "proof", Bytes: encode(silent),
		Trust: string(quiet.trust(1, "north", "south").Format()), Expect: "ok", Number: seconds(1), Height: seconds(1), Silences: []silenceVector{{1, testTime + 90, testTime + 1000}},
		ReceiptedBy: []string{"north", "south"}, NotAfter: seconds(testTime + 91)})
	bad("keys-left-out", "the change of key left out: later headers are signed under a key that nothing introduced", "signature", func(p *Proof) { p.Keys = p.Keys[:1] })
	bad("keys-unsigned", "the change of key signed by the new key itself", "keys", func(p *Proof) {
		p.Keys[1], _ = p.Keys[1].Header.Sign(testSigner("gateway 1"))
	})
	bad("signature", "the block's header signed by another", "signature", func(p *Proof) { p.Header, _ = p.Header.Header.Sign(testSigner("mallory")) })
	bad("entry", "another entry of the same block", "entry", func(p *Proof) { p.Entry = c.blocks[6][3] })
	bad("entry-index", "the entry at another index", "entry", func(p *Proof) { p.EntryPath.Index++ })
	bad("block", "a later header that does not contain the block's", "block", func(p *Proof) { p.Later[0].Path.Hashes[0][0] ^= 1 })
	bad("receipt", "a trusted aggregator's receipt moved to another header", "receipts", func(p *Proof) {
		p.Later[0].Header.Receipts = c.receipted(7, map[string]uint64{"north": testTime + 600}).Receipts
	})
	bad("contradiction", "closed before the receipts that its beacon names", "receipts", func(p *Proof) {
		p.Later[0].Header.Receipts = c.receipted(8, map[string]uint64{"north": testTime + 1}).Receipts
	})
	bad("beacon", "a receipt that the beacon does not name", "beacon", func(p *Proof) {
		_, p.Beacon = c.beacon(5, map[string]uint64{"north": testTime + 311, "south": testTime + 305})
	})
	f := dishonest(t)
	for _, v := range f.refuted() {
		write("proof-bad-"+v.name, vector{About: v.about, Kind: "proof", Bytes: encode(v.proof()), Trust: string(f.trust(0, "north").Format()), Expect: "fail", Check: string(v.check)})
	}
	// Each verifies by itself, where no quorum is asked for; the first contradicts the two behind it.
	alike := func(name, about string, p *Proof) {
		number := p.Header.Header.First + 1
		write("proof-good-"+name, vector{About: about, Kind: "proof", Bytes: encode(p), Trust: string(f.trust(0, "north").Format()), Expect: "ok",
			Number: &number, Height: &p.Header.Header.Height})
	}
	alike("honest", "an honest gateway's, after a change of key", f.prove(f.headers[6], 0, 4))
	alike("number-twice", "the number of another block's entry", f.prove(f.sign(8, "gateway 1", func(h *Header) { h.First = f.headers[6].Header.First }), 0, 4))
	leaps := f.prove(f.headers[6], 0, 4)
	leaps.Later = []LaterHeader{f.above(9, 6, f.headers[6].Hash(), "gateway 1", func(h *Header) { h.First = math.MaxInt64 - 2 })}
	leaps.Later[0].Header = f.receipt(leaps.Later[0].Header, "north", testTime)
	leapt := f.headers[6].Header.First + 1
	write("proof-good-first-leaps", vector{About: "first numbers that leap over headers that are not shown", Kind: "proof", Bytes: encode(leaps), Trust: string(f.trust(0, "north").Format()),
		Expect: "ok", Number: &leapt, Height: seconds(6), ReceiptedBy: []string{"north"}, NotAfter: seconds(testTime + 1)})
	alike("old-key", "a former key, and the change of key left out", f.prove(f.sign(9, "gateway 0", unchanged), 0))
	clock := c.prove(6, 2, c.receipted(8, map[string]uint64{"north": testTime + 600, "south": testTime + 590}))
	wrong := forger{c}.sign(6, "gateway 1", func(h *Header) { h.Sealed = 1577836800 * 1e9 })
	clock.Header = forger{c}.receipt(wrong, "north", testTime+600)
	clock.Later = nil
	write("proof-good-wrong-clock", vector{About: "sealed in 2020 by the gateway's clock, between receipts of 2023", Kind: "proof", Bytes: encode(clock), Trust: trust, Expect: "ok",
		Number: seconds(19), Height: seconds(6), ReceiptedBy: []string{"north"}, NotBefore: seconds(testTime + 310), NotAfter: seconds(testTime + 601)})
	write("proof-bad-cut", vector{About: "the last byte missing", Kind: "proof", Bytes: aloneBytes[:len(aloneBytes)-1], Trust: trust, Expect: "fail", Check: "decoding"})
}

// writeReadingVectors writes proofs that a verifier of this page takes alike: what their readings have to do with their
// payloads is no check, and a program that has the decoder can say it.
func writeReadingVectors(t *testing.T, write func(string, vector)) {
	for name, e := range map[string]struct {
		about   string
		payload string
		reading Reading
	}{
		"reading-same":    {"readings that are what the payload says", `{"temperature":20.5}`, Reading{Device: "factory/line1/press-07", Name: "temperature", Value: Float(20.5)}},
		"reading-values":  {"readings with the payload's values, under a name and a unit of the gateway's configuration", `{"temperature":20.5}`, Reading{Device: "press-07", Name: "t", Unit: "Cel", Value: Float(20.5)}},
		"reading-differs": {"a payload of 95.0, and a reading of 20.5", `{"temperature":95.0}`, Reading{Device: "press-07", Name: "temperature", Unit: "Cel", Value: Float(20.5)}},
	} {
		c := newTestChain(t)
		c.sealEntries([]*Entry{{Source: "mqtt:plant:factory/line1/press-07", Payload: []byte(e.payload), Decoder: "json/2", Readings: []Reading{e.reading}}}, nil)
		b, err := c.prove(1, 0).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		number, height := uint64(0), uint64(1)
		write("proof-good-"+name, vector{About: e.about, Kind: "proof", Bytes: b, Trust: string(c.trust(0).Format()), Expect: "ok", Number: &number, Height: &height})
	}
}

func writeBundleVectors(t *testing.T, write func(string, vector)) {
	c := vectorChain(t)
	trust := string(c.trust(1, "north").Format())
	seconds := func(n uint64) *uint64 { return &n }
	head := c.receipted(8, map[string]uint64{"north": testTime + 600})
	items := c.bundle(1, 6, head)
	whole := bytes.Join(items, nil)
	write("bundle-good", vector{About: "all entries of blocks 1 to 6, a change of key among them", Kind: "bundle", Bytes: whole, Trust: trust,
		Expect: "ok", Number: seconds(0), Next: seconds(24), Height: seconds(6), ReceiptedBy: []string{"north"}, NotAfter: seconds(testTime + 601)})
	d := dishonest(t)
	forged := func(keys []*SignedHeader, h *SignedHeader) []byte { return d.bundleOf(keys, []*SignedHeader{h}, h) }
	for name, v := range map[string]vector{
		"bad-keys-none-above": {About: "a header of the start that sets no key, above one that does", Check: "keys", Trust: string(d.trust(0).Format()),
			Bytes: forged([]*SignedHeader{d.headers[0], d.headers[7], d.headers[4]}, d.headers[9])},
		"bad-first-falls": {About: "the first block begins before a header that sets the key ends", Check: "block", Trust: string(d.trust(0).Format()),
			Bytes: forged([]*SignedHeader{d.headers[0], d.headers[4]}, d.sign(9, "gateway 1", func(h *Header) { h.First = 3 }))},
		"bad-entry-left-out": {About: "one entry left out", Check: "entry", Bytes: bytes.Join(append(append([][]byte{}, items[:2]...), items[3:]...), nil)},
		"bad-cut":            {About: "the last byte missing", Check: "decoding", Bytes: whole[:len(whole)-1]},
		"bad-no-end":         {About: "no end", Check: "decoding", Bytes: bytes.Join(items[:len(items)-1], nil)},
	} {
		v.Kind, v.Expect = "bundle", "fail"
		if v.Trust == "" {
			v.Trust = trust
		}
		write("bundle-"+name, v)
	}
}

// writeForkVectors writes evidence of a chain that was one up to height 5, and two from there on; and two proofs, one of
// either history, each of which verifies.
func writeForkVectors(t *testing.T, write func(string, vector)) {
	a, b := vectorChain(t), newTestChain(t)
	for height := uint64(1); height <= 5; height++ {
		if height == 4 {
			b.rotate(len(a.blocks[4]), "gateway 1")
			continue
		}
		b.seal(len(a.blocks[height]), nil)
	}
	b.seal(6, nil)
	b.seal(1, nil)
	trust := string(a.trust(1, "north", "south").Format())
	height := uint64(6)
	path, err := ProveInclusion(LeafNodes(b.leaves), 7, height)
	if err != nil {
		t.Fatal(err)
	}
	headA := a.receipted(6, map[string]uint64{"north": testTime + 400, "south": testTime + 410})
	headB := b.receipted(7, map[string]uint64{"north": testTime + 500, "stranger": 5})
	make := func(change func(*Fork)) []byte {
		t.Helper()
		f := NewFork(keyHeaders(a, 0, 6), Side{Head: headA, Leaf: a.leaves[6]}, Side{Head: headB, Leaf: b.leaves[6], Path: &path})
		change(f)
		encoded, err := f.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	write("fork-good", vector{About: "two histories from height 6 on, north's receipts on both", Kind: "fork", Bytes: make(func(*Fork) {}), Trust: trust,
		Expect: "ok", Height: &height, ReceiptedBy: []string{"north"}})
	side := func(f *Fork, leaf Hash) *Side {
		if f.Sides[0].Leaf == leaf {
			return &f.Sides[0]
		}
		return &f.Sides[1]
	}
	for name, v := range map[string]vector{
		"bad-chain": {About: "of a chain that is not trusted", Check: "chain", Bytes: make(func(*Fork) {}), Trust: "chain " + ChainID{1}.String() + "\n"},
		"bad-same":  {About: "the same header on both sides", Check: "fork", Bytes: make(func(f *Fork) { f.Sides[1] = f.Sides[0] })},
		"bad-order": {About: "the sides in the other order", Check: "fork", Bytes: make(func(f *Fork) { f.Sides[0], f.Sides[1] = f.Sides[1], f.Sides[0] })},
		"bad-signer": {About: "a side that another key signed", Check: "fork", Bytes: make(func(f *Fork) {
			forged, err := headA.Header.Sign(testSigner("mallory"))
			if err != nil {
				t.Fatal(err)
			}
			side(f, a.leaves[6]).Head = forged
		})},
		"bad-receipt": {About: "a trusted aggregator's receipt moved from another header", Check: "receipts", Bytes: make(func(f *Fork) {
			moved := *headA
			moved.Receipts = a.receipted(5, map[string]uint64{"south": testTime + 410}).Receipts
			side(f, a.leaves[6]).Head = &moved
		})},
		"bad-key-receipt": {About: "a trusted aggregator's receipt on a header that sets the key, moved from another", Check: "receipts", Bytes: make(func(f *Fork) {
			moved := *f.Keys[0]
			moved.Receipts = a.receipted(5, map[string]uint64{"south": testTime + 410}).Receipts
			f.Keys[0] = &moved
		})},
		"bad-heights": {About: "two heads at different heights that one history holds", Check: "fork", Bytes: make(func(f *Fork) {
			*f = *NewFork(f.Keys, Side{Head: a.headers[5], Leaf: a.leaves[5]}, Side{Head: headA, Leaf: a.leaves[6]})
		})},
		"bad-cut": {About: "the last byte missing", Check: "decoding", Bytes: func() []byte { b := make(func(*Fork) {}); return b[:len(b)-1] }()},
	} {
		v.Kind, v.Expect = "fork", "fail"
		if v.Trust == "" {
			v.Trust = trust
		}
		write("fork-"+name, v)
	}

	for name, v := range map[string]struct {
		about string
		other *SignedHeader
		keys  uint64 // how many headers set the key below the other
	}{
		"numbers": {"one entry number in two blocks", dishonest(t).sign(8, "gateway 1", func(h *Header) { h.First = 10 }), 2},
		"old-key": {"a key signs on after it was changed", dishonest(t).sign(9, "gateway 0", unchanged), 1},
	} {
		d := dishonest(t)
		keys := keyHeaders(d.testChain, 0, 5)
		low := d.headers[6]
		if v.keys == 1 {
			low = d.headers[4]
		}
		lower := uint64(low.Header.Height)
		shared := keys[:v.keys]
		encoded, err := NewFork(shared, Side{Head: low, Leaf: low.Hash()}, Side{Head: v.other, Leaf: v.other.Hash()}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		write("fork-good-"+name, vector{About: v.about, Kind: "fork", Bytes: encoded, Trust: string(d.trust(0).Format()), Expect: "ok", Height: &lower})
	}

	writeForgedForkVectors(t, write)
	encode := func(p *Proof) []byte {
		t.Helper()
		b, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	number, first := a.headers[6].Header.First, a.headers[6].Header.First
	seconds := func(n uint64) *uint64 { return &n }
	pa, pb := a.prove(6, 0), b.prove(6, 0, headB)
	pa.Header = headA
	write("proof-good-history-a", vector{About: "one of two histories, which verifies by itself", Kind: "proof", Bytes: encode(pa), Trust: trust, Expect: "ok",
		Number: &number, Height: &height, ReceiptedBy: []string{"north", "south"}, NotBefore: seconds(testTime + 310), NotAfter: seconds(testTime + 401)})
	write("proof-good-history-b", vector{About: "the other of two histories, which verifies by itself", Kind: "proof", Bytes: encode(pb), Trust: trust, Expect: "ok",
		Number: &first, Height: &height, ReceiptedBy: []string{"north"}, NotAfter: seconds(testTime + 501)})
}

// writeForgedForkVectors writes evidence with headers that no history holds, which accuse all the same.
func writeForgedForkVectors(t *testing.T, write func(string, vector)) {
	d := dishonest(t)
	old := testSigner("gateway 0").Public()
	again := d.sign(2, "gateway 0", func(h *Header) { h.NextKey = &old })
	for name, v := range map[string]struct {
		about    string
		keys     []*SignedHeader
		one, two *SignedHeader
	}{
		"numbers-beyond": {"numbers that end above 2^63-1 and fall", []*SignedHeader{d.headers[0], d.headers[4]},
			d.sign(6, "gateway 1", func(h *Header) { h.First = math.MaxInt64 }), d.headers[9]},
		"key-in-force": {"a header of both sides that sets the key already in force", []*SignedHeader{d.headers[0], again},
			d.headers[3], d.sign(3, "gateway 0", func(h *Header) { h.Sealed++ })},
		"root-of-none": {"a head of no entries with another root", []*SignedHeader{d.headers[0]},
			d.headers[3], d.sign(3, "gateway 0", func(h *Header) { h.Count, h.Root = 0, Hash{1} })},
	} {
		encoded, err := NewFork(v.keys, Side{Head: v.one, Leaf: v.one.Hash()}, Side{Head: v.two, Leaf: v.two.Hash()}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		write("fork-good-"+name, vector{About: v.about, Kind: "fork", Bytes: encoded, Trust: string(d.trust(0).Format()), Expect: "ok", Height: &v.one.Header.Height})
	}
}

func writeRunVectors(t *testing.T, write func(string, vector)) {
	c := vectorChain(t)
	make := func(change func(*Run)) []byte {
		t.Helper()
		var run Run
		for _, h := range c.headers[1:] {
			run.Add(&h.Header, &h.HeaderSignature)
		}
		change(&run)
		b, err := run.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	genesis, err := c.headers[0].Encode()
	if err != nil {
		t.Fatal(err)
	}
	head := c.headers[len(c.headers)-1].Hash().String()
	write("run-good", vector{About: "the headers behind a genesis, to follow from it", Kind: "run", Genesis: genesis, Bytes: make(func(*Run) {}), Expect: "ok", Hash: head})
	write("run-bad-count", vector{About: "a block that claims one entry more", Kind: "run", Genesis: genesis, Bytes: make(func(r *Run) { r.Headers[1].Count++ }), Expect: "fail"})
	write("run-bad-root", vector{About: "another root", Kind: "run", Genesis: genesis, Bytes: make(func(r *Run) { r.Headers[1].Root[0] ^= 1 }), Expect: "fail"})
	write("run-bad-key", vector{About: "a key smuggled in, with a signature of its own", Kind: "run", Genesis: genesis, Bytes: make(func(r *Run) {
		stolen := testSigner("mallory").Public()
		r.Headers[3].NextKey = &stolen
	}), Expect: "fail"})
}
