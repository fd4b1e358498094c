// Package mqttconn is what the programs know about being a client of a broker: its addresses, as whom to appear there and
// whom to trust, how to keep trying, and what to tell an operator about a connection that does not come about
// (MQTT 3.1.1, through paho). A [Config] is what an operator says of a broker, with the keys of his TOML file; a [Broker]
// connects to it, again and again, and gives each connection to its caller.
//
// What is received and sent, subscriptions, and acknowledgements are the caller's: mqttsource records what a broker
// delivers, mqttlink carries the protocol between gateway and aggregator.
package mqttconn

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"
)

// Defaults of [Config] and [Options].
const (
	DefaultKeepAlive      = 30 * time.Second
	DefaultConnectTimeout = 30 * time.Second
	DefaultBackoffMin     = time.Second
	DefaultBackoffMax     = time.Minute
)

// Options is what a program decides about its connections to a broker, beside what its operator does. The zero value
// works.
type Options struct {
	BackoffMin time.Duration // before the first new attempt, then doubling
	BackoffMax time.Duration // and never above this; each is varied by half at random

	// TimeFloor returns a time that is certainly past: the build's, or the newest header's. Certificates are checked
	// at the later of it and Now, or a board that starts in 1970 would never connect. nil means no floor.
	TimeFloor func() time.Time

	Now    func() time.Time // nil: time.Now
	Jitter func() float64   // in [0, 1), safe for concurrent use; nil: math/rand/v2
	Log    *slog.Logger     // nil: silence
}

// Broker is one broker, or one cluster, and the way to it.
type Broker struct {
	config  Config
	options Options
	servers []*url.URL

	mu     sync.Mutex
	status Status // guarded by mu
}

// Status says how the attempts to connect went, and counts since New.
type Status struct {
	Server      string    // the one connected to, or last
	LastError   string    // why there is no connection; empty while there is one
	Since       time.Time // when that began; zero while there is no LastError
	Connections int64
	Failures    int64 // attempts that failed, per server
}

// New checks what it is given, and fills in the defaults there. The files that are named must be readable: they are read
// again for each connection. It opens no connection.
func New(c *Config, o *Options) (*Broker, error) {
	b := &Broker{}
	if len(c.Servers) == 0 {
		return nil, errors.New("servers: none is named")
	}
	for _, s := range c.Servers {
		u, err := s.parse()
		if err != nil {
			return nil, fmt.Errorf("servers: %w", err)
		}
		b.servers = append(b.servers, u)
	}
	if _, err := c.tls(); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if _, _, err := c.Credentials(); err != nil {
		return nil, err
	}
	if c.ClientID == "" {
		return nil, errors.New("client_id: it names the session at the broker and must be given")
	}
	for _, d := range []struct {
		name               string
		value              *time.Duration
		usual, least, most time.Duration
	}{
		{"keep_alive", &c.KeepAlive, DefaultKeepAlive, time.Second, maxKeepAlive},
		{"connect_timeout", &c.ConnectTimeout, DefaultConnectTimeout, time.Millisecond, time.Hour},
		{"backoff_min", &o.BackoffMin, DefaultBackoffMin, time.Millisecond, time.Hour},
		{"backoff_max", &o.BackoffMax, max(DefaultBackoffMax, o.BackoffMin), o.BackoffMin, 24 * time.Hour},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
		if *d.value < d.least || *d.value > d.most {
			return nil, fmt.Errorf("%s: %v is not in %v to %v", d.name, *d.value, d.least, d.most)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b.config, b.options = *c, *o
	return b, nil
}

// Status returns a consistent snapshot.
func (b *Broker) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *Broker) note(change func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.status)
}
