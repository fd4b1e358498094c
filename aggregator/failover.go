package aggregator

import (
	"context"

	"edgechain.example/aggregator/registry"
	"edgechain.example/sync/collector"
)

// compare puts back whatever the store does not know any more, until ctx ends. It reads the records in pages: other
// replicas wait for it.
func (a *Aggregator) compare(ctx context.Context) {
	lacking := a.ledger.Pledged()
	chains, before := len(lacking), a.setBacks.Load()
	err := registry.EachRecord(ctx, a.options.Store, func(r *registry.Record) error {
		if height, found := lacking[r.Chain]; found && r.Head.Known && r.Head.Height >= height {
			delete(lacking, r.Chain)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		a.log.Error("failed to compare what the database knows with what was countersigned; it is done again when gateways show heads", "err", err)
	}
	defer func() { // what is found here is no reason to begin anew
		select {
		case <-a.setBack:
		default:
		}
	}()
	for chain := range lacking {
		err := a.ledger.Update(ctx, chain, func(*collector.State, func(collector.Held) error) error { return registry.ErrUnchanged })
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			a.log.Error("failed to compare what the database knows with what was countersigned; it is done again when gateways show heads", "chain", chain, "err", err)
		}
	}
	a.log.Info("what the database knows was compared with what was countersigned in this run", "chains", chains, "put_back", a.setBacks.Load()-before)
}

// watchServer compares when the server is another one, or was found to know less, until ctx ends.
func (a *Aggregator) watchServer(ctx context.Context, s registry.Served) {
	if len(a.ledger.Pledged()) > 0 { // of an earlier run: the server may be another one since
		signal(a.setBack)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Changed():
			if a.transparency != nil { // what it has forgotten others are to know before they append
				signal(a.transparency.look)
			}
		case <-a.setBack:
		}
		a.compare(ctx)
	}
}
