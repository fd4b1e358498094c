package collector

import (
	"testing"
	"time"

	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
)

// reports returns those that went out so far.
func (w *world) reports() (all []*headersync.Report) {
	w.t.Helper()
	for _, m := range w.overheard(headersync.TopicStatus) {
		r, _, err := headersync.DecodeReport(m.Payload)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestAGatewayReportsWhatIsNewAndRepeatsItForWhoeverReceipts(t *testing.T) {
	w := newWorld(t, 7, headersync.EveryHeader)
	w.calm0()
	g := w.gateways[0]
	condition := headersync.Condition{Within: 60}
	g.config.Condition, g.config.Start = func() headersync.Condition { return condition }, 4
	g.start(gateway.ConfirmIfReachable)
	w.run(2 * time.Minute)
	for range 3 {
		g.seal()
		w.run(time.Minute)
	}
	// One at the connection, one for the aggregator that has receipted a header above it by now.
	if all := w.reports(); len(all) != 2 || all[0].Start != 4 || all[0].Within != 60 || all[1].Number != 2 {
		t.Fatalf("after the start: %+v", all)
	}
	condition.Gaps = headersync.Tally{Times: 1, Count: 3}
	condition.Clock.Error = 5
	w.run(time.Minute)
	condition.Clock.Error = 900 // is never the same, and no news
	w.run(time.Hour)
	if all := w.reports(); len(all) != 3 || all[2].Gaps != (headersync.Tally{Times: 1, Count: 3}) || all[2].Clock.Error != 5 || !all[2].After(all[1]) {
		t.Fatalf("after a loss: %+v", all)
	}
	for range 3 {
		g.seal()
		w.run(time.Minute)
	}
	if all := w.reports(); len(all) != 4 || all[3].Gaps != (headersync.Tally{Times: 1, Count: 3}) {
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
	if w.retained[headersync.StatusTopic(headersync.DefaultPrefix, g.chain.Tip.Chain)] == nil {
		t.Error("it is not retained")
	}
}
