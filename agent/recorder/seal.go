package recorder

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// inherit takes over what a former run left open. It waits for as long as if that run had gone on: were it counted anew from
// each start, runs shorter than block.interval would never seal, and were it sealed at once, each of them would.
func (c *Committer) inherit() {
	count, first := c.store.Open()
	if count == 0 {
		return
	}
	c.begun = c.now()
	if passed := c.begun.Sub(first); passed > 0 { // else a clock was set
		c.begun = c.begun.Add(-min(passed, c.block.Interval))
	}
	c.heard = count > mostStarts
	for e, err := range c.store.Entries(c.store.Tip().Next, c.store.Next()) {
		if c.heard {
			break
		}
		c.heard = err != nil || !tellsOfStart(e.Entry.Source)
	}
}

// mostStarts is how many entries about starts are left open for the next run.
const mostStarts = 256

// tellsOfStart reports whether entries of a source say no more than that the program was started.
func tellsOfStart(source string) bool {
	return source == "agent:boot" || source == "agent:config" || source == sourceFiltered // which a stop makes
}

// worthSealing reports whether a stop seals the open block. One that tells of starts alone waits where a block was sealed
// within the last interval, durable as it is: a program that is started again every few seconds would make thousands of
// headers a day, which every aggregator keeps for ever.
func (c *Committer) worthSealing() bool {
	tip := c.store.Tip().Height
	if c.heard || tip == 0 || c.open() > mostStarts {
		return true
	}
	newest, err := c.store.HeaderAt(tip)
	if err != nil {
		return true
	}
	passed := c.now().Sub(time.Unix(0, newest.Sealed))
	return passed < 0 || passed >= c.block.Interval
}

// untilSeal returns how long the open block may wait; zero or less means that it is due.
func (c *Committer) untilSeal() time.Duration {
	if c.gate.Closed() {
		return closedInterval
	}
	now := c.now()
	if c.begun.IsZero() {
		return untilPast(c.block.Heartbeat, c.sealed, now)
	}
	if c.room() <= 0 {
		return 0
	}
	return untilPast(c.block.Interval, c.begun, now)
}

// untilPast returns how long it is until so much time has passed. Behind the year 2157 Go's times are those of the wall
// clock alone: one that stood there and was set back makes the wait end now, not in a hundred years.
func untilPast(wait time.Duration, since, now time.Time) time.Duration {
	passed := now.Sub(since)
	if passed < 0 || passed >= wait {
		return 0
	}
	return wait - passed
}

// closedInterval is how often the committer looks whether it may seal again, unless a job on its goroutine opened the
// gate.
const closedInterval = 10 * time.Second

// seal closes the open block, or writes a heartbeat if it is empty.
func (c *Committer) seal() error {
	header, err := c.SealWith(nil)
	if r, refused := refusal(err); refused {
		if c.gate.Add(r) {
			c.log.Error("nothing is sealed: "+r.String(), "err", err)
		}
		c.begun, c.sealed = c.now(), c.now() // an interval later it is tried again, if the gate lets it
		return nil
	}
	if err != nil {
		return fmt.Errorf("sealing: %w", err)
	}
	if c.gate.Lift(sealgate.NoSpace, "") {
		c.log.Info("there is room again: sealing goes on")
	}
	if c.onSeal != nil {
		c.onSeal(header.Header.Height)
	}
	return nil
}

// refusal is the reason that a store has which does not seal and goes on recording.
func refusal(err error) (r sealgate.Reason, refused bool) {
	switch {
	case errors.Is(err, store.ErrNoSpace):
		return sealgate.Reason{Kind: sealgate.NoSpace, Why: "the disk has no room for a header", Do: "make room"}, true
	case errors.Is(err, store.ErrWrongKey):
		return sealgate.Reason{Kind: sealgate.Key, Why: "the key in force is not at hand"}, true
	case errors.Is(err, store.ErrUnsure):
		return sealgate.Reason{Kind: sealgate.SetBack, Why: "headers may be missing at the chain's end", Do: "start the agent again: it asks the aggregators"}, true
	}
	return r, false
}

// SealWith seals with a header that hands over to the next signer; nil: the key stays. It belongs to the committer's
// goroutine: see [Committer.Do].
func (c *Committer) SealWith(next lightchain.Signer) (*lightchain.SignedHeader, error) {
	if err := c.recordFiltered(); err != nil {
		return nil, err
	}
	header, err := c.store.Seal(store.SealParams{
		Sealed: sensors.Nanoseconds(c.now()), Clock: c.clock(), NextSigner: next, Cadence: uint64(c.block.Cadence / time.Second),
	})
	if err != nil {
		return nil, err
	}
	c.budget.synced(store.MarkBytes)
	c.begun, c.sealed, c.heard = time.Time{}, c.now(), false
	c.alive.mark(c.sealed)
	c.seals.mark(c.sealed)
	c.log.Debug("sealed", "height", header.Header.Height, "entries", header.Header.Count, "hash", header.Hash())
	return header, nil
}

// sourceFiltered is that of entries about what was not recorded.
const sourceFiltered = "agent:filtered"

// recordFiltered stages an entry about what was not recorded since the one before, if something was and there is room: else the
// next block has it. It belongs to the block that is open, and is durable with its header at the latest. A block may exceed
// block.max_entries by it. If the program is killed before, the count is lost; what it counts nobody wanted.
func (c *Committer) recordFiltered() error {
	if c.unrecorded == nil || c.store.Room() <= 0 {
		return nil
	}
	payload, told := c.unrecorded.Untold()
	if payload == nil {
		return nil
	}
	m := &sensors.Message{Source: sourceFiltered, Received: c.now(), Flags: lightchain.ByAgent, Payload: payload}
	staged, err := c.store.Stage([]lightchain.Entry{{Received: sensors.Nanoseconds(m.Received), Source: m.Source, Flags: m.Flags, Payload: m.Payload}})
	if errors.Is(err, store.ErrNoSpace) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("staging an entry about what is not recorded: %w", err)
	}
	told()
	if c.begun.IsZero() {
		c.begun = c.now()
	}
	select {
	case c.staged <- group{messages: []*sensors.Message{m}, began: c.now(), write: staged}:
		return nil
	case err := <-c.failed:
		return err
	}
}

// ErrClosed keeps retention from deleting anything of a chain that may not be able to go on.
var ErrClosed = errors.New("nothing is deleted while nothing is sealed")

// Prune deletes payloads below a height, with the entry agent:prune that tells of it: what tell returns, as JSON. It belongs
// to the committer's goroutine: see [Committer.Do].
func (c *Committer) Prune(below uint64, tell func(store.Pruned) any) (store.Pruned, error) {
	if c.gate.Closed() {
		return store.Pruned{}, fmt.Errorf("%w: %s", ErrClosed, c.gate.Worst())
	}
	if c.room() < 1 || c.store.Room() <= c.group { // a group that waits for space has been given its place
		if err := c.seal(); err != nil {
			return store.Pruned{}, err
		}
	}
	p, err := c.store.Prune(below, func(p store.Pruned) lightchain.Entry {
		payload, err := json.Marshal(tell(p))
		if err != nil {
			panic(fmt.Sprintf("an agent:prune entry that is no JSON: %v", err))
		}
		return lightchain.Entry{Received: sensors.Nanoseconds(c.now()), Source: "agent:prune", Flags: lightchain.ByAgent, Payload: payload}
	})
	if c.begun.IsZero() && c.open() > 0 {
		c.begun = c.now()
	}
	if err == nil && p.Next > p.First {
		c.heard = true
	}
	return p, err
}
