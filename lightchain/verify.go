package lightchain

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Check names one of the steps of verifying a proof, a bundle or evidence of a fork. It is an error by itself, so that
//
//	errors.Is(err, lightchain.CheckEntry)
//
// says whether that one was the first to fail.
type Check string

func (c Check) Error() string { return string(c) }

// The checks, in the order in which they are made; the first that fails is named.
const (
	CheckDecoding  Check = "decoding"
	CheckChain     Check = "chain"
	CheckKeys      Check = "keys"
	CheckSignature Check = "signature"
	CheckEntry     Check = "entry"
	CheckBlock     Check = "block"
	CheckReceipts  Check = "receipts"
	CheckBeacon    Check = "beacon"
)

// CheckError says which check failed first, and why. All that [Verify], [VerifyFork] and a [BundleVerifier] refuse is one; it
// matches its [Check], and what is wrong in particular, such as [ErrWeakKey].
type CheckError struct {
	Check Check
	Err   error
}

func (e *CheckError) Error() string { return fmt.Sprintf("%s: %v", e.Check, e.Err) }

func (e *CheckError) Unwrap() error { return e.Err }

// Is reports whether target is the check that failed.
func (e *CheckError) Is(target error) bool {
	c, ok := target.(Check)
	return ok && c == e.Check
}

// Report is what a proof that verifies has shown.
type Report struct {
	Chain  ChainID
	Name   string // the gateway's name in genesis, "" if it has none
	Before *Hash  // of the last known header of the chain that this one continues; nil: of none
	Number uint64 // of the entry, through the whole life of the chain
	Entry  Entry
	Header Header // the block's

	ReceiptedBy []ReceiptedBy // trusted aggregators, each once, with its earliest word, earliest first
	Quorum      uint64        // how many of them a bound below needed to agree: at least 1
	NotBefore   *uint64       // the block was closed at this second or later; nil: no such bound
	NotAfter    *uint64       // the block was closed at this second or earlier; nil: no such bound

	// A bound is false only if all those lie on whose receipts it rests: as many as Quorum, where there is the bound.
	NotBeforeBy, NotAfterBy []ReceiptedBy

	Receipts  []ReceiptedBy // every receipt of a trusted aggregator in the proof, the beacon's among them
	Outside   []Outside     // not checked
	Silences  []Silence     // promises of the chain that were not kept, by its receipts
	Reversals []Reversal    // aggregators that contradict themselves in these, which fails nothing as long as the quorum holds
	Note      *NoteReport   // nil: the entry is no person's. One that stands bad fails no check, and must be told; see [NoteReport]
}

// ReceiptedBy is one trusted aggregator's earliest word on an entry's block.
type ReceiptedBy struct {
	Name   string `json:"name"`
	Height uint64 `json:"height"` // of the header that the receipt is on
	Time   uint64 `json:"time"`   // whole seconds since the Unix epoch, as the receipt says
}

// Verify checks an encoded proof, or one in PEM, for somebody who trusts t. The error is a [*CheckError].
func Verify(b []byte, t *Trust) (*Report, error) {
	der, err := DecodeText(b)
	if err != nil {
		return nil, &CheckError{CheckDecoding, err}
	}
	p, err := DecodeProof(der)
	if err != nil {
		return nil, &CheckError{CheckDecoding, err}
	}
	return p.Verify(t)
}

// Verify checks a decoded proof; see [Verify].
func (p *Proof) Verify(t *Trust) (*Report, error) {
	report := &Report{Header: p.Header.Header, Quorum: max(1, t.Quorum), Outside: p.Outside}
	// SPEC: It checks in this order and names the first that fails.
	for _, step := range [...]struct {
		name  Check
		check func(*Trust, *Report) error
	}{
		{CheckDecoding, p.verifyDecoding},
		{CheckChain, p.verifyChain},
		{CheckKeys, p.verifyKeys},
		{CheckSignature, p.verifySignatures},
		{CheckEntry, p.verifyEntry},
		{CheckBlock, p.verifyBlock},
		{CheckReceipts, p.verifyReceipts},
		{CheckBeacon, p.verifyBeacon},
	} {
		if err := step.check(t, report); err != nil {
			return nil, &CheckError{step.name, err}
		}
	}
	if IsNote(report.Entry.Source) {
		report.Note = JudgeNote(&report.Entry, report.Chain, t)
		report.Note.bind(p.Header.Header.Height, p.at)
	}
	return report, nil
}

