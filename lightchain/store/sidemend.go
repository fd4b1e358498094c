package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store/salvage"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Where a table beside the blocks is damaged Pebble would merge it with what is written next, fail, and try again until
// it takes no more writes. So the owner of the tail puts a new table in its place that holds what can be read of it, in one
// step of Pebble's, and writes anew what follows from the rest of the chain. A scrub, which alone writes there beside the
// owner, waits meanwhile.

// mendSides mends what was met of damage since it was called last, by whoever has read it, merges among them. What cannot be
// mended stays as it is, read past.
func (s *Store) mendSides() {
	s.placeTables()
	s.mendHeaders()
	s.mend(spaceNodes, spaceAbsent, spaceLost, spaceTables, spaceKeys, spaceReceipts, spaceReceived, spaceBeacons, spaceMeta)
}

// placeTables notes which spaces the tables belong to that could not be read: a merge does not say what it was looking for.
func (s *Store) placeTables() {
	read := s.due.takeTables()
	if len(read) == 0 {
		return
	}
	levels, err := s.db.SSTables()
	if err != nil {
		return // it is read again
	}
	for _, level := range levels {
		for i := range level {
			if t := &level[i]; t.Smallest.UserKey[0] != spaceBlocks && read[salvage.TableName(t)] {
				s.meetTable(t)
			}
		}
	}
}

// smallSides are the spaces that are read whole at each opening: a few kilobytes after years.
var smallSides = [...]byte{spaceAbsent, spaceLost, spaceTables, spaceKeys, spaceMeta}

// checkSides looks for damage beside the blocks, as far as that costs little, and mends it.
func (s *Store) checkSides() {
	unfinished, err := s.findUnfinished()
	if err != nil {
		s.options.Logger.Warn("failed to look for what was not mended to its end", "err", err)
	}
	for _, space := range append(unfinished, smallSides[:]...) {
		scan, err := s.scanSide([]byte{space}, []byte{space + 1})
		if err != nil {
			return
		}
		for ok := scan.first(); ok; ok = scan.next() {
		}
		scan.close()
	}
	_, _ = s.HeaderAt(0) // nothing else reads it before it is needed for a proof
	s.mendSides()
	if err := s.matchRuns(); err != nil {
		s.options.Logger.Warn("failed to mend what stands beside the blocks", "holds", contents(spaceAbsent), "err", err)
	}
}

// mendHeaders puts headers back that were met where they could not be read.
func (s *Store) mendHeaders() {
	if err := s.putBackHeaders(); err != nil {
		s.options.Logger.Warn("failed to put back headers that stand beside the database", "err", err)
	}
}

func (s *Store) mend(spaces ...byte) {
	for _, space := range spaces {
		if err := s.mendSpace(space); err != nil {
			s.options.Logger.Warn("failed to mend what stands beside the blocks", "holds", contents(space), "err", err)
		}
	}
}

// mendSpace replaces the damaged tables of a space, and writes what was in them anew as far as the rest tells it.
func (s *Store) mendSpace(space byte) error {
	s.sides.mu.Lock()
	met := s.sides.met[space]
	delete(s.sides.met, space) // not mended now, it is met again
	unmatched, badKeys := s.sides.unmatched && space == spaceReceived, s.sides.badKeys && space == spaceKeys
	s.sides.unmatched = s.sides.unmatched && !unmatched
	unfinished := s.sides.unfinished[space]
	delete(s.sides.unfinished, space)
	s.sides.mu.Unlock()
	if s.guard.err() != nil {
		return nil
	}
	if space == spaceReceipts {
		if err := s.dropRefused(); err != nil {
			return err
		}
	}
	if len(met) == 0 && !unmatched && !badKeys && !unfinished {
		return nil
	}
	var lost []lostKeys
	if unfinished {
		lost = append(lost, lostKeys{key(space, 0), key(space, math.MaxUint64)})
	}
	if len(met) > 0 {
		// Once a table is replaced nothing tells any more what was in it.
		if err := s.putSynced(mendingKey(space), nil); err != nil {
			return err
		}
		more, err := s.replaceTables(space, met)
		if err != nil {
			return err
		}
		lost = append(lost, more...)
	}
	if len(lost) > 0 || unmatched || badKeys {
		if err := s.restoreSide(space, lost, unmatched); err != nil {
			return err
		}
	}
	if len(met) == 0 && !unfinished {
		return nil
	}
	return s.deleteSynced(mendingKey(space))
}

