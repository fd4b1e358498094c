package foreign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"edgechain.example/lightchain"
)

// A maker makes mutants of the vectors: files and trust files with a few things changed. Chance changes hardly ever pass the
// signatures; so most headers are signed once more behind the change, by the keys of the vectors, as a forger does who has
// them, and countersigned, too.
type maker struct {
	rng     *rand.Rand
	files   []vector
	pool    []*node
	trust   []string
	signers map[string]lightchain.Signer
}

func newMaker(t *testing.T, seed uint64) *maker {
	m := &maker{rng: rand.New(rand.NewPCG(seed, 0)), signers: map[string]lightchain.Signer{}}
	for _, name := range []string{"gateway 0", "gateway 1", "gateway 2", "mallory", "north", "south", "stranger", "a", "b"} {
		seed := sha256.Sum256([]byte("edgechain test key " + name)) // as the vectors' keys are made
		signer, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
		if err != nil {
			t.Fatal(err)
		}
		m.signers[name] = signer
	}
	for _, v := range vectors(t) {
		switch v.Kind {
		case "proof", "bundle", "fork":
			times := 1
			if v.Expect == "ok" {
				times = 4 // a mutant of what is refused already is mostly refused for that
			}
			for range times {
				m.files = append(m.files, v)
			}
			if v.Expect == "ok" {
				m.pool = append(m.pool, all(sequence(v.Bytes))...)
			}
			m.trust = append(m.trust, v.Trust)
		case "trust":
			m.trust = append(m.trust, v.Text)
		}
	}
	return m
}

func (m *maker) mutant() question {
	v := m.files[m.rng.IntN(len(m.files))]
	q := question{Trust: []byte(v.Trust), File: v.Bytes, about: v.name}
	switch m.rng.IntN(12) {
	case 0:
		q.File = m.bytes(v.Bytes)
		q.about += ", other bytes"
	case 1:
		q.File = m.items(v.Bytes, false)
		q.about += ", other items"
	case 2, 3:
		q.Trust = m.trustFile(v.Trust)
		q.about += ", another trust file"
	case 4:
		q.File, q.Trust = m.items(v.Bytes, true), m.trustFile(v.Trust)
		q.about += ", other items, signed, and another trust file"
	case 5:
		if v.Kind == "proof" {
			q.File = m.text(lightchain.EncodeText(v.Bytes))
			q.about += ", other text"
		}
	default:
		q.File = m.items(v.Bytes, true)
		q.about += ", other items, signed"
	}
	return q
}

// bytes changes some bytes, wherever they stand.
func (m *maker) bytes(b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + m.rng.IntN(2) {
		if len(b) == 0 {
			return b
		}
		at := m.rng.IntN(len(b))
		until := min(len(b), at+1+m.rng.IntN(40))
		switch m.rng.IntN(6) {
		case 0:
			b = b[:at]
		case 1:
			b = slices.Delete(b, at, until)
		case 2:
			b = slices.Insert(b, at, b[at:until]...)
		case 3:
			b[at] = byte(m.rng.IntN(256))
		default:
			b[at] ^= 1 << m.rng.IntN(8)
		}
	}
	return b
}

// text changes some characters of a text in lines.
func (m *maker) text(b []byte) []byte {
	pieces := []string{"\n", "\r", "\r\n", " ", "\t", "=", "-", "/", "_", "+", "A", "\ufeff", "\u00a0", "\x00", "é"}
	for range 1 + m.rng.IntN(2) {
		at := m.rng.IntN(len(b) + 1)
		if m.rng.IntN(2) == 0 { // at a line's end
			if end := bytes.IndexByte(b[min(at, len(b)):], '\n'); end >= 0 {
				at += end + m.rng.IntN(2)
			}
		}
		piece := pieces[m.rng.IntN(len(pieces))]
		switch m.rng.IntN(3) {
		case 0:
			b = slices.Concat(b[:at], []byte(piece), b[at:])
		case 1:
			b = slices.Concat(b[:at], []byte(piece), b[min(at+1, len(b)):])
		default:
			b = slices.Concat(b[:at], b[min(at+1+m.rng.IntN(2), len(b)):])
		}
	}
	return b
}

