package mqttsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// link is one connection, from dialling to its end, with a paho client of its own: what paho remembers across
// reconnections of one client is nothing that we need, and what it does at such moments is hard to foresee.
type link struct {
	source *Source
	client mqtt.Client
	server *url.URL
	gate   *gate         // set while connecting, by paho's goroutine, before anything is read
	lost   chan error    // capacity 1: paho's reason, once it has noticed the end and called its last handler
	wake   chan struct{} // capacity 1: for the acknowledging goroutine
	acking chan struct{} // closed when that goroutine has ended

	// Under source.mu.
	closed bool      // nothing is read or acknowledged here any more
	frames []frame   // the PUBLISH packets that passed the gate and did not reach the handler
	order  []*ticket // acknowledgements owed to the broker, in the order its messages came
	last   bool      // no more will become due: the acknowledging goroutine ends when it has written what is
	asked  int       // filters in the SUBSCRIBE that is under way
	pinged bool      // a ping of paho's has no answer yet
	paused bool      // the gate holds a PUBLISH back
	ending bool      // the gate discards every PUBLISH: those with QoS 1 and 2 come again
	slow   bool      // and a ping had to be covered meanwhile
}

// frame is what the gate tells the handler of a PUBLISH: paho passes them on in order, one handler call for each.
type frame struct {
	size   int
	hashed bool
}

var (
	errClosed = errors.New("the connection is closed")
)

// connect tries each server once.
func (s *Source) connect(ctx context.Context) (*link, error) {
	var failed []error
	for _, server := range s.servers {
		l, err := s.dial(ctx, server)
		if err == nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		s.mu.Lock()
		s.stats.Failures++
		s.mu.Unlock()
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

func (s *Source) dial(ctx context.Context, server *url.URL) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout)
	defer cancel()
	tlsConfig, err := s.tlsConfig(server)
	if err != nil {
		return nil, err
	}
	l := &link{
		source: s,
		server: server,
		lost:   make(chan error, 1),
		wake:   make(chan struct{}, 1),
		acking: make(chan struct{}),
	}
	var reached error                      // what the network said, before MQTT could
	settled := func() bool { return true } // keeps the end of ctx from closing the connection
	opt := mqtt.NewClientOptions().
		SetClientID(s.cfg.ClientID).
		SetUsername(s.cfg.User).
		SetPassword(s.cfg.Password).
		SetProtocolVersion(4).
		SetCleanSession(false).
		SetKeepAlive(s.cfg.KeepAlive).
		SetPingTimeout(s.cfg.KeepAlive / 2).
		SetConnectTimeout(s.cfg.ConnectTimeout).
		SetWriteTimeout(s.cfg.ConnectTimeout). // for handing over a SUBSCRIBE too
		SetAutoReconnect(false).
		SetOrderMatters(true).
		SetAutoAckDisabled(true).
		SetStore(forgetful{}).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { l.receive(m) }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { l.lost <- err }).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			conn, err := open(ctx, server, tlsConfig, s.cfg.ConnectTimeout)
			if err != nil {
				reached = err
				return nil, err
			}
			l.gate = newGate(conn, l, s.cfg.ConnectTimeout)
			settled = context.AfterFunc(ctx, func() { l.gate.drop(context.Cause(ctx)) })
			return l.gate, nil
		})
	opt.Servers = []*url.URL{server}
	l.client = mqtt.NewClient(opt)

	token := l.client.Connect()
	token.Wait()
	settled()
	if err := token.Error(); err != nil {
		return nil, s.explain(server, reached, err)
	}
	return l, nil
}

// explain says what an operator can do about a connection that did not come about.
func (s *Source) explain(server *url.URL, reached, err error) error {
	switch {
	case reached != nil:
		return fmt.Errorf("%s is not reached: %w", server, s.explainTLS(reached))
	case errors.Is(err, packets.ErrorRefusedNotAuthorised), errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword):
		if s.cfg.User == "" {
			return fmt.Errorf("%s answers, and refuses a client without user and password: %w", server, err)
		}
		return fmt.Errorf("%s answers, and refuses user %q with this password: %w", server, s.cfg.User, err)
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		return fmt.Errorf("%s answers, and refuses client id %q: %w", server, s.cfg.ClientID, err)
	case errors.Is(err, packets.ErrorNetworkError):
		return fmt.Errorf("%s accepts the connection, and gives no MQTT answer: %w", server, err)
	}
	return fmt.Errorf("%s answers, and refuses: %w", server, err)
}

// begin is called when the broker has accepted, before anything that it sends is seen.
func (l *link) begin(present bool) {
	s := l.source
	s.mu.Lock()
	defer s.mu.Unlock()
	if !present {
		// Another session: its packet ids start anew, and nothing of the old one will come again.
		clear(s.unacked)
	}
	s.stats.Connections++
	s.stats.Connected = true
	s.stats.Server = l.server.String()
	s.stats.LastError = ""
}

