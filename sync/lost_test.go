package headersync

import (
	"testing"
	"time"

	"edgechain.example/lightchain"
)

// withoutHeaders is a gateway whose chain lost all headers but genesis and its newest, and knows the history's leaves
// from a height on.
func withoutHeaders(t *testing.T, blocks int, window uint64) (g *Gateway, whole, lost *memChain) {
	t.Helper()
	whole = offline(blocks)
	lost = whole.image()
	for height := uint64(1); height < lost.tip.Height; height++ {
		delete(lost.headers, height)
	}
	edge := map[nodeAt]bool{}
	for first, rest := uint64(0), window; rest > 0; {
		level := 63
		for rest>>level == 0 {
			level--
		}
		edge[nodeAt{level, first >> level}] = true
		first, rest = first+1<<level, rest-1<<level
	}
	for at := range lost.nodes {
		if (at.index+1)<<at.level <= window && !edge[at] { // what reaches into the window follows from edge and leaves
			delete(lost.nodes, at)
		}
	}
	g, err := NewGateway(GatewayConfig{
		Conn: &tap{to: new([]Message)}, Chain: lost, Receipts: lost, Signer: lost.signer, Random: seeded{newWorldRand()},
		Terms: Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: testSigner("north").Public()}}, Announce: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, whole, lost
}

func TestWhoKnowsAHeaderOfTheWindowFollowsOverHeadersThatAreGone(t *testing.T) {
	const window = 200
	g, whole, lost := withoutHeaders(t, 400, window)
	ask := func(first, last uint64, below lightchain.Hash) *Pulled {
		t.Helper()
		page, err := g.page(&Pull{Chain: lost.tip.Chain, Name: "north", Sequence: 1, First: first, Below: below, Want: EveryHeader, Last: last}, DefaultPage)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := page.Encode(); err != nil {
			t.Fatal(err)
		}
		return page
	}
	for _, known := range []uint64{window, window + 1, 255, 256, 350, lost.tip.Height - 1} {
		from := whole.headers[known]
		page := ask(known+1, noCeiling, from.Hash())
		if known == lost.tip.Height-1 {
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
			edge.Append(whole.headers[height].Hash(), nil)
		}
		tip := &lightchain.Tip{Chain: whole.tip.Chain, Height: known, Hash: from.Hash(), History: edge, Next: from.Header.First + from.Header.Count, Key: whole.tip.Key}
		if err := tip.Leap(page.Consistency); err != nil || tip.Hash != whole.tip.Hash {
			t.Errorf("from %d: %v", known, err)
		}
		if page := ask(known+1, lost.tip.Height, from.Hash()); !page.Unavailable {
			t.Errorf("headers from %d on, which are gone, are answered with %+v", known+1, page)
		}
	}
	for _, known := range []uint64{0, 1, 99, window - 2} {
		if page := ask(known+1, noCeiling, whole.headers[known].Hash()); !page.Unavailable {
			t.Errorf("from %d, below the window: %+v", known, page)
		}
	}
	// Whoever knows another header there is shown this chain's, by its place in the newest header's history.
	page := ask(301, noCeiling, lightchain.Hash{1})
	if len(page.Other) == 0 || page.Path == nil || page.Leaf != whole.headers[300].Hash() {
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
		if err := g.weigh(p, &Welcome{Chain: g.chain, Name: "north", Head: whole.headers[known]}); err != nil {
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
