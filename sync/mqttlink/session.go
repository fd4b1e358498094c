package mqttlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// session is one connection, from dialling to its end, with a paho client of its own: what paho remembers across the
// reconnections of one client is nothing that is needed here, and what it does at such moments is hard to foresee.
type session struct {
	link   *Link
	client mqtt.Client
	server *url.URL
	conn   net.Conn // set while connecting, by paho's goroutine, before anything is read

	lost  chan error    // capacity 1: why the connection ended
	again chan struct{} // capacity 1: subscriptions have changed
	acks  chan struct{} // capacity 1: finished is not empty
	done  chan struct{} // closed when the connection is given up

	mu       sync.Mutex
	open     int            // guarded by mu: messages received and not acknowledged
	finished []mqtt.Message // guarded by mu: to be acknowledged
}

// window is how many publications may be under way, sent and not confirmed.
const window = 64

// connect tries each server once.
func (l *Link) connect(ctx context.Context) (*session, error) {
	var failed []error
	for _, server := range l.servers {
		s, err := l.dial(ctx, server)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		l.mu.Lock()
		l.status.Failures++
		l.mu.Unlock()
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

func (l *Link) dial(ctx context.Context, server *url.URL) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
	defer cancel()
	tlsConfig, err := l.tlsConfig(server)
	if err != nil {
		return nil, err
	}
	var user, password string
	if l.cfg.Credentials != nil {
		if user, password, err = l.cfg.Credentials(); err != nil {
			return nil, err
		}
	}
	s := &session{
		link: l, server: server,
		lost:  make(chan error, 1),
		again: make(chan struct{}, 1),
		acks:  make(chan struct{}, 1),
		done:  make(chan struct{}),
	}
	var reached error                      // what the network said, before MQTT could
	settled := func() bool { return true } // keeps the end of ctx from closing the connection
	opt := mqtt.NewClientOptions().
		SetClientID(l.cfg.ClientID).
		SetUsername(user).
		SetPassword(password).
		SetProtocolVersion(4).
		SetCleanSession(l.cfg.CleanSession).
		SetKeepAlive(l.cfg.KeepAlive).
		SetPingTimeout(max(l.cfg.KeepAlive/2, time.Second)).
		SetConnectTimeout(l.cfg.ConnectTimeout).
		SetWriteTimeout(l.cfg.ConnectTimeout).
		SetAutoReconnect(false).
		SetOrderMatters(true).
		SetAutoAckDisabled(true).
		SetStore(forgetful{}).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { s.receive(m) }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.end(err) }).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			conn, err := open(ctx, server, tlsConfig, l.cfg.ConnectTimeout)
			if err != nil {
				reached = err
				return nil, err
			}
			s.conn = conn
			settled = context.AfterFunc(ctx, func() { conn.Close() })
			return conn, nil
		})
	opt.Servers = []*url.URL{server}
	if w := l.cfg.Will; w != nil {
		opt.SetBinaryWill(w.Topic, w.Payload, 1, true)
	}
	s.client = mqtt.NewClient(opt)
	// From a session that the broker kept, messages come before anything else happens, and answers to them must go out.
	l.out.connected(true)
	token := s.client.Connect()
	token.Wait()
	settled()
	if err := token.Error(); err != nil {
		l.out.connected(false)
		return nil, l.explain(server, user, reached, err)
	}
	return s, nil
}

// explain says what an operator can do about a connection that did not come about.
func (l *Link) explain(server *url.URL, user string, reached, err error) error {
	switch {
	case reached != nil:
		return fmt.Errorf("%s is not reached: %w", server, l.explainTLS(reached))
	case errors.Is(err, packets.ErrorRefusedNotAuthorised), errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword):
		if user == "" {
			return fmt.Errorf("%s answers, and refuses a client without user and password: %w", server, err)
		}
		return fmt.Errorf("%s answers, and refuses user %q with this password: %w", server, user, err)
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		return fmt.Errorf("%s answers, and refuses client id %q: %w", server, l.cfg.ClientID, err)
	case errors.Is(err, packets.ErrorNetworkError):
		return fmt.Errorf("%s accepts the connection, and gives no MQTT answer: %w", server, err)
	}
	return fmt.Errorf("%s answers, and refuses: %w", server, err)
}

