package collector

import (
	"container/heap"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/pace"
	"edgechain.example/sync/synctest"
)

var (
	schedules = flag.Int("schedules", 60, "random schedules of the model test")
	firstSeed = flag.Uint64("seed", 1, "the first schedule's seed; each prints its own if it fails")
)

// world is both sides of the protocol and the link between them, in virtual time: nothing sleeps, and one seed gives
// one course of events.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	now  time.Time
	seq  int
	ends []*end
	fly  flight
	past []headersync.Message

	// The link's manners, each a share of the messages.
	drop, double, replay, forge float64
	delay                       time.Duration
	pace                        func(to *end, m headersync.Message) time.Duration // if not nil, how late a message comes
	retained                    map[string][]byte

	signed     map[uint64]map[lightchain.Hash]bool // every header that any gateway ever signed, by height
	gateways   []*gatewayNode
	collectors []*collectorNode
	trace      []string
}

// end is one program's connection.
type end struct {
	w       *world
	name    string
	filters []string
	cut     bool
	receive func(headersync.Message)
	sent    uint64 // bytes
}

func (e *end) Publish(topic string, payload []byte, retained bool) error {
	if e.cut {
		return fmt.Errorf("%s is cut off", e.name)
	}
	e.sent += pace.Cost(topic, payload)
	e.w.send(headersync.Message{Topic: topic, Payload: slices.Clone(payload)}, retained)
	return nil
}

func (e *end) Subscribe(filters []string, _ func(headersync.Message)) error {
	e.filters = filters
	return nil
}

// flying is a message on its way to one end.
type flying struct {
	at  time.Time
	seq int
	m   headersync.Message
	to  *end
}

type flight []flying

func (f flight) Len() int { return len(f) }
func (f flight) Less(i, j int) bool {
	return f[i].at.Before(f[j].at) || f[i].at.Equal(f[j].at) && f[i].seq < f[j].seq
}
func (f flight) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flight) Push(x any)   { *f = append(*f, x.(flying)) }
func (f *flight) Pop() any {
	last := (*f)[len(*f)-1]
	*f = (*f)[:len(*f)-1]
	return last
}

func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	return slices.EqualFunc(f, t, func(f, t string) bool { return f == "+" || f == t })
}

func (w *world) send(m headersync.Message, retained bool) {
	if len(m.Payload) > headersync.MaxPage {
		w.t.Errorf("a message of %d bytes on %s", len(m.Payload), m.Topic)
	}
	if retained {
		w.retained[m.Topic] = m.Payload
	}
	if w.past = append(w.past, m); len(w.past) > 400 {
		w.past = slices.Delete(w.past, 0, 100)
	}
	w.route(m)
	if w.rng.Float64() < w.replay {
		w.route(w.past[w.rng.IntN(len(w.past))])
	}
	if w.rng.Float64() < w.forge {
		old := w.past[w.rng.IntN(len(w.past))]
		payload := slices.Clone(old.Payload)
		for range 1 + w.rng.IntN(3) {
			payload[w.rng.IntN(len(payload))] ^= byte(1 << w.rng.IntN(8))
		}
		w.route(headersync.Message{Topic: old.Topic, Payload: payload})
	}
}

func (w *world) route(m headersync.Message) {
	for _, e := range w.ends {
		if !slices.ContainsFunc(e.filters, func(f string) bool { return matches(f, m.Topic) }) {
			continue
		}
		copies := 1
		if w.rng.Float64() < w.drop {
			copies = 0
		} else if w.rng.Float64() < w.double {
			copies = 2
		}
		for range copies {
			w.seq++
			late := time.Millisecond + time.Duration(w.rng.Int64N(int64(w.delay)+1))
			if w.pace != nil {
				late = w.pace(e, m)
			}
			heap.Push(&w.fly, flying{w.now.Add(late), w.seq, m, e})
		}
	}
}

