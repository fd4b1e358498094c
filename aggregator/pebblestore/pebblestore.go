// Package pebblestore keeps what an aggregator knows in Pebble, in one folder, for one process. It owns what lies there
// and when it is durable; what the records mean is package aggregator's, whose contracts it implements.
package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
)

// Options says how to open a store. The zero value works.
type Options struct {
	FS     vfs.FS       // nil: the operating system's
	Logger *slog.Logger // nil: silence
	Cache  int64        // bytes of Pebble's block cache; 0: 64 MiB
	// Fatal is told once of a write of which it is unknown whether it reached the disk. It must not return: the
	// program exits, and its next start finds out. nil: panic.
	Fatal func(error)
	Now   func() time.Time // nil: time.Now
}

const defaultCache = 64 << 20

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Cache == 0 {
		o.Cache = defaultCache
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// formatMajorVersion is pinned: a newer Pebble must not make the store unreadable to an older program unasked.
const formatMajorVersion = pebble.FormatTableFormatV6

// layout is the version of the keys below, stored under keyLayout.
const layout = 2

// The first byte of a key says what it is. Chains are 32 bytes, heights 8, big-endian, so that order is order.
const (
	keyLayout   = 'v' // -> layout, one byte
	keyRecord   = 'c' // chain -> record
	keyState    = 'h' // chain -> state
	keySegment  = 's' // chain, first height -> segment
	keyReceipt  = 'r' // chain, height -> time, signed header with its receipt
	keyEvidence = 'f' // chain, height, id -> when it was seen, evidence
	keyDocument = 'd' // kind, 0, name -> text
	keyJournal  = 'j' // -> nothing: there is a journal beside
	keyLog      = 'l' // see headlog.go
	keyWaiting  = 'w' // chain -> height, header: it waits for the log of heads
)

// Store is an open store.
type Store struct {
	fs      vfs.FS
	dir     string
	lock    *pebble.Lock
	db      *pebble.DB
	journal *journal
	opened  registry.Opened
	running atomic.Bool // it is open: who meets damage can only note it
	fatal   func(error)

	// updating serialises updates of one chain or document: the lock is chosen by what is updated, so that updates of
	// others share one sync with it.
	updating [256]sync.Mutex

	mu     sync.Mutex
	failed error // the first write that failed; guarded by mu
}

var (
	_ registry.Store        = (*Store)(nil)
	_ registry.Checkpointer = (*Store)(nil)
	_ registry.Mended       = (*Store)(nil)
)

// Open opens the store in the folder dir, and begins one there if none was. Whatever state a crash or a bad disk left it in, it
// opens if anything can be read of it, or of the journal beside it; [Store.Opened] says what was lost. An error a caller
// branches on is [registry.ErrRunning].
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{fatal: o.Fatal, fs: o.FS, dir: dir}
	p := &opening{dir: dir, o: o, store: s}
	if err := s.open(p); err != nil {
		if s.journal != nil {
			err = errors.Join(err, s.journal.close())
		}
		p.close()
		return nil, fmt.Errorf("opening the store in %s: %w", dir, err)
	}
	s.lock = p.lock
	s.running.Store(true)
	return s, nil
}

func (s *Store) open(p *opening) error {
	if err := p.database(); err != nil {
		return err
	}
	var found journalRead
	var err error
	if s.journal, found, err = openJournal(p.o.FS, p.dir+journalSuffix); err != nil {
		return err
	}
	err = p.compare(found)
	if err != nil && isDamage(err) && !s.opened.Rebuilt {
		if err = p.rebuild(err); err == nil {
			err = p.compare(found)
		}
	}
	if err != nil {
		return err
	}
	// The database is as whole as it can be: what no part of it is in goes.
	return p.letGo()
}

// Opened says what the start found damaged, or gone.
func (s *Store) Opened() registry.Opened { return s.opened }

func (s *Store) checkLayout() error {
	found, err := s.get([]byte{keyLayout})
	switch {
	case err != nil:
		return err
	case found == nil:
		return s.db.Set([]byte{keyLayout}, []byte{layout}, pebble.Sync)
	case len(found) == 1 && found[0] < layout:
		return &sound{errors.New("it was made before the format was fixed, and the heads in it are none of this format: begin a new store in another folder, and let the gateways enrol again")}
	case len(found) != 1 || found[0] != layout:
		return &sound{fmt.Errorf("its layout is version %v, this program knows %d", found, layout)}
	}
	return nil
}

// Close closes the store. Nothing may use it any more.
func (s *Store) Close() error {
	if err := s.err(); err != nil {
		if !errors.Is(err, errBroken) {
			return err // closing would wait for writes that never come back
		}
		return errors.Join(err, s.db.Close(), s.journal.close(), s.lock.Close())
	}
	return errors.Join(s.db.Close(), s.journal.close(), s.lock.Close())
}

// Checkpoint implements [registry.Checkpointer]: hard links where both folders are on one file system.
func (s *Store) Checkpoint(dir string) error {
	if err := s.err(); err != nil {
		return err
	}
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("checkpoint in %s: %w", dir, err)
	}
	return nil
}

