// Package mqttsource takes in the messages of an MQTT broker that the plant already runs. Each [Source] is one
// connection under one client id with a persistent session (MQTT 3.1.1, through paho); it hands messages to a
// [sensors.Sink] and acknowledges each to the broker only after the sink has called it durable, in the order of
// arrival. It owns the connection and everything about delivery. It does not own what a payload means (the caller's
// Decode says that), nor the disk.
//
// # Slow means late
//
// When the sink has no room, the source stops reading its socket, in front of the next PUBLISH. That alone would end
// the connection, because the broker's answers to pings stand unread behind that PUBLISH, so a gate between paho and
// the socket answers those pings itself: the broker keeps hearing from us, and paho from the gate. Nothing is thrown
// away here, at any QoS; what piles up piles up at the broker, and how much the broker keeps is its configuration
// (Mosquitto: max_inflight_messages, max_queued_messages). Where it counts in $SYS what it dropped, that count is
// watched and reported. Payloads above a limit are hashed as they come in and never held.
//
// Acknowledgements are written by the source itself, many in one write. paho's Message.Ack blocks until its writer
// takes the packet, silently drops it after the connection's end, and costs a system call each; here it must be known
// whether an acknowledgement can have left, see below.
//
// # Redelivery
//
// A message comes again (DUP) when the broker has not had our acknowledgement. That it is the same message and not a
// new one under the same packet id is certain in one case: the session was resumed without a break since the message
// came; id, QoS, topic and payload are the same; and no byte of an acknowledgement for it was ever given to a socket.
// Then the broker cannot have freed the id for another message, for the protocol lets it reuse an id only once it is
// acknowledged. Such a message is acknowledged as soon as the first one is durable, and no second entry is made. This
// leans on the client id being ours alone; messages of shared subscriptions, which a broker may take away and give to
// another member, are never recognised.
//
// In every other case it is kept, flagged [lightchain.Redelivered]: after an acknowledgement that may or may not have
// arrived, and after a crash of this program, however much the last entries of the chain resemble it. A sensor that
// reports 21.5 twice sends two equal messages, the chain does not know packet ids, and so no memory of contents could
// tell a second delivery from a second report. A duplicate is a blemish, a loss is a breach.
//
// QoS 2 is acknowledged (PUBREC) after the commit too, and otherwise treated alike: exactly once while this program
// runs and the connection does not break between PUBREC and its arrival; else at least once, flagged.
//
// # Retained messages
//
// A broker replays retained messages at every subscription, and the source subscribes on every connection: a broker
// restored from an old snapshot may know the session and not its newest subscription. A replay is made an entry,
// flagged [lightchain.Retained], once per topic and content in the life of the Source; further ones are acknowledged
// and counted. The table of what was seen holds 16,384 replays; those beyond it become entries each time.
package mqttsource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"edgechain/lightchain"
	"edgechain/sensors"
)

// Defaults of [Config].
const (
	DefaultKeepAlive      = 30 * time.Second
	DefaultConnectTimeout = 10 * time.Second
	DefaultBackoffMin     = time.Second
	DefaultBackoffMax     = time.Minute
	DefaultDrainTimeout   = 5 * time.Second
	DefaultQueueBytes     = 256 << 10
	DefaultMaxPayload     = 1 << 20
)

// Config says what a Source connects to. Name, Servers, Subscriptions and one of ClientID and Gateway are needed; the
// zero value of all else works.
type Config struct {
	// Name is the source's, as it stands in the entries it makes ("mqtt:<name>:<topic>"): 1 to 64 of letters, digits,
	// '.', '_' and '-'.
	Name string

	// Servers are the broker's addresses, tried in turn: tcp://, ssl://, ws:// or wss:// (mqtt:// and mqtts:// mean
	// the first two), host, and a port where it is not 1883, 8883, 80 or 443. They are ways to one broker or cluster:
	// two brokers that do not share sessions are two sources.
	Servers []string

	User, Password string

	// TLS applies to ssl:// and wss://; nil means the system's authorities and no client certificate.
	TLS *TLS

	// ClientID names the session at the broker. It must be the same at every start, or what the broker queued is
	// lost, and nobody else's. Default: "edgechain-<Gateway>-<Name>".
	ClientID string
	Gateway  string

	Subscriptions []Subscription

	KeepAlive      time.Duration // at least a second; whole seconds
	ConnectTimeout time.Duration // for one server: network, TLS and MQTT handshakes together
	BackoffMin     time.Duration // before the first new attempt, then doubling
	BackoffMax     time.Duration // and never above this; each is varied by half at random
	DrainTimeout   time.Duration // how long Run, told to end, waits for what it handed over to become durable

	// QueueBytes bounds what this source holds of messages that the sink did not yet take; one larger message may
	// stand there alone.
	QueueBytes int

	// MaxPayload is the size in bytes above which a payload is replaced by its SHA-256 while it is being read, and
	// flagged [lightchain.PayloadHashed]. It protects memory; a caller that wants to decode large payloads and keep
	// only their hash leaves it above its own limit.
	MaxPayload int

	// IgnoreDrops leaves the broker's $SYS counter of dropped messages unwatched.
	IgnoreDrops bool

	// TimeFloor returns a time that is certainly past: the build's, or the newest header's. Certificates are checked
	// at the later of it and Now, or a board that starts in 1970 would never connect. nil means no floor.
	TimeFloor func() time.Time

	// Lost is told of messages that are missing, for the chain to say so: how many at most, and why. It must not
	// block. It may be nil.
	Lost func(n int, why string)

	Now    func() time.Time // nil: time.Now
	Jitter func() float64   // in [0, 1), safe for concurrent use; nil: math/rand/v2
	Log    *slog.Logger     // nil: silence
}

