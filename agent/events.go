package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"edgechain.example/arm"
	"edgechain.example/lightchain"
	"edgechain.example/localhttp"
	"edgechain.example/sensors"
	headersync "edgechain.example/sync"
)

// The payloads of the agent's own entries, JSON objects all.
type (
	bootEvent struct {
		Boot    uint64 `json:"boot"` // boots of the machine, counted from 1
		BootID  string `json:"boot_id,omitempty"`
		NewBoot bool   `json:"new_boot"` // false: only the program was started again
		Start   uint64 `json:"start"`    // starts of the program, counted from 1
		Clean   bool   `json:"clean"`    // the run before was stopped in order
		Unclean uint64 `json:"unclean"`  // starts for which that was not so, this one included
		Version string `json:"version"`
	}
	gapEvent struct {
		Source string  `json:"source,omitempty"`
		First  *uint64 `json:"first,omitempty"` // number, where entries had one
		Count  uint64  `json:"count"`           // at most; 0: nobody can tell
		Why    string  `json:"why"`

		Nodes []nodeEvent `json:"nodes,omitempty"` // of Sparkplug, that sent them
		More  int         `json:"more,omitempty"`  // of which a later entry tells

		SoFar headersync.Tally `json:"so_far"` // gaps since the chain began, this one included
	}
	clockEvent struct {
		Step  int64           `json:"step"`  // nanoseconds, forwards if positive
		Steps uint64          `json:"steps"` // since the chain began, this one included
		Clock arm.ClockStatus `json:"clock"`
	}
	configEvent struct {
		SHA256 string `json:"sha256"`
		// Tables are the hashes of the tables by which what was polled is read, by source and group.
		Tables  map[string]string `json:"tables,omitempty"`
		AskedBy *localhttp.Peer   `json:"asked_by,omitempty"` // who had it read again; nil: a start, a signal, or not known
	}
	damageEvent struct {
		LogBytes int64  `json:"log_bytes,omitempty"` // of the write-ahead log that could not be read
		File     string `json:"file,omitempty"`      // where it was put aside
		Rebuilt  string `json:"rebuilt,omitempty"`   // the database that did not open; what could be read of it is in a new one
		Unsure   bool   `json:"unsure,omitempty"`    // headers may be missing at the chain's end
		// Uncounted says that it is not known which entries this took. Of those that were sealed the scrub that begins now
		// tells, in entries of their own.
		Uncounted bool `json:"uncounted,omitempty"`

		// What a scrub found. Either blocks:
		First     *uint64 `json:"first,omitempty"`      // number of the first entry that is lost
		Count     uint64  `json:"count,omitempty"`      // how many are
		Unproved  uint64  `json:"unproved,omitempty"`   // others of the same blocks, which can be read and not be proved
		FromBlock *uint64 `json:"from_block,omitempty"` // heights, both included
		ToBlock   *uint64 `json:"to_block,omitempty"`
		Headers   bool    `json:"headers,omitempty"` // the blocks' headers are lost, too
		// Or a file of what stands beside them:
		Table string `json:"table,omitempty"`
		Holds string `json:"holds,omitempty"` // receipts, keys, …
		Why   string `json:"why,omitempty"`

		SoFar headersync.Tally `json:"so_far"` // damage since the chain began, this included
	}
)

// record hands over an entry that the agent makes itself, flag 5.
//
// SPEC: What happens to the chain itself is an entry too (flag 5, payload a JSON object, readings empty), so that a
// loss is as provable as a reading.
func (a *Agent) record(ctx context.Context, word string, payload any) {
	_ = a.recordWith(ctx, word, payload, nil)
}

// recordWith is record for who wants to know when the entry is durable: done, which may be nil, is told once, unless
// there is an error.
func (a *Agent) recordWith(ctx context.Context, word string, payload any, done func(error)) error {
	b, err := json.Marshal(a.tally.add(payload))
	if err != nil {
		panic(fmt.Sprintf("an agent:%s entry that is no JSON: %v", word, err))
	}
	_, err = a.put(ctx, "agent:"+word, b, done)
	return err
}

