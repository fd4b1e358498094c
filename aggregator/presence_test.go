package aggregator_test

import (
	"encoding/json"
	"testing"
	"time"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
)

// reporter is a gateway that is approved and known by its genesis, and speaks on its status topic.
type reporter struct {
	t        testing.TB
	registry *registry.Registry
	store    registry.Store
	chain    *chain
	report   headersync.Report
}

func newReporter(t testing.TB) *reporter {
	t.Helper()
	g, store, _ := newRegistry(t, registry.Rules{})
	c := newChain(t, "press-1")
	if err := g.Approve(t.Context(), c.id(), registry.Settings{}, "test"); err != nil {
		t.Fatal(err)
	}
	err := store.Update(t.Context(), c.id(), func(r *registry.Record) (*registry.Change, error) {
		genesis := c.headers[0]
		r.State = &collector.State{Chain: c.id(), Keys: []*lightchain.SignedHeader{genesis}, Head: &collector.Mark{Head: genesis}}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return &reporter{t, g, store, c, headersync.Report{Chain: c.id(), Start: 1}}
}

func (r *reporter) record() *registry.Record {
	r.t.Helper()
	record, err := r.store.Record(r.t.Context(), r.chain.id())
	if err != nil {
		r.t.Fatal(err)
	}
	return record
}

// say has the gateway report, and returns how that travels.
func (r *reporter) say(c headersync.Condition) []byte {
	r.t.Helper()
	r.report.Number++
	r.report.Condition = c
	b, err := r.report.Sign(r.chain.signer)
	if err != nil {
		r.t.Fatal(err)
	}
	r.hear(b)
	return b
}

func (r *reporter) hear(b []byte) (news []registry.Kind) {
	r.t.Helper()
	_, news, err := r.registry.Reported(r.t.Context(), r.chain.id(), b)
	if err != nil {
		r.t.Fatal(err)
	}
	return news
}

func tally(times, count uint64) headersync.Tally { return headersync.Tally{Times: times, Count: count} }

func TestWhatAGatewayLostIsAFindingUntilItIsAcknowledged(t *testing.T) {
	r := newReporter(t)
	r.say(headersync.Condition{Version: "1.4.0"})
	if found := r.record(); len(found.Findings) != 0 || found.Report == nil || found.Report.Version != "1.4.0" || found.Online != registry.Online {
		t.Fatalf("a sound gateway: %+v", found)
	}
	lossy := headersync.Condition{Gaps: tally(2, 30), Damage: tally(1, 0)}
	r.say(lossy)
	lossy.Gaps = tally(3, 37)
	r.say(lossy)
	for range 2 { // the same again is no news
		r.say(lossy)
	}
	found := r.record()
	if gap := found.Findings[registry.Gap]; gap == nil || gap.Count != 3 || gap.Lost != 37 {
		t.Errorf("after 37 messages in 3 gaps: %+v", gap)
	}
	if damage := found.Findings[registry.Damage]; damage == nil || damage.Count != 1 {
		t.Errorf("after damage: %+v", damage)
	}
	if err := r.registry.Acknowledge(t.Context(), r.chain.id()); err != nil {
		t.Fatal(err)
	}
	r.say(lossy)
	if found := r.record(); len(found.Findings) != 0 {
		t.Errorf("after it was acknowledged: %+v", found.Findings)
	}
	// A chain that was pruned counts less; what comes then is news all the same.
	r.say(headersync.Condition{Gaps: tally(1, 2)})
	if found := r.record(); len(found.Findings) != 0 {
		t.Errorf("fewer than before are no finding: %+v", found.Findings)
	}
	r.say(headersync.Condition{Gaps: tally(2, 6), Restored: tally(1, 400), Clock: headersync.ReportedClock{Steps: 1, Step: -3_600_000}})
	found = r.record()
	for kind, lost := range map[registry.Kind]uint64{registry.Gap: 4, registry.Restored: 400, registry.ClockStep: 0} {
		if f := found.Findings[kind]; f == nil || f.Count != 1 || f.Lost != lost {
			t.Errorf("%s: %+v, want %d lost", kind, f, lost)
		}
	}
}

func TestOldAndForgedReportsSayNothing(t *testing.T) {
	r := newReporter(t)
	sick := r.say(headersync.Condition{Gaps: tally(1, 1), Within: 5})
	well := r.say(headersync.Condition{Gaps: tally(2, 2), Within: 3600})
	if err := r.registry.Acknowledge(t.Context(), r.chain.id()); err != nil {
		t.Fatal(err)
	}
	mallory := r.report
	mallory.Number, mallory.Gaps = 99, tally(9, 9)
	forged, err := mallory.Sign(testSigner("mallory"))
	if err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(r.record())
	for name, b := range map[string][]byte{"an old one": sick, "the newest again": well, "a forged one": forged, "noise": []byte("noise"), "nothing": nil} {
		if news := r.hear(b); news != nil {
			t.Errorf("%s: %v", name, news)
		}
		if after, _ := json.Marshal(r.record()); string(after) != string(before) {
			t.Errorf("%s changed the record from\n%s\nto\n%s", name, before, after)
		}
	}
	// Whoever reports is not online because somebody says the word.
	for _, word := range []registry.Presence{registry.Offline, registry.Online} {
		if err := r.registry.Present(t.Context(), r.chain.id(), word); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.record().Online; got != registry.Offline {
		t.Errorf("it is %q", got)
	}
	r.say(headersync.Condition{Within: 3600})
	if got := r.record().Online; got != registry.Online {
		t.Errorf("after its own word it is %q", got)
	}
}

func TestAForkIsNotAcknowledged(t *testing.T) {
	r := &registry.Record{}
	r.Note(registry.Forked, chainTime, 7, "two heads")
	r.Note(registry.Rollback, chainTime, 7, "below")
	if !r.Acknowledge() || r.Findings[registry.Forked] == nil || len(r.Findings) != 1 || r.Acknowledge() {
		t.Errorf("left: %+v", r.Findings)
	}
}

func TestOverdueIsWhatAGatewayPromised(t *testing.T) {
	for _, c := range []struct {
		claim                  string
		within                 uint64
		own                    int64
		quiet, notQuiet, usual time.Duration
	}{
		{claim: "a minute", within: 60, quiet: 131 * time.Second, notQuiet: 129 * time.Second, usual: time.Second},
		{claim: "an hour", within: 3670, quiet: 2*time.Hour + 3*time.Minute, notQuiet: 2 * time.Hour, usual: time.Second},
		{claim: "the operator knows better", within: 60, own: 5, quiet: 6 * time.Second, notQuiet: 4 * time.Second, usual: time.Hour},
		{claim: "it promised nothing", quiet: 61 * time.Minute, notQuiet: 59 * time.Minute, usual: time.Hour},
		{claim: "forever", within: 1 << 62, quiet: 367 * 24 * time.Hour, notQuiet: 365 * 24 * time.Hour, usual: time.Second},
	} {
		r := &registry.Record{
			Standing: registry.Approved, Seen: chainTime, Silence: c.own, Online: registry.Online,
			Head:    registry.HeadNote{Known: true, Height: 7, Clock: lightchain.Clock{State: lightchain.ClockSynchronised}},
			Receipt: registry.ReceiptNote{Height: 7, Time: chainTime},
			Report:  &registry.ReportNote{},
		}
		r.Report.Within = c.within
		for quiet, want := range map[time.Duration]bool{c.quiet: true, c.notQuiet: false} {
			found := r.Ailments(time.Unix(chainTime, 0).Add(quiet), c.usual)
			if got := len(found) == 1 && found[0].Kind == registry.Silent; got != want {
				t.Errorf("%s: quiet for %s: %+v", c.claim, quiet, found)
			}
		}
	}
}

func TestTheNewestWordOnAClockCounts(t *testing.T) {
	r := &registry.Record{
		Standing: registry.Approved, Seen: chainTime, Online: registry.Online,
		Head:    registry.HeadNote{Known: true, Height: 7, Clock: lightchain.Clock{State: lightchain.ClockUnsynchronised}},
		Receipt: registry.ReceiptNote{Height: 7, Time: chainTime},
		Report:  &registry.ReportNote{Height: 7},
	}
	r.Report.Clock.State = lightchain.ClockSynchronised
	if found := r.Ailments(time.Unix(chainTime, 0), 0); found != nil {
		t.Errorf("synchronised since its newest header: %+v", found)
	}
	r.Head.Height++
	if found := r.Ailments(time.Unix(chainTime, 0), 0); len(found) != 1 || found[0].Kind != registry.Clockless {
		t.Errorf("a newer header says that it is not: %+v", found)
	}
}

func TestWhatStrangersReportIsKeptWithinBounds(t *testing.T) {
	g, _, _ := newRegistry(t, registry.Rules{})
	text := make([]byte, 1<<10)
	kept := aggregator.KeptOfStatus(g, func(yield func(headersync.Message) bool) {
		for i := range 60_000 {
			c := lightchain.ChainID{byte(i), byte(i >> 8)}
			if !yield(headersync.Message{Topic: headersync.StatusTopic(headersync.DefaultPrefix, c), Payload: text, Done: func() {}}) {
				return
			}
		}
	})
	if kept == 0 || kept > 32<<20 {
		t.Errorf("%d bytes of reports are kept", kept)
	}
}
