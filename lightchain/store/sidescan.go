package store

import (
	"bytes"
	"context"
	"errors"
	"math/big"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// What stands beside the blocks (receipts and their indexes, keys, notes of what is absent or lost) never keeps anything
// else from going on: what of it cannot be read is not held, the next is taken, or it is derived from headers. Pebble's
// iterators end at a block that cannot be read and say nothing of those behind it, so that one bad block would take the
// whole space. A sideScan steps over it, to where the index of its table says that the next one begins.

// sides is what a reader has met of damage beside the blocks. Its zero value has met none.
type sides struct {
	mu   sync.Mutex
	met  map[byte]map[string]bool // by space: files of tables in one of which something could not be read
	keys keyList                  // derived from headers, once the table of keys is not to be trusted

	refused    map[named]bool  // receipts that do not check
	lacking    map[uint64]bool // heights of headers that were had from beside the database alone
	unfinished map[byte]bool   // spaces of which an earlier run replaced tables, and did not write anew what was lost with them
	unmatched  bool            // the index names a receipt that is not there
	badKeys    bool            // the table of keys is damaged, or lacks something
	candidates []publicKey     // those given to Open: what signs may be in force
}

// meet notes that what stands at a key cannot be read. The owner of the tail mends it: see sidemend.go.
func (r *Reader) meet(k []byte) {
	if r.hasMet(k[0]) { // when that is mended the next look meets what is left
		return
	}
	levels, err := r.db.SSTables()
	if err != nil {
		return
	}
	for _, level := range levels {
		for i := range level {
			if t := &level[i]; bytes.Compare(t.Smallest.UserKey, k) <= 0 && bytes.Compare(k, t.Largest.UserKey) <= 0 {
				r.meetTable(t)
			}
		}
	}
}

func (r *Reader) meetTable(t *pebble.SSTableInfo) {
	space := t.Smallest.UserKey[0]
	s := &r.sides
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.met == nil {
		s.met = map[byte]map[string]bool{}
	}
	if s.met[space] == nil {
		s.met[space] = map[string]bool{}
	}
	s.met[space][salvage.TableName(t)] = true
}

func (r *Reader) hasMet(space byte) bool {
	r.sides.mu.Lock()
	defer r.sides.mu.Unlock()
	return len(r.sides.met[space]) > 0
}

// distrustKeys has the table of keys derived from headers from now on.
func (r *Reader) distrustKeys() {
	r.sides.mu.Lock()
	defer r.sides.mu.Unlock()
	r.sides.badKeys = true
}

// misses notes that the index names a receipt that is not there, or cannot be read.
func (r *Reader) misses() {
	r.sides.mu.Lock()
	defer r.sides.mu.Unlock()
	r.sides.unmatched = true
}

// getSide is get for what stands beside the blocks: that it cannot be read is noted.
func (r *Reader) getSide(k []byte) ([]byte, error) {
	v, err := r.get(k)
	if errors.Is(err, ErrDamaged) {
		r.meet(k)
	}
	return v, err
}

// sideScan walks over a range of a side space, forwards or backwards, past what cannot be read.
type sideScan struct {
	r     *Reader
	it    *pebble.Iterator
	lower []byte
	upper []byte
	at    []byte // scratch
	holes bool   // something could not be read
	err   error  // what ended the scan, if that was not its end
}

// scanSide returns a scan over the keys from lower on and below upper, both of one space. Close it.
func (r *Reader) scanSide(lower, upper []byte) (*sideScan, error) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, readError(err)
	}
	return &sideScan{r: r, it: it, lower: lower, upper: upper}, nil
}

func (s *sideScan) close() {
	if s.it != nil {
		s.it.Close()
	}
}

func (s *sideScan) key() []byte { return s.it.Key() }

func (s *sideScan) value() []byte { return s.it.Value() }

func (s *sideScan) first() bool { return s.seekGE(s.lower) }

func (s *sideScan) last() bool { return s.seekLT(s.upper) }

func (s *sideScan) next() bool {
	s.at = append(append(s.at[:0], s.it.Key()...), 0)
	if s.it.Next() {
		return true
	}
	return s.it.Error() != nil && s.seekGE(s.at)
}