// Subscription is one topic filter and what its messages mean.
type Subscription struct {
	Filter string // MQTT 3.1.1, section 4.7; "$share/<group>/<filter>" too
	QoS    byte   // 0, 1 or 2: the most that the broker shall deliver with

	// Decode turns a message into what is handed to the sink: flags holds Retained, Redelivered, QoS0 and
	// PayloadHashed where they apply, to which it may add; it may shorten the payload to its hash. The source sets
	// Source and Done afterwards. It is called from one goroutine at a time; nil, or a nil result, gives an entry
	// that is not understood. Where filters overlap, the first in the list decodes, and a broker that delivers such a
	// message once per filter makes as many entries.
	Decode func(topic string, flags lightchain.Flags, payload []byte, received time.Time) *sensors.Message
}

// Stats counts what a Source did since New, and says how it stands.
type Stats struct {
	Received     int64 // PUBLISH packets
	QoS0         int64 // of these, with QoS 0
	Committed    int64 // entries that became durable
	Failed       int64 // entries that the sink took and gave up; never acknowledged
	Acknowledged int64 // PUBACK and PUBREC packets written

	Redelivered int64 // came with DUP and were kept
	Recognised  int64 // came with DUP, were certainly known, and made no second entry
	Replays     int64 // retained replays already sealed
	Hashed      int64 // payloads above MaxPayload
	Unmatched   int64 // matched no subscription of the configuration
	Lost        int64 // given up here: with QoS 0, not yet handed over when the program ended
	Dropped     int64 // what the broker's counter rose by; for any of its clients

	Pauses       int64 // times that reading stopped for want of room
	PingsCovered int64 // pings answered by the gate while it did
	Connections  int64
	Failures     int64 // attempts that failed, per server

	InFlight    int    // messages that came with QoS 1 or 2 and are not acknowledged
	QueuedBytes int    // read, and not yet taken by the sink
	Connected   bool   // now
	Subscribed  bool   // connected, and every filter granted
	Server      string // the one connected to, or last
	LastError   string // why there is no connection; empty while there is one
}

// Source is one broker's messages on their way to the sink.
type Source struct {
	cfg     Config
	servers []*url.URL
	filters []sensors.Filter // one for each of cfg.Subscriptions
	log     *slog.Logger
	ready   chan struct{} // closed when every filter has been granted once

	mu       sync.Mutex
	room     *sync.Cond                    // on mu: room in the queue, a ping to cover, or the end
	stats    Stats                         // under mu; InFlight and QueuedBytes are filled in by Stats
	queue    []*delivery                   // under mu: for the pump, in order of arrival
	reserved int                           // under mu: bytes of PUBLISH packets let through the gate and not yet taken by the sink
	open     int                           // under mu: messages that the sink took and did not settle
	stopping bool                          // under mu: no PUBLISH passes the gate any more
	unacked  map[uint16]*delivery          // under mu: by packet id, those whose acknowledgement never went to a socket
	replays  map[lightchain.Hash]*delivery // under mu: retained messages seen; nil once durable
	drops    drops                         // under mu
	wake     chan struct{}                 // for the pump, capacity 1: the queue is not empty
	idle     chan struct{}                 // for drain, capacity 1: open fell
}

var sourceName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// New checks the configuration. It opens no connection.
func New(cfg Config) (*Source, error) {
	if !sourceName.MatchString(cfg.Name) {
		return nil, fmt.Errorf("name %q: a source is named by 1 to 64 letters, digits, '.', '_' and '-'", cfg.Name)
	}
	s := &Source{
		cfg:     cfg,
		ready:   make(chan struct{}),
		unacked: make(map[uint16]*delivery),
		replays: make(map[lightchain.Hash]*delivery),
		wake:    make(chan struct{}, 1),
		idle:    make(chan struct{}, 1),
	}
	s.room = sync.NewCond(&s.mu)
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("source %s: %w", cfg.Name, err)
	}
	return s, nil
}

