package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/sync/collector"
)

// The journal is a file beside the database that says what the aggregator has promised: of each chain the record and the state
// as they stood with its newest receipt, its newest decision or the evidence against it. The database takes the first place
// of its log, or of its record of files, that it cannot read for the end, and then knows less than was countersigned, and
// does not know it. From the journal it gets that back.
//
// An entry is made when the update is durable in the database, and is durable before [Store.Update] returns: if the power
// fails between the two, the database is ahead, and nothing has left. Entries are appended; a newer one of a chain makes
// its older ones superfluous. When these are most of the file, it is written anew without them.
//
//	marker (3 bytes), version (1), length of the content (4), CRC-32C of length, unsynced and content (4), unsynced (4), content:
//	chain (32), length of the record (4), record, state (or nothing)
//
// Numbers are big-endian. Bytes that are no entry are passed over. Unsynced is how many bytes before the entry were not known to
// be durable when it was written: unreadable bytes among these, or at the end, were never promised to anybody, and a power cut
// leaves such; other ones before an entry are damage. An entry of the first version has no such number, which is 0 then.
//
// The file ends in zeros, which are written in steps: so most entries change no length of it, which the file system would have
// to write to its own journal at each sync.
const (
	journalSuffix = ".countersigned"
	newSuffix     = ".new"
	entryHead     = 16
	entryMost     = 64 << 20 // bytes of content: more is damage

	// rewriteAbove is how many bytes of superfluous entries a journal may hold however few the others are.
	rewriteAbove = 4 << 20

	// zerosAhead is how many bytes of zeros follow the newest entry at most.
	zerosAhead = 256 << 10

	entryVersion  = 2
	versionBefore = 1 // whose head ends before unsynced
	headBefore    = 12
)

// entryMarker is followed by the version.
var entryMarker = []byte{0xED, 'C', 'J'}

// entry is one that was read.
type entry struct {
	chain  lightchain.ChainID
	record *registry.Record // with its state
}

// span is where an entry stands.
type span struct {
	at   int64
	size int64
}

// journal is an open journal. Its methods may be called by many goroutines at once.
type journal struct {
	fs     vfs.FS
	path   string
	wasted int64 // rewriteAbove; less in tests
	ahead  int64 // zerosAhead; none in a benchmark

	// syncing is held by whoever makes durable what was written so far, its own entry and all those before it: so many
	// updates share one sync. Whoever holds both takes this one first.
	syncing sync.Mutex

	mu      sync.Mutex
	file    vfs.File                    // guarded by mu
	end     int64                       // guarded by mu: where the next entry goes
	newest  map[lightchain.ChainID]span // guarded by mu: of each chain
	needed  int64                       // guarded by mu: bytes of these
	zeros   int64                       // guarded by mu: where those behind the end end, which is the file's end
	synced  int64                       // guarded by mu: bytes of the file that are known to be durable
	written uint64                      // guarded by mu: entries since the file was opened
	durable uint64                      // guarded by mu: of these
}

// journalRead is what was found in a journal.
type journalRead struct {
	there bool
	bad   int64 // bytes that were durable once, and are no entry
	torn  int64 // that were not, or at the end
}

// damaged reports whether there are more such bytes than a power cut leaves: those of the entries that were being written.
func (r *journalRead) damaged() bool {
	const written = 256 << 10
	return r.bad > 0 || r.torn > written
}

// openJournal opens the journal at path, or makes an empty one.
func openJournal(fs vfs.FS, path string) (j *journal, found journalRead, err error) {
	j = &journal{fs: fs, path: path, wasted: rewriteAbove, ahead: zerosAhead, newest: map[lightchain.ChainID]span{}}
	info, err := fs.Stat(path)
	if err == nil && info.IsDir() { // whatever it is, no journal is left in it
		err = fs.Rename(path, freeName(fs, path+damagedSuffix))
	} else {
		found.there = err == nil
	}
	if err == nil || errors.Is(err, os.ErrNotExist) {
		j.file, err = fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified) // which makes it where it is not
	}
	if err == nil && !found.there {
		err = errors.Join(j.file.Sync(), syncFolder(fs, fs.PathDir(path)))
	}
	if err != nil {
		return nil, found, &sound{fmt.Errorf("the journal of what is countersigned: %w", err)}
	}
	if err := j.read(&found); err != nil {
		return nil, found, errors.Join(fmt.Errorf("the journal of what is countersigned: %w", err), j.file.Close())
	}
	return j, found, nil
}

