package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// committer owns the tail of the chain: its goroutine alone stages entries and seals blocks. Messages become
// durable in groups that share one write; while the disk writes one group the next is gathered and encoded, and no
// more than that is under way.
type committer struct {
	store   *store.Store
	queue   *queue
	gate    *sealgate.Gate // nothing is sealed while it is closed
	clock   func() lightchain.Clock
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics

	jobs   chan func() // what others need done on the tail's goroutine
	staged chan group  // unbuffered: one group syncs, one waits to be taken
	failed chan error  // holds why acknowledging ended, if it did not end well
	alive  progress    // moves whenever a group is on disk or a block is sealed, for the watchdog
	seals  progress    // moves whenever a block is sealed

	waiting atomic.Bool  // staging has stopped for want of room
	since   atomic.Int64 // when it did last, nanoseconds since the Unix epoch
	full    atomic.Bool  // the open block takes no more, and may not be sealed yet

	onFull func()              // told on the committer's goroutine when staging stops for want of room; nil: nobody
	onSeal func(height uint64) // told on the committer's goroutine, after each seal; nil: nobody
	// onDurable is told of each group that is on disk, before its sources are; nil: nobody.
	onDurable func([]*sensors.Message)
	filtered  *filterCounts // of which each block tells; nil: nothing is counted

	// Owned by the committer's goroutine.
	commit    CommitConfig
	block     BlockConfig
	begun     time.Time          // when the open block's first entry was staged; zero while it is empty
	sealed    time.Time          // when the newest block was sealed
	heard     bool               // the open block says more than that the program was started
	group     int                // entries that wait to be staged, while they do
	gathering *time.Timer        // of the group that is gathered
	spare     []lightchain.Entry // reused from group to group
}

// group is what one write makes durable.
type group struct {
	messages []*sensors.Message
	began    time.Time
	write    *store.Staged
}

// progress is the moment of the last progress, for those who watch from another goroutine.
type progress struct {
	mu sync.Mutex
	at time.Time
}

func (p *progress) mark(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = t
}

func (p *progress) last() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// run commits and seals until the queue is closed and drained, then seals what is left. It returns early only with
// an error after which nothing more may be acknowledged.
func (c *committer) run() error {
	c.sealed = c.now()
	c.seals.mark(c.sealed)
	c.inherit()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.acknowledge()
	}()
	err := c.loop()
	c.filtered = nil // nobody takes an entry about it any more
	close(c.staged)
	<-done
	if err == nil {
		select {
		case err = <-c.failed:
		default:
		}
	}
	if err == nil && c.open() > 0 && !c.gate.Closed() && c.worthSealing() {
		err = c.seal()
	}
	return err
}

