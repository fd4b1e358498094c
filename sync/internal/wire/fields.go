package wire

import (
	"errors"
	"fmt"

	"edgechain.example/lightchain"
)

// CheckVersion refuses a format that this program does not know.
func CheckVersion(v uint64) error {
	if v != lightchain.Version {
		return fmt.Errorf("format version %d, this program knows %d", v, lightchain.Version)
	}
	return nil
}

// CheckNumbers refuses what is above the highest number.
//
// SPEC: a uint in 0 .. 2^63−1
func CheckNumbers(numbers ...uint64) error {
	for _, n := range numbers {
		if n > 1<<63-1 {
			return fmt.Errorf("%d is above 2^63-1", n)
		}
	}
	return nil
}

// CheckOptional is [CheckNumbers] of a number that may be missing.
func CheckOptional(n *uint64) error {
	if n == nil {
		return nil
	}
	return CheckNumbers(*n)
}

// EncodeHeaders returns the encodings of headers.
func EncodeHeaders(headers []*lightchain.SignedHeader) (encoded [][]byte, err error) {
	for _, h := range headers {
		b, err := h.Encode()
		if err != nil {
			return nil, err
		}
		encoded = append(encoded, b)
	}
	return encoded, nil
}

// DecodeHeaders is the inverse of [EncodeHeaders], for at most so many.
func DecodeHeaders(encoded [][]byte, most int) (headers []*lightchain.SignedHeader, err error) {
	if len(encoded) > most {
		return nil, fmt.Errorf("%d headers are above the limit of %d", len(encoded), most)
	}
	for _, b := range encoded {
		h, err := lightchain.DecodeSignedHeader(b)
		if err != nil {
			return nil, err
		}
		headers = append(headers, h)
	}
	return headers, nil
}

// Path is a [lightchain.Path] as it is encoded.
type Path struct {
	_      struct{} `cbor:",toarray"`
	Size   uint64
	Index  uint64
	Hashes [][]byte
}

// PathOf returns the path as it is encoded; nil is nil.
func PathOf(p *lightchain.Path) *Path {
	if p == nil {
		return nil
	}
	r := &Path{Size: p.Size, Index: p.Index, Hashes: make([][]byte, len(p.Hashes))}
	for i := range p.Hashes {
		r.Hashes[i] = p.Hashes[i][:]
	}
	return r
}

// Decode is the inverse of [PathOf].
func (r *Path) Decode() (*lightchain.Path, error) {
	if r == nil {
		return nil, nil
	}
	if len(r.Hashes) > lightchain.MaxPath {
		return nil, fmt.Errorf("a path of %d hashes, at most %d", len(r.Hashes), lightchain.MaxPath)
	}
	p := &lightchain.Path{Size: r.Size, Index: r.Index, Hashes: make([]lightchain.Hash, len(r.Hashes))}
	err := CheckNumbers(r.Size, r.Index)
	for i, h := range r.Hashes {
		err = errors.Join(err, Fixed(p.Hashes[i][:], h))
	}
	return p, err
}

// JoinHashes returns the hashes one behind the other.
func JoinHashes(hashes []lightchain.Hash) []byte {
	b := make([]byte, 0, len(hashes)*len(lightchain.Hash{}))
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

// SplitHashes is the inverse of [JoinHashes]: it reads at most one hash for each bit of a height.
func SplitHashes(b []byte) ([]lightchain.Hash, error) {
	const size = len(lightchain.Hash{})
	if len(b)%size != 0 || len(b)/size > lightchain.MaxPath {
		return nil, fmt.Errorf("%d bytes are not at most %d hashes", len(b), lightchain.MaxPath)
	}
	hashes := make([]lightchain.Hash, len(b)/size)
	for i := range hashes {
		b = b[copy(hashes[i][:], b):]
	}
	return hashes, nil
}
