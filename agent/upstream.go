package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors/mqttsource"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/mqttlink"
)

// upstream is one broker that leads to aggregators, and the gateway's side of the protocol over it.
type upstream struct {
	link    *mqttlink.Link
	gateway *gateway.Gateway

	cancel  context.CancelFunc // set while it runs
	running sync.WaitGroup
	made    time.Time

	upstreamSettings                  // guarded by Agent.mu; its name never changes
	standing         gateway.Standing // of the head; guarded by Agent.mu
	cutOff           map[string]bool  // aggregators that cannot follow this chain any more; guarded by Agent.mu
	answered         map[string]bool  // aggregators that have said anything; guarded by Agent.mu
}

// upstreamSettings is what an upstream is made of.
type upstreamSettings struct {
	UpstreamConfig
	terms gateway.Terms // of the protocol: what can change under a connection
}

// settings returns what the i-th upstream is made of.
func (c *Config) settings(i int) (s upstreamSettings, err error) {
	s.UpstreamConfig = c.Upstream[i]
	s.terms = gateway.Terms{Announce: c.Sync.Announce, BytesPerDay: uint64(c.Sync.BytesPerDay), EnrolToken: string(c.Sync.EnrolToken)}
	for _, g := range s.Aggregator {
		key, err := lightchain.ParsePublicKey(g.Key)
		if err != nil {
			return s, fmt.Errorf("aggregator %s: %w", g.Name, err)
		}
		s.terms.Aggregators = append(s.terms.Aggregators, lightchain.Aggregator{Name: g.Name, Key: key})
	}
	return s, s.terms.Check()
}

// mayBecome reports whether an upstream can take over other settings under its connection. The caller holds Agent.mu.
func (u *upstream) mayBecome(s upstreamSettings) bool {
	if u.Prefix != s.Prefix || !reflect.DeepEqual(u.Config, s.Config) {
		return false
	}
	// Where an aggregator said that the chain must not go on, and is not asked any more, the others begin anew.
	return u.standing == "" || u.standing.MaySeal() || slices.Equal(u.terms.Aggregators, s.terms.Aggregators)
}

// upstreamPlan is how the upstreams that run become those that a configuration names.
type upstreamPlan struct {
	wanted  []*upstream
	staying map[*upstream]upstreamSettings
	leaving []*upstream
}

// planUpstreams builds what the configuration names and what does not run already. It starts and changes nothing.
func (a *Agent) planUpstreams(c *Config) (*upstreamPlan, error) {
	plan := &upstreamPlan{staying: map[*upstream]upstreamSettings{}}
	running := a.currentUpstreams()
	for i := range c.Upstream {
		s, err := c.settings(i)
		if err == nil {
			var u *upstream
			a.mu.Lock()
			at := slices.IndexFunc(running, func(u *upstream) bool { return u.Name == s.Name && u.mayBecome(s) })
			a.mu.Unlock()
			if at >= 0 {
				u = running[at]
				plan.staying[u] = s
			} else {
				u, err = a.newUpstream(c, s)
			}
			plan.wanted = append(plan.wanted, u)
		}
		if err != nil {
			return nil, fmt.Errorf("upstream %q: %w", c.Upstream[i].Name, err)
		}
	}
	for _, u := range running {
		if _, stays := plan.staying[u]; !stays {
			plan.leaving = append(plan.leaving, u)
		}
	}
	return plan, nil
}

func (a *Agent) newUpstream(c *Config, s upstreamSettings) (*upstream, error) {
	u := &upstream{upstreamSettings: s, made: time.Now(), cutOff: map[string]bool{}, answered: map[string]bool{}}
	session, clientID := upstreamSession(a.store.Chain(), &s.Config), upstreamClientID(a.store.Chain(), &s.Config)
	link := mqttlink.Config{
		Config: s.Config, Options: mqttconn.Options{TimeFloor: a.timeFloor, Log: a.log},
		Will: &mqttconn.Will{Topic: headersync.StatusTopic(s.Prefix, a.store.Chain()), Payload: []byte(gateway.Offline)},
		Connected: func() {
			a.sessions.note(session, mqttsource.SessionKept)
			a.sessions.at(session, clientID, s.Servers)
			u.gateway.Connected()
		},
	}
	link.ClientID = clientID
	var err error
	if u.link, err = mqttlink.New(link); err != nil {
		return nil, err
	}
	config := gateway.Config{
		Prefix: s.Prefix, Conn: u.link, Chain: syncChain{&a.store.Reader}, Receipts: syncReceipts{a, u}, Restorer: syncRestorer{a},
		Signer: a.speaker(), Terms: s.terms, Confirm: gateway.ConfirmHead(c.Sync.ConfirmHead), ConfirmWait: c.Sync.ConfirmWait,
		Condition: a.condition, Start: a.store.Info().Opens, Random: rand.Reader, Log: a.log.With("upstream", s.Name),
		Settled: func(s gateway.Settlement) { a.settled(u, s) },
		Notify:  func(n gateway.Notice) { a.noticed(u, n) },
	}
	switch _, released := a.gate.Released(); {
	case a.awaitsWord(), a.keys.setBack.Load():
		config.Confirm = gateway.ConfirmAlways
	case released:
		// The chain goes on already. What an aggregator knows beyond this head is another history by now: it is said,
		// and not put back.
		config.Confirm, config.Restorer = gateway.ConfirmNever, nil
	}
	u.gateway, err = gateway.New(config)
	return u, err
}

