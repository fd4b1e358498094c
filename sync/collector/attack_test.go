package collector

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/internal/wire"
	"edgechain.example/sync/pace"
	"edgechain.example/sync/synctest"
)

// pair is one gateway and one aggregator on a quiet link, past their first receipt.
func pair(t *testing.T, mode headersync.Mode, blocks int) (*world, *gatewayNode, *collectorNode) {
	t.Helper()
	w := newWorld(t, 7, mode)
	w.calm0()
	g, k := w.gateways[0], w.collectors[0]
	g.start(gateway.ConfirmIfReachable)
	w.run(2 * time.Minute)
	for range blocks {
		g.chain.Seal(2, w.now.UnixNano(), nil)
		g.g.Sealed()
		w.run(15 * time.Second)
	}
	w.run(2 * time.Hour)
	w.check()
	if t.Failed() {
		t.FailNow()
	}
	return w, g, k
}

func (w *world) calm0() { w.delay = 10 * time.Millisecond }

// overheard returns the payloads that went over a topic's word so far.
func (w *world) overheard(word string) (all []headersync.Message) {
	for _, m := range w.past {
		if _, got, _, _ := headersync.SplitTopic(headersync.DefaultPrefix, m.Topic); got == word {
			all = append(all, m)
		}
	}
	return all
}

// hello returns the gateway's newest hello.
func (w *world) hello() *headersync.Hello {
	w.t.Helper()
	all := w.overheard(headersync.TopicHello)
	h, _, err := headersync.DecodeHello(all[len(all)-1].Payload)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// asked returns the number of the gateway's newest request to restore; 0 if there was none.
func (w *world) asked() (sequence uint64) {
	w.t.Helper()
	for _, m := range w.overheard(headersync.TopicHello) {
		h, _, err := headersync.DecodeHello(m.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		if h.Restore != nil {
			sequence = h.Restore.Sequence
		}
	}
	return sequence
}

func (w *world) state(k *collectorNode) *State {
	w.t.Helper()
	s, err := k.store.load(w.gateways[0].chain.Tip.Chain)
	if err != nil || s == nil {
		w.t.Fatal(err)
	}
	return s
}

// A broker's other user who repeats everything ever said makes a gateway say at most a few hellos.
func TestReplayedRequestsMakeAGatewayDoNothing(t *testing.T) {
	w, g, _ := pair(t, headersync.EveryHeader, 10)
	pulls := w.overheard(headersync.TopicPull)
	welcomes := w.overheard(headersync.TopicWelcome)
	if len(pulls) == 0 || len(welcomes) == 0 {
		t.Fatal("nothing was asked")
	}
	for _, restarted := range []bool{false, true} {
		if restarted { // and nobody answers the hello
			w.collectors[0].end.cut = true
			g.start(gateway.ConfirmNever)
			w.run(time.Minute)
		}
		before := g.end.sent
		for range 200 {
			for _, m := range append(pulls, welcomes...) {
				g.g.Receive(w.now, m)
				w.now = w.now.Add(10 * time.Millisecond)
			}
		}
		if sent := g.end.sent - before; sent > 8<<10 {
			t.Errorf("restarted %t: %d bytes were sent because of copies", restarted, sent)
		}
	}
}

// Whoever repeats a gateway's hellos, or makes some up, delays none of its own: not that of its next start either.
func TestReplayedAndForgedHellosDelayNobody(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 3)
	for range 30 { // as many different ones as there are to repeat
		g.config.Start++
		g.start(gateway.ConfirmAlways)
		w.run(10 * time.Minute)
		g.seal()
		w.run(time.Minute)
	}
	old := w.overheard(headersync.TopicHello)
	if len(old) < 30 {
		t.Fatalf("%d hellos", len(old))
	}
	forge := func() headersync.Message {
		h := headersync.Hello{Chain: g.chain.Tip.Chain, Nonce: headersync.Nonce{255}, Height: g.chain.Tip.Height, Hash: g.chain.Tip.Hash}
		_, _ = synctest.Random(w.rng).Read(h.Nonce[1:])
		return headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, h.Chain, headersync.TopicHello, ""), Payload: synctest.Must(h.Sign(synctest.Signer("mallory")))}
	}
	for _, restarted := range []bool{false, true} {
		if restarted {
			k.start() // and it has forgotten all but what it stored
		}
		before := k.end.sent
		for range 100 {
			for _, m := range append(old, forge()) {
				k.k.Receive(context.Background(), w.now, m)
			}
		}
		if sent := k.end.sent - before; sent > 40<<10 {
			t.Errorf("aggregator restarted %t: %d bytes were sent because of copies", restarted, sent)
		}
		g.config.Start++
		g.start(gateway.ConfirmAlways)
		w.run(time.Second)
		if g.settled == nil || g.settled.Standing != gateway.Agreed {
			t.Errorf("aggregator restarted %t: the gateway's first hello settles its head as %+v", restarted, g.settled)
		}
	}
	// A card that was set back says hello with numbers that were there before.
	g.config.Start = 2
	g.start(gateway.ConfirmAlways)
	w.run(11 * time.Minute)
	if g.settled == nil {
		t.Error("a gateway whose card was set back is never welcomed")
	}
}

