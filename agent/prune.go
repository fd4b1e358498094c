package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/agent/recorder"
	"edgechain.example/arm"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
	"edgechain.example/lightchain/store"
	"edgechain.example/localhttp"
	"edgechain.example/tomlconf"
)

// pruneEvent is what the chain says about payloads that were deleted. The newest one says it of all: it is never
// deleted itself but with one that says more.
type pruneEvent struct {
	From       uint64   `json:"from"` // heights, both included
	To         uint64   `json:"to"`
	FirstEntry uint64   `json:"first_entry"` // the entries from this number on were deleted,
	NextEntry  uint64   `json:"next_entry"`  // up to but not including this one
	Why        []string `json:"why"`         // the limits that they were beyond: age, size; room: of the disk
	By         []string `json:"by"`          // aggregators that had countersigned them all
	Bytes      uint64   `json:"bytes"`       // that they took up on disk, about

	AskedBy *localhttp.Peer `json:"asked_by,omitempty"` // nil: the limits alone, or it is not known

	Damage damageSaid `json:"damage,omitzero"` // all that deleted entries agent:damage said, these and those before
}

// damageSaid is what entries agent:damage said that were deleted. Each deletion says it again, so that whoever finds the
// newest agent:prune, and the agent:damage that are still there, knows of every loss however much was deleted since.
type damageSaid struct {
	Entries []saidEntry `json:"entries,omitempty"`  // in the order of their numbers
	LeftOut uint64      `json:"left_out,omitempty"` // of the oldest ones: there are too many to say, or they could not be read
}

type saidEntry struct {
	Entry    uint64      `json:"entry"`    // its number
	Received int64       `json:"received"` // nanoseconds since the Unix epoch, by the gateway's clock
	Said     damageEvent `json:"said"`
}

// saidMost is how many deleted entries one that tells of them repeats: some 200 KB.
const saidMost = 1000

// damageBefore gathers what is to be said again by the deletion of the entries from .. next−1.
func damageBefore(r *store.Reader, from, next uint64) (said damageSaid) {
	for m, err := range r.Find(store.Query{Source: "agent:prune", Reverse: true}) {
		var before pruneEvent
		if err != nil || json.Unmarshal(m.Entry.Payload, &before) != nil {
			continue // an older one says nearly as much
		}
		said = before.Damage
		break
	}
	for m, err := range r.Find(store.Query{Source: "agent:damage", After: from, Before: next}) {
		if err != nil {
			continue // what was lost with a block is a damage of its own
		}
		e := saidEntry{Entry: m.Number, Received: m.Entry.Received}
		if json.Unmarshal(m.Entry.Payload, &e.Said) != nil {
			said.LeftOut++
			continue
		}
		said.Entries = append(said.Entries, e)
	}
	if more := len(said.Entries) - saidMost; more > 0 {
		said.Entries, said.LeftOut = said.Entries[more:], said.LeftOut+uint64(more)
	}
	return said
}

// retention is what the agent knows of its own deletions.
type retention struct {
	again    chan struct{}                                    // holds a token when the limits have changed, or the disk is full
	giveBack func(ctx context.Context, from, to uint64) error // the store's Reclaim, but in tests

	mu       sync.Mutex // held while payloads are deleted: by the agent itself, or by a command
	given    uint64     // below this height the space of what was deleted was given back
	damaged  bool       // but for what damage keeps
	later    bool       // in this look nothing is given back any more: no table is merged
	told     bool       // the log says that something is held back
	toldKept []string   // and by which keys something is kept

	stuck atomic.Bool // space of deleted payloads was not given back: there is damage, or no room to write what is left

	seeing   sync.Mutex
	heldBack *api.Stretch // as the last look found it; guarded by seeing, and so is kept
	kept     []api.Kept
}

