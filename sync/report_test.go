package headersync

import (
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"edgechain.example/lightchain"
)

func testReport(c *memChain) *Report {
	return &Report{Chain: c.tip.Chain, Height: 7, Start: 3, Number: 2, Condition: Condition{
		Within: 3670, Version: "1.4.0", Clock: ReportedClock{lightchain.ClockSynchronised, 12, 1, -3_600_000},
		Gaps: Tally{2, 37}, Damage: Tally{1, 0}, Restored: Tally{1, 400}, Unclean: 5,
	}}
}

func FuzzReport(f *testing.F) {
	c := newMemChain(1)
	r := testReport(c)
	later := *r
	later.later = map[uint64]cbor.RawMessage{13: encode(uint64(90)), 40: encode([]any{"days", uint64(3)})}
	fuzzRequest(f, mediaReport, decodeReport, (*Report).Sign, must(r.Sign(c.signer)), must(later.Sign(c.signer)))
}

func TestAReportIsReadWithFieldsThatAreNotKnownYet(t *testing.T) {
	c := newMemChain(1)
	r := testReport(c)
	r.later = map[uint64]cbor.RawMessage{13: encode(uint64(90))}
	got, _, err := decodeReport(must(r.Sign(c.signer)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Condition != r.Condition || got.Height != r.Height || got.Start != r.Start || got.Number != r.Number {
		t.Errorf("read as %+v", got)
	}
	r.later[14] = cbor.RawMessage{0x18, 0x05} // 5, in two bytes
	if _, _, err := decodeReport(must(r.Sign(c.signer))); err == nil {
		t.Error("a field that is not in deterministic encoding is taken")
	}
}

func TestOnlyTheKeyInForceReports(t *testing.T) {
	c := newMemChain(1)
	state := &State{Chain: c.tip.Chain, Keys: []*lightchain.SignedHeader{c.headers[0]}}
	first := c.signer
	report := must(testReport(c).Sign(first))
	if _, err := OpenReport(report, state); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReport(must(testReport(c).Sign(testSigner("mallory"))), state); err == nil {
		t.Error("anybody may report")
	}
	if _, err := OpenReport(must(testReport(newMemChain(2)).Sign(first)), state); err == nil {
		t.Error("a report of another chain counts")
	}
	if _, err := OpenReport(report, nil); err == nil {
		t.Error("a report of a chain that nobody knows counts")
	}
	state.Keys = append(state.Keys, c.seal(1, testTime*1e9, testSigner("second")))
	if _, err := OpenReport(report, state); err == nil {
		t.Error("a key that was changed still reports")
	}
	if _, err := OpenReport(must(testReport(c).Sign(c.signer)), state); err != nil {
		t.Error(err)
	}
}

func TestTheNewerOfTwoReportsCounts(t *testing.T) {
	ascending := []*Report{nil, {Height: 1, Start: 9, Number: 9}, {Height: 2, Start: 1, Number: 1}, {Height: 2, Start: 1, Number: 2}, {Height: 2, Start: 2, Number: 1}}
	for i, r := range ascending[1:] {
		for j, other := range ascending {
			if r.After(other) != (j <= i) {
				t.Errorf("report %d after report %d: %t", i+1, j, r.After(other))
			}
		}
	}
}

// reports returns those that went out so far.
func (w *world) reports() (all []*Report) {
	w.t.Helper()
	for _, m := range w.overheard(topicStatus) {
		r, _, err := decodeReport(m.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestAGatewayReportsWhatIsNewAndRepeatsItForWhoeverReceipts(t *testing.T) {
	w := newWorld(t, 7, EveryHeader)
	w.calm0()
	g := w.gateways[0]
	condition := Condition{Within: 60}
	g.config.Condition, g.config.Start = func() Condition { return condition }, 4
	g.start(ConfirmIfReachable)
	w.run(2 * time.Minute)
	for range 3 {
		g.seal()
		w.run(time.Minute)
	}
	// One at the connection, one for the aggregator that has receipted a header above it by now.
	if all := w.reports(); len(all) != 2 || all[0].Start != 4 || all[0].Within != 60 || all[1].Number != 2 {
		t.Fatalf("after the start: %+v", all)
	}
	condition.Gaps = Tally{1, 3}
	condition.Clock.Error = 5
	w.run(time.Minute)
	condition.Clock.Error = 900 // is never the same, and no news
	w.run(time.Hour)
	if all := w.reports(); len(all) != 3 || all[2].Gaps != (Tally{1, 3}) || all[2].Clock.Error != 5 || !all[2].After(all[1]) {
		t.Fatalf("after a loss: %+v", all)
	}
	for range 3 {
		g.seal()
		w.run(time.Minute)
	}
	if all := w.reports(); len(all) != 4 || all[3].Gaps != (Tally{1, 3}) {
		t.Fatalf("after the loss and a receipt: %+v", all)
	}
	w.past = nil
	for range 3600 { // one loss each second
		condition.Gaps.Times++
		w.run(time.Second)
	}
	w.run(2 * time.Hour)
	all := w.reports()
	if len(all) > 12 {
		t.Errorf("%d reports of losses that go on for an hour", len(all))
	}
	if last := all[len(all)-1]; last.Gaps.Times != condition.Gaps.Times {
		t.Errorf("the last one says %d, there were %d", last.Gaps.Times, condition.Gaps.Times)
	}
	w.past = nil
	w.run(25 * time.Hour)
	if n := len(w.reports()); n != 1 {
		t.Errorf("%d reports in a day without news", n)
	}
	if w.retained[StatusTopic(DefaultPrefix, g.chain.tip.Chain)] == nil {
		t.Error("it is not retained")
	}
}