func TestForgedRequestsAreNotAnswered(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 5)
	chain := g.chain.Tip.Chain
	pull := headersync.Pull{Chain: chain, Name: "a", Sequence: 1 << 60, Most: headersync.MaxPage, Want: headersync.EveryHeader, Last: headersync.NoCeiling}
	other := pull
	other.Chain = synctest.NewChain(99).Tip.Chain
	mallory, stranger := synctest.Signer("mallory"), pull
	stranger.Name = "mallory"
	good := synctest.Must(pull.Sign(k.config.Signer))
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	asHello := synctest.Must(wire.Seal(headersync.MediaHello, k.config.Signer, synctest.Must(wire.Unseal(headersync.MediaPull, good, 1<<10)).Payload))
	before := g.end.sent
	for name, payload := range map[string][]byte{
		"another key":        synctest.Must(pull.Sign(mallory)),
		"an unknown name":    synctest.Must(stranger.Sign(mallory)),
		"another chain":      synctest.Must(other.Sign(k.config.Signer)),
		"a flipped bit":      flipped,
		"another media type": asHello,
		"nothing":            nil,
	} {
		g.g.Receive(w.now, headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, chain, headersync.TopicPull, ""), Payload: payload})
		if g.end.sent != before {
			t.Errorf("%s: answered", name)
		}
	}
	g.g.Receive(w.now, headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, chain, headersync.TopicPull, ""), Payload: good})
	if g.end.sent == before {
		t.Error("the aggregator itself is not answered")
	}
}

func TestForgedReceiptsAreNotStored(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 5)
	g.chain.Seal(1, w.now.UnixNano(), nil)
	head := g.chain.Headers[g.chain.Tip.Height]
	receipted := func(h *lightchain.SignedHeader, signer lightchain.Signer, name string) []byte {
		r, err := h.Countersign(signer, name, synctest.Time)
		if err != nil {
			t.Fatal(err)
		}
		c := *h
		c.Receipts = []lightchain.Receipt{r}
		return synctest.Must(c.Encode())
	}
	resigned := *head
	resigned.Signature[0] ^= 1
	bent := *head
	r, err := head.Countersign(k.config.Signer, "a", synctest.Time)
	if err != nil {
		t.Fatal(err)
	}
	r.Time++
	bent.Receipts = []lightchain.Receipt{r}
	stored := len(g.chain.Receipts["a"])
	at := headersync.Topic(headersync.DefaultPrefix, g.chain.Tip.Chain, headersync.TopicReceipt, "a")
	for name, payload := range map[string][]byte{
		"another key":             receipted(head, synctest.Signer("mallory"), "a"),
		"another name":            receipted(head, k.config.Signer, "b"),
		"another signature of it": receipted(&resigned, k.config.Signer, "a"),
		"another time":            synctest.Must(bent.Encode()),
		"no receipt":              synctest.Must(head.Encode()),
		"another chain":           receipted(synctest.NewChain(98).Headers[0], k.config.Signer, "a"),
	} {
		g.g.Receive(w.now, headersync.Message{Topic: at, Payload: payload})
		if len(g.chain.Receipts["a"]) != stored {
			t.Fatalf("%s: stored", name)
		}
	}
	g.g.Receive(w.now, headersync.Message{Topic: at, Payload: receipted(head, k.config.Signer, "a")})
	if len(g.chain.Receipts["a"]) != stored+1 {
		t.Error("the aggregator's own is not stored")
	}
}

