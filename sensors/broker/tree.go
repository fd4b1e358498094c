package broker

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"edgechain.example/mqttwire"
)

// tree is who subscribed to what, level by level.
type tree struct {
	count atomic.Int64 // of subscriptions
	most  int          // subscriptions of one session
	kept  *kept        // written before anything else starts
	// What is added was granted before a restart, and stays: bounds that became smaller, or were exceeded by those who may have a
	// little in any case, hold for what comes. Written before anything else starts.
	granted bool

	mu   sync.RWMutex
	root node
	// Of all sessions. Guarded by mu.
	weight weight
	bytes  int
}

type node struct {
	name     string           // its level, in memory of its own: a part of a filter would keep all of it
	only     *node            // its child, where it never had two: a filter of many levels is a chain of such nodes
	children map[string]*node // else
	most     int              // how many children there were since the map was made
	own      map[*session]*subscription
	shares   map[string]*share // by group
}

// child returns the child of that name, or nil.
func (n *node) child(level string) *node {
	if n.only != nil && n.only.name == level {
		return n.only
	}
	return n.children[level]
}

// grow gives a node a child that it does not have.
func (n *node) grow(level string) *node {
	child := &node{name: strings.Clone(level)}
	if n.only == nil && n.children == nil {
		n.only = child
		return child
	}
	if n.only != nil {
		n.children, n.only = map[string]*node{n.only.name: n.only}, nil
	}
	n.children[child.name] = child
	n.most = max(n.most, len(n.children))
	return child
}

// prune takes a child away.
func (n *node) prune(child *node) {
	if n.only == child {
		n.only = nil
		return
	}
	delete(n.children, child.name)
	if len(n.children) == 0 {
		n.children, n.most = nil, 0
	} else if 4*len(n.children) < n.most { // a map does not shrink
		n.children, n.most = maps.Clone(n.children), len(n.children)
	}
}

// weight is what filters cost beside their bytes: nodes of the tree, and work for each message.
type weight struct {
	levels int
	// For each message the fan-out visits the nodes whose filters cover what it has read of the topic. Of those above the first +
	// that is one for each level. Those from there on may all be visited, so they are counted.
	wild int
}

func (w *weight) add(v weight, sign int) {
	w.levels += sign * v.levels
	w.wild += sign * v.wild
}

func (w weight) tooMuch() bool { return w.levels > maxLevels || w.wild > maxWildLevels }

// crowded reports whether one more filter is too much beside what all have, and more than each may have in any case: whoever
// takes all there is keeps nobody out who wants little.
func (t *tree) crowded(s *session, filter string, w weight) bool {
	all, own := t.weight, s.filterWeight
	all.add(w, 1)
	own.add(w, 1)
	return (all.levels > allLevels || all.wild > allWildLevels || t.bytes+len(filter) > allFilterBytes) &&
		(own.levels > ownLevels || own.wild > ownWildLevels || s.filterBytes+len(filter) > ownFilterBytes)
}

// weigh weighs a filter without its group.
func weigh(filter string, shared bool) (w weight) {
	const turns = 4 // finding whose turn it is takes as long as some nodes
	if shared {
		w.wild = turns
	}
	below := false
	for level := range strings.SplitSeq(filter, "/") {
		if w.levels++; w.levels > maxFilterLevels {
			break
		}
		if below = below || level == "+"; below {
			w.wild++
		}
	}
	return w
}

// share is a shared subscription: each message goes to one of its members.
type share struct {
	members []*subscription
	next    int // whose turn it is; owned by the fan-out
}

// subscription is one filter of one session.
type subscription struct {
	s       *session
	filter  string // as the client gave it
	id      uint32 // its identifier, 0 if it has none
	options mqttwire.Options
}