const (
	// retentionInterval is how often it is looked whether something is beyond the limits.
	retentionInterval = time.Minute
	// pruneBytes is how much is deleted at once, about: what the compaction behind it then has to read.
	pruneBytes = 32 << 20
	// separatePatience is how long a deletion waits for a table of its own. On a full disk it may get none.
	separatePatience = 10 * time.Second
)

// retain deletes what is beyond the limits until ctx ends.
func (a *Agent) retain(ctx context.Context) {
	tick := time.NewTicker(retentionInterval)
	defer tick.Stop()
	for {
		if _, err := a.prune(ctx, a.inForce(), true); err != nil && ctx.Err() == nil && !errors.Is(err, recorder.ErrClosed) {
			a.log.Error("failed to delete what is beyond the limits; it is tried again", "err", err)
		}
		select {
		case <-tick.C:
		case <-a.retention.again:
		case <-ctx.Done():
			return
		}
	}
}

// survey returns how the agent measures what it holds, under a configuration.
func (a *Agent) survey(c *Config) *survey {
	s := &survey{chain: &a.store.Reader, aggregators: c.aggregatorNames(), now: time.Now(), room: noBound,
		synchronised: a.clock.Status().State == lightchain.ClockSynchronised}
	if a.retention.stuck.Load() {
		var oldest uint64
		if oldest, s.err = a.store.OldestBlock(); s.err == nil {
			s.unreclaimed, s.err = a.store.BlockBytes(1, oldest)
		}
	}
	if stats := a.store.Stats(); stats.Told {
		free := stats.Free + stats.DiskBytes - min(stats.DiskBytes, stats.LiveBytes) // what is about to be deleted is as good as free
		s.room = free - min(free, stats.Reserve)
	}
	return s
}

// prune deletes what is beyond the limits, in steps between which the chain goes on, and says what went. With slack
// it does so only where that is worth it.
func (a *Agent) prune(ctx context.Context, c *Config, slack bool) (api.Retention, error) {
	r := &a.retention
	r.mu.Lock()
	defer r.mu.Unlock()
	r.later = false
	if c.Retention.limit() != nil {
		// A run that was cut off between a deletion and its compaction left a store that looks larger than it is, and so does a
		// disk that had no room for the compaction.
		oldest, err := a.store.OldestBlock()
		if err != nil {
			return api.Retention{}, err
		}
		a.reclaim(ctx, oldest)
	}
	s := a.survey(c)
	h, err := s.holding(&c.Retention, slack)
	if err != nil {
		return api.Retention{}, err
	}
	d, err := c.Retention.decide(h)
	if err != nil {
		return api.Retention{}, err
	}
	result := s.tell(&c.Retention, h, &d)
	a.noteHeldBack(result.HeldBack)
	a.noteKept(result.Kept)
	receipts, err := s.receipts()
	for from := h.oldest; err == nil && from < d.below; {
		var p store.Pruned
		if p, err = a.pruneStep(ctx, from, d, receipts); p.To == 0 {
			break
		}
		from = p.To
	}
	return result, err
}

// pruneStep deletes the payloads of some of the blocks from .. d.below−1.
func (a *Agent) pruneStep(ctx context.Context, from uint64, d cut, receipts []newest) (p store.Pruned, err error) {
	to, err := a.stepEnd(from, d.below)
	if err != nil {
		return p, err
	}
	var told pruneEvent
	bytes, err := a.store.BlockBytes(from, to)
	if err != nil {
		return p, err
	}
	patience, enough := context.WithTimeout(ctx, separatePatience)
	if err := a.store.Separate(patience); err != nil && ctx.Err() == nil {
		a.log.Debug("a deletion joins a table with others", "err", err)
	}
	enough()
	doErr := a.committer.Do(ctx, func() {
		p, err = a.committer.Prune(to, func(p store.Pruned) any {
			told = pruneEvent{From: p.From, To: p.To - 1, FirstEntry: p.First, NextEntry: p.Next, Why: d.why, By: []string{}, Bytes: bytes, AskedBy: localhttp.PeerOf(ctx), Damage: damageBefore(&a.store.Reader, p.First, p.Next)}
			for _, r := range receipts {
				if r.height >= told.To {
					told.By = append(told.By, r.name)
				}
			}
			return told
		})
	})
	if err := errors.Join(doErr, err); err != nil || p.To == 0 {
		return store.Pruned{}, err
	}
	if p.Next > p.First {
		a.metrics.entries.WithLabelValues("agent").Inc()
		a.metrics.pruned.Add(float64(p.Next - p.First))
	}
	// Deleted and told, durably. If the power fails here the space comes back after the next start.
	a.log.Info("payloads were deleted", "blocks", fmt.Sprintf("%d-%d", p.From, p.To-1), "entries", p.Next-p.First, "first", p.First, "why", d.why, "receipted_by", told.By)
	a.reclaim(ctx, p.To)
	return p, nil
}

