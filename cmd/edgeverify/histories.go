package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"edgechain.example/lightchain"
)

// Each file is checked by itself; what no single file can show is that two of them belong to two histories of one chain.
// Whoever is shown only one of them is deceived, and whoever holds both has evidence.

// histories compares what the files of one call say of their chains.
type histories struct {
	trust    *lightchain.Trust
	places   map[place][]said // of different hashes each: more than one is a contradiction
	chains   map[lightchain.ChainID]*inSight
	receipts map[lightchain.ChainID]map[lightchain.ReceiptedBy]string
	accused  map[[2]string]bool // pairs of files
	untold   int                // pairs beyond those of which evidence is made
	short    map[string]bool    // files that are sound and lack receipts
	noted    []noted
	room     uint64 // for hashes of bundles' blocks
}

// keptBlocks is of how many blocks the bundles of one call have hashes here, 32 bytes each: more than two years of a block a
// minute. That a block beyond them was not compared is told.
const keptBlocks = 1 << 20

// inSight is what the files before say of one chain at different heights, no more of it than finds a contradiction.
type inSight struct {
	heads []head // by height, each header once
	sides []side // each that says another hash, or of another height, than those before
	runs  []said // the files that are bundles
	lists []keys // each list of headers that are shown to set the key once, with the file that shows the highest header
}

// side is what a file says of one height.
type side struct {
	*lightchain.Side
	said
}

// head is a signed header, and the file that shows it.
type head struct {
	*lightchain.SignedHeader
	said
}

// keys are the headers of a file that set the key.
type keys struct {
	shown []*lightchain.SignedHeader // all of them
	below []*lightchain.SignedHeader // those below its highest header, under the last of which that one is signed
	top   uint64                     // its height
	said
}

type place struct {
	chain  lightchain.ChainID
	height uint64
}

// said is what one file says stands at a place, and all else that it says.
type said struct {
	file   string
	leaf   lightchain.Hash
	sides  []lightchain.Side
	blocks *lightchain.BundleBlocks
}

func newHistories(t *lightchain.Trust) *histories {
	return &histories{
		trust: t, places: map[place][]said{}, chains: map[lightchain.ChainID]*inSight{}, accused: map[[2]string]bool{}, short: map[string]bool{},
		receipts: map[lightchain.ChainID]map[lightchain.ReceiptedBy]string{}, room: keptBlocks,
	}
}

// mostPairs is of how many pairs of files evidence is made and told: a hundred files that all contradict each other are five
// thousand pairs, of a thousand signatures each.
const mostPairs = 32

// contradiction is what two files, each of which verifies, show together.
type contradiction struct {
	files    [2]string
	evidence *lightchain.Fork // nil: there is none that stands by itself,
	without  error            // for this reason
	report   *lightchain.ForkReport
	short    bool // one of them has fewer receipts than are asked for
}

// add compares a file that is sound with those before it.
func (h *histories) add(o *outcome) (found []contradiction, err error) {
	if len(o.sides) == 0 {
		return nil, nil
	}
	chain := o.sides[0].Head.ChainID()
	h.short[o.file] = h.short[o.file] || o.err != nil
	if p := o.proof; p != nil && p.Note != nil && p.Note.Binding == lightchain.BindingUnseen {
		h.noted = append(h.noted, noted{o.file, chain, p.Number, *p.Note.Note.Head})
	}
	for _, r := range o.receipts {
		if h.receipts[chain] == nil {
			h.receipts[chain] = map[lightchain.ReceiptedBy]string{}
		}
		if _, there := h.receipts[chain][r]; !there {
			h.receipts[chain][r] = o.file
		}
	}
	passed := map[[2]string]bool{}
	mine := said{file: o.file, sides: o.sides, blocks: o.blocks}
	if o.blocks != nil {
		o.blocks.Keep(h.room)
		h.room -= o.blocks.Kept()
	}
	others, notCompared := h.contradicted(chain, mine)
	for _, other := range others {
		files := [2]string{other.file, o.file}
		if h.accused[files] || passed[files] {
			continue
		}
		if len(h.accused) >= mostPairs {
			passed[files] = true
			h.untold++
			continue
		}
		c, err := h.accuse(other, mine)
		if err != nil {
			return found, err
		} else if c == nil {
			continue
		}
		h.accused[files] = true
		c.files, c.short = files, h.short[files[0]] || h.short[files[1]]
		found = append(found, *c)
	}
	return found, notCompared
}

