package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A card loses what nobody reads. A scrub reads the whole store, slowly, and again and again: it hashes every block
// against its header, as [Reader.Verify] does, and reads the tables that hold no blocks. What is lost is remembered
// under the numbers of the entries, so that each loss is told of once. What follows from the rest, nodes of the history
// and summaries, is written anew where it is wrong.
//
// It never writes where a table cannot be read: Pebble would merge the two, fail, and try again and again. What
// derives from the rest is computed there when it is asked for.

// ScrubOptions is how a round goes.
type ScrubOptions struct {
	// Pace is told how many bytes were read since it was told last, and returns when more may be; its error ends the
	// round for now. No iterator is open meanwhile.
	Pace func(read int) error
	// Record makes an entry durable that tells of a damage. It is called once for each; and again with the same where
	// the program ended before this was noted, so it looks whether there is one, from the number Since on.
	Record func(Damage) error
	Now    func() time.Time // nil: time.Now
}

// ScrubRound is one time through the whole store.
type ScrubRound struct {
	Began  time.Time     `json:"began"`
	Ended  time.Time     `json:"ended,omitzero"` // zero while it goes on
	Took   time.Duration `json:"took"`           // while the program ran, waiting included
	Height uint64        `json:"height"`         // below which all was read
	Bytes  uint64        `json:"bytes"`          // read
	Lost   uint64        `json:"lost"`           // entries found to be lost which were not known to be
	Mended uint64        `json:"mended"`         // pairs that were wrong, followed from others, and were written anew
}

// ScrubState is how far scrubbing has come.
type ScrubState struct {
	Last *ScrubRound `json:"last,omitempty"` // the last one that went through; nil: none has
	Now  *ScrubRound `json:"now,omitempty"`  // the one that goes on, or will
}

// metaScrub is a [ScrubState], as JSON.
const metaScrub = "scrub"

// ScrubState returns how far scrubbing has come, as far as the store has noted it.
func (r *Reader) ScrubState() (state ScrubState) {
	if b, err := r.get(metaKey(metaScrub)); err == nil {
		_ = json.Unmarshal(b, &state) // it says nothing then, and the next round begins at genesis
	}
	return state
}

// noteEvery is how often the place is noted from which a round goes on after a restart.
const noteEvery = 15 * time.Minute

// Scrub goes through the store once, or goes on with the round that was cut off, and returns nil when it is through.
// It may run beside everything else, but only once at a time. An error is what kept it from reading; damage is none.
func (s *Store) Scrub(ctx context.Context, o ScrubOptions) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &scrub{s: s, ctx: ctx, o: o, state: s.ScrubState(), met: map[string]bool{}}
	if c.state.Now == nil {
		c.state.Now = &ScrubRound{Began: o.Now()}
		c.whole = true
	}
	c.round = c.state.Now
	c.noted = o.Now()
	c.clock = c.noted
	err := c.run()
	if err != nil {
		if noteErr := c.note(); noteErr != nil {
			return errors.Join(err, noteErr)
		}
		return fmt.Errorf("scrubbing the store: %w", err)
	}
	return nil
}

// Scrubbing returns how far scrubbing has come, to the second while a round goes on.
func (s *Store) Scrubbing() ScrubState {
	if now := s.scrubbing.Load(); now != nil {
		return *now
	}
	return s.ScrubState()
}

// scrub is one round. It belongs to the goroutine that runs it.
type scrub struct {
	s     *Store
	ctx   context.Context
	o     ScrubOptions
	state ScrubState
	round *ScrubRound     // state.Now
	whole bool            // this run of the program began it
	met   map[string]bool // keys of damages known before that are still there
	mends []mend

	clock, noted time.Time

	// What was found at the heights just passed, and may go on at the next one.
	headers *Damage // headers that are lost
	entries *Damage
}

func (c *scrub) run() error {
	if err := c.recordPending(); err != nil { // of a run that was cut off
		return err
	}
	if err := c.blocks(); err != nil {
		return err
	}
	if err := c.s.VerifyTables(c.ctx, c.pace, c.table); err != nil {
		return err
	}
	if err := c.mend(); err != nil {
		return err
	}
	if err := c.forget(); err != nil {
		return err
	}
	c.tick()
	c.round.Ended = c.o.Now()
	c.state = ScrubState{Last: c.round}
	return c.note()
}

// pace counts what was read and waits.
func (c *scrub) pace(read int) error {
	c.round.Bytes += uint64(read)
	c.tick()
	if c.clock.Sub(c.noted) >= noteEvery {
		if err := c.note(); err != nil {
			return err
		}
	}
	if err := c.o.Pace(read); err != nil {
		return err
	}
	c.tick()
	return c.ctx.Err()
}

