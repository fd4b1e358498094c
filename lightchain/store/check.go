package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"edgechain.example/lightchain"
)

// What is stored of one height, and whether it is what was sealed: the one check behind verifying and scrubbing.

// piece is what is stored of one height, on its way to a worker and back.
type piece struct {
	height  uint64
	seeds   []seedAt
	chunks  []storedChunk
	nodes   map[int]lightchain.Hash
	indexed map[int][]byte // summaries

	sig    *lightchain.HeaderSignature
	bytes  []byte // of the header; nil: it is not there
	header lightchain.Header
	key    lightchain.PublicKey // in force at this height
	bodies bool                 // the entries are to be checked

	held     int                     // bytes in chunks
	root     lightchain.CompactRange // over the entries hashed so far, whose first one is
	first    uint64                  // this
	received span                    // times of their arrival

	cut     error  // what kept the end of what is stored from being read, once the header was
	derived error  // what is wrong of what follows from the rest: nodes of the history, summaries
	mends   []mend // how that would be right

	done chan struct{} // closed by the worker
	err  error         // set before that
}

type storedChunk struct {
	first uint64
	value []byte
}

// wrong notes that a pair is missing or another one, although nothing that was sealed is lost with it.
func (s *piece) wrong(k, v []byte, format string, args ...any) {
	if s.derived == nil {
		s.derived = cmp.Or(s.cut, fmt.Errorf(format, args...))
	}
	if s.cut != nil {
		return // it may be there
	}
	s.mends = append(s.mends, mend{s.height, k, v})
}

// maxHeld is how many bytes of a block's chunks are gathered before they are hashed where they were read: a block of
// large messages takes more memory than a board has.
const maxHeld = 4 << 20

// collect reads all that is stored for a height and leaves the iterator at the next one.
func (v *verifier) collect(height uint64) (*piece, error) {
	s := &piece{height: height, nodes: map[int]lightchain.Hash{}, indexed: map[int][]byte{}, received: noTime, done: make(chan struct{})}
	for ; v.iter.Valid(); v.iter.Next() {
		if err := v.paced(len(v.iter.Key()) + v.last); err != nil {
			return nil, err
		}
		if !v.iter.Valid() {
			break
		}
		at, p, rest, ok := parseBlockKey(v.iter.Key())
		if !ok || at < height {
			return nil, fmt.Errorf("a key that is not of the layout: %x", v.iter.Key())
		}
		if at > height {
			break
		}
		value, err := v.iter.ValueAndErr()
		if err != nil {
			return nil, readError(err)
		}
		v.last = len(value)
		if err := s.take(p, rest, append([]byte(nil), value...)); err != nil {
			return nil, err
		}
		if s.held > maxHeld {
			if err := s.hash(&v.unpacker); err != nil {
				return nil, err
			}
		}
	}
	err := readError(v.iter.Error())
	if err == nil || s.bytes == nil {
		return s, err
	}
	// Behind the header something cannot be read. It may be the next height's.
	s.cut = err
	v.iter.Close()
	v.iter = nil
	return s, v.open(blockKey(height+1, partSeed))
}

// take sorts one pair into the piece.
func (s *piece) take(p part, rest, value []byte) (err error) {
	switch p {
	case partSeed:
		seed, ok := parseSeed(rest, value)
		if !ok {
			return errors.New("not a seed of salts")
		}
		s.seeds = append(s.seeds, seed)
	case partChunk:
		number, ok := parseNumber(rest)
		if !ok {
			return errChunk
		}
		s.chunks = append(s.chunks, storedChunk{number, value})
		s.held += len(value)
	case partHeader:
		s.sig, s.bytes, err = splitHeader(value)
	case partNode:
		if len(rest) != 1 {
			return errors.New("not a node of the history")
		}
		if len(value) == len(lightchain.Hash{}) { // else it is as good as missing
			s.nodes[int(rest[0])] = lightchain.Hash(value)
		}
	case partSummary:
		if len(rest) != 1 {
			return errSummary
		}
		s.indexed[int(rest[0])] = value
	}
	return err
}

// check is a worker's part: the signature, and the root over the entries as their bytes come out of the store.
func (s *piece) check(u *unpacker) error {
	if s.sig != nil {
		signed, err := lightchain.NewSignedHeader(s.header, *s.sig)
		if err != nil {
			return err
		}
		if err := signed.Check(s.key); err != nil {
			return err
		}
	} else if s.header.NextKey != nil {
		return fmt.Errorf("it sets the key, but is %w", ErrUnsigned)
	}
	if !s.bodies {
		return nil
	}
	if err := s.hash(u); err != nil {
		return err
	}
	if s.root.Size() > 0 && s.first != s.header.First {
		return fmt.Errorf("entries from %d on are missing: the first chunk begins with %d", s.header.First, s.first)
	}
	if s.root.Size() != s.header.Count {
		return fmt.Errorf("%d entries are there, its header says %d", s.root.Size(), s.header.Count)
	}
	if s.root.Root() != s.header.Root {
		return errors.New("its entries do not give the root that its header says")
	}
	if own, err := decodeSummary(s.indexed[0]); err == nil && own.received != s.received {
		s.wrong(summaryKey(s.height, 0), nil, "index: the summary tells other times of arrival")
	}
	return nil
}

// hash takes the entries of the chunks gathered so far into the root, and lets go of them.
func (s *piece) hash(u *unpacker) error {
	var entry []byte
	for _, stored := range s.chunks {
		if s.root.Size() == 0 {
			s.first = stored.first
		}
		if want := s.first + s.root.Size(); stored.first != want {
			return fmt.Errorf("entries from %d on are missing: the next chunk begins with %d", want, stored.first)
		}
		c, err := u.unpack(stored.value)
		if err != nil {
			return fmt.Errorf("entries from %d on: %w", stored.first, err)
		}
		for i := range c.bodies {
			salt, _ := saltOf(s.seeds, stored.first+uint64(i))
			entry = c.entry(entry[:0], i, salt)
			s.root.Append(lightchain.LeafHash(entry), nil)
			s.received.add(c.received[i])
		}
	}
	s.chunks, s.held = nil, 0
	return nil
}

// index checks the summaries as far as that needs no decoding: that each is there, that the block's own holds the
// times of arrival, and that those above are made of those below.
func (s *piece) index(r *Reader) {
	own, err := decodeSummary(s.indexed[0])
	if err != nil {
		s.wrong(summaryKey(s.height, 0), nil, "index: %w", err)
		return
	}
	r.summariesAbove(s.height, own, func(level int, merged summary) {
		if want := merged.append(nil); !bytes.Equal(s.indexed[level], want) {
			s.wrong(summaryKey(s.height, level), want, "index: the summary at level %d is not made of those below", level)
		}
	})
}
