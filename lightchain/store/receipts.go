package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"edgechain/lightchain"

	"github.com/cockroachdb/pebble/v2"
)

// maxBeacon is how many receipts a beacon names at most.
const maxBeacon = 8

// PutReceipt stores a receipt on the header at height durably, and then with it the number of the next entry to
// arrive: a block may name the receipt in its beacon only if its own first entry arrived after the receipt was durable.
// pending is asked for once it is: how many entries have arrived by then and were not staged yet, or more. The caller
// has checked the receipt under the aggregator's key. Of one aggregator's receipts on one header the first stays, as
// it is the earliest, and one that a beacon names must not change.
func (s *Store) PutReceipt(height uint64, r lightchain.Receipt, pending func() uint64) error {
	if err := s.putReceipt(height, r, pending); err != nil {
		return fmt.Errorf("storing the receipt of %s on header %d: %w", r.Name, height, err)
	}
	return nil
}

func (s *Store) putReceipt(height uint64, r lightchain.Receipt, pending func() uint64) error {
	encoded, err := r.Append(nil)
	if err != nil {
		return err
	}
	if height > s.tip.Height {
		return fmt.Errorf("%w: the newest header is %d", ErrNotFound, s.tip.Height)
	}
	if _, err := s.get(receivedKey(r.Name, height)); !errors.Is(err, ErrNotFound) {
		return err
	}
	if _, err := s.get(receiptKey(height, r.Name)); errors.Is(err, ErrNotFound) {
		if err := s.putSynced(receiptKey(height, r.Name), encoded); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	s.mark.receipted[r.Name] = max(s.mark.receipted[r.Name], height) // on disk with the next mark
	// The receipt is durable. If the power fails here nobody finds it, until it comes again and the number with it.
	next := s.tip.Next + s.open.count + pending()
	return s.putSynced(receivedKey(r.Name, height), binary.AppendUvarint(nil, next))
}

// renumberReceived has the receipts that came after the entry first came after the same entry under its new number,
// which is higher by shift.
func (s *Store) renumberReceived(batch *pebble.Batch, first, shift uint64) error {
	it, err := s.from.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceReceived}, UpperBound: []byte{spaceReceived + 1}})
	if err != nil {
		return readError(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if next, n := binary.Uvarint(it.Value()); n > 0 && next > first {
			set(batch, it.Key(), binary.AppendUvarint(nil, next+shift))
		}
	}
	return readError(it.Error())
}

func (s *Store) putSynced(k, v []byte) error {
	batch := s.db.NewBatch()
	defer batch.Close()
	set(batch, k, v)
	return s.guard.commit(batch)
}

// NewestReceipt returns the highest header that the aggregator has receipted.
func (r *Reader) NewestReceipt(name string) (height uint64, found bool, err error) {
	return r.newestBefore(name, math.MaxUint64)
}

// ReceiptAt is a receipt on the header at a height.
type ReceiptAt struct {
	Height uint64
	lightchain.Receipt
}

// ReceiptsAround returns the aggregator's receipts on the nearest headers below and above the height; nil where there is
// none.
func (r *Reader) ReceiptsAround(name string, height uint64) (below, above *ReceiptAt, err error) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: receivedKey(name, 0), UpperBound: append(receivedPrefix(name), 1)})
	if err != nil {
		return nil, nil, readError(err)
	}
	defer it.Close()
	read := func(ok bool) (*ReceiptAt, error) {
		if !ok {
			return nil, readError(it.Error())
		}
		at := heightOfReceived(it.Key())
		receipt, err := r.receipt(at, name)
		return &ReceiptAt{at, receipt}, err
	}
	if below, err = read(it.SeekLT(receivedKey(name, height))); err != nil {
		return nil, nil, err
	}
	above, err = read(it.SeekGE(receivedKey(name, height+1)))
	return below, above, err
}

// Receipts returns the receipts held on the header at height, in the order in which they stand on it.
func (r *Reader) Receipts(height uint64) ([]lightchain.Receipt, error) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: key(spaceReceipts, height), UpperBound: key(spaceReceipts, height+1)})
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	var receipts []lightchain.Receipt
	for ok := it.First(); ok; ok = it.Next() {
		receipt, err := lightchain.DecodeReceipt(it.Value())
		if err != nil {
			return nil, &DamageError{Height: height, Err: err}
		}
		receipts = append(receipts, receipt)
	}
	lightchain.SortReceipts(receipts)
	return receipts, readError(it.Error())
}

// receipt returns the receipt of one aggregator on the header at height.
func (r *Reader) receipt(height uint64, name string) (lightchain.Receipt, error) {
	b, err := r.get(receiptKey(height, name))
	if err != nil {
		return lightchain.Receipt{}, fmt.Errorf("receipt of %s on header %d: %w", name, height, err)
	}
	return lightchain.DecodeReceipt(b)
}

// Aggregators returns the names of those whose receipts are held.
func (r *Reader) Aggregators() (names []string, err error) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceReceived}, UpperBound: []byte{spaceReceived + 1}})
	if err != nil {
		return nil, readError(err)
	}
	defer it.Close()
	for ok := it.First(); ok; {
		name, _, found := bytes.Cut(it.Key()[1:], []byte{0})
		if !found {
			break
		}
		names = append(names, string(name))
		ok = it.SeekGE(append(receivedPrefix(string(name)), 1))
	}
	return names, readError(it.Error())
}

// Receipted returns the lowest height at or above the given one that the aggregator has receipted.
func (r *Reader) Receipted(name string, from uint64) (height uint64, found bool, err error) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: receivedKey(name, from), UpperBound: append(receivedPrefix(name), 1)})
	if err != nil {
		return 0, false, readError(err)
	}
	defer it.Close()
	if !it.First() {
		return 0, false, readError(it.Error())
	}
	return heightOfReceived(it.Key()), true, nil
}

