package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain/store/salvage"
)

// Beside the folder of the database lie, by the ends of their names:
//
//	.countersigned  what was promised: see journal.go
//	.new            a database or a journal that is being made; whatever is in it, nobody relies on it
//	.rebuilt        a database that is complete, and is about to get the damaged one's name
//	.damaged-N      what is of no use any more, but may be to somebody who investigates
//
// Pebble takes what it can read of its record of files (MANIFEST), and of its log, for all there is, and removes the files
// that are not named there. So both are read through before, and nothing goes until the database was compared with the journal.
const (
	rebuiltSuffix = ".rebuilt"
	damagedSuffix = ".damaged"
	// damagedNote is a file in the database's folder: a running program met damage in it, and the next start rebuilds.
	damagedNote = "DAMAGED"
)

// opening is what it takes to open the database in a folder.
type opening struct {
	dir   string
	o     Options
	store *Store
	lock  *pebble.Lock
	hold  *salvage.Withheld
}

// errBroken means that the database's files are not as they were written.
var errBroken = errors.New("damaged on disk")

// database opens the database, repairs what must be repaired for that, and leaves it as far as it can be known whole.
func (p *opening) database() (err error) {
	fs := p.o.FS
	if err := installRebuilt(p.dir, fs); err != nil {
		return err
	}
	if err := fs.MkdirAll(p.dir, 0o755); err != nil {
		return err
	}
	if err := p.onlyFile("LOCK"); err != nil {
		return err
	}
	if p.lock, err = pebble.LockDirectory(p.dir, lockFS{fs}); err != nil {
		return err
	}
	began, err := begun(p.dir, fs)
	if err != nil {
		return err
	}
	if !began {
		return p.open(false)
	}
	failed := p.check()
	if failed == nil {
		failed = p.open(true)
	}
	if failed == nil || !isDamage(failed) {
		return failed
	}
	return p.rebuild(failed)
}

// check looks at what Pebble would take as it is.
func (p *opening) check() error {
	fs := p.o.FS
	if desc, err := pebble.Peek(p.dir, fs); err == nil && desc.FormatMajorVersion > formatMajorVersion {
		return &sound{fmt.Errorf("a newer program wrote it: Pebble's format %d, this one knows %d", desc.FormatMajorVersion, formatMajorVersion)}
	}
	names, err := fs.List(p.dir)
	if err != nil {
		return err
	}
	if slices.Contains(names, damagedNote) {
		return fmt.Errorf("%w: it was met when the program ran", errBroken)
	}
	for _, marker := range salvage.Markers(names) {
		record := salvage.Marked(marker)
		b, err := salvage.ReadSectors(fs, fs.PathJoin(p.dir, record))
		if errors.Is(err, os.ErrNotExist) {
			continue // the marker of a record that is gone, or never was
		}
		if err != nil {
			return err
		}
		if err := salvage.WholeManifest(b); err != nil {
			return fmt.Errorf("%w: %s: %w", errBroken, record, err)
		}
		return nil
	}
	return fmt.Errorf("%w: no file says which tables make up the database", errBroken)
}

// open opens the database; exists says that there is one, so that none is made.
func (p *opening) open(exists bool) error {
	logs, err := salvage.UnreadableLogs(p.dir, p.o.FS, nil)
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	for name, log := range logs {
		if log.Bad > 0 {
			p.o.Logger.Error("the write-ahead log was damaged", "file", name, "records_kept", len(log.Records), "bytes_lost", log.Bad)
			p.store.opened.LogBytes += log.Bad
		}
	}
	p.hold = new(salvage.Withheld)
	options := p.options()
	options.FS = storeFS{p.o.FS, p.store, logs, p.hold}
	options.ErrorIfNotExists = exists
	options.Lock = p.lock
	p.store.db, err = pebble.Open(p.dir, options)
	return err
}

func (p *opening) options() *pebble.Options {
	o := p.o
	return &pebble.Options{
		FormatMajorVersion: formatMajorVersion,
		CacheSize:          o.Cache,
		MemTableSize:       uint64(o.Cache / 8),
		Logger:             logger{o.Logger, p.store},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { o.Logger.Warn("failed in background work of the store", "err", err) },
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				o.Logger.Error("failed to read a table of the store, which is damaged", "file", i.Path, "err", i.Details)
				_ = p.store.damaged(fmt.Errorf("%w: %s", errBroken, i.Path))
			},
		},
	}
}

// letGo removes what opening the database was to remove.
//
// Cut off in the middle, the rest is found at the next start as it was found at this one.
func (p *opening) letGo() error {
	for _, path := range p.hold.Release() {
		if err := p.o.FS.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing %s: %w", path, err)
		}
	}
	return syncFolder(p.o.FS, p.dir)
}

