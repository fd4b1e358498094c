package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"

	"edgechain/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// Summary is what verifying a chain has shown, or had shown before it failed.
type Summary struct {
	Chain    lightchain.ChainID
	Heights  uint64 // headers checked, genesis among them
	Entries  uint64 // entries that were hashed and found under their block's root
	Blocks   uint64 // blocks of at least one entry that were checked whole
	Signed   uint64 // headers whose own signature was checked; one vouches for all below
	Absent   uint64 // blocks whose entries were deleted by retention or never held
	NotHeld  uint64 // heights whose headers are not held
	Open     uint64 // entries that are staged and not sealed
	Unsigned uint64 // headers at the end of the chain that no signature vouches for
}

// VerifyError names the lowest height at which the chain does not verify.
type VerifyError struct {
	Height uint64
	Err    error
}

func (e *VerifyError) Error() string {
	return fmt.Sprintf("block %d does not verify: %v", e.Height, e.Err)
}

func (e *VerifyError) Unwrap() error { return e.Err }

// Verify checks the whole chain as it was when it was called: each header against those before it, its signature, the
// stored nodes of the history, the numbers, the root over the entries, and the block's summary. progress, which may
// be nil, is told now and then which height was reached and how many entries were hashed. The error is a
// [*VerifyError] where something does not hold, else what kept it from being checked.
//
// Hashing is spread over the cores; nothing is decoded but headers.
func (r *Reader) Verify(ctx context.Context, progress func(height, entries uint64)) (Summary, error) {
	return r.VerifyRange(ctx, 0, math.MaxUint64, progress)
}

// VerifyRange is Verify for the blocks of the heights from .. to−1, which it checks against the stored history below
// them: a scrub goes through the chain in small pieces, and over a failure to the next height.
func (r *Reader) VerifyRange(ctx context.Context, from, to uint64, progress func(height, entries uint64)) (Summary, error) {
	v, err := newVerifier(r, from, progress)
	if err != nil {
		return Summary{}, err
	}
	defer v.close()
	for height := from; height < min(to, v.at.tip.Height+1); height++ {
		if err := ctx.Err(); err != nil {
			return v.summary, err
		}
		if err := v.height(height); err != nil {
			return v.summary, v.lowest(&VerifyError{height, err})
		}
	}
	if err := v.lowest(nil); err != nil {
		return v.summary, err
	}
	v.summary.Open = v.at.next - v.at.tip.Next
	return v.summary, nil
}

// verifier walks over the block space once. Headers are checked here, in order; signatures and entries by workers.
type verifier struct {
	r        *Reader
	at       *view
	iter     *pebble.Iterator
	progress func(height, entries uint64)
	summary  Summary
	tip      *lightchain.Tip // of what was checked; nil at the beginning and behind headers that are not held

	work    chan *piece
	workers sync.WaitGroup
	pending []*piece // handed to workers, in the order of heights
}

// piece is what is stored of one height, on its way to a worker and back.
type piece struct {
	height  uint64
	seeds   []seedAt
	chunks  []storedChunk
	nodes   map[int]lightchain.Hash
	indexed map[int][]byte // summaries

	sig    *lightchain.Signature
	bytes  []byte // of the header; nil: it is not there
	header lightchain.Header
	key    lightchain.PublicKey // in force at this height
	bodies bool                 // the entries are to be checked

	done chan struct{} // closed by the worker
	err  error         // set before that
}

type storedChunk struct {
	first uint64
	value []byte
}

func newVerifier(r *Reader, from uint64, progress func(height, entries uint64)) (*verifier, error) {
	if progress == nil {
		progress = func(uint64, uint64) {}
	}
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceBlocks}, UpperBound: []byte{spaceBlocks + 1}})
	if err != nil {
		return nil, readError(err)
	}
	v := &verifier{r: r, at: r.view(), iter: it, progress: progress, work: make(chan *piece)}
	v.summary.Chain = v.at.tip.Chain
	it.SeekGE(blockKey(from, partSeed))
	for range runtime.GOMAXPROCS(0) {
		v.workers.Go(func() {
			u := unpacker{decoder: r.decoder}
			for p := range v.work {
				p.err = p.check(&u)
				p.chunks = nil
				close(p.done)
			}
		})
	}
	return v, nil
}

func (v *verifier) close() {
	close(v.work)
	v.workers.Wait()
	v.iter.Close()
}

// collect reads all that is stored for a height and leaves the iterator at the next one.
func (v *verifier) collect(height uint64) (*piece, error) {
	s := &piece{height: height, nodes: map[int]lightchain.Hash{}, indexed: map[int][]byte{}, done: make(chan struct{})}
	for ; v.iter.Valid(); v.iter.Next() {
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
		if err := s.take(p, rest, append([]byte(nil), value...)); err != nil {
			return nil, err
		}
	}
	return s, readError(v.iter.Error())
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
	case partHeader:
		s.sig, s.bytes, err = splitHeader(value)
	case partNode:
		if len(rest) != 1 || len(value) != len(lightchain.Hash{}) {
			return errors.New("not a node of the history")
		}
		s.nodes[int(rest[0])] = lightchain.Hash(value)
	case partSummary:
		if len(rest) != 1 {
			return errSummary
		}
		s.indexed[int(rest[0])] = value
	}
	return err
}

