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
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"edgechain/lightchain"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options says how to open a store. The zero value reads one from disk; for writing, Signer must be set.
type Options struct {
	FS     vfs.FS            // nil: the operating system's
	Signer lightchain.Signer // signs the next header; its key must be the one in force
	// NextSigner is the key that an interrupted rotation was about to bring in force: it is taken instead of Signer
	// if the chain says that it did.
	NextSigner lightchain.Signer
	Logger     *slog.Logger // nil: silence

	CacheSize    int64  // bytes of Pebble's block cache, from which memtables take their room too; 0: 8 MiB
	MemTableSize uint64 // bytes; 0: 1 MiB

	MaxBlockEntries int   // 0: 4096; at most lightchain.MaxBlock
	Reserve         int64 // bytes of free space below which nothing is staged; 0: the larger of 64 MiB and 2 %; below 0: none
	// DiskUsage tells the bytes free for the store and in all; nil: what FS says.
	DiskUsage func() (free, total uint64, err error)

	AllowVolatile bool   // open even where a power cut takes everything: a warning, and a flag in Stats
	BootID        string // of the machine: a change counts as a boot; "" each opening counts as one

	Now  func() time.Time // nil: time.Now; only Create asks
	Rand io.Reader        // nil: crypto/rand

	// Fatal is told once of a write that failed in a way that leaves unknown what is on disk. It must not return: the
	// program exits, and its next start finds out. Until then nothing that waits for durability is told that it has
	// it. nil: panic.
	Fatal func(error)

	migrations []migration // for tests; nil: those of this program
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

	// Owned by the goroutine that owns the tail.
	signer lightchain.Signer
	tip    *lightchain.Tip
	open   openBlock
	group  chunkBuilder
	buffer []byte

	seeing sync.Mutex // guards the swap of Reader.now
}

// OpenInfo is what opening a store found.
type OpenInfo struct {
	Opens     uint64    // how often the store was opened, this time included
	Boots     uint64    // boots of the machine seen, counted from 1
	NewBoot   bool      // this is the first opening in this boot
	Clean     bool      // it was closed properly the last time
	Recovered Recovered // what the last run left behind
}

// Genesis is what the operator decides about a new chain.
type Genesis struct {
	Name      string           // the gateway's name, "" for none
	Continues *lightchain.Hash // the last known header of the chain that this one takes over from
	Clock     lightchain.Clock
}

// Create begins a chain in dir, which is made if it is not there. When it returns the genesis header, that is
// durable. It fails with [ErrExists] where a chain is, and with [ErrVolatile].
func Create(dir string, o Options, g Genesis) (*lightchain.SignedHeader, error) {
	header, err := create(dir, o, g)
	if err != nil {
		return nil, fmt.Errorf("creating a chain in %s: %w", dir, err)
	}
	return header, nil
}

func create(dir string, o Options, g Genesis) (_ *lightchain.SignedHeader, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	if o.Signer == nil {
		return nil, errors.New("no key to sign with")
	}
	if err := o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := checkVolatile(dir, o); err != nil {
		return nil, err
	}
	genesis := lightchain.Genesis{Continues: g.Continues}
	if g.Name != "" {
		genesis.Name = &g.Name
	}
	if _, err := io.ReadFull(o.Rand, genesis.Nonce[:]); err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	signed, err := lightchain.NewGenesis(genesis, o.Signer.Public(), o.Now().UnixNano(), g.Clock).Sign(o.Signer)
	if err != nil {
		return nil, err
	}
	if _, err := lightchain.Begin(signed); err != nil {
		return nil, err
	}
	guard := newGuard(o.Fatal)
	db, _, err := openPebble(dir, o, guard)
	if err != nil && !errors.Is(err, ErrLocked) && !isMarked(dir, o) {
		// The power went out during an earlier creation: nothing was ever recorded here.
		if err = putAside(dir, o, pebbleFiles(dir, o)); err == nil {
			db, _, err = openPebble(dir, o, guard)
		}
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// A crash before the batch below is durable leaves a database without a layout: there is no chain yet.
	r := Reader{from: db}
	if _, err := r.get(metaKey(metaLayout)); !errors.Is(err, ErrNotFound) {
		return nil, errors.Join(ErrExists, err)
	}
	batch := db.NewBatch()
	defer batch.Close()
	chain := signed.ChainID()
	set(batch, metaKey(metaLayout), binary.AppendUvarint(nil, layout(o.migrations)))
	set(batch, metaKey(metaChain), chain[:])
	set(batch, headerKey(0), appendHeader(nil, &signed.Signature, signed.Bytes()))
	set(batch, key(spaceKeys, 0), signed.Header.NextKey[:])
	if err := guard.commit(batch); err != nil {
		return nil, err
	}
	// After a crash here the chain is there, and only its mark is missing: the next opening makes it.
	return signed, mark(dir, o, chain)
}

// set adds a pair to a batch; that cannot fail.
func set(b *pebble.Batch, k, v []byte) {
	if err := b.Set(k, v, nil); err != nil {
		panic(err)
	}
}

// Open opens the chain in dir for recording. Whatever state a crash or a bad card left it in, it opens if the chain's
// end can be found at all, and says in Info what was lost; the entries that were acknowledged and are not lost are
// there. Errors a caller branches on: [ErrNoChain], [ErrNewer], [ErrWrongKey], [ErrVolatile], [ErrLocked],
// [ErrNoSpace].
func Open(dir string, o Options) (*Store, error) {
	s, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("opening the chain in %s: %w", dir, err)
	}
	return s, nil
}

