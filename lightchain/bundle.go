package lightchain

import (
	"errors"
	"fmt"
	"maps"
	"math"
)

// A bundle holds all entries of a run of blocks, so that it can show what one entry's proof cannot: that nothing is
// missing between two numbers. It is a CBOR sequence (RFC 8742) of byte strings, each of which holds one item: the
// start, each block's header followed by its entries, the end. It is written and checked item by item, in little
// memory, however long it is. docs/format.md has its CDDL.

// MediaTypeBundle is the media type of a bundle; its files are named *.edgebundle.
const MediaTypeBundle = "application/vnd.edgechain.bundle+cbor-seq"

// The kinds of items.
const (
	itemStart = iota
	itemBlock
	itemEntry
	itemEnd
)

// maxEdge is how many hashes an edge has at the most: a bit each of the largest height.
const maxEdge = 63

// maxItem is more than any item takes: an entry, or the start with all its key headers, which takes less.
const maxItem = MaxEntry + 16

// AppendBundleStart appends the item that begins a bundle: the headers that set the key, genesis first, all below
// the bundle's highest header, and the edge of the tree over the headers below its first block, of [CompactRange.Edge].
func AppendBundleStart(b []byte, keys []*SignedHeader, edge []Hash) ([]byte, error) {
	if len(keys) == 0 || len(keys) > maxKeyHeaders {
		return b, fmt.Errorf("bundle: %d headers that set the key, not 1 to %d", len(keys), maxKeyHeaders)
	}
	if len(edge) > maxEdge {
		return b, fmt.Errorf("bundle: an edge of %d hashes, not 0 to %d", len(edge), maxEdge)
	}
	item := appendArray(append(appendArray(nil, 4), itemStart, Version), len(keys))
	for _, h := range keys {
		if len(h.Receipts) > 0 {
			return b, fmt.Errorf("bundle: receipts on header %d, which is there to set the key", h.Header.Height)
		}
		var err error
		if item, err = appendWrapped(item, h); err != nil {
			return b, fmt.Errorf("bundle: %w", err)
		}
	}
	item = appendArray(item, len(edge))
	for i := range edge {
		item = appendBytes(item, edge[i][:])
	}
	return appendBytes(b, item), nil
}

// AppendBundleBlock appends the item that begins a block: its encoded header. The block's entries follow.
func AppendBundleBlock(b, header []byte) []byte { return appendItem(b, itemBlock, header) }

// AppendBundleEntry appends the item with one encoded entry.
func AppendBundleEntry(b, entry []byte) []byte { return appendItem(b, itemEntry, entry) }

func appendItem(b []byte, kind byte, content []byte) []byte {
	return appendBytes(b, appendBytes(append(appendArray(make([]byte, 0, len(content)+8), 2), kind), content))
}

// AppendBundleEnd appends the item that ends a bundle: the last block's header once more, signed and with receipts if
// it has any, later receipted headers whose history contains it, and evidence from outside.
func AppendBundleEnd(b []byte, last *SignedHeader, later []LaterHeader, outside ...Outside) ([]byte, error) {
	if len(later) > maxLaterHeaders {
		return b, fmt.Errorf("bundle: %d later headers are above the limit of %d", len(later), maxLaterHeaders)
	}
	item, err := appendWrapped(append(appendArray(nil, 3+count(len(outside) > 0)), itemEnd), last)
	if err != nil {
		return b, fmt.Errorf("bundle: %w", err)
	}
	item = appendArray(item, len(later))
	for i := range later {
		if item, err = appendWrapped(appendArray(item, 2), later[i].Header); err != nil {
			return b, fmt.Errorf("bundle: %w", err)
		}
		if item, err = later[i].Path.append(item); err != nil {
			return b, fmt.Errorf("bundle: %w", err)
		}
	}
	if len(outside) > 0 {
		if item, err = appendOutside(item, outside); err != nil {
			return b, fmt.Errorf("bundle: %w", err)
		}
	}
	return appendBytes(b, item), nil
}

