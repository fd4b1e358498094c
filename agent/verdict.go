package agent

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain.example/agent/api"
	"edgechain.example/agent/sealgate"
)

// How long something may last before it is a fault: until then it is what a start, a new gateway or a short outage looks like.
const (
	startGrace   = time.Minute      // a source that has not connected, and has not failed either
	settleGrace  = 5 * time.Minute  // aggregators that are asked about the head: sync.confirm_wait is a minute
	stuckGrace   = time.Minute      // messages of which none reaches the disk
	clockGrace   = time.Minute      // a clock that stands before a time that is past
	reachGrace   = 15 * time.Minute // an upstream's broker, an aggregator that does not answer, or somebody who approves
	tokenGrace   = 5 * time.Minute  // an aggregator that is shown a token, for which nobody has to approve
	receiptGrace = time.Hour        // a receipt, beyond the time within which a head is announced
)

// How long something that has happened counts: after that it stands below the verdict, and in the chain.
const (
	lossCounts   = time.Hour
	damageCounts = 24 * time.Hour
)

// judge says whether a gateway that stands like this does what it was told to. It reads nothing but what it is given.
func judge(s *api.Status, now time.Time) api.Verdict {
	j := judgement{now: now, reasons: []api.Reason{}}
	switch {
	case s.Opening != nil:
		j.opening(s.Opening)
	case s.Live == nil:
		j.resting(s)
	default:
		j.recording(s.Live)
		j.sources(s.Live.Sources)
		j.losses(s)
		j.sealing(s.Live)
		j.surroundings(s.Live)
		j.upstreams(s.Live)
	}
	for _, file := range s.FormerKeys {
		j.add(api.KeyFiles, file, time.Time{}, "%s holds a former key of this chain, which was to be destroyed: whoever gets it can sign another history up to where it was changed. "+
			"%sNothing needs it: shred -u %s", file, blocksChange(file), file)
	}
	gravity := api.Codes()
	slices.SortStableFunc(j.reasons, func(a, b api.Reason) int {
		return cmp.Compare(slices.Index(gravity, a.Code), slices.Index(gravity, b.Code))
	})
	return api.Verdict{OK: len(j.reasons) == 0, Reasons: j.reasons}
}

// judgement gathers reasons.
type judgement struct {
	now     time.Time
	reasons []api.Reason
}

func (j *judgement) add(code api.Code, of string, since time.Time, format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), ". ")
	if !since.IsZero() {
		since = since.UTC()
	}
	j.reasons = append(j.reasons, api.Reason{Code: code, Of: of, Since: since, Text: text})
}

// lasts reports whether something has lasted longer than it may; what nobody knows the beginning of has.
func (j *judgement) lasts(since time.Time, grace time.Duration) bool {
	return since.IsZero() || j.now.Sub(since) > grace
}

// since says when something began, and how long ago that is; "" if it is not known.
func (j *judgement) since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf(" since %s (%s)", t.UTC().Format(time.RFC3339), j.ago(t))
}

func (j *judgement) ago(t time.Time) string { return spell(j.now.Sub(t)) }