// items changes some items of a file; behind that the headers are signed again, if asked for.
func (m *maker) items(b []byte, signed bool) []byte {
	items := sequence(b)
	if items == nil {
		return m.bytes(b)
	}
	for range 1 + m.rng.IntN(2) {
		items = m.change(items)
	}
	if signed {
		m.sign(items)
	}
	b = nil
	for _, n := range items {
		b = n.encode(b)
	}
	return b
}

func (m *maker) change(items []*node) []*node {
	if len(items) > 1 && m.rng.IntN(4) == 0 { // a bundle
		i, j := m.rng.IntN(len(items)), m.rng.IntN(len(items))
		switch m.rng.IntN(3) {
		case 0:
			return slices.Delete(items, i, i+1)
		case 1:
			return slices.Insert(items, i, items[j].clone())
		}
		items[i], items[j] = items[j], items[i]
		return items
	}
	if m.rng.IntN(2) == 0 { // a header's own field
		var headers []*node
		for _, n := range all(items) {
			if n.major() == majorMap && len(n.kids) >= 18 { // nothing else has so many
				headers = append(headers, n)
			}
		}
		if len(headers) > 0 {
			h := headers[m.rng.IntN(len(headers))]
			m.header(h, headers[m.rng.IntN(len(headers))])
			return items
		}
	}
	return change(m.rng, items, m.pool)
}

// header changes one field of a header: by itself, or to that of another.
func (m *maker) header(h, other *node) {
	i := 1 + 2*m.rng.IntN(len(h.kids)/2)
	switch m.rng.IntN(4) {
	case 0:
		j := 1 + 2*m.rng.IntN(len(other.kids)/2)
		if bytes.Equal(h.kids[i-1].head, other.kids[j-1].head) {
			h.kids[i] = other.kids[j].clone()
			return
		}
	case 1:
		m.key(h)
		return
	}
	h.kids[i].alter(m.rng)
}

// key takes key 12 out of a header, or puts one in.
func (m *maker) key(h *node) {
	for i := 0; i < len(h.kids); i += 2 {
		if key := h.kids[i].head; len(key) == 1 && key[0] == 12 {
			h.kids = slices.Delete(h.kids, i, i+2)
			return
		}
	}
	name := []string{"gateway 0", "gateway 1", "gateway 2"}[m.rng.IntN(3)]
	public := m.signers[name].Public()
	at := 0
	for at < len(h.kids) && len(h.kids[at].head) == 1 && h.kids[at].head[0] < 12 {
		at += 2
	}
	h.kids = slices.Insert(h.kids, at, &node{head: []byte{12}}, &node{head: []byte{0x58, 32}, content: public[:]})
}

// sign has every header that can be read signed again, most by the key that it names, and its receipts made anew. In a proof
// the block's beacon then names the receipts of field 7, as a rule.
func (m *maker) sign(items []*node) {
	var proof, block *node
	if len(items) == 1 && items[0].major() == majorMap {
		proof = items[0]
		block = proof.value(4)
	}
	for _, n := range all(items) {
		if block == nil || len(block.kids) == 0 || n != block.kids[0] {
			m.signHeader(n)
		}
	}
	if block == nil || len(block.kids) == 0 {
		return
	}
	if seven := proof.value(7); seven != nil && seven.major() == majorArray && m.rng.IntN(8) > 0 {
		receipts := appendHead(nil, majorArray, uint64(len(seven.kids)))
		for _, h := range seven.kids {
			if len(h.kids) == 1 && len(h.kids[0].kids) == 1 && len(h.kids[0].kids[0].kids) == 4 {
				if r := h.kids[0].kids[0].kids[1].value(11); r != nil {
					receipts = r.encode(receipts)
				}
			}
		}
		beacon := sha256.Sum256(receipts)
		if header := headerOf(block.kids[0]); header != nil {
			if named := header.value(11); named != nil && named.major() == majorBytes {
				named.content, named.kids, named.holds = beacon[:], nil, false
			}
		}
	}
	m.signHeader(block.kids[0])
}

// value returns what a map has under a small key.
func (n *node) value(key byte) *node {
	if n.major() != majorMap {
		return nil
	}
	for i := 0; i < len(n.kids); i += 2 {
		if bytes.Equal(n.kids[i].head, []byte{key}) {
			return n.kids[i+1]
		}
	}
	return nil
}

// headerOf returns the map that a signed header holds.
func headerOf(signed *node) *node {
	if signed.raw || signed.major() != majorTag || len(signed.kids) != 1 || len(signed.kids[0].kids) != 4 {
		return nil
	}
	if payload := signed.kids[0].kids[2]; payload.holds {
		return payload.kids[0]
	}
	return nil
}

