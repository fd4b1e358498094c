package headersync

import (
	"context"
	"errors"
	"time"

	"edgechain/lightchain"
)

const (
	pullPatience  = 10 * time.Second // for a page, the first time; doubled at each failure
	pullRest      = 15 * time.Minute // at most this long between two attempts
	guessEvery    = 10 * time.Minute // pulls because of heads that cannot be checked
	repeatReceipt = 20 * time.Second // doubled each time: anybody can repeat the head that asks for it
	clockWait     = 10 * time.Second
	lagEvery      = time.Hour
)

// look does what a chain needs: countersign its head, or ask for what is missing.
func (s *shard) look(ctx context.Context, now time.Time, f *follower) {
	policy, ok := s.c.c.Policy(f.chain)
	if !ok || f.waiting {
		return
	}
	state, err := s.c.c.Store.Load(ctx, f.chain)
	if err != nil {
		s.c.c.Log.Error("reading the state of a chain", "chain", f.chain, "err", err)
		s.later(f, now.Add(pullPatience))
		return
	}
	f.recall(state)
	if state == nil {
		state = &State{Chain: f.chain}
	}
	if state.Head != nil && state.Receipt == nil && state.Fork == nil && !policy.Introduce {
		if !s.countersign(ctx, now, f) {
			s.later(f, now.Add(clockWait))
		}
	}
	pull, ok := state.next(policy, f.announced)
	if f.doubt && state.Head != nil && state.Fork == nil && (!ok || pull.First <= state.Head.Height()) {
		// Nothing newer is missing, but the gateway seems to have another history, or less of this one: its answer shows
		// that. What a backlog lacks, it might have in either case.
		pull.First, pull.Last, pull.Below, ok = state.Head.Height()+1, noCeiling, state.Head.Head.Hash(), true
	}
	if !ok && f.ask && state.Suspect != nil && state.Fork == nil {
		f.ask = false
		pull, ok = state.suspicion(), true
	}
	if !ok {
		return
	}
	s.pull(now, f, policy, pull)
}

// pull asks, within the day's budget.
func (s *shard) pull(now time.Time, f *follower, policy Policy, pull Pull) {
	pull.Name = s.c.c.Name
	// Numbers come from the clock so that they grow over restarts and from replica to replica without being stored;
	// where they do not, the gateway's hello puts that right.
	pull.Sequence = max(f.sequence+1, uint64(max(now.UnixMicro(), 0)))
	pull.Most = pageFor(policy, &pull, f)
	answer := cost(topic(s.c.c.Prefix, f.chain, topicPulled, s.c.c.Name), nil)
	const asking = 600 // more than a pull takes
	left := f.purse.left(now, policy.BytesPerDay)
	if left < asking+answer+minPage {
		s.later(f, tomorrow(now))
		return
	}
	pull.Most = min(pull.Most, left-asking-answer)
	payload, err := pull.Sign(s.c.c.Signer)
	if err != nil {
		s.c.c.Log.Error("signing a pull", "err", err)
		s.later(f, now.Add(pullPatience))
		return
	}
	f.sequence, f.waiting = pull.Sequence, true
	s.publish(now, f, topicPull, "", payload, false)
	f.purse.reserve(now, pull.Sequence, pull.Most+answer)
	s.later(f, now.Add(min(pullPatience<<min(f.failures, 10), pullRest)))
}

// pageFor returns how many bytes the page may have that answers a pull: enough for what is missing as far as is known,
// since all of it counts until the page is there.
func pageFor(policy Policy, pull *Pull, f *follower) uint64 {
	const (
		proof   = 8 << 10
		beside  = 4 << 10 // what a page has beside its headers
		aHeader = 256     // several times what one usually takes
	)
	page := policy.Page
	if page == 0 {
		page = DefaultPage
	}
	switch last := min(pull.Last, f.announced); {
	case f.whole:
	case pull.Want == Sparse:
		page = min(page, proof)
	case last >= pull.First && last-pull.First < page/aHeader:
		page = min(page, beside+(last-pull.First+1)*aHeader)
	case last < pull.First:
		page = min(page, beside)
	}
	return page
}

func (s *shard) later(f *follower, at time.Time) {
	s.due.put(f, at)
}

