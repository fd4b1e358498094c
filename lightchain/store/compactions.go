package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// compactions lets a database merge tables, one merge at a time, once it is open. Pebble's own scheduler lets it begin
// while it opens: where the opening fails afterwards, since the system refuses a file, the merge goes on with what was
// closed, and panics.
//
// A merge that failed, since the system is out of something, is followed by a pause: Pebble would try again at once, for
// ever, and a line of the log each time.
//
// It implements [pebble.CompactionScheduler]. No method of the database is called with mu held.
type compactions struct {
	mu       sync.Mutex
	changed  sync.Cond              // of granting; on mu
	db       pebble.DBForCompaction // guarded by mu; nil: there is none, or not any more
	opened   bool                   // guarded by mu
	running  bool                   // guarded by mu: a merge runs, or is being offered
	granting bool                   // guarded by mu: one is being offered
	refused  bool                   // guarded by mu: another was asked for meanwhile
	pause    time.Duration          // guarded by mu: after the failures in a row; 0: the last one succeeded
	resting  bool                   // guarded by mu: until the pause is over
	failed   bool                   // guarded by mu: one did since hasFailed was called

	moved time.Time // guarded by mu: when a merge last succeeded

	after func(time.Duration, func()) // calls the function then: time.AfterFunc

	// Of merges that the store asks for.
	patience time.Duration // how long one waits while none succeeds
	turn     chan struct{} // holds a token while one is asked for
	ctx      context.Context
	end      context.CancelFunc // of ctx
}

// The pauses after merges that failed double from the first to the longest. For five minutes after a failure below level 0 Pebble
// tries nothing there by itself, and so what it is asked for.
const firstPause, longestPause = time.Second, 4 * time.Minute

// mergePatience is how long a merge that is asked for waits while none succeeds.
const mergePatience = time.Minute

// ErrNoMerge says that what was asked for comes later: for a minute no tables were merged. There may be no room, or damage over
// which other merges fail that are tried first.
var ErrNoMerge = errors.New("no tables were merged for a minute")

func newCompactions() *compactions {
	c := &compactions{after: func(d time.Duration, f func()) { time.AfterFunc(d, f) }, moved: time.Now(), patience: mergePatience, turn: make(chan struct{}, 1)}
	c.changed.L = &c.mu
	c.ctx, c.end = context.WithCancel(context.Background())
	return c
}

// ask calls merge, which waits for a merge of its own, and returns what that returns. It does not wait for long where others
// only fail: over a damaged table of level 0 Pebble tries the same one again and again before what it is asked for. The merge
// comes when it can then, and until it has no other is asked for.
//
// merge is called off by close alone: one that Pebble has picked and that is called off before it begins makes it panic.
func (c *compactions) ask(ctx context.Context, merge func(context.Context) error) error {
	ctx, enough := context.WithCancelCause(ctx)
	defer enough(nil)
	go c.watch(ctx, c.patience, enough)
	select {
	case c.turn <- struct{}{}:
	case <-c.ctx.Done():
		return c.ctx.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := errors.Join(c.ctx.Err(), ctx.Err()); err != nil {
		<-c.turn
		return err
	}
	done := make(chan error, 1)
	go func() {
		done <- merge(c.ctx)
		<-c.turn
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watch has a wait end when no merge has succeeded for long, and none runs.
func (c *compactions) watch(ctx context.Context, patience time.Duration, enough context.CancelCauseFunc) {
	began := time.Now()
	tick := time.NewTicker(patience / 16)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		stands := !c.running && time.Since(began) > patience && time.Since(c.moved) > patience
		c.mu.Unlock()
		if stands {
			enough(ErrNoMerge)
		}
	}
}

// close has no merge begin any more, and calls off what was asked for. Nothing can be asked for afterwards.
func (c *compactions) close() {
	c.mu.Lock()
	c.opened = false
	for c.granting {
		c.changed.Wait()
	}
	c.mu.Unlock()
	c.end()
	c.turn <- struct{}{}
}

// open lets merges begin.
func (c *compactions) open() {
	c.mu.Lock()
	c.opened = true
	c.mu.Unlock()
	c.grant()
}

// ended takes note of how a merge ended. It is called with locks of the database's held, before the merge's Done.
func (c *compactions) ended(info pebble.CompactionInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(info.Err, pebble.ErrCancelledCompaction):
	case info.Err == nil:
		c.pause, c.moved = 0, time.Now()
	case !c.resting:
		c.failed = true
		c.pause = min(max(firstPause, 2*c.pause), longestPause)
		c.resting = true
		c.after(c.pause, func() {
			c.mu.Lock()
			c.resting = false
			c.mu.Unlock()
			c.grant()
		})
	}
}

// hasFailed reports whether a merge has failed since it was called last.
func (c *compactions) hasFailed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	failed := c.failed
	c.failed = false
	return failed
}

// Register implements [pebble.CompactionScheduler].
func (c *compactions) Register(_ int, db pebble.DBForCompaction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.db = db
}

// Unregister implements [pebble.CompactionScheduler].
func (c *compactions) Unregister() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.db = nil
	for c.granting {
		c.changed.Wait()
	}
}

// TrySchedule implements [pebble.CompactionScheduler]. A database that is refused does not ask again: it waits for grant.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.free() {
		c.refused = true
		return false, nil
	}
	c.running = true
	return true, merge{c}
}

// UpdateGetAllowedWithoutPermission implements [pebble.CompactionScheduler]: it is called after a flush, with locks of the
// database's held.
func (c *compactions) UpdateGetAllowedWithoutPermission() { go c.grant() }

// free reports whether a merge may begin. mu is held.
func (c *compactions) free() bool { return c.db != nil && c.opened && !c.running && !c.resting }

// grant begins the merge that the database waits for, if it does, and none runs.
func (c *compactions) grant() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.granting {
		c.changed.Wait()
	}
	if !c.free() {
		return
	}
	c.granting, c.running = true, true
	for {
		db := c.db
		c.refused = false
		c.mu.Unlock()
		waits, _ := db.GetWaitingCompaction()
		begun := waits && db.Schedule(merge{c})
		c.mu.Lock()
		if begun { // and ended already, perhaps
			break
		}
		if !c.refused || c.db == nil {
			c.running = false
			break
		}
	}
	c.granting = false
	c.changed.Broadcast()
}

// merge is the leave for one merge. It implements [pebble.CompactionGrantHandle].
type merge struct{ c *compactions }

// Started implements [pebble.CompactionGrantHandle].
func (merge) Started() {}

// MeasureCPU implements [pebble.CompactionGrantHandle].
func (merge) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements [pebble.CompactionGrantHandle].
func (merge) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements [pebble.CompactionGrantHandle].
func (m merge) Done() {
	m.c.mu.Lock()
	m.c.running = false
	m.c.mu.Unlock()
	m.c.grant()
}
