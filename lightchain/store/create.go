package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"edgechain.example/lightchain"
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
	if _, _, err := current(dir, o); !errors.Is(err, ErrNoChain) || chainLeft(dir, o) {
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
	if err := install(dir, 1, o, func(path string) error { return begin(path, o, signed, false) }); err != nil {
		return nil, err
	}
	// Cut off here, there is a chain without a head mark, which its first start gives it; genesis has not left.
	if err := beginMark(dir, o, signed); err != nil {
		return nil, fmt.Errorf("head mark: %w", err)
	}
	return signed, syncFolder(o.FS.PathDir(dir), o) // dir itself may be new
}

// begin makes a database that holds a genesis header: of a chain that begins, or again in the place of one that is gone.
func begin(path string, o Options, genesis *lightchain.SignedHeader, again bool) (err error) {
	guard := newGuard(o.Fatal)
	db, err := createPebble(path, o, guard)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	batch := db.NewBatch()
	defer batch.Close()
	chain := genesis.ChainID()
	set(batch, metaKey(metaLayout), binary.AppendUvarint(nil, layout(o.migrations)))
	set(batch, metaKey(metaChain), chain[:])
	set(batch, metaKey(metaMarked), nil)
	if boot := genesis.Header.Clock.Boot; boot > 0 && !again { // the first start in it counts no other
		set(batch, metaKey(metaBoots), append(binary.AppendUvarint(nil, boot), o.BootID...))
	}
	set(batch, headerKey(0), appendHeader(nil, &genesis.HeaderSignature, genesis.Bytes()))
	set(batch, key(spaceKeys, 0), genesis.Header.NextKey[:])
	return guard.commit(batch)
}