// add adds a subscription, or replaces the session's of the same filter; fresh tells which. It is refused where the session has
// too many.
func (t *tree) add(sub *subscription) (fresh, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := sub.s
	if old := s.subscriptions[sub.filter]; old != nil {
		if old.id != sub.id || old.options != sub.options {
			old.id, old.options = sub.id, sub.options
			t.kept.subscribe(sub, false)
		}
		return false, true
	}
	if s.over || !t.granted && len(s.subscriptions) >= t.most || s.filterBytes+len(sub.filter) > maxFilterBytes {
		return false, false
	}
	group, filter, shared := mqttwire.SplitShare(sub.filter)
	weight, all := weigh(filter, shared), s.filterWeight
	if all.add(weight, 1); weight.levels > maxFilterLevels || all.tooMuch() || !t.granted && t.crowded(s, sub.filter, weight) {
		return false, false
	}
	s.filterWeight = all
	t.weight.add(weight, 1)
	t.bytes += len(sub.filter)
	if s.subscriptions == nil {
		s.subscriptions = make(map[string]*subscription)
	}
	s.subscriptions[sub.filter] = sub
	s.filterBytes += len(sub.filter)
	t.kept.subscribe(sub, true)
	t.count.Add(1)
	n := &t.root
	for level := range strings.SplitSeq(filter, "/") {
		child := n.child(level)
		if child == nil {
			child = n.grow(level)
		}
		n = child
	}
	if !shared {
		if n.own == nil {
			n.own = make(map[*session]*subscription)
		}
		n.own[s] = sub
		return true, true
	}
	if n.shares == nil {
		n.shares = make(map[string]*share)
	}
	if n.shares[group] == nil {
		n.shares[group] = new(share)
	}
	n.shares[group].members = append(n.shares[group].members, sub)
	return true, true
}

// remove takes a subscription away, and tells whether there was one.
func (t *tree) remove(s *session, filter string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.subscriptions[filter] == nil {
		return false
	}
	t.drop(s, filter)
	return true
}

// removeAll takes away the subscriptions of a session that has ended: a connection that it had may still ask for some.
func (t *tree) removeAll(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.over = true
	for filter := range s.subscriptions {
		t.drop(s, filter)
	}
}

func (t *tree) drop(s *session, text string) {
	delete(s.subscriptions, text)
	t.kept.unsubscribe(s, text)
	s.filterBytes -= len(text)
	t.count.Add(-1)
	group, filter, shared := mqttwire.SplitShare(text)
	weight := weigh(filter, shared)
	s.filterWeight.add(weight, -1)
	t.weight.add(weight, -1)
	t.bytes -= len(text)
	t.root.drop(s, group, filter, shared)
}

// drop removes the subscription below n, and reports whether n is empty now.
func (n *node) drop(s *session, group, filter string, shared bool) (empty bool) {
	level, rest, more := strings.Cut(filter, "/")
	child := n.child(level)
	switch {
	case child == nil:
	case more:
		if child.drop(s, group, rest, shared) {
			n.prune(child)
		}
	default:
		if sh := child.shares[group]; shared && sh != nil {
			for i, m := range sh.members {
				if m.s == s {
					sh.members = append(sh.members[:i:i], sh.members[i+1:]...)
					break
				}
			}
			if len(sh.members) == 0 {
				delete(child.shares, group)
			}
		} else if !shared {
			delete(child.own, s)
		}
		if child.empty() {
			n.prune(child)
		}
	}
	return n.empty()
}

func (n *node) empty() bool {
	return n.only == nil && len(n.children) == 0 && len(n.own) == 0 && len(n.shares) == 0
}

// match calls f with every subscription that covers the topic, and of a shared one with the member whose turn it is. Only
// the fan-out calls it.
func (t *tree) match(topic string, f func(*subscription)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	t.root.match(topic, !mqttwire.Reserved(topic), true, f)
}

func (n *node) match(topic string, wildcards, more bool, f func(*subscription)) {
	if n == nil {
		return
	}
	if !more {
		n.yield(f)
		n.child("#").yield(f) // 4.7.1.2: "a/#" covers "a" as well
		return
	}
	level, rest, more := strings.Cut(topic, "/")
	if wildcards {
		n.child("+").match(rest, true, more, f)
		n.child("#").yield(f)
	}
	if level != "+" && level != "#" {
		n.child(level).match(rest, true, more, f)
	}
}

func (n *node) yield(f func(*subscription)) {
	if n == nil {
		return
	}
	for _, sub := range n.own {
		f(sub)
	}
	for _, sh := range n.shares {
		f(sh.turn())
	}
}

// turn returns the member whose turn it is: of those that are connected, if any is.
func (sh *share) turn() *subscription {
	for i := range sh.members {
		at := (sh.next + i) % len(sh.members)
		if sh.members[at].s.connected() {
			sh.next = at + 1
			return sh.members[at]
		}
	}
	sh.next++
	return sh.members[(sh.next-1)%len(sh.members)]
}
