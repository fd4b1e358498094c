package aggregator

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"edgechain.example/arm"
	"edgechain.example/tomlconf"
)

// reload brings a changed configuration into force: brokers, and what it says of trust, pulls and silence. A wrong one
// changes nothing, and a broker of which nothing changed stays connected. ctx is that of the links. It belongs to the
// goroutine of Run.
func (a *Aggregator) reload(ctx context.Context, failed chan<- error) {
	arm.Notify("RELOADING=1")
	defer arm.Notify("READY=1")
	c, err := a.options.Load()
	if err != nil {
		a.log.Error("failed to reload the configuration, which stays as it was", "err", err)
		return
	}
	running := a.currentLinks()
	var wanted, leaving []*brokerLink
	for i := range c.Broker {
		at := slices.IndexFunc(running, func(l *brokerLink) bool { return reflect.DeepEqual(*l.config, c.Broker[i]) })
		if at >= 0 {
			wanted = append(wanted, running[at])
			continue
		}
		l, err := a.newBrokerLink(&c.Broker[i])
		if err != nil {
			a.log.Error("failed to reload the configuration, which stays as it was", "err", err)
			return
		}
		wanted = append(wanted, l)
	}
	for _, l := range running {
		if !slices.Contains(wanted, l) {
			leaving = append(leaving, l)
		}
	}
	a.registry.SetRules(c.rules())
	for _, l := range leaving {
		l.stop() // before a successor connects, which may have its client id
		a.metrics.registry.Unregister(l.metrics)
	}
	a.mu.Lock()
	a.links = wanted
	a.mu.Unlock()
	for _, l := range wanted {
		if l.done == nil {
			a.startLink(ctx, l, failed)
		}
	}
	if a.options.Reloaded != nil {
		a.options.Reloaded(c)
	}
	a.log.Info("the new configuration is in force", "brokers_stopped", len(leaving), "brokers", len(wanted))
	if waiting := a.config.waiting(c); len(waiting) > 0 {
		a.log.Warn("changes of these keys wait for the next start", "keys", strings.Join(waiting, " "))
	}
}

// waiting returns the keys of which a running aggregator keeps the values that it started with.
func (c *Config) waiting(next *Config) []string {
	kept := *next
	kept.Aggregator, kept.Key, kept.Store, kept.Clock, kept.API = c.Aggregator, c.Key, c.Store, c.Clock, c.API
	kept.Transparency = c.Transparency
	kept.Pull.Workers, kept.Log.Format = c.Pull.Workers, c.Log.Format
	return tomlconf.Changed(&kept, next)
}

// startLink follows gateways over a broker until ctx ends or the link is stopped.
func (a *Aggregator) startLink(ctx context.Context, l *brokerLink, failed chan<- error) {
	a.metrics.registry.MustRegister(l.metrics)
	ctx, l.cancel = context.WithCancel(ctx)
	l.done = make(chan struct{})
	go func() {
		defer close(l.done)
		if err := l.run(ctx); err != nil && ctx.Err() == nil {
			select {
			case failed <- fmt.Errorf("broker %s: %w", l.config.Name, err):
			default:
			}
		}
	}()
}

// stop returns when nothing of the link runs.
func (b *brokerLink) stop() {
	b.cancel()
	<-b.done
}

// currentLinks returns the brokers that are followed now.
func (a *Aggregator) currentLinks() []*brokerLink {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.links
}
