package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"edgechain.example/lightchain"

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
	s.mendSides() // what is damaged first: it may be this receipt that comes again
	_, held, err := s.heldReceipt(height, r.Name)
	if err != nil {
		return err
	}
	if held {
		if _, err := s.getSide(receivedKey(r.Name, height)); err == nil || !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDamaged) {
			return err
		}
	} else if err := s.putSynced(receiptKey(height, r.Name), encoded); err != nil {
		return err
	}
	s.mark.receipted[r.Name] = max(s.mark.receipted[r.Name], height) // on disk with the next mark
	// The receipt is durable. If the power fails here nobody finds it, until it comes again and the number with it. One
	// that was lost and comes again counts from now on: no beacon to come may name it as one that came before.
	next := s.tip.Next + s.open.count + pending()
	return s.putSynced(receivedKey(r.Name, height), binary.AppendUvarint(nil, next))
}

// arrivedUnknown as the number of the next entry says that nobody knows any more when the receipt came. No block but a
// heartbeat names it in its beacon.
const arrivedUnknown = math.MaxInt64

// renumberReceived has the receipts that came after the entry first came after the same entry under its new number,
// which is higher by shift.
func (s *Store) renumberReceived(batch *pebble.Batch, first, shift uint64) error {
	scan, err := s.scanSide([]byte{spaceReceived}, []byte{spaceReceived + 1})
	if err != nil {
		return err
	}
	defer scan.close()
	for ok := scan.first(); ok; ok = scan.next() {
		if next, n := binary.Uvarint(scan.value()); n > 0 && next > first && next < arrivedUnknown {
			set(batch, scan.key(), binary.AppendUvarint(nil, next+shift))
		}
	}
	return scan.err
}

func (s *Store) putSynced(k, v []byte) error {
	batch := s.db.NewBatch()
	defer batch.Close()
	set(batch, k, v)
	return s.guard.commit(batch)
}

func (s *Store) deleteSynced(k []byte) error {
	batch := s.db.NewBatch()
	defer batch.Close()
	if err := batch.Delete(k, nil); err != nil {
		return err
	}
	return s.guard.commit(batch)
}

// NewestReceipt returns the highest header that the aggregator has receipted.
func (r *Reader) NewestReceipt(name string) (height uint64, found bool, err error) {
	height, _, found, err = r.newestBefore(name, math.MaxUint64)
	return height, found, err
}

// ReceiptAt is a receipt on the header at a height.
type ReceiptAt struct {
	Height uint64
	lightchain.Receipt
}

// ReceiptsAround returns the aggregator's receipts on the nearest headers below and above the height; nil where there is
// none.
func (r *Reader) ReceiptsAround(name string, height uint64) (below, above *ReceiptAt, err error) {
	scan, err := r.scanReceived(name)
	if err != nil {
		return nil, nil, err
	}
	defer scan.close()
	for ok := scan.seekLT(receivedKey(name, height)); ok && below == nil; ok = scan.prev() {
		at := heightOfReceived(scan.key())
		receipt, held, err := r.heldReceipt(at, name)
		if err != nil {
			return nil, nil, err
		}
		if held {
			below = &ReceiptAt{at, receipt}
		}
	}
	if scan.err != nil {
		return nil, nil, scan.err
	}
	at, receipt, found, err := r.receipted(name, height+1)
	if found {
		above = &ReceiptAt{at, receipt}
	}
	return below, above, err
}

// scanReceived returns a scan over the index of one aggregator's receipts.
func (r *Reader) scanReceived(name string) (*sideScan, error) {
	return r.scanSide(receivedKey(name, 0), append(receivedPrefix(name), 1))
}

// Receipts returns the receipts held on the header at height, in the order in which they stand on it. One that cannot be
// read is not held.
func (r *Reader) Receipts(height uint64) ([]lightchain.Receipt, error) {
	scan, err := r.scanSide(key(spaceReceipts, height), key(spaceReceipts, height+1))
	if err != nil {
		return nil, err
	}
	defer scan.close()
	var receipts []lightchain.Receipt
	for ok := scan.first(); ok; ok = scan.next() {
		receipt, err := lightchain.DecodeReceipt(scan.value())
		if err != nil {
			r.meet(scan.key())
			continue
		}
		receipts = append(receipts, receipt)
	}
	lightchain.SortReceipts(receipts)
	return receipts, scan.err
}