// receiveHead takes an announcement. Heads are how an aggregator learns that there is something to ask for; one that
// is not above what is known is looked at for a second history.
func (s *shard) receiveHead(ctx context.Context, now time.Time, f *follower, m Message) error {
	head, err := lightchain.DecodeSignedHeader(m.Payload)
	if err != nil {
		return err
	}
	if head.ChainID() != f.chain || len(head.Receipts) > 0 {
		return errors.New("not a head of this chain")
	}
	state, err := s.c.c.Store.Load(ctx, f.chain)
	if err != nil {
		return err
	}
	height := head.Header.Height
	if state == nil || state.Head == nil {
		return s.guess(ctx, now, f, max(height, 1))
	}
	if height > state.Head.Height() {
		// Whoever is not the gateway cannot make it answer pulls: the key that is known must have signed the head. If
		// it has not, the key was changed perhaps, which only a pull can show; that is believed rarely.
		key, _ := state.keyAfter(height - 1)
		if head.Check(key) != nil {
			return s.guess(ctx, now, f, height)
		}
		f.purse.spent.add(now, cost(m.Topic, m.Payload))
		f.announced = max(f.announced, height)
		s.look(ctx, now, f)
		return nil
	}
	verdict, err := s.compareHead(ctx, now, f, state, head)
	if verdict == Invalid {
		// It is another header than ours, and no key that we know signed it: forged, or of another history that went on
		// with a key of its own. That costs a pull to find out.
		f.doubt = f.doubt || !now.Before(f.guess)
		return errors.Join(err, s.guess(ctx, now, f, f.announced))
	}
	if err != nil {
		return err
	}
	switch verdict {
	case Known:
		if state.Receipt == nil {
			s.look(ctx, now, f)
		}
		s.repeatReceipt(now, f, state)
	case Lagging:
		// The broker kept an announcement that the page had overtaken, or somebody repeats one: only the gateway's answer
		// says where it stands.
		if !f.waiting && !now.Before(f.lag) {
			f.doubt, f.lag = true, now.Add(lagEvery)
		}
		s.look(ctx, now, f)
	case Split:
		s.tell(f, Finding{Verdict: verdict, Height: state.Head.Height(), Fork: state.Fork})
	}
	return nil
}

// guess acts on what nothing vouches for, rarely.
func (s *shard) guess(ctx context.Context, now time.Time, f *follower, height uint64) error {
	if now.Before(f.guess) {
		return errBusy
	}
	f.guess = now.Add(guessEvery)
	f.announced = max(f.announced, height)
	s.look(ctx, now, f)
	return nil
}

// receivePage takes a gateway's answer.
func (s *shard) receivePage(ctx context.Context, now time.Time, f *follower, policy Policy, m Message) error {
	page, err := DecodePulled(m.Payload)
	if err != nil {
		s.tell(f, Finding{Verdict: Invalid, Err: err})
		return err
	}
	// The answer to a pull of another replica's is as good: what a page brings, it proves. One that comes after another
	// answer may be that of a second gateway with the same chain, so evidence counts whenever it comes.
	late := page.Correlation <= f.answered
	if late && page.Other == nil {
		f.purse.arrived(now, page.Correlation, cost(m.Topic, m.Payload), false)
		return errOld
	}
	verdict, state, err := s.judge(ctx, f, policy, page)
	if verdict == Invalid {
		// Anybody on the broker may have sent it, so the right page may still come.
		s.tell(f, Finding{Verdict: Invalid, Err: err})
		return err
	}
	if err != nil {
		s.later(f, now.Add(pullPatience))
		f.waiting = false
		return err
	}
	proved := verdict == Extended || verdict == Split
	cutOff := verdict == Lacking && (state.Head == nil || page.Head > state.Head.Height())
	f.purse.arrived(now, page.Correlation, cost(m.Topic, m.Payload), proved)
	if late && !proved {
		s.look(ctx, now, f)
		return nil
	}
	f.waiting, f.doubt = false, false
	if proved {
		// A page that proves nothing may be somebody else's, so that the right one may still come.
		f.answered = f.sequence
	}
	s.due.remove(f)
	f.whole = verdict == Lacking && !f.whole
	if verdict == Extended || f.whole {
		f.announced = max(f.announced, min(page.Head, noCeiling))
	} else {
		// What was announced is not there, or not for us: what will be announced next is believed again.
		f.announced = 0
	}
	if state.Suspect != nil {
		f.heardOf(state.Suspect, page, verdict)
	}
	if state.Head != nil {
		if verdict != Extended && page.Receipted != nil && *page.Receipted < state.Head.Height() {
			s.repeatReceipt(now, f, state)
		}
		s.tell(f, Finding{Verdict: verdict, Height: state.Head.Height(), Fork: state.Fork, CutOff: cutOff})
	}
	f.failures = min(f.failures+1, 20)
	if proved {
		f.failures = 0
	} else if !f.whole && !f.ask {
		// What is still missing is not there, or somebody says so: no reason to ask at once again.
		s.later(f, now.Add(min(pullPatience<<min(f.failures, 10), pullRest)))
		return nil
	}
	s.look(ctx, now, f)
	return nil
}

// judge finds out what a page means, stores that, and returns the state as it is then.
func (s *shard) judge(ctx context.Context, f *follower, policy Policy, page *Pulled) (verdict Verdict, after *State, err error) {
	err = s.c.c.Store.Update(ctx, f.chain, func(state *State, put func(Held) error) error {
		var held []Held
		suspect, unknown := state.Suspect, state.Head == nil
		if verdict, err = Judge(state, page, policy.Mode == EveryHeader, s.own(ctx, state), func(h Held) error {
			held = append(held, h)
			return nil
		}); err != nil {
			return err
		}
		copied := *state
		after = &copied
		if state.Suspect != suspect && state.Fork == nil {
			f.ask, f.cleared = true, false
		} else if verdict != Extended && verdict != Split {
			return ErrUnchanged
		}
		f.keep(state)
		if verdict != Extended {
			return nil // the headers of the other side are evidence, not part of the chain
		}
		if unknown {
			f.guess = time.Time{} // what made us ask was true, if nothing vouched for it; the next may be a change of key
		}
		for _, h := range held {
			if err := put(h); err != nil {
				return err
			}
		}
		return nil
	})
	return verdict, after, err
}
