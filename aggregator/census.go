package aggregator

import (
	"context"
	"maps"
	"sync"
	"time"

	"edgechain.example/lightchain"
)

// census counts the gateways by standing and finding. That takes a look at every record, as findings come and go with the
// time alone; so whoever asks often is told what was counted before.
type census struct {
	store    Store
	registry *Registry
	now      func() time.Time
	mine     func(lightchain.ChainID) bool // which gateways this replica follows; nil: all

	counting chan struct{} // capacity 1: held by whoever counts, or looks whether to

	mu   sync.Mutex
	last *count        // guarded by mu; nil: nothing was counted yet
	done time.Time     // guarded by mu: when it was, by the process's own clock
	took time.Duration // guarded by mu
}

func newCensus(s Store, r *Registry, now func() time.Time) *census {
	return &census{store: s, registry: r, now: now, counting: make(chan struct{}, 1)}
}

// count is how many gateways there were at one time.
type count struct {
	at        time.Time
	standings map[Standing]int
	ailing    map[Kind]int    // of those that are approved
	lost      map[Kind]uint64 // by those
	unheard   int             // of those, silent or offline or both
	owned     int             // of those, followed by this replica
}

const (
	countEvery = 30 * time.Second
	countShare = 50                     // of the time that counting may take: one part in so many
	countCheap = 100 * time.Millisecond // what takes no longer may be done as often as anybody asks
)

// recent returns a count: a new one, unless counting is dear and has had its share of the time; before says that it is
// not.
func (c *census) recent(ctx context.Context) (n *count, before bool, err error) {
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
	return c.known(), before, nil
}

// soonEnough is how long somebody who asks for a status waits for a count.
const soonEnough = 3 * time.Second

// soon is recent for somebody who waits: where counting takes long, or cannot succeed since the database is away, it returns why,
// and what was counted before, nil if nothing was.
func (c *census) soon(ctx context.Context, away error) (n *count, before bool, err error) {
	if away != nil {
		return c.known(), true, away
	}
	ctx, cancel := context.WithTimeoutCause(ctx, soonEnough, errUncounted)
	defer cancel()
	n, before, err = c.recent(ctx)
	if err == nil {
		return n, before, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return c.known(), true, err
}

// known returns what was counted last, nil if nothing was.
func (c *census) known() *count {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return nil
	}
	shown := *c.last
	shown.standings, shown.ailing = maps.Clone(shown.standings), maps.Clone(shown.ailing)
	return &shown
}

// take counts anew. The caller holds counting: others who ask wait, and are told the same.
func (c *census) take(ctx context.Context) error {
	began := time.Now()
	n := &count{at: c.now(), standings: map[Standing]int{}, ailing: map[Kind]int{}, lost: map[Kind]uint64{}}
	silence := c.registry.Rules().Silence
	err := EachRecord(ctx, c.store, func(r *Record) error {
		n.standings[r.Standing]++
		if r.Standing == Approved {
			if c.mine == nil || c.mine(r.Chain) {
				n.owned++
			}
			unheard := false
			for _, ailment := range r.Ailments(n.at, silence) {
				n.ailing[ailment.Kind]++
				n.lost[ailment.Kind] += ailment.Lost
				unheard = unheard || ailment.Kind == Silent || ailment.Kind == Away
			}
			if unheard {
				n.unheard++
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
	c.registry.counted(n.standings[Waiting])
	return nil
}

// count shows the gateways in the metrics, again and again.
func (a *Aggregator) count(ctx context.Context) {
	for {
		if err := a.countOnce(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("counting the gateways", "err", err)
		}
		a.census.mu.Lock()
		pause := time.NewTimer(max(countEvery, countShare*a.census.took))
		a.census.mu.Unlock()
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

func (a *Aggregator) countOnce(ctx context.Context) error {
	n, _, err := a.census.recent(ctx)
	if err != nil {
		return err
	}
	for _, s := range standings {
		a.metrics.gateways.WithLabelValues(string(s)).Set(float64(n.standings[s]))
	}
	for _, kind := range Kinds {
		a.metrics.findings.WithLabelValues(string(kind)).Set(float64(n.ailing[kind]))
	}
	for _, kind := range lossKinds {
		a.metrics.lost.WithLabelValues(string(kind)).Set(float64(n.lost[kind]))
	}
	a.metrics.owned.Set(float64(n.owned))
	a.metrics.unheard.Set(float64(n.unheard))
	a.metrics.scanned.Set(float64(n.at.Unix()))
	return nil
}
