package collector

import (
	"context"
	"errors"
	"sync"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

// countersign issues the receipt on the newest head, which is durable, and reports whether there is one now, with the state
// as it is then.
//
// SPEC: time is a uint, whole seconds rounded down, read after the head was durable and before signing. An aggregator
// whose clock is not synchronised does not countersign, and none issues, for one chain, a time below its last.
func (s *shard) countersign(ctx context.Context, now time.Time, f *follower) (after *State, signed bool) {
	var issued *State
	var payload []byte
	err := s.c.c.Store.Update(ctx, f.chain, func(state *State, _ func(Held) error) error {
		issued, after = nil, state
		if state.Head == nil || state.Fork != nil || state.Receipt != nil {
			return ErrUnchanged
		}
		seconds, synchronised := s.c.c.Clock()
		if !synchronised {
			return errClock
		}
		if seconds < state.Last {
			return errBehind
		}
		r, err := state.Head.Head.Countersign(s.c.c.Signer, s.c.c.Name, seconds)
		if err != nil {
			return err
		}
		state.Receipt, state.Last = &r, seconds
		if payload, err = receipted(state); err != nil {
			return err
		}
		f.keep(state)
		state.Spent.Add(now, s.receiptCost(f, payload))
		copied := *state
		issued = &copied
		return nil
	})
	switch {
	case errors.Is(err, errClock), errors.Is(err, errBehind), errors.Is(err, ErrWithheld):
		s.c.withhold(f, err)
		return nil, false
	case err != nil:
		f.unsure = true
		s.c.c.Log.Warn("failed to countersign", "chain", f.chain, "err", err)
		return nil, false
	}
	f.unsure = false
	s.c.release(f)
	if issued != nil {
		f.repeat, f.repeats = time.Time{}, 0
		s.publishReceipt(now, f, payload)
		s.tell(f, Finding{Verdict: Extended, Height: issued.Head.Height(), Receipt: issued.Receipt})
	}
	return after, true
}

// ErrWithheld is what [Store.Update] returns where it will not store a receipt now: the head waits, and is tried again.
var ErrWithheld = errors.New("no receipt is stored")

var (
	errClock  = errors.New("the clock is not synchronised")
	errBehind = errors.New("the clock stands before the time of the chain's last receipt")
)

// withheld counts the heads that are not countersigned for want of a clock that is right, or of a store that keeps receipts.
type withheld struct {
	mu    sync.Mutex
	now   int // guarded by mu
	since int // guarded by mu: heads since the first of those
}

// Withheld returns how many heads are not countersigned because this machine's clock, or the store, is not fit for it.
func (k *Collector) Withheld() int {
	k.withheld.mu.Lock()
	defer k.withheld.mu.Unlock()
	return k.withheld.now
}

// withhold counts a chain's head, and says so in the log if it is the first.
func (k *Collector) withhold(f *follower, why error) {
	if f.withheld {
		return
	}
	f.withheld = true
	w := &k.withheld
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now == 0 {
		k.c.Log.Warn("failed to countersign: no head is countersigned until this is put right", "err", why)
	}
	w.now++
	w.since++
}

// release takes a chain's head out of the count, and says so in the log if it was the last.
func (k *Collector) release(f *follower) {
	if !f.withheld {
		return
	}
	f.withheld = false
	w := &k.withheld
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now--; w.now == 0 {
		k.c.Log.Info("heads are countersigned again", "waited", w.since)
		w.since = 0
	}
}

// ensure publishes a receipt of which it was not known whether it was stored, once it can be seen that it was.
func (s *shard) ensure(ctx context.Context, f *follower, v view) {
	if f.unsure && v.followed && v.state != nil && v.state.Receipt != nil {
		f.unsure, f.repeat, f.repeats = false, time.Time{}, 0
		s.c.release(f)
		s.repeatReceipt(ctx, f, v)
	}
}

// repeatReceipt publishes the receipt on the newest head again, when the gateway seems not to have it.
func (s *shard) repeatReceipt(ctx context.Context, f *follower, v view) {
	if v.state.Receipt == nil || v.state.Fork != nil || v.now.Before(f.repeat) || f.purse.left(v.now, v.policy.BytesPerDay) < receipting {
		return
	}
	payload, err := receipted(v.state)
	if err == nil {
		err = s.charge(ctx, v.now, f, v.policy, s.receiptCost(f, payload))
	}
	if err != nil {
		s.c.c.Log.Error("failed to repeat a receipt", "chain", f.chain, "err", err)
		return
	}
	s.publishReceipt(v.now, f, payload)
}

// receipted returns the newest head with its receipt as it travels.
func receipted(state *State) ([]byte, error) {
	head := *state.Head.Head
	head.Receipts = []lightchain.Receipt{*state.Receipt}
	return head.Encode()
}

func (s *shard) receiptCost(f *follower, payload []byte) uint64 {
	return pace.Cost(headersync.Topic(s.c.c.Prefix, f.chain, headersync.TopicReceipt, s.c.c.Name), payload)
}

func (s *shard) publishReceipt(now time.Time, f *follower, payload []byte) {
	if s.publish(now, f, headersync.TopicReceipt, s.c.c.Name, payload, true) {
		f.repeat = now.Add(min(repeatReceipt<<f.repeats, time.Hour))
		f.repeats = min(f.repeats+1, 10)
	}
}
