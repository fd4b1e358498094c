package lightchain

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// The vectors here have one thing wrong with their encoding, and nothing else: whoever leaves out the one check reads them.

// A spoilt vector is a good one with something else in one place.
type spoilt struct {
	name, about string
	b           []byte
}

func (v vector) writeBad(write func(string, vector), prefix string, all []spoilt) {
	for _, s := range all {
		v.About, v.Bytes, v.Expect = s.about, s.b, "fail"
		write(prefix+"-bad-"+s.name, v)
	}
}

func writeShapeVectors(t *testing.T, write func(string, vector)) {
	writeEntryShapes(t, write)
	writeHeaderShapes(t, write)
	writeSignedShapes(t, write)
	writeReceiptShapes(t, write)
	writeProofShapes(t, write)
	writeTextShapes(t, write)
	writeBundleShapes(t, write)
	writeForkShapes(t, write)
}

func writeEntryShapes(t *testing.T, write func(string, vector)) {
	e, x := editor{t}, func(s string) []byte { return unhex(t, s) }
	entry, err := testEntry(0).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	vector{Kind: "entry"}.writeBad(write, "entry", []spoilt{
		{"salt-text", "text as the salt", e.replace(entry, append([]byte{0x70}, make([]byte, 16)...), 0)},
		{"received-below", "an int of -2^63-1", e.replace(entry, x("3b8000000000000000"), 1)},
		{"source-bytes", "bytes as the source", e.replace(entry, x("4173"), 2)},
		{"flags-negative", "flags of -64", e.replace(entry, x("383f"), 3)},
		{"payload-text", "text as the payload", e.replace(entry, x("60"), 4)},
		{"readings-bytes", "bytes as the readings", e.replace(entry, x("40"), 6)},
		{"reading-five", "a reading of five elements", e.drop(entry, 6, 0, 5)},
		{"device-bytes", "bytes as a device", e.replace(entry, x("4164"), 6, 0, 0)},
		{"name-bytes", "bytes as a reading's name", e.replace(entry, x("416e"), 6, 0, 1)},
		{"unit-bytes", "bytes as a unit", e.replace(entry, x("4175"), 6, 0, 2)},
		{"time-text", "text as a reading's time", e.replace(entry, x("60"), 6, 0, 4)},
		{"quality-negative", "a quality of -1", e.replace(entry, x("20"), 6, 0, 5)},
		{"repeated-key", "key 1 twice in a reading's map", e.add(entry, x("a201f501f5"), 6, 0)},
		{"double-single", "a float64 that fits a float32", e.replace(entry, x("fb40f0001000000000"), 6, 0, 3)},
		{"double-half", "a float64 that fits a float16", e.replace(entry, x("fb3ff8000000000000"), 6, 0, 3)},
		{"minus-infinity", "minus infinity in four bytes", e.replace(entry, x("faff800000"), 6, 0, 3)},
		{"cut", "the last byte missing", entry[:len(entry)-1]},
	})
	for _, good := range []struct {
		name, about string
		change      func(*Entry)
	}{
		{"least", "everything empty, and times before the epoch", func(e *Entry) {
			e.Source, e.Payload, e.Received, e.Flags = "", nil, -1, 0
			e.Readings = []Reading{{Time: -1 << 63, Timed: true}}
		}},
		{"byte-order-mark", "a source that begins with U+FEFF", func(e *Entry) { e.Source = "\ufeff" + e.Source }},
		{"unknown-decoder", "a decoder without a dot that is none of the page's", func(e *Entry) { e.Decoder = "foo/1" }},
		{"flags", "all flags that a reading may stand beside", func(e *Entry) { e.Flags = allFlags &^ NotUnderstood }},
		{"great-numbers", "the greatest and the least numbers", func(e *Entry) {
			e.Received = 1<<63 - 1
			e.Readings = []Reading{{Value: Int(-1 << 63)}, {Value: Int(1<<63 - 1)}, {Value: Float(0x1p-24)}, {Value: Float(65504)}, {Value: Float(0x1p-1074)}}
		}},
	} {
		one := testEntry(0)
		good.change(one)
		b, err := one.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		write("entry-good-"+good.name, vector{About: good.about, Kind: "entry", Bytes: b, Expect: "ok", Hash: LeafHash(b).String()})
	}
}

