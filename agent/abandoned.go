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

// A broker keeps a session, and queues for it, for as long as it likes after its source is gone. The agent ends the session of
// one that a reload takes away, whose password it still has. At a start it has none, and can only say what is to be done.

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
func (a *Agent) gatewayID() string { return a.store.Chain().String()[:12] }

// wantedSessions are those of a configuration.
func (c *Config) wantedSessions(chain lightchain.ChainID) map[string]bool {
	wanted := map[string]bool{}
	for i := range c.MQTT {
		wanted[sessionOf(chain, &c.MQTT[i].Config)] = true
	}
	return wanted
}

// usesClientID returns whose client id it is in a configuration; nil: nobody's.
func (a *Agent) usesClientID(c *Config, clientID string) *mqttconn.Config {
	for i := range c.MQTT {
		if m := &c.MQTT[i].Config; mqttsource.ClientID(m, a.gatewayID()) == clientID {
			return m
		}
	}
	for i := range c.Upstream {
		if u := &c.Upstream[i].Config; u.ClientID == clientID {
			return u
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
	a.log.Warn("a broker keeps a session that no source uses any more, and queues for it: it has to be ended by hand", "source", s.Source, "client_id", s.ClientID, "servers", s.Servers, "err", err)
}

// endable returns the sources of the configuration in force whose sessions end with the next one.
func (a *Agent) endable(old, next *Config) (all []*mqttconn.Config) {
	wanted := next.wantedSessions(a.store.Chain())
	known := a.sessions.others(wanted)
	for i := range old.MQTT {
		m := &old.MQTT[i].Config
		_, held := known[sessionOf(a.store.Chain(), m)]
		if held && a.usesClientID(next, mqttsource.ClientID(m, a.gatewayID())) == nil {
			all = append(all, m)
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

// endSessions ends the sessions of sources that are gone. The caller holds reloading, and the sources have stopped.
func (a *Agent) endSessions(ctx context.Context, old, next *Config) {
	a.dropMoved(next)
	for _, m := range a.endable(old, next) {
		name := sessionOf(a.store.Chain(), m)
		ctx, cancel := context.WithCancel(ctx)
		e := &ending{cancel: cancel, done: make(chan struct{})}
		if a.endings.running == nil {
			a.endings.running = map[string]*ending{}
		}
		a.endings.running[name] = e
		config := *m
		config.ClientID = mqttsource.ClientID(m, a.gatewayID())
		a.aside(func() {
			defer close(e.done)
			defer cancel()
			a.endSession(ctx, name, &config)
		})
	}
}

// endSession ends a session, or says that it could not.
func (a *Agent) endSession(ctx context.Context, name string, c *mqttconn.Config) {
	b, err := mqttconn.New(c, &mqttconn.Options{TimeFloor: a.timeFloor, Log: a.log})
	began := time.Now()
	for pause := leastPause; err == nil; pause = min(2*pause, time.Minute) {
		if err = b.EndSession(ctx); err == nil {
			a.sessions.forget(name)
			a.log.Info("the broker was told to forget the session of a source that is not in the configuration any more", "source", c.Name, "client_id", c.ClientID)
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
	s := api.Abandoned{Source: c.Name, ClientID: c.ClientID}
	for _, server := range c.Servers {
		s.Servers = append(s.Servers, string(server))
	}
	a.warnAbandoned(&s, err)
}
