package store

import (
	"errors"
	"fmt"
	"iter"

	"edgechain.example/lightchain"
)

// A stored header is a byte that says whether a signature follows, the id of its key, the signature, and the header.
const (
	headerUnsigned byte = iota
	headerSigned
)

// appendHeader appends the stored form of a header.
func appendHeader(b []byte, sig *lightchain.HeaderSignature, header []byte) []byte {
	if sig == nil {
		return append(append(b, headerUnsigned), header...)
	}
	b = append(append(b, headerSigned), sig.KeyID[:]...)
	return append(append(b, sig.Signature[:]...), header...)
}

var errHeader = errors.New("not a stored header")

func splitHeader(b []byte) (sig *lightchain.HeaderSignature, header []byte, err error) {
	switch {
	case len(b) > 0 && b[0] == headerUnsigned:
		return nil, b[1:], nil
	case len(b) > len(sig.KeyID)+len(sig.Signature) && b[0] == headerSigned:
		sig = new(lightchain.HeaderSignature)
		b = b[1+copy(sig.KeyID[:], b[1:]):]
		return sig, b[copy(sig.Signature[:], b):], nil
	}
	return nil, nil, errHeader
}

func (r *Reader) storedHeader(height uint64) (*lightchain.HeaderSignature, []byte, error) {
	sig, b, err := r.headerInDatabase(height)
	if errors.Is(err, ErrDamaged) {
		if sig, b, ok := r.fromBeside(height); ok {
			return sig, b, nil
		}
	}
	return sig, b, err
}

func (r *Reader) headerInDatabase(height uint64) (*lightchain.HeaderSignature, []byte, error) {
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
		r.meets(err)
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