// serve subscribes, and returns when the connection is lost or ctx ends.
func (l *link) serve(ctx context.Context) error {
	go l.acknowledge()
	l.source.log.Info("connected to the broker", "server", l.server.Redacted(), "client_id", l.source.cfg.ClientID)
	wanted := make(map[string]byte)
	for _, sub := range l.source.cfg.Subscriptions {
		wanted[sub.Filter] = max(wanted[sub.Filter], sub.QoS)
	}
	for level := slog.LevelError; ; level = slog.LevelDebug {
		refused, err := l.subscribe(ctx, wanted, level)
		if err != nil {
			return err
		}
		var again <-chan time.Time
		if len(refused) > 0 {
			// The others go on; the rules at the broker may be mended while we are connected.
			again = time.After(l.source.cfg.BackoffMax)
			wanted = refused
		} else {
			l.subscribed()
			if err := l.watchDrops(ctx); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.gate.ended:
			return l.ended()
		case <-again:
		}
	}
}

// ended says why a connection ended on which nothing can be read any more.
func (l *link) ended() error {
	err := io.ErrUnexpectedEOF
	limit := time.NewTimer(l.source.cfg.ConnectTimeout)
	defer limit.Stop()
	select {
	case err = <-l.lost:
	case <-limit.C: // paho has a state or two in which it keeps the reason to itself
	}
	return fmt.Errorf("the connection to %s ended: %w", l.server, err)
}

func (l *link) subscribed() {
	s := l.source
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Subscribed = true
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// refusal is the return code of a SUBACK for a filter that the broker does not grant. MQTT 3.1.1, section 3.9.3.
const refusal = 0x80

// subscribe asks for the filters, a few in each packet since hosted brokers limit their number, and returns those that
// were refused, having said so at the level.
func (l *link) subscribe(ctx context.Context, wanted map[string]byte, level slog.Level) (refused map[string]byte, err error) {
	refused = make(map[string]byte)
	for some := range slices.Chunk(slices.Sorted(maps.Keys(wanted)), 8) {
		ask := make(map[string]byte, len(some))
		for _, f := range some {
			ask[f] = wanted[f]
		}
		granted, err := l.ask(ctx, ask)
		if err != nil {
			return nil, err
		}
		for _, f := range some {
			switch code, answered := granted[f]; {
			case !answered || code == refusal:
				refused[f] = wanted[f]
				l.source.log.Log(ctx, level, "the broker refuses a subscription: do its access rules let this user read there?",
					"filter", f, "user", l.source.cfg.User, "server", l.server.Redacted())
			case code < wanted[f]:
				l.source.log.Warn("the broker grants a lower QoS than was asked for", "filter", f, "asked", wanted[f], "granted", code)
			}
		}
	}
	return refused, nil
}

// ask sends one SUBSCRIBE and awaits its SUBACK. There is no time limit: the answer may stand behind messages for which
// there is no room yet; a dead connection shows by its pings.
func (l *link) ask(ctx context.Context, filters map[string]byte) (map[string]byte, error) {
	l.source.mu.Lock()
	l.asked = len(filters)
	l.source.mu.Unlock()
	token := l.client.SubscribeMultiple(filters, nil)
	select {
	case <-token.Done():
	case <-l.gate.ended:
		return nil, l.ended()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := token.Error(); err != nil {
		// A connection that broke meanwhile shows here or there; make sure that it is at its end.
		l.gate.drop(fmt.Errorf("subscribing: %w", err))
		return nil, l.ended()
	}
	return token.(*mqtt.SubscribeToken).Result(), nil
}

// end closes the connection if it stands, and settles what can be said of its messages. Nothing of paho's is running
// afterwards.
func (l *link) end() {
	s := l.source
	s.mu.Lock()
	l.ending = true
	s.room.Broadcast()
	s.mu.Unlock()
	// It comes back early if paho is done early; the time is for a DISCONNECT that the network does not take.
	l.client.Disconnect(uint(2 * l.source.cfg.ConnectTimeout / time.Millisecond))
	l.gate.drop(errClosed)
	<-l.acking

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range l.frames {
		s.reserved -= f.size
	}
	l.frames = nil
	for _, d := range s.unacked {
		d.forgetContent()
	}
}

// closing stops reading and acknowledging.
func (l *link) closing() {
	s := l.source
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.closed {
		l.closed = true
		s.stats.Connected, s.stats.Subscribed = false, false
		l.signal()
		s.room.Broadcast()
	}
}

// filtersAsked returns how many return codes a SUBACK may have.
func (l *link) filtersAsked() int {
	l.source.mu.Lock()
	defer l.source.mu.Unlock()
	return l.asked
}

// forgetful is a paho store that keeps nothing. What paho would keep is incoming messages until their acknowledgement
// passes through it, which here it does not, and SUBSCRIBE packets for a later connection of the same client, of which
// there is none. What was delivered and not acknowledged is known to the broker, whose persistent session is the one
// store that survives a power cut.
type forgetful struct{}

func (forgetful) Open()                             {}
func (forgetful) Put(string, packets.ControlPacket) {}
func (forgetful) Get(string) packets.ControlPacket  { return nil }
func (forgetful) All() []string                     { return nil }
func (forgetful) Del(string)                        {}
func (forgetful) Close()                            {}
func (forgetful) Reset()                            {}