// heldReceipt returns the receipt of one aggregator on the header at height, unless it is not there or cannot be read.
func (r *Reader) heldReceipt(height uint64, name string) (receipt lightchain.Receipt, held bool, err error) {
	b, err := r.getSide(receiptKey(height, name))
	switch {
	case err == nil && r.refuses(named{height, name}):
		return receipt, false, nil
	case errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged):
		return receipt, false, nil
	case err != nil:
		return receipt, false, fmt.Errorf("receipt of %s on header %d: %w", name, height, err)
	}
	if receipt, err = lightchain.DecodeReceipt(b); err != nil {
		r.meet(receiptKey(height, name))
		return receipt, false, nil
	}
	return receipt, true, nil
}

// Aggregators returns the names of those whose receipts are held.
func (r *Reader) Aggregators() (names []string, err error) {
	scan, err := r.scanSide([]byte{spaceReceived}, []byte{spaceReceived + 1})
	if err != nil {
		return nil, err
	}
	defer scan.close()
	for ok := scan.first(); ok; {
		name, _, found := bytes.Cut(scan.key()[1:], []byte{0})
		if !found {
			break
		}
		names = append(names, string(name))
		ok = scan.seekGE(append(receivedPrefix(string(name)), 1))
	}
	if scan.err != nil || !scan.holes {
		return names, scan.err
	}
	return r.addReceiptNames(names)
}

// namesIn is how many receipts are looked at, from either end, for the names of aggregators that the index lacks.
const namesIn = 1000

// addReceiptNames adds the aggregators whose names are lost with a part of the index, as far as receipts tell them.
func (r *Reader) addReceiptNames(names []string) ([]string, error) {
	scan, err := r.scanSide([]byte{spaceReceipts}, []byte{spaceReceipts + 1})
	if err != nil {
		return nil, err
	}
	defer scan.close()
	for _, from := range []struct {
		start func() bool
		step  func() bool
	}{{scan.first, scan.next}, {scan.last, scan.prev}} {
		n := 0
		for ok := from.start(); ok && n < namesIn; ok = from.step() {
			if name := nameOfReceipt(scan.key()); !slices.Contains(names, name) {
				names = append(names, name)
			}
			n++
		}
	}
	slices.Sort(names)
	return names, scan.err
}

func nameOfReceipt(k []byte) string { return string(k[min(9, len(k)):]) }

// Receipted returns the lowest height at or above the given one that the aggregator has receipted.
func (r *Reader) Receipted(name string, from uint64) (height uint64, found bool, err error) {
	height, _, found, err = r.receipted(name, from)
	return height, found, err
}

// receipted returns the receipt of the aggregator on the lowest header at or above a height. One that the index names
// and that cannot be read is not held, and the next is taken; where the index has holes the receipts themselves tell.
func (r *Reader) receipted(name string, from uint64) (height uint64, receipt lightchain.Receipt, found bool, err error) {
	scan, err := r.scanReceived(name)
	if err != nil {
		return 0, receipt, false, err
	}
	defer scan.close()
	for ok := scan.seekGE(receivedKey(name, from)); ok; {
		height = heightOfReceived(scan.key())
		if receipt, found, err = r.heldReceipt(height, name); found || err != nil {
			break
		}
		behind, err := r.behindUnheld(height, name)
		if err != nil {
			return 0, receipt, false, err
		}
		ok = scan.seekGE(receivedKey(name, behind))
	}
	if err != nil || scan.err != nil {
		return 0, receipt, false, cmp.Or(err, scan.err)
	}
	if !scan.holes {
		return height, receipt, found, nil
	}
	if !found {
		height = math.MaxUint64
	}
	if at, lost, ok, err := r.unlisted(name, from, height); ok || err != nil {
		return at, lost, ok, err
	}
	return height, receipt, found, nil
}