// accuse returns what two files show together; nil if one history can hold it. What stands by itself as evidence is preferred.
func (h *histories) accuse(one, other said) (c *contradiction, err error) {
	if f := lightchain.Contradiction(one.sides, other.sides, h.trust); f != nil {
		r, err := f.Verify(h.trust)
		return &contradiction{evidence: f, report: r}, err
	}
	for _, pair := range [][2]said{{one, other}, {other, one}} {
		for i := range pair[1].sides {
			s, blocks := &pair[1].sides[i], pair[0].blocks
			if blocks == nil {
				break
			}
			if why, _ := blocks.Apart(s); why == nil || c != nil && c.evidence != nil {
				continue
			}
			found := &contradiction{}
			if found.evidence, found.without = blocks.Evidence(s); found.without == nil {
				found.report, err = found.evidence.Verify(h.trust)
			} else if c == nil {
				found.report, err = blocks.Accuse(s, h.trust)
			} else {
				continue
			}
			if err != nil {
				return nil, err
			}
			c = found
		}
	}
	return c, nil
}

// contradicted returns which files before cannot be of one history with this one, and takes note of what it says. The error
// says what could not be compared.
func (h *histories) contradicted(chain lightchain.ChainID, mine said) (others []said, notCompared error) {
	if h.chains[chain] == nil {
		h.chains[chain] = &inSight{}
	}
	c := h.chains[chain]
	compare := func(bundle said, s side, other said) {
		switch why, compared := bundle.blocks.Apart(s.Side); {
		case why != nil:
			others = append(others, other)
		case !compared && notCompared == nil:
			notCompared = fmt.Errorf("of the bundles of one call the first %d blocks are kept, and block %d of %s is none of them, of which %s says something too: name these two alone, or smaller bundles", keptBlocks, s.Height(), bundle.file, s.file)
		}
	}
	if mine.blocks != nil {
		for _, s := range c.sides {
			compare(mine, s, s.said)
		}
	}
	for i := range mine.sides {
		s := side{&mine.sides[i], mine}
		for _, bundle := range c.runs {
			compare(bundle, s, bundle)
		}
		at, known := place{chain, s.Height()}, false
		for _, other := range h.places[at] {
			if known = known || other.leaf == s.Leaf; other.leaf != s.Leaf {
				others = append(others, other)
			}
		}
		if !known {
			h.places[at] = append(h.places[at], said{mine.file, s.Leaf, mine.sides, mine.blocks})
			c.sides = append(c.sides, s)
		}
	}
	if mine.blocks != nil {
		c.runs = append(c.runs, mine)
	}
	return append(others, c.add(mine)...), notCompared
}

// add compares the headers of one file with those before it, and takes note of them.
func (c *inSight) add(mine said) (others []said) {
	top := keys{said: mine}
	for i := range mine.sides {
		s := &mine.sides[i]
		if height := s.Head.Header.Height; height >= top.top {
			top.below, top.shown, top.top = s.Keys, s.Keys, height
			if s.Head.Header.NextKey != nil && height > 0 {
				top.shown = append(s.Keys[:len(s.Keys):len(s.Keys)], s.Head)
			}
		}
		if s.Path != nil {
			continue // the head stands by itself, too
		}
		at, _ := slices.BinarySearchFunc(c.heads, s.Head, func(h head, to *lightchain.SignedHeader) int {
			return cmp.Compare(h.Header.Height, to.Header.Height)
		})
		above, aboveApart := c.apart(s.Head, at, 1)
		_, belowApart := c.apart(s.Head, at-1, -1)
		if others = append(append(others, aboveApart...), belowApart...); !above {
			c.heads = slices.Insert(c.heads, at, head{s.Head, mine})
		}
	}
	known := false
	for i := range c.lists {
		other := &c.lists[i]
		if other.leavesOut(&top) || top.leavesOut(other) {
			others = append(others, other.said)
		}
		if slices.EqualFunc(other.shown, top.shown, sameHeader) {
			known = true
			if top.top > other.top {
				*other = top
			}
		}
	}
	if !known {
		c.lists = append(c.lists, top)
	}
	return others
}

// apart looks from one header on, upwards or downwards, at those at its own height and the next one, and further as long as one
// of them cannot be of the same history: a file of a third one may lie behind it. known tells that the header is there already.
func (c *inSight) apart(h *lightchain.SignedHeader, at, step int) (known bool, others []said) {
	heights, found := 0, false // at which there are headers, h's own aside; one of these is apart
	for last := h.Header.Height; at >= 0 && at < len(c.heads); at += step {
		near := &c.heads[at]
		if height := near.Header.Height; height != last {
			if heights++; heights > 1 && !found {
				break
			}
			last, found = height, false
		}
		if known = known || sameHeader(near.SignedHeader, h); lightchain.Apart(near.SignedHeader, h) {
			others, found = append(others, near.said), true
		}
	}
	return known, others
}

