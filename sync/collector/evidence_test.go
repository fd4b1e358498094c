package collector

import (
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/synctest"
)

// apart returns two gateways of one chain, which part after header 5: one grows to header 30, which the aggregator
// knows, the other to header 20 while it is cut off. rotate has the shorter one change its key on the way.
func apart(t *testing.T, mode headersync.Mode, rotate bool) (w *world, long, short *gatewayNode, k *collectorNode) {
	t.Helper()
	w, long, k = pair(t, mode, 5)
	copied := long.chain.Image()
	for i := range 15 {
		var next lightchain.Signer
		if rotate && i == 7 {
			next = synctest.Signer("on one side alone")
		}
		copied.Seal(9, w.now.UnixNano()+int64(i), next)
	}
	for range 25 {
		long.chain.Seal(1, w.now.UnixNano(), nil)
	}
	long.g.Sealed()
	w.run(2 * time.Hour)
	if s := w.state(k); s.Head.Height() != 30 || s.Fork != nil {
		t.Fatalf("the aggregator is at %d", s.Head.Height())
	}
	short = w.addGateway(copied, long.config.Aggregators)
	return w, long, short, k
}

// A head that is behind and no beginning of the history known is found out, in whichever mode, and whichever of the two
// gateways is there to answer when it is heard.
func TestAHeadThatIsBehindAndOfAnotherHistoryIsFoundOut(t *testing.T) {
	for _, mode := range []headersync.Mode{headersync.EveryHeader, headersync.Sparse} {
		for _, rotate := range []bool{false, true} {
			for _, together := range []bool{true, false} {
				w, long, short, k := apart(t, mode, rotate)
				long.end.cut = !together
				short.end.cut = false
				short.start(gateway.ConfirmNever)
				w.run(20 * time.Minute)
				short.end.cut = !together
				k.start() // what was heard lasts
				w.connect(long.end)
				long.g.Connected()
				long.chain.Seal(1, w.now.UnixNano(), nil)
				long.g.Sealed()
				w.run(time.Hour)
				s := w.state(k)
				if s.Fork == nil {
					t.Errorf("mode %d, key changed %t, together %t: the fork is missed", mode, rotate, together)
					continue
				}
				if err := s.Fork.Check(s.Chain); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// Old heads of the history known, repeated, are no fork, and cost little.
func TestOldHeadsAreNoForkAndCostLittle(t *testing.T) {
	w, g, k := pair(t, headersync.Sparse, 12)
	for range 3 { // heads that the aggregator never pulled
		g.chain.Seal(1, w.now.UnixNano(), nil)
	}
	unseen := *g.chain.Headers[g.chain.Tip.Height-1]
	g.g.Sealed()
	w.run(time.Hour)
	heads := append(w.overheard(headersync.TopicHead), headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, g.chain.Tip.Chain, headersync.TopicHead, ""), Payload: synctest.Must(unseen.Encode())})
	before, stored := k.end.sent+g.end.sent, k.store.writes
	for range 600 {
		for _, m := range heads {
			k.k.Receive(t.Context(), w.now, m)
		}
		w.run(time.Second)
	}
	if s := w.state(k); s.Fork != nil {
		t.Error("an old head is a fork")
	}
	if cost, writes := k.end.sent+g.end.sent-before, k.store.writes-stored; cost > 8<<10 || writes > 4 {
		t.Errorf("ten minutes of old heads cost %d bytes and %d writes", cost, writes)
	}
}

// Headers that came back in a run have no signatures of their own; the gateway shows them by their paths.
func TestAGatewayThatWasRestoredStillShowsAFork(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 5)
	image := g.chain.Image()
	other := g.chain.Image() // what another aggregator knows
	for range 10 {
		g.chain.Seal(2, w.now.UnixNano(), nil)
		other.Seal(3, w.now.UnixNano(), nil)
	}
	g.g.Sealed()
	w.run(time.Hour)
	run := &lightchain.Run{}
	for height := uint64(6); height <= 15; height++ {
		sig := other.Headers[height].HeaderSignature
		run.Add(&other.Headers[height].Header, &sig)
	}
	for i := range run.Headers[:9] {
		run.Headers[i].Signature = nil
	}
	g.chain = image
	if err := g.chain.RestoreRun(run); err != nil {
		t.Fatal(err)
	}
	g.chain.Tip = other.Tip.Clone()
	g.start(gateway.ConfirmNever)
	for range 3 {
		g.chain.Seal(1, w.now.UnixNano(), nil)
		g.g.Sealed()
		w.run(10 * time.Minute)
	}
	if s := w.state(k); s.Fork == nil {
		t.Error("the aggregator misses the fork")
	} else if err := s.Fork.Check(s.Chain); err != nil {
		t.Error(err)
	}
}
