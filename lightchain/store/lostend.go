package store

import (
	"errors"
	"fmt"
)

// A chain that is only read may have lost its end: a database that was set back, or an image of a failing disk. What lies
// beyond was sealed, as the head mark shows, or may have been. To say that it is not sealed yet, or was never there, would
// be wrong.

// endError says that what is asked for lies beyond the end of a database that has lost what stood there.
type endError struct {
	text string
	of   error // [ErrNotHeld], or [ErrNotFound] where nothing shows that it ever was there
}

func (e *endError) Error() string { return e.text }

func (e *endError) Unwrap() error { return e.of }

// pastEnd says why the proof of an entry cannot be had, where it is not sealed here (err): the store that records is right
// about that, and whoever reads a database that has lost its end is not.
func (r *Reader) pastEnd(number uint64, err error) error {
	if !errors.Is(err, ErrNotSealed) && !errors.Is(err, ErrNotFound) {
		return err
	}
	at := r.view()
	switch b := r.behind; {
	case b != nil && number < min(at.next, b.First+b.Count):
		return &endError{fmt.Sprintf("the entry can be read here, and not proved, since the header of its block is not here: %s", b), ErrNotHeld}
	case b != nil && number < b.First+b.Count:
		return &endError{fmt.Sprintf("the entry was sealed, and is not here, where %s: %s", endsAt(at.next), b), ErrNotHeld}
	case b != nil && number >= at.next:
		return &endError{fmt.Sprintf("the entry is not here, where %s, and whether there was one is not known: %s", endsAt(at.next), b), ErrNotFound}
	case b == nil && r.endUnsure:
		return &endError{fmt.Sprintf("%v here, where %s; headers and entries that were sealed above may be lost (edgeagent verify says more)", err, endsAt(at.next)), err}
	}
	return err
}

// pastTop is pastEnd for the block at a height.
func (r *Reader) pastTop(height uint64, err error) error {
	switch b := r.behind; {
	case b != nil && height <= b.Mark:
		return &endError{fmt.Sprintf("block %d was sealed, and is not here: %s", height, b), ErrNotHeld}
	case b != nil:
		return &endError{fmt.Sprintf("%v, and whether there was a block %d is not known: %s", err, height, b), ErrNotFound}
	case r.endUnsure:
		return &endError{fmt.Sprintf("%v here; headers that were sealed above may be lost (edgeagent verify says more)", err), err}
	}
	return err
}

// endsAt says which entry is the last.
func endsAt(next uint64) string {
	if next == 0 {
		return "the chain has no entries"
	}
	return fmt.Sprintf("the chain ends at entry %d", next-1)
}
