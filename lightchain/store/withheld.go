package store

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"edgechain.example/lightchain/store/salvage"
)

// Pebble takes what it can read of its own record of files (MANIFEST) for all there is, and removes every file that is not
// in it: where a byte of that record has rotted, good tables. So nothing goes while a database is opened. When the chain
// was found whole, against the head mark and against the tables in the folder, what was to go goes.

// hold begins to withhold what the database that is opened next removes.
func (s *Store) hold() *salvage.Withheld {
	s.withheld = new(salvage.Withheld)
	return s.withheld
}

// letGo removes what opening the database was to remove, now that all that can be read of it is known to be in the database. A
// table that cannot be read, and so cannot be told to be superfluous, is put aside.
//
// Cut off in the middle, the rest is found at the next start as it was found at this one.
func (s *Store) letGo() error {
	fs := s.options.FS
	for _, path := range s.withheld.Release() {
		if s.strange[fs.PathBase(path)] {
			if err := s.putAside(path); err != nil {
				return fmt.Errorf("putting %s aside: %w", path, err)
			}
			continue
		}
		if err := fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing %s: %w", path, err)
		}
	}
	return syncFolder(s.path, s.options)
}

func (s *Store) putAside(path string) error {
	return moveAside(s.dir, path, s.options)
}

// moveAside moves a file of a database into a new folder of what was put aside.
func moveAside(dir, path string, o Options) error {
	to, err := asideFolder(dir, o)
	if err != nil {
		return err
	}
	if err := o.FS.Rename(path, o.FS.PathJoin(to, o.FS.PathBase(path))); err != nil {
		return err
	}
	o.Logger.Warn("a file of the database is of no use to it, and was put aside", "file", path, "put_aside", to)
	return errors.Join(syncFolder(to, o), syncFolder(dir, o), syncFolder(o.FS.PathDir(path), o))
}

// unnamed looks through the tables in the folder that the database does not name. A crash leaves such: one that was being
// written, whose pairs are in the log, too, or one that was merged into others. So does a record of files that has rotted,
// and then pairs are in them that the database lacks: that is damage.
func (s *Store) unnamed() error {
	names, err := salvage.Unnamed(s.options.FS, s.path, s.db)
	if err != nil {
		return readError(err)
	}
	s.strange = map[string]bool{}
	for i, name := range names {
		if err := s.options.Opening("reading what a crash has left", uint64(i), uint64(len(names))); err != nil {
			return err
		}
		if err := s.superfluous(name); err != nil {
			return fmt.Errorf("table %s, which the database does not name: %w", name, err)
		}
	}
	return nil
}

var errLacking = errors.New("it holds what the database lacks")

// superfluous fails with an [ErrDamaged] if a table that the database does not name holds part of the chain that the
// database lacks.
func (s *Store) superfluous(name string) error {
	t, err := salvage.OpenTable(s.options.FS, s.options.FS.PathJoin(s.path, name), isKey, func(error) { s.strange[name] = true })
	if errors.Is(err, os.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil && !isDamage(err) {
		return err
	}
	if err != nil {
		s.strange[name] = true
		return nil
	}
	lacking, err := t.Holds(s.lacks)
	if lacking {
		err = fmt.Errorf("%w: %w", ErrDamaged, errLacking)
	}
	return errors.Join(err, t.Close())
}

// lacks reports whether a pair belongs to the chain, was not deleted, and is not in the database. What follows from other
// pairs does not count.
func (s *Store) lacks(p salvage.Pair) (bool, error) {
	if p.Kind != pebble.InternalKeyKindSet && p.Kind != pebble.InternalKeyKindSetWithDelete {
		return false, nil
	}
	switch p.Key[0] {
	case spaceKeys, spaceReceipts:
	case spaceBlocks:
		height, part, _, ok := parseBlockKey(p.Key)
		if !ok || part != partHeader && part != partChunk {
			return false, nil
		}
		if a, found, err := s.absentAt(height); err == nil && found && (part == partChunk || a.what == headerNotHeld) {
			return false, nil // deleted by retention, or never held
		}
		if part == partChunk && s.restaged(height, p.Key) {
			return false, nil
		}
	default:
		return false, nil
	}
	_, err := s.get(p.Key)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	if errors.Is(err, ErrDamaged) {
		return false, nil // it is there, and cannot be read: the whole copy of it would be taken by a rebuild
	}
	return false, err
}

// restaged reports whether the numbers of a chunk were given again, to entries that were staged again behind a gap: what
// was in it is among them.
func (s *Store) restaged(height uint64, k []byte) bool {
	below, v, err := s.seekLT(chunkKey(height, 0), k)
	if err != nil {
		return false
	}
	_, _, rest, _ := parseBlockKey(below)
	first, ok := parseNumber(rest)
	_, _, rest, _ = parseBlockKey(k)
	number, alsoOK := parseNumber(rest)
	u := unpacker{decoder: s.decoder}
	c, err := u.unpack(v)
	return ok && alsoOK && err == nil && number < first+uint64(len(c.bodies))
}

// onlyFiles puts folders aside that stand in the place of a database's files, which then are missing.
func (s *Store) onlyFiles(path string) error {
	fs := s.options.FS
	names, err := fs.List(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := fs.Stat(fs.PathJoin(path, name))
		if err == nil && info.IsDir() {
			err = s.putAside(fs.PathJoin(path, name))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// checkState looks at the database's own record of its files before Pebble does, which takes the first place that it
// cannot read for the record's end. It fails with an [ErrDamaged] where that is not what an ordinary end has left.
// Markers that name no record are put aside: they say nothing.
func (s *Store) checkState(path string) error {
	fs := s.options.FS
	names, err := fs.List(path)
	if err != nil {
		return err
	}
	record := ""
	for _, name := range salvage.Markers(names) {
		target := salvage.Marked(name)
		b, err := salvage.ReadSectors(fs, fs.PathJoin(path, target))
		if errors.Is(err, os.ErrNotExist) {
			if err := s.putAside(fs.PathJoin(path, name)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := salvage.WholeManifest(b); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, target, err)
		}
		record = target
		break
	}
	if record == "" {
		return fmt.Errorf("%w: no file says which tables make up the database", ErrDamaged)
	}
	for _, name := range names {
		if strings.HasPrefix(name, salvage.MarkerPrefix) && !salvage.IsMarker(name) {
			if err := s.putAside(fs.PathJoin(path, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
