package collector

import (
	"fmt"
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/pace"
	"edgechain.example/sync/synctest"
)

// grow has a gateway's chain grow by n headers at once, each with a change of key if keys says so, and the aggregator
// follow it.
func grow(t *testing.T, w *world, g *gatewayNode, k *collectorNode, n int, keys bool) {
	t.Helper()
	for i := range n {
		var next lightchain.Signer
		if keys {
			next = synctest.Signer(fmt.Sprint("change ", g.chain.Tip.Height, i))
		}
		g.chain.Seal(2, w.now.UnixNano(), next)
	}
	g.g.SetSigner(g.chain.Signer)
	g.chain.Seal(1, w.now.UnixNano(), nil)
	g.g.Sealed()
	for range 24 {
		w.run(time.Hour)
		s := w.state(k)
		if s.Head.Height() == g.chain.Tip.Height && (s.Every == nil || s.Every.Height() == g.chain.Tip.Height) {
			return
		}
	}
	t.Fatalf("the aggregator is at %d of %d", w.state(k).Head.Height(), g.chain.Tip.Height)
}

// setBack has a gateway start from an image of its card, with the key of the image or with the newest.
func (n *gatewayNode) setBack(image *synctest.Chain, signer lightchain.Signer, confirm gateway.ConfirmHead) {
	n.chain = image.Image()
	n.chain.Signer = signer
	n.config.Start++
	n.start(confirm)
}

// headersHeld returns how many headers the gateway holds.
func (n *gatewayNode) headersHeld() (held uint64) {
	for height := range n.chain.Tip.Height + 1 {
		if n.chain.Headers[height] != nil {
			held++
		}
	}
	return held
}

// However often the key changed since an image was made, the old image seals nothing; and with the newest key it takes
// back what it lost.
func TestAnOldImageSealsNothingHoweverOftenTheKeyChanged(t *testing.T) {
	for _, mode := range []headersync.Mode{headersync.EveryHeader, headersync.Sparse} {
		for _, n := range []int{1, 16, 17, 65} {
			w, g, k := pair(t, mode, 5)
			image := g.chain.Image()
			grow(t, w, g, k, n, true)
			newest, tip := g.chain.Signer, g.chain.Tip.Clone()
			for _, confirm := range []gateway.ConfirmHead{gateway.ConfirmAlways, gateway.ConfirmIfReachable} {
				g.setBack(image, image.Signer, confirm)
				w.run(30 * time.Minute)
				if g.maySeal() || g.settled != nil && g.settled.Standing != gateway.KeyChanged {
					t.Errorf("mode %d, %d changes of key, %s: settled as %+v", mode, n, confirm, g.settled)
				}
				g.setBack(image, newest, confirm)
				w.run(30 * time.Minute)
				if g.settled == nil || g.settled.Standing != gateway.Recovered || g.chain.Tip.Hash != tip.Hash {
					t.Errorf("mode %d, %d changes of key, %s: with the newest key settled as %+v", mode, n, confirm, g.settled)
				}
			}
		}
	}
}

// What an aggregator signed of another history, with so many keys that nothing of it can be checked, is an answer too.
func TestAnotherHistoryWithManyKeysIsAnAnswer(t *testing.T) {
	for _, n := range []int{10, 17, 65} {
		w, g, k := pair(t, headersync.EveryHeader, 5)
		image := g.chain.Image()
		grow(t, w, g, k, n, true)
		image.Seal(7, w.now.UnixNano(), synctest.Signer("on this side alone"))
		for range n + 5 {
			image.Seal(7, w.now.UnixNano(), nil)
		}
		g.setBack(image, image.Signer, gateway.ConfirmIfReachable)
		w.run(30 * time.Minute)
		if g.maySeal() {
			t.Errorf("%d changes of key: settled as %+v", n, g.settled)
		}
	}
}

// A gateway may be set back again and again while its aggregator runs, and amid restoring.
func TestAGatewayIsRestoredAnyNumberOfTimes(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 5)
	k.policy.Page = 8 << 10
	image := g.chain.Image()
	grow(t, w, g, k, 1000, false)
	for again := range 4 {
		g.config.MaxPage = 8 << 10
		g.setBack(image, image.Signer, gateway.ConfirmAlways)
		if again == 2 { // it is started anew amid the work
			for g.chain.Tip.Height < 400 {
				w.run(5 * time.Millisecond)
			}
			g.setBack(g.chain, image.Signer, gateway.ConfirmAlways)
		}
		w.run(5 * time.Second)
		if g.settled == nil || g.settled.Standing != gateway.Recovered || g.settled.Sparse || g.headersHeld() != g.chain.Tip.Height+1 {
			t.Fatalf("time %d: settled as %+v, at %d", again+1, g.settled, g.chain.Tip.Height)
		}
	}
	k.start() // the aggregator too, amid the work
	g.setBack(image, image.Signer, gateway.ConfirmAlways)
	for g.chain.Tip.Height < 400 {
		w.run(5 * time.Millisecond)
	}
	k.start()
	w.run(time.Minute)
	if g.settled == nil || g.headersHeld() != g.chain.Tip.Height+1 {
		t.Errorf("with an aggregator started anew: settled as %+v, at %d", g.settled, g.chain.Tip.Height)
	}
}

