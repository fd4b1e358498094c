package collector

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

const (
	guessEvery    = 10 * time.Minute // pulls because of newer heads that cannot be checked, and because of older ones
	repeatReceipt = 20 * time.Second // doubled each time: anybody can repeat the head that asks for it
	lagEvery      = time.Hour
)

// see returns what is known of a chain now. Its state is nil where that cannot be read.
func (s *shard) see(ctx context.Context, now time.Time, f *follower) view {
	v := view{now: now, chain: f.chain}
	if !s.c.c.Owns(f.chain) {
		return v
	}
	if v.policy, v.followed = s.c.c.Policy(f.chain); !v.followed {
		return v
	}
	state, err := s.c.c.Store.Load(ctx, f.chain)
	if err != nil {
		s.c.unreadable(f.chain, err)
		return v
	}
	f.recall(state)
	v.state = state
	f.remember(state)
	if state == nil {
		v.state = &State{Chain: f.chain}
	}
	return v
}

// look does what a chain needs by now.
func (s *shard) look(ctx context.Context, now time.Time, f *follower, e any) {
	v := s.see(ctx, now, f)
	if v.followed && v.state == nil {
		e = troubled{}
	}
	s.turn(ctx, f, v, e)
}

// turn tells a chain's machine what happened, does what it asks for, tells it what came of that, and has the chain looked at
// again when it says. Nothing else sets that time.
func (s *shard) turn(ctx context.Context, f *follower, v view, e any) {
	s.ensure(ctx, f, v)
	var a actions
	f.follow, a = step(f.follow, v, e)
	if a.countersign {
		after, signed := s.countersign(ctx, v.now, f)
		if !signed {
			f.follow = f.after(v, clockless{})
		} else if after != nil {
			v.state = after
		}
	}
	switch {
	case a.pull != nil:
		f.follow = f.after(v, s.pull(ctx, f, v, *a.pull))
	case a.repeat:
		f.follow = f.after(v, s.pullAgain(f, v))
	}
	at := f.deadline(v)
	if v.followed && v.state != nil && at.IsZero() {
		if _, missing := f.missing(v); missing {
			panic("a chain lacks headers, and nobody waits for them")
		}
	}
	s.later(f, at)
}

// later has a chain looked at again at a time, and at no other; zero: not at all.
func (s *shard) later(f *follower, at time.Time) { s.due.put(f, at) }

const (
	asking     = 600 // bytes: more than a pull takes
	receipting = 900 // bytes: more than a head with its receipt takes
)

// pull asks, within the day's budget, and returns what came of it.
func (s *shard) pull(ctx context.Context, f *follower, v view, pull headersync.Pull) any {
	pull.Name = s.c.c.Name
	// Numbers come from a clock so that they grow over restarts and from owner to owner without being stored;
	// where they do not, the gateway's hello puts that right.
	pull.Sequence = max(f.sequence+1, s.number(v.now))
	answer := pace.Cost(headersync.Topic(s.c.c.Prefix, f.chain, headersync.TopicPulled, s.c.c.Name), nil)
	left := f.purse.left(v.now, v.policy.BytesPerDay)
	if left < asking+answer+headersync.MinPage+receipting {
		return broke{}
	}
	pull.Most = min(pageFor(v.policy, &pull, f), left-asking-answer-receipting)
	payload, err := pull.Sign(s.c.c.Signer)
	if err != nil {
		s.c.c.Log.Error("failed to sign a pull", "err", err)
		return troubled{}
	}
	f.sequence = pull.Sequence
	if err := s.charge(ctx, v.now, f, v.policy, asking+pull.Most+answer); err != nil {
		s.c.c.Log.Warn("failed to store the cost of a pull: what is missing is not asked for", "chain", f.chain, "err", err)
		return troubled{}
	}
	if !s.publish(v.now, f, headersync.TopicPull, "", payload, false) {
		return unsent{}
	}
	f.purse.reserve(v.now, pull.Sequence, pull.Most+answer)
	return sent{question{
		sequence: pull.Sequence, payload: payload, most: pull.Most, sent: v.now, until: v.now.Add(f.patience(f.chain, pull.Most, 1)), tries: 1,
		suspect: v.state.Suspect != nil && pull.Below == v.state.Suspect.Leaf,
	}}
}

