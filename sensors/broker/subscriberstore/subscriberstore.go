// Package subscriberstore keeps, in a database of its own, what an MQTT broker remembers for subscribers.
//
// It owns when that is written and what becomes of it when the disk fails or the database is damaged. It does not know what
// the keys and values mean: that is the broker's.
//
// # Written behind the caller's back
//
// [Store.Set] and [Store.Delete] take a lock and return: they are called by whoever serves clients, and no disk is waited for.
// One goroutine writes what has gathered, once in [Options.Every] and synced. What is set and deleted within that time is
// never written at all, which is what becomes of most messages of a subscriber that is there.
//
// A crash takes what was not written, the newest first. So the broker has the number of the last entry of the chain whose
// consequences are set written with them, by [Options.Tail], and begins there again at the next start. What the chain does not
// have of a message is in a note until then: see notes.
//
// # Damage
//
// Nothing in it is evidence, and the chain has all messages. So a database that cannot be opened or read is put aside whole,
// under a name of its own, and an empty one takes its place. One that fails while the program runs is written no more.
package subscriberstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// Options says where the database is and how it is written. Dir must be given; for all else the zero value works.
type Options struct {
	Dir   string
	FS    vfs.FS        // nil is the machine's
	Every time.Duration // between two synced writes; 0 is a second
	Room  func() bool   // whether the disk has room to write; nil: always. Without room what is set waits in memory
	Log   *slog.Logger  // nil is no log

	// Tail returns what is set with each write, whatever else is, and where [Store.Touch] asked for it; nil: nothing. It is called between what Begin and End
	// enclose, and must not call the store.
	Tail func() (key string, value []byte)
}

// What the database takes of memory, which is on Go's heap.
const (
	cacheBytes    = 256 << 10
	memtableBytes = 512 << 10

	// MemoryBytes is how much the database may take of memory, what waits to be written not counted: a cache, a memtable
	// that is filled, and two that are written out.
	MemoryBytes = cacheBytes + 3*memtableBytes
)

// formatMajorVersion is pinned, as the chain's is.
const formatMajorVersion = pebble.FormatTableFormatV6

// Store is an open database. It is safe for concurrent use.
type Store struct {
	o  Options
	db *pebble.DB

	// Aside is where a database was put that could not be read, or ""; Gone says that one was removed. Never changed.
	Aside string
	Gone  bool

	steady sync.Mutex // held while changes are made that belong together

	mu      sync.Mutex
	pending map[string]change
	notes   notes
	touched bool            // the tail is to be written
	flushes []chan struct{} // each closed when what was set before is synced
	why     error           // of failed

	wake     chan struct{} // has room for one
	noteWake chan struct{} // likewise
	noted    chan struct{} // closed when nothing more is noted
	closing  chan struct{}
	written  chan struct{} // closed when the writer has ended
	failed   chan struct{} // closed when nothing is written any more
	syncs    atomic.Uint64
	waiting  atomic.Bool // for room

	shutting sync.RWMutex
	shut     bool // the database is closed; guarded by shutting
}

// Value is what is set: encoded when it is written, and not before. It must not change.
type Value interface{ Append(b []byte) []byte }

// Bytes is a value that is encoded.
type Bytes []byte

// Append implements [Value].
func (v Bytes) Append(b []byte) []byte { return append(b, v...) }

// change is what is to be written under a key.
type change struct {
	value Value // nil: the key is deleted
	fresh bool  // the database does not have the key
}

// What follows the folder's name.
const (
	asideSuffix  = ".damaged" // where a damaged database is put
	markerSuffix = ".kept"    // of an empty file that is there once a database was: beside it, to outlive it
)

// Content takes what is in a database when it is opened.
type Content interface {
	Load(key, value []byte) error // a pair, in the order of the keys; an error says that it means nothing
	Note(value []byte)            // a note that was not dropped, in the order in which they were made; after the pairs
	Reset()                       // nothing counts of what was given before
}

// Open opens the database, or makes one, and hands over what is in it. Where that cannot be read the database is put aside,
// and an empty one takes its place. It fails only where nothing can be written.
func Open(o Options, content Content) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Every == 0 {
		o.Every = time.Second
	}
	gone := isGone(o)
	s, err := open(o, content)
	if err == nil {
		if s.Gone = gone; gone {
			o.Log.Warn("what the broker kept for its subscribers was removed: sessions and retained messages begin anew; the chain is not concerned", "folder", o.Dir)
		}
		s.mark()
	}
	if err == nil || errors.Is(err, errNotDamaged) {
		return s, err
	}
	content.Reset()
	aside := o.Dir + asideSuffix
	o.Log.Warn("failed to read what the broker kept for its subscribers: it is put aside, sessions and retained messages begin anew; the chain is not concerned", "folder", aside, "err", err)
	// One is kept to look at. If this is cut off, the next start does it again.
	if err := o.FS.RemoveAll(aside); err != nil {
		return nil, fmt.Errorf("putting aside what is damaged: %w", err)
	}
	if err := o.FS.Rename(o.Dir, aside); err != nil {
		return nil, fmt.Errorf("putting aside what is damaged: %w", err)
	}
	if s, err = open(o, content); err != nil {
		return nil, err
	}
	s.Aside = aside
	s.mark()
	return s, nil
}