func mendingKey(space byte) []byte { return append(metaKey(metaMending), space) }

// findUnfinished returns, and notes, of which spaces an earlier run was about to replace tables, and did not get to write anew what
// was lost with them.
func (s *Store) findUnfinished() (spaces []byte, err error) {
	scan, err := s.scanSide(metaKey(metaMending), mendingKey(math.MaxUint8))
	if err != nil {
		return nil, err
	}
	defer scan.close()
	unfinished := map[byte]bool{}
	for ok := scan.first(); ok; ok = scan.next() {
		if k := scan.key(); len(k) == len(mendingKey(0)) {
			spaces = append(spaces, k[len(k)-1])
			unfinished[k[len(k)-1]] = true
		}
	}
	s.sides.mu.Lock()
	defer s.sides.mu.Unlock()
	s.sides.unfinished = unfinished
	return spaces, scan.err
}

// lostKeys is a range of keys, to excluded, in which pairs were that cannot be read any more.
type lostKeys struct{ from, to []byte }

// replaceTables puts a new table in the place of those of the given ones that are damaged, and of those that overlap
// them. It returns what cannot be read.
func (s *Store) replaceTables(space byte, met map[string]bool) ([]lostKeys, error) {
	s.besides.Lock()
	defer s.besides.Unlock()
	if err := s.db.Flush(); err != nil {
		return nil, readError(err)
	}
	var all []layeredTable
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, readError(err)
	}
	var span pebble.KeyRange
	var why error
	for level := range levels {
		for i := range levels[level] {
			t := &levels[level][i]
			if t.Smallest.UserKey[0] != space {
				continue
			}
			all = append(all, layeredTable{SSTableInfo: t, level: level})
			if !met[salvage.TableName(t)] {
				continue
			}
			damaged := s.verifyTable(salvage.TableName(t), anySpace, func(int) error { return nil })
			gone := errors.Is(damaged, os.ErrNotExist)
			if gone && !s.isInUse(salvage.TableName(t)) { // merged into another meanwhile
				continue
			}
			if damaged == nil || !gone && !isDamage(damaged) {
				continue
			}
			why = damaged
			span.Start = minKey(span.Start, t.Smallest.UserKey)
			span.End = max2(span.End, append(bytes.Clone(t.Largest.UserKey), 0))
			if space == spaceTables {
				defer s.noteTable(t, space, damaged) // else it would go with those in its place
			} else {
				s.noteTable(t, space, damaged)
			}
			if space == spaceBlocks && !gone {
				if err := s.keepDamaged(salvage.TableName(t)); err != nil {
					return nil, err
				}
			}
		}
	}
	if why == nil {
		return nil, nil
	}
	// The newest version of a pair may be in a table above: all that overlap go into the new one.
	var within []layeredTable
	for grown := true; grown; {
		grown = false
		all = slices.DeleteFunc(all, func(t layeredTable) bool {
			end := append(bytes.Clone(t.Largest.UserKey), 0)
			if bytes.Compare(t.Smallest.UserKey, span.End) >= 0 || bytes.Compare(span.Start, end) >= 0 {
				return false
			}
			within, grown = append(within, t), true
			span.Start, span.End = minKey(span.Start, t.Smallest.UserKey), max2(span.End, end)
			return true
		})
	}
	for i := range within {
		within[i].whole = s.verifyTable(salvage.TableName(within[i].SSTableInfo), anySpace, func(int) error { return nil }) == nil
	}
	pairs, lost, err := s.replace(span, within)
	if err != nil {
		return nil, fmt.Errorf("replacing a damaged table: %w", err)
	}
	s.options.Logger.Error("failed to read a whole table, which is replaced by what can be read of it", "holds", contents(space), "pairs", pairs, "unreadable_places", len(lost), "err", reason(why))
	return lost, nil
}

