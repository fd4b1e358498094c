package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// What the store remembers about itself, by word.
const (
	metaLayout = "layout" // uvarint: version of the layout
	metaChain  = "chain"  // 32 bytes: the chain's identity
	metaOpens  = "opens"  // uvarint: how often the store was opened
	metaBoots  = "boots"  // uvarint: boots counted, then the machine's id of the last one
	metaClean  = "clean"  // present while the store is closed properly
	metaUnsure = "unsure" // present while headers may be missing at the chain's end
	metaMarked = "marked" // present since a head mark stands beside the database

	metaMending           = "mending "    // and a space, as long as what was lost with a table of it is not written anew
	metaSealedUnconfirmed = "unconfirmed" // present since something may have been sealed that no aggregator has agreed with
)

// SealedUnconfirmed reports what [Store.SetSealedUnconfirmed] noted.
func (r *Reader) SealedUnconfirmed() (bool, error) {
	_, err := r.get(metaKey(metaSealedUnconfirmed))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// SetSealedUnconfirmed notes durably whether sealing goes on without an aggregator's word on the head. Note it before the
// first such seal: a head that is restored later may then not continue what was sealed here.
func (s *Store) SetSealedUnconfirmed(unconfirmed bool) error {
	if is, err := s.SealedUnconfirmed(); err != nil || is == unconfirmed {
		return err
	}
	if unconfirmed {
		return s.putSynced(metaKey(metaSealedUnconfirmed), nil)
	}
	return s.deleteSynced(metaKey(metaSealedUnconfirmed))
}

// A migration brings a store from one layout to the next. What it puts into the batch becomes durable together with
// the new version, so a crash leaves the old layout or the new one. One that cannot be a single batch must prepare in
// ways that the old layout does not see, and be able to prepare again.
type migration func(r *Reader, batch *pebble.Batch) error

// firstLayout is the oldest layout that can be brought to this program's. What an older one holds was signed otherwise.
const firstLayout = 2

// migrations lead from the first layout to this program's, one each.
var migrations = []migration{}

// layout returns the version that the migrations lead to.
func layout(m []migration) uint64 { return firstLayout + uint64(len(m)) }

func (r *Reader) layoutVersion() (uint64, error) {
	b, err := r.get(metaKey(metaLayout))
	if errors.Is(err, ErrNotFound) {
		return 0, ErrNoChain // a crash came before the chain's first batch
	}
	if err != nil {
		return 0, fmt.Errorf("version of the layout: %w", err)
	}
	version, n := binary.Uvarint(b)
	if n <= 0 || version == 0 {
		return 0, fmt.Errorf("version of the layout: %w", ErrDamaged)
	}
	return version, nil
}

// checkLayout lets a reader read its own layout alone: migrating would write. One whose version cannot be read is taken
// for that: what is not of it reads as damaged.
func (r *Reader) checkLayout(m []migration) error {
	version, err := r.layoutVersion()
	switch {
	case errors.Is(err, ErrDamaged):
		return nil
	case err != nil:
		return err
	case version < firstLayout:
		return ErrOlder
	case version > layout(m):
		return fmt.Errorf("%w: layout %d, this program knows %d", ErrNewer, version, layout(m))
	case version < layout(m):
		return fmt.Errorf("the store has layout %d of an older program: start the agent once, which brings it to %d", version, layout(m))
	}
	return nil
}

// migrate brings the store to this program's layout.
func (s *Store) migrate() error {
	version, err := s.layoutVersion()
	if err != nil {
		return err
	}
	steps := s.options.migrations
	if version < firstLayout {
		return ErrOlder
	}
	if version > layout(steps) {
		return fmt.Errorf("%w: layout %d, this program knows %d", ErrNewer, version, layout(steps))
	}
	for ; version < layout(steps); version++ {
		if err := s.migrateStep(version, steps[version-firstLayout]); err != nil {
			return fmt.Errorf("bringing the store from layout %d to %d: %w", version, version+1, err)
		}
		s.options.Logger.Info("store brought to a newer layout", "layout", version+1)
	}
	return nil
}

func (s *Store) migrateStep(version uint64, step migration) error {
	batch := s.db.NewBatch()
	defer batch.Close()
	if err := step(&s.Reader, batch); err != nil {
		return err
	}
	set(batch, metaKey(metaLayout), binary.AppendUvarint(nil, version+1))
	return s.guard.commit(batch)
}

// countOpening counts this opening and, if the machine was started since the last one, its boot.
func (s *Store) countOpening() error {
	opens, boots := uint64(0), uint64(0)
	lastBoot := ""
	if b, err := s.get(metaKey(metaOpens)); err == nil {
		opens, _ = binary.Uvarint(b)
	}
	opens = max(opens, s.opensOfMark()) // where the count itself was lost
	if b, err := s.get(metaKey(metaBoots)); err == nil {
		n := 0
		if boots, n = binary.Uvarint(b); n > 0 {
			lastBoot = string(b[n:])
		}
	}
	if h, err := s.HeaderAt(s.tip.Height); err == nil {
		boots = max(boots, h.Clock.Boot) // where the count itself was lost
	}
	_, err := s.get(metaKey(metaClean))
	s.info.Clean = err == nil || opens == 0
	another := boots == 0 || s.options.BootID == "" || s.options.BootID != lastBoot
	if another {
		boots++
	}
	s.info.NewBoot = another || opens == 0
	opens++
	s.info.Opens, s.info.Boots = opens, boots
	batch := s.db.NewBatch()
	defer batch.Close()
	set(batch, metaKey(metaOpens), binary.AppendUvarint(nil, opens))
	set(batch, metaKey(metaBoots), append(binary.AppendUvarint(nil, boots), s.options.BootID...))
	if err := batch.Delete(metaKey(metaClean), nil); err != nil {
		return err
	}
	return s.guard.commit(batch)
}
