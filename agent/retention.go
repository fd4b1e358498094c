package agent

import (
	"encoding/json"
	"math"
	"slices"
	"time"

	"edgechain.example/lightchain/store"
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

	old uint64 // the highest block that is older than min_age for certain; for size and room alone

	size  uint64                             // bytes of the store
	room  uint64                             // bytes by which it may grow until nothing more is taken; noBound: nobody knows
	bytes func(below uint64) (uint64, error) // of the blocks from oldest on
	spare func() (uint64, error)             // bytes of these that may still go today for want of room
}

// cut is what is to go. Without anything to do, below is oldest.
type cut struct {
	below  uint64 // payloads of the blocks below it go,
	wanted uint64 // and of those below this one they would, if enough aggregators had countersigned them
	why    []string
	kept   []kept // what is receipted and would go for size or for room, but for a rule of the configuration's
}

// kept are blocks that a rule keeps, to excluded.
type kept struct {
	by       string // the key: min_age, room_per_day
	from, to uint64
}

// The keys that keep what would go for size or for room.
const (
	keptByAge  = "min_age"
	keptByDays = "room_per_day"
)

// decide says which payloads go.
//
// A disk is shared: a file of somebody else's that grows without end must not have the evidence deleted as fast as it
// grows, for nobody has noticed it by then. So what is younger than min_age goes neither for size nor for room, and for
// room the store shrinks by so much a day and no more. When that is not enough recording waits, which loses nothing.
func (c *RetentionConfig) decide(h *holding) (cut, error) {
	age, ageWanted := h.receiptedLong+1, max(h.receiptedLong, h.sealedLong)+1
	if c.DeleteUnreceiptedEvidence {
		age = ageWanted
	}
	if c.MaxAge == 0 {
		age, ageWanted = 0, 0
	}
	sizeWanted, roomWanted, err := c.oversize(h)
	if err != nil {
		return cut{}, err
	}
	may, floor := uint64(noBound), uint64(noBound)
	if !c.DeleteUnreceiptedEvidence {
		may = h.receipted + 1
	}
	if c.MinAge != 0 {
		floor = h.old + 1
	}
	size, room := min(sizeWanted, may, floor), min(roomWanted, may, floor)
	uncapped := room
	if h.oldest < room {
		today, err := h.affordable()
		if err != nil {
			return cut{}, err
		}
		room = min(room, today)
	}
	d := cut{below: max(age, size, room, h.oldest), wanted: max(ageWanted, sizeWanted, roomWanted, h.oldest)}
	for _, reason := range [...]struct {
		why   string
		below uint64
	}{{"age", age}, {"size", size}, {"room", room}} {
		if h.oldest < reason.below {
			d.why = append(d.why, reason.why)
		}
	}
	for _, k := range [...]kept{
		{keptByDays, d.below, uncapped},
		{keptByAge, max(d.below, floor), min(max(sizeWanted, roomWanted), may)},
	} {
		if k.from < k.to {
			d.kept = append(d.kept, k)
		}
	}
	return d, nil
}

// oversize returns the block below which payloads must go for the store to keep its size, and the one for it to fit on
// the disk; 0 where it does.
func (c *RetentionConfig) oversize(h *holding) (size, room uint64, err error) {
	if c.MaxSize == 0 {
		return 0, 0, nil
	}
	limit := uint64(c.MaxSize)
	if h.room < limit && h.size < limit-h.room { // a disk that is smaller than the limit is one
		room, err = h.reduced(h.size + h.room)
	} else {
		size, err = h.reduced(limit)
	}
	return size, room, err
}

// reduced returns the block below which payloads must go for the store to come below a limit, 0 if it is.
func (h *holding) reduced(limit uint64) (below uint64, err error) {
	if h.size <= limit-limit/(2*sizeSlack) {
		return 0, nil
	}
	below, _, err = h.freeing(h.size - (limit - limit/sizeSlack))
	return below, err
}

// freeing returns the lowest block below which there are so many bytes, all there is if they are fewer.
func (h *holding) freeing(bytes uint64) (below, freed uint64, err error) {
	low, high := h.oldest, h.tip+1 // the lowest that frees enough is above low, or it is all there is
	for low+1 < high {
		middle := low + (high-low)/2
		if freed, err = h.bytes(middle); err != nil {
			return 0, 0, err
		}
		if freed >= bytes {
			high = middle
		} else {
			low = middle
		}
	}
	freed, err = h.bytes(high)
	return high, freed, err
}

// affordable returns the block below which payloads may still go today for want of room.
func (h *holding) affordable() (below uint64, err error) {
	spare, err := h.spare()
	if err != nil || spare == noBound {
		return noBound, err
	}
	below, freed, err := h.freeing(spare + 1)
	if err != nil || freed <= spare {
		return below, err
	}
	return below - 1, nil
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
	room         uint64

	// unreclaimed is how many bytes of deleted blocks are still on the disk, 0 where they are about to go. It is measured
	// before the size and the room: what a merge gives back between is counted twice then, and not deleted again.
	unreclaimed uint64
	err         error // why that is not known
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
	if s.err != nil {
		return nil, s.err
	}
	h := &holding{tip: s.chain.Tip().Height, size: s.chain.Stats().LiveBytes, room: s.room}
	var err error
	if h.oldest, err = s.chain.OldestBlock(); err != nil {
		return nil, err
	}
	// It would have sound blocks deleted instead, one after the other, and never be enough.
	h.size -= min(h.size, s.unreclaimed)
	if h.room != noBound {
		h.room += s.unreclaimed
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
	now := s.now
	if !s.synchronised {
		// A clock that stands in the future would make everything old. The aggregators' clocks, which are synchronised
		// whenever they countersign, say how late it is at least.
		if at := time.Unix(int64(reached(c.Quorum, times)), 0); at.Before(now) {
			now = at
		}
	}
	if c.MaxSize != 0 {
		if c.MinAge != 0 {
			if h.old, err = s.older(h.tip, c, now, c.MinAge); err != nil {
				return nil, err
			}
		}
		h.spare = func() (uint64, error) { return s.spare(h, c, now) }
	}
	if c.MaxAge == 0 {
		return h, nil
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

// spare returns how many bytes may still be deleted for want of room: what has been added in the last day, and
// room_per_day, less what was deleted in it. All of this stands in the chain, so that neither a restart nor a clock that
// jumps begins another day.
func (s *survey) spare(h *holding, c *RetentionConfig, now time.Time) (uint64, error) {
	yesterday, err := s.older(h.tip, c, now, 24*time.Hour)
	if err != nil {
		return 0, err
	}
	grown, err := grownSince(s.chain, max(h.oldest, yesterday+1))
	if err != nil {
		return 0, err
	}
	deleted, err := s.deletedSince(yesterday)
	if err != nil {
		return 0, err
	}
	may := c.roomPerDay() + grown
	return may - min(may, deleted), nil
}

// deletedSince returns how many bytes of the blocks up to a height were deleted after that was the newest one. Those above
// it count neither as added nor as deleted.
func (s *survey) deletedSince(height uint64) (bytes uint64, err error) {
	header, err := s.chain.HeaderAt(height)
	if err != nil {
		return 0, err
	}
	for m, err := range s.chain.Find(store.Query{Source: "agent:prune", After: header.First + header.Count}) {
		var e pruneEvent
		if err != nil || json.Unmarshal(m.Entry.Payload, &e) != nil || height < e.From || e.To < e.From {
			continue // what is damaged says nothing
		}
		part := float64(min(height, e.To)-e.From+1) / float64(e.To-e.From+1)
		bytes += uint64(part * float64(e.Bytes))
	}
	return bytes, nil
}