// isInUse reports whether the database has a table, be its file there or not.
func (s *Store) isInUse(name string) bool {
	levels, err := s.db.SSTables()
	if err != nil {
		return false // it is asked again
	}
	for _, level := range levels {
		if slices.ContainsFunc(level, func(t pebble.SSTableInfo) bool { return salvage.TableName(&t) == name }) {
			return true
		}
	}
	return false
}

func minKey(a, b []byte) []byte {
	if a == nil {
		return b
	}
	return min2(a, b)
}

// noteTable remembers a damaged table, so that an entry tells of it although it goes.
func (s *Store) noteTable(t *pebble.SSTableInfo, space byte, damaged error) {
	d := Damage{Table: salvage.TableName(t), Holds: contents(space), Why: reason(damaged), Since: s.Next()}
	if _, err := s.get(d.key()); err == nil {
		return // a scrub has found it
	}
	if err := s.putDamage(&d); err != nil {
		s.options.Logger.Warn("failed to note a damage", "table", d.Table, "err", err)
	} else if s.options.Damaged != nil {
		s.options.Damaged()
	}
}

// layeredTable is a table and its level: of two that hold a pair, the one of the lower level has the newer one; of level
// 0 that with the newer numbers.
type layeredTable struct {
	*pebble.SSTableInfo
	level int
	whole bool // each block could be read
}

func (t *layeredTable) newer(o *layeredTable) bool {
	if t.level != o.level {
		return t.level < o.level
	}
	return t.LargestSeqNum > o.LargestSeqNum
}

// replace writes what can be read of the tables, all of which lie within span, into one new table, and has Pebble put it
// in their place. If the power fails before that, they are as they were.
func (s *Store) replace(span pebble.KeyRange, tables []layeredTable) (pairs int, lost []lostKeys, err error) {
	fs := s.options.FS
	path := fs.PathJoin(s.dir, "mend.sst")
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, nil, err
	}
	options := tuned(s.options, s.guard)
	options.EnsureDefaults()
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), options.MakeWriterOptions(len(options.Levels)-1, s.db.TableFormat()))
	pairs, lost, err = s.merge(tables, w)
	if err := errors.Join(err, w.Close()); err != nil {
		return 0, nil, errors.Join(err, fs.Remove(path))
	}
	if pairs == 0 {
		return 0, lost, errors.Join(s.db.Excise(context.Background(), span), fs.Remove(path))
	}
	_, err = s.db.IngestAndExcise(context.Background(), []string{path}, nil, nil, span)
	if removed := fs.Remove(path); err == nil && !errors.Is(removed, os.ErrNotExist) {
		err = removed
	}
	return pairs, lost, err
}

// merge writes the newest readable version of each pair.
func (s *Store) merge(tables []layeredTable, w *sstable.Writer) (pairs int, lost []lostKeys, err error) {
	slices.SortFunc(tables, func(a, b layeredTable) int {
		if a.newer(&b) {
			return -1
		}
		return 1
	})
	deleted, err := s.deletedIn(tables)
	if err != nil {
		return 0, nil, err
	}
	var cursors []*tableCursor
	for i := range tables {
		c, err := newTableCursor(s, tables[i].SSTableInfo)
		if err != nil {
			return 0, nil, err
		}
		defer func() { lost = append(lost, c.lost...) }()
		defer c.close()
		cursors = append(cursors, c)
	}
	var last []byte
	for {
		var next *tableCursor
		for _, c := range cursors { // the newest table first
			if c.valid && (next == nil || bytes.Compare(c.key, next.key) < 0) {
				next = c
			}
		}
		if next == nil {
			for i, c := range cursors {
				if tables[i].whole && len(c.lost) > 0 { // a disk that failed once is no reason to give anything up
					return 0, nil, fmt.Errorf("%s could be read before, and cannot be now", salvage.TableName(tables[i].SSTableInfo))
				}
			}
			return pairs, lost, nil
		}
		if !bytes.Equal(next.key, last) {
			last = append(last[:0], next.key...)
			if !next.deleted && !next.within(deleted) {
				if err := w.Set(next.key, next.value); err != nil {
					return pairs, lost, err
				}
				pairs++
			}
		}
		next.step()
	}
}