// A gateway that takes its headers back loses none for want of room: neither in a page nor in a day's budget.
func TestRestoringLowersNothing(t *testing.T) {
	for _, c := range []struct {
		claim      string
		page, left uint64
		days       int
	}{
		{"small pages", headersync.MinPage, 0, 0},
		{"hardly any budget", headersync.DefaultPage, 500, 1},
		{"a budget below the next signature", headersync.DefaultPage, 6_000, 1},
		{"a budget for one page of several", headersync.DefaultPage, 20_000, 1},
	} {
		w, g, k := pair(t, headersync.EveryHeader, 5)
		k.policy.Page = 16 << 10 // so often is there a signature to end a run
		image := g.chain.Image()
		grow(t, w, g, k, 1500, false)
		g.config.MaxPage = c.page
		if c.left > 0 {
			k.policy.BytesPerDay = 1 << 20
			w.now = pace.Tomorrow(w.now)
			k.start()
			k.k.Receive(t.Context(), w.now, headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, g.chain.Tip.Chain, headersync.TopicHello, ""), Payload: []byte{1}})
			k.k.shards[0].followers[g.chain.Tip.Chain].purse.spent.Add(w.now, 1<<20-c.left)
		}
		sent := k.end.sent
		g.setBack(image, image.Signer, gateway.ConfirmAlways)
		w.run(10 * time.Hour)
		if c.days > 0 && g.settled != nil {
			t.Errorf("%s: settled as %+v before there is a budget for it", c.claim, g.settled)
		}
		if bytes := k.end.sent - sent; c.days > 0 && bytes > c.left+100<<10 {
			t.Errorf("%s: %d bytes are sent to say so", c.claim, bytes)
		}
		w.run(time.Duration(c.days) * 24 * time.Hour)
		if g.settled == nil || g.settled.Standing != gateway.Recovered || g.settled.Sparse || g.headersHeld() != g.chain.Tip.Height+1 {
			t.Errorf("%s: settled as %+v, %d headers at %d", c.claim, g.settled, g.headersHeld(), g.chain.Tip.Height)
		}
	}
}

// A sparse copy that was made once, of whichever head, takes no headers that the aggregator holds.
func TestACopiedSparseCopyTakesNoHeaders(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 5)
	image := g.chain.Image()
	var copies []*headersync.SparseCopy
	for i := range 300 {
		edge := g.chain.Tip.Clone().History.Edge()
		g.chain.Seal(2, w.now.UnixNano(), nil)
		if i == 200 || i == 299 {
			copies = append(copies, &headersync.SparseCopy{Head: g.chain.Headers[g.chain.Tip.Height], Edge: edge})
		}
	}
	g.g.Sealed()
	w.run(2 * time.Hour)
	if s := w.state(k); s.Every.Height() != g.chain.Tip.Height {
		t.Fatal(s.Every.Height())
	}
	for _, copied := range copies {
		g.setBack(image, image.Signer, gateway.ConfirmAlways)
		in := g.end.receive
		g.end.receive = func(m headersync.Message) {
			if _, word, _, _ := headersync.SplitTopic(headersync.DefaultPrefix, m.Topic); word == headersync.TopicRestore || word == headersync.TopicWelcome {
				for number := range uint64(5) {
					in(headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, g.chain.Tip.Chain, headersync.TopicRestore, "a"),
						Payload: synctest.Must((&headersync.Restored{Correlation: w.asked() - number, Sparse: copied}).Encode())})
				}
			}
			in(m)
			if g.settled == nil {
				in(headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, g.chain.Tip.Chain, headersync.TopicRestore, "a"),
					Payload: synctest.Must((&headersync.Restored{Correlation: w.asked(), Sparse: copied}).Encode())})
			}
		}
		w.run(3 * time.Minute)
		if g.settled == nil || g.settled.Sparse || g.headersHeld() != g.chain.Tip.Height+1 {
			t.Errorf("a copy of head %d: settled as %+v, %d headers held", copied.Head.Header.Height, g.settled, g.headersHeld())
		}
	}
}

// A head that grew since the welcome named it is no reason to ask for its copy for ever.
func TestASparseCopyOfANewerHeadThanNamedIsNamedFirst(t *testing.T) {
	w, g, k := pair(t, headersync.Sparse, 5)
	image := g.chain.Image()
	grow(t, w, g, k, 30, false)
	ahead := g.chain.Image()
	g.setBack(image, image.Signer, gateway.ConfirmAlways)
	in := g.end.receive
	grown := false
	g.end.receive = func(m headersync.Message) {
		in(m)
		if _, word, _, _ := headersync.SplitTopic(headersync.DefaultPrefix, m.Topic); word == headersync.TopicWelcome && !grown {
			grown = true
			s := w.state(k)
			tip := ahead.Tip.Clone()
			head := ahead.Seal(1, w.now.UnixNano(), nil)
			s.Head, s.Receipt = &Mark{Head: head, Edge: tip.History.Edge()}, nil
			k.store.states[s.Chain] = synctest.Must(s.Encode())
		}
	}
	w.run(10 * time.Minute)
	if g.settled == nil || g.settled.Standing != gateway.Recovered || g.chain.Tip.Hash != ahead.Tip.Hash {
		t.Errorf("settled as %+v, at %d of %d", g.settled, g.chain.Tip.Height, ahead.Tip.Height)
	}
}

// The time to wait for an answer begins when there is a connection to give one.
func TestTheWaitForAnAnswerBeginsWithTheConnection(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 3)
	k.end.cut, g.end.cut = true, true
	g.setBack(g.chain, g.chain.Signer, gateway.ConfirmIfReachable)
	w.run(50 * time.Second)
	g.end.cut = false
	g.g.Connected()
	w.run(50 * time.Second)
	if g.settled != nil {
		t.Errorf("50 s after the connection settled as %+v", g.settled)
	}
	w.run(20 * time.Second)
	if g.settled == nil || g.settled.Standing != gateway.Unreachable {
		t.Errorf("70 s after the connection settled as %+v", g.settled)
	}
}
