package headersync

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	"edgechain.example/lightchain"
	"edgechain.example/sync/internal/wire"
)

// Requests are signed, name the chain and who asks, and cannot be replayed with effect.
//
//   - A gateway's hello carries a fresh nonce. An aggregator's signed welcome repeats it, so it is an answer to this
//     hello and no older one, and says from which sequence number on the aggregator will count its pulls. A gateway
//     answers nobody's pull before that aggregator's welcome, and then only pulls whose number is above all it has
//     seen. Nothing of this outlives the process: after a start there is a new nonce, so a recorded pull is dead until
//     the aggregator itself has spoken, and then its number is too low.
//   - A welcome likewise carries a nonce of the aggregator's process, its session, which a gateway repeats when it
//     asks for its own headers back, with a number that grows.

// The media types of signed messages.
const (
	MediaHello   = "application/vnd.edgechain.hello+cbor"
	MediaWelcome = "application/vnd.edgechain.welcome+cbor"
	MediaPull    = "application/vnd.edgechain.pull+cbor"
)

// maxRequest is more bytes than a hello or pull takes.
const maxRequest = 1 << 10

// Nonce is 16 random bytes that are used once.
type Nonce [16]byte

// Hello asks the aggregators which head of this gateway's chain they know, and may ask one of them for what the
// gateway has lost.
type Hello struct {
	Chain  lightchain.ChainID
	Nonce  Nonce
	Height uint64 // of the gateway's newest header
	Hash   lightchain.Hash

	Restore *RestoreRequest
	Enrol   *Enrolment
}

// RestoreRequest asks one aggregator for the headers above the hello's height.
type RestoreRequest struct {
	Aggregator string
	Session    Nonce  // from the aggregator's welcome
	Sequence   uint64 // above that of every earlier request of the session; the page repeats it
	Most       uint64 // bytes in a page
}

// Enrolment shows that the gateway holds a one-off token, without showing it to others on the broker.
type Enrolment struct {
	Token [8]byte // first bytes of the token's SHA-256: which token
	MAC   [32]byte
}

// NewEnrolment returns what shows that this chain's gateway holds the token.
func NewEnrolment(token string, chain lightchain.ChainID) *Enrolment {
	e := new(Enrolment)
	id := sha256.Sum256([]byte(token))
	copy(e.Token[:], id[:])
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("edgechain enrolment\x00"))
	mac.Write(chain[:])
	mac.Sum(e.MAC[:0])
	return e
}

// Check reports whether e was made with the token, for this chain.
func (e *Enrolment) Check(token string, chain lightchain.ChainID) bool {
	want := NewEnrolment(token, chain)
	return hmac.Equal(e.MAC[:], want.MAC[:]) && e.Token == want.Token
}

type rawHello struct {
	Version uint64        `cbor:"1,keyasint"`
	Chain   []byte        `cbor:"2,keyasint"`
	Nonce   []byte        `cbor:"3,keyasint"`
	Height  uint64        `cbor:"4,keyasint"`
	Hash    []byte        `cbor:"5,keyasint"`
	Restore *rawRestore   `cbor:"6,keyasint,omitempty"`
	Enrol   *rawEnrolment `cbor:"7,keyasint,omitempty"`
}

type rawRestore struct {
	_          struct{} `cbor:",toarray"`
	Aggregator string
	Session    []byte
	Sequence   uint64
	Most       uint64
}

type rawEnrolment struct {
	_     struct{} `cbor:",toarray"`
	Token []byte
	MAC   []byte
}

// Sign returns the hello as it travels.
func (h *Hello) Sign(signer lightchain.Signer) ([]byte, error) {
	raw := rawHello{Version: lightchain.Version, Chain: h.Chain[:], Nonce: h.Nonce[:], Height: h.Height, Hash: h.Hash[:]}
	if r := h.Restore; r != nil {
		raw.Restore = &rawRestore{Aggregator: r.Aggregator, Session: r.Session[:], Sequence: r.Sequence, Most: r.Most}
	}
	if e := h.Enrol; e != nil {
		raw.Enrol = &rawEnrolment{Token: e.Token[:], MAC: e.MAC[:]}
	}
	return wire.Seal(MediaHello, signer, wire.Encode(raw))
}

