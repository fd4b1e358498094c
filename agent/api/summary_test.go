package api

import (
	"math"
	"net/url"
	"strconv"
	"testing"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
)

func TestASummaryCountsWhatIsBadAndLeavesItOut(t *testing.T) {
	s := newChain(t, 1)
	const at, second = int64(1700000000e9), int64(1e9)
	bad := reading("t", "Cel", lightchain.Int(1000))
	bad.Quality = lightchain.Bad
	measured(t, s, at, at, "press", reading("t", "Cel", lightchain.Int(5)))
	measured(t, s, at+1*second, at+1*second, "press", bad)
	measured(t, s, at+2*second, at+2*second, "press", reading("t", "Cel", lightchain.Float(9.5)))
	measured(t, s, at+3*second, at+3*second, "press", reading("t", "Cel", lightchain.Text("open")))
	measured(t, s, at+4*second, at-4*second, "press", reading("t", "Cel", lightchain.Float(9.5))) // stored, and sent later
	measured(t, s, at+5*second, at+5*second, "press", reading("t", "K", lightchain.Int(270)))
	measured(t, s, at+6*second, at+6*second, "fan", reading("n", "", lightchain.Int(math.MaxInt64)), reading("n", "", lightchain.Int(math.MaxInt64-1)))
	client := Local(&Server{Chain: &s.Reader})
	all, err := client.Summary(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Series) != 3 || all.Readings != 8 || all.First.UnixNano() != at-4*second || all.Last.UnixNano() != at+6*second {
		t.Fatalf("%+v", all)
	}
	fan, cel, kelvin := all.Series[0], all.Series[1], all.Series[2]
	if cel.Count != 5 || cel.Bad != 1 || cel.NotNumbers != 1 || *cel.Mean != 8 {
		t.Errorf("%+v, mean %v", cel, *cel.Mean)
	}
	// The first entry is newChain's.
	if string(cel.Min.Value) != "5" || cel.Min.Number != 1 || cel.Max.Number != 5 || string(cel.Last.Value) != `"open"` {
		t.Errorf("min %+v, max %+v, last %+v", cel.Min, cel.Max, cel.Last)
	}
	if kelvin.Unit != "K" || kelvin.Count != 1 || kelvin.Min.Number != kelvin.Max.Number {
		t.Errorf("%+v", kelvin)
	}
	if string(fan.Max.Value) != "9223372036854775807" || fan.Max.Index != 0 || fan.Min.Index != 1 || *fan.Mean != math.MaxInt64 {
		t.Errorf("integers are not told apart by their last digit: min %+v, max %+v, mean %v", fan.Min, fan.Max, *fan.Mean)
	}
	if all, err = client.Summary(t.Context(), url.Values{"device": {"none"}}); err != nil || all.Series == nil || all.Gone == nil || len(all.Series) > 0 {
		t.Errorf("%+v, %v: a list is never null", all, err)
	}
}

// Whoever is given the bundle is to see all that could have been larger: what arrived in that time, and what came later of it.
func TestASummaryNamesTheBlocksOfItsTime(t *testing.T) {
	s := newChain(t, 1)
	const at, second = int64(1700000000e9), int64(1e9)
	for i := range int64(10) { // blocks 2 to 11
		device := "press"
		if i%2 == 0 {
			device = "fan"
		}
		measured(t, s, at+i*second, at+i*second, device, reading("t", "Cel", lightchain.Int(i)))
	}
	measured(t, s, at+20*second, at+5*second, "press", reading("t", "Cel", lightchain.Int(3)))
	client := Local(&Server{Chain: &s.Reader})
	for _, c := range []struct{ since, until, from, to int64 }{{3, 8, 5, 12}, {4, 5, 0, 0}, {-5, 1000, 2, 12}, {9, 10, 11, 12}} {
		all, err := client.Summary(t.Context(), url.Values{
			"device": {"press"}, "since": {strconv.FormatInt(at+c.since*second, 10)}, "until": {strconv.FormatInt(at+c.until*second, 10)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if b := all.Blocks; (c.to == 0) != (b == nil) || b != nil && (b.From != uint64(c.from) || b.To != uint64(c.to) || b.Unsealed) {
			t.Errorf("from %d to %d: %+v", c.since, c.until, b)
		}
	}
}

// A count or a maximum of what is left would pass for one of all that was recorded.
func TestWhatRetentionHasDeletedIsToldBesideWhatIsLeft(t *testing.T) {
	s := newChain(t, 1)
	const at, second = int64(1700000000e9), int64(1e9)
	for i := range int64(6) { // blocks 2 to 7
		measured(t, s, at+i*second, at+i*second, "press", reading("t", "Cel", lightchain.Int(9-i)))
	}
	announce := func(store.Pruned) lightchain.Entry {
		return lightchain.Entry{Received: at + 6*second, Source: "agent:prune", Flags: lightchain.ByAgent, Payload: []byte("{}")}
	}
	if _, err := s.Prune(5, announce); err != nil {
		t.Fatal(err)
	}
	client := Local(&Server{Chain: &s.Reader})
	for since, held := range map[int64]int64{at: at + 2*second, at + 4*second: 0} {
		values := url.Values{"since": {strconv.FormatInt(since, 10)}, "until": {strconv.FormatInt(at+60*second, 10)}}
		all, err := client.Summary(t.Context(), values)
		if err != nil {
			t.Fatal(err)
		}
		if all.HeldSince.IsZero() != (held == 0) || held > 0 && all.HeldSince.UnixNano() != held {
			t.Errorf("since %d: held since %v", since-at, all.HeldSince)
		}
		if all.Blocks == nil || all.Blocks.From < 5 || string(all.Series[0].Max.Value) == "9" {
			t.Errorf("since %d: blocks %+v, %+v: what is deleted cannot be shown", since-at, all.Blocks, all.Series[0].Max)
		}
		if devices, err := client.Devices(t.Context(), values); err != nil || len(devices.Devices) != 1 || devices.HeldSince.IsZero() != (held == 0) {
			t.Errorf("since %d: %+v, %v", since-at, devices, err)
		}
	}
}
