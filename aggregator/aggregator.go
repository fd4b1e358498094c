// Package aggregator is the aggregation node as a running thing: whose heads it countersigns, what it keeps of them,
// what it tells its operator, and every goroutine.
//
// Messages flow one way: a broker's connection (sync/mqttlink) hands them to the protocol's machine for that broker
// (package headersync), which judges pages and asks for more; what it accepts goes through the ledger into the
// [registry.Store], is countersigned when it is durable there, and only then answered. What travels and what a page means is
// owned by headersync, how a chain is checked by lightchain, how things lie on disk by the stores below this folder.
package aggregator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/registry"
	"edgechain.example/aggregator/replicas"
	"edgechain.example/arm"
	"edgechain.example/lightchain"
	"edgechain.example/localhttp"
	"edgechain.example/sync/collector"
)

// Options is what the command that runs an aggregator decides beside its configuration.
type Options struct {
	Version string
	Store   registry.Store
	Signer  lightchain.Signer
	Keeper  registry.Keeper // of a store on a server of its own: what no failover takes; nil: what is countersigned is known to this process alone
	LogKey  *headlog.Key    // of the log of heads; nil: none is kept
	Log     *slog.Logger

	// Clock says how far this machine's clock can be believed; nil: the machine's own word ([arm.Clock]).
	Clock func() lightchain.ClockState
	Now   func() time.Time // nil: time.Now
	Ready func()           // called once, when everything runs; may be nil

	// Hangup asks to read the configuration again, by Load; what it says of brokers, trust, pulls and silence is
	// followed from then on, and Reloaded told; all else is at the next start. nil: never.
	Hangup   <-chan os.Signal
	Load     func() (*Config, error)
	Reloaded func(*Config) // may be nil
}

// Aggregator is one aggregation node at work.
type Aggregator struct {
	config       *Config
	options      Options
	log          *slog.Logger
	now          func() time.Time
	metrics      *metrics
	registry     *registry.Registry
	census       *registry.Census
	assumed      bool // that the clock is synchronised
	ledger       *registry.Ledger
	replicas     *replicas.Member // nil where the store is this process's own
	presence     *presence
	started      time.Time
	tcp          *localhttp.Later // of the API; nil where it listens on its socket alone
	served       registry.Served  // the store, where it is on a server of its own
	transparency *transparency    // nil: no log of heads is kept
	setBack      chan struct{}    // capacity 1: the store knew less of a chain than was countersigned
	setBacks     atomic.Int64     // how often it did

	strangers *rate.Limiter // of messages that cost a look into the store
	notes     *rate.Limiter // of findings that anybody on a broker can cause

	mu    sync.Mutex
	links []*brokerLink // guarded by mu: that are followed; swapped whole
}

// New returns an aggregator. It opens no connection.
func New(c *Config, o Options) (*Aggregator, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	assumed := false
	if o.Clock == nil {
		o.Clock = func() lightchain.ClockState { return arm.Clock{}.Status().State }
		if assumed = c.Clock.AssumeSynchronised; assumed {
			o.Clock = func() lightchain.ClockState { return lightchain.ClockSynchronised }
		}
	}
	a := &Aggregator{started: time.Now(),
		config: c, options: o, assumed: assumed, log: o.Log, now: o.Now, metrics: newMetrics(o.Version),
		strangers: rate.NewLimiter(200, 1000), notes: rate.NewLimiter(20, 100),
	}
	a.registry = registry.New(o.Store, c.rules(), o.Now, o.Log)
	a.registry.TellDecisions(a.decided)
	a.census = registry.NewCensus(o.Store, a.registry, o.Now, a.mine)
	a.ledger = registry.NewLedger(o.Store, o.Now, a.found)
	if a.served, _ = o.Store.(registry.Served); a.served != nil {
		if err := a.ledger.Recall(o.Keeper, o.Log); err != nil {
			return nil, err
		}
	}
	a.setBack = make(chan struct{}, 1)
	if c.Store.URL != "" {
		var random [8]byte
		if _, err := rand.Read(random[:]); err != nil {
			return nil, err
		}
		beats, ok := o.Store.(replicas.Beats)
		if !ok {
			return nil, errors.New("store.url is set, and the store is none that processes share")
		}
		a.replicas = replicas.New(beats, c.Aggregator.Replica, random, replicas.Callbacks{Connected: a.connected, Changed: a.divided, Decided: a.elsewhere}, o.Log)
	}
	if a.transparency = a.newTransparency(); a.transparency != nil {
		a.ledger.LogHeads()
		a.metrics.registerLog(a.transparency.Log)
	}
	a.presence = newPresence(a.registry, a.mine, a.found, o.Log)
	for i := range c.Broker {
		l, err := a.newBrokerLink(&c.Broker[i])
		if err != nil {
			return nil, err
		}
		a.links = append(a.links, l)
	}
	a.registerGauges()
	return a, nil
}