// isGone tells whether there was a database and is none.
func isGone(o Options) bool {
	if _, err := o.FS.Stat(o.Dir + markerSuffix); err != nil {
		return false
	}
	there, err := pebble.Peek(o.Dir, o.FS)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !there.Exists
}

// mark notes that there is a database. Without the mark, one that goes does so untold.
func (s *Store) mark() {
	path := s.o.Dir + markerSuffix
	if _, err := s.o.FS.Stat(path); err == nil {
		return
	}
	f, err := s.o.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		s.o.Log.Warn("failed to note that something is kept for subscribers: if it is removed, that is not told", "err", err)
	}
}

// Remove removes a database that is not open, and all that stands beside it.
func Remove(o Options) error {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	var all error
	for _, suffix := range []string{markerSuffix, asideSuffix, ""} {
		all = errors.Join(all, o.FS.RemoveAll(o.Dir+suffix))
	}
	return all
}

// errNotDamaged is of an error that another database would have, too.
var errNotDamaged = errors.New("the folder cannot be used")

func open(o Options, content Content) (s *Store, err error) {
	if err := o.FS.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotDamaged, err)
	}
	s = &Store{
		o: o, pending: make(map[string]change), wake: make(chan struct{}, 1), noteWake: make(chan struct{}, 1), noted: make(chan struct{}),
		closing: make(chan struct{}), written: make(chan struct{}), failed: make(chan struct{}),
	}
	// What Pebble makes of damaged files may be a panic, here or on a goroutine of its own, which calls Fatalf.
	opened := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				opened <- fmt.Errorf("panic: %v", p)
			}
		}()
		opened <- s.open(content)
	}()
	select {
	case err = <-opened:
	case <-s.failed:
		err = s.why
	}
	if err != nil {
		return nil, err
	}
	go s.write()
	go s.noteAll()
	return s, nil
}

func (s *Store) open(content Content) error {
	db, err := pebble.Open(s.o.Dir, s.options())
	for _, outer := range []error{fs.ErrPermission, syscall.EROFS, syscall.ENOSPC} {
		if errors.Is(err, outer) {
			return fmt.Errorf("%w: %w", errNotDamaged, err)
		}
	}
	if err != nil {
		return err
	}
	err = s.read(db, content)
	if err == nil {
		err = s.readNotes(content)
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db = db
	return nil
}

func (s *Store) read(db *pebble.DB, content Content) error {
	it, err := db.NewIter(nil)
	if err != nil {
		return err
	}
	for it.First(); err == nil && it.Valid(); it.Next() {
		var value []byte
		if value, err = it.ValueAndErr(); err == nil {
			err = content.Load(it.Key(), value)
		}
	}
	return errors.Join(err, it.Error(), it.Close())
}

func (s *Store) options() *pebble.Options {
	return &pebble.Options{
		FormatMajorVersion:          formatMajorVersion,
		FS:                          tables{s.o.FS},
		CacheSize:                   cacheBytes,
		MemTableSize:                memtableBytes,
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       64,
		MaxOpenFiles:                32,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		DisableTableStats:           true,
		Logger:                      logger{s},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.o.Log.Warn("failed in background work of the subscribers' database", "err", err) },
		},
	}
}

// tables is a file system whose tables are checked before Pebble sees them: it would search a damaged block for the bit that
// turned, which takes a small board minutes. Its logs have their size from the beginning, which halves what a write costs.
type tables struct{ vfs.FS }

func (fs tables) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".log") {
		return salvage.CreateLog(fs.FS, name, category, memtableBytes/10*11) // as Pebble reserves
	}
	return fs.FS.Create(name, category)
}

func (fs tables) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err == nil && salvage.IsTable(name) {
		return salvage.Checked(f, func(string) {})
	}
	return f, err
}

// Lock says of a lock that somebody holds that it is no damage.
func (fs tables) Lock(name string) (io.Closer, error) {
	lock, err := fs.FS.Lock(name)
	if err != nil {
		err = fmt.Errorf("%w: its lock is held: %w", errNotDamaged, err)
	}
	return lock, err
}

// logger takes Pebble's last word before it would end the program.
type logger struct{ s *Store }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}

func (l logger) Fatalf(format string, args ...any) {
	l.s.fail(fmt.Errorf(format, args...))
	select {} // Pebble's goroutine must not go on
}

// fail has nothing written any more. What is set from then on is in memory alone.
func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != nil {
		return
	}
	s.why, s.pending, s.notes.live = err, nil, nil
	if then := s.notes.awaited(s.notes.fresh); len(then) > 0 {
		go func() { // whoever fails may hold what they need
			for _, f := range then {
				f()
			}
		}()
	}
	close(s.failed)
	if s.db == nil {
		return // it is being opened, and whoever does so hears of it
	}
	s.o.Log.Error("failed to write what the broker keeps for its subscribers: it is in memory until the next start; the chain is not concerned", "err", err)
}

// Err says why nothing is written any more; nil: it is.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}
