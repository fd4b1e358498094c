package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"edgechain/agent/api"
	"edgechain/sensors"
	"edgechain/tomlconf"
)

// reloadOnHangup reads the configuration again whenever the operator asks for it by signal.
func (a *Agent) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-a.options.Hangup:
			if _, err := a.reload(); err != nil {
				a.log.Error("the configuration was not reloaded; the old one stays in force", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// reload reads the configuration again and brings it into force, but for the keys that it returns.
func (a *Agent) reload() (reloaded api.Reloaded, err error) {
	if a.options.Load == nil {
		return reloaded, errors.New("this agent has no configuration to read again")
	}
	next, err := a.options.Load()
	if err != nil {
		return reloaded, err
	}
	return a.Reload(next)
}

// Reload brings a configuration, which has been checked, into force without dropping a session or a message: sources
// and upstreams that did not change go on, those that changed stop, with what they took acknowledged, before their
// successors start. If anything of it cannot be done, all stays as it was. The keys that are returned as waiting have
// changed and wait for the next start; their old values stay in force, and stand in the hash that is recorded. A source
// that cannot listen keeps nothing from coming into force: it is returned, and tried again.
func (a *Agent) Reload(next *Config) (reloaded api.Reloaded, err error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	ctx := a.sourcesCtx
	if ctx.Err() != nil {
		return api.Reloaded{}, errStopping
	}
	a.mu.Lock()
	old, running := a.config, a.sources
	a.mu.Unlock()
	next, reloaded.Waiting = old.become(next)
	wanted, adopt, err := a.wantedSources(next, running)
	if err != nil {
		return api.Reloaded{}, err
	}
	plan, err := a.planUpstreams(next)
	if err != nil {
		return api.Reloaded{}, err
	}
	var leaving []*source
	for _, s := range running {
		if !slices.Contains(wanted, s) {
			leaving = append(leaving, s)
		}
	}
	for _, s := range wanted {
		if s.refresh != nil && s.done != nil {
			if err := s.refresh(); err != nil {
				return api.Reloaded{}, fmt.Errorf("source %s: %w", s.name, err)
			}
		}
	}
	for _, f := range adopt {
		f()
	}
	a.knowPresence(next)
	// A successor may need its predecessor's port, or its session at a broker.
	stopSources(leaving)
	a.queue.setLimits(int(next.Ingest.MaxBytes), next.Commit.MaxEntries)
	err = a.committer.do(ctx, func() {
		a.committer.commit, a.committer.block = next.Commit, next.Block
		a.mu.Lock()
		defer a.mu.Unlock()
		a.config, a.sources = next, wanted
	})
	if err != nil {
		return api.Reloaded{}, err
	}
	a.metrics.know(wanted)
	for _, s := range wanted {
		if s.done == nil {
			a.startSource(ctx, s)
		}
	}
	reloaded.Failing = notListening(ctx, wanted)
	if err := a.switchUpstreams(ctx, plan); err != nil {
		return api.Reloaded{}, err
	}
	signal(a.retention.again)
	a.presence.want(next)
	if a.options.Reloaded != nil {
		a.options.Reloaded(next)
	}
	if hash := next.Hash(sensors.DecoderVersion); hash != old.Hash(sensors.DecoderVersion) {
		a.record(ctx, "config", configEvent{SHA256: hash.String()})
	}
	a.log.Info("the new configuration is in force", "sources stopped", len(leaving), "sources", len(wanted),
		"upstreams stopped", len(plan.leaving), "upstreams", len(plan.wanted))
	if waiting := reloaded.Waiting; len(waiting) > 0 {
		a.log.Warn("changes of these keys wait for the next start", "keys", strings.Join(waiting, " "))
	}
	return reloaded, nil
}

// become returns what of next a running agent can bring into force, and the keys of which it keeps the old values.
func (c *Config) become(next *Config) (kept *Config, waiting []string) {
	k := *next
	k.Gateway.Data, k.Gateway.Chain, k.Key.File = c.Gateway.Data, c.Gateway.Chain, c.Key.File
	k.Store, k.API, k.Log.Format = c.Store, c.API, c.Log.Format
	return &k, tomlconf.Changed(&k, next)
}

// inForce returns the configuration in force.
func (a *Agent) inForce() *Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config
}
