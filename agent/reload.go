package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"edgechain.example/agent/api"
	"edgechain.example/agent/recorder"
	"edgechain.example/localhttp"
	"edgechain.example/sensors"
	"edgechain.example/sensors/broker"
	"edgechain.example/tomlconf"
)

// reloadOnHangup reads the configuration again whenever the operator asks for it by signal.
func (a *Agent) reloadOnHangup(ctx context.Context) {
	for {
		select {
		case <-a.options.Hangup:
			if _, err := a.reload(ctx, false); err != nil {
				a.log.Error("failed to reload the configuration; the old one stays in force", "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// reload reads the configuration again and brings it into force, but for the keys that it returns; or says what that would
// do. ctx says who asked.
func (a *Agent) reload(ctx context.Context, dryRun bool) (reloaded api.Reloaded, err error) {
	if a.options.Load == nil {
		return reloaded, errors.New("this agent has no configuration to read again")
	}
	next, err := a.options.Load()
	if err != nil {
		return reloaded, err
	}
	if dryRun {
		return a.WouldReload(next)
	}
	return a.bring(next, localhttp.PeerOf(ctx))
}

// WouldReload says what [Agent.Reload] would do, and does nothing.
func (a *Agent) WouldReload(next *Config) (api.Reloaded, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	if a.sourcesCtx.Err() != nil {
		return api.Reloaded{}, recorder.ErrStopping
	}
	p, err := a.planReload(next)
	if err != nil {
		return api.Reloaded{}, err
	}
	return a.tellPlan(p), nil
}

// tellPlan puts a plan into the words of the interface. It is asked before the plan is carried out: then what ends is
// still there to be counted.
func (a *Agent) tellPlan(p *reloadPlan) (r api.Reloaded) {
	r.Waiting = p.waiting
	r.Changed = tomlconf.Changed(p.old, p.next)
	named := func(sources []*source, name string) bool {
		return slices.ContainsFunc(sources, func(s *source) bool { return s.name == name })
	}
	for _, s := range p.leaving {
		if named(p.wanted, s.name) {
			r.Restarts = append(r.Restarts, s.name)
		} else {
			r.Stops = append(r.Stops, s.name)
		}
		if s.broker != nil {
			r.Sessions += s.broker.EndingWith(brokerOf(p.wanted))
		}
	}
	for _, s := range p.wanted {
		if s.done == nil && !named(p.running, s.name) {
			r.Starts = append(r.Starts, s.name)
		}
	}
	for i := range p.next.MQTT {
		m := &p.next.MQTT[i]
		for _, filter := range a.sessions.filters(sessionOf(a.store.Chain(), &m.Config)) {
			if !slices.ContainsFunc(m.Subscribe, func(s SubscribeConfig) bool { return slices.Contains(s.Topics, filter) }) {
				r.GivenUp = append(r.GivenUp, api.GivenUp{Source: "mqtt:" + m.Name, Filter: filter})
			}
		}
	}
	for _, h := range a.endable(p.old, p.next) {
		r.Forgotten = append(r.Forgotten, h.whose)
	}
	for _, u := range p.upstreams.leaving {
		r.Disconnects = append(r.Disconnects, u.Name)
	}
	return r
}

// brokerOf returns the embedded broker among sources, or nil.
func brokerOf(sources []*source) *broker.Broker {
	for _, s := range sources {
		if s.broker != nil {
			return s.broker
		}
	}
	return nil
}

// reloadPlan is how a configuration would be brought into force. It is made without changing anything.
type reloadPlan struct {
	old, next *Config // next with the old values of the keys that wait
	waiting   []string
	running   []*source
	wanted    []*source
	leaving   []*source
	adopt     []func() // brings into force what needs no new source
	upstreams *upstreamPlan
}

// planReload says how a configuration, which has been checked, would be brought into force, or why not.
func (a *Agent) planReload(next *Config) (p *reloadPlan, err error) {
	p = new(reloadPlan)
	a.mu.Lock()
	p.old, p.running = a.config, a.sources
	a.mu.Unlock()
	p.next, p.waiting = p.old.become(next)
	if p.wanted, p.adopt, err = a.wantedSources(p.next, p.running); err != nil {
		return nil, err
	}
	if p.upstreams, err = a.planUpstreams(p.next); err != nil {
		return nil, err
	}
	for _, s := range p.running {
		if !slices.Contains(p.wanted, s) {
			p.leaving = append(p.leaving, s)
		}
	}
	for _, s := range p.wanted {
		if s.refresh != nil && s.done != nil {
			apply, err := s.refresh()
			if err != nil {
				return nil, fmt.Errorf("source %s: %w", s.name, err)
			}
			p.adopt = append(p.adopt, apply)
		}
	}
	return p, nil
}

// Reload brings a configuration, which has been checked, into force without dropping a session or a message: sources
// and upstreams that did not change go on, those that changed stop, with what they took acknowledged, before their
// successors start. If anything of it cannot be done, all stays as it was. The keys that are returned as waiting have
// changed and wait for the next start; their old values stay in force, and stand in the hash that is recorded. The embedded broker
// listens at new addresses before it gives up the old ones, and cannot be moved to one that it cannot have. Another source
// that cannot listen keeps nothing from coming into force: it is returned, and tried again.
func (a *Agent) Reload(next *Config) (reloaded api.Reloaded, err error) { return a.bring(next, nil) }

// bring is Reload, and says who asked for it.
func (a *Agent) bring(next *Config, by *localhttp.Peer) (reloaded api.Reloaded, err error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	ctx := a.sourcesCtx
	if ctx.Err() != nil {
		return api.Reloaded{}, recorder.ErrStopping
	}
	p, err := a.planReload(next)
	if err != nil {
		return api.Reloaded{}, err
	}
	reloaded = a.tellPlan(p)
	next, wanted, leaving, plan, old := p.next, p.wanted, p.leaving, p.upstreams, p.old
	from, to := brokerOf(leaving), brokerOf(wanted)
	if from != nil && to != nil {
		if err := to.Bind(ctx, from); err != nil {
			return api.Reloaded{}, fmt.Errorf("%w: clients go on where it listens now, and the old configuration stays in force", err)
		}
	}
	for _, f := range p.adopt {
		f()
	}
	a.knowPresence(next)
	// A successor may need its predecessor's port, which Bind has not got then, or its session at a broker.
	calm := a.queue.Hurry()
	stopSources(leaving)
	calm()
	if from != nil {
		from.Unbind() // if it could never listen where it was to
	}
	a.goOnWith(next)
	if from != nil && to != nil {
		to.Inherit(from)
	}
	a.queue.SetLimits(int(next.Ingest.MaxBytes), next.Commit.MaxEntries)
	err = a.committer.Do(ctx, func() {
		a.committer.Configure(next.Commit, next.Block, uint64(next.Card.BytesPerDay))
		a.mu.Lock()
		defer a.mu.Unlock()
		a.config, a.sources = next, wanted
	})
	if err != nil {
		if to != nil {
			to.Unbind()
		}
		return api.Reloaded{}, err
	}
	a.metrics.know(wanted)
	a.sparkplug.only(wanted)
	a.filtered.know(next)
	for _, s := range wanted {
		if s.done == nil {
			a.startSource(ctx, s)
		}
	}
	reloaded.Failing = notListening(ctx, wanted)
	if err := a.switchUpstreams(ctx, plan); err != nil {
		return api.Reloaded{}, err
	}
	a.endSessions(ctx, old, next)
	signal(a.retention.again)
	a.presence.want(next)
	if a.options.Reloaded != nil {
		a.options.Reloaded(next)
	}
	if hash := next.Hash(sensors.DecoderVersion); hash != old.Hash(sensors.DecoderVersion) {
		a.record(ctx, "config", configEvent{SHA256: hash.String(), Tables: next.tables(), AskedBy: by})
	}
	a.log.Info("the new configuration is in force", "sources_stopped", len(leaving), "sources", len(wanted),
		"upstreams_stopped", len(plan.leaving), "upstreams", len(plan.wanted), "by", by)
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
