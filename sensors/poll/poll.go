// Package poll is what all polled sources share: when each group of reads is due, what becomes of a read that fails, and
// what is said of intervals that were missed. It owns no connection and no dialect: what asks a device, and what its answer
// means, is a [Read]'s.
//
// One [Source] is one bus, and has one goroutine, so that no two questions are ever under way on a bus. A read that fails
// gives no message, so nothing old is recorded again. That it began to fail, and that it is answered again, are each told
// once, with all reads of a group to which it happened in one poll. An interval that passes while the bus is busy, or while
// the sink takes nothing, is missed and not made up for, and that is told as a state, too.
//
// A device that says nothing costs its time-out. So where other groups share its bus, a group that met silence is asked again
// no sooner than after nine times the time that it cost, and that for each group of the same device that met it: a device that
// is away takes a tenth of the bus at most, however many its groups are. Once it answers one of them, the others are due.
package poll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"edgechain.example/sensors"
)

// Group is what is read together, again and again.
type Group struct {
	Name     string
	Device   string        // that is asked: silence of one is the same in all its groups; "" is a device like others
	Interval time.Duration // between the beginnings of two polls, above 0
	Deadline time.Duration // after which a poll asks for nothing more; 0: Interval
	Reads    []Read        // in the order in which they are asked
	Form     string        // what the reads ask for and how, in any words: where it changes, what was known of them is forgotten
}

// Read asks one device for one thing.
type Read struct {
	// Name tells it from the others of the group, in what is said of it.
	Name string
	// Ask returns the answer as a message, with the time at which it came. It ends soon after ctx does. An error that is a
	// [*RefusedError] is an answer, too; after any other the rest of the group is not asked in this poll.
	Ask func(ctx context.Context) (*sensors.Message, error)
}

// RefusedError is the answer of a device that is there, and does not give what it was asked for.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }

func (e *RefusedError) Unwrap() error { return e.Err }

// Change is what became of a group in one poll.
type Change struct {
	Group     string
	Failing   []Failing   // reads that failed, and did not before
	Recovered []Recovered // reads that were answered, and were not before
	Late      *Late       // nil: it keeps its interval as before, or misses it as before
}

// Failing is a read that begins to fail.
type Failing struct {
	Read string
	Why  string
}

// Recovered is a read that is answered again.
type Recovered struct {
	Read  string
	From  time.Time // of the first poll in which it failed
	To    time.Time // of the one that was answered
	Polls uint64    // that failed
}

// Late says that a group misses its interval, or keeps it again.
type Late struct {
	Over   bool
	Since  time.Time // when the first poll was due that was missed
	Missed uint64    // polls, so far
}

// keepsAgain is how many polls in a row are in time before a group counts as keeping its interval again.
const keepsAgain = 10

// share is the part of a bus's time that a silent device is left: one of so many.
const share = 10

// Config says what is polled.
type Config struct {
	Name   string // for errors and the log: "modbus:line-1"
	Groups []Group

	// Changed is told of each change before the next poll. An error ends Run. It may be nil.
	Changed func(context.Context, Change) error
	// Rest waits as long as the bus must be left alone after silence, or until ctx ends. What is left of that when a poll's
	// deadline is over would else be in the time of the next group, which is not to blame. It may be nil.
	Rest func(ctx context.Context)
	// End is called when Run ends, and closes what the reads have opened. It may be nil.
	End func()
	Log *slog.Logger // nil: none
}

// Source polls the groups of one bus.
type Source struct {
	config Config
	log    *slog.Logger
	asks   chan ask
	wake   chan struct{} // capacity 1: the groups have changed
	ended  chan struct{} // closed when Run ends

	mu     sync.Mutex
	groups []*group // guarded by mu; what is in them is Run's, but for their stats
	next   []Group  // guarded by mu; what they are to become, nil: nothing
}

// group is a Group at work.
type group struct {
	Group
	due   time.Time // the next poll
	reads []state   // one for each of Reads

	silent bool  // the last poll met silence
	late   *Late // nil: it keeps its interval
	inTime int   // polls in a row, while late

	stats GroupStats // guarded by the source's mu
	waits time.Time  // due, likewise
}

// state is how a read stands.
type state struct {
	failing bool
	since   time.Time
	polls   uint64
	why     string
}

// GroupStats is how a group stands.
type GroupStats struct {
	Name     string
	Reads    int
	Failing  int       // of these, now
	Since    time.Time // when the first of those began to fail
	Silent   time.Time // when the last did, where all fail
	Why      string    // what the first of those says
	Late     bool      // it misses its interval
	Answered time.Time // when a poll last was answered in full
	Polls    uint64
	Failed   uint64 // polls of which not all was answered
	Missed   uint64 // polls that were not made, since the bus was busy, or nothing took what they gave
	Messages uint64 // given to the sink
}

