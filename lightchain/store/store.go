// Package store keeps a gateway's microchain in Pebble: it stages entries with one synced write for a group, seals
// them into blocks, and afterwards reads, finds, proves and verifies them.
//
// It owns what is on disk and in which order it gets there: the open block is what was staged above the newest
// header, the same code derives it while running and after a crash, and a header leaves the package only when it is
// durable, so no crash can fork the chain. It does not own the private key (lightchain/keyfile), the decision when to
// commit and seal (agent), or what leaves the gateway (sync).
package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// Options says how to open a store. The zero value opens one from disk; only to begin a chain, Signer must be set.
type Options struct {
	FS     vfs.FS            // nil: the operating system's
	Signer lightchain.Signer // as given to [Store.AddSigner]; nil: none yet
	// Signers are others, whatever may be the key in force.
	Signers []lightchain.Signer
	Logger  *slog.Logger // nil: silence

	CacheSize    int64  // bytes of Pebble's block cache, from which memtables take their room too; 0: 8 MiB
	MemTableSize uint64 // bytes; 0: 1 MiB

	MaxBlockEntries int   // 0: 4096; at most lightchain.MaxBlock
	Reserve         int64 // bytes of free space below which nothing is staged; 0: the larger of 64 MiB and 2 %; below 0: none
	ReservePercent  int   // of the file system, where Reserve is above 0: the larger of the two counts
	// DiskUsage tells the bytes free for the store and in all; nil: what FS says.
	DiskUsage func() (free, total uint64, err error)

	// MustLock has OpenReader fail where it cannot take the lock, on read-only media for instance: for a reader who relies
	// on nobody's opening the store for recording before he closes it.
	MustLock bool

	Chain         string // expected, as [lightchain.ChainID.String] gives it: Open changes nothing of another one; "" any
	AllowVolatile bool   // open even where a power cut takes everything: a warning, and a flag in Stats
	BootID        string // of the machine: a change counts as a boot; "" each opening counts as one

	Now  func() time.Time // nil: time.Now; only Create asks
	Rand io.Reader        // nil: crypto/rand

	// Fatal is told once of a write that failed in a way that leaves unknown what is on disk. It must not return: the
	// program exits, and its next start finds out. Until then nothing that waits for durability is told that it has
	// it. nil: panic.
	Fatal func(error)

	// Opening is told, on the goroutine that opens the store, what takes long there, and how much of it is done, in parts of
	// a total that is 0 where nobody knows. An error that it returns ends the opening, which may begin again at any time. nil:
	// nobody is told.
	Opening func(step string, done, total uint64) error

	// Damaged is told, on the goroutine that owns the tail, when damage was found that [Store.RecordPending] is to record.
	// It must not block. nil: nobody is.
	Damaged func()

	// Met is told, on any goroutine, when damage was met that no scrub has looked at: see [Store.ScrubDue]. It must not
	// block. nil: nobody is.
	Met func()

	migrations []migration // for tests; nil: those of this program
	reading    *readingLog // while an opening reads the log; else nil
}

// signers returns all that were given.
func (o *Options) signers() []lightchain.Signer {
	if o.Signer == nil {
		return o.Signers
	}
	return append([]lightchain.Signer{o.Signer}, o.Signers...)
}

const (
	defaultCacheSize       = 8 << 20
	defaultMemTableSize    = 1 << 20
	defaultMaxBlockEntries = 4096
)

