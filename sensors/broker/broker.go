// Package broker is the embedded MQTT broker, to which devices publish straight at the gateway: its acknowledgement
// means "on disk".
//
// It owns the listeners, who may come in and what with (the users file), the publisher's side of the protocol, and
// what of it must be remembered between two connections of one client. It does not own the disk (that is the
// [sensors.Sink]) nor what a payload means (that is [Config.Decode]).
//
// Package mqttwire reads and writes the packets; what they mean to each other is here.
//
// # One message
//
//	reader      PUBLISH ─▶ allowed? seen before? ─▶ queue of acknowledgements owed ─▶ Sink.Put
//	committer   Done(nil) ─▶ mark it durable ─▶ start the connection's writer, unless it runs ─▶ fan-out queue
//	writer      the durable head of the queue, as one write: PUBACK, PUBREC, in the order of arrival
//	fan-out     one goroutine, best effort: retained messages, and the sessions that subscribed
//	writer      acknowledgements first, then what waits for the client as far as its window goes, as one write
//
// The committer is never kept waiting: by no socket, no queue that is full, no lock that is held during I/O.
//
// # Locks
//
// In this order, and none while something is read from or written to a socket: Broker.mu (who is there), tree.mu (who
// subscribed to what), session.mu (what one client is owed and what it owes). Only conn.sending is held during a write.
//
// # What survives a restart
//
// Sessions, retained messages, subscriptions and what is queued for subscribers live in memory, and are written down beside
// it where [Config.Subscribers] says: see kept. What a publisher repeats after a restart is kept, with the flag Redelivered,
// since nothing tells for certain whether it is a repetition. Messages are passed on to subscribers after the commit: one
// that does not keep up, or is offline beyond what its session may hold, loses some. The chain has them all.
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// Kind is how a listener speaks.
type Kind string

// The kinds of listeners.
const (
	TCP Kind = "tcp"
	TLS Kind = "tls"
	WS  Kind = "ws"  // MQTT over WebSocket
	WSS Kind = "wss" // MQTT over WebSocket over TLS
)

// Where a listener listens if its address is empty.
const (
	DefaultTCP = "127.0.0.1:1883"
	DefaultTLS = "127.0.0.1:8883"
	DefaultWS  = "127.0.0.1:8083"
	DefaultWSS = "127.0.0.1:8084"
)

// Listener is one place where clients come in.
type Listener struct {
	Kind    Kind
	Address string // host:port; "" is the kind's default, port 0 any free one

	// Anonymous lets in clients that name no user. It is refused unless Address is on a loopback interface.
	Anonymous bool
}

// Decode makes the message of what a client published: payload, flags and readings. The broker fills in source,
// time of arrival, the flags that it gave, and Done. user is "" for an anonymous client, clientID for one that named none. It is called from many
// goroutines at once, and may keep payload.
type Decode func(topic, clientID, user string, flags lightchain.Flags, payload []byte, received time.Time) *sensors.Message

// Limits are what clients may cost; of each, 0 is the default. They can change while the broker runs: see [Broker.SetLimits].
type Limits struct {
	MaxClients  int // connected at one time
	MaxPacket   int // bytes of one MQTT packet; the default is also the most
	MaxInFlight int // QoS 1 and 2 messages of one client not yet acknowledged, at most 65,535
	// Rate is how many messages a second are recorded of one client, on average; 0 is any number. Its socket is not read while it
	// is beyond that, and what of that comes with QoS 0 is lost. It holds for clients that are connected, too.
	Rate int

	// MaxKeepAlive is the longest keep-alive, in seconds at most 65,535. A client of MQTT 5 that asks for more, or for none, is
	// told so; one before has no ear for that, and keeps what it asked for. 0: none.
	MaxKeepAlive time.Duration
	// MaxIdle is for how long a client that asks for no keep-alive may send nothing before its connection is closed. 0: for
	// ever. One of MQTT 5 is told a keep-alive instead.
	MaxIdle time.Duration
}

