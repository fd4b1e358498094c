package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
)

// The store is read through slowly and again and again, since a card loses what nobody reads, and a loss that is known
// early can be made good while backups are there.

const (
	scrubSettle = time.Minute      // a start has better things to do
	scrubRetry  = time.Hour        // after something kept the store from being read
	scrubRate   = 8 << 10          // bytes per second at least, so that a small store is not read for ever
	scrubRest   = 10 * time.Minute // between two rounds that damage asks for
	scrubYield  = time.Minute      // how long a full queue holds up the next piece at most
)

// scrubStore has recorded what is known to be lost and not recorded yet, of this start or an earlier one, and keeps
// rounds through the store going until ctx ends: one every store.scrub_every, and one at once where damage was met. What is
// met may be more than what is lost of it, and nobody waits a week to hear which entries it was.
func (a *Agent) scrubStore(ctx context.Context) {
	c := a.inForce().Store
	record := func(d store.Damage) error { return a.recordDamage(ctx, d) }
	a.recordPending(ctx, record)
	const never = time.Duration(math.MaxInt64)
	wait := never
	if c.ScrubEvery > 0 {
		wait = max(a.untilScrub(c.ScrubEvery), min(scrubSettle, c.ScrubEvery))
	}
	recovered := a.store.Info().Recovered
	urgent := recovered.Lost()
	anew := urgent
	if urgent {
		wait = 0
	}
	if a.store.ScrubDue() { // met while it was opened
		signal(a.met)
	}
	for {
		if met, ok := a.untilRound(ctx, wait, record); !ok {
			return
		} else if met {
			urgent, anew = true, true
		}
		began := time.Now()
		rate := float64(c.ScrubRate)
		if !urgent {
			rate = scrubSpeed(a.store.Stats().DiskBytes, c)
		}
		err := a.store.Scrub(ctx, store.ScrubOptions{
			Pace:        func(read int) error { return a.paceScrub(ctx, read, rate) },
			Record:      record,
			Anew:        anew,
			Aggregators: a.aggregators(),
		})
		if ctx.Err() != nil {
			return
		}
		anew, wait = false, never // what failed goes on where it was
		if c.ScrubEvery > 0 {
			wait = c.ScrubEvery - time.Since(began)
		}
		if err != nil {
			a.log.Warn("failed to read through the store; the round goes on later", "err", err)
			wait = min(wait, scrubRetry)
			continue
		}
		urgent = false
		if a.store.ScrubDue() { // met where it had been read already
			signal(a.met)
		}
	}
}

// recordPending has recorded what is known to be lost and not recorded yet.
func (a *Agent) recordPending(ctx context.Context, record func(store.Damage) error) {
	if err := a.store.RecordPending(record); err != nil && ctx.Err() == nil {
		a.log.Warn("failed to record a loss; the next start tries again", "err", err)
	}
}

// untilRound waits until a round is due, has recorded meanwhile what is found to be damaged at other times, and reports
// whether ctx still goes on. met says that the round is due because damage was met.
func (a *Agent) untilRound(ctx context.Context, wait time.Duration, record func(store.Damage) error) (met, ok bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var atOnce <-chan time.Time
	for {
		select {
		case <-timer.C:
			return false, ctx.Err() == nil
		case <-atOnce:
			return true, ctx.Err() == nil
		case <-a.damaged:
			a.recordPending(ctx, record)
		case <-a.met:
			if atOnce == nil && a.store.ScrubDue() {
				atOnce = time.After(a.untilUrgent())
			}
		case <-ctx.Done():
			return false, false
		}
	}
}

// untilUrgent returns how long it is until a round may begin that damage asks for: so long after the last one that not more
// than half of the time goes into such rounds.
func (a *Agent) untilUrgent() time.Duration {
	last := a.store.ScrubState().Last
	if last == nil {
		return 0
	}
	rest := max(last.Took, scrubRest)
	return max(0, min(rest, time.Until(last.Ended.Add(rest))))
}

// aggregators returns those that the configuration in force names, with their keys.
func (a *Agent) aggregators() (all []lightchain.Aggregator) {
	c := a.inForce()
	for i := range c.Upstream {
		if s, err := c.settings(i); err == nil { // it was checked when it was read
			all = append(all, s.terms.Aggregators...)
		}
	}
	return all
}

// untilScrub returns how long it is until a round is due, where the last run left off.
func (a *Agent) untilScrub(every time.Duration) time.Duration {
	state := a.store.ScrubState()
	if state.Now != nil || state.Last == nil {
		return 0
	}
	return min(every, time.Until(state.Last.Began.Add(every))) // a clock that stands in the past puts off no more than one round
}

