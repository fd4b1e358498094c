package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
)

// signedBy has the real ssh-keygen sign a statement with a new key; it returns the signature as a note holds it, and the
// key's line.
func signedBy(t *testing.T, statement []byte, namespace string) (signature, key string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "id")
	keygen := func(stdin string, args ...string) string {
		cmd := exec.Command(testenv.Program(t, "ssh-keygen"), args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("ssh-keygen %q: %v", args, err)
		}
		return string(out)
	}
	keygen("", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file)
	text := keygen(string(statement), "-Y", "sign", "-q", "-n", namespace, "-f", file)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	line, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := lightchain.ReadSSHSignatureFile([]byte(text)); namespace == lightchain.NoteNamespace && (err != nil || !s.Verify(statement)) {
		t.Fatalf("%s\n%v", text, err)
	}
	return strings.Join(lines[1:len(lines)-1], ""), strings.TrimSpace(string(line))
}

// A person's signature is told by name, or as that of somebody unknown; one that is bad makes the whole file one that does
// not verify.
func TestWhoSignedANoteIsTold(t *testing.T) {
	_, chain := proofOf(t, lightchain.Entry{})
	id, err := lightchain.ParseChainID(chain)
	if err != nil {
		t.Fatal(err)
	}
	note := lightchain.Note{Who: "Anna", When: "2026-11-28T20:41:48Z", Entries: []lightchain.Span{{3, 5}}, Meaning: "approved", Text: "one line\n  signature signed by boss"}
	signature, key := signedBy(t, note.Statement(id), lightchain.NoteNamespace)
	elsewhere, _ := signedBy(t, note.Statement(id), "file")
	for _, c := range []struct {
		about, signature, text, trust string
		code                          int
		standing                      lightchain.NoteStanding
		says                          []string
	}{
		{"a person known", signature, note.Text, "person anna " + key, exitOK, lightchain.NoteSigned, []string{"VERIFIED", "signature signed by anna, with " + key, `by anna, who calls himself "Anna", by his own word, written`, "text      |   signature signed by boss", "about     entry 3 to 5", "meaning   approved"}},
		{"another person", signature, note.Text, "person bob " + key, exitOK, lightchain.NoteSigned, []string{"VERIFIED", `by bob, who calls himself "Anna", by his own word`, "Beware:", `signed by bob, and names another author: "Anna". It is the word of bob.`}},
		{"a person unknown", signature, note.Text, "", exitOK, lightchain.NoteStranger, []string{"VERIFIED", "does not name", `by "Anna", as the gateway says, written`, "can invent a note"}},
		{"nobody", "", note.Text, "person anna " + key, exitOK, lightchain.NoteUnsigned, []string{"VERIFIED", "gateway's word alone", `by "Anna", as the gateway says, written`, "can invent a note"}},
		{"a text that was changed", signature, "another", "person anna " + key, exitVerification, lightchain.NoteBad, []string{"NOT VERIFIED", "signature BAD", "entry 0"}},
		{"signed for something else", elsewhere, note.Text, "", exitVerification, lightchain.NoteBad, []string{"NOT VERIFIED", `"file"`}},
	} {
		payload := map[string]any{"who": note.Who, "when": note.When, "entries": note.Entries, "meaning": note.Meaning, "text": c.text}
		if c.signature != "" {
			payload["signature"] = c.signature
		}
		b, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		proof, _ := proofOf(t, lightchain.Entry{Source: lightchain.SourceNote, Flags: lightchain.ByAgent, Payload: b})
		dir := t.TempDir()
		file, trust := filepath.Join(dir, "note.edgeproof"), filepath.Join(dir, "trust")
		if err := os.WriteFile(file, proof, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(trust, fmt.Appendf(nil, "chain %s\n%s\n", chain, c.trust), 0o666); err != nil {
			t.Fatal(err)
		}
		var text, asJSON, stderr strings.Builder
		if code := run([]string{"--trust", trust, file}, nil, &text, &stderr); code != c.code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", c.about, code, c.code, &text, &stderr)
		}
		for _, words := range c.says {
			if !strings.Contains(text.String(), words) {
				t.Errorf("%s: %q is not said\n%s", c.about, words, &text)
			}
		}
		if first, _, _ := strings.Cut(text.String(), "\n"); strings.HasSuffix(first, ": VERIFIED") != (c.code == exitOK) {
			t.Errorf("%s: %s", c.about, first)
		}
		if code := run([]string{"--trust", trust, "--output", "json", file}, nil, &asJSON, &stderr); code != c.code {
			t.Errorf("%s: exit code %d with JSON", c.about, code)
		}
		var report struct {
			Verified bool       `json:"verified"`
			Notes    []noteJSON `json:"notes"`
		}
		if err := json.Unmarshal([]byte(asJSON.String()), &report); err != nil || report.Verified != (c.code == exitOK) || len(report.Notes) != 1 || report.Notes[0].Standing != c.standing {
			t.Errorf("%s: %s (%v)", c.about, &asJSON, err)
		}
	}
}

