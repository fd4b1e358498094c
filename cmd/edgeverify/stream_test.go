package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"edgechain.example/lightchain"
)

// What is streamed is what encoding/json would make of it.
func TestStreamedJSONIsThatOfTheLibrary(t *testing.T) {
	text, at, number, second := "a\"b\\c\n\r\t<&>\x01é€𝄞�", stamp(5), uint64(1<<63), "x"
	entry := newEntryJSON(&lightchain.Entry{Source: text, Payload: []byte{0, 1, 255}, Decoder: "json/2", Readings: []lightchain.Reading{
		{Device: text, Name: text, Unit: text, Value: lightchain.Text(text), Time: 5, Timed: true, Meaning: &lightchain.Hash{1}},
		{Value: lightchain.Bytes([]byte(text)), Derived: true}, {Value: lightchain.Int(-1 << 63)}, {Value: lightchain.Float(-0.5)}, {Value: lightchain.Float(20)}, {Value: lightchain.Bool(true)}, {},
	}}, sameAll)
	reading := entry.Readings[0]
	head := lightchain.Head{Height: 7, Hash: lightchain.Hash{2}}
	for _, v := range []any{
		entry, newEntryJSON(&lightchain.Entry{}, notReread), newEntryJSON(&lightchain.Entry{Payload: []byte(text)}, differs), reading,
		reportJSON{}, reportJSON{File: text, Undone: []string{}, Number: &number, Entry: &entry, boundsJSON: &boundsJSON{NotAfter: &second, Outside: []outsideJSON{{"a", 1, 2}}},
			provedJSON: &provedJSON{Chain: text, Proved: []string{text, ""}, Notes: []noteJSON{{Number: 1, Count: 3, NoteView: lightchain.NoteView{Standing: lightchain.NoteSigned, Entries: []lightchain.Span{{1, 2}}, Head: &head, Attached: &lightchain.FileView{Name: text}}}}}},
		togetherJSON{}, togetherJSON{Files: [2]string{text, ""}, Fork: &forkJSON{}, Reversal: &reversalJSON{}}, bundleEntryJSON{1, 2, entry}, noteJSON{}, forkJSON{},
		summaryJSON{Counts: map[verdict]int{verified: 1, notJudged: 0}}, failedJSON{at, 2},
	} {
		want, err := json.Marshal(v)
		var got bytes.Buffer
		if err := errors.Join(err, writeJSON(&got, v)); err != nil {
			t.Fatal(err)
		}
		// The value of a reading has the same, spelled otherwise.
		if got.String() != strings.NewReplacer("�", `\ufffd`, `\u000a`, `\n`, `\u000d`, `\r`, `\u0009`, `\t`).Replace(string(want))+"\n" {
			t.Errorf("%T: got\n%swant\n%s", v, &got, want)
		}
	}
}

// A program that prints the JSON it read, or a person who looks at it, is steered by nothing in it.
func TestNothingInJSONSteersATerminal(t *testing.T) {
	text := "\u009b31m \u202e\u2066\u200f\u061c \x7f\x00\x1b \u0085\u2028\ufeff\U000e0041\xff end"
	for _, v := range []any{failedJSON{Error: text}, readingJSON{Value: lightchain.Text(text)}, provedJSON{Proved: []string{text}}, togetherJSON{Files: [2]string{text}}, noteJSON{NoteView: lightchain.NoteView{Text: text}}} {
		var b bytes.Buffer
		if err := writeJSON(&b, v); err != nil {
			t.Fatal(err)
		}
		line := strings.TrimSuffix(b.String(), "\n")
		if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%T: %q", v, line)
		}
		var back map[string]any
		if err := json.Unmarshal(b.Bytes(), &back); err != nil {
			t.Fatal(err)
		}
		if again, _ := json.Marshal(back); !strings.Contains(line, `\u009b31m \u202e\u2066\u200f\u061c \u007f\u0000\u001b \u0085\u2028\ufeff\udb40\udc41\ufffd end`) ||
			!bytes.Contains(again, []byte("\u009b31m \u202e\u2066\u200f\u061c \x7f\\u0000\\u001b \u0085\\u2028\ufeff\U000e0041")) {
			t.Errorf("%T: %q, and read back %q", v, line, again)
		}
	}
}

// A long text is told by its beginning and its length.
func TestLongTextsAreToldByTheirBeginning(t *testing.T) {
	for text, want := range map[string]string{
		strings.Repeat("a", mostBytes):          strings.Repeat("a", mostBytes),
		strings.Repeat("a", mostBytes+1):        strings.Repeat("a", mostBytes) + " … (2001 bytes)",
		"a" + strings.Repeat("é", mostBytes):    "a" + strings.Repeat("é", mostBytes/2-1) + " … (4001 bytes)",
		strings.Repeat("\x01", 16*mostBytes):    strings.Repeat(`\x{1}`, mostBytes) + " … (32000 bytes)",
		strings.Repeat("\u202e", 2*mostBytes):   strings.Repeat(`\x{202e}`, mostBytes/3) + " … (12000 bytes)",
		strings.Repeat("\U0001f600", mostBytes): strings.Repeat("\U0001f600", mostBytes/4) + " … (8000 bytes)",
	} {
		if got := shown(text); got != want {
			t.Errorf("%.20q…: %.40q…%q", text, got, got[max(0, len(got)-40):])
		}
		r := reading(&lightchain.Reading{Device: text, Name: text, Unit: text, Value: lightchain.Text(text)})
		begins, more, long := strings.Cut(want, " … (")
		value := `"` + begins + `"`
		if long {
			value += " … (" + more
		}
		name := want
		if !unicode.IsLetter([]rune(text)[0]) {
			name = value // it is quoted, as any text is
		}
		if r != strings.Join([]string{name, name, "=", value, name}, " ") {
			t.Errorf("%.20q…: a reading of %d bytes", text, len(r))
		}
	}
	if got := shownValue(lightchain.Bytes(make([]byte, mostBytes+5))); got != strings.Repeat("00", mostBytes)+" … (2005 bytes)" {
		t.Errorf("%.40q", got)
	}
}

// No name of a file passes for a verdict, and no two look the same.
func TestNamesOfFilesAreToldApart(t *testing.T) {
	for name, want := range map[string]string{
		"a.edgeproof": "a.edgeproof", "evidence/é-1.edgeproof": "evidence/é-1.edgeproof", "": `""`,
		"a: VERIFIED": `"a: VERIFIED"`, "a b": `"a b"`, "a:b": `"a:b"`, "a\nb: VERIFIED": `"a\nb: VERIFIED"`,
		"\xff": `"\xff"`, "\xfe": `"\xfe"`, `\xff`: `"\\xff"`, "�": "�", `"a"`: `"\"a\""`, "\u202e": `"\u202e"`,
	} {
		if got := nameOf(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{"a b:é�": "a b:é�", "a\xffb\xfe": `a\xffb\xfe`} {
		if got := validName(name); got != want {
			t.Errorf("%q in JSON: %s, want %s", name, got, want)
		}
	}
	var b bytes.Buffer
	run([]string{"--chain", strings.Repeat("a", 52), "none\xff", "none: VERIFIED"}, nil, &b, &b)
	if out := b.String(); !strings.Contains(out, "\"none\\xff\": NOT FOUND\n") || !strings.Contains(out, "\"none: VERIFIED\": NOT FOUND\n") {
		t.Error(out)
	}
}
