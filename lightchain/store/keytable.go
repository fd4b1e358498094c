package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// Which key is in force at a height says the newest header below it that sets one. The table of keys lists these. It is
// derived from headers, and where it cannot be read it is derived again: a header that a key signed says that this key was
// in force there, so the header at which it ended is found by halving, in some twenty signatures for each change.

type publicKey = lightchain.PublicKey

// keyChange is a header that sets a key.
type keyChange struct {
	height uint64
	key    publicKey
}

// keyList is what was derived of the changes of key.
type keyList struct {
	changes []keyChange // genesis first
	upTo    uint64      // every change at or below this height is among them,
	broken  error       // unless one of them could not be read
}

// keyAt returns the key in force at height: that of the newest header below it that sets one; for genesis its own.
func (r *Reader) keyAt(height uint64) (publicKey, error) {
	below := max(1, height)
	if !r.distrustsKeys() {
		var public publicKey
		_, v, err := r.seekLT(key(spaceKeys, 0), key(spaceKeys, below))
		switch {
		case err == nil && copy(public[:], v) == len(public):
			return public, nil
		case err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound):
			return public, fmt.Errorf("the key in force at height %d: %w", height, err)
		}
		r.distrustKeys()
	}
	list := r.deriveKeys(below - 1)
	if list.broken != nil {
		if candidate, ok := r.candidateFor(below - 1); ok {
			return candidate, nil
		}
		if below-1 > list.upTo {
			return publicKey{}, fmt.Errorf("the key in force at height %d: %w", height, list.broken)
		}
	}
	if i := changesBelow(list.changes, below); i > 0 {
		return list.changes[i-1].key, nil
	}
	return publicKey{}, fmt.Errorf("the key in force at height %d: %w", height, &DamageError{Err: errors.New("genesis cannot be read")})
}

// KeyHeights returns the heights below to of the headers that set the key, genesis first. Its error is [ErrNotHeld]
// where a key in force came from the head mark, and what set it is gone.
func (r *Reader) KeyHeights(to uint64) (heights []uint64, err error) {
	if !r.distrustsKeys() {
		scan, err := r.scanSide(key(spaceKeys, 0), key(spaceKeys, to))
		if err != nil {
			return nil, err
		}
		defer scan.close()
		for ok := scan.first(); ok; ok = scan.next() {
			if len(scan.value()) > len(publicKey{}) {
				return heights, fmt.Errorf("how the key in force above header %d came to be: %w", binary.BigEndian.Uint64(scan.key()[1:]), ErrNotHeld)
			}
			heights = append(heights, binary.BigEndian.Uint64(scan.key()[1:]))
		}
		if scan.err != nil || !scan.holes && (to == 0 || len(heights) > 0) {
			return heights, scan.err
		}
		r.distrustKeys()
	}
	if to == 0 {
		return nil, nil
	}
	top := min(to, r.view().tip.Height+1) - 1
	list := r.deriveKeys(top)
	if list.broken != nil && top > list.upTo {
		return nil, fmt.Errorf("headers that set the key: %w", list.broken)
	}
	heights = nil
	for _, c := range list.changes[:changesBelow(list.changes, to)] {
		heights = append(heights, c.height)
	}
	return heights, nil
}

// UsedKey reports whether a header of the chain sets a key. Of changes that cannot be read, or are not held, it does not know.
//
// SPEC: one that no header below sets: no key comes back
func (r *Reader) UsedKey(k lightchain.PublicKey) (bool, error) {
	if !r.distrustsKeys() {
		scan, err := r.scanSide(key(spaceKeys, 0), key(spaceKeys, math.MaxUint64))
		if err != nil {
			return false, err
		}
		defer scan.close()
		for ok := scan.first(); ok; ok = scan.next() {
			if bytes.HasPrefix(scan.value(), k[:]) {
				return true, nil
			}
		}
		if scan.err != nil || !scan.holes {
			return false, scan.err
		}
		r.distrustKeys()
	}
	list := r.deriveKeys(r.view().tip.Height)
	return slices.ContainsFunc(list.changes, func(c keyChange) bool { return c.key == k }), nil
}

// MaxKeyChanges is how often the key of a chain may change: a proof shows each header that set one, genesis among them.
//
// SPEC: signed headers that set the key: genesis first, heights strictly ascending, each with key 12
const MaxKeyChanges = 1023

// KeyChanges returns how often the key was changed since genesis.
func (r *Reader) KeyChanges() (int, error) {
	heights, err := r.KeyHeights(r.view().tip.Height + 1)
	return max(0, len(heights)-1), err
}

func (r *Reader) distrustsKeys() bool {
	r.sides.mu.Lock()
	defer r.sides.mu.Unlock()
	return r.sides.badKeys
}

// changesBelow returns how many of the changes are below a height.
func changesBelow(changes []keyChange, height uint64) int {
	i, _ := slices.BinarySearchFunc(changes, height, func(c keyChange, h uint64) int {
		if c.height < h {
			return -1
		}
		return 1
	})
	return i
}

