package store

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// formatMajorVersion is pinned: a newer Pebble must not make the store unreadable to an older program unasked. This
// one tells a torn end of the log from a damaged middle.
const formatMajorVersion = pebble.FormatTableFormatV6

// createPebble makes a database in dir, where none is.
func createPebble(dir string, o Options, g *guard) (*pebble.DB, error) {
	options := tuned(o, g)
	options.FS = &storeFS{FS: o.FS, guard: g}
	options.ErrorIfExists = true
	db, err := pebble.Open(dir, options)
	return db, openError(err)
}

// openPebble opens the database in dir for writing. What Pebble removes meanwhile stays, until hold is released.
func openPebble(dir string, o Options, g *guard, hold *salvage.Withheld, d durable, due *dueScrub, cut *tableCut, merges *compactions) (*pebble.DB, error) {
	// Those that are damaged were repaired before. Of a torn one Pebble gets to see the whole records alone: the rest it
	// would search for a bit that turned, as it does with tables, which after a power cut takes a small board a minute.
	torn, err := salvage.UnreadableLogs(dir, o.logFS(), d.record)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	options := tuned(o, g)
	logSize := int64(o.MemTableSize / 10 * 11) // as Pebble reserves
	options.FS = &storeFS{FS: o.FS, guard: g, shown: torn, hold: hold, due: due, logSize: logSize, reading: o.reading}
	options.ErrorIfNotExists = true // else a file's loss would make it an empty one, and whatever it had go
	if cut != nil {
		options.Experimental.SpanPolicyFunc = cut.spans
	}
	options.Experimental.CompactionScheduler = merges
	options.EventListener.CompactionEnd = merges.ended
	// What Pebble alone finds wrong: what stands at a table's end, with which it begins.
	tell := options.EventListener.DataCorruption
	options.EventListener.DataCorruption = func(info pebble.DataCorruptionInfo) {
		tell(info)
		if due != nil && salvage.IsTable(info.Path) {
			due.meetTable(o.FS.PathBase(info.Path), fmt.Sprint(info.Details))
		}
	}
	db, err := pebble.Open(dir, options)
	if err != nil {
		return nil, openError(err)
	}
	merges.open()
	return db, nil
}

// openPebbleReadOnly opens the database in dir without changing anything: a damaged log is repaired in memory.
func openPebbleReadOnly(dir string, o Options, d durable) (*pebble.DB, error) {
	g := newGuard(o.Fatal)
	unreadable, err := salvage.UnreadableLogs(dir, o.FS, d.record)
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	for name, salvaged := range unreadable {
		if salvaged.Bad == 0 {
			continue
		}
		o.Logger.Error("the write-ahead log is damaged", "file", name, "bytes_lost", salvaged.Bad)
	}
	options := tuned(o, g)
	options.FS, options.ReadOnly = &storeFS{FS: o.FS, guard: g, readOnly: true, shown: unreadable}, true
	db, err := pebble.Open(dir, options)
	return db, openError(err)
}

// tuned returns the options for a board with 512 MB.
func tuned(o Options, g *guard) *pebble.Options {
	options := &pebble.Options{
		FormatMajorVersion:          formatMajorVersion,
		CacheSize:                   o.CacheSize,
		MemTableSize:                o.MemTableSize,
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       2,
		L0CompactionFileThreshold:   64,
		L0StopWritesThreshold:       64,
		MaxOpenFiles:                128,
		WALBytesPerSync:             0, // every group is synced anyway
		BytesPerSync:                256 << 10,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		DisableTableStats:           true,
		Logger:                      pebbleLogger{o.Logger, g},
		EventListener:               quietListener(o.Logger),
	}
	// Tables move down unchanged, since keys only rise, so the first compression is the last one.
	for i := range options.Levels {
		options.Levels[i].BlockSize = 32 << 10
		options.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.ZstdCompression }
	}
	options.Experimental.SpanPolicyFunc = func(start []byte) (pebble.SpanPolicy, []byte, error) {
		return pebble.SpanPolicy{}, []byte{start[0] + 1}, nil // a table never holds keys of two spaces: see keys.go
	}
	return options
}

func openError(err error) error {
	if errors.Is(err, errLocked) {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return readError(err)
}

var errLocked = errors.New("its lock is held")

// storeFS is the file system as Pebble gets it, with seven of its habits corrected.
//
// What it removes while it opens stays until the chain was found whole: see withheld.
//
// A lock that somebody holds is said to be held. To read, a lock is shared where that is possible and done without
// where not, so that an auditor's image on read-only media opens and stays as it is.
//
// A folder that cannot be synced makes Pebble panic on a goroutine of its own: here it is a failed write like others.
//
// Which manifest counts is said by the name of a marker file. Pebble makes the manifest, makes the new marker, removes
// the old one, and syncs the folder once: on a file system that does not keep the order of a folder's entries, a power
// cut could leave a marker without its manifest, or no marker. Here the folder is synced before each step.
//
// A new log grows with each group, which a file system notes in its journal each time: see salvage.CreateLog.
//
// A log that is used again holds an older one's groups until it is written: see salvage.EndLog.
//
// A damaged block of a table is searched for the bit that turned: see salvage.Checked.
type storeFS struct {
	vfs.FS
	guard    *guard
	readOnly bool
	shown    map[string]salvage.Log // logs to show as what can be read of them, by name
	hold     *salvage.Withheld      // nil: what is removed goes
	due      *dueScrub              // told of tables that cannot be read; nil: nobody is
	reading  *readingLog            // told of what is read of logs while it opens; nil: nobody is
	logSize  int64                  // bytes that a new log has from the beginning: see salvage.CreateLog; 0: none
}

func (fs *storeFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if log, ok := fs.shown[fs.PathBase(name)]; ok {
		return vfs.NewMemFile(log.Encode()), nil
	}
	f, err := fs.FS.Open(name, opts...)
	if err == nil {
		f = fs.reading.counted(name, f)
	}
	if err == nil && salvage.IsTable(name) {
		f, err = salvage.Checked(f, fs.met(name))
	}
	if err != nil && salvage.IsTable(name) && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EIO)) && fs.due != nil {
		fs.due.meetTable(fs.PathBase(name), "it cannot be opened")
	}
	return f, err
}