// height checks the header at the next height and hands the rest to a worker.
func (v *verifier) height(height uint64) error {
	s, err := v.collect(height)
	if err != nil {
		return err
	}
	absent, isAbsent, err := v.r.absentAt(height)
	if err != nil {
		return err
	}
	if s.bytes == nil {
		if !isAbsent || absent.what != headerNotHeld {
			return errors.New("its header is missing")
		}
		v.tip = nil
		v.summary.NotHeld++
		return nil
	}
	if s.header, err = lightchain.DecodeHeader(s.bytes); err != nil {
		return err
	}
	if isAbsent && absent.what == headerNotHeld {
		// It sets a key, and is held for that; what is around it is not.
		v.tip = nil
		if s.key, err = v.r.keyAt(height); err != nil {
			return err
		}
	} else if err := v.extend(s); err != nil {
		return err
	}
	if s.bodies = s.header.Count > 0 && !isAbsent; !s.bodies && isAbsent {
		v.summary.Absent++
	}
	if height > 0 && !isAbsent {
		if err := v.index(s); err != nil {
			return err
		}
	}
	if len(v.pending) >= 4*runtime.GOMAXPROCS(0) {
		if err := v.settle(); err != nil {
			return err
		}
	}
	v.pending = append(v.pending, s)
	v.work <- s
	return nil
}

// extend checks what the headers before it dictate, and the nodes of the history that it completes.
func (v *verifier) extend(s *piece) error {
	h := &s.header
	if h.Genesis != nil && s.height == 0 {
		return v.begin(s)
	}
	if v.tip == nil {
		// The headers below are not held, or not looked at. That they are those which this one commits to, the stored
		// nodes of the history show.
		history, err := v.r.compactRange(s.height)
		if err != nil {
			return err
		}
		_, _, next, err := v.r.endAround(s.height-1, 0, v.at.tip.Height)
		if err != nil {
			return err
		}
		v.tip = &lightchain.Tip{Chain: v.at.tip.Chain, Height: s.height - 1, Hash: h.Previous, History: history, Next: next}
		if v.tip.Key, err = v.r.keyAt(s.height); err != nil {
			return err
		}
	}
	s.key = v.tip.Key
	var wrong error
	err := v.tip.Extend(h, lightchain.LeafHash(s.bytes), func(level int, _ uint64, node lightchain.Hash) {
		if held, ok := s.nodes[level]; level > 0 && (!ok || held != node) {
			wrong = fmt.Errorf("the node of the history at level %d is missing or another one", level)
		}
	})
	return errors.Join(err, wrong)
}

// begin checks the genesis header. Its signature is checked with the others, under the key that it names itself.
func (v *verifier) begin(s *piece) error {
	if s.sig == nil {
		return ErrUnsigned
	}
	signed, err := lightchain.NewSignedHeader(s.header, *s.sig)
	if err != nil {
		return err
	}
	if v.tip, err = lightchain.Begin(signed); err != nil {
		return err
	}
	if v.tip.Chain != v.at.tip.Chain {
		return fmt.Errorf("it begins chain %s, not %s", v.tip.Chain, v.at.tip.Chain)
	}
	s.key = v.tip.Key
	return nil
}

// index checks the summaries as far as that needs no decoding: that each is there, that the block's own holds the
// times of arrival, and that those above are made of those below.
func (v *verifier) index(s *piece) error {
	own, err := decodeSummary(s.indexed[0])
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	var wrong error
	v.r.summariesAbove(s.height, own, func(level int, merged summary) {
		if !bytes.Equal(s.indexed[level], merged.append(nil)) {
			wrong = fmt.Errorf("index: the summary at level %d is not made of those below", level)
		}
	})
	return wrong
}

// settle waits for the oldest piece handed to a worker.
func (v *verifier) settle() error {
	p := v.pending[0]
	v.pending = v.pending[1:]
	<-p.done
	if p.err != nil {
		return &VerifyError{p.height, p.err}
	}
	v.summary.Heights++
	if p.sig != nil {
		v.summary.Signed++
		v.summary.Unsigned = 0
	} else {
		v.summary.Unsigned++
	}
	if p.bodies {
		v.summary.Blocks++
		v.summary.Entries += p.header.Count
	}
	v.progress(p.height, v.summary.Entries)
	return nil
}

// lowest waits for all that is pending and returns the failure at the lowest height: one of these, or err.
func (v *verifier) lowest(err error) error {
	var failed *VerifyError
	if errors.As(err, &failed) && errors.As(failed.Err, &failed) {
		return failed // settle found it before the height that was being read
	}
	for len(v.pending) > 0 {
		if err := v.settle(); err != nil {
			return err
		}
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
	own, err := decodeSummary(s.indexed[0])
	if err != nil {
		return err
	}
	var root lightchain.CompactRange
	var entry []byte
	received := noTime
	for _, stored := range s.chunks {
		if want := s.header.First + root.Size(); stored.first != want {
			return fmt.Errorf("entries from %d on are missing: the next chunk begins with %d", want, stored.first)
		}
		c, err := u.unpack(stored.value)
		if err != nil {
			return fmt.Errorf("entries from %d on: %w", stored.first, err)
		}
		for i := range c.bodies {
			salt, _ := saltOf(s.seeds, stored.first+uint64(i))
			entry = c.entry(entry[:0], i, salt)
			root.Append(lightchain.LeafHash(entry), nil)
			received.add(c.received[i])
		}
	}
	if root.Size() != s.header.Count {
		return fmt.Errorf("%d entries are there, its header says %d", root.Size(), s.header.Count)
	}
	if root.Root() != s.header.Root {
		return errors.New("its entries do not give the root that its header says")
	}
	if own.received != received {
		return errors.New("index: the summary tells other times of arrival")
	}
	return nil
}
