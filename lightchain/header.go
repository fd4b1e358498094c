package lightchain

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"unicode"
	"unicode/utf8"
)

// Header commits to one block of entries and to all headers before it.
type Header struct {
	Chain    ChainID // the genesis header's hash; zero in genesis itself
	Height   uint64  // 0 for genesis
	Previous Hash    // hash of the header below; zero in genesis
	History  Hash    // Merkle tree hash over the headers 0 .. Height−1
	Root     Hash    // Merkle tree hash over the block's entries
	First    uint64  // number of the block's first entry
	Count    uint64  // how many entries; 0 in genesis and in a heartbeat
	Sealed   int64   // when, by the gateway's clock, nanoseconds since the Unix epoch
	Clock    Clock

	Beacon  *Hash      // what the gateway held of the aggregators' receipts before the block's first entry arrived
	NextKey *PublicKey // the key that signs from the next header on; genesis always names one, its own as well

	Cadence uint64 // the chain promises its next header within so many seconds of this one; 0: it promises nothing

	Genesis *Genesis // what only the header at height 0 says; nil in all others
	Extra   []Field  // what a later version added, ascending by key; carried along since the signature covers it
}

// Genesis is the part of a header that only the chain's first one has.
type Genesis struct {
	Name      *string  // the gateway's name, at most 64 bytes, no control characters
	Nonce     [16]byte // random: two chains are never one
	Continues *Hash    // hash of the last known header of the chain that this one continues
}

// ClockState says how far a gateway's clock can be believed.
type ClockState uint64

// The states of a clock.
const (
	ClockUnknown ClockState = iota
	ClockUnsynchronised
	ClockSynchronised
)

// String returns the state in a word.
func (s ClockState) String() string {
	switch s {
	case ClockUnsynchronised:
		return "unsynchronised"
	case ClockSynchronised:
		return "synchronised"
	}
	return "unknown"
}

// Clock is the state of the gateway's clock when a block was sealed.
type Clock struct {
	State  ClockState
	Boot   uint64 // boots of the machine, counted from 1
	Uptime uint64 // CLOCK_BOOTTIME, nanoseconds
}

// Field is a header field that this version does not know.
type Field struct {
	Key uint64
	Raw []byte // the value in deterministic encoding
}

// The keys of a header.
const (
	keyVersion   = 1
	keyChain     = 2
	keyHeight    = 3
	keyPrevious  = 4
	keyHistory   = 5
	keyRoot      = 6
	keyFirst     = 7
	keyCount     = 8
	keySealed    = 9
	keyClock     = 10
	keyBeacon    = 11
	keyNextKey   = 12
	keyName      = 13
	keyNonce     = 14
	keyContinues = 15
	keyCadence   = 16
)

// Append appends the header's encoding to b. It fails, and b is then as it was, if the header contradicts itself: a
// genesis with a beacon, a number above 2^63−1, a key that is not sound, more than [MaxHeader] bytes.
func (h *Header) Append(b []byte) ([]byte, error) {
	if err := h.check(); err != nil {
		return b, fmt.Errorf("header %d: %w", h.Height, err)
	}
	start := len(b)
	genesis := h.Genesis
	n := 8 + len(h.Extra)
	if genesis == nil {
		n += 2
	} else {
		n += 1 + count(genesis.Name != nil) + count(genesis.Continues != nil)
	}
	n += count(h.Beacon != nil) + count(h.NextKey != nil) + count(h.Cadence > 0)

	b = appendUint(appendUint(appendMap(b, n), keyVersion), Version)
	if genesis == nil {
		b = appendBytes(append(b, keyChain), h.Chain[:])
	}
	b = appendUint(append(b, keyHeight), h.Height)
	if genesis == nil {
		b = appendBytes(append(b, keyPrevious), h.Previous[:])
	}
	b = appendBytes(append(b, keyHistory), h.History[:])
	b = appendBytes(append(b, keyRoot), h.Root[:])
	b = appendUint(append(b, keyFirst), h.First)
	b = appendUint(append(b, keyCount), h.Count)
	b = appendInt(append(b, keySealed), h.Sealed)
	b = appendArray(append(b, keyClock), 3)
	b = appendUint(appendUint(appendUint(b, uint64(h.Clock.State)), h.Clock.Boot), h.Clock.Uptime)
	if h.Beacon != nil {
		b = appendBytes(append(b, keyBeacon), h.Beacon[:])
	}
	if h.NextKey != nil {
		b = appendBytes(append(b, keyNextKey), h.NextKey[:])
	}
	if genesis != nil {
		if genesis.Name != nil {
			b, _ = appendText(append(b, keyName), *genesis.Name) // check has seen that it is UTF-8
		}
		b = appendBytes(append(b, keyNonce), genesis.Nonce[:])
		if genesis.Continues != nil {
			b = appendBytes(append(b, keyContinues), genesis.Continues[:])
		}
	}
	if h.Cadence > 0 {
		b = appendUint(append(b, keyCadence), h.Cadence)
	}
	for _, f := range h.Extra {
		b = append(appendUint(b, f.Key), f.Raw...)
	}
	if size := len(b) - start; size > MaxHeader {
		return b[:start], fmt.Errorf("header %d: %d bytes are above the limit of %d", h.Height, size, MaxHeader)
	}
	return b, nil
}

