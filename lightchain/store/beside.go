package store

import (
	"errors"
	"fmt"
	"os"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store/salvage"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Genesis and the headers that set the key stand beside the database, too: in the file of keys and in the head mark. No
// proof goes without them, so where a table with one of them is damaged it is taken from there, and put back.

// spareHeaders are the headers that stand beside the database, in their stored form. It never changes once the store is open.
type spareHeaders map[uint64][]byte

// readBeside reads them, as far as they can be read.
func readBeside(dir string, o Options, m *headMark) spareHeaders {
	all := spareHeaders{}
	if m == nil {
		return all
	}
	for _, h := range knownKeys(dir, o, m) {
		all[h.Header.Height] = appendHeader(nil, &h.HeaderSignature, h.Bytes())
	}
	if head, err := m.signed(); err == nil && m.signature != nil {
		all[m.head.Height] = appendHeader(nil, m.signature, head.Bytes())
	}
	return all
}

// fromBeside returns a header that the database does not give any more, and has it put back.
func (r *Reader) fromBeside(height uint64) (*lightchain.HeaderSignature, []byte, bool) {
	stored, ok := r.beside[height]
	if !ok {
		return nil, nil, false
	}
	sig, b, err := splitHeader(stored)
	if err != nil {
		return nil, nil, false
	}
	r.sides.mu.Lock()
	defer r.sides.mu.Unlock()
	if r.sides.lacking == nil {
		r.sides.lacking = map[uint64]bool{}
	}
	r.sides.lacking[height] = true
	return sig, b, true
}

// putBackHeaders puts headers back that the database was found not to give any more. A table that cannot be read where one of
// them stood is replaced by what can be read of it first: Pebble would merge the two, fail, and try again and again.
func (s *Store) putBackHeaders() error {
	s.sides.mu.Lock()
	lacking := s.sides.lacking
	s.sides.lacking = nil // not put back now, it is met again
	s.sides.mu.Unlock()
	if len(lacking) == 0 || s.guard.err() != nil {
		return nil
	}
	damaged := map[string]bool{}
	for height := range lacking {
		_, err := s.get(headerKey(height))
		if !errors.Is(err, ErrDamaged) {
			continue
		}
		levels, err := s.db.SSTables()
		if err != nil {
			return readError(err)
		}
		for _, level := range levels {
			for i := range level {
				if holdsKey(&level[i], headerKey(height)) {
					damaged[salvage.TableName(&level[i])] = true
				}
			}
		}
	}
	if len(damaged) > 0 {
		if _, err := s.replaceTables(spaceBlocks, damaged); err != nil {
			return err
		}
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	for height, stored := range s.beside {
		if _, err := s.get(headerKey(height)); !errors.Is(err, ErrNotFound) || height > s.tip.Height {
			continue
		}
		if a, absent, err := s.absentAt(height); err != nil || absent && a.what == headerNotHeld {
			continue
		}
		set(batch, headerKey(height), stored)
		s.options.Logger.Warn("a header that the database had lost was put back from beside it", "height", height)
	}
	if batch.Empty() {
		return nil
	}
	return s.guard.commit(batch)
}

// keepDamaged leaves a second name of a damaged table aside, before it is replaced.
func (s *Store) keepDamaged(name string) error {
	to, err := asideFolder(s.dir, s.options)
	if err != nil {
		return err
	}
	fs := s.options.FS
	if err := vfs.LinkOrCopy(fs, fs.PathJoin(s.path, name), fs.PathJoin(to, name)); err != nil {
		return fmt.Errorf("putting %s aside: %w", name, err)
	}
	return errors.Join(syncFolder(to, s.options), syncFolder(s.dir, s.options))
}

// deletedIn returns the ranges that the tables say are deleted.
func (s *Store) deletedIn(tables []layeredTable) (spans []salvage.Span, err error) {
	for i := range tables {
		var unreadable error
		t, err := salvage.OpenTable(s.fs, s.fs.PathJoin(s.path, salvage.TableName(tables[i].SSTableInfo)), isKey, func(err error) { unreadable = err })
		if errors.Is(err, os.ErrNotExist) && s.isInUse(salvage.TableName(tables[i].SSTableInfo)) {
			continue // it is lost as a whole
		}
		if err != nil {
			return nil, err
		}
		spans = append(spans, t.Spans()...)
		if err := errors.Join(unreadable, t.Close()); err != nil {
			return nil, err
		}
	}
	return spans, nil
}

func holdsKey(t *pebble.SSTableInfo, k []byte) bool {
	return string(t.Smallest.UserKey) <= string(k) && string(k) <= string(t.Largest.UserKey)
}
