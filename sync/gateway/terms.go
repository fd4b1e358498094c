package gateway

import (
	"errors"
	"slices"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

// Terms is what of a gateway's configuration may change while it runs.
type Terms struct {
	Aggregators []lightchain.Aggregator // nobody else is answered; a name may have several keys
	Announce    time.Duration           // at least this long between two announcements of a head
	BytesPerDay uint64                  // what answers may cost in a day, UTC, shared among the aggregators; 0 is no limit
	EnrolToken  string                  // shown to aggregators that do not know the gateway yet; "": none
}

// Check refuses aggregators that cannot be.
func (t *Terms) Check() error {
	for _, a := range t.Aggregators {
		if err := errors.Join(lightchain.CheckAggregatorName(a.Name), a.Key.Check()); err != nil {
			return err
		}
	}
	return nil
}

// SetTerms has the gateway work on other terms, which have been checked: no message that arrives after it has returned is
// judged by the old ones. Conversations with aggregators that stay go on. It may be called from any goroutine.
func (g *Gateway) SetTerms(t Terms) {
	g.signals.Lock()
	g.signals.terms = &t
	g.signals.Unlock()
	headersync.Wake(g.wake)
}

// follow takes over what other goroutines have set, but for what happened.
func (g *Gateway) follow(now time.Time) {
	g.signals.Lock()
	signer, terms := g.signals.signer, g.signals.terms
	g.signals.signer, g.signals.terms = nil, nil
	g.signals.Unlock()
	if signer != nil {
		if g.signer == nil { // nothing could be asked until now
			g.helloAt, g.waitTill = now, time.Time{}
			g.hellos.Reset()
		}
		g.signer = signer
	}
	if terms == nil {
		return
	}
	before := g.peers
	g.adopt(*terms)
	for name, p := range g.peers {
		if before[name] != p {
			// Whoever is new is greeted and shown the newest head, at once and then as often as after a start.
			g.helloAt, g.said = now, false
			g.hellos.Reset()
			g.announcing.Reset()
		}
	}
	if r := g.restore; r != nil && r.peer != nil && g.peers[r.peer.name] != r.peer {
		if tip, _, err := g.c.Chain.Head(); err == nil && tip.Height == r.from.Height {
			g.restore = nil // nothing came back from whom was asked, and is not any more
		}
	}
	if err := g.listen(); err != nil {
		g.c.Log.Error("failed to subscribe to what new aggregators say", "err", err)
	}
}

// adopt makes the terms those of the gateway. A peer that keeps a key stays whom it was; one that has other keys than
// before has to say anew what it knows.
func (g *Gateway) adopt(t Terms) {
	g.c.Terms = t
	g.announcing.Least, g.status.pace.Least = max(t.Announce, 30*time.Second), max(t.Announce, time.Second)
	before := g.peers
	g.peers = make(map[string]*peer)
	for _, a := range t.Aggregators {
		p := g.peers[a.Name]
		if p == nil {
			p = &peer{
				name:    a.Name,
				checks:  pace.Bucket{Interval: 50 * time.Millisecond, Burst: 40},
				answers: pace.Bucket{Interval: 500 * time.Millisecond, Burst: 16},
			}
			g.peers[a.Name] = p
		}
		p.keys = append(p.keys, a.Key)
	}
	for name, p := range g.peers {
		old := before[name]
		if old != nil && slices.ContainsFunc(old.keys, func(k lightchain.PublicKey) bool { return slices.Contains(p.keys, k) }) {
			old.keys = p.keys
			g.peers[name] = old
		}
	}
}

// listen subscribes to what was not subscribed to yet. What comes for an aggregator that is not configured any more is
// not looked at, and the next session does not ask for it.
func (g *Gateway) listen() error {
	if g.deliver == nil {
		return nil // nobody runs it
	}
	var fresh []string
	for _, f := range g.Filters() {
		if !slices.Contains(g.heard, f) {
			fresh = append(fresh, f)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	g.heard = append(g.heard, fresh...)
	return g.c.Conn.Subscribe(fresh, g.deliver)
}
