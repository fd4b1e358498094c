package store

import (
	"errors"
	"fmt"
	"math"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

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
	if !it.Valid() && it.Error() == nil && height <= r.view().tip.Height {
		a, found, err := r.absentAt(height)
		if found && a.what == bodyUnknown || errors.Is(err, ErrDamaged) {
			err = &DamageError{height, from, to - from, errAbsence}
		} else if found {
			err = fmt.Errorf("block %d: %w", height, a.err())
		}
		if err != nil {
			it.Close()
			return nil, err
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
// cannot be read, it gives up what lies before the next one that can.
func (s *blockScan) nextChunk() bool {
	s.chunk = nil
	if !s.iter.Valid() {
		if err := s.iter.Error(); err != nil {
			return s.lose(s.behindHole(), err)
		}
		return s.lose(s.to, errors.New("no chunk holds them"))
	}
	first, ok := s.chunkNumber()
	if !ok {
		return s.lose(s.to, errChunk)
	}
	v, err := s.iter.ValueAndErr()
	if err != nil {
		return s.lose(s.to, err)
	}
	c, err := s.unpacker.unpack(append([]byte(nil), v...))
	if err != nil {
		to := s.to
		if s.iter.Next() {
			if next, ok := s.chunkNumber(); ok {
				to = min(to, next)
			}
		}
		return s.lose(to, err)
	}
	s.first, s.chunk = first, c
	s.iter.Next()
	return true
}

// chunkNumber returns the number of the first entry in the chunk that the iterator stands on.
func (s *blockScan) chunkNumber() (first uint64, ok bool) {
	_, _, rest, _ := parseBlockKey(s.iter.Key())
	return parseNumber(rest)
}

// behindHole puts the iterator, which could not be read further, onto the next chunk that can, and returns its number.
// A hole in a table says nothing of what it held, and ends at some number: a search finds it.
func (s *blockScan) behindHole() (number uint64) {
	if s.to == untilEnd {
		return s.to
	}
	seek := func(number uint64) bool {
		return s.iter.SeekGE(chunkKey(s.height, number)) || s.iter.Error() == nil
	}
	low, high := s.wanted, s.to // what low begins is in the hole
	if !seek(high) {
		return s.to
	}
	for high-low > 1 {
		if middle := low + (high-low)/2; seek(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	if seek(high) && s.iter.Valid() {
		if first, ok := s.chunkNumber(); ok {
			return min(first, s.to)
		}
	}
	return s.to
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