func (m *maker) signHeader(n *node) {
	payload := headerOf(n)
	if payload == nil {
		return
	}
	h, err := lightchain.DecodeHeader(payload.encode(nil))
	if err != nil {
		return
	}
	parts := n.kids[0].kids
	names := []string{"gateway 0", "gateway 1", "gateway 2", "mallory"}
	name := names[m.rng.IntN(len(names))]
	protected := parts[0].encode(nil)
	for _, known := range names {
		if id := m.signers[known].Public().KeyID(); bytes.Contains(protected, id[:]) && m.rng.IntN(16) > 0 {
			name = known
		}
	}
	signed, err := h.Sign(m.signers[name])
	if err != nil {
		return
	}
	encoded, err := signed.Encode()
	if err != nil {
		return
	}
	again, _ := parse(encoded, 0)
	parts[0], parts[3] = again.kids[0].kids[0], again.kids[0].kids[3]
	receipts := parts[1].value(11)
	if receipts == nil || receipts.major() != majorArray {
		return
	}
	if len(receipts.kids) > 0 && receipts.kids[0].major() == majorArray {
		for i, r := range receipts.kids {
			receipts.kids[i] = m.countersign(signed, r)
		}
	} else {
		*receipts = *m.countersign(signed, receipts)
	}
}

func (m *maker) countersign(h *lightchain.SignedHeader, n *node) *node {
	r, err := lightchain.DecodeReceipt(n.encode(nil))
	if err != nil || m.signers[r.Name] == nil {
		return n
	}
	again, err := h.Countersign(m.signers[r.Name], r.Name, r.Time)
	if err != nil {
		return n
	}
	encoded, err := again.Append(nil)
	if err != nil {
		return n
	}
	made, _ := parse(encoded, 0)
	return made
}

// trustFile changes some lines or characters of a trust file.
func (m *maker) trustFile(text string) []byte {
	for range 1 + m.rng.IntN(2) {
		lines := strings.SplitAfter(text, "\n")
		i, j := m.rng.IntN(len(lines)), m.rng.IntN(len(lines))
		switch m.rng.IntN(10) {
		case 0:
			lines = slices.Delete(lines, i, i+1)
		case 1:
			lines = slices.Insert(lines, i, lines[j])
		case 2:
			lines[i], lines[j] = lines[j], lines[i]
		case 3:
			lines[i] = strings.Replace(lines[i], "\n", "\r\n", 1)
		case 4:
			lines = slices.Insert(lines, i, fmt.Sprintf("quorum %v\n", []any{0, 1, 2, 3, "01", "-1", "2147483647", "2147483648", "1.0", "1e0", "٣"}[m.rng.IntN(11)]))
			if m.rng.IntN(2) == 0 {
				lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "quorum") && l != lines[i] })
			}
		case 5:
			name := []string{"north", "south", "a", "b", "stranger"}[m.rng.IntN(5)]
			key := []string{"north", "south", "a", "b", "stranger"}[m.rng.IntN(5)]
			if m.rng.IntN(2) == 0 {
				key = name
			}
			lines = slices.Insert(lines, i, "aggregator "+name+" "+lightchain.FormatPublicKey(m.signers[key].Public())+"\n")
		case 6:
			spaces := []string{"  ", "\t", " \t", "\u00a0", "\r", "\v", "\f", "\u2003", ""}
			lines[i] = strings.Replace(lines[i], " ", spaces[m.rng.IntN(len(spaces))], 1)
		case 7:
			key := make([]byte, m.rng.IntN(3)*600+1)
			kind := []string{"ocmf", "cose", "jws", "JWS", "x"}[m.rng.IntN(5)]
			lines = slices.Insert(lines, i, "device meter-1 "+kind+" "+base64.StdEncoding.EncodeToString(key)+"\n")
		case 8:
			from := m.trust[m.rng.IntN(len(m.trust))]
			others := strings.SplitAfter(from, "\n")
			lines = slices.Insert(lines, i, others[m.rng.IntN(len(others))])
		default:
			lines[i] = string(m.text([]byte(lines[i])))
		}
		text = strings.Join(lines, "")
		if m.rng.IntN(20) == 0 {
			text = "\ufeff" + text
		}
	}
	return []byte(text)
}
