package salvage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// An unreadable place costs what stands in it, and nothing behind it. Pebble's iterators end at the first block that they
// cannot read; here a table's data blocks are read each by itself, in the order of its index or, where that cannot be
// read, one after the other by their checksums, since they lie together from the beginning of the file.

// Pair is a pair as it stands in a table.
type Pair struct {
	Key, Value []byte // valid until the next one
	Seq        uint64 // 0: it was merged to the bottom, where Pebble forgets it
	Kind       pebble.InternalKeyKind
	File       uint64 // number of the table or log
}

// Span is a deleted range.
type Span struct {
	Start, End []byte
	Seq        uint64
	File       uint64
}

// Covers reports whether the range was deleted after the pair was written. Of a pair whose number is forgotten the files
// tell: whatever was deleted before it was merged is not in it any more, and a range that was deleted since stands in a
// newer file.
func (d *Span) Covers(p Pair) bool {
	if bytes.Compare(p.Key, d.Start) < 0 || bytes.Compare(p.Key, d.End) >= 0 {
		return false
	}
	if p.Seq == 0 {
		return d.File > p.File
	}
	return d.Seq > p.Seq
}

// Table reads what can be read of one table.
type Table struct {
	number uint64   // of the file
	f      vfs.File // checks each block: see tableFile
	size   int64
	reader *sstable.Reader // nil where the table's own description of itself cannot be read
	failed error           // why

	own        func(key []byte) bool
	unreadable func(error) // told of each place that is lost
}

