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

// An aggregator that hears a gateway's head before anything vouches for it follows a change of key that comes soon after.
// Heads that nobody vouches for make it ask no more than once for that.
func TestAKeyThatChangesSoonAfterTheFirstHeadIsFollowed(t *testing.T) {
	c, signer, now := synctest.NewChain(12), synctest.Signer("north"), time.Unix(synctest.Time, 0)
	var asked, answered []headersync.Message
	g, err := gateway.New(gateway.Config{
		Conn: &synctest.Tap{To: &answered}, Chain: c, Receipts: c, Signer: c.Signer, Random: synctest.Random(rand.New(rand.NewPCG(1, 1))),
		Terms: gateway.Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: signer.Public()}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	welcomed(t, g, now, &answered, signer)
	store := newMemStore()
	k, err := New(Config{
		Conn: &synctest.Tap{To: &asked}, Store: store, Name: "north", Signer: signer, Workers: 1,
		Policy: func(lightchain.ChainID) (Policy, bool) { return Policy{Mode: headersync.EveryHeader}, true },
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
		k.Receive(context.Background(), now, headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, c.Tip.Chain, headersync.TopicHead, ""), Payload: payload})
		for _, m := range asked {
			if _, word, _, _ := headersync.SplitTopic(headersync.DefaultPrefix, m.Topic); word == headersync.TopicPull {
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
	newest := func() *lightchain.SignedHeader { return c.Headers[c.Tip.Height] }

	c.Seal(3, synctest.Time*1e9, nil)
	if pulls := announce(newest()); pulls != 1 {
		t.Fatalf("at the first head it asks %d times", pulls)
	}
	now = now.Add(time.Second)
	c.Seal(3, now.UnixNano(), synctest.Signer("the next key"))
	c.Seal(3, now.UnixNano(), nil)
	if pulls := announce(newest()); pulls != 1 {
		t.Errorf("a second later, at a head under another key, it asks %d times", pulls)
	}
	if s, err := store.load(c.Tip.Chain); err != nil || s.Head.Height() != c.Tip.Height || len(s.Keys) != 2 {
		t.Errorf("it follows up to %d of %d, with %d keys: %v", s.Head.Height(), c.Tip.Height, len(s.Keys), err)
	}
	forged := newest().Header
	forged.Height++
	for range 20 {
		now = now.Add(time.Second)
		h, err := forged.Sign(synctest.Signer("mallory"))
		if err != nil {
			t.Fatal(err)
		}
		if pulls := announce(h); pulls > 0 {
			t.Fatalf("at a head that mallory signed it asks %d times", pulls)
		}
	}
}