func (s *sideScan) prev() bool {
	s.at = append(s.at[:0], s.it.Key()...)
	if s.it.Prev() {
		return true
	}
	return s.it.Error() != nil && s.seekLT(s.at)
}

// damaged reports whether damage kept the iterator from standing on a key. It takes another one then: Pebble's does not
// leave a table by every way once it has met a block there that it cannot read.
func (s *sideScan) damaged() bool {
	err := readError(s.it.Error())
	if !errors.Is(err, ErrDamaged) {
		s.err = err
		return false
	}
	s.holes = true
	s.it.Close()
	s.it, err = s.r.from.NewIter(&pebble.IterOptions{LowerBound: s.lower, UpperBound: s.upper})
	s.err = readError(err)
	return err == nil
}

// seekGE moves to the first readable pair that is not below k.
func (s *sideScan) seekGE(k []byte) bool {
	for !s.it.SeekGE(k) {
		if s.it.Error() == nil || !s.damaged() {
			return false
		}
		edge, err := s.r.edgeAbove(max2(k, s.lower))
		if edge == nil || bytes.Compare(edge, s.upper) >= 0 {
			s.err = err
			return false
		}
		k = edge
	}
	return true
}

// seekLT moves to the last readable pair below k.
func (s *sideScan) seekLT(k []byte) bool {
	for !s.it.SeekLT(k) {
		if s.it.Error() == nil || !s.damaged() {
			return false
		}
		edge, err := s.r.edgeBelow(min2(k, s.upper))
		if err != nil {
			s.err = err
			return false
		}
		end := edge == nil || bytes.Compare(edge, s.lower) < 0
		if end {
			edge = s.lower
		}
		// On its way back Pebble looks one pair further, and says nothing of the last one before what it cannot read.
		if s.lastOf(edge, min2(k, s.upper)) {
			return true
		}
		if s.it.Error() != nil && !s.damaged() || end {
			return false
		}
		k = edge
	}
	return true
}

// lastOf moves to the last pair of a block that can be read: from one key on and below another.
func (s *sideScan) lastOf(from, below []byte) bool {
	var last []byte
	for ok := s.it.SeekGE(from); ok && bytes.Compare(s.it.Key(), below) < 0; ok = s.it.Next() {
		last = append(last[:0], s.it.Key()...)
	}
	if last == nil && !bytes.HasSuffix(from, []byte{0}) && (s.it.Error() == nil || s.damaged()) {
		// What from ends with is in the block below, which may be readable: this one begins behind it.
		return s.lastOf(append(bytes.Clone(from), 0), below)
	}
	return last != nil && s.it.SeekGE(last)
}

func max2(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

func min2(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return a
	}
	return b
}

// edgeAbove returns the lowest key above k at which another block of a table begins, of those tables that what follows
// k may lie in; nil if there are none.
func (r *Reader) edgeAbove(k []byte) (edge []byte, err error) {
	levels, err := r.db.SSTables()
	if err != nil {
		return nil, readError(err)
	}
	for i, level := range levels {
		for j := range level {
			t := &level[j]
			if bytes.Compare(t.Largest.UserKey, k) < 0 {
				continue
			}
			r.meetTable(t)
			if at := r.blocksOf(t).above(k); edge == nil || bytes.Compare(at, edge) < 0 {
				edge = at
			}
			if i > 0 { // the others lie above this one
				break
			}
		}
	}
	return edge, nil
}

// edgeBelow returns the highest key below k at which a block of a table ends, or its first one begins, of those tables
// that what is below k may lie in; nil if there are none.
func (r *Reader) edgeBelow(k []byte) (edge []byte, err error) {
	levels, err := r.db.SSTables()
	if err != nil {
		return nil, readError(err)
	}
	for i, level := range levels {
		for j := len(level) - 1; j >= 0; j-- {
			t := &level[j]
			if bytes.Compare(t.Smallest.UserKey, k) >= 0 {
				continue
			}
			r.meetTable(t)
			if at := r.blocksOf(t).below(k); edge == nil || bytes.Compare(at, edge) > 0 {
				edge = at
			}
			if i > 0 {
				break
			}
		}
	}
	return edge, nil
}

