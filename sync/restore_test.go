package headersync

import (
	"fmt"
	"testing"
	"time"

	"edgechain.example/lightchain"
)

// grow has a gateway's chain grow by n headers at once, each with a change of key if keys says so, and the aggregator
// follow it.
func grow(t *testing.T, w *world, g *gatewayNode, k *collectorNode, n int, keys bool) {
	t.Helper()
	for i := range n {
		var next lightchain.Signer
		if keys {
			next = testSigner(fmt.Sprint("change ", g.chain.tip.Height, i))
		}
		g.chain.seal(2, w.now.UnixNano(), next)
	}
	g.g.SetSigner(g.chain.signer)
	g.chain.seal(1, w.now.UnixNano(), nil)
	g.g.Sealed()
	for range 24 {
		w.run(time.Hour)
		s := w.state(k)
		if s.Head.Height() == g.chain.tip.Height && (s.Every == nil || s.Every.Height() == g.chain.tip.Height) {
			return
		}
	}
	t.Fatalf("the aggregator is at %d of %d", w.state(k).Head.Height(), g.chain.tip.Height)
}

// setBack has a gateway start from an image of its card, with the key of the image or with the newest.
func (n *gatewayNode) setBack(image *memChain, signer lightchain.Signer, confirm ConfirmHead) {
	n.chain = image.image()
	n.chain.signer = signer
	n.config.Start++
	n.start(confirm)
}

// headersHeld returns how many headers the gateway holds.
func (n *gatewayNode) headersHeld() (held uint64) {
	for height := range n.chain.tip.Height + 1 {
		if n.chain.headers[height] != nil {
			held++
		}
	}
	return held
}

// However often the key changed since an image was made, the old image seals nothing; and with the newest key it takes
// back what it lost.
func TestAnOldImageSealsNothingHoweverOftenTheKeyChanged(t *testing.T) {
	for _, mode := range []Mode{EveryHeader, Sparse} {
		for _, n := range []int{1, 16, 17, 65} {
			w, g, k := pair(t, mode, 5)
			image := g.chain.image()
			grow(t, w, g, k, n, true)
			newest, tip := g.chain.signer, g.chain.tip.Clone()
			for _, confirm := range []ConfirmHead{ConfirmAlways, ConfirmIfReachable} {
				g.setBack(image, image.signer, confirm)
				w.run(30 * time.Minute)
				if g.maySeal() || g.settled != nil && g.settled.Standing != KeyChanged {
					t.Errorf("mode %d, %d changes of key, %s: settled as %+v", mode, n, confirm, g.settled)
				}
				g.setBack(image, newest, confirm)
				w.run(30 * time.Minute)
				if g.settled == nil || g.settled.Standing != Recovered || g.chain.tip.Hash != tip.Hash {
					t.Errorf("mode %d, %d changes of key, %s: with the newest key settled as %+v", mode, n, confirm, g.settled)
				}
			}
		}
	}
}

// What an aggregator signed of another history, with so many keys that nothing of it can be checked, is an answer too.
func TestAnotherHistoryWithManyKeysIsAnAnswer(t *testing.T) {
	for _, n := range []int{10, 17, 65} {
		w, g, k := pair(t, EveryHeader, 5)
		image := g.chain.image()
		grow(t, w, g, k, n, true)
		image.seal(7, w.now.UnixNano(), testSigner("on this side alone"))
		for range n + 5 {
			image.seal(7, w.now.UnixNano(), nil)
		}
		g.setBack(image, image.signer, ConfirmIfReachable)
		w.run(30 * time.Minute)
		if g.maySeal() {
			t.Errorf("%d changes of key: settled as %+v", n, g.settled)
		}
	}
}

// A gateway may be set back again and again while its aggregator runs, and amid restoring.
func TestAGatewayIsRestoredAnyNumberOfTimes(t *testing.T) {
	w, g, k := pair(t, EveryHeader, 5)
	k.policy.Page = 8 << 10
	image := g.chain.image()
	grow(t, w, g, k, 1000, false)
	for again := range 4 {
		g.config.MaxPage = 8 << 10
		g.setBack(image, image.signer, ConfirmAlways)
		if again == 2 { // it is started anew amid the work
			for g.chain.tip.Height < 400 {
				w.run(5 * time.Millisecond)
			}
			g.setBack(g.chain, image.signer, ConfirmAlways)
		}
		w.run(5 * time.Second)
		if g.settled == nil || g.settled.Standing != Recovered || g.settled.Sparse || g.headersHeld() != g.chain.tip.Height+1 {
			t.Fatalf("time %d: settled as %+v, at %d", again+1, g.settled, g.chain.tip.Height)
		}
	}
	k.start() // the aggregator too, amid the work
	g.setBack(image, image.signer, ConfirmAlways)
	for g.chain.tip.Height < 400 {
		w.run(5 * time.Millisecond)
	}
	k.start()
	w.run(time.Minute)
	if g.settled == nil || g.headersHeld() != g.chain.tip.Height+1 {
		t.Errorf("with an aggregator started anew: settled as %+v, at %d", g.settled, g.chain.tip.Height)
	}
}