// at returns what the headers in sight tell of a height.
func (p *Proof) at(height uint64) (placed, bool) {
	for _, h := range append(p.signed(), p.Keys...) {
		if found, ok := h.seen().at(height); ok {
			return found, true
		}
	}
	return placed{}, false
}

func (p *Proof) verifyDecoding(_ *Trust, r *Report) (err error) {
	if err := p.check(); err != nil {
		return err
	}
	r.Entry, err = DecodeEntry(p.Entry)
	return err
}

// signed returns every header of the proof whose signature is checked under the key in force at its height.
func (p *Proof) signed() []*SignedHeader {
	headers := []*SignedHeader{p.Header}
	for _, l := range p.Later {
		headers = append(headers, l.Header)
	}
	return append(headers, p.Beacon...)
}

// SPEC: the first header of field 5 is a genesis and its hash a trusted chain; key 2 of every other header is that hash
func (p *Proof) verifyChain(t *Trust, r *Report) error {
	genesis := p.Keys[0]
	if genesis.Header.Genesis == nil {
		return fmt.Errorf("the first header that sets the key is not a genesis but header %d", genesis.Header.Height)
	}
	r.Chain = genesis.ChainID()
	if !slices.Contains(t.Chains, r.Chain) {
		return fmt.Errorf("chain %s is not among those trusted", r.Chain)
	}
	if name := genesis.Header.Genesis.Name; name != nil {
		r.Name = *name
	}
	r.Before = genesis.Header.Genesis.Continues
	for _, h := range append(p.signed(), p.Keys...) {
		if h.ChainID() != r.Chain {
			return fmt.Errorf("header %d belongs to chain %s", h.Header.Height, h.ChainID())
		}
	}
	return nil
}

// SPEC: field 5's order: each with key 12, heights ascending, all below the highest header, none names a key that a
// header before it in field 5 names; each signature under the key before, genesis under its own; a header in sight with
// key 12, below the highest, is one of field 5, and none but genesis names a key that a header of field 5 below it names
func (p *Proof) verifyKeys(*Trust, *Report) error {
	highest := p.Header.Header.Height
	for _, h := range p.signed() {
		highest = max(highest, h.Header.Height)
	}
	// The order of all is checked before any is used: keyAt looks at each.
	named := map[PublicKey]uint64{} // at which height
	for i, h := range p.Keys {
		// SPEC: genesis first, heights strictly ascending, each with key 12, all below the highest header of the proof
		switch {
		case h.Header.NextKey == nil:
			return fmt.Errorf("header %d sets no key", h.Header.Height)
		case i > 0 && h.Header.Height <= p.Keys[i-1].Header.Height:
			return errors.New("the headers that set the key are not in strictly ascending order of height")
		case h.Header.Height >= highest:
			return fmt.Errorf("header %d sets a key that no header of the proof can be signed with", h.Header.Height)
		}
		if before, again := named[*h.Header.NextKey]; again {
			return fmt.Errorf("header %d sets the key that header %d has set: no key comes back", h.Header.Height, before)
		}
		named[*h.Header.NextKey] = h.Header.Height
	}
	for _, h := range p.Keys {
		if err := h.Check(p.keyAt(h.Header.Height)); err != nil {
			return err
		}
	}
	for _, h := range p.signed() {
		next := h.Header.NextKey
		if next == nil {
			continue
		}
		if h.Header.Height < highest && !sets(p.Keys, h.seen()) {
			return fmt.Errorf("header %d sets a key and is not among the headers that do", h.Header.Height)
		}
		if before, again := named[*next]; again && before < h.Header.Height {
			return fmt.Errorf("header %d sets the key that header %d has set: no key comes back", h.Header.Height, before)
		}
	}
	return nil
}