func (s *Source) check() error {
	c := &s.cfg
	if len(c.Servers) == 0 {
		return errors.New("servers: none is named")
	}
	for _, text := range c.Servers {
		u, err := parseServer(text)
		if err != nil {
			return fmt.Errorf("servers: %w", err)
		}
		s.servers = append(s.servers, u)
	}
	if c.TLS != nil {
		if err := c.TLS.check(); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	if c.User == "" && c.Password != "" {
		return errors.New("password: MQTT 3.1.1 sends none without a user")
	}
	if c.ClientID == "" {
		if c.Gateway == "" {
			return errors.New("client_id: it names the session at the broker and must be given")
		}
		c.ClientID = "edgechain-" + c.Gateway + "-" + c.Name
	}
	if len(c.Subscriptions) == 0 {
		return errors.New("subscriptions: there is none, nothing would arrive")
	}
	for _, sub := range c.Subscriptions {
		f, err := sensors.ParseFilter(sub.Filter)
		if err != nil {
			return fmt.Errorf("subscriptions: %w", err)
		}
		if sub.QoS > 2 {
			return fmt.Errorf("subscriptions: %q: QoS %d: it is 0, 1 or 2", sub.Filter, sub.QoS)
		}
		s.filters = append(s.filters, f)
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		usual time.Duration
		least time.Duration
	}{
		{"keep_alive", &c.KeepAlive, DefaultKeepAlive, time.Second},
		{"connect_timeout", &c.ConnectTimeout, DefaultConnectTimeout, time.Millisecond},
		{"backoff_min", &c.BackoffMin, DefaultBackoffMin, time.Millisecond},
		{"backoff_max", &c.BackoffMax, max(DefaultBackoffMax, c.BackoffMin), c.BackoffMin},
		{"drain_timeout", &c.DrainTimeout, DefaultDrainTimeout, 0},
	} {
		if *d.value == 0 {
			*d.value = d.usual
		}
		if *d.value < d.least {
			return fmt.Errorf("%s: %v is below %v", d.name, *d.value, d.least)
		}
	}
	// A longer one does not fit the packet's 16 bits.
	if c.KeepAlive > 65535*time.Second {
		return fmt.Errorf("keep_alive: %v is above %v", c.KeepAlive, 65535*time.Second)
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = DefaultQueueBytes
	}
	if c.MaxPayload <= 0 {
		c.MaxPayload = DefaultMaxPayload
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s.log = c.Log.With("source", c.Name)
	return nil
}

// Name returns the source's name.
func (s *Source) Name() string { return s.cfg.Name }

// Ready returns a channel that is closed once the broker has granted every filter for the first time; [Stats] says
// whether they stand now.
func (s *Source) Ready() <-chan struct{} { return s.ready }

// Stats returns a consistent snapshot.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.InFlight = len(s.unacked)
	st.QueuedBytes = s.reserved
	return st
}

// Run connects, and keeps connecting, until ctx ends; then it takes nothing more, waits a while for what the sink has
// taken to become durable, acknowledges that, disconnects and returns nil. It fails only when the sink refuses a
// message for good. It is called once. Messages that the sink settles after Run has returned stay unacknowledged; the
// broker delivers them again.
func (s *Source) Run(ctx context.Context, sink sensors.Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	var refused error
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		defer cancel() // without a sink there is nothing to stay connected for
		refused = s.pump(ctx, sink)
	}()
	s.keepConnected(ctx, pumped)
	<-pumped
	s.flush(sink)
	s.tellDrops(true)
	return refused
}

// keepConnected returns when ctx has ended and the last connection is closed.
func (s *Source) keepConnected(ctx context.Context, pumped <-chan struct{}) {
	var (
		attempt int       // since a connection last stood for a while
		told    int       // attempts since the log last said so
		reason  string    // what it said
		since   time.Time // when the broker went away
	)
	for {
		l, err := s.connect(ctx)
		if err == nil {
			began := time.Now()
			if told > 0 {
				s.log.Info("the broker is back", "after", began.Sub(since).Round(time.Second), "attempts", told)
			}
			told, reason = 0, ""
			err = l.serve(ctx)
			if ctx.Err() != nil {
				s.drain(l, pumped)
				l.end()
				return
			}
			l.end()
			since = time.Now()
			if since.Sub(began) > s.cfg.BackoffMax {
				attempt = 0
			}
		}
		if ctx.Err() != nil {
			return
		}
		if since.IsZero() {
			since = time.Now()
		}
		s.mu.Lock()
		s.stats.LastError = err.Error()
		s.mu.Unlock()

		wait := s.backoff(attempt)
		attempt++
		told++
		// A broker that is down for a week is told of a dozen times, and a new reason at once. What follows the colon
		// has ports in it that change.
		if r, _, _ := strings.Cut(err.Error(), ": "); r != reason || told&(told-1) == 0 {
			reason = r
			s.log.Warn("no connection to the broker, waiting for it", "err", err, "attempt", told, "again_in", wait.Round(time.Millisecond))
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// backoff returns how long to wait before attempt n, counted from 0: doubling, and spread, so that the gateways of a
// plant do not all knock at once when their broker comes back.
func (s *Source) backoff(n int) time.Duration {
	d := s.cfg.BackoffMax
	if n < 30 {
		d = min(d, s.cfg.BackoffMin<<n)
	}
	if d <= 0 {
		d = s.cfg.BackoffMax
	}
	return d/2 + time.Duration(s.cfg.Jitter()*float64(d))
}

// subscription returns the index of the first configured subscription that covers the topic, or −1.
func (s *Source) subscription(topic string) int {
	for i := range s.filters {
		if s.filters[i].Matches(topic) {
			return i
		}
	}
	return -1
}
