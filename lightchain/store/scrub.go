package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"edgechain.example/lightchain"

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
	Anew   bool             // begins at genesis, also where a round was cut off: something is known to be damaged since
	Now    func() time.Time // nil: time.Now
	// Aggregators are those whose receipts are checked, under these keys; other receipts are only read.
	Aggregators []lightchain.Aggregator
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
	if c.state.Now == nil || o.Anew {
		c.state.Now = &ScrubRound{Began: o.Now()}
		c.whole = true
	}
	var due []string
	if c.whole {
		due = s.due.pending()
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
	s.due.done(due)
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
	stopped      error // what pace said last: it is no damage

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
	if err := c.receipts(); err != nil {
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
	c.stopped = c.wait(read)
	return c.stopped
}

func (c *scrub) wait(read int) error {
	c.round.Bytes += uint64(read)
	c.tick()
	if c.clock.Sub(c.noted) >= noteEvery {
		if err := c.note(); err != nil {
			return err
		}
	}
	err := c.o.Pace(read)
	c.tick()
	return cmp.Or(err, c.ctx.Err())
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
	s.besides.Lock()
	defer s.besides.Unlock()
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
			if c.stopped != nil {
				return false, c.stopped
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
