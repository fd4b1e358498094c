package mqttconn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"slices"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgechain.example/mqttwire"
)

// Listening is what a short look at a broker wants to hear. Its functions are called on the goroutine of [Broker.Listen].
type Listening struct {
	Filters []string      // none: Listen ends once the broker takes the client
	For     time.Duration // from when the filters are granted
	Most    int           // bytes of a message: larger ones are not taken in

	// Granted is told once that the broker answered, and which filters it refuses. Where it refuses them all, Listen ends. May be nil.
	Granted func(server string, refused []string)
	Hear    func(topic string, payload []byte, retained bool)
	TooLong func() // a message was not taken in
	Tick    func() // called now and then; nil: nobody is
}

// ErrRefused means that a broker takes the client, and lets it read nothing of what it asks for.
var ErrRefused = errors.New("it may not read there")

// Listen hears what comes for a while: with a session that ends with its connection, and with QoS 0, so that nothing waits at the
// broker for it. It connects to the first server that takes it, and does not try again. The end of ctx ends it early, without an
// error once the filters are granted.
func (b *Broker) Listen(ctx context.Context, l Listening) error {
	var failed []error
	for _, server := range b.servers {
		connected, err := b.listen(ctx, server, &l)
		if connected || ctx.Err() != nil {
			return err
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

type heard struct {
	topic    string
	payload  []byte
	retained bool
	tooLong  bool
}

func (b *Broker) listen(ctx context.Context, server *url.URL, l *Listening) (connected bool, err error) {
	messages, lost, done := make(chan heard), make(chan error, 1), make(chan struct{})
	// What nobody takes any more must not hold up the goroutine that reads, which the end of the connection waits for.
	hand := func(h heard) {
		select {
		case messages <- h:
		case <-done:
		}
	}
	c, err := b.dial(ctx, server, Terms{
		CleanSession: true,
		Receive:      func(m mqtt.Message) { hand(heard{topic: m.Topic(), payload: m.Payload(), retained: m.Retained()}) },
		Lost:         func(err error) { lost <- err },
		Opened: func(conn net.Conn) net.Conn {
			return &sieve{Conn: conn, in: bufio.NewReader(conn), most: l.Most, passed: func() { hand(heard{tooLong: true}) }}
		},
	})
	if err != nil {
		return false, err
	}
	defer c.Disconnect(250)
	defer close(done)
	if len(l.Filters) == 0 { // it was to be seen whether the broker takes the client
		if l.Granted != nil {
			l.Granted(server.String(), nil)
		}
		return true, nil
	}
	asked := make(map[string]byte, len(l.Filters))
	for _, f := range l.Filters {
		asked[f] = 0
	}
	token := c.SubscribeMultiple(asked, nil)
	granted, limit := token.Done(), time.NewTimer(b.config.ConnectTimeout)
	defer limit.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for subscribed := false; ; {
		select {
		case <-granted:
			granted, subscribed = nil, true
			if err := token.Error(); err != nil {
				return true, fmt.Errorf("subscribing at %s: %w", server, err)
			}
			refused := refusedOf(token.(*mqtt.SubscribeToken).Result(), asked)
			if l.Granted != nil {
				l.Granted(server.String(), refused)
			}
			if len(refused) == len(asked) {
				return true, fmt.Errorf("%s refuses the subscription to %q: %w", server, refused, ErrRefused)
			}
			limit.Reset(l.For)
		case m := <-messages:
			if m.tooLong {
				l.TooLong()
			} else {
				l.Hear(m.topic, m.payload, m.retained)
			}
		case err := <-lost:
			return true, fmt.Errorf("the connection to %s ended: %w", server, err)
		case <-tick.C:
			if l.Tick != nil {
				l.Tick()
			}
		case <-limit.C:
			if !subscribed {
				return true, fmt.Errorf("%s does not answer a subscription within %v", server, b.config.ConnectTimeout)
			}
			return true, nil
		case <-ctx.Done():
			if !subscribed {
				return true, ctx.Err()
			}
			return true, nil
		}
	}
}

// refusedOf returns the filters that were asked for and not granted.
func refusedOf(granted, asked map[string]byte) (refused []string) {
	for _, f := range slices.Sorted(maps.Keys(asked)) {
		if code, answered := granted[f]; !answered || code == Refusal {
			refused = append(refused, f)
		}
	}
	return refused
}

// sieve takes large messages out of what a broker sends, as they come in: paho would hold each in memory, whatever it weighs.
type sieve struct {
	net.Conn
	in     *bufio.Reader
	most   int
	head   []byte // of a packet, not handed on yet
	left   int    // bytes of it behind that
	passed func() // a message was taken out
}

func (s *sieve) Read(p []byte) (int, error) {
	for len(s.head) == 0 && s.left == 0 {
		h, err := mqttwire.ReadHeader(s.in, mqttwire.MaxLength)
		if err != nil {
			return 0, err
		}
		if h.Type == mqttwire.PUBLISH && h.Length > s.most {
			if _, err := io.CopyN(io.Discard, s.in, int64(h.Length)); err != nil {
				return 0, err
			}
			s.passed()
			continue
		}
		s.head, s.left = mqttwire.AppendHeader(nil, h.First(), h.Length), h.Length
	}
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	n, err := s.in.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}
