package registry

import (
	"fmt"
	"sync"
	"time"
)

// progress is whether what is asked of the store comes to an end.
type progress struct {
	now func() time.Time

	mu    sync.Mutex
	calls int       // guarded by mu: under way
	moved time.Time // guarded by mu: when one ended last, or the first of these began
}

// stuckAfter is how long none of the calls under way may end until the program is taken for stuck. A call on a database that is
// away ends before.
const stuckAfter = 3 * time.Minute

func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls++; p.calls == 1 {
		p.moved = p.now()
	}
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls--
	p.moved = p.now()
}

// stuck returns an error if the store does not do anything any more.
func (p *progress) stuck() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if quiet := p.now().Sub(p.moved); p.calls > 0 && quiet > stuckAfter {
		return fmt.Errorf("%d calls of the store are under way, and none has ended for %s", p.calls, quiet.Round(time.Second))
	}
	return nil
}
