package gateway

import (
	"math/rand/v2"
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/synctest"
)

// withoutHeaders is a gateway whose chain lost all headers but genesis and its newest, and knows the history's leaves
// from a height on.
func withoutHeaders(t *testing.T, blocks int, window uint64) (g *Gateway, whole, lost *synctest.Chain) {
	t.Helper()
	whole = synctest.Offline(blocks)
	lost = whole.Image()
	for height := uint64(1); height < lost.Tip.Height; height++ {
		delete(lost.Headers, height)
	}
	edge := map[synctest.NodeAt]bool{}
	for first, rest := uint64(0), window; rest > 0; {
		level := 63
		for rest>>level == 0 {
			level--
		}
		edge[synctest.NodeAt{Level: level, Index: first >> level}] = true
		first, rest = first+1<<level, rest-1<<level
	}
	for at := range lost.Nodes {
		if (at.Index+1)<<at.Level <= window && !edge[at] { // what reaches into the window follows from edge and leaves
			delete(lost.Nodes, at)
		}
	}
	g, err := New(Config{
		Conn: &synctest.Tap{To: new([]headersync.Message)}, Chain: lost, Receipts: lost, Signer: lost.Signer, Random: synctest.Random(rand.New(rand.NewPCG(1, 1))),
		Terms: Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: synctest.Signer("north").Public()}}, Announce: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, whole, lost
}

func TestWhoKnowsAHeaderOfTheWindowFollowsOverHeadersThatAreGone(t *testing.T) {
	const window = 200
	g, whole, lost := withoutHeaders(t, 400, window)
	ask := func(first, last uint64, below lightchain.Hash) *headersync.Pulled {
		t.Helper()
		page, err := g.Page(&headersync.Pull{Chain: lost.Tip.Chain, Name: "north", Sequence: 1, First: first, Below: below, Want: headersync.EveryHeader, Last: last}, headersync.DefaultPage)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := page.Encode(); err != nil {
			t.Fatal(err)
		}
		return page
	}
	for _, known := range []uint64{window, window + 1, 255, 256, 350, lost.Tip.Height - 1} {
		from := whole.Headers[known]
		page := ask(known+1, headersync.NoCeiling, from.Hash())
		if known == lost.Tip.Height-1 {
			if page.Run == nil {
				t.Errorf("from %d: no run, although the newest header is here", known)
			}
			continue
		}
		if page.Consistency == nil {
			t.Fatalf("from %d: %+v", known, page)
		}
		var edge lightchain.CompactRange
		for height := range known + 1 {
			edge.Append(whole.Headers[height].Hash(), nil)
		}
		tip := &lightchain.Tip{Chain: whole.Tip.Chain, Height: known, Hash: from.Hash(), History: edge, Next: from.Header.First + from.Header.Count, Key: whole.Tip.Key}
		if err := tip.Leap(page.Consistency); err != nil || tip.Hash != whole.Tip.Hash {
			t.Errorf("from %d: %v", known, err)
		}
		if page := ask(known+1, lost.Tip.Height, from.Hash()); !page.Unavailable {
			t.Errorf("headers from %d on, which are gone, are answered with %+v", known+1, page)
		}
	}
	for _, known := range []uint64{0, 1, 99, window - 2} {
		if page := ask(known+1, headersync.NoCeiling, whole.Headers[known].Hash()); !page.Unavailable {
			t.Errorf("from %d, below the window: %+v", known, page)
		}
	}
	// Whoever knows another header there is shown this chain's, by its place in the newest header's history.
	page := ask(301, headersync.NoCeiling, lightchain.Hash{1})
	if len(page.Other) == 0 || page.Path == nil || page.Leaf != whole.Headers[300].Hash() {
		t.Fatalf("another history: %+v", page)
	}
	if root, err := page.Path.Root(page.Leaf); err != nil || root != page.Other[len(page.Other)-1].Header.History {
		t.Errorf("the path leads elsewhere: %v", err)
	}
}

func TestAGatewaySaysWhoIsCutOff(t *testing.T) {
	g, whole, _ := withoutHeaders(t, 400, 200)
	var told []Standing
	g.c.Notify = func(n Notice) { told = append(told, n.Standing) }
	p := g.peers["north"]
	for known, want := range map[uint64]Standing{99: CutOff, 250: Agreed} {
		told = nil
		if err := g.weigh(p, &headersync.Welcome{Chain: g.chain, Name: "north", Head: whole.Headers[known]}); err != nil {
			t.Fatal(err)
		}
		if p.standing != want || (want == CutOff) != (len(told) == 1) {
			t.Errorf("who knows header %d stands %q, told %v", known, p.standing, told)
		}
	}
	if !CutOff.MaySeal() {
		t.Error("it stops the chain")
	}
}