// upstreamClientID names the session of an upstream at its broker.
func upstreamClientID(chain lightchain.ChainID, c *mqttconn.Config) string {
	if c.ClientID != "" {
		return c.ClientID
	}
	return "edgechain-" + gatewayID(chain) + "-up-" + c.Name
}

// switchUpstreams carries a plan out: those that leave disconnect before their successors, which may need their session,
// connect. The receipts that they brought stay in the store.
func (a *Agent) switchUpstreams(ctx context.Context, plan *upstreamPlan) error {
	stopUpstreams(plan.leaving)
	// On the tail, so that no change of key falls between what a new upstream was given and its place in the list.
	err := a.committer.Do(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.upstreams = plan.wanted
		for _, u := range plan.leaving {
			maps.DeleteFunc(a.complaints, func(of [2]string, _ string) bool { return of[0] == u.Name })
		}
		for _, u := range plan.wanted {
			if s, stays := plan.staying[u]; !stays {
				u.gateway.SetSigner(a.speaker())
			} else if !reflect.DeepEqual(u.upstreamSettings, s) {
				u.upstreamSettings = s
				u.gateway.SetTerms(s.terms)
			}
		}
	})
	if err != nil {
		return err
	}
	for _, u := range plan.wanted {
		if _, stays := plan.staying[u]; !stays {
			a.startUpstream(ctx, u)
		}
	}
	a.considerSealing()
	return nil
}

// startUpstream keeps the broker connected and serves the aggregators until ctx ends or the upstream is stopped.
func (a *Agent) startUpstream(ctx context.Context, u *upstream) {
	ctx, u.cancel = context.WithCancel(ctx)
	for _, run := range []func(context.Context) error{u.link.Run, u.gateway.Run} {
		u.running.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				select {
				case a.failed <- fmt.Errorf("upstream %s: %w", u.Name, err):
				default:
				}
			}
		})
	}
}

// stopUpstreams returns when nothing of the upstreams runs.
func stopUpstreams(upstreams []*upstream) {
	for _, u := range upstreams {
		u.cancel()
	}
	for _, u := range upstreams {
		u.running.Wait()
	}
}

// currentUpstreams returns the upstreams that run now.
func (a *Agent) currentUpstreams() []*upstream {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.upstreams
}

// upstreamStatus says how the upstreams stand.
func (a *Agent) upstreamStatus() []api.Upstream {
	all := a.linkStatus()
	for i := range all {
		for j := range all[i].Aggregators {
			g := &all[i].Aggregators[j]
			if height, found, err := a.store.NewestReceipt(g.Name); err == nil && found {
				g.Receipted = &height
			}
			a.dateWaiting(g)
		}
	}
	return all
}

// dateWaiting notes since when an aggregator owes a receipt. While the agent did not run, or did not know it, nobody waited.
func (a *Agent) dateWaiting(g *api.Aggregator) {
	next := uint64(0)
	if g.Receipted != nil {
		next = *g.Receipted + 1
	}
	began := g.WaitingSince
	g.WaitingSince = time.Time{}
	if next > a.store.Tip().Height {
		return
	}
	if h, err := a.store.HeaderAt(next); err == nil {
		g.Unreceipted = time.Unix(0, h.Sealed)
	}
	g.WaitingSince = latest(began, g.Unreceipted)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// linkStatus says what of that is known without reading the store, for which nobody is to be kept waiting.
func (a *Agent) linkStatus() (all []api.Upstream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.upstreams {
		status := u.link.Status()
		out := api.Upstream{Name: u.Name, Connected: status.Connected, Detail: status.Server, Standing: string(u.standing), Token: u.terms.EnrolToken != "", Announce: u.terms.Announce.Seconds()}
		if !status.Connected {
			out.Since = latest(u.made, status.Since)
		}
		if !status.Connected && status.LastError != "" {
			out.Detail = status.LastError
		}
		for _, g := range u.Aggregator {
			out.Aggregators = append(out.Aggregators, api.Aggregator{Name: g.Name, CutOff: u.cutOff[g.Name], Complaint: a.complaints[[2]string{u.Name, g.Name}],
				Answered: u.answered[g.Name], WaitingSince: u.made})
		}
		all = append(all, out)
	}
	return all
}
