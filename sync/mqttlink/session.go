package mqttlink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgechain.example/mqttconn"
)

// session is one connection, and what passes over it.
type session struct {
	link *Link
	conn *mqttconn.Connection // set when the broker has accepted

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

// session is one connection, from dialling to its end.
func (l *Link) session(ctx context.Context, dial mqttconn.Dial) (err error) {
	s := &session{
		link:  l,
		lost:  make(chan error, 1),
		again: make(chan struct{}, 1),
		acks:  make(chan struct{}, 1),
		done:  make(chan struct{}),
	}
	// From a session that the broker kept, messages come before anything else happens, and answers to them must go out.
	l.out.connected(true)
	s.conn, err = dial(mqttconn.Terms{Receive: s.receive, Lost: s.end, Opened: newShortener, CleanSession: l.cfg.CleanSession, Will: l.cfg.Will})
	if err != nil {
		l.out.connected(false)
		return err
	}
	return s.serve(ctx)
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
	refused, err := s.ask(ctx)
	if err != nil {
		return err
	}
	if l.cfg.Connected != nil {
		l.cfg.Connected()
	}
	retry := time.NewTimer(askAgain)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			stop()
			s.farewell()
			return ctx.Err()
		case err := <-s.lost:
			return fmt.Errorf("the connection to %s ended: %w", s.conn.Server, err)
		case <-s.again:
			if refused, err = s.ask(ctx); err != nil {
				return err
			}
		case <-retry.C:
			if refused {
				if refused, err = s.ask(ctx); err != nil {
					return err
				}
			}
			retry.Reset(askAgain)
		}
	}
}

// askAgain is after how long a broker is asked once more for what it refused: its rules may have been mended.
const askAgain = time.Minute

// farewell says what the will would: a connection that ends in good order leaves no will.
func (s *session) farewell() {
	const patience = 2 * time.Second
	if w := s.link.cfg.Will; w != nil {
		s.conn.Publish(w.Topic, 1, true, w.Payload).WaitTimeout(patience)
	}
}

// close gives the connection up, unless it is lost already. Nothing of paho's delivers afterwards.
func (s *session) close() {
	close(s.done)
	s.conn.Disconnect(250)
	s.conn.Net.Close()
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

// ask brings the broker's subscriptions to what is wanted, a few in each packet since hosted brokers limit their number, and
// reports whether it refused any. A link that is deaf in part does not count as connected: nothing would come, and nobody
// would know why.
func (s *session) ask(ctx context.Context) (refused bool, err error) {
	l := s.link
	l.mu.Lock()
	version := l.version
	var wanted []string
	for _, sub := range l.subscriptions {
		wanted = append(wanted, sub.filters...)
	}
	l.mu.Unlock()
	slices.Sort(wanted)
	var deaf []string
	for some := range slices.Chunk(slices.Compact(wanted), 8) {
		filters := make(map[string]byte, len(some))
		for _, f := range some {
			filters[f] = 1
		}
		token := s.conn.SubscribeMultiple(filters, nil)
		if err := s.wait(ctx, token); err != nil {
			return false, fmt.Errorf("subscribing: %w", err)
		}
		granted := token.(*mqtt.SubscribeToken).Result()
		for _, f := range some {
			if code, answered := granted[f]; !answered || code == mqttconn.Refusal {
				deaf = append(deaf, f)
			}
		}
	}
	l.mu.Lock()
	news := len(deaf) > 0 && !slices.Equal(deaf, l.deaf)
	l.deaf, l.status.Connected = deaf, len(deaf) == 0
	l.mu.Unlock()
	if news {
		l.log.Error("the broker refuses a subscription: do its access rules let this user read there?", "filters", deaf, "server", s.conn.Server.Redacted())
	}
	l.granted(version)
	return len(deaf) > 0, nil
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
	var confirmed sync.WaitGroup
	defer confirmed.Wait()
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
		token := s.conn.Publish(m.topic, 1, m.retained, m.payload)
		confirmed.Go(func() {
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
		})
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
