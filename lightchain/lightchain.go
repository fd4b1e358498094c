// Package lightchain says what an entry, a block, a header, a receipt and a proof are, byte for byte, and checks
// them. It is the evidence itself and nothing else: it performs no I/O, reads no clock, starts no goroutine, logs
// nothing, and imports the standard library, CBOR and COSE only, so that an auditor's program, a browser and a gateway
// share one verifier.
//
// A gateway puts each message that it hears into an entry, closes runs of entries into blocks, and signs each block's
// header, which names the one before: a chain. Aggregators countersign headers and say when; these are receipts. From that
// come three kinds of files, which are checked against a [Trust], the list of chains and aggregators that the verifier believes:
//
//   - a proof shows one entry, and between which times its block was closed: [Verify], or [DecodeProof] and [Proof.Verify];
//   - a bundle shows all entries between two numbers, none missing: [BundleVerifier], item by item, however long it is;
//   - evidence of a fork shows two signed histories of one chain: [VerifyFork]; [Contradiction] makes it from two files.
//
// [IsBundle] and [IsFork] tell them apart. What fails is a [CheckError], which names the first check that failed. What
// holds is a report; what it does not say does not follow: that a value is true, or that a device sent it. A person's note that
// does not hold fails no check, and has to be told: see [NoteReport.Contradicted] and [NoteUnchecked].
//
// Times are integers here; package lightchain/lighttime gives them as time.Time. What makes chains (headers, tips, runs,
// consistency proofs) is in this package, too, since a gateway and its verifier must mean the same bytes; an auditor needs none
// of it.
//
// The bytes are fixed by docs/format.md, those of runs and consistency proofs by docs/sync-protocol.md; sentences quoted
// from these stand above the checks that enforce them as "SPEC:". Whatever a decoder here accepts, the matching Append
// method gives back byte for byte.
package lightchain

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
)

// Version is the format version that this package reads and writes.
const Version = 1

// Media types of the signed header (COSE label 3) and of the proof file.
const (
	MediaTypeHeader = "application/vnd.edgechain.header+cbor"
	MediaTypeProof  = "application/vnd.edgechain.proof+cbor"
)

// Limits of the format, checked before anything is allocated.
const (
	MaxEntry       = 16 << 20  // bytes of one encoded entry
	MaxHeader      = 2048      // bytes of one encoded header
	MaxProof       = 32 << 20  // bytes of one encoded proof
	MaxPath        = 63        // hashes in a path
	MaxNesting     = 8         // CBOR arrays and maps inside one another
	MaxReadings    = 65535     // readings in an entry
	MaxBlock       = 65536     // entries that a gateway puts into one block
	MaxGatewayName = 64        // bytes of a gateway's name
	MaxCadence     = 1<<31 - 1 // seconds within which a chain promises its next header
)

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// String returns the hash in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements [encoding.TextMarshaler]: JSON shows a hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("a hash has %d hexadecimal digits, not %d", 2*len(h), len(text))
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// ChainID names a chain: it is the hash of its genesis header.
type ChainID Hash

// chainText is RFC 4648 base32, lower case, without padding.
var chainText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String returns the 52 characters that name the chain in text.
func (c ChainID) String() string { return chainText.EncodeToString(c[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (c ChainID) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *ChainID) UnmarshalText(text []byte) (err error) {
	*c, err = ParseChainID(string(text))
	return err
}

// ParseChainID reads a chain's name. It wants all 52 characters: a prefix may select from a list that a program
// already holds, but never names whom to trust.
func ParseChainID(s string) (ChainID, error) {
	var c ChainID
	b, err := chainText.DecodeString(s)
	if err != nil || len(b) != len(c) {
		return c, fmt.Errorf("chain %s: a chain is 52 characters of a-z and 2-7", quoted(s))
	}
	copy(c[:], b)
	// SPEC: In text a chain is the lower-case base32 … unused low bits zero.
	if c.String() != s {
		return c, fmt.Errorf("chain %s: its last character is not one that 32 bytes can give", quoted(s))
	}
	return c, nil
}

// PublicKey is an Ed25519 public key. One that came from outside has passed [PublicKey.Check].
type PublicKey [ed25519.PublicKeySize]byte

// Signature is an Ed25519 signature, R followed by S.
type Signature [ed25519.SignatureSize]byte

// ErrWeakKey means that a public key is not the canonical encoding of a point of large order.
var ErrWeakKey = errors.New("public key is not canonical or of small order")

// fieldPrime is 2^255 − 19, little-endian.
var fieldPrime = [32]byte{
	0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
}

// smallOrderY holds the y coordinates of the eight points of small order, little-endian: 1 (the identity), −1
// (order 2), 0 (order 4, both signs of x) and the two of order 8 (each with both signs).
var smallOrderY = [][32]byte{
	{1},
	{0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	{},
	{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
	{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
}

// Check refuses the keys under which a signature proves nothing: an identity key accepts any message, and a second
// spelling of one key would make one aggregator count as two.
//
// SPEC: A public key is refused, wherever it appears, if its encoding is not canonical or its point is one of the
// eight of small order.
func (k PublicKey) Check() error {
	y := k
	y[31] &= 0x7f // the top bit is the sign of x
	less := false
	for i := len(y) - 1; i >= 0; i-- {
		if y[i] != fieldPrime[i] {
			less = y[i] < fieldPrime[i]
			break
		}
	}
	if !less {
		return ErrWeakKey
	}
	for i := range smallOrderY {
		if y == smallOrderY[i] {
			return ErrWeakKey
		}
	}
	return nil
}

// verify reports whether sig is k's signature over message.
//
// SPEC: Signatures are Ed25519 (RFC 8032), cofactorless: S < L, R compared by its bytes.
//
// That is what crypto/ed25519 does; a key that is not a point at all fails there too.
func (k PublicKey) verify(message []byte, sig Signature) bool {
	return k.Check() == nil && ed25519.Verify(k[:], message, sig[:])
}

// KeyID names a public key: the first eight bytes of its SHA-256. It stands as kid under what the key signed. It helps to
// find the key and proves nothing.
type KeyID [8]byte

// KeyID returns the key's id.
func (k PublicKey) KeyID() (id KeyID) {
	sum := sha256.Sum256(k[:])
	copy(id[:], sum[:])
	return id
}

// String returns the key in lower-case hexadecimal.
func (k PublicKey) String() string { return hex.EncodeToString(k[:]) }

// Signer holds a private key and signs with it. [ed25519.PrivateKey] held in memory is the usual one; see [NewSigner].
type Signer interface {
	// Public returns the key under which the signatures check. It never changes during the signer's life.
	Public() PublicKey
	// Sign returns the Ed25519 signature over message. It may be called from one goroutine at a time.
	Sign(message []byte) (Signature, error)
}

// NewSigner returns a signer that holds key in memory.
func NewSigner(key ed25519.PrivateKey) (Signer, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("an Ed25519 private key has %d bytes, not %d", ed25519.PrivateKeySize, len(key))
	}
	s := memorySigner{private: bytes.Clone(key)}
	copy(s.public[:], key[ed25519.PrivateKeySize-ed25519.PublicKeySize:])
	if err := s.public.Check(); err != nil {
		return nil, err
	}
	return s, nil
}

type memorySigner struct {
	private ed25519.PrivateKey
	public  PublicKey
}

func (s memorySigner) Public() PublicKey { return s.public }

func (s memorySigner) Sign(message []byte) (Signature, error) {
	return Signature(ed25519.Sign(s.private, message)), nil
}
