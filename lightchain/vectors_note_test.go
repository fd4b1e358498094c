package lightchain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// vectorNote is what most vectors of notes say.
const vectorNote = `"who":"Anna Berger","when":"2026-11-28T20:41:48Z","entries":[[3,5],[7,7]],"heights":[[0,2]],"reason":"the sensor was replaced","meaning":"approved","text":"Two lines,\nand a tab\there."`

// sshParts are what an SSH signature is put together from.
type sshParts struct {
	magic, version, algorithm, key, namespace, reserved, hash, sigAlgorithm, sig string
	behindKey, behindSig, behind                                                 string
	beyond                                                                       byte // by how much the last length says too much
}

func (p *sshParts) text() string {
	key := string(appendSSH(appendSSH(nil, p.algorithm), p.key)) + p.behindKey
	sig := string(appendSSH(appendSSH(nil, p.sigAlgorithm), p.sig)) + p.behindSig
	b := []byte(p.magic + p.version)
	for _, s := range []string{key, p.namespace, p.reserved, p.hash, sig} {
		b = appendSSH(b, s)
	}
	b[len(b)-len(sig)-1] += p.beyond
	return base64.StdEncoding.EncodeToString(append(b, p.behind...))
}

// signAs signs a statement by a person's key, as ssh-keygen would if change did nothing.
func signAs(name string, statement []byte, change func(*sshParts)) string {
	private := privateOf(name)
	p := sshParts{magic: "SSHSIG", version: "\x00\x00\x00\x01", algorithm: "ssh-ed25519", key: string(private.Public().(ed25519.PublicKey)),
		namespace: "edgechain-note", hash: "sha512", sigAlgorithm: "ssh-ed25519"}
	if change != nil {
		change(&p)
	}
	var sum []byte
	switch p.hash {
	case "sha256":
		s := sha256.Sum256(statement)
		sum = s[:]
	case "sha384":
		s := sha512.Sum384(statement)
		sum = s[:]
	default:
		s := sha512.Sum512(statement)
		sum = s[:]
	}
	b := []byte("SSHSIG")
	for _, s := range []string{p.namespace, p.reserved, p.hash, string(sum)} {
		b = appendSSH(b, s)
	}
	if p.sig == "" {
		p.sig = string(ed25519.Sign(private, b))
	}
	return p.text()
}

