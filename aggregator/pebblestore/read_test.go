package pebblestore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"edgechain.example/aggregator/pebblestore"
	"edgechain.example/aggregator/registry"
)

// Whoever reads the log of an aggregator that does not start must see which file the disk has damaged.
func TestDamageIsNamedWithItsFile(t *testing.T) {
	dir := t.TempDir()
	open := func() *pebblestore.Store {
		s, err := pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	for i := range 50 {
		err := s.UpdateDocument(t.Context(), "test", fmt.Sprint(i), func([]byte) ([]byte, error) { return bytes.Repeat([]byte{byte(i)}, 100), nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open().Close(); err != nil { // the log becomes a table
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables: %v %v", tables, err)
	}
	for _, table := range tables {
		b, err := os.ReadFile(table)
		if err != nil {
			t.Fatal(err)
		}
		b[20] ^= 1
		if err := os.WriteFile(table, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// What the start does not read is met later: that ends the program, and the next start reads past it.
	s, err = pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20, Fatal: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Opened().Rebuilt {
		_, err = s.Documents(context.Background(), "test")
		if !errors.Is(err, registry.ErrFailed) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), ".sst") {
			t.Errorf("reading a damaged store: %v", err)
		}
		_ = s.Close()
		s = open()
	}
	defer s.Close()
	if o := s.Opened(); !o.Rebuilt || o.Unreadable == 0 {
		t.Errorf("opened again: %+v", o)
	}
	if _, err := s.Documents(t.Context(), "test"); err != nil {
		t.Error(err)
	}
}

func TestALockThatCannotBeOpenedIsNotAnotherAggregator(t *testing.T) {
	dir := t.TempDir()
	s, err := pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20}); !errors.Is(err, registry.ErrRunning) {
		t.Errorf("while it is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A folder in its place is of no use to anybody; a lock that cannot be opened is not known to be held.
	lock := filepath.Join(dir, "LOCK")
	if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
		t.Fatal(err)
	}
	if s, err = pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(lock), os.Symlink("LOCK", lock)); err != nil {
		t.Fatal(err)
	}
	if _, err := pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20}); err == nil || errors.Is(err, registry.ErrRunning) {
		t.Errorf("with a link to itself in its place: %v", err)
	}
}

// An aggregator that began anew would countersign a second history of what it has countersigned.
func TestAStoreThatLostWhatNamesItsFilesIsNotBegunAnew(t *testing.T) {
	for _, lost := range []string{"marker.manifest.*", "m*", "MANIFEST-*"} {
		dir := filepath.Join(t.TempDir(), "store")
		s, err := pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.UpdateDocument(t.Context(), "test", "name", func([]byte) ([]byte, error) { return []byte("kept"), nil }); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, lost))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v %v", lost, files, err)
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		before, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20}); err != nil {
			t.Fatal(err)
		}
		documents, err := s.Documents(t.Context(), "test")
		if !s.Opened().Rebuilt || string(documents["name"]) != "kept" || err != nil {
			t.Errorf("without %s: %+v, %q, %v", lost, s.Opened(), documents, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if after, err := os.ReadDir(dir + ".damaged-1"); err != nil || len(after) < len(before) {
			t.Errorf("without %s: %d files stay, there were %d: %v", lost, len(after), len(before), err)
		}
	}
}

func TestAStoreWhoseBeginningWasCutOffIsBegun(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST-000001"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// What was made before the format was fixed holds heads that no gateway of today continues.
func TestAnOlderLayoutIsRefused(t *testing.T) {
	dir := t.TempDir()
	db, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatTableFormatV6})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte{'v'}, []byte{1}, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err := pebblestore.Open(dir, pebblestore.Options{}); err == nil || !strings.Contains(err.Error(), "before the format was fixed") {
		if err == nil {
			s.Close()
		}
		t.Errorf("%v", err)
	}
}
