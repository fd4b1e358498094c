package poll

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// How long a Link waits before it is opened again: doubling, for ever.
const (
	leastPause = time.Second
	mostPause  = 30 * time.Second
)

// LinkConfig says what is kept open.
type LinkConfig struct {
	Name string // for the log: "serial:meter"

	// Changed is told when it began to fail, and when it is open again, with a group and a read that have no name. An error ends
	// [Link.Keep]. It may be nil.
	Changed func(context.Context, Change) error
	Log     *slog.Logger // nil: none
}

// Link is what a source that is told things, and does not ask, has in place of polls: a line that is open, or a session with a
// server. That it fails is a state: it is told once, and so is that it is open again.
type Link struct {
	config LinkConfig
	log    *slog.Logger

	mu     sync.Mutex
	stats  LinkStats // guarded by mu
	opened time.Time // guarded by mu
}

// LinkStats is how a link stands.
type LinkStats struct {
	Open   bool
	Since  time.Time // of one that fails: when it began to; zero: it does not
	Why    string
	Failed uint64 // attempts, since then
}

// EndError is what a link's session returns to have [Link.Keep] end with it.
type EndError struct{ Err error }

func (e *EndError) Error() string { return e.Err.Error() }

func (e *EndError) Unwrap() error { return e.Err }

// NewLink returns a link that is not open.
func NewLink(c LinkConfig) *Link {
	l := &Link{config: c, log: c.Log}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.log = l.log.With("source", c.Name)
	return l
}

// Stats returns how the link stands. It may be called at any time, from any goroutine.
func (l *Link) Stats() LinkStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Keep opens the link again and again until ctx ends; then it returns nil. session opens it, says so by [Link.Up], and returns why it
// is open no more. Keep ends with an error where that is an [*EndError], as those of Up and Down are.
func (l *Link) Keep(ctx context.Context, session func(ctx context.Context) error) error {
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		err := session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if end := new(EndError); errors.As(err, &end) {
			return err
		}
		if err == nil {
			err = errors.New("it was closed")
		}
		if l.lasted() { // one that comes and goes would fill the chain with that
			pause = leastPause
		}
		if err := l.Down(ctx, err); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// lasted reports whether the link was open for longer than the longest pause.
func (l *Link) lasted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats.Open && time.Since(l.opened) > mostPause
}

// Up notes that the link is open, and tells it where it was not.
func (l *Link) Up(ctx context.Context) error {
	l.mu.Lock()
	before := l.stats
	if !before.Open {
		l.stats, l.opened = LinkStats{Open: true}, time.Now()
	}
	l.mu.Unlock()
	if before.Since.IsZero() {
		return nil
	}
	now := time.Now()
	l.log.Info("a device is heard again", "after", now.Sub(before.Since).Round(time.Millisecond), "failed", before.Failed)
	return l.tell(ctx, Change{Recovered: []Recovered{{From: before.Since, To: now, Polls: before.Failed}}})
}

// Down notes why the link is not open, or nothing is heard over it, and tells it where that was not so before.
func (l *Link) Down(ctx context.Context, why error) error {
	l.mu.Lock()
	first := l.stats.Since.IsZero()
	l.stats.Open, l.stats.Why = false, why.Error()
	l.stats.Failed++
	if first {
		l.stats.Since = time.Now()
	}
	l.mu.Unlock()
	if !first {
		return nil
	}
	l.log.Warn("failed to listen to a device; it is tried again", "err", why)
	return l.tell(ctx, Change{Failing: []Failing{{Why: why.Error()}}})
}

func (l *Link) tell(ctx context.Context, c Change) error {
	if l.config.Changed == nil {
		return nil
	}
	if err := l.config.Changed(ctx, c); err != nil {
		return &EndError{err}
	}
	return nil
}
