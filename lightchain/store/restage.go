package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// Entries that are staged and cannot keep their numbers, since some below them are gone or headers came back from outside,
// are staged again. An open block may hold more than memory does, so that goes piece by piece, each in a synced write of
// its own, and whatever the power takes in between, each entry is there once.

// pieceBytes is how large a chunk of staged entries is made, but for a single entry that is larger, and how much is
// staged again with one write.
const pieceBytes = 4 << 20

// sizeOf returns about how many bytes an entry takes.
func sizeOf(e *lightchain.Entry) int {
	size := 64 + len(e.Source) + len(e.Payload)
	for i := range e.Readings {
		r := &e.Readings[i]
		text, _ := r.Value.Text()
		size += 32 + len(r.Device) + len(r.Name) + len(r.Unit) + len(text)
	}
	return size
}

// pieceOf returns how many of the entries, one at least, go into the next chunk.
func pieceOf(entries []lightchain.Entry) int {
	size := 0
	for i := range entries {
		if size += sizeOf(&entries[i]); size > pieceBytes && i > 0 {
			return i
		}
	}
	return len(entries)
}

// stagePieces puts entries into the batch, as several chunks where they are large, and adds them to the open block.
func (s *Store) stagePieces(batch *pebble.Batch, entries []lightchain.Entry) error {
	for len(entries) > 0 {
		n := pieceOf(entries)
		if err := s.stage(batch, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// restager stages entries again, in their order. Those of one chunk move with one write, which deletes it.
type restager struct {
	s       *Store
	batch   *pebble.Batch // what the next write makes durable
	pending []lightchain.Entry
	size    int
	moved   int
	before  func(*pebble.Batch) error // called before the first write that is not the last; nil: nothing is to be done
}

// height takes over the readable entries of a block from a number on. Where chunks are deleted from the old place, a
// crash leaves what was moved in the new one alone.
func (r *restager) height(height, from, to uint64, deleteOld bool) error {
	scan, err := r.s.scanBlock(height, from, to)
	if err != nil {
		return err
	}
	defer scan.close()
	chunk, begins := uint64(0), from // the chunk that the scan stands in, and what is pending of those from here on
	for scan.next() {
		if scan.err != nil {
			var lost *DamageError
			if errors.As(scan.err, &lost) {
				continue // recovery has told of it
			}
			return scan.err
		}
		if scan.first != chunk && r.size >= pieceBytes {
			if err := r.flush(height, begins, scan.first, deleteOld); err != nil {
				return err
			}
			begins = scan.first
		}
		chunk = scan.first
		e, err := lightchain.DecodeEntry(scan.entry(nil))
		if err != nil {
			continue
		}
		r.pending = append(r.pending, e)
		r.size += sizeOf(&e)
	}
	if deleteOld {
		return r.flush(height, begins, untilEnd, true)
	}
	return nil
}

// flush makes what is pending durable under its new numbers, and deletes the chunks begins .. end−1 that held it.
func (r *restager) flush(height, begins, end uint64, deleteOld bool) error {
	if r.before != nil {
		if err := r.before(r.batch); err != nil {
			return err
		}
		r.before = nil
	}
	if deleteOld {
		upper := chunkKey(height, end)
		if end == untilEnd {
			upper = headerKey(height)
		}
		if err := r.batch.DeleteRange(chunkKey(height, begins), upper, nil); err != nil {
			return err
		}
	}
	if err := r.stage(); err != nil {
		return err
	}
	if err := r.s.guard.commit(r.batch); err != nil {
		return err
	}
	r.batch.Close()
	r.batch = r.s.db.NewBatch()
	return nil
}

// stage puts what is pending into the batch.
func (r *restager) stage() error {
	if err := r.s.stagePieces(r.batch, r.pending); err != nil {
		return fmt.Errorf("staging again: %w", err)
	}
	r.moved += len(r.pending)
	clear(r.pending)
	r.pending, r.size = r.pending[:0], 0
	return nil
}

// stageAgain gives the entries that cannot keep their numbers new ones, and deletes the old ones: first those behind a
// gap, in their order, then those of blocks whose headers are lost. After a crash the gap is found again, further up, with
// what was behind it and is not moved yet; or no gap.
func (s *Store) stageAgain() error {
	recovered := &s.info.Recovered
	_, noted := s.get(metaKey(metaUnsure))
	below := s.straysBelow()
	if len(recovered.Gaps) == 0 && recovered.Restaged == 0 && len(below) == 0 && !s.unsure && errors.Is(noted, ErrNotFound) {
		return nil
	}
	height, next := s.tip.Height+1, s.tip.Next+s.open.count
	r := &restager{s: s, batch: s.db.NewBatch()}
	defer func() { r.batch.Close() }()
	// The seeds go first: what is moved is salted anew, and no old seed may stand between it and its own.
	if err := r.batch.DeleteRange(seedKey(height, next), blockKey(height, partChunk), nil); err != nil {
		return err
	}
	if err := s.putUnsure(r.batch); err != nil {
		return err
	}
	if recovered.Restaged > 0 {
		stray := func(stray uint64) error {
			err := r.height(stray, 0, untilEnd, true)
			if err != nil && !errors.Is(err, ErrNotHeld) && !errors.Is(err, ErrPruned) && !errors.Is(err, ErrDamaged) { // nothing is there
				return err
			}
			return r.batch.DeleteRange(blockKey(stray, partSeed), headerKey(stray), nil)
		}
		if err := r.height(height, next, untilEnd, true); err != nil {
			return err
		}
		for _, b := range below {
			if err := s.strayHeights(b.from, b.to+1, stray); err != nil {
				return err
			}
		}
		if err := s.strayHeights(height+1, math.MaxUint64, stray); err != nil {
			return err
		}
	}
	if err := errors.Join(
		r.batch.DeleteRange(chunkKey(height, s.tip.Next+s.open.count), []byte{spaceBlocks + 1}, nil),
		r.batch.Delete(metaKey(metaStrays), nil),
	); err != nil {
		return err
	}
	if err := s.guard.commit(r.batch); err != nil {
		return err
	}
	s.show(s.tip.Next + s.open.count)
	return nil
}

// putUnsure puts into the batch whether headers may be missing.
func (s *Store) putUnsure(batch *pebble.Batch) error {
	if s.unsure {
		set(batch, metaKey(metaUnsure), nil)
		return nil
	}
	return batch.Delete(metaKey(metaUnsure), nil)
}

// metaStrays is present while blocks below the tip, whose headers are lost, hold entries that are to be staged again: for
// each run of such heights the lowest and the one above the highest.
const metaStrays = "strays"

func putStrays(batch *pebble.Batch, runs []heightRun) {
	var b []byte
	for _, r := range runs {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, r.from), r.to+1)
	}
	set(batch, metaKey(metaStrays), b)
}

// straysBelow returns what metaStrays says.
func (r *Reader) straysBelow() (runs []heightRun) {
	b, err := r.get(metaKey(metaStrays))
	if err != nil {
		return nil
	}
	for ; len(b) >= 16; b = b[16:] {
		runs = append(runs, heightRun{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]) - 1})
	}
	return runs
}

