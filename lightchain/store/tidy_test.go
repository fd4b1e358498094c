package store

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestTidyingMergesSmallTables(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	const n = 100
	for i := range n {
		stage(t, s, testEntries(10*i, 10))
		seal(t, s)
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	tables := func() (n int) {
		levels, err := s.db.SSTables()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range levels {
			n += len(l)
		}
		return n
	}
	before := tables()
	if err := s.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := tables(); before < n/2 || after > before/4 {
		t.Fatalf("%d tables before, %d after", before, after)
	}
	if rows := s.smallRows(); len(rows) != 0 {
		t.Fatalf("%d rows are still to be merged", len(rows))
	}
	if sum := verify(t, &s.Reader); sum.Entries != 10*n {
		t.Fatalf("%+v", sum)
	}
}
