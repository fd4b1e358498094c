package collector

import (
	headersync "edgechain.example/sync"
)

// Policy says how one gateway is followed.
type Policy struct {
	Mode        headersync.Mode
	BytesPerDay uint64 // on the wire, both ways, UTC days; 0 is no limit
	Page        uint64 // bytes of a page; 0 is [headersync.DefaultPage]
	// LeapOver is from how many missing headers on the newest head is fetched first, with a proof, so that it is
	// countersigned at once, and the headers below it after that; 0 is 2,000. Only for [headersync.EveryHeader].
	LeapOver uint64
	// Introduce asks for the genesis header alone, and has nothing countersigned: a gateway that waits for approval
	// says its name. What it sends is told as a [Stranger]'s too.
	Introduce bool
}

const (
	leapOver = 2000
)

// next returns what to ask the gateway for, of which a head at the height announced was heard: the newest head first,
// the backlog behind it. ok is false if nothing is missing.
func (s *State) next(p Policy, announced uint64) (pull headersync.Pull, ok bool) {
	if p.LeapOver == 0 {
		p.LeapOver = leapOver
	}
	every := p.Mode == headersync.EveryHeader
	pull = headersync.Pull{Chain: s.Chain, Want: p.Mode, Last: headersync.NoCeiling}
	if s.Fork != nil || p.Introduce && s.Head != nil {
		return pull, false
	}
	if p.Introduce {
		pull.Want, pull.Last = headersync.EveryHeader, 0
		return pull, true
	}
	if s.Head == nil {
		if every && announced > p.LeapOver {
			pull.Want = headersync.Sparse
		}
		return pull, true
	}
	from := s.Head
	held := s.Head.Height()
	if every {
		held = 0
		if s.Every != nil {
			held = s.Every.Height()
		}
	}
	switch {
	case announced > s.Head.Height():
		if held < s.Head.Height() || announced-s.Head.Height() > p.LeapOver {
			pull.Want = headersync.Sparse
		}
	case held < s.Head.Height():
		if from = s.Every; from == nil {
			from = &Mark{Head: s.Keys[0]}
		}
		pull.Last = s.Head.Height()
	default:
		return pull, false
	}
	pull.First, pull.Below = from.Height()+1, from.Head.Hash()
	return pull, true
}