func writeNoteVectors(t *testing.T, write func(string, vector)) {
	chain := ChainID{7}
	trust := "chain " + chain.String() + "\nperson anna " + FormatPublicKey(testSigner("anna").Public()) + "\n"
	entry := func(source, payload string, flags Flags) []byte {
		e := testEntry(0)
		e.Source, e.Flags, e.Payload, e.Decoder, e.Readings = source, ByAgent|flags, []byte(payload), "", nil
		b, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	statementOf := func(source, members string) []byte {
		n, _, err := ReadNote(&Entry{Source: source, Payload: []byte("{" + members + "}")})
		if err != nil {
			t.Fatalf("%v\n%s", err, members)
		}
		return n.Statement(chain)
	}
	good := func(name, about, source, members, signature string, standing NoteStanding) {
		v := vector{About: about, Kind: "note", Trust: trust, Expect: "ok", Standing: standing, Statement: string(statementOf(source, members))}
		if standing == NoteSigned {
			v.Signer = "anna"
		}
		if signature != "" {
			members += `,"signature":"` + signature + `"`
		}
		v.Bytes = entry(source, "{"+members+"}", 0)
		write("note-good-"+name, v)
	}
	bad := func(name, about, source, payload string) {
		write("note-bad-"+name, vector{About: about, Kind: "note", Trust: trust, Bytes: entry(source, payload, 0), Expect: "fail"})
	}
	own := statementOf(SourceNote, vectorNote)
	content := []byte("%PDF and more")
	file := func(content []byte) string {
		return fmt.Sprintf(`"name":"c.pdf","media_type":"application/pdf","size":%d,"sha256":"%x"`, len(content), sha256.Sum256(content))
	}
	data := func(b []byte) string { return `,"data":"` + base64.StdEncoding.EncodeToString(b) + `"` }
	attached := vectorNote + "," + file(content)
	least := `"who":"x","when":"2026-11-28T20:41:48Z"`
	spans := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("[%d,%d]", 2*i, 2*i))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	numbered := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"m%d":0`, i)
		}
		return b.String()
	}

	headHash := "a" + strings.Repeat("0b", 31) + "1"
	good("signed", "signed by a person that the trust file names", SourceNote, vectorNote, signAs("anna", own, nil), NoteSigned)
	good("signed-sha256", "signed over SHA-256", SourceNote, vectorNote, signAs("anna", own, func(p *sshParts) { p.hash = "sha256" }), NoteSigned)
	good("unknown-key", "signed under a key that the trust file does not name", SourceNote, vectorNote, signAs("bert", own, nil), NoteStranger)
	good("unknown-key-spoilt", "a signature over another statement under a key that the trust file does not name: it is not checked", SourceNote, vectorNote, signAs("bert", []byte("x"), nil), NoteStranger)
	good("unsigned", "without a signature", SourceNote, vectorNote, "", NoteUnsigned)
	good("least", "no more than there must be", SourceNote, least, signAs("anna", statementOf(SourceNote, least), nil), NoteSigned)
	for name, c := range map[string]struct{ about, source, members string }{
		"attached":      {"an attachment with its bytes", SourceAttach, attached + data(content)},
		"attached-hash": {"an attachment of which the hash alone is recorded", SourceAttach, attached},
		"attached-none": {"an attachment of no bytes, which are there", SourceAttach, least + "," + file(nil) + data(nil)},
		"attached-1":    {"an attachment of one byte", SourceAttach, least + "," + file([]byte{0xff}) + data([]byte{0xff})},
		"file-of-note":  {"members of an attachment in a note, where they are not known", SourceNote, least + `,"name":7,"data":"?"`},
		"unknown":       {"members that are not known, who asked among them, with objects of the same member twice", SourceNote, vectorNote + `,"asked_by":{"uid":1000,"uid":1000},"colour":[1e400,null],"Who":"","__proto__":1`},
		"order":         {"members in another order, and spaces between them", SourceNote, " \"text\" :\t\"a\\nb\" ,\r\n\"when\":\"2026-11-28T20:41:48Z\",\n\"entries\": [ [ 3 ,\t5 ] ] , \"who\":\"x\" "},
		"many-spaces":   {"a list of stretches with 20,000 spaces in it", SourceNote, least + `,"entries":[[3,` + strings.Repeat(" ", 20000) + `5]]`},
		"escapes":       {"escapes in a name and in texts, a surrogate pair among them", SourceNote, `"\u0077ho":"\u0041\/\ud83d\ude00","when":"2026-11-28T20:41:48Z","text":"\u000a\u0009\"\\"`},
		"characters":    {"characters that are none of control: U+2028, U+202E, U+00AD, U+10FFFF", SourceNote, least + ",\"reason\":\"\u2028\u202e\u00ad\U0010ffff\""},
		"text-lines":    {"a text that looks like lines of a statement, and ends in LF", SourceNote, least + `,"text":"meaning approved\nsha256 0\n\n"`},
		"longest":       {"the longest texts, in two bytes a character", SourceNote, `"who":"` + strings.Repeat("é", 512) + `","when":"2026-11-28T20:41:48Z","text":"` + strings.Repeat("é", 32768) + `"`},
		"head":          {"a head at the last of its blocks", SourceNote, least + `,"heights":[[0,2]],"head":[2,"` + headHash + `"]`},
		"head-greatest": {"a head at 2^53-1, with spaces, an escape in its hash, and no blocks", SourceNote, least + ",\"head\" : [ 9007199254740991 ,\t\"" + `\u0061` + headHash[1:] + "\" ]"},
		"spans-64":      {"64 stretches", SourceNote, least + `,"entries":` + spans(64)},
		"greatest":      {"the greatest number", SourceNote, least + `,"heights":[[0,9007199254740991]]`},
		"beyond":        {"digits where a time has digits, though there is no such time", SourceNote, `"who":"x","when":"9999-99-99T99:99:99Z"`},
		"depth-8":       {"8 arrays and objects inside one another", SourceNote, least + `,"deep":[[[[[[{}]]]]]]`},
		"members-64":    {"64 members", SourceNote, least + numbered(61)}, // and the signature
		"name-1022":     {"a member's name of 1,022 bytes", SourceNote, least + `,"` + strings.Repeat("x", 1022) + `":0`},
	} {
		good(name, c.about, c.source, c.members, signAs("anna", statementOf(c.source, c.members), nil), NoteSigned)
	}

	note := "{" + vectorNote + "}"
	with := func(old, with string) string {
		if !strings.Contains(note, old) {
			t.Fatalf("%q", old)
		}
		return strings.Replace(note, old, with, 1)
	}
	for name, c := range map[string]struct{ about, payload string }{
		"not-utf8":          {"a payload that is not UTF-8, in a member that is not known", "{" + least + ",\"a\":\"\xff\"}"},
		"byte-order":        {"a byte order mark", "\ufeff" + note},
		"json":              {"a comma too many", with(`"who"`, `,"who"`)},
		"behind":            {"something behind the object", note + "{}"},
		"array":             {"an array", "[" + note + "]"},
		"deep":              {"9 arrays and objects inside one another", "{" + least + `,"deep":[[[[[[[{}]]]]]]]}`},
		"members-65":        {"65 members", "{" + least + numbered(63) + "}"},
		"twice":             {"a member twice", `{"who":"Anna Berger",` + vectorNote + "}"},
		"twice-escaped":     {"a member twice, once with an escape in its name", `{"\u0077ho":"Anna Berger",` + vectorNote + "}"},
		"unknown-twice":     {"a member that is not known twice", "{" + least + `,"a":0,"a":0}`},
		"name-1023":         {"a member's name of 1,023 bytes", "{" + least + `,"` + strings.Repeat("x", 1023) + `":0}`},
		"name-1023-escaped": {"a member's name of 1,023 bytes as it is written", "{" + least + `,"` + strings.Repeat("x", 1017) + `\u0078":0}`},
		"name-half":         {"half of a surrogate pair in the name of a member", "{" + least + `,"\ud83d":0}`},
		"name-fffd":         {"U+FFFD in the name of a member", "{" + least + ",\"\ufffd\":0}"},
		"who-missing":       {"no who", `{"when":"2026-11-28T20:41:48Z"}`},
		"when-missing":      {"no when", `{"who":"x"}`},
		"who-number":        {"a number as who", `{"who":7,"when":"2026-11-28T20:41:48Z"}`},
		"reason-null":       {"null as reason", "{" + least + `,"reason":null}`},
		"text-empty":        {"an empty text", "{" + least + `,"text":""}`},
		"half":              {"half of a surrogate pair", "{" + least + `,"text":"a\udc00\ud83d"}`},
		"fffd":              {"U+FFFD", "{" + least + ",\"meaning\":\"\ufffd\"}"},
		"control":           {"LF in a line", "{" + least + `,"reason":"a\nb"}`},
		"control-c1":        {"U+0085 in a line", "{" + least + ",\"reason\":\"a\u0085b\"}"},
		"control-text":      {"CR in a text", "{" + least + `,"text":"a\r\nb"}`},
		"control-del":       {"U+007F in a text", "{" + least + ",\"text\":\"a\u007f\"}"},
		"who-1025":          {"1,025 bytes of who, in fewer characters", `{"who":"x` + strings.Repeat("é", 512) + `","when":"2026-11-28T20:41:48Z"}`},
		"text-65537":        {"65,537 bytes of text", "{" + least + `,"text":"` + strings.Repeat("x", 65537) + `"}`},
		"when-zone":         {"a time with a zone in numbers", with("20:41:48Z", "20:41:48+00:00")},
		"when-fraction":     {"a time with a fraction", with("20:41:48Z", "20:41:48.0Z")},
		"when-digits":       {"a time with digits of another script", with("20:41:48Z", "20:41:٤٨Z")},
		"list-empty":        {"no stretches", "{" + least + `,"entries":[]}`},
		"list-text":         {"stretches as text", "{" + least + `,"entries":"3-5"}`},
		"list-texts":        {"a stretch as text", "{" + least + `,"entries":["3-5"]}`},
		"list-three":        {"three numbers in a stretch", "{" + least + `,"entries":[[3,4,5]]}`},
		"list-one":          {"one number in a stretch", "{" + least + `,"entries":[[3]]}`},
		"list-fraction":     {"a number with a fraction of nothing", "{" + least + `,"heights":[[3,5.0]]}`},
		"list-exponent":     {"a number with an exponent", "{" + least + `,"heights":[[3,5e0]]}`},
		"list-minus":        {"minus nothing", "{" + least + `,"heights":[[-0,5]]}`},
		"list-greatest":     {"2^53", "{" + least + `,"heights":[[3,9007199254740992]]}`},
		"list-backwards":    {"a stretch that falls", "{" + least + `,"entries":[[5,3]]}`},
		"list-overlap":      {"stretches that have a number in common", "{" + least + `,"entries":[[3,5],[5,7]]}`},
		"list-order":        {"stretches in another order", "{" + least + `,"entries":[[7,7],[3,5]]}`},
		"head-other":        {"a head that is no array", "{" + least + `,"head":"2"}`},
		"head-one":          {"a head without its hash", "{" + least + `,"head":[2]}`},
		"head-three":        {"three elements in a head", "{" + least + `,"head":[2,"` + headHash + `",0]}`},
		"head-text":         {"a head's height as text", "{" + least + `,"head":["2","` + headHash + `"]}`},
		"head-exponent":     {"a head's height with an exponent", "{" + least + `,"head":[2e0,"` + headHash + `"]}`},
		"head-greatest":     {"a head at 2^53", "{" + least + `,"head":[9007199254740992,"` + headHash + `"]}`},
		"head-capitals":     {"a head's hash in capitals", "{" + least + `,"head":[2,"` + strings.ToUpper(headHash) + `"]}`},
		"head-short":        {"a head's hash of 62 digits", "{" + least + `,"head":[2,"` + headHash[2:] + `"]}`},
		"head-number":       {"a number as a head's hash", "{" + least + `,"head":[2,0]}`},
		"head-below":        {"a head below a block that the note is about", "{" + least + `,"heights":[[0,2]],"head":[1,"` + headHash + `"]}`},
		"list-65":           {"65 stretches", "{" + least + `,"entries":` + spans(65) + "}"},
	} {
		bad(name, c.about, SourceNote, c.payload)
	}
	write("note-bad-hashed", vector{About: "the hash of a payload in its place", Kind: "note", Trust: trust, Bytes: entry(SourceNote, note, PayloadHashed), Expect: "fail"})

	attachment := "{" + least + "," + file(content)
	padded := base64.StdEncoding.EncodeToString(make([]byte, 767)) + "AAAA"
	for name, c := range map[string]struct{ about, payload string }{
		"nameless":        {"a file without a name", strings.Replace(attachment, `"name":"c.pdf",`, "", 1) + "}"},
		"typeless":        {"a file without a media type", strings.Replace(attachment, `"media_type":"application/pdf",`, "", 1) + "}"},
		"sizeless":        {"a file without a size", strings.Replace(attachment, `"size":13,`, "", 1) + "}"},
		"hashless":        {"a file without a hash", attachment[:strings.Index(attachment, `,"sha256"`)] + "}"},
		"size-text":       {"a size that is text", strings.Replace(attachment, `"size":13`, `"size":"13"`, 1) + "}"},
		"size-exponent":   {"a size with an exponent", strings.Replace(attachment, `"size":13`, `"size":13e0`, 1) + "}"},
		"size-greatest":   {"a size of 2^53", strings.Replace(attachment, `"size":13`, `"size":9007199254740992`, 1) + "}"},
		"hash-capitals":   {"a hash in capitals", "{" + least + strings.Replace(","+file(content), fmt.Sprintf("%x", sha256.Sum256(content)), strings.ToUpper(hex.EncodeToString(sha256Sum(content))), 1) + "}"},
		"hash-short":      {"a hash of 62 digits", attachment[:len(attachment)-3] + `"}`},
		"data-number":     {"a number as the bytes, of which there are none", "{" + least + "," + file(nil) + `,"data":7}`},
		"data-other":      {"bytes with another hash", attachment + data([]byte("%PDF and less")) + "}"},
		"data-longer":     {"a byte more than the size says", strings.Replace(attachment, `"size":13`, `"size":12`, 1) + data(content) + "}"},
		"data-unpadded":   {"base64 without its padding", attachment + `,"data":"` + base64.RawStdEncoding.EncodeToString(content) + `"}`},
		"data-bits":       {"unused bits in base64 that are not zero", "{" + least + "," + file([]byte{0xff}) + `,"data":"/x=="}`},
		"data-escaped":    {"base64 with an escape", "{" + least + "," + file([]byte{0xff}) + `,"data":"\u002fw=="}`},
		"data-newline":    {"base64 with the end of a line in it", "{" + least + "," + file([]byte{0xff}) + `,"data":"/w==\n"}`},
		"data-padding":    {"padding within base64, behind 1,024 characters", "{" + least + "," + file(make([]byte, 770)) + `,"data":"` + padded + `"}`},
		"data-url":        {"base64 of the other alphabet", "{" + least + "," + file([]byte{0xff}) + `,"data":"_w=="}`},
		"file-name-empty": {"an empty name of a file", strings.Replace(attachment, `"c.pdf"`, `""`, 1) + "}"},
	} {
		bad(name, c.about, SourceAttach, c.payload)
	}

	signed := func(name, about, signature string) {
		bad("signature-"+name, about, SourceNote, "{"+vectorNote+`,"signature":"`+signature+`"}`)
	}
	intact := signAs("anna", own, nil)
	other := testNote
	other.Text = "Two lines, but others."
	signed("statement", "a signature over another statement", signAs("anna", other.Statement(chain), nil))
	signed("chain", "a signature over the same words of another chain", signAs("anna", bytes.Replace(own, []byte(chain.String()), []byte(ChainID{8}.String()), 1), nil))
	signed("head", "a signature over a statement with a head", signAs("anna", statementOf(SourceNote, vectorNote+`,"head":[2,"`+headHash+`"]`), nil))
	signed("crlf", "a signature over the statement with its lines ended by CR LF", signAs("anna", bytes.ReplaceAll(own, []byte("\n"), []byte("\r\n")), nil))
	signed("unended", "a signature over the statement without its last LF", signAs("anna", own[:len(own)-1], nil))
	signed("attachment", "a signature over an attachment's statement", signAs("anna", statementOf(SourceAttach, attached), nil))
	signed("namespace", "a signature made for files", signAs("anna", own, func(p *sshParts) { p.namespace = "file" }))
	signed("reserved", "a reserved field that is not empty", signAs("anna", own, func(p *sshParts) { p.reserved = "x" }))
	signed("sha384", "a signature over SHA-384", signAs("anna", own, func(p *sshParts) { p.hash = "sha384" }))
	signed("magic", "another word at its beginning", signAs("anna", own, func(p *sshParts) { p.magic = "SSHSIX" }))
	signed("version", "version 2", signAs("anna", own, func(p *sshParts) { p.version = "\x00\x00\x00\x02" }))
	signed("key-kind", "a key of another kind", signAs("anna", own, func(p *sshParts) { p.algorithm = "sk-ssh-ed25519@openssh.com" }))
	signed("kind", "a signature of another kind", signAs("anna", own, func(p *sshParts) { p.sigAlgorithm = "sk-ssh-ed25519@openssh.com" }))
	signed("key-behind", "a byte behind the key", signAs("anna", own, func(p *sshParts) { p.behindKey = "x" }))
	signed("behind", "a byte behind the signature", signAs("anna", own, func(p *sshParts) { p.behindSig = "x" }))
	signed("trailing", "a byte behind all of it", signAs("anna", own, func(p *sshParts) { p.behind = "x" }))
	signed("beyond", "a length that is one too long", signAs("anna", own, func(p *sshParts) { p.beyond = 1 }))
	signed("key-33", "a key of 33 bytes", signAs("anna", own, func(p *sshParts) { p.key += "\x00" }))
	signed("65", "a signature of 65 bytes", signAs("anna", own, func(p *sshParts) {
		p.sig = string(ed25519.Sign(privateOf("anna"), sshSigned(own))) + "\x00"
	}))
	signed("unpadded", "base64 without its padding", strings.TrimRight(signAs("anna", own, nil), "="))
	signed("lines", "base64 in lines", intact[:70]+`\n`+intact[70:])
	signed("none", "text that is no signature", "signed, Anna")
	signed("empty", "an empty signature", "")
	signed("long", "a signature of 4,100 characters", signAs("anna", own, func(p *sshParts) { p.behind = strings.Repeat("x", 2889) }))
	// Under the neutral point each message has the signature R = B, S = 1.
	base := "\x58" + strings.Repeat("\x66", 31)
	one := "\x01" + strings.Repeat("\x00", 31)
	for name, c := range map[string]struct{ about, key string }{
		"weak-key":          {"a key of small order, under which every message is signed", one},
		"key-not-canonical": {"the same key, not in its canonical encoding", "\xee" + strings.Repeat("\xff", 30) + "\x7f"},
	} {
		signed(name, c.about, signAs("anna", own, func(p *sshParts) { p.key, p.sig = c.key, base+one }))
	}
}