// behindUnheld returns the height at which to go on behind a receipt that the index names and that is not held: one of
// many in a block that cannot be read, or one of many that are not there.
func (r *Reader) behindUnheld(height uint64, name string) (uint64, error) {
	r.misses()
	scan, err := r.scanSide(receiptKey(height, name), []byte{spaceReceipts + 1})
	if err != nil {
		return 0, err
	}
	defer scan.close()
	if !scan.first() {
		return math.MaxUint64, scan.err
	}
	at := heightOfReceipt(scan.key())
	if at == height {
		at++
	}
	return at, nil
}

// unlistedLook is how many receipts are read at most to find one that the index lacks.
const unlistedLook = 10_000

// unlisted returns the receipt of the aggregator on the lowest header of from .. below−1 that is held, whatever the
// index says.
func (r *Reader) unlisted(name string, from, below uint64) (height uint64, receipt lightchain.Receipt, found bool, err error) {
	scan, err := r.scanSide(key(spaceReceipts, from), []byte{spaceReceipts + 1})
	if err != nil {
		return 0, receipt, false, err
	}
	defer scan.close()
	n := 0
	for ok := scan.first(); ok && n < unlistedLook; ok = scan.next() {
		height = heightOfReceipt(scan.key())
		if height >= below {
			break
		}
		if nameOfReceipt(scan.key()) == name {
			if receipt, err := lightchain.DecodeReceipt(scan.value()); err == nil {
				return height, receipt, true, nil
			}
		}
		n++
	}
	return 0, receipt, false, scan.err
}

// ReceiptedBy returns the highest header that the aggregator has receipted at the given second or before, and when it
// did. Of one aggregator's receipts a higher header's is never older, for it issues no time below its last.
func (r *Reader) ReceiptedBy(name string, second uint64) (height, at uint64, found bool, err error) {
	low, high := uint64(0), r.view().tip.Height+1 // it is at low or above, and below high
	for low < high {
		middle := low + (high-low)/2
		candidate, receipt, known, err := r.receipted(name, middle)
		if err != nil {
			return 0, 0, false, err
		}
		if !known || receipt.Time > second {
			high = middle
			continue
		}
		height, at, found = candidate, receipt.Time, true
		low = candidate + 1
	}
	return height, at, found, nil
}

func heightOfReceipt(k []byte) uint64 { return binary.BigEndian.Uint64(k[1:]) }

func heightOfReceived(k []byte) uint64 { return binary.BigEndian.Uint64(k[len(k)-8:]) }

// named is one receipt that a beacon names.
type named struct {
	height uint64
	name   string
}

// newestBefore returns the newest receipt, by height, of the aggregator that was held before the entry arrived, as far
// as it can be read.
func (r *Reader) newestBefore(name string, entry uint64) (height uint64, receipt lightchain.Receipt, found bool, err error) {
	scan, err := r.scanReceived(name)
	if err != nil {
		return 0, receipt, false, err
	}
	defer scan.close()
	for ok := scan.last(); ok; ok = scan.prev() {
		if next, n := binary.Uvarint(scan.value()); n <= 0 || next > entry {
			continue
		}
		height = heightOfReceived(scan.key())
		if receipt, found, err = r.heldReceipt(height, name); found || err != nil {
			return height, receipt, found, err
		}
		r.misses()
	}
	return 0, receipt, false, scan.err
}

// newestOfEach returns the newest receipt of each aggregator that was held before the entry arrived, the newest first,
// no more than a beacon names.
func (r *Reader) newestOfEach(entry uint64) (beacon []named, held map[named]lightchain.Receipt, err error) {
	names, err := r.Aggregators()
	if err != nil {
		return nil, nil, err
	}
	held = map[named]lightchain.Receipt{}
	for _, name := range names {
		height, receipt, found, err := r.newestBefore(name, entry)
		if err != nil {
			return nil, nil, err
		}
		if found {
			beacon = append(beacon, named{height, name})
			held[named{height, name}] = receipt
		}
	}
	if len(beacon) > maxBeacon { // the newest say most
		slices.SortStableFunc(beacon, func(a, b named) int { return cmp.Compare(b.height, a.height) })
		beacon = beacon[:maxBeacon]
	}
	return beacon, held, nil
}

