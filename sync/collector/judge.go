package collector

import (
	"errors"
	"fmt"
	"slices"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// Verdict is what a page or a head turned out to be.
type Verdict string

// The verdicts.
const (
	Extended  Verdict = "extended"  // it continues what is known, which moved
	Known     Verdict = "known"     // it says nothing new
	Lagging   Verdict = "behind"    // it shows a head below the one known: the gateway's own as of now, if it is an answer
	Split     Verdict = "fork"      // it is another signed history: the evidence is in the state
	Overtaken Verdict = "overtaken" // it begins below what is known by now, and ends above: it was asked for before that
	Lacking   Verdict = "unavailable"
	Invalid   Verdict = "invalid" // it cannot be: the error says why
)

var errNotAsked = errors.New("a page that answers something else")

// Own shows what stands at a height in the history that an aggregator knows, below its newest head: nil if that is the
// header with the hash given. held is false where the header is not held.
type Own func(height uint64, unless lightchain.Hash) (side *lightchain.Side, held bool, err error)

// Judge decides what a page changes in the state of its chain, which it changes accordingly, and puts the headers
// that are to be held. every says that each header is wanted, not only heads. The page may come from anybody: it
// changes nothing that the chain's keys did not sign. If the verdict is neither [Extended] nor [Split] the state is
// as it was, but perhaps for a suspect; put may have been called even so, and what it was given counts only if the
// verdict is [Extended].
func Judge(s *State, p *headersync.Pulled, every bool, own Own, put func(Held) error) (Verdict, error) {
	if s.Fork != nil {
		return Split, nil
	}
	next := *s
	verdict, err := next.take(p, every, own, put)
	if err != nil {
		return Invalid, err
	}
	switch verdict {
	case Extended, Split:
		*s = next
	case Lagging:
		s.Suspect = next.Suspect
	}
	return verdict, nil
}

func (s *State) take(p *headersync.Pulled, every bool, own Own, put func(Held) error) (Verdict, error) {
	verdict := Known
	if s.Head == nil {
		if p.Genesis == nil {
			return Invalid, errNotAsked
		}
		if err := s.begin(p.Genesis); err != nil {
			return Invalid, err
		}
		verdict = Extended
	} else if p.Genesis != nil {
		return Known, nil // a copy of the first page
	}
	if every && s.Every == nil {
		genesis := s.Keys[0]
		s.Every = &Mark{Head: genesis}
		if err := put(Held{0, genesis.Bytes(), &genesis.HeaderSignature}); err != nil {
			return Invalid, err
		}
	}
	switch {
	case p.Unavailable:
		return Lacking, nil
	case p.Other != nil:
		return s.compare(p.OtherSide(), own)
	case p.Run != nil:
		return s.takeRun(p.Run, every, own, put)
	case p.Consistency != nil:
		return s.takeLeap(p.Consistency)
	}
	return verdict, nil
}

// begin takes the chain's genesis.
func (s *State) begin(genesis *lightchain.SignedHeader) error {
	if genesis.Header.Genesis == nil || genesis.ChainID() != s.Chain || len(genesis.Receipts) > 0 {
		return fmt.Errorf("not the genesis of chain %s", s.Chain)
	}
	if _, err := lightchain.Begin(genesis); err != nil {
		return err
	}
	s.Keys, s.Head = []*lightchain.SignedHeader{genesis}, &Mark{Head: genesis}
	return nil
}

// takeRun follows a run, from the newest head or, where the headers below that are still being fetched, from the last
// one held.
func (s *State) takeRun(r *lightchain.Run, every bool, own Own, put func(Held) error) (Verdict, error) {
	backlog := every && s.Every.Height() < s.Head.Height()
	from := s.Head
	if backlog {
		from = s.Every
	}
	switch {
	case r.Last() <= from.Height():
		return Known, nil // a copy of an earlier page
	case r.First <= from.Height():
		return Overtaken, nil
	case r.First != from.Height()+1:
		return Invalid, errNotAsked
	case backlog && r.Last() > s.Head.Height():
		return Invalid, errNotAsked
	}
	tip, err := s.tip(from)
	if err != nil {
		return Invalid, err
	}
	to := new(Mark)
	var keys []*lightchain.SignedHeader
	to.Head, err = tip.Follow(r, func(d lightchain.Derived) error {
		if d.Header.Height == r.Last() {
			to.Edge = d.Before.History.Edge()
		}
		if d.Header.NextKey != nil {
			k, err := lightchain.NewSignedHeader(*d.Header, *d.Signature)
			if err != nil {
				return err
			}
			keys = append(keys, k)
		}
		if !every {
			return nil
		}
		return put(Held{d.Header.Height, append([]byte(nil), d.Bytes...), d.Signature})
	})
	if err != nil {
		return Invalid, err
	}
	if !backlog {
		if err := s.comeBack(keys); err != nil {
			return Invalid, err
		}
		s.Keys = append(s.Keys[:len(s.Keys):len(s.Keys)], keys...)
		s.Head, s.Receipt = to, nil
		if every {
			s.Every = to
		}
		return Extended, nil
	}
	// Below the head that is known another history may be on offer. It shows at that head; or before it, where its key
	// changes elsewhere. Without that, its headers would not be evidence later: the keys that are kept are the head's.
	if to.Height() == s.Head.Height() && to.Head.Hash() != s.Head.Head.Hash() || !slices.EqualFunc(keys, s.keysFrom(r.First, r.Last()), sameHeader) {
		return s.compare(headersync.HeadSide(to.Head, keys...), own)
	}
	s.Every = to
	return Extended, nil
}

// comeBack refuses a header that sets a key which one below it has set. Were it followed, a proof that leaves out the changes between
// would look like another history.
//
// SPEC: An aggregator refuses a header that names a key which one below it named
func (s *State) comeBack(changes []*lightchain.SignedHeader) error {
	if len(changes) == 0 {
		return nil
	}
	named := make(map[lightchain.PublicKey]uint64, len(s.Keys)+len(changes))
	for _, h := range s.Keys {
		named[*h.Header.NextKey] = h.Header.Height
	}
	for _, h := range changes {
		if before, again := named[*h.Header.NextKey]; again {
			return fmt.Errorf("header %d sets the key that header %d has set: no key comes back", h.Header.Height, before)
		}
		named[*h.Header.NextKey] = h.Header.Height
	}
	return nil
}

// keysFrom returns the headers known that set the key, from one height to another, both included.
func (s *State) keysFrom(first, last uint64) []*lightchain.SignedHeader {
	return headersync.Below(s.Keys, last+1)[len(headersync.Below(s.Keys, first)):]
}

func sameHeader(a, b *lightchain.SignedHeader) bool { return a.Hash() == b.Hash() }

// takeLeap moves onto a head that the proof shows to continue the one known.
func (s *State) takeLeap(c *lightchain.Consistency) (Verdict, error) {
	height := c.Head.Header.Height
	if height <= s.Head.Height() {
		return Known, nil
	}
	tip, err := s.tip(s.Head)
	if err != nil {
		return Invalid, err
	}
	history := tip.History.Clone()
	if err := tip.Leap(c); err != nil {
		return Invalid, err
	}
	if err := history.Grow(height, c.Nodes); err != nil {
		return Invalid, err
	}
	var keys []*lightchain.SignedHeader
	for _, k := range c.Keys {
		keys = append(keys, k.Header)
	}
	if c.Head.Header.NextKey != nil {
		keys = append(keys, c.Head)
	}
	if err := s.comeBack(keys); err != nil {
		return Invalid, err
	}
	s.Keys = append(s.Keys[:len(s.Keys):len(s.Keys)], keys...)
	s.Head, s.Receipt = &Mark{c.Head, history.Edge()}, nil
	return Extended, nil
}

// compare sets a header that somebody showed against the history that is known. Where that says nothing of the header's
// height, since only heads are held there, the header is a suspect: whoever has that history is asked for its own, and a
// second one of the same height is evidence.
func (s *State) compare(other lightchain.Side, own Own) (Verdict, error) {
	height := headersync.Placed(&other)
	var side *lightchain.Side
	switch {
	case other.Head.ChainID() != s.Chain:
		return Invalid, errors.New("a head of another chain")
	case height > s.Head.Height():
		return Known, nil
	case height == s.Head.Height():
		if other.Leaf == s.Head.Head.Hash() {
			return Known, nil
		}
		// To find out what two histories share takes each key against each other, so a stranger must not have it found out.
		if !headersync.Vouched(s.Keys, other) {
			return Invalid, errUnsigned
		}
		at := headersync.HeadSide(s.Head.Head)
		side = &at
	// To look into the history costs more the longer that is, so a stranger must not have it looked into.
	case !headersync.Vouched(s.Keys, other):
		return Invalid, errUnsigned
	case own != nil:
		known, held, err := own(height, other.Leaf)
		if err != nil || held && known == nil {
			return Lagging, err
		}
		side = known
	}
	suspect := s.Suspect
	if side == nil && suspect != nil && headersync.Placed(suspect) == height && suspect.Leaf != other.Leaf {
		side = suspect
	}
	if side == nil {
		if suspect == nil || suspect.Leaf != other.Leaf {
			s.Suspect = &other
		}
		return Lagging, nil
	}
	if side != suspect {
		side.Keys = headersync.Below(s.Keys, side.Head.Header.Height)
	}
	f := headersync.Accuse(s.Chain, s.Keys, *side, other)
	if f == nil {
		return Invalid, errUnsigned
	}
	s.Fork, s.Suspect = f, nil
	return Split, nil
}

var errUnsigned = errors.New("a head that no key of the chain signed")
