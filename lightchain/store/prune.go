package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// Retention deletes the entries of old blocks and keeps their headers, so that the chain stays whole and whoever kept
// an entry with its proof still proves it. (The store keeps no leaf hashes of what it deletes: they would be a third
// of what was to be freed. An export that shall prove later keeps the proofs.) Which blocks may go is the agent's
// decision; here each deletion is tied to the entry that tells of it.

// Pruned says what was deleted.
type Pruned struct {
	From, To    uint64 // heights, To excluded; To 0: nothing
	First, Next uint64 // numbers of the entries, Next excluded
}

// PruneBlocks is how many blocks are deleted at once at most: one synced batch of some 40 KB, whatever is in them.
const PruneBlocks = 1000

// Prune deletes the entries of the oldest blocks below a height, at most [PruneBlocks] of them that stand together,
// and returns which; the caller goes on until that is nothing. The entry that announce makes of them joins the open
// block in the same synced batch: after a power cut there is either the deletion with its entry, or neither. Where
// the blocks have no entries, announce is not asked.
//
// It wants a quarter of the reserve only, since it makes room. Errors a caller branches on: [ErrNoSpace]; [ErrBlockFull],
// if the open block has no room for the entry. Nothing was deleted then. After [ErrFailed] the program must exit. The
// space comes back with [Store.Reclaim].
func (s *Store) Prune(below uint64, announce func(Pruned) lightchain.Entry) (Pruned, error) {
	p, err := s.prune(below, announce)
	if err != nil {
		return Pruned{}, fmt.Errorf("pruning below block %d: %w", below, err)
	}
	return p, nil
}

func (s *Store) prune(below uint64, announce func(Pruned) lightchain.Entry) (p Pruned, err error) {
	if err := s.guard.err(); err != nil {
		return p, err
	}
	if err := s.room(s.space.enoughToPrune); err != nil {
		return p, err
	}
	s.mendSides()
	below = min(below, s.tip.Height+1)
	if p.From, err = s.OldestBlock(); err != nil || p.From >= below {
		return Pruned{}, err
	}
	if p.To, err = s.wholeUntil(p.From, min(below, p.From+PruneBlocks)); err != nil {
		return p, err
	}
	if _, _, p.First, err = s.endAround(p.From-1, 0, s.tip.Height); err != nil {
		return p, err
	}
	if _, _, p.Next, err = s.endAround(p.To-1, 0, s.tip.Height); err != nil {
		return p, err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	for height := p.From; height < p.To; height++ {
		if err := batch.DeleteRange(blockKey(height, partSeed), headerKey(height), nil); err != nil {
			return p, err
		}
	}
	// A run that ends where this one begins grows, so that years of retention leave one record.
	begin := run{from: p.From, first: p.First}
	if before, found, err := s.absentAt(p.From - 1); err != nil {
		return p, err
	} else if found && before.what == bodyPruned && before.to == p.From-1 {
		begin = before
	}
	putRun(batch, begin.from, p.To-1, begin.first, p.Next, bodyPruned)
	if p.Next > p.First {
		if s.Room() < 1 {
			return p, ErrBlockFull
		}
		if err := s.stage(batch, []lightchain.Entry{announce(p)}); err != nil {
			return p, err
		}
	}
	s.cut.put(blockKey(p.To, partSeed))
	// Before this commit nothing is deleted and nothing told; groups staged before it are durable with it.
	if err := s.guard.commit(batch); err != nil {
		return p, err
	}
	s.show(s.tip.Next + s.open.count)
	return p, nil
}

// tableCut is a key at which tables end, besides those that begin a space: where the last deletion ended. What is deleted and
// what is newest are written to one log and one memtable, with the entry that tells of the deletion. In one table the two
// would span all that lies between, and to give the space back would write that anew, which a full disk has no room for.
type tableCut struct {
	at atomic.Pointer[[]byte]
}

func (c *tableCut) put(k []byte) { c.at.Store(&k) }

// spans tells Pebble up to which key a table that begins with a key may reach.
func (c *tableCut) spans(start []byte) (pebble.SpanPolicy, []byte, error) {
	end := []byte{start[0] + 1} // a table never holds keys of two spaces: see keys.go
	if at := c.at.Load(); at != nil && bytes.Compare(start, *at) < 0 && bytes.Compare(*at, end) < 0 {
		end = *at
	}
	return pebble.SpanPolicy{}, end, nil
}

// wholeUntil returns the first height from height on, at most to, at which a run of absent ones begins.
func (s *Store) wholeUntil(height, to uint64) (uint64, error) {
	scan, err := s.scanSide(key(spaceAbsent, height), key(spaceAbsent, to))
	if err != nil {
		return 0, err
	}
	defer scan.close()
	if scan.first() {
		a, err := decodeRun(scan.key(), scan.value())
		return a.from, err
	}
	return to, scan.err
}

// Separate writes what is in memory to tables, so that a deletion that follows stands in one of its own. In one table with the
// newest blocks it would span all that lies between, and [Store.Reclaim] would have to write that anew: a full disk has no
// room for it.
func (s *Store) Separate(ctx context.Context) error {
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		return fmt.Errorf("writing tables before a deletion: %w", readError(err))
	}
	select {
	case <-flushed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("writing tables before a deletion: %w", ctx.Err())
	}
}