// Config is what a [Broker] needs. Listeners and Decode must be given; for all else the zero value works.
type Config struct {
	Listeners []Listener
	TLS       *tls.Config // for the kinds TLS and WSS: see [Certificate]
	Users     string      // path of the users file, described at [ParseUsers]; "" where there are only anonymous clients
	Passwords string      // instead of Users: path of a password_file of Mosquitto's
	ACL       string      // beside Passwords: path of an acl_file of Mosquitto's; "" lets every user do everything
	Decode    Decode

	// CertificateUser says which name in the certificate that a client shows is its user, [UserFromCN] or [UserFromSAN],
	// whatever user its CONNECT names: no password is wanted then. "": certificates name nobody.
	CertificateUser string

	// PassOn says of a topic that its messages are passed on to subscribers and never recorded: the gateway's own
	// traffic with its aggregators, where that goes through this broker, and what nobody wants recorded. What counts each that
	// is taken may be nil. nil: everything is recorded.
	PassOn func(topic string) (pass bool, count func())

	// Passed is told of each message of a client's when it is passed on, and is what the broker keeps if it is retained. It must
	// not block. It may be nil.
	Passed func(topic string, payload []byte)

	// Lost is told of messages that came with QoS 0 beyond the rate that a client has: how many, and why. It must not block.
	// It may be nil.
	Lost func(n int, why string)

	// Exceeded is told the topic of each of these at once, and nothing else of it is known. It must not block. It may be nil.
	Exceeded func(topic string)

	// Subscribers is where the broker keeps what subscribers are to find again after a restart; nil: in memory alone.
	Subscribers *Subscribers

	Limits

	Bounds Bounds

	// WriteTimeout is how long a client may leave a write unread before it is disconnected; 0 is 10 s.
	WriteTimeout time.Duration

	// Grace is how long Run, once its context has ended, waits for what was taken to become durable so that it can
	// be acknowledged; 0 is 5 s.
	Grace time.Duration

	Now func() time.Time // the clock on the wall, for when a message arrived and for what is written; nil is [time.Now]. Deadlines and time-outs do not use it
	Log *slog.Logger     // nil is no log
}

// Bounds is what clients may cost together, for as long as the broker runs; of each, 0 is the default.
type Bounds struct {
	Reading       int // bytes of packets above 16 KiB that are being read, from all clients
	Retained      int // bytes of retained messages
	Queue         int // bytes of messages that wait for one session
	Queued        int // bytes of those that wait for all
	Sessions      int // kept, connected or not; by default four for each client that may be connected
	Subscriptions int // of one client
	PerAddress    int // clients connected from one address, those not counted that have a session; by default any number
}

// DefaultLimits are the defaults of what a client may cost, and DefaultBounds those of what all may together: they fit a board of
// 512 MB.
var (
	DefaultLimits = Limits{MaxClients: 256, MaxPacket: maxPacket, MaxInFlight: 1024}
	DefaultBounds = Bounds{Reading: 48 << 20, Retained: 32 << 20, Queue: 8 << 20, Queued: 48 << 20, Subscriptions: 4096}
)

// The largest packet that entries may come in, and limits that nobody had a reason to change.
const (
	maxPacket       = 16 << 20
	maxConnect      = 256 << 10        // bytes of a CONNECT, before anybody has shown who he is
	connectTimeout  = 30 * time.Second // from the connection until its CONNECT has been read
	maxClientID     = 256              // bytes
	topicAliasMax   = 64               // of a client of MQTT 5, for what it publishes
	maxAliasBytes   = 64 << 10         // of the topics that they stand for
	sessionExpiry   = 7 * 24 * 3600    // seconds that a session is kept at most, and that of a client of MQTT 3.1.1, which names no such time
	sysInterval     = 10 * time.Second // between two publications of $SYS
	maxRetained     = 10_000           // topics with a retained message
	maxOutbound     = 1024             // messages waiting for one subscriber, and as many on their way to it
	maxFilterBytes  = 256 << 10        // of one client's subscriptions
	maxFilterLevels = 128              // of one filter
	maxLevels       = 32 << 10         // of one client's filters
	maxWildLevels   = 4096             // of these, + and those behind it
	allFilterBytes  = 16 << 20         // of all clients' subscriptions; beyond them a client gets ownFilterBytes
	allLevels       = 128 << 10        // of all clients' filters; beyond them a client gets ownLevels
	allWildLevels   = 32 << 10         // of these, + and those behind it; beyond them a client gets ownWildLevels
	ownFilterBytes  = 4 << 10          // of its subscriptions
	ownLevels       = 64               // of its filters
	ownWildLevels   = 32               // of these, + and those behind it
	maxUnreleased   = 8192             // QoS 2 ids that one client has not released
	allUnreleased   = 64 << 10         // that all have not; beyond them a client gets ownUnreleased
	ownUnreleased   = 64               // of its own
	maxHandshaking  = 64               // connections that may be on their way to a CONNACK
	sessionsPerSlot = 4                // kept, for each client that may be connected
	reservedClients = 32               // beyond MaxClients, for clients that have a session
)