// writeNotedVectors writes proofs and a bundle of notes: one that is bad fails no check.
func writeNotedVectors(t *testing.T, write func(string, vector)) {
	c := newTestChain(t)
	chain := c.headers[0].ChainID()
	n, _, err := ReadNote(&Entry{Source: SourceNote, Payload: []byte("{" + vectorNote + "}")})
	if err != nil {
		t.Fatal(err)
	}
	statement := n.Statement(chain)
	var all []*Entry
	seal := func(signature string) {
		e := testEntry(uint64(len(all)))
		e.Source, e.Flags, e.Decoder, e.Readings = SourceNote, ByAgent, "", nil
		e.Payload = []byte("{" + vectorNote + signature + "}")
		all = append(all, e)
	}
	signed := `,"signature":"` + signAs("anna", statement, nil) + `"`
	stranger := `,"signature":"` + signAs("bert", statement, nil) + `"`
	elsewhere := `,"signature":"` + signAs("anna", n.Statement(ChainID{}), nil) + `"`
	for _, signature := range []string{signed, stranger, "", elsewhere, signed, stranger, "", elsewhere} {
		seal(signature)
	}
	all = append(all, testEntry(8))
	c.sealEntries(all, nil)
	listed := c.trust(0)
	listed.Persons = []Person{{"anna", testSigner("anna").Public()}}
	trust, height, zero, next := string(listed.Format()), uint64(1), uint64(0), uint64(len(all))
	for i, about := range []struct {
		name, about, signer string
		standing            NoteStanding
	}{
		{"signed", "a note that a person signed", "anna", NoteSigned}, {"unknown-key", "a note that a stranger signed", "", NoteStranger},
		{"unsigned", "a note that nobody signed", "", NoteUnsigned}, {"bad", "a note signed for another chain, which fails no check", "", NoteBad},
	} {
		b, err := c.prove(1, uint64(i)).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		number := uint64(i)
		write("proof-good-note-"+about.name, vector{About: about.about, Kind: "proof", Bytes: b, Trust: trust, Expect: "ok", Number: &number, Height: &height,
			Standing: about.standing, Signer: about.signer})
	}
	write("bundle-good-notes", vector{About: "two notes each that are signed, under an unknown key, unsigned, and bad, which fails no check", Kind: "bundle",
		Bytes: bytes.Join(c.bundle(1, 1), nil), Trust: trust, Expect: "ok", Number: &zero, Next: &next, Height: &height,
		Notes: []notesVector{{0, 2, 1, NoteSigned, "anna", ""}, {1, 2, 0, NoteStranger, "", ""}, {2, 2, 0, NoteUnsigned, "", ""}, {3, 1, 0, NoteBad, "", ""}, {7, 1, 0, NoteBad, "", ""}}})
	writeBoundVectors(t, write)
	writeManyNotesVector(t, write)
}

