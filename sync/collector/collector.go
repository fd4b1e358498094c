// Package collector is an aggregator's side of the protocol, for any number of gateways. It follows their chains, judges what they
// send, keeps it durably, and then countersigns.
package collector

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

// Config is what a [Collector] needs. Its functions are called from several goroutines.
type Config struct {
	Prefix string // of the topics; "" is [headersync.DefaultPrefix]
	Conn   headersync.Conn
	Store  Store
	Name   string // the aggregator's
	Signer lightchain.Signer

	// Policy says how a gateway is followed; ok is false for one that is not: an unknown one, one that waits for
	// approval. It is asked at each message.
	Policy func(chain lightchain.ChainID) (p Policy, ok bool)
	// Owns says whether a chain is this collector's, where several share a store and each chain has one owner; nil: all are.
	// What comes of others is dropped before anything else.
	Owns func(chain lightchain.ChainID) bool
	// Shift says by how much a clock that all who share the store can read is ahead of the time that messages are received
	// at, so that the numbers of pulls grow from owner to owner; nil: by nothing.
	Shift func() time.Duration
	// Clock returns the time, whole seconds since the Unix epoch, rounded down, and whether the clock is synchronised:
	// if not, nothing is countersigned.
	Clock func() (seconds uint64, synchronised bool)
	// Stranger is told of a gateway that Policy knows nothing of; nil: nobody.
	Stranger func(Stranger)
	// Notify is told what was found about a gateway; nil: nobody.
	Notify func(Finding)

	Random  io.Reader    // nil is crypto/rand
	Log     *slog.Logger // nil: silent
	Workers int          // goroutines over which [Collector.Run] divides the chains; 0 is one for each processor
}

// Stranger is a gateway that is not followed, as far as its message says. Nothing of it was checked, but that Head's
// signature or a genesis would have to follow from the chain itself.
type Stranger struct {
	Chain lightchain.ChainID
	Enrol *headersync.Enrolment    // it holds a token; see [headersync.Enrolment.Check]
	Head  *lightchain.SignedHeader // what it announced
}

// Finding is something about one gateway that was found out.
type Finding struct {
	Chain   lightchain.ChainID
	Verdict Verdict
	Height  uint64 // of the newest head known
	Fork    *lightchain.Fork
	CutOff  bool  // Lacking: not older headers are, but what shows that the chain goes on to its head
	Err     error // why a page is invalid; anybody on the broker may have sent it

	Receipt *lightchain.Receipt // this head was countersigned just now
	Spent   pace.Spent          // what following it has cost today
}

// Collector is an aggregator's side of the protocol, for any number of gateways. [Collector.Run] drives it; a test may
// call Receive and Tick instead. Both are safe for concurrent use; messages of one chain are taken one at a time.
type Collector struct {
	c       Config
	session headersync.Nonce
	shards  []*shard

	withheld withheld
	full     headersync.Overflow
	unread   pace.Seldom // that states cannot be read
}

// unreadable tells that the state of a chain cannot be read: each message of each chain finds that out.
func (k *Collector) unreadable(chain lightchain.ChainID, err error) {
	if times, tell := k.unread.Count(); tell {
		k.c.Log.Error("failed to read the state of a chain", "chain", chain, "times", times, "err", err)
	}
}

// shard is a part of the chains, divided by their hash.
type shard struct {
	c    *Collector
	in   chan headersync.Message
	wake chan struct{}

	mu        sync.Mutex // guards what follows
	followers map[lightchain.ChainID]*follower
	due       queue
}

// follower is what is remembered of one chain between messages; everything that must last is in the store.
type follower struct {
	follow   // which [step] alone changes
	chain    lightchain.ChainID
	sequence uint64 // of the newest pull
	answered uint64 // pulls up to this one are dealt with
	asked    uint64 // the newest request to restore that was answered
	withheld bool   // its head is not countersigned for want of a clock
	unsure   bool   // whether its receipt was stored is not known
	purse    purse
	loaded   bool // what lasts was read from the store

	at    time.Time // when to look again; zero: not of itself
	index int       // in the queue; -1: not there

	greeter   greeter
	guess     time.Time // no pull before this because of a newer head whose signature cannot be checked
	suspicion time.Time // no pull before this because of an older one that may be of a second history
	repeat    time.Time // no receipt is published again before this
	repeats   int8      // how often it was
	lag       time.Time // no pull before this because of a head below the one known

	// What proves nothing costs work all the same, and anybody on the broker may send it: so much of each kind is looked
	// at, and when there was more, what comes of this chain is not looked at for a while.
	noise   pace.Bucket // what was looked at and did not check
	strange pace.Bucket // pages that were not asked for, and old heads that the known keys did not sign
	old     pace.Bucket // old heads that they signed: copies, or of a second history
	same    pace.Bucket // the newest head, again

	knocks pace.Bucket // hellos that the newest key known did not sign

	// What was known when the state was read last: enough to tell what needs a look at all.
	top    uint64               // height of the newest head; 0: none is known, or the first
	key    lightchain.PublicKey // that signs next
	keyed  bool
	newest lightchain.Hash // of the newest head's announcement; zero: it was not announced
}

