package aggregator_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
)

// testClock is a clock that the test moves.
type testClock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func newClock() *testClock { return &testClock{now: time.Unix(chainTime, 0)} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newRegistry(t testing.TB, rules registry.Rules) (*registry.Registry, registry.Store, *testClock) {
	t.Helper()
	if rules.MaxInbox == 0 {
		rules.MaxInbox = 100
	}
	store, clock := openPebble(t), newClock()
	return registry.New(store, rules, clock.Now, slog.New(slog.DiscardHandler)), store, clock
}

func (c *chain) stranger() collector.Stranger {
	return collector.Stranger{Chain: c.id(), Head: c.headers[0]}
}

func mustHear(t testing.TB, g *registry.Registry, s collector.Stranger) {
	t.Helper()
	if err := g.Heard(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

func standing(t testing.TB, s registry.Store, id lightchain.ChainID) registry.Standing {
	t.Helper()
	r, err := s.Record(context.Background(), id)
	if errors.Is(err, registry.ErrNotFound) {
		return ""
	} else if err != nil {
		t.Fatal(err)
	}
	return r.Standing
}

func TestOnlyWhoIsApprovedIsFollowed(t *testing.T) {
	g, store, _ := newRegistry(t, registry.Rules{Trust: registry.TrustApproved, Mode: registry.Dense})
	c := newChain(t, "press-1")
	followed := func() bool {
		p, ok := g.Policy(t.Context(), c.id())
		return ok && !p.Introduce
	}
	if followed() {
		t.Error("an unknown gateway is followed")
	}
	mustHear(t, g, c.stranger())
	if standing(t, store, c.id()) != registry.Waiting || followed() {
		t.Errorf("heard of, it is %q, followed %t", standing(t, store, c.id()), followed())
	}
	for _, step := range []struct {
		do   func() error
		want bool
	}{
		{func() error { return g.Approve(t.Context(), c.id(), registry.Settings{}, "test") }, true},
		{func() error { return g.Reject(t.Context(), c.id()) }, false},
		{func() error {
			return g.Approve(t.Context(), c.id(), registry.Settings{Mode: registry.Sparse}, "test")
		}, true},
		{func() error { return g.Forget(t.Context(), c.id()) }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if followed() != step.want {
			t.Errorf("%s: followed is %t", standing(t, store, c.id()), followed())
		}
	}
	mustHear(t, g, c.stranger())
	if standing(t, store, c.id()) != registry.Waiting {
		t.Errorf("one that was forgotten and speaks again is %q", standing(t, store, c.id()))
	}
}

func TestAGatewaysOwnModeWins(t *testing.T) {
	g, _, _ := newRegistry(t, registry.Rules{Mode: registry.Dense, Policy: collector.Policy{Page: 7777, BytesPerDay: 99}})
	for _, c := range []struct {
		name string
		mode registry.Mode
		want headersync.Mode
	}{{"a", "", headersync.EveryHeader}, {"b", registry.Sparse, headersync.Sparse}, {"c", registry.Dense, headersync.EveryHeader}} {
		id := newChain(t, c.name).id()
		if err := g.Approve(t.Context(), id, registry.Settings{Mode: c.mode}, "test"); err != nil {
			t.Fatal(err)
		}
		if p, ok := g.Policy(t.Context(), id); !ok || p.Mode != c.want || p.Page != 7777 || p.BytesPerDay != 99 {
			t.Errorf("mode %q: %+v", c.mode, p)
		}
	}
	g.SetRules(registry.Rules{Mode: registry.Sparse})
	if p, _ := g.Policy(t.Context(), newChain(t, "a").id()); p.Mode != headersync.Sparse {
		t.Errorf("after the rules changed: %+v", p)
	}
}

func TestTrustAllIsOnlyForThoseWhoAreNotRejected(t *testing.T) {
	g, store, _ := newRegistry(t, registry.Rules{Trust: registry.TrustAll})
	c, d := newChain(t, "c"), newChain(t, "d")
	if err := g.Reject(t.Context(), d.id()); err != nil {
		t.Fatal(err)
	}
	mustHear(t, g, c.stranger())
	mustHear(t, g, d.stranger())
	if standing(t, store, c.id()) != registry.Approved || standing(t, store, d.id()) != registry.Rejected {
		t.Errorf("%q and %q", standing(t, store, c.id()), standing(t, store, d.id()))
	}
}

func TestWhichTokensLetIn(t *testing.T) {
	g, store, clock := newRegistry(t, registry.Rules{})
	token := func(life time.Duration) string {
		made, err := g.NewToken(t.Context(), life, map[string]string{"site": "north"})
		if err != nil {
			t.Fatal(err)
		}
		return made.Text
	}
	c, rejected := newChain(t, "good"), newChain(t, "rejected")
	if err := g.Reject(t.Context(), rejected.id()); err != nil {
		t.Fatal(err)
	}
	good, expired := token(time.Hour), token(time.Minute)
	clock.advance(2 * time.Minute)
	copied := headersync.NewEnrolment(token(time.Hour), newChain(t, "another").id()) // of another gateway's hello
	for _, test := range []struct {
		claim string
		chain *chain
		shows *headersync.Enrolment
		want  registry.Standing
	}{
		{"expired", newChain(t, "late"), headersync.NewEnrolment(expired, newChain(t, "late").id()), registry.Waiting},
		{"made up", newChain(t, "forger"), headersync.NewEnrolment("edgechain-token-abc", newChain(t, "forger").id()), registry.Waiting},
		{"copied from another's hello", newChain(t, "copier"), copied, registry.Waiting},
		{"of who is rejected", rejected, headersync.NewEnrolment(token(time.Hour), rejected.id()), registry.Rejected},
		{"good", c, headersync.NewEnrolment(good, c.id()), registry.Approved},
		{"shown again by the same", c, headersync.NewEnrolment(good, c.id()), registry.Approved},
		{"used up", newChain(t, "second"), headersync.NewEnrolment(good, newChain(t, "second").id()), registry.Waiting},
	} {
		s := test.chain.stranger()
		s.Enrol = test.shows
		mustHear(t, g, s)
		if got := standing(t, store, test.chain.id()); got != test.want {
			t.Errorf("a token that is %s: the gateway is %q, want %q", test.claim, got, test.want)
		}
	}
	if r, err := store.Record(t.Context(), c.id()); err != nil || r.Labels["site"] != "north" {
		t.Errorf("labels: %+v, %v", r, err)
	}
	for _, life := range []time.Duration{0, -time.Hour, registry.MaxTokenLife + 1} {
		if _, err := g.NewToken(t.Context(), life, nil); err == nil {
			t.Errorf("a token for %v was made", life)
		}
	}
}

func oneTokenLetsOneIn(t *testing.T, s opened) {
	stores := []registry.Store{s.Store, s.Store}
	if s.replica {
		stores[1] = s.again()
	}
	clock := newClock()
	var registries []*registry.Registry
	for _, store := range stores {
		registries = append(registries, registry.New(store, registry.Rules{MaxInbox: 100}, clock.Now, slog.New(slog.DiscardHandler)))
	}
	for round := range 5 {
		token, err := registries[0].NewToken(t.Context(), time.Hour, nil)
		if err != nil {
			t.Fatal(err)
		}
		var racing sync.WaitGroup
		var chains []*chain
		for i := range 4 {
			c := newChain(t, fmt.Sprintf("round %d, gateway %d", round, i))
			chains = append(chains, c)
			racing.Go(func() {
				mine := c.stranger()
				mine.Enrol = headersync.NewEnrolment(token.Text, c.id())
				if err := registries[i%2].Heard(context.Background(), mine); err != nil {
					t.Error(err)
				}
			})
		}
		racing.Wait()
		in := 0
		for _, c := range chains {
			if standing(t, s.Store, c.id()) == registry.Approved {
				in++
			}
		}
		if in != 1 {
			t.Errorf("one token let %d gateways in", in)
		}
	}
}

func TestPatternsApproveOnlyWhoWaitsUnderSuchAName(t *testing.T) {
	g, store, _ := newRegistry(t, registry.Rules{})
	wanted, other, rejected := newChain(t, "press-1"), newChain(t, "oven-1"), newChain(t, "press-2")
	l := registry.NewLedger(store, newClock().Now, nil)
	for _, c := range []*chain{wanted, other, rejected} {
		mustHear(t, g, c.stranger())
		if _, err := take(l, c.id(), &headersync.Pulled{Genesis: c.headers[0]}, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Reject(t.Context(), rejected.id()); err != nil {
		t.Fatal(err)
	}
	approved, err := g.ApproveNames(t.Context(), "press-*", registry.Settings{Labels: map[string]string{"hall": "3"}})
	if err != nil || len(approved) != 1 || approved[0] != wanted.id() {
		t.Errorf("approved %v, %v", approved, err)
	}
	r, err := store.Record(t.Context(), wanted.id())
	if err != nil || r.By != "pattern press-*" || r.Labels["hall"] != "3" {
		t.Errorf("the record: %+v, %v", r, err)
	}
	if standing(t, store, other.id()) != registry.Waiting || standing(t, store, rejected.id()) != registry.Rejected {
		t.Error("others were touched")
	}
	if _, err := g.ApproveNames(t.Context(), "[", registry.Settings{}); err == nil {
		t.Error("a pattern that is none")
	}
}

func TestTheInboxIsBounded(t *testing.T) {
	g, store, _ := newRegistry(t, registry.Rules{MaxInbox: 3})
	for i := range 10 {
		mustHear(t, g, collector.Stranger{Chain: sha256.Sum256([]byte{byte(i)})})
	}
	waiting := 0
	err := registry.EachRecord(t.Context(), store, func(*registry.Record) error { waiting++; return nil })
	if err != nil || waiting != 3 {
		t.Errorf("%d wait, %v", waiting, err)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	for _, s := range []registry.Settings{
		{Mode: "some"}, {Silence: -time.Second}, {Silence: time.Millisecond}, {Labels: map[string]string{"": "x"}},
		{Labels: map[string]string{"x": strings.Repeat("y", 257)}},
	} {
		if s.Check() == nil {
			t.Errorf("%+v passes", s)
		}
	}
	if s := (registry.Settings{Mode: registry.Sparse, Silence: time.Minute, Labels: map[string]string{"a": "b"}}); s.Check() != nil {
		t.Error(s.Check())
	}
}

func TestWhatIsWrongWithAGateway(t *testing.T) {
	now := time.Unix(chainTime, 0)
	fresh := func() *registry.Record {
		return &registry.Record{
			Standing: registry.Approved, Decided: chainTime - 100000, Seen: chainTime - 10, Online: registry.Online,
			Head:    registry.HeadNote{Known: true, Height: 7, Clock: lightchain.Clock{State: lightchain.ClockSynchronised}},
			Receipt: registry.ReceiptNote{Height: 7, Time: chainTime - 9},
		}
	}
	for _, c := range []struct {
		claim  string
		change func(*registry.Record)
		want   []registry.Kind
	}{
		{"nothing", func(*registry.Record) {}, nil},
		{"silent beyond the usual", func(r *registry.Record) { r.Seen = chainTime - 7201 }, []registry.Kind{registry.Silent}},
		{"silent beyond its own bound", func(r *registry.Record) { r.Silence = 5 }, []registry.Kind{registry.Silent}},
		{"never seen, and approved just now", func(r *registry.Record) {
			r.Seen, r.Decided, r.Head, r.Receipt = 0, chainTime-5, registry.HeadNote{}, registry.ReceiptNote{}
		}, nil},
		{"offline", func(r *registry.Record) { r.Online = registry.Offline }, []registry.Kind{registry.Away}},
		{"its clock", func(r *registry.Record) { r.Head.Clock.State = lightchain.ClockUnsynchronised }, []registry.Kind{registry.Clockless}},
		{"not countersigned", func(r *registry.Record) { r.Seen, r.Receipt.Height = chainTime-100, 6 }, []registry.Kind{registry.Unsigned}},
		{"not countersigned yet", func(r *registry.Record) { r.Receipt.Height = 6 }, nil},
		{"forked, and so not countersigned", func(r *registry.Record) {
			r.Seen, r.Receipt.Height = chainTime-100, 6
			r.Note(registry.Forked, chainTime, 7, "two heads")
		}, []registry.Kind{registry.Forked}},
		{"several, the worst first", func(r *registry.Record) {
			r.Note(registry.ClockStep, chainTime, 7, "by an hour")
			r.Note(registry.Rollback, chainTime, 7, "below")
			r.Online = registry.Offline
		}, []registry.Kind{registry.Rollback, registry.Away, registry.ClockStep}},
		{"waiting and quiet", func(r *registry.Record) { r.Standing, r.Seen = registry.Waiting, 0 }, nil},
	} {
		r := fresh()
		c.change(r)
		var got []registry.Kind
		for _, a := range r.Ailments(now, 2*time.Hour) {
			got = append(got, a.Kind)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: found %v, want %v", c.claim, got, c.want)
		}
	}
}
