package store

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store/salvage"

	"github.com/cockroachdb/pebble/v2"
)

// What a start makes of the head mark:
//
//	both slots gone, none ever written   the store was made before marks were: it gets one
//	both slots unreadable, or gone       told, recorded; the database counts, and where nothing else shows that it ends
//	                                     where the chain did, nothing is sealed: see doubt.go
//	one slot unreadable                  the other one counts; where the database ends below that one, or at it and nothing
//	                                     else shows that it ended there, a header more may have left, and likewise
//	database at the mark, or above it    ordinary: the database counts, and the mark is renewed
//	database below the mark              it was set back: the chain goes on above the mark
//	mark of another chain                told, recorded, put aside; the database counts
//	mark of another history              told, recorded; the higher of the two goes on, so that nothing is signed twice

// SetBack says how far the database had fallen behind the head mark, and what of the chain is gone for that.
type SetBack struct {
	Height   uint64 // of the newest header that the database held
	Mark     uint64 // of the newest header: the chain goes on above it
	Headers  uint64 // how many between are not held any more
	First    uint64 // number of the first entry that was sealed there and is gone,
	Count    uint64 // how many are
	Restaged uint64 // entries that could still be read there, and were staged again under new numbers
}

// String is what a reader says who does not repair it. Whether it reads the gateway's own folder or a copy it cannot tell.
func (b *SetBack) String() string {
	return fmt.Sprintf("the database ends at header %d, and header %d has left: %d headers and %d entries from %d on are not in it. "+
		"On the gateway, start the agent: it goes on above them, and records what is lost. If this is a copy, such as an auditor's, take a newer one",
		b.Height, b.Mark, b.Headers, b.Count, b.First)
}

var errMarkOfOther = errors.New("it is that of another chain")

// compareMark holds the tip that was found in the database, surely the newest there or not, against the mark. It returns
// the mark if the database ends below it, and sets whether headers may be missing above.
func (s *Store) compareMark(sure bool) (above *headMark, err error) {
	_, noted := s.get(metaKey(metaUnsure))
	s.unsure = !sure || noted == nil
	log, lost := s.options.Logger, &s.info.Recovered.Mark
	m, bad := s.found.newest(), s.found.bad()
	if m == nil {
		if s.found.absent() && !s.everMarked(s.dir, s.options) {
			return nil, nil
		}
		*lost = bad.Error()
		log.Error("failed to read the head mark: the chain goes on from what the database holds", "height", s.tip.Height, "err", bad)
		return nil, nil
	}
	if m.chain() != s.tip.Chain {
		*lost = errMarkOfOther.Error()
		log.Error("the head mark is that of another chain, and is put aside", "chain", s.tip.Chain, "mark", m.chain())
		for i, name := range slotNames {
			if errors.Is(s.found.errs[i], os.ErrNotExist) {
				continue
			}
			if err := setAside(s.dir, s.options, name); err != nil {
				return nil, err
			}
			s.found.marks[i], s.found.errs[i] = nil, os.ErrNotExist
		}
		return nil, nil
	}
	same, known := s.sameHistory(m)
	if known && !same {
		*lost = "it is that of another history"
		log.Error("the head mark and the database hold two histories of this chain: it goes on from the higher one", "height", s.tip.Height, "mark", m.head.Height)
	}
	if s.tip.Height < m.head.Height {
		// Of two slots one is always that of the newest header. Where it is the one that cannot be read, there was one more.
		s.unsure = bad != nil || s.doubted()
		return m, nil
	}
	_, clean := s.get(metaKey(metaClean))
	switch torn := s.tip.Height == m.head.Height+1 && clean != nil && s.found.torn(); {
	case bad != nil && torn:
		log.Info("one slot of the head mark was torn", "err", bad)
	case bad != nil:
		log.Warn("failed to read one slot of the head mark, which is written anew from the other: nothing is lost", "err", bad)
	case s.tip.Height <= m.head.Height+1 && same && !s.doubted():
		s.unsure = false // what is missing above has never left
	}
	if s.tip.Height > m.head.Height+1 {
		log.Warn("the head mark is older than the database: a program ran that writes none, or it was put back; it is renewed", "height", s.tip.Height, "mark", m.head.Height)
	}
	return nil, nil
}

