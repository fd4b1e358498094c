package subscriberstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Journal is a small file beside the database of what a program that was killed must find exactly as it was, or not at all:
// what it does not tell, nobody concludes from. Each change is written before anything follows from it, and never synced. So
// the file counts within one boot of the machine, which the caller names, and not after a power cut.
//
// A file that cannot be written any more would tell what is not so, and is removed. While it can be neither, no change counts
// as made.
//
// The file begins with a record of the boot; each other record sets a key or deletes one. A record is framed as a note is. The
// last may be cut off: nothing followed from it. Any other that is not whole makes the file none.
type Journal struct {
	s    *Store
	path string

	wake    chan struct{} // has room for one
	closing chan struct{}
	written chan struct{} // closed when the writer has ended

	mu    sync.Mutex
	queue []step
	idle  bool // the queue is empty, and so are the writer's hands

	// Owned by the writer.
	live  map[string][]byte
	bytes int // of live
	file  vfs.File
	size  int
	off   bool // there is no file, and nothing is written
}

// step is a change, and what is done after it; a change of no key is none.
type step struct {
	key   string
	value []byte // nil: the key is deleted
	done  func()
}

const (
	journalName    = "journal"
	maxRecord      = 1 << 10   // bytes
	journalLargest = 256 << 10 // bytes beyond which it is written anew, if that is less than half
)

// Begin a record by what it is.
const (
	recordBoot = iota
	recordSet
	recordDelete
)

// OpenJournal hands over what the journal holds of this boot, in the order of the keys, and goes on with what keep wants to keep. lost says that there was
// a journal that does not count, and holds something. boot "" is not known: then there is no journal. It is called once.
func (s *Store) OpenJournal(boot string, keep func(key, value []byte) bool) (j *Journal, lost bool) {
	j = &Journal{
		s: s, path: s.o.FS.PathJoin(s.o.Dir, journalName), live: make(map[string][]byte), idle: true,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), written: make(chan struct{}),
	}
	there, counts := j.read(boot)
	lost = there && !counts
	if counts {
		for _, key := range slices.Sorted(maps.Keys(j.live)) {
			if !keep([]byte(key), j.live[key]) {
				delete(j.live, key)
			}
		}
	}
	for key, value := range j.live {
		j.bytes += len(key) + len(value)
	}
	var err error
	if boot == "" {
		err = errors.New("it is not known which boot this is")
	} else {
		err = j.anew(boot)
	}
	if err != nil {
		j.end(err)
	}
	go j.write(boot)
	return j, lost
}

// read fills live. there says that the file holds something, counts that it is of this boot and whole.
func (j *Journal) read(boot string) (there, counts bool) {
	info, err := j.s.o.FS.Stat(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false
	}
	if err != nil || !info.Mode().IsRegular() { // opening a FIFO would wait
		return true, false
	}
	f, err := j.s.o.FS.Open(j.path)
	if err != nil {
		return true, false
	}
	defer f.Close()
	left, first, head := info.Size(), true, [noteHead]byte{}
	for ; left >= noteHead; first = false {
		if _, err := io.ReadFull(f, head[:]); err != nil {
			break
		}
		left -= noteHead
		n, sum := int64(binary.LittleEndian.Uint32(head[:])), binary.LittleEndian.Uint32(head[4:])
		if n > left && n <= maxRecord { // cut off
			left = 0
			break
		}
		if n == 0 || n > min(left, maxRecord) {
			break
		}
		record := make([]byte, n)
		if _, err := io.ReadFull(f, record); err != nil || crc32.Checksum(record, castagnoli) != sum {
			break
		}
		left -= n
		if !j.take(record, boot, first) {
			clear(j.live)
			return true, false
		}
	}
	if left >= noteHead || first { // it broke off, though there is more; or nothing says of which boot it is
		there = len(j.live) > 0 || info.Size() > 0
		clear(j.live)
		return there, false
	}
	return true, true
}

// take applies a record, and reports whether it can be one of this boot's.
func (j *Journal) take(record []byte, boot string, first bool) bool {
	kind, rest := record[0], record[1:]
	if first || kind == recordBoot {
		return first && kind == recordBoot && string(rest) == boot && boot != ""
	}
	n, size := binary.Uvarint(rest)
	if size <= 0 || n > uint64(len(rest)-size) {
		return false
	}
	key, value := string(rest[size:size+int(n)]), rest[size+int(n):]
	if kind == recordDelete {
		delete(j.live, key)
		return true
	}
	j.live[key] = value
	return kind == recordSet
}

