package headersync

import (
	"context"
	"testing"
	"time"

	"edgechain.example/lightchain"
)

func TestAnAggregatorIsAddedWhileTheGatewayTalksToAnother(t *testing.T) {
	c, bus := newMemChain(12), &liveBus{}
	c.seal(3, testTime*1e9, nil)
	trust := func(names ...string) Terms {
		terms := Terms{Announce: time.Millisecond}
		for _, name := range names {
			terms.Aggregators = append(terms.Aggregators, lightchain.Aggregator{Name: name, Key: testSigner(name).Public()})
		}
		return terms
	}
	receipted := make(chan string, 1024)
	g, err := NewGateway(GatewayConfig{
		Conn: bus.end(), Chain: c, Receipts: c, Signer: c.signer, Random: seeded{newWorldRand()}, Terms: trust("north"),
		Notify: func(n Notice) {
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
		k, err := NewCollector(CollectorConfig{
			Conn: bus.end(), Store: newMemStore(), Name: name, Signer: testSigner(name), Workers: 1,
			Policy: func(lightchain.ChainID) (Policy, bool) { return Policy{Mode: EveryHeader}, true },
			Clock:  func() (uint64, bool) { return testTime, true },
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
	c, signer, now := newMemChain(12), testSigner("north"), time.Unix(testTime, 0)
	c.seal(3, testTime*1e9, nil)
	var said []Message
	g, err := NewGateway(GatewayConfig{
		Conn: &tap{to: &said}, Chain: c, Receipts: c, Signer: c.signer, Random: seeded{newWorldRand()},
		Terms: Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: signer.Public()}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.peers["north"].nonce = 1
	pulled := func(sequence uint64) bool {
		said = nil
		pull := &Pull{Chain: c.tip.Chain, Name: "north", Sequence: sequence, First: 0, Most: minPage, Want: EveryHeader}
		payload, err := pull.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		g.Receive(now, Message{Topic: topic(DefaultPrefix, c.tip.Chain, topicPull, ""), Payload: payload})
		return len(said) > 0
	}
	if !pulled(1) {
		t.Fatal("not answered though trusted")
	}
	g.SetTerms(Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: testSigner("another").Public()}}})
	if pulled(2) {
		t.Error("answered by its old key")
	}
	g.SetTerms(Terms{})
	if pulled(3) {
		t.Error("answered though removed")
	}
}
