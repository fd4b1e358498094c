//go:build !noopcua

package opcua

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gopcua/opcua/ua"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
	"edgechain.example/sensors/poll"
)

// How a server is asked to keep a subscription.
const (
	keepAlive = 10 * time.Second // it says something so often, at least
	lifetime  = time.Minute      // after which without a question it forgets the subscription
	askAgain  = time.Minute      // for nodes that the server does not give
	mostItems = 500              // monitored items that are asked for at once
)

// namespaceArray is the node that says what the namespaces in ids are.
var namespaceArray = ua.NewNumericNodeID(0, 2255)

// Source subscribes to nodes of one server.
type Source struct {
	config  Config
	options Options
	link    *poll.Link
	ended   chan struct{} // closed when Run ends

	overflows uint64 // Run's: since they were told
	rarely    poll.Rarely

	mu       sync.Mutex
	current  *session // guarded by mu; nil: there is none
	messages uint64   // guarded by mu
	groups   []*group // what is in them is guarded by mu
}

// group is a Subscribe at work.
type group struct {
	Subscribe
	nodes []*node
	id    uint32 // of the subscription that there is
	next  uint32 // number of the next notification; 0: not known
	came  uint64
}

// node is one that is subscribed to.
type node struct {
	id      *ua.NodeID
	text    string
	meaning meaning
	watched bool      // the server has it in the subscription that there is
	since   time.Time // when the server began not to give it; zero: it gives it
	tries   uint64
	why     string
}

// New returns a source for a configuration that was checked. It opens nothing before [Source.Run].
func New(c Config, o Options) *Source {
	o = o.filled()
	s := &Source{config: c, options: o, ended: make(chan struct{}),
		link: poll.NewLink(poll.LinkConfig{Name: SourceName(c.Name), Changed: o.Changed, Log: o.Log})}
	for i := range c.Subscribe {
		s.groups = append(s.groups, newGroup(&c, i))
	}
	return s
}

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Lost == nil {
		o.Lost = func(int, string) {}
	}
	if o.Refused == nil {
		o.Refused = func(string, error) {}
	}
	return o
}

func newGroup(c *Config, i int) *group {
	g := &group{Subscribe: c.Subscribe[i]}
	for _, n := range g.Nodes {
		id, err := ua.ParseNodeID(n.ID)
		if err != nil {
			continue // the configuration was checked
		}
		g.nodes = append(g.nodes, &node{id: id, text: id.String(), meaning: meaning{g.device(c.Name), cmp.Or(n.Name, n.ID), sensors.UnitSymbol(n.Unit)}})
	}
	return g
}

// Stats returns how the source stands. It may be called at any time, from any goroutine.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stats{LinkStats: s.link.Stats(), Messages: s.messages}
	for _, g := range s.groups {
		st := GroupStats{Name: g.Name, Nodes: len(g.nodes), Came: g.came}
		for _, n := range g.nodes {
			if n.since.IsZero() {
				continue
			}
			st.Failing++
			if st.Since.IsZero() || n.since.Before(st.Since) {
				st.Since = n.since
			}
			st.Why = cmp.Or(st.Why, n.text+": "+n.why)
		}
		out.Groups = append(out.Groups, st)
	}
	return out
}

// Run subscribes, and gives each value that is notified to sink, until ctx ends (then it returns nil) or the sink closes. It is called
// once.
func (s *Source) Run(ctx context.Context, sink sensors.Sink) error {
	defer close(s.ended)
	if err := s.link.Keep(ctx, func(ctx context.Context) error { return s.session(ctx, sink) }); err != nil {
		return fmt.Errorf("%s: %w", SourceName(s.config.Name), err)
	}
	return nil
}

// session connects, subscribes, and listens until the session is there no more.
func (s *Source) session(ctx context.Context, sink sensors.Sink) error {
	server, err := connect(ctx, &s.config, &s.options)
	if err != nil {
		return err
	}
	defer func() {
		s.use(nil)
		server.close()
	}()
	l := &listening{Source: s, server: server, sink: sink, asked: time.Now()}
	if err := s.learnStructures(ctx, server); err != nil {
		return fmt.Errorf("reading the nodes: %w", err)
	}
	for _, g := range s.groups {
		if err := l.subscribe(ctx, g); err != nil {
			return fmt.Errorf("subscription %s: %w", g.Name, err)
		}
	}
	if err := s.link.Up(ctx); err != nil {
		return err
	}
	s.use(server)
	if err := l.recordNamespaces(ctx); err != nil {
		return err
	}
	for {
		if err := l.publish(ctx); err != nil {
			return err
		}
		if err := l.again(ctx); err != nil {
			return err
		}
	}
}

// learnStructures looks at what kinds of structures the nodes have, so that their first notified values are whole.
func (s *Source) learnStructures(ctx context.Context, server *session) error {
	for _, g := range s.groups {
		values, err := read(ctx, server, g.ids())
		if err != nil {
			return err
		}
		for _, v := range values {
			learn(v.Value)
		}
	}
	return nil
}

func (g *group) ids() (ids []*ua.NodeID) {
	for _, n := range g.nodes {
		ids = append(ids, n.id)
	}
	return ids
}

func (s *Source) use(server *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = server
}

// message makes the message of a value.
func (s *Source) message(n *node, v *ua.DataValue, received time.Time) (*sensors.Message, error) {
	payload, err := appendPayload(nil, n.id, v)
	if err != nil {
		learn(v.Value)
		return nil, err
	}
	if overflowed(v.Status) {
		s.overflows++
	}
	return s.read(n, payload, received), nil
}

// read reads a payload.
func (s *Source) read(n *node, payload []byte, received time.Time) *sensors.Message {
	m := &sensors.Message{Source: entrySource(s.config.Name, n.text), Received: received, Payload: payload}
	var err error
	if most := s.options.PayloadMax; most > 0 && len(payload) > most {
		sum := sha256.Sum256(payload)
		m.Payload, m.Flags = sum[:], lightchain.PayloadHashed
		err = sensors.NotUnderstood(sensors.TooLarge, "%d bytes, above payload.max", len(payload))
	} else {
		m.Readings, err = readings(payload, n.meaning, sensors.Nanoseconds(received))
	}
	if err != nil {
		m.Flags |= lightchain.NotUnderstood
		s.options.Refused(n.text, err)
		return m
	}
	m.Decoder = decoderName
	return m
}
