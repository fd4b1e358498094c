package store

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"sync/atomic"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/zstd"
)

// Reader reads a chain: that of a [Store] which is recording it, or of a folder that nobody writes to; see
// [OpenReader]. It is safe for concurrent use. It never shows an entry that is not durable.
type Reader struct {
	db      *pebble.DB
	from    pebble.Reader // db, or a batch on top of it
	decoder *zstd.Decoder
	fs      vfs.FS
	path    string               // of db
	lock    io.Closer            // of the folder; nil in a Store, which holds its own
	behind  *SetBack             // the head mark, where the database ends below it; nil in a Store
	now     atomic.Pointer[view] // swapped by the owner of the tail, whole
	sides   sides                // what was met of damage beside the blocks
	beside  spareHeaders         // headers that stand beside the database, too
	marked  *headMark            // the head mark as it was found; nil: none
	helped  atomic.Bool          // the history took a hash from it, for a header that could not be had
	due     *dueScrub            // what of damage no scrub has looked at; nil where none would

	// What opening for reading found, and nobody has mended: in a Store neither is set.
	endUnsure bool  // headers may be missing at the end
	gaps      []Gap // in the open block
}

// view is the end of the chain as readers may see it. It never changes.
type view struct {
	tip  *lightchain.Tip
	next uint64 // entries below it are durable; those from tip.Next on are in the open block
}

// on returns a reader that sees what the batch is about to write.
func (r *Reader) on(batch *pebble.Batch) *Reader {
	with := &Reader{db: r.db, from: batch, decoder: r.decoder, fs: r.fs, path: r.path}
	with.now.Store(r.view())
	return with
}

func (r *Reader) view() *view { return r.now.Load() }

// Close ends reading. Nobody may be reading any more.
func (r *Reader) Close() error {
	r.decoder.Close()
	err := r.db.Close()
	if r.lock != nil {
		err = errors.Join(err, r.lock.Close())
	}
	return err
}

// Record is one entry of the chain with its place.
type Record struct {
	Number uint64
	Height uint64 // of its block; that of the block to come if it is not sealed yet
	Sealed bool
	Bytes  []byte // the encoded entry, what its leaf hash covers
	Entry  lightchain.Entry
}

// Tip returns the sealed end of the chain. The caller may move it.
func (r *Reader) Tip() *lightchain.Tip { return r.view().tip.Clone() }

// Chain returns the chain's identity.
func (r *Reader) Chain() lightchain.ChainID { return r.view().tip.Chain }

// Next returns the number that the next entry will have, as far as entries are durable; those from Tip().Next on
// are not sealed yet.
func (r *Reader) Next() uint64 { return r.view().next }

// get returns a copy of the value.
func (r *Reader) get(k []byte) ([]byte, error) {
	v, closer, err := r.from.Get(k)
	if err != nil {
		return nil, readError(err)
	}
	v = append([]byte(nil), v...)
	return v, readError(closer.Close())
}

// seekLT returns copies of the last pair of keys from lower on and below upper.
func (r *Reader) seekLT(lower, upper []byte) (k, v []byte, err error) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, nil, readError(err)
	}
	defer it.Close()
	if !it.Last() {
		if err := it.Error(); err != nil {
			return nil, nil, readError(err)
		}
		return nil, nil, ErrNotFound
	}
	v, err = it.ValueAndErr()
	return append([]byte(nil), it.Key()...), append([]byte(nil), v...), readError(err)
}

// BlockOf returns the height of the block that holds the entry, sealed or open.
func (r *Reader) BlockOf(number uint64) (height uint64, sealed bool, err error) {
	at := r.view()
	if number >= at.next {
		return 0, false, fmt.Errorf("entry %d: %w: the next one is %d", number, ErrNotFound, at.next)
	}
	if number >= at.tip.Next {
		return at.tip.Height + 1, false, nil
	}
	// The block is the lowest that ends above the number. It lies in low .. high.
	low, high := uint64(0), at.tip.Height
	for low < high {
		middle := low + (high-low)/2
		below, above, end, err := r.endAround(middle, low, high)
		if err != nil {
			return 0, false, fmt.Errorf("finding the block of entry %d: %w", number, err)
		}
		if end > number {
			high = below
		} else {
			low = above + 1
		}
	}
	return low, true, nil
}