// BundleItem says how the next item of a bundle lies in b, of which at least 9 bytes must be there unless the bundle
// is shorter: its content is b[start:end], if b is long enough.
func BundleItem(b []byte) (start, end int, err error) {
	r := reader{b: b}
	size := r.expect(majorBytes)
	if r.err != nil {
		return 0, 0, fmt.Errorf("bundle: not a sequence of byte strings: %w", r.err)
	}
	if size > maxItem {
		return 0, 0, fmt.Errorf("bundle: an item of %d bytes is above the limit of %d", size, maxItem)
	}
	start = len(b) - len(r.b)
	return start, start + int(size), nil
}

// BundleContent returns what an item that a [BundleVerifier] has taken holds: a block's encoded header, an encoded entry, or
// neither.
func BundleContent(item []byte) (header, entry []byte) {
	b, err := content(item)
	switch {
	case err != nil:
	case item[1] == itemBlock:
		header = b
	case item[1] == itemEntry:
		entry = b
	}
	return header, entry
}

// IsBundle tells a bundle from a proof, and from evidence of a fork, by its first byte.
func IsBundle(b []byte) bool { return len(b) > 0 && b[0]&0xe0 == majorBytes }

// BundleReport is what a bundle that verifies has shown: these are all entries from First up to but not including
// Next.
type BundleReport struct {
	Chain       ChainID
	Name        string // the gateway's name in genesis, "" if it has none
	Before      *Hash  // as in a [Report]
	First, Next uint64 // numbers of entries
	From, To    uint64 // heights of the first and the last block
	Sealed      int64  // when the last block was, by the gateway's clock

	ReceiptedBy []ReceiptedBy
	Quorum      uint64
	NotAfter    *uint64 // everything was closed at this second or earlier; nil: no such bound
	NotAfterBy  []ReceiptedBy
	Receipts    []ReceiptedBy // every receipt of a trusted aggregator in the bundle
	Reversals   []Reversal    // as in a [Report]
	Outside     []Outside     // not checked
	Silences    []Silence     // as in a [Report]
	Notes       []BundleNotes // what people said in it, by how it stands and who signed it
}

// BundleNotes are the notes of a bundle that stand alike, signed by the same key; those under keys that are unknown and too
// many are counted together, without a key. One that is contradicted fails no check, and must be told; each is by itself
// then, as long as they are not too many.
type BundleNotes struct {
	NoteReport          // of the first of them
	First, Count uint64 // the first one's number, and how many there are
	Repeats      uint64 // of these, signed notes that stood in the bundle before
}

// maxHeadsBack is how many blocks of a bundle are kept in mind to compare the headers that notes name with.
const maxHeadsBack = 65536

// A bundle of nothing but signed notes would take a hundred times as long as its hash. So of the signatures under keys of
// persons so many are checked, and one more for each so many bytes of items; those that stood in it before are not counted.
const (
	noteChecks        = 512
	bytesForNoteCheck = 64 << 10
)

// maxBundleNotes is from how many kinds of notes on a bundle's report takes no further unknown key, and none that is bad by
// itself. People whom the trust file names are each listed.
const maxBundleNotes = 1024

// BundleVerifier checks a bundle item by item. Its errors are [*CheckError]s; after one it is of no more use.
type BundleVerifier struct {
	trust  *Trust
	keys   []*SignedHeader
	report BundleReport
	notes  map[noteKind]int // of report.Notes, where those of a kind are counted

	begun, ended bool
	edge         []Hash            // what the start says of the tree over all headers
	below        CompactRange      // the tree over the headers below the first block,
	tree         CompactRange      // and below the one that is being read
	first        seen              // header of the first block
	recent       []placed          // the newest blocks that are complete, each at its height, less the first one's, modulo maxHeadsBack
	begins       map[uint64]placed // what the start tells, by height
	signed       map[Hash]bool     // what stood in notes with a good signature, that included
	checked      uint64            // signatures of notes
	size         uint64            // of the items so far
	header       Header            // of the block that is being read
	hash         Hash              // of that header
	block        CompactRange      // over its entries so far
	inside       map[uint64]Hash   // the run's headers that set the key, by height
	blocks       BundleBlocks      // the hashes of the first blocks' headers,
	keep         uint64            // so many at the most
	proof        Proof             // what the end says, in the shape of a proof
}

