package registry

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"edgechain.example/lightchain"
)

// Census counts the gateways by standing and finding. That takes a look at every record, as findings come and go with the
// time alone; so whoever asks often is told what was counted before.
type Census struct {
	store    Store
	registry *Registry
	now      func() time.Time
	mine     func(lightchain.ChainID) bool // which gateways this replica follows; nil: all

	counting chan struct{} // capacity 1: held by whoever counts, or looks whether to

	mu   sync.Mutex
	last *Count        // guarded by mu; nil: nothing was counted yet
	done time.Time     // guarded by mu: when it was, by the process's own clock
	took time.Duration // guarded by mu
}

// NewCensus returns a census; mine says which gateways this replica follows, nil: all.
func NewCensus(s Store, r *Registry, now func() time.Time, mine func(lightchain.ChainID) bool) *Census {
	return &Census{store: s, registry: r, now: now, mine: mine, counting: make(chan struct{}, 1)}
}

// Count is how many gateways there were at one time.
type Count struct {
	At        time.Time
	Standings map[Standing]int
	Ailing    map[Kind]int    // of those that are approved
	Lost      map[Kind]uint64 // by those
	Unheard   int             // of those, silent or offline or both
	Owned     int             // of those, followed by this replica
}

const (
	countEvery = 30 * time.Second
	countShare = 50                     // of the time that counting may take: one part in so many
	countCheap = 100 * time.Millisecond // what takes no longer may be done as often as anybody asks
)

// Recent returns a count: a new one, unless counting is dear and has had its share of the time; before says that it is
// not.
func (c *Census) Recent(ctx context.Context) (n *Count, before bool, err error) {
	select {
	case c.counting <- struct{}{}:
		defer func() { <-c.counting }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	c.mu.Lock()
	before = c.last != nil && c.took > countCheap && time.Since(c.done) < countShare*c.took
	c.mu.Unlock()
	if !before {
		if err := c.take(ctx); err != nil {
			return nil, false, err
		}
	}
	return c.Known(), before, nil
}

var errUncounted = errors.New("the gateways could not be counted in time")

// soonEnough is how long somebody who asks for a status waits for a count.
const soonEnough = 3 * time.Second

// Soon is recent for somebody who waits: where counting takes long, or cannot succeed since the database is away, it returns why,
// and what was counted before, nil if nothing was.
func (c *Census) Soon(ctx context.Context, away error) (n *Count, before bool, err error) {
	if away != nil {
		return c.Known(), true, away
	}
	ctx, cancel := context.WithTimeoutCause(ctx, soonEnough, errUncounted)
	defer cancel()
	n, before, err = c.Recent(ctx)
	if err == nil {
		return n, before, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return c.Known(), true, err
}

// Known returns what was counted last, nil if nothing was.
func (c *Census) Known() *Count {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return nil
	}
	shown := *c.last
	shown.Standings, shown.Ailing = maps.Clone(shown.Standings), maps.Clone(shown.Ailing)
	return &shown
}

// take counts anew. The caller holds counting: others who ask wait, and are told the same.
func (c *Census) take(ctx context.Context) error {
	began := time.Now()
	n := &Count{At: c.now(), Standings: map[Standing]int{}, Ailing: map[Kind]int{}, Lost: map[Kind]uint64{}}
	silence := c.registry.Rules().Silence
	err := EachRecord(ctx, c.store, func(r *Record) error {
		n.Standings[r.Standing]++
		if r.Standing == Approved {
			if c.mine == nil || c.mine(r.Chain) {
				n.Owned++
			}
			unheard := false
			for _, ailment := range r.Ailments(n.At, silence) {
				n.Ailing[ailment.Kind]++
				n.Lost[ailment.Kind] += ailment.Lost
				unheard = unheard || ailment.Kind == Silent || ailment.Kind == Away
			}
			if unheard {
				n.Unheard++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.last, c.done, c.took = n, time.Now(), time.Since(began)
	c.mu.Unlock()
	c.registry.counted(n.Standings[Waiting])
	return nil
}

// Pause returns how long to wait until gateways are counted again.
func (c *Census) Pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(countEvery, countShare*c.took)
}
