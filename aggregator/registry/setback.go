package registry

import (
	"fmt"

	"edgechain.example/lightchain"
	"edgechain.example/sync/collector"
)

// Mended is a store that keeps what was promised in a second place, and says what it found damaged when it was opened.
type Mended interface {
	Opened() Opened
}

// Opened says what a store found damaged, or gone, when it was opened.
type Opened struct {
	SetBack    int   `json:"set_back,omitempty"`   // chains of which it knew less than was countersigned, and that are put back
	Rebuilt    bool  `json:"rebuilt,omitempty"`    // from what could be read
	Unreadable int   `json:"unreadable,omitempty"` // places that were left out then
	LogBytes   int64 `json:"log_bytes,omitempty"`  // of the write-ahead log that could not be read
	Journal    bool  `json:"journal,omitempty"`    // the second place was damaged, or gone: what the store knows counts
}

// Lost reports whether anything was damaged or gone.
func (o Opened) Lost() bool { return o != Opened{} }

// Behind reports whether the record, as a store has it, knows less than another one of the same chain, which was stored before.
func (r *Record) Behind(kept *Record) bool {
	return !r.Known() || r.undecided(kept) || r.below(kept)
}

// below reports whether the record lacks a head, its receipt or the evidence of the other one. What it repeats of its state
// may be older than that, where the two were read from different places of a damaged disk.
func (r *Record) below(kept *Record) bool {
	return behind(r.State, kept.State) || kept.State != nil && (r.Head.Height < kept.Head.Height || r.Receipt.Height < kept.Receipt.Height)
}

// undecided reports whether the other one has a decision about the chain that this one lacks.
func (r *Record) undecided(kept *Record) bool {
	return kept.Standing != r.Standing && kept.Decided > r.Decided
}

// behind reports whether a state lacks a head, its receipt or the evidence of another one.
func behind(s, kept *collector.State) bool {
	switch {
	case kept == nil || s != nil && s.Fork != nil:
		return false
	case s == nil || kept.Fork != nil:
		return true
	case kept.Head == nil:
		return false
	case s.Head == nil || s.Head.Height() < kept.Head.Height():
		return true
	case s.Head.Height() > kept.Head.Height():
		return false
	}
	return s.Head.Head.Hash() != kept.Head.Head.Hash() || s.Receipt == nil && kept.Receipt != nil
}

// PutBack brings a record that is [Record.Behind] to the other one, and notes it, in words that it returns. Headers that are
// not held any more are asked for again as any backlog is.
func (r *Record) PutBack(kept *Record, now int64) (text string) {
	stored := *r
	switch {
	case !r.Known():
		text = "the store knew nothing of it"
	case !r.below(kept):
		text = fmt.Sprintf("the store did not know that it is %s", kept.Standing)
	case r.State == nil || r.State.Head == nil:
		text = "the store knew no header of it"
	default:
		text = fmt.Sprintf("the store knew it up to header %d", r.State.Head.Height())
	}
	if !r.Known() || r.undecided(kept) {
		*r = *kept
		r.State, r.Head, r.Receipt = stored.State, stored.Head, stored.Receipt
	}
	if stored.below(kept) {
		s := *kept.State
		s.Every = nil
		if was := stored.State; was != nil {
			s.Last, s.Hello = max(s.Last, was.Last), max(s.Hello, was.Hello)
			if was.Head == nil || s.Head == nil || was.Head.Height() < s.Head.Height() || was.Head.Head.Hash() == s.Head.Head.Hash() {
				s.Every = was.Every
			}
		}
		r.State, r.Head, r.Receipt = &s, kept.Head, kept.Receipt
		r.Head.Every = 0
		if s.Every != nil {
			r.Head.Every = s.Every.Height()
		}
		if f := kept.Findings[Forked]; f != nil {
			if r.Findings == nil {
				r.Findings = map[Kind]*Finding{}
			}
			r.Findings[Forked] = f
		}
	}
	text += fmt.Sprintf(", while it had promised more, up to header %d: its disk lost the newest, or an old copy was put back. What was countersigned is put back", r.Head.Height)
	r.Note(SetBack, now, r.Head.Height, text)
	return text
}

// Receipted returns the newest head with its receipt, as the stores keep it; nil if there is none.
func (r *Record) Receipted() (*Receipted, error) {
	s := r.State
	if s == nil || s.Head == nil || s.Receipt == nil {
		return nil, nil
	}
	head := *s.Head.Head
	head.Receipts = []lightchain.Receipt{*s.Receipt}
	body, err := head.Encode()
	if err != nil {
		return nil, err
	}
	return &Receipted{Height: s.Head.Height(), Time: s.Receipt.Time, Body: body}, nil
}