// inherit takes over what a former run left open. It waits for as long as if that run had gone on: were it counted anew from
// each start, runs shorter than block.interval would never seal, and were it sealed at once, each of them would.
func (c *committer) inherit() {
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
func (c *committer) worthSealing() bool {
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

func (c *committer) loop() error {
	timer := time.NewTimer(c.untilSeal())
	defer timer.Stop()
	c.gathering = time.NewTimer(0)
	defer c.gathering.Stop()
	for {
		first := c.queue.first
		full := c.room() <= 0
		c.full.Store(full)
		if full { // and cannot be sealed yet: messages wait, unacknowledged
			if c.queue.stopped() {
				c.abandonWaiting(errHeld)
				return nil
			}
			first = nil
			timer.Reset(spaceInterval)
		}
		select {
		case <-first:
			if err := c.commitGroup(); err != nil {
				return err
			}
			if c.queue.drained() {
				return c.recordFiltered()
			}
		case job := <-c.jobs:
			job()
		case <-timer.C:
		case err := <-c.failed:
			return err
		}
		if c.untilSeal() <= 0 {
			if err := c.seal(); err != nil {
				return err
			}
		}
		timer.Reset(c.untilSeal())
	}
}

// sourceFiltered is that of entries about what was not recorded.
const sourceFiltered = "agent:filtered"

// recordFiltered stages an entry about what was not recorded since the one before, if something was and there is room: else the
// next block has it. It belongs to the block that is open, and is durable with its header at the latest. A block may exceed
// block.max_entries by it. If the program is killed before, the count is lost; what it counts nobody wanted.
func (c *committer) recordFiltered() error {
	if c.filtered == nil || c.store.Room() <= 0 {
		return nil
	}
	payload, told := c.filtered.untold()
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

// open returns how many entries the open block holds.
func (c *committer) open() uint64 {
	count, _ := c.store.Open()
	return count
}

// room returns how many more entries the open block takes. A block that was begun under a larger limit may have less
// than none.
func (c *committer) room() int {
	if c.gate.Closed() { // whatever the format allows: nothing can be sealed to make room
		return c.store.Room()
	}
	room := c.store.Room()
	if c.filtered != nil && c.filtered.waits() {
		room-- // for what is told of them when the block is sealed
	}
	return min(room, c.block.MaxEntries-int(c.open()))
}

// do runs job on the committer's goroutine, where the tail stands still.
func (c *committer) do(ctx context.Context, job func()) error {
	done := make(chan struct{})
	select {
	case c.jobs <- func() { defer close(done); job() }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// commitGroup gathers one group, stages it and hands it over for acknowledgement.
func (c *committer) commitGroup() error {
	limit := min(c.commit.MaxEntries, c.room())
	messages := c.gather(limit)
	if len(messages) == 0 {
		return nil
	}
	g := group{messages: messages, began: c.now()}
	var err error
	if g.write, err = c.stage(messages); err != nil {
		c.abandon(g, err)
		if errors.Is(err, store.ErrNoSpace) { // only when the agent stops: what could not be taken was not acknowledged
			c.abandonWaiting(err)
			return nil
		}
		return err
	}
	// Staged, not yet durable: if the program ends here, nobody was told anything.
	if c.begun.IsZero() {
		c.begun = c.now()
	}
	c.heard = c.heard || slices.ContainsFunc(messages, func(m *sensors.Message) bool { return !tellsOfStart(m.Source) })
	select {
	case c.staged <- g:
	case err := <-c.failed:
		c.abandon(g, err)
		return err
	}
	return nil
}

// groupBytes is how much one group makes durable at most, but for one message that is larger: what is on its way to the
// disk is in memory twice.
const groupBytes = 8 << 20

// gather waits until the group is full, its time is up, or nothing new came for a moment, and takes what is there.
func (c *committer) gather(limit int) []*sensors.Message {
	deadline := time.Now().Add(c.commit.MaxDelay)
	for c.commit.Idle > 0 && c.queue.gathers() {
		seen, bytes, newest := c.queue.waits()
		if seen >= limit || bytes >= groupBytes {
			break
		}
		wait := min(time.Until(newest.Add(c.commit.Idle)), time.Until(deadline))
		if wait <= 0 {
			break
		}
		c.gathering.Reset(wait)
		select {
		case <-c.queue.full:
		case <-c.gathering.C:
		}
	}
	return c.queue.take(nil, limit, groupBytes)
}

// stage starts the write of one group. It waits, and says so, while the disk has no room.
func (c *committer) stage(messages []*sensors.Message) (*store.Staged, error) {
	entries := c.spare[:0]
	for _, m := range messages {
		entries = append(entries, lightchain.Entry{
			Received: sensors.Nanoseconds(m.Received), Source: m.Source, Flags: m.Flags, Payload: m.Payload, Decoder: m.Decoder, Readings: m.Readings,
		})
	}
	defer func() {
		clear(entries)
		c.spare = entries[:0]
	}()
	c.group = len(entries)
	defer func() { c.group = 0 }()
	waiting := false
	for {
		staged, err := c.store.Stage(entries)
		var bad *store.EntryError
		switch {
		case err == nil:
			if waiting {
				c.waiting.Store(false)
				c.log.Info("there is room again: recording goes on")
			}
			return staged, nil
		case errors.As(err, &bad):
			c.log.Error("failed to encode an entry as its source gave it; kept without its readings", "source", entries[bad.Index].Source, "err", err)
			entries[bad.Index] = bare(entries[bad.Index])
		case errors.Is(err, store.ErrNoSpace):
			if !waiting {
				waiting = true
				c.since.Store(time.Now().UnixNano())
				c.waiting.Store(true)
				c.log.Error("failed to record: the disk's reserve is reached; acknowledgements wait until there is room", "err", err)
				if c.onFull != nil {
					c.onFull()
				}
			}
			if c.queue.stopped() {
				return nil, err
			}
			// What was acknowledged is sealed meanwhile: the reserve has the room for that.
			if c.open() > 0 && c.untilSeal() <= 0 {
				if err := c.seal(); err != nil {
					return nil, err
				}
			}
			select { // what others need done may be what makes room
			case job := <-c.jobs:
				job()
			case <-time.After(spaceInterval):
			}
		default:
			return nil, fmt.Errorf("staging %d entries: %w", len(entries), err)
		}
	}
}

// spaceInterval is how often a full disk is looked at again.
const spaceInterval = 500 * time.Millisecond

// bare returns the entry without anything that could keep it from being encoded: the payload is the evidence.
func bare(e lightchain.Entry) lightchain.Entry {
	e.Source = strings.ToValidUTF8(e.Source, "\uFFFD")
	e.Flags = e.Flags&(lightchain.Retained|lightchain.Redelivered|lightchain.QoS0|lightchain.PayloadHashed|lightchain.ByAgent) | lightchain.NotUnderstood
	e.Decoder, e.Readings = "", nil
	return e
}

// acknowledge waits for each group's write, in order, and tells the sources. It runs on a goroutine of its own.
func (c *committer) acknowledge() {
	var failure error
	for g := range c.staged {
		if failure == nil {
			failure = g.write.Wait()
		}
		if failure != nil {
			select {
			case c.failed <- failure:
			default:
			}
			c.abandon(g, failure)
			continue
		}
		// Durable: from here on an acknowledgement may be lost, the entry no more.
		now := c.now()
		c.metrics.committed(g.messages, now.Sub(g.began))
		c.alive.mark(now)
		if c.onDurable != nil {
			c.onDurable(g.messages)
		}
		c.finish(g, nil)
	}
}

// errHeld is what sources hear whose messages wait for a block that cannot be sealed when the agent stops.
var errHeld = errors.New("the block is full and cannot be sealed")

// abandonWaiting tells the sources of all waiting messages that they will not become durable.
func (c *committer) abandonWaiting(err error) {
	c.abandon(group{messages: c.queue.take(nil, math.MaxInt, math.MaxInt)}, err)
}

// abandon tells the sources of a group that it will never be durable.
func (c *committer) abandon(g group, err error) { c.finish(g, err) }

func (c *committer) finish(g group, err error) {
	for i, m := range g.messages {
		if err == nil {
			m.Entry = g.write.First + uint64(i)
		}
		if m.Done != nil {
			m.Done(err)
		}
	}
	c.queue.release(g.messages)
}

// untilSeal returns how long the open block may wait; zero or less means that it is due.
func (c *committer) untilSeal() time.Duration {
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
func (c *committer) seal() error {
	header, err := c.sealWith(nil)
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

// sealWith seals with a header that hands over to the next signer; nil: the key stays.
func (c *committer) sealWith(next lightchain.Signer) (*lightchain.SignedHeader, error) {
	if err := c.recordFiltered(); err != nil {
		return nil, err
	}
	header, err := c.store.Seal(store.SealParams{
		Sealed: sensors.Nanoseconds(c.now()), Clock: c.clock(), NextSigner: next, Cadence: uint64(c.block.Cadence / time.Second),
	})
	if err != nil {
		return nil, err
	}
	c.begun, c.sealed, c.heard = time.Time{}, c.now(), false
	c.alive.mark(c.sealed)
	c.seals.mark(c.sealed)
	c.metrics.blocks.Inc()
	c.log.Debug("sealed", "height", header.Header.Height, "entries", header.Header.Count, "hash", header.Hash())
	return header, nil
}