// charge stores what something may cost before it is sent, where there is a budget: whoever owns the chain next, after a crash
// too, knows of it.
func (s *shard) charge(ctx context.Context, now time.Time, f *follower, policy Policy, bytes uint64) error {
	if policy.BytesPerDay == 0 || policy.Introduce {
		return nil
	}
	return s.c.c.Store.Update(ctx, f.chain, func(state *State, _ func(Held) error) error {
		f.keep(state)
		state.Spent.Add(now, bytes)
		return nil
	})
}

// number is that of a pull by the clock.
func (s *shard) number(now time.Time) uint64 {
	return uint64(max(now.Add(s.c.c.Shift()).UnixMicro(), 1))
}

// pullAgain repeats the open question. A gateway answers each number once, so nothing more is counted for its page.
func (s *shard) pullAgain(f *follower, v view) any {
	if f.purse.left(v.now, v.policy.BytesPerDay) < asking {
		return broke{}
	}
	if !s.publish(v.now, f, headersync.TopicPull, "", f.open.payload, false) {
		return unsent{}
	}
	return sent{f.repeated(v)}
}

// pageFor returns how many bytes the page may have that answers a pull: enough for what is missing as far as is known,
// since all of it counts until the page is there.
func pageFor(policy Policy, pull *headersync.Pull, f *follower) uint64 {
	const (
		proof   = 8 << 10
		beside  = 4 << 10 // what a page has beside its headers
		aHeader = 256     // several times what one usually takes
	)
	page := policy.Page
	if page == 0 {
		page = headersync.DefaultPage
	}
	switch last := min(pull.Last, f.announced); {
	case f.whole:
	case pull.Want == headersync.Sparse:
		page = min(page, proof)
	case last >= pull.First:
		if last-pull.First < page/aHeader {
			page = min(page, beside+(last-pull.First+1)*aHeader)
		}
		if policy.BytesPerDay == 0 { // else a page that is lost, and that its gateway sent, is better a rare one
			page = max(page>>f.misses, min(page, beside))
		}
	default:
		page = min(page, proof) // what it has instead, with its keys
	}
	return page
}

// receiveHead takes an announcement. Heads are how an aggregator learns that there is something to ask for; one that
// continues the head known is all there is to ask for, and one that is not above it is looked at for a second history.
//
// What is cheap comes first: a signature before the history that is held.
func (s *shard) receiveHead(ctx context.Context, now time.Time, f *follower, m headersync.Message) error {
	sum := lightchain.Hash(sha256.Sum256(m.Payload))
	switch {
	case !f.noise.Ready(now), sum == f.newest && !f.same.Ready(now):
		return headersync.ErrBusy
	}
	head, err := lightchain.DecodeSignedHeader(m.Payload)
	if err == nil && (head.ChainID() != f.chain || len(head.Receipts) > 0) {
		err = errors.New("not a head of this chain")
	}
	if err != nil {
		f.noise.Take(now)
		return err
	}
	if head.Header.Height <= f.top && sum != f.newest && !f.old.Ready(now) {
		return headersync.ErrBusy // all that can be said of it was said of others
	}
	v := s.see(ctx, now, f)
	if !v.followed || v.state == nil {
		s.turn(ctx, f, v, troubled{})
		return nil
	}
	known, height := v.state.Head, head.Header.Height
	if known == nil {
		return s.guess(ctx, f, v, max(height, 1))
	}
	key, _ := v.state.keyAfter(max(height, 1) - 1)
	switch {
	case head.Hash() == known.Head.Hash() && head.Signature == known.Head.Signature:
		f.newest = sum
		f.same.Take(now)
		s.turn(ctx, f, v, looked{})
		s.repeatReceipt(ctx, f, v)
		return nil
	case head.Check(key) == nil:
		if height > known.Height() {
			f.purse.spent.Add(now, pace.Cost(m.Topic, m.Payload))
			s.announce(ctx, f, v, head)
			return nil
		}
		if !f.old.Take(now) {
			return headersync.ErrBusy
		}
	default:
		f.noise.Take(now)
		// Whoever is not the gateway cannot make it answer pulls. A head whose key is not known may have a later one, which
		// only a pull can show; that is believed rarely. The one that signs next is known.
		if height == known.Height()+1 {
			return errUnsigned
		}
		if height > known.Height() {
			return s.guess(ctx, f, v, height)
		}
		if !f.strange.Take(now) {
			return headersync.ErrBusy
		}
	}
	return s.receiveOld(ctx, f, v, head)
}

