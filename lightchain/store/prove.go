package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"edgechain.example/lightchain"
)

// maxLaterHeaders is how many receipted headers above the block's own a proof may hold.
const maxLaterHeaders = 16

// Prove returns the proof of a sealed entry: its path, its block's header, the headers that set the key, the earliest
// receipted headers that reach the quorum, and those that the block's beacon names. Where fewer aggregators than
// quorum have receipted, those that have are in it, and whoever verifies decides; quorum 0 means 1.
//
// Errors a caller branches on: [ErrNotFound], [ErrNotSealed], [ErrPruned], [ErrNotHeld], [ErrDamaged].
func (r *Reader) Prove(number uint64, quorum int) (*lightchain.Proof, error) {
	p, err := r.prove(number, max(1, quorum))
	if err != nil {
		r.meets(err)
		return nil, fmt.Errorf("proving entry %d: %w", number, err)
	}
	return p, nil
}

func (r *Reader) prove(number uint64, quorum int) (*lightchain.Proof, error) {
	height, sealed, err := r.BlockOf(number)
	if err == nil && !sealed {
		err = ErrNotSealed
	}
	if err != nil {
		return nil, r.pastEnd(number, err)
	}
	p := &lightchain.Proof{}
	// The entries come first: of a block that came back without them the signature may be missing as well, which is nothing to tell.
	header, err := r.HeaderAt(height)
	if err != nil {
		return nil, err
	}
	leaves, entry, err := r.leaves(&header, number)
	if err != nil {
		return nil, err
	}
	p.Entry = entry
	if p.Header, err = r.Header(height); err != nil {
		return nil, err
	}
	h := &p.Header.Header
	if p.EntryPath, err = lightchain.ProveInclusion(lightchain.LeafNodes(leaves), h.Count, number-h.First); err != nil {
		return nil, err
	}
	if root, err := p.EntryPath.Root(lightchain.LeafHash(entry)); err != nil || root != h.Root {
		return nil, &DamageError{height, h.First, h.Count, errors.Join(errors.New("its entries do not give the root that its header says"), err)}
	}
	if err := r.addReceipts(p, quorum); err != nil {
		return nil, err
	}
	if h.Beacon != nil {
		// Without its receipts a beacon bounds nothing, but the proof stands.
		if p.Beacon, err = r.beacon(h); err != nil && !errors.Is(err, errBeacon) {
			return nil, fmt.Errorf("the receipts that its beacon names: %w", err)
		}
	}
	return p, r.addKeys(p)
}

// leaves returns the leaf hashes of a block and the encoding of the one entry wanted.
func (r *Reader) leaves(h *lightchain.Header, number uint64) (leaves []lightchain.Hash, entry []byte, err error) {
	scan, err := r.scanBlock(h.Height, h.First, h.First+h.Count)
	if err != nil {
		return nil, nil, err
	}
	defer scan.close()
	var b []byte
	for scan.next() {
		if scan.err != nil {
			return nil, nil, scan.err
		}
		b = scan.entry(b[:0])
		leaves = append(leaves, lightchain.LeafHash(b))
		if scan.number == number {
			entry = append([]byte(nil), b...)
		}
	}
	return leaves, entry, nil
}

// addReceipts adds the earliest receipts that reach the quorum, each on its header.
func (r *Reader) addReceipts(p *lightchain.Proof, quorum int) error {
	height := p.Header.Header.Height
	names, err := r.Aggregators()
	if err != nil {
		return err
	}
	type found struct {
		height  uint64
		receipt lightchain.Receipt
	}
	var all []found
	for _, name := range names {
		at, receipt, ok, err := r.usableReceipt(name, height)
		if err != nil {
			return err
		}
		if ok {
			all = append(all, found{at, receipt})
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.receipt.Time, b.receipt.Time), cmp.Compare(a.height, b.height))
	})
	later := map[uint64][]lightchain.Receipt{}
	for _, f := range all[:min(quorum, len(all))] {
		if _, there := later[f.height]; there || f.height == height || len(later) < maxLaterHeaders {
			later[f.height] = append(later[f.height], f.receipt)
		}
	}
	heights := make([]uint64, 0, len(later))
	for at := range later {
		heights = append(heights, at)
	}
	slices.Sort(heights)
	for _, at := range heights {
		receipts := later[at]
		lightchain.SortReceipts(receipts)
		if at == height {
			p.Header.Receipts = receipts
			continue
		}
		l := lightchain.LaterHeader{}
		if l.Header, err = r.Header(at); err != nil {
			return err
		}
		l.Header.Receipts = receipts
		if l.Path, err = r.HistoryPath(height, at); err != nil {
			return err
		}
		p.Later = append(p.Later, l)
	}
	return nil
}

// usableReceipt returns the aggregator's receipt on the lowest height from height on whose signed header is held with
// what shows that it contains the one at height: after a restore there may be others.
func (r *Reader) usableReceipt(name string, height uint64) (at uint64, receipt lightchain.Receipt, found bool, err error) {
	for at = height; ; at++ {
		if at, receipt, found, err = r.receipted(name, at); err != nil || !found {
			return 0, receipt, false, err
		}
		_, err = r.Header(at)
		if err == nil && at > height {
			_, err = r.HistoryPath(height, at)
		}
		if err == nil {
			return at, receipt, true, nil
		}
		if !errors.Is(err, ErrNotHeld) && !errors.Is(err, ErrUnsigned) && !errors.Is(err, ErrDamaged) {
			return 0, receipt, false, err
		}
	}
}

// addKeys adds the headers that set the key.
//
// SPEC: signed headers that set the key: genesis first, heights strictly ascending, each with key 12, all below the
// highest header of the proof
func (r *Reader) addKeys(p *lightchain.Proof) error {
	highest := p.Header.Header.Height
	if n := len(p.Later); n > 0 {
		highest = p.Later[n-1].Header.Header.Height
	}
	heights, err := r.KeyHeights(highest)
	if err != nil {
		return err
	}
	for _, at := range heights {
		h, err := r.Header(at)
		if err != nil {
			return err
		}
		p.Keys = append(p.Keys, h)
	}
	return nil
}