// Broker is the embedded broker.
type Broker struct {
	cfg  Config
	log  *slog.Logger
	seed maphash.Seed // of the digests by which a repetition is recognised; never leaves the process

	users  atomic.Pointer[Users] // nil where no file is configured
	bcrypt chan struct{}         // a slot for each password check that may run at once: each is a tenth of a second of CPU

	ready chan struct{} // closed when all listeners listen
	addrs []net.Addr    // as Config.Listeners; written before ready closes

	sink sensors.Sink // set by Run before anything else starts, once it listens
	run  context.Context

	stopping chan struct{} // closed when Run's context has ended: nothing more is taken
	owed     atomic.Int64  // messages in the sink whose Done has not been called
	held     atomic.Int64  // QoS 2 messages whose ids sessions hold
	settled  chan struct{} // has room for one; told when owed becomes 0

	readers sync.WaitGroup // one for each of conns

	mu          sync.Mutex
	limits      Limits             // of the next connections
	closed      bool               // no connection is added any more
	conns       map[*conn]struct{} // all
	strangers   []place            // of those of conns that have had no CONNACK, and of visitors, the oldest first
	free        chan struct{}      // closed when one of all places becomes free, and made anew
	clients     int                // those of conns that have
	replaced    int                // those of conns whose session a newer one has taken over
	mostClients int
	addresses   map[string]int      // clients connected, by address
	sessions    map[string]*session // by client id
	paces       map[client]*pace    // of clients without a session; guarded as the sessions are
	wills       map[string]*will    // by client id: those that wait out their delay
	dueWills    []*will             // those that have, in that order
	willBytes   int                 // of both
	checking    map[string]int      // by address: clients that wait for their password to be checked

	bound  map[int]net.Listener // by number in Config.Listeners; the goroutine's that makes b run
	before *Broker              // that b takes the place of; nil once Run has begun, or if there is none
	unkept error                // why nothing is kept for subscribers though it should be

	kept     *kept         // nil: nothing is; written by Run before anything else starts
	willDue  chan struct{} // has room for one; told when dueWills has become longer
	tree     tree
	retained retained
	reading  reading
	fanout   fanout
	outBytes atomic.Int64 // that wait for subscribers
	told     told
	losses   losses
	exceeded exceeded
	rate     atomic.Int64 // [Limits.Rate]
	stats    counters
	started  time.Time
}

// New checks the configuration and reads the users file. It starts nothing and opens no socket.
func New(cfg Config) (*Broker, error) {
	cfg.setDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	b := &Broker{
		cfg:      cfg,
		log:      cfg.Log,
		seed:     maphash.MakeSeed(),
		bcrypt:   make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		ready:    make(chan struct{}),
		stopping: make(chan struct{}),
		free:     make(chan struct{}),
		settled:  make(chan struct{}, 1),
		conns:    make(map[*conn]struct{}),
		sessions: make(map[string]*session),
		paces:    make(map[client]*pace),
		wills:    make(map[string]*will),
		checking: make(map[string]int),

		addresses: make(map[string]int),
		bound:     make(map[int]net.Listener),

		willDue:  make(chan struct{}, 1),
		retained: retained{byTopic: make(map[string]*forward), most: cfg.Bounds.Retained},
		reading:  newReading(cfg.Bounds.Reading),
		tree:     tree{most: cfg.Bounds.Subscriptions},
		fanout:   fanout{queue: make(chan *forward, fanoutMessages)},
		told:     told{log: cfg.Log},
		started:  time.Now(),
		limits:   cfg.Limits,
	}
	b.rate.Store(int64(cfg.Rate))
	if err := b.Reload(); err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	return b, nil
}

