package aggregator

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain/lightchain"
	"edgechain/mqttconn"
	headersync "edgechain/sync"
	"edgechain/sync/mqttlink"
)

// brokerLink is one broker and the protocol's machine behind it.
type brokerLink struct {
	aggregator *Aggregator
	config     *BrokerConfig
	link       *mqttlink.Link
	log        *slog.Logger
	connected  chan struct{} // capacity 1
	look       chan struct{} // capacity 1: other chains fall to this replica
	metrics    *prometheus.Registry
	cancel     context.CancelFunc // set while it runs
	done       chan struct{}      // closed when it has stopped

	collector atomic.Pointer[headersync.Collector] // nil until it runs
	shared    atomic.Bool                          // the broker divides heads among the replicas

	mu     sync.Mutex
	asked  map[lightchain.ChainID]time.Time // guarded by mu: of which chains this replica asked for a page, and when; nil where that does not matter
	passed map[lightchain.ChainID]passed    // guarded by mu: heads of the last moments that fall to others
}

// passed is a head that falls to another replica, which may be dead already without this one knowing.
type passed struct {
	head headersync.Message
	at   time.Time
}

func (a *Aggregator) newBrokerLink(c *BrokerConfig) (*brokerLink, error) {
	b := &brokerLink{
		aggregator: a, config: c, log: a.log.With("broker", c.Name),
		connected: make(chan struct{}, 1), look: make(chan struct{}, 1), metrics: prometheus.NewRegistry(),
	}
	b.registerGauges()
	if a.replicas != nil {
		b.asked, b.passed = make(map[lightchain.ChainID]time.Time), make(map[lightchain.ChainID]passed)
	}
	cfg := mqttlink.Config{
		Config: c.Config, Options: mqttconn.Options{Log: a.log}, Queue: 64 << 20,
		// Where there are replicas, a dead one's session must not go on taking its share of the heads.
		CleanSession: a.replicas != nil,
		Connected:    func() { signal(b.connected) },
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
	// by then is lost. Where there is none to keep, the connection comes first, since it is tried what the broker can.
	connect := func() { linking.Go(func() { _ = b.link.Run(ctx) }) } // it ends without an error
	if a.replicas != nil {
		connect()
		connect = func() {}
		b.shared.Store(b.mayShare(ctx))
	}
	if ctx.Err() != nil {
		return nil
	}
	collector, err := headersync.NewCollector(headersync.CollectorConfig{
		Prefix: b.config.Prefix, Conn: divided{b, sync.OnceFunc(connect)}, Store: a.ledger, Name: a.config.Aggregator.Name, Signer: a.options.Signer,
		Policy:   func(chain lightchain.ChainID) (headersync.Policy, bool) { return a.registry.Policy(ctx, chain) },
		Clock:    a.clock,
		Stranger: func(s headersync.Stranger) { a.stranger(ctx, s) },
		Notify:   func(f headersync.Finding) { a.notify(ctx, f) },
		Log:      b.log, Workers: a.config.Pull.Workers,
	})
	if err != nil {
		return err
	}
	b.collector.Store(collector)
	if err := b.link.Subscribe([]string{b.config.Prefix + "/+/status"}, a.presence.deliver); err != nil {
		return err
	}
	linking.Go(func() { b.watch(ctx, collector) })
	return collector.Run(ctx)
}

// probeFor bounds how long a broker may take to give back a message of a shared subscription.
const probeFor = 5 * time.Second

// mayShare finds out whether the broker divides a subscription among those who share it: some accept it, and then
// deliver nothing.
func (b *brokerLink) mayShare(ctx context.Context) bool {
	if b.aggregator.replicas == nil || b.config.Shared == "never" {
		return false
	}
	if b.config.Shared == "always" {
		return true
	}
	select {
	case <-b.connected:
	case <-ctx.Done():
		return false
	}
	probing, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	works, err := b.link.ProbeShared(probing, b.group(), b.config.Prefix+"/probe/"+b.aggregator.config.Aggregator.Name)
	if err != nil && ctx.Err() == nil {
		b.log.Info("the broker's shared subscriptions could not be tried", "err", err)
	}
	b.log.Info("gateways are divided among replicas", "by", map[bool]string{true: "the broker", false: "the chains' names"}[works])
	return works
}

// group names the shared subscription; two aggregators at one broker each get all heads.
func (b *brokerLink) group() string { return "edgechain-" + b.aggregator.config.Aggregator.Name }

// watch looks at chains anew when others fall to this replica.
func (b *brokerLink) watch(ctx context.Context, collector *headersync.Collector) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.look:
		}
		for _, head := range b.takeOver() {
			collector.Deliver(head)
		}
		err := EachRecord(ctx, b.aggregator.options.Store, func(r *Record) error {
			if r.Standing == Approved && b.aggregator.mine(r.Chain) {
				collector.Follow(ctx, time.Now(), r.Chain)
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			b.log.Error("looking at the chains that fall to this replica now", "err", err)
		}
	}
}

func (b *brokerLink) lookAgain() { signal(b.look) }

// decided has the machine look at a chain whose standing changed. It is called by the machine itself too, when a
// gateway comes in with a token, and so must not wait for it.
func (b *brokerLink) decided(chain lightchain.ChainID, standing Standing) {
	collector := b.collector.Load()
	if collector == nil || !b.aggregator.mine(chain) {
		return
	}
	if standing == Approved || standing == Waiting {
		go collector.Follow(context.Background(), time.Now(), chain)
	} else {
		go collector.Forget(chain)
	}
}

