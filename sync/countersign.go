package headersync

import (
	"context"
	"errors"
	"sync"
	"time"

	"edgechain.example/lightchain"
)

// countersign issues the receipt on the newest head, which is durable, and reports whether there is one now, with the state
// as it is then.
//
// SPEC: time is a uint, whole seconds rounded down, read after the head was durable and before signing. An aggregator
// whose clock is not synchronised does not countersign, and none issues, for one chain, a time below its last.
func (s *shard) countersign(ctx context.Context, now time.Time, f *follower) (after *State, signed bool) {
	var issued *State
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
		f.keep(state)
		copied := *state
		issued = &copied
		return nil
	})
	switch {
	case errors.Is(err, errClock), errors.Is(err, errBehind), errors.Is(err, ErrWithheld):
		s.c.withhold(f, err)
		return nil, false
	case err != nil:
		s.c.c.Log.Warn("not countersigned", "chain", f.chain, "err", err)
		return nil, false
	}
	s.c.release(f)
	if issued != nil {
		f.repeat, f.repeats = time.Time{}, 0
		s.repeatReceipt(now, f, issued)
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
		k.c.Log.Warn("heads are not countersigned until this is put right", "err", why)
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

// repeatReceipt publishes the receipt on the newest head: when it is new, and when the gateway seems not to have it.
func (s *shard) repeatReceipt(now time.Time, f *follower, state *State) {
	if state.Receipt == nil || state.Fork != nil || now.Before(f.repeat) {
		return
	}
	head := *state.Head.Head
	head.Receipts = []lightchain.Receipt{*state.Receipt}
	payload, err := head.Encode()
	if err != nil {
		s.c.c.Log.Error("encoding a receipt", "err", err)
		return
	}
	if s.publish(now, f, topicReceipt, s.c.c.Name, payload, true) {
		f.repeat = now.Add(min(repeatReceipt<<f.repeats, time.Hour))
		f.repeats = min(f.repeats+1, 10)
	}
}
