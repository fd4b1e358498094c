package lightchain

import "fmt"

// Run is a run of consecutive headers as they travel: each with what does not follow from the headers before it.
//
// SPEC: What follows from the run itself (keys 1 to 5, 7) need not travel.
type Run struct {
	First   uint64 // height of the first header: at least 1, a genesis travels by itself
	Headers []RunHeader
}

// RunHeader is what a header in a run says for itself.
type RunHeader struct {
	Root    Hash
	Count   uint64
	Sealed  int64
	Clock   Clock
	Beacon  *Hash
	NextKey *PublicKey
	Cadence uint64
	Extra   []Field

	// Signature stands on the run's last header and on each that sets a key, and on no other. The id of the key under
	// which it checks follows from the tip.
	Signature *Signature
}

// MaxRun is the most headers in one encoded run. Decoded they take about 120 bytes each.
const MaxRun = 4096

// Last returns the height of the run's last header.
func (r *Run) Last() uint64 { return r.First + uint64(len(r.Headers)) - 1 }

// Add puts h at the end of the run with its signature, and takes away the signature of the header that was the last
// till then if it sets no key. sig may be nil for a header that sets no key; the run cannot end there.
func (r *Run) Add(h *Header, sig *HeaderSignature) {
	if n := len(r.Headers); n == 0 {
		r.First = h.Height
	} else if last := &r.Headers[n-1]; last.NextKey == nil {
		last.Signature = nil
	}
	r.Headers = append(r.Headers, NewRunHeader(h, sig))
}

// NewRunHeader returns what h says for itself, with its signature, which may be nil.
func NewRunHeader(h *Header, sig *HeaderSignature) RunHeader {
	r := RunHeader{
		Root: h.Root, Count: h.Count, Sealed: h.Sealed, Clock: h.Clock,
		Beacon: h.Beacon, NextKey: h.NextKey, Cadence: h.Cadence, Extra: h.Extra,
	}
	if sig != nil {
		r.Signature = &sig.Signature
	}
	return r
}

// check enforces the shape of a run, whichever chain it belongs to.
func (r *Run) check() error {
	if r.First == 0 || r.First > 1<<62 {
		return fmt.Errorf("a run that begins at height %d", r.First)
	}
	if len(r.Headers) == 0 || len(r.Headers) > MaxRun {
		return fmt.Errorf("a run of %d headers, not 1 to %d", len(r.Headers), MaxRun)
	}
	for i := range r.Headers {
		h := &r.Headers[i]
		// SPEC: When headers travel in a run, only the last and every header with key 12 carry their signatures
		if signed := h.NextKey != nil || i == len(r.Headers)-1; signed != (h.Signature != nil) {
			return fmt.Errorf("header %d of a run: signed is %t, must be %t", r.First+uint64(i), !signed, signed)
		}
		if h.Count == 0 && h.Root != emptyRoot {
			return fmt.Errorf("header %d of a run: a block of no entries with a root", r.First+uint64(i))
		}
	}
	return nil
}

// Derived is one header of a run, whole again.
type Derived struct {
	Header    *Header // valid during the call
	Bytes     []byte  // its encoding, which its hash covers; valid during the call
	Hash      Hash
	Signature *HeaderSignature // nil where it travelled without
	Before    *Tip             // what the header continues; valid during the call
}

// Follow checks a run that continues the chain at the tip, moves the tip to the run's last header and returns that
// header. What does not travel is derived, and stands or falls with the signature of the last header, which commits
// to all before it. visit, which may be nil, is called for each header in turn; nothing it saw may be believed unless
// Follow returns without error. On an error, one of visit's included, the tip stays where it is.
//
// SPEC: … each checked under the key in force before it; a key from a header whose own signature was not checked is
// never used.
func (t *Tip) Follow(r *Run, visit func(Derived) error) (*SignedHeader, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.First != t.Height+1 {
		return nil, fmt.Errorf("%w: a run from height %d on, the next height is %d", ErrNotNext, r.First, t.Height+1)
	}
	at := t.Clone()
	var (
		h      Header
		last   *SignedHeader
		buffer = make([]byte, 0, 512)
	)
	for i := range r.Headers {
		said := &r.Headers[i]
		// The links are those of the tip by construction, so that the history's root is computed once, not twice.
		h = *at.Header(said.Root, said.Count, said.Sealed, said.Clock)
		h.Beacon, h.NextKey, h.Cadence, h.Extra = said.Beacon, said.NextKey, said.Cadence, said.Extra
		if err := at.checkBlock(&h); err != nil {
			return nil, fmt.Errorf("header %d: %w: %w", h.Height, ErrNotNext, err)
		}
		encoded, err := h.Append(buffer[:0])
		if err != nil {
			return nil, err
		}
		buffer = encoded
		hash := LeafHash(encoded)
		var sig *HeaderSignature
		if said.Signature != nil {
			sig = &HeaderSignature{at.Key.KeyID(), *said.Signature}
			if last, err = NewSignedHeader(h, *sig); err != nil {
				return nil, err
			}
			if err := last.Check(at.Key); err != nil {
				return nil, err
			}
		}
		if visit != nil {
			if err := visit(Derived{&h, encoded, hash, sig, at}); err != nil {
				return nil, err
			}
		}
		at.move(&h, hash, nil)
	}
	*t = *at
	return last, nil
}

// FollowOne is [Tip.Follow] for a header that came by itself.
func (t *Tip) FollowOne(s *SignedHeader) error {
	if err := t.check(&s.Header); err != nil {
		return fmt.Errorf("header %d: %w: %w", s.Header.Height, ErrNotNext, err)
	}
	if err := s.Check(t.Key); err != nil {
		return err
	}
	t.move(&s.Header, s.Hash(), nil)
	return nil
}
