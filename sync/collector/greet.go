package collector

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

// greeter bounds what answering hellos costs, so that nobody on the broker uses up what is the gateway's own.
//
// A hello's nonce begins with a number that grows; see [gateway.Gateway.sendHello]. One above all before that the gateway's
// newest key signed is no copy. Any other is a copy, or comes from a card that was set back, or nothing vouches for
// it: these are answered more rarely, each kind for itself, and each nonce once.
type greeter struct {
	newest                 uint64 // number of the newest hello that was no copy
	fresh, proved, strange pace.Bucket
	answered               []headersync.Nonce // the last ones
}

func newGreeter() greeter {
	seldom := pace.Bucket{Interval: 30 * time.Second, Burst: 10}
	return greeter{fresh: pace.Bucket{Interval: 5 * time.Second, Burst: 10}, proved: seldom, strange: seldom}
}

// admit reports whether a hello is to be answered; proved says that a key of the chain signed it, newest that it was
// the newest known.
func (g *greeter) admit(now time.Time, nonce headersync.Nonce, proved, newest bool) error {
	if slices.Contains(g.answered, nonce) {
		return headersync.ErrOld
	}
	number := binary.BigEndian.Uint64(nonce[:])
	rate := &g.strange
	switch {
	case newest && number > g.newest:
		rate = &g.fresh
	case proved:
		rate = &g.proved
	}
	if !rate.Take(now) {
		return headersync.ErrBusy
	}
	if rate == &g.fresh {
		g.newest = number
	}
	const remembered = 32
	g.answered = append(g.answered[max(0, len(g.answered)-remembered+1):], nonce)
	return nil
}

// receiveHello answers a gateway that has just started, or that does not know this aggregator's numbers.
func (s *shard) receiveHello(ctx context.Context, now time.Time, f *follower, policy Policy, m headersync.Message) error {
	h, signed, err := headersync.DecodeHello(m.Payload)
	if err != nil {
		return err
	}
	if h.Chain != f.chain {
		return headersync.ErrStranger
	}
	if slices.Contains(f.greeter.answered, h.Nonce) {
		return headersync.ErrOld
	}
	// What the newest key signed is looked at; what others did, and forgers, only so often, for the state is long to read.
	if !(f.keyed && signed.Check(f.key)) && !f.knocks.Take(now) {
		return headersync.ErrBusy
	}
	state, err := s.c.c.Store.Load(ctx, f.chain)
	if err != nil {
		return err
	}
	f.remember(state)
	if state == nil {
		state = &State{Chain: f.chain}
	}
	// The key that signs after the gateway's head is known up to the newest head, if the gateway is not on another
	// history, with keys of its own. Either way a welcome does no harm to anybody, and tells a gateway where it stands.
	// One that was set back below a change of key has the newest key alone.
	key, ok := state.keyAfter(h.Height)
	current := key
	if state.Head != nil && h.Height < state.Head.Height() {
		current, _ = state.keyAfter(state.Head.Height())
	}
	newest := ok && signed.Check(current)
	proved := newest || ok && current != key && signed.Check(key)
	// A request of this session with a number above the last is no copy, so it is not counted among the hellos, which
	// anybody can repeat.
	if h.Restore != nil && h.Restore.Aggregator == s.c.c.Name && proved && state.Fork == nil &&
		h.Restore.Session == s.c.session && h.Restore.Sequence > f.asked && state.Head != nil && h.Height < state.Head.Height() {
		f.asked = h.Restore.Sequence
		f.purse.spent.Add(now, pace.Cost(m.Topic, m.Payload))
		return s.giveBack(ctx, now, f, policy, state, h)
	}
	if err := f.greeter.admit(now, h.Nonce, proved, newest); err != nil {
		return err
	}
	f.purse.spent.Add(now, pace.Cost(m.Topic, m.Payload))
	if err := s.welcome(now, f, state, h, proved, 0); err != nil {
		return err
	}
	// A gateway that says hello has perhaps dropped the pull that is on its way.
	v := view{now: now, chain: f.chain, state: state, policy: policy, followed: true}
	switch {
	case state.Head == nil:
		s.turn(ctx, f, v, greeted{1})
	case proved && h.Height > state.Head.Height():
		s.turn(ctx, f, v, greeted{h.Height})
	case proved:
		s.turn(ctx, f, v, greeted{})
	default:
		s.turn(ctx, f, v, looked{})
	}
	return nil
}

