package agent

import (
	"time"

	"edgechain.example/lightchain"
)

// How old a block is for certain. A clock that is wrong must delete nothing, so each clock counts for as much as it can
// know: the aggregators', the gateway's while it is synchronised, and the one that tells how long the machine has run.

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

// older returns the highest block, held or not, that is older than that for certain, by whichever clock can tell.
func (s *survey) older(tip uint64, c *RetentionConfig, now time.Time, age time.Duration) (uint64, error) {
	h, err := s.long(&holding{oldest: 1, tip: tip}, c, now.Add(-age))
	if err != nil {
		return 0, err
	}
	// One that was set right just now says nothing of what was sealed before.
	return max(h.receiptedLong, h.sealedLong, s.ran(age, tip)), nil
}

// bootsBack is how many boots are looked back over for how long the machine has run.
const bootsBack = 128

// ran returns the highest block after which the gateway has run for so long, 0 if there is none. Each header says how long
// ago the boot was, by a clock that nobody sets: so a gateway that never hears of the time still knows what is old. The time
// for which it was switched off is not counted, nor that between a boot and the first block after it: a board to which the chain
// was moved may have run for months.
func (s *survey) ran(age time.Duration, tip uint64) uint64 {
	left := uint64(max(age, 0))
	for boots := 0; boots < bootsBack && tip > 0; boots++ {
		newest, err := s.chain.HeaderAt(tip)
		if err != nil {
			tip-- // one that is damaged tells nothing
			continue
		}
		at := newest.Clock
		before := s.highest(tip, func(c *lightchain.Clock) bool { return c.Boot < at.Boot })
		first, err := s.chain.HeaderAt(before + 1)
		ran := uint64(0)
		if err == nil && first.Clock.Uptime <= at.Uptime {
			ran = at.Uptime - first.Clock.Uptime
		}
		if ran >= left {
			return s.highest(tip, func(c *lightchain.Clock) bool {
				return c.Boot < at.Boot || c.Boot == at.Boot && c.Uptime <= at.Uptime-left
			})
		}
		left -= ran
		tip = before
	}
	return 0
}

// highest returns the highest block up to one of which this is so, 0 if there is none. What it is so of is no higher than
// what it is not. A header that cannot be read counts as one of which it is not.
func (s *survey) highest(tip uint64, so func(*lightchain.Clock) bool) uint64 {
	low, high := uint64(0), tip+1 // it is so of low, and not of high
	for low+1 < high {
		middle := low + (high-low)/2
		if h, err := s.chain.HeaderAt(middle); err == nil && so(&h.Clock) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}