// sameHistory tells whether the database's history and the mark's are one, as far as both reach; known is false where
// that cannot be told.
func (s *Store) sameHistory(m *headMark) (same, known bool) {
	switch tip := s.tip; {
	case tip.Height == m.head.Height:
		return tip.Hash == m.hash(), true
	case tip.Height > m.head.Height:
		history, err := s.compactRange(m.head.Height + 1)
		at := m.tip()
		return err == nil && history.Root() == at.History.Root(), err == nil
	case tip.Height >= m.bottom():
		return m.window[tip.Height-m.bottom()] == tip.Hash, true
	}
	// The subtrees of the mark's edge that lie wholly within the database must be the same there.
	first := uint64(0)
	edge := m.below.Edge()
	for level := 63; level >= 0 && len(edge) > 0; level-- {
		if m.bottom()>>level&1 == 0 {
			continue
		}
		if first+1<<level > s.tip.Height+1 {
			break
		}
		node, err := s.node(level, first>>level)
		if err != nil {
			return false, false
		}
		if node != edge[0] {
			return false, true
		}
		first, edge, known = first+1<<level, edge[1:], true
	}
	return known, known
}

// belowMark tells whether the database ends below the mark, before anything was recovered of it.
func (s *Store) belowMark() bool {
	m := s.found.newest()
	tip, _, err := s.findTip()
	return err == nil && m != nil && m.chain() == tip.Chain && tip.Height < m.head.Height
}

// beginAgain makes the n-th database in the place of those that are gone: it holds genesis, from where [Store.recover]
// goes on above the mark.
func (s *Store) beginAgain(n int) error {
	m := s.found.newest()
	genesis := knownGenesis(s.dir, s.options, m)
	switch {
	case genesis == nil && m == nil:
		return fmt.Errorf("%w: there is no database, and the head mark beside it cannot be read: %w", ErrDamaged, s.found.bad())
	case genesis == nil:
		return fmt.Errorf("%w: there is no database, and the head mark does not hold how the chain began", ErrDamaged)
	case m == nil:
		s.options.Logger.Error("the database and the head mark are gone; a new database begins with the chain's first header", "chain", genesis.ChainID())
	default:
		s.options.Logger.Error("the database is gone; a new one goes on above the head mark", "chain", m.chain(), "height", m.head.Height)
	}
	s.info.Recovered.Rebuilt = dataName(n)
	return install(s.dir, n, s.options, func(path string) error { return begin(path, s.options, genesis, true) })
}

