package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble refuses to open when its write-ahead log is damaged before its last 32 KiB, and takes damage behind that for
// the end, whatever follows. Both lose groups that were acknowledged and can be read. Here every whole record is kept:
// the log is written anew without the others before Pebble sees it, and the damaged one put aside. Which entries are
// missing then shows by their numbers.

// unreadableLogs returns what can be kept of the logs in dir that cannot be read to their end, by name: those that are
// damaged, and those whose end the power cut off.
func unreadableLogs(dir string, fs vfs.FS) (map[string]salvagedLog, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	damaged := map[string]salvagedLog{}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		log, err := readSectors(fs, fs.PathJoin(dir, name))
		if err != nil {
			return nil, err
		}
		if salvaged := salvageLog(log, logNumber(name)); salvaged.bad > 0 || salvaged.torn {
			damaged[name] = salvaged
		}
	}
	return damaged, nil
}

// repairLogs rewrites the logs of the database in path that are damaged.
func repairLogs(dir, path string, o Options) (recovered Recovered, err error) {
	unreadable, err := unreadableLogs(path, o.FS)
	if err != nil {
		return recovered, fmt.Errorf("reading the log: %w", err)
	}
	for name, salvaged := range unreadable {
		if salvaged.bad == 0 {
			continue
		}
		if recovered.LogFile, err = replaceLog(dir, path, o, name, salvaged.encode()); err != nil {
			return recovered, fmt.Errorf("repairing %s: %w", name, err)
		}
		recovered.LogBytes += salvaged.bad
		o.Logger.Error("the write-ahead log was damaged", "file", name, "records_kept", len(salvaged.records), "bytes_lost", salvaged.bad, "put_aside", recovered.LogFile)
	}
	return recovered, nil
}

// encode returns a log of the records.
func (s *salvagedLog) encode() []byte {
	var b bytes.Buffer
	w := record.NewWriter(&b)
	for _, r := range s.records {
		if _, err := w.WriteRecord(r); err != nil {
			panic(err) // a buffer takes everything
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// logNumber returns the number in a log's name, which stands in its chunks too.
func logNumber(name string) uint32 { return uint32(fileNumber(name)) }

// fileNumber returns the number in the name of a log or a table; 0 where there is none.
func fileNumber(name string) uint64 {
	digits, _, _ := strings.Cut(name, ".")
	n, _ := strconv.ParseUint(digits, 10, 64)
	return n
}

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(f)
	return b.Bytes(), err
}

// readSectors reads a file past sectors that the disk does not give any more, which are zeros then.
func readSectors(fs vfs.FS, name string) ([]byte, error) {
	b, err := readFile(fs, name)
	if !errors.Is(err, syscall.EIO) {
		return b, err
	}
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b = make([]byte, info.Size())
	for at := 0; at < len(b); at += sector {
		piece := b[at:min(len(b), at+sector)]
		switch _, err := f.ReadAt(piece, int64(at)); {
		case errors.Is(err, syscall.EIO):
			clear(piece)
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
	}
	return b, nil
}

// sector is how much is lost where a disk cannot read: what it holds at once is no more, mostly.
const sector = 4096

// replaceLog puts a repaired log in the place of a damaged one, which stays in the folder aside.
func replaceLog(dir, data string, o Options, name string, repaired []byte) (aside string, err error) {
	to, err := asideFolder(dir, o)
	if err != nil {
		return "", err
	}
	path, fresh := o.FS.PathJoin(data, name), o.FS.PathJoin(data, name+".repaired")
	aside = o.FS.PathJoin(to, name)
	if err := vfs.LinkOrCopy(o.FS, path, aside); err != nil {
		return "", err
	}
	f, err := o.FS.Create(fresh, vfs.WriteCategoryUnspecified)
	if err != nil {
		return "", err
	}
	_, err = f.Write(repaired)
	if err := errors.Join(err, f.Sync(), f.Close(), syncFolder(to, o), syncFolder(dir, o), syncFolder(data, o)); err != nil {
		return "", err
	}
	// Until the rename is durable the next start finds the damaged log, and repairs it again.
	return aside, errors.Join(o.FS.Rename(fresh, path), syncFolder(data, o))
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

type salvagedLog struct {
	records [][]byte
	bad     int64 // bytes that are known to have been synced, and cannot be read
	torn    bool  // behind the records are bytes that cannot be read, and were never promised to anybody
}

// salvageLog returns the whole records of a log, in their order. Bytes that cannot be read are damage if a chunk behind
// them says that the log had been synced beyond them; else they and all that follows were never promised to anybody.
func salvageLog(log []byte, number uint32) salvagedLog {
	s := logScan{number: number, from: -1}
	for at := 0; at < len(log) && !s.ended; at += logBlock {
		s.block(log[at:min(at+logBlock, len(log))], at)
	}
	s.sure.torn = s.from >= 0
	return s.sure // the torn end and what stands behind it was never acknowledged
}

type logScan struct {
	number uint32
	ended  bool

	sure   salvagedLog // up to the first unreadable bytes of which it is not known whether they were synced
	unsure salvagedLog // behind them
	from   int         // where those bytes begin; -1: there are none

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
	s.unsure.bad += int64(n)
	s.inside = false
}

func (s *logScan) keep(record []byte) {
	if s.from < 0 {
		s.sure.records = append(s.sure.records, record)
	} else {
		s.unsure.records = append(s.unsure.records, record)
	}
	s.inside = false
}

// synced says that the log had been synced up to an offset.
func (s *logScan) synced(upTo uint64) {
	if s.from < 0 || upTo <= uint64(s.from) {
		return
	}
	s.sure.records = append(s.sure.records, s.unsure.records...)
	s.sure.bad += s.unsure.bad
	s.unsure, s.from = salvagedLog{}, -1
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
		s.chunk(c.piece, b[chunkHeads[c.form]:c.end], at)
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

// chunk takes one piece of a record.
func (s *logScan) chunk(piece int, data []byte, at int) {
	switch {
	case piece == chunkWhole:
		s.keep(data)
	case piece == chunkFirst:
		s.parts, s.inside = bytes.Clone(data), true
	case !s.inside:
		s.lost(at, len(data)) // its beginning is gone
	default:
		if s.parts = append(s.parts, data...); piece == chunkLast {
			s.keep(s.parts)
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
