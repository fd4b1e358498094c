package lightchain

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// SignedHeader is a header as it travels: a COSE_Sign1 (RFC 9052, section 4.2) with the aggregators' receipts, if any,
// under label 11 of its unprotected header.
type SignedHeader struct {
	Header Header
	HeaderSignature
	Receipts []Receipt // strictly ascending by their encoded bytes; at most 16

	payload []byte // the header's encoding, over which everything is computed
	hash    Hash   // of payload, once for all the times that it is asked for
}

// HeaderSignature is the signature on a header, and the id of the key in force, under which it checks.
type HeaderSignature struct {
	KeyID     KeyID
	Signature Signature
}

// Labels and values of COSE that appear here.
const (
	labelAlg              = 1
	labelContentType      = 3
	labelKeyID            = 4
	labelCountersignature = 11 // version 2, RFC 9338
	labelClaims           = 15 // CWT claims, RFC 9597
	claimIssuer           = 1
	claimSubject          = 2
	claimIssuedAt         = 6
	algEdDSA              = -8
)

// headerProtected is how the protected header of each signed header begins: up to and with the length of the key id.
var headerProtected = func() []byte {
	b := appendInt(append(appendMap(nil, 4), labelAlg), algEdDSA)
	b, _ = appendText(append(b, labelContentType), MediaTypeHeader)
	return appendHead(append(b, labelKeyID), majorBytes, uint64(len(KeyID{})))
}()

// protected is the header's own protected header, which makes it a Signed Statement (RFC 9943). All of it follows from
// the header and the key in force.
//
// SPEC: labels = { 1: -8, 3: "application/vnd.edgechain.header+cbor", 4: kid: bstr .size 8, 15: { 1: chain: tstr, 2: subject: tstr } }
func (s *SignedHeader) protected() []byte {
	chain := s.ChainID().String()
	b := append(append(make([]byte, 0, 192), headerProtected...), s.KeyID[:]...)
	b = append(appendMap(append(b, labelClaims), 2), claimIssuer)
	b, _ = appendText(b, chain) // its characters are ASCII
	b, _ = appendText(append(b, claimSubject), chain+"/"+strconv.FormatUint(s.Header.Height, 10))
	return b
}

// NewSignedHeader puts a header and its signature together, checking only that the header can be encoded; see
// [SignedHeader.Check].
func NewSignedHeader(h Header, sig HeaderSignature, receipts ...Receipt) (*SignedHeader, error) {
	payload, err := h.Append(nil)
	if err != nil {
		return nil, err
	}
	return &SignedHeader{Header: h, HeaderSignature: sig, Receipts: receipts, payload: payload, hash: LeafHash(payload)}, nil
}

// Sign signs the header.
func (h *Header) Sign(s Signer) (*SignedHeader, error) {
	signed, err := NewSignedHeader(*h, HeaderSignature{KeyID: s.Public().KeyID()})
	if err != nil {
		return nil, err
	}
	if signed.Signature, err = s.Sign(signed.signatureInput()); err != nil {
		return nil, fmt.Errorf("signing header %d: %w", h.Height, err)
	}
	return signed, nil
}

// Bytes returns the header's encoding, what the signature and the hash cover. The caller must not change it.
func (s *SignedHeader) Bytes() []byte { return s.payload }

// Hash returns the header's leaf hash: its link in the chain, its leaf in the history and, for genesis, the chain's
// identity.
func (s *SignedHeader) Hash() Hash { return s.hash }

// ChainID returns the chain that the header belongs to: the one it names, or, being its genesis, is.
func (s *SignedHeader) ChainID() ChainID {
	if s.Header.Genesis != nil {
		return ChainID(s.Hash())
	}
	return s.Header.Chain
}

// Check checks the signature under key, whose id the header must name.
//
// SPEC: a signature under a key with another id does not check
func (s *SignedHeader) Check(key PublicKey) error {
	if s.KeyID != key.KeyID() {
		return fmt.Errorf("header %d names the key with the id %x, signed it should be under key %s", s.Header.Height, s.KeyID, key)
	}
	if !key.verify(s.signatureInput(), s.Signature) {
		return fmt.Errorf("header %d: signature does not check under key %s", s.Header.Height, key)
	}
	return nil
}

// signatureInput is the Sig_structure of RFC 9052, section 4.4.
func (s *SignedHeader) signatureInput() []byte {
	b := make([]byte, 0, len(s.payload)+224)
	b, _ = appendText(appendArray(b, 4), "Signature1")
	b = appendBytes(b, s.protected())
	b = appendBytes(b, "")
	return appendBytes(b, s.payload)
}

// Append appends the COSE_Sign1 with its receipts to b.
func (s *SignedHeader) Append(b []byte) ([]byte, error) {
	receipts := make([][]byte, len(s.Receipts))
	for i := range s.Receipts {
		var err error
		if receipts[i], err = s.Receipts[i].Append(nil); err != nil {
			return b, err
		}
	}
	if err := checkAscending(receipts, maxReceipts); err != nil {
		return b, fmt.Errorf("receipts of header %d: %w", s.Header.Height, err)
	}
	b = appendArray(append(b, tagSign1), 4)
	b = appendBytes(b, s.protected())
	switch len(receipts) {
	case 0:
		b = appendMap(b, 0)
	case 1:
		b = append(append(appendMap(b, 1), labelCountersignature), receipts[0]...)
	default:
		b = appendArray(append(appendMap(b, 1), labelCountersignature), len(receipts))
		for _, r := range receipts {
			b = append(b, r...)
		}
	}
	b = appendBytes(b, s.payload)
	return appendBytes(b, s.Signature[:]), nil
}

// Encode returns the COSE_Sign1 with its receipts.
func (s *SignedHeader) Encode() ([]byte, error) { return s.Append(nil) }

// maxSignedHeader is more than any signed header with 16 receipts can take.
const maxSignedHeader = MaxHeader + 256 + maxReceipts*256

// DecodeSignedHeader reads a signed header. It checks no signature.
func DecodeSignedHeader(b []byte) (*SignedHeader, error) {
	s, err := decodeSignedHeader(b)
	if err != nil {
		return nil, fmt.Errorf("signed header: %w", err)
	}
	return s, nil
}

func decodeSignedHeader(b []byte) (*SignedHeader, error) {
	if len(b) > maxSignedHeader {
		return nil, fmt.Errorf("%d bytes are above the limit of %d", len(b), maxSignedHeader)
	}
	if len(b) == 0 || b[0] != tagSign1 {
		return nil, errors.New("not a COSE_Sign1 (tag 18)")
	}
	r := reader{b: b[1:]}
	r.tuple(4)
	protected := r.bytes(maxSignedHeader)
	receipts := r.receipts()
	payload := r.bytes(maxSignedHeader)
	s := new(SignedHeader)
	r.fixed(s.Signature[:])
	if err := r.end(); err != nil {
		return nil, err
	}
	// SPEC: Every COSE_Sign1 (RFC 9052, tag 18) names its own media type in protected label 3, which its reader requires.
	named, found := bytes.CutPrefix(protected, headerProtected)
	if !found || len(named) < len(KeyID{}) {
		return nil, errors.New("its protected header is not that of a header")
	}
	copy(s.KeyID[:], named)
	var err error
	if s.Header, err = DecodeHeader(payload); err != nil {
		return nil, err
	}
	s.Receipts, s.payload, s.hash = receipts, bytes.Clone(payload), LeafHash(payload)
	// SPEC: A decoder computes both from the payload and refuses others
	if !bytes.Equal(protected, s.protected()) {
		return nil, errors.New("its claims are not those of its header")
	}
	return s, nil
}