// serve subscribes, sends and receives until the connection is lost or ctx ends.
func (s *session) serve(ctx context.Context) error {
	l := s.link
	var working sync.WaitGroup
	defer working.Wait()
	defer s.close()
	working.Go(s.acknowledge)

	l.mu.Lock()
	l.now = s
	l.status.Connections++
	l.status.Server = s.server.String()
	l.mu.Unlock()
	defer func() {
		l.out.connected(false)
		l.granted(-1)
		l.mu.Lock()
		l.now, l.status.Connected = nil, false
		l.mu.Unlock()
	}()
	sending, stop := context.WithCancel(ctx)
	defer stop()
	working.Go(func() { s.send(sending) })
	if err := s.ask(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	l.status.Connected, l.status.LastError = true, ""
	l.mu.Unlock()
	l.log.Info("connected to the broker", "server", s.server.Redacted(), "client_id", l.cfg.ClientID)
	if l.cfg.Connected != nil {
		l.cfg.Connected()
	}
	for {
		select {
		case <-ctx.Done():
			stop()
			s.farewell()
			return ctx.Err()
		case err := <-s.lost:
			return fmt.Errorf("the connection to %s ended: %w", s.server, err)
		case <-s.again:
			if err := s.ask(ctx); err != nil {
				return err
			}
		}
	}
}

// farewell says what the will would: a connection that ends in good order leaves no will.
func (s *session) farewell() {
	const patience = 2 * time.Second
	if w := s.link.cfg.Will; w != nil {
		s.client.Publish(w.Topic, 1, true, w.Payload).WaitTimeout(patience)
	}
}

// close gives the connection up, unless it is lost already. Nothing of paho's delivers afterwards.
func (s *session) close() {
	close(s.done)
	s.client.Disconnect(250)
	s.conn.Close()
}

// end notes why the connection ended.
func (s *session) end(err error) {
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	select {
	case s.lost <- err:
	default:
	}
}

// subscribe has the session ask for what is wanted by now.
func (s *session) subscribe() {
	select {
	case s.again <- struct{}{}:
	default:
	}
}

// refusal is the return code of a SUBACK for a filter that the broker does not grant. MQTT 3.1.1, section 3.9.3.
const refusal = 0x80

// ask brings the broker's subscriptions to what is wanted, a few in each packet since hosted brokers limit their number.
func (s *session) ask(ctx context.Context) error {
	l := s.link
	l.mu.Lock()
	version := l.version
	var wanted []string
	for _, sub := range l.subscriptions {
		wanted = append(wanted, sub.filters...)
	}
	unwanted := slices.Clone(l.unwanted)
	l.mu.Unlock()
	slices.Sort(wanted)
	if len(unwanted) > 0 {
		if err := s.wait(ctx, s.client.Unsubscribe(unwanted...)); err != nil {
			return fmt.Errorf("unsubscribing: %w", err)
		}
	}
	for some := range slices.Chunk(slices.Compact(wanted), 8) {
		filters := make(map[string]byte, len(some))
		for _, f := range some {
			filters[f] = 1
		}
		token := s.client.SubscribeMultiple(filters, nil)
		if err := s.wait(ctx, token); err != nil {
			return fmt.Errorf("subscribing: %w", err)
		}
		granted := token.(*mqtt.SubscribeToken).Result()
		for _, f := range some {
			if code, answered := granted[f]; !answered || code == refusal {
				l.log.Error("the broker refuses a subscription: do its access rules let this user read there?", "filter", f, "server", s.server.Redacted())
			}
		}
	}
	l.granted(version)
	return nil
}

// wait waits for a token, or the end of the connection.
func (s *session) wait(ctx context.Context, token mqtt.Token) error {
	limit := time.NewTimer(s.link.cfg.ConnectTimeout)
	defer limit.Stop()
	select {
	case <-token.Done():
		return token.Error()
	case err := <-s.lost:
		s.end(err)
		return err
	case <-limit.C:
		return errors.New("the broker does not answer")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send sends what waits, until ctx or the connection ends.
func (s *session) send(ctx context.Context) {
	underway := make(chan struct{}, window)
	for {
		m, found := s.link.out.take()
		if !found {
			select {
			case <-s.link.out.wake:
				continue
			case <-s.done:
				return
			case <-ctx.Done():
				return
			}
		}
		select {
		case underway <- struct{}{}:
		case <-s.done:
			return
		case <-ctx.Done():
			return
		}
		token := s.client.Publish(m.topic, 1, m.retained, m.payload)
		go func() {
			defer func() { <-underway }()
			select {
			case <-token.Done():
				if token.Error() == nil {
					s.link.mu.Lock()
					s.link.status.Sent++
					s.link.mu.Unlock()
				}
			case <-s.done:
			}
		}()
	}
}

// receive is called by paho for each message, in order.
func (s *session) receive(m mqtt.Message) {
	s.mu.Lock()
	s.open++
	s.mu.Unlock()
	s.link.deliver(m.Topic(), m.Payload(), func() { s.finish(m) })
}

// finish is called, by anybody, when a message has been dealt with. It never blocks: paho's own acknowledgement may.
func (s *session) finish(m mqtt.Message) {
	s.mu.Lock()
	s.open--
	s.finished = append(s.finished, m)
	s.mu.Unlock()
	select {
	case s.acks <- struct{}{}:
	default:
	}
}

// acknowledge tells the broker what was dealt with, until the connection is given up. After its end paho drops what it
// is told, and the messages come again.
func (s *session) acknowledge() {
	for {
		select {
		case <-s.acks:
		case <-s.done:
			return
		}
		s.mu.Lock()
		finished := s.finished
		s.finished = nil
		s.mu.Unlock()
		for _, m := range finished {
			m.Ack()
		}
	}
}

func (s *session) unfinished() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// forgetful is a paho store that keeps nothing: what was delivered and not acknowledged is known to the broker, and
// what was published and not confirmed is asked for again.
type forgetful struct{}

func (forgetful) Open()                             {}
func (forgetful) Put(string, packets.ControlPacket) {}
func (forgetful) Get(string) packets.ControlPacket  { return nil }
func (forgetful) All() []string                     { return nil }
func (forgetful) Del(string)                        {}
func (forgetful) Close()                            {}
func (forgetful) Reset()                            {}
