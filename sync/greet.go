package headersync

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"edgechain/lightchain"
)

// greeter bounds what answering hellos costs, so that nobody on the broker uses up what is the gateway's own.
//
// A hello's nonce begins with a number that grows; see [Gateway.sendHello]. One above all before that the gateway's
// newest key signed is no copy. Any other is a copy, or comes from a card that was set back, or nothing vouches for
// it: these are answered more rarely, each kind for itself, and each nonce once.
type greeter struct {
	newest                 uint64 // number of the newest hello that was no copy
	fresh, proved, strange bucket
	answered               []Nonce // the last ones
}

func newGreeter() greeter {
	seldom := bucket{interval: 30 * time.Second, burst: 10}
	return greeter{fresh: bucket{interval: 5 * time.Second, burst: 10}, proved: seldom, strange: seldom}
}

// admit reports whether a hello is to be answered; proved says that a key of the chain signed it, newest that it was
// the newest known.
func (g *greeter) admit(now time.Time, nonce Nonce, proved, newest bool) error {
	if slices.Contains(g.answered, nonce) {
		return errOld
	}
	number := binary.BigEndian.Uint64(nonce[:])
	rate := &g.strange
	switch {
	case newest && number > g.newest:
		rate = &g.fresh
	case proved:
		rate = &g.proved
	}
	if !rate.take(now) {
		return errBusy
	}
	if rate == &g.fresh {
		g.newest = number
	}
	const remembered = 32
	g.answered = append(g.answered[max(0, len(g.answered)-remembered+1):], nonce)
	return nil
}

// receiveHello answers a gateway that has just started, or that does not know this aggregator's numbers.
func (s *shard) receiveHello(ctx context.Context, now time.Time, f *follower, policy Policy, m Message) error {
	h, signed, err := decodeHello(m.Payload)
	if err != nil {
		return err
	}
	if h.Chain != f.chain {
		return errStranger
	}
	state, err := s.c.c.Store.Load(ctx, f.chain)
	if err != nil {
		return err
	}
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
	newest := ok && signed.check(current)
	proved := newest || ok && current != key && signed.check(key)
	// A request of this session with a number above the last is no copy, so it is not counted among the hellos, which
	// anybody can repeat.
	if h.Restore != nil && h.Restore.Aggregator == s.c.c.Name && proved && state.Fork == nil &&
		h.Restore.Session == s.c.session && h.Restore.Sequence > f.asked && state.Head != nil && h.Height < state.Head.Height() {
		f.asked = h.Restore.Sequence
		f.purse.spent.add(now, cost(m.Topic, m.Payload))
		return s.giveBack(ctx, now, f, policy, state, h)
	}
	if err := f.greeter.admit(now, h.Nonce, proved, newest); err != nil {
		return err
	}
	f.purse.spent.add(now, cost(m.Topic, m.Payload))
	w := Welcome{Chain: f.chain, Name: s.c.c.Name, Nonce: h.Nonce, Sequence: f.sequence, Session: s.c.session, Fork: state.Fork}
	if f.sequence == 0 {
		w.Sequence = uint64(max(now.UnixMicro(), 0)) - 1
		f.sequence = w.Sequence
	}
	if state.Head != nil {
		w.Head = state.Head.Head
		for _, k := range below(state.Keys, max(1, w.Head.Header.Height))[1:] {
			if k.Header.Height > h.Height || !proved {
				w.Keys = append(w.Keys, k)
			}
		}
		w.Keys = w.Keys[max(0, len(w.Keys)-maxWelcomeKeys):]
	}
	payload, err := w.Sign(s.c.c.Signer)
	if err != nil {
		return err
	}
	s.publish(now, f, topicWelcome, s.c.c.Name, payload, false)
	// A gateway that says hello has perhaps dropped the pull that is on its way.
	if proved && (state.Head == nil || h.Height > state.Head.Height()) {
		f.announced = max(f.announced, h.Height)
	}
	if f.waiting {
		f.waiting = false
		s.due.remove(f)
	}
	if state.Head == nil {
		f.announced = max(f.announced, 1)
	}
	s.look(ctx, now, f)
	return nil
}

// giveBack sends a gateway that lost its newest headers what it needs to go on.
func (s *shard) giveBack(ctx context.Context, now time.Time, f *follower, policy Policy, state *State, h *Hello) error {
	most := min(max(h.Restore.Most, minPage), MaxPage)
	if left := f.purse.left(now, policy.BytesPerDay); left < most {
		if left < minPage {
			return errBusy
		}
		most = left
	}
	page := &Restored{Correlation: h.Restore.Sequence}
	run, err := s.heldRun(ctx, state, h, most-64)
	switch {
	case err == nil:
		page.Run = run
	case errors.Is(err, ErrUnavailable):
		page.Sparse = &SparseCopy{Head: state.Head.Head, Edge: state.Head.Edge}
	default:
		return err
	}
	payload, err := page.Encode()
	if err != nil {
		return err
	}
	s.publish(now, f, topicRestore, s.c.c.Name, payload, false)
	return nil
}

// heldRun returns headers above the gateway's. The error wraps [ErrUnavailable] where they are not held.
func (s *shard) heldRun(ctx context.Context, state *State, h *Hello, most uint64) (*lightchain.Run, error) {
	if state.Every == nil || h.Height >= state.Every.Height() {
		return nil, ErrUnavailable
	}
	var (
		headers []lightchain.RunHeader
		size    uint64
		next    = h.Height
		full    = errors.New("full")
	)
	err := s.c.c.Store.Headers(ctx, state.Chain, h.Height, state.Every.Height(), func(held Held) error {
		if held.Height != next {
			return ErrUnavailable
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
		if size += leastBytes(&header); size > most || len(headers) == lightchain.MaxRun {
			return full
		}
		headers = append(headers, lightchain.NewRunHeader(&header, held.Signature))
		return nil
	})
	if err != nil && !errors.Is(err, full) {
		return nil, err
	}
	return fitRun(h.Height+1, headers, most)
}
