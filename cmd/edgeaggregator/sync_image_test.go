package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	syncgateway "edgechain.example/sync/gateway"
)

// outdated runs a gateway that was set back: its data folder is an image made before more of its blocks were
// countersigned. It returns the head at the time of the image and the newest head; the gateway is stopped.
func outdated(t *testing.T, g *gateway, n *node, between func()) (old, newest uint64) {
	t.Helper()
	g.start()
	g.record(3)
	old = countersigned(g, n).Height
	g.stop()
	image := g.image()
	g.start()
	between()
	g.record(5)
	newest = countersigned(g, n).Height
	g.stop()
	g.putBack(image)
	return old, newest
}

func TestOldImageTakesItsOwnHeadersBack(t *testing.T) {
	t.Parallel()
	for _, mode := range []registry.Mode{registry.Dense, registry.Sparse} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			broker := newBroker(t)
			n := newNode(t, broker.Addr, everyone+"[pull]\nmode = \""+string(mode)+"\"\n")
			n.start()
			g := newGateway(t, "press-hall", broker.Addr, "", n)
			old, newest := outdated(t, g, n, func() {})

			g.startPatiently()
			g.process.Await("the gateway has restored its head", func() bool { return g.standing() != "" })
			g.record(2)
			head := countersigned(g, n)
			if head.Chain.String() != g.chain || head.Height <= newest {
				t.Errorf("after the restore the chain is %s at %d; want %s above %d", head.Chain, head.Height, g.chain, newest)
			}
			g.stop()
			restored := g.events("restore")
			if len(restored) != 1 {
				t.Fatalf("the chain records %d restores, want 1: %v", len(restored), restored)
			}
			// Heads below the newest receipted one may have been sealed by the stop and never announced.
			if from, to := restored[0]["from"].(float64), restored[0]["to"].(float64); uint64(from) <= old || uint64(to) < newest {
				t.Errorf("recorded as restored: %v to %v; the image ended at %d or soon after, the aggregator knew %d", from, to, old, newest)
			}
			if sparse := restored[0]["sparse"].(bool); sparse && mode == registry.Dense {
				t.Error("every header is held by the aggregator, and the restore says sparse")
			}
			g.lacksEntries()
			if known, _ := n.gateway(g.chain); finding(known, registry.Forked) {
				t.Errorf("the aggregator sees a fork: %+v", known.Findings)
			}
		})
	}
}

// lacksEntries checks that the chain of a stopped gateway verifies, and that it is said that entries are not here.
func (g *gateway) lacksEntries() {
	g.t.Helper()
	if says := g.fails(3, "verify"); !strings.Contains(says, "what is here verifies, but the entries of") {
		g.t.Errorf("verify says %s", says)
	}
}

// A chain that lost its newest headers, the one among them that set the key, is all right but for its end: the key file
// holds the new key. What it says is recorded, and the headers come back.
func TestAChainSetBackBelowAChangeOfKeyTakesItsHeadersBackWithTheNewKey(t *testing.T) {
	for _, mode := range []registry.Mode{registry.Dense, registry.Sparse} {
		t.Run(string(mode), func(t *testing.T) {
			broker := newBroker(t)
			n := newNode(t, broker.Addr, everyone+"[pull]\nmode = \""+string(mode)+"\"\n")
			n.start()
			g := newGateway(t, "press-hall", broker.Addr, "", n)
			keys := map[string][]byte{}
			_, newest := outdated(t, g, n, func() {
				g.record(2)
				for range 2 {
					g.must("key", "rotate")
					g.record(2)
				}
				for _, name := range []string{"key", "key.copy"} {
					b, err := os.ReadFile(filepath.Join(g.data(), name))
					if err != nil {
						t.Fatal(err)
					}
					keys[name] = b
				}
			})
			for name, b := range keys {
				if err := os.WriteFile(filepath.Join(g.data(), name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			broker.Stop()
			g.start()
			g.publish(3)
			g.process.Await("the entries are on disk", func() bool { s, ok := g.ask(); return ok && s.Open >= 3 })
			if s, _ := g.ask(); s.Height >= newest || !strings.Contains(s.Live.Held, "the chain continues under another key") {
				t.Fatalf("height %d, held by %+v", s.Height, s.Live.HeldBy)
			}
			broker.Restart()
			g.process.Await("the gateway has its own headers back", func() bool { return g.standing() == string(syncgateway.Recovered) })
			g.record(2)
			if head := countersigned(g, n); head.Chain.String() != g.chain || head.Height <= newest {
				t.Errorf("after the restore the chain is %s at %d; want %s above %d", head.Chain, head.Height, g.chain, newest)
			}
			if why := g.held(); why != "" {
				t.Errorf("it seals, and says that it does not: %s", why)
			}
			g.stop()
			g.lacksEntries()
			if known, _ := n.gateway(g.chain); finding(known, registry.Forked) {
				t.Errorf("the aggregator sees a fork: %+v", known.Findings)
			}
		})
	}
}

func TestOldImageThatSealsWithoutNetworkIsFoundAndContinuesAsNewChain(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	_, newest := outdated(t, g, n, func() {})

	broker.Stop()
	g.start()
	g.process.Await("the gateway has waited long enough", func() bool { return g.standing() == string(syncgateway.Unreachable) })
	g.record(10) // beyond what the aggregator knows
	broker.Restart()
	g.process.Await("the aggregator shows the fork", func() bool {
		known, _ := n.gateway(g.chain)
		return finding(known, registry.Forked)
	})
	g.process.Await("the gateway knows of the fork", func() bool { return g.standing() == string(syncgateway.Forked) })

	if says := g.stands(7); !strings.Contains(says, "head forked") {
		t.Errorf("edgeagent status does not say that the chain is forked:\n%s", says)
	}
	known, _ := n.gateway(g.chain)
	if known.Receipt.Height > newest+1 {
		t.Errorf("the forked chain was countersigned at %d, above %d", known.Receipt.Height, newest)
	}
	fork := n.evidence(g.chain)
	for _, h := range n.headers(g.chain) {
		if h.Height == fork.Height() && !slices.Contains(leaves(fork), h.Hash) {
			t.Errorf("neither side of the evidence is the header %d that was countersigned", h.Height)
		}
	}

	// The way out.
	g.stop()
	var end api.Status
	parse(t, g.stands(5, "--output", "json"), &end)
	forked := g.chain
	g.begin("--continue")
	if g.chain == forked {
		t.Fatal("the new chain has the old one's name")
	}
	g.start()
	g.record(2)
	countersigned(g, n)
	proof, err := lightchain.DecodeProof([]byte(g.must("prove", "0", "--file", "-")))
	if err != nil {
		t.Fatal(err)
	}
	if names := proof.Keys[0].Header.Genesis.Continues; names == nil || *names != end.Head {
		t.Errorf("the new chain's genesis names %v, want the old chain's newest header %s", names, end.Head)
	}
	if old, _ := n.gateway(forked); !finding(old, registry.Forked) {
		t.Error("the evidence against the old chain is gone")
	}
}