func open(dir string, o Options) (_ *Store, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	if o.Signer == nil {
		return nil, errors.New("no key to sign with")
	}
	if err := wantDatabase(dir, o); err != nil {
		return nil, err
	}
	volatile, err := checkVolatile(dir, o)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, dir: dir, guard: newGuard(o.Fatal), signer: o.Signer, open: newOpenBlock()}
	s.space = newSpaceCheck(dir, o)
	s.space.volatile = volatile
	if err := s.space.enoughToOpen(); err != nil {
		return nil, err
	}
	var repaired Recovered
	if s.db, repaired, err = openPebble(dir, o, s.guard); err != nil {
		if !errors.Is(err, ErrLocked) && !isMarked(dir, o) {
			return nil, fmt.Errorf("%w: its creation was cut off", ErrNoChain)
		}
		return nil, err
	}
	s.from = s.db
	defer func() {
		if err != nil {
			s.db.Close()
		}
	}()
	if s.decoder, err = newDecoder(); err != nil {
		return nil, err
	}
	if s.compressor, err = newCompressor(); err != nil {
		return nil, err
	}
	if err := s.migrate(); err != nil {
		return nil, err
	}
	if err := s.recover(repaired); err != nil {
		return nil, err
	}
	if err := s.countOpening(); err != nil {
		return nil, err
	}
	return s, mark(dir, o, s.tip.Chain)
}

// recover finds the tail, checks that the key continues it, and stages again what stands behind a gap.
func (s *Store) recover(repaired Recovered) error {
	tip, err := s.findTip()
	if err != nil {
		return err
	}
	s.tip = tip
	s.now.Store(&view{tip: tip.Clone(), next: tip.Next})
	switch {
	case s.signer.Public() == tip.Key:
	case s.options.NextSigner != nil && s.options.NextSigner.Public() == tip.Key:
		s.signer = s.options.NextSigner
	default:
		return fmt.Errorf("%w: the one in force is %s, the one given is %s", ErrWrongKey, tip.Key, s.signer.Public())
	}
	orphans, recovered, err := s.recoverOpen(&s.open)
	if err != nil {
		return err
	}
	recovered.LogBytes, recovered.LogFile = repaired.LogBytes, repaired.LogFile
	s.show(tip.Next + s.open.count)
	s.info.Recovered = recovered
	return s.stageAgain(orphans)
}

// OpenReader opens the chain in dir for reading only. Beside nobody who writes to it: it fails with [ErrLocked] while
// the agent runs, which makes a checkpoint for those who must read meanwhile. It works on read-only media, on a
// volatile folder and without any key; nothing in the folder changes.
func OpenReader(dir string, o Options) (*Reader, error) {
	r, err := openReader(dir, o)
	if err != nil {
		return nil, fmt.Errorf("reading the chain in %s: %w", dir, err)
	}
	return r, nil
}

func openReader(dir string, o Options) (_ *Reader, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	if err := wantDatabase(dir, o); err != nil {
		return nil, err
	}
	r := &Reader{}
	if r.db, err = openPebbleReadOnly(dir, o); err != nil {
		return nil, err
	}
	r.from = r.db
	defer func() {
		if err != nil {
			r.db.Close()
		}
	}()
	if r.decoder, err = newDecoder(); err != nil {
		return nil, err
	}
	if err := r.checkLayout(o.migrations); err != nil {
		return nil, err
	}
	tip, err := r.findTip()
	if err != nil {
		return nil, err
	}
	r.now.Store(&view{tip: tip, next: tip.Next})
	open := newOpenBlock()
	if _, _, err = r.recoverOpen(&open); err != nil {
		return nil, err
	}
	r.now.Store(&view{tip: tip, next: tip.Next + open.count})
	return r, nil
}

// Close ends reading. Nobody may be reading any more.
func (r *Reader) Close() error {
	r.decoder.Close()
	return r.db.Close()
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
	if closeErr := s.Reader.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return nil
}

// Checkpoint makes a copy of the store in dir, which must not exist: hard links where both are on one file system, so
// that it costs little. It holds all that is durable now, and can be read while this store goes on.
func (s *Store) Checkpoint(dir string) error {
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
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
}

// showTip lets readers see a sealed block.
func (s *Store) showTip(tip *lightchain.Tip) {
	s.seeing.Lock()
	defer s.seeing.Unlock()
	s.now.Store(&view{tip: tip, next: max(s.now.Load().next, tip.Next)})
}

// showMoved lets readers see another end of the chain, whose entries have other numbers.
func (s *Store) showMoved(tip *lightchain.Tip, next uint64) {
	s.seeing.Lock()
	defer s.seeing.Unlock()
	s.now.Store(&view{tip: tip, next: next})
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