// tableCursor walks over one table, past the blocks that cannot be read.
type tableCursor struct {
	table  *sstable.Reader
	it     sstable.Iterator
	blocks *tableBlocks
	lost   []lostKeys
	file   uint64         // number of the table
	pairs  []salvage.Pair // where the table cannot be opened, what stands in it all the same and is left

	valid      bool // it stands on a pair:
	key, value []byte
	seq        uint64
	deleted    bool // which says that there is none
}

// within reports whether the pair is in a range that was deleted later.
func (c *tableCursor) within(deleted []salvage.Span) bool {
	for i := range deleted {
		if deleted[i].Covers(salvage.Pair{Key: c.key, Seq: c.seq, File: c.file}) {
			return true
		}
	}
	return false
}

func newTableCursor(s *Store, t *pebble.SSTableInfo) (*tableCursor, error) {
	path := s.fs.PathJoin(s.path, salvage.TableName(t))
	c := &tableCursor{blocks: &tableBlocks{smallest: t.Smallest.UserKey, largest: t.Largest.UserKey}, file: salvage.FileNumber(salvage.TableName(t))}
	var err error
	if c.table, err = openBlocks(s.fs, path); err == nil {
		c.blocks.table = c.table
		c.it, err = c.table.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	}
	whole := []lostKeys{{t.Smallest.UserKey, append(bytes.Clone(t.Largest.UserKey), 0)}}
	switch {
	case errors.Is(err, os.ErrNotExist) && s.isInUse(salvage.TableName(t)):
		c.it, c.lost = nil, whole
	case errors.Is(err, os.ErrNotExist):
		return nil, err // merged into another meanwhile
	case err != nil:
		c.it, c.lost = nil, whole
		if err := c.salvage(s.fs, path); err != nil {
			return nil, err
		}
		c.step()
	default:
		c.seek(t.Smallest.UserKey)
	}
	return c, nil
}

// salvage reads the blocks of a table that can be found without what finds them.
func (c *tableCursor) salvage(fs vfs.FS, path string) error {
	t, err := salvage.OpenTable(fs, path, isKey, func(error) {})
	if err != nil {
		return err
	}
	err = t.Pairs(func(p salvage.Pair) error {
		p.Key, p.Value = bytes.Clone(p.Key), bytes.Clone(p.Value)
		c.pairs = append(c.pairs, p)
		return nil
	})
	return errors.Join(err, t.Close())
}

func (c *tableCursor) close() {
	if c.it != nil {
		c.it.Close()
	}
	if c.table != nil {
		c.table.Close()
	}
}

func (c *tableCursor) step() {
	if c.it != nil {
		c.move(append(bytes.Clone(c.key), 0), false)
		return
	}
	if c.valid = len(c.pairs) > 0; c.valid {
		p := c.pairs[0]
		c.pairs = c.pairs[1:]
		c.key, c.value, c.seq, c.deleted = p.Key, p.Value, p.Seq, !isSet(p.Kind)
	}
}

func isSet(kind pebble.InternalKeyKind) bool {
	return kind == pebble.InternalKeyKindSet || kind == pebble.InternalKeyKindSetWithDelete
}

func (c *tableCursor) seek(k []byte) { c.move(k, true) }

// move goes to the next pair, which is none below from, or looks for it.
func (c *tableCursor) move(from []byte, seek bool) {
	for k := from; ; seek = true {
		next := c.it.Next
		if seek {
			next = seekTo(c.it.SeekGE, k)
		}
		if at := next(); at != nil {
			value, _, err := at.Value(nil)
			if c.valid = err == nil; c.valid {
				c.key, c.value = bytes.Clone(at.K.UserKey), bytes.Clone(value)
				c.seq, c.deleted = uint64(at.SeqNum()), !isSet(at.Kind())
				if !bytes.Equal(from, k) {
					c.lost = append(c.lost, lostKeys{from, k})
				}
				return
			}
		} else if c.valid = false; c.it.Error() == nil {
			if !bytes.Equal(from, k) {
				c.lost = append(c.lost, lostKeys{from, k})
			}
			return
		}
		// Pebble may read the last block, too, for what is above all that is in it.
		if k = c.blocks.next(k); bytes.Compare(k, c.blocks.largest) > 0 {
			c.lost = append(c.lost, lostKeys{from, k})
			return
		}
	}
}

