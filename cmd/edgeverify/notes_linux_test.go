package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"edgechain/build/testenv"
	"edgechain/lightchain"
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
		{"a person known", signature, note.Text, "person anna " + key, exitOK, lightchain.NoteSigned, []string{"VERIFIED", "signature signed by anna, with " + key, "text      |   signature signed by boss", "about     entry 3 to 5", "meaning   approved"}},
		{"a person unknown", signature, note.Text, "", exitOK, lightchain.NoteStranger, []string{"VERIFIED", "does not name"}},
		{"nobody", "", note.Text, "person anna " + key, exitOK, lightchain.NoteUnsigned, []string{"VERIFIED", "gateway's word alone"}},
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
		var report reportJSON
		if err := json.Unmarshal([]byte(asJSON.String()), &struct {
			Verified *bool       `json:"verified"`
			Notes    *[]noteJSON `json:"notes"`
		}{&report.Verified, &report.Notes}); err != nil || report.Verified != (c.code == exitOK) || len(report.Notes) != 1 || report.Notes[0].Standing != c.standing {
			t.Errorf("%s: %s (%v)", c.about, &asJSON, err)
		}
	}
}