// announce takes a newer head, which the key known signed.
func (s *shard) announce(ctx context.Context, f *follower, v view, head *lightchain.SignedHeader) {
	height := head.Header.Height
	whole := v.policy.Mode != headersync.EveryHeader || v.state.Every != nil && v.state.Every.Height() == v.state.Head.Height()
	// Where the day's bytes are used up, a head waits for another day as a page would.
	broke := f.purse.left(v.now, v.policy.BytesPerDay) < receipting
	if height != v.state.Head.Height()+1 || !whole || v.policy.Introduce || broke {
		s.turn(ctx, f, v, announced{height, true})
		return
	}
	h := head.Header
	page := &headersync.Pulled{Head: height, Run: &lightchain.Run{First: height, Headers: []lightchain.RunHeader{lightchain.NewRunHeader(&h, &head.HeaderSignature)}}}
	verdict, after, _, err := s.judge(ctx, f, v.policy, page)
	if err != nil || verdict != Extended {
		s.turn(ctx, f, v, announced{height, true}) // of another history perhaps: the gateway's answer shows that
		return
	}
	v.state = after
	s.tell(f, Finding{Verdict: verdict, Height: height})
	s.turn(ctx, f, v, continued{height})
}

// receiveOld takes a head that is not above the one known, nor it.
func (s *shard) receiveOld(ctx context.Context, f *follower, v view, head *lightchain.SignedHeader) error {
	verdict, asks, err := s.compareHead(ctx, v.now, f, v.state, head)
	e := doubted{suspect: asks}
	switch {
	case verdict == Invalid:
		// It is another header than ours, and no key that we know signed it: forged, or of another history that went on
		// with a key of its own. That costs a pull to find out.
		if v.now.Before(f.suspicion) {
			return errors.Join(err, headersync.ErrBusy)
		}
		f.suspicion, e.doubt = v.now.Add(guessEvery), true
	case err != nil:
		return err
	case verdict == Lagging && f.open == nil && !v.now.Before(f.lag):
		// The broker kept an announcement that the page had overtaken, or somebody repeats one: only the gateway's answer
		// says where it stands.
		f.lag, e.doubt = v.now.Add(lagEvery), true
	case verdict == Split:
		s.tell(f, Finding{Verdict: verdict, Height: v.state.Head.Height(), Fork: v.state.Fork})
	}
	if e == (doubted{}) {
		s.turn(ctx, f, v, looked{})
	} else {
		s.turn(ctx, f, v, e)
	}
	return err
}

// guess acts on what nothing vouches for, rarely.
func (s *shard) guess(ctx context.Context, f *follower, v view, height uint64) error {
	if v.now.Before(f.guess) {
		return headersync.ErrBusy
	}
	f.guess = v.now.Add(guessEvery)
	s.turn(ctx, f, v, announced{height, false})
	return nil
}