// connect gives an end what is retained on its topics.
func (w *world) connect(e *end) {
	e.cut = false
	topics := make([]string, 0, len(w.retained))
	for t := range w.retained {
		topics = append(topics, t)
	}
	slices.Sort(topics)
	for _, t := range topics {
		if slices.ContainsFunc(e.filters, func(f string) bool { return matches(f, t) }) {
			w.seq++
			heap.Push(&w.fly, flying{w.now.Add(time.Millisecond), w.seq, headersync.Message{Topic: t, Payload: w.retained[t]}, e})
		}
	}
}

// gatewayNode is a gateway's program: its card, and what runs of it now.
type gatewayNode struct {
	w       *world
	end     *end
	chain   *synctest.Chain
	config  gateway.Config
	g       *gateway.Gateway
	settled *gateway.Settlement
	stopped bool // it was told that this chain cannot go on
	told    []gateway.Standing
	sparse  bool // its chain was restored from a sparse copy at some time
}

func (n *gatewayNode) start(confirm gateway.ConfirmHead) {
	n.settled, n.stopped = nil, false
	n.chain.Heard = func(height uint64, hash lightchain.Hash) {
		if n.w.signed[height] == nil {
			n.w.signed[height] = map[lightchain.Hash]bool{}
		}
		n.w.signed[height][hash] = true
	}
	c := n.config
	c.Conn, c.Chain, c.Receipts, c.Restorer, c.Signer = n.end, n.chain, n.chain, n.chain, n.chain.Signer
	c.Random, c.Confirm = synctest.Random(n.w.rng), confirm
	c.Settled = func(s gateway.Settlement) {
		n.settled = &s
		n.w.log("%s settled: %s %d-%d", n.end.name, s.Standing, s.From, s.To)
		n.sparse = n.sparse || s.Sparse
		if s.Standing == gateway.Agreed || s.Standing == gateway.Recovered {
			n.chain.Unconfirmed = false
		}
	}
	c.Notify = func(x gateway.Notice) {
		if x.Standing == "" {
			return
		}
		n.w.log("%s: %s says %s", n.end.name, x.Aggregator, x.Standing)
		n.told = append(n.told, x.Standing)
		if x.Standing == gateway.Agreed {
			n.chain.Unconfirmed = false
		}
		if !x.Standing.MaySeal() {
			n.stopped = true
		}
		if x.Fork != nil {
			if err := x.Fork.Check(n.chain.Tip.Chain); err != nil {
				n.w.t.Errorf("evidence that does not check: %v", err)
			}
		}
	}
	var err error
	if n.g, err = gateway.New(c); err != nil {
		n.w.t.Fatal(err)
	}
	n.end.receive = func(m headersync.Message) { n.g.Receive(n.w.now, m) }
	n.end.filters = n.g.Filters()
	if !n.end.cut {
		n.w.connect(n.end)
		n.g.Connected()
	}
}

func (n *gatewayNode) maySeal() bool { return n.settled != nil && n.settled.Standing.MaySeal() }

// seal adds a block, and now and then changes the key.
func (n *gatewayNode) seal() { n.sealBlock(n.w.rng.IntN(25) == 0) }

func (n *gatewayNode) sealBlock(change bool) {
	if !n.maySeal() {
		return
	}
	if n.settled.Standing == gateway.Unreachable && !slices.Contains(n.told, gateway.Agreed) {
		n.chain.Unconfirmed = true
	}
	var next lightchain.Signer
	if change {
		n.chain.Rotations++
		next = synctest.Signer(fmt.Sprint(n.end.name, n.chain.Tip.Height, n.chain.Rotations))
	}
	jitter := n.w.rng.Int64N(1e6)
	n.chain.Seal(uint64(n.w.rng.IntN(3)), n.w.now.UnixNano()+jitter, next)
	if next != nil {
		n.g.SetSigner(next)
	}
	n.g.Sealed()
}

