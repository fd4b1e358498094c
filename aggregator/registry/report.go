package registry

import (
	"context"
	"fmt"
	"time"

	headersync "edgechain.example/sync"

	"edgechain.example/lightchain"
)

// ReportNote is what a record keeps of a gateway's newest report.
type ReportNote struct {
	At     int64  `json:"at"`     // when it came: seconds since the Unix epoch, by the aggregator's clock
	Height uint64 `json:"height"` // of the gateway's newest header then
	Start  uint64 `json:"start"`  // starts of its program
	Number uint64 `json:"number"` // of the report since that start
	headersync.Condition
}

// overdue returns how long a gateway may be quiet that promised a new head within so many seconds: one head may be
// late by all that time, and there is room for the way.
func overdue(within uint64) time.Duration {
	const (
		way  = 10 * time.Second
		most = 366 * 24 * time.Hour // whatever somebody promises
	)
	if within > uint64(most/time.Second) {
		return most
	}
	return 2*time.Duration(within)*time.Second + way
}

// Present notes what a gateway's status topic says in a word.
func (g *Registry) Present(ctx context.Context, chain lightchain.ChainID, p Presence) error {
	if ok, err := g.attended(ctx, chain); !ok {
		return err
	}
	return g.store.Update(ctx, chain, func(r *Record) (*Change, error) {
		// Who reports never says just "online": somebody else does.
		if r.Online == p || !r.Known() || p == Online && r.Report != nil {
			return nil, ErrUnchanged
		}
		r.Online = p
		return nil, nil
	})
}

// Reported notes what a gateway reports, and returns what is news; payload may be anything. The record is nil if nothing
// was noted.
func (g *Registry) Reported(ctx context.Context, chain lightchain.ChainID, payload []byte) (heard *Record, news []Kind, err error) {
	if ok, err := g.attended(ctx, chain); !ok {
		return nil, nil, err
	}
	err = g.store.Update(ctx, chain, func(r *Record) (*Change, error) {
		heard, news = nil, nil
		var keys []*lightchain.SignedHeader
		if r.State != nil {
			keys = r.State.Keys
		}
		report, err := headersync.OpenReport(payload, chain, keys)
		if err != nil || !report.After(r.lastReport()) {
			return nil, ErrUnchanged
		}
		heard, news = r, r.hear(report, g.now().Unix())
		return nil, nil
	})
	return heard, news, err
}

// attended reports whether anybody wants to know how a gateway is.
func (g *Registry) attended(ctx context.Context, chain lightchain.ChainID) (bool, error) {
	c, err := g.lookup(ctx, chain)
	return err == nil && (c.standing == Approved || c.standing == Waiting), err
}

func (r *Record) lastReport() *headersync.Report {
	if r.Report == nil {
		return nil
	}
	return &headersync.Report{Height: r.Report.Height, Start: r.Report.Start, Number: r.Report.Number}
}

// hear takes over a report that is newer than the last, and returns the findings that it brings. Counts run from the
// chain's beginning, so what an aggregator did not hear of in time it hears of later. One that went down (entries were
// pruned, an old image came back) is where the next one counts from.
func (r *Record) hear(report *headersync.Report, now int64) (news []Kind) {
	var before headersync.Condition
	if r.Report != nil {
		before = r.Report.Condition
	}
	r.Report = &ReportNote{At: now, Height: report.Height, Start: report.Start, Number: report.Number, Condition: report.Condition}
	r.Online = Online
	after := &report.Condition
	note := func(kind Kind, before, after headersync.Tally, text string) {
		if after.Times <= before.Times {
			return
		}
		if r.Findings[kind] == nil {
			news = append(news, kind)
		}
		r.Note(kind, now, report.Height, text)
		f := r.Findings[kind]
		f.Count += after.Times - before.Times - 1 // what Note counts is one
		if after.Count > before.Count {
			f.Lost += after.Count - before.Count
		}
		if f.Lost > 0 {
			f.Text += fmt.Sprintf(": %d at most", f.Lost)
		}
	}
	note(Gap, before.Gaps, after.Gaps, "it recorded that messages are missing")
	note(Damage, before.Damage, after.Damage, "it found its store damaged")
	note(Restored, before.Restored, after.Restored, "it was set back, took its newest headers from an aggregator, and lost their entries")
	step := time.Duration(after.Clock.Step) * time.Millisecond
	note(ClockStep, headersync.Tally{Times: before.Clock.Steps}, headersync.Tally{Times: after.Clock.Steps}, fmt.Sprintf("its clock was stepped, the last time by %s, as it says", step))
	return news
}
