package aggregator

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"edgechain.example/lightchain"
)

const (
	replicaKind = "replica"
	beatEvery   = time.Second
	deadAfter   = 5 * time.Second
	removeAfter = 10 * time.Minute
)

// replicas knows which replicas share a store and are alive, and divides chains among them. Each writes a beat that
// counts; whoever sees a count move knows that its writer lives. Only the time between two looks matters, by the
// looker's own clock: the replicas' wall clocks are never compared.
type replicas struct {
	store Documents
	self  string
	run   string // random: this process, so that two under one name notice each other
	log   *slog.Logger
	// changed is called when others came or went; nil: nobody.
	changed func()

	mu    sync.Mutex
	seen  map[string]*beat // guarded by mu
	alive []string         // guarded by mu: sorted, self included; replaced, never changed
}

// beat is what was seen of another replica.
type beat struct {
	mark beatMark
	at   time.Time // when the mark last moved
}

// beatMark is what a replica writes.
type beatMark struct {
	Run   string `json:"run"`
	Count uint64 `json:"count"`
}

func newReplicas(store Documents, self string, random [8]byte, log *slog.Logger) *replicas {
	return &replicas{store: store, self: self, run: hex.EncodeToString(random[:]), log: log,
		seen: map[string]*beat{}, alive: []string{self}}
}

// Run beats until ctx ends, and then takes its beat away, so that the others need not wait.
func (r *replicas) Run(ctx context.Context) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for count := uint64(1); ; count++ {
		if err := r.Beat(ctx, count, time.Now()); err != nil && ctx.Err() == nil {
			r.log.Warn("telling the other replicas that this one is alive", "err", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if err := r.remove(leaving, r.self, func(mark beatMark) bool { return mark.Run == r.run }); err != nil {
				r.log.Debug("taking this replica's beat away", "err", err)
			}
			return
		}
	}
}

// Beat writes this replica's, reads the others', and decides who is alive.
func (r *replicas) Beat(ctx context.Context, count uint64, now time.Time) error {
	text, err := json.Marshal(beatMark{r.run, count})
	if err != nil {
		return err
	}
	err = r.store.UpdateDocument(ctx, replicaKind, r.self, func(old []byte) ([]byte, error) {
		var mark beatMark
		if json.Unmarshal(old, &mark) == nil && mark.Run != r.run && count > 1 {
			return nil, fmt.Errorf("another process runs as replica %q: each needs a name of its own (aggregator.replica)", r.self)
		}
		return text, nil
	})
	if err != nil {
		return err
	}
	documents, err := r.store.Documents(ctx, replicaKind)
	if err != nil {
		return err
	}
	if r.observe(documents, now) && r.changed != nil {
		r.changed()
	}
	r.mu.Lock()
	gone := map[string]beatMark{}
	for name, b := range r.seen {
		if now.Sub(b.at) > removeAfter {
			gone[name] = b.mark
		}
	}
	r.mu.Unlock()
	for name, last := range gone {
		if err := r.remove(ctx, name, func(mark beatMark) bool { return mark == last }); err != nil {
			return err
		}
	}
	return nil
}

// remove takes a beat away, unless it is not the one meant any more: somebody else began under that name.
func (r *replicas) remove(ctx context.Context, name string, meant func(beatMark) bool) error {
	return r.store.UpdateDocument(ctx, replicaKind, name, func(old []byte) ([]byte, error) {
		var mark beatMark
		if json.Unmarshal(old, &mark) == nil && !meant(mark) {
			return nil, ErrUnchanged
		}
		return nil, nil
	})
}

// observe takes in what all replicas wrote, and reports whether others are alive than before.
func (r *replicas) observe(documents map[string][]byte, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.seen {
		if _, there := documents[name]; !there {
			delete(r.seen, name)
		}
	}
	alive := []string{r.self}
	for name, text := range documents {
		var mark beatMark
		if name == r.self || json.Unmarshal(text, &mark) != nil {
			continue
		}
		b := r.seen[name]
		if b == nil || b.mark != mark {
			b = &beat{mark, now}
			r.seen[name] = b
		}
		if now.Sub(b.at) < deadAfter {
			alive = append(alive, name)
		}
	}
	slices.Sort(alive)
	if slices.Equal(alive, r.alive) {
		return false
	}
	r.log.Info("replicas alive", "now", alive, "before", r.alive)
	r.alive = alive
	return true
}

// Alive returns the replicas that are alive, this one included.
func (r *replicas) Alive() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alive
}

// Mine reports whether a chain falls to this replica: to the one whose hash with the chain is the highest, so that
// only the chains of one that comes or goes change hands.
func (r *replicas) Mine(chain lightchain.ChainID) bool {
	alive := r.Alive()
	if len(alive) == 1 {
		return true
	}
	return highest(alive, chain) == r.self
}

func highest(names []string, chain lightchain.ChainID) (name string) {
	var most uint64
	for _, n := range names {
		sum := sha256.Sum256(append(chain[:len(chain):len(chain)], n...))
		if weight := binary.BigEndian.Uint64(sum[:]); name == "" || weight > most {
			name, most = n, weight
		}
	}
	return name
}

// Seen returns when each other replica was last heard of.
func (r *replicas) Seen() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[string]time.Time, len(r.seen))
	for name, b := range maps.All(r.seen) {
		seen[name] = b.at
	}
	return seen
}
