package main

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/build/testenv/program"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
)

// What a log shows that contradicts the checkpoint that was kept is kept, too: it may not be shown again. An answer that is cut off
// says nothing of it.
func TestACheckpointThatContradictsTheKeptOneIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	signer, err := keyfile.Create(filepath.Join(dir, "key"), keyfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	key, err := headlog.NewKey("agg-1.example/heads", signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(b string) ([]byte, string) {
		h := lightchain.LeafHash([]byte(b))
		c := headlog.Checkpoint{Origin: key.Name(), Size: 1, Root: h}
		signed, err := note.Sign(&note.Note{Text: c.Text()}, key)
		if err != nil {
			t.Fatal(err)
		}
		return signed, string(h[:])
	}
	shown, hash := leaf("to one")
	before, _ := leaf("to another")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/checkpoint":
			_, _ = w.Write(shown)
		case "/tile/0/000.p/1":
			w.Header().Set("Content-Length", "32")
			_, _ = w.Write([]byte(hash))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	kept := filepath.Join(dir, "kept")
	check := func(want int) string {
		t.Helper()
		_, stderr, code := program.Output(t, exec.Command(filepath.Join(builds.Native(t), "edgeaggregator"), "log", "check", server.URL, key.String(), "--kept", kept))
		if code != want {
			t.Errorf("it ends with %d, want %d: %s", code, want, stderr)
		}
		return stderr
	}
	whole := hash
	hash = hash[:10] // of an answer that is cut off
	if says := check(5); !strings.Contains(says, "EOF") {
		t.Errorf("it says %s", says)
	}
	hash = whole
	check(0)
	if _, err := os.Stat(kept + ".other"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing contradicts: %v", err)
	}
	if err := os.WriteFile(kept, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if says := check(3); !strings.Contains(says, kept+".other") {
		t.Errorf("it says %s", says)
	}
	for file, want := range map[string][]byte{kept: before, kept + ".other": shown} {
		if b, err := os.ReadFile(file); err != nil || string(b) != string(want) {
			t.Errorf("%s holds %q, %v", file, b, err)
		}
	}
}