// ReceiptedBy returns the highest header that the aggregator has receipted at the given second or before, and when it
// did. Of one aggregator's receipts a higher header's is never older, for it issues no time below its last.
func (r *Reader) ReceiptedBy(name string, second uint64) (height, at uint64, found bool, err error) {
	low, high := uint64(0), r.view().tip.Height+1 // it is at low or above, and below high
	for low < high {
		middle := low + (high-low)/2
		candidate, known, err := r.Receipted(name, middle)
		if err != nil {
			return 0, 0, false, err
		}
		if !known {
			high = middle
			continue
		}
		receipt, err := r.receipt(candidate, name)
		if err != nil {
			return 0, 0, false, err
		}
		if receipt.Time > second {
			high = middle
			continue
		}
		height, at, found = candidate, receipt.Time, true
		low = candidate + 1
	}
	return height, at, found, nil
}

func heightOfReceived(k []byte) uint64 { return binary.BigEndian.Uint64(k[len(k)-8:]) }

// named is one receipt that a beacon names.
type named struct {
	height uint64
	name   string
}

// newestBefore returns the newest receipt, by height, of the aggregator that was held before the entry arrived.
func (r *Reader) newestBefore(name string, entry uint64) (height uint64, found bool, err error) {
	it, err := r.from.NewIter(&pebble.IterOptions{LowerBound: receivedKey(name, 0), UpperBound: append(receivedPrefix(name), 1)})
	if err != nil {
		return 0, false, readError(err)
	}
	defer it.Close()
	for ok := it.Last(); ok; ok = it.Prev() {
		if next, n := binary.Uvarint(it.Value()); n > 0 && next <= entry {
			return heightOfReceived(it.Key()), true, nil
		}
	}
	return 0, false, readError(it.Error())
}

// putBeacon puts the beacon into a header that is about to be sealed, and into the batch which receipts it names if
// that is another set than the last block's.
//
// SPEC: A beacon (key 11) is the SHA-256 of the encoded array (1 to 8, ascending by bytes) of the newest receipt, by
// height, of each aggregator, as the gateway held them durably before the first entry of this block arrived (when it
// sealed, for a block of none).
func (s *Store) putBeacon(batch *pebble.Batch, h *lightchain.Header) error {
	names, err := s.Aggregators()
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	before := h.First
	if h.Count == 0 {
		before = math.MaxUint64
	}
	var beacon []named
	held := map[named]lightchain.Receipt{}
	for _, name := range names {
		height, found, err := s.newestBefore(name, before)
		newest := named{height, name}
		if err == nil && found {
			held[newest], err = s.receipt(height, name)
		}
		switch {
		case errors.Is(err, ErrDamaged): // what cannot be read is not held, and must not keep the block from being sealed
			s.options.Logger.Warn("the beacon does without an aggregator's receipt", "aggregator", name, "err", err)
		case err != nil:
			return err
		case found:
			beacon = append(beacon, newest)
		}
	}
	if len(beacon) == 0 {
		return nil
	}
	if len(beacon) > maxBeacon { // the newest say most
		slices.SortStableFunc(beacon, func(a, b named) int {
			if a.height > b.height {
				return -1
			}
			return 1
		})
		beacon = beacon[:maxBeacon]
	}
	receipts := make([]lightchain.Receipt, len(beacon))
	for i, b := range beacon {
		receipts[i] = held[b]
	}
	lightchain.SortReceipts(receipts)
	hash, err := lightchain.Beacon(receipts)
	if err != nil {
		return err
	}
	h.Beacon = &hash
	set(batch, key(spaceBeacons, h.Height), appendBeacon(nil, beacon))
	return nil
}

// appendBeacon appends which receipts a beacon names: uvarint height, length of name, name, for each.
func appendBeacon(b []byte, beacon []named) []byte {
	for _, n := range beacon {
		b = append(append(binary.AppendUvarint(b, n.height), byte(len(n.name))), n.name...)
	}
	return b
}

func decodeBeacon(b []byte) (beacon []named, err error) {
	for len(b) > 0 {
		height, n := binary.Uvarint(b)
		if n <= 0 || len(b) <= n || len(b) < n+1+int(b[n]) {
			return nil, errors.New("not a list of receipts")
		}
		end := n + 1 + int(b[n])
		beacon = append(beacon, named{height, string(b[n+1 : end])})
		b = b[end:]
	}
	return beacon, nil
}

// beacon returns for each receipt that the beacon of the header at height names the signed header it is on, with it
// alone, in the beacon's order.
func (r *Reader) beacon(height uint64) ([]*lightchain.SignedHeader, error) {
	b, err := r.get(key(spaceBeacons, height))
	if err != nil {
		return nil, err
	}
	list, err := decodeBeacon(b)
	if err != nil {
		return nil, &DamageError{Height: height, Err: err}
	}
	headers := map[lightchain.Receipt]*lightchain.SignedHeader{}
	var receipts []lightchain.Receipt
	for _, n := range list {
		receipt, err := r.receipt(n.height, n.name)
		if err != nil {
			return nil, err
		}
		h, err := r.Header(n.height)
		if err != nil {
			return nil, err
		}
		h.Receipts = []lightchain.Receipt{receipt}
		headers[receipt] = h
		receipts = append(receipts, receipt)
	}
	lightchain.SortReceipts(receipts)
	ordered := make([]*lightchain.SignedHeader, len(receipts))
	for i, receipt := range receipts {
		ordered[i] = headers[receipt]
	}
	return ordered, nil
}