// tick adds the time that has passed to the round's, and shows how far it is.
func (c *scrub) tick() {
	now := c.o.Now()
	c.round.Took += max(0, now.Sub(c.clock))
	c.clock = now
	round := *c.round
	c.s.scrubbing.Store(&ScrubState{Last: c.state.Last, Now: &round})
}

// note keeps how far the round is. It rides along with the next write that is synced: what a power cut takes of it is
// read once more.
func (c *scrub) note() error {
	b, err := json.Marshal(c.state)
	if err != nil {
		return err
	}
	c.noted = c.o.Now()
	state := c.state
	if state.Now != nil {
		round := *state.Now
		state.Now = &round
	}
	c.s.scrubbing.Store(&state)
	return c.s.putLater(metaKey(metaScrub), b)
}

// putLater writes a pair that becomes durable with the next synced write.
func (s *Store) putLater(k, v []byte) (err error) {
	defer s.guard.caught(&err)
	if err := s.guard.err(); err != nil {
		return err
	}
	if err := s.db.Set(k, v, pebble.NoSync); err != nil {
		return s.guard.fail(err)
	}
	return nil
}

// blocks goes through the chain from where the round stands.
func (c *scrub) blocks() error {
	for {
		again, err := c.blocksFrom(c.round.Height)
		if err != nil || !again {
			return errors.Join(err, c.tell())
		}
	}
}

// blocksFrom checks the blocks from a height on, up to the first that fails, or the end.
func (c *scrub) blocksFrom(height uint64) (again bool, err error) {
	v, err := newVerifier(&c.s.Reader, height, c.pace, nil)
	if err != nil {
		return false, err
	}
	defer v.close()
	defer func() { c.mends = append(c.mends, v.mends...) }()
	for ; height <= v.at.tip.Height; height++ {
		if err := c.ctx.Err(); err != nil {
			return false, err
		}
		if err := v.height(height); err != nil {
			if c.ctx.Err() != nil {
				return false, c.ctx.Err()
			}
			if err := c.failed(height, err); err != nil {
				return false, err
			}
			again = true
		} else if err := c.tell(); err != nil {
			return false, err
		}
		c.round.Height = height + 1
		if again {
			return true, nil
		}
		if len(v.mends) > maxMends {
			v.mends = v.mends[:maxMends] // the next round finds the others
		}
	}
	return false, c.pace(v.read)
}

// failed finds out what is lost of a block that does not verify.
func (c *scrub) failed(height uint64, why error) error {
	if !isDamage(why) {
		return why
	}
	r := &c.s.Reader
	if why = c.look(height); why == nil { // it was read wrong once, or deleted meanwhile
		return c.tell()
	}
	if !isDamage(why) {
		return why
	}
	h, err := r.HeaderAt(height)
	if errors.Is(err, ErrDamaged) {
		return c.add(&c.headers, Damage{From: height, To: height, Headers: true, Why: reason(err)})
	}
	if err != nil {
		return err
	}
	found, salted, lost := false, true, uint64(0)
	var runs []Damage
	scan, err := r.scanBlock(height, h.First, h.First+h.Count)
	if errors.Is(err, ErrPruned) || errors.Is(err, ErrNotHeld) {
		h.Count = 0
	} else if err != nil {
		return err
	} else {
		defer scan.close()
		_, salted = saltOf(scan.seeds, h.First)
		for scan.next() {
			var gone *DamageError
			if errors.As(scan.err, &gone) {
				if !isDamage(gone.Err) {
					return gone.Err
				}
				runs = append(runs, Damage{From: height, To: height, First: gone.First, Count: gone.Count, Why: reason(gone.Err)})
				lost += gone.Count
				found = true
			}
		}
	}
	if !found && !salted { // what they say is there, the salts that their hashes take are not
		return c.add(&c.entries, Damage{From: height, To: height, First: h.First, Unproved: h.Count, Why: reason(why)})
	}
	if !found { // all can be read, and something is not what was sealed
		return c.add(&c.entries, Damage{From: height, To: height, First: h.First, Count: h.Count, Why: reason(why)})
	}
	runs[0].Unproved = h.Count - lost
	for _, d := range runs {
		if err := c.add(&c.entries, d); err != nil {
			return err
		}
	}
	return nil
}

// look checks a height once more, by itself.
func (c *scrub) look(height uint64) error {
	v, err := newVerifier(&c.s.Reader, height, c.pace, nil)
	if err != nil {
		return err
	}
	defer v.close()
	return v.height(height)
}