// spell returns a time as people say it. A clock that was set back meanwhile makes it 0.
func spell(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(max(d, 0).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// opening is of an agent that has not opened its chain.
func (j *judgement) opening(o *api.Opening) {
	if o.Step == awaitsRoom {
		j.add(api.DiskFull, "", o.Since, "the disk is full: the agent cannot open its chain%s, and records nothing. "+
			"Make room: it goes on by itself", j.since(o.Since))
		return
	}
	j.add(api.ChainOpening, "", o.Since, "the agent is opening its chain%s, and records nothing yet: %s. It records as soon as that is done", j.since(o.Since), o)
}

// blocksChange says what a former key does in the place of the next one.
func blocksChange(file string) string {
	if strings.HasPrefix(filepath.Base(file), ".") { // a file that was left over
		return ""
	}
	return "While it is there the key cannot be changed. "
}

// resting is of a chain that no agent runs on.
func (j *judgement) resting(s *api.Status) {
	newest := ""
	if !s.Sealed.IsZero() && s.SetBack == "" {
		newest = fmt.Sprintf(": its newest block is of %s (%s ago)", s.Sealed.Format(time.RFC3339), j.ago(s.Sealed))
	}
	j.add(api.NotRunning, "", time.Time{}, "the agent does not run, and nothing is recorded%s. "+
		"Start it: systemctl start edgeagent. Why it ended says journalctl -u edgeagent", newest)
	if s.SetBack != "" {
		j.add(api.DamageFound, "", time.Time{}, "part of the chain cannot be read: %s", s.SetBack)
	}
}

// recording is what keeps messages of all sources from the disk.
func (j *judgement) recording(l *api.Live) {
	if l.Waiting {
		j.add(api.DiskFull, "", l.WaitingSince, "the disk is full: recording has stopped%s, and messages wait unacknowledged. "+
			"Make room: it goes on by itself", j.since(l.WaitingSince))
	} else if l.Free < l.Reserve {
		j.add(api.DiskFull, "", time.Time{}, "the disk is full: %d MiB are free, and %d MiB are to stay free. The next message waits unacknowledged. "+
			"Make room: it goes on by itself", l.Free>>20, l.Reserve>>20)
	}
	if l.Full {
		j.add(api.BlockFull, "", time.Time{}, "recording has stopped: the open block is full and cannot be sealed, since %s", l.Held)
	}
	if waited := time.Duration(l.Stuck * float64(time.Second)); waited > stuckGrace {
		j.add(api.WritesStuck, "", j.now.Add(-waited), "messages have waited for %s, and nothing reaches the disk. "+
			"Look at the disk, and at the kernel's log: dmesg", spell(waited))
	}
	if len(l.Sources) == 0 {
		j.add(api.NoSource, "", l.Started, "no source is configured, so nothing is recorded. "+
			"Name one in the configuration: [broker], [[mqtt]], [[modbus]], [[opcua]], [[serial]] or [hwmon]. Then: edgeagent reload")
	}
}

func (j *judgement) sources(all []api.Source) {
	for i := range all {
		s := &all[i]
		switch {
		case s.State == api.SourceFailing, s.State != api.SourceUp && !s.Connected && j.lasts(s.Since, startGrace):
			why := ""
			if s.Detail != "" {
				why = ": " + s.Detail
			}
			j.add(api.SourceDisconnected, s.Name, s.Since, "source %s is not connected%s%s. It is tried again by itself: "+
				"look at the other side, its address and the network", s.Name, j.since(s.Since), why)
			continue
		case s.State == api.SourceStarting:
			continue
		}
		for k := range s.Groups {
			if g := &s.Groups[k]; g.Failing > 0 {
				j.add(api.PollFailing, s.Name+"/"+g.Name, g.Since, "of source %s, group %s, %d of %d reads are not answered%s: %s. "+
					"Look at the device and its line; edgeagent poll once shows what it says", s.Name, g.Name, g.Failing, g.Reads, j.since(g.Since), g.Why)
			}
		}
		if s.Broker != nil && s.Broker.Unkept != "" && !s.Broker.Kept {
			j.add(api.BrokerKeepsNothing, s.Name, time.Time{}, "the embedded broker keeps nothing for its subscribers over a restart: %s. "+
				"Look at the folder subscribers in the data folder; recording goes on", s.Broker.Unkept)
		}
	}
}

// losses are what is gone already.
func (j *judgement) losses(s *api.Status) {
	if lost := s.Live.Lost; lost != nil && j.now.Sub(lost.At) <= lossCounts {
		of := ""
		if lost.Source != "" {
			of = " of source " + lost.Source
		}
		j.add(api.MessagesLost, lost.Source, lost.At, "%d messages%s were lost %s ago, at %s: %s. "+
			"What is known of it: edgeagent log --source agent:gap", lost.Count, of, j.ago(lost.At), lost.At.UTC().Format(time.RFC3339), lost.Why)
	}
	if at := s.Live.Damaged; !at.IsZero() && j.now.Sub(at) <= damageCounts {
		j.add(api.DamageFound, "", at, "damage was found on the disk %s ago, at %s; %d entries are lost in all. "+
			"Which: edgeagent log --source agent:damage. Look at the disk, and take a backup", j.ago(at), at.UTC().Format(time.RFC3339), s.Lost.Entries)
	}
}

func (j *judgement) sealing(l *api.Live) {
	key := false
	for _, r := range l.HeldBy {
		switch {
		case r.Kind == sealgate.Key:
			key = true
			j.add(api.KeyNotUsable, r.Of, r.Since, "the key cannot be used, and nothing is sealed%s: %s. Recording goes on", j.since(r.Since), r)
		case r.Kind == sealgate.Unsettled && (len(l.HeldBy) > 1 || !j.lasts(r.Since, settleGrace)):
			// It waits for what the others say, or has only begun to ask.
		default:
			j.add(api.SealingHeld, r.Of, r.Since, "nothing is sealed%s: %s. Recording goes on", j.since(r.Since), r)
		}
	}
	if l.KeyWrong != "" && !key {
		j.add(api.KeyFiles, "", time.Time{}, "%s. Put that right before the next start, which needs the key's files", l.KeyWrong)
	}
}

// surroundings is what else on the machine is not as it should be.
func (j *judgement) surroundings(l *api.Live) {
	if behind := l.TimeFloor.Sub(j.now); behind > clockGrace {
		j.add(api.ClockWrong, "", time.Time{}, "the clock is wrong: it says %s, which is at least %s too early. Set it: timedatectl",
			j.now.UTC().Format(time.RFC3339), spell(behind))
	}
	for i := range l.Kept {
		k := &l.Kept[i]
		j.add(api.DiskFilling, k.By, time.Time{}, "the disk has no room for %d MiB in blocks %d to %d, and retention.%s keeps them. "+
			"Make room: once the disk's reserve is reached recording waits", k.Bytes>>20, k.From, k.To, k.By)
	}
	if l.Deaf != "" {
		j.add(api.APIDeaf, "", l.DeafSince, "nobody is answered over TCP: %s. It is tried again by itself: free the address, or change api.listen", l.Deaf)
	}
}

func (j *judgement) upstreams(l *api.Live) {
	mute := slices.ContainsFunc(l.HeldBy, func(r sealgate.Reason) bool { return r.Kind == sealgate.Key }) // nobody can be asked
	for i := range l.Upstreams {
		u := &l.Upstreams[i]
		away := !u.Connected && j.lasts(u.Since, reachGrace)
		if away {
			why := ""
			if u.Detail != "" {
				why = ": " + u.Detail
			}
			j.add(api.UpstreamDisconnected, u.Name, u.Since, "the aggregators of upstream %s cannot be reached%s%s. "+
				"Look at its broker and the network; recording and sealing go on", u.Name, j.since(u.Since), why)
		}
		for k := range u.Aggregators {
			j.aggregator(u, &u.Aggregators[k], mute)
		}
	}
}

func (j *judgement) aggregator(u *api.Upstream, g *api.Aggregator, mute bool) {
	if g.CutOff {
		j.add(api.AggregatorCutOff, g.Name, time.Time{}, "%s cannot follow this chain any more: headers that it needs are lost. "+
			"Begin a new chain that names this one: edgeagent init --continue", g.Name)
		return
	}
	if g.Complaint != "" {
		j.add(api.AggregatorWrong, g.Name, time.Time{}, "%s is not to be relied on: %s. Ask who runs it", g.Name, g.Complaint)
	}
	late := receiptGrace + time.Duration(u.Announce*float64(time.Second))
	switch waits := g.WaitingSince; {
	case mute || !u.Connected || waits.IsZero():
	case g.Receipted == nil && !g.Answered:
		if j.lasts(waits, reachGrace) {
			j.add(api.AggregatorSilent, g.Name, waits, "%s has not answered%s, though its broker is connected. "+
				"Look there: it does not run, has another key, or has rejected this gateway: edgeaggregator gateways list", g.Name, j.since(waits))
		}
	case g.Receipted == nil:
		grace, what := reachGrace, ""
		if u.Token {
			grace, what = tokenGrace, ", or make a new token: gateways token"
		}
		if j.lasts(waits, grace) {
			j.add(api.AggregatorUnapproved, g.Name, waits, "%s. Approve it there: edgeaggregator gateways list, gateways approve%s", g.Unapproved(u.Token, j.since(waits)), what)
		}
	case j.lasts(waits, late):
		j.add(api.ReceiptsLate, g.Name, waits, "%s has countersigned nothing new%s. "+
			"Look there: edgeaggregator status says whether it runs, and whether its clock is synchronised", g.Name, j.since(waits))
	}
}

// verdictCollector shows the verdict, which is made once for all lines.
type verdictCollector struct {
	verdict    func() api.Verdict
	ok, reason *prometheus.Desc
}

func newVerdictCollector(verdict func() api.Verdict) *verdictCollector {
	return &verdictCollector{verdict,
		prometheus.NewDesc("edgeagent_ok", "1 while all is well, as `edgeagent status` and /readyz say, else 0.", nil, nil),
		prometheus.NewDesc("edgeagent_not_ok", "1 for each reason why edgeagent_ok is 0, 0 for the others.", []string{"reason"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c *verdictCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.ok
	out <- c.reason
}

// Collect implements [prometheus.Collector].
func (c *verdictCollector) Collect(out chan<- prometheus.Metric) {
	v := c.verdict()
	out <- prometheus.MustNewConstMetric(c.ok, prometheus.GaugeValue, truth(v.OK))
	for _, code := range api.Codes() {
		switch code {
		case api.NotRunning, api.NotAnswering, api.NotKnown: // what nobody says of himself
		default:
			out <- prometheus.MustNewConstMetric(c.reason, prometheus.GaugeValue, truth(v.Has(code)), string(code))
		}
	}
}