// DecodeHello reads a hello. It checks no signature.
func DecodeHello(b []byte) (*Hello, *wire.Sealed, error) {
	s, err := wire.Unseal(MediaHello, b, maxRequest)
	if err != nil {
		return nil, nil, fmt.Errorf("hello: %w", err)
	}
	var raw rawHello
	h := new(Hello)
	err = wire.Decode(s.Payload, maxRequest, &raw)
	if err == nil {
		err = errors.Join(wire.CheckVersion(raw.Version), wire.CheckNumbers(raw.Height), wire.Fixed(h.Chain[:], raw.Chain),
			wire.Fixed(h.Nonce[:], raw.Nonce), wire.Fixed(h.Hash[:], raw.Hash))
	}
	h.Height = raw.Height
	if r := raw.Restore; err == nil && r != nil {
		h.Restore = &RestoreRequest{Aggregator: r.Aggregator, Sequence: r.Sequence, Most: r.Most}
		err = errors.Join(lightchain.CheckAggregatorName(r.Aggregator), wire.CheckNumbers(r.Sequence, r.Most), wire.Fixed(h.Restore.Session[:], r.Session))
	}
	if e := raw.Enrol; err == nil && e != nil {
		h.Enrol = new(Enrolment)
		err = errors.Join(wire.Fixed(h.Enrol.Token[:], e.Token), wire.Fixed(h.Enrol.MAC[:], e.MAC))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("hello: %w", err)
	}
	return h, s, nil
}

// Welcome answers a hello.
type Welcome struct {
	Chain    lightchain.ChainID
	Name     string // the aggregator's
	Nonce    Nonce  // the hello's
	Sequence uint64 // the aggregator's next pulls have higher numbers
	Session  Nonce  // the aggregator's own, for requests to it

	Head *lightchain.SignedHeader // the newest head known; nil: none
	// Keys are headers below the head that set the key: those above the hello's height, or, where its signature does
	// not fit the history known, all but genesis; the lowest 16 of them, so that the first follows from what the gateway
	// holds, whatever came later.
	Keys []*lightchain.SignedHeader
	// Key is in force above the head. A gateway compares it with its own where the keys that lead to it do not all fit.
	Key  *lightchain.PublicKey // nil: that which Head or the last of Keys set
	Held uint64                // the height up to which every header is held; 0: none above genesis
	Fork *lightchain.Fork      // the chain was forked, and is not countersigned any more

	Restores uint64 // requests to restore with numbers up to this one are not answered any more
	// Busy says that the hello's request is not answered for so many seconds: the day's budget for the gateway is used up.
	// It stands here, under a signature, for whoever could make it up would keep a gateway from its headers.
	Busy uint64
}

const (
	MaxWelcomeKeys = 16
	maxWelcome     = 64 << 10
)

type rawWelcome struct {
	Version  uint64   `cbor:"1,keyasint"`
	Chain    []byte   `cbor:"2,keyasint"`
	Name     string   `cbor:"3,keyasint"`
	Nonce    []byte   `cbor:"4,keyasint"`
	Sequence uint64   `cbor:"5,keyasint"`
	Session  []byte   `cbor:"6,keyasint"`
	Head     []byte   `cbor:"7,keyasint,omitempty"`
	Keys     [][]byte `cbor:"8,keyasint,omitempty"`
	Fork     []byte   `cbor:"9,keyasint,omitempty"`
	Key      []byte   `cbor:"10,keyasint,omitempty"`
	Held     uint64   `cbor:"11,keyasint"`
	Restores uint64   `cbor:"12,keyasint"`
	Busy     uint64   `cbor:"13,keyasint,omitempty"`
}

// Sign returns the welcome as it travels.
func (w *Welcome) Sign(signer lightchain.Signer) ([]byte, error) {
	raw := rawWelcome{Version: lightchain.Version, Chain: w.Chain[:], Name: w.Name, Nonce: w.Nonce[:], Sequence: w.Sequence, Session: w.Session[:],
		Held: w.Held, Restores: w.Restores, Busy: w.Busy}
	var err error
	if w.Head != nil {
		if raw.Head, err = w.Head.Encode(); err != nil {
			return nil, err
		}
	}
	if raw.Keys, err = wire.EncodeHeaders(w.Keys); err != nil {
		return nil, err
	}
	if w.Key != nil {
		raw.Key = w.Key[:]
	}
	if w.Fork != nil {
		if raw.Fork, err = w.Fork.Append(nil); err != nil {
			return nil, err
		}
	}
	return wire.Seal(MediaWelcome, signer, wire.Encode(raw))
}

// DecodeWelcome reads a welcome. It checks no signature.
func DecodeWelcome(b []byte) (*Welcome, *wire.Sealed, error) {
	s, err := wire.Unseal(MediaWelcome, b, maxWelcome)
	if err != nil {
		return nil, nil, fmt.Errorf("welcome: %w", err)
	}
	w, err := readWelcome(s.Payload)
	if err != nil {
		return nil, nil, fmt.Errorf("welcome: %w", err)
	}
	return w, s, nil
}

