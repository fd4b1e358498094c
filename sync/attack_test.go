package headersync

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"edgechain.example/lightchain"
)

// pair is one gateway and one aggregator on a quiet link, past their first receipt.
func pair(t *testing.T, mode Mode, blocks int) (*world, *gatewayNode, *collectorNode) {
	t.Helper()
	w := newWorld(t, 7, mode)
	w.calm0()
	g, k := w.gateways[0], w.collectors[0]
	g.start(ConfirmIfReachable)
	w.run(2 * time.Minute)
	for range blocks {
		g.chain.seal(2, w.now.UnixNano(), nil)
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
func (w *world) overheard(word string) (all []Message) {
	for _, m := range w.past {
		if _, got, _, _ := splitTopic(DefaultPrefix, m.Topic); got == word {
			all = append(all, m)
		}
	}
	return all
}

func (w *world) state(k *collectorNode) *State {
	w.t.Helper()
	s, err := k.store.load(w.gateways[0].chain.tip.Chain)
	if err != nil || s == nil {
		w.t.Fatal(err)
	}
	return s
}

// A broker's other user who repeats everything ever said makes a gateway say at most a few hellos.
func TestReplayedRequestsMakeAGatewayDoNothing(t *testing.T) {
	w, g, _ := pair(t, EveryHeader, 10)
	pulls := w.overheard(topicPull)
	welcomes := w.overheard(topicWelcome)
	if len(pulls) == 0 || len(welcomes) == 0 {
		t.Fatal("nothing was asked")
	}
	for _, restarted := range []bool{false, true} {
		if restarted { // and nobody answers the hello
			w.collectors[0].end.cut = true
			g.start(ConfirmNever)
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
	w, g, k := pair(t, EveryHeader, 3)
	for range 30 { // as many different ones as there are to repeat
		g.config.Start++
		g.start(ConfirmAlways)
		w.run(10 * time.Minute)
		g.seal()
		w.run(time.Minute)
	}
	old := w.overheard(topicHello)
	if len(old) < 30 {
		t.Fatalf("%d hellos", len(old))
	}
	forge := func() Message {
		h := Hello{Chain: g.chain.tip.Chain, Nonce: Nonce{255}, Height: g.chain.tip.Height, Hash: g.chain.tip.Hash}
		_, _ = seeded{w.rng}.Read(h.Nonce[1:])
		return Message{Topic: topic(DefaultPrefix, h.Chain, topicHello, ""), Payload: must(h.Sign(testSigner("mallory")))}
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
		g.start(ConfirmAlways)
		w.run(time.Second)
		if g.settled == nil || g.settled.Standing != Agreed {
			t.Errorf("aggregator restarted %t: the gateway's first hello settles its head as %+v", restarted, g.settled)
		}
	}
	// A card that was set back says hello with numbers that were there before.
	g.config.Start = 2
	g.start(ConfirmAlways)
	w.run(11 * time.Minute)
	if g.settled == nil {
		t.Error("a gateway whose card was set back is never welcomed")
	}
}

func TestForgedRequestsAreNotAnswered(t *testing.T) {
	w, g, k := pair(t, EveryHeader, 5)
	chain := g.chain.tip.Chain
	pull := Pull{Chain: chain, Name: "a", Sequence: 1 << 60, Most: MaxPage, Want: EveryHeader, Last: noCeiling}
	other := pull
	other.Chain = newMemChain(99).tip.Chain
	mallory, stranger := testSigner("mallory"), pull
	stranger.Name = "mallory"
	good := must(pull.Sign(k.config.Signer))
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	asHello := must(seal(mediaHello, k.config.Signer, must(unseal(mediaPull, good, maxRequest)).payload))
	before := g.end.sent
	for name, payload := range map[string][]byte{
		"another key":        must(pull.Sign(mallory)),
		"an unknown name":    must(stranger.Sign(mallory)),
		"another chain":      must(other.Sign(k.config.Signer)),
		"a flipped bit":      flipped,
		"another media type": asHello,
		"nothing":            nil,
	} {
		g.g.Receive(w.now, Message{Topic: topic(DefaultPrefix, chain, topicPull, ""), Payload: payload})
		if g.end.sent != before {
			t.Errorf("%s: answered", name)
		}
	}
	g.g.Receive(w.now, Message{Topic: topic(DefaultPrefix, chain, topicPull, ""), Payload: good})
	if g.end.sent == before {
		t.Error("the aggregator itself is not answered")
	}
}

func TestForgedReceiptsAreNotStored(t *testing.T) {
	w, g, k := pair(t, EveryHeader, 5)
	g.chain.seal(1, w.now.UnixNano(), nil)
	head := g.chain.headers[g.chain.tip.Height]
	receipted := func(h *lightchain.SignedHeader, signer lightchain.Signer, name string) []byte {
		r, err := h.Countersign(signer, name, testTime)
		if err != nil {
			t.Fatal(err)
		}
		c := *h
		c.Receipts = []lightchain.Receipt{r}
		return must(c.Encode())
	}
	resigned := *head
	resigned.Signature[0] ^= 1
	bent := *head
	r, err := head.Countersign(k.config.Signer, "a", testTime)
	if err != nil {
		t.Fatal(err)
	}
	r.Time++
	bent.Receipts = []lightchain.Receipt{r}
	stored := len(g.chain.receipts["a"])
	at := topic(DefaultPrefix, g.chain.tip.Chain, topicReceipt, "a")
	for name, payload := range map[string][]byte{
		"another key":             receipted(head, testSigner("mallory"), "a"),
		"another name":            receipted(head, k.config.Signer, "b"),
		"another signature of it": receipted(&resigned, k.config.Signer, "a"),
		"another time":            must(bent.Encode()),
		"no receipt":              must(head.Encode()),
		"another chain":           receipted(newMemChain(98).headers[0], k.config.Signer, "a"),
	} {
		g.g.Receive(w.now, Message{Topic: at, Payload: payload})
		if len(g.chain.receipts["a"]) != stored {
			t.Fatalf("%s: stored", name)
		}
	}
	g.g.Receive(w.now, Message{Topic: at, Payload: receipted(head, k.config.Signer, "a")})
	if len(g.chain.receipts["a"]) != stored+1 {
		t.Error("the aggregator's own is not stored")
	}
}

// Heads that are old, or that nobody signed, cost neither side a pull.
func TestForgedAndReplayedHeadsCostNothing(t *testing.T) {
	w, g, k := pair(t, Sparse, 8)
	before, known := w.state(k), g.end.sent
	heads := w.overheard(topicHead)
	chain := g.chain.tip.Chain
	forged := *g.chain.headers[g.chain.tip.Height]
	forged.Header.Height += 1000
	s, err := lightchain.NewSignedHeader(forged.Header, forged.HeaderSignature)
	if err != nil {
		t.Fatal(err)
	}
	heads = append(heads, Message{Topic: topic(DefaultPrefix, chain, topicHead, ""), Payload: must(s.Encode())})
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
	w, g, k := pair(t, EveryHeader, 30)
	forged := *g.chain.headers[7]
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
	page := &Pulled{Correlation: 1 << 62, Other: []*lightchain.SignedHeader{s}}
	if verdict, err := Judge(state, page, true, own, nil); verdict != Invalid || err == nil {
		t.Errorf("verdict %s: %v", verdict, err)
	}
}

// liar lets somebody else answer an aggregator's pulls: whatever the page says, the state does not move.
func TestPagesThatLieChangeNothing(t *testing.T) {
	c := newMemChain(3)
	for i := range 40 {
		var next lightchain.Signer
		if i == 20 {
			next = testSigner("second")
		}
		c.seal(uint64(1+i%3), testTime*1e9+int64(i)*60e9, next)
	}
	g, err := NewGateway(GatewayConfig{Chain: c, Receipts: c, Signer: c.signer})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(want Mode, first uint64) *Pulled {
		p := Pull{Chain: c.tip.Chain, Name: "a", First: first, Want: want, Last: noCeiling}
		if first > 0 {
			p.Below = c.nodes[nodeAt{0, first - 1}]
		}
		return must(g.page(&p, DefaultPage))
	}
	mallory := testSigner("mallory")
	malloryKey := mallory.Public()
	// A run in which a key is smuggled, and everything above it signed by its holder.
	smuggle := func() *Pulled {
		p := ask(EveryHeader, 11)
		tip := tipOf(t, c, 10)
		r := &lightchain.Run{}
		for i := range 5 {
			h := tip.Header(lightchain.EmptyRoot(), 0, testTime*1e9, lightchain.Clock{})
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
	for name, lie := range map[string]func() *Pulled{
		"a count":  func() *Pulled { p := ask(EveryHeader, 11); p.Run.Headers[3].Count++; return p },
		"a time":   func() *Pulled { p := ask(EveryHeader, 11); p.Run.Headers[3].Sealed--; return p },
		"a root":   func() *Pulled { p := ask(EveryHeader, 11); p.Run.Headers[3].Root[5] ^= 1; return p },
		"a clock":  func() *Pulled { p := ask(EveryHeader, 11); p.Run.Headers[3].Clock.Uptime++; return p },
		"a beacon": func() *Pulled { p := ask(EveryHeader, 11); p.Run.Headers[3].Beacon = new(lightchain.Hash); return p },
		"one header less": func() *Pulled {
			p := ask(EveryHeader, 11)
			p.Run.Headers = append(p.Run.Headers[:3:3], p.Run.Headers[4:]...)
			return p
		},
		"another beginning": func() *Pulled { return ask(EveryHeader, 12) },
		"a smuggled key":    smuggle,
		"a node":            func() *Pulled { p := ask(Sparse, 11); p.Consistency.Nodes[1][0] ^= 1; return p },
		"a hidden key": func() *Pulled {
			p := ask(Sparse, 11)
			p.Consistency.Keys = nil
			return p
		},
		"the head of another chain": func() *Pulled {
			o := newMemChain(4)
			for range 40 {
				o.seal(1, testTime*1e9, nil)
			}
			p := ask(Sparse, 11)
			p.Consistency.Head = o.headers[40]
			return p
		},
		"a head that nobody signed instead of ours": func() *Pulled {
			s := *c.headers[10]
			s.Header.Sealed++
			h, err := s.Header.Sign(mallory)
			if err != nil {
				t.Fatal(err)
			}
			return &Pulled{Other: []*lightchain.SignedHeader{h}}
		},
		"a second genesis": func() *Pulled { return &Pulled{Genesis: newMemChain(5).headers[0]} },
		"too much at once": func() *Pulled { p := ask(EveryHeader, 11); p.Run.First = 5; return p },
	} {
		state := &State{Chain: c.tip.Chain}
		none := func(Held) error { return nil }
		first := ask(EveryHeader, 0)
		first.Run.Headers = first.Run.Headers[:10:10]
		sig := c.headers[10].Signature
		first.Run.Headers[9].Signature = &sig
		if v, err := Judge(state, first, true, nil, none); v != Extended || err != nil {
			t.Fatal(v, err)
		}
		before := must(state.Encode())
		v, err := Judge(state, lie(), true, nil, none)
		if v == Extended || v == Split {
			t.Errorf("%s: %s %v", name, v, err)
		}
		if string(must(state.Encode())) != string(before) {
			t.Errorf("%s: the state changed", name)
		}
	}
}

func tipOf(t testing.TB, c *memChain, height uint64) *lightchain.Tip {
	t.Helper()
	tip, err := lightchain.Begin(c.headers[0])
	for h := uint64(1); err == nil && h <= height; h++ {
		err = tip.FollowOne(c.headers[h])
	}
	if err != nil {
		t.Fatal(err)
	}
	return tip
}

// Two gateways from one card make a fork; both aggregators' evidence convinces whoever knows the chain.
func TestACopiedCardShows(t *testing.T) {
	for _, mode := range []Mode{EveryHeader, Sparse} {
		w, g, k := pair(t, mode, 5)
		twin := w.addGateway(g.chain.image(), g.config.Aggregators)
		twin.start(ConfirmIfReachable)
		w.run(2 * time.Minute)
		for range 5 {
			g.seal()
			twin.chain.seal(9, w.now.UnixNano(), nil)
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
		g.chain.seal(1, w.now.UnixNano(), nil)
		g.g.Sealed()
		w.run(time.Hour)
		if w.state(k).Last != receipted {
			t.Error("a forked chain is still countersigned")
		}
	}
}

// A restored card goes on where its chain was, whichever mode it was followed in.
func TestAnOldImageIsRestored(t *testing.T) {
	for _, mode := range []Mode{EveryHeader, Sparse} {
		w, g, k := pair(t, mode, 5)
		image := g.chain.image()
		for range 60 {
			g.chain.seal(2, w.now.UnixNano(), nil)
		}
		g.g.Sealed()
		w.run(time.Hour)
		was := g.chain.tip
		g.chain = image
		g.start(ConfirmAlways)
		w.run(5 * time.Minute)
		if g.settled == nil || g.settled.Standing != Recovered || g.settled.From != 6 || g.settled.To != 65 ||
			g.settled.FirstEntry != 10 || g.settled.NextEntry != 130 || g.settled.Sparse != (mode == Sparse) {
			t.Fatalf("mode %d: settled as %+v", mode, g.settled)
		}
		if g.chain.tip.Hash != was.Hash || g.chain.tip.History.Root() != was.History.Root() || g.chain.tip.Next != was.Next {
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
	for _, mode := range []Mode{EveryHeader, Sparse} {
		w, g, k := pair(t, mode, 5)
		old := w.overheard(topicHead)
		image := g.chain.image()
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
		g.start(ConfirmNever) // it does not take its headers back
		w.run(5 * time.Minute)
		if k.behind == 0 {
			t.Errorf("mode %d: nobody is told of a gateway set back", mode)
		}
	}
}

// Whoever pretends to be an aggregator, or repeats one, restores nothing and holds nobody up.
func TestAForgedWelcomeHoldsNobodyUp(t *testing.T) {
	w, g, k := pair(t, EveryHeader, 5)
	ahead := g.chain.image()
	ahead.heard = nil
	next := ahead.seal(1, w.now.UnixNano(), nil)
	k.end.cut = true
	g.start(ConfirmIfReachable)
	w.run(time.Second)
	nonce := g.g.nonces[0].nonce
	hit := func(wel Welcome, signer lightchain.Signer) {
		wel.Chain, wel.Name = g.chain.tip.Chain, "a"
		g.g.Receive(w.now, Message{Topic: topic(DefaultPrefix, wel.Chain, topicWelcome, "a"), Payload: must(wel.Sign(signer))})
	}
	hit(Welcome{Nonce: nonce, Head: next}, testSigner("mallory"))
	hit(Welcome{Nonce: Nonce{1}, Head: next}, k.config.Signer)
	for _, m := range w.overheard(topicWelcome) {
		g.g.Receive(w.now, m)
	}
	w.run(2 * time.Minute)
	if g.settled == nil || g.settled.Standing != Unreachable {
		t.Errorf("settled as %+v", g.settled)
	}
	// An aggregator that lies: it claims a head that this chain's key did not sign.
	for _, confirm := range []ConfirmHead{ConfirmAlways} {
		g.start(confirm)
		w.run(time.Second)
		forged, err := next.Header.Sign(testSigner("mallory"))
		if err != nil {
			t.Fatal(err)
		}
		hit(Welcome{Nonce: g.g.nonces[0].nonce, Head: forged}, k.config.Signer)
		w.run(time.Hour)
		if g.settled != nil {
			t.Errorf("%s: a lie settles the head as %+v", confirm, g.settled)
		}
	}
}

// The bytes that following a gateway costs in a day stay below its budget, whatever the link does.
func TestTheDaysBudgetIsKept(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(t, 100+seed, EveryHeader)
		w.misbehave()
		w.replay, w.forge = 0, 0
		g, k := w.gateways[0], w.collectors[0]
		const budget = 20 << 10
		k.policy.BytesPerDay, k.policy.Page = budget, 16<<10
		g.start(ConfirmIfReachable)
		w.run(2 * time.Minute)
		rng := rand.New(rand.NewPCG(seed, 1))
		for range 3000 {
			g.chain.seal(uint64(1+rng.IntN(3)), w.now.UnixNano(), nil)
		}
		g.g.Sealed()
		spent := func() (bytes uint64) { // what pulling cost, seen from outside
			for _, m := range w.past {
				if _, word, _, _ := splitTopic(DefaultPrefix, m.Topic); word == topicPull || word == topicPulled {
					bytes += cost(m.Topic, m.Payload)
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
