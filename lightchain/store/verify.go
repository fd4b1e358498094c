package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// Summary is what verifying a chain has shown, or had shown before it failed.
type Summary struct {
	Chain    lightchain.ChainID `json:"chain"`
	Heights  uint64             `json:"headers"`          // headers checked, genesis among them
	Entries  uint64             `json:"entries"`          // entries that were hashed and found under their block's root
	Blocks   uint64             `json:"blocks"`           // blocks of at least one entry that were checked whole
	Signed   uint64             `json:"signed"`           // headers whose own signature was checked; one vouches for all below
	Absent   uint64             `json:"absent"`           // blocks whose entries were deleted by retention or are not held
	Pruned   uint64             `json:"pruned"`           // of these, those whose entries retention has deleted
	Lost     uint64             `json:"lost"`             // and those with entries that are not held though retention has not deleted them
	NotHeld  uint64             `json:"headers_not_held"` // heights whose headers are not held
	Open     uint64             `json:"open"`             // entries that are staged and not sealed
	Unsigned uint64             `json:"unsigned"`         // headers at the end of the chain that no signature vouches for
}

// Incomplete returns an [*IncompleteError] if something is not there that was sealed and that retention did not delete,
// though what is there verifies; else nil.
func (s *Summary) Incomplete() error {
	if s.Lost == 0 && s.NotHeld == 0 {
		return nil
	}
	return &IncompleteError{Blocks: s.Lost, Headers: s.NotHeld}
}

// IncompleteError says what of a chain that verifies is not here: it was lost, and only headers came back, or not even they.
type IncompleteError struct {
	Blocks  uint64 // whose entries are not here
	Headers uint64 // that are not here, and their blocks' entries with them
}

func (e *IncompleteError) Error() string {
	entries, headers := fmt.Sprintf("the entries of %d blocks", e.Blocks), fmt.Sprintf("%d headers with their blocks' entries", e.Headers)
	missing := entries + ", and " + headers
	switch {
	case e.Headers == 0:
		missing = entries
	case e.Blocks == 0:
		missing = headers
	}
	return fmt.Sprintf("what is here verifies, but %s: sealed, and not here", missing)
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
// them.
func (r *Reader) VerifyRange(ctx context.Context, from, to uint64, progress func(height, entries uint64)) (Summary, error) {
	v, err := newVerifier(r, from, nil, progress)
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
	if to > v.at.tip.Height {
		if err := r.beyond(v.at.tip.Height); err != nil {
			return v.summary, &VerifyError{v.at.tip.Height + 1, err}
		}
	}
	v.summary.Open = v.at.next - v.at.tip.Next
	return v.summary, nil
}

// beyond looks for what shows that blocks were sealed above the newest header that can be reached from below: headers
// behind a gap, or the note that some may be missing.
func (r *Reader) beyond(tip uint64) error {
	if b := r.SetBack(); b != nil {
		return errors.New(b.String())
	}
	// All that is staged stands right above the tip, and is no header.
	highest := tip
	for _, span := range [][2][]byte{{blockKey(tip+2, partSeed), {spaceBlocks + 1}}, {blockKey(tip+1, partHeader), blockKey(tip+2, partSeed)}} {
		k, _, err := r.seekLT(span[0], span[1])
		if err == nil {
			height, _, _, _ := parseBlockKey(k)
			highest = max(highest, height)
		} else if !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("what stands above the newest header that can be reached: %w", err)
		}
	}
	if highest > tip {
		return fmt.Errorf("its header is missing, and there are blocks above it, up to %d", highest)
	}
	if len(r.gaps) > 0 {
		return fmt.Errorf("of the entries that were staged for it %d are gone, from number %d on: %w", r.gaps[0].Count, r.gaps[0].First, r.gaps[0].Err)
	}
	if r.endUnsure {
		return ErrUnsure
	}
	switch _, err := r.get(metaKey(metaUnsure)); {
	case err == nil:
		return ErrUnsure
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return nil
}

// verifier walks over the block space once. Headers are checked here, in order; signatures and entries by workers, or
// where it is paced, in between.
type verifier struct {
	r        *Reader
	at       *view
	iter     *pebble.Iterator
	progress func(height, entries uint64)
	summary  Summary
	tip      *lightchain.Tip // of what was checked; nil at the beginning and behind headers that are not held
	unpacker unpacker

	// pace is told how many bytes were read since it was told last, and returns when more may be. While it waits no
	// iterator is open, which would keep old tables and memory alive. nil: as fast as it goes, with workers.
	pace  func(read int) error
	read  int    // since pace was told
	last  int    // bytes of the value read last
	mends []mend // that the heights passed would take

	work    chan *piece
	workers sync.WaitGroup
	pending []*piece // handed to workers, in the order of heights
}

func newVerifier(r *Reader, from uint64, pace func(read int) error, progress func(height, entries uint64)) (*verifier, error) {
	if progress == nil {
		progress = func(uint64, uint64) {}
	}
	v := &verifier{r: r, at: r.view(), progress: progress, unpacker: unpacker{decoder: r.decoder}, pace: pace, work: make(chan *piece)}
	v.summary.Chain = v.at.tip.Chain
	if err := v.open(blockKey(from, partSeed)); err != nil {
		return nil, err
	}
	if pace != nil {
		return v, nil
	}
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

// open places the verifier onto the first key that is not below the given one.
func (v *verifier) open(from []byte) error {
	it, err := v.r.from.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceBlocks}, UpperBound: []byte{spaceBlocks + 1}})
	if err != nil {
		return readError(err)
	}
	it.SeekGE(from)
	v.iter = it
	return nil
}