// receivePage takes a gateway's answer.
func (s *shard) receivePage(ctx context.Context, now time.Time, f *follower, policy Policy, m headersync.Message) error {
	number, ok := headersync.PageNumber(m.Payload)
	if !ok {
		return errors.New("not a page")
	}
	bytes := pace.Cost(m.Topic, m.Payload)
	awaited, first := f.purse.awaits(number, uint64(len(m.Payload)))
	// Only what was asked for here, lately, is looked at: an answer to whoever owned the chain before would move the state
	// under the answer to ours. One that comes after another answer may be that of a second gateway with the same chain:
	// evidence counts whenever it comes. But anybody may send these, so there are few.
	if !f.purse.knows(number) {
		return headersync.ErrUnasked
	}
	late := number <= f.answered
	if late {
		f.purse.arrived(now, number, bytes, false)
	}
	awaited = awaited && !late
	if awaited && !f.noise.Ready(now) || !awaited && !f.strange.Take(now) {
		return headersync.ErrBusy
	}
	page, err := headersync.DecodePulled(m.Payload)
	if err != nil {
		f.noise.Take(now)
		if awaited {
			s.tell(f, Finding{Verdict: Invalid, Err: err})
		}
		return err
	}
	if late && page.Other == nil {
		return headersync.ErrOld
	}
	verdict, state, suspect, err := s.judge(ctx, f, policy, page)
	if verdict == Invalid {
		// Anybody on the broker may have sent it, so the right page may still come.
		f.noise.Take(now)
		if awaited {
			s.tell(f, Finding{Verdict: Invalid, Err: err})
		}
		return err
	}
	v := view{now: now, chain: f.chain, state: state, policy: policy, followed: true}
	if err != nil {
		v.state = nil
		s.turn(ctx, f, v, troubled{})
		return err
	}
	proved := verdict == Extended || verdict == Split
	if !late && (proved || awaited && first) { // what somebody repeats is not the gateway's cost
		f.purse.arrived(now, number, bytes, proved)
	}
	if !proved && !(awaited && first) {
		f.noise.Take(now)
		if suspect {
			s.turn(ctx, f, v, doubted{suspect: true})
		}
		return nil
	}
	if proved {
		// A page that proves nothing may be somebody else's, so that the right one may still come.
		f.answered = f.sequence
		if f.guessed {
			f.guess = time.Time{} // what made us ask was true, if nothing vouched for it; the next may be a change of key
		}
	}
	e := answered{sequence: number, verdict: verdict, head: page.Head, suspect: suspect, bytes: len(m.Payload)}
	if c := page.Consistency; c != nil && state.Suspect != nil {
		// It goes on from the suspect, which is of this history then. That may be somebody else's word; another header of
		// that height is evidence even so, whenever it comes.
		e.clears = verdict == Known && c.From == headersync.Placed(state.Suspect)+1
	}
	if state.Head != nil {
		if verdict != Extended && page.Receipted != nil && *page.Receipted < state.Head.Height() {
			s.repeatReceipt(ctx, f, v)
		}
		cutOff := verdict == Lacking && page.Head > state.Head.Height()
		s.tell(f, Finding{Verdict: verdict, Height: state.Head.Height(), Fork: state.Fork, CutOff: cutOff})
	} else if verdict == Lacking {
		s.tell(f, Finding{Verdict: verdict, CutOff: true})
	}
	s.turn(ctx, f, v, e)
	return nil
}

// judge finds out what a page means, stores that, and returns the state as it is then.
// suspect says that it brought a new one.
func (s *shard) judge(ctx context.Context, f *follower, policy Policy, page *headersync.Pulled) (verdict Verdict, after *State, suspect bool, err error) {
	err = s.c.c.Store.Update(ctx, f.chain, func(state *State, put func(Held) error) error {
		var held []Held
		before := state.Suspect
		if verdict, err = Judge(state, page, policy.Mode == headersync.EveryHeader, s.own(ctx, state), func(h Held) error {
			held = append(held, h)
			return nil
		}); err != nil {
			return err
		}
		copied := *state
		after = &copied
		if suspect = state.Suspect != before && state.Fork == nil; !suspect && verdict != Extended && verdict != Split {
			return ErrUnchanged
		}
		f.keep(state)
		if verdict != Extended {
			return nil // the headers of the other side are evidence, not part of the chain
		}
		for _, h := range held {
			if err := put(h); err != nil {
				return err
			}
		}
		return nil
	})
	return verdict, after, suspect, err
}