// reclaim gives the space of blocks back that are deleted below a height, as far as damage lets it. What finds no room on the
// disk is tried again when the limits are looked at next. The caller holds retention.mu.
func (a *Agent) reclaim(ctx context.Context, below uint64) {
	r := &a.retention
	from := max(1, r.given)
	if from >= below || r.later {
		return
	}
	err := r.giveBack(ctx, from, below)
	switch {
	case err == nil:
		r.given = below
		r.stuck.Store(r.damaged)
		return
	case ctx.Err() != nil:
		return
	case errors.Is(err, store.ErrDamaged):
		r.given, r.damaged = below, true
	case errors.Is(err, store.ErrNoMerge):
		r.later = true
	}
	r.stuck.Store(true)
	a.log.Warn("failed to give back the space of deleted payloads; it is tried again", "err", err)
}

// stepEnd returns where a step from a height on ends: before it frees more than pruneBytes, behind a block at least.
func (a *Agent) stepEnd(from, below uint64) (uint64, error) {
	to := min(below, from+store.PruneBlocks)
	for to > from+1 {
		bytes, err := a.store.BlockBytes(from, to)
		if err != nil {
			return 0, err
		}
		if bytes <= pruneBytes {
			break
		}
		to = from + (to-from)/2
	}
	return to, nil
}

// noteHeldBack shows what is kept beyond the limits, and says so once.
func (a *Agent) noteHeldBack(s *api.Stretch) {
	r := &a.retention
	r.seeing.Lock()
	r.heldBack = s
	r.seeing.Unlock()
	switch {
	case s != nil && !r.told:
		a.log.Warn("retention holds payloads back that are beyond its limits: not enough aggregators have countersigned them",
			"blocks", fmt.Sprintf("%d-%d", s.From, s.To), "bytes", s.Bytes)
	case s == nil && r.told:
		a.log.Info("retention holds nothing back any more")
	}
	r.told = s != nil
}

// noteKept shows what is kept although the store is too large, or the disk has no room for it, and says so once for each
// key that keeps it.
func (a *Agent) noteKept(all []api.Kept) {
	r := &a.retention
	r.seeing.Lock()
	r.kept = all
	r.seeing.Unlock()
	var by []string
	for _, k := range all {
		by = append(by, k.By)
		if !slices.Contains(r.toldKept, k.By) {
			a.log.Warn("retention keeps payloads although there is no room for them: retention."+k.By+" says so. If the disk's reserve is reached recording waits",
				"blocks", fmt.Sprintf("%d-%d", k.From, k.To), "bytes", k.Bytes)
		}
	}
	if len(by) == 0 && len(r.toldKept) > 0 {
		a.log.Info("retention keeps nothing any more that there is no room for")
	}
	r.toldKept = by
}

// keptBack returns what retention keeps that is beyond its limits: for want of receipts, and by which keys.
func (a *Agent) keptBack() (heldBack *api.Stretch, kept []api.Kept) {
	a.retention.seeing.Lock()
	defer a.retention.seeing.Unlock()
	return a.retention.heldBack, a.retention.kept
}

