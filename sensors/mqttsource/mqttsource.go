// Package mqttsource takes in the messages of an MQTT broker that the plant already runs. Each [Source] is one
// connection under one client id with a persistent session (MQTT 3.1.1, through paho); it hands messages to a
// [sensors.Sink] and acknowledges each to the broker only after the sink has called it durable, in the order of
// arrival. It owns everything about delivery. It does not own how a connection comes about (package mqttconn), what a
// payload means (the caller's Decode says that), nor the disk.
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
// It piles up in the session that the broker keeps for this client. A broker that knows none any more, since it was
// started again without its memory or threw the session away, has lost what was in it: that is reported too, and that
// nobody can tell how much it was. That the broker knows a session does not show that it is the one of before where a
// CONNECT got no answer, which may have begun it: such a session is doubtful, and that is reported, unless the first that it
// delivers is something again, before a filter can have been granted in a new one.
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
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// Defaults of [Config].
const (
	DefaultDrainTimeout = 5 * time.Second
	DefaultQueueBytes   = 256 << 10
	DefaultMaxPayload   = 1 << 20
)

// Config says what a Source connects to. Name, Servers, Subscriptions and one of ClientID and Gateway are needed; the
// zero value of all else works.
type Config struct {
	// Config is the broker. Its Name is the source's too, as it stands in the entries it makes ("mqtt:<name>:<topic>").
	mqttconn.Config
	mqttconn.Options

	Gateway string // for a ClientID that is not given: "edgechain-<Gateway>-<Name>"

	Subscriptions []Subscription

	// DrainTimeout is how long Run, told to end, waits for what it handed over to become durable, and then for the broker to
	// take the last acknowledgements.
	DrainTimeout time.Duration

	// QueueBytes bounds what this source holds of messages that the sink did not yet take; one larger message may
	// stand there alone.
	QueueBytes int

	// MaxPayload is the size in bytes above which a payload is replaced by its SHA-256 while it is being read, and
	// flagged [lightchain.PayloadHashed]. It protects memory; a caller that wants to decode large payloads and keep
	// only their hash leaves it above its own limit.
	MaxPayload int

	// IgnoreDrops leaves the broker's $SYS counter of dropped messages unwatched.
	IgnoreDrops bool

	// Ignored says of a topic that its messages are acknowledged and go no further: the program's own, which come back
	// where a filter covers them. nil: none are.
	Ignored func(topic string) bool

	// Unwanted says of a topic that its messages are acknowledged and go no further, since nobody wants them recorded. It is
	// asked once for each message, which it may count. nil: all are wanted.
	Unwanted func(topic string) bool

	// Rate is how many messages a second go to the sink, on average; 0 is any number. What is beyond it comes later, and what
	// of that came with QoS 0 never. It can change: see [Source.SetRate].
	Rate int

	// Exceeded is told the topic of each of those that never come, replays not among them, in the order in which Decode is asked.
	// nil: nobody is.
	Exceeded func(topic string)

	// Lost is told of messages that are missing, for the chain to say so: how many at most, 0 where nobody can tell,
	// and why. It must not block. It may be nil.
	Lost func(n int, why string)

	// Held returns the filters that the session at the broker may hold, of this run or another. What of them is in no
	// subscription any more the broker is told to forget. nil: nobody knows of any.
	Held func() []string
	// Hold is told which filters the session may hold from now on: before the broker is asked for one, and when it has
	// forgotten those that are gone. It must not block for long. It may be nil.
	Hold func(filters []string)

	// Session returns what was noted last, by another source with this client id or in another run of the program: if the broker
	// kept a session then and knows none now, what it kept meanwhile is lost. Run asks it, once. nil: nothing was.
	Session func() Session
	// NoteSession is told when that changes, for Session of the next run. It must not block for long. It may be nil.
	NoteSession func(Session)

	// Presence is where the source says whether it is connected; nil: nowhere.
	Presence *Presence
}

// Session is what a source knows of the session that the broker keeps for it.
type Session byte

const (
	SessionNone     Session = iota // no filter was granted yet: nothing was promised, and nothing can be lost
	SessionKept                    // the broker keeps one, with what it granted of the filters
	SessionDoubtful                // it may have lost it, and not all that may be lost by that is told yet
)

// Presence is a retained message with QoS 1 that says whether a source is connected: the broker publishes it as a will.
type Presence struct {
	Topic string
	// Says returns it. since is when the connection was begun, for its will and for what is said once all filters are granted; at
	// an orderly end it is that moment.
	Says func(online bool, since time.Time) []byte
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
	Ignored     int64 // the program's own, come back
	Unwanted    int64 // not wanted by the configuration
	Slowed      int64 // went to the sink later than they came, because of the rate
	Exceeded    int64 // came with QoS 0 beyond the rate, and are lost
	Lost        int64 // given up here: with QoS 0, not yet handed over when the program ended
	Dropped     int64 // what the broker's counter rose by; for any of its clients

	Pauses       int64 // times that reading stopped for want of room
	PingsCovered int64 // pings answered by the gate while it did

	InFlight     int       // messages that came with QoS 1 or 2 and are not acknowledged
	QueuedBytes  int       // read, and not yet taken by the sink
	Connected    bool      // now
	Subscribed   bool      // connected, and every filter granted
	Refused      []string  // filters that the broker refuses on this connection
	RefusedSince time.Time // when it began to
	mqttconn.Status
}