type collectorNode struct {
	w      *world
	end    *end
	store  *memStore
	config Config
	policy Policy
	k      *Collector
	share  *share        // nil: it has the chain to itself
	skew   time.Duration // of its clock

	lacking bool // the gateway could not prove how it got from the head known to its own
	behind  int  // how often the gateway was found below the head known
}

// share is who of those that share a store owns the chain.
type share struct{ owner *collectorNode }

// lacked reports whether the gateway could not prove its way to it, or to another one that shares its store.
func (n *collectorNode) lacked() bool {
	return slices.ContainsFunc(n.w.collectors, func(k *collectorNode) bool { return k.config.Name == n.config.Name && k.lacking })
}

func (n *collectorNode) owns() bool { return n.share == nil || n.share.owner == n }

// handOver makes another one the chain's owner.
func (w *world) handOver(chain lightchain.ChainID) {
	for _, n := range w.collectors {
		if n.share == nil || n.owns() {
			continue
		}
		before := n.share.owner
		w.log("%s takes over from %s", n.end.name, before.end.name)
		n.share.owner = n
		before.k.Retain(func(lightchain.ChainID) bool { return false })
		n.k.Follow(context.Background(), w.now.Add(n.skew), chain)
		return
	}
}

func (n *collectorNode) start() {
	c := n.config
	c.Conn, c.Store, c.Random, c.Workers = n.end, n.store, synctest.Random(n.w.rng), 1
	c.Policy = func(lightchain.ChainID) (Policy, bool) { return n.policy, true }
	// A clock that is off by some seconds, now this way and now that, and unsynchronised at times.
	c.Clock = func() (uint64, bool) { return uint64(n.w.now.Unix() - n.w.rng.Int64N(40)), n.w.rng.IntN(10) > 0 }
	c.Notify = func(f Finding) {
		n.lacking = n.lacking || f.Verdict == Lacking
		if f.Verdict == Lagging {
			n.behind++
		}
		if f.Verdict == Split && f.Fork != nil {
			if err := f.Fork.Check(f.Chain); err != nil {
				n.w.t.Errorf("evidence that does not check: %v", err)
			}
		}
	}
	c.Owns = func(lightchain.ChainID) bool { return n.owns() }
	c.Shift = func() time.Duration { return -n.skew }
	var err error
	if n.k, err = New(c); err != nil {
		n.w.t.Fatal(err)
	}
	n.end.receive = func(m headersync.Message) { n.k.Receive(context.Background(), n.w.now.Add(n.skew), m) }
	n.end.filters = n.k.Filters()
	if !n.end.cut {
		n.w.connect(n.end)
	}
}

func (w *world) log(format string, args ...any) {
	w.trace = append(w.trace, w.now.UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	until := w.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 200_000 {
			w.t.Fatal("they never come to rest")
		}
		next := until
		for _, g := range w.gateways {
			next = pace.Earliest(next, g.g.Tick(w.now))
		}
		for _, k := range w.collectors {
			next = pace.Earliest(next, k.k.Tick(context.Background(), w.now.Add(k.skew)).Add(-k.skew))
		}
		if len(w.fly) > 0 {
			next = pace.Earliest(next, w.fly[0].at)
		}
		if !next.Before(until) {
			w.now = until
			w.checkWaiting()
			return
		}
		if next.After(w.now) {
			w.now = next
		} else {
			w.now = w.now.Add(time.Microsecond)
		}
		for len(w.fly) > 0 && !w.fly[0].at.After(w.now) {
			f := heap.Pop(&w.fly).(flying)
			if !f.to.cut && f.to.receive != nil {
				f.to.receive(f.m)
			}
		}
	}
}