// endAround returns the number behind the last entry of the block at height and the heights that this speaks for:
// below .. above, more than one where headers are not held or cannot be read. It never leaves low .. high.
func (r *Reader) endAround(height, low, high uint64) (below, above, end uint64, err error) {
	h, err := r.HeaderAt(height)
	if err == nil {
		return height, height, h.First + h.Count, nil
	}
	if errors.Is(err, ErrNotHeld) {
		a, _, err := r.absentAt(height)
		return max(low, a.from), min(high, a.to), a.next, err
	}
	if !errors.Is(err, ErrDamaged) {
		return 0, 0, 0, err
	}
	// The next readable header begins where this one ends.
	for next := height + 1; ; next++ {
		h, nextErr := r.HeaderAt(next)
		if nextErr == nil {
			return height, min(high, next-1), h.First, nil
		}
		if !errors.Is(nextErr, ErrDamaged) {
			return 0, 0, 0, err
		}
	}
}

// extent returns the numbers of a block's entries, first and the one behind the last.
func (r *Reader) extent(at *view, height uint64) (first, next uint64, err error) {
	if height == at.tip.Height+1 {
		return at.tip.Next, at.next, nil
	}
	h, err := r.HeaderAt(height)
	return h.First, h.First + h.Count, err
}

// Entry returns one entry. Its error is [ErrNotFound] where it does not exist yet, [ErrPruned], [ErrNotHeld] or
// [ErrDamaged] where it is gone.
func (r *Reader) Entry(number uint64) (*Record, error) {
	for rec, err := range r.Entries(number, number+1) {
		return rec, err
	}
	return nil, fmt.Errorf("entry %d: %w: the next one is %d", number, ErrNotFound, r.Next())
}

// Entries returns the entries from number from up to but not including to, or to the newest that is durable when the
// call is made. Where entries are gone, an error stands in for a run of them, and the next ones follow if the caller
// goes on; errors.As a [*DamageError] tells the numbers.
func (r *Reader) Entries(from, to uint64) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		at := r.view()
		to := min(to, at.next)
		if from >= to {
			return
		}
		height, _, err := r.BlockOf(from)
		if err != nil {
			yield(nil, err)
			return
		}
		for from < to {
			first, next, err := r.extent(at, height)
			if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotHeld) {
				// The header is gone, and maybe some above it; the next one tells where their entries end.
				_, above, end, endErr := r.endAround(height, 0, at.tip.Height)
				if endErr != nil {
					yield(nil, endErr)
					return
				}
				if end = min(to, end); end > from {
					if errors.Is(err, ErrNotHeld) {
						err = &GoneError{from, end - from, ErrNotHeld}
					} else {
						err = &DamageError{height, from, end - from, err}
					}
					if !yield(nil, err) {
						return
					}
				}
				from, height = max(from, end), above+1
				continue
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if first < next && !r.yieldEntries(height, max(from, first), min(to, next), height <= at.tip.Height, yield) {
				return
			}
			from = max(from, next)
			height++
		}
	}
}

// yieldEntries yields the entries from .. to−1 of one block. It reports whether the caller wants more.
func (r *Reader) yieldEntries(height, from, to uint64, sealed bool, yield func(*Record, error) bool) bool {
	scan, err := r.scanBlock(height, from, to)
	if errors.Is(err, ErrPruned) || errors.Is(err, ErrNotHeld) {
		return yield(nil, &GoneError{from, to - from, err})
	}
	if err != nil {
		return yield(nil, err)
	}
	defer scan.close()
	for scan.next() {
		if scan.err != nil {
			if !yield(nil, scan.err) {
				return false
			}
			continue
		}
		rec := &Record{Number: scan.number, Height: height, Sealed: sealed, Bytes: scan.entry(nil)}
		if rec.Entry, err = lightchain.DecodeEntry(rec.Bytes); err != nil {
			rec, err = nil, &DamageError{height, scan.number, 1, err}
		}
		if !yield(rec, err) {
			return false
		}
	}
	return true
}