// put is recordWith for a payload as it stands in the entry, whose number is in the message once done is told that it is durable.
func (a *Agent) put(ctx context.Context, source string, payload []byte, done func(error)) (*sensors.Message, error) {
	m := &sensors.Message{Source: source, Received: time.Now(), Flags: lightchain.ByAgent, Payload: payload, Done: done}
	if err := a.queue.Put(ctx, m); err != nil {
		a.log.Warn("failed to record an entry about the chain itself", "source", source, "payload", string(payload), "err", err)
		return nil, err
	}
	return m, nil
}

// recordStart records what a start means for the chain: which boot, how the last run ended, what it lost, and which
// configuration is in force.
func (a *Agent) recordStart(ctx context.Context) {
	info := a.store.Info()
	id, _ := a.clock.BootID() // its absence was logged when the chain was opened
	a.record(ctx, "boot", bootEvent{Boot: info.Boots, BootID: id, NewBoot: info.NewBoot, Start: info.Opens, Clean: info.Clean, Version: a.options.Version})
	for _, gap := range info.Recovered.Gaps {
		a.log.Error("failed to find all entries of the open block", "first", gap.First, "count", gap.Count, "err", gap.Err)
		a.record(ctx, "gap", gapEvent{First: &gap.First, Count: gap.Count, Why: gap.Err.Error()})
	}
	if r := info.Recovered; r.LogBytes > 0 || r.Rebuilt != "" || r.Unsure || r.Mark != "" {
		a.log.Error("the store was damaged; what could be read was kept, the rest lies aside", "log_bytes", r.LogBytes, "log", r.LogFile, "database", r.Rebuilt, "head_unsure", r.Unsure, "head_mark", r.Mark)
		why := ""
		if r.Mark != "" {
			why = "the head mark does not count: " + r.Mark
		}
		a.record(ctx, "damage", damageEvent{LogBytes: r.LogBytes, File: r.LogFile, Rebuilt: r.Rebuilt, Unsure: r.Unsure, Uncounted: r.LogBytes > 0 || r.Rebuilt != "" || r.Unsure, Why: why})
	}
	if a.former != "" {
		a.record(ctx, "damage", damageEvent{Uncounted: true, Why: a.former})
	}
	a.warnOfKeys()
	a.record(ctx, "config", configEvent{SHA256: a.config.Hash(sensors.DecoderVersion).String(), Tables: a.config.tables()})
	a.log.Info("recording", "chain", a.store.Chain(), "height", a.store.Tip().Height, "next", a.store.Next(), "clean", info.Clean)
}

// watchClock records steps of the wall clock until ctx ends.
func (a *Agent) watchClock(ctx context.Context) {
	var steps arm.Steps
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		now, err := a.clock.Now()
		if err != nil {
			a.log.Info("this system has no clock that never jumps: steps of the wall clock are not recorded", "err", err)
			return
		}
		if step := steps.Observe(now); step != 0 {
			a.metrics.clockSteps.Inc()
			a.log.Warn("the clock was stepped", "by", step)
			a.record(ctx, "clock", clockEvent{Step: int64(step), Clock: a.clock.Status()})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// losses gathers messages known to be missing, so that a burst of them becomes one entry.
type losses struct {
	mu      sync.Mutex
	pending map[loss]uint64 // how many messages, at most
}

type loss struct{ source, why string }

// add never blocks: it is called from sources' read loops.
func (l *losses) add(source string, n int, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		l.pending = map[loss]uint64{}
	}
	l.pending[loss{source, why}] += uint64(n)
}

func (l *losses) take() map[loss]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	pending := l.pending
	l.pending = nil
	return pending
}

// recordLosses makes entries of what is missing, once a second, and once more when ctx has ended: then it waits no more
// for room in the queue, which a full disk may never give.
func (a *Agent) recordLosses(ctx context.Context) {
	untilEnded(ctx, time.Second, func() {
		for what, n := range a.losses.take() {
			a.metrics.lost.WithLabelValues(what.source).Add(float64(n))
			a.metrics.losses.WithLabelValues(what.source).Inc()
			a.log.Warn("messages are missing", "source", what.source, "count", n, "why", what.why) // 0: nobody can tell
			a.record(ctx, "gap", gapEvent{Source: what.source, Count: n, Why: what.why})
		}
	})
}

// untilEnded does something again and again, and once more when ctx has ended.
func untilEnded(ctx context.Context, every time.Duration, do func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			running = false
		}
		do()
	}
}
