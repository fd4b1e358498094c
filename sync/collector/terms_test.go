package collector

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/synctest"
)

func TestAnAggregatorIsAddedWhileTheGatewayTalksToAnother(t *testing.T) {
	c, bus := synctest.NewChain(12), &liveBus{}
	c.Seal(3, synctest.Time*1e9, nil)
	trust := func(names ...string) gateway.Terms {
		terms := gateway.Terms{Announce: time.Millisecond}
		for _, name := range names {
			terms.Aggregators = append(terms.Aggregators, lightchain.Aggregator{Name: name, Key: synctest.Signer(name).Public()})
		}
		return terms
	}
	receipted := make(chan string, 1024)
	g, err := gateway.New(gateway.Config{
		Conn: bus.end(), Chain: c, Receipts: c, Signer: c.Signer, Random: synctest.Random(rand.New(rand.NewPCG(1, 1))), Terms: trust("north"),
		Notify: func(n gateway.Notice) {
			if n.Receipt > 0 {
				receipted <- n.Aggregator
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	running := make(chan error, 3)
	defer func() {
		stop()
		for range cap(running) {
			if err := <-running; err != nil {
				t.Error(err)
			}
		}
	}()
	for _, name := range []string{"north", "south"} {
		k, err := New(Config{
			Conn: bus.end(), Store: newMemStore(), Name: name, Signer: synctest.Signer(name), Workers: 1,
			Policy: func(lightchain.ChainID) (Policy, bool) { return Policy{Mode: headersync.EveryHeader}, true },
			Clock:  func() (uint64, bool) { return synctest.Time, true },
		})
		if err != nil {
			t.Fatal(err)
		}
		listening := bus.ends[len(bus.ends)-1]
		go func() { running <- k.Run(ctx) }()
		for !listening.listens() {
			time.Sleep(time.Millisecond)
		}
	}
	go func() { running <- g.Run(ctx) }()
	if name := <-receipted; name != "north" {
		t.Fatalf("a receipt of %s, whom nobody trusts", name)
	}
	g.SetTerms(trust("north", "south"))
	for <-receipted != "south" {
	}
}

// What arrives after SetTerms has returned is judged by the new terms, whether or not the machine has had time to turn.
func TestAnAggregatorThatWasRemovedIsNotAnsweredFromThenOn(t *testing.T) {
	c, signer, now := synctest.NewChain(12), synctest.Signer("north"), time.Unix(synctest.Time, 0)
	c.Seal(3, synctest.Time*1e9, nil)
	var said []headersync.Message
	g, err := gateway.New(gateway.Config{
		Conn: &synctest.Tap{To: &said}, Chain: c, Receipts: c, Signer: c.Signer, Random: synctest.Random(rand.New(rand.NewPCG(1, 1))),
		Terms: gateway.Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: signer.Public()}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	welcomed(t, g, now, &said, signer)
	pulled := func(sequence uint64) bool {
		said = nil
		pull := &headersync.Pull{Chain: c.Tip.Chain, Name: "north", Sequence: sequence, First: 0, Most: headersync.MinPage, Want: headersync.EveryHeader}
		payload, err := pull.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		g.Receive(now, headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, c.Tip.Chain, headersync.TopicPull, ""), Payload: payload})
		return len(said) > 0
	}
	if !pulled(1) {
		t.Fatal("not answered though trusted")
	}
	g.SetTerms(gateway.Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: synctest.Signer("another").Public()}}})
	if pulled(2) {
		t.Error("answered by its old key")
	}
	g.SetTerms(gateway.Terms{})
	if pulled(3) {
		t.Error("answered though removed")
	}
}
