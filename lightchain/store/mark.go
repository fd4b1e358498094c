package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"edgechain.example/lightchain"
)

// A database that rots, or that is put back as it was, ends below headers that have left. What it takes to go on above
// them stands beside it, in a few kilobytes: the head mark. It is durable before anything of a new header leaves the
// store, and after the header itself is:
//
//	database synced ─▶ head mark synced ─▶ the header leaves
//
// So the mark never stands above a sound database. A database that ends below it was set back, and the chain goes on
// above the mark: see mark_open.go. A database above it is ordinary: the power failed between the two, or a program ran
// that knew no marks.

// windowSize is how many hashes of the newest headers the mark holds. They are the history's newest leaves, so that a
// consistency proof can be made over headers that are gone, for whoever knew one of these last.
const windowSize = 256

// maxReceipted is of how many aggregators the mark holds the newest receipt's height.
const maxReceipted = 16

// headMark is what it takes to go on from a header without any other.
type headMark struct {
	counter   uint64                      // of the marks written, so that of two slots the newer is known
	opens     uint64                      // how often the store had been opened
	signer    lightchain.PublicKey        // the key that signed the newest header
	head      lightchain.Header           // the newest
	signature *lightchain.HeaderSignature // of head; nil: it is held without
	genesis   *lightchain.SignedHeader    // nil: not held
	below     lightchain.CompactRange     // the history below the window
	window    []lightchain.Hash           // hashes of the newest headers, the last one head's
	receipted map[string]uint64           // the highest header that each aggregator has receipted
}

// after returns the mark for the header that follows.
func (m *headMark) after(signed *lightchain.SignedHeader) headMark {
	next := *m
	next.head, next.signature, next.signer = signed.Header, &signed.HeaderSignature, m.key()
	next.below = m.below.Clone()
	next.window = append(slices.Clone(m.window), signed.Hash())
	for len(next.window) > windowSize {
		next.below.Append(next.window[0], nil)
		next.window = next.window[1:]
	}
	return next
}

// key returns the key that signs the next header.
func (m *headMark) key() lightchain.PublicKey {
	if m.head.NextKey != nil {
		return *m.head.NextKey
	}
	return m.signer
}

// hash returns the hash of the newest header.
func (m *headMark) hash() lightchain.Hash { return m.window[len(m.window)-1] }

// bottom returns the height of the lowest header whose hash is in the window.
func (m *headMark) bottom() uint64 { return m.below.Size() }

// chain returns the identity of the chain.
func (m *headMark) chain() lightchain.ChainID {
	if m.head.Genesis != nil {
		return lightchain.ChainID(m.hash())
	}
	return m.head.Chain
}

// tip returns the end of the chain as the mark knows it.
func (m *headMark) tip() *lightchain.Tip {
	t := &lightchain.Tip{
		Chain: m.chain(), Height: m.head.Height, Hash: m.hash(), Next: m.head.First + m.head.Count, Key: m.key(),
		History: m.below.Clone(),
	}
	for _, leaf := range m.window {
		t.History.Append(leaf, nil)
	}
	return t
}

// signed returns the newest header.
func (m *headMark) signed() (*lightchain.SignedHeader, error) {
	sig := lightchain.HeaderSignature{}
	if m.signature != nil {
		sig = *m.signature
	}
	return lightchain.NewSignedHeader(m.head, sig)
}

// A mark as it is stored, numbers big-endian:
//
//	"edgechain head", version 2, 4 bytes: length of what follows but for the checksum
//	8 counter · 8 opens · 32 key that signed the newest header · newest header · genesis · number of hashes in the window, 2 · these
//	roots of the complete subtrees of the history below the window, the largest first
//	receipts: 1 how many · for each 1 length of name · name · 8 height, ascending by name
//	32 bytes: SHA-256 of all that
//
// A header is 2 bytes of length and its stored form: see headers.go. What follows from the headers is not stored again:
// chain, height, hash, the number of the next entry.
const (
	markMagic   = "edgechain head"
	markVersion = 2
	markPrefix  = len(markMagic) + 1 + 4
)

var errMark = errors.New("not a head mark")

