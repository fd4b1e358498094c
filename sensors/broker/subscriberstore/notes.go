package subscriberstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// notes is a small file beside the database of what must outlive the program and can be had from nowhere else until it is
// in the database. It is written at once and never synced: a program that is killed loses nothing of it, a power cut what the
// machine had not written yet. A note that has lost its meaning stays in the file until that is written anew, so whoever
// makes notes must be able to tell.
//
// A record is its length, the CRC-32C of what follows, and that. The first that is not whole is the end.
type notes struct {
	// Guarded by Store.mu.
	last    uint64            // id of the newest
	live    map[uint64][]byte // by id: not dropped
	bytes   int               // of live
	dropped []uint64          // of live, that go with the next write
	idle    int               // bytes of dropped
	fresh   []uint64          // of live, those not in the file, in the order of their ids
	then    map[uint64]func() // what is done once one of fresh is in the file
	over    bool              // none is written any more

	// Owned by the goroutine that writes them.
	file vfs.File
	size int
}

const (
	noteHead = 8
	// notesLargest is how large the file becomes before it is written anew with what counts of it, if that is less than half.
	notesLargest = 256 << 10
	maxNote      = 32 << 20 // beyond it a length was never one
	// mostIdle is how much notes may take that only wait for the next write: beyond it that does not wait for its time.
	mostIdle = 4 << 20
	// mostAwaited is how much notes may take that somebody waits for: beyond it nobody waits, and none is made.
	mostAwaited = 8 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s *Store) notesPath() string { return s.o.FS.PathJoin(s.o.Dir, "notes") }

// readNotes hands over the notes of former runs, one after the other: whatever the file's size, no more of it is in memory than
// one. They stay in the file until it is written anew.
func (s *Store) readNotes(content Content) error {
	info, err := s.o.FS.Stat(s.notesPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() { // opening a FIFO would wait
		err = fmt.Errorf("%s is no file", s.notesPath())
	}
	if err != nil {
		return err
	}
	f, err := s.o.FS.Open(s.notesPath())
	if err != nil {
		return err
	}
	return errors.Join(eachNote(f, info.Size(), content.Note), f.Close())
}

// eachNote calls yield with each note of a file of that size, up to the first that is not whole: the power failed there, or what
// was there before shows through.
func eachNote(f io.Reader, left int64, yield func([]byte)) error {
	r := bufio.NewReader(f)
	var head [noteHead]byte
	for left >= noteHead {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return unlessShort(err)
		}
		left -= noteHead
		n, sum := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
		if n == 0 || n > maxNote || int64(n) > left { // zeros, of which file systems make the end of a file, are no notes
			return nil
		}
		note := make([]byte, n)
		if _, err := io.ReadFull(r, note); err != nil {
			return unlessShort(err)
		}
		if crc32.Checksum(note, castagnoli) != sum {
			return nil
		}
		left -= int64(n)
		yield(note)
	}
	return nil
}

func unlessShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// Note makes a note, and returns what to drop it by. It must not change.
func (s *Store) Note(value []byte) (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.note(value)
}

// NoteThen is Note, and has then called once the note is in the file, on a goroutine of the store's, in the order of the notes. It
// makes none, and returns 0, where nothing is written or too much waits for that: then is for the caller to call.
func (s *Store) NoteThen(value []byte, then func(id uint64)) (id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notes.bytes+len(value) > mostAwaited {
		return 0
	}
	if id = s.note(value); id > 0 {
		if s.notes.then == nil {
			s.notes.then = make(map[uint64]func())
		}
		s.notes.then[id] = func() { then(id) }
	}
	return id
}

// note makes a note. The caller holds mu.
func (s *Store) note(value []byte) (id uint64) {
	if s.why != nil || s.notes.over || len(value) == 0 || len(value) > maxNote {
		return 0
	}
	if s.notes.live == nil {
		s.notes.live = make(map[uint64][]byte)
	}
	s.notes.last++
	id = s.notes.last
	s.notes.live[id] = value
	s.notes.bytes += len(value)
	s.notes.fresh = append(s.notes.fresh, id)
	s.tell()
	select {
	case s.noteWake <- struct{}{}:
	default:
	}
	return id
}