// NewBundleVerifier returns a verifier for somebody who trusts t.
func NewBundleVerifier(t *Trust) *BundleVerifier {
	return &BundleVerifier{trust: t, notes: map[noteKind]int{}, begins: map[uint64]placed{}, signed: map[Hash]bool{}, inside: map[uint64]Hash{}}
}

// Add takes the content of the next item; see [BundleItem].
func (v *BundleVerifier) Add(item []byte) error {
	v.size += uint64(len(item))
	if len(item) < 2 || item[0]&0xe0 != majorArray {
		return v.fail(CheckDecoding, errors.New("an item that is no array"))
	}
	switch k := item[1]; {
	case v.ended:
		return v.fail(CheckDecoding, errors.New("an item after the end"))
	case k == itemStart && v.keys == nil:
		return v.start(item)
	case k == itemBlock && v.keys != nil:
		return v.addBlock(item)
	case k == itemEntry && v.begun:
		return v.addEntry(item)
	case k == itemEnd && v.begun:
		return v.end(item)
	default:
		return v.fail(CheckDecoding, fmt.Errorf("an item of kind %d out of place", k))
	}
}

func (v *BundleVerifier) fail(c Check, err error) error {
	return &CheckError{c, fmt.Errorf("bundle: %w", err)}
}

func (v *BundleVerifier) start(item []byte) error {
	r := reader{b: item}
	r.tuple(4)
	r.uint() // the kind, which Add has seen
	r.version()
	keys := r.wrappedAll(1, maxKeyHeaders)
	edge := make([]Hash, r.array(0, maxEdge, 1))
	for i := range edge {
		r.fixed(edge[i][:])
	}
	if err := r.end(); err != nil {
		return v.fail(CheckDecoding, err)
	}
	for _, h := range keys {
		if len(h.Receipts) > 0 {
			return v.fail(CheckDecoding, fmt.Errorf("receipts on header %d, which is there to set the key", h.Header.Height))
		}
	}
	v.keys, v.edge = keys, edge
	for _, h := range keys {
		s, height := h.seen(), h.Header.Height
		for _, height := range []uint64{height, height - 1} { // below genesis there is no height, and none that is asked for
			if there, tells := s.at(height); tells {
				v.begins[height] = there
			}
		}
	}
	return nil
}

// content returns what an item of two elements holds.
func content(item []byte) ([]byte, error) {
	r := reader{b: item}
	r.tuple(2)
	r.uint() // the kind, which Add has seen
	b := r.bytes(MaxEntry)
	return b, r.end()
}

// addBlock takes the next header: it must continue the one before, whose entries must all have been there.
func (v *BundleVerifier) addBlock(item []byte) error {
	b, err := content(item)
	if err != nil {
		return v.fail(CheckDecoding, err)
	}
	h, err := DecodeHeader(b)
	if err != nil {
		return v.fail(CheckDecoding, err)
	}
	if h.Genesis == nil && h.Chain != v.keys[0].ChainID() {
		return v.fail(CheckChain, fmt.Errorf("header %d belongs to chain %s", h.Height, h.Chain))
	}
	if v.begun {
		if err := v.closeBlock(); err != nil {
			return err
		}
		v.keepInMind()
		if h.Height != v.header.Height+1 || h.Previous != v.hash || h.First != v.header.First+v.header.Count {
			return v.fail(CheckBlock, fmt.Errorf("header %d does not continue header %d", h.Height, v.header.Height))
		}
	} else {
		v.report.From, v.report.First = h.Height, h.First
	}
	if h.Count > math.MaxInt64-h.First {
		return v.fail(CheckBlock, errNumbers)
	}
	if !v.begun {
		first := h
		v.first = seen{&first, LeafHash(b)}
		// SPEC: in the first block, the edge has as many hashes as its height has bits set
		if v.below, err = NewCompactRange(h.Height, v.edge); err != nil {
			return v.fail(CheckBlock, err)
		}
		v.tree = v.below.Clone()
	} else {
		v.tree.Append(v.hash, nil)
	}
	// SPEC: key 5 is the hash of all headers below, from the edge and the blocks before
	if v.tree.Root() != h.History {
		return v.fail(CheckBlock, fmt.Errorf("header %d commits to another history than the headers below it", h.Height))
	}
	v.begun, v.header, v.hash, v.block = true, h, LeafHash(b), CompactRange{}
	v.blocks.add(v.hash, v.keep)
	if h.NextKey != nil {
		if len(v.inside) == maxKeyHeaders {
			return v.fail(CheckKeys, errors.New("more changes of key than a bundle may have"))
		}
		v.inside[h.Height] = v.hash
	}
	return nil
}