// leaveStrays deletes what is stored from one height up to a key, but for the entries of blocks below another height,
// which are noted to be staged again.
func (s *Store) leaveStrays(batch *pebble.Batch, from, to uint64, end []byte) (entries uint64, err error) {
	if entries, err = s.countStrays(from, to); err != nil {
		return 0, err
	}
	start := blockKey(from, partSeed)
	until := func(k []byte) error {
		if bytes.Compare(start, k) >= 0 {
			return nil
		}
		return batch.DeleteRange(start, k, nil)
	}
	if entries > 0 {
		putStrays(batch, []heightRun{{from, to - 1}})
		err = s.strayHeights(from, to, func(height uint64) error {
			err := until(blockKey(height, partSeed))
			start = headerKey(height)
			return err
		})
	}
	return entries, errors.Join(err, until(end))
}

// metaMoving is present while entries of the open block are being staged again above headers that are not durable yet:
// the height of their block. A start that finds it deletes what stands there, since all of it is in the open block, too.
const metaMoving = "moving"

// forgetMove deletes what a move of the open block that was cut off has left.
func (s *Store) forgetMove() error {
	b, err := s.get(metaKey(metaMoving))
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return nil
	}
	if err != nil {
		return err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	if height, ok := parseNumber(b); ok && height > s.tip.Height+1 {
		if err := batch.DeleteRange(blockKey(height, partSeed), []byte{spaceBlocks + 1}, nil); err != nil {
			return err
		}
	}
	if err := batch.Delete(metaKey(metaMoving), nil); err != nil {
		return err
	}
	return s.guard.commit(batch)
}

// moveOpen stages the entries of the open block below from, whose first is number first, again in the one above the
// tip, and puts the last of them into the batch that will make that tip durable.
func (s *Store) moveOpen(batch *pebble.Batch, from, first, count uint64) error {
	if count == 0 {
		return nil
	}
	r := &restager{s: s, batch: s.db.NewBatch(), before: func(b *pebble.Batch) error {
		height := s.tip.Height + 1
		set(b, metaKey(metaMoving), blockKey(height, 0)[1:9])
		return b.DeleteRange(blockKey(height, partSeed), []byte{spaceBlocks + 1}, nil)
	}}
	defer func() { r.batch.Close() }()
	if err := r.height(from, first, first+count, false); err != nil {
		return err
	}
	if uint64(r.moved+len(r.pending)) != count {
		return fmt.Errorf("%w: %d of the %d entries of the open block can be read", ErrDamaged, r.moved+len(r.pending), count)
	}
	r.batch.Close()
	r.batch = s.db.NewBatch()
	if err := batch.Delete(metaKey(metaMoving), nil); err != nil {
		return err
	}
	return s.stagePieces(batch, r.pending)
}
