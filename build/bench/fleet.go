package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"edgechain.example/aggregator/pebblestore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
)

// fleet measures the aggregator as it is shipped, with very many gateways: what it holds in memory of each. They are in
// its store when it starts, with a head and a receipt each; then each announces its head once. What it holds beyond one
// that knows nobody is theirs.
func (b *bench) fleet(ctx context.Context) error {
	gateways := b.scaled(100_000)
	nobody, err := b.hearFleet(ctx, 0)
	if errors.Is(err, errNoMosquitto) {
		b.leftOut("memory of an aggregator", err)
		return nil
	}
	if err != nil {
		return err
	}
	all, err := b.hearFleet(ctx, gateways)
	if err != nil {
		return err
	}
	each := (all - nobody) / float64(gateways)
	fmt.Fprintf(b.log, "   %s gateways: %.1f MB, none: %.1f MB, %.0f bytes each\n", plain(float64(gateways)), all/1e6, nobody/1e6, each)
	goal := atMost(2048)
	if b.short {
		goal = none() // a program's own growth, divided by few
	}
	b.compare("node", fmt.Sprintf("aggregator that has heard %s gateways", plain(float64(gateways))), "MB resident", []float64{all / 1e6}, "that knows nobody", []float64{nobody / 1e6}, none())
	b.report("node", "the difference, for each", "bytes resident", []float64{each}, goal)
	return nil
}

// hearFleet returns the aggregator's resident memory when it has heard so many gateways.
func (b *bench) hearFleet(ctx context.Context, gateways int) (resident float64, err error) {
	// Few on their way: what finds a queue of the aggregator's full is dropped.
	m, err := b.startMosquitto(ctx, 100)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	n, err := b.newAggregation(ctx, m.address, "\n[store]\ncache = \"8MiB\"\n")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	heads, err := fillStore(filepath.Join(n.dir, "data", "store"), gateways)
	if err != nil {
		return 0, err
	}
	if err := b.startAggregation(ctx, n); err != nil {
		return 0, err
	}
	if err := announce(ctx, m.address, n, heads); err != nil {
		return 0, err
	}
	return b.settledMemory(ctx, n.pid())
}

// settledMemory returns a process's resident memory once it has not changed for some seconds.
func (b *bench) settledMemory(ctx context.Context, process string) (float64, error) {
	quiet, most := 5, 120
	if b.short {
		quiet, most = 1, 3
	}
	last, same := uint64(0), 0
	for range most {
		now := memory(process, "VmRSS")
		if diff := max(now, last) - min(now, last); diff > now/100 {
			last, same = now, 0
		} else if same++; same == quiet {
			break
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return float64(last), nil
}

// fillStore puts gateways into an aggregator's store, and returns the head of each.
func fillStore(dir string, gateways int) (heads []*lightchain.SignedHeader, err error) {
	store, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	signer, err := benchSigner(-1)
	if err != nil {
		return nil, err
	}
	heads = make([]*lightchain.SignedHeader, gateways)
	const makers = 64 // who share syncs
	failed := make([]error, makers)
	var making sync.WaitGroup
	for m := range makers {
		making.Go(func() {
			for i := m; i < gateways && failed[m] == nil; i += makers {
				heads[i], failed[m] = approve(store, signer, i)
			}
		})
	}
	making.Wait()
	return heads, errors.Join(failed...)
}

func approve(store registry.Store, signer lightchain.Signer, n int) (*lightchain.SignedHeader, error) {
	c, err := newHeaderChain(n)
	if err != nil {
		return nil, err
	}
	head, now := c.genesis, uint64(c.began/1e9)
	return head, store.Update(context.Background(), head.ChainID(), func(r *registry.Record) (*registry.Change, error) {
		receipt, err := head.Countersign(signer, benchAggregator, now)
		r.Standing, r.Name, r.Decided, r.Seen = registry.Approved, fmt.Sprintf("gateway-%06d", n), int64(now), int64(now)
		mark := &collector.Mark{Head: head}
		r.State = &collector.State{Chain: head.ChainID(), Keys: []*lightchain.SignedHeader{head}, Head: mark, Every: mark, Receipt: &receipt, Last: now}
		return nil, err
	})
}

// announce publishes each head, and returns when the aggregator has taken all of them.
func announce(ctx context.Context, broker string, n *aggregation, heads []*lightchain.SignedHeader) error {
	client, err := connect(broker, "fleet")
	if err != nil {
		return err
	}
	defer client.Disconnect(250)
	const together = 64
	var sent []paho.Token
	for i, head := range heads {
		payload, err := head.Encode()
		if err != nil {
			return err
		}
		sent = append(sent, client.Publish(headersync.ChainTopics(headersync.DefaultPrefix, head.ChainID())+"/head", 1, false, payload))
		if len(sent) == together || i == len(heads)-1 {
			if err := finished(sent...); err != nil {
				return err
			}
			sent = sent[:0]
		}
	}
	came, _, err := awaitCount(ctx, len(heads), patience, func() (int, error) { return n.received(ctx) })
	if err == nil && came < len(heads) {
		err = fmt.Errorf("%d of %d heads came", came, len(heads))
	}
	return err
}