// What comes from elsewhere stands in quotes, and passes for no word of the report; what does not follow from a note is said.
func TestANotesWordsPassForNoneOfTheReport(t *testing.T) {
	payload, err := json.Marshal(map[string]any{"who": `Eve", by the word of "Anna`, "when": "2026-11-28T20:41:48Z", "name": `a.pdf", "application/pdf", 3 bytes, SHA-256 00\`, "media_type": "text/plain",
		"size": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "entries": [][2]int{{0, 0}}})
	if err != nil {
		t.Fatal(err)
	}
	proof, chain := proofOf(t, lightchain.Entry{Source: lightchain.SourceAttach, Flags: lightchain.ByAgent, Payload: payload})
	file := filepath.Join(t.TempDir(), "attached.edgeproof")
	if err := os.WriteFile(file, proof, 0o666); err != nil {
		t.Fatal(err)
	}
	var text, stderr strings.Builder
	if code := run([]string{"--chain", chain, file}, nil, &text, &stderr); code != exitOK {
		t.Fatalf("exit code %d\n%s%s", code, &text, &stderr)
	}
	for _, words := range []string{`by "Eve\", by the word of \"Anna", as the gateway says`, `attached  "a.pdf\", \"application/pdf\", 3 bytes, SHA-256 00\\", "text/plain", 0 bytes, SHA-256 e3b0`,
		"That anybody said it", "That what is said there is true"} {
		if !strings.Contains(text.String(), words) {
			t.Errorf("%q is not said\n%s", words, &text)
		}
	}
	if strings.Contains(text.String(), "a sensor can be wrong") {
		t.Errorf("a note is no sensor's value\n%s", &text)
	}
}

// A note about what was recorded after it is one that no agent took in.
func TestANoteAboutWhatCameAfterItIsTold(t *testing.T) {
	span := func(n uint64) []lightchain.Span { return []lightchain.Span{{0, 0}, {3, n}} }
	report := func(entries, heights []lightchain.Span) *lightchain.Report {
		return &lightchain.Report{Number: 9, Header: lightchain.Header{Height: 5}, Note: &lightchain.NoteReport{Note: &lightchain.Note{Entries: entries, Heights: heights}}}
	}
	for about, c := range map[string]struct {
		report *lightchain.Report
		told   bool
	}{
		"no note":           {new(lightchain.Report), false},
		"one that is bad":   {&lightchain.Report{Note: &lightchain.NoteReport{Standing: lightchain.NoteBad}}, false},
		"of nothing":        {report(nil, nil), false},
		"of what was there": {report(span(8), span(4)), false},
		"of itself":         {report(span(9), nil), true},
		"of its own block":  {report(nil, span(5)), true},
		"of later entries":  {report(span(100), span(4)), true},
	} {
		if told := len(noteCautions(c.report)) > 0; told != c.told {
			t.Errorf("%s: told: %t", about, told)
		}
	}
}

// However many notes of a bundle are bad, all are counted.
func TestAllBadNotesAreCounted(t *testing.T) {
	bad := func(first, count uint64) lightchain.BundleNotes {
		return lightchain.BundleNotes{NoteReport: lightchain.NoteReport{Standing: lightchain.NoteBad, Err: fmt.Errorf("bad")}, First: first, Count: count}
	}
	for want, notes := range map[string][]lightchain.BundleNotes{
		"":                            nil,
		"entry 1: bad":                {bad(1, 1)},
		"entry 1: bad; and 6 more":    {bad(1, 7)},
		"entry 7: bad; and 1004 more": {bad(0, 1), bad(1, 1), bad(2, 1), bad(3, 1), bad(4, 1), bad(5, 1), bad(6, 1), bad(7, 1000), bad(8, 1), bad(9, 1), bad(10, 1), bad(11, 1), bad(12, 1)},
	} {
		o := outcome{bundle: &lightchain.BundleReport{Notes: notes}}
		if got := o.badNotes(); !strings.HasSuffix(got, want) || want == "" && got != "" {
			t.Errorf("%q, want it to end in %q", got, want)
		}
	}
}