func (v *BundleVerifier) addEntry(item []byte) error {
	b, err := content(item)
	if err != nil {
		return v.fail(CheckDecoding, err)
	}
	entry, err := checkEntry(b)
	if err != nil {
		return v.fail(CheckDecoding, err)
	}
	if v.block.Size() == v.header.Count {
		return v.fail(CheckEntry, fmt.Errorf("block %d has %d entries, and here is one more", v.header.Height, v.header.Count))
	}
	if entry != nil {
		n := judgeNote(entry, v.keys[0].ChainID(), v.trust, v.checkNote)
		n.bind(v.header.Height, v.at)
		v.addNote(n)
	}
	v.block.Append(LeafHash(b), nil)
	return nil
}

// keepInMind notes the header of the block that was read.
func (v *BundleVerifier) keepInMind() {
	at := placed{v.hash, v.header.First + v.header.Count}
	if len(v.recent) < maxHeadsBack {
		v.recent = append(v.recent, at)
		return
	}
	v.recent[(v.header.Height-v.report.From)%maxHeadsBack] = at
}

// at returns what is known of a height below the block that is read: from the blocks before it, the first one's link, and the
// start.
func (v *BundleVerifier) at(height uint64) (placed, bool) {
	if from := v.report.From; height >= from && height < v.header.Height && v.header.Height-height <= maxHeadsBack {
		return v.recent[(height-from)%maxHeadsBack], true
	}
	if found, ok := v.first.at(height); ok {
		return found, true
	}
	found, ok := v.begins[height]
	return found, ok
}

// checkNote checks a signature unless it is known to be good, or too many were checked.
//
// SPEC: of the signatures under keys of persons at most 512 are checked, and one more for each 65,536 bytes
func (v *BundleVerifier) checkNote(said Hash, verify func() bool) (good, checked bool) {
	if v.signed[said] {
		return true, true
	}
	if v.checked >= noteChecks+v.size/bytesForNoteCheck {
		return false, false
	}
	v.checked++
	return verify(), true
}

// repeats returns 1 for a signed note that stood in the bundle before, else 0.
//
// SPEC: the same statement and the same signature
func (v *BundleVerifier) repeats(n *NoteReport) uint64 {
	if n.Standing != NoteSigned {
		return 0
	}
	again := v.signed[n.said]
	v.signed[n.said] = true
	return uint64(count(again))
}

// addNote counts a note with those like it.
func (v *BundleVerifier) addNote(n *NoteReport) {
	full := len(v.report.Notes) >= maxBundleNotes
	like := noteKind{n.Standing, n.Key, n.Binding}
	if n.Contradicted() {
		like = noteKind{standing: NoteBad}
	}
	i, known := v.notes[like]
	switch {
	case n.Contradicted() && !full:
		known = false
	case n.Standing == NoteStranger && !known && full:
		n.Key, like.key = PublicKey{}, PublicKey{}
		i, known = v.notes[like]
	}
	repeats := v.repeats(n)
	if known {
		v.report.Notes[i].Count++
		v.report.Notes[i].Repeats += repeats
		return
	}
	v.notes[like] = len(v.report.Notes)
	n.Note = nil // a bundle may hold millions
	v.report.Notes = append(v.report.Notes, BundleNotes{*n, v.header.First + v.block.Size(), 1, repeats})
}

// noteKind is by what a bundle's notes are counted together.
type noteKind struct {
	standing NoteStanding
	key      PublicKey
	binding  NoteBinding
}

// closeBlock checks that the block's entries are those that its header commits to, all of them.
func (v *BundleVerifier) closeBlock() error {
	if n := v.block.Size(); n != v.header.Count {
		return v.fail(CheckEntry, fmt.Errorf("block %d has %d entries, %d are here", v.header.Height, v.header.Count, n))
	}
	if v.block.Root() != v.header.Root {
		return v.fail(CheckEntry, fmt.Errorf("the entries of block %d are not those that its header commits to", v.header.Height))
	}
	return nil
}