// append appends the stored form of the mark.
func (m *headMark) append(b []byte) ([]byte, error) {
	start := len(b)
	b = append(append(b, markMagic...), markVersion, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, m.counter)
	b = binary.BigEndian.AppendUint64(b, m.opens)
	b = append(b, m.signer[:]...)
	head, err := m.signed()
	if err != nil {
		return nil, err
	}
	b = appendMarkHeader(b, m.signature, head)
	if m.genesis == nil {
		b = append(b, 0, 0)
	} else {
		b = appendMarkHeader(b, &m.genesis.HeaderSignature, m.genesis)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.window)))
	for _, h := range m.window {
		b = append(b, h[:]...)
	}
	for _, h := range m.below.Edge() {
		b = append(b, h[:]...)
	}
	names := newestNames(m.receipted)
	b = append(b, byte(len(names)))
	for _, name := range names {
		b = append(append(b, byte(len(name))), name...)
		b = binary.BigEndian.AppendUint64(b, m.receipted[name])
	}
	binary.BigEndian.PutUint32(b[start+len(markMagic)+1:], uint32(len(b)-start-markPrefix))
	sum := sha256.Sum256(b[start:])
	return append(b, sum[:]...), nil
}

func appendMarkHeader(b []byte, sig *lightchain.HeaderSignature, h *lightchain.SignedHeader) []byte {
	stored := appendHeader(nil, sig, h.Bytes())
	return append(binary.BigEndian.AppendUint16(b, uint16(len(stored))), stored...)
}

// newestNames returns the aggregators with the highest receipts, as many as a mark holds, ascending by name.
func newestNames(receipted map[string]uint64) []string {
	names := slices.SortedFunc(maps.Keys(receipted), func(a, b string) int {
		if receipted[a] != receipted[b] && receipted[a] > receipted[b] {
			return -1
		} else if receipted[a] != receipted[b] {
			return 1
		}
		return strings.Compare(a, b)
	})
	names = names[:min(len(names), maxReceipted)]
	slices.Sort(names)
	return names
}

// decodeMark reads a slot, whatever stands in it behind the mark. What it returns goes together: the window and the edge
// give the history that the newest header commits to, and its signature checks.
func decodeMark(b []byte) (*headMark, error) {
	if len(b) < markPrefix || string(b[:len(markMagic)]) != markMagic {
		return nil, errMark
	}
	size := int64(binary.BigEndian.Uint32(b[len(markMagic)+1:])) + int64(markPrefix)
	if size+sha256.Size > int64(len(b)) {
		return nil, fmt.Errorf("%w: cut off", errMark)
	}
	if sum := sha256.Sum256(b[:size]); !bytes.Equal(sum[:], b[size:size+sha256.Size]) {
		return nil, fmt.Errorf("%w: its checksum is another one", errMark)
	}
	if v := b[len(markMagic)]; v < markVersion {
		return nil, ErrOlder
	} else if v > markVersion {
		return nil, fmt.Errorf("%w: version %d of the head mark, this program knows %d", ErrNewer, v, markVersion)
	}
	m, err := parseMark(b[markPrefix:size])
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMark, err)
	}
	return m, nil
}

// parseMark reads what stands between the length and the checksum.
func parseMark(b []byte) (*headMark, error) {
	p := markParser{b: b}
	m := &headMark{counter: p.uint64(), opens: p.uint64(), receipted: map[string]uint64{}}
	copy(m.signer[:], p.take(len(m.signer)))
	var head *lightchain.SignedHeader
	head, m.signature = p.header()
	m.genesis, _ = p.header()
	m.window = p.hashes(int(p.uint16()))
	if head == nil || len(m.window) == 0 || uint64(len(m.window)) > head.Header.Height+1 || len(m.window) > windowSize {
		return nil, errors.Join(p.err, errors.New("no newest header, or more hashes than headers"))
	}
	m.head = head.Header
	bottom := m.head.Height + 1 - uint64(len(m.window))
	edge := p.hashes(bits.OnesCount64(bottom))
	last := ""
	for n := int(p.byte()); n > 0 && p.err == nil; n-- {
		name := string(p.take(int(p.byte())))
		if name <= last || len(m.receipted) == maxReceipted {
			return nil, errors.New("aggregators out of order")
		}
		m.receipted[name], last = p.uint64(), name
	}
	if p.err == nil && len(p.b) > 0 {
		p.err = errors.New("bytes left over")
	}
	if p.err != nil {
		return nil, p.err
	}
	var err error
	m.below, err = lightchain.NewCompactRange(bottom, edge)
	return m, err
}

