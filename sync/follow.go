package headersync

import (
	"context"
	"errors"
	"fmt"
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
	if state == nil {
		state = &State{Chain: f.chain}
	} else if !f.loaded {
		f.spent = state.Spent
	}
	f.loaded = true
	if state.Head != nil && state.Receipt == nil && state.Fork == nil && !policy.Introduce {
		if !s.countersign(ctx, now, f) {
			s.later(f, now.Add(clockWait))
		}
	}
	pull, ok := state.next(policy, f.announced)
	if !ok && f.doubt && state.Head != nil && state.Fork == nil {
		// Nothing is missing, but the gateway seems to have another history: its answer shows that.
		pull.First, pull.Below, ok = state.Head.Height()+1, state.Head.Head.Hash(), true
	}
	if !ok {
		return
	}
	s.pull(now, f, policy, pull)
}

// pull asks, within the day's budget: what the answer may cost at most is counted now, and what it did not cost is
// given back when it is there.
func (s *shard) pull(now time.Time, f *follower, policy Policy, pull Pull) {
	pull.Name = s.c.c.Name
	// Numbers come from the clock so that they grow over restarts and from replica to replica without being stored;
	// where they do not, the gateway's hello puts that right.
	pull.Sequence = max(f.sequence+1, uint64(max(now.UnixMicro(), 0)))
	pull.Most = policy.Page
	if pull.Most == 0 {
		pull.Most = DefaultPage
	}
	if pull.Want == Sparse {
		pull.Most = min(pull.Most, 16<<10)
	}
	answer := cost(topic(s.c.c.Prefix, f.chain, topicPulled, s.c.c.Name), nil)
	const asking = 600 // more than a pull takes
	left := f.spent.left(now, policy.BytesPerDay)
	if left < asking+answer+minPage {
		tomorrow := time.Unix((now.Unix()/86400+1)*86400, 0)
		s.later(f, tomorrow)
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
	f.reserved = pull.Most + answer
	f.spent.add(now, f.reserved)
	s.later(f, now.Add(min(pullPatience<<min(f.failures, 10), pullRest)))
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
		f.spent.add(now, cost(m.Topic, m.Payload))
		f.announced = max(f.announced, height)
		s.look(ctx, now, f)
		return nil
	}
	verdict, err := s.compareHead(ctx, f, state, head)
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
		if now.Before(f.lag) {
			break
		}
		f.lag = now.Add(lagEvery)
		fallthrough
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

// compareHead looks for a second history, and keeps the evidence. In state it leaves what was stored.
func (s *shard) compareHead(ctx context.Context, f *follower, state *State, head *lightchain.SignedHeader) (Verdict, error) {
	if state.Fork != nil {
		return Known, nil
	}
	own := func(height uint64) (*lightchain.Side, error) { return s.ownSide(ctx, state, height) }
	try := *state
	verdict, err := try.compare(head, nil, own)
	if err != nil || verdict != Split {
		return verdict, err
	}
	err = s.c.c.Store.Update(ctx, f.chain, func(now *State, _ func(Held) error) error {
		if now.Fork != nil {
			return ErrUnchanged
		}
		now.Fork, now.Spent = try.Fork, f.spent
		return nil
	})
	*state = try
	return Split, err
}

// ownSide shows the header at a height below the newest head, if every header is held there: by its own signature, or
// by its path in the next header that has one.
func (s *shard) ownSide(ctx context.Context, state *State, height uint64) (*lightchain.Side, error) {
	if state.Every == nil || height > state.Every.Height() {
		return nil, nil
	}
	side := new(lightchain.Side)
	found := errors.New("found")
	err := s.c.c.Store.Headers(ctx, state.Chain, height, state.Every.Height(), func(h Held) error {
		if h.Height == height {
			side.Leaf = lightchain.LeafHash(h.Bytes)
		}
		if h.Signature == nil {
			return nil
		}
		header, err := lightchain.DecodeHeader(h.Bytes)
		if err != nil {
			return err
		}
		if side.Head, err = lightchain.NewSignedHeader(header, *h.Signature); err != nil {
			return err
		}
		return found
	})
	if !errors.Is(err, found) {
		return nil, errors.Join(err, fmt.Errorf("header %d: %w", height, ErrUnavailable))
	}
	at := side.Head.Header.Height
	if at == height {
		return side, nil
	}
	var leaves []lightchain.Hash
	err = s.c.c.Store.Headers(ctx, state.Chain, 0, at-1, func(h Held) error {
		leaves = append(leaves, lightchain.LeafHash(h.Bytes))
		return nil
	})
	if err != nil {
		return nil, err
	}
	path, err := lightchain.ProveInclusion(lightchain.LeafNodes(leaves), at, height)
	side.Path = &path
	return side, err
}

// receivePage takes a gateway's answer.
func (s *shard) receivePage(ctx context.Context, now time.Time, f *follower, policy Policy, m Message) error {
	page, err := DecodePulled(m.Payload)
	if err != nil {
		s.tell(f, Finding{Verdict: Invalid, Err: err})
		return err
	}
	// The answer to a pull of another replica's is as good: what a page brings, it proves.
	if page.Correlation <= f.answered {
		return errOld
	}
	var (
		verdict Verdict
		after   State
	)
	err = s.c.c.Store.Update(ctx, f.chain, func(state *State, put func(Held) error) error {
		var held []Held
		if verdict, err = Judge(state, page, policy.Mode == EveryHeader, func(h Held) error {
			held = append(held, h)
			return nil
		}); err != nil {
			return err
		}
		if verdict == Lagging && state.Every != nil {
			other := page.Other[len(page.Other)-1]
			if verdict, err = state.compare(other, page.Other[:len(page.Other)-1], func(height uint64) (*lightchain.Side, error) {
				return s.ownSide(ctx, state, height)
			}); err != nil {
				return err
			}
		}
		after = *state
		if verdict != Extended && verdict != Split {
			return ErrUnchanged
		}
		state.Spent = f.spent
		if verdict == Split {
			return nil // the headers of the other side are evidence, not part of the chain
		}
		for _, h := range held {
			if err := put(h); err != nil {
				return err
			}
		}
		return nil
	})
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
	if f.waiting {
		f.spent.Bytes -= min(f.spent.Bytes, f.reserved)
	}
	f.spent.add(now, cost(m.Topic, m.Payload))
	f.waiting, f.doubt = false, false
	if verdict == Extended || verdict == Split {
		// A page that proves nothing may be somebody else's, so that the right one may still come.
		f.answered = f.sequence
	}
	s.due.remove(f)
	f.failures = 0
	if verdict == Extended {
		f.announced = max(f.announced, min(page.Head, noCeiling))
	} else {
		// What was announced is not there, or not for us: what will be announced next is believed again.
		f.announced = 0
	}
	if after.Head != nil {
		if verdict != Extended && page.Receipted != nil && *page.Receipted < after.Head.Height() {
			s.repeatReceipt(now, f, &after)
		}
		s.tell(f, Finding{Verdict: verdict, Height: after.Head.Height(), Fork: after.Fork})
	}
	s.look(ctx, now, f)
	return nil
}

// countersign issues the receipt on the newest head, which is durable, and reports whether there is one now.
//
// SPEC: time is a uint, whole seconds rounded down, read after the head was durable and before signing. An aggregator
// whose clock is not synchronised does not countersign, and none issues, for one chain, a time below its last.
func (s *shard) countersign(ctx context.Context, now time.Time, f *follower) bool {
	var issued *State
	err := s.c.c.Store.Update(ctx, f.chain, func(state *State, _ func(Held) error) error {
		issued = nil
		if state.Head == nil || state.Fork != nil || state.Receipt != nil {
			return ErrUnchanged
		}
		seconds, synchronised := s.c.c.Clock()
		if !synchronised || seconds < state.Last {
			return errClock
		}
		r, err := state.Head.Head.Countersign(s.c.c.Signer, s.c.c.Name, seconds)
		if err != nil {
			return err
		}
		state.Receipt, state.Last, state.Spent = &r, seconds, f.spent
		copied := *state
		issued = &copied
		return nil
	})
	if err != nil {
		s.c.c.Log.Warn("not countersigned", "chain", f.chain, "err", err)
		return false
	}
	if issued != nil {
		f.repeat, f.repeats = time.Time{}, 0
		s.repeatReceipt(now, f, issued)
		s.tell(f, Finding{Verdict: Extended, Height: issued.Head.Height(), Receipt: issued.Receipt})
	}
	return true
}

var errClock = errors.New("the clock is not synchronised, or stands before the last receipt's time")

// repeatReceipt publishes the receipt on the newest head: when it is new, and when the gateway seems not to have it.
func (s *shard) repeatReceipt(now time.Time, f *follower, state *State) {
	if state.Receipt == nil || state.Fork != nil || now.Before(f.repeat) {
		return
	}
	f.repeat = now.Add(min(repeatReceipt<<f.repeats, time.Hour))
	f.repeats = min(f.repeats+1, 10)
	head := *state.Head.Head
	head.Receipts = []lightchain.Receipt{*state.Receipt}
	payload, err := head.Encode()
	if err != nil {
		s.c.c.Log.Error("encoding a receipt", "err", err)
		return
	}
	s.publish(now, f, topicReceipt, s.c.c.Name, payload, true)
}
