package keyfile

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestPassphraseComesFromItsPlace(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pw")
	if err := os.WriteFile(file, []byte(" two words \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// systemd grants by an access list, whose mask looks like a right of the group.
	if err := os.WriteFile(filepath.Join(dir, "edge-key"), []byte("secret\r\n"), 0o440); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"PW": "from the environment", "CREDENTIALS_DIRECTORY": dir, "TWO": "x\n\n"}
	for text, want := range map[string]string{
		"file:" + file:        " two words ",
		"env:PW":              "from the environment",
		"env:TWO":             "x\n",
		"credential:edge-key": "secret",
	} {
		p, err := ParsePassphrase(text)
		if err != nil {
			t.Fatal(err)
		}
		if p.String() != text {
			t.Errorf("%q became %q", text, p)
		}
		got, err := p.WithEnv(func(k string) (string, bool) { v, ok := env[k]; return v, ok }).Read()
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestMissingPassphraseSaysWhereItWasLookedFor(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	none := func(string) (string, bool) { return "", false }
	some := func(k string) (string, bool) { return dir, k == "CREDENTIALS_DIRECTORY" }
	for _, c := range []struct {
		text   string
		lookup func(string) (string, bool)
		says   string
	}{
		{"", none, "none is configured"},
		{"env:PW", none, "no variable PW"},
		{"file:" + dir + "/pw", none, dir + "/pw"},
		{"file:" + empty, none, "is empty"},
		{"credential:k", none, "LoadCredential=k:"},
		{"credential:k", some, filepath.Join(dir, "k")},
	} {
		p, err := ParsePassphrase(c.text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.WithEnv(c.lookup).Read()
		if !errors.Is(err, ErrPassphraseMissing) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q in it", c.text, err, c.says)
		}
	}
}

func TestPassphraseFileOpenToOthersIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("mode bits do not say here who may read a file")
	}
	path := write(t, "pw", 0o644, []byte("secret"))
	p, err := ParsePassphrase("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Read(); !errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("%v", err)
	}
}

func TestPlaceOfAPassphraseIsCheckedWhenParsed(t *testing.T) {
	for _, text := range []string{
		"file:", "env:", "env:A B", "env:A=B", "credential:", "credential:..", "credential:../x", "credential:a/b", "vault:x",
	} {
		if p, err := ParsePassphrase(text); err == nil {
			t.Errorf("%q was read as %v", text, p)
		}
	}
	// The passphrase itself, written where its place belongs, must not come out in a log.
	if _, err := ParsePassphrase("correct horse"); err == nil || strings.Contains(err.Error(), "horse") {
		t.Errorf("%v", err)
	}
}
