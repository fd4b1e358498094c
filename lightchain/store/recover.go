package store

import (
	"errors"
	"fmt"

	"edgechain/lightchain"
)

// Start is recovery: after a proper end and after a crash the same functions find the newest header and derive the
// open block from what was staged above it.

// Recovered says what the last run left behind. The agent records what was lost as an entry.
type Recovered struct {
	Entries  uint64 // of the open block, found as they were staged
	Gaps     []Gap  // acknowledged or not, entries of the open block that are gone
	Restaged uint64 // entries behind a gap, staged again under new numbers
	LogBytes int64  // bytes of the write-ahead log that could not be read
	LogFile  string // where the damaged log was put aside, "" if there is none
}

// Lost reports whether anything was lost.
func (r *Recovered) Lost() bool { return len(r.Gaps) > 0 || r.LogBytes > 0 }

// Gap is a run of numbers whose entries were staged and are gone. The numbers were never sealed, and are given again.
type Gap struct {
	First, Count uint64
	Err          error
}

// findTip returns the sealed end of the chain.
func (r *Reader) findTip() (*lightchain.Tip, error) {
	tip, err := r.readTip()
	if err != nil {
		return nil, fmt.Errorf("finding the newest header: %w", err)
	}
	return tip, nil
}

func (r *Reader) readTip() (*lightchain.Tip, error) {
	chain, err := r.get(metaKey(metaChain))
	if err != nil {
		return nil, err
	}
	t := &lightchain.Tip{}
	if copy(t.Chain[:], chain) != len(t.Chain) {
		return nil, ErrDamaged
	}
	if t.Height, err = r.newestHeight(); err != nil {
		return nil, err
	}
	// What follows reads below the tip alone, and asks where that is.
	r.now.Store(&view{tip: t})
	b, err := r.headerBytes(t.Height)
	if err != nil {
		return nil, err
	}
	h, err := lightchain.DecodeHeader(b)
	if err != nil {
		return nil, &DamageError{Height: t.Height, Err: err}
	}
	t.Hash, t.Next = lightchain.LeafHash(b), h.First+h.Count
	if t.Key, err = r.keyAt(t.Height + 1); err != nil {
		return nil, err
	}
	if t.History, err = r.compactRange(t.Height); err != nil {
		return nil, err
	}
	if t.History.Root() != h.History {
		return nil, &DamageError{Height: t.Height, Err: errors.New("the nodes of the history do not give what its header says")}
	}
	t.History.Append(t.Hash, nil)
	return t, nil
}

// newestHeight returns the height of the newest header.
func (r *Reader) newestHeight() (uint64, error) {
	upper := []byte{spaceBlocks + 1}
	for {
		k, _, err := r.seekLT([]byte{spaceBlocks}, upper)
		if errors.Is(err, ErrNotFound) {
			return 0, ErrNoChain
		}
		if err != nil {
			return 0, err
		}
		height, _, _, _ := parseBlockKey(k)
		if _, err := r.get(headerKey(height)); err == nil {
			return height, nil
		} else if !errors.Is(err, ErrNotFound) {
			return 0, err
		}
		upper = blockKey(height, partSeed) // nothing but staged entries: the open block
	}
}

// recoverOpen derives the open block from what is staged above the tip. It returns the entries that a gap cut off:
// they can be read, but not keep their numbers.
func (r *Reader) recoverOpen(open *openBlock) (orphans []lightchain.Entry, recovered Recovered, err error) {
	tip := r.view().tip
	scan, err := r.scanBlock(tip.Height+1, tip.Next, untilEnd)
	if err != nil {
		return nil, recovered, err
	}
	defer scan.close()
	for scan.next() {
		if scan.err != nil {
			var lost *DamageError
			if !errors.As(scan.err, &lost) {
				return nil, recovered, scan.err
			}
			gap := Gap{lost.First, lost.Count, lost.Err}
			if scan.wanted == untilEnd {
				gap.Count = 0 // nobody knows how many
			}
			recovered.Gaps = append(recovered.Gaps, gap)
			continue
		}
		encoded := scan.entry(nil)
		e, err := lightchain.DecodeEntry(encoded)
		if err != nil {
			recovered.Gaps = append(recovered.Gaps, Gap{scan.number, 1, err})
			continue
		}
		// An entry whose seed is lost needs a new salt, like one behind a gap.
		if _, salted := saltOf(scan.seeds, scan.number); salted && len(recovered.Gaps) == 0 && len(orphans) == 0 {
			open.add(&e, encoded)
			recovered.Entries++
		} else {
			orphans = append(orphans, e)
			recovered.Restaged++
		}
	}
	return orphans, recovered, nil
}

// stageAgain gives the entries behind a gap new numbers, in their order, and deletes the old ones, in one synced
// batch: after a crash either the gap is found again, or no gap.
func (s *Store) stageAgain(orphans []lightchain.Entry) error {
	if len(s.info.Recovered.Gaps) == 0 && len(orphans) == 0 {
		return nil
	}
	height, next := s.tip.Height+1, s.tip.Next+s.open.count
	batch := s.db.NewBatch()
	defer batch.Close()
	if err := errors.Join(
		batch.DeleteRange(seedKey(height, next), blockKey(height, partChunk), nil),
		batch.DeleteRange(chunkKey(height, next), headerKey(height), nil),
	); err != nil {
		return err
	}
	if len(orphans) > 0 {
		if err := s.stage(batch, orphans); err != nil {
			return fmt.Errorf("staging again what stands behind a gap: %w", err)
		}
	}
	if err := s.guard.commit(batch); err != nil {
		return err
	}
	s.show(s.tip.Next + s.open.count)
	return nil
}