// Heads that are old, or that nobody signed, cost neither side a pull.
func TestForgedAndReplayedHeadsCostNothing(t *testing.T) {
	w, g, k := pair(t, headersync.Sparse, 8)
	before, known := w.state(k), g.end.sent
	heads := w.overheard(headersync.TopicHead)
	chain := g.chain.Tip.Chain
	forged := *g.chain.Headers[g.chain.Tip.Height]
	forged.Header.Height += 1000
	s, err := lightchain.NewSignedHeader(forged.Header, forged.HeaderSignature)
	if err != nil {
		t.Fatal(err)
	}
	heads = append(heads, headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, chain, headersync.TopicHead, ""), Payload: synctest.Must(s.Encode())})
	for range 300 {
		for _, m := range heads {
			k.k.Receive(context.Background(), w.now, m)
		}
		w.run(time.Second)
	}
	if after := w.state(k); after.Head.Height() != before.Head.Height() || after.Fork != nil {
		t.Error("the aggregator believes them")
	}
	if sent := g.end.sent - known; sent > 4<<10 {
		t.Errorf("the gateway sent %d bytes because of them", sent)
	}
}

// What nobody signed has no history read, which takes the longer the longer that is.
func TestForgedHeadsHaveNoHistoryRead(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 30)
	forged := *g.chain.Headers[7]
	forged.Header.Sealed++
	s, err := lightchain.NewSignedHeader(forged.Header, forged.HeaderSignature)
	if err != nil {
		t.Fatal(err)
	}
	state := w.state(k)
	own := func(height uint64, _ lightchain.Hash) (*lightchain.Side, bool, error) {
		t.Errorf("header %d is looked up", height)
		return nil, false, nil
	}
	page := &headersync.Pulled{Correlation: 1 << 62, Other: []*lightchain.SignedHeader{s}}
	if verdict, err := Judge(state, page, true, own, nil); verdict != Invalid || err == nil {
		t.Errorf("verdict %s: %v", verdict, err)
	}
}

