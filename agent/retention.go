package agent

import (
	"math"
	"slices"
	"time"

	"edgechain/lightchain"
	"edgechain/lightchain/store"
)

// Retention deletes the payloads of the oldest blocks. Which, is decided here, and nothing is done: what is held is
// measured in a survey, and the decision is made of its numbers alone.

// Limits are kept with some slack, so that each deletion is worth its entry and its rewriting of tables.
const (
	sizeSlack = 32             // the store is brought down to 31/32 of its limit, from 63/64 on
	ageSlack  = 64             // nothing goes until something is 1/64 older than max_age
	mostSlack = 24 * time.Hour // or that much
	noBound   = math.MaxUint64 // of a size that nobody knows
)

// holding is what the decision rests on. Heights are of blocks; 0 stands for none, since genesis holds no payload.
type holding struct {
	oldest, tip   uint64 // the lowest block whose payloads are held; the newest header
	receipted     uint64 // the highest header that enough aggregators have countersigned
	receiptedLong uint64 // the highest one of which they had done so before max_age
	sealedLong    uint64 // the highest block that was sealed before max_age, as far as the gateway's clock can tell

	size  uint64                             // bytes of the store
	room  uint64                             // bytes by which it may grow until nothing more is taken; noBound: nobody knows
	bytes func(below uint64) (uint64, error) // of the blocks from oldest on
}

// cut is what is to go. Without anything to do, below is oldest.
type cut struct {
	below  uint64 // payloads of the blocks below it go,
	wanted uint64 // and of those below this one they would, if enough aggregators had countersigned them
	why    []string
}

// decide says which payloads go.
func (c *RetentionConfig) decide(h *holding) (cut, error) {
	age, ageWanted := h.receiptedLong+1, max(h.receiptedLong, h.sealedLong)+1
	if c.DeleteUnreceiptedEvidence {
		age = ageWanted
	}
	if c.MaxAge == 0 {
		age, ageWanted = 0, 0
	}
	sizeWanted, err := c.oversize(h)
	if err != nil {
		return cut{}, err
	}
	size := sizeWanted
	if !c.DeleteUnreceiptedEvidence {
		size = min(size, h.receipted+1)
	}
	d := cut{below: max(age, size, h.oldest), wanted: max(ageWanted, sizeWanted, h.oldest)}
	if h.oldest < age {
		d.why = append(d.why, "age")
	}
	if h.oldest < size {
		d.why = append(d.why, "size")
	}
	return d, nil
}

// oversize returns the block below which payloads must go for the store to keep its size, 0 if it does.
func (c *RetentionConfig) oversize(h *holding) (below uint64, err error) {
	if c.MaxSize == 0 {
		return 0, nil
	}
	limit := uint64(c.MaxSize)
	if h.room < limit && h.size < limit-h.room {
		limit = h.size + h.room // a disk that is smaller than the limit is one
	}
	if h.size <= limit-limit/(2*sizeSlack) {
		return 0, nil
	}
	excess := h.size - (limit - limit/sizeSlack)
	low, high := h.oldest, h.tip+1 // the lowest that frees enough is above low, or it is all there is
	for low+1 < high {
		middle := low + (high-low)/2
		freed, err := h.bytes(middle)
		if err != nil {
			return 0, err
		}
		if freed >= excess {
			high = middle
		} else {
			low = middle
		}
	}
	return high, nil
}

// heldBack returns the blocks, to excluded, that the limits would have gone and nobody has countersigned.
func (d *cut) heldBack(h *holding) (from, to uint64) {
	return max(d.below, h.receipted+1), d.wanted
}

// survey measures what a chain holds.
type survey struct {
	chain        *store.Reader
	aggregators  []string // whose receipts count
	now          time.Time
	synchronised bool // now is to be believed
	stuck        bool // the space of what was deleted is not given back, for damage
	room         uint64
}

// newest is the newest header that an aggregator has countersigned.
type newest struct {
	name   string
	height uint64
	at     uint64 // seconds since the Unix epoch
}

// receipts returns the newest receipt of each aggregator that has given one.
func (s *survey) receipts() (all []newest, err error) {
	for _, name := range s.aggregators {
		height, at, found, err := s.chain.ReceiptedBy(name, math.MaxUint64)
		if err != nil {
			return nil, err
		}
		if found {
			all = append(all, newest{name, height, at})
		}
	}
	return all, nil
}