// putBeacon puts the beacon into a header that is about to be sealed, and into the batch which receipts it names if
// that is another set than the last block's. What cannot be read is not held, and must not keep the block from being
// sealed.
//
// SPEC: A beacon (key 11) is the SHA-256 of the encoded array (1 to 8, ascending by bytes) of the newest receipt, by
// height, of each aggregator, as the gateway held them durably before the first entry of this block arrived (when it
// sealed, for a block of none).
func (s *Store) putBeacon(batch *pebble.Batch, h *lightchain.Header) error {
	before := h.First
	if h.Count == 0 {
		before = math.MaxUint64
	}
	beacon, held, err := s.newestOfEach(before)
	if err != nil {
		return err
	}
	if len(beacon) == 0 {
		return nil
	}
	hash, err := beaconOf(beacon, held)
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

// beaconOf returns the beacon that names receipts.
func beaconOf(beacon []named, held map[named]lightchain.Receipt) (lightchain.Hash, error) {
	receipts := make([]lightchain.Receipt, len(beacon))
	for i, b := range beacon {
		receipts[i] = held[b]
	}
	lightchain.SortReceipts(receipts)
	return lightchain.Beacon(receipts)
}

// errBeacon means that the receipts a beacon names are not held any more, or cannot be told.
var errBeacon = errors.New("the receipts that its beacon names are not held")

// beacon returns for each receipt that the beacon of a header names the signed header it is on, with it alone, in the
// beacon's order. Its error is errBeacon where they are lost: without them the beacon bounds nothing.
func (r *Reader) beacon(h *lightchain.Header) ([]*lightchain.SignedHeader, error) {
	list, held, err := r.beaconReceipts(h)
	if err != nil {
		return nil, err
	}
	headers := map[lightchain.Receipt]*lightchain.SignedHeader{}
	var receipts []lightchain.Receipt
	for _, n := range list {
		on, err := r.Header(n.height)
		if errors.Is(err, ErrNotHeld) || errors.Is(err, ErrUnsigned) || errors.Is(err, ErrDamaged) {
			return nil, fmt.Errorf("%w: %w", errBeacon, err)
		}
		if err != nil {
			return nil, err
		}
		receipt := held[n]
		on.Receipts = []lightchain.Receipt{receipt}
		headers[receipt] = on
		receipts = append(receipts, receipt)
	}
	lightchain.SortReceipts(receipts)
	ordered := make([]*lightchain.SignedHeader, len(receipts))
	for i, receipt := range receipts {
		ordered[i] = headers[receipt]
	}
	return ordered, nil
}

// beaconReceipts finds the receipts that the beacon of a header names: those that the index of beacons lists, or, where
// that cannot be read or a receipt has changed since, those that were the newest when the block began. The beacon itself
// tells whether they are the ones.
func (r *Reader) beaconReceipts(h *lightchain.Header) (list []named, held map[named]lightchain.Receipt, err error) {
	b, err := r.getSide(key(spaceBeacons, h.Height))
	if err == nil {
		if list, err = decodeBeacon(b); err != nil {
			r.meet(key(spaceBeacons, h.Height))
		} else if held, err = r.heldReceipts(list); err != nil {
			return nil, nil, err
		} else if len(held) == len(list) {
			if is, err := beaconOf(list, held); err == nil && is == *h.Beacon {
				return list, held, nil
			}
		}
	} else if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDamaged) {
		return nil, nil, err
	}
	list, held, err = r.newestOfEach(h.First)
	if err != nil {
		return nil, nil, err
	}
	if len(list) > 0 {
		if is, err := beaconOf(list, held); err == nil && is == *h.Beacon {
			return list, held, nil
		}
	}
	return nil, nil, errBeacon
}

// heldReceipts returns those of the receipts named that are held.
func (r *Reader) heldReceipts(list []named) (map[named]lightchain.Receipt, error) {
	held := map[named]lightchain.Receipt{}
	for _, n := range list {
		receipt, found, err := r.heldReceipt(n.height, n.name)
		if err != nil {
			return nil, err
		}
		if found {
			held[n] = receipt
		}
	}
	return held, nil
}
