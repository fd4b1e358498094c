package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"edgechain.example/aggregator/pebblestore"
	"edgechain.example/aggregator/pgstore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
)

type nodeTask struct {
	Store string // "Pebble", "PostgreSQL"; "" keeps nothing
	Dir   string
	DSN   string

	First   int // number of the first chain: a database goes on knowing those that it had
	Chains  int // that are taken in at the same time
	Pages   int // of each
	Headers int // in a page
}

// takeIn takes pages as they come from the wire: each is checked, stored, and its head countersigned, the next of its
// chain only then. It returns how long all of them took.
func takeIn(t nodeTask) (took time.Duration, err error) {
	store, err := openNode(t)
	if err != nil {
		return 0, err
	}
	signer, err := benchSigner(-1)
	if err != nil {
		return 0, err
	}
	n := &intakeNode{store: store, signer: signer}
	if store != nil {
		defer func() { err = errors.Join(err, store.Close()) }()
		n.ledger = registry.NewLedger(store, time.Now, nil)
	}
	pages := make([][][]byte, t.Chains)
	starts := make([]*headerChain, t.Chains)
	var making sync.WaitGroup
	failed := make([]error, t.Chains)
	for i := range pages {
		making.Go(func() {
			failed[i] = func() error {
				c, err := newHeaderChain(t.First + i)
				if err != nil {
					return err
				}
				begin := *c
				begin.tip = c.tip.Clone()
				starts[i] = &begin
				for range t.Pages {
					page, err := c.run(t.Headers)
					if err != nil {
						return err
					}
					pages[i] = append(pages[i], page)
				}
				return n.begin(c.genesis)
			}()
		})
	}
	making.Wait()
	if err := errors.Join(failed...); err != nil {
		return 0, err
	}
	began := time.Now()
	var taking sync.WaitGroup
	for i := range pages {
		taking.Go(func() {
			for _, page := range pages[i] {
				if failed[i] = n.take(starts[i], page); failed[i] != nil {
					return
				}
			}
		})
	}
	taking.Wait()
	return time.Since(began), errors.Join(failed...)
}

func openNode(t nodeTask) (registry.Store, error) {
	switch t.Store {
	case "":
		return nil, nil
	case "Pebble":
		return pebblestore.Open(t.Dir, pebblestore.Options{})
	case "PostgreSQL":
		return pgstore.Open(context.Background(), t.DSN+"&pool_max_conns=32", pgstore.Options{CrashLoss: registry.WarnLoss})
	}
	return nil, fmt.Errorf("%q is no store", t.Store)
}

// intakeNode is what of an aggregator stands behind its connections.
type intakeNode struct {
	store  registry.Store
	ledger collector.Store // nil: what is checked is kept nowhere
	signer lightchain.Signer
}

const benchAggregator = "agg-1"

// begin approves a gateway, whose genesis is known then.
func (n *intakeNode) begin(genesis *lightchain.SignedHeader) error {
	if n.ledger == nil {
		return nil
	}
	ctx, chain := context.Background(), genesis.ChainID()
	err := n.store.Update(ctx, chain, func(r *registry.Record) (*registry.Change, error) {
		r.Standing = registry.Approved
		return nil, nil
	})
	if err != nil {
		return err
	}
	return n.judge(chain, &headersync.Pulled{Genesis: genesis})
}

func (n *intakeNode) judge(chain lightchain.ChainID, p *headersync.Pulled) error {
	return n.ledger.Update(context.Background(), chain, func(s *collector.State, put func(collector.Held) error) error {
		verdict, err := collector.Judge(s, p, true, nil, put)
		if err == nil && verdict != collector.Extended {
			err = fmt.Errorf("a page is %s", verdict)
		}
		return err
	})
}

// take is what an aggregator does with a page: two durable writes, one for the headers and one for the receipt.
func (n *intakeNode) take(c *headerChain, page []byte) error {
	run, err := lightchain.DecodeRun(page)
	if err != nil {
		return err
	}
	now := uint64(time.Now().Unix())
	if n.ledger == nil {
		head, err := c.tip.Follow(run, nil)
		if err == nil {
			_, err = head.Countersign(n.signer, benchAggregator, now)
		}
		return err
	}
	chain := c.genesis.ChainID()
	if err := n.judge(chain, &headersync.Pulled{Head: run.Last(), Run: run}); err != nil {
		return err
	}
	return n.ledger.Update(context.Background(), chain, func(s *collector.State, _ func(collector.Held) error) error {
		r, err := s.Head.Head.Countersign(n.signer, benchAggregator, now)
		s.Receipt, s.Last = &r, now
		return err
	})
}

// node measures what an aggregator takes in: backlogs, page by page, and new heads, one at a time of many gateways.
func (b *bench) node(ctx context.Context) (err error) {
	stores := []string{"Pebble", "PostgreSQL"}
	pg, err := b.startPostgres(ctx)
	if err != nil {
		// There are many ways in which a server does not start on somebody's machine, and much else to measure.
		b.leftOut("what an aggregator takes in on PostgreSQL", err)
		stores = stores[:1]
	} else {
		defer func() { err = errors.Join(err, pg.close()) }()
	}
	first := 0
	for _, c := range []struct {
		name, unit string
		task       nodeTask
	}{
		{"backlogs of 8 gateways, pages of 1 000", "headers/s", nodeTask{Chains: 8, Pages: b.scaled(20_000) / headersPerRun, Headers: headersPerRun}},
		{"new heads of 32 gateways, one by one", "heads/s", nodeTask{Chains: 32, Pages: b.scaled(100_000) / 1000, Headers: 1}},
	} {
		rate := map[string][]float64{}
		for round := range b.rounds {
			for _, store := range append([]string{""}, stores...) {
				t := c.task
				t.Store, t.Dir, t.First = store, filepath.Join(b.dir, "node"), first
				if store == "PostgreSQL" {
					t.DSN = pg.dsn
				}
				first += t.Chains
				var took time.Duration
				if err := b.measure(ctx, "node", t, &took); err != nil {
					return err
				}
				if err := os.RemoveAll(t.Dir); err != nil {
					return err
				}
				rate[store] = append(rate[store], float64(t.Chains*t.Pages*t.Headers)/took.Seconds())
			}
			for _, store := range stores {
				fmt.Fprintf(b.log, "   %s, round %d, %s: %s/s\n", c.name, round+1, store, plain(rate[store][round]))
			}
		}
		for _, store := range stores {
			b.compare("node", c.name+", "+store, c.unit, rate[store], "checked and countersigned, kept nowhere", rate[""], none())
		}
	}
	return b.fleet(ctx)
}
