package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"edgechain.example/lightchain/store"
)

// receiptEvery is the time between two messages of a gateway: with one it announces its head at least a second after the
// last, and not before.
const receiptEvery = 1250 * time.Millisecond

const receiptConfig = brokerConfig + `
[block]
interval = "100ms"

[sync]
announce = "1s"
`

// upstreamConfig leads to the aggregator by a broker's address.
const upstreamConfig = `
[[upstream]]
name = "office"
servers = ["tcp://%s"]
[[upstream.aggregator]]
name = "` + benchAggregator + `"
key = %q
`

// receipts measures the round of a new head: sealed, announced, pulled, checked, stored, countersigned, and its receipt
// checked and stored at the gateway. Several gateways have their rounds at one aggregator as it is shipped; the baseline
// goes through the same broker at the same time.
// Mosquitto sends what it has at once, unlike as shipped: there Nagle's algorithm holds a message back until what went
// before it is confirmed, which the other end puts off for 40 ms, and a bare echo would take a hundred times as long.
func (b *bench) receipts(ctx context.Context) (err error) {
	gateways, each := 8, 40
	if b.short {
		gateways, each = 2, 3
	}
	m, err := b.startMosquitto(ctx, 1000, "set_tcp_nodelay true")
	if errors.Is(err, errNoMosquitto) {
		b.leftOut("the round of a receipt", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	n, err := b.newAggregation(ctx, m.address, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	if err := b.startAggregation(ctx, n); err != nil {
		return err
	}
	rounds := make([][]float64, gateways)
	failed := make([]error, gateways)
	var running sync.WaitGroup
	for i := range gateways {
		running.Go(func() {
			rounds[i], failed[i] = b.receiptRounds(ctx, m.address, n, each, time.Duration(i)*receiptEvery/time.Duration(gateways))
		})
	}
	echoes, err := echo(ctx, m.address, gateways*each, receiptEvery/time.Duration(gateways))
	running.Wait()
	if err := errors.Join(err, errors.Join(failed...)); err != nil {
		return err
	}
	var all []float64
	for _, r := range rounds {
		all = append(all, r...)
	}
	if len(all) == 0 {
		return errors.New("no receipt came")
	}
	fmt.Fprintf(b.log, "   %d rounds, %d echoes\n", len(all), len(echoes))
	const baseline = "MQTT QoS 1 echo of a head"
	b.compare("receipts", fmt.Sprintf("from seal to stored receipt, median of %d", len(all)), "ms", []float64{median(all)}, baseline, []float64{median(echoes)}, none())
	b.compare("receipts", "from seal to stored receipt, 99 of 100 within", "ms", []float64{quantile(all, 0.99)}, baseline, []float64{quantile(echoes, 0.99)}, none())
	return nil
}

// receiptRounds runs a gateway for so many rounds, and returns how long each took, in milliseconds: from the time in the
// header to the line in the gateway's log that says that the receipt is stored.
func (b *bench) receiptRounds(ctx context.Context, broker string, n *aggregation, rounds int, after time.Duration) (took []float64, err error) {
	g, err := b.startGateway(ctx, receiptConfig+fmt.Sprintf(upstreamConfig, broker, n.key), "--set", "log.level=debug", "--set", "log.format=json")
	if err != nil {
		return nil, err
	}
	stopped := false
	defer func() {
		if !stopped {
			g.stop()
		}
	}()
	first, err := g.receipted(ctx)
	if err != nil {
		return nil, err
	}
	time.Sleep(receiptEvery + after) // the next head may be announced at once
	if _, err := (flood{Address: g.broker, Conns: 1, QoS: 1, Messages: rounds, Window: rounds, Every: receiptEvery}).run(ctx); err != nil {
		return nil, err
	}
	if _, err := g.receipted(ctx); err != nil {
		return nil, err
	}
	g.stop()
	stopped = true
	reader, err := store.OpenReader(filepath.Join(g.dir, "data", "chain"), store.Options{})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	for line := range strings.Lines(g.output.String()) {
		var said struct {
			Time   time.Time `json:"time"`
			Msg    string    `json:"msg"`
			Height uint64    `json:"height"`
		}
		if json.Unmarshal([]byte(line), &said) != nil || said.Msg != "receipted" || said.Height <= first {
			continue
		}
		h, err := reader.HeaderAt(said.Height)
		if err != nil {
			return nil, err
		}
		took = append(took, float64(said.Time.UnixNano()-h.Sealed)/1e6)
	}
	return took, nil
}

// receipted waits until everything is sealed and the newest head has its receipt, and returns its height.
func (g *gateway) receipted(ctx context.Context) (height uint64, err error) {
	return height, g.await(func() bool {
		s, err := g.client.Status(ctx)
		if err != nil || s.Open > 0 || s.Live == nil || len(s.Live.Upstreams) == 0 {
			return false
		}
		height = s.Height
		r := s.Live.Upstreams[0].Aggregators[0].Receipted
		return height > 0 && r != nil && *r == height
	})
}

// echo sends a head through the broker to somebody who sends it back, and returns how long each took, in milliseconds.
func echo(ctx context.Context, broker string, times int, every time.Duration) (took []float64, err error) {
	c, err := newHeaderChain(0)
	if err != nil {
		return nil, err
	}
	head, err := c.seal()
	if err != nil {
		return nil, err
	}
	payload, err := head.Encode()
	if err != nil {
		return nil, err
	}
	near, err := connect(broker, "echo-near")
	if err != nil {
		return nil, err
	}
	defer near.Disconnect(250)
	far, err := connect(broker, "echo-far")
	if err != nil {
		return nil, err
	}
	defer far.Disconnect(250)
	back := make(chan struct{}, 1)
	err = errors.Join(
		finished(far.Subscribe("echo/there", 1, func(c paho.Client, m paho.Message) { c.Publish("echo/back", 1, false, m.Payload()) })),
		finished(near.Subscribe("echo/back", 1, func(paho.Client, paho.Message) { back <- struct{}{} })))
	if err != nil {
		return nil, err
	}
	for range times {
		began := time.Now()
		near.Publish("echo/there", 1, false, payload)
		select {
		case <-back:
		case <-time.After(patience):
			return nil, errors.New("no echo came")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		took = append(took, float64(time.Since(began))/1e6)
		time.Sleep(every)
	}
	return took, nil
}
