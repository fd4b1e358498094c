// Package gateway is a gateway's side of the protocol. It announces the newest head, answers what aggregators ask, and keeps their
// receipts; after a start it has the head confirmed, and puts back what the chain lost.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/internal/wire"
	"edgechain.example/sync/pace"
)

// ConfirmHead says whether sealing waits for an aggregator's word on the newest head.
type ConfirmHead string

// The ways to confirm a head after a start.
const (
	ConfirmAlways      ConfirmHead = "always"       // seal nothing before an aggregator has answered
	ConfirmIfReachable ConfirmHead = "if_reachable" // wait for ConfirmWait, then seal
	ConfirmNever       ConfirmHead = "never"        // seal at once
)

// Config is what a [Gateway] needs. Where a zero value works, it says so.
type Config struct {
	Prefix      string // of the topics; "" is [headersync.DefaultPrefix]
	Conn        headersync.Conn
	Chain       Chain
	Receipts    Receipts
	Restorer    Restorer                    // nil: nothing is ever restored
	Signer      lightchain.Signer           // the gateway's key, nil while there is none: then it asks nothing; see [Gateway.SetSigner]
	Terms                                   // see [Gateway.SetTerms]
	Confirm     ConfirmHead                 // "" is if_reachable
	ConfirmWait time.Duration               // 0 is a minute
	MaxPage     uint64                      // bytes of a page; 0 is [headersync.DefaultPage]
	Condition   func() headersync.Condition // what the gateway reports of itself; nil: only that it is online
	Start       uint64                      // starts of the gateway's program, counted from 1
	Random      io.Reader                   // nonces
	Log         *slog.Logger                // nil: silent
	Settled     func(Settlement)            // told once what became of the head; sealing may begin or may not; nil: nobody
	Notify      func(Notice)                // told what happens later; nil: nobody
}

// Gateway is a gateway's side of the protocol. [Gateway.Run] drives it; a test may call Receive and Tick instead.
type Gateway struct {
	c     Config
	chain lightchain.ChainID
	wake  chan struct{}

	signals struct { // set by any goroutine
		sync.Mutex
		sealed, connected bool
		signer            lightchain.Signer
		terms             *Terms
	}

	// Everything below is owned by the goroutine that calls Receive and Tick.
	peers   map[string]*peer
	signer  lightchain.Signer
	heard   []string                 // filters subscribed to
	deliver func(headersync.Message) // nil: nobody runs it, and it subscribes to nothing
	spent   pace.Spent

	said       bool      // a head was announced,
	saidAt     time.Time // then,
	announced  uint64    // of this height,
	repeatAt   time.Time // and is announced again then if not all have receipted it
	announcing pace.Backoff

	status   status
	nonces   []issued // the hellos that may still be answered, oldest first
	helloAt  time.Time
	hellos   pace.Backoff
	asked    pace.Bucket // hellos because of somebody's pull
	settled  bool
	linked   bool      // there was a connection since the start
	waitTill time.Time // for an answer
	restore  *restoring
	warned   pace.Bucket // lines in the log that anybody on the broker can cause
}

// issued is a hello's nonce, and its number in this process.
type issued struct {
	nonce     headersync.Nonce
	number    uint64
	at        time.Time         // when it was sent
	receipted map[string]uint64 // the highest header receipted by each aggregator when it was sent
}

// peer is one configured aggregator.
type peer struct {
	name     string
	keys     []lightchain.PublicKey
	nonce    uint64      // number of the hello that its newest welcome answers; 0: none yet
	floor    uint64      // pulls up to this number are old
	checks   pace.Bucket // of signatures in its name: each costs a small board a millisecond, and one peer's flood starves no other
	answers  pace.Bucket
	waits    *headersync.Pull // to be answered
	answered time.Time        // when a page last went to it
	spent    pace.Spent       // on answers to it
	told     uint64           // number of the newest report that was repeated for it
	session  headersync.Nonce
	asks     uint64
	standing Standing // "" before its first welcome
	head     *lightchain.SignedHeader
	held     uint64    // up to which height it holds every header, says its newest welcome
	busy     time.Time // it restores nothing before this, says its newest welcome
}

// New checks the configuration and returns a gateway that does nothing yet.
func New(c Config) (*Gateway, error) {
	if c.Prefix == "" {
		c.Prefix = headersync.DefaultPrefix
	}
	if err := headersync.CheckPrefix(c.Prefix); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxPage == 0 {
		c.MaxPage = headersync.DefaultPage
	}
	if c.MaxPage < headersync.MinPage || c.MaxPage > headersync.MaxPage {
		return nil, fmt.Errorf("a page of %d bytes: %d to %d", c.MaxPage, headersync.MinPage, headersync.MaxPage)
	}
	if c.ConfirmWait == 0 {
		c.ConfirmWait = time.Minute
	}
	switch c.Confirm {
	case "":
		c.Confirm = ConfirmIfReachable
	case ConfirmAlways, ConfirmIfReachable, ConfirmNever:
	default:
		return nil, fmt.Errorf("confirm_head %q: always, if_reachable or never", c.Confirm)
	}
	if err := c.Terms.Check(); err != nil {
		return nil, err
	}
	tip, _, err := c.Chain.Head()
	if err != nil {
		return nil, fmt.Errorf("reading the chain's head: %w", err)
	}
	g := &Gateway{
		c: c, chain: tip.Chain, signer: c.Signer, wake: make(chan struct{}, 1),
		asked:      pace.Bucket{Interval: 30 * time.Second, Burst: 4},
		warned:     pace.Bucket{Interval: 10 * time.Second, Burst: 8},
		hellos:     pace.Backoff{Least: repeatHello},
		announcing: pace.Backoff{Most: time.Hour},
	}
	g.status.pace = pace.Backoff{Most: time.Hour}
	g.adopt(c.Terms)
	return g, nil
}