func (cfg *Config) setDefaults() {
	cfg.Listeners = slices.Clone(cfg.Listeners)
	defaults := map[Kind]string{TCP: DefaultTCP, TLS: DefaultTLS, WS: DefaultWS, WSS: DefaultWSS}
	for i := range cfg.Listeners {
		if l := &cfg.Listeners[i]; l.Address == "" {
			l.Address = defaults[l.Kind]
		}
	}
	cfg.Limits.setDefaults()
	cfg.WriteTimeout = orDefault(cfg.WriteTimeout, 10*time.Second)
	cfg.Grace = orDefault(cfg.Grace, 5*time.Second)
	m, d := &cfg.Bounds, &DefaultBounds
	m.Reading = orDefault(m.Reading, d.Reading)
	m.Retained = orDefault(m.Retained, d.Retained)
	m.Queue = orDefault(m.Queue, d.Queue)
	m.Queued = orDefault(m.Queued, d.Queued)
	m.Subscriptions = orDefault(m.Subscriptions, d.Subscriptions)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
}

func (l *Limits) setDefaults() {
	d := &DefaultLimits
	l.MaxClients = orDefault(l.MaxClients, d.MaxClients)
	l.MaxPacket = orDefault(l.MaxPacket, d.MaxPacket)
	l.MaxInFlight = orDefault(l.MaxInFlight, d.MaxInFlight)
}

func (l *Limits) check() error {
	switch {
	case l.MaxPacket < 0 || l.MaxPacket > maxPacket:
		return fmt.Errorf("packets of %d bytes: expected 1 to %d", l.MaxPacket, maxPacket)
	case l.MaxClients < 0:
		return fmt.Errorf("%d clients: expected 1 or more", l.MaxClients)
	case l.MaxKeepAlive != 0 && (l.MaxKeepAlive < time.Second || l.MaxKeepAlive > 65_535*time.Second):
		return fmt.Errorf("a keep-alive of %v: expected 1 to 65535 seconds, or 0 for any", l.MaxKeepAlive)
	case l.MaxIdle != 0 && l.MaxIdle < time.Second:
		return fmt.Errorf("connections that are idle for %v: expected a second or more, or 0 for any time", l.MaxIdle)
	case l.Rate < 0:
		return fmt.Errorf("%d messages a second: expected 0 or more", l.Rate)
	case l.MaxInFlight < 0 || l.MaxInFlight > 65_535:
		return fmt.Errorf("%d messages in flight: expected 1 to 65535", l.MaxInFlight)
	}
	return nil
}

func orDefault[T int | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

func (cfg *Config) check() error {
	switch {
	case len(cfg.Listeners) == 0:
		return errors.New("no listener")
	case cfg.Decode == nil:
		return errors.New("no decoder")
	case cfg.CertificateUser != "" && cfg.Users == "" && cfg.Passwords == "":
		return errors.New("users from certificates: there is no file that says what they may do")
	}
	if err := cfg.Limits.check(); err != nil {
		return err
	}
	for _, l := range cfg.Listeners {
		if err := cfg.checkListener(l); err != nil {
			return fmt.Errorf("listener %s %s: %w", l.Kind, l.Address, err)
		}
	}
	return nil
}

func (cfg *Config) checkListener(l Listener) error {
	switch l.Kind {
	case TCP, WS:
	case TLS, WSS:
		if cfg.TLS == nil {
			return errors.New("it needs a certificate")
		}
	default:
		return fmt.Errorf("unknown kind %q: expected tcp, tls, ws or wss", l.Kind)
	}
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return fmt.Errorf("%w: expected HOST:PORT", err)
	}
	if l.Anonymous && !isLoopback(host) {
		return errors.New("anonymous clients are let in on a loopback address only: name a users file, or listen on 127.0.0.1")
	}
	if !l.Anonymous && cfg.Users == "" && cfg.Passwords == "" {
		return errors.New("nobody could come in: it takes no anonymous clients, and there is no file of users")
	}
	return nil
}

