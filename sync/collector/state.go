package collector

import (
	"context"
	"errors"
	"fmt"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/internal/wire"
	"edgechain.example/sync/pace"
)

// State is what an aggregator keeps of one chain, beside the headers themselves.
type State struct {
	Chain lightchain.ChainID

	// Keys are the signed headers that set the key, genesis first, as far as the newest head or beyond it nobody
	// knows: with them anybody can check the heads and, if it comes to that, a fork.
	Keys []*lightchain.SignedHeader
	Head *Mark // the newest head that was checked; nil: nothing is known yet
	// Every is the header up to which every header is held; nil where only heads are.
	Every *Mark

	Receipt *lightchain.Receipt // this aggregator's, on the newest head; nil: not yet
	Last    uint64              // time of its last receipt on any head of the chain, seconds since the Unix epoch

	// Suspect is a header that the chain's keys signed, and of whose height the history known says nothing: of a second
	// history perhaps. The last one that was shown; nil: none.
	Suspect *lightchain.Side

	Fork  *lightchain.Fork // evidence; from then on nothing of the chain is taken, or countersigned
	Spent pace.Spent
	Hello uint64 // number of the gateway's newest hello when the state was last stored
}

// Mark is a header from which a chain can be followed.
type Mark struct {
	Head *lightchain.SignedHeader // without receipts
	Edge []lightchain.Hash        // of its history: the compact range of the headers below it
}

// Height returns the header's height.
func (m *Mark) Height() uint64 { return m.Head.Header.Height }

// tip returns the tip at a mark.
func (s *State) tip(m *Mark) (*lightchain.Tip, error) {
	h := &m.Head.Header
	history, err := lightchain.NewCompactRange(h.Height, m.Edge)
	if err != nil {
		return nil, err
	}
	key, ok := s.keyAfter(h.Height)
	if !ok {
		return nil, errors.New("no key is known")
	}
	t := &lightchain.Tip{Chain: s.Chain, Height: h.Height, Hash: m.Head.Hash(), History: history, Next: h.First + h.Count, Key: key}
	t.History.Append(t.Hash, nil)
	return t, nil
}

// keyAfter returns the key that signs the header above the height.
func (s *State) keyAfter(height uint64) (lightchain.PublicKey, bool) {
	keys := headersync.Below(s.Keys, height+1)
	if len(keys) == 0 {
		return lightchain.PublicKey{}, false
	}
	return *keys[len(keys)-1].Header.NextKey, true
}

// Held is one header as an aggregator holds it.
type Held struct {
	Height    uint64
	Bytes     []byte                      // its encoding
	Signature *lightchain.HeaderSignature // nil where it came in a run without one
}

// Store keeps the states of all chains and, of those that are followed header by header, the headers. It is safe for
// concurrent use.
type Store interface {
	// Load returns the state of a chain, nil if there is none. The caller may change it.
	Load(ctx context.Context, chain lightchain.ChainID) (*State, error)

	// Update is a read-modify-write: it calls f with the state of the chain, a fresh one if there is none, and stores
	// what f left in it together with the headers that f put, all or nothing, durable on return. Where somebody
	// else, another replica say, changed the state in the meantime, f is called again with the new one. If f returns
	// an error nothing is stored and Update returns it, but for [ErrUnchanged], for which it returns nil.
	Update(ctx context.Context, chain lightchain.ChainID, f func(s *State, put func(Held) error) error) error

	// Headers calls visit for the headers held from one height to another, both included, ascending, until it
	// returns an error, which it returns. A header that is not held is left out.
	Headers(ctx context.Context, chain lightchain.ChainID, from, to uint64, visit func(Held) error) error
}

// ErrUnchanged is what an update's function returns if there is nothing to store.
var ErrUnchanged = errors.New("unchanged")

type rawState struct {
	Version uint64     `cbor:"1,keyasint"`
	Chain   []byte     `cbor:"2,keyasint"`
	Keys    [][]byte   `cbor:"3,keyasint,omitempty"`
	Head    *rawMark   `cbor:"4,keyasint,omitempty"`
	Every   *rawMark   `cbor:"5,keyasint,omitempty"`
	Receipt []byte     `cbor:"6,keyasint,omitempty"`
	Last    uint64     `cbor:"7,keyasint"`
	Fork    []byte     `cbor:"8,keyasint,omitempty"`
	Spent   pace.Spent `cbor:"9,keyasint"`
	Hello   uint64     `cbor:"10,keyasint,omitempty"`
	Suspect *rawSide   `cbor:"11,keyasint,omitempty"`
}

