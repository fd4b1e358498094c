package headersync

import (
	"encoding/binary"
	"errors"
	"fmt"

	"edgechain.example/lightchain"
	"edgechain.example/sync/internal/wire"
)

// Pulled is a gateway's answer to a pull. It is not signed: what it carries stands or falls by itself.
type Pulled struct {
	Correlation uint64  // the pull's sequence number
	Head        uint64  // height of the gateway's newest header: a hint
	Receipted   *uint64 // highest header for which the gateway holds the asker's receipt; a hint

	Genesis     *lightchain.SignedHeader // where the chain was wanted from its beginning
	Run         *lightchain.Run
	Consistency *lightchain.Consistency

	// Other is what the gateway has instead of the header that the asker knows: its own header of that height, or,
	// being behind, its newest one; before it the headers below it that set the key, at most 16, without genesis.
	Other []*lightchain.SignedHeader
	// Where the gateway does not hold the signature of its own header of that height, since it came back in a run, the
	// last of Other is a higher one; then Leaf is the hash of the header asked for, and Path its path in the history of
	// that one.
	Leaf lightchain.Hash
	Path *lightchain.Path

	// Unavailable says that the gateway lacks what it would take to answer: it was itself restored from a sparse copy.
	Unavailable bool
}

// OtherSide is what a page shows instead of the header that the asker knows.
func (p *Pulled) OtherSide() lightchain.Side {
	n := len(p.Other) - 1
	bare := *p.Other[n]
	bare.Receipts = nil
	side := HeadSide(&bare, p.Other[:n]...)
	if p.Path != nil {
		side.Leaf, side.Path = p.Leaf, p.Path
	}
	return side
}

const maxOther = MaxWelcomeKeys + 1

type rawPulled struct {
	Version     uint64     `cbor:"1,keyasint"`
	Correlation uint64     `cbor:"2,keyasint"`
	Head        uint64     `cbor:"3,keyasint"`
	Receipted   *uint64    `cbor:"4,keyasint,omitempty"`
	Genesis     []byte     `cbor:"5,keyasint,omitempty"`
	Run         []byte     `cbor:"6,keyasint,omitempty"`
	Consistency []byte     `cbor:"7,keyasint,omitempty"`
	Other       [][]byte   `cbor:"8,keyasint,omitempty"`
	Unavailable bool       `cbor:"9,keyasint,omitempty"`
	Leaf        []byte     `cbor:"10,keyasint,omitempty"`
	Path        *wire.Path `cbor:"11,keyasint,omitempty"`
}

// Encode returns the page as it travels.
func (p *Pulled) Encode() ([]byte, error) {
	raw := rawPulled{Version: lightchain.Version, Correlation: p.Correlation, Head: p.Head, Receipted: p.Receipted, Unavailable: p.Unavailable}
	var err error
	if p.Genesis != nil {
		if raw.Genesis, err = p.Genesis.Encode(); err != nil {
			return nil, err
		}
	}
	if p.Run != nil {
		if raw.Run, err = p.Run.Append(nil); err != nil {
			return nil, err
		}
	}
	if p.Consistency != nil {
		if raw.Consistency, err = p.Consistency.Append(nil); err != nil {
			return nil, err
		}
	}
	if raw.Other, err = wire.EncodeHeaders(p.Other); err != nil {
		return nil, err
	}
	if p.Path != nil {
		raw.Leaf, raw.Path = p.Leaf[:], wire.PathOf(p.Path)
	}
	return wire.Encode(raw), nil
}

// PageNumber returns a page's correlation without reading the rest.
func PageNumber(b []byte) (number uint64, ok bool) {
	// A map whose first two keys are 1: 1 and 2: the number.
	if len(b) < 5 || b[0]>>5 != 5 || b[1] != 1 || b[2] != lightchain.Version || b[3] != 2 || b[4]>>5 != 0 {
		return 0, false
	}
	switch rest, info := b[5:], b[4]; {
	case info < 24:
		return uint64(info), true
	case info == 24 && len(rest) >= 1:
		return uint64(rest[0]), true
	case info == 25 && len(rest) >= 2:
		return uint64(binary.BigEndian.Uint16(rest)), true
	case info == 26 && len(rest) >= 4:
		return uint64(binary.BigEndian.Uint32(rest)), true
	case info == 27 && len(rest) >= 8:
		return binary.BigEndian.Uint64(rest), true
	}
	return 0, false
}

// DecodePulled reads a page. It checks the encoding alone; see [collector.Judge].
func DecodePulled(b []byte) (*Pulled, error) {
	p, err := readPulled(b)
	if err != nil {
		return nil, fmt.Errorf("page: %w", err)
	}
	return p, nil
}