// keyAt returns the key under which the header at height is signed: that of the newest header below it that sets
// one; for genesis its own.
func (p *Proof) keyAt(height uint64) PublicKey {
	key := *p.Keys[0].Header.NextKey
	for _, h := range p.Keys[1:] {
		if h.Header.Height < height {
			key = *h.Header.NextKey
		}
	}
	return key
}

// SPEC: block's header, those of fields 6 and 7, each under the key in force at its height
func (p *Proof) verifySignatures(*Trust, *Report) error {
	for _, h := range p.signed() {
		if err := h.Check(p.keyAt(h.Header.Height)); err != nil {
			return err
		}
	}
	return nil
}

// SPEC: field 3: its size is key 8 of the block's header, and it leads from the entry's leaf hash to key 6; the entry's
// number is key 7 plus the index, and 7 + 8 does not exceed 2^63−1
func (p *Proof) verifyEntry(_ *Trust, r *Report) error {
	header := &p.Header.Header
	// SPEC: size and index equal the header's own numbers
	if p.EntryPath.Size != header.Count {
		return fmt.Errorf("path in a block of %d entries, the header says %d", p.EntryPath.Size, header.Count)
	}
	if header.Count > math.MaxInt64-header.First {
		return errNumbers
	}
	root, err := p.EntryPath.Root(LeafHash(p.Entry))
	if err != nil {
		return err
	}
	if root != header.Root {
		return errors.New("the entry does not stand in the block")
	}
	r.Number = header.First + p.EntryPath.Index
	return nil
}

// SPEC: paths of field 6: size is the height of the header, index the height of the block's header, and it leads from the
// block's header's hash to key 5; every relation between the headers in sight
func (p *Proof) verifyBlock(*Trust, *Report) error {
	return p.verifyHistory(nil, newShown(new(CompactRange)))
}

// verifyHistory checks the paths, and how the headers in sight stand to each other; more of them may be in sight than
// the proof's own, and more may be shown of their tree.
func (p *Proof) verifyHistory(more []seen, shown *shown) error {
	for _, l := range p.Later {
		later := &l.Header.Header
		if l.Path.Size != later.Height || l.Path.Index != p.Header.Header.Height {
			return fmt.Errorf("path of header %d in the history of header %d is one of header %d in a history of %d",
				p.Header.Header.Height, later.Height, l.Path.Index, l.Path.Size)
		}
		root, err := l.Path.Root(p.Header.Hash())
		if err != nil {
			return err
		}
		if root != later.History {
			return fmt.Errorf("the history of header %d does not contain the block's header", later.Height)
		}
		if err := shown.path(&l.Path); err != nil {
			return err
		}
	}
	for _, h := range p.signed()[:1+len(p.Later)] {
		more = append(more, h.seen())
	}
	for _, h := range p.Beacon {
		// One at or above the block is the beacon's to refuse.
		if h.Header.Height < p.Header.Header.Height {
			more = append(more, h.seen())
		}
	}
	return checkRelations(p.Keys, more, shown)
}

