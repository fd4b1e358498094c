package lightchain

import "fmt"

// A header commits to all below it by one hash, and a file shows other hashes of the same tree: its headers, their links, the
// paths of one header in the history of others. All that it shows is of one tree, or nobody recorded it.

// shown is what a file shows of the tree over all headers of a chain.
type shown struct {
	hash   map[leaves]Hash
	order  []leaves
	starts map[uint64]bool // heights at which any of them begins
	known  map[leaves]*Hash
}

// newShown returns what the complete subtrees of a tree show.
func newShown(tree *CompactRange) *shown {
	s := &shown{hash: map[leaves]Hash{}, starts: map[uint64]bool{}, known: map[leaves]*Hash{}}
	for l, h := range tree.parts() {
		s.put(l, h)
	}
	return s
}

// SPEC: Two hashes of the same leaves are one
func (s *shown) add(first, count uint64, h Hash) error {
	l := leaves{first, count}
	if before, ok := s.hash[l]; !ok {
		s.put(l, h)
	} else if before != h {
		return l.torn()
	}
	return nil
}

func (s *shown) put(l leaves, h Hash) {
	s.hash[l], s.starts[l.first] = h, true
	s.order = append(s.order, l)
}

// torn says that what is shown of the headers is not of one tree.
func (l leaves) torn() error {
	switch {
	case l.first == 0:
		return fmt.Errorf("header %d commits to another history than what is shown of the headers below it", l.count)
	case l.count == 1:
		return fmt.Errorf("two different headers are shown at height %d", l.first)
	}
	return fmt.Errorf("what is shown of the headers %d to %d does not fit together", l.first, l.first+l.count-1)
}

// SPEC: A header at height h is leaf h; above genesis its key 4 is leaf h − 1, and its key 5 is the hash of the leaves 0 .. h − 1
func (s *shown) header(h seen) error {
	height := h.header.Height
	if err := s.add(height, 1, h.hash); err != nil || height == 0 {
		return err
	}
	if err := s.add(height-1, 1, h.header.Previous); err != nil {
		return err
	}
	return s.add(0, height, h.header.History)
}

// path takes a path that fits its size and index.
//
// SPEC: A path of field 6 leads from its root to its leaf over splits […] and shows at each the hash of the part in which its leaf is not
func (s *shown) path(p *Path) error {
	first, n := uint64(0), p.Size
	for i := len(p.Hashes) - 1; i >= 0; i-- {
		var err error
		if k := split(n); p.Index >= first+k {
			err = s.add(first, k, p.Hashes[i])
			first, n = first+k, n-k
		} else {
			err = s.add(first+k, n-k, p.Hashes[i])
			n = k
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// check computes each hash that is shown from those of its two parts, as far as these are shown or follow in the same way.
func (s *shown) check() error {
	for _, l := range s.order {
		if h, ok := s.computed(l); ok && h != s.hash[l] {
			return l.torn()
		}
	}
	return nil
}

// computed returns the hash of leaves as that of their two parts (RFC 9162, section 2.1.1).
func (s *shown) computed(l leaves) (h Hash, ok bool) {
	if l.count < 2 {
		return h, false
	}
	k := split(l.count)
	left, ok := s.at(leaves{l.first, k})
	if !ok {
		return h, false
	}
	right, ok := s.at(leaves{l.first + k, l.count - k})
	return NodeHash(left, right), ok
}

// at returns the hash of leaves as it is shown, or follows. Of any that do not begin where something shown begins none does.
func (s *shown) at(l leaves) (h Hash, ok bool) {
	if h, ok := s.hash[l]; ok || !s.starts[l.first] {
		return h, ok
	}
	if known, ok := s.known[l]; ok {
		if known == nil {
			return h, false
		}
		return *known, true
	}
	s.known[l] = nil
	if h, ok = s.computed(l); ok {
		s.known[l] = &h
	}
	return h, ok
}