// Notes returns how many notes were made.
func (s *Store) Notes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.notes.last)
}

// DropNote says that a note has lost its meaning once what is set by now is on disk.
func (s *Store) DropNote(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.notes.dropped = append(s.notes.dropped, id)
		s.notes.idle += len(s.notes.live[id])
		s.tell()
	}
}

// forget forgets notes whose messages are on disk.
func (n *notes) forget(ids []uint64) {
	for _, id := range ids {
		n.bytes -= len(n.live[id])
		delete(n.live, id)
	}
}

// awaited takes what is to be done after notes, in their order. The caller holds the store's mu.
func (n *notes) awaited(ids []uint64) (then []func()) {
	for _, id := range ids {
		if f := n.then[id]; f != nil {
			delete(n.then, id)
			then = append(then, f)
		}
	}
	return then
}

// noteAll is the goroutine that writes notes: one of its own, since the other waits for the disk, and for room there.
func (s *Store) noteAll() {
	defer close(s.noted)
	for {
		select {
		case <-s.noteWake:
			s.writeNotes()
		case <-s.closing:
			s.mu.Lock()
			s.notes.over = true
			s.mu.Unlock()
			s.writeNotes()
			return
		case <-s.failed:
			return
		}
	}
}

// writeNotes writes those that were made, or the file anew. That it cannot is no failure of the database.
func (s *Store) writeNotes() {
	s.mu.Lock()
	n := &s.notes
	var add, all []byte
	for _, id := range n.fresh {
		if value, ok := n.live[id]; ok {
			add = appendNote(add, value)
		}
	}
	taken := len(n.fresh)
	anew := n.file == nil || n.size+len(add) > notesLargest && n.size > 2*n.bytes
	if anew && len(add) > 0 {
		for _, id := range slices.Sorted(maps.Keys(n.live)) {
			all = appendNote(all, n.live[id])
		}
	}
	s.mu.Unlock()
	var err error
	if anew && len(add) > 0 {
		err = s.newNotes(all)
	} else if len(add) > 0 {
		_, err = n.file.Write(add)
		n.size += len(add)
	}
	if err != nil {
		s.o.Log.Warn("failed to note what was retained: killed now, the broker would forget it", "err", err)
		s.closeNotes()
	}
	s.mu.Lock()
	taken = min(taken, len(n.fresh))
	then := n.awaited(n.fresh[:taken])
	n.fresh = slices.Delete(n.fresh, 0, taken)
	s.mu.Unlock()
	for _, f := range then {
		f()
	}
}

func appendNote(b, value []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(value, castagnoli))
	return append(b, value...)
}

// newNotes writes the file anew.
func (s *Store) newNotes(all []byte) error {
	s.closeNotes()
	path := s.notesPath()
	f, err := createNew(s.o.FS, path+".new")
	if err != nil {
		return err
	}
	if _, err = f.Write(all); err == nil {
		// Killed before the rename, the old file has all but the newest, which no PUBACK was waited for.
		err = s.o.FS.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), f.Close())
	}
	s.notes.file, s.notes.size = f, len(all)
	return nil
}

// createNew makes a file, whatever stands there by its name: a FIFO would have the writer wait once it is full.
func createNew(files vfs.FS, path string) (vfs.File, error) {
	if err := files.RemoveAll(path); err != nil {
		return nil, err
	}
	return files.Create(path, vfs.WriteCategoryUnspecified)
}

func (s *Store) closeNotes() {
	if s.notes.file != nil {
		_ = s.notes.file.Close() // nothing of it counts that was not written
		s.notes.file = nil
	}
}

// Unwritten returns the notes that are not in the file yet.
func (s *Store) Unwritten() (ids []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notes.fresh)
}
