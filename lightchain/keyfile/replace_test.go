package keyfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestReplaceTakesThePlaceAndOverwritesTheOldKey(t *testing.T) {
	if !overwritesAfterRename {
		t.Skip("an open file cannot lose its name here")
	}
	dir := t.TempDir()
	path, next := filepath.Join(dir, "key"), filepath.Join(dir, "key.next")
	if _, err := Create(path, Options{Random: seed(1)}); err != nil {
		t.Fatal(err)
	}
	want, err := Create(next, Options{Random: seed(2)})
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(path) // looks at the old file's blocks when its name is gone
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := Replace(next, path, Passphrase{}); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path, Passphrase{})
	if err != nil || got.Public() != want.Public() {
		t.Errorf("in the old key's place: %v, %v", got, err)
	}
	if _, err := os.Stat(next); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the next key's own name: %v", err)
	}
	b, err := io.ReadAll(old)
	if err != nil || len(b) == 0 || len(bytes.Trim(b, "\x00")) != 0 {
		t.Errorf("the old file holds %q, %v", b, err)
	}
}

func TestReplaceWithoutGoodSuccessorKeepsTheKey(t *testing.T) {
	dir := t.TempDir()
	path, next := filepath.Join(dir, "key"), filepath.Join(dir, "key.next")
	want, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Replace(next, path, Passphrase{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no successor: %v", err)
	}
	if runtime.GOOS != "windows" {
		if err := os.WriteFile(next, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := Replace(next, path, Passphrase{}); !errors.Is(err, ErrExposed) {
			t.Errorf("a successor open to others: %v", err)
		}
	}
	if got, err := Load(path, Passphrase{}); err != nil || got.Public() != want.Public() {
		t.Errorf("the key: %v, %v", got, err)
	}
}

func TestReplaceCanBeRepeatedWhenTheOldKeyIsGone(t *testing.T) {
	dir := t.TempDir()
	path, next := filepath.Join(dir, "key"), filepath.Join(dir, "key.next")
	want, err := Create(next, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Replace(next, path, Passphrase{}); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(path, Passphrase{}); err != nil || got.Public() != want.Public() {
		t.Errorf("the key: %v, %v", got, err)
	}
}

func TestDestroyedKeyIsOverwrittenAndGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if _, err := Create(path, Options{}); err != nil {
		t.Fatal(err)
	}
	second := path + ".link"
	if err := os.Link(path, second); err != nil {
		t.Fatal(err)
	}
	if err := Destroy(path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if b, err := os.ReadFile(second); err != nil || len(b) == 0 || len(bytes.Trim(b, "\x00")) != 0 {
		t.Errorf("its blocks hold %q, %v", b, err)
	}
	if err := Destroy(path); err != nil {
		t.Errorf("a second time: %v", err)
	}
	// Cut off at any point: whole, overwritten, gone.
	for _, c := range []struct {
		content []byte
		gone    bool
	}{{[]byte("a key"), false}, {make([]byte, 10), true}, {[]byte("\x00\x00y"), false}, {nil, true}} {
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if gone, err := IsDestroyed(path); err != nil || gone != c.gone {
			t.Errorf("%q: destroyed %t, %v", c.content, gone, err)
		}
	}
	if err := Destroy(path); err != nil {
		t.Error(err)
	}
	if gone, err := IsDestroyed(path); err != nil || !gone {
		t.Errorf("a file that is not there: destroyed %t, %v", gone, err)
	}
}