// New checks the configuration and returns a collector that does nothing yet.
func New(c Config) (*Collector, error) {
	if c.Prefix == "" {
		c.Prefix = headersync.DefaultPrefix
	}
	if err := errors.Join(headersync.CheckPrefix(c.Prefix), lightchain.CheckAggregatorName(c.Name)); err != nil {
		return nil, err
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.Owns == nil {
		c.Owns = func(lightchain.ChainID) bool { return true }
	}
	if c.Shift == nil {
		c.Shift = func() time.Duration { return 0 }
	}
	k := &Collector{c: c}
	if _, err := io.ReadFull(c.Random, k.session[:]); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	for range c.Workers {
		k.shards = append(k.shards, &shard{c: k, in: make(chan headersync.Message, headersync.Queued), wake: make(chan struct{}, 1), followers: make(map[lightchain.ChainID]*follower)})
	}
	return k, nil
}

// Filters returns the topics that an aggregator listens to.
func (k *Collector) Filters() []string {
	return []string{
		headersync.AnyChain(k.c.Prefix, headersync.TopicHead),
		headersync.AnyChain(k.c.Prefix, headersync.TopicHello),
		headersync.AnyChain(k.c.Prefix, headersync.TopicPulled+"/"+k.c.Name),
	}
}

// Run subscribes and serves until ctx ends.
func (k *Collector) Run(ctx context.Context) error {
	err := k.c.Conn.Subscribe(k.Filters(), k.Deliver)
	if err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	var all sync.WaitGroup
	for _, s := range k.shards {
		all.Go(func() {
			_ = headersync.Drive(ctx, s.in, s.wake,
				func(now time.Time) time.Time { return s.tick(ctx, now) },
				func(now time.Time, m headersync.Message) { s.receive(ctx, now, m) })
		})
	}
	all.Wait()
	return nil
}

// Deliver takes a message for [Collector.Run] and does not block: for one that came before its chain was this collector's.
func (k *Collector) Deliver(m headersync.Message) {
	chain, _, _, ok := headersync.SplitTopic(k.c.Prefix, m.Topic)
	if !ok {
		if m.Done != nil {
			m.Done()
		}
		return
	}
	k.full.Deliver(k.shard(chain).in, m, k.c.Log)
}

func (k *Collector) shard(chain lightchain.ChainID) *shard {
	return k.shards[(uint(chain[0])<<8|uint(chain[1]))%uint(len(k.shards))]
}

// Receive takes one message.
func (k *Collector) Receive(ctx context.Context, now time.Time, m headersync.Message) {
	chain, _, _, ok := headersync.SplitTopic(k.c.Prefix, m.Topic)
	if ok {
		k.shard(chain).receive(ctx, now, m)
	} else if m.Done != nil {
		m.Done()
	}
}

// Tick does what is due at now and returns when to call it again at the latest.
func (k *Collector) Tick(ctx context.Context, now time.Time) time.Time {
	next := now.Add(time.Hour)
	for _, s := range k.shards {
		next = pace.Earliest(next, s.tick(ctx, now))
	}
	return next
}

// Follow makes the collector look at a chain now: after its gateway was approved, or when this became its owner.
func (k *Collector) Follow(ctx context.Context, now time.Time, chain lightchain.ChainID) {
	if !k.c.Owns(chain) {
		return
	}
	s := k.shard(chain)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.follower(chain)
	s.look(ctx, now, f, announced{1, true}) // at least genesis; its page says how high the chain is
	headersync.Wake(s.wake)                 // there is something to wait for now
}

// Connected tells the collector that its connection was made again: what was under way may be lost.
func (k *Collector) Connected(ctx context.Context, now time.Time) {
	for _, s := range k.shards {
		s.mu.Lock()
		for _, f := range s.followers {
			if f.open != nil || !f.trouble.IsZero() {
				s.look(ctx, now, f, connected{})
			}
		}
		s.mu.Unlock()
		headersync.Wake(s.wake)
	}
}

// Forget drops what is remembered of a chain between messages.
func (k *Collector) Forget(chain lightchain.ChainID) {
	s := k.shard(chain)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.followers[chain]; f != nil {
		s.drop(f)
	}
}

// Retain drops what is remembered of all chains but those that keep says yes to: others have another owner now, or had
// one since, and what is stored of them is not what this collector left.
func (k *Collector) Retain(keep func(chain lightchain.ChainID) bool) {
	for _, s := range k.shards {
		s.mu.Lock()
		for chain, f := range s.followers {
			if !keep(chain) {
				s.drop(f)
			}
		}
		s.mu.Unlock()
	}
}

func (s *shard) drop(f *follower) {
	s.due.remove(f)
	s.c.release(f)
	delete(s.followers, f.chain)
}

func (s *shard) follower(chain lightchain.ChainID) *follower {
	f := s.followers[chain]
	if f == nil {
		f = &follower{
			chain: chain, index: -1, greeter: newGreeter(),
			noise:   pace.Bucket{Interval: 250 * time.Millisecond, Burst: 40},
			strange: pace.Bucket{Interval: 5 * time.Second, Burst: 10},
			old:     pace.Bucket{Interval: 10 * time.Second, Burst: 8},
			same:    pace.Bucket{Interval: time.Second, Burst: 10},
			knocks:  pace.Bucket{Interval: 250 * time.Millisecond, Burst: 40},
		}
		s.followers[chain] = f
	}
	return f
}

func (s *shard) tick(ctx context.Context, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.due) > 0 && !now.Before(s.due[0].at) {
		f := s.due[0]
		s.due.remove(f)
		s.look(ctx, now, f, looked{})
	}
	if len(s.due) == 0 {
		return now.Add(time.Hour)
	}
	return s.due[0].at
}

