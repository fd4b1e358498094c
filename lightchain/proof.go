package lightchain

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
)

// Proof shows offline that one entry stands in a chain, and between which times its block was closed.
type Proof struct {
	Entry     []byte          // the encoded entry
	EntryPath Path            // the entry in its block
	Header    *SignedHeader   // the block's, with receipts if it has any
	Keys      []*SignedHeader // the headers that set the key, genesis first, heights strictly ascending
	Later     []LaterHeader   // receipted headers above the block's, heights ascending
	Beacon    []*SignedHeader // for each receipt of the block's beacon, the header it is on, with it alone
}

// LaterHeader is a receipted header whose history contains the block's header.
type LaterHeader struct {
	Header *SignedHeader
	Path   Path // of the block's header in Header's own history
}

const (
	maxKeyHeaders   = 1024
	maxLaterHeaders = 16
	pemLabel        = "EDGECHAIN PROOF"
)

// Append appends the proof's encoding to b.
func (p *Proof) Append(b []byte) ([]byte, error) {
	start := len(b)
	b, err := p.append(b)
	if err == nil && len(b)-start > MaxProof {
		err = fmt.Errorf("%d bytes are above the limit of %d", len(b)-start, MaxProof)
	}
	if err != nil {
		return b[:start], fmt.Errorf("proof: %w", err)
	}
	return b, nil
}

func (p *Proof) append(b []byte) (_ []byte, err error) {
	if err := p.check(); err != nil {
		return b, err
	}
	b = append(appendMap(b, 5+count(len(p.Later) > 0)+count(len(p.Beacon) > 0)), 1, Version, 2)
	b = appendBytes(b, p.Entry)
	if b, err = p.EntryPath.append(append(b, 3)); err != nil {
		return b, err
	}
	if b, err = appendWrapped(append(b, 4), p.Header); err != nil {
		return b, err
	}
	b = appendArray(append(b, 5), len(p.Keys))
	for _, h := range p.Keys {
		if b, err = appendWrapped(b, h); err != nil {
			return b, err
		}
	}
	if len(p.Later) > 0 {
		b = appendArray(append(b, 6), len(p.Later))
		for i := range p.Later {
			if b, err = appendWrapped(appendArray(b, 2), p.Later[i].Header); err != nil {
				return b, err
			}
			if b, err = p.Later[i].Path.append(b); err != nil {
				return b, err
			}
		}
	}
	if len(p.Beacon) > 0 {
		b = appendArray(append(b, 7), len(p.Beacon))
		for _, h := range p.Beacon {
			if b, err = appendWrapped(b, h); err != nil {
				return b, err
			}
		}
	}
	return b, nil
}

// appendWrapped appends a signed header inside a byte string.
func appendWrapped(b []byte, s *SignedHeader) ([]byte, error) {
	encoded, err := s.Encode()
	return appendBytes(b, encoded), err
}

func (p *Path) append(b []byte) ([]byte, error) {
	if len(p.Hashes) > MaxPath {
		return b, fmt.Errorf("a path of %d hashes is above the limit of %d", len(p.Hashes), MaxPath)
	}
	if p.Size > math.MaxInt64 || p.Index > math.MaxInt64 {
		return b, errors.New("a path's size or index above 2^63-1")
	}
	b = appendArray(appendUint(appendUint(appendArray(b, 3), p.Size), p.Index), len(p.Hashes))
	for i := range p.Hashes {
		b = appendBytes(b, p.Hashes[i][:])
	}
	return b, nil
}

// check enforces the shape of a proof: how many of what, in which order. Everything that has a check of its own
// waits for it.
func (p *Proof) check() error {
	switch {
	case len(p.Keys) == 0 || len(p.Keys) > maxKeyHeaders:
		return fmt.Errorf("%d headers that set the key, not 1 to %d", len(p.Keys), maxKeyHeaders)
	case len(p.Later) > maxLaterHeaders:
		return fmt.Errorf("%d later headers are above the limit of %d", len(p.Later), maxLaterHeaders)
	case len(p.Beacon) > maxBeacon:
		return fmt.Errorf("%d headers of the beacon are above the limit of %d", len(p.Beacon), maxBeacon)
	}
	// SPEC: They are allowed on the block's header, in field 6 and in field 7 of a proof; nowhere else.
	for _, h := range p.Keys {
		if len(h.Receipts) > 0 {
			return fmt.Errorf("receipts on header %d, which is there to set the key", h.Header.Height)
		}
	}
	// SPEC: later signed headers with their receipts, heights ascending
	for i, l := range p.Later {
		if len(l.Header.Receipts) == 0 {
			return fmt.Errorf("later header %d has no receipt", l.Header.Header.Height)
		}
		if i > 0 && p.Later[i-1].Header.Header.Height >= l.Header.Header.Height {
			return errors.New("later headers are not in ascending order of height")
		}
	}
	// SPEC: for each receipt of the beacon, in its order: the signed header that it is on, with it alone
	receipts := make([][]byte, len(p.Beacon))
	for i, h := range p.Beacon {
		if len(h.Receipts) != 1 {
			return fmt.Errorf("a header of the beacon with %d receipts", len(h.Receipts))
		}
		receipts[i] = h.Receipts[0].mustEncode()
	}
	if err := checkAscending(receipts, maxBeacon); err != nil {
		return fmt.Errorf("receipts of the beacon: %w", err)
	}
	return nil
}

