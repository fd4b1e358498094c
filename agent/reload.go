package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"edgechain/sensors"
)

// reloadOnHangup reads the configuration again whenever the operator asks for it by signal.
func (a *Agent) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-a.options.Hangup:
			if err := a.reload(ctx); err != nil {
				a.log.Error("the configuration was not reloaded; the old one stays in force", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// reload reads the configuration again and brings it into force.
func (a *Agent) reload(context.Context) error {
	if a.options.Load == nil {
		return errors.New("this agent has no configuration to read again")
	}
	next, err := a.options.Load()
	if err != nil {
		return err
	}
	return a.Reload(next)
}

// errNeedsRestart is what a change runs into that a running agent cannot make.
var errNeedsRestart = errors.New("takes effect at the next start only; the configuration in force stays")

// Reload brings a configuration, which has been checked, into force without dropping a session or a message: sources
// that did not change go on, those that changed stop, with what they took acknowledged, before their successors
// start. If anything of it cannot be done, all stays as it was.
func (a *Agent) Reload(next *Config) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	ctx := a.sourcesCtx
	if ctx.Err() != nil {
		return errStopping
	}
	a.mu.Lock()
	old, running := a.config, a.sources
	a.mu.Unlock()
	if err := old.mayBecome(next); err != nil {
		return err
	}
	wanted, adopt, err := a.wantedSources(next, running)
	if err != nil {
		return err
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
				return fmt.Errorf("source %s: %w", s.name, err)
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
	if err := a.committer.do(ctx, func() { a.committer.commit, a.committer.block = next.Commit, next.Block }); err != nil {
		return err
	}
	for _, s := range wanted {
		if s.done == nil {
			a.startSource(ctx, s)
		}
	}
	a.mu.Lock()
	a.config, a.sources = next, wanted
	a.mu.Unlock()
	signal(a.retention.again)
	a.presence.want(next)
	a.record(ctx, "config", configEvent{SHA256: next.Hash(sensors.DecoderVersion).String()})
	a.log.Info("the new configuration is in force", "sources stopped", len(leaving), "sources", len(wanted))
	return nil
}

// mayBecome refuses changes that a running agent cannot make.
func (c *Config) mayBecome(next *Config) error {
	for _, f := range [...]struct {
		key      string
		old, new any
	}{
		{"gateway.data", c.Gateway.Data, next.Gateway.Data},
		{"gateway.chain", c.Gateway.Chain, next.Gateway.Chain},
		{"key.file", c.Key.File, next.Key.File},
		{"[store]", c.Store, next.Store},
		{"[api]", c.API, next.API},
		{"[log]", c.Log, next.Log},
	} {
		if !reflect.DeepEqual(f.old, f.new) {
			return fmt.Errorf("a change of %s %w", f.key, errNeedsRestart)
		}
	}
	return nil
}