// rules returns what the registry does without being asked.
func (c *Config) rules() registry.Rules {
	return registry.Rules{
		Trust: c.Trust.Gateways, Mode: c.Pull.Mode, MaxInbox: c.Trust.MaxInbox, Silence: c.Silence.After,
		Policy: collector.Policy{
			BytesPerDay: uint64(c.Pull.BytesPerDay), Page: uint64(c.Pull.Page), LeapOver: uint64(c.Pull.LeapOver),
		},
	}
}

// Registry returns who is countersigned.
func (a *Aggregator) Registry() *registry.Registry { return a.registry }

// Run follows gateways until ctx ends, unless the store is another aggregator's ([ErrIdentity]) or
// may lose what is countersigned ([registry.ErrUnsafe]). It returns when everything that it started has stopped; the store stays open.
func (a *Aggregator) Run(ctx context.Context) error {
	if err := Bind(ctx, a.options.Store, a.config.Aggregator.Name, a.options.Signer.Public()); err != nil {
		return err
	}
	if a.served != nil {
		if d := a.served.Database(); d.Refused != "" {
			return fmt.Errorf("%w: %s", registry.ErrUnsafe, d.Refused)
		}
	}
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The API answers to the end; who asks while the rest stops gets an answer.
	apiCtx, stopAPI := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAPI()
	server := a.Server()
	var served, running sync.WaitGroup
	served.Go(func() { server.Serve(apiCtx, listeners...) })
	failed := make(chan error, 1)
	running.Go(func() { a.presence.run(ctx) })
	running.Go(func() { a.count(ctx) })
	for _, files := range a.keyFiles() {
		running.Go(func() { files.run(ctx) })
	}
	if a.replicas != nil {
		a.replicas.Begin(ctx)
		running.Go(func() { a.replicas.Run(ctx) })
	}
	if a.served != nil {
		running.Go(func() { a.watchServer(ctx, a.served) })
		running.Go(func() { a.served.Watch(ctx) })
	}
	if t := a.transparency; t != nil {
		running.Go(func() { a.keepLog(ctx) })
		if t.tcp != nil {
			served.Go(func() { a.serveLog(apiCtx) })
		}
	}
	for _, l := range a.links {
		a.startLink(ctx, l, failed)
	}
	running.Go(func() {
		arm.PetWatchdog(ctx, func() bool {
			err := a.alive()
			if err != nil {
				a.log.Error("failed to reach the store for long: not notifying the watchdog, systemd will restart the aggregator", "err", err)
			}
			return err == nil
		})
	})
	arm.Notify("READY=1")
	if a.options.Ready != nil {
		a.options.Ready()
	}
	for going := true; going; {
		select {
		case <-ctx.Done():
			a.log.Info("stopping")
			going, err = false, nil
		case err = <-failed:
			going = false
		case <-a.options.Hangup:
			a.reload(ctx, failed)
		}
	}
	arm.Notify("STOPPING=1")
	cancel()
	running.Wait()
	for _, l := range a.links {
		l.stop()
	}
	if a.replicas != nil {
		a.replicas.Leave()
	}
	stopAPI()
	served.Wait()
	return err
}

// listen opens the API's listeners.
func (a *Aggregator) listen() ([]net.Listener, error) {
	socket, err := localhttp.Listen(a.config.API.Socket)
	if errors.Is(err, localhttp.ErrTaken) {
		return nil, fmt.Errorf("api.socket: an aggregator answers on %s already: %w", a.config.API.Socket, registry.ErrRunning)
	}
	if err != nil {
		return nil, fmt.Errorf("api.socket: %w", err)
	}
	listeners := []net.Listener{socket}
	if address := a.config.API.Listen; address != "" {
		a.tcp = localhttp.ListenLater(address, a.log) // countersigning waits for nobody's port
		listeners = append(listeners, a.tcp)
	}
	if t := a.transparency; t != nil && t.config.Listen != "" {
		t.tcp = localhttp.ListenLater(t.config.Listen, a.log.With("key", "transparency.listen"))
	}
	return listeners, nil
}