// unnamed looks through the tables in the folder that the database does not use. An ordinary crash leaves such, and what is in
// them is in the database, too; lacks says that some of it is not: a record of files that was cut off names too few tables.
func (p *opening) unnamed() (found, lacks bool, err error) {
	names, err := salvage.Unnamed(p.o.FS, p.dir, p.store.db)
	if err != nil {
		return false, false, err
	}
	for _, name := range names {
		// What cannot be read of it says nothing: it may have been written when the power failed.
		table, err := salvage.OpenTable(p.o.FS, p.o.FS.PathJoin(p.dir, name), isKey, func(error) {})
		if err != nil {
			return true, lacks, err
		}
		more, err := table.Holds(p.lacks)
		if err := errors.Join(err, table.Close()); err != nil {
			return true, lacks, err
		}
		lacks = lacks || more
	}
	return len(names) > 0, lacks, nil
}

// lacks reports whether a pair is not in the database.
func (p *opening) lacks(pair salvage.Pair) (bool, error) {
	if pair.Kind != pebble.InternalKeyKindSet && pair.Kind != pebble.InternalKeyKindSetWithDelete || !isKey(pair.Key) {
		return false, nil
	}
	if pair.Key[0] == keyWaiting {
		return false, nil // such are removed all the time
	}
	value, err := p.store.get(pair.Key)
	return err == nil && value == nil, err
}

// onlyFile puts a folder aside that stands in the place of one of the database's files.
func (p *opening) onlyFile(name string) error {
	path := p.o.FS.PathJoin(p.dir, name)
	info, err := p.o.FS.Stat(path)
	if err != nil || !info.IsDir() {
		return nil
	}
	return p.o.FS.Rename(path, freeName(p.o.FS, p.dir+damagedSuffix))
}

func (p *opening) close() {
	if p.store.db != nil {
		_ = p.store.db.Close()
		p.store.db = nil
	}
	if p.lock != nil {
		_ = p.lock.Close()
		p.lock = nil
	}
}

// freeName returns the first of a row of names that nothing has.
func freeName(fs vfs.FS, base string) string {
	for n := 1; ; n++ {
		name := base + "-" + strconv.Itoa(n)
		if _, err := fs.Stat(name); errors.Is(err, os.ErrNotExist) {
			return name
		}
	}
}

// begun tells whether the folder holds a log or a table. There a store was begun, even if what names its files is gone: Pebble
// would begin another, and delete every file of the first. One whose beginning was cut off has neither.
func begun(dir string, fs vfs.FS) (bool, error) {
	names, err := fs.List(dir)
	return slices.ContainsFunc(names, func(name string) bool { return salvage.IsLog(name) || salvage.IsTable(name) }), err
}

// isDamage tells whether a database that does not open may be damaged.
func isDamage(err error) bool {
	return !salvage.Refused(err) && !errors.Is(err, registry.ErrRunning) && !errors.As(err, new(*sound))
}

// sound is an error by which the database may be as it was written.
type sound struct{ error }

func (s *sound) Unwrap() error { return s.error }

// storeFS is the file system as Pebble gets it, with some of its habits corrected: what it removes while it opens stays; of
// a log that cannot be read to its end it gets to see what can be read; a damaged block of a table is not searched for
// the bit that turned. Which record of files counts is said by the name of a marker: the folder is synced before each step
// from one to the next, so that no power cut leaves none.
type storeFS struct {
	vfs.FS
	store *Store
	shown map[string]salvage.Log
	hold  *salvage.Withheld
}

func (fs storeFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if log, ok := fs.shown[fs.PathBase(name)]; ok {
		return vfs.NewMemFile(log.Encode()), nil
	}
	f, err := fs.FS.Open(name, opts...)
	if err != nil || !salvage.IsTable(name) {
		return f, err
	}
	return salvage.Checked(f, nil)
}

func (fs storeFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := errors.Join(fs.syncBefore(name), fs.hold.MakeRoom(fs.FS, name)); err != nil {
		return nil, err
	}
	return fs.FS.Create(name, category)
}

func (fs storeFS) Rename(from, to string) error {
	if err := fs.hold.MakeRoom(fs.FS, to); err != nil {
		return err
	}
	return fs.FS.Rename(from, to)
}

func (fs storeFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.hold.MakeRoom(fs.FS, to); err != nil {
		return nil, err
	}
	return fs.FS.ReuseForWrite(from, to, category)
}

func (fs storeFS) Remove(name string) error {
	if fs.hold.Released() {
		if err := fs.syncBefore(name); err != nil {
			return err
		}
	}
	return fs.hold.Remove(fs.FS, name)
}

func (fs storeFS) syncBefore(name string) error {
	if !strings.HasPrefix(fs.PathBase(name), "marker.") {
		return nil
	}
	return syncFolder(fs.FS, fs.PathDir(name))
}

// lockFS says of a lock that somebody holds that another aggregator runs; not of one whose file cannot be opened.
type lockFS struct{ vfs.FS }

func (fs lockFS) Lock(name string) (io.Closer, error) {
	lock, err := fs.FS.Lock(name)
	var unopened *os.PathError
	if err == nil || errors.As(err, &unopened) {
		return lock, err
	}
	return nil, fmt.Errorf("%w on this store: %w", registry.ErrRunning, err)
}
