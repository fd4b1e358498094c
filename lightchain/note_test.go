package lightchain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// person returns a key that signs notes, and its signature over a statement, as ssh-keygen would make it.
func person(seed byte) (PublicKey, func(statement []byte) string) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	key := PublicKey(private.Public().(ed25519.PublicKey))
	return key, func(statement []byte) string {
		s := &SSHSignature{Key: key, SHA512: seed%2 == 0}
		s.sig = Signature(ed25519.Sign(private, s.signed(statement)))
		return s.Text()
	}
}

var testNote = Note{
	Who: "Anna Berger", When: "2026-11-28T20:41:48Z", Entries: []Span{{3, 5}, {7, 7}}, Heights: []Span{{0, 2}},
	Reason: "the sensor was replaced", Meaning: "approved", Text: "Two lines,\nand a tab\there.\n",
}

// notePayload is the JSON of a note.
func notePayload(t *testing.T, n *Note, signature string, change func(map[string]any)) []byte {
	t.Helper()
	all := map[string]any{"who": n.Who, "when": n.When, "asked_by": map[string]any{"uid": 1000, "user": "anna"}}
	for name, text := range map[string]string{"reason": n.Reason, "meaning": n.Meaning, "text": n.Text, "signature": signature} {
		if text != "" {
			all[name] = text
		}
	}
	if n.Entries != nil {
		all["entries"] = n.Entries
	}
	if n.Heights != nil {
		all["heights"] = n.Heights
	}
	if n.Head != nil {
		all["head"] = n.Head
	}
	if f := n.File; f != nil {
		all["name"], all["media_type"], all["size"], all["sha256"] = f.Name, f.MediaType, f.Size, f.SHA256
	}
	if change != nil {
		change(all)
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAStatementReadsBack(t *testing.T) {
	chain := ChainID{1, 2, 3}
	attached := testNote
	attached.File = &File{Name: "certificate 7.pdf", MediaType: "application/pdf", Size: 12, SHA256: Hash{9}}
	headed, newest := testNote, testNote
	headed.Head = &Head{2, Hash{7}}
	newest.Head = &Head{maxNoteNum, Hash{8}}
	for _, n := range []Note{testNote, attached, headed, newest, {Who: "x", When: testNote.When}, {Who: "x", When: testNote.When, Text: "who y\n"}, {Who: "x", When: testNote.When, Reason: "text"}} {
		b := n.Statement(chain)
		back, of, err := ParseStatement(b)
		if err != nil || of != chain || !bytes.Equal(back.Statement(chain), b) || back.Text != n.Text || (back.File == nil) != (n.File == nil) {
			t.Errorf("%s\nreads back as %+v of %s (%v)", b, back, of, err)
		}
	}
	good := string(testNote.Statement(chain))
	for about, bad := range map[string]string{
		"nothing":                  "",
		"another version":          strings.Replace(good, "note 1", "note 2", 1),
		"lines in another order":   strings.Replace(good, "reason the sensor was replaced\nmeaning approved\n", "meaning approved\nreason the sensor was replaced\n", 1),
		"a line that is unknown":   strings.Replace(good, "reason ", "colour red\nreason ", 1),
		"a zero before a number":   strings.Replace(good, "3-5", "03-5", 1),
		"two spaces":               strings.Replace(good, "3-5 7-7", "3-5  7-7", 1),
		"stretches that overlap":   strings.Replace(good, "7-7", "5-7", 1),
		"a stretch that is none":   strings.Replace(good, "7-7", "7-6", 1),
		"no end of the last line":  strings.TrimSuffix(good, ".\n\n") + ".",
		"no author":                strings.Replace(good, "who Anna Berger\n", "", 1),
		"another form of time":     strings.Replace(good, "20:41:48Z", "20:41:48+00:00", 1),
		"CR LF":                    strings.ReplaceAll(good, "\n", "\r\n"),
		"a head below its blocks":  strings.Replace(good, "heights 0-2\n", "heights 0-2\nhead 1 "+Hash{}.String()+"\n", 1),
		"a head without a hash":    strings.Replace(good, "heights 0-2\n", "heights 0-2\nhead 2\n", 1),
		"a zero before its height": strings.Replace(good, "heights 0-2\n", "heights 0-2\nhead 02 "+Hash{}.String()+"\n", 1),
		"more behind its hash":     strings.Replace(good, "heights 0-2\n", "heights 0-2\nhead 2 "+Hash{}.String()+" \n", 1),
		"no chain":                 strings.Replace(good, "chain "+chain.String()+"\n", "", 1),
	} {
		if _, _, err := ParseStatement([]byte(bad)); err == nil {
			t.Errorf("%s: it is read", about)
		}
	}
}

// What a signature is worth follows from the bytes of the entry, the chain, and whom a verifier knows.
func TestHowANoteStands(t *testing.T) {
	chain := ChainID{1, 2, 3}
	anna, sign := person(7)
	trust := &Trust{Persons: []Person{{"anna", anna}}}
	signature := sign(testNote.Statement(chain))
	_, signStranger := person(8)
	set := func(name string, to any) func(map[string]any) { return func(all map[string]any) { all[name] = to } }
	without := func(name string) func(map[string]any) { return func(all map[string]any) { delete(all, name) } }
	bytesOf := []byte("%PDF and more")
	attached := testNote
	attached.File = &File{Name: "c.pdf", MediaType: "application/pdf", Size: uint64(len(bytesOf)), SHA256: sha256Of(bytesOf)}
	over := func(n Note) string { return sign(n.Statement(chain)) }
	other, otherNote := *attached.File, attached
	other.Name = "d.pdf"
	otherNote.File = &other
	// As whoever decodes it a piece at a time may take it for: 767 bytes with their padding, and three more behind it.
	padded, beforePadding := base64.StdEncoding.EncodeToString(make([]byte, 767))+"AAAA", make([]byte, 770)
	paddedNote := testNote
	paddedNote.File = &File{Name: "c.pdf", MediaType: "application/pdf", Size: uint64(len(beforePadding)), SHA256: sha256Of(beforePadding)}
	for about, c := range map[string]struct {
		note      *Note
		signature string
		change    func(map[string]any)
		want      NoteStanding
	}{
		"signed":                          {&testNote, signature, nil, NoteSigned},
		"by a stranger":                   {&testNote, signStranger(testNote.Statement(chain)), nil, NoteStranger},
		"without a signature":             {&testNote, "", nil, NoteUnsigned},
		"what is not known changes none":  {&testNote, signature, set("colour", []int{1}), NoteSigned},
		"who asked is not signed":         {&testNote, signature, without("asked_by"), NoteSigned},
		"another text":                    {&testNote, signature, set("text", "Two lines"), NoteBad},
		"other entries":                   {&testNote, signature, set("entries", [][2]int{{3, 6}, {7, 7}}), NoteBad},
		"no entries":                      {&testNote, signature, without("entries"), NoteBad},
		"of another chain":                {&testNote, sign(testNote.Statement(ChainID{9})), nil, NoteBad},
		"no base64":                       {&testNote, "no signature", nil, NoteBad},
		"an empty member":                 {&testNote, signature, set("reason", ""), NoteBad},
		"another kind of member":          {&testNote, "", set("reason", 7), NoteBad},
		"a member that is null":           {&testNote, "", set("meaning", nil), NoteBad},
		"a time of another form":          {&testNote, "", set("when", "yesterday"), NoteBad},
		"numbers that fall":               {&testNote, "", set("entries", [][2]int{{5, 3}}), NoteBad},
		"no numbers":                      {&testNote, "", set("entries", []string{"3-5"}), NoteBad},
		"a number with a fraction":        {&testNote, "", set("entries", [][2]json.RawMessage{{json.RawMessage("3"), json.RawMessage("5.0")}}), NoteBad},
		"a number beyond JSON":            {&testNote, "", set("entries", [][2]uint64{{3, 1 << 53}}), NoteBad},
		"three numbers":                   {&testNote, "", set("entries", [][3]int{{3, 4, 5}}), NoteBad},
		"no stretches":                    {&testNote, "", set("entries", []int{}), NoteBad},
		"a control character":             {&testNote, "", set("who", "a\nb"), NoteBad},
		"a character that stands for any": {&testNote, "", set("who", "a\uFFFDb"), NoteBad},
		"half a surrogate pair":           {&testNote, "", set("who", json.RawMessage(`"a\ud800b"`)), NoteBad},
		"too deep":                        {&testNote, signature, set("deep", json.RawMessage(strings.Repeat("[", 8)+strings.Repeat("]", 8))), NoteBad},
		"as deep as may be":               {&testNote, signature, set("deep", json.RawMessage(strings.Repeat("[", 7)+strings.Repeat("]", 7))), NoteSigned},
		"a file":                          {&attached, over(attached), set("data", bytesOf), NoteSigned},
		"a file's hash alone":             {&attached, over(attached), nil, NoteSigned},
		"other bytes":                     {&attached, over(attached), set("data", []byte("%PDF and less")), NoteBad},
		"more bytes":                      {&attached, over(attached), set("data", append(bytes.Clone(bytesOf), 0)), NoteBad},
		"bytes that are no base64":        {&attached, over(attached), set("data", "%PDF"), NoteBad},
		"base64 without its padding":      {&attached, over(attached), set("data", base64.RawStdEncoding.EncodeToString(bytesOf)), NoteBad},
		"padding between":                 {&paddedNote, over(paddedNote), set("data", padded), NoteBad},
		"a line's end in base64":          {&attached, over(attached), set("data", base64.StdEncoding.EncodeToString(bytesOf)+"\n"), NoteBad},
		"base64 that is escaped":          {&attached, over(attached), set("data", json.RawMessage(`"\u004a`+base64.StdEncoding.EncodeToString(bytesOf)[1:]+`"`)), NoteBad},
		"a file of another name":          {&attached, over(otherNote), nil, NoteBad},
		"a file without a name":           {&attached, "", without("name"), NoteBad},
		"a size that is none":             {&attached, "", set("size", -1), NoteBad},
		"a hash in capitals":              {&attached, "", set("sha256", strings.ToUpper(attached.File.SHA256.String())), NoteBad},
	} {
		e := &Entry{Source: SourceNote, Payload: notePayload(t, c.note, c.signature, c.change)}
		if c.note.File != nil {
			e.Source = SourceAttach
		}
		r := JudgeNote(e, chain, trust)
		if r.Standing != c.want || (r.Standing == NoteBad) != (r.Err != nil) || (r.Signer == "anna") != (c.want == NoteSigned) {
			t.Errorf("%s: %s by %q (%v), want %s\n%s", about, r.Standing, r.Signer, r.Err, c.want, e.Payload)
		}
	}
	good := string(notePayload(t, &testNote, signature, nil))
	for about, payload := range map[string]string{
		"no JSON":            good[1:],
		"an array":           "[" + good + "]",
		"more behind it":     good + "{}",
		"not UTF-8":          strings.Replace(good, "Anna", "Ann\xff", 1),
		"a member twice":     `{"who":"Anna Berger",` + good[1:],
		"one twice, escaped": `{"\u0077ho":"Anna Berger",` + good[1:],
		"a long name":        `{"` + strings.Repeat("x", 1023) + `":1,` + good[1:],
		"too many members":   "{" + manyMembers(64) + good[1:],
		"half a pair's name": `{"\ud800":1,` + good[1:],
		"U+FFFD in a name":   `{"a\ufffdb":1,` + good[1:],
	} {
		if r := JudgeNote(&Entry{Source: SourceNote, Payload: []byte(payload)}, chain, trust); r.Standing != NoteBad {
			t.Errorf("%s: %s", about, r.Standing)
		}
	}
	if r := JudgeNote(&Entry{Source: SourceNote, Payload: []byte(good), Flags: PayloadHashed}, chain, trust); r.Standing != NoteBad {
		t.Errorf("a hash in the place of the payload: %s", r.Standing)
	}
	lists := strings.ReplaceAll(good, "[3,5]", "[3,"+strings.Repeat(" \t\n\r", 1<<14)+"5]")
	if r := JudgeNote(&Entry{Source: SourceNote, Payload: []byte(lists)}, chain, trust); r.Standing != NoteSigned || lists == good {
		t.Errorf("a list with many spaces: %s (%v)", r.Standing, r.Err)
	}
	spaced := strings.NewReplacer(`":`, "\" :\t", `,"`, " ,\n\"").Replace(" " + good + " ")
	if r := JudgeNote(&Entry{Source: SourceNote, Payload: []byte(spaced)}, chain, trust); r.Standing != NoteSigned {
		t.Errorf("JSON with spaces: %s (%v)", r.Standing, r.Err)
	}
}

// An attachment whose bytes are there gives them back, however its base64 falls into pieces.
func TestAnAttachmentGivesItsBytesBack(t *testing.T) {
	for _, size := range []int{0, 1, 2, 3, 766, 767, 768, 3071, 3072, 3073, 6144, 10000} {
		content := bytes.Repeat([]byte{0xa7}, size)
		n := testNote
		n.File = &File{Name: "c.pdf", MediaType: "application/pdf", Size: uint64(size), SHA256: sha256Of(content)}
		e := &Entry{Source: SourceAttach, Payload: notePayload(t, &n, "", func(all map[string]any) { all["data"] = content })}
		read, _, err := ReadNote(e)
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
			continue
		}
		if back, err := read.Bytes(); err != nil || back == nil || !bytes.Equal(back, content) {
			t.Errorf("%d bytes: %d come back (%v)", size, len(back), err)
		}
	}
}

// A bundle's notes are counted by whose they are. However many keys nobody knows, a person's notes are counted as nobody
// else's, and what is bad is told.
func TestNotesOfABundleAreCountedByWhoseTheyAre(t *testing.T) {
	anna, _ := person(1)
	bert, _ := person(2)
	v := NewBundleVerifier(new(Trust))
	report := func(standing NoteStanding, key PublicKey) {
		v.addNote(&NoteReport{Note: &testNote, Standing: standing, Key: key})
	}
	const strangers = maxBundleNotes + 7
	report(NoteSigned, anna)
	for i := range strangers {
		report(NoteStranger, PublicKey{byte(i), byte(i >> 8), 1})
	}
	report(NoteSigned, bert)
	report(NoteSigned, anna)
	report(NoteUnsigned, PublicKey{})
	for range 3 {
		report(NoteBad, anna)
	}
	counts := map[NoteStanding]map[PublicKey]uint64{}
	for _, n := range v.report.Notes {
		if counts[n.Standing] == nil {
			counts[n.Standing] = map[PublicKey]uint64{}
		}
		counts[n.Standing][n.Key] += n.Count
	}
	if signed := counts[NoteSigned]; len(signed) != 2 || signed[anna] != 2 || signed[bert] != 1 {
		t.Errorf("signed: %v", signed)
	}
	if more := counts[NoteStranger][PublicKey{}]; more != strangers-(maxBundleNotes-1) {
		t.Errorf("under more keys that are unknown: %d", more)
	}
	if counts[NoteUnsigned][PublicKey{}] != 1 || counts[NoteBad][anna] != 3 {
		t.Errorf("%v", counts)
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"m` + strings.Repeat("x", i) + `":0,`)
	}
	return b.String()
}

// An SSH signature in any other than its one form is refused, and in that form every byte counts.
func TestSSHSignaturesAreReadStrictly(t *testing.T) {
	_, sign := person(7)
	statement := []byte("edgechain note 1\n")
	text := sign(statement)
	blob, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range blob {
		for bit := range 8 {
			spoilt := bytes.Clone(blob)
			spoilt[i] ^= 1 << bit
			if s, err := ParseSSHSignature(base64.StdEncoding.EncodeToString(spoilt)); err == nil && s.Verify(statement) {
				t.Errorf("bit %d of byte %d is free to change", bit, i)
			}
		}
		if _, err := ParseSSHSignature(base64.StdEncoding.EncodeToString(blob[:i])); err == nil {
			t.Errorf("cut to %d bytes it is read", i)
		}
	}
	weak := bytes.Replace(blob, blob[len(sshsigMagic)+4+4+15+4:][:32], make([]byte, 32), 1)
	if _, err := ParseSSHSignature(base64.StdEncoding.EncodeToString(weak)); err == nil {
		t.Error("a weak key is taken")
	}
	file := func(text, eol string) []byte {
		b := sshsigBegin + eol
		for ; len(text) > 70; text = text[70:] {
			b += text[:70] + eol
		}
		return []byte(b + text + eol + sshsigEnd + eol)
	}
	for _, eol := range []string{"\n", "\r\n"} {
		if s, err := ReadSSHSignatureFile(file(text, eol)); err != nil || !s.Verify(statement) || s.Text() != text {
			t.Errorf("a file with %q: %v", eol, err)
		}
	}
	good := string(file(text, "\n"))
	for about, bad := range map[string]string{
		"something before": "x\n" + good, "something behind": good + "x", "an empty line": strings.Replace(good, "\n", "\n\n", 1),
		"no end": strings.TrimSuffix(good, sshsigEnd+"\n"), "nothing": "", "a space": strings.Replace(good, "\n", "\n ", 1), "no last LF": good[:len(good)-1],
	} {
		if _, err := ReadSSHSignatureFile([]byte(bad)); err == nil {
			t.Errorf("%s: it is read", about)
		}
	}
}

func FuzzSSHSignature(f *testing.F) {
	for seed := range byte(2) {
		_, sign := person(seed)
		f.Add(sign([]byte("x")))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSSHSignature(text); err == nil && s.Text() != text {
			t.Errorf("accepts %q, encodes %q", text, s.Text())
		}
		_, _ = ReadSSHSignatureFile([]byte(text))
	})
}

func FuzzParseStatement(f *testing.F) {
	f.Add(testNote.Statement(ChainID{}))
	f.Add((&Note{Who: "x", When: testNote.When, File: &File{Name: "n", MediaType: "text/plain"}}).Statement(ChainID{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, chain, err := ParseStatement(b); err == nil && !bytes.Equal(n.Statement(chain), b) {
			t.Errorf("accepts %q, gives %q", b, n.Statement(chain))
		}
	})
}

// Whatever a payload is, a note is read or refused, and what is read says the same again.
func FuzzReadNote(f *testing.F) {
	f.Add([]byte(`{"who":"x","when":"2026-11-28T20:41:48Z","entries":[[1,2]],"text":"t"}`), false)
	f.Add([]byte(`{"who":"x","when":"2026-11-28T20:41:48Z","name":"n","media_type":"m","size":0,"sha256":"`+strings.Repeat("e3", 32)+`","data":""}`), true)
	f.Fuzz(func(t *testing.T, payload []byte, attached bool) {
		e := &Entry{Source: SourceNote, Payload: payload}
		if attached {
			e.Source = SourceAttach
		}
		n, _, err := ReadNote(e)
		if err != nil {
			return
		}
		if back, _, err := ParseStatement(n.Statement(ChainID{})); err != nil || back.Text != n.Text || back.Who != n.Who {
			t.Errorf("%s\nis read, and its statement is not: %v", payload, err)
		}
		var loose map[string]any
		if err := json.Unmarshal(payload, &loose); err != nil || loose["who"] != n.Who || len(n.Text) > 0 && loose["text"] != n.Text {
			t.Errorf("%s\nother readers of JSON have %v (%v)", payload, loose, err)
		}
	})
}

// What is read is JSON, and what is refused as none is none, for other readers of it, too.
func FuzzNoteJSON(f *testing.F) {
	for _, seed := range []string{
		`{"who":"x","when":[1,-0.5e+7,{"a":null}],"b":true , "c":false}`, ` {} `, `{"a":"\u00e9\/\b"}`, `{"a":01}`, `{"a":1.}`, `{"a":-}`, `{"a":1e}`, `{"a":tru}`, `{"a" 1}`,
		`{"a":1,}`, `{,}`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"\u00`, "{\"a\":\"\x01\"}", `{"a":1}}`, `[1]`, `7`, `"a"`, `nul`, ``, "\x00", "{\"a\":1\x00}", `{"a":"\u\u0010"}`,
		`{"a":[[[[[[[1]]]]]]]}`, `{"a":[[[[[[[[1]]]]]]]]}`, "\ufeff{}", `{"a":"\uD83D\uDE00"}`, "{\"a\":\"\\u\x10\x10\x10\x10\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := members(b)
		valid := json.Valid(b) && utf8.Valid(b)
		if err == nil && !valid || errors.Is(err, errNoJSON) && valid {
			t.Errorf("%q: %v, and it is JSON: %t", b, err, valid)
		}
		var loose map[string]json.RawMessage
		if err == nil && (json.Unmarshal(b, &loose) != nil || len(loose) != len(all)) {
			t.Errorf("%q: %d members, others find %d", b, len(all), len(loose))
		}
		for _, m := range all {
			name, raw := string(m.name), m.value
			if err == nil && !bytes.Equal(raw, loose[name]) {
				t.Errorf("%q: %q is %q, others find %q", b, name, raw, loose[name])
			}
		}
	})
}

