package aggregator

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// A gateway says on its status topic how it is; see [headersync.Report]. Its connection's last will, "offline", is
// nobody's signed word: whoever may publish on the broker can say it, and a head or a report takes it back.

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

// presence writes down what status topics say, one after the other: while one is written others may come, and of each
// gateway only the last ones count.
type presence struct {
	registry *Registry
	mine     func(lightchain.ChainID) bool
	found    func(r *Record, kind Kind) // told of findings that a report brought
	log      *slog.Logger
	wake     chan struct{} // capacity 1

	mu   sync.Mutex
	said map[lightchain.ChainID]said // guarded by mu: not written down yet
	held int                         // guarded by mu: bytes of reports that came since the last were written down
}

// said is what a gateway's status topic said since it was last written down.
type said struct {
	reports [][]byte // the last ones: some may be forged
	word    Presence // after them; "" for none
}

const (
	mostSaid    = 1 << 16  // chains: bounds what made-up ones cost
	mostHeld    = 32 << 20 // bytes of reports: likewise
	mostReports = 4
	maxReport   = 1 << 10 // bytes
)

func newPresence(g *Registry, mine func(lightchain.ChainID) bool, found func(*Record, Kind), log *slog.Logger) *presence {
	return &presence{registry: g, mine: mine, found: found, log: log, wake: make(chan struct{}, 1), said: map[lightchain.ChainID]said{}}
}

// deliver takes what stands on a status topic under the prefix.
func (p *presence) deliver(prefix string, m headersync.Message) {
	defer m.Done()
	chain, ok := headersync.ChainOf(prefix, m.Topic)
	if !ok || len(m.Payload) == 0 || len(m.Payload) > maxReport || !p.mine(chain) {
		return
	}
	p.take(chain, m.Payload)
	signal(p.wake)
}

// take keeps what a gateway said until it is written down.
func (p *presence) take(chain lightchain.ChainID, text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, waiting := p.said[chain]
	if !waiting && len(p.said) >= mostSaid {
		return
	}
	if word := Presence(text); word == Online || word == Offline {
		s.word = word
	} else if p.held+len(text) > mostHeld {
		return // whoever reports repeats it
	} else {
		p.held += len(text)
		s.reports, s.word = append(s.reports, append([]byte(nil), text...)), ""
		s.reports = s.reports[max(0, len(s.reports)-mostReports):]
	}
	p.said[chain] = s
}

func (p *presence) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		p.mu.Lock()
		all := p.said
		p.said, p.held = map[lightchain.ChainID]said{}, 0
		p.mu.Unlock()
		for chain, s := range all {
			if err := p.note(ctx, chain, s); err != nil && ctx.Err() == nil {
				p.log.Error("noting what a gateway says of itself", "chain", chain, "err", err)
			}
		}
	}
}

func (p *presence) note(ctx context.Context, chain lightchain.ChainID, s said) error {
	for _, report := range s.reports {
		heard, news, err := p.registry.Reported(ctx, chain, report)
		if err != nil {
			return err
		}
		for _, kind := range news {
			p.found(heard, kind)
		}
	}
	if s.word != "" {
		return p.registry.Present(ctx, chain, s.word)
	}
	return nil
}