// writeManyNotesVector writes a bundle of more signed notes than are checked, of which the first comes again at last, and a
// stranger's between, which do not count.
func writeManyNotesVector(t *testing.T, write func(string, vector)) {
	c := newTestChain(t)
	var all []*Entry
	add := func(signer, text string) {
		n := Note{Who: "x", When: "2026-11-28T20:41:48Z", Text: text}
		e := testEntry(uint64(len(all)))
		e.Source, e.Flags, e.Decoder, e.Readings = SourceNote, ByAgent, "", nil
		e.Payload = fmt.Appendf(nil, `{"who":"x","when":"%s","text":"%s","signature":"%s"}`, n.When, text, signAs(signer, n.Statement(c.headers[0].ChainID()), nil))
		all = append(all, e)
	}
	const most = noteChecks + 2 // the bundle has more than 2 * 65,536 bytes before the last ones
	for i := range most + 3 {
		add("anna", fmt.Sprint(i))
	}
	add("bert", "y")
	add("anna", "0")
	c.sealEntries(all, nil)
	listed := c.trust(0)
	listed.Persons = []Person{{"anna", testSigner("anna").Public()}}
	height, zero, next := uint64(1), uint64(0), uint64(len(all))
	write("bundle-good-notes-unchecked", vector{About: "518 signed notes in a bundle of some 180,000 bytes, of which 514 are checked, and one of a stranger: the last one is the first again, and needs no check", Kind: "bundle",
		Bytes: bytes.Join(c.bundle(1, 1), nil), Trust: string(listed.Format()), Expect: "ok", Number: &zero, Next: &next, Height: &height,
		Notes: []notesVector{{0, most + 1, 1, NoteSigned, "anna", ""}, {most, 3, 0, NoteUnchecked, "", ""}, {most + 3, 1, 0, NoteStranger, "", ""}}})
}