// met returns what is told of a table's blocks that cannot be read.
func (fs *storeFS) met(name string) func(why string) {
	if fs.due == nil {
		return nil
	}
	return func(why string) { fs.due.meetTable(fs.PathBase(name), why) }
}

func (fs *storeFS) Lock(name string) (io.Closer, error) {
	if fs.readOnly {
		if _, err := fs.Stat(name); err != nil {
			return io.NopCloser(nil), nil // taking it would create the file
		}
	}
	take := fs.FS.Lock
	if fs.FS == vfs.Default {
		take = func(name string) (io.Closer, error) { return lockFile(name, fs.readOnly) }
	}
	lock, err := take(name)
	if err == nil {
		return lock, nil
	}
	if fs.readOnly && (errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		return io.NopCloser(nil), nil
	}
	if path := (*iofs.PathError)(nil); errors.As(err, &path) {
		return nil, err // the file cannot be made or opened: what the lock says is not known
	}
	return nil, fmt.Errorf("%w: %w", errLocked, err)
}

func (fs *storeFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return folder{f, fs.guard}, nil
}

func (fs *storeFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := errors.Join(fs.syncBefore(name), fs.keepOld(name)); err != nil {
		return nil, err
	}
	if fs.logSize > 0 && strings.HasSuffix(name, ".log") {
		return salvage.CreateLog(fs.FS, name, category, fs.logSize)
	}
	f, err := fs.FS.Create(name, category)
	if err != nil && salvage.IsTable(name) && fs.guard != nil {
		fs.tableRefused(fmt.Errorf("creating a table: %w", err))
	}
	return f, err
}

// tableRefused slows down what Pebble does in the background, which it tries again at once and for ever if it could not
// make a table. Opening or making a database would never end: it fails.
func (fs *storeFS) tableRefused(err error) {
	if fs.hold != nil && fs.hold.Released() {
		time.Sleep(retryTable)
		return
	}
	fs.guard.fail(err)
	select {} // as with Fatalf
}

// retryTable is how long a table that could not be made waits until it is tried again.
const retryTable = 100 * time.Millisecond

func (fs *storeFS) Rename(from, to string) error {
	if err := fs.keepOld(to); err != nil {
		return err
	}
	return fs.FS.Rename(from, to)
}

func (fs *storeFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.keepOld(to); err != nil {
		return nil, err
	}
	if number := salvage.LogNumber(fs.PathBase(to)); salvage.IsLog(to) {
		if err := salvage.EndLog(fs.FS, from, number, category); err != nil {
			return nil, err
		}
	}
	return fs.FS.ReuseForWrite(from, to, category)
}

// keepOld gives a file that is withheld another name when its own is to be used again.
func (fs *storeFS) keepOld(name string) error {
	if fs.hold == nil {
		return nil
	}
	return fs.hold.MakeRoom(fs.FS, name)
}

func (fs *storeFS) Remove(name string) error {
	if fs.hold != nil && !fs.hold.Released() {
		return fs.hold.Remove(fs.FS, name)
	}
	if err := fs.syncBefore(name); err != nil {
		return err
	}
	return fs.FS.Remove(name)
}

func (fs *storeFS) syncBefore(name string) error {
	if !strings.HasPrefix(fs.PathBase(name), "marker.") {
		return nil
	}
	d, err := fs.OpenDir(fs.PathDir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type folder struct {
	vfs.File
	guard *guard
}

func (f folder) Sync() error {
	if err := f.File.Sync(); err != nil {
		f.guard.fail(fmt.Errorf("syncing the folder: %w", err))
		select {} // as with Fatalf
	}
	return nil
}

// quietListener reports what an operator can do something about, and nothing of Pebble's daily work.
func quietListener(log *slog.Logger) *pebble.EventListener {
	var told sync.Map // paths of damaged tables: each is told of once, for it is met at each read
	var slow atomic.Int64
	return &pebble.EventListener{
		BackgroundError: func(err error) { log.Warn("failed in background work of the store", "err", err) },
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			if _, before := told.LoadOrStore(info.Path, true); !before {
				log.Error("failed to read a table of the store, which is damaged", "file", info.Path, "err", info.Details)
			}
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			// A slow disk makes writing wait many times a second; to say so once a minute is enough.
			now, last := time.Now().UnixNano(), slow.Load()
			if (last == 0 || now-last >= int64(time.Minute)) && slow.CompareAndSwap(last, now) {
				log.Warn("the disk is too slow: writing waits", "reason", info.Reason)
			}
		},
	}
}