// Sealed tells the gateway that a header was sealed and is durable. It may be called from any goroutine.
func (g *Gateway) Sealed() {
	g.signals.Lock()
	g.signals.sealed = true
	g.signals.Unlock()
	headersync.Wake(g.wake)
}

// Connected tells the gateway that its connection was made, again or for the first time.
func (g *Gateway) Connected() {
	g.signals.Lock()
	g.signals.connected = true
	g.signals.Unlock()
	headersync.Wake(g.wake)
}

// SetSigner gives the gateway its new key, after a header that set it was sealed, or the one that it lacked.
func (g *Gateway) SetSigner(s lightchain.Signer) {
	g.signals.Lock()
	g.signals.signer = s
	g.signals.Unlock()
}

// Run subscribes and serves until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	in := make(chan headersync.Message, headersync.Queued)
	full := new(headersync.Overflow)
	g.deliver = func(m headersync.Message) { full.Deliver(in, m, g.c.Log) }
	if err := g.listen(); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	return headersync.Drive(ctx, in, g.wake, g.Tick, g.Receive)
}

// Filters returns the topics that a gateway listens to.
func (g *Gateway) Filters() []string {
	filters := []string{headersync.Topic(g.c.Prefix, g.chain, headersync.TopicPull, "")}
	for name := range g.peers {
		for _, word := range [...]string{headersync.TopicWelcome, headersync.TopicReceipt, headersync.TopicRestore} {
			filters = append(filters, headersync.Topic(g.c.Prefix, g.chain, word, name))
		}
	}
	slices.Sort(filters)
	return filters
}

// Tick does what is due at now and returns when to call it again at the latest.
func (g *Gateway) Tick(now time.Time) time.Time {
	g.signals.Lock()
	sealed, connected := g.signals.sealed, g.signals.connected
	g.signals.sealed, g.signals.connected = false, false
	g.signals.Unlock()
	g.follow(now)
	if connected {
		if !g.linked { // before, there was nobody to answer
			g.linked, g.waitTill = true, time.Time{}
		}
		g.repeatAt, g.helloAt = g.saidAt.Add(g.c.Announce), now
		if g.settled { // else sealing waits for the answer
			g.helloAt = now.Add(pace.Spread(g.chain, uint64(now.Unix()), pace.AfterConnect))
		}
		g.announcing.Reset()
		g.hellos.Reset()
	}
	if sealed {
		g.announcing.Reset()
	}
	// The newest head first: whatever else waits, whoever listens learns it before anything older.
	next := pace.Earliest(g.tickAnnounce(now), g.tickStatus(now, connected), g.tickHello(now), g.tickSettle(now), g.tickAnswers(now))
	return pace.Earliest(next, now.Add(time.Hour))
}

func (g *Gateway) publish(now time.Time, topic string, payload []byte, retained bool) {
	g.spent.Add(now, pace.Cost(topic, payload))
	if err := g.c.Conn.Publish(topic, payload, retained); err != nil {
		g.c.Log.Debug("not published", "topic", topic, "err", err)
	}
}

// Spent returns what was published today, in bytes. It belongs to the goroutine that calls Tick.
func (g *Gateway) Spent() pace.Spent { return g.spent }

func (g *Gateway) notify(n Notice) {
	if g.c.Notify != nil {
		g.c.Notify(n)
	}
}

// Receive takes one message.
func (g *Gateway) Receive(now time.Time, m headersync.Message) {
	if m.Done != nil {
		defer m.Done()
	}
	g.follow(now)
	chain, word, name, ok := headersync.SplitTopic(g.c.Prefix, m.Topic)
	if !ok || chain != g.chain {
		return
	}
	var err error
	switch p := g.peers[name]; {
	case word == headersync.TopicPull && name == "":
		err = g.receivePull(now, m.Payload)
	case p == nil:
	case word == headersync.TopicWelcome:
		err = g.receiveWelcome(now, p, m.Payload)
	case word == headersync.TopicReceipt:
		err = g.receiveReceipt(now, p, m.Payload)
	case word == headersync.TopicRestore:
		err = g.receiveRestored(now, p, m.Payload)
	}
	switch {
	case err == nil:
	case word == headersync.TopicRestore && g.restore != nil && !errors.Is(err, headersync.ErrOld) && g.warned.Take(now):
		// Nothing is sealed until the right page comes, so whoever waits for that is told.
		g.c.Log.Warn("failed to take a page of lost headers, which is refused; they are asked for again", "aggregator", name, "err", err)
	default:
		// Anybody on the broker can cause this line: it is no finding.
		g.c.Log.Debug("message refused", "topic", m.Topic, "err", err)
	}
}

// key returns the key of p's that a signed message names.
func (p *peer) key(id [8]byte) (lightchain.PublicKey, bool) {
	for _, k := range p.keys {
		if k.KeyID() == id {
			return k, true
		}
	}
	return lightchain.PublicKey{}, false
}

// checked checks a signed message of p's, at a bounded rate.
func (g *Gateway) checked(now time.Time, p *peer, s *wire.Sealed) error {
	key, ok := p.key(s.KeyID)
	switch {
	case !ok:
		return headersync.ErrStranger
	case !p.checks.Take(now):
		return headersync.ErrBusy
	case !s.Check(key):
		return headersync.ErrForged
	}
	return nil
}