type rawPath struct {
	_      struct{} `cbor:",toarray"`
	Size   uint64
	Index  uint64
	Hashes [][]byte
}

func (r *rawPath) path() (p Path, err error) {
	if len(r.Hashes) > MaxPath {
		return p, fmt.Errorf("a path of %d hashes is above the limit of %d", len(r.Hashes), MaxPath)
	}
	p = Path{Size: r.Size, Index: r.Index, Hashes: make([]Hash, len(r.Hashes))}
	for i, h := range r.Hashes {
		if len(h) != len(p.Hashes[i]) {
			return p, fmt.Errorf("a hash of %d bytes in a path", len(h))
		}
		copy(p.Hashes[i][:], h)
	}
	return p, nil
}

type rawLater struct {
	_      struct{} `cbor:",toarray"`
	Header []byte
	Path   rawPath
}

func decodeLater(raw []rawLater) (later []LaterHeader, err error) {
	if len(raw) > maxLaterHeaders {
		return nil, fmt.Errorf("%d later headers are above the limit of %d", len(raw), maxLaterHeaders)
	}
	for _, l := range raw {
		var one LaterHeader
		if one.Header, err = DecodeSignedHeader(l.Header); err != nil {
			return nil, err
		}
		if one.Path, err = l.Path.path(); err != nil {
			return nil, err
		}
		later = append(later, one)
	}
	return later, nil
}

// DecodeProof reads a proof. It checks the encoding alone; see [Verify].
func DecodeProof(b []byte) (*Proof, error) {
	p, err := decodeProof(b)
	if err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	return p, nil
}

func decodeProof(b []byte) (*Proof, error) {
	if len(b) > MaxProof {
		return nil, fmt.Errorf("%d bytes are above the limit of %d", len(b), MaxProof)
	}
	var raw struct {
		Version uint64     `cbor:"1,keyasint"`
		Entry   []byte     `cbor:"2,keyasint"`
		Path    rawPath    `cbor:"3,keyasint"`
		Header  []byte     `cbor:"4,keyasint"`
		Keys    [][]byte   `cbor:"5,keyasint"`
		Later   []rawLater `cbor:"6,keyasint"`
		Beacon  [][]byte   `cbor:"7,keyasint"`
	}
	if err := decode(b, &raw); err != nil {
		return nil, err
	}
	if raw.Version != Version {
		return nil, fmt.Errorf("format version %d, this program knows %d", raw.Version, Version)
	}
	if _, err := DecodeEntry(raw.Entry); err != nil {
		return nil, err
	}
	p := &Proof{Entry: raw.Entry}
	var err error
	if p.EntryPath, err = raw.Path.path(); err != nil {
		return nil, err
	}
	if p.Header, err = DecodeSignedHeader(raw.Header); err != nil {
		return nil, err
	}
	if len(raw.Keys) > maxKeyHeaders || len(raw.Beacon) > maxBeacon {
		return nil, errors.New("more headers than a proof may have")
	}
	if p.Keys, err = decodeSignedHeaders(raw.Keys); err != nil {
		return nil, err
	}
	if p.Later, err = decodeLater(raw.Later); err != nil {
		return nil, err
	}
	if p.Beacon, err = decodeSignedHeaders(raw.Beacon); err != nil {
		return nil, err
	}
	again, err := p.append(make([]byte, 0, len(b)))
	return p, same(b, again, err)
}

func decodeSignedHeaders(raw [][]byte) (headers []*SignedHeader, err error) {
	for _, b := range raw {
		h, err := DecodeSignedHeader(b)
		if err != nil {
			return nil, err
		}
		headers = append(headers, h)
	}
	return headers, nil
}

// EncodeText returns an encoded proof as PEM (RFC 7468), for those who must paste it.
func EncodeText(proof []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemLabel, Bytes: proof})
}

// DecodeText returns the encoded proof that b holds: b itself, or what is inside if b is PEM.
//
// SPEC: in text, strict PEM (RFC 7468) labelled EDGECHAIN PROOF
func DecodeText(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, []byte("-----BEGIN ")) {
		return b, nil
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != pemLabel || len(block.Headers) != 0 || len(rest) != 0 {
		return nil, fmt.Errorf("not one PEM block labelled %q", pemLabel)
	}
	if lines := bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")); !bytes.Equal(lines, EncodeText(block.Bytes)) {
		return nil, errors.New("not in strict PEM (RFC 7468): lines of 64 characters, nothing before or after")
	}
	return block.Bytes, nil
}