// reached returns what at least quorum of the numbers reach, 0 if there are fewer.
func reached(quorum int, numbers []uint64) uint64 {
	if len(numbers) < quorum {
		return 0
	}
	slices.Sort(numbers)
	return numbers[len(numbers)-quorum]
}

// holding measures what the decision rests on. With slack nothing counts as old until it is worth a deletion.
func (s *survey) holding(c *RetentionConfig, slack bool) (*holding, error) {
	h := &holding{tip: s.chain.Tip().Height, size: s.chain.Stats().LiveBytes, room: s.room}
	var err error
	if h.oldest, err = s.chain.OldestBlock(); err != nil {
		return nil, err
	}
	if s.stuck {
		// It would have sound blocks deleted instead, one after the other, and never be enough.
		deleted, err := s.chain.BlockBytes(1, h.oldest)
		if err != nil {
			return nil, err
		}
		h.size -= min(h.size, deleted)
	}
	h.bytes = func(below uint64) (uint64, error) { return s.chain.BlockBytes(h.oldest, below) }
	receipts, err := s.receipts()
	if err != nil {
		return nil, err
	}
	var heights, times []uint64
	for _, r := range receipts {
		heights, times = append(heights, r.height), append(times, r.at)
	}
	h.receipted = reached(c.Quorum, heights)
	if c.MaxAge == 0 {
		return h, nil
	}
	now := s.now
	if !s.synchronised {
		// A clock that stands in the future would make everything old. The aggregators' clocks, which are synchronised
		// whenever they countersign, say how late it is at least.
		if at := time.Unix(int64(reached(c.Quorum, times)), 0); at.Before(now) {
			now = at
		}
	}
	age := c.MaxAge
	if slack {
		long, err := s.long(h, c, now.Add(-age-min(age/ageSlack, mostSlack)))
		if err != nil || max(long.receiptedLong, long.sealedLong) < h.oldest {
			return h, err
		}
	}
	return s.long(h, c, now.Add(-age))
}

// long returns what is held with what was countersigned, and sealed, before the given moment.
//
// The age of what aggregators have countersigned is counted by their clocks: the gateway's may have stood in 1970, or
// in 2080, when a block was sealed. Of what they have not, a header tells whose clock was synchronised: it and all
// below it are at least that old.
func (s *survey) long(measured *holding, c *RetentionConfig, before time.Time) (*holding, error) {
	h := *measured
	if before.Unix() < 0 {
		return &h, nil
	}
	var heights []uint64
	for _, name := range s.aggregators {
		height, _, found, err := s.chain.ReceiptedBy(name, uint64(before.Unix()))
		if err != nil {
			return nil, err
		}
		if found {
			heights = append(heights, height)
		}
	}
	h.receiptedLong = reached(c.Quorum, heights)
	if !s.synchronised {
		return &h, nil
	}
	h.sealedLong = s.sealedBefore(before, max(h.oldest, h.receiptedLong+1), h.tip)
	return &h, nil
}

// sealedBefore returns the highest block of from .. to that a synchronised clock says was sealed before the given
// moment, 0 if there is none. Synchronised clocks agree, so such headers are in the order of their times.
func (s *survey) sealedBefore(before time.Time, from, to uint64) (highest uint64) {
	low, high := from, to+1 // it is at low or above, and below high
	for low < high {
		middle := low + (high-low)/2
		at, header := s.synchronisedAt(middle, low)
		switch {
		case header == nil: // none from low to middle
			low = middle + 1
		case header.Sealed < before.UnixNano():
			highest, low = at, middle+1
		default:
			high = at
		}
	}
	return highest
}

// unsynchronised is how many headers without a synchronised clock are looked past. Behind more of them a block
// counts as young until one above it is old: a gateway that never was synchronised must not be read whole each minute.
const unsynchronised = 128

// synchronisedAt returns the highest header of low .. height, among the uppermost ones, that was sealed by a
// synchronised clock, nil if there is none. Headers that cannot be read are passed over.
func (s *survey) synchronisedAt(height, low uint64) (uint64, *lightchain.Header) {
	for n := 0; n < unsynchronised && height >= low && height > 0; n++ {
		if h, err := s.chain.HeaderAt(height); err == nil && h.Clock.State == lightchain.ClockSynchronised {
			return height, &h
		}
		height--
	}
	return 0, nil
}
