package lightchain

import (
	"bytes"
	"encoding/base64"
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
	Outside   []Outside       // not checked
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
	b = append(appendMap(b, 5+count(len(p.Later) > 0)+count(len(p.Beacon) > 0)+count(len(p.Outside) > 0)), 1, Version, 2)
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
	if len(p.Outside) > 0 {
		if b, err = appendOutside(append(b, 8), p.Outside); err != nil {
			return b, err
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
	// SPEC: In a proof they are allowed on the block's header, in field 6 and in field 7; nowhere else.
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

// path reads a path.
func (r *reader) path() (p Path) {
	r.tuple(3)
	p.Size, p.Index = r.uint(), r.uint()
	p.Hashes = make([]Hash, r.array(0, MaxPath, 1+len(Hash{})))
	for i := range p.Hashes {
		r.fixed(p.Hashes[i][:])
	}
	return p
}

// wrapped reads a signed header inside a byte string.
func (r *reader) wrapped() *SignedHeader {
	b := r.bytes(maxSignedHeader)
	if r.err != nil {
		return nil
	}
	h, err := DecodeSignedHeader(b)
	if err != nil {
		r.fail(err)
	}
	return h
}

// wrappedAll reads an array of signed headers.
func (r *reader) wrappedAll(least, most int) []*SignedHeader {
	headers := make([]*SignedHeader, 0, r.array(least, most, 1))
	for range cap(headers) {
		headers = append(headers, r.wrapped())
	}
	return headers
}

// laterAll reads receipted headers, each with the path of another in its history.
func (r *reader) laterAll(least int) []LaterHeader {
	later := make([]LaterHeader, r.array(least, maxLaterHeaders, 3))
	for i := range later {
		r.tuple(2)
		later[i] = LaterHeader{r.wrapped(), r.path()}
	}
	return later
}

// DecodeProof reads a proof, which keeps b for its entry. It checks the encoding alone; see [Verify].
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
	p, r := new(Proof), reader{b: b}
	set := r.fields(func(key uint64) {
		switch key {
		case 1:
			r.version()
		case 2:
			p.Entry = r.bytes(MaxEntry)
		case 3:
			p.EntryPath = r.path()
		case 4:
			p.Header = r.wrapped()
		case 5:
			p.Keys = r.wrappedAll(1, maxKeyHeaders)
		case 6:
			p.Later = r.laterAll(1)
		case 7:
			p.Beacon = r.wrappedAll(1, maxBeacon)
		case 8:
			p.Outside = r.outside()
		default:
			r.unknown(key)
		}
	})
	if err := r.end(); err != nil {
		return nil, err
	}
	if needed := uint64(1<<6 - 1<<1); set&needed != needed {
		return nil, errors.New("one of the fields 1 to 5 is missing")
	}
	if _, err := checkEntry(p.Entry); err != nil {
		return nil, err
	}
	return p, p.check()
}

// EncodeText returns an encoded proof as PEM (RFC 7468), for those who must paste it.
func EncodeText(proof []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemLabel, Bytes: proof})
}

// DecodeText returns the encoded proof that b holds: b itself, or what is inside if b is PEM.
//
// SPEC: In text, a proof is in strict PEM (RFC 7468)
func DecodeText(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, []byte("-----BEGIN ")) {
		return b, nil
	}
	// RFC 7468, section 3: lines of exactly 64 characters but for the last, which may be shorter and is not empty.
	// Whatever is strict has one spelling, but for the ends of its lines.
	line, rest := cutLine(b)
	if string(line) != "-----BEGIN "+pemLabel+"-----" {
		return nil, fmt.Errorf("not one PEM block labelled %q", pemLabel)
	}
	der := make([]byte, 0, base64.StdEncoding.DecodedLen(len(rest)))
	for last := false; ; {
		if line, rest = cutLine(rest); bytes.HasPrefix(line, []byte("-----")) {
			break
		}
		if last || len(line) == 0 || len(line) > pemLine || bytes.IndexByte(line, '\r') >= 0 { // which the decoder would skip
			return nil, errPEM
		}
		n, err := base64.StdEncoding.Strict().Decode(der[len(der):cap(der)], line)
		if err != nil {
			return nil, errPEM
		}
		der = der[:len(der)+n]
		last = len(line) < pemLine || line[len(line)-1] == '='
	}
	if string(line) != "-----END "+pemLabel+"-----" || len(der) == 0 || len(rest) > 0 || !bytes.HasSuffix(b, []byte("\n")) {
		return nil, errPEM
	}
	return der, nil
}

const pemLine = 64 // characters

var errPEM = errors.New("not in strict PEM (RFC 7468): lines of 64 characters, nothing before or after")

// cutLine cuts off the first line, without its end: LF or CR LF.
func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest
}
