package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain/store"
	"edgechain.example/tomlconf"
)

// judged is when the gateways of these tests are judged.
var judged = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) time.Time { return judged.Add(-d) }

// healthy is a gateway with nothing wrong, which has run for an hour.
func healthy() *api.Status {
	receipted := uint64(7)
	return &api.Status{Running: true, Height: 7, Live: &api.Live{
		Started: before(time.Hour), Clock: "synchronised", TimeFloor: before(time.Minute),
		Sources: []api.Source{{Name: "broker", State: api.SourceUp, Connected: true, Detail: "127.0.0.1:1883", Broker: &api.Broker{Kept: true}},
			{Name: "mqtt:plant", State: api.SourceUp, Connected: true}},
		Upstreams: []api.Upstream{{Name: "office", Connected: true, Announce: 10,
			Aggregators: []api.Aggregator{{Name: "agg-1", Answered: true, Receipted: &receipted}}}},
	}}
}

// Each thing that is wrong has its code, says whose it is and for how long, and what to do; and what is normal on a new gateway, or
// passes by itself in a moment, is none.
func TestTheVerdictOnAGateway(t *testing.T) {
	source := func(s *api.Status) *api.Source { return &s.Live.Sources[1] }
	office := func(s *api.Status) *api.Upstream { return &s.Live.Upstreams[0] }
	held := func(kind sealgate.Kind, since time.Duration) sealgate.Reason {
		return sealgate.Reason{Kind: kind, Why: "it is so", Do: "do this", Since: before(since)}
	}
	for name, x := range map[string]struct {
		change func(*api.Status)
		want   []string // the code, and whose; each word that the text must hold, after |
	}{
		"all is well": {change: func(*api.Status) {}},
		"no agent": {func(s *api.Status) { s.Running, s.Live, s.Sealed = false, nil, before(3*time.Hour) },
			[]string{"not_running |3 h ago|systemctl start edgeagent"}},
		"a chain that is opened": {func(s *api.Status) {
			s.Live, s.Opening = nil, &api.Opening{Since: before(5 * time.Minute), Step: "reading what a crash has left", Done: 4, Total: 10}
		}, []string{"opening |(5 min)|40 %|as soon as that is done"}},
		"a chain that is not opened for want of room": {func(s *api.Status) {
			s.Live, s.Opening = nil, &api.Opening{Since: before(5 * time.Minute), Step: awaitsRoom}
		}, []string{"disk_full |(5 min)|Make room"}},
		"a full disk": {func(s *api.Status) { s.Live.Waiting, s.Live.WaitingSince = true, before(2*time.Hour) },
			[]string{"disk_full |2026-03-01T10:00:00Z (2 h)|Make room"}},
		"a disk that has less room than is to stay free": {func(s *api.Status) { s.Live.Free, s.Live.Reserve = 20<<20, 64<<20 },
			[]string{"disk_full |20 MiB are free|64 MiB|Make room"}},
		"a file system that does not say what is free": {change: func(s *api.Status) { s.Live.Free, s.Live.Reserve = 0, 0 }},
		"a full block": {func(s *api.Status) {
			s.Live.Full, s.Live.Held, s.Live.HeldBy = true, "it is so", []sealgate.Reason{held(sealgate.Elsewhere, time.Minute)}
		}, []string{"block_full |it is so", "sealing_held |(1 min)|Do this"}},
		"a disk that is slow":  {change: func(s *api.Status) { s.Live.Stuck = 59 }},
		"a disk that is stuck": {func(s *api.Status) { s.Live.Stuck = 90 }, []string{"writes_stuck |1 min|dmesg"}},
		"nothing to record":    {func(s *api.Status) { s.Live.Sources = nil }, []string{"no_source |[[mqtt]]|edgeagent reload"}},
		"a source that has just begun": {change: func(s *api.Status) {
			*source(s) = api.Source{Name: "mqtt:plant", State: api.SourceStarting, Since: before(30 * time.Second)}
		}},
		"a source that does not come to begin": {func(s *api.Status) {
			*source(s) = api.Source{Name: "mqtt:plant", State: api.SourceStarting, Since: before(2 * time.Minute)}
		}, []string{"source_disconnected mqtt:plant|(2 min)|network"}},
		"a source that fails": {func(s *api.Status) {
			*source(s) = api.Source{Name: "mqtt:plant", State: api.SourceFailing, Since: before(time.Second), Detail: "connection refused"}
		}, []string{"source_disconnected mqtt:plant|(1 s)|connection refused|network"}},
		"two sources that fail": {func(s *api.Status) {
			for i := range s.Live.Sources {
				s.Live.Sources[i].State, s.Live.Sources[i].Connected = api.SourceFailing, false
			}
		}, []string{"source_disconnected broker", "source_disconnected mqtt:plant"}},
		"a device that does not answer": {func(s *api.Status) {
			source(s).Groups = []api.Group{{Name: "press", Reads: 3, Failing: 1, Since: before(time.Minute), Why: "no answer"}}
		}, []string{"poll_failing mqtt:plant/press|1 of 3 reads|(1 min)|no answer"}},
		"a device that is slow": {change: func(s *api.Status) { source(s).Groups = []api.Group{{Name: "press", Reads: 3, Late: true}} }},
		"subscribers that find nothing again": {func(s *api.Status) { s.Live.Sources[0].Broker = &api.Broker{Unkept: "input/output error"} },
			[]string{"broker_keeps_nothing broker|input/output error"}},
		"subscribers that began anew": {change: func(s *api.Status) { s.Live.Sources[0].Broker.Unkept = "the folder was damaged" }},
		"messages lost a moment ago": {func(s *api.Status) {
			s.Live.Lost = &api.Loss{At: before(time.Minute), Source: "mqtt:plant", Count: 12, Why: "the broker dropped them"}
		}, []string{"messages_lost mqtt:plant|12 messages|1 min ago|agent:gap"}},
		"messages lost yesterday": {change: func(s *api.Status) { s.Live.Lost = &api.Loss{At: before(24 * time.Hour), Count: 12} }},
		"damage this morning": {func(s *api.Status) { s.Live.Damaged, s.Lost = before(3*time.Hour), store.Lost{Entries: 5} },
			[]string{"damage_found |3 h ago|5 entries|agent:damage"}},
		"damage a week ago": {change: func(s *api.Status) { s.Live.Damaged, s.Lost = before(7*24*time.Hour), store.Lost{Entries: 5} }},
		"a key that cannot be read": {func(s *api.Status) {
			s.Live.HeldBy, s.Live.KeyWrong = []sealgate.Reason{held(sealgate.Key, 50*time.Hour)}, "the file is not there"
		}, []string{"key_not_usable |(2 days)|it is so. Do this"}},
		"a key that the next start will miss": {func(s *api.Status) { s.Live.KeyWrong = "the file is not there" },
			[]string{"key_files |the file is not there|next start"}},
		"a head that is asked about": {change: func(s *api.Status) { s.Live.HeldBy = []sealgate.Reason{held(sealgate.Unsettled, time.Minute)} }},
		"a head that nobody tells of": {func(s *api.Status) { s.Live.HeldBy = []sealgate.Reason{held(sealgate.Unsettled, 10*time.Minute)} },
			[]string{"sealing_held |(10 min)"}},
		"a chain of a backup": {func(s *api.Status) {
			s.Live.HeldBy = []sealgate.Reason{held(sealgate.Restored, time.Second), held(sealgate.Unsettled, time.Hour)}
		}, []string{"sealing_held |(1 s)|Do this"}},
		"a clock that is not synchronised": {change: func(s *api.Status) { s.Live.Clock = "unsynchronised" }},
		"a clock of 1970": {func(s *api.Status) { s.Live.TimeFloor = judged.Add(72 * time.Hour) },
			[]string{"clock_wrong |3 days too early|timedatectl"}},
		"a disk that fills": {func(s *api.Status) {
			s.Live.Kept = []api.Kept{{By: "min_age", Stretch: api.Stretch{From: 1, To: 9, Bytes: 3 << 20}}}
		},
			[]string{"disk_filling min_age|3 MiB|blocks 1 to 9|Make room"}},
		"an aggregator that is not reached yet": {change: func(s *api.Status) {
			*office(s) = api.Upstream{Name: "office", Since: before(10 * time.Minute), Detail: "connection refused", Aggregators: []api.Aggregator{{Name: "agg-1"}}}
		}},
		"an aggregator that cannot be reached": {func(s *api.Status) {
			*office(s) = api.Upstream{Name: "office", Since: before(20 * time.Minute), Detail: "connection refused", Aggregators: []api.Aggregator{{Name: "agg-1"}}}
		}, []string{"upstream_disconnected office|(20 min)|connection refused|network"}},
		"an aggregator that may still answer": {change: func(s *api.Status) {
			office(s).Aggregators[0] = api.Aggregator{Name: "agg-1", WaitingSince: before(10 * time.Minute)}
		}},
		"an aggregator that does not answer": {func(s *api.Status) {
			office(s).Aggregators[0] = api.Aggregator{Name: "agg-1", WaitingSince: before(20 * time.Minute)}
		}, []string{"aggregator_silent agg-1|(20 min)|does not run|rejected"}},
		"somebody who may still approve": {change: func(s *api.Status) {
			office(s).Aggregators[0] = api.Aggregator{Name: "agg-1", Answered: true, WaitingSince: before(10 * time.Minute)}
		}},
		"an aggregator that has not approved": {func(s *api.Status) {
			office(s).Aggregators[0] = api.Aggregator{Name: "agg-1", Answered: true, WaitingSince: before(20 * time.Minute)}
		}, []string{"aggregator_waits_for_approval agg-1|agg-1: waits for approval|(20 min)|gateways approve"}},
		"a token that is shown": {change: func(s *api.Status) {
			office(s).Token, office(s).Aggregators[0] = true, api.Aggregator{Name: "agg-1", Answered: true, WaitingSince: before(time.Minute)}
		}},
		"a token that is used": {func(s *api.Status) {
			office(s).Token, office(s).Aggregators[0] = true, api.Aggregator{Name: "agg-1", Answered: true, WaitingSince: before(6 * time.Minute)}
		}, []string{"aggregator_waits_for_approval agg-1|agg-1: waits for approval|used already|(6 min)|gateways token"}},
		"an aggregator that nobody can ask": {func(s *api.Status) {
			s.Live.HeldBy = []sealgate.Reason{held(sealgate.Key, time.Hour)}
			office(s).Aggregators[0] = api.Aggregator{Name: "agg-1", WaitingSince: before(time.Hour)}
		}, []string{"key_not_usable "}},
		"a receipt that is under way": {change: func(s *api.Status) { office(s).Aggregators[0].WaitingSince = before(time.Hour) }},
		"a receipt that is late": {func(s *api.Status) { office(s).Aggregators[0].WaitingSince = before(2 * time.Hour) },
			[]string{"receipts_late agg-1|(2 h)|edgeaggregator status"}},
		"heads that are announced once a day": {change: func(s *api.Status) {
			office(s).Announce, office(s).Aggregators[0].WaitingSince = 86400, before(2*time.Hour)
		}},
		"an aggregator that is cut off": {func(s *api.Status) { office(s).Aggregators[0].CutOff = true },
			[]string{"aggregator_cut_off agg-1|init --continue"}},
		"an aggregator that lies": {func(s *api.Status) { office(s).Aggregators[0].Complaint = "it signed two times" },
			[]string{"aggregator_contradicts_itself agg-1|it signed two times"}},
		"an interface that cannot listen": {func(s *api.Status) { s.Live.Deaf, s.Live.DeafSince = "api.listen: address in use", before(time.Minute) },
			[]string{"api_not_listening |api.listen"}},
		"the gravest first": {func(s *api.Status) {
			s.Live.Deaf, s.Live.Waiting, source(s).State = "api.listen", true, api.SourceFailing
			office(s).Aggregators[0].CutOff = true
		}, []string{"disk_full ", "source_disconnected mqtt:plant", "aggregator_cut_off agg-1", "api_not_listening "}},
	} {
		s := healthy()
		x.change(s)
		v := judge(s, judged)
		if v.OK != (len(x.want) == 0) || len(v.Reasons) != len(x.want) {
			t.Errorf("%s: %v, want %q", name, v.Lines(), x.want)
			continue
		}
		for i, r := range v.Reasons {
			words := strings.Split(x.want[i], "|")
			if got := fmt.Sprintf("%s %s", r.Code, r.Of); got != words[0] {
				t.Errorf("%s: reason %d is %q, want %q", name, i, got, words[0])
			}
			for _, word := range words[1:] {
				if !strings.Contains(r.Text, word) {
					t.Errorf("%s: it does not say %q: %s", name, word, r.Text)
				}
			}
			if !slices.Contains(api.Codes(), r.Code) || strings.Contains(r.Text, "\n") || strings.Contains(r.Text, "0001") {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
}

// allAgree holds all who tell of an agent to these reasons.
func allAgree(t *testing.T, a *Agent, codes ...api.Code) {
	t.Helper()
	s := a.Status()
	said := make([]api.Code, len(s.Reasons))
	for i := range s.Reasons {
		said[i] = s.Reasons[i].Code
	}
	if !slices.Equal(said, codes) || s.OK != (len(codes) == 0) {
		t.Errorf("the status says %v: %v, want %v", s.OK, s.Lines(), codes)
	}
	if err := a.allWell(); (err == nil) != s.OK {
		t.Errorf("/readyz says %v, the status %v", err, s.OK)
	}
	if n := shown(t, a.metrics, "edgeagent_ok")[""]; n != truth(s.OK) {
		t.Errorf("edgeagent_ok is %v, the status %v", n, s.OK)
	}
	for code, n := range shown(t, a.metrics, "edgeagent_not_ok") {
		if n != truth(slices.Contains(codes, api.Code(code))) {
			t.Errorf("edgeagent_not_ok{reason=%q} is %v", code, n)
		}
	}
	if told := a.homeAssistantState().Problems; len(told) != len(codes) {
		t.Errorf("Home Assistant is told %q", told)
	}
}

// A status, /readyz, the metrics and Home Assistant say the same of one gateway, whatever is wrong with it.
func TestAllWhoTellOfAGatewayAgree(t *testing.T) {
	full := quickConfig(t)
	full.Store.Reserve = 128 * tomlconf.MiB
	waits := startAgentOn(t, full, func() (free, total uint64, err error) { return 64 << 20, 1 << 30, nil }) // enough to open the chain, and not to record
	await(t, "the first message to wait for room", func() bool { return waits.Status().Live.Waiting })
	allAgree(t, waits, api.DiskFull, api.NoSource)

	c := quickConfig(t)
	a := startAgent(t, c)
	agree := func(codes ...api.Code) { t.Helper(); allAgree(t, a, codes...) }
	agree(api.NoSource)

	next := *c
	next.Hwmon.Enabled, next.Hwmon.Root, next.Hwmon.Interval = true, t.TempDir(), time.Hour
	if _, err := a.Reload(&next); err != nil {
		t.Fatal(err)
	}
	agree()
	a.gate.Add(sealgate.Reason{Kind: sealgate.Key, Why: "the key's file is not there"})
	agree(api.KeyNotUsable)
	a.gate.Lift(sealgate.Key, "")
	agree()
}

// What is lost counts from when it was, over a restart too; what nobody can count is no loss that is known.
func TestALossIsKnownByItsTime(t *testing.T) {
	var t1 tally
	if lost, damaged := t1.newest(); lost != nil || !damaged.IsZero() {
		t.Errorf("%+v, %v", lost, damaged)
	}
	t1.add(gapEvent{Source: "mqtt:plant", Why: "a session that may be another"})
	if lost, _ := t1.newest(); lost != nil {
		t.Errorf("%+v", lost)
	}
	started := time.Now()
	t1.add(gapEvent{Source: "mqtt:plant", Count: 3, Why: "dropped"})
	t1.add(damageEvent{Count: 2})
	if lost, damaged := t1.newest(); lost == nil || lost.Source != "mqtt:plant" || lost.Count != 3 || lost.At.Before(started) || damaged.Before(started) {
		t.Errorf("%+v, %v", lost, damaged)
	}
}
