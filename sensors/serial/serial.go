// Package serial listens to devices that send telegrams over a serial line without being asked: scales, meters, instruments. It
// parts what comes into telegrams (see [Config].Frame), and makes a message of each; what a telegram means is a decoder's matter, and
// is given to it from outside. Nothing is ever written to the line.
//
// # What is a telegram
//
// A line is opened at any moment, also in the middle of a telegram. Where a telegram has a mark at its beginning, what comes before
// the first one is passed over. Lines have none: what comes first may be the end of "12.345", and would be read as "2.345". So it is
// recorded, and not read, unless the line was silent before it.
//
// Bytes between two telegrams, and telegrams that a new one broke off or that do not end, are no messages; that there were any is
// told as a loss, with how many.
package serial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"edgechain.example/sensors"
	"edgechain.example/sensors/poll"
	"edgechain.example/sensors/serialline"
)

// settles is for how long a line must be silent for what comes then to be a line's beginning.
const settles = time.Second

// onceWithin is how long [Source.Once] waits for a telegram: meters with a P1 port send one each ten seconds at least.
const onceWithin = 15 * time.Second

// SourceName returns the name of a line as a source of the agent.
func SourceName(name string) string { return "serial:" + name }

// EntrySource is the source of the entries that hold its telegrams.
//
// SPEC: serial:<source>:
func EntrySource(name string) string { return SourceName(sensors.SourceName(name)) + ":" }

// Options is what a source is given beside its configuration.
type Options struct {
	// Decode makes the message of a telegram. Torn says that its beginning may be missing: then it must not be read.
	Decode func(telegram []byte, torn bool, received time.Time) *sensors.Message
	// Lost is told that n telegrams are missing, 0 where nobody can tell how many, and why.
	Lost func(n int, why string)
	// Changed is told when the line begins to fail, and when it is open again.
	Changed func(context.Context, poll.Change) error
	Log     *slog.Logger // nil: none
}

// Source listens to one line.
type Source struct {
	config  Config
	options Options
	link    *poll.Link
	report  report        // Run's
	ended   chan struct{} // closed when Run ends

	mu       sync.Mutex
	waiting  []chan *sensors.Message // guarded by mu: who asked for the next telegram; each has room for it
	messages uint64                  // guarded by mu
}

// New returns a source for a configuration that was checked. It opens nothing before [Source.Run].
func New(c Config, o Options) *Source {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Lost == nil {
		o.Lost = func(int, string) {}
	}
	return &Source{config: c, options: o, ended: make(chan struct{}),
		link: poll.NewLink(poll.LinkConfig{Name: SourceName(c.Name), Changed: o.Changed, Log: o.Log})}
}

// Stats is how a source stands.
type Stats struct {
	poll.LinkStats
	Messages uint64 // given to the sink
}

// Stats may be called at any time, from any goroutine.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{s.link.Stats(), s.messages}
}

// Run listens, and gives each telegram to sink, until ctx ends (then it returns nil) or the sink closes. It is called once.
func (s *Source) Run(ctx context.Context, sink sensors.Sink) error {
	defer close(s.ended)
	if err := s.link.Keep(ctx, func(ctx context.Context) error { return s.session(ctx, sink) }); err != nil {
		return fmt.Errorf("%s: %w", SourceName(s.config.Name), err)
	}
	return nil
}

// session opens the line, and reads it until it is there no more.
func (s *Source) session(ctx context.Context, sink sensors.Sink) error {
	line, err := serialline.Open(s.config.Port)
	if err != nil {
		return fmt.Errorf("opening the line: %w", err)
	}
	defer line.Close()
	if err := line.Set(s.config.mode()); err != nil {
		return fmt.Errorf("setting the line: %w", err)
	}
	if err := line.Flush(); err != nil { // what the kernel kept may be the end of one telegram and the beginning of another, of any time
		return fmt.Errorf("emptying the line's buffer: %w", err)
	}
	if s.config.Silence == 0 {
		if err := s.link.Up(ctx); err != nil {
			return err
		}
	}
	defer context.AfterFunc(ctx, func() { _ = line.SetReadDeadline(time.Unix(1, 0)) })()
	l := &listening{source: s, sink: sink, framer: s.config.framer(), heard: time.Now()}
	defer l.tell(true)
	for {
		if err := l.listen(ctx, line); err != nil {
			return err
		}
	}
}

