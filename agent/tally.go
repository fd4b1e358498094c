package agent

import (
	"encoding/json"
	"sync"
	"time"

	"edgechain.example/agent/api"
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

	lost    *api.Loss // the newest of which it is known how many there were; guarded by mu, never changed
	damaged time.Time // when damage was found last; guarded by mu
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
	t.date(e, time.Now())
	return e.count(&t.soFar)
}

// date notes when the newest loss and the newest damage were. Under t.mu.
func (t *tally) date(event any, at time.Time) {
	switch e := event.(type) {
	case gapEvent:
		if e.Count > 0 { // else messages may be lost, or not: a session that a broker may have forgotten
			t.lost = &api.Loss{At: at, Source: e.Source, Count: e.Count, Why: e.Why}
		}
	case damageEvent:
		t.damaged = at
	}
}

// newest returns the newest loss, nil if none is known, and when damage was found last.
func (t *tally) newest() (lost *api.Loss, damaged time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost, t.damaged
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
	recall[bootEvent](t, r, "boot")
	recall[gapEvent](t, r, "gap")
	recall[damageEvent](t, r, "damage")
	recall[pruneEvent](t, r, "prune")
	recall[restoreEvent](t, r, "restore")
	recall[clockEvent](t, r, "clock")
}

// counts takes over what deleted entries agent:damage counted, where no newer one is left.
func (e pruneEvent) counts(c *headersync.Condition) {
	if n := len(e.Damage.Entries); n > 0 && e.Damage.Entries[n-1].Said.SoFar.Times > c.Damage.Times {
		c.Damage = e.Damage.Entries[n-1].Said.SoFar
	}
}

func recall[E interface {
	counts(soFar *headersync.Condition)
}](t *tally, r *store.Reader, word string) {
	for m, err := range r.Find(store.Query{Source: "agent:" + word, Reverse: true, Limit: 1}) {
		if err != nil {
			continue // damaged blocks in between
		}
		var newest E
		if json.Unmarshal(m.Entry.Payload, &newest) == nil {
			newest.counts(&t.soFar)
			t.date(newest, time.Unix(0, m.Entry.Received))
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
