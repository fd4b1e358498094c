package lightchain

import (
	"errors"
	"fmt"
	"math/bits"
)

// Consistency shows that a signed head continues a chain from an earlier tip, without the headers between. Its size
// grows with the logarithm of their number.
//
// Whoever holds the earlier tip holds the right edge of its history ([CompactRange.Edge]). Appending the roots in
// Nodes to that edge must give the history that the head commits to. It is a proof for the same reason as that of
// RFC 9162, section 2.1.4: the root of a tree of this size fixes the hash at each place of the tree, so the earlier
// leaves must stand in it where they stood. Unlike that one it leaves behind the edge of the later history, so the
// tip moves on whole.
type Consistency struct {
	From  uint64      // headers of the earlier history: the earlier tip's height plus one
	Nodes []Hash      // roots of the complete subtrees that fill it up to the head's history, from left to right
	Keys  []KeyHeader // the headers between that set the key, heights ascending
	Head  *SignedHeader
}

// KeyHeader is a signed header that sets a key, with its path in the history of a later header.
//
// SPEC: A consistency proof that crosses a change of key carries those signed headers and their paths.
type KeyHeader struct {
	Header *SignedHeader
	Path   Path
}

// MaxConsistencyKeys is how many changes of key one proof crosses; more take several proofs, one after the other.
const MaxConsistencyKeys = 64

const (
	maxGrowth = 2 * MaxPath

	// MaxConsistencyBytes is more than any consistency proof takes.
	MaxConsistencyBytes = 512 << 10
)

// growth calls visit for each complete subtree that fills a tree of from leaves up to to leaves, left to right: each
// time the largest one that may stand at that place and is not too long.
func growth(from, to uint64, visit func(level int, index uint64) error) error {
	for from < to {
		level := bits.Len64(to-from) - 1
		if from > 0 {
			level = min(level, bits.TrailingZeros64(from))
		}
		if err := visit(level, from>>level); err != nil {
			return err
		}
		from += 1 << level
	}
	return nil
}

// ProveGrowth returns the roots of the subtrees that fill a tree of from leaves up to to leaves; see [Consistency].
func ProveGrowth(nodes Nodes, from, to uint64) ([]Hash, error) {
	if from > to {
		return nil, fmt.Errorf("a tree of %d leaves is no beginning of one of %d", from, to)
	}
	var roots []Hash
	err := growth(from, to, func(level int, index uint64) error {
		h, err := nodes(level, index)
		roots = append(roots, h)
		return err
	})
	if err != nil {
		return nil, err
	}
	return roots, nil
}

// Grow adds the leaves up to size, of which only the roots that [ProveGrowth] gave are known.
func (r *CompactRange) Grow(size uint64, roots []Hash) error {
	if size < r.size {
		return errConsistency
	}
	grown := r.Clone()
	err := growth(r.size, size, func(level int, _ uint64) error {
		if len(roots) == 0 {
			return errConsistency
		}
		h := roots[0]
		roots = roots[1:]
		for n := grown.size >> level; n&1 == 1; n >>= 1 {
			last := len(grown.edge) - 1
			h = NodeHash(grown.edge[last], h)
			grown.edge = grown.edge[:last]
		}
		grown.edge = append(grown.edge, h)
		grown.size += 1 << level
		return nil
	})
	if err != nil || len(roots) != 0 {
		return errConsistency
	}
	*r = grown
	return nil
}

// Leap checks that c.Head continues the chain at the tip, signatures too, and moves the tip onto it. On an error the
// tip stays where it is.
//
// What it cannot see is what only the headers between would show: that their entries were numbered without a gap.
// That the number of the head's first entry is not below the tip's is checked.
func (t *Tip) Leap(c *Consistency) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.From != t.History.Size() {
		return fmt.Errorf("%w: a proof from a history of %d headers, the tip's has %d", ErrNotNext, c.From, t.History.Size())
	}
	head := &c.Head.Header
	if head.Height == c.From { // nothing lies between, so the head's link to the header below can be checked too
		if len(c.Nodes) > 0 {
			return errConsistency
		}
		return t.FollowOne(c.Head)
	}
	at := t.Clone()
	if err := at.History.Grow(head.Height, c.Nodes); err != nil {
		return fmt.Errorf("header %d: %w", head.Height, err)
	}
	history := at.History.Root()
	if head.History != history {
		return fmt.Errorf("header %d: %w", head.Height, errConsistency)
	}
	for _, k := range c.Keys {
		h := &k.Header.Header
		// Path and head agree on the place; [Consistency.check] has seen to it.
		root, err := k.Path.Root(k.Header.Hash())
		if err != nil {
			return fmt.Errorf("header %d: %w", h.Height, err)
		}
		if root != history {
			return fmt.Errorf("header %d, which sets a key, does not stand in the history of header %d", h.Height, head.Height)
		}
		if err := at.leapOnto(k.Header); err != nil {
			return err
		}
	}
	if err := at.leapOnto(c.Head); err != nil {
		return err
	}
	at.Height, at.Hash = head.Height, c.Head.Hash()
	at.History.Append(at.Hash, nil)
	*t = *at
	return nil
}

// leapOnto checks what a signed header whose place in the history is shown says beside its links, and takes its key
// and its numbers.
func (t *Tip) leapOnto(s *SignedHeader) error {
	h := s.Header
	if h.Genesis != nil || h.Chain != t.Chain {
		return fmt.Errorf("header %d: %w: it belongs to another chain", h.Height, ErrNotNext)
	}
	if h.First < t.Next {
		return fmt.Errorf("header %d: %w: its first entry is %d, numbers below %d are taken", h.Height, ErrNotNext, h.First, t.Next)
	}
	t.Next = h.First
	if err := t.checkBlock(&h); err != nil {
		return fmt.Errorf("header %d: %w: %w", h.Height, ErrNotNext, err)
	}
	if err := s.Check(t.Key); err != nil {
		return err
	}
	t.Next = h.First + h.Count
	if h.NextKey != nil {
		t.Key = *h.NextKey
	}
	return nil
}

