package store

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// Staged is a group of entries whose synced write was begun.
type Staged struct {
	First uint64 // number of the group's first entry
	Count int

	store   *Store
	batches []*pebble.Batch
}

// EntryError says which entry of a group cannot stand in a chain: text that is not UTF-8, a value that is not
// finite, an undefined flag, too many bytes. Nothing of the group was staged.
type EntryError struct {
	Index int // in the group
	Err   error
}

func (e *EntryError) Error() string { return fmt.Sprintf("entry %d of the group: %v", e.Index, e.Err) }

func (e *EntryError) Unwrap() error { return e.Err }

// Stage appends a group of entries to the open block and begins one synced write, or several where they are large; the
// salts are the store's own. It returns before that is durable, so that the next group can be prepared meanwhile; Wait for
// each, in order. A crash meanwhile may leave the first ones of the group.
//
// Errors a caller branches on: [*EntryError]; [ErrNoSpace], until there is room; [ErrBlockFull], if the group is
// larger than Room. Nothing was staged then. After [ErrFailed] the program must exit.
func (s *Store) Stage(entries []lightchain.Entry) (*Staged, error) {
	if err := s.guard.err(); err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, errors.New("staging: a group of no entries")
	}
	if len(entries) > s.Room() {
		return nil, fmt.Errorf("staging %d entries: %w: %d fit", len(entries), ErrBlockFull, s.Room())
	}
	if err := s.room(s.space.enoughToStage); err != nil {
		return nil, fmt.Errorf("staging: %w", err)
	}
	if s.merges.hasFailed() { // Pebble tries it again, and takes no more writes in the end
		s.mendSides()
	}
	if pieceOf(entries) < len(entries) { // of several writes none is begun unless all can be
		for i := range entries {
			if err := Check(&entries[i]); err != nil {
				return nil, &EntryError{i, err}
			}
		}
	}
	g := &Staged{First: s.tip.Next + s.open.count, Count: len(entries), store: s}
	for len(entries) > 0 {
		n := pieceOf(entries)
		batch := s.db.NewBatch()
		if err := s.stage(batch, entries[:n]); err != nil {
			batch.Close()
			return nil, err
		}
		// If the power fails before the batch is durable, these entries were never acknowledged; the next start finds the
		// open block without them, and the numbers go to others.
		if err := s.guard.begin(s.db, batch); err != nil {
			return nil, fmt.Errorf("staging: %w", err)
		}
		g.batches = append(g.batches, batch)
		entries = entries[n:]
	}
	return g, nil
}

// stage puts a group into the batch as one chunk and adds it to the open block, or neither.
func (s *Store) stage(batch *pebble.Batch, entries []lightchain.Entry) error {
	s.group.reset()
	for i := range entries {
		if err := s.group.add(&entries[i]); err != nil {
			return &EntryError{i, err}
		}
	}
	height, first := s.tip.Height+1, s.tip.Next+s.open.count
	if s.open.seed == nil {
		var seed lightchain.Seed
		if _, err := io.ReadFull(s.options.Rand, seed[:]); err != nil {
			return fmt.Errorf("staging: seed of salts: %w", err)
		}
		s.open.seed = &seedAt{first, seed}
		set(batch, seedKey(height, first), seed[:])
	}
	// Compressing and hashing want nothing of each other, and take about as long: for a large group they run side by side.
	compress := func() { s.stored = s.group.append(s.stored[:0], s.compressor) }
	var beside sync.WaitGroup
	if len(s.group.bodies) < compressFrom {
		compress()
	} else {
		beside.Go(compress)
	}
	for i := range entries {
		salt := s.open.seed.seed.Salt(first + uint64(i) - s.open.seed.first)
		s.buffer = lightchain.AppendEntry(s.buffer[:0], salt, entries[i].Received, s.group.body(i))
		s.open.add(&entries[i], s.buffer)
	}
	beside.Wait()
	set(batch, chunkKey(height, first), s.stored)
	if cap(s.stored) > keptBuffer || cap(s.buffer) > keptBuffer {
		s.stored, s.buffer = nil, nil
	}
	return nil
}

// Wait returns nil when the group is durable: then, and only then, its messages may be acknowledged. Call it once.
func (g *Staged) Wait() error {
	for _, batch := range g.batches {
		if err := g.store.guard.wait(batch); err != nil {
			return fmt.Errorf("staging: %w", err)
		}
	}
	g.store.show(g.First + uint64(g.Count))
	return nil
}

// envelope is more than the bytes of an entry that are not in its body: head, salt and time of arrival.
const envelope = 1 + 17 + 9

// add encodes an entry into the chunk.
func (c *chunkBuilder) add(e *lightchain.Entry) error {
	start := len(c.bodies)
	bodies, err := e.AppendBody(c.bodies)
	if err != nil {
		return err
	}
	if size := len(bodies) - start + envelope; size > lightchain.MaxEntry {
		return fmt.Errorf("an entry of %d bytes is above the limit of %d", size, lightchain.MaxEntry)
	}
	c.bodies = bodies
	c.received = append(c.received, e.Received)
	c.ends = append(c.ends, len(bodies))
	return nil
}

// Check tells whether an entry can stand in a chain, without staging it.
func Check(e *lightchain.Entry) error {
	var c chunkBuilder
	return c.add(e)
}