func appendRecord(b []byte, kind byte, key string, value []byte) []byte {
	record := []byte{kind}
	if kind != recordBoot {
		record = binary.AppendUvarint(record, uint64(len(key)))
	}
	return appendNote(b, append(append(record, key...), value...))
}

// Set sets a key, and calls done on a goroutine of the journal's when that is written. It does not wait.
func (j *Journal) Set(key string, value []byte, done func()) { j.add(step{key, value, done}) }

// Delete deletes a key. What is returned is closed when that is written, and all that was asked for before.
func (j *Journal) Delete(key string) <-chan struct{} {
	done := make(chan struct{})
	j.add(step{key, nil, func() { close(done) }})
	return done
}

// Written is closed when all that was asked for is written: at once, as a rule.
func (j *Journal) Written() <-chan struct{} {
	j.mu.Lock()
	idle := j.idle
	j.mu.Unlock()
	if idle {
		done := make(chan struct{})
		close(done)
		return done
	}
	return j.Delete("")
}

func (j *Journal) add(s step) {
	j.mu.Lock()
	j.queue = append(j.queue, s)
	j.idle = false
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Close writes what is left. Nothing may be asked for then.
func (j *Journal) Close() {
	close(j.closing)
	<-j.written
}

// write is the writer's goroutine.
func (j *Journal) write(boot string) {
	defer close(j.written)
	for ending := false; !ending; {
		select {
		case <-j.wake:
		case <-j.closing:
			ending = true
		}
		j.mu.Lock()
		steps := j.queue
		j.queue = nil
		j.mu.Unlock()
		if !j.apply(steps, boot) { // it is tried again with the next
			j.mu.Lock()
			j.queue = append(steps, j.queue...)
			j.mu.Unlock()
			continue
		}
		for _, s := range steps {
			if s.done != nil {
				s.done()
			}
		}
		j.mu.Lock()
		j.idle = len(j.queue) == 0
		j.mu.Unlock()
	}
	if j.file != nil {
		_ = j.file.Close()
	}
}

// apply makes changes, and reports whether they count as made.
func (j *Journal) apply(steps []step, boot string) bool {
	var b []byte
	for _, s := range steps {
		old, had := j.live[s.key]
		switch {
		case s.value != nil:
			b = appendRecord(b, recordSet, s.key, s.value)
			j.live[s.key] = s.value
			j.bytes += len(s.key) + len(s.value)
		case had:
			b = appendRecord(b, recordDelete, s.key, nil)
			delete(j.live, s.key)
		default:
			continue
		}
		if had {
			j.bytes -= len(s.key) + len(old)
		}
	}
	if j.off {
		return j.gone()
	}
	if len(b) == 0 {
		return true
	}
	var err error
	if j.size+len(b) > journalLargest && j.size > 4*j.bytes {
		err = j.anew(boot)
	} else {
		_, err = j.file.Write(b)
		j.size += len(b)
	}
	if err == nil {
		return true
	}
	j.end(err)
	return j.gone()
}

// anew writes the file with what is live.
func (j *Journal) anew(boot string) error {
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
	all := appendRecord(nil, recordBoot, boot, nil)
	for _, key := range slices.Sorted(maps.Keys(j.live)) {
		all = appendRecord(all, recordSet, key, j.live[key])
	}
	f, err := createNew(j.s.o.FS, j.path+".new")
	if err != nil {
		return err
	}
	if _, err = f.Write(all); err == nil {
		err = j.s.o.FS.Rename(j.path+".new", j.path) // killed before it, the old file says the same
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.file, j.size = f, len(all)
	return nil
}

// end writes no more.
func (j *Journal) end(why error) {
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
	j.off = true
	j.s.o.Log.Warn("failed to note which QoS 2 messages publishers have not released, and does so no more: repetitions after the next start are recorded again, and flagged", "err", why)
	j.gone()
}

// gone removes a file that does not count any more, and reports whether there is none.
func (j *Journal) gone() bool {
	if _, err := j.s.o.FS.Stat(j.path); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	err := j.s.o.FS.Remove(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.s.o.Log.Error("failed to remove the notes of QoS 2 messages, which are not true any more: none is released", "err", fmt.Errorf("removing %s: %w", j.path, err))
		return false
	}
	return true
}
