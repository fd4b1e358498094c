// Package sealgate answers one question: may the gateway seal, and if not, why?
//
// It owns the set of reasons against it. Whoever has a reason adds it and lifts it again, at any time and on any
// goroutine; the committer, the status, retention, the interface and the metrics read the same set. It does not look for
// reasons, and seals nothing. What it says is advice to the committer: the store itself refuses to seal upon a head that
// is not confirmed, or without the key in force.
package sealgate

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Kind is what a reason is of, as programs read it.
type Kind string

// The kinds, the gravest first: what a person reads before all else. Of several that hold at once each has to be
// lifted.
//
// NoSpace is what a trial finds, and only another one can tell that there is room again: it is told like the others, and
// keeps nobody from trying.
const (
	Elsewhere Kind = "head_elsewhere"   // an aggregator knows another end of the chain, or more of it
	Restored  Kind = "restored"         // the chain came back from a backup, and nobody has told its newest head
	SetBack   Kind = "head_set_back"    // headers that were sealed may not be here
	Key       Kind = "key_not_usable"   // none that is at hand is in force
	NoSpace   Kind = "no_space"         // the disk has no room for a header
	Unsettled Kind = "head_not_settled" // aggregators have not been asked yet, or not answered
)

// Kinds are all of them, the gravest first.
func Kinds() []Kind { return []Kind{Elsewhere, Restored, SetBack, Key, NoSpace, Unsettled} }

// Reason is one reason against sealing. Of each kind there is one for each Of.
type Reason struct {
	Kind Kind   `json:"kind"`
	Of   string `json:"of,omitempty"` // whose, where several may have it: an upstream
	Why  string `json:"why"`          // for people: what is the case,
	Do   string `json:"do,omitempty"` // and what they can do about it; "" if it passes by itself

	Since time.Time `json:"since,omitzero"` // when there began to be one of this kind and owner; Add sets it
}

// String returns the reason as a text for people.
func (r Reason) String() string {
	if r.Do == "" {
		return r.Why
	}
	return r.Why + ". " + strings.ToUpper(r.Do[:1]) + r.Do[1:]
}

type id struct {
	kind Kind
	of   string
}

// Gate owns the reasons. Its zero value has none: sealing may begin.
type Gate struct {
	mu      sync.Mutex
	reasons map[id]Reason // guarded by mu
	closed  atomic.Bool   // there are some that forbid to try; swapped under mu

	released   bool   // guarded by mu
	releasedAt uint64 // guarded by mu
}

// Add adds a reason, or puts it in the place of the one of the same kind and owner. It reports whether people are to be
// told: it was not there, or said something else.
func (g *Gate) Add(r Reason) (news bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := id{r.Kind, r.Of}
	before, there := g.reasons[key]
	r.Since = before.Since // that it says something else now makes it no younger
	if !there {
		r.Since = time.Now()
	}
	if g.reasons == nil {
		g.reasons = map[id]Reason{}
	}
	g.reasons[key] = r
	g.swing()
	return !there || before != r
}

// swing opens or closes the gate. The caller holds mu.
func (g *Gate) swing() {
	closed := false
	for key := range g.reasons {
		closed = closed || key.kind != NoSpace
	}
	g.closed.Store(closed)
}

// Lift takes a reason away, and reports whether it was there.
func (g *Gate) Lift(kind Kind, of string) (was bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, was = g.reasons[id{kind, of}]
	delete(g.reasons, id{kind, of})
	g.swing()
	return was
}

// Release lifts all reasons that are about the head: it is settled, and what is sealed from now on stands above the
// header of this height. It is called where nothing can be sealed meanwhile.
func (g *Gate) Release(height uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key := range g.reasons {
		if key.kind.aboutHead() {
			delete(g.reasons, key)
		}
	}
	g.released, g.releasedAt = true, height
	g.swing()
}

// Released returns the height that Release was told last; false if it never was.
func (g *Gate) Released() (height uint64, ever bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.releasedAt, g.released
}

// HeadInDoubt reports whether there is a reason that Release would lift.
func (g *Gate) HeadInDoubt() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key := range g.reasons {
		if key.kind.aboutHead() {
			return true
		}
	}
	return false
}

// aboutHead tells the kinds that are about which header is the chain's newest.
func (k Kind) aboutHead() bool {
	return k == Elsewhere || k == Restored || k == SetBack || k == Unsettled
}

// Closed reports whether sealing must not be tried.
func (g *Gate) Closed() bool { return g.closed.Load() }

// Has reports whether there is a reason of a kind.
func (g *Gate) Has(kind Kind) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key := range g.reasons {
		if key.kind == kind {
			return true
		}
	}
	return false
}

// Worst returns the gravest reason as a text for people; "" if there is none.
func (g *Gate) Worst() string {
	all := g.Reasons()
	if len(all) == 0 {
		return ""
	}
	return all[0].String()
}

// Reasons returns all reasons, the gravest first.
func (g *Gate) Reasons() []Reason {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]Reason, 0, len(g.reasons))
	for _, r := range g.reasons {
		all = append(all, r)
	}
	kinds := Kinds()
	slices.SortFunc(all, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)), cmp.Compare(a.Of, b.Of))
	})
	return all
}
