package aggregator

import (
	"context"
	"time"

	"edgechain.example/aggregator/registry"
)

// count shows the gateways in the metrics, again and again.
func (a *Aggregator) count(ctx context.Context) {
	for {
		if err := a.countOnce(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("failed to count the gateways", "err", err)
		}
		pause := time.NewTimer(a.census.Pause())
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
	}
}

func (a *Aggregator) countOnce(ctx context.Context) error {
	n, _, err := a.census.Recent(ctx)
	if err != nil {
		return err
	}
	for _, s := range registry.Standings {
		a.metrics.gateways.WithLabelValues(string(s)).Set(float64(n.Standings[s]))
	}
	for _, kind := range registry.Kinds {
		a.metrics.findings.WithLabelValues(string(kind)).Set(float64(n.Ailing[kind]))
	}
	for _, kind := range registry.LossKinds {
		a.metrics.lost.WithLabelValues(string(kind)).Set(float64(n.Lost[kind]))
	}
	a.metrics.owned.Set(float64(n.Owned))
	a.metrics.unheard.Set(float64(n.Unheard))
	a.metrics.scanned.Set(float64(n.At.Unix()))
	return nil
}
