package agent

import (
	"errors"
	"fmt"
	"log/slog"

	headersync "edgechain/sync"
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
func (a *Agent) settled(u *upstream, s headersync.Settlement) {
	if a.unconfirmed() {
		s.Standing = a.withoutStrangers(s)
	}
	log := a.log.With("upstream", u.Name, "standing", string(s.Standing), "aggregators", s.By)
	switch {
	case s.Standing == headersync.Recovered:
		log.Warn("newest headers came back from an aggregator; their entries are lost here", "from", s.From, "to", s.To, "first entry", s.FirstEntry, "next entry", s.NextEntry)
		a.aside(func() {
			a.record(a.sourcesCtx, "restore", restoreEvent{From: s.From, To: s.To, FirstEntry: s.FirstEntry, NextEntry: s.NextEntry, Sparse: s.Sparse, By: s.By})
		})
	case s.Standing.MaySeal():
		log.Info("the head is settled")
	default:
		log.Error("nothing is sealed: "+wayOut(s.Standing), "height", a.store.Tip().Height)
	}
	a.mu.Lock()
	u.standing = s.Standing
	a.mu.Unlock()
	a.considerSealing()
}

// considerSealing lets the committer seal if all upstreams have found out about the head, and for none of them the chain
// must not go on. It returns at once, for an upstream's goroutine must not wait for the tail.
func (a *Agent) considerSealing() {
	a.aside(func() {
		a.onTail(a.log, func() error {
			may, confirmed := a.headSettled()
			if !may || !a.committer.held {
				return nil
			}
			if a.unconfirmed() && !confirmed { // nobody who knows the chain has answered
				a.log.Error("nothing is sealed: " + a.held())
				return nil
			}
			return a.releaseSealing(confirmed)
		})
	})
}

// headSettled reports whether sealing may go on as far as the upstreams know, and whether an aggregator agreed.
func (a *Agent) headSettled() (may, confirmed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.upstreams {
		if !u.standing.MaySeal() { // or it is not known yet
			return false, false
		}
		confirmed = confirmed || u.standing == headersync.Agreed || u.standing == headersync.Recovered
	}
	return true, confirmed
}

// releaseSealing lets the committer seal. It belongs to the committer's goroutine.
func (a *Agent) releaseSealing(confirmed bool) error {
	if err := errors.Join(a.store.SetUnconfirmed(!confirmed), a.store.ConfirmHead()); err != nil {
		return fmt.Errorf("nothing is sealed: it could not be noted how the head stands: %w", err)
	}
	a.committer.held = false
	a.sealing.Store(true)
	a.releasedAt = a.store.Tip().Height
	a.finishRestore()
	return nil
}

// noticed takes what an upstream tells later.
func (a *Agent) noticed(u *upstream, n headersync.Notice) {
	log := a.log.With("upstream", u.Name, "aggregator", n.Aggregator)
	switch {
	case n.Err != nil:
		if a.complain(u.Name, n.Aggregator, n.Err.Error()) {
			log.Error("an aggregator's own key signed what cannot be", "err", n.Err)
		}
	case n.Standing == headersync.CutOff:
		a.mu.Lock()
		news := !u.cutOff[n.Aggregator]
		u.cutOff[n.Aggregator] = true
		a.mu.Unlock()
		if news {
			log.Error("an aggregator cannot follow this chain any more: " + cutOff)
		}
	case n.Standing == headersync.Agreed:
		a.onTail(log, func() error { return a.store.SetUnconfirmed(false) })
		a.mu.Lock()
		may := u.standing.MaySeal()
		if may && !a.unconfirmed() {
			u.standing = headersync.Agreed
		}
		a.mu.Unlock()
		if may && a.unconfirmed() {
			a.settled(u, headersync.Settlement{Standing: headersync.Agreed, By: []string{n.Aggregator}})
		}
	case n.Standing != "" && !n.Standing.MaySeal():
		log.Error("nothing more is sealed: "+wayOut(n.Standing), "standing", string(n.Standing))
		a.mu.Lock()
		u.standing = n.Standing
		a.mu.Unlock()
		a.onTail(log, func() error {
			a.committer.held = true
			return nil
		})
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

// wayOut tells the operator what to do about a chain that cannot go on as it stands.
func wayOut(s headersync.Standing) string {
	if s == headersync.Behind {
		return "an aggregator knows newer headers of this chain than this gateway has. Start the agent again with sync.confirm_head unlike \"never\": it takes them back"
	}
	return "this chain cannot go on: an aggregator knows another end of it than this gateway has. What arrives is kept. " +
		"If the data folder is an old image, bring the newest one back; else begin a new chain that names this one: edgeagent init --continue"
}

// cutOff tells the operator what to do about an aggregator that knows too little to follow what is left of the chain.
const cutOff = "the headers between the newest one that it knows and the newest ones here were lost with this gateway's disk, so nothing shows it that the chain goes on, " +
	"and it countersigns nothing more of it. What arrives is kept and sealed. To have it countersigned again, begin a new chain that names this one: edgeagent init --continue"

// stuck says why nothing more is sealed, if an aggregator has said what keeps the chain from going on.
func (a *Agent) stuck() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.upstreams {
		if u.standing != "" && !u.standing.MaySeal() {
			return wayOut(u.standing)
		}
	}
	return ""
}

// onTail does something where the tail stands still, and logs what fails but for the agent's end.
func (a *Agent) onTail(log *slog.Logger, job func() error) {
	var err error
	doErr := a.committer.do(a.sourcesCtx, func() { err = job() })
	if err := errors.Join(doErr, err); err != nil && a.sourcesCtx.Err() == nil {
		log.Error("what an aggregator said could not be acted on", "err", err)
	}
}