// The y of the points of small order, little-endian, and one with the sign of its x.
var weakKeys = []spoilt{
	{"0", "a key of small order, y = 0", make([]byte, 32)},
	{"sign", "a key of small order, y = 1 and the top bit", append(append([]byte{1}, make([]byte, 30)...), 0x80)},
	{"minus-1", "a key of small order, y = -1", append(append([]byte{0xec}, bytes.Repeat([]byte{0xff}, 30)...), 0x7f)},
	{"26e8", "a key of small order, of order 8", hexBytes("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")},
	{"c717", "a key of small order, the other of order 8", hexBytes("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")},
	{"not-canonical", "a key whose y is 2^255-16", append(append([]byte{0xf0}, bytes.Repeat([]byte{0xff}, 30)...), 0x7f)},
}

func hexBytes(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func writeHeaderShapes(t *testing.T, write func(string, vector)) {
	e, x := editor{t}, func(s string) []byte { return unhex(t, s) }
	c := vectorChain(t)
	plain, genesis := c.headers[2].Bytes(), c.headers[0].Bytes()
	short, long := append([]byte{0x58, 31}, make([]byte, 31)...), append([]byte{0x58, 65}, make([]byte, 65)...)
	other := append([]byte{0x58, 32}, make([]byte, 32)...)
	control := func(c rune) []byte {
		b, _ := appendText(nil, "press"+string(c))
		return b
	}
	bad := []spoilt{
		{"array", "an array", x("80")},
		{"version", "version 2", e.replace(plain, x("02"), 1)},
		{"chain-short", "key 2 of 31 bytes", e.replace(plain, short, 2)},
		{"height-text", "text as the height", e.replace(plain, x("6131"), 3)},
		{"height-0", "height 0 beside key 2", e.replace(plain, x("00"), 3)},
		{"previous-short", "key 4 of 31 bytes", e.replace(plain, short, 4)},
		{"previous-missing", "no key 4", e.drop(plain, 4)},
		{"history-short", "key 5 of 31 bytes", e.replace(plain, short, 5)},
		{"root-long", "key 6 of 65 bytes", e.replace(plain, long, 6)},
		{"first-negative", "key 7 of -1", e.replace(plain, x("20"), 7)},
		{"count-negative", "key 8 of -1", e.replace(plain, x("20"), 8)},
		{"time-text", "text as key 9", e.replace(plain, x("60"), 9)},
		{"clock-four", "a clock of four elements", e.add(plain, x("00"), 10)},
		{"clock-state", "state 3 of a clock", e.replace(plain, x("03"), 10, 0)},
		{"clock-boots", "-1 boots", e.replace(plain, x("20"), 10, 1)},
		{"clock-uptime", "an uptime of -1", e.replace(plain, x("20"), 10, 2)},
		{"beacon-short", "key 11 of 31 bytes", e.put(plain, x("0b"), short)},
		{"key-short", "key 12 of 31 bytes", e.put(plain, x("0c"), append([]byte{0x58, 31}, bytes.Repeat([]byte{9}, 31)...))},
		{"nonce", "a nonce, which only genesis has", e.put(plain, x("0e"), append([]byte{0x50}, make([]byte, 16)...))},
		{"continues", "key 15, which only genesis has", e.put(plain, x("0f"), other)},
		{"text-key", "a key that is text", e.put(plain, x("623137"), x("00"))},
		{"key-2^63", "key 2^63", e.put(plain, x("1b8000000000000000"), x("00"))},
		{"simple-extra", "simple value 16 in an unknown field", e.put(plain, x("1863"), x("f0"))},
		{"tag-extra", "a tag in an unknown field", e.put(plain, x("1863"), x("c000"))},
		{"repeated-extra", "an unknown key twice", e.put(e.put(plain, x("1863"), x("00")), x("1863"), x("00"))},
		{"cut", "the last byte missing", plain[:len(plain)-1]},

		{"genesis-height", "a genesis of height 1", e.replace(genesis, x("01"), 3)},
		{"genesis-history", "a genesis with a history", e.replace(genesis, other, 5)},
		{"genesis-root", "a genesis with a root", e.replace(genesis, other, 6)},
		{"genesis-first", "a genesis that begins with number 1", e.replace(genesis, x("01"), 7)},
		{"genesis-count", "a genesis of one entry", e.replace(genesis, x("01"), 8)},
		{"genesis-beacon", "a genesis with a beacon", e.put(genesis, x("0b"), other)},
		{"genesis-previous", "a genesis with key 4", e.put(genesis, x("04"), other)},
		{"genesis-keyless", "a genesis without key 12", e.drop(genesis, 12)},
		{"genesis-name-bytes", "bytes as a gateway's name", e.replace(genesis, x("4178"), 13)},
		{"genesis-name-65", "a gateway's name of 65 bytes", e.replace(genesis, append([]byte{0x78, 65}, strings.Repeat("x", 65)...), 13)},
		{"genesis-name-u0000", "U+0000 in a gateway's name", e.replace(genesis, control(0), 13)},
		{"genesis-name-u001f", "U+001F in a gateway's name", e.replace(genesis, control(0x1f), 13)},
		{"genesis-name-u007f", "U+007F in a gateway's name", e.replace(genesis, control(0x7f), 13)},
		{"genesis-name-u009f", "U+009F in a gateway's name", e.replace(genesis, control(0x9f), 13)},
		{"genesis-nonce", "a nonce of 15 bytes", e.replace(genesis, append([]byte{0x4f}, make([]byte, 15)...), 14)},
		{"genesis-continues", "key 15 of 31 bytes", e.put(genesis, x("0f"), short)},
	}
	for _, k := range weakKeys {
		bad = append(bad, spoilt{"weak-key-" + k.name, k.about, e.put(plain, x("0c"), append([]byte{0x58, 32}, k.b...))})
	}
	vector{Kind: "header"}.writeBad(write, "header", bad)
	for _, good := range []spoilt{
		{"before-the-epoch", "a time before the epoch, and 0 boots", e.replace(e.replace(plain, x("20"), 9), x("00"), 10, 1)},
		{"root-of-none", "no entries, and another root than empty", e.replace(e.replace(plain, x("00"), 8), other, 6)},
		{"depth-4-extra", "arrays to depth 4 in an unknown field, the innermost empty", e.put(plain, x("1863"), x("8182018180"))},
		{"every-extra", "every kind of value in unknown fields", e.put(e.put(plain, x("11"), x("86206161410af4f5f6")), x("1b7fffffffffffffff"), x("3b7fffffffffffffff"))},
		{"cadence-longest", "a cadence of 2^31-1 s", e.put(plain, x("10"), x("1a7fffffff"))},
		{"largest", "2,048 bytes", e.put(plain, x("1863"), append([]byte{0x59, byte((2048 - 5 - len(plain)) >> 8), byte((2048 - 5 - len(plain)) & 0xff)}, make([]byte, 2048-5-len(plain))...))},
		{"genesis-nameless", "a genesis without a name", e.drop(genesis, 13)},
		{"genesis-empty-name", "a genesis with an empty name", e.replace(genesis, x("60"), 13)},
		{"genesis-whole", "a genesis with everything that it may have", e.put(e.put(e.put(e.replace(genesis, append([]byte{0x78, 64}, strings.Repeat("é", 32)...), 13),
			x("0f"), other), x("10"), x("01")), x("11"), x("f6"))},
	} {
		write("header-good-"+good.name, vector{About: good.about, Kind: "header", Bytes: good.b, Expect: "ok", Hash: LeafHash(good.b).String()})
	}
}

// signedReceipts returns a signed header with n receipts, in their order.
func signedReceipts(t *testing.T, c *testChain, height uint64, n int) []byte {
	t.Helper()
	times := map[string]uint64{}
	for i := range n {
		times["node-"+string(rune('a'+i))] = testTime
	}
	b, err := c.receipted(height, times).Append(make([]byte, 0, 8192))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeSignedShapes(t *testing.T, write func(string, vector)) {
	e, x := editor{t}, func(s string) []byte { return unhex(t, s) }
	c := vectorChain(t)
	plain, receipts := signedReceipts(t, c, 2, 0), signedReceipts(t, c, 2, 16)
	one := e.item(receipts, 1, 11, 0)
	eleven := x("0b")
	array := func(n int, of []byte) []byte { return append(appendArray(nil, n), bytes.Repeat(of, n)...) }
	vector{Kind: "signed header"}.writeBad(write, "signed-header", []spoilt{
		{"tag", "tag 17", append([]byte{0xd1}, plain[1:]...)},
		{"untagged", "no tag", plain[1:]},
		{"five", "an array of five", e.add(plain, x("00"))},
		{"protected-text", "text as the protected header", e.replace(plain, x("60"), 0)},
		{"unprotected-array", "an array as the unprotected header", e.replace(plain, x("80"), 1)},
		{"unprotected-label", "label 4 in the unprotected header", e.replace(plain, x("a10440"), 1)},
		{"unprotected-two", "a label beside the receipts", e.put(e.replace(receipts, one, 1, 11), x("04"), x("40"), 1)},
		{"payload-text", "text as the payload", e.replace(plain, x("60"), 2)},
		{"payload-null", "a detached payload", e.replace(plain, x("f6"), 2)},
		{"signature-63", "a signature of 63 bytes", e.replace(plain, append([]byte{0x58, 63}, make([]byte, 63)...), 3)},
		{"fifth-label", "a fifth protected label", e.put(plain, x("10"), x("00"), 0, inside)},
		{"receipts-text", "text as the receipts", e.put(plain, eleven, x("626162"), 1)},
		{"receipts-none", "an array of no receipts", e.put(plain, eleven, x("80"), 1)},
		{"receipts-one", "an array of one receipt", e.put(plain, eleven, array(1, one), 1)},
		{"receipts-seventeen", "17 receipts", signed17(t, c)},
		{"receipts-order", "two receipts in the other order", e.swap(receipts, 3, 4, 1, 11)},
		{"receipts-twice", "a receipt twice", e.put(plain, eleven, array(2, one), 1)},
		{"cut", "the last byte missing", plain[:len(plain)-1]},
		{"genesis-signature", "a genesis that another key signed, under its own id", func() []byte {
			b, err := forger{c}.signAs(0, "mallory", "gateway 0").Encode()
			if err != nil {
				t.Fatal(err)
			}
			return b
		}()},
		{"genesis-kid", "a genesis that names another key than its own", func() []byte {
			b, err := forger{c}.signAs(0, "gateway 0", "mallory").Encode()
			if err != nil {
				t.Fatal(err)
			}
			return b
		}()},
	})
	write("signed-header-good-sixteen", vector{About: "16 receipts", Kind: "signed header", Bytes: receipts, Expect: "ok"})
}

// signed17 returns a signed header with 17 receipts, which Append refuses to write.
func signed17(t *testing.T, c *testChain) []byte {
	e := editor{t}
	b := signedReceipts(t, c, 2, 16)
	more, err := c.headers[2].Countersign(testSigner("node-q"), "node-q", testTime)
	if err != nil {
		t.Fatal(err)
	}
	all := append(e.elements(e.item(b, 1, 11), majorArray), more.mustEncode())
	for i := len(all) - 1; i > 0 && bytes.Compare(all[i-1], all[i]) > 0; i-- {
		all[i-1], all[i] = all[i], all[i-1]
	}
	return e.replace(b, join(majorArray, len(all), all), 1, 11)
}

func writeReceiptShapes(t *testing.T, write func(string, vector)) {
	e, x := editor{t}, func(s string) []byte { return unhex(t, s) }
	r := vectorChain(t).receipted(5, map[string]uint64{"north": testTime}).Receipts[0].mustEncode()
	vector{Kind: "receipt"}.writeBad(write, "receipt", []spoilt{
		{"four", "an array of four", e.add(r, x("00"))},
		{"protected-text", "text as the protected header", e.replace(r, x("60"), 0)},
		{"unprotected", "a label in the unprotected header", e.replace(r, x("a10100"), 1)},
		{"signature-65", "a signature of 65 bytes", e.replace(r, append([]byte{0x58, 65}, make([]byte, 65)...), 2)},
		{"label", "a fourth protected label", e.put(r, x("10"), x("00"), 0, inside)},
		{"algorithm", "ES256 (-7)", e.replace(r, x("26"), 0, inside, 1)},
		{"kid", "a kid of 7 bytes", e.replace(r, x("4700000000000000"), 0, inside, 4)},
		{"claim", "a third claim", e.put(r, x("07"), x("00"), 0, inside, 15)},
		{"name-bytes", "bytes as the name", e.replace(r, x("4131"), 0, inside, 15, 1)},
		{"name-64", "a name of 64 characters", e.replace(r, append([]byte{0x78, 64}, strings.Repeat("n", 64)...), 0, inside, 15, 1)},
		{"name-empty", "an empty name", e.replace(r, x("60"), 0, inside, 15, 1)},
		{"name-dot", "a name that begins with a dot", e.replace(r, x("622e6e"), 0, inside, 15, 1)},
		{"time-negative", "a time of -1", e.replace(r, x("20"), 0, inside, 15, 6)},
		{"time-float", "a time with a fraction", e.replace(r, x("f93e00"), 0, inside, 15, 6)},
		{"protected-order", "protected labels out of order", e.replace(r, x("a3"+"0448"+strings.Repeat("00", 8)+"0127"+"0fa2016161"+"0600"), 0, inside)},
		{"protected-trailing", "a byte behind the protected labels", e.replace(r, appendBytes(nil, append(bytes.Clone(e.item(r, 0, inside)), 0)), 0)},
	})
}

// shapeProof returns a proof with everything that may stand in one: entry 1 of block 6, 16 later headers, two of a beacon.
func shapeProof(t *testing.T) (b []byte, trust string) {
	t.Helper()
	c := vectorChain(t)
	for range 16 {
		c.seal(1, nil)
	}
	var later []*SignedHeader
	for height := uint64(8); height < 24; height++ {
		later = append(later, c.receipted(height, map[string]uint64{"north": testTime + 100*height}))
	}
	p := c.prove(6, 1, later...)
	p.Outside = []Outside{{"x.example", 6, []byte{1}}}
	b, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b, string(c.trust(1, "north", "south").Format())
}

func writeProofShapes(t *testing.T, write func(string, vector)) {
	e, x := editor{t}, func(s string) []byte { return unhex(t, s) }
	b, trust := shapeProof(t)
	number, height, before, after := uint64(18), uint64(6), uint64(testTime+310), uint64(testTime+801)
	write("proof-good-everything", vector{About: "every field, 16 later headers, two receipts of a beacon, and evidence of a kind that is not the page's",
		Kind: "proof", Bytes: b, Trust: trust, Expect: "ok", Number: &number, Height: &height, ReceiptedBy: []string{"north"}, NotBefore: &before, NotAfter: &after})
	receipt := e.item(b, 7, 0, inside, 1, 11)
	with := func(signed []byte) []byte { return e.replace(signed, append(x("a10b"), receipt...), inside, 1) }
	seventeenth := func() []byte {
		c := vectorChain(t)
		for range 17 {
			c.seal(1, nil)
		}
		p := c.prove(6, 1, c.receipted(24, map[string]uint64{"north": testTime + 2400}))
		encoded, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return e.item(encoded, 6, 0)
	}
	entryPath, hash := []int{3}, append([]byte{0x58, 32}, make([]byte, 32)...)
	vector{Kind: "proof", Trust: trust, Check: "decoding"}.writeBad(write, "proof", []spoilt{
		{"array", "an array", x("80")},
		{"trailing", "a byte after the end", append(bytes.Clone(b), 0)},
		{"field-9", "field 9", e.put(b, x("09"), x("00"))},
		{"no-entry", "no field 2", e.drop(b, 2)},
		{"no-keys", "no field 5", e.drop(b, 5)},
		{"version", "version 2", e.replace(b, x("02"), 1)},
		{"entry-text", "text as the entry", e.replace(b, x("60"), 2)},
		{"entry-shape", "an entry that cannot be read", e.replace(b, x("00"), 2, inside, 6)},
		{"header-text", "text as the block's header", e.replace(b, x("60"), 4)},
		{"header-shape", "a block's header that cannot be read", e.replace(b, x("00"), 4, inside, 2)},

		{"path-four", "a path of four elements", e.add(b, x("00"), entryPath...)},
		{"path-size", "a path whose size is -1", e.replace(b, x("20"), 3, 0)},
		{"path-index", "a path whose index is -1", e.replace(b, x("20"), 3, 1)},
		{"path-64", "a path of 64 hashes", e.replace(b, append(appendArray(nil, 64), bytes.Repeat(hash, 64)...), 3, 2)},
		{"path-short", "a hash of 31 bytes in a path", e.replace(b, append([]byte{0x58, 31}, make([]byte, 31)...), 3, 2, 0)},

		{"keys-bytes", "bytes as field 5", e.replace(b, x("40"), 5)},
		{"keys-none", "an empty field 5", e.replace(b, x("80"), 5)},
		{"keys-receipt", "a receipt in field 5", e.replace(b, with(e.item(b, 5, 0)), 5, 0)},
		{"later-bytes", "bytes as field 6", e.replace(b, x("40"), 6)},
		{"later-none", "an empty field 6", e.replace(b, x("80"), 6)},
		{"later-17", "17 later headers", e.add(b, seventeenth(), 6)},
		{"later-three", "three elements about a later header", e.add(b, x("00"), 6, 15)},
		{"later-receiptless", "a later header without a receipt", e.replace(b, x("a0"), 6, 15, 0, inside, 1)},
		{"later-order", "later headers in another order", e.swap(b, 3, 4, 6)},
		{"beacon-bytes", "bytes as field 7", e.replace(b, x("40"), 7)},
		{"beacon-none", "an empty field 7", e.replace(b, x("80"), 7)},
		{"beacon-receiptless", "a header of field 7 without a receipt", e.replace(b, x("a0"), 7, 1, inside, 1)},

		{"outside-text", "text as field 8", e.replace(b, x("6161"), 8)},
		{"outside-four", "evidence from outside of four elements", e.add(b, x("00"), 8, 0)},
		{"outside-negative", "evidence from outside on height -1", e.replace(b, x("20"), 8, 0, 1)},
		{"outside-evidence-text", "evidence from outside that is text", e.replace(b, x("60"), 8, 0, 2)},
	})
}

func writeTextShapes(t *testing.T, write func(string, vector)) {
	c := vectorChain(t)
	var proof []byte
	for index := range uint64(5) { // one whose last base64 has unused bits
		b, err := c.prove(2, index).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(b)%3 == 1 {
			proof = b
		}
	}
	text := string(EncodeText(proof))
	lines := strings.SplitAfter(text, "\n")
	first, last := lines[0], lines[len(lines)-2]
	base64 := strings.ReplaceAll(strings.Join(lines[1:len(lines)-2], ""), "\n", "")
	wrap := func(width, until int) string {
		var b strings.Builder
		for rest := base64; rest != ""; {
			n := min(width, len(rest))
			if len(rest) <= until {
				n = len(rest)
			}
			b.WriteString(rest[:n] + "\n")
			rest = rest[n:]
		}
		return first + b.String() + last
	}
	if !strings.HasSuffix(base64, "A==") && !strings.HasSuffix(base64, "Q==") && !strings.HasSuffix(base64, "g==") && !strings.HasSuffix(base64, "w==") {
		t.Fatalf("%q", base64[len(base64)-4:])
	}
	bits := base64[:len(base64)-3] + string(base64[len(base64)-3]+1) + "=="
	for name, c := range map[string]struct{ about, text, expect string }{
		"good-crlf":        {"lines that end in CR LF and in LF", strings.Replace(text, "\n", "\r\n", 3), "ok"},
		"bad-label-end":    {"another label at the end", strings.Replace(text, "END EDGECHAIN PROOF", "END EDGECHAIN PROOV", 1), "fail"},
		"bad-unended":      {"a last line that is not ended", strings.TrimSuffix(text, "\n"), "fail"},
		"bad-nothing":      {"no line between the first and the last", first + last, "fail"},
		"bad-60":           {"lines of 60 characters", wrap(60, 0), "fail"},
		"bad-long-line":    {"a last line of more than 64 characters", wrap(64, 64+len(base64)%64), "fail"},
		"bad-empty-line":   {"an empty line before the last", strings.Replace(text, last, "\n"+last, 1), "fail"},
		"bad-unused-bits":  {"unused bits that are not zero", strings.Replace(text, base64[len(base64)-4:], bits[len(bits)-4:], 1), "fail"},
		"bad-unpadded":     {"no padding", strings.Replace(text, "==\n", "\n", 1), "fail"},
		"bad-space":        {"a space at the end of a line", strings.Replace(text, "\n-----END", " \n-----END", 1), "fail"},
		"bad-before":       {"a comment in front", "-----BEGIN \n" + text, "fail"},
		"bad-header":       {"a header as of RFC 1421", strings.Replace(text, "\n", "\nA: b\n\n", 1), "fail"},
		"bad-carriage":     {"a CR in a line", strings.Replace(text, "\n-----END", "\r\r\n-----END", 1), "fail"},
		"bad-url-alphabet": {"characters of the other base64", strings.Replace(text, "/", "_", 1), "fail"},
	} {
		if c.text == text {
			t.Fatalf("text-%s is the good one", name)
		}
		write("text-"+name, vector{About: c.about, Kind: "text", Text: c.text, Expect: c.expect})
	}
}

func writeBundleShapes(t *testing.T, write func(string, vector)) {
	e, x := editor{t}, func(s string) []byte { return unhex(t, s) }
	c := vectorChain(t)
	head := c.receipted(8, map[string]uint64{"north": testTime + 600})
	items := c.bundle(5, 6, head) // start, block 5 of 8 entries, block 6 of 7, end
	end := len(items) - 1
	seq := func(all ...[]byte) []byte { return bytes.Join(all, nil) }
	with := func(at int, item []byte) []byte { return seq(seq(items[:at]...), item, seq(items[at+1:]...)) }
	outside := []byte{0x81, 0x83, 0x61, 'a', 5, 0x40}
	trust := string(c.trust(1, "north").Format())
	number, next, height, after := uint64(9), uint64(24), uint64(6), uint64(testTime+601)
	if c.headers[5].Header.First != number {
		t.Fatal(c.headers[5].Header.First)
	}
	good := vector{Kind: "bundle", Trust: trust, Expect: "ok", Number: &number, Next: &next, Height: &height, ReceiptedBy: []string{"north"}, NotAfter: &after}
	good.About, good.Bytes = "two blocks, and evidence from outside", with(end, e.add(items[end], outside, inside))
	write("bundle-good-outside", good)
	bundle := vector{Kind: "bundle", Trust: trust, Check: "decoding"}
	entryAsText := bytes.Clone(items[2])
	entryAsText[0] |= 0x20
	bundle.writeBad(write, "bundle", []spoilt{
		{"item-text", "an item in text", with(2, entryAsText)},
		{"item-indefinite", "an item of indefinite length", with(2, seq(x("5f"), items[2], x("ff")))},
		{"item-long-head", "the length of an item in a longer form", with(2, append(x("5a0000"), items[2][1:]...))},
		{"item-int", "an item that is no array", with(2, x("4100"))},
		{"item-trailing", "a byte after an item's end", with(2, appendBytes(nil, append(bytes.Clone(e.item(items[2], inside)), 0)))},
		{"after-end", "a second end", seq(seq(items...), items[end])},
		{"kind", "an item of kind 4", with(2, e.replace(items[2], x("04"), inside, 0))},
		{"start-twice", "a second start", seq(items[0], seq(items...))},
		{"startless", "no start", seq(items[1:]...)},
		{"entry-first", "an entry before any block", seq(items[0], items[2], seq(items[1:]...))},
		{"blockless", "no block", seq(items[0], items[end])},
		{"start-five", "a start of five elements", with(0, e.add(items[0], x("00"), inside))},
		{"start-three", "a start without an edge", with(0, e.drop(items[0], inside, 3))},
		{"edge-bytes", "the hashes of an edge in one byte string", with(0, e.replace(items[0], appendBytes(nil, make([]byte, 64)), inside, 3))},
		{"edge-64", "an edge of 64 hashes", with(0, e.replace(items[0], seq(x("9840"), bytes.Repeat(appendBytes(nil, make([]byte, 32)), 64)), inside, 3))},
		{"edge-short", "a hash of 31 bytes in an edge", with(0, e.replace(items[0], appendBytes(nil, make([]byte, 31)), inside, 3, 1))},
		{"edge-text", "a text of 32 bytes in an edge", with(0, e.replace(items[0], append(x("7820"), bytes.Repeat([]byte{'a'}, 32)...), inside, 3, 0))},
		{"edge-long", "a hash of 33 bytes in an edge", with(0, e.replace(items[0], appendBytes(nil, make([]byte, 33)), inside, 3, 0))},
		{"version", "version 2", with(0, e.replace(items[0], x("02"), inside, 1))},
		{"start-none", "a start without headers", with(0, e.replace(items[0], x("80"), inside, 2))},
		{"start-receipt", "a receipt in the start", with(0, e.replace(items[0], append(x("a10b"), e.item(items[end], inside, 2, 0, 0, inside, 1, 11)...), inside, 2, 0, inside, 1))},
		{"block-three", "a block of three elements", with(1, e.add(items[1], x("00"), inside))},
		{"block-text", "text as a block's header", with(1, e.replace(items[1], x("60"), inside, 1))},
		{"block-shape", "a block's header that cannot be read", with(1, e.replace(items[1], x("00"), inside, 1, inside, 4))},
		{"entry-three", "an entry's item of three elements", with(2, e.add(items[2], x("00"), inside))},
		{"entry-shape", "an entry that cannot be read", with(2, e.replace(items[2], x("00"), inside, 1, inside, 6))},
		{"end-two", "an end of two elements", with(end, e.drop(items[end], inside, 2))},
		{"end-five", "an end of five elements", with(end, e.add(e.add(items[end], outside, inside), x("00"), inside))},
		{"end-outside-none", "no evidence where some is announced", with(end, e.add(items[end], x("80"), inside))},
		{"end-receiptless", "a later header without a receipt", with(end, e.replace(items[end], x("a0"), inside, 2, 0, 0, inside, 1))},
	})
	bundle.Check = "entry"
	bundle.writeBad(write, "bundle", []spoilt{
		{"entry-other", "an entry in place of another", with(2, items[3])},
		{"entry-too-many", "an entry too many, before an item that cannot be read", seq(seq(items[:10]...), items[9], x("4100"))},
		{"entry-order", "two entries in the other order", seq(items[0], items[1], items[3], items[2], seq(items[4:]...))},
	})
}

func writeForkShapes(t *testing.T, write func(string, vector)) {
	e, x := editor{t}, func(s string) []byte { return unhex(t, s) }
	d := dishonest(t)
	other := d.sign(6, "gateway 1", func(h *Header) { h.Sealed++ })
	path := Path{Size: 6, Index: 6}
	fork := NewFork([]*SignedHeader{d.headers[0], d.headers[4]}, Side{Head: d.headers[6], Leaf: d.leaves[6]}, Side{Head: other, Leaf: other.Hash(), Path: nil})
	b, err := fork.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	fork.Sides[0].Path = &path
	withPath, err := fork.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	vector{Kind: "fork", Trust: string(d.trust(0).Format()), Check: "decoding"}.writeBad(write, "fork", []spoilt{
		{"field-4", "field 4", e.put(b, x("04"), x("00"))},
		{"field-missing", "no field 2", e.drop(b, 2)},
		{"version", "version 2", e.replace(b, x("02"), 1)},
		{"trailing", "a byte after the end", append(bytes.Clone(b), 0)},
		{"keys-none", "an empty field 2", e.replace(b, x("80"), 2)},
		{"keys-text", "text as a side's headers that set the key", e.replace(b, x("60"), 3, 0, 0)},
		{"keys-shape", "a header that sets the key that cannot be read", e.replace(b, x("00"), 2, 1, inside, 2)},
		{"three-sides", "three sides", e.add(b, e.item(b, 3, 1), 3)},
		{"one-side", "one side", e.drop(b, 3, 1)},
		{"side-five", "a side of five elements", e.add(b, x("00"), 3, 0)},
		{"hash-short", "a side's hash of 31 bytes", e.replace(b, append([]byte{0x58, 31}, make([]byte, 31)...), 3, 0, 2)},
		{"path-false", "false in place of a path", e.replace(b, x("f4"), 3, 0, 3)},
		{"path-four", "a path of four elements", e.add(withPath, x("00"), 3, 0, 3)},
		{"head-shape", "a head that cannot be read", e.replace(b, x("00"), 3, 0, 1, inside, 3)},
	})
}