func (v *BundleVerifier) end(item []byte) error {
	r := reader{b: item}
	elements := r.array(3, 4, 1)
	r.uint() // the kind, which Add has seen
	last, later := r.wrapped(), r.laterAll(0)
	if elements == 4 {
		v.report.Outside = r.outside()
	}
	if err := r.end(); err != nil {
		return v.fail(CheckDecoding, err)
	}
	if err := v.closeBlock(); err != nil {
		return err
	}
	if last.Hash() != v.hash {
		return v.fail(CheckBlock, errors.New("the header signed at the end is not that of the last block"))
	}
	v.ended = true
	v.proof = Proof{Header: last, Keys: v.keys, Later: later}
	return nil
}

// Report ends the checking, once all items were added: the keys, the one signature that vouches for the run, and the
// receipts.
func (v *BundleVerifier) Report() (*BundleReport, error) { return v.ReportFor(v.trust) }

// ReportFor is [BundleVerifier.Report] for somebody who trusts t. A bundle is read once, and may be judged by what several
// people ask for. Its notes stay judged by the persons of whom the verifier was made for.
func (v *BundleVerifier) ReportFor(t *Trust) (*BundleReport, error) {
	if !v.ended {
		return nil, v.fail(CheckDecoding, errors.New("it has no end"))
	}
	p, r := &v.proof, &Report{Quorum: max(1, t.Quorum)}
	steps := []struct {
		name  Check
		check func(*Trust, *Report) error
	}{
		{CheckDecoding, func(*Trust, *Report) error { return p.check() }},
		{CheckChain, p.verifyChain},
		{CheckChain, v.verifyFirst},
		{CheckKeys, p.verifyKeys},
		{CheckKeys, v.verifyInside},
		{CheckSignature, p.verifySignatures},
		{CheckBlock, v.verifyRun},
		{CheckReceipts, p.verifyReceipts},
	}
	for _, step := range steps {
		if err := step.check(t, r); err != nil {
			return nil, v.fail(step.name, err)
		}
	}
	report := v.report
	report.Chain, report.Name, report.Before = r.Chain, r.Name, r.Before
	report.Next, report.To, report.Sealed = v.header.First+v.header.Count, v.header.Height, v.header.Sealed
	report.ReceiptedBy, report.Quorum, report.NotAfter, report.NotAfterBy = r.ReceiptedBy, r.Quorum, r.NotAfter, r.NotAfterBy
	report.Receipts, report.Reversals, report.Silences = r.Receipts, r.Reversals, r.Silences
	return &report, nil
}

// verifyRun checks how the headers in sight stand to each other, of which the first block's is one.
//
// SPEC: Of the tree over all headers the hashes of the edge are shown, too
func (v *BundleVerifier) verifyRun(*Trust, *Report) error {
	return v.proof.verifyHistory([]seen{v.first}, newShown(&v.below))
}

// verifyFirst checks that a run which begins with a genesis begins with that of its chain: the other blocks name theirs.
//
// SPEC: A genesis has no key 2: wherever one stands, its own hash is compared.
func (v *BundleVerifier) verifyFirst(_ *Trust, r *Report) error {
	if v.first.header.Genesis != nil && ChainID(v.first.hash) != r.Chain {
		return fmt.Errorf("the first block is the genesis of chain %s", ChainID(v.first.hash))
	}
	return nil
}

// verifyInside checks that the headers of the run that set a key are those that the start holds with their own
// signatures.
//
// SPEC: a key from a header whose own signature was not checked is never used
func (v *BundleVerifier) verifyInside(*Trust, *Report) error {
	inside := maps.Clone(v.inside)
	for _, h := range v.keys {
		// Those above the run are signed, and lead to the later headers.
		if height := h.Header.Height; height >= v.report.From && height <= v.header.Height && inside[height] != h.Hash() {
			return fmt.Errorf("header %d, which sets the key, is another one in the run", height)
		}
		delete(inside, h.Header.Height)
	}
	for height := range inside {
		if height != v.header.Height { // the last one's key signs nothing here
			return fmt.Errorf("header %d sets a key, and stands without its own signature", height)
		}
	}
	return nil
}
