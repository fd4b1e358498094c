package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"edgechain.example/lightchain"

	"edgechain.example/lightchain/store/salvage"
)

// The signed headers that set the key, genesis first, stand in a file beside the database, too: without them no entry
// that comes after the loss of the database could be proved. The file is written anew, in one rename, before a header
// that sets the key leaves.
//
//	"edgechain keys", version 2 · for each header 2 bytes of length and its stored form · 32 bytes: SHA-256 of all that
const (
	keysName    = "keys"
	keysMagic   = "edgechain keys"
	keysVersion = 2
	maxKeysFile = 4 << 20 // of MaxKeyChanges headers of some hundred bytes
)

var errKeys = errors.New("not a file of headers that set the key")

func appendKeys(b []byte, headers []*lightchain.SignedHeader) []byte {
	start := len(b)
	b = append(append(b, keysMagic...), keysVersion)
	for _, h := range headers {
		b = appendMarkHeader(b, &h.HeaderSignature, h)
	}
	sum := sha256.Sum256(b[start:])
	return append(b, sum[:]...)
}

// decodeKeys reads the headers. Their signatures are checked, each under the key before.
func decodeKeys(b []byte) ([]*lightchain.SignedHeader, error) {
	end := len(b) - sha256.Size
	if end < len(keysMagic)+1 || string(b[:len(keysMagic)]) != keysMagic {
		return nil, errKeys
	}
	if sum := sha256.Sum256(b[:end]); !bytes.Equal(sum[:], b[end:]) {
		return nil, fmt.Errorf("%w: its checksum is another one", errKeys)
	}
	if v := b[len(keysMagic)]; v < keysVersion {
		return nil, ErrOlder
	} else if v > keysVersion {
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrNewer, v, keysVersion)
	}
	p := markParser{b: b[len(keysMagic)+1 : end]}
	var headers []*lightchain.SignedHeader
	for len(p.b) > 0 && p.err == nil {
		h, sig := p.header()
		if h == nil || sig == nil {
			return nil, errors.Join(errKeys, p.err)
		}
		headers = append(headers, h)
	}
	if p.err != nil {
		return nil, p.err
	}
	return headers, checkKeys(headers, nil)
}

// checkKeys checks that each header is signed under the key that the one before sets, but for those at the beginning
// that were checked before.
func checkKeys(headers, checked []*lightchain.SignedHeader) error {
	for i, h := range headers {
		if i < len(checked) && h == checked[i] {
			continue
		}
		checked = nil
		signer := h.Header.NextKey
		switch {
		case signer == nil:
			return fmt.Errorf("%w: header %d sets none", errKeys, h.Header.Height)
		case i == 0 && h.Header.Genesis == nil:
			return fmt.Errorf("%w: genesis is missing", errKeys)
		case i > 0 && (h.ChainID() != headers[0].ChainID() || h.Header.Height <= headers[i-1].Header.Height):
			return fmt.Errorf("%w: out of order", errKeys)
		case i > 0:
			signer = headers[i-1].Header.NextKey
		}
		if err := h.Check(*signer); err != nil {
			return fmt.Errorf("%w: %w", errKeys, err)
		}
	}
	return nil
}

// readKeys returns the headers in the file that set the key of a chain, none if it cannot be read or is another
// chain's.
func readKeys(dir string, o Options, chain lightchain.ChainID) []*lightchain.SignedHeader {
	b, err := salvage.ReadSmall(o.FS, o.FS.PathJoin(dir, keysName), maxKeysFile)
	if err != nil {
		return nil
	}
	return chainKeys(b, chain)
}

func chainKeys(b []byte, chain lightchain.ChainID) []*lightchain.SignedHeader {
	headers, err := decodeKeys(b)
	if err != nil || len(headers) == 0 || headers[0].ChainID() != chain {
		return nil
	}
	return headers
}

// keptKeys are what this process wrote into the file last. As long as that stands there nothing is checked twice.
type keptKeys struct {
	file    []byte
	headers []*lightchain.SignedHeader
}

// knownKeys returns the headers up to a height that set the key, as far as they are known beside the database.
func knownKeys(dir string, o Options, m *headMark) []*lightchain.SignedHeader {
	headers := readKeys(dir, o, m.chain())
	if len(headers) == 0 && m.genesis != nil {
		headers = []*lightchain.SignedHeader{m.genesis}
	}
	return slices.DeleteFunc(headers, func(h *lightchain.SignedHeader) bool { return h.Header.Height > m.head.Height })
}

// knownGenesis returns the chain's first header, as far as it is known beside the database, or nil. Without a mark the file
// of the keys alone says which chain that is.
func knownGenesis(dir string, o Options, m *headMark) *lightchain.SignedHeader {
	if m == nil {
		b, err := salvage.ReadSmall(o.FS, o.FS.PathJoin(dir, keysName), maxKeysFile)
		if err != nil {
			return nil
		}
		if headers, err := decodeKeys(b); err == nil && len(headers) > 0 {
			return headers[0]
		}
		return nil
	}
	if known := knownKeys(dir, o, m); len(known) > 0 {
		return known[0]
	}
	return nil
}

// keepKeys brings the file up to a height. What cannot be read of the database stays as the file has it.
func (s *Store) keepKeys(to uint64) error {
	have := s.kept.headers
	if b, err := salvage.ReadSmall(s.options.FS, s.options.FS.PathJoin(s.dir, keysName), maxKeysFile); err != nil {
		have = nil
	} else if !bytes.Equal(b, s.kept.file) {
		have = chainKeys(b, s.tip.Chain)
	}
	heights, err := s.KeyHeights(to + 1)
	if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotHeld) {
		return err
	}
	all := slices.Clone(have)
	for _, height := range heights {
		if slices.ContainsFunc(have, func(h *lightchain.SignedHeader) bool { return h.Header.Height == height }) {
			continue
		}
		h, err := s.Header(height)
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotHeld) || errors.Is(err, ErrUnsigned) {
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, h)
	}
	if len(all) == len(have) {
		return nil
	}
	slices.SortFunc(all, func(a, b *lightchain.SignedHeader) int { return cmp.Compare(a.Header.Height, b.Header.Height) })
	if checkKeys(all, have) != nil {
		return nil // one between is lost: the file keeps what it has, and says no more than it can show
	}
	b := appendKeys(nil, all)
	if err := putWhole(s.dir, s.options, keysName, b); err != nil {
		return err
	}
	s.kept = keptKeys{b, all}
	return nil
}
