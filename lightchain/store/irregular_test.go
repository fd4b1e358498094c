//go:build unix

package store

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What is no file, in the place of one or beside them, has nobody wait, and costs no more than the file that it displaced.
func TestWhatIsNoFileIsPutAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "chain")
	o := testOptions(t, nil)
	o.FS = nil
	if _, err := Create(dir, o, Genesis{Name: "press-hall"}); err != nil {
		t.Fatal(err)
	}
	open := func(dir string) *Store {
		s, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(dir)
	grow(t, s, 3)
	tip := s.Tip()
	closeStore(t, s)
	kinds := map[string]func(path string) error{
		"a pipe":                  func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a link that leads to no": func(path string) error { return os.Symlink("/nonexistent/file", path) },
		"a socket": func(path string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return l.Close()
		},
	}
	for _, name := range []string{lockName, "head-a", "head-b", keysName, noteName, asideName, "head-a.new", "data-1/000099.log", "data-1/000099.sst", "data-7"} {
		for kind, make := range kinds {
			root, err := os.MkdirTemp("", "e") // the path of a socket is short
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(root)
			copied := filepath.Join(root, "chain")
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(copied, name)
			if err := errors.Join(os.RemoveAll(path), make(path)); err != nil {
				t.Fatal(err)
			}
			if r, err := OpenReader(copied, o); err == nil {
				if name != asideName {
					t.Errorf("%s is %s, and it is read as if nothing were", name, kind)
				}
				r.Close()
			} else if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), kind) {
				t.Errorf("%s is %s: %v", name, kind, err)
			}
			s := open(copied)
			if s.Tip().Hash != tip.Hash || s.unsure {
				t.Errorf("%s is %s: the chain ends elsewhere", name, kind)
			}
			grow(t, s, 1)
			closeStore(t, s)
			r, err := OpenReader(copied, o)
			if err != nil {
				t.Fatalf("%s was %s: %v", name, kind, err)
			}
			verify(t, r)
			r.Close()
		}
	}
}

// What stands in the place of the chain's folder, and is none, has nobody wait, begins nothing and is named.
func TestWhatIsNoFolderIsNamed(t *testing.T) {
	for what, make := range map[string]func(path string) error{
		"a pipe":                  func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a file":                  func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a link that leads to no": func(path string) error { return os.Symlink("/nonexistent/folder", path) },
	} {
		dir := filepath.Join(t.TempDir(), "chain")
		if err := make(dir); err != nil {
			t.Fatal(err)
		}
		o := testOptions(t, nil)
		o.FS = nil
		_, empty := Empty(dir, o)
		_, open := Open(dir, o)
		_, read := OpenReader(dir, o)
		for who, err := range map[string]error{"Empty": empty, "Open": open, "OpenReader": read} {
			if err == nil || errors.Is(err, ErrNoChain) || !strings.Contains(err.Error(), what) {
				t.Errorf("%s, %s: %v", what, who, err)
			}
		}
	}
}
