package aggregator

import (
	"errors"
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

// alive returns nil while the program makes progress. That a broker or a database is away is no ailment of it: starting it
// again would help nobody.
func (a *Aggregator) alive() error {
	if a.databaseAway() != nil {
		return nil
	}
	return a.ledger.progress.stuck()
}

// databaseAway returns an error while the store's server does not answer.
func (a *Aggregator) databaseAway() error {
	if a.served == nil {
		return nil
	}
	d := a.served.Database()
	return d.away()
}

// away returns an error while the server does not answer.
func (d *Database) away() error {
	if d.Silent == nil {
		return nil
	}
	return fmt.Errorf("the database does not answer since %s: %s", d.Silent.UTC().Format(time.RFC3339), d.Error)
}

var errUncounted = errors.New("the gateways could not be counted in time")