// check enforces the shape of a consistency proof, whichever tip it starts from.
func (c *Consistency) check() error {
	head := c.Head.Header.Height
	switch {
	case c.From == 0 || c.From > head || head > 1<<62:
		return fmt.Errorf("a consistency proof from a history of %d headers to header %d", c.From, head)
	case len(c.Nodes) > maxGrowth:
		return fmt.Errorf("%d hashes are above the limit of %d", len(c.Nodes), maxGrowth)
	case len(c.Keys) > MaxConsistencyKeys:
		return fmt.Errorf("%d changes of key are above the limit of %d", len(c.Keys), MaxConsistencyKeys)
	case len(c.Head.Receipts) > 0:
		return errors.New("receipts on the head of a consistency proof")
	}
	lowest := c.From
	for i := range c.Keys {
		k := &c.Keys[i]
		h := &k.Header.Header
		switch {
		case h.NextKey == nil:
			return fmt.Errorf("header %d sets no key", h.Height)
		case h.Height < lowest || h.Height >= head:
			return fmt.Errorf("header %d sets a key, but stands outside the proof or out of order", h.Height)
		case k.Path.Size != head || k.Path.Index != h.Height:
			return fmt.Errorf("the path of header %d is one of header %d in a history of %d", h.Height, k.Path.Index, k.Path.Size)
		case len(k.Header.Receipts) > 0:
			return fmt.Errorf("receipts on header %d, which is there to set the key", h.Height)
		}
		lowest = h.Height + 1
	}
	return nil
}

// Append appends the proof's encoding to b:
//
//	consistency = {
//	  1: 1,                      ; format version
//	  2: uint,                   ; headers of the earlier history
//	  3: bstr,                   ; roots of subtrees, 32 bytes each
//	  ? 4: [1*64 [bstr, path]],  ; signed headers that set the key, each with its path in the head's history
//	  5: bstr                    ; the signed head
//	}
func (c *Consistency) Append(b []byte) ([]byte, error) {
	start := len(b)
	b, err := c.append(b)
	if err != nil {
		return b[:start], fmt.Errorf("consistency: %w", err)
	}
	return b, nil
}

func (c *Consistency) append(b []byte) (_ []byte, err error) {
	if err := c.check(); err != nil {
		return b, err
	}
	b = append(appendMap(b, 4+count(len(c.Keys) > 0)), 1, Version)
	b = appendUint(append(b, 2), c.From)
	b = appendHashes(append(b, 3), c.Nodes)
	if len(c.Keys) > 0 {
		b = appendArray(append(b, 4), len(c.Keys))
		for i := range c.Keys {
			if b, err = appendWrapped(appendArray(b, 2), c.Keys[i].Header); err != nil {
				return b, err
			}
			if b, err = c.Keys[i].Path.append(b); err != nil {
				return b, err
			}
		}
	}
	return appendWrapped(append(b, 5), c.Head)
}

// appendHashes appends one byte string of all the hashes.
func appendHashes(b []byte, hashes []Hash) []byte {
	b = appendHead(b, majorBytes, uint64(len(hashes)*len(Hash{})))
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

// splitHashes reads what appendHashes put into the byte string; at most most hashes.
func splitHashes(b []byte, most int) ([]Hash, error) {
	n := len(b) / len(Hash{})
	if len(b)%len(Hash{}) != 0 || n > most {
		return nil, fmt.Errorf("%d bytes are not at most %d hashes", len(b), most)
	}
	hashes := make([]Hash, n)
	for i := range hashes {
		b = b[copy(hashes[i][:], b):]
	}
	return hashes, nil
}

// DecodeConsistency reads a consistency proof. It checks the encoding alone; see [Tip.Leap].
func DecodeConsistency(b []byte) (*Consistency, error) {
	c, err := decodeConsistency(b)
	if err != nil {
		return nil, fmt.Errorf("consistency: %w", err)
	}
	return c, nil
}

func decodeConsistency(b []byte) (*Consistency, error) {
	if len(b) > MaxConsistencyBytes {
		return nil, fmt.Errorf("%d bytes are above the limit of %d", len(b), MaxConsistencyBytes)
	}
	c, r := new(Consistency), reader{b: b}
	set := r.fields(func(key uint64) {
		switch key {
		case 1:
			r.version()
		case 2:
			c.From = r.uint()
		case 3:
			nodes, err := splitHashes(r.bytes(maxGrowth*len(Hash{})), maxGrowth)
			if err != nil {
				r.fail(err)
			}
			c.Nodes = nodes
		case 4:
			c.Keys = make([]KeyHeader, r.array(1, MaxConsistencyKeys, 3))
			for i := range c.Keys {
				r.tuple(2)
				c.Keys[i] = KeyHeader{r.wrapped(), r.path()}
			}
		case 5:
			c.Head = r.wrapped()
		default:
			r.unknown(key)
		}
	})
	if err := r.end(); err != nil {
		return nil, err
	}
	if needed := uint64(1<<1 | 1<<2 | 1<<3 | 1<<5); set&needed != needed {
		return nil, errors.New("one of the fields 1, 2, 3 and 5 is missing")
	}
	return c, c.check()
}
