package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Tables come from memory as they are full, and are never merged with their neighbours by Pebble itself, as none
// overlaps another. A gateway that is slow or often restarted would gather thousands of small ones in a year, each of
// which costs some memory while the store is open.
const (
	smallTable = 1 << 20 // bytes: a table below this is worth merging
	fewTables  = 16      // how many small ones in a row are left alone
)

// Tidy merges rows of small tables, one row after the other until ctx ends: each byte is written once more. Once a
// day is more than enough. It may run beside everything else, but only once at a time.
//
// Pebble merges tables of its lowest level only with something that lies above them, so a table is laid there that
// deletes two keys which never were, one at each end of the row.
func (s *Store) Tidy(ctx context.Context) error {
	var failed error
	for _, row := range s.smallRows() {
		if err := s.mergeRow(ctx, row); err != nil { // one with a damaged table stays as it is
			failed = errors.Join(failed, fmt.Errorf("merging small tables: %w", err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

func (s *Store) mergeRow(ctx context.Context, row pebble.KeyRange) error {
	fs := s.options.FS
	path := fs.PathJoin(s.dir, "tidy.sst")
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	options := tuned(s.options, s.guard)
	options.EnsureDefaults()
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), options.MakeWriterOptions(0, s.db.TableFormat()))
	if err := errors.Join(w.Delete(row.Start), w.Delete(row.End), w.Close()); err != nil {
		return err
	}
	return s.merges.ask(ctx, func(ctx context.Context) error {
		if err := s.db.Ingest(ctx, []string{path}); err != nil {
			return err
		}
		return s.db.Compact(ctx, row.Start, row.End, false)
	})
}

// smallRows returns rows of small tables in the lowest level, each by a key in its first table and one in its last
// that no layout has.
func (s *Store) smallRows() (rows []pebble.KeyRange) {
	levels, err := s.db.SSTables()
	if err != nil {
		return nil
	}
	var row []pebble.SSTableInfo
	end := func() {
		if len(row) >= fewTables {
			rows = append(rows, pebble.KeyRange{
				Start: append(slices.Clone(row[0].Smallest.UserKey), 0xff),
				End:   append(slices.Clone(row[len(row)-1].Smallest.UserKey), 0xff),
			})
		}
		row = nil
	}
	for _, t := range levels[len(levels)-1] {
		if t.Size >= smallTable || len(row) > 0 && row[0].Smallest.UserKey[0] != t.Smallest.UserKey[0] {
			end()
		}
		if t.Size < smallTable {
			row = append(row, t)
		}
	}
	end()
	return rows
}
