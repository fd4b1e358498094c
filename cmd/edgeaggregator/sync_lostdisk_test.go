package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgechain.example/aggregator/registry"
	syncgateway "edgechain.example/sync/gateway"
)

// loseDatabase runs a gateway whose aggregator is out of reach while it seals so many blocks, and that then loses its
// whole database. It returns the heights that the aggregator knows and to which the chain had grown; the gateway is
// stopped, and the aggregator within reach again.
func loseDatabase(t *testing.T, g *gateway, n *node, broker interface {
	Stop()
	Restart()
}, blocks int) (known, grown uint64) {
	t.Helper()
	g.start()
	g.record(3)
	known = countersigned(g, n).Height
	g.stop()
	broker.Stop()
	g.start()
	g.process.Await("the gateway has waited long enough", func() bool { return g.standing() == string(syncgateway.Unreachable) })
	grown = g.record(blocks).Height
	g.stop()
	if err := os.RemoveAll(filepath.Join(g.data(), "chain", "data-1")); err != nil {
		t.Fatal(err)
	}
	broker.Restart()
	return known, grown
}

// checkLoss checks what the chain says of the database that is gone, and that nothing was signed twice.
func checkLoss(t *testing.T, g *gateway, n *node, grown uint64) {
	t.Helper()
	first, count := -1.0, 0.0
	for _, e := range g.events("damage") {
		if at, ok := e["first"].(float64); ok && first < 0 {
			first = at
		}
		if lost, ok := e["count"].(float64); ok {
			count += lost
		}
	}
	if first != 0 || uint64(count) < grown-1 { // each block but genesis held an entry or more
		t.Errorf("recorded as lost: %v entries from %v on, of a chain of %d blocks", count, first, grown)
	}
	if known, _ := n.gateway(g.chain); finding(known, registry.Forked) {
		t.Errorf("the aggregator sees a fork: %+v", known.Findings)
	}
}

func TestAGatewayThatLostItsDatabaseIsFollowedFromWithinTheWindow(t *testing.T) {
	t.Parallel()
	for _, mode := range []registry.Mode{registry.Dense, registry.Sparse} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			broker := newBroker(t)
			n := newNode(t, broker.Addr, everyone+"[pull]\nmode = \""+string(mode)+"\"\n")
			n.start()
			g := newGateway(t, "press-hall", broker.Addr, "", n)
			_, grown := loseDatabase(t, g, n, broker, 50)

			g.start()
			g.record(2)
			head := countersigned(g, n)
			if head.Chain.String() != g.chain || head.Height <= grown {
				t.Errorf("the chain is %s at %d; want %s above %d", head.Chain, head.Height, g.chain, grown)
			}
			checkLoss(t, g, n, grown)
		})
	}
}

func TestAGatewayThatLostItsDatabaseSaysWhoCannotFollow(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	known, grown := loseDatabase(t, g, n, broker, 1000)

	g.start()
	g.process.Await("the gateway says so", func() bool {
		s, ok := g.ask()
		return ok && s.Live != nil && s.Live.Upstreams[0].Aggregators[0].CutOff
	})
	n.process.Await("the aggregator says so", func() bool {
		gateway, _ := n.gateway(g.chain)
		for _, a := range gateway.Findings {
			if a.Kind == registry.Damage && strings.Contains(a.Text, "edgeagent init --continue") {
				return true
			}
		}
		return false
	})
	if head := g.record(3); head.Height <= grown {
		t.Errorf("sealed %d, which had been sealed before", head.Height)
	}
	if says := strings.Join(strings.Fields(g.stands(7)), " "); !strings.Contains(says, "cannot follow this chain any more") || !strings.Contains(says, "edgeagent init --continue") {
		t.Errorf("edgeagent status does not name the way out:\n%s", says)
	}
	checkLoss(t, g, n, grown)
	if gateway, _ := n.gateway(g.chain); gateway.Receipt.Height != known {
		t.Errorf("countersigned %d, and nothing shows that it goes on from %d", gateway.Receipt.Height, known)
	}

	// The way out, also where the database went once more.
	g.stop()
	if err := os.RemoveAll(filepath.Join(g.data(), "chain", "data-1")); err != nil {
		t.Fatal(err)
	}
	old := g.chain
	g.begin("--continue")
	if g.chain == old {
		t.Fatal("the new chain has the old one's name")
	}
	g.start()
	g.record(2)
	countersigned(g, n)
}
