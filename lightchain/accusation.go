package lightchain

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// What evidence of a fork says, and how it comes out of proofs that were given to different people.

// MediaTypeFork is the media type of evidence of a fork; its files are named *.edgefork.
const MediaTypeFork = "application/vnd.edgechain.fork+cbor"

// CheckFork is the check of evidence that its two sides are signed histories of the chain, and differ.
const CheckFork Check = "fork"

// IsFork tells evidence of a fork from a proof and from a bundle by its first byte: it is a map of three.
func IsFork(b []byte) bool { return len(b) > 0 && b[0] == majorMap|3 }

// ForkReport is what evidence that verifies has shown: the holder of the chain's keys signed two histories.
type ForkReport struct {
	Chain  ChainID
	Name   string // the gateway's name in genesis, "" if it has none
	Height uint64 // at which the two sides differ, or the lower of two that cannot stand together; they may differ below already
	Sides  [2]SideReport

	// Conflict says why the sides' heads, which stand at different heights, cannot be of one history; nil where the sides
	// place different headers at one height.
	Conflict error

	// Both are the trusted aggregators whose receipts stand on both sides. Each broke its word that every head it
	// countersigns extends all that it countersigned before: it lied, or was set back.
	Both []string
}

// SideReport is what one side of a fork shows.
type SideReport struct {
	Height      uint64    // at which the side places its header
	Hash        Hash      // of that header
	Head        Header    // a signed header whose history has it there, or that header itself
	HeadHash    Hash      // of Head
	Key         PublicKey // signed Head
	ReceiptedBy []ReceiptedBy
}

// VerifyFork checks encoded evidence for somebody who trusts t. The error is a [*CheckError].
func VerifyFork(b []byte, t *Trust) (*ForkReport, error) {
	f, err := DecodeFork(b)
	if err != nil {
		return nil, &CheckError{CheckDecoding, err}
	}
	return f.Verify(t)
}

// Verify checks decoded evidence; see [VerifyFork]. The checks are those of a proof, but for one: chain, fork, receipts.
func (f *Fork) Verify(t *Trust) (*ForkReport, error) {
	if len(f.Keys) == 0 || f.Keys[0].Header.Genesis == nil {
		return nil, &CheckError{CheckChain, errors.New("it does not begin with a genesis")}
	}
	genesis := f.Keys[0]
	r := &ForkReport{Chain: genesis.ChainID(), Height: f.Height()}
	if !slices.Contains(t.Chains, r.Chain) {
		return nil, &CheckError{CheckChain, fmt.Errorf("chain %s is not among those trusted", r.Chain)}
	}
	if name := genesis.Header.Genesis.Name; name != nil {
		r.Name = *name
	}
	if err := f.Check(r.Chain); err != nil {
		return nil, &CheckError{CheckFork, err}
	}
	r.Conflict = f.Conflict()
	if err := checkReceipts(f.Keys, t); err != nil {
		return nil, &CheckError{CheckReceipts, err}
	}
	for i := range f.Sides {
		var err error
		if r.Sides[i], err = f.Sides[i].report(f.Keys, t); err != nil {
			return nil, &CheckError{CheckReceipts, err}
		}
	}
	r.Both = countersignedBoth(r)
	return r, nil
}

func countersignedBoth(r *ForkReport) (both []string) {
	for _, a := range r.Sides[0].ReceiptedBy {
		if slices.ContainsFunc(r.Sides[1].ReceiptedBy, func(b ReceiptedBy) bool { return a.Name == b.Name }) {
			both = append(both, a.Name)
		}
	}
	slices.Sort(both)
	return both
}

