package lightchain

import (
	"cmp"
	"maps"
	"slices"
)

// Silence is a promise of a chain that receipts show as not kept: its header said within how many seconds the next one
// comes, and for longer than that no trusted aggregator had one. That accuses nobody: a power cut does it, a network that
// is down, an aggregator that is away.
type Silence struct {
	Height   uint64      `json:"height"`   // of the header that promised
	Promised uint64      `json:"promised"` // seconds
	From     ReceiptedBy `json:"from"`     // the earliest receipt on that header
	To       ReceiptedBy `json:"to"`       // what ended it, or the latest word that it lasted
}

// silences looks for promises that were not kept among headers in sight, whose receipts have been checked.
//
// SPEC: the chain is *silent* from the earliest receipt on it […] to the earliest receipt on any higher header, if the
// header right above it has a receipt; […] else to the latest receipt on the header itself that is not later than the
// earliest on any higher header
func silences(headers []*SignedHeader, receipts []ReceiptedBy) (found []Silence) {
	promised := map[uint64]uint64{}
	for _, h := range headers {
		if h.Header.Cadence > 0 {
			promised[h.Header.Height] = h.Header.Cadence
		}
	}
	if len(promised) == 0 {
		return nil
	}
	ordered := slices.Clone(receipts)
	slices.SortFunc(ordered, func(a, b ReceiptedBy) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Height, b.Height), cmp.Compare(a.Name, b.Name))
	})
	for _, height := range slices.Sorted(maps.Keys(promised)) {
		var from, to, above *ReceiptedBy
		next := false
		for i := range ordered {
			switch r := &ordered[i]; {
			case r.Height == height && from == nil:
				from = r
			case r.Height == height && above == nil:
				to = r
			case r.Height > height:
				if above == nil {
					above = r
				}
				next = next || r.Height == height+1
			}
		}
		if next {
			to = above
		}
		if from != nil && to != nil && to.Time > from.Time && to.Time-from.Time > promised[height] {
			found = append(found, Silence{height, promised[height], *from, *to})
		}
	}
	return found
}
