package collector

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/pace"
	"edgechain.example/sync/synctest"
)

// succession is a gateway and aggregators of one name on one store, of which one owns the chain; a test carries their messages.
type succession struct {
	t        testing.TB
	now      time.Time
	chain    *synctest.Chain
	g        *gateway.Gateway
	answered []headersync.Message // what the gateway sent
	store    *memStore
	policy   Policy
	owner    int
	owners   []*Collector
	sent     [][]headersync.Message // by each
	invalid  int
	foreign  lightchain.ChainID // which none of them owns
}

func newSuccession(t testing.TB, n int) *succession {
	p := &succession{t: t, now: time.Unix(synctest.Time, 0), chain: synctest.NewChain(12), store: newMemStore(), policy: Policy{Mode: headersync.EveryHeader}, sent: make([][]headersync.Message, n)}
	signer := synctest.Signer("north")
	var err error
	p.g, err = gateway.New(gateway.Config{
		Conn: &synctest.Tap{To: &p.answered}, Chain: p.chain, Receipts: p.chain, Signer: p.chain.Signer, Random: synctest.Random(rand.New(rand.NewPCG(1, 1))),
		Terms: gateway.Terms{Aggregators: []lightchain.Aggregator{{Name: "north", Key: signer.Public()}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	welcomed(t, p.g, p.now, &p.answered, signer)
	for i := range n {
		k, err := New(Config{
			Conn: &synctest.Tap{To: &p.sent[i]}, Store: p.store, Name: "north", Signer: signer, Workers: 1,
			Owns:   func(c lightchain.ChainID) bool { return p.owner == i && c != p.foreign },
			Policy: func(lightchain.ChainID) (Policy, bool) { return p.policy, true },
			Clock:  func() (uint64, bool) { return uint64(p.now.Unix()), true },
			Notify: func(f Finding) {
				if f.Verdict == Invalid {
					p.invalid++
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		p.owners = append(p.owners, k)
	}
	return p
}

// hear has all aggregators hear a message.
func (p *succession) hear(m headersync.Message) {
	p.now = p.now.Add(time.Second)
	for _, k := range p.owners {
		k.Receive(context.Background(), p.now, m)
	}
}

func (p *succession) head(height uint64) headersync.Message {
	p.t.Helper()
	payload, err := p.chain.Headers[height].Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	return headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, p.chain.Tip.Chain, headersync.TopicHead, ""), Payload: payload}
}

// pulled returns the gateway's pages for what an aggregator asked since the last time.
func (p *succession) pulled(by int) (pages []headersync.Message) {
	for _, m := range p.sent[by] {
		if _, word, _, _ := headersync.SplitTopic(headersync.DefaultPrefix, m.Topic); word == headersync.TopicPull {
			p.answered = nil
			p.now = p.now.Add(time.Second)
			p.g.Receive(p.now, m)
			pages = append(pages, p.answered...)
		}
	}
	p.sent[by] = nil
	return pages
}

// settle carries messages until nobody asks any more.
func (p *succession) settle() {
	for more := true; more; {
		more = false
		for i := range p.owners {
			for _, page := range p.pulled(i) {
				p.hear(page)
				more = true
			}
		}
	}
}

func (p *succession) known() uint64 {
	p.t.Helper()
	s, err := p.store.load(p.chain.Tip.Chain)
	if err != nil || s == nil || s.Head == nil {
		p.t.Fatalf("the state: %+v, %v", s, err)
	}
	return s.Head.Height()
}

// A head that was taken while a page was on its way makes the page begin too low. That is nobody's fault.
func TestAPageThatAHeadOvertookAccusesNobody(t *testing.T) {
	p := newSuccession(t, 1)
	p.chain.Seal(3, synctest.Time*1e9, nil)
	p.hear(p.head(p.chain.Tip.Height))
	p.settle()
	before := p.known()
	for range 3 {
		p.chain.Seal(1, p.now.UnixNano(), nil)
	}
	p.hear(p.head(before + 3))
	pages := p.pulled(0)
	if len(pages) != 1 {
		t.Fatalf("%d pages", len(pages))
	}
	p.hear(p.head(before + 1))
	if got := p.known(); got != before+1 {
		t.Fatalf("a head that continues the one known is not taken: %d", got)
	}
	p.hear(pages[0])
	p.settle()
	if got := p.known(); got != before+3 || p.invalid > 0 {
		t.Errorf("known are %d of %d, and %d findings accuse the gateway", got, before+3, p.invalid)
	}
}

// Whoever takes a chain over asks for itself: an answer to the former owner moves nothing under its question.
func TestAnAnswerToAFormerOwnerMovesNothing(t *testing.T) {
	p := newSuccession(t, 2)
	p.chain.Seal(3, synctest.Time*1e9, nil)
	p.hear(p.head(p.chain.Tip.Height))
	p.settle()
	before := p.known()
	for range 2 {
		p.chain.Seal(1, p.now.UnixNano(), nil)
	}
	p.hear(p.head(before + 2))
	late := p.pulled(0) // which the former owner does not live to see
	if len(late) != 1 {
		t.Fatalf("%d pages", len(late))
	}
	p.owner = 1
	p.owners[0].Retain(func(lightchain.ChainID) bool { return false })
	for range 2 {
		p.chain.Seal(1, p.now.UnixNano(), nil)
	}
	p.hear(p.head(before + 4))
	pages := p.pulled(1)
	if len(pages) != 1 {
		t.Fatalf("who takes over asks %d times", len(pages))
	}
	p.hear(late[0])
	if got := p.known(); got != before {
		t.Errorf("an answer to the former owner moved the chain to %d", got)
	}
	p.hear(pages[0])
	p.settle()
	if got := p.known(); got != before+4 || p.invalid > 0 {
		t.Errorf("known are %d of %d, and %d findings accuse the gateway", got, before+4, p.invalid)
	}
	if len(p.sent[0]) > 0 {
		t.Errorf("the former owner says %v", p.sent[0])
	}
}

// unanswered is a store whose next update that stores a receipt is made, and not answered.
type unanswered struct {
	*memStore
	lost int
}

func (u *unanswered) Update(ctx context.Context, chain lightchain.ChainID, f func(*State, func(Held) error) error) error {
	signed := false
	err := u.memStore.Update(ctx, chain, func(s *State, put func(Held) error) error {
		before := s.Receipt
		err := f(s, put)
		signed = s.Receipt != nil && s.Receipt != before
		return err
	})
	if err == nil && signed && u.lost == 0 {
		u.lost++
		return errors.New("the connection broke")
	}
	return err
}

// A receipt of which it is not known whether it was stored goes out once that can be seen, and the gateway need not ask for it.
func TestAReceiptWhoseStoringWasNotAnsweredGoesOutLater(t *testing.T) {
	p := newSuccession(t, 1)
	store := &unanswered{memStore: p.store}
	p.owners[0].c.Store = store
	receipts := func() (n int) {
		for _, m := range p.sent[0] {
			if _, word, _, _ := headersync.SplitTopic(headersync.DefaultPrefix, m.Topic); word == headersync.TopicReceipt {
				n++
			}
		}
		return n
	}
	p.chain.Seal(3, synctest.Time*1e9, nil)
	p.hear(p.head(p.chain.Tip.Height))
	for _, page := range p.pulled(0) {
		p.hear(page)
	}
	if store.lost != 1 || receipts() != 0 {
		t.Fatalf("%d answers were lost, %d receipts are out", store.lost, receipts())
	}
	for range 30 {
		p.now = p.now.Add(time.Second)
		p.owners[0].Tick(context.Background(), p.now)
	}
	if receipts() != 1 {
		t.Errorf("half a minute later %d receipts are out", receipts())
	}
}

// Owners that follow each other, each killed amid a question, cost a gateway no more than one would.
func TestOwnersThatFollowEachOtherKeepOneBudget(t *testing.T) {
	const owners = 8
	p := newSuccession(t, owners)
	p.policy.BytesPerDay, p.policy.Page = 40<<10, 8<<10
	for range 4000 {
		p.chain.Seal(1, synctest.Time*1e9, nil)
	}
	var wire uint64
	for i := range owners {
		p.owner = i
		p.owners[i].Follow(context.Background(), p.now, p.chain.Tip.Chain)
		p.hear(p.head(p.chain.Tip.Height))
		for range 20 {
			for _, m := range p.sent[i] {
				wire += pace.Cost(m.Topic, m.Payload)
			}
			pages := p.pulled(i)
			for n, page := range pages {
				wire += pace.Cost(page.Topic, page.Payload)
				if n == 0 && i%2 == 1 {
					continue // it is killed before that comes
				}
				p.hear(page)
			}
		}
	}
	if wire > p.policy.BytesPerDay {
		t.Errorf("%d bytes went over the wire, of %d", wire, p.policy.BytesPerDay)
	}
	if p.known() == 0 || wire < p.policy.BytesPerDay/2 {
		t.Errorf("known up to %d, with %d bytes", p.known(), wire)
	}
}