// Update implements [registry.Chains].
func (s *Store) Update(ctx context.Context, chain lightchain.ChainID, change func(*registry.Record) (*registry.Change, error)) error {
	lock := &s.updating[chain[0]]
	lock.Lock()
	defer lock.Unlock()
	if err := errors.Join(ctx.Err(), s.err()); err != nil {
		return err
	}
	r, err := s.Record(ctx, chain)
	if errors.Is(err, registry.ErrNotFound) {
		r = &registry.Record{Chain: chain}
	} else if err != nil {
		return err
	}
	standing := r.Standing
	c, err := change(r)
	if errors.Is(err, registry.ErrUnchanged) {
		return nil
	} else if err != nil {
		return err
	}
	// That a stranger waits is no promise, and anybody can make up strangers.
	decided := r.Standing != standing && !(standing == "" && r.Standing == registry.Waiting)
	promised := decided || c != nil && (c.Receipt != nil || c.Evidence != nil)
	b := s.db.NewBatch()
	if err := put(b, r, c); err != nil {
		b.Close()
		return err
	}
	// Stopping here, nothing has happened. The batch is whole in the log or not at all, and Commit returns when it is
	// synced: stopping after it, all of it has.
	if err := s.commit(b); err != nil || !promised {
		return err
	}
	// Stopping here, the database is ahead of the journal, and nothing has left yet.
	if err := s.journal.add(r); err != nil {
		return s.fail(fmt.Errorf("the journal of what is countersigned: %w", err))
	}
	return s.err()
}

func put(b *pebble.Batch, r *registry.Record, c *registry.Change) error {
	value, err := r.Encode()
	if err != nil {
		return err
	}
	set := func(key, value []byte) { err = errors.Join(err, b.Set(key, value, nil)) }
	set(chainKey(keyRecord, r.Chain), value)
	if r.State != nil {
		state, err := r.State.Encode()
		if err != nil {
			return err
		}
		set(chainKey(keyState, r.Chain), state)
	}
	if c == nil {
		return err
	}
	if c.Forget {
		for _, kind := range []byte{keySegment, keyReceipt} {
			prefix := chainKey(kind, r.Chain)
			err = errors.Join(err, b.DeleteRange(prefix, after(prefix), nil))
		}
	}
	for _, g := range c.Segments {
		set(heightKey(keySegment, r.Chain, g.First), append(binary.BigEndian.AppendUint64(nil, g.Last), g.Body...))
	}
	if t := c.Receipt; t != nil {
		err = errors.Join(err, setReceipt(b, r.Chain, t))
	}
	if l := c.Logged; l != nil {
		set(chainKey(keyWaiting, l.Chain), append(binary.BigEndian.AppendUint64(nil, l.Height), l.Header...))
	}
	if e := c.Evidence; e != nil {
		set(append(heightKey(keyEvidence, r.Chain, e.Height), e.ID[:]...), append(binary.BigEndian.AppendUint64(nil, uint64(e.Seen)), e.Body...))
	}
	return err
}

func setReceipt(b *pebble.Batch, chain lightchain.ChainID, t *registry.Receipted) error {
	return b.Set(heightKey(keyReceipt, chain, t.Height), append(binary.BigEndian.AppendUint64(nil, t.Time), t.Body...), nil)
}

// UpdateDocument implements [registry.Documents].
func (s *Store) UpdateDocument(ctx context.Context, kind, name string, change func([]byte) ([]byte, error)) error {
	key := append(documentPrefix(kind), name...)
	lock := &s.updating[key[len(key)-1]]
	lock.Lock()
	defer lock.Unlock()
	if err := errors.Join(ctx.Err(), s.err()); err != nil {
		return err
	}
	old, err := s.get(key)
	if err != nil {
		return err
	}
	text, err := change(old)
	if errors.Is(err, registry.ErrUnchanged) || err == nil && old == nil && text == nil {
		return nil
	} else if err != nil {
		return err
	}
	b := s.db.NewBatch()
	if text == nil {
		err = b.Delete(key, nil)
	} else {
		err = b.Set(key, text, nil)
	}
	if err != nil {
		b.Close()
		return err
	}
	return s.commit(b)
}

func chainKey(kind byte, chain lightchain.ChainID) []byte {
	return append(append(make([]byte, 0, 80), kind), chain[:]...)
}

func heightKey(kind byte, chain lightchain.ChainID, height uint64) []byte {
	return binary.BigEndian.AppendUint64(chainKey(kind, chain), height)
}

func documentPrefix(kind string) []byte {
	return append(append([]byte{keyDocument}, kind...), 0)
}

func heightOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[1+len(lightchain.ChainID{}):]) }

// after returns the first key that does not begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; ; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}

// commit makes a batch durable. After the first one that failed nothing is ever reported as durable.
func (s *Store) commit(b *pebble.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil { // which is how some failed writes come back from Pebble
			err = s.fail(fmt.Errorf("pebble: %v", p))
		}
	}()
	if err := b.Commit(pebble.Sync); err != nil {
		return s.fail(err)
	}
	b.Close()
	return s.err()
}

func (s *Store) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *Store) fail(err error) error {
	s.mu.Lock()
	first := s.failed == nil
	if first {
		s.failed = fmt.Errorf("%w: %w", registry.ErrFailed, err)
	}
	err = s.failed
	s.mu.Unlock()
	if first {
		s.fatal(err)
	}
	return err
}

// logger takes Pebble's word. Its Fatalf must not return: where the program does not exit, the goroutine stays here.
type logger struct {
	log   *slog.Logger
	store *Store
}

func (l logger) Infof(format string, args ...any)  { l.log.Debug(fmt.Sprintf(format, args...)) }
func (l logger) Errorf(format string, args ...any) { l.log.Warn(fmt.Sprintf(format, args...)) }

func (l logger) Fatalf(format string, args ...any) {
	l.store.fail(fmt.Errorf(format, args...))
	select {}
}