// listening is a line that is open.
type listening struct {
	source *Source
	sink   sensors.Sink
	framer *framer
	heard  time.Time // when the newest byte came and was taken in, or the line was opened
	came   time.Time // when the newest telegram was whole, likewise; zero: none was
	buffer [4096]byte
}

// listen takes in what comes next.
func (l *listening) listen(ctx context.Context, line *serialline.Line) error {
	s := l.source
	wake := s.report.due()
	if silence := s.config.Silence; silence > 0 {
		if l.came.IsZero() {
			l.came = l.heard
		}
		if until := l.came.Add(silence); wake.IsZero() || until.Before(wake) {
			wake = until
		}
	}
	if err := line.SetReadDeadline(wake); err != nil {
		return fmt.Errorf("waiting for the line: %w", err)
	}
	if err := ctx.Err(); err != nil { // it may have ended before the deadline was set
		return err
	}
	n, err := line.Read(l.buffer[:])
	now := time.Now()
	if n > 0 {
		quiet := now.Sub(l.heard) >= settles
		l.heard = now
		if err := l.take(ctx, l.buffer[:n], quiet, now); err != nil {
			return err
		}
		l.heard = time.Now() // while messages waited for the disk nobody listened: that was no silence
	}
	l.tell(false)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if silence := s.config.Silence; silence > 0 && now.Sub(l.came) >= silence && ctx.Err() == nil {
			l.came = now
			return s.link.Down(ctx, fmt.Errorf("no telegram within %v", silence))
		}
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return errors.New("the line has gone: was it unplugged?")
	case err != nil:
		return fmt.Errorf("reading the line: %w", err)
	}
	return nil
}

// take hands over the telegrams that are whole by now.
func (l *listening) take(ctx context.Context, b []byte, quiet bool, now time.Time) error {
	s := l.source
	for _, t := range l.framer.feed(b, quiet) {
		l.came = now
		if err := s.link.Up(ctx); err != nil {
			return err
		}
		m := s.options.Decode(t.bytes, t.torn, now)
		s.mu.Lock()
		s.messages++
		for _, waits := range s.waiting {
			waits <- m
		}
		s.waiting = nil
		s.mu.Unlock()
		if err := l.sink.Put(ctx, m); err != nil {
			return &poll.EndError{Err: fmt.Errorf("handing over a message: %w", err)}
		}
	}
	return nil
}

// tell tells what was lost, if it is time.
func (l *listening) tell(last bool) {
	s := l.source
	s.report.add(&l.framer.lost)
	if cut, garbage := s.report.take(last); cut > 0 || garbage > 0 {
		s.options.Lost(cut, lossText(cut, garbage))
	}
}

// Once waits for the next telegram, and returns it. It is recorded as any, and not for that. The group has no name.
func (s *Source) Once(ctx context.Context, group string) ([]poll.Answer, error) {
	if group != "" {
		return nil, poll.ErrNoGroup
	}
	next := make(chan *sensors.Message, 1)
	s.mu.Lock()
	s.waiting = append(s.waiting, next)
	s.mu.Unlock()
	within := time.NewTimer(max(onceWithin, s.config.Silence))
	defer within.Stop()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case m := <-next:
			return []poll.Answer{{Message: m}}, nil
		case <-look.C: // nothing comes of a line that is not there
			if stats := s.link.Stats(); !stats.Open && stats.Why != "" {
				return []poll.Answer{{Err: errors.New(stats.Why)}}, nil
			}
		case <-within.C:
			return []poll.Answer{{Err: fmt.Errorf("no telegram within %v: is the device on, and are baud rate and frame what it sends?", max(onceWithin, s.config.Silence))}}, nil
		case <-s.ended:
			return nil, poll.ErrEnded
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