// read goes through the file.
func (j *journal) read(found *journalRead) error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	j.zeros = size
	var unreadable []span
	sure := int64(0) // what was durable when a later entry was written
	for at := int64(0); at < size; {
		content, unsynced, whole, err := readEntry(j.file, at, size)
		if err != nil {
			return err
		}
		if content == nil {
			next, err := nextEntry(j.file, at+1, size)
			if err != nil {
				return err
			}
			if next < 0 {
				found.torn, err = j.tornFrom(at, size)
				if err != nil {
					return err
				}
				break
			}
			unreadable = append(unreadable, span{at, next - at})
			at = next
			continue
		}
		sure = max(sure, at-unsynced)
		j.note(lightchain.ChainID(content), span{at, whole})
		at += whole
		j.end = at
	}
	for _, s := range unreadable {
		if s.at < sure {
			found.bad += s.size
		} else {
			found.torn += s.size
		}
	}
	return nil
}

// tornFrom returns how many bytes from an offset to the end are not the zeros that stand there from the beginning.
func (j *journal) tornFrom(at, size int64) (torn int64, err error) {
	const window = 64 << 10
	for from := at; from < size; from += window {
		b := make([]byte, min(window, size-from))
		if _, err := readAt(j.file, b, from); err != nil {
			return 0, err
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			torn = from - at + int64(n)
		}
	}
	return max(torn, size-at-zerosAhead), nil
}

// each calls visit for each entry in the order in which they were written.
func (j *journal) each(visit func(*entry) error) error {
	for at := int64(0); at < j.end; {
		content, _, whole, err := readEntry(j.file, at, j.end)
		if err != nil {
			return err
		}
		if content == nil {
			if at, err = nextEntry(j.file, at+1, j.end); err != nil || at < 0 {
				return err
			}
			continue
		}
		e, err := decodeEntry(content)
		if err == nil {
			err = visit(e)
		}
		if err != nil {
			return err
		}
		at += whole
	}
	return nil
}

// of returns the newest entry of a chain.
func (j *journal) of(chain lightchain.ChainID) (*entry, error) {
	content, _, _, err := readEntry(j.file, j.newest[chain].at, j.end)
	if err != nil {
		return nil, err
	}
	return decodeEntry(content) // of nothing: an error
}

// note notes where the newest entry of a chain stands. The caller holds the mutex, or is alone.
func (j *journal) note(chain lightchain.ChainID, s span) {
	j.needed += s.size - j.newest[chain].size
	j.newest[chain] = s
}

// readEntry returns the content of the entry at an offset, nil if none stands there, how many bytes before it were unsynced, and
// its size as a whole.
func readEntry(f io.ReaderAt, at, size int64) (content []byte, unsynced, whole int64, err error) {
	head := make([]byte, entryHead)
	if at+headBefore > size {
		return nil, 0, 0, nil
	}
	if _, err := readAt(f, head[:min(entryHead, size-at)], at); err != nil {
		return nil, 0, 0, err
	}
	switch {
	case !bytes.Equal(head[:len(entryMarker)], entryMarker):
		return nil, 0, 0, nil
	case head[3] == versionBefore:
		head = head[:headBefore]
	case head[3] != entryVersion:
		return nil, 0, 0, nil
	default:
		unsynced = int64(binary.BigEndian.Uint32(head[12:]))
	}
	length := int64(binary.BigEndian.Uint32(head[4:]))
	whole = int64(len(head)) + length
	if length < int64(len(lightchain.ChainID{})) || length > entryMost || at+whole > size {
		return nil, 0, 0, nil
	}
	content = make([]byte, length)
	if _, err := readAt(f, content, at+int64(len(head))); err != nil {
		return nil, 0, 0, err
	}
	if binary.BigEndian.Uint32(head[8:]) != entryChecksum(head, content) {
		return nil, 0, 0, nil
	}
	return content, unsynced, whole, nil
}

// nextEntry returns where the next entry from an offset on begins, -1 if there is none.
func nextEntry(f io.ReaderAt, from, size int64) (int64, error) {
	const window = 256 << 10
	b := make([]byte, window)
	for from < size {
		n, err := readAt(f, b[:min(window, size-from)], from)
		if err != nil {
			return 0, err
		}
		i := bytes.Index(b[:n], entryMarker)
		if i < 0 {
			if from+int64(n) >= size {
				return -1, nil
			}
			from += int64(n - len(entryMarker) + 1) // a marker may lie across the border
			continue
		}
		from += int64(i)
		content, _, _, err := readEntry(f, from, size)
		if err != nil || content != nil {
			return from, err
		}
		from++
	}
	return -1, nil
}

// readAt reads all of b. Sectors that the disk does not give any more are zeros.
func readAt(f io.ReaderAt, b []byte, at int64) (int, error) {
	n, err := f.ReadAt(b, at)
	switch {
	case n == len(b):
		return n, nil
	case errors.Is(err, syscall.EIO):
		clear(b)
		return len(b), nil
	}
	return n, errors.Join(err, io.ErrUnexpectedEOF)
}