// New returns a source. It asks nothing before [Source.Run], or [Source.Once].
func New(c Config) *Source {
	s := &Source{config: c, log: c.Log, asks: make(chan ask), wake: make(chan struct{}, 1), ended: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.log = s.log.With("source", c.Name)
	for i := range c.Groups {
		s.groups = append(s.groups, newGroup(c.Groups[i]))
	}
	return s
}

func newGroup(g Group) *group {
	if g.Deadline <= 0 {
		g.Deadline = g.Interval
	}
	return &group{Group: g, reads: make([]state, len(g.Reads)), stats: GroupStats{Name: g.Name, Reads: len(g.Reads)}}
}

// SetGroups changes what is polled, from the end of a poll that is under way on. Of a group whose reads stay as they are, all
// that is known stays, too. The reads must be of the same bus.
func (s *Source) SetGroups(groups []Group) {
	s.mu.Lock()
	s.next = slices.Clone(groups)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// adopt brings groups into force that SetGroups was given.
func (s *Source) adopt(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		return
	}
	before := s.groups
	s.groups = nil
	for i := range s.next {
		g := newGroup(s.next[i])
		g.due = now
		if at := slices.IndexFunc(before, func(b *group) bool { return b.Name == g.Name }); at >= 0 {
			if old := before[at]; old.Form == g.Form && len(old.Reads) == len(g.Reads) {
				g.reads, g.late, g.inTime, g.silent, g.stats = old.reads, old.late, old.inTime, old.silent, old.stats
				if old.Interval == g.Interval {
					g.due = old.due
				}
			}
		}
		g.waits = g.due
		s.groups = append(s.groups, g)
	}
	s.next = nil
}

// Stats returns how the groups stand, in the order of the configuration. It may be called at any time, from any goroutine.
func (s *Source) Stats() (all []GroupStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, g := range s.groups {
		st := g.stats
		// One that waits behind others for longer than its interval is late already, and not only once its turn has come. That one
		// fails, too, is told.
		if st.Failing == 0 && !g.waits.IsZero() && now.Sub(g.waits) > g.Interval {
			st.Late = true
		}
		all = append(all, st)
	}
	return all
}

// Run polls all groups at once, and then each at its interval, and gives what is answered to sink, until ctx ends (then it
// returns nil) or the sink closes. It is called once.
func (s *Source) Run(ctx context.Context, sink sensors.Sink) error {
	defer func() {
		close(s.ended)
		if s.config.End != nil {
			s.config.End()
		}
	}()
	s.mu.Lock()
	for _, g := range s.groups {
		g.due = time.Now()
		g.waits = g.due
	}
	s.mu.Unlock()
	for {
		s.adopt(time.Now())
		g := s.first()
		var due <-chan time.Time
		if g != nil {
			due = time.After(time.Until(g.due))
		}
		select {
		case <-ctx.Done():
			return nil
		case a := <-s.asks:
			s.adopt(time.Now()) // what a reload brought before the question
			a.answer <- s.askAll(ctx, a)
			continue
		case <-s.wake:
			continue
		case <-due:
		}
		if err := s.poll(ctx, g, sink); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s: %w", s.config.Name, err)
		}
	}
}

// first returns the group that is due first; of those that are due at one time, the one that stands first. nil: there is none.
func (s *Source) first() (first *group) {
	for _, g := range s.groups {
		if first == nil || g.due.Before(first.due) {
			first = g
		}
	}
	return first
}

// poll asks a group once, and says when it is due next. It fails only where ctx has ended, or the sink or whoever is told of
// changes fails.
func (s *Source) poll(ctx context.Context, g *group, sink sensors.Sink) error {
	begin := time.Now()
	within, cancel := context.WithTimeout(ctx, g.Deadline)
	defer cancel()
	change := Change{Group: g.Name}
	var silent error // since when nothing more is asked
	var messages uint64
	for i, r := range g.Reads {
		var m *sensors.Message
		err := silent
		switch {
		case err != nil:
		case within.Err() != nil:
			err = fmt.Errorf("not asked, for the group's deadline of %v was over", g.Deadline)
		default:
			m, err = r.Ask(within)
			if within.Err() != nil && errors.Is(err, context.DeadlineExceeded) { // a dialer's time-out calls itself so, too
				err = fmt.Errorf("no answer before the group's deadline of %v", g.Deadline)
			}
			if refused := new(RefusedError); err != nil && !errors.As(err, &refused) {
				silent = err
			}
		}
		if ctx.Err() != nil && err != nil {
			return ctx.Err() // told to end: that says nothing about the device
		}
		s.settle(g, i, err, begin, &change)
		if err != nil {
			continue
		}
		if err := sink.Put(ctx, m); err != nil {
			return fmt.Errorf("handing over a message: %w", err)
		}
		messages++
	}
	if silent != nil {
		s.rest(ctx)
	}
	s.plan(g, begin, silent != nil, &change)
	s.count(g, begin, messages)
	if len(change.Failing)+len(change.Recovered) == 0 && change.Late == nil {
		return nil
	}
	s.say(&change)
	if s.config.Changed == nil {
		return nil
	}
	return s.config.Changed(ctx, change)
}