// divided is the connection as the machine sees it: of what all replicas hear it lets through what falls to this one.
type divided struct {
	b          *brokerLink
	subscribed func() // called when the machine's subscriptions stand
}

func (d divided) Publish(topic string, payload []byte, retained bool) error {
	if d.b.asked != nil && strings.HasSuffix(topic, "/pull") {
		d.b.ask(topic)
	}
	return d.b.link.Publish(topic, payload, retained)
}

// An answer is given up after answerWithin; then whoever wants it asks anew.
const answerWithin = 15 * time.Minute

// ask notes that this replica asked for a page of a chain, and clears away, now and then, what was given up.
func (b *brokerLink) ask(topic string) {
	chain, ok := chainOf(b.config.Prefix, topic)
	if !ok {
		return
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asked) >= 1024 && len(b.asked)&(len(b.asked)-1) == 0 {
		for other, at := range b.asked {
			if now.Sub(at) > answerWithin {
				delete(b.asked, other)
			}
		}
	}
	b.asked[chain] = now
}

// askedFor reports whether a page on the topic may be the answer to a question of this replica's.
func (b *brokerLink) askedFor(topic string) bool {
	chain, ok := chainOf(b.config.Prefix, topic)
	if !ok {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at, found := b.asked[chain]
	return found && time.Since(at) < answerWithin
}

// Subscribe implements [headersync.Conn].
//
// Heads come to one replica each where the broker divides them, and whichever gets one asks for the page. A hello may
// begin a conversation, so one replica has all of a gateway's. A page comes to all, and goes to those who lately asked
// that gateway for one.
func (d divided) Subscribe(filters []string, deliver func(headersync.Message)) error {
	defer d.subscribed()
	if d.b.aggregator.replicas == nil {
		return d.b.link.Subscribe(filters, deliver)
	}
	var heads, pages, others []string
	for _, f := range filters {
		switch word := strings.TrimPrefix(f, d.b.config.Prefix+"/+/"); {
		case !d.b.shared.Load():
			others = append(others, f)
		case word == "head":
			heads = append(heads, mqttlink.Shared(d.b.group(), f))
		case strings.HasPrefix(word, "pulled/"):
			pages = append(pages, f)
		default:
			others = append(others, f)
		}
	}
	if err := d.b.link.Subscribe(heads, deliver); err != nil {
		return err
	}
	if err := d.b.link.Subscribe(pages, only(d.b.askedFor, deliver)); err != nil {
		return err
	}
	return d.b.link.Subscribe(others, func(m headersync.Message) {
		chain, ok := chainOf(d.b.config.Prefix, m.Topic)
		switch {
		case ok && d.b.aggregator.mine(chain):
			deliver(m)
			return
		case ok && strings.HasSuffix(m.Topic, "/head"):
			d.b.pass(chain, m)
		}
		if m.Done != nil {
			m.Done()
		}
	})
}

// passedFor is how long a head is kept for the case that its replica is dead: until that would be noticed, and a bit.
const passedFor = 2 * deadAfter

// pass keeps the newest head of a chain that falls to another replica.
func (b *brokerLink) pass(chain lightchain.ChainID, m headersync.Message) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.passed); n >= 256 && n&(n-1) == 0 {
		for other, p := range b.passed {
			if now.Sub(p.at) > passedFor {
				delete(b.passed, other)
			}
		}
	}
	b.passed[chain] = passed{headersync.Message{Topic: m.Topic, Payload: m.Payload}, now}
}

// takeOver returns the heads of the last moments that fall to this replica now.
func (b *brokerLink) takeOver() (heads []headersync.Message) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for chain, p := range b.passed {
		mine := b.aggregator.mine(chain)
		if mine && now.Sub(p.at) <= passedFor {
			heads = append(heads, p.head)
		}
		if mine || now.Sub(p.at) > passedFor {
			delete(b.passed, chain)
		}
	}
	return heads
}

// only delivers the messages on topics that wanted says yes to; the others are dealt with at once.
func only(wanted func(topic string) bool, deliver func(headersync.Message)) func(headersync.Message) {
	return func(m headersync.Message) {
		if wanted(m.Topic) {
			deliver(m)
		} else if m.Done != nil {
			m.Done()
		}
	}
}

// chainOf returns the chain that a topic names behind the prefix.
func chainOf(prefix, topic string) (lightchain.ChainID, bool) {
	rest, ok := strings.CutPrefix(topic, prefix+"/")
	name, _, _ := strings.Cut(rest, "/")
	chain, err := lightchain.ParseChainID(name)
	return chain, ok && err == nil
}

// registerGauges shows what is read when it is asked for.
func (a *Aggregator) registerGauges() {
	m := a.metrics
	m.gauge("edgeaggregator_clock_synchronised", "1 if this machine's clock is synchronised, else 0, and nothing is countersigned.", nil,
		func() float64 { _, ok := a.clock(); return truth(ok) })
	m.gauge("edgeaggregator_heads_withheld", "Heads that are not countersigned for want of a clock that is right.", nil,
		func() float64 { return float64(a.withheld()) })
	if a.replicas != nil {
		m.gauge("edgeaggregator_replicas", "Replicas alive, this one included.", nil, func() float64 { return float64(len(a.replicas.Alive())) })
	}
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