type rawSide struct {
	_    struct{} `cbor:",toarray"`
	Keys [][]byte
	Head []byte
	Leaf []byte
	Path *wire.Path
}

func rawSideOf(s *lightchain.Side) (r *rawSide, err error) {
	if s == nil {
		return nil, nil
	}
	r = &rawSide{Leaf: s.Leaf[:], Path: wire.PathOf(s.Path)}
	if r.Keys, err = wire.EncodeHeaders(s.Keys); err != nil {
		return nil, err
	}
	r.Head, err = s.Head.Encode()
	return r, err
}

func (r *rawSide) side() (s *lightchain.Side, err error) {
	if r == nil {
		return nil, nil
	}
	s = new(lightchain.Side)
	if s.Keys, err = wire.DecodeHeaders(r.Keys, maxStateKeys); err != nil {
		return nil, err
	}
	if s.Head, err = lightchain.DecodeSignedHeader(r.Head); err != nil {
		return nil, err
	}
	if s.Path, err = r.Path.Decode(); err != nil {
		return nil, err
	}
	return s, wire.Fixed(s.Leaf[:], r.Leaf)
}

type rawMark struct {
	_    struct{} `cbor:",toarray"`
	Head []byte
	Edge []byte
}

func (m *Mark) raw() (*rawMark, error) {
	if m == nil {
		return nil, nil
	}
	head, err := m.Head.Encode()
	return &rawMark{Head: head, Edge: wire.JoinHashes(m.Edge)}, err
}

func (r *rawMark) mark() (*Mark, error) {
	if r == nil {
		return nil, nil
	}
	head, err := lightchain.DecodeSignedHeader(r.Head)
	if err != nil {
		return nil, err
	}
	edge, err := wire.SplitHashes(r.Edge)
	return &Mark{head, edge}, err
}

// Encode returns the state as a store keeps it.
func (s *State) Encode() ([]byte, error) {
	raw := rawState{Version: lightchain.Version, Chain: s.Chain[:], Last: s.Last, Spent: s.Spent, Hello: s.Hello}
	var err error
	if raw.Keys, err = wire.EncodeHeaders(s.Keys); err != nil {
		return nil, err
	}
	if raw.Head, err = s.Head.raw(); err != nil {
		return nil, err
	}
	if raw.Every, err = s.Every.raw(); err != nil {
		return nil, err
	}
	if raw.Suspect, err = rawSideOf(s.Suspect); err != nil {
		return nil, err
	}
	if s.Receipt != nil {
		if raw.Receipt, err = s.Receipt.Append(nil); err != nil {
			return nil, err
		}
	}
	if s.Fork != nil {
		if raw.Fork, err = s.Fork.Append(nil); err != nil {
			return nil, err
		}
	}
	return wire.Encode(raw), nil
}

const (
	maxStateKeys  = 1 << 16 // more than one chain's life brings
	maxStateBytes = 32 << 20
)

var strictState = wire.Strictly(maxStateKeys)

// DecodeState reads what [State.Encode] returned.
func DecodeState(b []byte) (*State, error) {
	s, err := readState(b)
	if err != nil {
		return nil, fmt.Errorf("state of a chain: %w", err)
	}
	return s, nil
}

func readState(b []byte) (*State, error) {
	var raw rawState
	if err := wire.DecodeBy(strictState, b, maxStateBytes, &raw); err != nil {
		return nil, err
	}
	s := &State{Last: raw.Last, Spent: raw.Spent, Hello: raw.Hello}
	if err := errors.Join(wire.CheckVersion(raw.Version), wire.Fixed(s.Chain[:], raw.Chain)); err != nil {
		return nil, err
	}
	var err error
	if s.Keys, err = wire.DecodeHeaders(raw.Keys, maxStateKeys); err != nil {
		return nil, err
	}
	if s.Head, err = raw.Head.mark(); err != nil {
		return nil, err
	}
	if s.Every, err = raw.Every.mark(); err != nil {
		return nil, err
	}
	if s.Suspect, err = raw.Suspect.side(); err != nil {
		return nil, err
	}
	if len(raw.Receipt) > 0 {
		r, err := lightchain.DecodeReceipt(raw.Receipt)
		if err != nil {
			return nil, err
		}
		s.Receipt = &r
	}
	if len(raw.Fork) > 0 {
		s.Fork, err = lightchain.DecodeFork(raw.Fork)
	}
	return s, err
}
