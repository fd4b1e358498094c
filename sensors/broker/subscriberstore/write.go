package subscriberstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// roomInterval is how often a full disk is looked at again.
const roomInterval = 500 * time.Millisecond

// ErrNoRoom means that what was set waits in memory until the disk has room.
var ErrNoRoom = errors.New("the disk has no room")

// Set sets a key. fresh says that the database certainly does not have it: deleted before it is written, nothing is.
func (s *Store) Set(key string, value Value, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != nil {
		return
	}
	if old, ok := s.pending[key]; ok {
		fresh = old.fresh
	}
	s.pending[key] = change{value, fresh}
	s.tell()
}

// Delete deletes a key.
func (s *Store) Delete(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != nil {
		return
	}
	if old, ok := s.pending[key]; ok && old.fresh {
		delete(s.pending, key)
		return
	}
	s.pending[key] = change{}
	s.tell()
}

// Get reads a key that was there when the database was opened, and was not set since. It waits for the disk.
func (s *Store) Get(key string) ([]byte, error) {
	value, closer, err := s.db.Get([]byte(key))
	if err != nil {
		return nil, err
	}
	return slices.Clone(value), closer.Close()
}

// Touch has [Options.Tail] written, though nothing else may be.
func (s *Store) Touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched = true
	s.tell()
}

// Begin begins changes that belong together: all that are made until End are written by one write, or none.
func (s *Store) Begin() { s.steady.Lock() }

// End ends what Begin began.
func (s *Store) End() { s.steady.Unlock() }

// Flush waits until all that was set is synced. It fails when ctx ends before, or nothing is written any more.
func (s *Store) Flush(ctx context.Context) error {
	s.mu.Lock()
	if s.why != nil {
		s.mu.Unlock()
		return s.why
	}
	if s.waiting.Load() {
		s.mu.Unlock()
		return ErrNoRoom
	}
	done := make(chan struct{})
	s.flushes = append(s.flushes, done)
	s.tell()
	s.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-s.failed:
		return s.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell wakes the writer. The caller holds mu.
func (s *Store) tell() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// write is the writer's goroutine.
func (s *Store) write() {
	defer close(s.written)
	timer := time.NewTimer(0)
	<-timer.C
	var due <-chan time.Time // of the next synced write; nil: there is nothing to write
	for ending := false; !ending; {
		select {
		case <-s.closing:
			ending = true
		case <-s.failed:
			return
		case <-due:
		case <-s.wake:
			if due == nil {
				timer.Reset(s.o.Every)
				due = timer.C
			}
			s.mu.Lock()
			flush := len(s.flushes) > 0 || s.notes.idle > mostIdle
			s.mu.Unlock()
			if !flush {
				continue
			}
		}
		if !s.hasRoom() {
			if ending {
				s.untold()
			}
			timer.Reset(roomInterval)
			due = timer.C
			continue
		}
		s.commit()
		timer.Stop()
		due = nil
	}
}

// untold says what is lost with the store's end for want of room.
func (s *Store) untold() {
	s.mu.Lock()
	changes := len(s.pending)
	s.mu.Unlock()
	if changes > 0 {
		s.o.Log.Warn("the disk has no room for the newest of what the broker keeps for its subscribers: the next start finds it as it was before", "changes", changes)
	}
}

// hasRoom tells whether the disk has room: the chain's reserve is the chain's.
func (s *Store) hasRoom() bool {
	room := s.o.Room == nil || s.o.Room()
	if s.waiting.Swap(!room) == room { // it has changed
		if room {
			s.o.Log.Info("there is room again: what the broker keeps for its subscribers is written")
		} else {
			s.o.Log.Warn("the disk has no room for what the broker keeps for its subscribers: it waits in memory")
		}
	}
	return room
}

// commit writes what has gathered, as one write.
func (s *Store) commit() {
	s.steady.Lock()
	s.mu.Lock()
	changes, flushes := s.pending, s.flushes
	touched, dropped := s.touched, s.notes.dropped
	s.notes.dropped, s.notes.idle = nil, 0
	s.pending, s.flushes, s.touched = make(map[string]change), nil, false
	s.mu.Unlock()
	batch := s.db.NewBatch()
	defer batch.Close()
	var err error
	var scratch []byte
	if s.o.Tail != nil && (len(changes) > 0 || touched) {
		key, value := s.o.Tail()
		err = batch.Set([]byte(key), value, nil)
	}
	s.steady.Unlock()

	for key, c := range changes {
		if c.value == nil {
			err = errors.Join(err, batch.Delete([]byte(key), nil))
			continue
		}
		scratch = c.value.Append(scratch[:0])
		err = errors.Join(err, batch.Set([]byte(key), scratch, nil))
	}
	// Killed here, nothing of it is there, and the entries of the chain from the number kept are routed again.
	if err == nil && !batch.Empty() {
		if err = s.there(); err == nil {
			err = batch.Commit(pebble.Sync)
		}
	}
	if err != nil {
		s.fail(fmt.Errorf("writing: %w", err))
		return
	}
	// It is there whatever happens. Notes that were made for it mean nothing from now on, whether or not they go.
	if !batch.Empty() {
		s.syncs.Add(1)
	}
	s.mu.Lock()
	s.notes.forget(dropped)
	s.mu.Unlock()
	for _, done := range flushes {
		close(done)
	}
}

// there fails where the folder was removed under the open database, which would go on into files that have no name any more.
func (s *Store) there() error {
	if _, err := s.o.FS.Stat(s.o.FS.PathJoin(s.o.Dir, "LOCK")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("its folder was removed: %w", err)
	}
	return nil
}

// Stats is what the database has cost since it was opened, and how it stands.
type Stats struct {
	Open    bool   // and written
	Written uint64 // bytes, to the log and to tables, notes not counted
	Syncs   uint64 // writes that were waited for
	Bytes   uint64 // on disk
	Waiting bool   // for room on the disk
	Err     error  // why nothing is written any more
}

// Stats may be called at any time. It may wait for Pebble, so none who serves clients calls it.
func (s *Store) Stats() Stats {
	out := Stats{Syncs: s.syncs.Load(), Waiting: s.waiting.Load(), Err: s.Err()}
	s.shutting.RLock()
	defer s.shutting.RUnlock()
	if out.Err != nil || s.shut {
		return out
	}
	m := s.db.Metrics()
	out.Open, out.Bytes, out.Written = true, m.DiskSpaceUsage(), m.WAL.BytesWritten
	for i := range m.Levels {
		out.Written += m.Levels[i].TableBytesFlushed + m.Levels[i].TableBytesCompacted
	}
	return out
}

// Close writes what is left, and closes the database. It is called once.
func (s *Store) Close() error {
	close(s.closing)
	select {
	case <-s.written:
	case <-s.failed:
	}
	if err := s.Err(); err != nil {
		return err // Pebble's goroutines stand still: its Close would wait for them
	}
	<-s.noted
	s.closeNotes()
	s.shutting.Lock()
	defer s.shutting.Unlock()
	s.shut = true
	return s.db.Close()
}
