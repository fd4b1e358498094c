package aggregator_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
)

// deaf is a connection on which nothing is heard.
type deaf struct{}

func (deaf) Publish(string, []byte, bool) error                 { return nil }
func (deaf) Subscribe([]string, func(headersync.Message)) error { return nil }

// heap returns the bytes of what is in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// know makes an aggregator know n gateways, each with a head and a receipt, and hear of each once. It returns what keeps
// them in memory.
func know(t testing.TB, store registry.Store, n int) (*registry.Registry, *collector.Collector, []*lightchain.SignedHeader) {
	t.Helper()
	clock := newClock()
	known := registry.New(store, registry.Rules{Mode: registry.Dense}, clock.Now, slog.New(slog.DiscardHandler))
	followed, err := collector.New(collector.Config{
		Conn: deaf{}, Store: registry.NewLedger(store, clock.Now, nil), Name: "agg-1", Signer: testSigner("aggregator agg-1"),
		Policy: func(c lightchain.ChainID) (collector.Policy, bool) { return known.Policy(context.Background(), c) },
		Clock:  func() (uint64, bool) { return uint64(clock.Now().Unix()), true },
	})
	if err != nil {
		t.Fatal(err)
	}
	signer := testSigner("fleet")
	heads := make([]*lightchain.SignedHeader, n)
	var making sync.WaitGroup
	const makers = 64
	for m := range makers {
		making.Go(func() {
			for i := m; i < n; i += makers {
				name := fmt.Sprintf("gateway-%06d", i)
				nonce := sha256.Sum256([]byte(name))
				g := lightchain.NewGenesis(lightchain.Genesis{Name: &name, Nonce: [16]byte(nonce[:16])}, signer.Public(), chainTime*1e9, lightchain.Clock{State: lightchain.ClockSynchronised, Boot: 1})
				genesis, err := g.Sign(signer)
				if err != nil {
					t.Error(err)
					return
				}
				edge := make([]lightchain.Hash, 10) // of a chain in the middle of its life
				err = store.Update(context.Background(), genesis.ChainID(), func(r *registry.Record) (*registry.Change, error) {
					r.Standing, r.Name, r.Decided = registry.Approved, name, chainTime
					receipt, err := genesis.Countersign(testSigner("aggregator agg-1"), "agg-1", chainTime)
					r.State = &collector.State{Chain: genesis.ChainID(), Keys: []*lightchain.SignedHeader{genesis},
						Head: &collector.Mark{Head: genesis, Edge: edge[:0]}, Every: &collector.Mark{Head: genesis, Edge: edge[:0]}, Receipt: &receipt, Last: chainTime}
					return nil, err
				})
				if err != nil {
					t.Error(err)
					return
				}
				heads[i] = genesis
			}
		})
	}
	making.Wait()
	return known, followed, heads
}

func hear(t testing.TB, k *collector.Collector, heads []*lightchain.SignedHeader) {
	t.Helper()
	now := time.Unix(chainTime, 0)
	for _, h := range heads {
		payload, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		k.Receive(context.Background(), now, headersync.Message{Topic: headersync.ChainTopics("edgechain/v1", h.ChainID()) + "/head", Payload: payload})
	}
}

func TestAKnownGatewayTakesAtMostTwoKilobytes(t *testing.T) {
	const n, most = 4000, 2048
	store := openPebble(t)
	known, k, heads := know(t, store, n)
	for _, h := range heads { // what the store's cache takes is the store's, however many there are
		if _, err := store.Record(t.Context(), h.ChainID()); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	hear(t, k, heads)
	each := (heap() - before) / n
	t.Logf("%d bytes for each of %d gateways", each, n)
	if each > most {
		t.Errorf("%d bytes for each of %d gateways, at most %d", each, n, most)
	}
	runtime.KeepAlive(known)
	runtime.KeepAlive(k)
	runtime.KeepAlive(heads)
}