// seekTo makes a seek to a key of the same kind as a step.
func seekTo[P any, F ~int8 | ~uint8](seek func(k []byte, flags F) P, k []byte) func() P {
	return func() P { return seek(k, 0) }
}

// restoreSide writes anew what follows from the rest of the chain and was lost with a table.
func (s *Store) restoreSide(space byte, lost []lostKeys, unmatched bool) error {
	switch space {
	case spaceNodes:
		return s.restoreNodes(lost)
	case spaceKeys:
		return s.restoreKeys()
	case spaceReceived:
		if unmatched {
			lost = append(lost, lostKeys{[]byte{spaceReceived}, []byte{spaceReceived + 1}})
		}
		return s.matchReceipts(lost)
	case spaceReceipts:
		return s.matchReceipts(lost)
	case spaceAbsent:
		return s.restoreRuns()
	case spaceMeta:
		return errors.Join(s.restoreMeta(), s.matchRuns())
	}
	return nil // a beacon's receipts are found without their index; runs are matched by matchRuns
}

// restoreMeta notes what must not be forgotten when it cannot be known any more.
func (s *Store) restoreMeta() error {
	batch := s.db.NewBatch()
	defer batch.Close()
	set(batch, metaKey(metaLayout), binary.AppendUvarint(nil, layout(s.options.migrations)))
	set(batch, metaKey(metaChain), s.tip.Chain[:])
	set(batch, metaKey(metaMarked), nil)
	set(batch, metaKey(metaOpens), binary.AppendUvarint(nil, s.info.Opens))
	set(batch, metaKey(metaBoots), append(binary.AppendUvarint(nil, s.info.Boots), s.options.BootID...))
	set(batch, metaKey(metaSealedUnconfirmed), nil)
	s.unsure = s.unsure || !s.running // of a run that goes on it is known
	if s.unsure {
		set(batch, metaKey(metaUnsure), nil)
	}
	return s.guard.commit(batch)
}

// restoreKeys writes the table of keys anew.
func (s *Store) restoreKeys() error {
	list := s.deriveKeys(s.tip.Height)
	batch := s.db.NewBatch()
	defer batch.Close()
	for _, c := range list.changes {
		set(batch, key(spaceKeys, c.height), c.key[:])
	}
	if list.broken != nil && s.tip.Key == (publicKey{}) {
		return list.broken
	}
	if list.broken != nil {
		// As where the head mark alone tells the key in force: what set it cannot be shown, so nothing from there on is proved.
		set(batch, key(spaceKeys, list.upTo+1), append(bytes.Clone(s.tip.Key[:]), keyUnexplained))
		s.options.Logger.Error("how the key in force came to be cannot be shown any more: entries from here on are recorded, and cannot be proved. To have proofs again, begin a new chain that names this one: edgeagent init --continue", "height", list.upTo+1)
	}
	if err := s.guard.commit(batch); err != nil {
		return err
	}
	s.sides.mu.Lock()
	s.sides.badKeys = false
	s.sides.mu.Unlock()
	return nil
}

// restoreNodes writes the copies of the history's nodes anew that the blocks still tell.
func (s *Store) restoreNodes(lost []lostKeys) error {
	batch := s.db.NewBatch()
	defer batch.Close()
	for _, l := range lost {
		from, to := heightOfReceipt(paddedKey(l.from)), min(heightOfReceipt(paddedKey(l.to)), s.tip.Height)
		for at := from | (1<<spareLevel - 1); at <= to; at += 1 << spareLevel {
			for level := spareLevel; (at+1)&(1<<level-1) == 0; level++ {
				if h, err := s.storedNode(at, level); err == nil {
					set(batch, spareNodeKey(at, level), h[:])
				}
			}
		}
	}
	return s.guard.commit(batch)
}