// verifyReceipts checks the receipts of trusted aggregators and draws the bracket from them.
//
// SPEC: A receipt whose (name, kid) is not listed is ignored, but must be well formed; one that is listed and does
// not check fails the proof.
func (p *Proof) verifyReceipts(t *Trust, r *Report) error {
	upper, lower := earliest{}, earliest{}
	for i, h := range p.signed() {
		times := upper
		if i > len(p.Later) { // after the block's header and the later ones: those of the beacon
			times = lower
		}
		for j := range h.Receipts {
			receipt := &h.Receipts[j]
			key, trusted := t.key(receipt)
			if !trusted {
				continue
			}
			if err := h.CheckReceipt(receipt, key); err != nil {
				return err
			}
			one := ReceiptedBy{receipt.Name, h.Header.Height, receipt.Time}
			times.add(one)
			r.Receipts = append(r.Receipts, one)
		}
	}
	r.Reversals = Reversals(r.Receipts)
	r.Silences = silences(p.signed(), r.Receipts)
	r.ReceiptedBy = upper.sorted()
	// SPEC: fewer than quorum upper times: receipts fails
	if n := uint64(len(r.ReceiptedBy)); n < t.Quorum {
		return fmt.Errorf("receipts of %d trusted aggregators, the quorum is %d", n, t.Quorum)
	}
	r.bracket(r.ReceiptedBy, lower.sorted())
	// SPEC: Not before above not after: receipts fails.
	if r.NotBefore != nil && r.NotAfter != nil && *r.NotBefore > *r.NotAfter {
		return fmt.Errorf("the block would have been closed after second %d, on the word of %s, and before second %d, on that of %s: an aggregator's clock or word is wrong",
			*r.NotBefore, names(r.NotBeforeBy), *r.NotAfter, names(r.NotAfterBy))
	}
	return nil
}

// bracket sets the bounds that q aggregators agree on.
//
// SPEC: With q = max(1, quorum), over distinct trusted names: a name's upper time is its earliest receipt on the
// block's header or in field 6, plus one second; not after is the q-th smallest. A name's lower time is that of its
// receipt in field 7, the earliest if there are several; not before is the q-th largest. Fewer than q names: the bound is
// missing
func (r *Report) bracket(upper, lower []ReceiptedBy) {
	if n := uint64(len(upper)); n >= r.Quorum {
		t := upper[r.Quorum-1].Time + 1
		r.NotAfter, r.NotAfterBy = &t, upper[:r.Quorum]
	}
	if n := uint64(len(lower)); n >= r.Quorum {
		t := lower[n-r.Quorum].Time
		r.NotBefore, r.NotBeforeBy = &t, lower[n-r.Quorum:]
	}
}

func names(by []ReceiptedBy) string {
	var all []string
	for _, r := range by {
		all = append(all, r.Name)
	}
	return strings.Join(all, ", ")
}

// SPEC: A beacon (key 11) is the SHA-256 of the encoded array (1 to 8, ascending by bytes) of the newest receipt, by
// height, of each aggregator
func (p *Proof) verifyBeacon(*Trust, *Report) error {
	if len(p.Beacon) == 0 {
		return nil // the bound is missing, and said to be
	}
	receipts := make([]Receipt, len(p.Beacon))
	for i, h := range p.Beacon {
		// SPEC: each of them lies below the block
		if h.Header.Height >= p.Header.Header.Height {
			return fmt.Errorf("a receipt on header %d cannot be older than block %d", h.Header.Height, p.Header.Header.Height)
		}
		receipts[i] = h.Receipts[0]
	}
	beacon, err := Beacon(receipts)
	if err != nil {
		return err
	}
	if named := p.Header.Header.Beacon; named == nil || *named != beacon {
		return errors.New("the receipts are not those that the block's beacon names")
	}
	return nil
}

// key returns the trusted key behind a receipt's name and key id.
func (t *Trust) key(r *Receipt) (PublicKey, bool) {
	for _, a := range t.Aggregators {
		if a.Name == r.Name && a.Key.KeyID() == r.KeyID {
			return a.Key, true
		}
	}
	return PublicKey{}, false
}

func (t *Trust) trusts(r *Receipt) bool {
	_, trusted := t.key(r)
	return trusted
}

// earliest keeps each aggregator's earliest receipt, by name.
type earliest map[string]ReceiptedBy

func (e earliest) add(r ReceiptedBy) {
	if old, ok := e[r.Name]; !ok || r.Time < old.Time {
		e[r.Name] = r
	}
}

// sorted returns the receipts, earliest first, names breaking ties.
func (e earliest) sorted() []ReceiptedBy {
	var all []ReceiptedBy
	for _, r := range e {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b ReceiptedBy) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), strings.Compare(a.Name, b.Name))
	})
	return all
}