// liar lets somebody else answer an aggregator's pulls: whatever the page says, the state does not move.
func TestPagesThatLieChangeNothing(t *testing.T) {
	c := synctest.NewChain(3)
	for i := range 40 {
		var next lightchain.Signer
		if i == 20 {
			next = synctest.Signer("second")
		}
		c.Seal(uint64(1+i%3), synctest.Time*1e9+int64(i)*60e9, next)
	}
	g, err := gateway.New(gateway.Config{Chain: c, Receipts: c, Signer: c.Signer})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(want headersync.Mode, first uint64) *headersync.Pulled {
		p := headersync.Pull{Chain: c.Tip.Chain, Name: "a", First: first, Want: want, Last: headersync.NoCeiling}
		if first > 0 {
			p.Below = c.Nodes[synctest.NodeAt{Index: first - 1}]
		}
		return synctest.Must(g.Page(&p, headersync.DefaultPage))
	}
	mallory := synctest.Signer("mallory")
	malloryKey := mallory.Public()
	// A run in which a key is smuggled, and everything above it signed by its holder.
	smuggle := func() *headersync.Pulled {
		p := ask(headersync.EveryHeader, 11)
		tip := tipOf(t, c, 10)
		r := &lightchain.Run{}
		for i := range 5 {
			h := tip.Header(lightchain.EmptyRoot(), 0, synctest.Time*1e9, lightchain.Clock{})
			if i == 1 {
				h.NextKey = &malloryKey
			}
			s, err := h.Sign(mallory)
			if err != nil {
				t.Fatal(err)
			}
			r.Add(h, &s.HeaderSignature)
			if err := tip.Extend(h, s.Hash(), nil); err != nil {
				t.Fatal(err)
			}
		}
		p.Run = r
		return p
	}
	for name, lie := range map[string]func() *headersync.Pulled{
		"a count": func() *headersync.Pulled { p := ask(headersync.EveryHeader, 11); p.Run.Headers[3].Count++; return p },
		"a time":  func() *headersync.Pulled { p := ask(headersync.EveryHeader, 11); p.Run.Headers[3].Sealed--; return p },
		"a root": func() *headersync.Pulled {
			p := ask(headersync.EveryHeader, 11)
			p.Run.Headers[3].Root[5] ^= 1
			return p
		},
		"a clock": func() *headersync.Pulled {
			p := ask(headersync.EveryHeader, 11)
			p.Run.Headers[3].Clock.Uptime++
			return p
		},
		"a beacon": func() *headersync.Pulled {
			p := ask(headersync.EveryHeader, 11)
			p.Run.Headers[3].Beacon = new(lightchain.Hash)
			return p
		},
		"one header less": func() *headersync.Pulled {
			p := ask(headersync.EveryHeader, 11)
			p.Run.Headers = append(p.Run.Headers[:3:3], p.Run.Headers[4:]...)
			return p
		},
		"another beginning": func() *headersync.Pulled { return ask(headersync.EveryHeader, 12) },
		"a smuggled key":    smuggle,
		"a node":            func() *headersync.Pulled { p := ask(headersync.Sparse, 11); p.Consistency.Nodes[1][0] ^= 1; return p },
		"a hidden key": func() *headersync.Pulled {
			p := ask(headersync.Sparse, 11)
			p.Consistency.Keys = nil
			return p
		},
		"the head of another chain": func() *headersync.Pulled {
			o := synctest.NewChain(4)
			for range 40 {
				o.Seal(1, synctest.Time*1e9, nil)
			}
			p := ask(headersync.Sparse, 11)
			p.Consistency.Head = o.Headers[40]
			return p
		},
		"a head that nobody signed instead of ours": func() *headersync.Pulled {
			s := *c.Headers[10]
			s.Header.Sealed++
			h, err := s.Header.Sign(mallory)
			if err != nil {
				t.Fatal(err)
			}
			return &headersync.Pulled{Other: []*lightchain.SignedHeader{h}}
		},
		"a second genesis": func() *headersync.Pulled { return &headersync.Pulled{Genesis: synctest.NewChain(5).Headers[0]} },
		"too much at once": func() *headersync.Pulled { p := ask(headersync.EveryHeader, 11); p.Run.First = 5; return p },
	} {
		state := &State{Chain: c.Tip.Chain}
		none := func(Held) error { return nil }
		first := ask(headersync.EveryHeader, 0)
		first.Run.Headers = first.Run.Headers[:10:10]
		sig := c.Headers[10].Signature
		first.Run.Headers[9].Signature = &sig
		if v, err := Judge(state, first, true, nil, none); v != Extended || err != nil {
			t.Fatal(v, err)
		}
		before := synctest.Must(state.Encode())
		v, err := Judge(state, lie(), true, nil, none)
		if v == Extended || v == Split {
			t.Errorf("%s: %s %v", name, v, err)
		}
		if string(synctest.Must(state.Encode())) != string(before) {
			t.Errorf("%s: the state changed", name)
		}
	}
}

func tipOf(t testing.TB, c *synctest.Chain, height uint64) *lightchain.Tip {
	t.Helper()
	tip, err := lightchain.Begin(c.Headers[0])
	for h := uint64(1); err == nil && h <= height; h++ {
		err = tip.FollowOne(c.Headers[h])
	}
	if err != nil {
		t.Fatal(err)
	}
	return tip
}

