// Package replicas divides the chains among the replicas of one aggregator, which share a store: each chain has one owner.
package replicas

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/lightchain"
)

// Callbacks are whom a replica asks and tells.
type Callbacks struct {
	Connected func() (links int)       // brokers
	Changed   func(owners []string)    // among whom the chains are divided from now on, nil where this replica owns nothing
	Decided   func(lightchain.ChainID) // somebody decided about a chain, perhaps at another replica
}

// Member keeps this replica among those that share a store, and knows what it owns: see tenure.
type Member struct {
	beats Beats
	log   *slog.Logger
	Callbacks

	// Of the goroutine of Run, and of who calls begin before.
	tenure *tenure
	owners []string // as was told last
	heard  map[Decided]struct{}
	failed time.Time // when it was told that beats fail

	view  atomic.Pointer[view]
	told  atomic.Pointer[[]string] // what owners is
	ahead atomic.Int64             // by how much the database's clock is ahead: a time.Duration

	mu   sync.Mutex
	last error // guarded by mu: why the last beat was not answered; nil: it was
}

// New returns a replica of the name self that owns nothing yet. random is this process's own, so that two of one name notice each other.
func New(beats Beats, self string, random [8]byte, c Callbacks, log *slog.Logger) *Member {
	r := &Member{beats: beats, log: log, Callbacks: c, tenure: newTenure(leaseTerms, self, hex.EncodeToString(random[:])), heard: map[Decided]struct{}{}}
	r.told.Store(new([]string))
	r.publish(time.Now())
	return r
}

// Begin tries to join, so that one that is alone owns everything before it hears anything.
func (r *Member) Begin(ctx context.Context) {
	r.beat(ctx)
	if r.mayTakeAll() {
		r.beat(ctx)
	}
}

// mayTakeAll reports whether a second beat, at once, makes this replica the owner of everything.
func (r *Member) mayTakeAll() bool {
	t := r.tenure
	return t.since != 0 && len(t.view.members) == 0 && t.view.from.After(time.Now())
}

// Run beats until ctx ends.
func (r *Member) Run(ctx context.Context) {
	for due := time.Now().Add(leaseTerms.every); ; {
		now := time.Now()
		next := due
		if from := r.tenure.view.from; from.After(now) && from.Before(next) {
			next = from
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next.Sub(now)):
		}
		if now = time.Now(); !now.Before(due) {
			due = now.Add(leaseTerms.every)
			if r.beat(ctx); r.mayTakeAll() {
				r.beat(ctx)
			}
		}
		r.tell(time.Now())
	}
}

// Leave says that this replica owns nothing any more. Nothing of what it owned is under way.
func (r *Member) Leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := r.beats.Leave(ctx, &Beat{Replica: r.tenure.self, Run: r.tenure.run}); err != nil {
		r.log.Debug("taking this replica's beat away", "err", err)
	}
}

// beat says that this replica lives, and takes in who else does.
func (r *Member) beat(ctx context.Context) {
	sent := time.Now()
	r.tell(sent) // what has come about by the time alone
	b := r.tenure.next(sent, r.Connected())
	r.publish(sent)
	calling, cancel := context.WithTimeout(ctx, r.tenure.call)
	defer cancel()
	answer, err := r.beats.Beat(calling, b)
	heard := time.Now()
	if err == nil && heard.Sub(sent) > r.tenure.call {
		err = errors.New("the answer came too late")
	}
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	r.last = err
	r.mu.Unlock()
	if err != nil {
		if time.Since(r.failed) > time.Minute {
			r.failed = time.Now()
			r.log.Warn("failed to tell the other replicas that this one is alive", "err", err)
		}
		r.tell(heard)
		return
	}
	r.failed = time.Time{}
	why := r.tenure.view.why
	r.tenure.learn(sent, heard, b, answer)
	if v := &r.tenure.view; v.why != "" && v.why != why {
		r.log.Warn("this replica owns no gateways for now", "why", v.why)
	}
	r.ahead.Store(int64(r.tenure.shared))
	r.publish(heard)
	r.hear(answer.Decided)
}

// publish puts the view into force, and tells where the chains are divided among others than before.
func (r *Member) publish(now time.Time) {
	v := r.tenure.view
	r.view.Store(&v)
	r.tell(now)
}

func (r *Member) tell(now time.Time) {
	owners := r.view.Load().owners(now)
	if slices.Equal(owners, r.owners) && (owners == nil) == (r.owners == nil) {
		return
	}
	r.log.Info("gateways are divided among replicas", "now", owners, "before", r.owners)
	r.owners = owners
	r.told.Store(&owners)
	if r.Changed != nil {
		r.Changed(owners)
	}
}

// hear tells of decisions, each once.
func (r *Member) hear(all []Decided) {
	now := make(map[Decided]struct{}, len(all))
	for _, d := range all {
		now[d] = struct{}{}
		if _, before := r.heard[d]; !before && r.Decided != nil {
			r.Decided(d.Chain)
		}
	}
	r.heard = now
}

// Owners returns among whom the chains are divided, nil where this replica owns nothing.
func (r *Member) Owners() []string { return r.view.Load().owners(time.Now()) }

// Told returns what Changed was told last.
func (r *Member) Told() []string { return *r.told.Load() }

// Living returns the replicas that live, those that have just joined included.
func (r *Member) Living() []string {
	v := r.view.Load()
	names := make([]string, 0, 1+len(v.members))
	if time.Now().Before(v.until) {
		names = append(names, v.self)
	}
	for _, m := range v.members {
		names = append(names, m.name)
	}
	slices.Sort(names)
	return names
}

// Mine reports whether this replica owns a chain.
func (r *Member) Mine(chain lightchain.ChainID) bool { return r.view.Load().owns(time.Now(), chain) }

// Self returns this replica's name.
func (r *Member) Self() string { return r.view.Load().self }

// Shift returns by how much the clock that all replicas share is ahead of this one's.
func (r *Member) Shift() time.Duration { return time.Duration(r.ahead.Load()) }

// Idle returns why this replica owns nothing, nil if it may.
func (r *Member) Idle() error {
	v, now := r.view.Load(), time.Now()
	if v.holds(now) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.last != nil:
		return &idleError{"its beat is not answered: " + r.last.Error()}
	case v.why != "":
		return &idleError{v.why}
	}
	return &idleError{"its lease is over"}
}

// idleError says why a replica owns nothing.
type idleError struct{ why string }

func (e *idleError) Error() string { return "this replica owns no gateways: " + e.why }