// scrubSpeed returns the bytes per second that bring a round to its end in its time, within bounds.
func scrubSpeed(size uint64, c StoreConfig) float64 {
	const share = 0.8 // of the time: the rest is for what grows meanwhile, and for giving way
	rate := float64(size) / (share * c.ScrubEvery.Seconds())
	return min(max(rate, scrubRate), float64(c.ScrubRate))
}

// paceScrub waits until as much time has passed as the bytes read take, and while messages crowd the queue.
func (a *Agent) paceScrub(ctx context.Context, read int, rate float64) error {
	sleep(ctx, time.Duration(float64(read)/rate*float64(time.Second)))
	for began := time.Now(); a.crowded() && time.Since(began) < scrubYield; {
		if !sleep(ctx, 100*time.Millisecond) {
			break
		}
	}
	return ctx.Err()
}

// crowded says that messages come faster than the disk takes them.
func (a *Agent) crowded() bool {
	_, inFlight := a.queue.Pending()
	return inFlight > a.queue.Limit()/4
}

// sleep waits, and reports whether ctx still goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// recordDamage makes the entry durable that tells of a damage, unless a run that was cut off has done so.
func (a *Agent) recordDamage(ctx context.Context, d store.Damage) error {
	event := newDamageEvent(d)
	for m, err := range a.store.Find(store.Query{Source: "agent:damage", After: d.Since}) {
		var made damageEvent
		if err != nil || json.Unmarshal(m.Entry.Payload, &made) != nil {
			continue
		}
		if made.SoFar = event.SoFar; reflect.DeepEqual(made, event) {
			return nil
		}
	}
	done := make(chan error, 1)
	if err := a.recordWith(ctx, "damage", event, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("recording a damage: %w", ctx.Err()) // the next start looks whether it is there
	}
}

// newDamageEvent says what a scrub found, or a start by the head mark.
func newDamageEvent(d store.Damage) damageEvent {
	e := damageEvent{Count: d.Count, Unproved: d.Unproved, Headers: d.Headers, Table: d.Table, Holds: d.Holds, Why: d.Why}
	if d.Table == "" {
		e.First, e.FromBlock, e.ToBlock = &d.First, &d.From, &d.To
	}
	return e
}

// scrubStatus says how scrubbing stands.
func scrubStatus(state store.ScrubState) *api.Scrub {
	s := &api.Scrub{}
	if last := state.Last; last != nil {
		s.Last = &api.ScrubRound{Ended: last.Ended, Seconds: last.Took.Seconds(), Bytes: last.Bytes, Lost: last.Lost, Mended: last.Mended}
	}
	if now := state.Now; now != nil {
		s.Now = &api.ScrubProgress{Began: now.Began, Height: now.Height, Bytes: now.Bytes, Lost: now.Lost}
	}
	return s
}

// registerScrubGauges shows how scrubbing stands, and what it has found.
func (a *Agent) registerScrubGauges() {
	m := a.metrics
	every := a.inForce().Store.ScrubEvery.Seconds()
	m.gauge("edgeagent_scrub_interval_seconds", "How often the store is read through, 0 if never.", func() float64 { return every })
	m.gauge("edgeagent_scrub_last_timestamp_seconds", "When the store was last read through to its end; until it was once, when the agent was started.", func() float64 {
		if last := a.store.Scrubbing().Last; last != nil {
			return float64(last.Ended.Unix())
		}
		return float64(time.Now().Add(-time.Since(a.started)).Unix()) // by the clock as it is now
	})
	m.gauge("edgeagent_scrub_last_duration_seconds", "How long that took.", func() float64 {
		if last := a.store.Scrubbing().Last; last != nil {
			return last.Took.Seconds()
		}
		return 0
	})
	m.gauge("edgeagent_scrub_read_bytes", "Bytes that the present round through the store has read, 0 between two.", func() float64 {
		if now := a.store.Scrubbing().Now; now != nil {
			return float64(now.Bytes)
		}
		return 0
	})
	for what, count := range map[string]func(store.Lost) uint64{
		"entries":  func(l store.Lost) uint64 { return l.Entries },
		"unproved": func(l store.Lost) uint64 { return l.Unproved },
		"headers":  func(l store.Lost) uint64 { return l.Headers },
		"tables":   func(l store.Lost) uint64 { return l.Tables },
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "edgeagent_damaged", ConstLabels: prometheus.Labels{"what": what},
			Help: "What is known to be lost to damage on disk: entries, entries that can be read and not be proved, headers, files of what stands beside the blocks.",
		}, func() float64 { return float64(count(a.store.Stats().Lost)) }))
	}
}