// Source is one broker's messages on their way to the sink.
type Source struct {
	cfg     Config
	broker  *mqttconn.Broker
	filters []mqttwire.Filter // one for each of cfg.Subscriptions
	log     *slog.Logger
	ready   chan struct{} // closed when every filter has been granted once

	mu       sync.Mutex
	room     *sync.Cond                    // on mu: room in the queue, a ping to cover, or the end
	stats    Stats                         // under mu; InFlight, QueuedBytes and Status are filled in by Stats
	topics   map[string]string             // sources by topic; see named
	queue    fifo[*delivery]               // under mu: for the pump, in order of arrival
	reserved int                           // under mu: bytes of PUBLISH packets let through the gate and not yet taken by the sink
	open     int                           // under mu: messages that the sink took and did not settle
	stopping bool                          // under mu: no PUBLISH passes the gate any more
	unacked  map[uint16]*delivery          // under mu: by packet id, those whose acknowledgement never went to a socket
	replays  map[lightchain.Hash]*delivery // under mu: retained messages seen; nil once durable
	drops    drops                         // under mu
	exceeded report                        // under mu: of messages beyond the rate
	rate     atomic.Int64                  // [Config.Rate]
	pace     sensors.Pace                  // the pump's
	kept     Session                       // under mu
	noted    Session                       // under mu: what NoteSession was told last
	told     *link                         // under mu: the connection on which it was told that the session is lost; nil: none, since it was kept
	asking   *link                         // under mu: the first one that asked for filters since the session is doubtful; nil: none
	wake     chan struct{}                 // for the pump, capacity 1: the queue is not empty
	idle     chan struct{}                 // for drain, capacity 1: open fell
	late     chan struct{}                 // for tellLate, capacity 1: losses wait to be reported
	speaking *link                         // under mu: the connection on which all filters are granted; nil: none
}

// New checks the configuration. It opens no connection.
func New(cfg Config) (*Source, error) {
	if err := mqttconn.CheckName(cfg.Name); err != nil {
		return nil, fmt.Errorf("name %q: %w", cfg.Name, err)
	}
	s := &Source{
		cfg:     cfg,
		ready:   make(chan struct{}),
		topics:  make(map[string]string),
		unacked: make(map[uint16]*delivery),
		replays: make(map[lightchain.Hash]*delivery),
		wake:    make(chan struct{}, 1),
		idle:    make(chan struct{}, 1),
		late:    make(chan struct{}, 1),
	}
	s.rate.Store(int64(cfg.Rate))
	s.room = sync.NewCond(&s.mu)
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("source %s: %w", cfg.Name, err)
	}
	return s, nil
}

// ClientID returns the client id under which a source appears, made from the gateway where none is configured.
func ClientID(c *mqttconn.Config, gateway string) string {
	if c.ClientID == "" && gateway != "" {
		return "edgechain-" + gateway + "-" + c.Name
	}
	return c.ClientID
}

func (s *Source) check() error {
	c := &s.cfg
	c.ClientID = ClientID(&c.Config, c.Gateway)
	if len(c.Subscriptions) == 0 {
		return errors.New("subscriptions: there is none, nothing would arrive")
	}
	for _, sub := range c.Subscriptions {
		f, err := mqttwire.ParseFilter(sub.Filter)
		if err != nil {
			return fmt.Errorf("subscriptions: %w", err)
		}
		if sub.QoS > 2 {
			return fmt.Errorf("subscriptions: %q: QoS %d: it is 0, 1 or 2", sub.Filter, sub.QoS)
		}
		s.filters = append(s.filters, f)
	}
	if c.DrainTimeout < 0 {
		return fmt.Errorf("drain_timeout: %v is below 0", c.DrainTimeout)
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = DefaultDrainTimeout
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = DefaultQueueBytes
	}
	if c.MaxPayload <= 0 {
		c.MaxPayload = DefaultMaxPayload
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("source", c.Name)
	s.log = c.Log
	var err error
	s.broker, err = mqttconn.New(&c.Config, &c.Options)
	return err
}

// Name returns the source's name.
func (s *Source) Name() string { return s.cfg.Name }

// Ready returns a channel that is closed once the broker has granted every filter for the first time; [Stats] says
// whether they stand now.
func (s *Source) Ready() <-chan struct{} { return s.ready }

// SetRate changes [Config.Rate], which holds from the next message on.
func (s *Source) SetRate(rate int) { s.rate.Store(int64(rate)) }

// Stats returns a consistent snapshot.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.InFlight = len(s.unacked)
	st.QueuedBytes = s.reserved
	st.Status = s.broker.Status()
	return st
}

// Run connects, and keeps connecting, until ctx ends; then it takes nothing more, waits a while for what the sink has
// taken to become durable, acknowledges that, disconnects and returns nil. It fails only when the sink refuses a
// message for good. It is called once. Messages that the sink settles after Run has returned stay unacknowledged; the
// broker delivers them again.
func (s *Source) Run(ctx context.Context, sink sensors.Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.recall()

	var refused error
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		defer cancel() // without a sink there is nothing to stay connected for
		refused = s.pump(ctx, sink)
	}()
	late := make(chan struct{})
	go func() {
		defer close(late)
		s.tellLate(ctx)
	}()
	s.broker.Keep(ctx, func(ctx context.Context, dial mqttconn.Dial) error { return s.session(ctx, dial, pumped) })
	<-pumped
	<-late
	s.flush(sink)
	s.tellDrops(true)
	s.tellExceeded(true)
	return refused
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
