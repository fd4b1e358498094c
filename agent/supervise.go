package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/sensors/broker"
)

// A source keeps itself connected, and fails only where it cannot listen or where the sink refuses messages for good. The
// first may mend by itself, so the source is run again and again; the second ends the agent.

// How long a source that cannot listen waits before it is tried again: doubling, for ever.
const (
	leastPause = time.Second
	mostPause  = 30 * time.Second
)

// tellFailing is the least time between two lines of the log about one source that cannot listen.
const tellFailing = time.Minute

// trials is what became of the attempts to have a source listen.
type trials struct {
	decided chan struct{} // closed when the first one has failed; nil: the source was not started

	mu    sync.Mutex
	why   error     // of the newest failure; guarded by mu. It stays when the source listens at last
	since time.Time // of the first failure; guarded by mu
}

// failed notes a failure.
func (t *trials) failed(why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why == nil {
		t.since = time.Now()
		defer close(t.decided)
	}
	t.why = why
}

// startSource keeps a source running until ctx ends or it is stopped; where it can go on no more, that goes to a.failed.
func (a *Agent) startSource(ctx context.Context, s *source) {
	ctx, s.cancel = context.WithCancel(ctx)
	s.begun.Store(time.Now().UnixNano())
	s.done, s.trials.decided = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(s.done)
		if err := a.supervise(ctx, s); err != nil {
			select {
			case a.failed <- fmt.Errorf("source %s: %w", s.name, err):
			default:
			}
		}
	}()
}

// supervise runs a source until ctx ends, again whenever it could not listen.
func (a *Agent) supervise(ctx context.Context, s *source) error {
	share := a.queue.Share(s.name)
	defer share.Retire()
	var told time.Time
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		err := s.run(ctx, share)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		var cannot *broker.ListenError
		if !errors.As(err, &cannot) {
			return err
		}
		s.trials.failed(cannot)
		if told.IsZero() || time.Since(told) >= tellFailing {
			told = time.Now()
			a.log.Error("failed to listen; it is tried again, and the other sources go on", "source", s.name, "err", cannot, "again_in", pause)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// stopSources stops sources and waits until what they took is durable and acknowledged.
func stopSources(sources []*source) {
	for _, s := range sources {
		s.cancel()
	}
	for _, s := range sources {
		<-s.done
	}
}

// running returns the sources that run now.
func (a *Agent) running() []*source {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sources
}

// notListening says why a source cannot listen now; nil: it does, or it is not known yet.
func (s *source) notListening() error {
	select {
	case <-s.ready:
		return nil
	default:
	}
	s.trials.mu.Lock()
	defer s.trials.mu.Unlock()
	return s.trials.why
}

// tried waits until it is known of a source whether it can listen, for the time being, or ctx ends. Of a source that
// connects to somebody else nothing is waited for.
func (s *source) tried(ctx context.Context) {
	if !s.listens {
		return
	}
	select {
	case <-s.ready:
	case <-s.trials.decided:
	case <-s.done:
	case <-ctx.Done():
	}
}

// notListening waits until it is known of each source whether it can listen, and returns those that cannot.
func notListening(ctx context.Context, sources []*source) (failing []api.NotListening) {
	for _, s := range sources {
		s.tried(ctx)
		if why := s.notListening(); why != nil {
			failing = append(failing, api.NotListening{Source: s.name, Why: why.Error()})
		}
	}
	return failing
}

// status says how a source stands, whether or not it could be started.
func (s *source) status() api.Source {
	out := s.stats()
	why := s.notListening()
	switch {
	case out.Connected:
		out.State = api.SourceUp
	case why != nil:
		s.trials.mu.Lock()
		defer s.trials.mu.Unlock()
		out.State, out.Since, out.Detail = api.SourceFailing, s.trials.since, why.Error()
	case out.State == "":
		out.State = api.SourceStarting
	}
	if out.State == api.SourceStarting {
		if out.Since = time.Now(); s.begun.Load() > 0 {
			out.Since = time.Unix(0, s.begun.Load())
		}
	}
	return out
}