// tableBlocks tells where the blocks of a table begin, as far as its index can be read.
type tableBlocks struct {
	smallest, largest []byte
	table             *sstable.Reader // nil: its index cannot be read, so none of its blocks can be found
}

// openBlocks opens a table for what is in it.
func openBlocks(fs vfs.FS, path string) (*sstable.Reader, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	if f, err = salvage.Checked(f, nil); err != nil {
		return nil, err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return sstable.NewReader(context.Background(), readable, sstable.ReaderOptions{KeySchemas: salvage.KeySchemas()}) // closes the file
}

func (r *Reader) blocksOf(t *pebble.SSTableInfo) *tableBlocks {
	b := &tableBlocks{smallest: t.Smallest.UserKey, largest: t.Largest.UserKey}
	b.table, _ = openBlocks(r.fs, r.fs.PathJoin(r.path, salvage.TableName(t)))
	return b
}

// upTo returns the bytes of the blocks up to the one that a key lies in or would lie in: as many for all keys of a block.
func (b *tableBlocks) upTo(k []byte) uint64 {
	n, err := b.table.EstimateDiskUsage(b.smallest, k, sstable.NoReadEnv)
	if err != nil { // a part of a large table's index
		return 0
	}
	return n
}

// above returns the lowest key above k that lies in another block, one above the table's last where there is none.
func (b *tableBlocks) above(k []byte) []byte {
	if b.table == nil {
		return append(bytes.Clone(b.largest), 0)
	}
	defer b.table.Close()
	return b.next(k)
}

func (b *tableBlocks) next(k []byte) []byte {
	end := append(bytes.Clone(b.largest), 0)
	low := max2(k, b.smallest)
	block := b.upTo(low)
	return leastKey(low, end, func(at []byte) bool { return bytes.Compare(at, end) >= 0 || b.upTo(at) > block })
}

// below returns the highest key that lies in the block before that of the last key below k; the table's smallest where
// there is none.
func (b *tableBlocks) below(k []byte) []byte {
	if b.table == nil {
		return b.smallest
	}
	defer b.table.Close()
	high := b.largest
	if bytes.Compare(k, high) <= 0 {
		high = keyBefore(k)
	}
	block := b.upTo(high)
	if b.upTo(b.smallest) >= block {
		return b.smallest
	}
	least := leastKey(b.smallest, high, func(at []byte) bool { return b.upTo(at) >= block })
	if least[len(least)-1] == 0 {
		return least[:len(least)-1] // what is not in the block any more
	}
	return keyBefore(least)
}

// keyBefore returns a key below k that none of any length in use here lies between.
func keyBefore(k []byte) []byte {
	n := len(k) + 1
	at := numberOf(k, n)
	return at.Sub(at, big.NewInt(1)).FillBytes(make([]byte, n))
}

// leastKey returns the least key above low, and up to high, for which is holds, as it does for high and not for low:
// halving the distance, which takes eight steps for each byte in which they may differ.
func leastKey(low, high []byte, is func(k []byte) bool) []byte {
	same := 0
	for same < len(low) && same < len(high) && low[same] == high[same] {
		same++
	}
	n := max(len(low), len(high)) - same + 1
	at := func(x *big.Int) []byte { return append(bytes.Clone(high[:same]), x.FillBytes(make([]byte, n))...) }
	a, b := numberOf(low[same:], n), numberOf(high[same:], n)
	for middle := new(big.Int); ; {
		middle.Rsh(middle.Add(a, b), 1)
		if middle.Cmp(a) == 0 {
			break
		}
		if is(at(middle)) {
			b.Set(middle)
		} else {
			a.Set(middle)
		}
	}
	k := at(b)
	for len(k) > 0 && k[len(k)-1] == 0 && is(k[:len(k)-1]) {
		k = k[:len(k)-1]
	}
	return k
}

// numberOf returns the number whose n bytes are a key and zeros.
func numberOf(k []byte, n int) *big.Int {
	return new(big.Int).SetBytes(append(bytes.Clone(k), make([]byte, n-len(k))...))
}