func readPulled(b []byte) (*Pulled, error) {
	var raw rawPulled
	// SPEC: Pages stay within 64 KiB unless configured, never above 128 KiB
	if err := wire.Decode(b, MaxPage, &raw); err != nil {
		return nil, err
	}
	if err := errors.Join(wire.CheckVersion(raw.Version), wire.CheckNumbers(raw.Correlation, raw.Head), wire.CheckOptional(raw.Receipted)); err != nil {
		return nil, err
	}
	p := &Pulled{Correlation: raw.Correlation, Head: raw.Head, Receipted: raw.Receipted, Unavailable: raw.Unavailable}
	var err error
	if len(raw.Genesis) > 0 {
		if p.Genesis, err = lightchain.DecodeSignedHeader(raw.Genesis); err != nil {
			return nil, err
		}
	}
	if len(raw.Run) > 0 {
		if p.Run, err = lightchain.DecodeRun(raw.Run); err != nil {
			return nil, err
		}
	}
	if len(raw.Consistency) > 0 {
		if p.Consistency, err = lightchain.DecodeConsistency(raw.Consistency); err != nil {
			return nil, err
		}
	}
	if p.Other, err = wire.DecodeHeaders(raw.Other, maxOther); err != nil {
		return nil, err
	}
	if p.Path, err = raw.Path.Decode(); err != nil {
		return nil, err
	}
	if p.Path != nil {
		if err := wire.Fixed(p.Leaf[:], raw.Leaf); err != nil {
			return nil, err
		}
	}
	if (len(raw.Leaf) > 0) != (p.Path != nil) || p.Path != nil && p.Other == nil {
		return nil, errors.New("a path to nothing, or a header without its path")
	}
	kinds := 0
	for _, present := range [...]bool{p.Run != nil, p.Consistency != nil, p.Other != nil, p.Unavailable} {
		if present {
			kinds++
		}
	}
	if kinds > 1 {
		return nil, errors.New("more than one answer in one page")
	}
	return p, nil
}

// Restored is an aggregator's answer to a gateway that lost its newest headers. It is not signed either.
type Restored struct {
	Correlation uint64 // the request's sequence number
	Run         *lightchain.Run
	Sparse      *SparseCopy // where the aggregator does not hold the headers themselves
}

// SparseCopy is a head and what it takes to continue from it.
type SparseCopy struct {
	Head *lightchain.SignedHeader
	Edge []lightchain.Hash // of the head's history: the compact range of the headers below it
	// Keys are the headers between the hello's and the head that set the key, ascending.
	Keys []*lightchain.SignedHeader
}

// MaxSparseKeys is how many changes of key a sparse copy may bridge. With more a page of [MaxPage] would not hold them.
const MaxSparseKeys = 256

type rawRestored struct {
	Version     uint64     `cbor:"1,keyasint"`
	Correlation uint64     `cbor:"2,keyasint"`
	Run         []byte     `cbor:"3,keyasint,omitempty"`
	Sparse      *rawSparse `cbor:"4,keyasint,omitempty"`
}

type rawSparse struct {
	_    struct{} `cbor:",toarray"`
	Head []byte
	Edge []byte
	Keys [][]byte
}

// Encode returns the page as it travels.
func (r *Restored) Encode() ([]byte, error) {
	raw := rawRestored{Version: lightchain.Version, Correlation: r.Correlation}
	var err error
	if r.Run != nil {
		if raw.Run, err = r.Run.Append(nil); err != nil {
			return nil, err
		}
	}
	if r.Sparse != nil {
		raw.Sparse = new(rawSparse)
		if raw.Sparse.Head, err = r.Sparse.Head.Encode(); err != nil {
			return nil, err
		}
		raw.Sparse.Edge = wire.JoinHashes(r.Sparse.Edge)
		if raw.Sparse.Keys, err = wire.EncodeHeaders(r.Sparse.Keys); err != nil {
			return nil, err
		}
	}
	return wire.Encode(raw), nil
}

// DecodeRestored reads a page. It checks the encoding alone.
func DecodeRestored(b []byte) (*Restored, error) {
	r, err := readRestored(b)
	if err != nil {
		return nil, fmt.Errorf("restore page: %w", err)
	}
	return r, nil
}

func readRestored(b []byte) (*Restored, error) {
	var raw rawRestored
	if err := wire.Decode(b, MaxPage, &raw); err != nil {
		return nil, err
	}
	if err := errors.Join(wire.CheckVersion(raw.Version), wire.CheckNumbers(raw.Correlation)); err != nil {
		return nil, err
	}
	r := &Restored{Correlation: raw.Correlation}
	if (len(raw.Run) > 0) == (raw.Sparse != nil) {
		return nil, errors.New("neither a run nor a sparse copy, or both")
	}
	var err error
	if raw.Sparse == nil {
		r.Run, err = lightchain.DecodeRun(raw.Run)
		return r, err
	}
	r.Sparse = new(SparseCopy)
	if r.Sparse.Head, err = lightchain.DecodeSignedHeader(raw.Sparse.Head); err != nil {
		return nil, err
	}
	if r.Sparse.Edge, err = wire.SplitHashes(raw.Sparse.Edge); err != nil {
		return nil, err
	}
	r.Sparse.Keys, err = wire.DecodeHeaders(raw.Sparse.Keys, MaxSparseKeys)
	return r, err
}
