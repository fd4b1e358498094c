package broker

import (
	"strings"
	"sync"
	"sync/atomic"

	"edgechain/mqttwire"
)

// tree is who subscribed to what, level by level.
type tree struct {
	count atomic.Int64 // of subscriptions
	most  int          // subscriptions of one session
	kept  *kept        // written before anything else starts

	mu   sync.RWMutex
	root node
}

type node struct {
	children map[string]*node
	own      map[*session]*subscription
	shares   map[string]*share // by group
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
	if s.over || len(s.subscriptions) >= t.most || s.filterBytes+len(sub.filter) > maxFilterBytes {
		return false, false
	}
	if s.subscriptions == nil {
		s.subscriptions = make(map[string]*subscription)
	}
	s.subscriptions[sub.filter] = sub
	s.filterBytes += len(sub.filter)
	t.kept.subscribe(sub, true)
	t.count.Add(1)
	group, filter, shared := mqttwire.SplitShare(sub.filter)
	n := &t.root
	for level := range strings.SplitSeq(filter, "/") {
		child := n.children[level]
		if child == nil {
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			child = new(node)
			n.children[level] = child
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
	t.root.drop(s, group, filter, shared)
}

// drop removes the subscription below n, and reports whether n is empty now.
func (n *node) drop(s *session, group, filter string, shared bool) (empty bool) {
	level, rest, more := strings.Cut(filter, "/")
	child := n.children[level]
	switch {
	case child == nil:
	case more:
		if child.drop(s, group, rest, shared) {
			delete(n.children, level)
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
			delete(n.children, level)
		}
	}
	return n.empty()
}

func (n *node) empty() bool { return len(n.children) == 0 && len(n.own) == 0 && len(n.shares) == 0 }

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
		n.children["#"].yield(f) // 4.7.1.2: "a/#" covers "a" as well
		return
	}
	level, rest, more := strings.Cut(topic, "/")
	if wildcards {
		n.children["+"].match(rest, true, more, f)
		n.children["#"].yield(f)
	}
	if level != "+" && level != "#" {
		n.children[level].match(rest, true, more, f)
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