// Two gateways from one card make a fork; both aggregators' evidence convinces whoever knows the chain.
func TestACopiedCardShows(t *testing.T) {
	for _, mode := range []headersync.Mode{headersync.EveryHeader, headersync.Sparse} {
		w, g, k := pair(t, mode, 5)
		twin := w.addGateway(g.chain.Image(), g.config.Aggregators)
		twin.start(gateway.ConfirmIfReachable)
		w.run(2 * time.Minute)
		for range 5 {
			g.seal()
			twin.chain.Seal(9, w.now.UnixNano(), nil)
			twin.g.Sealed()
			w.run(time.Minute)
		}
		w.run(time.Hour)
		s := w.state(k)
		if s.Fork == nil {
			t.Fatalf("mode %d: nobody saw it", mode)
		}
		if err := s.Fork.Check(s.Chain); err != nil {
			t.Error(err)
		}
		receipted := s.Last
		g.chain.Seal(1, w.now.UnixNano(), nil)
		g.g.Sealed()
		w.run(time.Hour)
		if w.state(k).Last != receipted {
			t.Error("a forked chain is still countersigned")
		}
	}
}

// A restored card goes on where its chain was, whichever mode it was followed in.
func TestAnOldImageIsRestored(t *testing.T) {
	for _, mode := range []headersync.Mode{headersync.EveryHeader, headersync.Sparse} {
		w, g, k := pair(t, mode, 5)
		image := g.chain.Image()
		for range 60 {
			g.chain.Seal(2, w.now.UnixNano(), nil)
		}
		g.g.Sealed()
		w.run(time.Hour)
		was := g.chain.Tip
		g.chain = image
		g.start(gateway.ConfirmAlways)
		w.run(5 * time.Minute)
		if g.settled == nil || g.settled.Standing != gateway.Recovered || g.settled.From != 6 || g.settled.To != 65 ||
			g.settled.FirstEntry != 10 || g.settled.NextEntry != 130 || g.settled.Sparse != (mode == headersync.Sparse) {
			t.Fatalf("mode %d: settled as %+v", mode, g.settled)
		}
		if g.chain.Tip.Hash != was.Hash || g.chain.Tip.History.Root() != was.History.Root() || g.chain.Tip.Next != was.Next {
			t.Error("it was restored to something else")
		}
		for range 5 {
			g.seal()
			w.run(time.Minute)
		}
		w.run(time.Hour)
		if s := w.state(k); s.Fork != nil || s.Head.Height() != 70 {
			t.Errorf("mode %d: the aggregator is at %d, fork %v", mode, s.Head.Height(), s.Fork)
		}
	}
}

// An announcement that the broker kept is no reason to say that a gateway was set back; its own answer is.
func TestAGatewaySetBackShowsAndAnOldAnnouncementDoesNot(t *testing.T) {
	for _, mode := range []headersync.Mode{headersync.EveryHeader, headersync.Sparse} {
		w, g, k := pair(t, mode, 5)
		old := w.overheard(headersync.TopicHead)
		image := g.chain.Image()
		for range 5 {
			g.seal()
			w.run(time.Minute)
		}
		for range 2 { // the second time to an aggregator that has just started
			for _, m := range old {
				k.k.Receive(context.Background(), w.now, m)
				w.run(2 * time.Hour)
			}
			k.start()
		}
		if k.behind > 0 {
			t.Errorf("mode %d: old announcements are told of as a gateway set back", mode)
		}
		g.chain = image
		g.start(gateway.ConfirmNever) // it does not take its headers back
		w.run(5 * time.Minute)
		if k.behind == 0 {
			t.Errorf("mode %d: nobody is told of a gateway set back", mode)
		}
	}
}

// Whoever pretends to be an aggregator, or repeats one, restores nothing and holds nobody up.
func TestAForgedWelcomeHoldsNobodyUp(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 5)
	ahead := g.chain.Image()
	ahead.Heard = nil
	next := ahead.Seal(1, w.now.UnixNano(), nil)
	k.end.cut = true
	g.start(gateway.ConfirmIfReachable)
	w.run(time.Second)
	nonce := w.hello().Nonce
	hit := func(wel headersync.Welcome, signer lightchain.Signer) {
		wel.Chain, wel.Name = g.chain.Tip.Chain, "a"
		g.g.Receive(w.now, headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, wel.Chain, headersync.TopicWelcome, "a"), Payload: synctest.Must(wel.Sign(signer))})
	}
	hit(headersync.Welcome{Nonce: nonce, Head: next}, synctest.Signer("mallory"))
	hit(headersync.Welcome{Nonce: headersync.Nonce{1}, Head: next}, k.config.Signer)
	for _, m := range w.overheard(headersync.TopicWelcome) {
		g.g.Receive(w.now, m)
	}
	w.run(2 * time.Minute)
	if g.settled == nil || g.settled.Standing != gateway.Unreachable {
		t.Errorf("settled as %+v", g.settled)
	}
	// An aggregator that lies: it claims a head that this chain's key did not sign.
	for _, confirm := range []gateway.ConfirmHead{gateway.ConfirmAlways} {
		g.start(confirm)
		w.run(time.Second)
		forged, err := next.Header.Sign(synctest.Signer("mallory"))
		if err != nil {
			t.Fatal(err)
		}
		hit(headersync.Welcome{Nonce: w.hello().Nonce, Head: forged}, k.config.Signer)
		w.run(time.Hour)
		if g.settled != nil {
			t.Errorf("%s: a lie settles the head as %+v", confirm, g.settled)
		}
	}
}

