package aggregator

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/collector"
	"edgechain.example/sync/mqttlink"
)

// brokerLink is one broker and the protocol's machine behind it.
type brokerLink struct {
	aggregator *Aggregator
	config     *BrokerConfig
	link       *mqttlink.Link
	log        *slog.Logger
	again      chan struct{} // capacity 1: connected, and the machine may have had something under way
	look       chan struct{} // capacity 1: this replica owns other chains than before
	decisions  chan struct{} // capacity 1: somebody decided about chains
	metrics    *prometheus.Registry
	cancel     context.CancelFunc // set while it runs
	done       chan struct{}      // closed when it has stopped

	collector atomic.Pointer[collector.Collector] // nil until it runs

	mu     sync.Mutex
	undone map[lightchain.ChainID]struct{} // guarded by mu: decisions that the machine was not told of yet
	passed passed                          // guarded by mu
	turns  [][]string                      // guarded by mu: among whom the chains were divided, at the last look and since
}

func (a *Aggregator) newBrokerLink(c *BrokerConfig) (*brokerLink, error) {
	b := &brokerLink{
		aggregator: a, config: c, log: a.log.With("broker", c.Name),
		again: make(chan struct{}, 1), look: make(chan struct{}, 1), decisions: make(chan struct{}, 1),
		undone: make(map[lightchain.ChainID]struct{}), turns: [][]string{nil}, metrics: prometheus.NewRegistry(),
	}
	b.registerGauges()
	cfg := mqttlink.Config{
		Config: c.Config, Options: mqttconn.Options{Log: a.log}, Queue: 64 << 20,
		// Where there are replicas, the broker would keep everything for one that is gone, and what it kept, another has had.
		CleanSession: a.replicas != nil,
		Connected:    func() { signal(b.again) },
	}
	cfg.ClientID = a.config.clientID(c)
	var err error
	b.link, err = mqttlink.New(cfg)
	return b, err
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run keeps the connection and follows gateways over it until ctx ends.
func (b *brokerLink) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var linking sync.WaitGroup
	defer linking.Wait()
	defer cancel()
	a := b.aggregator
	// A session that the broker kept delivers as soon as there is a connection, and what nobody has subscribed to here
	// by then is lost.
	connect := func() { linking.Go(func() { _ = b.link.Run(ctx) }) } // it ends without an error
	b.begin()
	collector, err := collector.New(collector.Config{
		Prefix: b.config.Prefix, Conn: owned{b, sync.OnceFunc(connect)}, Store: a.ledger, Name: a.config.Aggregator.Name, Signer: a.options.Signer,
		Policy:   func(chain lightchain.ChainID) (collector.Policy, bool) { return a.registry.Policy(ctx, chain) },
		Clock:    a.clock,
		Stranger: func(s collector.Stranger) { a.stranger(ctx, s) },
		Notify:   func(f collector.Finding) { a.notify(ctx, f) },
		Owns:     a.mine,
		Shift:    a.shift,
		Log:      b.log, Workers: a.config.Pull.Workers,
	})
	if err != nil {
		return err
	}
	b.collector.Store(collector)
	if err := b.link.Subscribe([]string{headersync.AnyChain(b.config.Prefix, headersync.TopicStatus)}, func(m headersync.Message) { a.presence.deliver(b.config.Prefix, m) }); err != nil {
		return err
	}
	linking.Go(func() { b.watch(ctx, collector) })
	linking.Go(func() { b.heed(ctx, collector) })
	return collector.Run(ctx)
}

// watch looks at chains when this replica owns others than before, and at what was under way when a connection is made again.
func (b *brokerLink) watch(ctx context.Context, collector *collector.Collector) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.again:
			collector.Connected(ctx, time.Now())
			continue
		case <-b.look:
		}
		b.handOver(ctx, collector)
	}
}

// decided has the machine look at a chain whose standing changed. It is called by the machine itself too, when a
// gateway comes in with a token, and so must not wait for it.
func (b *brokerLink) decided(chain lightchain.ChainID) {
	if b.collector.Load() == nil || !b.aggregator.mine(chain) {
		return
	}
	b.mu.Lock()
	b.undone[chain] = struct{}{}
	b.mu.Unlock()
	signal(b.decisions)
}