// report says what a side shows that was checked but for its receipts. shared are the keys of both sides.
func (s *Side) report(shared []*SignedHeader, t *Trust) (SideReport, error) {
	r := SideReport{Height: s.Height(), Hash: s.Leaf, Head: s.Head.Header, HeadHash: s.Head.Hash()}
	for _, k := range slices.Concat(shared, s.Keys) {
		if k.Header.Height < s.Head.Header.Height || k.Header.Genesis != nil {
			r.Key = *k.Header.NextKey
		}
	}
	if err := checkReceipts(append(s.Keys[:len(s.Keys):len(s.Keys)], s.Head), t); err != nil {
		return r, err
	}
	by := earliest{}
	for i := range s.Head.Receipts {
		if receipt := &s.Head.Receipts[i]; t.trusts(receipt) {
			by.add(ReceiptedBy{receipt.Name, s.Head.Header.Height, receipt.Time})
		}
	}
	r.ReceiptedBy = by.sorted()
	return r, nil
}

// checkReceipts checks every receipt of a trusted aggregator on the headers, wherever in the evidence they stand.
//
// SPEC: as in a proof: one that is listed and does not check fails, on whichever header it stands
func checkReceipts(headers []*SignedHeader, t *Trust) error {
	for _, h := range headers {
		for i := range h.Receipts {
			if key, trusted := t.key(&h.Receipts[i]); trusted {
				if err := h.CheckReceipt(&h.Receipts[i], key); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Sides returns what a proof says of its chain's history: each of its signed headers at its own height, and the block's
// header as the later ones place it. Unlike in a [Fork], each has all the headers that set the key, genesis first.
func (p *Proof) Sides() []Side {
	var sides []Side
	add := func(head *SignedHeader, leaf Hash, path *Path) {
		sides = append(sides, Side{Keys: keysBelow(p.Keys, head), Head: head, Leaf: leaf, Path: path})
	}
	add(p.Header, p.Header.Hash(), nil)
	for i := range p.Later {
		l := &p.Later[i]
		add(l.Header, p.Header.Hash(), &l.Path)
		add(l.Header, l.Header.Hash(), nil)
	}
	for _, h := range slices.Concat(p.Beacon, p.Keys[1:]) {
		add(h, h.Hash(), nil)
	}
	return sides
}

// Sides returns what the bundle says of its chain's history, as [Proof.Sides] does; of the blocks before the last one
// nothing, for which there is [BundleVerifier.Blocks]. Call it when [BundleVerifier.Report] has returned without an error.
func (v *BundleVerifier) Sides() []Side { return v.proof.Sides() }

// keysBelow returns those of a proof's headers that set the key under which head is signed.
func keysBelow(keys []*SignedHeader, head *SignedHeader) []*SignedHeader {
	n := 1 // genesis signs itself
	for n < len(keys) && keys[n].Header.Height < head.Header.Height {
		n++
	}
	return keys[:n:n]
}

// Contradiction returns evidence that what two files say of one chain, each of which verifies by itself, cannot both be
// of one history; nil if nothing that they say shows it. Where there is a choice the evidence is that which accuses the
// most aggregators that t trusts, then that which shows two headers at one height, and then the lowest.
func Contradiction(a, b []Side, t *Trust) *Fork {
	return contradiction(a, b, t, (*SignedHeader).Check)
}

func contradiction(a, b []Side, t *Trust, check signedUnder) *Fork {
	if len(a) == 0 || len(b) == 0 || a[0].Keys[0].Hash() != b[0].Keys[0].Hash() {
		return nil // of two chains
	}
	type pair struct {
		a, b *Side
		both int // trusted aggregators with a receipt on each
	}
	apart := func(p pair) int { return count(p.a.Height() != p.b.Height()) }
	var pairs []pair
	for i := range b {
		for j := range a {
			if a[j].contradicts(&b[i]) {
				pairs = append(pairs, pair{&a[j], &b[i], inCommon(a[j].Head, b[i].Head, t)})
			}
		}
	}
	slices.SortStableFunc(pairs, func(p, q pair) int {
		return cmp.Or(cmp.Compare(q.both, p.both), cmp.Compare(apart(p), apart(q)), cmp.Compare(p.a.Height(), q.a.Height()))
	})
	signed := signedSides(check)
	for _, p := range pairs {
		if !signed(p.a) || !signed(p.b) {
			continue // of a file that does not verify
		}
		if f := newForkOf(*p.a, *p.b); f.Check(ChainID(a[0].Keys[0].Hash())) == nil {
			return f
		}
	}
	return nil
}

// signedSides returns what tells whether a side, which has all its keys, checks by itself. A file that does not verify may show
// a thousand keys, and as many pairs of headers for each head that nobody signed: no signature is checked twice for them.
func signedSides(check signedUnder) func(*Side) bool {
	type signature struct {
		header *SignedHeader
		key    PublicKey
	}
	known, sides := map[signature]error{}, map[*Side]bool{}
	once := func(h *SignedHeader, key PublicKey) error {
		at := signature{h, key}
		if _, there := known[at]; !there {
			known[at] = check(h, key)
		}
		return known[at]
	}
	return func(s *Side) bool {
		if _, there := sides[s]; !there {
			genesis := s.Keys[0]
			sides[s] = genesis.Header.Genesis != nil && s.check(genesis.ChainID(), *genesis.Header.NextKey, 0, once) == nil
		}
		return sides[s]
	}
}

// contradicts reports whether two sides, each with all its keys, cannot be of one history.
func (s *Side) contradicts(other *Side) bool {
	if s.Height() == other.Height() {
		return s.Leaf != other.Leaf
	}
	if s.Path != nil || other.Path != nil {
		return false
	}
	keys := s.Keys
	if other.Height() > s.Height() {
		keys = other.Keys
	}
	return conflict(s.Head.seen(), other.Head.seen(), keys) != nil
}

// inCommon counts the trusted aggregators with a receipt on each of two headers.
func inCommon(a, b *SignedHeader, t *Trust) (n int) {
	names := map[string]bool{}
	for i := range a.Receipts {
		if _, trusted := t.key(&a.Receipts[i]); trusted {
			names[a.Receipts[i].Name] = true
		}
	}
	for i := range b.Receipts {
		if _, trusted := t.key(&b.Receipts[i]); trusted && names[b.Receipts[i].Name] {
			n++
			delete(names, b.Receipts[i].Name)
		}
	}
	return n
}

// newForkOf makes evidence of two sides that have all their keys each.
func newForkOf(a, b Side) *Fork {
	shared := 0
	for shared < min(len(a.Keys), len(b.Keys)) && a.Keys[shared].Hash() == b.Keys[shared].Hash() {
		shared++
	}
	keys := a.Keys[:shared]
	a.Keys, b.Keys = a.Keys[shared:], b.Keys[shared:]
	return NewFork(keys, a, b)
}

// Reversal is two receipts of one aggregator of which one at least is false: the one on the higher header says an
// earlier time.
//
// SPEC: none issues, for one chain, a time below its last.
type Reversal struct {
	Lower  ReceiptedBy `json:"lower"`
	Higher ReceiptedBy `json:"higher"`
}

// Reversals looks for such receipts among those of one chain, which have been checked; of each aggregator it returns the
// lowest.
func Reversals(receipts []ReceiptedBy) (found []Reversal) {
	ordered := slices.Clone(receipts)
	slices.SortFunc(ordered, func(a, b ReceiptedBy) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Height, b.Height), cmp.Compare(a.Time, b.Time))
	})
	var latest ReceiptedBy // of this aggregator's below
	done := ""
	for i, r := range ordered {
		if i == 0 || r.Name != ordered[i-1].Name {
			latest = r
		}
		if r.Time < latest.Time && r.Height > latest.Height && r.Name != done {
			found, done = append(found, Reversal{latest, r}), r.Name
		}
		if r.Time > latest.Time {
			latest = r
		}
	}
	return found
}