// RetentionOf says what limits would delete of a chain that is only read. The configuration names the aggregators. How
// much the disk still holds is left out: the chain may be on another machine's.
func RetentionOf(chain *store.Reader, c *Config, l api.Limits) (api.Retention, error) {
	s := &survey{chain: chain, aggregators: c.aggregatorNames(), now: time.Now(), room: noBound,
		synchronised: (arm.Clock{}).Status().State == lightchain.ClockSynchronised}
	return s.wouldGo(retentionConfig(l))
}

// wouldGo says what limits would delete now.
func (s *survey) wouldGo(c *RetentionConfig) (api.Retention, error) {
	h, err := s.holding(c, false)
	if err != nil {
		return api.Retention{}, err
	}
	d, err := c.decide(h)
	if err != nil {
		return api.Retention{}, err
	}
	return s.tell(c, h, &d), nil
}

// dryRun answers what limits would delete now.
func (a *Agent) dryRun(_ context.Context, l api.Limits) (api.Retention, error) {
	return a.survey(a.inForce()).wouldGo(retentionConfig(l))
}

// pruneNow deletes what is beyond the limits without waiting until it is worth it.
func (a *Agent) pruneNow(ctx context.Context, l api.Limits) (api.Retention, error) {
	c := a.inForce()
	if l != c.Retention.Limits() {
		return api.Retention{}, fmt.Errorf("%w: `edgeagent reload` brings those of the configuration into force", api.ErrNotInForce)
	}
	return a.prune(ctx, c, false)
}

// Limits returns the limits as commands tell them.
func (r *RetentionConfig) Limits() api.Limits {
	return api.Limits{MaxAge: int64(r.MaxAge / time.Second), MaxSize: int64(r.MaxSize), Quorum: r.Quorum, MinAge: int64(r.MinAge / time.Second), RoomPerDay: int64(r.RoomPerDay),
		DeleteUnreceiptedEvidence: r.DeleteUnreceiptedEvidence}
}

// retentionConfig is its inverse.
func retentionConfig(l api.Limits) *RetentionConfig {
	return &RetentionConfig{MaxAge: time.Duration(l.MaxAge) * time.Second, MaxSize: tomlconf.Size(l.MaxSize), Quorum: l.Quorum,
		MinAge: time.Duration(l.MinAge) * time.Second, RoomPerDay: tomlconf.Size(l.RoomPerDay), DeleteUnreceiptedEvidence: l.DeleteUnreceiptedEvidence}
}

// tell puts a decision into the words of the interface.
func (s *survey) tell(c *RetentionConfig, h *holding, d *cut) api.Retention {
	r := api.Retention{Limits: c.Limits(), Bytes: h.size, Oldest: h.oldest, Receipted: h.receipted, Why: d.why,
		Ageless: c.MaxAge > 0 && c.DeleteUnreceiptedEvidence && !s.synchronised}
	if h.oldest < d.below {
		r.Goes = s.stretch(h.oldest, d.below)
	}
	if from, to := d.heldBack(h); from < to && !c.DeleteUnreceiptedEvidence {
		r.HeldBack = s.stretch(from, to)
	}
	for _, k := range d.kept {
		r.Kept = append(r.Kept, api.Kept{By: k.by, Stretch: *s.stretch(k.from, k.to)})
	}
	return r
}

// stretch describes the blocks from .. to−1, as far as their headers can be read.
func (s *survey) stretch(from, to uint64) *api.Stretch {
	out := &api.Stretch{From: from, To: to - 1}
	if h, err := s.chain.HeaderAt(from); err == nil {
		out.FirstEntry, out.Since = h.First, lighttime.Instant(h.Sealed)
	}
	if h, err := s.chain.HeaderAt(to - 1); err == nil {
		out.NextEntry, out.Until = h.First+h.Count, lighttime.Instant(h.Sealed)
	}
	out.Bytes, _ = s.chain.BlockBytes(from, to)
	return out
}
