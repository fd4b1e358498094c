package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/arm"
	"edgechain.example/lightchain"
	"edgechain.example/sync/collector"
)

// Ledger is the store as package headersync sees it. What a page means is decided there ([collector.Judge]); here it
// is kept together with what it says about the gateway, and what must never happen is refused once more, whoever asks.
type Ledger struct {
	store Store
	now   func() time.Time
	tell  func(r *Record, kind Kind) // of a finding that is new; called when it is durable
	// pledges are what the store must not forget; nil where it is this process's own.
	pledges  *pledges
	progress progress
	logs     bool // what is countersigned comes into the log of heads
}

var _ collector.Store = (*Ledger)(nil)

// NewLedger returns the store as the protocol's machine sees it. Now is the aggregator's clock; tell is told of findings that are
// new, nil: nobody.
func NewLedger(s Store, now func() time.Time, tell func(*Record, Kind)) *Ledger {
	l := &Ledger{store: s, now: now, tell: tell, progress: progress{now: time.Now}}
	if served, ok := s.(Served); ok {
		l.pledges = &pledges{store: served, of: make(map[lightchain.ChainID]pledge), log: slog.New(slog.DiscardHandler)}
	}
	return l
}

// LogHeads has each head that is countersigned from now on wait for the log of heads. It is called before the ledger is used.
func (l *Ledger) LogHeads() { l.logs = true }

// Stuck returns an error if the store does not do anything any more.
func (l *Ledger) Stuck() error { return l.progress.stuck() }

// Recall takes over what the keeper has of heads that were countersigned before this process began, and gives it those to come;
// nil: there is none, and no more is known than this process has countersigned. Only a store on a server of its own needs that.
func (l *Ledger) Recall(k Keeper, log *slog.Logger) error {
	if l.pledges == nil {
		return nil
	}
	l.pledges.keeper, l.pledges.log = k, log
	return l.pledges.recall()
}

// Pledged returns up to where each chain is known to be countersigned, of a store on a server of its own.
func (l *Ledger) Pledged() map[lightchain.ChainID]uint64 { return l.pledges.heights() }

// Load implements [collector.Store].
func (l *Ledger) Load(ctx context.Context, chain lightchain.ChainID) (*collector.State, error) {
	l.progress.begin()
	defer l.progress.end()
	r, err := l.store.Record(ctx, chain)
	if errors.Is(err, ErrNotFound) {
		r, err = &Record{}, nil
	} else if err != nil {
		return nil, err
	}
	stored := r.State
	if stored == nil {
		stored = &collector.State{Chain: chain}
	}
	if lost, err := l.pledges.missing(stored); err != nil {
		return nil, err
	} else if lost == nil {
		return r.State, l.pledges.vouch(ctx, r.State)
	}
	var back *collector.State
	err = l.update(ctx, chain, func(s *collector.State, _ func(collector.Held) error) error {
		copied := *s
		back = &copied
		return ErrUnchanged
	})
	return back, err
}

// Update implements [collector.Store].
func (l *Ledger) Update(ctx context.Context, chain lightchain.ChainID, f func(*collector.State, func(collector.Held) error) error) error {
	l.progress.begin()
	defer l.progress.end()
	return l.update(ctx, chain, f)
}

