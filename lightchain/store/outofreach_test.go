package store

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// A folder with a database's name in which nothing is left but names does not hide the database that can be read.
func TestAStrayFolderHidesNoDatabase(t *testing.T) {
	r := newRotten(t)
	for _, file := range []string{"marker.foo", "marker.manifest.000001.MANIFEST-000001", "OPTIONS-000003", "MANIFEST-000001", "000002.log", "000004.sst"} {
		for _, stray := range []string{"data-2", "data-9"} {
			fs := r.copy()
			if err := fs.MkdirAll("chain/"+stray, 0o700); err != nil {
				t.Fatal(err)
			}
			overwrite(t, fs, "chain/"+stray+"/"+file, nil)
			what := stray + " with an empty " + file
			reader, err := OpenReader("chain", Options{FS: fs})
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			if next := reader.Next(); next != uint64(len(r.entries)) {
				t.Errorf("%s: a reader finds %d of %d entries", what, next, len(r.entries))
			}
			reader.Close()
			o := testOptions(t, fs)
			o.Signer = testSigner(t, r.signer)
			s, err := Open("chain", o)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			if s.Info().Recovered.Rebuilt != "" || s.Info().Recovered.SetBack != nil {
				t.Errorf("%s: %+v", what, s.Info().Recovered)
			}
			s.Close()
			r.judge(what, fs)
		}
	}
}

// Whatever has the name of the folder for what is put aside, it keeps no start from putting a damaged log there.
func TestAFileNamedAsideStopsNoRepair(t *testing.T) {
	r := newRotten(t)
	fs := r.copy()
	overwrite(t, fs, "chain/"+asideName, []byte("stray"))
	overwrite(t, fs, "chain/"+asideName+"-1", []byte("another"))
	for _, file := range r.files() {
		if !salvage.IsLog(file) {
			continue
		}
		b, err := salvage.ReadFile(fs, "chain/"+file)
		if err != nil {
			t.Fatal(err)
		}
		written := len(bytes.TrimRight(b, "\x00"))
		b[written/2] ^= 4
		overwrite(t, fs, "chain/"+file, b)
	}
	r.judge("a file aside, and a damaged log", fs)
	if b, err := salvage.ReadFile(fs, "chain/"+asideName+"-2"); err != nil || string(b) != "stray" {
		t.Errorf("the stray file: %q, %v", b, err)
	}
}

// A store whose log is lost, though nothing of the chain was in it, can be copied while it is open.
func TestAStoreThatLostItsLogCanBeCopied(t *testing.T) {
	mem := vfs.NewMem()
	o := testOptions(t, mem)
	s := marked(t, o, 5)
	seal(t, s)
	tip := s.Tip().Height
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	left := vfs.NewMem() // killed
	if _, err := vfs.Clone(mem, left, "chain", "chain"); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	names, err := left.List("chain/data-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if salvage.IsLog(name) {
			if err := left.Remove("chain/data-1/" + name); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.FS = left
	s = openStore(t, o)
	defer closeStore(t, s)
	if err := s.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader("copy", Options{FS: left})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if sum := verify(t, r); r.Tip().Height < tip || sum.Incomplete() != nil {
		t.Errorf("header %d of %d, %+v", r.Tip().Height, tip, sum)
	}
}

// A database that cannot be opened as it is, or is gone beside its head mark, is damaged: it is neither a file that was
// not found nor no chain.
func TestADatabaseThatDoesNotOpenIsDamaged(t *testing.T) {
	r := newRotten(t)
	with := func(part string, do func(fs vfs.FS, path string) error) func(fs vfs.FS) error {
		return func(fs vfs.FS) (err error) {
			for _, file := range r.files() {
				if strings.Contains(file, part) && strings.HasPrefix(file, "data-1/") {
					err = errors.Join(err, do(fs, "chain/"+file))
				}
			}
			return err
		}
	}
	remove := func(fs vfs.FS, path string) error { return fs.Remove(path) }
	for what, spoil := range map[string]func(fs vfs.FS) error{
		"the markers are gone":     with("marker.", remove),
		"the marker is gone":       with("marker.manifest", remove),
		"the manifests are gone":   with("MANIFEST-", remove),
		"the tables are gone":      with(".sst", remove),
		"the tables have one byte": with(".sst", func(fs vfs.FS, path string) error { overwrite(t, fs, path, []byte{1}); return nil }),
		"the folder is empty":      with("", remove),
		"the folder is gone":       func(fs vfs.FS) error { return fs.RemoveAll("chain/data-1") },
	} {
		mem := r.copy()
		if err := spoil(mem); err != nil {
			t.Fatal(err)
		}
		_, err := OpenReader("chain", Options{FS: mem})
		if !errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoChain) {
			t.Errorf("%s: %v", what, err)
		}
		if err := CopyAtRest("chain", "copy", Options{FS: mem}); errors.Is(err, ErrNoChain) {
			t.Errorf("%s: a copy: %v", what, err)
		}
		r.judge(what, mem)
	}
}