// paddedKey returns a key with at least the nine bytes that hold a space and a height.
func paddedKey(k []byte) []byte { return append(bytes.Clone(k), make([]byte, 9)...) }

// matchReceipts makes receipts and their index agree where either lost something: what the index names and is not there
// goes, so that it is not looked for for ever and may come again; what is there and not in the index is listed, as one
// of which nobody knows when it came.
func (s *Store) matchReceipts(lost []lostKeys) error {
	for _, l := range lost {
		from, to, name := uint64(0), s.tip.Height, ""
		if l.from[0] == spaceReceipts {
			from, to = heightOfReceipt(paddedKey(l.from)), min(to, heightOfReceipt(paddedKey(l.to)))
		} else if a, b := indexPlace(l.from), indexPlace(l.to); a.name == b.name && a.name != "" {
			from, to, name = a.height, min(to, b.height), a.name
		}
		if from > to {
			continue // above the newest header
		}
		if err := errors.Join(s.dropUnmatched(from, to, name), s.listReceipts(from, to)); err != nil {
			return err
		}
	}
	return nil
}

// indexPlace takes apart a key of the index of receipts, or what is left of one.
func indexPlace(k []byte) named {
	name, at, found := bytes.Cut(k[1:], []byte{0})
	if !found || k[0] != spaceReceived {
		return named{}
	}
	return named{binary.BigEndian.Uint64(append(bytes.Clone(at), make([]byte, 8)...)), string(name)}
}

// dropUnmatched deletes from the index what it names between two heights, both included, and is not held.
func (s *Store) dropUnmatched(from, to uint64, name string) error {
	names := []string{name}
	if name == "" {
		var err error
		if names, err = s.Aggregators(); err != nil {
			return err
		}
	}
	w := s.sideWriter()
	for _, name := range names {
		scan, err := s.scanSide(receivedKey(name, from), append(receivedKey(name, to), 0))
		if err != nil {
			return err
		}
		for ok := scan.first(); ok; ok = scan.next() {
			_, held, err := s.heldReceipt(heightOfReceived(scan.key()), name)
			if err == nil && !held {
				err = w.put(func(b *pebble.Batch) error { return b.Delete(scan.key(), nil) })
			}
			if err != nil {
				scan.close()
				return err
			}
		}
		scan.close()
	}
	return w.close()
}

// listReceipts puts those receipts between two heights, both included, into the index that are not in it.
func (s *Store) listReceipts(from, to uint64) error {
	scan, err := s.scanSide(key(spaceReceipts, from), key(spaceReceipts, to+1))
	if err != nil {
		return err
	}
	defer scan.close()
	w := s.sideWriter()
	unknown := binary.AppendUvarint(nil, arrivedUnknown)
	for ok := scan.first(); ok; ok = scan.next() {
		if _, err := lightchain.DecodeReceipt(scan.value()); err != nil {
			continue
		}
		k := receivedKey(nameOfReceipt(scan.key()), heightOfReceipt(scan.key()))
		if _, err := s.get(k); !errors.Is(err, ErrNotFound) {
			continue
		}
		if err := w.put(func(b *pebble.Batch) error { return b.Set(k, unknown, nil) }); err != nil {
			return err
		}
	}
	return errors.Join(scan.err, w.close())
}

// sideWriter writes much in batches of some size.
type sideWriter struct {
	s     *Store
	batch *pebble.Batch
}

func (s *Store) sideWriter() *sideWriter { return &sideWriter{s, s.db.NewBatch()} }

func (w *sideWriter) put(what func(*pebble.Batch) error) error {
	if err := what(w.batch); err != nil || w.batch.Len() < 1<<18 {
		return err
	}
	err := w.s.guard.commit(w.batch)
	w.batch.Close()
	w.batch = w.s.db.NewBatch()
	return err
}

func (w *sideWriter) close() error {
	defer w.batch.Close()
	if w.batch.Empty() {
		return nil
	}
	return w.s.guard.commit(w.batch)
}
