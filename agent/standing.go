package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"edgechain.example/agent/sealgate"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
)

// Nothing is sealed before the upstreams have found out how the chain's head stands to what aggregators know, or once one
// of them says that the chain must not go on.

// restoreEvent is what the chain says about headers that came back from an aggregator.
type restoreEvent struct {
	From       uint64   `json:"from"` // heights
	To         uint64   `json:"to"`
	FirstEntry uint64   `json:"first_entry"` // the entries from this number on are not held any more,
	NextEntry  uint64   `json:"next_entry"`  // up to but not including this one
	Sparse     bool     `json:"sparse"`      // nor are the headers between
	By         []string `json:"by,omitempty"`

	SoFar headersync.Tally `json:"so_far"` // since the chain began, this one included
}

// settled takes what one upstream found out about the head. Sealing begins once all have found out, and if for none
// of them the chain must not go on.
func (a *Agent) settled(u *upstream, s gateway.Settlement) {
	u.heard(&a.mu, s.By...)
	if a.awaitsWord() {
		s.Standing = a.withoutStrangers(s)
	}
	log := a.log.With("upstream", u.Name, "standing", string(s.Standing), "aggregators", s.By)
	switch {
	case s.Standing == gateway.Recovered:
		log.Warn("newest headers came back from an aggregator; their entries are lost here", "from", s.From, "to", s.To, "first_entry", s.FirstEntry, "next_entry", s.NextEntry)
		a.recordTakenBack(restoreEvent{From: s.From, To: s.To, FirstEntry: s.FirstEntry, NextEntry: s.NextEntry, Sparse: s.Sparse, By: s.By})
	case s.Standing.MaySeal():
		log.Info("the head is settled")
	}
	a.stand(log, u, s.Standing)
	a.considerSealing()
}

// recordTakenBack makes the entry that tells of headers taken back, and forgets that it was to be made once it is durable.
func (a *Agent) recordTakenBack(event restoreEvent) {
	a.aside(func() {
		done := make(chan error, 1)
		if a.recordWith(a.sourcesCtx, "restore", event, func(err error) { done <- err }) != nil || <-done != nil {
			return // the next start makes it
		}
		// Cut off here, the next start makes another: twice told is better than not at all.
		a.onTail(a.log, a.store.ForgetTakenBack)
	})
}

// recallTakenBack records what a run that was cut off took back, and did not tell.
func (a *Agent) recallTakenBack() {
	t, err := a.store.TakenBack()
	if err != nil {
		a.log.Error("failed to read whether headers came back before the last run was cut off", "err", err)
	}
	if t != nil && err == nil {
		a.recordTakenBack(restoreEvent{From: t.From, To: t.To, FirstEntry: t.First, NextEntry: t.Next, Sparse: t.Sparse})
	}
}

// stand notes how the head stands to what an upstream's aggregators know. What forbids to seal counts at once. That it
// does so no more counts when considerSealing has looked at all of them.
func (a *Agent) stand(log *slog.Logger, u *upstream, s gateway.Standing) {
	a.mu.Lock()
	u.standing = s
	a.mu.Unlock()
	if s.MaySeal() {
		return
	}
	r := elsewhere(u.Name, s)
	if a.gate.Add(r) {
		log.Error("nothing is sealed: "+r.String(), "standing", string(s), "height", a.store.Tip().Height)
	}
	a.aside(func() { // a release that was under way by what the upstreams said before has lifted it
		a.onTail(log, func() error {
			a.mu.Lock()
			still := u.standing == s && slices.Contains(a.upstreams, u)
			a.mu.Unlock()
			if still {
				a.gate.Add(r)
			}
			return nil
		})
	})
}

// considerSealing lets the committer seal if all upstreams have found out about the head, and for none of them the chain
// must not go on. It returns at once, for an upstream's goroutine must not wait for the tail.
func (a *Agent) considerSealing() {
	a.aside(func() { a.onTail(a.log, a.considerOnTail) })
}

func (a *Agent) considerOnTail() error {
	if !a.gate.HeadInDoubt() || a.store.Signer() == nil { // the aggregators are asked in its name
		return nil
	}
	may, confirmed := a.headSettled()
	if !may {
		return nil
	}
	if a.awaitsWord() && !confirmed { // nobody who knows the chain has answered
		r := a.restoredReason(len(a.upstreams) > 0)
		a.gate.Add(r)
		a.log.Error("nothing is sealed: " + r.String())
		return nil
	}
	return a.releaseSealing(confirmed)
}