// Reading a note costs a small part of an entry's size in time, whatever fills it.
func BenchmarkJudgeNote(b *testing.B) {
	data := bytes.Repeat([]byte{7}, 11<<20)
	begin := `{"who":"x","when":"2026-11-28T20:41:48Z"`
	file := fmt.Sprintf(`,"name":"n","media_type":"m","size":%d,"sha256":"%s"`, len(data), sha256Of(data))
	for name, e := range map[string]*Entry{
		"attachment": {Source: SourceAttach, Payload: []byte(begin + file + `,"data":"` + base64.StdEncoding.EncodeToString(data) + `"}`)},
		"text":       {Source: SourceNote, Payload: []byte(begin + `,"z":"` + strings.Repeat("a", 15<<20) + `"}`)},
		"escapes":    {Source: SourceNote, Payload: []byte(begin + `,"z":"` + strings.Repeat(`\n`, 7<<20) + `"}`)},
		"spaces":     {Source: SourceNote, Payload: []byte(begin + strings.Repeat(" ", 15<<20) + `}`)},
		"numbers":    {Source: SourceNote, Payload: []byte(begin + `,"z":[` + strings.Repeat("0,", 7<<20) + `0]}`)},
		"arrays":     {Source: SourceNote, Payload: []byte(begin + `,"z":[` + strings.Repeat("[],", 5<<20) + `0]}`)},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(e.Payload)))
			for b.Loop() {
				if r := JudgeNote(e, ChainID{}, new(Trust)); r.Standing != NoteUnsigned {
					b.Fatal(r.Err)
				}
			}
		})
		b.Run(name+"/hash", func(b *testing.B) {
			b.SetBytes(int64(len(e.Payload)))
			for b.Loop() {
				sha256.Sum256(e.Payload)
			}
		})
	}
}

func sha256Of(b []byte) Hash { return Hash(sha256.Sum256(b)) }
