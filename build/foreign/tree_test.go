package foreign

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// A node is an item of CBOR, as it is encoded. What a byte string holds that is one item, or a sequence of byte strings,
// counts as below it, so that mutants reach the headers inside proofs.
type node struct {
	head    []byte // the initial byte and its argument, as they stood
	content []byte // of a string
	kids    []*node
	holds   bool // the content is what the kids encode to
	raw     bool // head is all of it, whatever that is
}

func (n *node) major() byte {
	if n.raw {
		return 7
	}
	return n.head[0] >> 5
}

// clone returns a copy that can be changed.
func (n *node) clone() *node {
	c := *n
	c.kids = nil
	for _, kid := range n.kids {
		c.kids = append(c.kids, kid.clone())
	}
	return &c
}

const (
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
)

// parse reads an item from b and returns what is behind it; nil where there is none.
func parse(b []byte, depth int) (*node, []byte) {
	if len(b) == 0 || depth > 24 {
		return nil, nil
	}
	width := 0
	if info := b[0] & 31; info >= 28 {
		return nil, nil
	} else if info >= 24 {
		width = 1 << (info - 24)
	}
	if len(b) < 1+width {
		return nil, nil
	}
	var wide [8]byte
	copy(wide[8-width:], b[1:1+width])
	count := binary.BigEndian.Uint64(wide[:])
	if width == 0 {
		count = uint64(b[0] & 31)
	}
	n, rest := &node{head: b[: 1+width : 1+width]}, b[1+width:]
	switch n.major() {
	case majorBytes, majorText:
		if count > uint64(len(rest)) {
			return nil, nil
		}
		n.content, rest = rest[:count:count], rest[count:]
		if n.major() == majorBytes && count > 8 && count != 32 && count != 64 { // no hash, no signature
			if inner, behind := parse(n.content, depth+1); inner != nil && len(behind) == 0 {
				n.kids, n.holds = []*node{inner}, true
			}
		}
		return n, rest
	case majorArray:
	case majorMap:
		count *= 2
	case majorTag:
		count = 1
	default:
		return n, rest
	}
	if count > uint64(len(rest)) {
		return nil, nil
	}
	for range count {
		var kid *node
		if kid, rest = parse(rest, depth+1); kid == nil {
			return nil, nil
		}
		n.kids = append(n.kids, kid)
	}
	return n, rest
}

// sequence reads items one after the other, as a bundle has them.
func sequence(b []byte) []*node {
	var all []*node
	for len(b) > 0 {
		var n *node
		if n, b = parse(b, 0); n == nil {
			return nil
		}
		all = append(all, n)
	}
	return all
}

// encode appends the item: with a head of the shortest form where what it counts has changed.
func (n *node) encode(b []byte) []byte {
	switch {
	case n.holds:
		var content []byte
		for _, kid := range n.kids {
			content = kid.encode(content)
		}
		return append(appendHead(b, majorBytes, uint64(len(content))), content...)
	case n.major() == majorBytes || n.major() == majorText:
		return append(appendHead(b, n.major(), uint64(len(n.content))), n.content...)
	case n.major() == majorArray:
		b = appendHead(b, majorArray, uint64(len(n.kids)))
	case n.major() == majorMap:
		b = appendHead(b, majorMap, uint64(len(n.kids)/2))
	default:
		b = append(b, n.head...)
	}
	for _, kid := range n.kids {
		b = kid.encode(b)
	}
	return b
}

func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major<<5|byte(n))
	case n < 1<<8:
		return append(b, major<<5|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major<<5|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major<<5|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major<<5|27), n)
}

// walk calls visit for each node, with the one above it.
func walk(above, n *node, visit func(above, n *node)) {
	visit(above, n)
	for _, kid := range n.kids {
		walk(n, kid, visit)
	}
}

// all returns the nodes of a file.
func all(items []*node) (found []*node) {
	for _, n := range items {
		walk(nil, n, func(_, n *node) { found = append(found, n) })
	}
	return found
}