// leavesOut reports whether a header that another file shows to set the key, below the highest header of this one, is not
// among those under which this one is signed.
func (k *keys) leavesOut(other *keys) bool {
	for i, h := range other.shown {
		if h.Header.Height < k.top && (i >= len(k.below) || !sameHeader(h, k.below[i])) {
			return true
		}
	}
	return false
}

func sameHeader(a, b *lightchain.SignedHeader) bool { return a.Hash() == b.Hash() }

// reversal is an aggregator's word in one file against its word in another.
type reversal struct {
	files [2]string // of the lower and the higher receipt
	chain lightchain.ChainID
	lightchain.Reversal
}

// reversals returns what the receipts of different files show together. What one file shows is in its own report.
func (h *histories) reversals() (found []reversal) {
	for chain, from := range h.receipts {
		var all []lightchain.ReceiptedBy
		for r := range from {
			all = append(all, r)
		}
		for _, r := range lightchain.Reversals(all) {
			if files := [2]string{from[r.Lower], from[r.Higher]}; files[0] != files[1] {
				found = append(found, reversal{files, chain, r})
			}
		}
	}
	slices.SortFunc(found, func(a, b reversal) int {
		return strings.Compare(a.chain.String()+a.Lower.Name, b.chain.String()+b.Lower.Name)
	})
	return found
}

// noted is a note whose header is not in the sight of its own proof.
type noted struct {
	file  string
	chain lightchain.ChainID
	entry uint64
	head  lightchain.Head
}

// otherHistory is a note in one file that was about another history than another file shows.
type otherHistory struct {
	noted
	other string // the file
	hash  lightchain.Hash
}

// otherHistories compares notes with the headers of other files than their own.
func (h *histories) otherHistories() (found []otherHistory) {
	for _, n := range h.noted {
		shown := h.chains[n.chain].heads
		for _, l := range h.chains[n.chain].lists {
			for _, k := range l.shown {
				shown = append(shown[:len(shown):len(shown)], head{k, l.said})
			}
		}
		other, hash := n.file, n.head.Hash
		for _, s := range shown {
			if told, tells := s.HashAt(n.head.Height); tells && told != hash {
				other, hash = s.file, told
				break
			}
		}
		for _, bundle := range h.chains[n.chain].runs {
			if told, tells := bundle.blocks.At(n.head.Height); tells && told != n.head.Hash && hash == n.head.Hash {
				other, hash = bundle.file, told
			}
		}
		if hash != n.head.Hash {
			found = append(found, otherHistory{n, other, hash})
		}
	}
	return found
}

func (n *otherHistory) text() string {
	return fmt.Sprintf("the note in entry %d names header %d with the hash %s, and there the other file has the hash %s: what it is about was another history", n.entry, n.head.Height, n.head.Hash, n.hash)
}

func (n *otherHistory) writeText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s and %s: A NOTE OF ANOTHER HISTORY\n  %s.\n\n", nameOf(n.file), nameOf(n.other), n.text())
	return err
}

// writeEvidence writes evidence to a file that must not be there yet: what accuses somebody is not overwritten.
func writeEvidence(file string, f *lightchain.Fork) error {
	b, err := f.Append(nil)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and is not overwritten", file)
	} else if err != nil {
		return err
	}
	_, err = out.Write(b)
	return errors.Join(err, out.Close())
}

func (c *contradiction) text() string {
	if c.short {
		return "Each is sound by itself, though not each has the receipts that are asked for; together they show that not both can be relied on."
	}
	return "Each verifies by itself; together they show that not both can be relied on."
}

func (c *contradiction) writeText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s and %s: TWO HISTORIES\n\n", nameOf(c.files[0]), nameOf(c.files[1]))
	fmt.Fprintf(&b, "  %s\n\n", c.text())
	describeFork(&b, c.report)
	if c.without != nil {
		fmt.Fprintf(&b, "\n  note      both files together show it, and no evidence can be written that does so without them: %v\n", c.without)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *reversal) writeText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s and %s: TIMES THAT FALL\n  %s\n\n", nameOf(r.files[0]), nameOf(r.files[1]), reversalNote(r.Reversal))
	return err
}
