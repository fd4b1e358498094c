package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
)

type blocksTask struct {
	Data   string // an agent's folder
	Blocks int
}

// sealBlocks makes the chain of a gateway that was offline for so many minutes, with its key, and returns how many bytes
// its signed headers take, each by itself.
func sealBlocks(t blocksTask) (bytes uint64, err error) {
	if err := os.MkdirAll(t.Data, 0o700); err != nil {
		return 0, err
	}
	o := store.Options{}
	if o.Signer, err = keyfile.Create(filepath.Join(t.Data, "key"), keyfile.Options{}); err != nil {
		return 0, err
	}
	chain := filepath.Join(t.Data, "chain")
	if _, err := store.Create(chain, o, store.Genesis{Name: "bench"}); err != nil {
		return 0, err
	}
	s, err := store.Open(chain, o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	entries, err := machineEntries(stagingPool)
	if err != nil {
		return 0, err
	}
	pace, err := newHeaderChain(0) // for the times of its headers
	if err != nil {
		return 0, err
	}
	for i := range t.Blocks {
		if _, err := s.Stage(entries[i%len(entries):][:1]); err != nil {
			return 0, err
		}
		like := pace.next()
		signed, err := s.Seal(store.SealParams{Sealed: like.Sealed, Clock: like.Clock})
		if err != nil {
			return 0, err
		}
		pace.tip.Height++
		encoded, err := signed.Encode()
		if err != nil {
			return 0, err
		}
		bytes += uint64(len(encoded))
	}
	return bytes, nil
}

// catchup measures what it takes until an aggregator knows a gateway that was offline for long, and the gateway has its
// receipt. All bytes between the gateway and the broker count, those of MQTT included.
func (b *bench) catchup(ctx context.Context) (err error) {
	blocks := b.scaled(100_000)
	m, err := b.startMosquitto(ctx, 1000)
	if errors.Is(err, errNoMosquitto) {
		b.leftOut("catching up", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	dir, err := os.MkdirTemp(b.dir, "offline-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var whole uint64
	began := time.Now()
	if err := b.measure(ctx, "blocks", blocksTask{filepath.Join(dir, "data"), blocks}, &whole); err != nil {
		return err
	}
	fmt.Fprintf(b.log, "   %s blocks sealed in %v\n", plain(float64(blocks)), time.Since(began).Round(time.Second))
	for _, mode := range []registry.Mode{registry.Dense, registry.Sparse} {
		took, bytes, err := b.catchUp(ctx, m.address, dir, mode, uint64(blocks))
		if err != nil {
			return fmt.Errorf("mode %s: %w", mode, err)
		}
		name := fmt.Sprintf("%s blocks offline, mode %q", plain(float64(blocks)), mode)
		fmt.Fprintf(b.log, "   %s: %v, %s bytes\n", name, took.Round(time.Millisecond), plain(float64(bytes)))
		const baseline = "each header with its signature"
		goal := none()
		if mode == registry.Dense {
			goal = atMost(48)
		}
		each := []float64{float64(bytes) / float64(blocks)}
		b.compare("catchup", name, "bytes", []float64{float64(bytes)}, baseline, []float64{float64(whole)}, none())
		b.compare("catchup", name, "bytes/header", each, baseline, []float64{float64(whole) / float64(blocks)}, goal)
		b.report("catchup", name, "seconds", []float64{took.Seconds()}, none())
	}
	return nil
}

// catchUp lets an aggregator that knows nothing follow the chain below dir, and returns how long that took from the
// gateway's connection on, and the bytes.
func (b *bench) catchUp(ctx context.Context, broker, dir string, mode registry.Mode, blocks uint64) (took time.Duration, bytes int64, err error) {
	n, err := b.newAggregation(ctx, broker, fmt.Sprintf("\n[pull]\nmode = %q\n", mode))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	if err := b.startAggregation(ctx, n); err != nil {
		return 0, 0, err
	}
	w, err := newWire(broker)
	if err != nil {
		return 0, 0, err
	}
	defer w.Close()
	g, err := b.startGatewayIn(ctx, dir, brokerConfig+fmt.Sprintf(upstreamConfig, w.Addr(), n.key))
	if err != nil {
		return 0, 0, err
	}
	defer g.stop()
	s, err := g.client.Status(ctx)
	if err != nil {
		return 0, 0, err
	}
	err = g.await(func() bool { return n.knows(ctx, s.Chain, mode, blocks) && g.holdsReceipt(ctx, blocks) })
	return time.Since(w.began()), w.bytes.Load(), err
}

// knows reports whether the aggregator knows the chain up to a height, and where it follows every header, all of them.
func (n *aggregation) knows(ctx context.Context, chain lightchain.ChainID, mode registry.Mode, height uint64) bool {
	text, err := n.get(ctx, "/v1/gateways/"+chain.String())
	if err != nil {
		return false // it has not heard of it yet
	}
	var known api.Gateway
	if json.Unmarshal([]byte(text), &known) != nil {
		return false
	}
	return known.Receipt.Height >= height && (mode == registry.Sparse || known.Head.Every >= height)
}

// holdsReceipt reports whether the gateway holds a receipt on a header at least that high.
func (g *gateway) holdsReceipt(ctx context.Context, height uint64) bool {
	s, err := g.client.Status(ctx)
	if err != nil || s.Live == nil {
		return false
	}
	r := s.Live.Upstreams[0].Aggregators[0].Receipted
	return r != nil && *r >= height
}

// wire is a way to a broker that counts what passes.
type wire struct {
	net.Listener
	bytes atomic.Int64
	first atomic.Int64 // when the first connection was made, nanoseconds since the Unix epoch
}

func newWire(broker string) (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{Listener: l}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			w.first.CompareAndSwap(0, time.Now().UnixNano())
			far, err := net.Dial("tcp", broker)
			if err != nil {
				near.Close()
				continue
			}
			go w.carry(near, far)
			go w.carry(far, near)
		}
	}()
	return w, nil
}

func (w *wire) began() time.Time { return time.Unix(0, w.first.Load()) }

func (w *wire) carry(from, to net.Conn) {
	defer to.Close()
	_, _ = io.Copy(io.MultiWriter(to, counting{&w.bytes}), from)
}

type counting struct{ n *atomic.Int64 }

func (c counting) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}
