package pebblestore

import (
	"errors"
	"fmt"
	"io"

	"edgechain.example/aggregator/registry"
)

// Keeper is a journal of what is countersigned for an aggregator whose store is on a server: so what it knows outlives it.
type Keeper struct {
	journal *journal
	lock    io.Closer
}

var _ registry.Keeper = (*Keeper)(nil)

// OpenKeeper opens the journal at path, or begins one. Where another process has it, that is an [registry.ErrRunning].
func OpenKeeper(path string, o Options) (*Keeper, error) {
	o = o.withDefaults()
	lock, err := lockFS{o.FS}.Lock(path + ".lock")
	if err != nil {
		return nil, err
	}
	j, found, err := openJournal(o.FS, path)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if found.damaged() || found.torn > 0 && len(j.newest) == 0 {
		o.Logger.Error("the journal of what is countersigned is damaged; what the database knows counts", "file", path, "bytes", found.bad+found.torn)
	}
	return &Keeper{j, lock}, nil
}

// Keep implements [registry.Keeper].
func (k *Keeper) Keep(r *registry.Record) error { return k.journal.add(r) }

// Kept implements [registry.Keeper].
func (k *Keeper) Kept(visit func(*registry.Record) error) error {
	for chain := range k.journal.newest {
		e, err := k.journal.of(chain)
		if err != nil {
			return fmt.Errorf("the journal of what is countersigned: %w", err)
		}
		if err := visit(e.record); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the journal.
func (k *Keeper) Close() error { return errors.Join(k.journal.close(), k.lock.Close()) }