func (s *shard) receive(ctx context.Context, now time.Time, m headersync.Message) {
	if m.Done != nil {
		defer m.Done()
	}
	chain, word, name, ok := headersync.SplitTopic(s.c.c.Prefix, m.Topic)
	if !ok || !s.c.c.Owns(chain) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	policy, ok := s.c.c.Policy(chain)
	if !ok || policy.Introduce {
		s.stranger(chain, word, m.Payload)
	}
	if !ok {
		return
	}
	f := s.follower(chain)
	if err := s.load(ctx, f); err != nil {
		s.c.unreadable(chain, err)
		return
	}
	f.purse.spent.Add(now, 0)
	var err error
	switch {
	case word == headersync.TopicHead && name == "":
		err = s.receiveHead(ctx, now, f, m)
	case word == headersync.TopicHello && name == "":
		err = s.receiveHello(ctx, now, f, policy, m)
	case word == headersync.TopicPulled && name == s.c.c.Name:
		err = s.receivePage(ctx, now, f, policy, m)
	}
	if err != nil {
		s.c.c.Log.Debug("message refused", "topic", m.Topic, "err", err)
	}
}

// load reads what was spent today by whoever followed the chain before.
func (s *shard) load(ctx context.Context, f *follower) error {
	if f.loaded {
		return nil
	}
	state, err := s.c.c.Store.Load(ctx, f.chain)
	if err != nil {
		return err
	}
	f.recall(state)
	f.remember(state)
	return nil
}

// recall takes over what somebody stored who followed the chain before.
func (f *follower) recall(state *State) {
	if !f.loaded && state != nil {
		f.purse.spent, f.greeter.newest = state.Spent, state.Hello
	}
	f.loaded = true
}

// remember notes what tells, without the state, what needs a look.
func (f *follower) remember(state *State) {
	if state == nil || state.Head == nil {
		return
	}
	if f.key, f.keyed = state.keyAfter(state.Head.Height()); state.Head.Height() != f.top {
		f.top, f.newest = state.Head.Height(), lightchain.Hash{}
	}
}

// keep puts what is remembered, and should last, into a state that is stored for another reason.
func (f *follower) keep(state *State) {
	state.Spent, state.Hello = f.purse.spent, f.greeter.newest
}

func (s *shard) stranger(chain lightchain.ChainID, word string, payload []byte) {
	if s.c.c.Stranger == nil {
		return
	}
	unknown := Stranger{Chain: chain}
	switch word {
	case headersync.TopicHead:
		head, err := lightchain.DecodeSignedHeader(payload)
		if err != nil || head.ChainID() != chain {
			return
		}
		unknown.Head = head
	case headersync.TopicHello:
		h, _, err := headersync.DecodeHello(payload)
		if err != nil || h.Chain != chain {
			return
		}
		unknown.Enrol = h.Enrol
	default:
		return
	}
	s.c.c.Stranger(unknown)
}

// publish sends a message, counts what it costs, and reports whether it has left.
func (s *shard) publish(now time.Time, f *follower, word, name string, payload []byte, retained bool) bool {
	t := headersync.Topic(s.c.c.Prefix, f.chain, word, name)
	if err := s.c.c.Conn.Publish(t, payload, retained); err != nil {
		s.c.c.Log.Debug("not published", "topic", t, "err", err)
		return false
	}
	f.purse.spent.Add(now, pace.Cost(t, payload))
	return true
}

func (s *shard) tell(f *follower, n Finding) {
	if s.c.c.Notify != nil {
		n.Chain, n.Spent = f.chain, f.purse.spent
		s.c.c.Notify(n)
	}
}
