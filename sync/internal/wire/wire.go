// Package wire encodes what gateway and aggregators say to each other, and what an aggregator keeps: deterministic CBOR, strictly
// read, and signed messages in COSE_Sign1.
package wire

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"

	"edgechain.example/lightchain"

	"github.com/fxamacker/cbor/v2"
)

// Messages are structs with integer keys that the CBOR library encodes deterministically. Decoding is strict in two
// halves, as in lightchain: every leniency of the library is off, and what was read is encoded again and compared.

var encoding = func() cbor.EncMode {
	o := cbor.CoreDetEncOptions()
	o.NilContainers = cbor.NilContainerAsEmpty // so that null never stands for an empty string or array
	o.IndefLength = cbor.IndefLengthForbidden
	o.TagsMd = cbor.TagsForbidden
	mode, err := o.EncMode()
	if err != nil {
		panic(err) // the options contradict each other
	}
	return mode
}()

var strict = Strictly(2048)

// Strictly returns a mode that reads arrays of at most so many elements.
func Strictly(elements int) cbor.DecMode {
	// SPEC: NaN and infinities, `undefined` and other simple values
	var refused []func(*cbor.SimpleValueRegistry) error
	for v := range 256 {
		if v < 20 || v == 23 || v > 31 { // false, true and null are 20 to 22; 24 to 31 are none
			refused = append(refused, cbor.WithRejectedSimpleValue(cbor.SimpleValue(v)))
		}
	}
	simple, err := cbor.NewSimpleValueRegistryFromDefaults(refused...)
	if err != nil {
		panic(err)
	}
	mode, err := cbor.DecOptions{
		SimpleValues:      simple,
		NaN:               cbor.NaNDecodeForbidden,
		Inf:               cbor.InfDecodeForbidden,
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   lightchain.MaxNesting,
		MaxArrayElements:  elements,
		MaxMapPairs:       32,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		IntDec:            cbor.IntDecConvertSignedOrFail,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}

var errEncoding = errors.New("not in deterministic encoding (RFC 8949, section 4.2.1)")

// Decode reads the one item that b holds into v, strictly; at most most bytes.
func Decode(b []byte, most int, v any) error { return DecodeBy(strict, b, most, v) }

// DecodeBy is [Decode] in a mode that [Strictly] returned.
func DecodeBy(mode cbor.DecMode, b []byte, most int, v any) error {
	if len(b) > most {
		return fmt.Errorf("%d bytes are above the limit of %d", len(b), most)
	}
	if err := mode.Unmarshal(b, v); err != nil {
		return err
	}
	again, err := encoding.Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, again) {
		return errEncoding
	}
	return nil
}

// Encode returns v's encoding; v is a struct that can be encoded.
func Encode(v any) []byte {
	b, err := encoding.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// protected is the protected header of a signed message.
//
// SPEC: Every COSE_Sign1 (RFC 9052, tag 18) names its own media type in protected label 3, which its reader requires.
type protected struct {
	Alg   int64  `cbor:"1,keyasint"`
	Media string `cbor:"3,keyasint"`
	KeyID []byte `cbor:"4,keyasint"`
}

const (
	algEdDSA  = -8
	tagSign1  = 0xd2
	wordSign1 = "Signature1"
)

// sign1 is a COSE_Sign1 without its tag.
type sign1 struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected map[int64]struct{}
	Payload     []byte
	Signature   []byte
}

// sigStructure is what is signed: RFC 9052, section 4.4.
type sigStructure struct {
	_         struct{} `cbor:",toarray"`
	Context   string
	Protected []byte
	External  []byte
	Payload   []byte
}

// Sealed is a signed message whose signature may not have been checked yet.
type Sealed struct {
	KeyID   [8]byte
	Payload []byte

	input     []byte
	signature []byte
}

// Seal signs payload as a message of the given media type.
func Seal(media string, signer lightchain.Signer, payload []byte) ([]byte, error) {
	id := signer.Public().KeyID()
	m := sign1{Protected: Encode(protected{algEdDSA, media, id[:]}), Payload: payload}
	sig, err := signer.Sign(Encode(sigStructure{Context: wordSign1, Protected: m.Protected, Payload: payload}))
	if err != nil {
		return nil, fmt.Errorf("signing a message: %w", err)
	}
	m.Signature = sig[:]
	return append([]byte{tagSign1}, Encode(m)...), nil
}

// Unseal reads a signed message of the given media type, of at most most bytes. It checks no signature; see
// [Sealed.Check].
func Unseal(media string, b []byte, most int) (*Sealed, error) {
	if len(b) == 0 || b[0] != tagSign1 {
		return nil, errors.New("not a COSE_Sign1 (tag 18)")
	}
	var m sign1
	if err := Decode(b[1:], most, &m); err != nil {
		return nil, err
	}
	var p protected
	if err := Decode(m.Protected, 128, &p); err != nil {
		return nil, fmt.Errorf("protected header: %w", err)
	}
	s := &Sealed{Payload: m.Payload, signature: m.Signature}
	switch {
	case p.Alg != algEdDSA || p.Media != media:
		return nil, fmt.Errorf("a message of type %q, not %q", p.Media, media)
	case len(p.KeyID) != len(s.KeyID) || len(m.Signature) != ed25519.SignatureSize || len(m.Unprotected) != 0:
		return nil, errors.New("its key id has 8 bytes, its signature 64, and nothing is unprotected")
	}
	copy(s.KeyID[:], p.KeyID)
	s.input = Encode(sigStructure{Context: wordSign1, Protected: m.Protected, Payload: m.Payload})
	return s, nil
}

// Check reports whether key signed the message.
func (s *Sealed) Check(key lightchain.PublicKey) bool {
	return s.KeyID == key.KeyID() && key.Check() == nil && ed25519.Verify(key[:], s.input, s.signature)
}

// Fixed copies b into to, which it must fill.
func Fixed[T ~[]byte](to []byte, b T) error {
	if len(b) != len(to) {
		return fmt.Errorf("%d bytes, not %d", len(b), len(to))
	}
	copy(to, b)
	return nil
}
