package agent

import (
	"encoding/json"
	"sync"
	"time"

	"edgechain.example/lightchain/store"
	headersync "edgechain.example/sync"
)

// tally counts what the chain records of itself, since its beginning, for the gateway's reports.
//
// Nothing but the chain keeps the counts: each entry that is counted says how many there were so far, so that the
// newest of its kind is all that a start has to look for.
type tally struct {
	mu    sync.Mutex
	soFar headersync.Condition // guarded by mu; only what is counted
}

// counted is an event that a tally counts.
type counted interface {
	// count adds the event to what was counted so far, and returns it with the sum.
	count(soFar *headersync.Condition) any
	// counts takes over the sum that the newest event of the kind says.
	counts(soFar *headersync.Condition)
}

func (e bootEvent) count(c *headersync.Condition) any {
	if !e.Clean {
		c.Unclean++
	}
	e.Unclean = c.Unclean
	return e
}

func (e bootEvent) counts(c *headersync.Condition) { c.Unclean = e.Unclean }

func (e gapEvent) count(c *headersync.Condition) any {
	c.Gaps.Times++
	c.Gaps.Count += e.Count
	e.SoFar = c.Gaps
	return e
}

func (e gapEvent) counts(c *headersync.Condition) { c.Gaps = e.SoFar }

func (e damageEvent) count(c *headersync.Condition) any {
	c.Damage.Times++
	c.Damage.Count += e.Count
	e.SoFar = c.Damage
	return e
}

func (e damageEvent) counts(c *headersync.Condition) { c.Damage = e.SoFar }

func (e restoreEvent) count(c *headersync.Condition) any {
	c.Restored.Times++
	c.Restored.Count += e.NextEntry - e.FirstEntry
	e.SoFar = c.Restored
	return e
}

func (e restoreEvent) counts(c *headersync.Condition) { c.Restored = e.SoFar }

// Both kinds are entries agent:restore, and the newest of either must say the sum.
func (e restoredEvent) count(c *headersync.Condition) any {
	e.SoFar = c.Restored
	return e
}

func (e restoredEvent) counts(c *headersync.Condition) { c.Restored = e.SoFar }

func (e clockEvent) count(c *headersync.Condition) any {
	c.Clock.Steps++
	c.Clock.Step = time.Duration(e.Step).Milliseconds()
	e.Steps = c.Clock.Steps
	return e
}

func (e clockEvent) counts(c *headersync.Condition) {
	c.Clock.Steps, c.Clock.Step = e.Steps, time.Duration(e.Step).Milliseconds()
}

// add counts an event, if it is one that is counted, and returns it as it is to be recorded.
func (t *tally) add(event any) any {
	e, ok := event.(counted)
	if !ok {
		return event
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return e.count(&t.soFar)
}

func (t *tally) condition() headersync.Condition {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.soFar
}

// recall takes over what former runs counted. What cannot be read, or was pruned, counts as nothing.
func (t *tally) recall(r *store.Reader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	recall[bootEvent](&t.soFar, r, "boot")
	recall[gapEvent](&t.soFar, r, "gap")
	recall[damageEvent](&t.soFar, r, "damage")
	recall[pruneEvent](&t.soFar, r, "prune")
	recall[restoreEvent](&t.soFar, r, "restore")
	recall[clockEvent](&t.soFar, r, "clock")
}

// counts takes over what deleted entries agent:damage counted, where no newer one is left.
func (e pruneEvent) counts(c *headersync.Condition) {
	if n := len(e.Damage.Entries); n > 0 && e.Damage.Entries[n-1].Said.SoFar.Times > c.Damage.Times {
		c.Damage = e.Damage.Entries[n-1].Said.SoFar
	}
}

func recall[E interface {
	counts(soFar *headersync.Condition)
}](soFar *headersync.Condition, r *store.Reader, word string) {
	for m, err := range r.Find(store.Query{Source: "agent:" + word, Reverse: true, Limit: 1}) {
		if err != nil {
			continue // damaged blocks in between
		}
		var newest E
		if json.Unmarshal(m.Entry.Payload, &newest) == nil {
			newest.counts(soFar)
		}
		return
	}
}

// condition is what the gateway reports of itself to its aggregators.
func (a *Agent) condition() headersync.Condition {
	c := a.tally.condition()
	c.Version = a.options.Version
	clock := a.clock.Status()
	c.Clock.State, c.Clock.Error = clock.State, uint64(max(clock.MaxError, 0).Milliseconds())
	inForce := a.inForce()
	// A block is begun by its first entry, which may come just before the heartbeat is due.
	within := inForce.Block.Heartbeat + inForce.Block.Interval + inForce.Sync.Announce
	c.Within = uint64((within + time.Second - 1) / time.Second)
	return c
}
