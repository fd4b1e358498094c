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

	"edgechain/aggregator"
	"edgechain/aggregator/pebblestore"
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
	s, err = pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20})
	if err == nil {
		defer s.Close()
		_, err = s.Documents(context.Background(), "test")
	}
	if !errors.Is(err, aggregator.ErrFailed) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), ".sst") {
		t.Errorf("reading a damaged store: %v", err)
	}
}

func TestALockThatCannotBeOpenedIsNotAnotherAggregator(t *testing.T) {
	dir := t.TempDir()
	s, err := pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20}); !errors.Is(err, aggregator.ErrRunning) {
		t.Errorf("while it is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(dir, "LOCK")
	if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := pebblestore.Open(dir, pebblestore.Options{Cache: 8 << 20}); err == nil || errors.Is(err, aggregator.ErrRunning) {
		t.Errorf("with a folder in its place: %v", err)
	}
}
