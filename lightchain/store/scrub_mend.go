package store

import "errors"

// What follows from the rest of the chain, nodes of its history and summaries, a scrub writes anew where it is wrong.

// mend is a pair as it should stand. A nil value is the summary of the block itself, which takes decoding its entries.
type mend struct {
	height     uint64
	key, value []byte
}

// maxMends is how many pairs one round writes anew.
const maxMends = 1000

// mend writes anew what was wrong and follows from the rest, unless a table is damaged.
func (c *scrub) mend() error {
	if len(c.mends) == 0 || len(c.met) > 0 {
		return nil
	}
	batch := c.s.db.NewBatch()
	defer batch.Close()
	for _, m := range c.mends {
		value := m.value
		if value == nil {
			own, err := c.s.summaryOf(m.height)
			if errors.Is(err, ErrPruned) {
				continue // since it was read
			}
			if err != nil {
				return err
			}
			value = own.append(nil)
		}
		set(batch, m.key, value)
		c.round.Mended++
	}
	c.s.options.Logger.Warn("nodes of the history or summaries were wrong, and are written anew", "pairs", len(c.mends))
	c.s.besides.Lock()
	defer c.s.besides.Unlock()
	return c.s.guard.commit(batch)
}

// summaryOf makes the summary of a block from its entries.
func (r *Reader) summaryOf(height uint64) (summary, error) {
	own := newSummary()
	h, err := r.HeaderAt(height)
	if err != nil {
		return own, err
	}
	for rec, err := range r.Entries(h.First, h.First+h.Count) {
		if err != nil {
			return own, err
		}
		own.add(&rec.Entry)
	}
	return own, nil
}