// candidateFor returns the key of those given to Open that signed the header at a height, or that it sets.
func (r *Reader) candidateFor(height uint64) (publicKey, bool) {
	sig, b, err := r.storedHeader(height)
	if err != nil || sig == nil {
		return publicKey{}, false
	}
	h, err := lightchain.DecodeHeader(b)
	if err != nil {
		return publicKey{}, false
	}
	for _, k := range r.sides.candidates {
		if h.NextKey != nil && *h.NextKey == k || h.NextKey == nil && signedBy(h, *sig, k) {
			return k, true
		}
	}
	return publicKey{}, false
}

func signedBy(h lightchain.Header, sig lightchain.HeaderSignature, k publicKey) bool {
	signed, err := lightchain.NewSignedHeader(h, sig)
	return err == nil && signed.Check(k) == nil
}

// deriveKeys returns the changes of key up to a height, included. What was found is kept: each asks for what is above
// alone. A key that came into force twice may be found in force between; no proof is the worse for it.
func (r *Reader) deriveKeys(top uint64) keyList {
	r.sides.mu.Lock()
	list := r.sides.keys
	r.sides.mu.Unlock()
	if len(list.changes) > 0 && (top <= list.upTo || list.broken != nil) {
		return list
	}
	list.changes = slices.Clip(list.changes)
	r.extendKeys(&list, top)
	r.sides.mu.Lock()
	r.sides.keys = list
	r.sides.mu.Unlock()
	return list
}

func (r *Reader) extendKeys(list *keyList, top uint64) {
	if len(list.changes) == 0 {
		h, err := r.HeaderAt(0)
		if err != nil || h.NextKey == nil {
			list.broken = fmt.Errorf("genesis: %w: %w", ErrDamaged, err)
			return
		}
		list.changes = []keyChange{{0, *h.NextKey}}
	}
	// The header at low is signed by the key in force; none from high on is, up to top, that could be read.
	low, high := list.upTo, top+1
	inForce := list.changes[len(list.changes)-1].key
	seen := false // a signed header above low that another key signed
	for low < top {
		middle := low + (high-low)/2
		if high == top+1 && !seen {
			middle = top // mostly nothing changed
		}
		h, sig, found := r.signedFrom(middle, high)
		switch {
		case found && signedBy(h, sig, inForce):
			low = h.Height
		default:
			seen = seen || found
			high = middle
		}
		if low == top || high-low > 1 {
			continue
		}
		// low is the last one that it signed: it sets the next key, or what does cannot be read.
		h, err := r.HeaderAt(low)
		if err == nil && h.NextKey != nil && low > list.changes[len(list.changes)-1].height {
			inForce = *h.NextKey
			list.changes = append(list.changes, keyChange{low, inForce})
			list.upTo, high, seen = low, top+1, false
			continue
		}
		if seen {
			list.upTo = low
			list.broken = &DamageError{Height: low + 1, Err: errors.New("the header that sets the next key cannot be read")}
			return
		}
		break // nothing signed is above
	}
	if low == top {
		if h, err := r.HeaderAt(top); err == nil && h.NextKey != nil && top > list.changes[len(list.changes)-1].height {
			list.changes = append(list.changes, keyChange{top, *h.NextKey})
		}
	}
	list.upTo = top
}

// signedFrom returns the lowest header from a height on and below another that is held with its signature and can be
// read. Behind what cannot be read it looks in steps that grow.
func (r *Reader) signedFrom(from, below uint64) (h lightchain.Header, sig lightchain.HeaderSignature, found bool) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: headerKey(from), UpperBound: headerKey(below)})
	if err != nil {
		return h, sig, false
	}
	defer it.Close()
	for at, step := from, uint64(1); at < below; {
		if !it.SeekGE(headerKey(at)) {
			if it.Error() == nil {
				return h, sig, false
			}
			if at > math.MaxUint64-step {
				return h, sig, false
			}
			at, step = at+step, 2*step
			continue
		}
		height, p, _, ok := parseBlockKey(it.Key())
		switch {
		case ok && p < partHeader:
			at = height
			continue
		case ok && p == partHeader:
			if s, b, err := splitHeader(bytes.Clone(it.Value())); err == nil && s != nil {
				if h, err := lightchain.DecodeHeader(b); err == nil {
					return h, *s, true
				}
			}
		}
		at = height + 1
	}
	return h, sig, false
}

// checkKeys compares the key that the table says is in force with what the newest header was signed by. A table that
// came back older than the headers is as good as unreadable.
func (r *Reader) checkKeys(height uint64, h *lightchain.Header, sig *lightchain.HeaderSignature) {
	if sig == nil || r.distrustsKeys() {
		return
	}
	if k, err := r.keyAt(height); err != nil || signedBy(*h, *sig, k) {
		return
	}
	if derived := r.deriveKeys(height); derived.broken != nil {
		if _, ok := r.candidateFor(height); !ok {
			return // nothing says better
		}
	}
	r.distrustKeys()
}
