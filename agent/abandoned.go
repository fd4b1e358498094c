package agent

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors/mqttsource"
)

// A broker keeps a session, and queues for it, for as long as it likes after its source or upstream is gone. The agent ends the
// session of one that a reload takes away, whose password it still has. At a start it has none, and can only say what is to be done.

// endingFor is how long a broker is tried that does not answer: then the session is somebody's to end.
const endingFor = 10 * time.Minute

// endings are the sessions that are being ended.
type endings struct {
	running map[string]*ending // by session; guarded by Agent.reloading
}

// ending is an attempt to end a session.
type ending struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// gatewayID is the part of the chain's name that client ids are made with.
func gatewayID(chain lightchain.ChainID) string { return chain.String()[:12] }

func (a *Agent) gatewayID() string { return gatewayID(a.store.Chain()) }

// held is a session that a configuration has a broker keep.
type held struct {
	name   string          // among sessions
	whose  string          // as commands call it
	config mqttconn.Config // with the client id
}

// held are those of a configuration: sources' and upstreams'.
func (c *Config) held(chain lightchain.ChainID) (all []held) {
	for i := range c.MQTT {
		m := held{sessionOf(chain, &c.MQTT[i].Config), "mqtt:" + c.MQTT[i].Name, c.MQTT[i].Config}
		m.config.ClientID = mqttsource.ClientID(&m.config, gatewayID(chain))
		all = append(all, m)
	}
	for i := range c.Upstream {
		u := held{upstreamSession(chain, &c.Upstream[i].Config), upstreamPrefix + c.Upstream[i].Name, c.Upstream[i].Config}
		u.config.ClientID = upstreamClientID(chain, &u.config)
		all = append(all, u)
	}
	return all
}

// upstreamPrefix is before the name of an upstream where sources have names, too; none of theirs holds a colon.
const upstreamPrefix = "upstream:"

// upstreamSession is [sessionOf] for an upstream.
func upstreamSession(chain lightchain.ChainID, c *mqttconn.Config) string {
	return upstreamPrefix + sessionOf(chain, c)
}

// wantedSessions are the names of a configuration's.
func (c *Config) wantedSessions(chain lightchain.ChainID) map[string]bool {
	wanted := map[string]bool{}
	for _, h := range c.held(chain) {
		wanted[h.name] = true
	}
	return wanted
}

// usesClientID returns whose client id it is in a configuration; nil: nobody's.
func (a *Agent) usesClientID(c *Config, clientID string) *mqttconn.Config {
	for _, h := range c.held(a.store.Chain()) {
		if h.config.ClientID == clientID {
			return &h.config
		}
	}
	return nil
}

// dropMoved forgets sessions that a source goes on with under other addresses of the same machine: ending them would end what that
// source relies on.
func (a *Agent) dropMoved(c *Config) {
	for name, held := range a.sessions.others(c.wantedSessions(a.store.Chain())) {
		if m := a.usesClientID(c, held.ClientID); m != nil && held.ClientID != "" && m.SharesServer(held.Servers) {
			a.sessions.forget(name)
		}
	}
}

// abandoned returns the sessions that no source of a configuration uses, by name.
func (a *Agent) abandoned(c *Config) (all []api.Abandoned) {
	for name, held := range a.sessions.others(c.wantedSessions(a.store.Chain())) {
		source, _, _ := strings.Cut(name, " ")
		one := api.Abandoned{Source: source, ClientID: held.ClientID}
		for _, s := range held.Servers {
			one.Servers = append(one.Servers, string(s))
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b api.Abandoned) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.ClientID, b.ClientID), slices.Compare(a.Servers, b.Servers))
	})
	return all
}

// tellAbandoned says at a start which sessions are somebody's to end.
func (a *Agent) tellAbandoned(c *Config) {
	a.dropMoved(c)
	for _, s := range a.abandoned(c) {
		a.warnAbandoned(&s, nil)
	}
}

func (a *Agent) warnAbandoned(s *api.Abandoned, err error) {
	a.log.Warn("failed to end a session that no source or upstream uses any more, and that a broker queues for: end it by hand", "source", s.Source, "client_id", s.ClientID, "servers", s.Servers, "err", err)
}

// endable returns the sessions of the configuration in force that end with the next one.
func (a *Agent) endable(old, next *Config) (all []held) {
	wanted := next.wantedSessions(a.store.Chain())
	known := a.sessions.others(wanted)
	for _, h := range old.held(a.store.Chain()) {
		if _, kept := known[h.name]; kept && a.usesClientID(next, h.config.ClientID) == nil {
			all = append(all, h)
		}
	}
	return all
}

// goOnWith stops ending sessions that a configuration wants again.
func (a *Agent) goOnWith(c *Config) {
	wanted := c.wantedSessions(a.store.Chain())
	for name, e := range maps.Clone(a.endings.running) {
		if wanted[name] {
			e.cancel()
			<-e.done
			delete(a.endings.running, name)
		}
	}
}

// endSessions ends the sessions of sources and upstreams that are gone. The caller holds reloading, and they have stopped.
func (a *Agent) endSessions(ctx context.Context, old, next *Config) {
	a.dropMoved(next)
	for _, h := range a.endable(old, next) {
		ctx, cancel := context.WithCancel(ctx)
		e := &ending{cancel: cancel, done: make(chan struct{})}
		if a.endings.running == nil {
			a.endings.running = map[string]*ending{}
		}
		a.endings.running[h.name] = e
		a.aside(func() {
			defer close(e.done)
			defer cancel()
			a.endSession(ctx, &h)
		})
	}
}

// endSession ends a session, or says that it could not.
func (a *Agent) endSession(ctx context.Context, h *held) {
	c := &h.config
	b, err := mqttconn.New(c, &mqttconn.Options{TimeFloor: a.timeFloor, Log: a.log})
	began := time.Now()
	for pause := leastPause; err == nil; pause = min(2*pause, time.Minute) {
		if err = b.EndSession(ctx); err == nil {
			a.sessions.forget(h.name)
			a.log.Info("the broker was told to forget the session of a source or upstream that is not in the configuration any more", "source", h.whose, "client_id", c.ClientID)
			return
		}
		if ctx.Err() != nil {
			return // the next start says that it is there, or a source goes on with it
		}
		if time.Since(began) >= endingFor {
			break
		}
		select {
		case <-time.After(pause):
			err = nil
		case <-ctx.Done():
			return
		}
	}
	source, _, _ := strings.Cut(h.name, " ")
	s := api.Abandoned{Source: source, ClientID: c.ClientID}
	for _, server := range c.Servers {
		s.Servers = append(s.Servers, string(server))
	}
	a.warnAbandoned(&s, err)
}