// goOnAbove brings a database that ends below the mark up to it, in one synced batch: the newest header comes back from
// the mark, the headers between are not held any more but for those that set the key, and the history's nodes are
// derived from the window. Entries that can still be read and lost their header stay, to be staged again above by
// [Store.stageAgain]; what is lost is remembered until it is recorded.
//
// After a crash before the batch is durable the database is found below the mark again, after it at the mark, with a note
// of the entries that are still to be staged again.
func (s *Store) goOnAbove(m *headMark) error {
	old, tip, head := s.tip, m.tip(), &m.head
	from := old.Height + 1
	signed, err := m.signed()
	if err != nil {
		return err
	}
	batch := s.db.NewIndexedBatch()
	defer batch.Close()

	whole, its := s.wholeBlock(head)
	end := head.Height + 1 // of the blocks whose entries can stay nowhere
	if whole {
		end--
	}
	gone := blockKey(head.Height, partSeed)
	if !whole {
		gone = headerKey(head.Height)
	}
	strays, err := s.leaveStrays(batch, from, end, gone)
	if err == nil {
		err = deleteRuns(batch, from, head.Height)
	}
	if err != nil {
		return err
	}
	back := SetBack{Height: old.Height, Mark: head.Height, First: old.Next, Restaged: strays}
	s.tip, s.open = tip, newOpenBlock()
	s.now.Store(&view{tip: tip.Clone(), next: tip.Next})
	above, err := s.recoverOpen(&s.open, s.telling("looking for the chain's end", tip))
	if err != nil {
		return err
	}
	putEdge(batch, m.bottom(), m.below.Edge())
	history := m.below.Clone()
	for i, leaf := range m.window {
		height := m.bottom() + uint64(i)
		history.Append(leaf, func(level int, _ uint64, node lightchain.Hash) {
			if height >= from && (level > 0 || height < head.Height) { // the newest header is its own leaf
				putNode(batch, height, level, node)
			}
		})
	}
	s.putKeysOf(batch, m, old)
	set(batch, headerKey(head.Height), appendHeader(nil, m.signature, signed.Bytes()))
	if back.Headers, err = s.putGap(batch, m, old, tip); err != nil {
		return err
	}
	if whole {
		set(batch, summaryKey(head.Height, 0), its.append(nil))
	} else if head.Count > 0 {
		putRun(batch, head.Height, head.Height, head.First, head.First+head.Count, bodyNotHeld)
		if err := s.putLost(batch, Damage{From: head.Height, To: head.Height, First: head.First, Count: head.Count}, tip); err != nil {
			return err
		}
	}
	back.Count = tip.Next - old.Next
	if whole {
		back.Count = head.First - old.Next
	}
	s.putSummaries(batch, old.Height, head.Height)
	// What comes after a receipt may be named in the beacon of a block whose first entry arrived after it. Entries that
	// get higher numbers now may have arrived before: no receipt counts for them.
	shift := tip.Next - old.Next + s.open.count + above.Restaged + strays
	if err := s.renumberReceived(batch, old.Next, shift); err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	if err := s.putUnsure(batch); err != nil {
		return err
	}
	if err := s.guard.commit(batch); err != nil {
		return err
	}
	s.open = newOpenBlock() // derived anew, as at each start
	s.holds(head.Height)
	s.info.Recovered.SetBack = &back
	if back.Headers > 0 || back.Count > 0 {
		s.options.Logger.Error("the database had fallen behind the head mark; the chain goes on above it", "database", back.Height, "mark", back.Mark,
			"headers_lost", back.Headers, "first_entry", back.First, "entries_lost", back.Count, "recorded_again", back.Restaged)
	} else {
		s.options.Logger.Warn("the newest header came back from the head mark; nothing is lost", "height", back.Mark)
	}
	return nil
}

// putGap notes what is between the old tip and the mark's header as not held, and to be told of as lost: the headers, but
// of those that set a key, which came back, only the entries. It returns how many headers that are.
func (s *Store) putGap(batch *pebble.Batch, m *headMark, old, tip *lightchain.Tip) (headers uint64, err error) {
	from, first := old.Height+1, old.Next
	at := old.Clone() // as long as no header is missing, the nodes that one completes follow from those below
	until := func(next *lightchain.Header) error {
		if next.Height == from {
			return nil
		}
		at = nil
		headers += next.Height - from
		putRun(batch, from, next.Height-1, first, next.First, headerNotHeld)
		return s.putLost(batch, Damage{From: from, To: next.Height - 1, First: first, Count: next.First - first, Headers: true}, tip)
	}
	for _, k := range knownKeys(s.dir, s.options, m) {
		h := &k.Header
		if h.Height < from || h.Height >= m.head.Height {
			continue
		}
		if err := until(h); err != nil {
			return 0, err
		}
		if at != nil {
			if err := s.putHeader(batch, at, k, &k.HeaderSignature); err != nil {
				return 0, err
			}
		}
		if h.Count > 0 {
			putRun(batch, h.Height, h.Height, h.First, h.First+h.Count, bodyNotHeld)
			if err := s.putLost(batch, Damage{From: h.Height, To: h.Height, First: h.First, Count: h.Count}, tip); err != nil {
				return 0, err
			}
		}
		from, first = h.Height+1, h.First+h.Count
	}
	return headers, until(&m.head)
}