func (l *Ledger) update(ctx context.Context, chain lightchain.ChainID, f func(*collector.State, func(collector.Held) error) error) error {
	var after *Record
	var shown *collector.State // that was left as it was
	var news []Kind
	err := l.store.Update(ctx, chain, func(r *Record) (*Change, error) {
		after, shown, news = nil, nil, nil
		if r.State == nil {
			r.State = &collector.State{Chain: chain}
		}
		change := new(Change)
		lost, err := l.pledges.missing(r.State)
		if err != nil {
			return nil, err
		}
		if lost != nil {
			// Nothing is decided about a state that knows less than was countersigned. Stopping here, the store still does.
			if err := r.putBack(lost, l.now().Unix(), change); err != nil {
				return nil, err
			}
		}
		before := *r.State
		var held []collector.Held
		err = f(r.State, func(h collector.Held) error {
			held = append(held, h)
			return nil
		})
		if errors.Is(err, ErrUnchanged) {
			shown = &before
			if lost != nil {
				*r.State, held, err = before, nil, nil
			}
		}
		if err != nil {
			return nil, err
		}
		change.Segments = NewSegments(held)
		if err := l.guard(r, &before, change); err != nil {
			return nil, err
		}
		if news, err = l.observe(r, &before, held, change); err != nil {
			return nil, err
		}
		if lost != nil {
			news = append(news, SetBack)
		}
		after = r
		return change, nil
	})
	if err == nil && after != nil {
		// Durable, and nobody was told yet: from here on it is a promise.
		err = l.pledges.countersigned(after)
	} else if err == nil && shown != nil {
		err = l.pledges.vouch(ctx, shown)
	}
	if err == nil && after != nil && l.tell != nil {
		for _, kind := range news {
			l.tell(after, kind)
		}
	}
	return err
}

// Errors of an update that must never be made.
var (
	ErrShorter  = errors.New("the newest head would move down")
	ErrOther    = errors.New("another header would take the newest head's place")
	ErrUnasked  = errors.New("a receipt for a gateway that is not approved")
	ErrForked   = errors.New("a receipt for a chain that was forked")
	ErrBackward = errors.New("a receipt's time is below the last one's")
)

// guard refuses what no program error may bring about, and puts a new receipt and new evidence into the change.
func (l *Ledger) guard(r *Record, before *collector.State, c *Change) error {
	s := r.State
	if before.Head != nil && (s.Head == nil || s.Head.Height() < before.Head.Height()) {
		return ErrShorter
	}
	if before.Head != nil && s.Head.Height() == before.Head.Height() && s.Head.Head.Hash() != before.Head.Head.Hash() {
		return ErrOther
	}
	if f := s.Fork; f != nil && before.Fork == nil {
		body, err := f.Append(nil)
		if err != nil {
			return err
		}
		c.Evidence = &Evidence{Height: f.Height(), ID: sha256.Sum256(body), Seen: l.now().Unix(), Body: body}
	}
	if s.Receipt == nil || before.Receipt != nil && *before.Receipt == *s.Receipt {
		return nil
	}
	switch {
	case r.Standing != Approved:
		return ErrUnasked
	case s.Fork != nil:
		return ErrForked
	// SPEC: none issues, for one chain, a time below its last
	case s.Receipt.Time < before.Last || s.Receipt.Time < r.Receipt.Time || s.Last < before.Last:
		return ErrBackward
	}
	c.Again = false
	if l.logs {
		c.Logged = &headlog.Leaf{Chain: r.Chain, Height: s.Head.Height(), Header: s.Head.Head.Bytes()}
	}
	return r.issue(s, c)
}

// issue puts the receipt on a state's head into the change and the record.
func (r *Record) issue(s *collector.State, c *Change) error {
	issued, err := r.Receipted()
	if err != nil {
		return err
	}
	c.Receipt = issued
	r.Receipt = ReceiptNote{Height: s.Head.Height(), Time: s.Receipt.Time}
	return nil
}