// reason is an error as it is recorded: without the page that Pebble adds.
func reason(err error) string {
	var table *corruption
	if errors.As(err, &table) {
		err = table
	}
	what, _, _ := strings.Cut(err.Error(), "\n")
	return what
}

// add takes a damage into the one before it where that goes on.
func (c *scrub) add(run **Damage, d Damage) error {
	before := *run
	if before != nil && before.Headers == d.Headers && d.From <= before.To+1 && (d.Headers || d.First == before.First+before.Count) {
		before.To, before.Count, before.Unproved = d.To, before.Count+d.Count, before.Unproved+d.Unproved
		return nil
	}
	if err := c.flush(run); err != nil {
		return err
	}
	*run = &d
	return nil
}

// tell tells of what was found below a height that is sound again.
func (c *scrub) tell() error {
	return errors.Join(c.flush(&c.headers), c.flush(&c.entries))
}

// flush remembers a damage and has it recorded.
func (c *scrub) flush(run **Damage) error {
	d := *run
	if *run = nil; d == nil {
		return nil
	}
	if d.Headers {
		// Without its header nothing of a block counts. Its neighbours tell which numbers were in it.
		first, next, err := c.s.between(d.From, d.To)
		if err != nil {
			return err
		}
		d.First, d.Count = first, next-first
		if _, absent, err := c.s.absentAt(d.From); err == nil && absent {
			d.Count = 0 // they were deleted, or never held
		}
	}
	return c.found(*d)
}

// between returns the numbers of the entries in a run of blocks whose headers are lost.
func (s *Store) between(from, to uint64) (first, next uint64, err error) {
	tip := s.view().tip
	next = tip.Next
	for height := to + 1; height <= tip.Height; height++ {
		if h, err := s.HeaderAt(height); err == nil {
			next = h.First
			break
		} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotHeld) {
			return 0, 0, err
		}
	}
	for height := from; height > 0; height-- {
		if h, err := s.HeaderAt(height - 1); err == nil {
			return h.First + h.Count, next, nil
		} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotHeld) {
			return 0, 0, err
		}
	}
	return 0, next, nil
}

// table takes a damaged table. One of blocks that loses entries was told of by their numbers.
func (c *scrub) table(d Damage) error {
	if d.Holds == contents(spaceBlocks) {
		known, err := c.s.Damages()
		if err != nil {
			return err
		}
		for i := range known {
			if k := &known[i]; k.Table == "" && k.From <= d.To && d.From <= k.To {
				return nil
			}
		}
	}
	return c.found(d)
}

// found remembers what of a damage is news, and has it recorded.
func (c *scrub) found(d Damage) error {
	known, err := c.s.allDamages()
	if err != nil {
		return err
	}
	d.Since = c.s.Next()
	for _, part := range d.news(known, c.met) {
		c.s.options.Logger.Error("old data is damaged", "first", part.First, "count", part.Count, "from_block", part.From, "to_block", part.To, "table", part.Table, "err", part.Why)
		if err := c.s.putDamage(&part); err != nil {
			return err
		}
		c.met[string(part.key())] = true
		c.round.Lost += part.Count
	}
	for i := range known { // it had gone, and is back: that was recorded
		if k := &known[i]; k.Gone && c.met[string(k.key())] {
			k.Gone = false
			if err := c.s.putDamage(k); err != nil {
				return err
			}
		}
	}
	// Remembered and not recorded: if the power fails here, the next start records it.
	return c.recordPending()
}

// recordPending has each damage recorded that is not yet.
func (c *scrub) recordPending() error {
	damages, err := c.s.Damages()
	if err != nil {
		return err
	}
	for i := range damages {
		d := &damages[i]
		if d.Recorded {
			continue
		}
		if err := c.o.Record(*d); err != nil {
			return err
		}
		d.Recorded = true
		if err := c.s.putDamage(d); err != nil {
			return err
		}
	}
	return nil
}

// forget marks damages as gone that this round has looked for and not found.
func (c *scrub) forget() error {
	if !c.whole {
		return nil
	}
	damages, err := c.s.Damages()
	if err != nil {
		return err
	}
	for i := range damages {
		if d := &damages[i]; !c.met[string(d.key())] {
			c.s.options.Logger.Info("what was damaged is not any more", "first", d.First, "count", d.Count, "from_block", d.From, "to_block", d.To, "table", d.Table)
			d.Gone = true
			if err := c.s.putDamage(d); err != nil {
				return err
			}
		}
	}
	return nil
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
			if err != nil {
				return err
			}
			value = own.append(nil)
		}
		set(batch, m.key, value)
		c.round.Mended++
	}
	c.s.options.Logger.Warn("nodes of the history or summaries were wrong, and are written anew", "pairs", len(c.mends))
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