// A gateway that takes its headers back loses none for want of room: neither in a page nor in a day's budget.
func TestRestoringLowersNothing(t *testing.T) {
	for _, c := range []struct {
		claim      string
		page, left uint64
		days       int
	}{
		{"small pages", minPage, 0, 0},
		{"hardly any budget", DefaultPage, 500, 1},
		{"a budget below the next signature", DefaultPage, 6_000, 1},
		{"a budget for one page of several", DefaultPage, 20_000, 1},
	} {
		w, g, k := pair(t, EveryHeader, 5)
		k.policy.Page = 16 << 10 // so often is there a signature to end a run
		image := g.chain.image()
		grow(t, w, g, k, 1500, false)
		g.config.MaxPage = c.page
		if c.left > 0 {
			k.policy.BytesPerDay = 1 << 20
			w.now = tomorrow(w.now)
			k.start()
			k.k.Receive(t.Context(), w.now, Message{Topic: topic(DefaultPrefix, g.chain.tip.Chain, topicHello, ""), Payload: []byte{1}})
			k.k.shards[0].followers[g.chain.tip.Chain].purse.spent.add(w.now, 1<<20-c.left)
		}
		sent := k.end.sent
		g.setBack(image, image.signer, ConfirmAlways)
		w.run(10 * time.Hour)
		if c.days > 0 && g.settled != nil {
			t.Errorf("%s: settled as %+v before there is a budget for it", c.claim, g.settled)
		}
		if bytes := k.end.sent - sent; c.days > 0 && bytes > c.left+100<<10 {
			t.Errorf("%s: %d bytes are sent to say so", c.claim, bytes)
		}
		w.run(time.Duration(c.days) * 24 * time.Hour)
		if g.settled == nil || g.settled.Standing != Recovered || g.settled.Sparse || g.headersHeld() != g.chain.tip.Height+1 {
			t.Errorf("%s: settled as %+v, %d headers at %d", c.claim, g.settled, g.headersHeld(), g.chain.tip.Height)
		}
	}
}

// A sparse copy that was made once, of whichever head, takes no headers that the aggregator holds.
func TestACopiedSparseCopyTakesNoHeaders(t *testing.T) {
	w, g, k := pair(t, EveryHeader, 5)
	image := g.chain.image()
	var copies []*SparseCopy
	for i := range 300 {
		edge := g.chain.tip.Clone().History.Edge()
		g.chain.seal(2, w.now.UnixNano(), nil)
		if i == 200 || i == 299 {
			copies = append(copies, &SparseCopy{Head: g.chain.headers[g.chain.tip.Height], Edge: edge})
		}
	}
	g.g.Sealed()
	w.run(2 * time.Hour)
	if s := w.state(k); s.Every.Height() != g.chain.tip.Height {
		t.Fatal(s.Every.Height())
	}
	for _, copied := range copies {
		g.setBack(image, image.signer, ConfirmAlways)
		in := g.end.receive
		g.end.receive = func(m Message) {
			if _, word, _, _ := splitTopic(DefaultPrefix, m.Topic); word == topicRestore || word == topicWelcome {
				for number := range uint64(5) {
					in(Message{Topic: topic(DefaultPrefix, g.chain.tip.Chain, topicRestore, "a"),
						Payload: must((&Restored{Correlation: g.g.peers["a"].asks - number, Sparse: copied}).Encode())})
				}
			}
			in(m)
			if g.settled == nil {
				in(Message{Topic: topic(DefaultPrefix, g.chain.tip.Chain, topicRestore, "a"),
					Payload: must((&Restored{Correlation: g.g.peers["a"].asks, Sparse: copied}).Encode())})
			}
		}
		w.run(3 * time.Minute)
		if g.settled == nil || g.settled.Sparse || g.headersHeld() != g.chain.tip.Height+1 {
			t.Errorf("a copy of head %d: settled as %+v, %d headers held", copied.Head.Header.Height, g.settled, g.headersHeld())
		}
	}
}

// A head that grew since the welcome named it is no reason to ask for its copy for ever.
func TestASparseCopyOfANewerHeadThanNamedIsNamedFirst(t *testing.T) {
	w, g, k := pair(t, Sparse, 5)
	image := g.chain.image()
	grow(t, w, g, k, 30, false)
	ahead := g.chain.image()
	g.setBack(image, image.signer, ConfirmAlways)
	in := g.end.receive
	grown := false
	g.end.receive = func(m Message) {
		in(m)
		if _, word, _, _ := splitTopic(DefaultPrefix, m.Topic); word == topicWelcome && !grown {
			grown = true
			s := w.state(k)
			tip := ahead.tip.Clone()
			head := ahead.seal(1, w.now.UnixNano(), nil)
			s.Head, s.Receipt = &Mark{Head: head, Edge: tip.History.Edge()}, nil
			k.store.states[s.Chain] = must(s.Encode())
		}
	}
	w.run(10 * time.Minute)
	if g.settled == nil || g.settled.Standing != Recovered || g.chain.tip.Hash != ahead.tip.Hash {
		t.Errorf("settled as %+v, at %d of %d", g.settled, g.chain.tip.Height, ahead.tip.Height)
	}
}

// The time to wait for an answer begins when there is a connection to give one.
func TestTheWaitForAnAnswerBeginsWithTheConnection(t *testing.T) {
	w, g, k := pair(t, EveryHeader, 3)
	k.end.cut, g.end.cut = true, true
	g.setBack(g.chain, g.chain.signer, ConfirmIfReachable)
	w.run(50 * time.Second)
	g.end.cut = false
	g.g.Connected()
	w.run(50 * time.Second)
	if g.settled != nil {
		t.Errorf("50 s after the connection settled as %+v", g.settled)
	}
	w.run(20 * time.Second)
	if g.settled == nil || g.settled.Standing != Unreachable {
		t.Errorf("70 s after the connection settled as %+v", g.settled)
	}
}