// welcome tells a gateway what is known of its chain; busy, for how many seconds its request to restore is not answered.
func (s *shard) welcome(now time.Time, f *follower, state *State, h *headersync.Hello, proved bool, busy uint64) error {
	f.sequence = max(f.sequence, s.number(now)-1)
	floor := f.sequence
	if f.open != nil {
		floor = f.open.sequence - 1 // it is repeated: whether it was answered, the gateway knows
	}
	w := headersync.Welcome{
		Chain: f.chain, Name: s.c.c.Name, Nonce: h.Nonce, Sequence: floor, Session: s.c.session, Fork: state.Fork,
		Restores: f.asked, Busy: busy,
	}
	if state.Head != nil {
		w.Head = state.Head.Head
		key, _ := state.keyAfter(state.Head.Height())
		w.Key = &key
		if state.Every != nil {
			w.Held = state.Every.Height()
		}
		w.Keys = headersync.Below(state.Keys, max(1, w.Head.Header.Height))[1:]
		if proved {
			w.Keys = w.Keys[len(headersync.Below(w.Keys, h.Height+1)):]
		}
		w.Keys = w.Keys[:min(len(w.Keys), headersync.MaxWelcomeKeys)]
	}
	payload, err := w.Sign(s.c.c.Signer)
	if err != nil {
		return err
	}
	s.publish(now, f, headersync.TopicWelcome, s.c.c.Name, payload, false)
	return nil
}

// giveBack sends a gateway that lost its newest headers what it needs to go on.
//
// A sparse copy takes the headers below its head from the gateway for good, so it goes out only where they are not held
// here: neither a small page nor a budget that is used up is a reason. For these the gateway waits.
func (s *shard) giveBack(ctx context.Context, now time.Time, f *follower, policy Policy, state *State, h *headersync.Hello) error {
	page := &headersync.Restored{Correlation: h.Restore.Sequence}
	if state.Every != nil && h.Height < state.Every.Height() {
		most := min(max(h.Restore.Most, headersync.MinPage), headersync.MaxPage)
		left := f.purse.left(now, policy.BytesPerDay)
		run, err := s.heldRun(ctx, state, h, min(most, max(left, headersync.MinPage))-aroundRestored)
		if errors.Is(err, errNoEnd) { // the next signature is further up than asked: what a page may be at most holds it
			run, err = s.heldRun(ctx, state, h, headersync.MaxPage-aroundRestored)
		}
		if err != nil {
			return err
		}
		page.Run = run
	} else {
		page.Sparse = &headersync.SparseCopy{Head: state.Head.Head, Edge: state.Head.Edge}
		keys := headersync.Below(state.Keys, state.Head.Height())
		page.Sparse.Keys = keys[len(headersync.Below(keys, h.Height+1)):]
		if len(page.Sparse.Keys) > headersync.MaxSparseKeys {
			return fmt.Errorf("%d changes of key above header %d do not fit into a sparse copy, at most %d", len(page.Sparse.Keys), h.Height, headersync.MaxSparseKeys)
		}
	}
	payload, err := page.Encode()
	if err != nil {
		return err
	}
	if f.purse.left(now, policy.BytesPerDay) < pace.Cost(headersync.Topic(s.c.c.Prefix, f.chain, headersync.TopicRestore, s.c.c.Name), payload) {
		return s.welcome(now, f, state, h, true, uint64(pace.Tomorrow(now).Sub(now)/time.Second)+1)
	}
	s.publish(now, f, headersync.TopicRestore, s.c.c.Name, payload, false)
	return nil
}

const aroundRestored = 64 // bytes of a page beside its run

// errNoEnd means that no header with a signature lies within the bytes that a run may have.
var errNoEnd = errors.New("no signed header fits as a run's end")

// heldRun returns headers above the gateway's, all of which are held as far as the state says.
func (s *shard) heldRun(ctx context.Context, state *State, h *headersync.Hello, most uint64) (*lightchain.Run, error) {
	var (
		headers []lightchain.RunHeader
		size    uint64
		next    = h.Height
		full    = errors.New("full")
	)
	err := s.c.c.Store.Headers(ctx, state.Chain, h.Height, state.Every.Height(), func(held Held) error {
		if held.Height != next {
			return fmt.Errorf("header %d is missing in the store", next)
		}
		next++
		header, err := lightchain.DecodeHeader(held.Bytes)
		if err != nil {
			return err
		}
		if held.Height == h.Height {
			if lightchain.LeafHash(held.Bytes) != h.Hash {
				// It sealed on top of an older head: the announcement of its own brings the evidence.
				return errors.New("the gateway's head is not in the history that is known")
			}
			return nil
		}
		if size += headersync.LeastBytes(&header); size > most || len(headers) == lightchain.MaxRun {
			return full
		}
		headers = append(headers, lightchain.NewRunHeader(&header, held.Signature))
		return nil
	})
	if err != nil && !errors.Is(err, full) {
		return nil, err
	}
	run, err := headersync.FitRun(h.Height+1, headers, most)
	if errors.Is(err, headersync.ErrUnavailable) {
		err = errNoEnd
	}
	return run, err
}