// checkWaiting claims that whoever follows a chain of which something is missing looks again within a quarter of an hour.
func (w *world) checkWaiting() {
	w.t.Helper()
	for _, k := range w.collectors {
		if !k.owns() {
			continue
		}
		for chain, f := range k.k.shards[0].followers {
			s, err := k.k.c.Store.Load(context.Background(), chain)
			if err != nil || s == nil {
				continue
			}
			now := w.now.Add(k.skew)
			v := view{now: now, chain: chain, state: s, policy: k.policy, followed: true}
			if _, missing := f.missing(v); missing && (f.index < 0 || f.at.Sub(now) > pullRest) {
				w.t.Errorf("%s lacks headers at %s, and looks again at %s: %+v", k.end.name, w.now, f.at, f.follow)
			}
		}
	}
}

func newWorld(t *testing.T, seed uint64, modes ...headersync.Mode) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), now: time.Unix(synctest.Time, 0),
		retained: map[string][]byte{}, signed: map[uint64]map[lightchain.Hash]bool{},
	}
	var trusted []lightchain.Aggregator
	for i, mode := range modes {
		name := string(rune('a' + i))
		n := &collectorNode{w: w, end: &end{w: w, name: "aggregator " + name}, store: newMemStore(), policy: Policy{Mode: mode, LeapOver: 20}}
		n.config.Name, n.config.Signer = name, synctest.Signer("aggregator "+name)
		trusted = append(trusted, lightchain.Aggregator{Name: name, Key: n.config.Signer.Public()})
		w.collectors, w.ends = append(w.collectors, n), append(w.ends, n.end)
	}
	w.addGateway(synctest.NewChain(seed), trusted)
	for _, n := range w.collectors {
		n.start()
	}
	return w
}

func (w *world) addGateway(chain *synctest.Chain, trusted []lightchain.Aggregator) *gatewayNode {
	n := &gatewayNode{w: w, chain: chain, end: &end{w: w, name: fmt.Sprint("gateway ", len(w.gateways))}}
	n.config = gateway.Config{Terms: gateway.Terms{Aggregators: trusted, Announce: 10 * time.Second}, ConfirmWait: time.Minute}
	w.gateways, w.ends = append(w.gateways, n), append(w.ends, n.end)
	return n
}

// replicate starts a second aggregator of the same name on the same store, with a clock of its own.
func (w *world) replicate(n *collectorNode) {
	n.share = &share{owner: n}
	twin := *n
	twin.end = &end{w: w, name: n.end.name + "'"}
	twin.skew = time.Duration(w.rng.Int64N(int64(20*time.Second))) - 10*time.Second
	w.collectors, w.ends = append(w.collectors, &twin), append(w.ends, twin.end)
	twin.start()
}

// forkedAt returns the lowest height at which two different headers were signed.
func (w *world) forkedAt() (uint64, bool) {
	lowest, found := uint64(0), false
	for height, hashes := range w.signed {
		if len(hashes) > 1 && (!found || height < lowest) {
			lowest, found = height, true
		}
	}
	return lowest, found
}

// calm takes the link's bad manners away.
func (w *world) calm() {
	w.drop, w.double, w.replay, w.forge, w.delay = 0, 0, 0, 0, 50*time.Millisecond
	for _, e := range w.ends {
		if e.cut {
			w.connect(e)
		}
	}
	for _, g := range w.gateways {
		g.g.Connected()
	}
}

