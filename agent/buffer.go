package agent

import (
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
)

// How long the buffer lasts is told from how the chain has grown, which stands in the chain: so it is known right
// after a start.

const (
	growthWindow = 24 * time.Hour   // over which the growth is measured, where the chain goes back so far
	growthLeast  = 10 * time.Minute // below which nothing is said
	// flushed is how many bytes a window must have on disk for them to be its growth. Of fewer, too many may still be
	// in memory: then the window has its share of the whole store.
	flushed = 4 << 20
)

// growth returns by how many bytes a day the store grows, 0 while that cannot be told.
func growth(chain *store.Reader) (bytesPerDay float64, err error) {
	tip := chain.Tip().Height
	if tip == 0 {
		return 0, nil
	}
	newest, err := chain.HeaderAt(tip)
	if err != nil {
		return 0, err
	}
	from, over := window(&newest, chain.HeaderAt)
	if over < growthLeast {
		return 0, nil
	}
	bytes, err := grownSince(chain, from)
	if err != nil {
		return 0, err
	}
	return float64(bytes) * float64(24*time.Hour) / float64(over), nil
}

// grownSince returns by how many bytes the store has grown with the blocks from a height on.
func grownSince(chain *store.Reader, from uint64) (bytes uint64, err error) {
	tip := chain.Tip().Height
	if from > tip {
		return 0, nil
	}
	if bytes, err = chain.BlockBytes(from, tip+1); err != nil || bytes >= flushed {
		return bytes, err
	}
	newest, err := chain.HeaderAt(tip)
	if err != nil {
		return 0, err
	}
	share, err := shareOf(chain, from, &newest)
	if err != nil {
		return 0, err
	}
	return max(bytes, uint64(share*float64(chain.Stats().LiveBytes))), nil
}

// window returns the lowest block of the last day up to the newest one, and the time that those from there on took.
// Within one boot the time is told by the clock that never jumps. Right after a boot it is told by the wall clock,
// whose word is taken only if it has moved by more than the boot is old, and not by more than a day.
func window(newest *lightchain.Header, at func(uint64) (lightchain.Header, error)) (from uint64, over time.Duration) {
	lowest := func(within func(*lightchain.Header) bool) lightchain.Header {
		found, low, high := *newest, uint64(0), newest.Height
		for low < high {
			middle := low + (high-low)/2
			if h, err := at(middle); err == nil && within(&h) {
				found, high = h, middle
			} else {
				low = middle + 1
			}
		}
		return found
	}
	day := uint64(growthWindow)
	running := lowest(func(h *lightchain.Header) bool {
		return h.Clock.Boot == newest.Clock.Boot && (newest.Clock.Uptime < day || h.Clock.Uptime >= newest.Clock.Uptime-day)
	})
	over = time.Duration(newest.Clock.Uptime - min(newest.Clock.Uptime, running.Clock.Uptime))
	if over >= growthWindow/2 {
		return running.Height + 1, over
	}
	sealed := lowest(func(h *lightchain.Header) bool { return h.Sealed >= newest.Sealed-int64(day) })
	if wall := time.Duration(newest.Sealed - sealed.Sealed); wall > over && wall <= growthWindow {
		return sealed.Height + 1, wall
	}
	return running.Height + 1, over
}

// shareOf returns what part of all that is held the blocks from a height up to the newest one are, by number of
// entries and headers.
func shareOf(chain *store.Reader, from uint64, newest *lightchain.Header) (float64, error) {
	first, err := chain.HeaderAt(from)
	if err != nil {
		return 0, err
	}
	held := newest.First + newest.Count
	if oldest, _, err := chain.Oldest(); err == nil {
		held -= min(held, oldest)
	}
	part := newest.First + newest.Count - first.First + newest.Height - from + 1
	return float64(part) / float64(held+newest.Height), nil
}

// buffer says how long recording could go on without receipts.
func (a *Agent) buffer() api.Buffer {
	c := a.inForce()
	s := a.survey(c)
	var b api.Buffer
	var err error
	if b.Rate, err = growth(s.chain); err != nil {
		b.Rate = 0 // the newest header cannot be read
	}
	b.Endless = s.endless(&c.Retention, b.Rate)
	if s.room == noBound {
		return b
	}
	b.Room = s.room
	if c.Retention.MaxSize > 0 {
		b.Deletable = s.deletable(&c.Retention)
	}
	if b.Rate > 0 && !b.Endless {
		days := float64(b.Room+b.Deletable) / b.Rate
		b.Days = &days
	}
	return b
}

// deletable returns how many bytes of what is held retention by size may delete by now.
func (s *survey) deletable(c *RetentionConfig) uint64 {
	h, err := s.holding(&RetentionConfig{Quorum: c.Quorum, MaxSize: c.MaxSize, MinAge: c.MinAge}, false)
	if err != nil {
		return 0
	}
	below := h.receipted + 1
	if c.MinAge != 0 {
		below = min(below, h.old+1)
	}
	bytes, _ := h.bytes(below)
	return bytes
}

// endless reports whether retention never stops recording: it needs no receipts, and what is younger than min_age fits.
func (s *survey) endless(c *RetentionConfig, bytesPerDay float64) bool {
	if !c.DeleteUnreceiptedEvidence || c.MaxSize == 0 {
		return false
	}
	young := bytesPerDay * float64(c.MinAge) / float64(24*time.Hour)
	return s.room == noBound || young <= float64(s.room)+float64(s.chain.Stats().LiveBytes)
}
