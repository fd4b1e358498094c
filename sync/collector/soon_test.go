package collector

import (
	"fmt"
	"testing"
	"time"

	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
)

// A gateway that was set back, started several times over a slow link, and took its headers back, has its next head countersigned
// soon: neither the hellos of its starts nor the answers that proved nothing make the aggregator wait, nor does a key that it
// changes then.
func TestTheNextHeadAfterARestoreIsCountersignedSoon(t *testing.T) {
	const soon = time.Minute // of good link; a head is announced again after half of that, and one clock in ten is wrong for 10 s
	for _, mode := range []headersync.Mode{headersync.EveryHeader, headersync.Sparse} {
		for seed := range uint64(60) {
			t.Run(fmt.Sprintf("mode %d seed %d", mode, seed), func(t *testing.T) {
				w := newWorld(t, seed, mode)
				g := w.gateways[0]
				g.config.Announce = time.Second
				seal := func(blocks int, change bool) {
					for i := range blocks {
						g.sealBlock(change && i == 0)
					}
				}
				w.delay = 20 * time.Millisecond
				g.start(gateway.ConfirmIfReachable)
				w.run(time.Second)
				seal(3, false)
				w.run(3 * time.Second)
				image := g.chain.Image()
				seal(6, false)
				w.run(3 * time.Second)

				w.delay = time.Duration(w.rng.Int64N(int64(2 * time.Second)))
				for range 1 + w.rng.IntN(4) {
					g.chain = image.Image()
					g.config.Start++
					g.start(gateway.ConfirmAlways)
					for range 200 {
						if w.run(50 * time.Millisecond); g.maySeal() {
							break
						}
					}
				}
				for range 60 {
					if !g.maySeal() {
						w.run(time.Second)
					}
				}
				if !g.maySeal() {
					t.Fatal("after a minute it may not seal")
				}
				seal(3, seed%2 == 0)
				began := w.now
				for {
					w.run(time.Second)
					if _, countersigned := g.chain.Receipts["a"][g.chain.Tip.Height]; countersigned {
						return
					}
					if took := w.now.Sub(began); took > soon {
						t.Fatalf("after %s it is not countersigned: %+v", took, w.collectors[0].k.shards[0].followers[g.chain.Tip.Chain].follow)
					}
				}
			})
		}
	}
}
