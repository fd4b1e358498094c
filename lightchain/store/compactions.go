package store

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactions lets a database merge tables, one merge at a time, once it is open. Pebble's own scheduler lets it begin
// while it opens: where the opening fails afterwards, since the system refuses a file, the merge goes on with what was
// closed, and panics.
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
}

func newCompactions() *compactions {
	c := new(compactions)
	c.changed.L = &c.mu
	return c
}

// open lets merges begin.
func (c *compactions) open() {
	c.mu.Lock()
	c.opened = true
	c.mu.Unlock()
	c.grant()
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
	if c.db == nil || !c.opened || c.running {
		c.refused = true
		return false, nil
	}
	c.running = true
	return true, merge{c}
}

// UpdateGetAllowedWithoutPermission implements [pebble.CompactionScheduler]: it is called after a flush, with locks of the
// database's held.
func (c *compactions) UpdateGetAllowedWithoutPermission() { go c.grant() }

// grant begins the merge that the database waits for, if it does, and none runs.
func (c *compactions) grant() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.granting {
		c.changed.Wait()
	}
	if c.db == nil || !c.opened || c.running {
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
