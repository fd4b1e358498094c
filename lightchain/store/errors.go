package store

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// What a caller branches on.
var (
	ErrNoChain   = errors.New("there is no chain in this folder")
	ErrExists    = errors.New("there is a chain in this folder already")
	ErrNewer     = errors.New("the store was written by a newer program")
	ErrOlder     = errors.New("the store was made before the format was fixed, and its signatures are none of this format: begin a new chain in another folder")
	ErrOther     = errors.New("the folder holds another chain than the one expected")
	ErrWrongKey  = errors.New("the chain continues under another key")
	ErrVolatile  = errors.New("the folder does not outlive a power cut")
	ErrLocked    = errors.New("another program has the store open")
	ErrNoSpace   = errors.New("free space is below the reserve")
	ErrBlockFull = errors.New("the open block has no room for the group")
	ErrUnsure    = errors.New("headers may be missing at the end of the chain: sealing now could fork it")
	ErrKeysSpent = errors.New("the key was changed as often as one chain can: begin a new one that names this one, edgeagent init --continue")
	ErrKeyUsed   = errors.New("the chain had this key before, and no key comes back")
	ErrMoved     = errors.New("the chain was moved to another board")
	ErrFailed    = errors.New("the store has failed and must be opened again")
	ErrNotFound  = errors.New("not found")
	ErrNotSealed = errors.New("not sealed yet")
	ErrPruned    = errors.New("deleted by retention")
	ErrNotHeld   = errors.New("not held here: it was lost with the database, or the copy that the chain was restored from was without it")
	ErrDamaged   = errors.New("damaged on disk")
)

// DamageError says which entries cannot be read, or stand on disk otherwise than they were sealed. It is an
// [ErrDamaged].
type DamageError struct {
	Height uint64 // of their block
	First  uint64 // number of the first one
	Count  uint64 // how many; 0 if it is the header or a node of the history
	Err    error  // how it was noticed
}

func (e *DamageError) Error() string {
	what := fmt.Sprintf("block %d", e.Height)
	if e.Count > 0 {
		what = fmt.Sprintf("entries %d to %d of block %d", e.First, e.First+e.Count-1, e.Height)
	}
	if errors.Is(e.Err, ErrDamaged) { // it says so itself
		return fmt.Sprintf("%s: %v", what, e.Err)
	}
	return fmt.Sprintf("%s: %v: %v", what, ErrDamaged, e.Err)
}

// Is makes every DamageError an [ErrDamaged].
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

func (e *DamageError) Unwrap() error { return e.Err }

// GoneError says which entries are not here, where nothing is damaged: [ErrPruned] or [ErrNotHeld].
type GoneError struct {
	First, Count uint64 // number of the first one, and how many
	Err          error
}

func (e *GoneError) Error() string {
	return fmt.Sprintf("entries %d to %d: %v", e.First, e.First+e.Count-1, e.Err)
}

func (e *GoneError) Unwrap() error { return e.Err }

// Gone returns the numbers of the entries that an error of [Reader.Entries] or [Reader.Find] stands for; a count of 0 says
// that it does not tell.
func Gone(err error) (first, count uint64) {
	if gone, ok := errors.AsType[*GoneError](err); ok {
		return gone.First, gone.Count
	}
	if damaged, ok := errors.AsType[*DamageError](err); ok {
		return damaged.First, damaged.Count
	}
	return 0, 0
}

// readError classifies what Pebble said: a key that is not there, a block whose checksum is wrong, something else.
func readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pebble.ErrNotFound):
		return ErrNotFound
	case pebble.IsCorruptionError(err) || errors.Is(err, syscall.EIO): // a sector that is gone
		return &corruption{err}
	}
	return err
}

// corruption is what Pebble says of a damaged file, without the page of detail that it adds behind the first line.
type corruption struct{ err error }

func (c *corruption) Error() string {
	what, _, _ := strings.Cut(c.err.Error(), "\n")
	return ErrDamaged.Error() + ": " + what
}

func (c *corruption) Is(target error) bool { return target == ErrDamaged }

func (c *corruption) Unwrap() error { return c.err }