// observe notes in the record what the update says about the gateway, and returns the findings that are new.
func (l *Ledger) observe(r *Record, before *collector.State, held []collector.Held, c *Change) (news []Kind, err error) {
	now := l.now().Unix()
	s := r.State
	note := func(kind Kind, height uint64, format string, args ...any) {
		if r.Findings[kind] == nil {
			news = append(news, kind)
		}
		r.Note(kind, now, height, fmt.Sprintf(format, args...))
	}
	if c.Evidence != nil {
		note(Forked, c.Evidence.Height, "two signed headers stand at height %d, seen at the latest; evidence %.16s", c.Evidence.Height, c.Evidence.ID)
	}
	r.Traffic = s.Spent
	if s.Every != nil {
		r.Head.Every = s.Every.Height()
	}
	if s.Head == nil || before.Head != nil && before.Head.Height() == s.Head.Height() {
		return news, nil
	}
	// A longer history than the last: the gateway is alive, and no longer behind.
	r.Seen = now
	if r.Standing == Approved {
		r.Online, r.Announced = Online, 0
	}
	r.Clear(Rollback)
	r.Clear(Invalid)
	h := &s.Head.Head.Header
	previous := r.Head
	r.Head = headNote(s.Head.Head, r.Head.Every)
	if g := s.Keys[0].Header.Genesis; r.Name == "" && g != nil && g.Name != nil {
		r.Name = *g.Name
	}
	if !previous.Known {
		previous = headNote(s.Keys[0], 0)
	}
	last := moment{previous.Height, previous.Sealed, previous.Clock}
	for _, one := range held {
		if one.Height <= last.height || one.Height >= h.Height {
			continue // below: the backlog, whose time has passed
		}
		header, err := lightchain.DecodeHeader(one.Bytes)
		if err != nil {
			return nil, err
		}
		next := moment{header.Height, header.Sealed, header.Clock}
		if step := last.step(next); step != 0 {
			note(ClockStep, next.height, "its clock moved by %s between blocks %d and %d", step, last.height, next.height)
		}
		last = next
	}
	if step := last.step(moment{h.Height, h.Sealed, h.Clock}); step != 0 {
		note(ClockStep, h.Height, "its clock moved by %s between blocks %d and %d", step, last.height, h.Height)
	}
	return news, nil
}

func headNote(head *lightchain.SignedHeader, every uint64) HeadNote {
	h := &head.Header
	return HeadNote{Known: true, Height: h.Height, Hash: head.Hash(), Next: h.First + h.Count, Sealed: h.Sealed, Clock: h.Clock, Every: every}
}

// moment is what a header says of its gateway's clocks.
type moment struct {
	height uint64
	sealed int64
	clock  lightchain.Clock
}

// stepThreshold is far above what the reading of two clocks one after the other can differ by on a busy board, and
// what a gateway reports of itself (agent:clock) anyway.
const stepThreshold = 10 * arm.StepThreshold

// step returns by how much the wall clock moved against the uptime from one header to a later one, positive forwards;
// 0 if that is nothing, or cannot be told since the machine was started in between.
func (m moment) step(next moment) time.Duration {
	if m.clock.Boot != next.clock.Boot || m.clock.Boot == 0 || next.clock.Uptime < m.clock.Uptime {
		return 0
	}
	step := time.Duration(next.sealed-m.sealed) - time.Duration(next.clock.Uptime-m.clock.Uptime)
	if step.Abs() < stepThreshold {
		return 0
	}
	return step.Round(time.Millisecond)
}

// readAhead is how many segments are read from the store at once.
const readAhead = 64

// Headers implements [collector.Store].
func (l *Ledger) Headers(ctx context.Context, chain lightchain.ChainID, from, to uint64, visit func(collector.Held) error) error {
	return WalkHeaders(ctx, l.store, chain, from, to, visit)
}

// WalkHeaders calls visit for the headers held from one height to another, both included, ascending, until it returns
// an error, which it returns. A header that is not held is left out.
func WalkHeaders(ctx context.Context, h History, chain lightchain.ChainID, from, to uint64, visit func(collector.Held) error) error {
	for from <= to {
		segments, err := h.Segments(ctx, chain, from, readAhead)
		if err != nil {
			return err
		}
		for i := range segments {
			if segments[i].First > to {
				return nil
			}
			err := segments[i].Walk(func(held collector.Held) error {
				if held.Height < from || held.Height > to {
					return nil
				}
				return visit(held)
			})
			if err != nil {
				return err
			}
			from = segments[i].Last + 1
		}
		if len(segments) < readAhead {
			return nil
		}
	}
	return nil
}
