package salvage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// UnreadableLogs returns what can be kept of the logs in dir that cannot be read to their end, by name: those that are
// damaged, and those whose end the power cut off.
func UnreadableLogs(dir string, fs vfs.FS, durable Durable) (map[string]Log, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	damaged := map[string]Log{}
	for _, name := range names {
		if !IsLog(name) {
			continue
		}
		log, err := ReadSectors(fs, fs.PathJoin(dir, name))
		if err != nil {
			return nil, err
		}
		if salvaged := ReadLog(log, LogNumber(name), durable); salvaged.Bad > 0 || salvaged.Torn {
			damaged[name] = salvaged
		}
	}
	return damaged, nil
}

// Encode returns a log of the records.
func (s *Log) Encode() []byte {
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for _, r := range s.Records {
		if _, err := w.WriteRecord(r); err != nil {
			panic(err) // a buffer takes everything
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Batch is what was committed at once.
type Batch struct {
	repr []byte
	Seq  uint64
	File uint64 // number of the log
}

// Each calls yield for each operation of the batch.
func (b Batch) Each(yield func(Pair) error) error {
	seq := b.Seq
	reader := batchrepr.Read(b.repr)
	for ; ; seq++ {
		kind, k, v, ok, err := reader.Next()
		if !ok || err != nil {
			return nil // its checksum was right
		}
		if err := yield(Pair{k, v, seq, kind, b.File}); err != nil {
			return err
		}
	}
}

// EachIn is [Batch.Each] for a record of a log; one that is no batch holds nothing.
func EachIn(record []byte, yield func(Pair) error) error {
	if _, ok := batchrepr.ReadHeader(record); !ok {
		return nil
	}
	return Batch{repr: record}.Each(yield)
}

// Spans returns the ranges that the batch deletes.
func (b Batch) Spans() (spans []Span) {
	_ = b.Each(func(p Pair) error {
		if p.Kind == pebble.InternalKeyKindRangeDelete {
			spans = append(spans, Span{Start: bytes.Clone(p.Key), End: bytes.Clone(p.Value), Seq: p.Seq, File: p.File})
		}
		return nil
	})
	return spans
}

// ReadBatches returns what can be read of the batches of the log at path. unreadable is told of what cannot.
func ReadBatches(fs vfs.FS, path string, durable Durable, unreadable func(error)) (batches []Batch, err error) {
	b, err := ReadSectors(fs, path)
	if err != nil {
		return nil, err
	}
	number := FileNumber(fs.PathBase(path))
	log := ReadLog(b, uint32(number), durable)
	if log.Bad > 0 {
		unreadable(fmt.Errorf("%d bytes", log.Bad))
	}
	for _, r := range log.Records {
		header, ok := batchrepr.ReadHeader(r)
		if !ok {
			unreadable(errors.New("a record that is no batch"))
			continue
		}
		batches = append(batches, Batch{r, uint64(header.SeqNum), number})
	}
	return batches, nil
}

// A log is a row of blocks of 32 KiB, each a row of chunks: CRC-32C (masked), length, kind, in two of the three forms
// a log number, in the newest how far the log had been synced, and a piece of a record. (Pebble's package record.)
const logBlock = 32 << 10

// Kinds come in three forms of four: a whole record, its first, a middle, its last piece.
const (
	chunkWhole = iota
	chunkFirst
	chunkMiddle
	chunkLast
)

// chunkHeads are the lengths of a chunk's head, by form.
var chunkHeads = [...]int{7, 11, 19}

// Log is what can be read of a log.
type Log struct {
	Records [][]byte
	Bad     int64 // bytes that are known to have been synced, and cannot be read
	Torn    bool  // behind the records are bytes that cannot be read, and were never promised to anybody
}

// Durable reports whether a record of a log is known to have been synced, by what stands beside the database. Nil says that
// of none.
type Durable func(record []byte) bool

// ReadLog returns the whole records of a log, in their order. Bytes that cannot be read are damage if a chunk behind
// them says that the log had been synced beyond them, or is itself known to have been synced; else they and all that
// follows were never promised to anybody.
func ReadLog(log []byte, number uint32, durable Durable) Log {
	s := logScan{number: number, durable: durable, from: -1}
	for at := 0; at < len(log) && !s.ended; at += logBlock {
		s.block(log[at:min(at+logBlock, len(log))], at)
	}
	s.sure.Torn = s.from >= 0
	return s.sure // the torn end and what stands behind it was never acknowledged
}

type logScan struct {
	number  uint32
	durable Durable
	ended   bool

	sure   Log // up to the first unreadable bytes of which it is not known whether they were synced
	unsure Log // behind them
	from   int // where those bytes begin; -1: there are none

	parts  []byte // of a record whose first pieces were read
	inside bool   // parts is the beginning of one

	empty      int // where zeros begin that fill a block to its end, and
	emptyBytes int // how many; 0: there are none
}

// lost notes n unreadable bytes at an offset.
func (s *logScan) lost(at, n int) {
	if s.from < 0 {
		s.from = at
	}
	s.unsure.Bad += int64(n)
	s.inside = false
}

// keep takes a whole record, which ends at an offset.
func (s *logScan) keep(record []byte, end int) {
	s.inside = false
	if s.from < 0 {
		s.sure.Records = append(s.sure.Records, record)
		return
	}
	s.unsure.Records = append(s.unsure.Records, record)
	if s.durable != nil && s.durable(record) {
		s.synced(uint64(end))
	}
}

// synced says that the log had been synced up to an offset.
func (s *logScan) synced(upTo uint64) {
	if s.from < 0 || upTo <= uint64(s.from) {
		return
	}
	s.sure.Records = append(s.sure.Records, s.unsure.Records...)
	s.sure.Bad += s.unsure.Bad
	s.unsure, s.from = Log{}, -1
}

// block reads the chunks of one block, which begins at an offset of the log.
func (s *logScan) block(b []byte, at int) {
	for len(b) >= chunkHeads[0] {
		if b[6] == 0 && len(bytes.Trim(b, "\x00")) == 0 {
			// The block's rest is empty. At a log's end it is so as a rule, and before a chunk that does not fit; behind it
			// a chunk can still show that these bytes were lost.
			if s.emptyBytes == 0 {
				s.empty = at
			}
			if s.emptyBytes > 0 || len(b) >= chunkHeads[2] {
				s.emptyBytes += len(b)
			}
			return
		}
		c, ok := chunkAt(b)
		if !ok && s.isEnd(b) {
			s.ended = true
			return
		}
		if ok && c.form > 0 && c.number != s.number {
			s.ended = true // or bytes of an older log behind the end
			return
		}
		if !ok {
			// Whatever length these bytes claim may be wrong, too: the next chunk is the next bytes that are one.
			skip := 1
			for skip < len(b) && !s.isNext(b[skip:]) {
				skip++
			}
			s.lost(at, skip)
			b, at = b[skip:], at+skip
			continue
		}
		if s.emptyBytes > 0 {
			s.lost(s.empty, s.emptyBytes)
			s.emptyBytes = 0
		}
		if c.form == 2 {
			s.synced(c.synced)
		}
		s.chunk(c.piece, b[chunkHeads[c.form]:c.end], at, at+c.end)
		b, at = b[c.end:], at+c.end
	}
}

// logChunk is the head of a chunk.
type logChunk struct {
	form, piece int
	end         int    // of the chunk, from its beginning
	number      uint32 // of the log, from form 1 on
	synced      uint64 // up to which offset the log had been synced, in form 2
}

// chunkAt reads the chunk that begins with b, if one does whose checksum is right.
func chunkAt(b []byte) (c logChunk, ok bool) {
	if len(b) < chunkHeads[0] {
		return c, false
	}
	kind := int(b[6])
	c.form, c.piece = (kind-1)/4, (kind-1)%4
	if kind == 0 || c.form >= len(chunkHeads) || chunkHeads[c.form] > len(b) {
		return c, false
	}
	c.end = chunkHeads[c.form] + int(binary.LittleEndian.Uint16(b[4:]))
	if c.end > len(b) || binary.LittleEndian.Uint32(b) != logChecksum(b[6:c.end]) {
		return c, false
	}
	if c.form > 0 {
		c.number = binary.LittleEndian.Uint32(b[7:])
	}
	if c.form == 2 {
		c.synced = binary.LittleEndian.Uint64(b[11:])
	}
	return c, true
}

// isEnd reports whether b begins with what Pebble writes behind the last chunk when it closes a log: the head of a chunk of
// the next one, with neither content nor checksum.
func (s *logScan) isEnd(b []byte) bool {
	return len(b) >= chunkHeads[1] && binary.LittleEndian.Uint32(b) == 0 && binary.LittleEndian.Uint16(b[4:]) == 0 && b[6] > 4 && binary.LittleEndian.Uint32(b[7:]) == s.number+1
}

// isNext reports whether a chunk of this log begins with b. Without a number in it, four bytes alone would have to tell that
// from chance.
func (s *logScan) isNext(b []byte) bool {
	if len(b) < chunkHeads[1] || b[6] <= 4 || binary.LittleEndian.Uint32(b[7:]) != s.number {
		return false
	}
	_, ok := chunkAt(b)
	return ok
}

// NumberIn returns the number of the log that begins with b, as its first chunk says it; false if none does.
func NumberIn(b []byte) (number uint32, ok bool) {
	c, ok := chunkAt(b[:min(len(b), logBlock)])
	return c.number, ok && c.form > 0
}

// LogName is the name that Pebble gives a log.
func LogName(number uint32) string { return fmt.Sprintf("%06d.log", number) }

// chunk takes one piece of a record, whose chunk stands between two offsets.
func (s *logScan) chunk(piece int, data []byte, at, end int) {
	switch {
	case piece == chunkWhole:
		s.keep(data, end)
	case piece == chunkFirst:
		s.parts, s.inside = bytes.Clone(data), true
	case !s.inside:
		s.lost(at, len(data)) // its beginning is gone
	default:
		if s.parts = append(s.parts, data...); piece == chunkLast {
			s.keep(s.parts, end)
			s.parts = nil
		}
	}
}

// logChecksum is the CRC-32C of what a chunk of a log holds from its kind on, or a block of a table up to its kind,
// rotated and offset as LevelDB does.
func logChecksum(b []byte) uint32 {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (c>>15 | c<<17) + 0xa282ead8
}