func (v *verifier) close() {
	close(v.work)
	v.workers.Wait()
	if v.iter != nil {
		v.iter.Close()
	}
}

// paceQuantum is after how many bytes a paced verifier waits.
const paceQuantum = 256 << 10

// paced counts bytes read, and waits where enough of them were.
func (v *verifier) paced(read int) error {
	if v.read += read; v.pace == nil || v.read < paceQuantum {
		return nil
	}
	at := append([]byte(nil), v.iter.Key()...)
	v.iter.Close()
	v.iter = nil
	read, v.read = v.read, 0
	if err := v.pace(read); err != nil {
		return err
	}
	return v.open(at)
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
	if isAbsent && absent.what == bodyUnknown {
		return errAbsence
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
		switch {
		case absent.what == bodyPruned:
			v.summary.Pruned++
		case s.header.Count > 0:
			v.summary.Lost++
		}
	}
	if height > 0 && !isAbsent {
		s.index(v.r)
	}
	if v.pace != nil {
		if err := s.check(&v.unpacker); err != nil {
			return err
		}
		v.mends = append(v.mends, s.mends...)
		v.count(s)
		return nil
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
		if errors.Is(err, ErrDamaged) && v.pace != nil || errors.Is(err, ErrNotHeld) {
			// A scrub has told of what is damaged below, a start of what is not held: where too little is left to show the
			// history, it goes on with what the header itself shows, up to where enough is.
			s.key, err = v.r.keyAt(s.height)
			return err
		}
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
	return v.tip.Extend(h, lightchain.LeafHash(s.bytes), func(level int, _ uint64, node lightchain.Hash) {
		if held, ok := s.nodes[level]; level > 0 && (!ok || held != node) {
			s.wrong(nodeKey(s.height, level), node[:], "the node of the history at level %d is missing or another one", level)
		}
	})
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

// settle waits for the oldest piece handed to a worker.
func (v *verifier) settle() error {
	p := v.pending[0]
	v.pending = v.pending[1:]
	<-p.done
	if err := cmp.Or(p.err, p.derived); err != nil {
		return &VerifyError{p.height, err}
	}
	v.count(p)
	return nil
}

// count adds a height that was checked to the summary.
func (v *verifier) count(p *piece) {
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
