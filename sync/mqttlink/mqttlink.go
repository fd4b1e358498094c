// Package mqttlink is the MQTT connection of package headersync: a [Link] is one broker, kept connected, under one
// client id with a persistent session (MQTT 3.1.1, through paho). It owns what the broker is asked for, which messages
// wait while there is no connection, and when the broker is told that a message was dealt with. It does not own how a
// connection comes about (package mqttconn), what a message means, nor whether one arrived: a publication that the broker
// confirmed proves nothing, and the protocol above asks again for whatever matters.
//
// # What waits
//
// While there is no connection, of what is published retained the newest of each topic waits for the next one; all else
// is refused at once, since an answer to a question asked an hour ago helps nobody. What was handed to a connection that
// broke is not sent again.
//
// # What is acknowledged
//
// A message is acknowledged to the broker when every subscriber that it was delivered to has called Done. If the
// connection ends before that, the broker delivers it again to the next one, for as long as it keeps the session.
//
// # What is cut
//
// A message that is longer than anything of the protocol's comes cut, still longer than that: nobody who may publish makes
// this program allocate what it likes.
package mqttlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"edgechain.example/mqttconn"
	"edgechain.example/mqttwire"
	headersync "edgechain.example/sync"
)

// DefaultQueue is how many bytes wait to be sent at most, unless configured.
const DefaultQueue = 4 << 20

// Config says what a Link connects to. Servers and ClientID are needed; the zero value of all else works.
type Config struct {
	mqttconn.Config
	mqttconn.Options

	// CleanSession has the broker forget the session with the connection. What comes while there is none is lost then.
	CleanSession bool

	// Will is what the broker publishes when the connection breaks, and the Link itself when it ends in good order.
	Will *mqttconn.Will

	// Connected is called after each connection, once all subscriptions stand. It must not block; nil: nobody.
	Connected func()

	// Queue bounds the bytes that wait to be sent. What is beyond is refused.
	Queue int
}

// Status says how a Link stands, and counts since New.
type Status struct {
	mqttconn.Status
	Connected  bool  // now, and all subscriptions granted
	Received   int64 // messages
	Sent       int64 // messages that the broker confirmed
	Refused    int64 // messages that were not taken for sending: no connection, or the queue full
	Waiting    int   // messages that wait to be sent
	Unfinished int   // messages received and not dealt with yet
}

// Link is one broker. Its methods may be called from any goroutine.
type Link struct {
	cfg    Config
	broker *mqttconn.Broker
	log    *slog.Logger
	out    *outbox

	delivering sync.Mutex // held while a message is delivered: connections follow each other, their goroutines may overlap

	mu            sync.Mutex
	subscriptions []subscription // guarded by mu; elements are never changed
	deaf          []string       // guarded by mu: filters that the broker refused
	status        Status         // guarded by mu; what others know is filled in by Status
	now           *session       // guarded by mu: the connection that stands, or nil
	version       int            // guarded by mu: counts changes of subscriptions
	stands        int            // guarded by mu: the version that the broker has granted, -1 without a connection
	standing      chan struct{}  // guarded by mu: closed, and replaced, when stands changes
}

var _ headersync.Conn = (*Link)(nil)

// subscription is one call of Subscribe.
type subscription struct {
	filters []string
	deliver func(headersync.Message)
}

// New checks the configuration. It opens no connection.
func New(cfg Config) (*Link, error) {
	if cfg.Queue <= 0 {
		cfg.Queue = DefaultQueue
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Log = cfg.Log.With("broker", cfg.Name)
	broker, err := mqttconn.New(&cfg.Config, &cfg.Options)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", cfg.Name, err)
	}
	return &Link{cfg: cfg, broker: broker, log: cfg.Log, out: newOutbox(cfg.Queue), stands: -1, standing: make(chan struct{})}, nil
}

// Name returns the link's name.
func (l *Link) Name() string { return l.cfg.Name }

// Status returns a consistent snapshot.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.status
	st.Status = l.broker.Status()
	st.Waiting = l.out.len()
	if l.now != nil {
		st.Unfinished = l.now.unfinished()
		if len(l.deaf) > 0 {
			st.LastError = "the broker refuses the subscription to " + strings.Join(l.deaf, ", ")
		}
	}
	return st
}

// ErrNotConnected means that a message was refused because there is no connection to send it on.
var ErrNotConnected = errors.New("there is no connection to the broker")

// ErrFull means that a message was refused because too much waits to be sent already.
var ErrFull = errors.New("too much waits to be sent to the broker")

// Publish implements [headersync.Conn].
func (l *Link) Publish(topic string, payload []byte, retained bool) error {
	err := l.out.put(message{topic, slices.Clone(payload), retained})
	if err != nil {
		l.mu.Lock()
		l.status.Refused++
		l.mu.Unlock()
	}
	return err
}

// Subscribe implements [headersync.Conn].
func (l *Link) Subscribe(filters []string, deliver func(headersync.Message)) error {
	for _, f := range filters {
		if _, err := mqttwire.ParseFilter(f); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscriptions = append(l.subscriptions, subscription{slices.Clone(filters), deliver})
	l.changed()
	return nil
}

// changed has the connection that stands ask for what is wanted now. The caller holds mu.
func (l *Link) changed() {
	l.version++
	if l.now != nil {
		l.now.subscribe()
	}
}

// granted notes which version of the subscriptions the broker has answered.
func (l *Link) granted(version int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stands = version
	close(l.standing)
	l.standing = make(chan struct{})
}

// asked waits until the broker has answered for all subscriptions made so far.
func (l *Link) asked(ctx context.Context) error {
	l.mu.Lock()
	want := l.version
	l.mu.Unlock()
	for {
		l.mu.Lock()
		stands, change := l.stands, l.standing
		l.mu.Unlock()
		if stands >= want {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run connects, and keeps connecting, until ctx ends; then it publishes what the will says, disconnects, and returns
// when nothing that it started is running. It is called once.
func (l *Link) Run(ctx context.Context) error {
	l.broker.Keep(ctx, l.session)
	return nil
}

// deliver gives a message to all who asked for it, and calls done when all of them have dealt with it.
func (l *Link) deliver(topic string, payload []byte, done func()) {
	l.delivering.Lock()
	defer l.delivering.Unlock()
	l.mu.Lock()
	l.status.Received++
	all := l.subscriptions
	l.mu.Unlock()
	var to []func(headersync.Message)
	for _, s := range all {
		if slices.ContainsFunc(s.filters, func(f string) bool { return mqttwire.Match(f, topic) }) {
			to = append(to, s.deliver)
		}
	}
	if len(to) == 0 {
		done() // of a subscription that an earlier program left behind
		return
	}
	last := after(len(to), done)
	for _, deliver := range to {
		deliver(headersync.Message{Topic: topic, Payload: payload, Done: last})
	}
}

// after returns a function whose n-th call calls done.
func after(n int, done func()) func() {
	if n == 1 {
		return sync.OnceFunc(done)
	}
	var mu sync.Mutex
	return func() {
		mu.Lock()
		n--
		now := n == 0
		mu.Unlock()
		if now {
			done()
		}
	}
}
