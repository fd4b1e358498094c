package main

import (
	"testing"

	"edgechain.example/aggregator/registry"
)

func TestGatewayCatchesUpAfterItsBrokerWasAway(t *testing.T) {
	t.Parallel()
	for _, mode := range []registry.Mode{registry.Dense, registry.Sparse} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			broker := newBroker(t)
			n := newNode(t, broker.Addr, everyone+"[pull]\nmode = \""+string(mode)+"\"\n")
			n.start()
			g := newGateway(t, "press-hall", broker.Addr, "", n)
			g.start()
			g.record(3)
			before := countersigned(g, n)
			broker.Stop()
			const away = 60
			after := g.record(away)
			broker.Restart()
			head := countersigned(g, n)
			if head.Height < before.Height+away || head.Height < after.Height {
				t.Fatalf("the head countersigned is %d; offline the chain grew from %d to %d", head.Height, before.Height, after.Height)
			}
			held := n.headers(g.chain)
			if mode == registry.Dense && uint64(len(held)) != head.Height+1 {
				t.Errorf("the aggregator holds %d headers, want all %d", len(held), head.Height+1)
			}
			if mode == registry.Sparse && len(held) >= away {
				t.Errorf("the aggregator holds %d headers of %d, which is not sparse", len(held), head.Height+1)
			}
			if last := held[len(held)-1]; last.Hash != head.Head {
				t.Errorf("the newest header held is %d, %s; want %s", last.Height, last.Hash, head.Head)
			}
			g.stop()
			g.must("verify")
		})
	}
}
