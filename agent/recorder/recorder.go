// Package recorder makes messages durable: it is the one queue between all sources and the disk, and the one goroutine
// that owns the tail of the chain.
//
// It owns the order of entries, when a group of them is put to disk, when a block is sealed, and the moment from which a
// source may acknowledge: after the group's write is synced, never before. If the power fails at any earlier moment,
// nobody was told anything, and whoever sent a message sends it again. When a group is put to disk follows from a day's
// budget of bytes, and from who waits for it: budget.go has the first, sender.go the second, pacer.go decides. It does not
// know where messages come from, what they mean, who else reads the chain, nor which configuration its settings are of.
package recorder

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// CommitConfig says when a group of entries is put to disk.
type CommitConfig struct {
	MaxDelay   time.Duration `toml:"max_delay"` // 0: neither delay counts, and the budget decides
	MaxEntries int           `toml:"max_entries"`
	Idle       time.Duration `toml:"idle"`
}

// BlockConfig says when a block is sealed.
type BlockConfig struct {
	Interval   time.Duration `toml:"interval"`
	MaxEntries int           `toml:"max_entries"`
	Heartbeat  time.Duration `toml:"heartbeat"`
	Cadence    time.Duration `toml:"cadence"` // whole seconds; 0: the chain promises nothing
}

// Config is what a [Committer] works with. It must be given all but what says that it may be nil.
type Config struct {
	Store  *store.Store
	Queue  *Queue
	Gate   *sealgate.Gate // nothing is sealed while it is closed
	Commit CommitConfig
	Block  BlockConfig
	PerDay uint64                  // bytes that may be written to the card; 0: no limit
	Clock  func() lightchain.Clock // as a header carries it
	Now    func() time.Time
	Log    *slog.Logger

	// Unrecorded is of what each block tells that was not recorded; nil: nothing is counted.
	Unrecorded Unrecorded
	// Full is told on the committer's goroutine when staging stops for want of room; nil: nobody.
	Full func()
	// Sealed is told on the committer's goroutine after each block that it sealed by itself; nil: nobody.
	Sealed func(height uint64)
	// Durable is told of each group that is on disk, before its sources are, and how long that took; nil: nobody.
	Durable func(group []*sensors.Message, took time.Duration)
}

// Unrecorded counts messages that are not recorded.
type Unrecorded interface {
	// Waits reports whether there were any of which no entry tells.
	Waits() bool
	// Untold returns the payload of an entry that tells of those since the one before, nil if there were none, and what
	// says that the entry is made. Both are called on the committer's goroutine.
	Untold() (payload []byte, told func())
}

// Committer owns the tail of the chain: its goroutine alone stages entries and seals blocks. Messages become
// durable in groups that share one write; while the disk writes one group the next is gathered and encoded, and no
// more than that is under way.
type Committer struct {
	store *store.Store
	queue *Queue
	gate  *sealgate.Gate
	clock func() lightchain.Clock
	now   func() time.Time
	log   *slog.Logger

	jobs   chan func() // what others need done on the tail's goroutine
	staged chan group  // unbuffered: one group syncs, one waits to be taken
	failed chan error  // holds why acknowledging ended, if it did not end well
	alive  progress    // moves whenever a group is on disk or a block is sealed, for the watchdog
	seals  progress    // moves whenever a block is sealed

	waiting atomic.Bool  // staging has stopped for want of room
	since   atomic.Int64 // when it did last, nanoseconds since the Unix epoch
	full    atomic.Bool  // the open block takes no more, and may not be sealed yet

	onFull     func()
	onSeal     func(height uint64)
	onDurable  func(group []*sensors.Message, took time.Duration)
	unrecorded Unrecorded

	budget *budget
	fixed  atomic.Bool // the configuration says how long groups wait

	// Owned by the committer's goroutine.
	pacer     pacer
	commit    CommitConfig
	block     BlockConfig
	begun     time.Time          // when the open block's first entry was staged; zero while it is empty
	sealed    time.Time          // when the newest block was sealed
	heard     bool               // the open block says more than that the program was started
	group     int                // entries that wait to be staged, while they do
	gathering *time.Timer        // of the group that is gathered
	spare     []lightchain.Entry // reused from group to group
}