// headSettled reports whether sealing may go on as far as the upstreams know, and whether an aggregator agreed.
func (a *Agent) headSettled() (may, confirmed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.upstreams {
		if !u.standing.MaySeal() { // or it is not known yet
			return false, false
		}
		confirmed = confirmed || u.standing == gateway.Agreed || u.standing == gateway.Recovered
	}
	return true, confirmed
}

// releaseSealing lets the committer seal. It belongs to the committer's goroutine.
func (a *Agent) releaseSealing(confirmed bool) error {
	if err := errors.Join(a.store.SetSealedUnconfirmed(!confirmed), a.store.ConfirmHead()); err != nil {
		return fmt.Errorf("nothing is sealed: it could not be noted how the head stands: %w", err)
	}
	a.gate.Release(a.store.Tip().Height)
	a.finishRestore()
	return nil
}

// heard notes that aggregators have answered. mu is the agent's.
func (u *upstream) heard(mu *sync.Mutex, names ...string) {
	mu.Lock()
	defer mu.Unlock()
	for _, name := range names {
		u.answered[name] = true
	}
}

// noticed takes what an upstream tells later.
func (a *Agent) noticed(u *upstream, n gateway.Notice) {
	u.heard(&a.mu, n.Aggregator)
	log := a.log.With("upstream", u.Name, "aggregator", n.Aggregator)
	switch {
	case n.Err != nil:
		if a.complain(u.Name, n.Aggregator, n.Err.Error()) {
			log.Error("failed to act on what an aggregator said: it sent a validly signed but contradictory message", "err", n.Err)
		}
	case n.Standing == gateway.CutOff:
		a.mu.Lock()
		news := !u.cutOff[n.Aggregator]
		u.cutOff[n.Aggregator] = true
		a.mu.Unlock()
		if news {
			log.Error("an aggregator cannot follow this chain any more: " + cutOff)
		}
	case n.Standing == gateway.Agreed:
		a.onTail(log, func() error { return a.store.SetSealedUnconfirmed(false) })
		waiting := a.awaitsWord()
		a.mu.Lock()
		may := u.standing.MaySeal()
		if may && !waiting {
			u.standing = gateway.Agreed
		}
		a.mu.Unlock()
		if may && waiting {
			a.settled(u, gateway.Settlement{Standing: gateway.Agreed, By: []string{n.Aggregator}})
		}
	case n.Standing != "" && !n.Standing.MaySeal():
		a.stand(log, u, n.Standing)
	case n.Receipt != 0:
		log.Debug("receipted", "height", n.Receipt)
	}
}

// complain notes what an aggregator said that cannot be, for the status, and reports whether that is news.
func (a *Agent) complain(upstream, aggregator, text string) (news bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	of := [2]string{upstream, aggregator}
	news = a.complaints[of] != text
	a.complaints[of] = text
	return news
}

// elsewhere is why nothing is sealed where an aggregator has said what keeps the chain from going on as it stands.
func elsewhere(upstream string, s gateway.Standing) sealgate.Reason {
	r := sealgate.Reason{Kind: sealgate.Elsewhere, Of: upstream}
	if s == gateway.Behind {
		r.Why = "an aggregator knows newer headers of this chain than this gateway has"
		r.Do = "start the agent again with sync.confirm_head unlike \"never\": it takes them back"
		return r
	}
	r.Why = "this chain cannot go on: an aggregator knows another end of it than this gateway has. What arrives is kept"
	r.Do = "if the data folder is an old image, bring the newest one back; else begin a new chain that names this one: edgeagent init --continue"
	return r
}

// cutOff tells the operator what to do about an aggregator that knows too little to follow what is left of the chain.
const cutOff = "the headers between the newest one that it knows and the newest ones here were lost with this gateway's disk, so nothing shows it that the chain goes on, " +
	"and it countersigns nothing more of it. What arrives is kept and sealed. To have it countersigned again, begin a new chain that names this one: edgeagent init --continue"

// onTail does something where the tail stands still, and logs what fails but for the agent's end.
func (a *Agent) onTail(log *slog.Logger, job func() error) {
	var err error
	doErr := a.committer.Do(a.sourcesCtx, func() { err = job() })
	if err := errors.Join(doErr, err); err != nil && a.sourcesCtx.Err() == nil {
		log.Error("failed to act on what an aggregator said", "err", err)
	}
}
