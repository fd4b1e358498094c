package headersync

import (
	"context"
	"testing"
	"time"

	"edgechain.example/lightchain"
)

// An aggregator that hears a gateway's head before anything vouches for it follows a change of key that comes soon after.
// Heads that nobody vouches for make it ask no more than once for that.
func TestAKeyThatChangesSoonAfterTheFirstHeadIsFollowed(t *testing.T) {
	c, signer, now := newMemChain(12), testSigner("north"), time.Unix(testTime, 0)
	var asked, answered []Message
	g, err := NewGateway(GatewayConfig{
		Conn: &tap{to: &answered}, Chain: c, Receipts: c, Signer: c.signer, Random: seeded{newWorldRand()},
		Terms: Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: signer.Public()}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.peers["north"].nonce = 1
	store := newMemStore()
	k, err := NewCollector(CollectorConfig{
		Conn: &tap{to: &asked}, Store: store, Name: "north", Signer: signer, Workers: 1,
		Policy: func(lightchain.ChainID) (Policy, bool) { return Policy{Mode: EveryHeader}, true },
		Clock:  func() (uint64, bool) { return uint64(now.Unix()), true },
	})
	if err != nil {
		t.Fatal(err)
	}
	// announce has the aggregator hear the newest head, and returns how often it asks; the gateway answers.
	announce := func(head *lightchain.SignedHeader) (pulls int) {
		t.Helper()
		payload, err := head.Encode()
		if err != nil {
			t.Fatal(err)
		}
		asked = nil
		k.Receive(context.Background(), now, Message{Topic: topic(DefaultPrefix, c.tip.Chain, topicHead, ""), Payload: payload})
		for _, m := range asked {
			if _, word, _, _ := splitTopic(DefaultPrefix, m.Topic); word == topicPull {
				pulls++
				answered = nil
				g.Receive(now, m)
				for _, page := range answered {
					k.Receive(context.Background(), now, page)
				}
			}
		}
		return pulls
	}
	newest := func() *lightchain.SignedHeader { return c.headers[c.tip.Height] }

	c.seal(3, testTime*1e9, nil)
	if pulls := announce(newest()); pulls != 1 {
		t.Fatalf("at the first head it asks %d times", pulls)
	}
	now = now.Add(time.Second)
	c.seal(3, now.UnixNano(), testSigner("the next key"))
	c.seal(3, now.UnixNano(), nil)
	if pulls := announce(newest()); pulls != 1 {
		t.Errorf("a second later, at a head under another key, it asks %d times", pulls)
	}
	if s, err := store.load(c.tip.Chain); err != nil || s.Head.Height() != c.tip.Height || len(s.Keys) != 2 {
		t.Errorf("it follows up to %d of %d, with %d keys: %v", s.Head.Height(), c.tip.Height, len(s.Keys), err)
	}
	forged := newest().Header
	forged.Height++
	for range 20 {
		now = now.Add(time.Second)
		h, err := forged.Sign(testSigner("mallory"))
		if err != nil {
			t.Fatal(err)
		}
		if pulls := announce(h); pulls > 0 {
			t.Fatalf("at a head that mallory signed it asks %d times", pulls)
		}
	}
}
