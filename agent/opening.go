package agent

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/arm"
)

// Opening a chain may take long: after a power cut, where the database is rebuilt, or while somebody else holds the lock.
// The agent answers on its socket meanwhile, and says how far it is.

// front answers as what stands behind it does, which is swapped whole.
type front struct {
	handler atomic.Pointer[http.Handler]
}

func (f *front) show(h http.Handler) { f.handler.Store(&h) }

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*f.handler.Load()).ServeHTTP(w, r)
}

// opening is how far the agent is.
type opening struct {
	mu  sync.Mutex
	now api.Opening
}

// at notes a step, and tells the service manager of a new one.
func (o *opening) at(step string, done, total uint64) {
	o.mu.Lock()
	news := o.now.Step != step
	o.now.Step, o.now.Done, o.now.Total = step, done, total
	o.mu.Unlock()
	if news {
		arm.Notify("STATUS=opening the chain: " + step)
	}
}

// step is at for the store, which ends the opening when the agent is told to stop.
func (o *opening) step(ctx context.Context) func(step string, done, total uint64) error {
	return func(step string, done, total uint64) error {
		o.at(step, done, total)
		return ctx.Err()
	}
}

// openingStatus is what can be said of a gateway whose chain is not open.
func (a *Agent) openingStatus() api.Status {
	a.opening.mu.Lock()
	defer a.opening.mu.Unlock()
	now := a.opening.now
	s := api.Status{Running: true, Version: a.options.Version, Gateway: a.config.name(), Opening: &now}
	s.Verdict = judge(&s, time.Now())
	return s
}