func count(present bool) int {
	if present {
		return 1
	}
	return 0
}

// check enforces what a header says about itself alone.
func (h *Header) check() error {
	for _, n := range [...]uint64{h.Height, h.First, h.Count, h.Clock.Boot, h.Clock.Uptime} {
		// SPEC: a uint in 0 .. 2^63−1
		if n > math.MaxInt64 {
			return fmt.Errorf("%d is above 2^63-1", n)
		}
	}
	if h.Clock.State > ClockSynchronised {
		return fmt.Errorf("clock state %d is not 0, 1 or 2", h.Clock.State)
	}
	if h.Cadence > MaxCadence {
		return fmt.Errorf("a cadence of %d s is above the limit of %d", h.Cadence, MaxCadence)
	}
	if h.NextKey != nil {
		if err := h.NextKey.Check(); err != nil {
			return err
		}
	}
	for i, f := range h.Extra {
		if f.Key <= keyCadence || f.Key > math.MaxInt64 || i > 0 && h.Extra[i-1].Key >= f.Key {
			return fmt.Errorf("extra key %d is known, out of range or out of order", f.Key)
		}
	}
	if g := h.Genesis; g != nil {
		return h.checkGenesis(g)
	}
	if h.Height == 0 {
		return errors.New("height 0 in a header that is not a genesis")
	}
	return nil
}

// SPEC: genesis = { 1: 1, 3: 0, 5: empty, 6: empty, 7: 0, 8: 0, 9: int, 10: clock, 12: key, ? 13: tstr,
// 14: bstr .size 16, ? 15: hash, ? 16: uint }
func (h *Header) checkGenesis(g *Genesis) error {
	switch {
	case h.Height != 0 || h.First != 0 || h.Count != 0 || h.History != emptyRoot || h.Root != emptyRoot:
		return errors.New("a genesis has height, first entry and count 0, no history and no entries")
	case h.Beacon != nil:
		return errors.New("a genesis has no beacon")
	case h.Chain != ChainID{} || h.Previous != Hash{}:
		return errors.New("a genesis names neither its chain nor a header before it")
	case h.NextKey == nil:
		return errors.New("a genesis without a key")
	case g.Name != nil:
		return CheckGatewayName(*g.Name)
	}
	return nil
}

// CheckGatewayName refuses what cannot stand as a gateway's name in a genesis header.
//
// SPEC: the gateway's name, at most 64 bytes, no control characters
func CheckGatewayName(name string) error {
	if len(name) > MaxGatewayName || !utf8.ValidString(name) {
		return fmt.Errorf("gateway name %s: at most %d bytes of UTF-8", quoted(name), MaxGatewayName)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("gateway name %s: no control characters", quoted(name))
		}
	}
	return nil
}

// DecodeHeader reads one encoded header.
func DecodeHeader(b []byte) (Header, error) {
	h, err := decodeHeader(b)
	if err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	return h, nil
}

