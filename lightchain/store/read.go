package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"sync/atomic"

	"edgechain/lightchain"

	"github.com/cockroachdb/pebble/v2"
	"github.com/klauspost/compress/zstd"
)

// Reader reads a chain: that of a [Store] which is recording it, or of a folder that nobody writes to; see
// [OpenReader]. It is safe for concurrent use. It never shows an entry that is not durable.
type Reader struct {
	db      *pebble.DB
	from    pebble.Reader // db, or a batch on top of it
	decoder *zstd.Decoder
	lock    io.Closer            // of the folder; nil in a Store, which holds its own
	now     atomic.Pointer[view] // swapped by the owner of the tail, whole
}

// view is the end of the chain as readers may see it. It never changes.
type view struct {
	tip  *lightchain.Tip
	next uint64 // entries below it are durable; those from tip.Next on are in the open block
}

// on returns a reader that sees what the batch is about to write.
func (r *Reader) on(batch *pebble.Batch) *Reader {
	with := &Reader{db: r.db, from: batch, decoder: r.decoder}
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

// A stored header is a byte that says whether a signature follows, the signature, and the header.
const (
	headerUnsigned byte = iota
	headerSigned
)

// appendHeader appends the stored form of a header.
func appendHeader(b []byte, sig *lightchain.Signature, header []byte) []byte {
	if sig == nil {
		return append(append(b, headerUnsigned), header...)
	}
	return append(append(append(b, headerSigned), sig[:]...), header...)
}

var errHeader = errors.New("not a stored header")

func splitHeader(b []byte) (sig *lightchain.Signature, header []byte, err error) {
	switch {
	case len(b) > 0 && b[0] == headerUnsigned:
		return nil, b[1:], nil
	case len(b) > len(sig) && b[0] == headerSigned:
		s := lightchain.Signature(b[1:])
		return &s, b[1+len(s):], nil
	}
	return nil, nil, errHeader
}

func (r *Reader) storedHeader(height uint64) (*lightchain.Signature, []byte, error) {
	b, err := r.get(headerKey(height))
	if err == nil {
		sig, header, err := splitHeader(b)
		if err != nil {
			return nil, nil, &DamageError{Height: height, Err: err}
		}
		return sig, header, nil
	}
	if !errors.Is(err, ErrNotFound) {
		if errors.Is(err, ErrDamaged) {
			err = &DamageError{Height: height, Err: err}
		}
		return nil, nil, err
	}
	if tip := r.view().tip; height > tip.Height {
		return nil, nil, fmt.Errorf("header %d: %w: the newest is %d", height, ErrNotFound, tip.Height)
	}
	if a, found, err := r.absentAt(height); err != nil {
		return nil, nil, err
	} else if found && a.what == headerNotHeld {
		return nil, nil, fmt.Errorf("header %d: %w", height, ErrNotHeld)
	}
	return nil, nil, &DamageError{Height: height, Err: errors.New("its header is missing")}
}

func (r *Reader) headerBytes(height uint64) ([]byte, error) {
	_, b, err := r.storedHeader(height)
	return b, err
}

// HeaderAt returns the header at height, signed or not: one restored from a run may have come without signature.
func (r *Reader) HeaderAt(height uint64) (lightchain.Header, error) {
	b, err := r.headerBytes(height)
	if err != nil {
		return lightchain.Header{}, err
	}
	h, err := lightchain.DecodeHeader(b)
	if err != nil {
		return h, &DamageError{Height: height, Err: err}
	}
	return h, nil
}

// ErrUnsigned means that a header is held without its signature: it came in a run, which one signature vouches for.
var ErrUnsigned = errors.New("held without its signature")

// Header returns the signed header at height, without receipts. Its error is [ErrNotFound] above the tip,
// [ErrNotHeld] for a height that a sparse copy left out, [ErrUnsigned], or [ErrDamaged].
func (r *Reader) Header(height uint64) (*lightchain.SignedHeader, error) {
	sig, b, err := r.storedHeader(height)
	if err != nil {
		return nil, err
	}
	if sig == nil {
		return nil, fmt.Errorf("header %d: %w", height, ErrUnsigned)
	}
	h, err := lightchain.DecodeHeader(b)
	if err != nil {
		return nil, &DamageError{Height: height, Err: err}
	}
	return lightchain.NewSignedHeader(h, *sig)
}

// Headers returns the headers from height from up to but not including to, or to the tip, in order. One that cannot
// be returned comes as an error, and the next ones follow if the caller goes on.
func (r *Reader) Headers(from, to uint64) iter.Seq2[*lightchain.SignedHeader, error] {
	return func(yield func(*lightchain.SignedHeader, error) bool) {
		for height := from; height < min(to, r.view().tip.Height+1); height++ {
			if !yield(r.Header(height)) {
				return
			}
		}
	}
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
						err = fmt.Errorf("entries %d to %d: %w", from, end-1, ErrNotHeld)
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

// blockScan walks over the entries of one block. After each next, either err says which entries are gone, or number,
// chunk and at say which one it stands on.
type blockScan struct {
	height   uint64
	wanted   uint64 // number of the entry that comes next
	to       uint64 // the entry to stop before
	iter     *pebble.Iterator
	seeds    []seedAt // ascending
	unpacker unpacker

	number uint64
	chunk  *chunk
	at     int    // of number in chunk
	first  uint64 // number of chunk's first entry
	err    error
}

type seedAt struct {
	first uint64
	seed  lightchain.Seed
}

// scanBlock returns a scan over the entries from .. to−1, all of which the block at height has or had.
func (r *Reader) scanBlock(height, from, to uint64) (*blockScan, error) {
	it, err := r.from.NewIter(&pebble.IterOptions{
		LowerBound: blockKey(height, partSeed),
		UpperBound: headerKey(height),
	})
	if err != nil {
		return nil, readError(err)
	}
	s := &blockScan{height: height, wanted: from, to: to, iter: it, unpacker: unpacker{decoder: r.decoder}}
	for ok := it.First(); ok; ok = it.Next() {
		_, p, rest, _ := parseBlockKey(it.Key())
		if p != partSeed {
			break
		}
		if at, ok := parseSeed(rest, it.Value()); ok {
			s.seeds = append(s.seeds, at)
		}
	}
	// The chunk that holds from begins with it or below; if there is none, the first one above is next.
	if !it.SeekLT(chunkKey(height, from+1)) || !s.onChunk() {
		it.SeekGE(chunkKey(height, from))
	}
	if !it.Valid() && it.Error() == nil {
		if a, found, err := r.absentAt(height); err == nil && found {
			it.Close()
			return nil, fmt.Errorf("block %d: %w", height, a.err())
		}
	}
	return s, nil
}

func parseSeed(rest, value []byte) (seedAt, bool) {
	number, ok := parseNumber(rest)
	if !ok || len(value) != len(lightchain.Seed{}) {
		return seedAt{}, false
	}
	return seedAt{number, lightchain.Seed(value)}, true
}

func (s *blockScan) onChunk() bool {
	_, p, _, ok := parseBlockKey(s.iter.Key())
	return ok && p == partChunk
}

func (s *blockScan) close() { s.iter.Close() }

// untilEnd as the entry to stop before means that nobody knows where the block ends: it is the open one.
const untilEnd = math.MaxUint64

// next moves to the next entry, or to the next run of entries that are gone.
func (s *blockScan) next() bool {
	s.err = nil
	if s.wanted >= s.to {
		return false
	}
	for s.chunk == nil || s.wanted >= s.first+uint64(len(s.chunk.bodies)) {
		if s.to == untilEnd && !s.iter.Valid() && s.iter.Error() == nil {
			return false
		}
		if !s.nextChunk() {
			return true // with err, for all the rest
		}
		if s.first > s.wanted {
			s.lose(min(s.first, s.to), errors.New("no chunk holds them"))
			return true
		}
	}
	s.number = s.wanted
	s.at = int(s.number - s.first)
	s.wanted++
	return true
}

// nextChunk loads the chunk that the iterator stands on and moves the iterator behind it. Where there is none, or it
// cannot be read, it gives up the rest of the block.
func (s *blockScan) nextChunk() bool {
	s.chunk = nil
	if !s.iter.Valid() {
		err := s.iter.Error()
		if err == nil {
			err = errors.New("no chunk holds them")
		}
		return s.lose(s.to, err)
	}
	_, _, rest, _ := parseBlockKey(s.iter.Key())
	first, ok := parseNumber(rest)
	if !ok {
		return s.lose(s.to, errChunk)
	}
	v, err := s.iter.ValueAndErr()
	if err != nil {
		return s.lose(s.to, err)
	}
	c, err := s.unpacker.unpack(append([]byte(nil), v...))
	if err != nil {
		return s.lose(s.to, err)
	}
	s.first, s.chunk = first, c
	s.iter.Next()
	return true
}

// lose reports the entries up to but not including to as gone.
func (s *blockScan) lose(to uint64, err error) bool {
	s.err = &DamageError{s.height, s.wanted, to - s.wanted, err}
	s.wanted = to
	return false
}

// entry appends the encoding of the entry that the scan stands on.
func (s *blockScan) entry(b []byte) []byte {
	salt, _ := saltOf(s.seeds, s.number)
	return s.chunk.entry(b, s.at, salt)
}

// saltOf returns the salt of an entry from its block's seeds. One whose seed is lost gets a wrong one, which the
// block's root tells.
func saltOf(seeds []seedAt, number uint64) (salt lightchain.Salt, found bool) {
	for i := len(seeds) - 1; i >= 0; i-- {
		if seeds[i].first <= number {
			return seeds[i].seed.Salt(number - seeds[i].first), true
		}
	}
	return salt, false
}

// keyAt returns the key in force at height: that of the newest header below it that sets one; for genesis its own.
func (r *Reader) keyAt(height uint64) (lightchain.PublicKey, error) {
	var public lightchain.PublicKey
	_, v, err := r.seekLT(key(spaceKeys, 0), key(spaceKeys, max(1, height)))
	if err == nil && copy(public[:], v) != len(public) {
		err = ErrDamaged
	}
	if err != nil {
		return public, fmt.Errorf("the key in force at height %d: %w", height, err)
	}
	return public, nil
}

// KeyHeights returns the heights below to of the headers that set the key, genesis first.
func (r *Reader) KeyHeights(to uint64) (heights []uint64, err error) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: key(spaceKeys, 0), UpperBound: key(spaceKeys, to)})
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		heights = append(heights, binary.BigEndian.Uint64(it.Key()[1:]))
	}
	return heights, readError(it.Error())
}
