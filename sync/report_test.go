package headersync_test

import (
	"testing"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/internal/wire"
	"edgechain.example/sync/synctest"

	"github.com/fxamacker/cbor/v2"
)

func testReport(c *synctest.Chain) *headersync.Report {
	return &headersync.Report{Chain: c.Tip.Chain, Height: 7, Start: 3, Number: 2, Condition: headersync.Condition{
		Within: 3670, Version: "1.4.0", Clock: headersync.ReportedClock{lightchain.ClockSynchronised, 12, 1, -3_600_000},
		Gaps: headersync.Tally{Times: 2, Count: 37}, Damage: headersync.Tally{Times: 1, Count: 0}, Restored: headersync.Tally{Times: 1, Count: 400}, Unclean: 5,
	}}
}

func FuzzReport(f *testing.F) {
	c := synctest.NewChain(1)
	r := testReport(c)
	later := *r
	later.Later = map[uint64]cbor.RawMessage{13: wire.Encode(uint64(90)), 40: wire.Encode([]any{"days", uint64(3)})}
	fuzzRequest(f, headersync.DecodeReport, (*headersync.Report).Sign, synctest.Must(r.Sign(c.Signer)), synctest.Must(later.Sign(c.Signer)))
}

func TestAReportIsReadWithFieldsThatAreNotKnownYet(t *testing.T) {
	c := synctest.NewChain(1)
	r := testReport(c)
	r.Later = map[uint64]cbor.RawMessage{13: wire.Encode(uint64(90))}
	got, _, err := headersync.DecodeReport(synctest.Must(r.Sign(c.Signer)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Condition != r.Condition || got.Height != r.Height || got.Start != r.Start || got.Number != r.Number {
		t.Errorf("read as %+v", got)
	}
	r.Later[14] = cbor.RawMessage{0x18, 0x05} // 5, in two bytes
	if _, _, err := headersync.DecodeReport(synctest.Must(r.Sign(c.Signer))); err == nil {
		t.Error("a field that is not in deterministic encoding is taken")
	}
}

func TestOnlyTheKeyInForceReports(t *testing.T) {
	c := synctest.NewChain(1)
	chain, keys := c.Tip.Chain, []*lightchain.SignedHeader{c.Headers[0]}
	first := c.Signer
	report := synctest.Must(testReport(c).Sign(first))
	if _, err := headersync.OpenReport(report, chain, keys); err != nil {
		t.Fatal(err)
	}
	if _, err := headersync.OpenReport(synctest.Must(testReport(c).Sign(synctest.Signer("mallory"))), chain, keys); err == nil {
		t.Error("anybody may report")
	}
	if _, err := headersync.OpenReport(synctest.Must(testReport(synctest.NewChain(2)).Sign(first)), chain, keys); err == nil {
		t.Error("a report of another chain counts")
	}
	if _, err := headersync.OpenReport(report, chain, nil); err == nil {
		t.Error("a report of a chain that nobody knows counts")
	}
	keys = append(keys, c.Seal(1, synctest.Time*1e9, synctest.Signer("second")))
	if _, err := headersync.OpenReport(report, chain, keys); err == nil {
		t.Error("a key that was changed still reports")
	}
	if _, err := headersync.OpenReport(synctest.Must(testReport(c).Sign(c.Signer)), chain, keys); err != nil {
		t.Error(err)
	}
}

func TestTheNewerOfTwoReportsCounts(t *testing.T) {
	ascending := []*headersync.Report{nil, {Height: 1, Start: 9, Number: 9}, {Height: 2, Start: 1, Number: 1}, {Height: 2, Start: 1, Number: 2}, {Height: 2, Start: 2, Number: 1}}
	for i, r := range ascending[1:] {
		for j, other := range ascending {
			if r.After(other) != (j <= i) {
				t.Errorf("report %d after report %d: %t", i+1, j, r.After(other))
			}
		}
	}
}
