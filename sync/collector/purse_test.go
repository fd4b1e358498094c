package collector

import (
	"testing"
	"time"

	headersync "edgechain.example/sync"
	"edgechain.example/sync/synctest"
)

func TestAReservationIsGivenBackWhenThePageIsThereOrCannotCome(t *testing.T) {
	noon := time.Unix(synctest.Time/86400*86400+43200, 0)
	const budget, page, small = 100_000, 20_000, 500
	for _, c := range []struct {
		claim string
		play  func(p *purse)
		left  uint64
	}{
		{"nothing was asked", func(*purse) {}, budget},
		{"a page is on its way", func(p *purse) { p.reserve(noon, 1, page) }, budget - page},
		{"it came", func(p *purse) { p.reserve(noon, 1, page); p.arrived(noon, 1, small, true) }, budget - small},
		{"it came hours late", func(p *purse) {
			p.reserve(noon, 1, page)
			p.arrived(noon.Add(3*time.Hour), 1, small, false)
		}, budget - small},
		{"it was lost, and nothing else came", func(p *purse) { p.reserve(noon, 1, page); p.left(noon.Add(3*time.Hour), budget) }, budget - page},
		{"it was lost, and a later one came just now", func(p *purse) {
			p.reserve(noon, 1, page)
			p.reserve(noon, 2, page)
			p.arrived(noon.Add(4*time.Hour-time.Minute), 2, small, true)
		}, budget - page - small},
		{"it was lost, and a later one came some time ago", func(p *purse) {
			p.reserve(noon, 1, page)
			p.reserve(noon, 2, page)
			p.arrived(noon.Add(time.Hour), 2, small, true)
		}, budget - small},
		{"it was lost, and somebody made up a later one", func(p *purse) {
			p.reserve(noon, 1, page)
			p.reserve(noon, 2, page)
			p.arrived(noon.Add(time.Hour), 2, small, false)
		}, budget - page - small},
		{"somebody repeats pages", func(p *purse) {
			p.reserve(noon, 1, page)
			for range 100 {
				p.arrived(noon, 1, small, false)
				p.arrived(noon, 77, small, false)
			}
		}, budget - 2*small},
		{"it was counted yesterday", func(p *purse) {
			p.reserve(noon.Add(-24*time.Hour), 1, page)
			p.reserve(noon, 2, page)
			p.arrived(noon, 1, small, true)
		}, budget - page - small},
	} {
		var p purse
		c.play(&p)
		if left := p.left(noon.Add(4*time.Hour), budget); left != c.left {
			t.Errorf("%s: %d are left, want %d", c.claim, left, c.left)
		}
	}
}

// A gateway that answers out of order, as none of ours does, gets what it costs counted, and nothing is given up for it
// again on that day.
func TestAGatewayThatSendsPagesLateGainsNothing(t *testing.T) {
	noon := time.Unix(synctest.Time/86400*86400+43200, 0)
	const budget, page = 100_000, 20_000
	var p purse
	p.reserve(noon, 1, page)
	p.reserve(noon, 2, page)
	p.arrived(noon, 2, page, true)
	if left := p.left(noon.Add(time.Hour), budget); left != budget-page {
		t.Fatalf("%d are left once the first page was given up", left)
	}
	p.arrived(noon.Add(time.Hour), 1, page, false)
	p.reserve(noon.Add(time.Hour), 3, page)
	p.reserve(noon.Add(time.Hour), 4, page)
	p.arrived(noon.Add(time.Hour), 4, page, true)
	if left := p.left(noon.Add(3*time.Hour), budget); left != budget-4*page {
		t.Errorf("%d are left, want %d: three pages came, and the third may come yet", left, budget-4*page)
	}
}

// Five headers cost what they take, also where half of the pages are lost.
func TestLostPagesDoNotShutTheBudget(t *testing.T) {
	w, g, k := pair(t, headersync.EveryHeader, 3)
	k.policy.BytesPerDay = 100 << 10
	w.now = time.Unix((w.now.Unix()/86400+1)*86400, 0)
	lost := 0
	for range 20 {
		for range 5 {
			g.chain.Seal(2, w.now.UnixNano(), nil)
		}
		g.g.Sealed()
		w.drop = 0.3
		w.run(2 * time.Minute)
		w.drop = 0
		before := w.state(k).Head.Height()
		w.run(30 * time.Minute)
		if w.state(k).Head.Height() > before {
			lost++
		}
	}
	if lost == 0 {
		t.Fatal("nothing was lost")
	}
	if s := w.state(k); s.Head.Height() != g.chain.Tip.Height || s.Spent.Bytes > 100<<10 {
		t.Errorf("at %d of %d; %d bytes are counted for 100 headers", s.Head.Height(), g.chain.Tip.Height, s.Spent.Bytes)
	}
}
