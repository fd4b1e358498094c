package pebblestore

import (
	"context"
	"errors"
	"fmt"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
)

// compare brings the database to what the journal says was promised, and the journal to what the database says. It fails
// where the database cannot be read, and where more of it may be in its folder than it knows.
func (p *opening) compare(found journalRead) error {
	s := p.store
	if err := s.checkLayout(); err != nil {
		return err
	}
	lacking, err := p.lacking()
	if err != nil {
		return err
	}
	if !s.opened.Rebuilt {
		switch found, lacks, err := p.unnamed(); {
		case err != nil:
			return err
		case found && len(lacking) > 0:
			return fmt.Errorf("%w: it knows less than was countersigned, and there are tables that it does not use", errBroken)
		case lacks:
			return fmt.Errorf("%w: there are tables that it does not use, and it lacks what is in them", errBroken)
		}
	}
	if s.opened.Rebuilt {
		if err := p.receipts(); err != nil {
			return err
		}
	}
	if len(lacking) > 0 {
		p.o.Logger.Error("the store was set back: it knew less than was countersigned, which is put back", "chains", len(lacking))
		if err := p.putBack(lacking); err != nil {
			return err
		}
	}
	return p.renew(found)
}

// lacking returns of which chains the database knows less than was promised.
func (p *opening) lacking() (map[lightchain.ChainID]bool, error) {
	s := p.store
	lacking := map[lightchain.ChainID]bool{}
	for chain := range s.journal.newest {
		e, err := s.journal.of(chain)
		if err != nil {
			return nil, &sound{fmt.Errorf("the journal of what is countersigned: %w", err)}
		}
		r, err := p.known(chain)
		if err != nil {
			return nil, err
		}
		if r.Behind(e.record) {
			lacking[chain] = true
		}
	}
	return lacking, nil
}

// known returns what the database knows of a chain, which may be nothing.
func (p *opening) known(chain lightchain.ChainID) (*registry.Record, error) {
	r, err := p.store.read(chain)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return &registry.Record{Chain: chain}, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errBroken, err)
	}
	return r, nil
}

// receipts puts receipts into the database that it lacks and the journal still holds.
func (p *opening) receipts() error {
	s := p.store
	b := s.db.NewBatch()
	err := s.journal.each(func(e *entry) error {
		t, err := e.record.Receipted()
		if err != nil || t == nil {
			return err
		}
		if newest, err := s.journal.of(e.chain); err != nil || newest.record.Standing == registry.Forgotten {
			return err // with the chain its receipts were
		}
		held, err := s.get(heightKey(keyReceipt, e.chain, t.Height))
		if err != nil || held != nil {
			return err
		}
		return setReceipt(b, e.chain, t)
	})
	return errors.Join(err, s.commit(b))
}

// putBack puts what was promised of the chains into the database: receipts first, then records and states, which tell that
// they are lacking.
//
// Cut off in the middle, the next start does the rest.
func (p *opening) putBack(lacking map[lightchain.ChainID]bool) error {
	s := p.store
	if err := p.receipts(); err != nil {
		return err
	}
	for chain := range lacking {
		r, err := p.known(chain)
		if err != nil {
			return err
		}
		e, err := s.journal.of(chain)
		if err != nil {
			return err
		}
		text := r.PutBack(e.record, p.o.Now().Unix())
		b := s.db.NewBatch()
		if err := errors.Join(put(b, r, nil), s.commit(b)); err != nil {
			return err
		}
		p.o.Logger.Warn("what was countersigned is put back", "chain", chain, "gateway", r.Name, "height", r.Head.Height, "text", text)
		s.opened.SetBack++
	}
	return nil
}

// renew brings the journal to what the database knows, where it may hold less: when it is new, and when something of it could
// not be read.
func (p *opening) renew(found journalRead) error {
	s := p.store
	before, err := s.get([]byte{keyJournal})
	if err != nil {
		return err
	}
	gone := !found.there && before != nil
	if gone {
		p.o.Logger.Error("the journal of what is countersigned is gone, and is made anew from what the database knows", "file", s.journal.path)
	}
	damaged := found.damaged() || found.torn > 0 && len(s.journal.newest) == 0
	if damaged {
		p.o.Logger.Error("the journal of what is countersigned is damaged; what the database knows counts", "file", s.journal.path, "bytes", found.bad+found.torn)
	}
	s.opened.Journal = gone || damaged
	if found.there && found.bad == 0 && found.torn == 0 && before != nil {
		return nil
	}
	var last uint64
	err = registry.EachRecord(context.Background(), s, func(r *registry.Record) error {
		r, err := s.read(r.Chain)
		if err != nil {
			return err
		}
		if _, found := s.journal.newest[r.Chain]; found {
			e, err := s.journal.of(r.Chain)
			if err != nil || !e.record.Behind(r) {
				return err
			}
		}
		last, err = s.journal.write(r)
		return err
	})
	if err == nil && last > 0 {
		err = s.journal.sync(last)
	}
	if err != nil {
		return err
	}
	// Stopping before this is durable, the journal is looked through once more.
	b := s.db.NewBatch()
	return errors.Join(b.Set([]byte{keyJournal}, nil, nil), s.commit(b))
}