// clock is the time that stands in receipts.
//
// SPEC: An aggregator whose clock is not synchronised does not countersign
func (a *Aggregator) clock() (seconds uint64, synchronised bool) {
	now := a.now().Unix()
	return uint64(max(now, 0)), now > 0 && a.options.Clock() == lightchain.ClockSynchronised
}

// mine reports whether this replica owns a chain.
func (a *Aggregator) mine(chain lightchain.ChainID) bool {
	return a.replicas == nil || a.replicas.Mine(chain)
}

// shift returns by how much the clock that the replicas share is ahead of this machine's.
func (a *Aggregator) shift() time.Duration {
	if a.replicas == nil {
		return 0
	}
	return a.replicas.Shift()
}

// connected returns how many brokers are connected.
func (a *Aggregator) connected() (links int) {
	for _, l := range a.currentLinks() {
		if l.link.Status().Connected {
			links++
		}
	}
	return links
}

// stranger is told of a gateway that is not followed.
func (a *Aggregator) stranger(ctx context.Context, s collector.Stranger) {
	if !a.strangers.Allow() {
		a.metrics.strangers.Inc()
		a.metrics.dropped.WithLabelValues("stranger").Inc()
		return
	}
	err := a.registry.Heard(ctx, s)
	if errors.Is(err, registry.ErrUnread) {
		return // it may be no stranger, and that it could not be read was told
	}
	a.metrics.strangers.Inc()
	if err != nil && ctx.Err() == nil {
		a.log.Error("failed to note an unknown gateway", "chain", s.Chain, "err", err)
	}
}

// notify is told what was found out about a gateway. What changed its state is in its record already.
func (a *Aggregator) notify(ctx context.Context, f collector.Finding) {
	if f.Receipt != nil {
		a.metrics.receipts.Inc()
		return
	}
	a.metrics.verdicts.WithLabelValues(string(f.Verdict)).Inc()
	var kind registry.Kind
	var text string
	switch f.Verdict {
	case collector.Lagging:
		kind, text = registry.Rollback, fmt.Sprintf("it shows a head below %d, which it had shown before: an old image restored, or an old message", f.Height)
	case collector.Invalid:
		kind, text = registry.Invalid, fmt.Sprint(f.Err)
	case collector.Lacking:
		kind, text = registry.Damage, "an answer, which anybody on the broker may have sent, says that older headers are gone there; the newest are countersigned as before"
		if f.CutOff {
			kind, text = registry.Damage, fmt.Sprintf("an answer, which anybody on the broker may have sent, says that headers above %d are gone there, and with them what would show that the chain goes on: "+
				"nothing more of it is countersigned. The way out is at the gateway: edgeagent init --continue begins a new chain that names this one", f.Height)
		}
	default:
		return
	}
	if !a.notes.Allow() {
		a.metrics.dropped.WithLabelValues("finding").Inc()
		return
	}
	err := a.options.Store.Update(ctx, f.Chain, func(r *registry.Record) (*registry.Change, error) {
		if !r.Known() {
			return nil, registry.ErrUnchanged
		}
		r.Note(kind, a.now().Unix(), r.Head.Height, text)
		return nil, nil
	})
	if err != nil && ctx.Err() == nil {
		a.log.Error("failed to note a finding", "chain", f.Chain, "finding", kind, "err", err)
	}
	a.log.Warn("finding", "chain", f.Chain, "finding", kind, "text", text)
}

// found is told of findings that an update brought.
func (a *Aggregator) found(r *registry.Record, kind registry.Kind) {
	a.log.Warn("finding", "chain", r.Chain, "gateway", r.Name, "finding", kind, "text", r.Findings[kind].Text)
	if kind == registry.SetBack { // others were as well, presumably
		a.setBacks.Add(1)
		signal(a.setBack)
	}
}

// decided is told of a chain whose standing changed here.
func (a *Aggregator) decided(chain lightchain.ChainID) {
	for _, l := range a.currentLinks() {
		l.decided(chain)
	}
}

// elsewhere is told of a decision that may have been made at another replica.
func (a *Aggregator) elsewhere(chain lightchain.ChainID) {
	a.registry.Uncache(chain)
	a.decided(chain)
}

// divided is told among which replicas the chains are divided from now on.
func (a *Aggregator) divided(owners []string) {
	for _, l := range a.currentLinks() {
		l.divided(owners)
	}
}