// check states what must hold in the end, whatever happened.
func (w *world) check() {
	w.t.Helper()
	chain := w.gateways[0].chain.Tip.Chain
	at, made := w.forkedAt()
	for _, k := range w.collectors {
		s, err := k.store.load(chain)
		if err != nil || s == nil || s.Head == nil {
			w.t.Errorf("%s knows nothing of the chain: %v", k.end.name, err)
			continue
		}
		if s.Fork != nil {
			if !made {
				w.t.Errorf("%s saw a fork that nobody made", k.end.name)
			}
			if err := s.Fork.Check(chain); err != nil {
				w.t.Errorf("%s: %v", k.end.name, err)
			}
			if s.Fork.Height() < at {
				w.t.Errorf("%s saw a fork at height %d, it was made at %d", k.end.name, s.Fork.Height(), at)
			}
			continue
		}
		for _, g := range w.gateways {
			tip := g.chain.Tip
			if s.Head.Height() == tip.Height && s.Head.Head.Hash() == tip.Hash {
				w.checkReceipts(k, g)
				continue
			}
			if g.stopped || !g.maySeal() {
				continue // what the aggregator could not see, the gateway did, and said so
			}
			if k.lacked() && g.sparse {
				continue // the proof went with the card, and no sparse copy has it: both say so
			}
			w.t.Errorf("%s (mode %d) knows header %d, the head of %s is %d (fork made: %t)",
				k.end.name, k.policy.Mode, s.Head.Height(), g.end.name, tip.Height, made)
		}
		k.checkMissed(s)
		if slices.ContainsFunc(w.gateways, func(g *gatewayNode) bool { return !g.maySeal() || g.stopped || g.sparse && k.lacked() }) {
			continue // headers may have gone with the card
		}
		if k.policy.Mode == headersync.EveryHeader && (s.Every == nil || s.Every.Height() != s.Head.Height()) {
			w.t.Errorf("%s does not hold every header", k.end.name)
		} else if k.policy.Mode == headersync.EveryHeader {
			k.checkHeaders(s)
		}
	}
}

// checkMissed claims that an aggregator which holds every header cannot hold another one than a gateway whose head it
// was shown.
func (n *collectorNode) checkMissed(s *State) {
	n.w.t.Helper()
	for _, g := range n.w.gateways {
		height := g.chain.Tip.Height
		if held, ok := n.store.headers[s.Chain][height]; ok && lightchain.LeafHash(held.Bytes) != g.chain.Tip.Hash {
			n.w.t.Errorf("%s missed the fork that the head %d of %s shows", n.end.name, height, g.end.name)
		}
	}
	// Two gateways that both were there at the end have shown both their heads, to whoever could follow one of them.
	stuck := n.lacked() && slices.ContainsFunc(n.w.gateways, func(g *gatewayNode) bool { return g.sparse })
	if len(n.w.gateways) == 2 && !stuck {
		one, other := n.w.gateways[0].chain, n.w.gateways[1].chain
		height := min(one.Tip.Height, other.Tip.Height)
		a, b := one.Nodes[synctest.NodeAt{Index: height}], other.Nodes[synctest.NodeAt{Index: height}]
		if a != b && a != (lightchain.Hash{}) && b != (lightchain.Hash{}) {
			n.w.t.Errorf("%s (mode %d) at %d missed that two gateways at %d and %d have different headers %d",
				n.end.name, n.policy.Mode, s.Head.Height(), one.Tip.Height, other.Tip.Height, height)
		}
	}
}

// checkReceipts claims that the gateway holds a receipt of the aggregator on its head, and that each it holds checks.
func (w *world) checkReceipts(k *collectorNode, g *gatewayNode) {
	w.t.Helper()
	name := k.config.Name
	if _, ok := g.chain.Receipts[name][g.chain.Tip.Height]; !ok {
		w.t.Errorf("%s has no receipt of %s on its head %d", g.end.name, name, g.chain.Tip.Height)
	}
	heights := make([]uint64, 0)
	for height := range g.chain.Receipts[name] {
		heights = append(heights, height)
	}
	slices.Sort(heights)
	last := uint64(0)
	for _, height := range heights {
		r := g.chain.Receipts[name][height]
		if err := g.chain.Headers[height].CheckReceipt(&r, k.config.Signer.Public()); err != nil {
			w.t.Error(err)
		}
		if r.Time < last {
			w.t.Errorf("the receipt on header %d is older than the one before", height)
		}
		last = r.Time
	}
}

