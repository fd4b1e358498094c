package aggregator_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"edgechain/aggregator"
	"edgechain/aggregator/pebblestore"
	"edgechain/aggregator/pgstore"
	"edgechain/build/testenv"
	"edgechain/lightchain"
	headersync "edgechain/sync"
)

// deaf is a connection on which nothing is heard.
type deaf struct{}

func (deaf) Publish(string, []byte, bool) error                 { return nil }
func (deaf) Subscribe([]string, func(headersync.Message)) error { return nil }

// resident returns the process's memory as the system counts it, in bytes.
func resident(t testing.TB) int {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return kB << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

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
func know(t testing.TB, store aggregator.Store, n int) (*aggregator.Registry, *headersync.Collector, []*lightchain.SignedHeader) {
	t.Helper()
	clock := newClock()
	registry := aggregator.NewRegistry(store, aggregator.Rules{Mode: aggregator.Dense}, clock.Now, slog.New(slog.DiscardHandler))
	collector, err := headersync.NewCollector(headersync.CollectorConfig{
		Conn: deaf{}, Store: aggregator.NewLedger(store, clock.Now), Name: "agg-1", Signer: testSigner("aggregator agg-1"),
		Policy: func(c lightchain.ChainID) (headersync.Policy, bool) { return registry.Policy(context.Background(), c) },
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
				err = store.Update(context.Background(), genesis.ChainID(), func(r *aggregator.Record) (*aggregator.Change, error) {
					r.Standing, r.Name, r.Decided = aggregator.Approved, name, chainTime
					receipt, err := genesis.Countersign(testSigner("aggregator agg-1"), "agg-1", chainTime)
					r.State = &headersync.State{Chain: genesis.ChainID(), Keys: []*lightchain.SignedHeader{genesis},
						Head: &headersync.Mark{Head: genesis, Edge: edge[:0]}, Every: &headersync.Mark{Head: genesis, Edge: edge[:0]}, Receipt: &receipt, Last: chainTime}
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
	return registry, collector, heads
}

func hear(t testing.TB, collector *headersync.Collector, heads []*lightchain.SignedHeader) {
	t.Helper()
	now := time.Unix(chainTime, 0)
	for _, h := range heads {
		payload, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		collector.Receive(context.Background(), now, headersync.Message{Topic: "edgechain/v1/" + h.ChainID().String() + "/head", Payload: payload})
	}
}

func TestAKnownGatewayTakesAtMostTwoKilobytes(t *testing.T) {
	const n, most = 4000, 2048
	store := openPebble(t)
	registry, collector, heads := know(t, store, n)
	for _, h := range heads { // what the store's cache takes is the store's, however many there are
		if _, err := store.Record(t.Context(), h.ChainID()); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	hear(t, collector, heads)
	each := (heap() - before) / n
	t.Logf("%d bytes for each of %d gateways", each, n)
	if each > most {
		t.Errorf("%d bytes for each of %d gateways, at most %d", each, n, most)
	}
	runtime.KeepAlive(registry)
	runtime.KeepAlive(collector)
	runtime.KeepAlive(heads)
}

// Memory per known gateway at a hundred thousand of them: go test -run '^$' -bench Known -benchtime 100000x
func BenchmarkKnownGateways(b *testing.B) {
	store := openPebble(b)
	before := resident(b)
	registry, collector, heads := know(b, store, b.N)
	b.ResetTimer()
	hear(b, collector, heads)
	b.StopTimer()
	heads = nil
	b.ReportMetric(float64(resident(b)-before)/float64(b.N), "B/gateway")
	runtime.KeepAlive(registry)
	runtime.KeepAlive(collector)
	runtime.KeepAlive(heads)
}

// Pages of a thousand headers, checked, stored and countersigned: for one gateway, and for many at the same time.
func BenchmarkIngest(b *testing.B) {
	const page = 1000
	template := newChain(b, "ingested")
	template.sealMany(20 * page)
	pages := make([]*lightchain.Run, 0, 20)
	for i := range uint64(20) {
		pages = append(pages, template.run(1+i*page, (i+1)*page))
	}
	for _, kind := range []struct {
		name string
		open func(b *testing.B) aggregator.Store
	}{
		{"Pebble", func(b *testing.B) aggregator.Store {
			s, err := pebblestore.Open(b.TempDir(), pebblestore.Options{})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			return s
		}},
		{"PostgreSQL", func(b *testing.B) aggregator.Store {
			s, err := pgstore.Open(b.Context(), testenv.Postgres(b))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			return s
		}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			store := kind.open(b)
			clock := newClock()
			l := aggregator.NewLedger(store, clock.Now)
			for b.Loop() {
				// The same chain again and again, forgotten in between: what is measured begins after genesis.
				b.StopTimer()
				mustUpdate(b, store, template.id(), func(r *aggregator.Record) (*aggregator.Change, error) {
					*r = aggregator.Record{Chain: r.Chain, Standing: aggregator.Approved, State: &headersync.State{Chain: r.Chain}}
					return &aggregator.Change{Forget: true}, nil
				})
				b.StartTimer()
				for i, run := range pages {
					p := &headersync.Pulled{Head: 20 * page, Run: run}
					if i == 0 {
						p.Genesis = template.headers[0]
					}
					if v, err := take(l, template.id(), p, true); v != headersync.Extended || err != nil {
						b.Fatal(v, err)
					}
					if err := countersign(l, template.id(), chainTime+uint64(i)); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.N)*20*page/b.Elapsed().Seconds(), "headers/s")
		})
	}
}

// One new head at a time, as gateways seal them, of many gateways at once: each costs two durable writes.
func BenchmarkHeads(b *testing.B) {
	for _, kind := range []string{"Pebble", "PostgreSQL"} {
		b.Run(kind, func(b *testing.B) {
			var store aggregator.Store
			if kind == "Pebble" {
				store = openPebble(b)
			} else {
				s, err := pgstore.Open(b.Context(), testenv.Postgres(b)+"&pool_max_conns=32")
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { s.Close() })
				store = s
			}
			clock := newClock()
			l := aggregator.NewLedger(store, clock.Now)
			const gateways = 32
			var chains []*chain
			for i := range gateways {
				c := newChain(b, fmt.Sprint("gateway ", i))
				approved(b, store, c.id())
				c.sealMany(b.N/gateways + 1)
				if _, err := take(l, c.id(), &headersync.Pulled{Genesis: c.headers[0]}, true); err != nil {
					b.Fatal(err)
				}
				chains = append(chains, c)
			}
			b.ResetTimer()
			var all sync.WaitGroup
			for _, c := range chains {
				all.Go(func() {
					for height := uint64(1); height <= uint64(b.N/gateways+1); height++ {
						if _, err := take(l, c.id(), &headersync.Pulled{Head: height, Run: c.run(height, height)}, true); err != nil {
							b.Error(err)
							return
						}
						if err := countersign(l, c.id(), chainTime+height); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "heads/s")
		})
	}
}