// Reclaim gives the space of deleted entries back to the file system, between two heights, to excluded. Pebble would
// keep it until something is written among those keys, which is never. It reads what is left there and what was
// deleted, and writes what is left: a few hundred bytes a block, and of the tables at both ends, some megabytes each,
// what they hold beyond. It may run beside everything else; a table that is damaged stays as it is.
func (s *Store) Reclaim(ctx context.Context, from, to uint64) error {
	if from >= to {
		return nil
	}
	err := s.merges.ask(ctx, func(ctx context.Context) error {
		return s.db.Compact(ctx, blockKey(from, partSeed), blockKey(to, partSeed), false)
	})
	if err != nil {
		return fmt.Errorf("reclaiming the space of blocks %d to %d: %w", from, to-1, readError(err))
	}
	return nil
}

// BlockBytes returns about how many bytes the blocks of the heights from .. to−1 take up on disk, with their receipts,
// to the nearest 32 KiB or so. What is still in memory, the newest megabyte, is not counted.
func (r *Reader) BlockBytes(from, to uint64) (bytes uint64, err error) {
	if from >= to {
		return 0, nil
	}
	for _, space := range [...]byte{spaceBlocks, spaceReceipts, spaceBeacons} {
		n, err := r.db.EstimateDiskUsage(key(space, from), key(space, to))
		if err != nil {
			return 0, fmt.Errorf("size of blocks %d to %d: %w", from, to-1, readError(err))
		}
		bytes += n
	}
	return bytes, nil
}

// OldestBlock returns the lowest height above genesis whose entries are held, or were when they were last seen; one
// above the tip's if there is none.
func (r *Reader) OldestBlock() (height uint64, err error) {
	for height = 1; ; {
		a, found, err := r.absentAt(height)
		if err != nil || !found {
			return height, err
		}
		height = a.to + 1
	}
}

// Oldest returns the number and the height of the oldest entry that is held, for a store whose retention deletes from
// the oldest on. Its error is [ErrNotFound] if there is none.
func (r *Reader) Oldest() (number, height uint64, err error) {
	at := r.view()
	for height = 1; height <= at.tip.Height; {
		a, found, err := r.absentAt(height)
		if err != nil {
			return 0, 0, err
		}
		if found {
			height = a.to + 1
			continue
		}
		h, err := r.HeaderAt(height)
		if errors.Is(err, ErrDamaged) {
			height++
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		if h.Count > 0 {
			return h.First, height, nil
		}
		if h.First >= at.tip.Next { // nothing but heartbeats up to the tip
			break
		}
		if height, _, err = r.BlockOf(h.First); err != nil { // behind however many heartbeats
			return 0, 0, err
		}
	}
	if at.next > at.tip.Next {
		return at.tip.Next, at.tip.Height + 1, nil
	}
	return 0, 0, fmt.Errorf("oldest entry: %w", ErrNotFound)
}
