package headersync

import (
	"edgechain/lightchain"
)

// accuse returns the evidence that the chain was forked, if own and other are two signed histories of it, and nil if
// they are not: whoever is accused must have signed both.
//
// keys are the headers that set the key in our history, genesis first, as far as they are below own's head; other
// may come with headers of its own that set the key. Which of ours the two sides share is not known, so each
// possibility is tried, the most shared first: there are few keys in a chain's life.
func accuse(chain lightchain.ChainID, keys []*lightchain.SignedHeader, own, other lightchain.Side) *lightchain.Fork {
	if own.Leaf == other.Leaf {
		return nil
	}
	known := make(map[lightchain.Hash]bool)
	for _, k := range keys {
		known[k.Hash()] = true
	}
	var theirs []*lightchain.SignedHeader
	for _, k := range other.Keys {
		if !known[k.Hash()] {
			theirs = append(theirs, k)
		}
	}
	other.Keys = theirs
	for shared := len(keys); shared > 0; shared-- {
		own.Keys = keys[shared:]
		if f := lightchain.NewFork(keys[:shared], own, other); f.Check(chain) == nil {
			return f
		}
	}
	return nil
}

// headSide is the side of a fork that shows a signed header itself.
func headSide(s *lightchain.SignedHeader, keys ...*lightchain.SignedHeader) lightchain.Side {
	return lightchain.Side{Keys: keys, Head: s, Leaf: s.Hash()}
}

// below returns those headers that stand below the height.
func below(headers []*lightchain.SignedHeader, height uint64) []*lightchain.SignedHeader {
	n := len(headers)
	for n > 0 && headers[n-1].Header.Height >= height {
		n--
	}
	return headers[:n:n]
}