func readWelcome(b []byte) (*Welcome, error) {
	var raw rawWelcome
	if err := wire.Decode(b, maxWelcome, &raw); err != nil {
		return nil, err
	}
	w := &Welcome{Name: raw.Name, Sequence: raw.Sequence, Held: raw.Held, Restores: raw.Restores, Busy: raw.Busy}
	err := errors.Join(wire.CheckVersion(raw.Version), wire.CheckNumbers(raw.Sequence, raw.Held, raw.Restores, raw.Busy), lightchain.CheckAggregatorName(raw.Name),
		wire.Fixed(w.Chain[:], raw.Chain), wire.Fixed(w.Nonce[:], raw.Nonce), wire.Fixed(w.Session[:], raw.Session))
	if err == nil && len(raw.Head) > 0 {
		w.Head, err = lightchain.DecodeSignedHeader(raw.Head)
	}
	if err == nil {
		w.Keys, err = wire.DecodeHeaders(raw.Keys, MaxWelcomeKeys)
	}
	if err == nil && w.Head == nil && len(raw.Key) > 0 {
		err = errors.New("a key in force above no head")
	}
	if err == nil && len(raw.Key) > 0 {
		w.Key = new(lightchain.PublicKey)
		err = wire.Fixed(w.Key[:], raw.Key)
	}
	if err == nil && len(raw.Fork) > 0 {
		w.Fork, err = lightchain.DecodeFork(raw.Fork)
	}
	return w, err
}

// Mode says how a chain is followed.
type Mode uint64

// The two modes.
const (
	EveryHeader Mode = 1 // all headers, in runs
	Sparse      Mode = 2 // heads alone, each with the proof that it continues the one before
)

// NoCeiling is above every height: a [Pull] without a last one.
const NoCeiling = math.MaxInt64

// Pull asks a gateway for what its asker lacks. Its sequence number is the correlation that the page repeats.
type Pull struct {
	Chain    lightchain.ChainID
	Name     string // who asks
	Sequence uint64
	First    uint64          // height of the first header wanted
	Below    lightchain.Hash // hash of the header below it, as the asker knows it; nothing where First is 0
	Most     uint64          // bytes in the page
	Want     Mode            // a run, or a consistency proof
	Last     uint64          // height above which nothing is wanted
}

type rawPull struct {
	Version  uint64 `cbor:"1,keyasint"`
	Chain    []byte `cbor:"2,keyasint"`
	Name     string `cbor:"3,keyasint"`
	Sequence uint64 `cbor:"4,keyasint"`
	First    uint64 `cbor:"5,keyasint"`
	Below    []byte `cbor:"6,keyasint,omitempty"`
	Most     uint64 `cbor:"7,keyasint"`
	Want     uint64 `cbor:"8,keyasint"`
	Last     uint64 `cbor:"9,keyasint"`
}

// Sign returns the pull as it travels.
func (p *Pull) Sign(signer lightchain.Signer) ([]byte, error) {
	raw := rawPull{Version: lightchain.Version, Chain: p.Chain[:], Name: p.Name, Sequence: p.Sequence, First: p.First, Most: p.Most, Want: uint64(p.Want), Last: p.Last}
	if p.First > 0 {
		raw.Below = p.Below[:]
	}
	return wire.Seal(MediaPull, signer, wire.Encode(raw))
}

// DecodePull reads a pull. It checks no signature.
func DecodePull(b []byte) (*Pull, *wire.Sealed, error) {
	s, err := wire.Unseal(MediaPull, b, maxRequest)
	if err != nil {
		return nil, nil, fmt.Errorf("pull: %w", err)
	}
	var raw rawPull
	p := new(Pull)
	err = wire.Decode(s.Payload, maxRequest, &raw)
	if err == nil {
		err = errors.Join(wire.CheckVersion(raw.Version), wire.CheckNumbers(raw.Sequence, raw.First, raw.Most, raw.Last),
			lightchain.CheckAggregatorName(raw.Name), wire.Fixed(p.Chain[:], raw.Chain))
	}
	switch {
	case err != nil:
	case Mode(raw.Want) != EveryHeader && Mode(raw.Want) != Sparse:
		err = fmt.Errorf("%d is neither a run nor a consistency proof", raw.Want)
	case raw.First > 0:
		err = wire.Fixed(p.Below[:], raw.Below)
	case len(raw.Below) != 0:
		err = errors.New("nothing is below genesis")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("pull: %w", err)
	}
	p.Name, p.Sequence, p.First, p.Most, p.Want, p.Last = raw.Name, raw.Sequence, raw.First, raw.Most, Mode(raw.Want), raw.Last
	return p, s, nil
}

// WantsHead tells a pull for whatever is newest from one that fills a backlog, given the newest height here.
func (p *Pull) WantsHead(newest uint64) bool { return p.Last > newest }