// checkHeaders claims that the headers held are the chain.
func (n *collectorNode) checkHeaders(s *State) {
	n.w.t.Helper()
	var history lightchain.CompactRange
	for height := uint64(0); height <= s.Head.Height(); height++ {
		h, ok := n.store.headers[s.Chain][height]
		if !ok {
			n.w.t.Errorf("%s does not hold header %d", n.end.name, height)
			return
		}
		if height == s.Head.Height() && history.Root() != s.Head.Head.Header.History {
			n.w.t.Errorf("the headers that %s holds are not the history of its head", n.end.name)
		}
		history.Append(lightchain.LeafHash(h.Bytes), nil)
	}
}

// misbehave makes the link as bad as the seed says.
func (w *world) misbehave() {
	share := func() float64 {
		if w.rng.IntN(2) == 0 {
			return 0
		}
		return w.rng.Float64() * 0.4
	}
	w.drop, w.double, w.replay, w.forge = share(), share(), share(), share()
	w.delay = time.Duration(w.rng.Int64N(int64(20 * time.Second)))
}

// course plays one random schedule.
func course(t *testing.T, seed uint64) {
	modes := [][]headersync.Mode{{headersync.EveryHeader}, {headersync.Sparse}, {headersync.EveryHeader, headersync.Sparse}, {headersync.EveryHeader, headersync.EveryHeader}}[seed%4]
	w := newWorld(t, seed, modes...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, modes %v\n%s", seed, modes, strings.Join(w.trace, "\n"))
		}
	})
	g := w.gateways[0]
	if w.rng.IntN(3) == 0 {
		w.replicate(w.collectors[0])
	}
	w.misbehave()
	g.start(gateway.ConfirmIfReachable)
	var image *synctest.Chain
	for range 30 + w.rng.IntN(60) {
		for _, g := range w.gateways {
			for range w.rng.IntN(4) {
				g.seal()
			}
		}
		w.run(time.Duration(w.rng.Int64N(int64(2 * time.Minute))))
		g := w.gateways[w.rng.IntN(len(w.gateways))]
		k := w.collectors[w.rng.IntN(len(w.collectors))]
		switch w.rng.IntN(16) {
		case 0:
			w.log("%s is cut", g.end.name)
			g.end.cut = true
		case 1, 2:
			if g.end.cut {
				w.log("%s is back", g.end.name)
				w.connect(g.end)
				g.g.Connected()
			}
		case 3:
			w.log("%s is cut", k.end.name)
			k.end.cut = true
		case 4, 5:
			if k.end.cut {
				w.connect(k.end)
			}
		case 6:
			w.log("%s starts anew", k.end.name)
			k.start()
		case 7:
			w.log("%s starts anew at %d", g.end.name, g.chain.Tip.Height)
			g.start([]gateway.ConfirmHead{gateway.ConfirmAlways, gateway.ConfirmIfReachable}[w.rng.IntN(2)])
		case 8:
			w.log("image at %d", g.chain.Tip.Height)
			image = g.chain.Image()
		case 9:
			if image != nil && w.rng.IntN(2) == 0 {
				w.log("%s at %d gets the card of %d", g.end.name, g.chain.Tip.Height, image.Tip.Height)
				g.chain = image.Image()
				g.start(gateway.ConfirmIfReachable)
			}
		case 10:
			// A day's backlog at once.
			for range w.rng.IntN(60) {
				g.seal()
			}
		case 11:
			w.misbehave()
		case 12:
			w.handOver(g.chain.Tip.Chain)
			if w.rng.IntN(20) == 0 && len(w.gateways) < 2 {
				w.log("two gateways run from one card of %d", g.chain.Tip.Height)
				w.addGateway(g.chain.Image(), g.config.Aggregators).start(gateway.ConfirmIfReachable)
			}
		}
	}
	w.calm()
	w.run(30 * time.Minute)
	for range 6 {
		for _, g := range w.gateways {
			if !g.stopped {
				g.seal()
			}
		}
		w.run(3 * time.Minute)
	}
	w.run(4 * time.Hour)
	w.check()
}

func TestHeadsAgreeAndForksShowWhateverTheLinkDoes(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+uint64(*schedules); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { course(t, seed) })
	}
}