// check tells whether the parts of the mark go together.
func (m *headMark) check() error {
	head, err := m.signed()
	if err != nil {
		return err
	}
	history := m.below.Clone()
	for _, leaf := range m.window[:len(m.window)-1] {
		history.Append(leaf, nil)
	}
	switch {
	case head.Hash() != m.hash() || history.Root() != m.head.History:
		return errors.New("the hashes are not those of its newest header's history")
	case m.genesis != nil && (m.genesis.Header.Genesis == nil || m.genesis.ChainID() != m.chain()):
		return errors.New("its genesis is that of another chain")
	case m.signature != nil:
		return head.Check(m.signer)
	}
	return nil
}

// markParser takes a mark apart; the first thing that is missing stays in err, and what comes after is empty.
type markParser struct {
	b   []byte
	err error
}

func (p *markParser) take(n int) []byte {
	if p.err == nil && n > len(p.b) {
		p.err = errors.New("cut off")
	}
	if p.err != nil {
		return make([]byte, min(n, 64))
	}
	taken := p.b[:n]
	p.b = p.b[n:]
	return taken
}

func (p *markParser) byte() byte { return p.take(1)[0] }

func (p *markParser) uint16() uint16 { return binary.BigEndian.Uint16(p.take(2)) }

func (p *markParser) uint64() uint64 { return binary.BigEndian.Uint64(p.take(8)) }

func (p *markParser) hashes(n int) (hashes []lightchain.Hash) {
	for ; n > 0 && p.err == nil; n-- {
		hashes = append(hashes, lightchain.Hash(p.take(len(lightchain.Hash{}))))
	}
	return hashes
}

// header returns nil where none stands.
func (p *markParser) header() (*lightchain.SignedHeader, *lightchain.HeaderSignature) {
	stored := p.take(int(p.uint16()))
	if p.err != nil || len(stored) == 0 {
		return nil, nil
	}
	signed, sig, err := decodeStored(stored)
	if err != nil {
		p.err = err
	}
	return signed, sig
}

// decodeStored reads the stored form of a header, whose signature is nil where it is held without.
func decodeStored(stored []byte) (*lightchain.SignedHeader, *lightchain.HeaderSignature, error) {
	sig, b, err := splitHeader(stored)
	if err != nil {
		return nil, nil, err
	}
	h, err := lightchain.DecodeHeader(b)
	if err != nil {
		return nil, nil, err
	}
	given := lightchain.HeaderSignature{}
	if sig != nil {
		given = *sig
	}
	signed, err := lightchain.NewSignedHeader(h, given)
	return signed, sig, err
}

// markAt returns the mark for a tip, from what the reader holds: as much of the window as can be read.
func (r *Reader) markAt(tip *lightchain.Tip) (*headMark, error) {
	stored, err := r.get(headerKey(tip.Height))
	if err != nil {
		return nil, fmt.Errorf("header %d: %w", tip.Height, err)
	}
	head, sig, err := decodeStored(stored)
	if err != nil {
		return nil, &DamageError{Height: tip.Height, Err: err}
	}
	signer, err := r.keyAt(tip.Height)
	if err != nil {
		return nil, err
	}
	m := &headMark{signer: signer, head: head.Header, signature: sig, receipted: map[string]uint64{}}
	m.window = []lightchain.Hash{tip.Hash}
	for height := tip.Height; height > 0 && len(m.window) < windowSize; height-- {
		leaf, err := r.node(0, height-1)
		if err != nil {
			break
		}
		m.window = append(m.window, leaf)
	}
	slices.Reverse(m.window)
	for {
		m.below, err = r.compactRange(tip.Height + 1 - uint64(len(m.window)))
		if err == nil || len(m.window) == 1 {
			break
		}
		m.window = m.window[1:]
	}
	if err != nil {
		return nil, fmt.Errorf("history below header %d: %w", tip.Height, err)
	}
	if genesis, err := r.Header(0); err == nil {
		m.genesis = genesis
	}
	names, _ := r.Aggregators() // what cannot be read of them is not held
	for _, name := range names {
		if height, found, err := r.NewestReceipt(name); err == nil && found {
			m.receipted[name] = height
		}
	}
	return m, m.check()
}