// heed tells the machine what was decided.
func (b *brokerLink) heed(ctx context.Context, collector *collector.Collector) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.decisions:
		}
		b.mu.Lock()
		decisions := b.undone
		b.undone = make(map[lightchain.ChainID]struct{})
		b.mu.Unlock()
		for chain := range decisions {
			if _, followed := b.aggregator.registry.Policy(ctx, chain); followed {
				collector.Follow(ctx, time.Now(), chain)
			} else {
				collector.Forget(chain)
			}
		}
	}
}

// registerGauges shows what is read when it is asked for.
func (a *Aggregator) registerGauges() {
	m := a.metrics
	m.gauge("edgeaggregator_clock_synchronised", "1 if this machine's clock is synchronised, else 0, and nothing is countersigned.", nil,
		func() float64 { _, ok := a.clock(); return truth(ok) })
	m.gauge("edgeaggregator_heads_withheld", "Heads that are not countersigned for want of a clock that is right, or of a database that keeps receipts.", nil,
		func() float64 { return float64(a.withheld()) })
	if a.served != nil {
		m.registerDatabase(a.served, &a.setBacks)
	}
	if mended, ok := a.options.Store.(registry.Mended); ok {
		m.counter("edgeaggregator_heads_put_back_total", "Countersigned heads that the database did not know any more, and that were put back.", nil,
			func() float64 { return float64(mended.Opened().SetBack) })
	}
	if a.replicas != nil {
		m.gauge("edgeaggregator_replicas", "Replicas that live, as this one knows, itself included.", nil, func() float64 { return float64(len(a.replicas.Living())) })
		m.gauge("edgeaggregator_replica_idle", "1 while this replica follows no gateways, as /readyz explains, else 0.", nil, func() float64 { return truth(a.replicas.Idle() != nil) })
		m.gauge("edgeaggregator_replica_info", "1, with the name of this replica.", prometheus.Labels{"replica": a.replicas.Self()}, func() float64 { return 1 })
	}
}

// registerDatabase shows what the store's server says of itself.
func (m *metrics) registerDatabase(s registry.Served, setBacks *atomic.Int64) {
	for at, why := range map[string]func(registry.Database) []string{
		"crash":    func(d registry.Database) []string { return d.AtCrash },
		"failover": func(d registry.Database) []string { return d.AtFailover },
	} {
		m.gauge("edgeaggregator_database_may_lose", "1 if the database, by its settings, may lose what is countersigned, by what would do it.", prometheus.Labels{"at": at},
			func() float64 { return truth(len(why(s.Database())) > 0) })
	}
	m.gauge("edgeaggregator_database_answers", "1 if the database answers, else 0, and nothing is countersigned.", nil, func() float64 { return truth(s.Database().Silent == nil) })
	m.gauge("edgeaggregator_database_refused", "1 if nothing is countersigned because the database may lose it.", nil, func() float64 { return truth(s.Database().Refused != "") })
	m.gauge("edgeaggregator_database_standbys", "Standbys of the database, those included that are away and have a slot.", nil, func() float64 { return float64(len(s.Database().Standbys)) })
	m.counter("edgeaggregator_database_changes_total", "How often the database was another one, or had another history, than before.", nil, func() float64 { return float64(s.Database().Changes) })
	m.counter("edgeaggregator_heads_put_back_total", "Countersigned heads that the database did not know any more, and that were put back.", nil, func() float64 { return float64(setBacks.Load()) })
}

// registerGauges shows what is read when it is asked for, as long as the broker is followed.
func (b *brokerLink) registerGauges() {
	label := prometheus.Labels{"broker": b.config.Name}
	m := &metrics{registry: b.metrics}
	m.gauge("edgeaggregator_broker_connected", "1 if the broker is connected, else 0.", label, func() float64 { return truth(b.link.Status().Connected) })
	m.gauge("edgeaggregator_broker_waiting_messages", "Messages that wait to be sent to the broker.", label, func() float64 { return float64(b.link.Status().Waiting) })
	m.counter("edgeaggregator_broker_received_total", "Messages that came from the broker.", label, func() float64 { return float64(b.link.Status().Received) })
	m.counter("edgeaggregator_broker_sent_total", "Messages that the broker confirmed.", label, func() float64 { return float64(b.link.Status().Sent) })
	m.counter("edgeaggregator_broker_connections_total", "Connections made to the broker.", label, func() float64 { return float64(b.link.Status().Connections) })
}