// entryChecksum is of an entry's length, of what its head holds behind the checksum, and of its content.
func entryChecksum(head, content []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Checksum(head[4:8], table)
	sum = crc32.Update(sum, table, head[headBefore:])
	return crc32.Update(sum, table, content)
}

func decodeEntry(b []byte) (*entry, error) {
	e := new(entry)
	if len(b) < len(e.chain)+4 {
		return nil, errDamaged
	}
	b = b[copy(e.chain[:], b):]
	length := binary.BigEndian.Uint32(b)
	if b = b[4:]; uint64(length) > uint64(len(b)) {
		return nil, errDamaged
	}
	var err error
	if e.record, err = registry.DecodeRecord(b[:length]); err != nil {
		return nil, err
	}
	if state := b[length:]; len(state) > 0 {
		e.record.State, err = collector.DecodeState(state)
	}
	return e, err
}

// encodeEntry returns an entry as it stands in the file; so many bytes before it are not known to be durable.
func encodeEntry(r *registry.Record, unsynced int64) ([]byte, error) {
	record, err := r.Encode()
	if err != nil {
		return nil, err
	}
	var state []byte
	if r.State != nil {
		if state, err = r.State.Encode(); err != nil {
			return nil, err
		}
	}
	b := make([]byte, entryHead, entryHead+len(r.Chain)+4+len(record)+len(state))
	b = append(b, r.Chain[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(record)))
	b = append(append(b, record...), state...)
	copy(b, append(bytes.Clone(entryMarker), entryVersion))
	binary.BigEndian.PutUint32(b[4:], uint32(len(b)-entryHead))
	binary.BigEndian.PutUint32(b[12:], uint32(min(unsynced, math.MaxUint32)))
	binary.BigEndian.PutUint32(b[8:], entryChecksum(b[:entryHead], b[entryHead:]))
	return b, nil
}

// add appends a record with its state, and returns when it is durable.
func (j *journal) add(r *registry.Record) error {
	n, err := j.write(r)
	if err != nil {
		return err
	}
	return j.sync(n)
}

// write appends without a sync, and returns the entry's number.
func (j *journal) write(r *registry.Record) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b, err := encodeEntry(r, j.end-j.synced)
	if err != nil {
		return 0, err
	}
	size := int64(len(b))
	if j.end+size > j.zeros {
		j.zeros = max(j.zeros, writeZeros(j.file, j.zeros, j.end+size+j.ahead))
	}
	if _, err := j.file.WriteAt(b, j.end); err != nil {
		return 0, err
	}
	j.note(r.Chain, span{j.end, size})
	j.end += size
	j.written++
	return j.written, nil
}

// writeZeros makes a file longer, and returns where its zeros end now. Where there is no room for them, the file grows with its
// entries: one that does not fit then says so.
func writeZeros(file vfs.File, from, to int64) int64 {
	if to <= from {
		return from
	}
	if _, err := file.WriteAt(make([]byte, to-from), from); err != nil {
		return from
	}
	return to
}

// sync returns when the entry of a number, and so all before it, is durable.
func (j *journal) sync(n uint64) error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	file, end, upTo, done := j.file, j.end, j.written, j.durable >= n
	superfluous := j.end - j.needed
	full := superfluous > j.wasted && superfluous > j.needed
	j.mu.Unlock()
	if done {
		return nil
	}
	if full {
		return j.rewrite()
	}
	if err := file.SyncData(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.durable, j.synced = max(j.durable, upTo), max(j.synced, end)
	return nil
}

// rewrite puts a journal without superfluous entries in the place of this one. Until its name is durable there is the old
// one, which holds all that was promised; after it, the new one. The caller holds syncing.
func (j *journal) rewrite() (err error) {
	fresh := j.path + newSuffix
	file, err := j.fs.Create(fresh, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	moved, end := make(map[lightchain.ChainID]span, len(j.newest)), int64(0)
	for chain, s := range j.newest {
		b := make([]byte, s.size)
		if _, err = j.file.ReadAt(b, s.at); err != nil {
			return errors.Join(err, file.Close())
		}
		if _, err = file.Write(b); err != nil {
			return errors.Join(err, file.Close())
		}
		moved[chain] = span{end, s.size}
		end += s.size
	}
	zeros := writeZeros(file, end, end+j.ahead)
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := errors.Join(j.fs.Rename(fresh, j.path), syncFolder(j.fs, j.fs.PathDir(j.path))); err != nil {
		return err
	}
	if file, err = j.fs.OpenReadWrite(j.path, vfs.WriteCategoryUnspecified); err != nil {
		return err
	}
	err = j.file.Close()
	j.file, j.newest, j.needed, j.durable = file, moved, end, j.written
	j.end, j.zeros, j.synced = end, zeros, end
	return err
}

func (j *journal) close() error { return j.file.Close() }

func syncFolder(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
