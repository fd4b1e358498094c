package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func writes(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

// A file has the new content and mode, or the former ones; what lies where it is written beside decides about neither.
func TestAFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path, elsewhere := filepath.Join(dir, "file"), filepath.Join(dir, "elsewhere")
	holds := func(path, want string, mode os.FileMode) {
		t.Helper()
		b, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(b) != want || info.Mode().Perm() != mode {
			t.Errorf("%s: %q, %v, %v", path, b, info, errors.Join(err, statErr))
		}
	}
	if err := os.WriteFile(elsewhere, []byte("theirs"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, 0o600, writes("one")); err != nil {
		t.Fatal(err)
	}
	holds(path, "one", 0o600)
	holds(elsewhere, "theirs", 0o644)
	if err := os.WriteFile(path+".new", []byte("left"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, 0o600, writes("two")); err != nil {
		t.Fatal(err)
	}
	holds(path, "two", 0o600)
	full := errors.New("full")
	if err := Replace(path, 0o644, func(io.Writer) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	holds(path, "two", 0o600)
	if _, err := os.Lstat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was written beside is left: %v", err)
	}
}
