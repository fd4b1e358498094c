package headersync

import (
	"edgechain.example/lightchain"
)

// Accuse returns the evidence that the chain was forked, if a and b are two signed histories of it, and nil if they
// are not: whoever is accused must have signed both.
//
// keys are the headers that set the key in our history, genesis first; each side may come with such headers of its own,
// or with some of ours. Which of ours both share is not known, so each possibility is tried, the most shared first:
// there are few keys in a chain's life.
func Accuse(chain lightchain.ChainID, keys []*lightchain.SignedHeader, a, b lightchain.Side) *lightchain.Fork {
	if a.Leaf == b.Leaf {
		return nil
	}
	for shared := len(keys); shared > 0; shared-- {
		f := lightchain.NewFork(keys[:shared], Beside(keys[:shared], a), Beside(keys[:shared], b))
		if f.Check(chain) == nil {
			return f
		}
	}
	return nil
}

// Beside returns the side without those headers that stand among the keys.
func Beside(keys []*lightchain.SignedHeader, side lightchain.Side) lightchain.Side {
	if len(side.Keys) == 0 {
		return side
	}
	known := make(map[lightchain.Hash]bool)
	for _, k := range keys {
		known[k.Hash()] = true
	}
	var own []*lightchain.SignedHeader
	for _, k := range side.Keys {
		if !known[k.Hash()] {
			own = append(own, k)
		}
	}
	side.Keys = own
	return side
}

// Vouched reports whether a key of the chain signed the side's head, and the head shows the side's leaf. keys are those
// that are known, genesis first; those that the side brings continue one of them.
func Vouched(keys []*lightchain.SignedHeader, side lightchain.Side) bool {
	if side.Path != nil {
		root, err := side.Path.Root(side.Leaf)
		if err != nil || side.Path.Size != side.Head.Header.Height || root != side.Head.Header.History {
			return false
		}
	}
	for i := len(keys); i > 0; i-- {
		key := *keys[i-1].Header.NextKey
		for _, k := range Beside(keys[:i], side).Keys {
			if k.ChainID() == side.Head.ChainID() && k.Header.NextKey != nil && k.Check(key) == nil {
				key = *k.Header.NextKey
			}
		}
		if side.Head.Check(key) == nil {
			return true
		}
	}
	return false
}

// Placed returns the height at which a side places its leaf.
func Placed(side *lightchain.Side) uint64 {
	if side.Path != nil {
		return side.Path.Index
	}
	return side.Head.Header.Height
}

// HeadSide is the side of a fork that shows a signed header itself.
func HeadSide(s *lightchain.SignedHeader, keys ...*lightchain.SignedHeader) lightchain.Side {
	return lightchain.Side{Keys: keys, Head: s, Leaf: s.Hash()}
}

// Below returns those headers that stand below the height.
func Below(headers []*lightchain.SignedHeader, height uint64) []*lightchain.SignedHeader {
	n := len(headers)
	for n > 0 && headers[n-1].Header.Height >= height {
		n--
	}
	return headers[:n:n]
}
