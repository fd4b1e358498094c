package store

import (
	"context"
	"errors"
	"os"

	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"edgechain.example/lightchain/store/salvage"
)

// contents says what a space's tables hold, for people.
func contents(space byte) string {
	switch space {
	case spaceBlocks:
		return "blocks"
	case spaceNodes:
		return "nodes of the history"
	case spaceAbsent:
		return "which blocks were deleted"
	case spaceLost, spaceTables:
		return "what is known to be lost"
	case spaceKeys:
		return "keys"
	case spaceReceipts:
		return "receipts"
	case spaceReceived:
		return "index of receipts"
	case spaceBeacons:
		return "index of beacons"
	}
	return "the store's notes"
}

// VerifyTables reads what [Reader.Verify] does not meet: each block of the tables that hold no entries and headers, and
// of those that do what Pebble finds them by. found is told of each table with a damaged block, and its error ends the
// reading. pace is told of the bytes read, as far as it is not nil.
func (r *Reader) VerifyTables(ctx context.Context, pace func(read int) error, found func(Damage) error) error {
	levels, err := r.db.SSTables()
	if err != nil {
		return readError(err)
	}
	if pace == nil {
		pace = func(int) error { return nil }
	}
	for _, level := range levels {
		for i := range level {
			if err := ctx.Err(); err != nil {
				return err
			}
			space := level[i].Smallest.UserKey[0]
			name := level[i].BackingSSTNum.String() + ".sst"
			failed := r.verifyTable(name, space, pace)
			switch {
			case failed == nil, errors.Is(failed, os.ErrNotExist): // merged into another meanwhile
				continue
			case !isDamage(failed) || !errors.Is(readError(failed), ErrDamaged) && !isTableError(failed):
				return failed
			}
			if space != spaceBlocks {
				r.meetTable(&level[i])
			}
			from, _, _, _ := parseBlockKey(level[i].Smallest.UserKey)
			to, _, _, _ := parseBlockKey(level[i].Largest.UserKey)
			if err := found(Damage{From: from, To: to, Table: name, Holds: contents(space), Why: reason(failed)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// tableError is what the parts of a table do not agree about.
type tableError struct{ error }

func isTableError(err error) bool {
	var t tableError
	return errors.As(err, &t)
}

func (t tableError) Unwrap() error { return t.error }

// anySpace has a table's every block read.
const anySpace = 0

// verifyTable reads a table past Pebble's cache, which is not meant for what is read once.
func (r *Reader) verifyTable(name string, space byte, pace func(read int) error) error {
	f, err := r.fs.Open(r.fs.PathJoin(r.path, name))
	if err != nil {
		return err
	}
	if f, err = salvage.Checked(f, nil); err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(tableError{err}, f.Close())
	}
	table, err := sstable.NewReader(context.Background(), readable, sstable.ReaderOptions{KeySchemas: salvage.KeySchemas()})
	if err != nil {
		return tableError{err} // it has closed the file
	}
	defer table.Close()
	layout, err := table.Layout()
	if err != nil {
		return tableError{err}
	}
	blocks := append([]block.Handle{layout.TopIndex, layout.RangeDel, layout.RangeKey, layout.ValueIndex, layout.Properties, layout.MetaIndex}, layout.Index...)
	blocks = append(blocks, layout.ValueBlock...)
	for _, f := range layout.Filter {
		blocks = append(blocks, f.Handle)
	}
	if space != spaceBlocks {
		for _, d := range layout.Data {
			blocks = append(blocks, d.Handle)
		}
	}
	var b []byte
	for _, at := range blocks {
		if at.Length == 0 {
			continue // there is none of this kind
		}
		size := int(at.Length) + salvage.BlockTrailer
		if cap(b) < size {
			b = make([]byte, size)
		}
		if _, err := f.ReadAt(b[:size], int64(at.Offset)); err != nil {
			return err
		}
		if err := pace(size); err != nil {
			return err
		}
	}
	return nil
}
