package tomlconf

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Whatever a name leads to, nobody waits for it, and no more is read than was asked for.
func TestReadFileReadsRegularFilesAlone(t *testing.T) {
	dir := t.TempDir()
	pipe, file, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(file, []byte("12345"), 0o600), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/dev/zero", dir} {
		if _, err := ReadFile(path, 10); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{file, link} {
		if text, err := ReadFile(path, 5); err != nil || !bytes.Equal(text, []byte("12345")) {
			t.Errorf("%s: %q, %v", path, text, err)
		}
		if _, err := ReadFile(path, 4); err == nil {
			t.Errorf("%s has more than 4 bytes", path)
		}
	}
}

func TestAPipeInConfDIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "conf.d"), 0o700), syscall.Mkfifo(filepath.Join(dir, "conf.d", "a.toml"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := Files("", filepath.Join(dir, "x.toml")); !errors.Is(err, ErrNotRegular) {
		t.Error(err)
	}
}