// The bytes that following a gateway costs in a day stay below its budget, whatever the link does.
func TestTheDaysBudgetIsKept(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(t, 100+seed, headersync.EveryHeader)
		w.misbehave()
		w.replay, w.forge = 0, 0
		g, k := w.gateways[0], w.collectors[0]
		const budget = 20 << 10
		k.policy.BytesPerDay, k.policy.Page = budget, 16<<10
		g.start(gateway.ConfirmIfReachable)
		w.run(2 * time.Minute)
		rng := rand.New(rand.NewPCG(seed, 1))
		for range 3000 {
			g.chain.Seal(uint64(1+rng.IntN(3)), w.now.UnixNano(), nil)
		}
		g.g.Sealed()
		spent := func() (bytes uint64) { // what pulling cost, seen from outside
			for _, m := range w.past {
				if _, word, _, _ := headersync.SplitTopic(headersync.DefaultPrefix, m.Topic); word == headersync.TopicPull || word == headersync.TopicPulled {
					bytes += pace.Cost(m.Topic, m.Payload)
				}
			}
			w.past = nil
			return bytes
		}
		w.now = time.Unix((w.now.Unix()/86400+1)*86400, 0)
		spent()
		for day := range 3 {
			w.run(24*time.Hour - time.Second)
			if n := spent(); n > budget {
				t.Errorf("seed %d: day %d cost %d bytes of %d", seed, day, n, budget)
			}
			if s := w.state(k); day > 0 && s.Spent.Bytes == 0 && s.Every.Height() < 3000 {
				t.Errorf("seed %d: nothing is spent, and nothing comes", seed)
			}
			w.run(time.Second)
		}
	}
}

// A key that comes back is not followed: a proof that leaves out the changes between would look like another history, and an honest
// aggregator would have countersigned both.
func TestNoKeyComesBack(t *testing.T) {
	for about, want := range map[string]headersync.Mode{"every header": headersync.EveryHeader, "heads alone": headersync.Sparse} {
		c := synctest.NewChain(3)
		first := c.Signer
		for i, next := range []lightchain.Signer{nil, synctest.Signer("second"), nil, first, nil} {
			c.Seal(1, synctest.Time*1e9+int64(i)*60e9, next)
		}
		g, err := gateway.New(gateway.Config{Chain: c, Receipts: c, Signer: c.Signer})
		if err != nil {
			t.Fatal(err)
		}
		state := &State{Chain: c.Tip.Chain}
		var last error
		for range 4 {
			p := headersync.Pull{Chain: c.Tip.Chain, Name: "a", Want: want, Last: headersync.NoCeiling}
			if state.Head != nil {
				p.First = state.Head.Height() + 1
				p.Below = c.Nodes[synctest.NodeAt{Index: p.First - 1}]
			}
			page := synctest.Must(g.Page(&p, headersync.DefaultPage))
			var v Verdict
			if v, last = Judge(state, page, want == headersync.EveryHeader, nil, func(Held) error { return nil }); v == Invalid {
				break
			}
		}
		if last == nil || !strings.Contains(last.Error(), "no key comes back") || state.Head != nil && state.Head.Height() > 3 {
			t.Errorf("%s: %v", about, last)
		}
	}
}
