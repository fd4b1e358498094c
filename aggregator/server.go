package aggregator

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/localhttp"
)

// Server returns the interface of a running aggregator.
func (a *Aggregator) Server() *api.Server {
	s := NewServer(a.config, a.options)
	s.Registry, s.Census = a.registry, a.census
	if a.transparency != nil {
		s.Heads = &a.transparency.View
	}
	s.Live, s.Alive, s.Ready, s.Metrics = a.live, a.alive, a.ready, a.metrics.registry
	return s
}

// NewServer returns the interface of a store that no aggregator runs on.
func NewServer(c *Config, o Options) *api.Server {
	s := &api.Server{Store: o.Store, Data: c.Aggregator.Data, Now: o.Now, Log: o.Log, Access: localhttp.Access{Hosts: c.API.Hosts, GroupWrites: c.API.GroupWrites}}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.Identity = api.Identity{Name: c.Aggregator.Name, Version: o.Version, Store: "folder"}
	if c.Store.URL != "" {
		s.Identity.Store = "database"
	}
	if o.Signer != nil {
		s.Identity.Key = lightchain.FormatPublicKey(o.Signer.Public())
	}
	if c.LogOrigin() != "" {
		mark := c.logMark(c.Transparency.Origin)
		switch key, err := c.LogPublicKey(); {
		case err == nil:
			s.Heads = headlog.AtRest(o.Store, key, mark)
		case !errors.Is(err, fs.ErrNotExist) || isThere(mark): // else it was not begun
			s.HeadsAbsent = err
		}
		s.HeadsEntries = c.Transparency.Entries
	}
	s.Registry = registry.New(o.Store, c.rules(), s.Now, s.Log)
	s.Census = registry.NewCensus(o.Store, s.Registry, s.Now, nil)
	return s
}

func (a *Aggregator) live() *api.Live {
	l := &api.Live{Started: a.started, Clock: a.options.Clock().String()}
	if a.assumed {
		l.Clock = api.ClockAssumed
	}
	if a.replicas != nil {
		l.Replica, l.Replicas = a.replicas.Self(), a.replicas.Living()
		if n := a.census.Known(); n != nil {
			l.Owned = &n.Owned
		}
		if err := a.replicas.Idle(); err != nil {
			l.Idle = err.Error()
		}
	}
	l.Withheld = a.withheld()
	l.Log = a.logStanding()
	if a.tcp != nil {
		if since, err := a.tcp.Failing(); err != nil {
			l.Deaf = fmt.Sprintf("api.listen: not since %s: %v", since.UTC().Format(time.RFC3339), err)
		}
	}
	if a.served != nil {
		d := a.served.Database()
		l.Database = &d
	}
	for _, b := range a.currentLinks() {
		st := b.link.Status()
		l.Brokers = append(l.Brokers, api.Broker{Name: b.config.Name, Connected: st.Connected, Server: st.Server, Error: st.LastError, Received: st.Received, Sent: st.Sent})
	}
	return l
}

// withheld returns how many heads are not countersigned for want of a clock that is right, or of a database that keeps receipts.
func (a *Aggregator) withheld() (heads int) {
	for _, b := range a.currentLinks() {
		if collector := b.collector.Load(); collector != nil {
			heads += collector.Withheld()
		}
	}
	return heads
}

// ready returns nil while gateways are followed and countersigned.
func (a *Aggregator) ready() error {
	if _, ok := a.clock(); !ok {
		return errors.New("nothing is countersigned: this machine's clock is not synchronised")
	}
	if a.served != nil {
		switch d := a.served.Database(); {
		case d.Silent != nil:
			return fmt.Errorf("nothing is countersigned: %w", d.Away())
		case d.Refused != "":
			return fmt.Errorf("nothing is countersigned: %s", d.Refused)
		}
	}
	if err := a.ledger.Stuck(); err != nil {
		return err
	}
	if a.replicas != nil {
		if err := a.replicas.Idle(); err != nil {
			return err
		}
	}
	for _, b := range a.currentLinks() {
		if st := b.link.Status(); !st.Connected {
			return fmt.Errorf("broker %s is not connected: %s", b.config.Name, st.LastError)
		}
	}
	return nil
}

// alive returns nil while the program makes progress. That a broker or a database is away is no ailment of it: starting it
// again would help nobody.
func (a *Aggregator) alive() error {
	if a.databaseAway() != nil {
		return nil
	}
	return a.ledger.Stuck()
}

// databaseAway returns an error while the store's server does not answer.
func (a *Aggregator) databaseAway() error {
	if a.served == nil {
		return nil
	}
	d := a.served.Database()
	return d.Away()
}