func decodeHeader(b []byte) (h Header, err error) {
	if len(b) > MaxHeader {
		return h, fmt.Errorf("%d bytes are above the limit of %d", len(b), MaxHeader)
	}
	r := reader{b: b}
	set := uint64(0) // the known keys that are there
	r.keys(func(key uint64) {
		if key > keyChain && set&(1<<keyChain) == 0 && h.Genesis == nil {
			h.Genesis = new(Genesis) // keys ascend, so its chain would have come by now
		}
		if key <= keyCadence {
			set |= 1 << key
		}
		if h.field(&r, key); r.err != nil {
			r.err = fmt.Errorf("key %d: %w", key, r.err)
		}
	})
	if err := r.end(); err != nil {
		return h, err
	}
	needed := uint64(neededInHeader)
	if h.Genesis != nil {
		needed = neededInGenesis
	}
	if missing := needed &^ set; missing != 0 {
		return h, fmt.Errorf("key %d is missing", bits.TrailingZeros64(missing))
	}
	return h, h.check()
}

// The keys that a header must have, a genesis and any other.
const (
	neededInBoth    = 1<<keyVersion | 1<<keyHeight | 1<<keyHistory | 1<<keyRoot | 1<<keyFirst | 1<<keyCount | 1<<keySealed | 1<<keyClock
	neededInGenesis = neededInBoth | 1<<keyNextKey | 1<<keyNonce
	neededInHeader  = neededInBoth | 1<<keyChain | 1<<keyPrevious
)

var (
	errUnnamed     = errors.New("not a field of this kind of header")
	errHeaderValue = errors.New("a value that is not an int, text, bytes, boolean, null or array of these to depth 4")
)

// field reads the value of a key.
func (h *Header) field(r *reader, key uint64) {
	genesisOnly, neverInGenesis := key == keyName || key == keyNonce || key == keyContinues, key == keyPrevious
	// SPEC: key 0, negative and non-integer keys are refused
	if key == 0 || genesisOnly && h.Genesis == nil || neverInGenesis && h.Genesis != nil {
		r.fail(errUnnamed)
		return
	}
	switch key {
	case keyVersion:
		r.version()
	case keyChain:
		r.fixed(h.Chain[:])
	case keyHeight:
		h.Height = r.uint()
	case keyPrevious:
		r.fixed(h.Previous[:])
	case keyHistory:
		r.fixed(h.History[:])
	case keyRoot:
		r.fixed(h.Root[:])
	case keyFirst:
		h.First = r.uint()
	case keyCount:
		h.Count = r.uint()
	case keySealed:
		h.Sealed = r.int()
	case keyClock:
		r.tuple(3)
		h.Clock = Clock{ClockState(r.uint()), r.uint(), r.uint()}
	case keyBeacon:
		h.Beacon = new(Hash)
		r.fixed(h.Beacon[:])
	case keyNextKey:
		h.NextKey = new(PublicKey)
		r.fixed(h.NextKey[:])
	case keyName:
		name := r.text()
		h.Genesis.Name = &name
	case keyNonce:
		r.fixed(h.Genesis.Nonce[:])
	case keyContinues:
		h.Genesis.Continues = new(Hash)
		r.fixed(h.Genesis.Continues[:])
	case keyCadence:
		if h.Cadence = r.uint(); r.err == nil && h.Cadence == 0 {
			r.fail(errors.New("a cadence of 0 s, which is left out"))
		}
	default:
		h.Extra = append(h.Extra, r.extra(key))
	}
}

// extra reads the value of a key that this version does not know.
//
// SPEC: In a header, unknown positive integer keys are carried along, since the signature covers them (their
// values: ints, text and byte strings, booleans, null, arrays of these to depth 4
func (r *reader) extra(key uint64) Field {
	from := r.b
	r.headerValue(4)
	return Field{key, bytes.Clone(from[:len(from)-len(r.b)])}
}

func (r *reader) headerValue(depth int) {
	if len(r.b) > 0 && r.b[0]&0xe0 == majorArray {
		if depth == 0 {
			r.fail(errHeaderValue)
			return
		}
		for n := r.array(0, MaxHeader, 1); n > 0 && r.err == nil; n-- {
			r.headerValue(depth - 1)
		}
		return
	}
	if v := r.value(); r.err == nil && v.Kind() == KindFloat {
		r.fail(errHeaderValue)
	}
}