// wholeBlock tells whether the entries of a header that the database lacks are all there, and returns their summary.
func (r *Reader) wholeBlock(h *lightchain.Header) (bool, summary) {
	block := newOpenBlock()
	if h.Count > 0 {
		scan, err := r.scanBlock(h.Height, h.First, h.First+h.Count)
		if err != nil {
			return false, block.summary
		}
		defer scan.close()
		for scan.next() {
			encoded := []byte(nil)
			if scan.err == nil {
				encoded = scan.entry(nil)
			}
			e, err := lightchain.DecodeEntry(encoded)
			if err != nil {
				return false, block.summary
			}
			block.add(&e, encoded)
		}
	}
	return block.count == h.Count && block.root.Root() == h.Root, block.summary
}

// putKeysOf puts the headers that set the key, above the old tip and up to the mark's, into the batch. Where they are
// not all known, the key in force comes from the mark, and no proof can show how it came to be.
func (s *Store) putKeysOf(batch *pebble.Batch, m *headMark, old *lightchain.Tip) {
	inForce := old.Key
	for _, k := range knownKeys(s.dir, s.options, m) {
		if height := k.Header.Height; height > old.Height && height < m.head.Height {
			set(batch, headerKey(height), appendHeader(nil, &k.HeaderSignature, k.Bytes()))
			set(batch, key(spaceKeys, height), k.Header.NextKey[:])
			inForce = *k.Header.NextKey
		}
	}
	if m.head.NextKey != nil {
		set(batch, key(spaceKeys, m.head.Height), m.head.NextKey[:])
	}
	if inForce != m.signer { // what set it lies between
		s.options.Logger.Error("how the key in force came to be cannot be shown any more: entries from here on are recorded, and cannot be proved. To have proofs again, begin a new chain that names this one: edgeagent init --continue", "height", m.head.Height)
		set(batch, key(spaceKeys, m.head.Height-1), append(m.signer[:len(m.signer):len(m.signer)], keyUnexplained))
	}
}

// keyUnexplained behind a key in its space says that no header held here sets it: it came from the head mark.
const keyUnexplained = 0

// putLost remembers a loss until an entry tells of it.
func (s *Store) putLost(batch *pebble.Batch, d Damage, tip *lightchain.Tip) error {
	d.Why = cmp.Or(d.Why, "the database had fallen behind the head mark")
	d.Since, d.SetBack = tip.Next, true
	k, v, err := d.record()
	if err == nil {
		set(batch, k, v)
	}
	return err
}

// startMark makes the mark of this run, from the one that was found where that still fits, and opens its files.
func (s *Store) startMark() error {
	m := s.found.newest()
	fits := m != nil && m.chain() == s.tip.Chain
	tip := s.tip
	switch signed, err := s.Header(tip.Height); {
	case fits && m.hash() == tip.Hash:
	case fits && err == nil && tip.Height == m.head.Height+1 && signed.Header.Previous == m.hash():
		next := m.after(signed)
		m = &next
	default:
		fresh, err := s.markAt(tip)
		if err != nil {
			return fmt.Errorf("head mark: %w", err)
		}
		if fits {
			fresh.opens, fresh.counter = m.opens, m.counter
			for name, height := range m.receipted {
				fresh.receipted[name] = max(fresh.receipted[name], height)
			}
		}
		m = fresh
	}
	if m.genesis == nil {
		if genesis, err := s.Header(0); err == nil {
			m.genesis = genesis
		}
	}
	moved := s.found.newest() == nil || s.found.newest().hash() != m.hash()
	s.mark = *m
	if moved {
		s.mark.counter++
	}
	s.mark.opens = s.info.Opens
	s.tellKeysLost()
	if err := s.keepKeys(tip.Height); err != nil {
		return fmt.Errorf("the file of headers that set the key: %w", err)
	}
	var err error
	if s.slots, err = openSlots(s.dir, s.options, &s.found, &s.mark); err != nil {
		return fmt.Errorf("head mark: %w", err)
	}
	// Whatever is written from here on stands above what was found.
	if moved {
		if err := s.setMark(s.mark, false); err != nil {
			return err
		}
	}
	if _, err := s.get(metaKey(metaMarked)); errors.Is(err, ErrNotFound) {
		return s.putSynced(metaKey(metaMarked), nil)
	}
	return nil
}

