package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Tree writes out a recorded part of a file system, to stand for "/" in a test, and returns the folder. The recording
// is a txtar file; "-- a/b -> ../c --" is a symbolic link, and a file that ends with a line of `\0` ends with a zero
// byte and no line break instead, as the device tree's do.
func Tree(t testing.TB, recording string) string {
	t.Helper()
	archive, err := txtar.ParseFile(recording)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, f := range archive.Files {
		name, target, link := strings.Cut(f.Name, " -> ")
		path := filepath.Join(root, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil && link {
			err = os.Symlink(filepath.FromSlash(target), path)
		} else if err == nil {
			content := string(f.Data)
			if text, zero := strings.CutSuffix(content, "\n\\0\n"); zero {
				content = text + "\x00"
			}
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatalf("%s: %s: %v", recording, name, err)
		}
	}
	return root
}
