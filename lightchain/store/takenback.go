package store

import (
	"encoding/json"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"edgechain.example/lightchain"
)

// TakenBack is what Adopt and AdoptHead have taken in since it was last said in an entry. It is noted in the batch that
// takes it in, so that a crash before the entry is durable leaves it to be said at the next start.
type TakenBack struct {
	From   uint64 `json:"from"` // heights
	To     uint64 `json:"to"`
	First  uint64 `json:"first"` // the entries from this number on are not held any more,
	Next   uint64 `json:"next"`  // up to but not including this one
	Sparse bool   `json:"sparse"`
}

// metaTakenBack is a [TakenBack], as JSON; absent where an entry tells of all.
const metaTakenBack = "taken-back"

// TakenBack returns what no entry tells of yet; nil if there is nothing.
func (r *Reader) TakenBack() (*TakenBack, error) {
	b, err := r.get(metaKey(metaTakenBack))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := new(TakenBack)
	return t, json.Unmarshal(b, t)
}

// putTakenBack notes that the chain moves from one end to another. A page that comes after another is noted with it.
func (s *Store) putTakenBack(batch *pebble.Batch, from, to *lightchain.Tip) error {
	t := TakenBack{From: from.Height + 1, First: from.Next}
	if before, err := s.TakenBack(); err == nil && before != nil {
		t = *before
	}
	absent, isAbsent, err := s.on(batch).absentAt(from.Height + 1)
	if err != nil {
		return err
	}
	t.To, t.Next, t.Sparse = to.Height, to.Next, t.Sparse || isAbsent && absent.what == headerNotHeld
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	set(batch, metaKey(metaTakenBack), b)
	return nil
}

// ForgetTakenBack removes the note, when an entry that tells of it is durable. It belongs to the owner of the tail.
func (s *Store) ForgetTakenBack() error { return s.deleteSynced(metaKey(metaTakenBack)) }
