package lightchain

import (
	"slices"
	"testing"
)

func TestSilenceIsToldInTheTimesOfReceipts(t *testing.T) {
	c := newTestChain(t)
	c.seal(1, func(h *Header) { h.Cadence = 60 })  // 1
	c.seal(0, nil)                                 // 2 promises nothing
	c.seal(0, func(h *Header) { h.Cadence = 100 }) // 3
	c.seal(0, func(h *Header) { h.Cadence = 60 })  // 4
	at := func(name string, height, time uint64) ReceiptedBy { return ReceiptedBy{name, height, time} }
	for _, s := range []struct {
		about    string
		receipts []ReceiptedBy
		want     []Silence
	}{
		{"nothing", nil, nil},
		{"one receipt", []ReceiptedBy{at("a", 1, 10)}, nil},
		{"the next one in time", []ReceiptedBy{at("a", 1, 10), at("b", 2, 70)}, nil},
		{"the next one a second late", []ReceiptedBy{at("a", 1, 10), at("b", 2, 71)}, []Silence{{1, 60, at("a", 1, 10), at("b", 2, 71)}}},
		{"the earliest receipts count", []ReceiptedBy{at("a", 1, 10), at("b", 1, 50), at("a", 2, 71), at("b", 2, 90)}, []Silence{{1, 60, at("a", 1, 10), at("a", 2, 71)}}},
		{"what comes between is not here", []ReceiptedBy{at("a", 1, 10), at("a", 4, 900)}, nil},
		{"a later word on the same header", []ReceiptedBy{at("a", 1, 10), at("a", 1, 900)}, []Silence{{1, 60, at("a", 1, 10), at("a", 1, 900)}}},
		{"a later word, and another knew more before", []ReceiptedBy{at("a", 1, 10), at("b", 4, 50), at("a", 1, 900)}, nil},
		{"a later word in time, and another knew more then", []ReceiptedBy{at("a", 1, 10), at("a", 1, 80), at("b", 4, 85)}, []Silence{{1, 60, at("a", 1, 10), at("a", 1, 80)}}},
		{"a later word after that is none of it", []ReceiptedBy{at("a", 1, 10), at("a", 1, 80), at("b", 4, 85), at("a", 1, 900)}, []Silence{{1, 60, at("a", 1, 10), at("a", 1, 80)}}},
		{"a higher one before the next", []ReceiptedBy{at("a", 1, 10), at("b", 4, 60), at("a", 2, 900)}, nil},
		{"no promise", []ReceiptedBy{at("a", 2, 10), at("a", 3, 1000)}, nil},
		{"a receipt below is none of it", []ReceiptedBy{at("a", 2, 500), at("a", 3, 10), at("a", 4, 20)}, nil},
		{"two of them", []ReceiptedBy{at("a", 1, 10), at("a", 2, 100), at("a", 3, 110), at("a", 4, 300)},
			[]Silence{{1, 60, at("a", 1, 10), at("a", 2, 100)}, {3, 100, at("a", 3, 110), at("a", 4, 300)}}},
		{"the last time there is", []ReceiptedBy{at("a", 4, 0), at("a", 4, 1<<63-1)}, []Silence{{4, 60, at("a", 4, 0), at("a", 4, 1<<63-1)}}},
	} {
		if got := silences(c.headers, s.receipts); !slices.Equal(got, s.want) {
			t.Errorf("%s: %v, want %v", s.about, got, s.want)
		}
	}
}