// OpenTable opens a table for salvage. A table that Pebble does not open is no error. own tells a key of the store from what
// is none: of a table without an index that alone tells where its data end. unreadable is told of each place that is lost.
func OpenTable(fs vfs.FS, path string, own func(key []byte) bool, unreadable func(error)) (*Table, error) {
	f, err := fs.Open(path)
	if err == nil {
		f, err = Checked(f, nil)
	}
	if err != nil {
		return nil, err
	}
	t := &Table{number: FileNumber(fs.PathBase(path)), f: f, size: f.(tableFile).size, own: own, unreadable: unreadable}
	// The reader gets a file of its own, which it closes also where it fails.
	second, err := fs.Open(path)
	if err == nil {
		second, err = Checked(second, nil)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	readable, err := sstable.NewSimpleReadable(second)
	if err != nil {
		t.failed = errors.Join(err, second.Close())
		return t, nil
	}
	if t.reader, err = sstable.NewReader(context.Background(), readable, sstable.ReaderOptions{KeySchemas: KeySchemas()}); err != nil {
		t.reader, t.failed = nil, err
	}
	return t, nil
}

func (t *Table) Close() error {
	err := t.f.Close()
	if t.reader != nil {
		err = errors.Join(err, t.reader.Close())
	}
	return err
}

// Spans returns the ranges that the table says are deleted, as far as they can be read.
func (t *Table) Spans() (spans []Span) {
	if t.reader == nil {
		return nil
	}
	it, err := t.reader.NewRawRangeDelIter(context.Background(), sstable.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil {
		t.unreadable(fmt.Errorf("deleted ranges: %w", err))
		return nil
	}
	if it == nil {
		return nil
	}
	defer it.Close()
	span, err := it.First()
	for ; span != nil && err == nil; span, err = it.Next() {
		for _, k := range span.Keys {
			spans = append(spans, Span{bytes.Clone(span.Start), bytes.Clone(span.End), uint64(k.SeqNum()), t.number})
		}
	}
	if err != nil {
		t.unreadable(fmt.Errorf("deleted ranges: %w", err))
	}
	return spans
}

// Pairs calls yield for each pair that can be read, block after block; its error ends the reading.
func (t *Table) Pairs(yield func(Pair) error) error {
	d := blockDecoder{own: t.own}
	layout, err := t.Layout()
	if err != nil {
		t.unreadable(fmt.Errorf("index: %w", err))
		return t.scan(&d, yield)
	}
	for i := range layout.Data {
		if err := t.block(&d, layout.Data[i].Handle, yield); err != nil {
			return err
		}
	}
	return nil
}

// Holds reports whether a pair stands in the table, and is not deleted there, of which lacks says that the database has it not.
func (t *Table) Holds(lacks func(Pair) (bool, error)) (bool, error) {
	deleted := t.Spans()
	err := t.Pairs(func(p Pair) error {
		for i := range deleted {
			if deleted[i].Covers(p) {
				return nil
			}
		}
		missing, err := lacks(p)
		if err == nil && missing {
			err = errMissing
		}
		return err
	})
	if errors.Is(err, errMissing) {
		return true, nil
	}
	return false, err
}

var errMissing = errors.New("a pair is missing")

// Unnamed returns the tables in a database's folder that the database does not use. An ordinary crash leaves such: one that was
// being written, or one that was merged into others.
func Unnamed(fs vfs.FS, dir string, db *pebble.DB) (names []string, err error) {
	if names, err = fs.List(dir); err != nil {
		return nil, err
	}
	levels, err := db.SSTables()
	if err != nil {
		return nil, err
	}
	named := map[string]bool{}
	for _, level := range levels {
		for i := range level {
			named[TableName(&level[i])] = true
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return !IsTable(name) || named[name] }), nil
}

// TableName is the name of the file that a table of the database stands in.
func TableName(t *pebble.SSTableInfo) string { return t.BackingSSTNum.String() + ".sst" }

// Layout says where the table's blocks are, by its own index.
func (t *Table) Layout() (*sstable.Layout, error) {
	if t.reader == nil {
		return nil, t.failed
	}
	return t.reader.Layout()
}

// block reads one data block.
func (t *Table) block(d *blockDecoder, at block.Handle, yield func(Pair) error) error {
	if at.Offset > uint64(t.size) || at.Length > uint64(t.size)-at.Offset {
		t.unreadable(fmt.Errorf("the part of a table of %d bytes at %d: the file ends before", at.Length, at.Offset))
		return nil
	}
	b := make([]byte, at.Length+BlockTrailer)
	if _, err := t.f.ReadAt(b, int64(at.Offset)); err != nil && !errors.Is(err, io.EOF) {
		t.unreadable(err)
		return nil
	}
	pairs, err := d.decode(b, t.number)
	if err != nil {
		t.unreadable(fmt.Errorf("the block at %d: %w", at.Offset, err))
		return nil
	}
	return pairs(yield)
}

// scan finds data blocks without an index, from the beginning of the file on up to the first place where none ends.
func (t *Table) scan(d *blockDecoder, yield func(Pair) error) error {
	all := make([]byte, t.size)
	if n, err := io.ReadFull(readerFrom{t.f}, all); err != nil {
		t.unreadable(err)
		all = all[:n]
	}
	for at := 0; at < len(all); {
		size := blockAt(all[at:])
		if size == 0 {
			t.unreadable(fmt.Errorf("from byte %d on no block is found", at))
			return nil
		}
		pairs, err := d.decode(all[at:at+size], t.number)
		if err != nil {
			return nil // what follows the data: index, properties
		}
		if err := pairs(yield); err != nil {
			return err
		}
		at += size
	}
	return nil
}

// readerFrom reads a file from its beginning, past the checksums of its blocks, which are not known yet.
type readerFrom struct{ vfs.File }

func (r readerFrom) Read(p []byte) (int, error) { return r.File.(tableFile).File.Read(p) }

// blockAt returns the length of the block that begins with b, its trailer included: where the checksum of all before it
// stands; 0 where none does.
func blockAt(b []byte) int {
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := ^uint32(0)
	for i := 0; i+4 < len(b); i++ {
		crc = table[byte(crc)^b[i]] ^ crc>>8
		c := ^crc
		if binary.LittleEndian.Uint32(b[i+1:]) == (c>>15|c<<17)+0xa282ead8 {
			return i + BlockTrailer
		}
	}
	return 0
}

// blockDecoder decodes data blocks, one after the other.
type blockDecoder struct {
	iter   colblk.DataBlockIter
	schema *colblk.KeySchema
	plain  []byte
	file   uint64 // that the block is in
	own    func(key []byte) bool
}

// decode reads a block with its trailer, whose checksum has been looked at. What is no data block is an error: of bytes
// that say so themselves, a panic of Pebble's is one, too.
func (d *blockDecoder) decode(b []byte, file uint64) (pairs func(func(Pair) error) error, err error) {
	defer func() {
		if p := recover(); p != nil {
			pairs, err = nil, fmt.Errorf("%w: not a data block: %v", errDamaged, p)
		}
	}()
	if len(b) < BlockTrailer {
		return nil, fmt.Errorf("%w: a block of %d bytes", errDamaged, len(b))
	}
	if d.schema == nil {
		for _, schema := range KeySchemas() {
			d.schema = schema
		}
	}
	packed := b[:len(b)-BlockTrailer]
	compression := block.CompressionIndicator(b[len(packed)])
	size, err := block.DecompressedLen(compression, packed)
	if err != nil {
		return nil, err
	}
	d.plain = make([]byte, size)
	if err := block.DecompressInto(compression, packed, d.plain); err != nil {
		return nil, err
	}
	var decoder colblk.DataBlockDecoder
	decoder.Init(d.schema, d.plain)
	d.iter, d.file = colblk.DataBlockIter{}, file
	d.iter.InitOnce(d.schema, pebble.DefaultComparer, nil)
	if err := d.iter.Init(&decoder, block.NoTransforms); err != nil {
		return nil, err
	}
	// Once through before anything is believed: that this is a data block is told by its keys alone.
	if err := d.eachPair(func(p Pair) error {
		if !d.own(p.Key) {
			return fmt.Errorf("%w: not a data block", errDamaged)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return d.eachPair, nil
}

func (d *blockDecoder) eachPair(yield func(Pair) error) error {
	for kv := d.iter.First(); kv != nil; kv = d.iter.Next() {
		if err := yield(Pair{kv.K.UserKey, kv.V.InPlaceValue(), uint64(kv.SeqNum()), kv.Kind(), d.file}); err != nil {
			return err
		}
	}
	return d.iter.Error()
}