// New returns a committer that does nothing until it runs.
func New(c Config) *Committer {
	written := func() stored {
		s := c.Store.Stats()
		return stored{Log: s.WALBytes, Tables: s.TableBytes}
	}
	n := &Committer{
		budget: newBudget(c.PerDay, time.Now(), written),
		store:  c.Store, queue: c.Queue, gate: c.Gate, commit: c.Commit, block: c.Block, clock: c.Clock, now: c.Now, log: c.Log,
		unrecorded: c.Unrecorded, onFull: c.Full, onSeal: c.Sealed, onDurable: c.Durable,
		jobs: make(chan func()), staged: make(chan group), failed: make(chan error, 1),
	}
	n.fixed.Store(c.Commit.MaxDelay > 0)
	return n
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

// Run commits and seals until the queue is closed and drained, then seals what is left. It returns early only with
// an error after which nothing more may be acknowledged.
func (c *Committer) Run() error {
	c.sealed = c.now()
	c.seals.mark(c.sealed)
	c.inherit()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.acknowledge()
	}()
	err := c.loop()
	c.unrecorded = nil // nobody takes an entry about it any more
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

func (c *Committer) loop() error {
	timer := time.NewTimer(c.untilSeal())
	defer timer.Stop()
	c.gathering = time.NewTimer(0)
	defer c.gathering.Stop()
	for {
		first := c.queue.first
		full := c.room() <= 0
		c.full.Store(full)
		if full { // and cannot be sealed yet: messages wait, unacknowledged
			if c.queue.Stopped() {
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

// open returns how many entries the open block holds.
func (c *Committer) open() uint64 {
	count, _ := c.store.Open()
	return count
}

// room returns how many more entries the open block takes. A block that was begun under a larger limit may have less
// than none.
func (c *Committer) room() int {
	if c.gate.Closed() { // whatever the format allows: nothing can be sealed to make room
		return c.store.Room()
	}
	room := c.store.Room()
	if c.unrecorded != nil && c.unrecorded.Waits() {
		room-- // for what is told of them when the block is sealed
	}
	return min(room, c.block.MaxEntries-int(c.open()))
}

// Do runs job on the committer's goroutine, where the tail stands still, unless ctx ends before its turn comes.
func (c *Committer) Do(ctx context.Context, job func()) error {
	done := make(chan struct{})
	select {
	case c.jobs <- func() { defer close(done); job() }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// Configure brings other settings into force. It belongs to the committer's goroutine: see [Committer.Do].
func (c *Committer) Configure(commit CommitConfig, block BlockConfig, perDay uint64) {
	c.commit, c.block = commit, block
	c.fixed.Store(commit.MaxDelay > 0)
	c.budget.set(perDay, time.Now())
}

// Spending returns what is written to the card, and how its budget stands.
func (c *Committer) Spending() Spending {
	s := c.budget.spending(time.Now())
	if s.Limited = c.queue.limited(); c.fixed.Load() {
		s.Fixed, s.Wait, s.Limited = true, 0, nil
	}
	return s
}

// Waiting reports whether staging has stopped because the disk's reserve is reached, and since when.
func (c *Committer) Waiting() (since time.Time, waiting bool) {
	if !c.waiting.Load() {
		return time.Time{}, false
	}
	return time.Unix(0, c.since.Load()), true
}

// Full reports whether messages wait because the open block takes no more and may not be sealed.
func (c *Committer) Full() bool { return c.full.Load() }

// LastSealed returns when a block was sealed last, or when the committer began to run.
func (c *Committer) LastSealed() time.Time { return c.seals.last() }

// Stuck is for how long messages have waited without any of them reaching the disk, 0 where none waits. A full disk is not
// an ailment of the program, nor is a full block that may not be sealed: restarting it would help nobody.
func (c *Committer) Stuck() time.Duration {
	begun := c.queue.busySince() // before that there was nothing to make progress with
	if begun.IsZero() || c.waiting.Load() || c.full.Load() {
		return 0
	}
	if last := c.alive.last(); last.After(begun) {
		begun = last
	}
	return time.Since(begun)
}
