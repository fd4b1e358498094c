package aggregator

import (
	"context"
	"maps"
	"sync"
	"time"
)

// census counts the gateways by standing and finding. That takes a look at every record, as findings come and go with the
// time alone; so whoever asks often is told what was counted before.
type census struct {
	store    Store
	registry *Registry
	now      func() time.Time

	mu   sync.Mutex
	last *count        // guarded by mu; nil: nothing was counted yet
	done time.Time     // guarded by mu: when it was, by the process's own clock
	took time.Duration // guarded by mu
}

// count is how many gateways there were at one time.
type count struct {
	at        time.Time
	standings map[Standing]int
	ailing    map[Kind]int    // of those that are approved
	lost      map[Kind]uint64 // by those
}

const (
	countEvery = 30 * time.Second
	countShare = 50                     // of the time that counting may take: one part in so many
	countCheap = 100 * time.Millisecond // what takes no longer may be done as often as anybody asks
)

// recent returns a count: a new one, unless counting is dear and has had its share of the time; before says that it is
// not.
func (c *census) recent(ctx context.Context) (n *count, before bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before = c.last != nil && c.took > countCheap && time.Since(c.done) < countShare*c.took; !before {
		err = c.take(ctx)
	}
	if err != nil {
		return nil, false, err
	}
	shown := *c.last
	shown.standings, shown.ailing = maps.Clone(shown.standings), maps.Clone(shown.ailing)
	return &shown, before, nil
}

// take counts anew. The caller holds the mutex: others who ask wait, and are told the same.
func (c *census) take(ctx context.Context) error {
	began := time.Now()
	n := &count{at: c.now(), standings: map[Standing]int{}, ailing: map[Kind]int{}, lost: map[Kind]uint64{}}
	silence := c.registry.Rules().Silence
	err := EachRecord(ctx, c.store, func(r *Record) error {
		n.standings[r.Standing]++
		if r.Standing == Approved {
			for _, ailment := range r.Ailments(n.at, silence) {
				n.ailing[ailment.Kind]++
				n.lost[ailment.Kind] += ailment.Lost
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.last, c.done, c.took = n, time.Now(), time.Since(began)
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
	a.metrics.scanned.Set(float64(n.at.Unix()))
	return nil
}