// rest leaves the bus alone for as long as it must be.
func (s *Source) rest(ctx context.Context) {
	if s.config.Rest != nil {
		s.config.Rest(ctx)
	}
}

// settle notes what became of one read.
func (s *Source) settle(g *group, i int, err error, begin time.Time, change *Change) {
	r := &g.reads[i]
	switch {
	case err == nil && r.failing:
		change.Recovered = append(change.Recovered, Recovered{Read: g.Reads[i].Name, From: r.since, To: begin, Polls: r.polls})
		*r = state{}
	case err == nil:
	case r.failing:
		r.polls++
		r.why = err.Error()
	default:
		*r = state{failing: true, since: begin, polls: 1, why: err.Error()}
		change.Failing = append(change.Failing, Failing{Read: g.Reads[i].Name, Why: r.why})
	}
}

// plan says when a group is due next: at the first of its times that is not past.
func (s *Source) plan(g *group, begin time.Time, silent bool, change *Change) {
	now := time.Now()
	due, earliest := g.due, now
	if g.silent && !silent {
		s.hurry(g, now)
	}
	g.silent = silent
	if silent && len(s.groups) > 1 {
		earliest = now.Add((share*s.silentLike(g) - 1) * now.Sub(begin))
	}
	past := earliest.Sub(due) / g.Interval
	g.due = due.Add((past + 1) * g.Interval)
	missed := uint64(now.Sub(due) / g.Interval)
	if silent {
		missed = 0 // it fails, and that is told
	}
	s.mu.Lock()
	g.stats.Missed += missed
	for _, o := range s.groups {
		o.waits = o.due
	}
	s.mu.Unlock()
	switch {
	case missed > 0:
		if g.late == nil {
			g.late = &Late{Since: due.Add(g.Interval)}
			change.Late = g.late
		}
		g.late.Missed += missed
		g.inTime = 0
	case g.late != nil && !silent:
		if g.inTime++; g.inTime >= keepsAgain {
			change.Late = &Late{Over: true, Since: g.late.Since, Missed: g.late.Missed}
			g.late, g.inTime = nil, 0
		}
	}
	if change.Late != nil {
		told := *change.Late // what is told is not changed by the next poll
		change.Late = &told
	}
}

// silentLike returns how many groups of a group's device met silence when they were asked last.
func (s *Source) silentLike(g *group) (n time.Duration) {
	for _, o := range s.groups {
		if o.silent && o.Device == g.Device {
			n++
		}
	}
	return n
}

// hurry has the other groups of a device that answers again be due at the next of their times.
func (s *Source) hurry(g *group, now time.Time) {
	for _, o := range s.groups {
		if o != g && o.silent && o.Device == g.Device && o.due.After(now) {
			o.due = o.due.Add(-(o.due.Sub(now) / o.Interval) * o.Interval)
		}
	}
}

// count notes how the group stands after a poll.
func (s *Source) count(g *group, begin time.Time, messages uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &g.stats
	st.Polls++
	st.Messages += messages
	st.Failing, st.Since, st.Silent, st.Why, st.Late = 0, time.Time{}, time.Time{}, "", g.late != nil
	var newest time.Time
	for i := range g.reads {
		if r := &g.reads[i]; r.failing {
			st.Failing++
			if st.Since.IsZero() || r.since.Before(st.Since) {
				st.Since = r.since
			}
			if r.since.After(newest) {
				newest = r.since
			}
			if st.Why == "" {
				st.Why = g.Reads[i].Name + ": " + r.why
			}
		}
	}
	if st.Failing == len(g.reads) {
		st.Silent = newest
	}
	if st.Failing > 0 {
		st.Failed++
	} else {
		st.Answered = begin
	}
}

// say tells the log of a change.
func (s *Source) say(c *Change) {
	if n := len(c.Failing); n > 0 {
		s.log.Warn("failed to poll", "group", c.Group, "read", c.Failing[0].Read, "err", c.Failing[0].Why, "reads", n)
	}
	if n := len(c.Recovered); n > 0 {
		r := c.Recovered[0]
		s.log.Info("a poll is answered again", "group", c.Group, "read", r.Read, "after", r.To.Sub(r.From).Round(time.Millisecond), "failed", r.Polls, "reads", n)
	}
	switch {
	case c.Late == nil:
	case c.Late.Over:
		s.log.Info("a group keeps its interval again", "group", c.Group, "missed", c.Late.Missed)
	default:
		s.log.Warn("a group misses its interval: the bus is busy, or what it gives is not taken", "group", c.Group, "missed", c.Late.Missed)
	}
}
