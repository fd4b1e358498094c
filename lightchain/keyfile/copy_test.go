package keyfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// harms are what happens to one file of a key.
var harms = map[string]func(path string) error{
	"gone":    os.Remove,
	"emptied": func(path string) error { return os.Truncate(path, 0) },
	"cut":     func(path string) error { return os.Truncate(path, 100) },
	"zeroed": func(path string) error {
		info, err := os.Stat(path)
		return errors.Join(err, os.WriteFile(path, make([]byte, info.Size()), 0o600))
	},
	"turned": func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 1
		return os.WriteFile(path, b, 0o600)
	},
	"unlike a key": func(path string) error { return os.WriteFile(path, []byte("hello\n"), 0o600) },
}

func TestAKeyOutlivesTheLossOfEitherFile(t *testing.T) {
	for what, harm := range harms {
		for which, name := range []string{"the first", "the copy"} {
			t.Run(name+" is "+what, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "key")
				want, err := Create(path, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if err := harm(Files(path)[which]); err != nil {
					t.Fatal(err)
				}
				if got, err := Load(path, Passphrase{}); err != nil || got.Public() != want.Public() {
					t.Fatalf("%v, %v", got, err)
				}
				if mended, err := Mend(path, Passphrase{}); err != nil || mended != Files(path)[which] {
					t.Errorf("made %q anew, %v", mended, err)
				}
				for _, file := range Files(path) {
					if got, err := LoadFile(file, Passphrase{}); err != nil || got.Public() != want.Public() {
						t.Errorf("%s: %v, %v", file, got, err)
					}
				}
				if mended, err := Mend(path, Passphrase{}); err != nil || mended != "" {
					t.Errorf("whole, it made %q anew, %v", mended, err)
				}
				if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 2 {
					t.Errorf("%v, %v", left, err)
				}
			})
		}
	}
}

func TestAKeyOfWhichNeitherFileCanBeReadIsNone(t *testing.T) {
	for what, harm := range harms {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if _, err := Create(path, Options{}); err != nil {
				t.Fatal(err)
			}
			for _, file := range Files(path) {
				if err := harm(file); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := os.ReadFile(path)
			if _, err := Load(path, Passphrase{}); err == nil || errors.Is(err, fs.ErrNotExist) != (what == "gone") {
				t.Error(err)
			}
			if mended, err := Mend(path, Passphrase{}); err == nil {
				t.Errorf("it made %q anew, from nothing", mended)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("what is left was touched")
			}
		})
	}
}

func TestAFileOpenToOthersIsNotPassedOverForItsCopy(t *testing.T) {
	for which := range 2 {
		path := filepath.Join(t.TempDir(), "key")
		if _, err := Create(path, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(Files(path)[which], 0o644); err != nil {
			t.Fatal(err)
		}
		_, mendErr := Mend(path, Passphrase{})
		if which == 1 { // the first is read, and nobody has looked at its copy yet
			if !errors.Is(mendErr, ErrExposed) {
				t.Errorf("the copy: %v", mendErr)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Load(path, Passphrase{}); !errors.Is(err, ErrExposed) {
			t.Errorf("file %d: %v", which, err)
		}
	}
}

// A key is never made where a copy of one is: that may be all that is left of a chain's.
func TestCreateBesideACopyRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	want, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, Options{}); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if got, err := Load(path, Passphrase{}); err != nil || got.Public() != want.Public() {
		t.Errorf("%v, %v", got, err)
	}
}

// TestReplaceGoesOnFromEveryPoint stops a change of key at each step that a power cut may fall behind, and calls it
// again.
func TestReplaceGoesOnFromEveryPoint(t *testing.T) {
	steps := map[string]func(next, path string) error{
		"before the first":          func(next, path string) error { return nil },
		"before the next was whole": func(next, path string) error { return os.Remove(CopyPath(next)) },
		"between the two":           func(next, path string) error { return replace(next, path) },
		"next rotten":               func(next, path string) error { return os.Truncate(next, 0) },
	}
	for at, cut := range steps {
		t.Run(at, func(t *testing.T) {
			dir := t.TempDir()
			path, next := filepath.Join(dir, "key"), filepath.Join(dir, "key.next")
			if _, err := Create(path, Options{Random: seed(1)}); err != nil {
				t.Fatal(err)
			}
			want, err := Create(next, Options{Random: seed(2)})
			if err != nil {
				t.Fatal(err)
			}
			var olds []*os.File
			for _, file := range Files(path) {
				f, err := os.Open(file)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				olds = append(olds, f)
			}
			if err := cut(next, path); err != nil {
				t.Fatal(err)
			}
			if got, err := Load(next, Passphrase{}); err != nil || got.Public() != want.Public() {
				t.Fatalf("the next one is not found: %v, %v", got, err)
			}
			if err := Replace(next, path, Passphrase{}); err != nil {
				t.Fatal(err)
			}
			for i, file := range Files(path) {
				if got, err := LoadFile(file, Passphrase{}); err != nil || got.Public() != want.Public() {
					t.Errorf("%s: %v, %v", file, got, err)
				}
				if b, err := io.ReadAll(olds[i]); err != nil || len(bytes.Trim(b, "\x00")) != 0 {
					t.Errorf("of the old key is left %q, %v", b, err)
				}
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
				t.Errorf("%v, %v", left, err)
			}
		})
	}
}

func TestDestroyingAKeyDestroysItsCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if _, err := Create(path, Options{}); err != nil {
		t.Fatal(err)
	}
	second := path + ".link"
	if err := os.Link(CopyPath(path), second); err != nil {
		t.Fatal(err)
	}
	if err := Destroy(path); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(second); err != nil || len(b) == 0 || len(bytes.Trim(b, "\x00")) != 0 {
		t.Errorf("its blocks hold %q, %v", b, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestAKeyThatCannotBeReplacedIsFoundOutBefore(t *testing.T) {
	for what, harm := range map[string]func(path string) error{
		"the first is read-only":  func(path string) error { return os.Chmod(path, 0o400) },
		"the copy is read-only":   func(path string) error { return os.Chmod(CopyPath(path), 0o400) },
		"the folder is read-only": func(path string) error { return os.Chmod(filepath.Dir(path), 0o500) },
		"a folder is in the copy's place": func(path string) error {
			return errors.Join(os.Remove(CopyPath(path)), os.Mkdir(CopyPath(path), 0o700))
		},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if _, err := Create(path, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := CheckReplace(path); err != nil {
			t.Error(err)
		}
		if err := harm(path); err != nil {
			t.Fatal(err)
		}
		root := os.Geteuid() == 0 // to whom every file can be written
		if err := CheckReplace(path); err == nil && (!root || what == "a folder is in the copy's place") {
			t.Errorf("%s, and nothing is said", what)
		}
		_ = os.Chmod(filepath.Dir(path), 0o700)
		if _, err := Load(path, Passphrase{}); err != nil { // and signs all the same
			t.Error(err)
		}
	}
}