// writeBoundVectors writes notes that name a header, in proofs and bundles: what they name is compared with what is in sight.
func writeBoundVectors(t *testing.T, write func(string, vector)) {
	c := newTestChain(t)
	for height := 1; height <= 6; height++ {
		if height == 3 {
			c.rotate(2, "gateway 1")
		} else {
			c.seal(2, nil)
		}
	}
	chain := c.headers[0].ChainID()
	// The note's own block is 8, of eight notes and more; the beacon of that block is on header 5.
	var all []*Entry
	var about []struct {
		name, about string
		binding     NoteBinding
	}
	add := func(name, says, entries, heights string, head Head, binding NoteBinding) {
		members := `"who":"Anna Berger","when":"2026-11-28T20:41:48Z","meaning":"approved"` + entries + heights
		members += fmt.Sprintf(`,"head":[%d,"%s"]`, head.Height, head.Hash)
		n, _, err := ReadNote(&Entry{Source: SourceNote, Payload: []byte("{" + members + "}")})
		if err != nil {
			t.Fatal(err)
		}
		e := testEntry(14 + uint64(len(all)))
		e.Source, e.Flags, e.Decoder, e.Readings = SourceNote, ByAgent, "", nil
		e.Payload = []byte("{" + members + `,"signature":"` + signAs("anna", n.Statement(chain), nil) + `"}`)
		all = append(all, e)
		about = append(about, struct {
			name, about string
			binding     NoteBinding
		}{name, says, binding})
	}
	c.seal(2, nil) // 7, so that numbers 0 to 13 are sealed
	at := func(height uint64) Head { return Head{height, c.headers[height].Hash()} }
	other := func(height uint64) Head { return Head{height, Hash{1}} }
	add("link", "a head that the block's own header names in key 4", `,"entries":[[13,13]]`, "", at(7), BindingSame)
	add("link-other", "a head with another hash than the one that the block's own header names in key 4", "", "", other(7), BindingOther)
	add("link-short", "a note about an entry in its own block, above its head", `,"entries":[[0,0],[14,14]]`, "", at(7), BindingShort)
	add("keys", "a head that is among the headers that set the key", `,"entries":[[5,5]]`, "", at(3), BindingSame)
	add("keys-other", "a head with another hash than the header that sets the key has", "", `,"heights":[[3,3]]`, other(3), BindingOther)
	add("keys-short", "a note about an entry above its head, which sets the key", `,"entries":[[0,6]]`, "", at(3), BindingShort)
	add("keys-link", "a head right below a header that sets the key", `,"entries":[[3,3]]`, "", at(2), BindingSame)
	add("beacon", "a head that is in field 7", "", `,"heights":[[0,5]]`, at(5), BindingSame)
	add("beacon-link", "a head right below a header of field 7", "", "", at(4), BindingSame)
	add("genesis", "a head that is genesis", "", `,"heights":[[0,0]]`, at(0), BindingSame)
	add("unseen", "a head at a height of which nothing is in sight", "", `,"heights":[[1,1]]`, at(1), BindingUnseen)
	add("unseen-other", "another hash at a height of which nothing is in sight", "", "", other(1), BindingUnseen)
	add("own", "a head at the height of the note's own block", "", "", other(8), BindingOther)
	add("above", "a head above the note's own block", "", "", other(20), BindingOther)
	hash, beacon := c.beacon(5, map[string]uint64{"north": testTime + 400})
	c.beacons[8] = beacon
	c.sealEntries(all, func(h *Header) { h.Beacon = hash })
	listed := c.trust(0)
	listed.Persons = []Person{{"anna", testSigner("anna").Public()}}
	trust, height := string(listed.Format()), uint64(8)
	for i, a := range about {
		b, err := c.prove(8, uint64(i)).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		number := 14 + uint64(i)
		write("proof-good-note-head-"+a.name, vector{About: a.about, Kind: "proof", Bytes: b, Trust: trust, Expect: "ok", Number: &number, Height: &height,
			Standing: NoteSigned, Signer: "anna", Binding: a.binding})
	}
	first, next := c.headers[6].Header.First, c.headers[8].Header.First+c.headers[8].Header.Count
	v := vector{About: "notes that name a header: of the run, of the start, right below one of these, of none, and another one", Kind: "bundle",
		Bytes: bytes.Join(c.bundle(6, 8), nil), Trust: trust, Expect: "ok", Number: &first, Next: &next, Height: &height}
	report, err := verifyBundle(v.Bytes, listed)
	if err != nil {
		t.Fatal(err)
	}
	v.Notes = notesOf(report)
	for i, want := range []notesVector{
		{14, 5, 0, NoteSigned, "anna", BindingSame}, {15, 1, 0, NoteSigned, "anna", BindingOther}, {16, 2, 0, NoteSigned, "anna", BindingShort},
	} {
		if i >= len(v.Notes) || v.Notes[i] != want {
			t.Errorf("notes of the bundle: %+v", v.Notes)
		}
	}
	write("bundle-good-note-heads", v)
}

func sha256Sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

func privateOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("edgechain test key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func sshSigned(statement []byte) []byte { return (&SSHSignature{SHA512: true}).signed(statement) }

// standing says how a vector's note stands.
func (v *vector) standing(trust *Trust) (*NoteReport, error) {
	e, err := DecodeEntry(v.Bytes)
	if err != nil {
		return nil, err
	}
	return JudgeNote(&e, trust.Chains[0], trust), nil
}

func (v *vector) runNote(t *testing.T) {
	t.Helper()
	trust, err := ParseTrust([]byte(v.Trust))
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.standing(trust)
	if err != nil {
		t.Fatal(err)
	}
	if v.Expect == "fail" {
		if r.Standing != NoteBad {
			t.Errorf("it stands %s", r.Standing)
		}
		return
	}
	if r.Standing != v.Standing || r.Signer != v.Signer {
		t.Fatalf("it stands %s, by %q (%v)", r.Standing, r.Signer, r.Err)
	}
	if got := string(r.Note.Statement(trust.Chains[0])); got != v.Statement {
		t.Errorf("the statement is %q", got)
	}
}