// strange are items to stand where others are expected.
var strange = [][]byte{
	{0x00}, {0x01}, {0x02}, {0x17}, {0x18, 0x18}, {0x18, 0x17}, {0x19, 0x04, 0x00}, {0x1a, 0x80, 0, 0, 0}, {0x1a, 0x7f, 0xff, 0xff, 0xff},
	{0x1b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x1b, 0x80, 0, 0, 0, 0, 0, 0, 0}, {0x20}, {0x26}, {0x27},
	{0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0}, {0x40}, {0x60}, {0x61, 'x'}, {0x61, 0xff}, {0x62, 0xc3, 0xa9},
	{0x63, 0xef, 0xbb, 0xbf}, {0x80}, {0x81, 0x00}, {0x83, 0x01, 0x00, 0x80}, {0xa0}, {0xa1, 0x01, 0xf5}, {0xc1, 0x00}, {0xd2, 0x80}, {0xf4}, {0xf5}, {0xf6}, {0xf7},
	{0xf8, 0x20}, {0xf9, 0x00, 0x00}, {0xf9, 0x80, 0x00}, {0xf9, 0x3c, 0x00}, {0xf9, 0x7e, 0x00}, {0xf9, 0xfc, 0x00}, {0xfa, 0x47, 0x80, 0x00, 0x40}, {0xfa, 0x3f, 0xc0, 0, 0},
	{0xfb, 0x3f, 0xb9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a}, {0xfb, 0x40, 0xf0, 0, 0x10, 0, 0, 0, 0},
	{0x81, 0x81, 0x81, 0x81, 0x80}, {0x82, 0x01, 0x9f, 0xff}, {0x5f, 0x41, 0x00, 0xff},
}

// change changes one node, in one of the ways in which an item can be another one; pool are nodes of other files.
func change(rng *rand.Rand, items []*node, pool []*node) []*node {
	nodes := all(items)
	n := nodes[rng.IntN(len(nodes))]
	if rng.IntN(3) > 0 { // most nodes are hashes and names: more often look at those that hold others
		if inner := slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return len(n.kids) < 2 }); len(inner) > 0 {
			n = inner[rng.IntN(len(inner))]
		}
	}
	if len(n.kids) == 0 || n.holds {
		n.alter(rng)
		return items
	}
	step := 1
	if n.major() == majorMap {
		step = 2
	}
	i := step * rng.IntN(len(n.kids)/step)
	if n.major() == majorTag {
		n.head = []byte{n.head[0] ^ byte(1<<rng.IntN(5))}
		return items
	}
	switch rng.IntN(7) {
	case 0: // leave out
		n.kids = slices.Delete(slices.Clone(n.kids), i, i+step)
	case 1: // twice
		again := &node{kids: n.kids[i : i+step], raw: true}
		n.kids = slices.Insert(slices.Clone(n.kids), i, again.clone().kids...)
	case 2: // the other order
		j := step * rng.IntN(len(n.kids)/step)
		kids := slices.Clone(n.kids)
		for k := range step {
			kids[i+k], kids[j+k] = kids[j+k], kids[i+k]
		}
		n.kids = kids
	case 3: // something strange in its place, or among them
		item := &node{head: strange[rng.IntN(len(strange))], raw: true}
		n.kids = slices.Clone(n.kids)
		if at := i + step - 1; rng.IntN(4) == 0 && step == 1 {
			n.kids = slices.Insert(n.kids, at, item)
		} else {
			n.kids[at] = item
		}
	case 4, 5: // of another file, of the same kind
		kid := n.kids[i+step-1]
		same := slices.DeleteFunc(slices.Clone(pool), func(p *node) bool { return p.major() != kid.major() || p.holds != kid.holds })
		if len(same) > 0 {
			n.kids = slices.Clone(n.kids)
			n.kids[i+step-1] = same[rng.IntN(len(same))].clone()
		}
	default:
		n.kids[i+step-1].alter(rng)
	}
	return items
}

// alter changes a leaf's own value.
func (n *node) alter(rng *rand.Rand) {
	switch {
	case n.holds:
		n.holds, n.content = false, n.encodeKids()
		n.alter(rng)
	case len(n.content) > 0 && rng.IntN(3) > 0:
		n.content = slices.Clone(n.content)
		n.content[rng.IntN(len(n.content))] ^= 1 << rng.IntN(8)
	case n.major() == majorBytes || n.major() == majorText:
		switch {
		case rng.IntN(2) == 0 && len(n.content) > 0:
			n.content = n.content[:len(n.content)-1]
		default:
			n.content = append(slices.Clone(n.content), byte(rng.IntN(256)))
		}
	case n.major() <= 1: // a number: one more, one less, or another
		var wide [8]byte
		copy(wide[9-len(n.head):], n.head[1:])
		value := binary.BigEndian.Uint64(wide[:])
		if len(n.head) == 1 {
			value = uint64(n.head[0] & 31)
		}
		switch rng.IntN(4) {
		case 0:
			value++
		case 1:
			value--
		case 2:
			value = uint64(1)<<rng.IntN(64) - uint64(rng.IntN(2))
		case 3:
			value = rng.Uint64N(32)
		}
		n.head = appendHead(nil, n.major(), value)
	default:
		n.head = []byte{n.head[0] ^ byte(1<<rng.IntN(5))}
	}
}

func (n *node) encodeKids() (b []byte) {
	for _, kid := range n.kids {
		b = kid.encode(b)
	}
	return b
}
