package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"edgechain/lightchain"
)

// Genesis is what the operator decides about a new chain.
type Genesis struct {
	Name      string           // the gateway's name, "" for none
	Continues *lightchain.Hash // the last known header of the chain that this one takes over from
	Clock     lightchain.Clock
}

// Create begins a chain in dir, which is made if it is not there. When it returns the genesis header, that is
// durable. It fails with [ErrExists] where a chain is, with [ErrLocked], and with [ErrVolatile].
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
	lock, err := lockFolder(dir, o, false)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if _, _, err := current(dir, o); !errors.Is(err, ErrNoChain) {
		return nil, errors.Join(ErrExists, err)
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
	if err := install(dir, 1, o, func(path string) error { return begin(path, o, signed) }); err != nil {
		return nil, err
	}
	return signed, syncFolder(o.FS.PathDir(dir), o) // dir itself may be new
}

// begin makes a database that holds a genesis header.
func begin(path string, o Options, genesis *lightchain.SignedHeader) (err error) {
	guard := newGuard(o.Fatal)
	db, err := openPebble(path, o, guard)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	batch := db.NewBatch()
	defer batch.Close()
	chain := genesis.ChainID()
	set(batch, metaKey(metaLayout), binary.AppendUvarint(nil, layout(o.migrations)))
	set(batch, metaKey(metaChain), chain[:])
	set(batch, headerKey(0), appendHeader(nil, &genesis.Signature, genesis.Bytes()))
	set(batch, key(spaceKeys, 0), genesis.Header.NextKey[:])
	return guard.commit(batch)
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
	if _, _, err := current(dir, o); err != nil {
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
	if s.lock, err = lockFolder(dir, o, false); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	repaired, err := s.openDatabase()
	if err != nil {
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
	return s, s.countOpening()
}

// openDatabase opens the database that counts, repairing what must be repaired for that.
func (s *Store) openDatabase() (repaired Recovered, err error) {
	path, n, err := current(s.dir, s.options)
	if err != nil {
		return repaired, err
	}
	if repaired, err = repairLogs(s.dir, path, s.options); err != nil {
		return repaired, err
	}
	if s.db, err = openPebble(path, s.options, s.guard); err == nil || s.guard.err() != nil || !isDamage(err) {
		return repaired, err
	}
	if err := rebuild(s.dir, path, n, s.options, s.guard, err); err != nil {
		return repaired, err
	}
	repaired.Rebuilt = path
	path, _, err = current(s.dir, s.options)
	if err == nil {
		s.db, err = openPebble(path, s.options, s.guard)
	}
	return repaired, err
}

// isDamage tells whether a database that does not open may be damaged: not if the system refused something.
func isDamage(err error) bool {
	for _, other := range [...]error{ErrLocked, os.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

// recover finds the tail, checks that the key continues it, and stages again what stands behind a gap.
func (s *Store) recover(repaired Recovered) error {
	tip, sure, err := s.findTip()
	if err != nil {
		return err
	}
	_, noted := s.get(metaKey(metaUnsure))
	s.unsure = !sure || noted == nil
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
	recovered.LogBytes, recovered.LogFile, recovered.Rebuilt = repaired.LogBytes, repaired.LogFile, repaired.Rebuilt
	recovered.Unsure = s.unsure
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
	path, _, err := current(dir, o)
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir, o, true)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	r := &Reader{lock: lock}
	if r.db, err = openPebbleReadOnly(path, o); err != nil {
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
	tip, _, err := r.findTip()
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