// isLoopback tells only what is certain without asking a name server.
func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Ready is closed once all listeners listen.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// Addrs returns where the listeners listen, in the order of [Config.Listeners]. It may be called once Ready is closed.
func (b *Broker) Addrs() []net.Addr { return slices.Clone(b.addrs) }

// Reload reads the users file again. Sessions stay: new rules hold from the next message on, new passwords from the
// next connection. If the file has an error, all stays as it was.
func (b *Broker) Reload() error {
	apply, err := b.ReadUsers()
	if err == nil {
		apply()
	}
	return err
}

// ReadUsers is the first half of [Broker.Reload]: it reads the file, and changes nothing. What it returns brings that into
// force.
func (b *Broker) ReadUsers() (apply func(), err error) {
	var u *Users
	switch {
	case b.cfg.Passwords != "":
		u, err = readMosquitto(b.cfg.Passwords, b.cfg.ACL)
	case b.cfg.Users != "":
		u, err = readUsers(b.cfg.Users)
	default:
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	return func() { b.users.Store(u) }, nil
}

// SetLimits changes what clients may cost, with zeros as in [Config]. No connection and no session ends by it: whoever is
// connected keeps the limits that it was told, all but the rate, and where more are connected than may be the next ones are refused.
func (b *Broker) SetLimits(l Limits) error {
	l.setDefaults()
	if err := l.check(); err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limits = l
	b.rate.Store(int64(l.Rate))
	return nil
}

// Run listens, and gives to sink what clients publish, until ctx ends. Then it takes nothing more, waits up to
// [Config.Grace] for what it took to become durable, sends the acknowledgements that are owed, and disconnects all
// clients; wills are not published. If a listener cannot be opened it returns a [ListenError], has begun nothing, and may
// be called again; else it runs once.
func (b *Broker) Run(ctx context.Context, sink sensors.Sink) error {
	listeners, err := b.listen(ctx)
	if err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	// What was being put when ctx ended may still be taken within the grace.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	b.sink, b.run = sink, run
	if from := b.predecessor(); from != nil {
		if err := b.cfg.Subscribers.clean(); err != nil {
			b.log.Warn("failed to remove what was kept for subscribers", "err", err)
		}
		b.load()
		b.inherit(from)
	} else {
		b.load()
	}
	b.publishSys()

	var background sync.WaitGroup
	background.Go(func() { b.passOn(run) })
	background.Go(func() { b.housekeeping(run.Done()) })
	background.Go(func() { b.publishWills(run) })
	for _, l := range listeners {
		background.Go(l.serve)
		b.log.Info("listening for MQTT", "kind", l.Kind, "address", l.ln.Addr().String())
	}
	close(b.ready)

	<-ctx.Done()
	close(b.stopping)
	for _, l := range listeners {
		l.close()
	}
	b.settle()
	b.disconnectAll()
	cancel()
	b.readers.Wait()
	background.Wait()
	b.losses.tell(b.log, time.Now(), true)
	b.tellExceeded(time.Now(), true)
	b.kept.close()
	return nil
}

// settle waits until nothing is owed, or the grace is over.
func (b *Broker) settle() {
	over := time.NewTimer(b.cfg.Grace)
	defer over.Stop()
	for b.owed.Load() > 0 {
		select {
		case <-b.settled:
		case <-over.C:
			b.log.Warn("stopping with messages that are not on disk: they stay unacknowledged", "messages", b.owed.Load())
			return
		}
	}
	if b.kept != nil {
		select {
		case <-b.kept.ids.Written(): // some PUBRECs wait for that
		case <-over.C:
		}
	}
}

// disconnectAll closes all connections, after the acknowledgements that may go out. No DISCONNECT says why, as none of
// Mosquitto's does: libmosquitto takes 0x8b for the end, and its clients do not come back, where they do after a connection that
// breaks.
func (b *Broker) disconnectAll() {
	b.mu.Lock()
	b.closed = true
	conns := slices.Collect(maps.Keys(b.conns))
	b.mu.Unlock()
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			if c.established.Load() {
				c.drain()
			}
			c.Close()
		})
	}
	wg.Wait()
}