// tellKeysLost says that the file of headers that set the key is not as it was left.
func (s *Store) tellKeysLost() {
	if _, err := s.get(metaKey(metaMarked)); err != nil {
		return // there never was one
	}
	b, err := salvage.ReadSmall(s.options.FS, s.options.FS.PathJoin(s.dir, keysName), maxKeysFile)
	if err == nil {
		_, err = decodeKeys(b)
	}
	if err != nil {
		s.options.Logger.Warn("failed to read the file of headers that set the key, which is written anew from the database: nothing is lost", "err", err)
	}
}

// beginMark writes the mark of a chain that begins, and the file of its keys.
func beginMark(dir string, o Options, genesis *lightchain.SignedHeader) error {
	m := headMark{signer: *genesis.Header.NextKey, head: genesis.Header, signature: &genesis.HeaderSignature, genesis: genesis, window: []lightchain.Hash{genesis.Hash()}}
	if err := putWhole(dir, o, noteName, appendNote(nil, genesis.ChainID(), noteVersion, acknowledged{})); err != nil {
		return err
	}
	return putMarks(dir, o, &m, []*lightchain.SignedHeader{genesis})
}

// putMarks writes both slots and the file of keys into a folder where nobody records.
func putMarks(dir string, o Options, m *headMark, keys []*lightchain.SignedHeader) error {
	if err := putWhole(dir, o, keysName, appendKeys(nil, keys)); err != nil {
		return err
	}
	for _, name := range slotNames {
		if err := makeSlot(dir, name, o, m); err != nil {
			return err
		}
	}
	return nil
}

// chainLeft tells whether a slot of a head mark is in the folder, or the file of the keys, from which a chain goes on whose
// database is gone.
func chainLeft(dir string, o Options) bool {
	found := readSlots(dir, o)
	_, err := salvage.ReadSmall(o.FS, o.FS.PathJoin(dir, keysName), maxKeysFile)
	return !found.absent() || salvage.Refused(err) || knownGenesis(dir, o, nil) != nil
}

// MarkedReceipt returns the highest header that the aggregator is known to have receipted, whether or not that receipt
// is held any more. It belongs to the owner of the tail.
func (s *Store) MarkedReceipt(name string) (height uint64, found bool) {
	height, found = s.mark.receipted[name]
	return height, found
}

// setBack tells how far a database that is only read ends below the mark, nil if it does not.
func (r *Reader) setBack(found *slotsRead) *SetBack {
	m, tip := found.newest(), r.view().tip
	if m == nil || m.chain() != tip.Chain || m.head.Height <= tip.Height {
		return nil
	}
	b := &SetBack{Height: tip.Height, Mark: m.head.Height, Headers: m.head.Height - tip.Height, First: tip.Next}
	b.Count = m.head.First + m.head.Count - tip.Next
	return b
}

// SetBack says how far the database that was opened for reading ends below the head mark beside it, nil if it does not.
func (r *Reader) SetBack() *SetBack { return r.behind }

// opensOfMark returns how often the store had been opened, as far as the mark knows.
func (s *Store) opensOfMark() uint64 {
	if m := s.found.newest(); m != nil {
		return m.opens
	}
	return 0
}