func (o Options) withDefaults() (Options, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheSize == 0 {
		o.CacheSize = defaultCacheSize
	}
	if o.MemTableSize == 0 {
		o.MemTableSize = defaultMemTableSize
	}
	if uint64(o.CacheSize) < 2*o.MemTableSize {
		return o, fmt.Errorf("a cache of %d bytes leaves nothing beside memtables of %d: it must be at least twice as large", o.CacheSize, o.MemTableSize)
	}
	if o.MaxBlockEntries == 0 {
		o.MaxBlockEntries = defaultMaxBlockEntries
	}
	if o.MaxBlockEntries < 1 || o.MaxBlockEntries > lightchain.MaxBlock {
		return o, fmt.Errorf("%d entries in a block: 1 to %d", o.MaxBlockEntries, lightchain.MaxBlock)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Opening == nil {
		o.Opening = func(string, uint64, uint64) error { return nil }
	}
	if o.migrations == nil {
		o.migrations = migrations
	}
	return o, nil
}

// Store records a chain. Stage, Seal, PutReceipts and Close belong to one goroutine, the owner of the tail; waiting
// for a group may happen on another, and reading on any.
type Store struct {
	Reader
	options    Options
	dir        string
	guard      *guard
	space      *spaceCheck
	compressor compressor
	info       OpenInfo
	lock       io.Closer

	// Owned by the goroutine that owns the tail.
	signers []lightchain.Signer // all that were given
	signer  lightchain.Signer   // the one whose key is in force; nil: none of them
	tip     *lightchain.Tip
	open    openBlock
	unsure  bool // headers may be missing above tip, or, in a restored store, may have been sealed there since; until ConfirmHead

	running  bool              // it is open: what it knows of itself does not have to be read
	logless  bool              // no log was in the database's folder when it was opened
	withheld *salvage.Withheld // what opening the database has removed, and is there still
	strange  map[string]bool   // tables that the database does not name and that cannot be read; by name
	mark     headMark          // what the slots say
	kept     keptKeys          // what the file of headers that set the key says
	slots    slots
	found    slotsRead    // what they said when the store was opened
	durable  durable      // what that says of the log
	rebuilt  []heightRun  // headers that a rebuild of this start has found
	stop     error        // what the opening was told while it read the log
	noted    acknowledged // what the note said then; nothing: there was none, or it was told of
	sound    bool         // all that is in the logs could be read then, looked at only where a slot of the head mark is lost
	group    chunkBuilder
	buffer   []byte // scratch: an encoded entry
	cut      tableCut
	stored   []byte // scratch: a chunk as it is stored

	merges    *compactions
	besides   sync.Mutex // held where tables are replaced, and where others than the owner of the tail write
	seeing    sync.Mutex // guards the swap of Reader.now, and note
	note      note
	scrubbing atomic.Pointer[ScrubState] // how far it is; swapped whole by the goroutine that scrubs; nil: none has
}

// OpenInfo is what opening a store found.
type OpenInfo struct {
	Opens     uint64    // how often the store was opened, this time included
	Boots     uint64    // boots of the machine seen, counted from 1
	NewBoot   bool      // this is the first opening in this boot
	Clean     bool      // it was closed properly the last time
	Recovered Recovered // what the last run left behind
	Restored  *Restored // set while the store is a restored one whose head is not confirmed for good
}

// set adds a pair to a batch; that cannot fail.
func set(b *pebble.Batch, k, v []byte) {
	if err := b.Set(k, v, nil); err != nil {
		panic(err)
	}
}

// Info returns what opening the store found.
func (s *Store) Info() OpenInfo { return s.info }

// Close notes that the store was closed properly, and closes it. Groups that were staged must have been waited for,
// and nobody may be reading any more. What is staged and not sealed stays, and is found by the next Open.
func (s *Store) Close() error {
	err := s.guard.err()
	if err == nil {
		batch := s.db.NewBatch()
		set(batch, metaKey(metaClean), nil)
		err = s.guard.commit(batch)
		batch.Close()
	}
	s.merges.close()
	if err = errors.Join(err, s.closeBeside(), s.Reader.Close(), s.lock.Close()); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// closeBeside closes the files beside the database.
func (s *Store) closeBeside() error {
	s.seeing.Lock()
	defer s.seeing.Unlock()
	return errors.Join(s.slots.close(), s.note.close())
}

// Checkpoint makes a copy of the store in dir, which must not exist: hard links where both are on one file system, so
// that it costs little. It holds all that is durable now, the head mark for its own end among it, and can be read while
// this store goes on. It belongs to the owner of the tail: a header whose mark is not durable yet must not leave with it.
func (s *Store) Checkpoint(dir string) error {
	fs := s.options.FS
	err := fs.MkdirAll(dir, 0o700)
	if err == nil {
		err = s.db.Checkpoint(fs.PathJoin(dir, dataName(1)), pebble.WithFlushedWAL())
	}
	if err == nil {
		err = putMarks(dir, s.options, &s.mark, readKeys(s.dir, s.options, s.tip.Chain))
	}
	if err != nil {
		return fmt.Errorf("checkpoint in %s: %w", dir, err)
	}
	return nil
}

// Room returns how many more entries the open block takes.
func (s *Store) Room() int { return s.options.MaxBlockEntries - int(s.open.count) }

// Open returns how many entries are staged and not sealed yet, and when the first of them arrived.
func (s *Store) Open() (count uint64, first time.Time) {
	if s.open.count == 0 {
		return 0, time.Time{}
	}
	return s.open.count, time.Unix(0, s.open.first)
}

// show lets readers see what has become durable: entries below next, and the sealed chain as it is.
func (s *Store) show(next uint64) {
	s.seeing.Lock()
	defer s.seeing.Unlock()
	old := s.now.Load()
	s.now.Store(&view{tip: old.tip, next: max(old.next, next)})
	s.acknowledge(max(old.next, next), old.tip.Height)
}

// showTip lets readers see a sealed block.
func (s *Store) showTip(tip *lightchain.Tip) {
	s.seeing.Lock()
	defer s.seeing.Unlock()
	next := max(s.now.Load().next, tip.Next)
	s.now.Store(&view{tip: tip, next: next})
	s.acknowledge(next, tip.Height)
}

// showMoved lets readers see another end of the chain, whose entries have other numbers.
func (s *Store) showMoved(tip *lightchain.Tip, next uint64) {
	s.seeing.Lock()
	defer s.seeing.Unlock()
	s.now.Store(&view{tip: tip, next: next})
	s.acknowledge(next, tip.Height)
}

// acknowledge notes the number of the next entry, where that may be acknowledged, and the newest header, where that may
// leave. It is called with seeing held.
func (s *Store) acknowledge(next, height uint64) {
	if err := s.note.put(next, height); err != nil {
		s.options.Logger.Warn("failed to note the number of the newest acknowledged entry, and does so no more: after damage to the log a start may not know how many are gone", "err", err)
	}
}

// openBlock is the block that is being filled: what of its entries is needed to seal it.
type openBlock struct {
	root    lightchain.CompactRange
	count   uint64
	first   int64   // when the first entry arrived
	seed    *seedAt // in use; nil: none is since the store was opened or the block begun
	summary summary
}

func newOpenBlock() openBlock { return openBlock{summary: newSummary(), first: math.MaxInt64} }

// add takes an entry whose encoding is given.
func (b *openBlock) add(e *lightchain.Entry, encoded []byte) {
	if b.count == 0 {
		b.first = e.Received
	}
	b.root.Append(lightchain.LeafHash(encoded), nil)
	b.count++
	b.summary.add(e)
}
