package store

import (
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestProofsCarryTheEarliestReceiptsAndTheBeacons(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	s := newStore(t, o)
	names := []string{"north", "south", "west"}
	trust := &lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}, Quorum: 2}
	signers := make([]lightchain.Signer, len(names))
	for i, name := range names {
		signers[i] = testSigner(t, 10+i)
		trust.Aggregators = append(trust.Aggregators, lightchain.Aggregator{Name: name, Key: signers[i].Public()})
	}
	receipt := func(h *lightchain.SignedHeader, who int, at uint64) {
		t.Helper()
		r, err := h.Countersign(signers[who], names[who], at)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.PutReceipt(h.Header.Height, r, func() uint64 { return 0 }); err != nil {
			t.Fatal(err)
		}
	}
	var headers []*lightchain.SignedHeader
	for i := range 12 {
		stage(t, s, testEntries(10*i, 10))
		h := seal(t, s)
		headers = append(headers, h)
		receipt(h, 0, uint64(1000+10*i))
		if i%3 == 2 {
			receipt(h, 1, uint64(1001+10*i))
		}
		if i%4 == 3 {
			receipt(headers[i-1], 2, uint64(1002+10*i))
		}
	}
	// A later receipt of the same aggregator on the same header changes nothing.
	receipt(headers[0], 0, 9999)
	for n := range uint64(90) {
		p, err := s.Prove(n, 2)
		if err != nil {
			t.Fatal(err)
		}
		report, err := p.Verify(trust)
		if err != nil {
			t.Fatalf("proof of entry %d: %v", n, err)
		}
		block := int(n / 10)
		if report.NotAfter == nil {
			t.Fatalf("entry %d has no upper bound", n)
		}
		// Two of: north on the block itself; south on the next third one; west on the header below the next fourth.
		south, west := uint64(1001+10*(block/3*3+2)), uint64(1002+10*((block+1)/4*4+3))
		if want := min(south, west) + 1; *report.NotAfter != want {
			t.Fatalf("entry %d of block %d: not after %d, want %d", n, block, *report.NotAfter, want)
		}
		// A beacon names what was held before the block's first entry: two aggregators, once two have receipted.
		if (report.NotBefore != nil) != (block >= 3) {
			t.Fatalf("entry %d of block %d: not before %v", n, block, report.NotBefore)
		}
		if report.NotBefore != nil && *report.NotBefore > *report.NotAfter {
			t.Fatalf("entry %d: %d .. %d", n, *report.NotBefore, *report.NotAfter)
		}
	}
	if p, err := s.Prove(115, 3); err != nil || len(p.Later) != 0 || len(p.Header.Receipts) != 2 {
		t.Fatalf("where fewer have receipted than asked for, those who have are in the proof: %+v, %v", p, err)
	}
	closeStore(t, s)
}

func TestABeaconNamesNoReceiptThatCameAfterTheBlocksFirstEntry(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	s := newStore(t, o)
	signer := testSigner(t, 10)
	put := func(height uint64, at, pending uint64) {
		t.Helper()
		h, err := s.Header(height)
		if err != nil {
			t.Fatal(err)
		}
		r, err := h.Countersign(signer, "north", at)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.PutReceipt(height, r, func() uint64 { return pending }); err != nil {
			t.Fatal(err)
		}
	}
	beacon := func(h *lightchain.SignedHeader) (heights []uint64) {
		t.Helper()
		if h.Header.Beacon == nil {
			return nil
		}
		list, err := s.beacon(&h.Header)
		if err != nil {
			t.Fatal(err)
		}
		var receipts []lightchain.Receipt
		for _, b := range list {
			heights = append(heights, b.Header.Height)
			receipts = append(receipts, b.Receipts[0])
		}
		if hash, err := lightchain.Beacon(receipts); err != nil || hash != *h.Header.Beacon {
			t.Fatalf("the beacon's receipts give another beacon: %v", err)
		}
		return heights
	}
	seal(t, s) // 1
	stage(t, s, testEntries(0, 2))
	put(1, 100, 0)
	if got := beacon(seal(t, s)); got != nil { // 2: its first entry was there before
		t.Fatalf("beacon of %v", got)
	}
	put(2, 200, 3) // three entries have arrived and wait to be staged
	stage(t, s, testEntries(2, 3))
	if got := beacon(seal(t, s)); len(got) != 1 || got[0] != 1 { // 3
		t.Fatalf("beacon of %v, want the receipt on 1", got)
	}
	stage(t, s, testEntries(5, 1))
	if got := beacon(seal(t, s)); len(got) != 1 || got[0] != 2 { // 4
		t.Fatalf("beacon of %v, want the receipt on 2", got)
	}
	put(4, 300, 9)
	if got := beacon(seal(t, s)); len(got) != 1 || got[0] != 4 { // 5: none arrives in a heartbeat
		t.Fatalf("beacon of %v, want the receipt on 4", got)
	}
	closeStore(t, s)
}

func TestReceiptsAroundAHeightAreThoseOfTheNearestHeaders(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	north, south := testSigner(t, 10), testSigner(t, 11)
	receipt := func(h *lightchain.SignedHeader, signer lightchain.Signer, name string, at uint64) {
		t.Helper()
		r, err := h.Countersign(signer, name, at)
		if err == nil {
			err = s.PutReceipt(h.Header.Height, r, func() uint64 { return 0 })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var headers []*lightchain.SignedHeader
	for i := range 7 {
		stage(t, s, testEntries(i, 1))
		headers = append(headers, seal(t, s))
	}
	receipt(headers[1], north, "north", 100) // on header 2,
	receipt(headers[4], north, "north", 200) // and 5
	receipt(headers[2], south, "north-2", 300)
	for height, want := range map[uint64][2]uint64{0: {0, 2}, 2: {0, 5}, 3: {2, 5}, 5: {2, 0}, 6: {5, 0}} {
		below, above, err := s.ReceiptsAround("north", height)
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range []*ReceiptAt{below, above} {
			if (got == nil) != (want[i] == 0) || got != nil && (got.Height != want[i] || got.Name != "north" || got.Time != map[uint64]uint64{2: 100, 5: 200}[want[i]]) {
				t.Errorf("around %d: %+v, want the one on %d", height, got, want[i])
			}
		}
	}
}

func TestTheNewestHeaderThatWasReceiptedByASecondIsFound(t *testing.T) {
	s := newStore(t, testOptions(t, vfs.NewMem()))
	defer closeStore(t, s)
	signer := testSigner(t, 10)
	for i := range 50 {
		stage(t, s, testEntries(i, 1))
		h := seal(t, s)
		if i%3 != 0 {
			continue
		}
		r, err := h.Countersign(signer, "north", uint64(1000+i))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.PutReceipt(h.Header.Height, r, func() uint64 { return 0 }); err != nil {
			t.Fatal(err)
		}
	}
	for second := uint64(995); second < 1060; second++ {
		height, at, found, err := s.ReceiptedBy("north", second)
		if err != nil {
			t.Fatal(err)
		}
		want := min(second, 1048) - 1000 // receipts came at 1000, 1003, … 1048, on heights 1, 4, … 49
		want -= want % 3
		if second < 1000 {
			if found {
				t.Fatalf("at %d, before the first receipt, header %d is found", second, height)
			}
			continue
		}
		if !found || height != want+1 || at != 1000+want {
			t.Fatalf("at %d: header %d of %d, %v, want %d", second, height, at, found, want+1)
		}
	}
	if _, _, found, err := s.ReceiptedBy("south", 9999); err != nil || found {
		t.Fatal(found, err)
	}
}
