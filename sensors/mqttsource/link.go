package mqttsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgechain.example/mqttconn"
)

// link is one connection, and what passes over it.
type link struct {
	source *Source
	conn   *mqttconn.Connection // set when the broker has accepted
	gate   *gate                // set while connecting, by paho's goroutine, before anything is read
	lost   chan error           // capacity 1: paho's reason, once it has noticed the end and called its last handler
	wake   chan struct{}        // capacity 1: for the acknowledging goroutine
	acking chan struct{}        // closed when that goroutine has ended

	// Under source.mu.
	closed bool          // nothing is read or acknowledged here any more
	order  fifo[*ticket] // acknowledgements owed to the broker, in the order its messages came
	last   bool          // no more will become due: the acknowledging goroutine ends when it has written what is
	taking int           // reserved for the PUBLISH that the gate reads
	asked  int           // filters in the SUBSCRIBE that is under way
	pinged bool          // a ping of paho's has no answer yet
	paused bool          // the gate holds a PUBLISH back
	ending bool          // the gate discards every PUBLISH: those with QoS 1 and 2 come again
	slow   bool          // and a ping had to be covered meanwhile
	anew   bool          // the broker knew no session
	fresh  bool          // a message came that had not come before

	since time.Time // when it was begun
}

var errClosed = errors.New("the connection is closed")

// session is one connection, from dialling to its end.
func (s *Source) session(ctx context.Context, dial mqttconn.Dial, pumped <-chan struct{}) error {
	l := &link{
		source: s,
		lost:   make(chan error, 1),
		wake:   make(chan struct{}, 1),
		acking: make(chan struct{}),
		since:  s.cfg.Now(),
	}
	var will *mqttconn.Will
	if p := s.cfg.Presence; p != nil {
		will = &mqttconn.Will{Topic: p.Topic, Payload: p.Says(false, l.since)}
	}
	var err error
	l.conn, err = dial(mqttconn.Terms{
		Will: will,
		Opened: func(conn net.Conn) net.Conn {
			l.gate = newGate(conn, l, s.cfg.ConnectTimeout)
			return l.gate
		},
		Receive: func(mqtt.Message) {}, // the gate keeps them all
		Lost:    func(err error) { l.lost <- err },
	})
	if err != nil {
		if l.gate != nil && l.gate.unanswered() {
			s.doubt()
		}
		return err
	}
	err = l.serve(ctx)
	if ctx.Err() != nil {
		s.drain(l, pumped)
		l.leave()
	}
	l.end()
	s.noteSession()
	return err
}

// serve subscribes, and returns when the connection is lost or ctx ends.
func (l *link) serve(ctx context.Context) error {
	go l.acknowledge()
	wanted := make(map[string]byte)
	for _, sub := range l.source.cfg.Subscriptions {
		wanted[sub.Filter] = max(wanted[sub.Filter], sub.QoS)
	}
	gone := l.hold(wanted)
	for level := slog.LevelError; ; level = slog.LevelDebug {
		refused, err := l.subscribe(ctx, wanted, level)
		if err != nil {
			return err
		}
		// After the new filters stand, so that nothing falls between an old one and one that covers the same topics.
		if err := l.unsubscribe(ctx, gone); err != nil {
			return err
		}
		gone = nil
		l.refused(refused)
		if len(refused) < len(wanted) {
			l.holds()
		}
		var again <-chan time.Time
		if len(refused) > 0 {
			// The others go on; the rules at the broker may be mended while we are connected.
			again = time.After(l.source.cfg.BackoffMax)
			wanted = refused
		} else {
			l.subscribed()
			l.sayOnline()
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
	return fmt.Errorf("the connection to %s ended: %w", l.conn.Server, err)
}

// refused notes the filters that the broker refuses.
func (l *link) refused(filters map[string]byte) {
	s := l.source
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(filters) == 0:
		s.stats.RefusedSince = time.Time{}
	case len(s.stats.Refused) == 0:
		s.stats.RefusedSince = time.Now()
	}
	s.stats.Refused = slices.Sorted(maps.Keys(filters))
}

func (l *link) subscribed() {
	s := l.source
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Subscribed = true
	s.speaking = l
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

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
			case !answered || code == mqttconn.Refusal:
				refused[f] = wanted[f]
				l.source.log.Log(ctx, level, "the broker refuses a subscription: do its access rules let this user read there?",
					"filter", f, "user", l.conn.User, "server", l.conn.Server.Redacted())
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
	s := l.source
	s.mu.Lock()
	l.asked = len(filters)
	if s.kept == SessionDoubtful && s.asking == nil {
		s.asking = l
	}
	s.mu.Unlock()
	token := l.conn.SubscribeMultiple(filters, nil)
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
	l.conn.Disconnect(uint(2 * l.source.cfg.ConnectTimeout / time.Millisecond))
	l.gate.drop(errClosed)
	<-l.acking

	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= l.taking
	l.taking = 0
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
		if s.speaking == l {
			s.speaking = nil
		}
		s.stats.Refused, s.stats.RefusedSince = nil, time.Time{}
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
