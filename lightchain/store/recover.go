package store

import (
	"errors"
	"fmt"
	"math"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
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
	Rebuilt  string // the database that did not open and was rebuilt, "" if none was
	Unsure   bool   // headers may be missing at the chain's end: see Store.ConfirmHead

	Mark    string   // why the head mark beside the database does not count, "" if it does
	SetBack *SetBack // how far the database had fallen behind the head mark, nil if it had not

	end uint64 // the number behind the last entry of the open block, found or known to be gone
}

// Lost reports whether anything was lost.
func (r *Recovered) Lost() bool {
	return len(r.Gaps) > 0 || r.LogBytes > 0 || r.Rebuilt != "" || r.Unsure || r.Mark != "" || r.SetBack != nil
}

// Gap is a run of numbers whose entries were staged and are gone. The numbers were never sealed, and are given again.
type Gap struct {
	First, Count uint64
	Err          error
}

// findTip returns the sealed end of the chain. Where the newest header, or a node of the history that is needed to
// extend it, cannot be read, it is the newest one for which that is not so, and not sure.
func (r *Reader) findTip() (tip *lightchain.Tip, sure bool, err error) {
	height, err := r.newestHeight()
	sure = err == nil
	if errors.Is(err, ErrDamaged) {
		height, err = r.highestInTables()
	}
	if err != nil {
		return nil, false, fmt.Errorf("finding the newest header: %w", err)
	}
	for {
		// What follows reads below the tip alone, and asks where that is.
		r.now.Store(&view{tip: &lightchain.Tip{Height: height}})
		tip, err := r.tipAt(height)
		if err == nil {
			return tip, sure, nil
		}
		if height == 0 || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNotHeld) {
			return nil, false, fmt.Errorf("finding the newest header: %w", err)
		}
		height, sure = height-1, false
	}
}

func (r *Reader) tipAt(height uint64) (*lightchain.Tip, error) {
	t := &lightchain.Tip{Height: height}
	chain, err := r.get(metaKey(metaChain))
	if err != nil || copy(t.Chain[:], chain) != len(t.Chain) {
		genesis, genesisErr := r.headerBytes(0)
		if genesisErr != nil {
			return nil, errors.Join(err, genesisErr)
		}
		t.Chain = lightchain.ChainID(lightchain.LeafHash(genesis))
	}
	sig, b, err := r.storedHeader(height)
	if err != nil {
		return nil, err
	}
	h, err := lightchain.DecodeHeader(b)
	if err != nil {
		return nil, &DamageError{Height: height, Err: err}
	}
	t.Hash, t.Next = lightchain.LeafHash(b), h.First+h.Count
	r.checkKeys(height, &h, sig)
	// A key that cannot be told keeps the chain from going on, and nothing else: no lower header would tell it.
	if t.Key, err = r.keyAt(height + 1); err != nil && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if t.History, err = r.compactRange(height); err != nil {
		return nil, err
	}
	if t.History.Root() != h.History {
		return nil, &DamageError{Height: height, Err: errors.New("the nodes of the history do not give what its header says")}
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

// highestInTables returns the highest height of which any table says that it holds something.
func (r *Reader) highestInTables() (highest uint64, err error) {
	levels, err := r.db.SSTables()
	if err != nil {
		return 0, readError(err)
	}
	for _, tables := range levels {
		for _, t := range tables {
			if height, _, _, ok := parseBlockKey(t.Largest.UserKey); ok {
				highest = max(highest, height)
			}
		}
	}
	return highest, nil
}

// recoverOpen derives the open block from what is staged above the tip. What a gap cut off can be read, but not keep its
// number: it is counted, for [Store.stageAgain].
func (r *Reader) recoverOpen(open *openBlock, tell func(done uint64) error) (recovered Recovered, err error) {
	tip := r.view().tip
	scan, err := r.scanBlock(tip.Height+1, tip.Next, untilEnd)
	if err != nil {
		return recovered, err
	}
	defer scan.close()
	recovered.end = tip.Next
	for n := uint64(0); scan.next(); n++ {
		if tell != nil && n%tellEvery == 0 {
			if err := tell(n); err != nil {
				return recovered, err
			}
		}
		if scan.err != nil {
			var lost *DamageError
			if !errors.As(scan.err, &lost) {
				return recovered, scan.err
			}
			gap := Gap{lost.First, lost.Count, lost.Err}
			if scan.wanted == untilEnd {
				gap.Count = 0 // not known how many
			}
			recovered.end = gap.First + gap.Count
			recovered.Gaps = append(recovered.Gaps, gap)
			continue
		}
		recovered.end = scan.number + 1
		encoded := scan.entry(nil)
		e, err := lightchain.DecodeEntry(encoded)
		if err != nil {
			recovered.Gaps = append(recovered.Gaps, Gap{scan.number, 1, err})
			continue
		}
		// An entry whose seed is lost needs a new salt, like one behind a gap.
		if _, salted := saltOf(scan.seeds, scan.number); salted && len(recovered.Gaps) == 0 && recovered.Restaged == 0 {
			open.add(&e, encoded)
			recovered.Entries++
		} else {
			recovered.Restaged++
		}
	}
	// Above the open block there is nothing, unless headers were lost: then what was sealed under them is recorded again.
	strays, err := r.countStrays(tip.Height+2, math.MaxUint64)
	recovered.Restaged += strays
	return recovered, err
}

// countStrays returns how many entries of the blocks from a height on, below another, can be read.
func (r *Reader) countStrays(from, to uint64) (n uint64, err error) {
	err = r.strayHeights(from, to, func(height uint64) error {
		scan, err := r.scanBlock(height, 0, untilEnd)
		if err != nil {
			return nil // damage
		}
		defer scan.close()
		for scan.next() {
			if scan.err == nil {
				n++
			}
		}
		return nil
	})
	return n, err
}

// strayHeights calls do for all heights from one on and below another at which something is stored, as far as that can
// be read.
func (r *Reader) strayHeights(from, to uint64, do func(height uint64) error) error {
	for height := from; height < to; height++ {
		it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: blockKey(height, partSeed), UpperBound: blockKey(to, partSeed)})
		if err != nil {
			return readError(err)
		}
		found := it.First()
		if found {
			height, _, _, _ = parseBlockKey(it.Key())
		}
		failed := it.Error()
		it.Close()
		if failed != nil {
			highest, err := r.highestInTables()
			if err != nil || height >= min(highest, to-1) {
				return err
			}
			continue
		}
		if !found {
			return nil
		}
		if err := do(height); err != nil {
			return err
		}
	}
	return nil
}
