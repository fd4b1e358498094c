//go:build !noopcua

package opcua

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
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
	seldom    poll.Seldom

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

// listening is a session with what is subscribed to.
type listening struct {
	*Source
	server *session
	sink   sensors.Sink
	asked  time.Time // when nodes were asked for last

	ackMu sync.Mutex
	acks  []*ua.SubscriptionAcknowledgement // guarded by ackMu: of what is on disk
}

// times returns how many intervals make up a time, one at least.
func times(all, interval time.Duration) uint32 {
	return uint32(min(max(1, all/max(interval, time.Millisecond)), math.MaxInt32))
}

// subscribe makes a subscription, and has its nodes monitored.
func (l *listening) subscribe(ctx context.Context, g *group) error {
	made, err := call[*ua.CreateSubscriptionResponse](ctx, l.server, &ua.CreateSubscriptionRequest{
		RequestedPublishingInterval: float64(g.Interval) / float64(time.Millisecond), RequestedMaxKeepAliveCount: times(keepAlive, g.Interval),
		RequestedLifetimeCount: max(3*times(keepAlive, g.Interval), times(lifetime, g.Interval)), PublishingEnabled: true,
	}, l.config.Timeout)
	if err != nil {
		return err
	}
	g.id, g.next = made.SubscriptionID, 0
	for _, n := range g.nodes {
		n.watched = false
	}
	return l.monitor(ctx, g)
}

// monitor has those nodes of a group monitored that are not.
func (l *listening) monitor(ctx context.Context, g *group) error {
	var handles []int
	for i, n := range g.nodes {
		if !n.watched {
			handles = append(handles, i)
		}
	}
	sampling := float64(cmp.Or(g.Sampling, g.Interval)) / float64(time.Millisecond)
	var change poll.Change
	for some := range slices.Chunk(handles, mostItems) {
		request := &ua.CreateMonitoredItemsRequest{SubscriptionID: g.id, TimestampsToReturn: ua.TimestampsToReturnBoth}
		for _, handle := range some {
			request.ItemsToCreate = append(request.ItemsToCreate, &ua.MonitoredItemCreateRequest{
				ItemToMonitor:       &ua.ReadValueID{NodeID: g.nodes[handle].id, AttributeID: ua.AttributeIDValue, DataEncoding: &ua.QualifiedName{}},
				MonitoringMode:      ua.MonitoringModeReporting,
				RequestedParameters: &ua.MonitoringParameters{ClientHandle: uint32(handle), SamplingInterval: sampling, QueueSize: uint32(g.Queue), DiscardOldest: true},
			})
		}
		created, err := call[*ua.CreateMonitoredItemsResponse](ctx, l.server, request, l.config.Timeout)
		if err != nil {
			return err
		}
		if len(created.Results) != len(some) || slices.Contains(created.Results, nil) {
			return fmt.Errorf("%d answers to %d nodes", len(created.Results), len(some))
		}
		for i, r := range created.Results {
			n := g.nodes[some[i]]
			if n.watched = r.StatusCode&severity == 0; n.watched {
				l.settle(n, nil, &change)
			} else {
				l.settle(n, r.StatusCode, &change)
			}
		}
	}
	return l.tell(ctx, g, change)
}

// again has nodes monitored that the server did not know before, each minute: a program may have been loaded into it since.
func (l *listening) again(ctx context.Context) error {
	if time.Since(l.asked) < askAgain {
		return nil
	}
	l.asked = time.Now()
	for _, g := range l.groups {
		if slices.ContainsFunc(g.nodes, func(n *node) bool { return !n.watched }) {
			if err := l.monitor(ctx, g); err != nil {
				return fmt.Errorf("subscription %s: %w", g.Name, err)
			}
		}
	}
	return nil
}

// settle notes what became of a node.
func (l *listening) settle(n *node, err error, change *poll.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil && !n.since.IsZero():
		change.Recovered = append(change.Recovered, poll.Recovered{Read: n.text, From: n.since, To: time.Now(), Polls: n.tries})
		n.since, n.tries, n.why = time.Time{}, 0, ""
	case err == nil:
	case n.since.IsZero():
		n.since, n.tries, n.why = time.Now(), 1, err.Error()
		change.Failing = append(change.Failing, poll.Failing{Read: n.text, Why: n.why})
	default:
		n.tries++
		n.why = err.Error()
	}
}

// tell tells what became of nodes of a group.
func (l *listening) tell(ctx context.Context, g *group, change poll.Change) error {
	if len(change.Failing)+len(change.Recovered) == 0 || l.options.Changed == nil {
		return nil
	}
	change.Group = g.Name
	if n := len(change.Failing); n > 0 {
		l.options.Log.Warn("failed to subscribe to nodes", "source", SourceName(l.config.Name), "group", g.Name, "node", change.Failing[0].Read, "err", change.Failing[0].Why, "nodes", n)
	}
	if err := l.options.Changed(ctx, change); err != nil {
		return &poll.EndError{Err: err}
	}
	return nil
}

// publish asks for the next notification, acknowledges those that are on disk, and hands over its values.
func (l *listening) publish(ctx context.Context) error {
	l.ackMu.Lock()
	acks := l.acks
	l.acks = nil
	l.ackMu.Unlock()
	longest := keepAlive
	for _, g := range l.groups {
		longest = max(longest, g.Interval)
	}
	p, err := call[*ua.PublishResponse](ctx, l.server, &ua.PublishRequest{SubscriptionAcknowledgements: append([]*ua.SubscriptionAcknowledgement{}, acks...)}, 2*longest+l.config.Timeout)
	switch {
	case errors.Is(err, ua.StatusBadTimeout):
		return fmt.Errorf("the server has said nothing for %v", 2*longest+l.config.Timeout)
	case err != nil:
		return fmt.Errorf("waiting for notifications: %w", err)
	}
	if err := l.server.unchanged(); err != nil {
		return err
	}
	at := slices.IndexFunc(l.groups, func(g *group) bool { return g.id == p.SubscriptionID })
	if at < 0 || p.NotificationMessage == nil {
		return nil
	}
	return l.notified(ctx, l.groups[at], p.NotificationMessage)
}

// notified takes a notification.
func (l *listening) notified(ctx context.Context, g *group, m *ua.NotificationMessage) error {
	if g.next != 0 && m.SequenceNumber != g.next {
		l.options.Lost(0, fmt.Sprintf("notifications are missing: number %d came of subscription %s, and %d was expected", m.SequenceNumber, g.Name, g.next))
	}
	if g.next = m.SequenceNumber; len(m.NotificationData) == 0 { // the number is that of the next one
		return nil
	}
	if g.next++; g.next == 0 {
		g.next = 1
	}
	var items []*ua.MonitoredItemNotification
	for _, data := range m.NotificationData {
		if data == nil {
			continue
		}
		switch n := data.Value.(type) {
		case *ua.DataChangeNotification:
			items = append(items, n.MonitoredItems...)
		case *ua.StatusChangeNotification:
			return fmt.Errorf("the server has ended the subscription %s: %w", g.Name, n.Status)
		}
	}
	l.mu.Lock()
	g.came++
	l.mu.Unlock()
	done := l.acknowledge(g.id, m.SequenceNumber, len(items))
	received := time.Now()
	var change poll.Change
	for _, item := range items {
		if item == nil || item.Value == nil || int(item.ClientHandle) >= len(g.nodes) {
			done(nil)
			continue
		}
		n := g.nodes[item.ClientHandle]
		message, err := l.message(n, item.Value, received)
		l.settle(n, err, &change)
		if err != nil {
			done(nil)
			continue
		}
		message.Done = done
		if err := l.put(ctx, message); err != nil {
			return err
		}
	}
	l.tellOverflows()
	return l.tell(ctx, g, change)
}

func (l *listening) put(ctx context.Context, m *sensors.Message) error {
	if err := l.sink.Put(ctx, m); err != nil {
		return &poll.EndError{Err: fmt.Errorf("handing over a message: %w", err)}
	}
	l.mu.Lock()
	l.messages++
	l.mu.Unlock()
	return nil
}

// acknowledge returns what is to be called for each of n values: with the last, the notification is acknowledged with the next
// question, unless one of them will never be on disk.
func (l *listening) acknowledge(subscription, number uint32, n int) func(error) {
	left, failed := n, false
	note := func(err error) {
		l.ackMu.Lock()
		defer l.ackMu.Unlock()
		failed = failed || err != nil
		if left--; left <= 0 && !failed {
			l.acks = append(l.acks, &ua.SubscriptionAcknowledgement{SubscriptionID: subscription, SequenceNumber: number})
		}
	}
	if n == 0 {
		note(nil)
	}
	return note
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

// tellOverflows tells that the server had no room for all values, if it is time.
func (l *listening) tellOverflows() {
	if l.overflows == 0 || !l.seldom.Tell() {
		return
	}
	l.options.Lost(0, fmt.Sprintf("the server kept no more than its queue holds between two notifications, %d times: a larger queue, or a shorter interval", l.overflows))
	l.overflows = 0
}

// recordNamespaces records what the numbers of namespaces mean in this session: a server may number them anew when it starts.
func (l *listening) recordNamespaces(ctx context.Context) error {
	values, err := read(ctx, l.server, []*ua.NodeID{namespaceArray})
	if err != nil {
		return fmt.Errorf("asking for the namespaces: %w", err)
	}
	n := &node{id: namespaceArray, text: namespaceArray.String(), meaning: meaning{device: l.config.Name, name: "NamespaceArray"}}
	m, err := l.message(n, values[0], time.Now())
	if err != nil {
		return fmt.Errorf("the namespaces: %w", err)
	}
	return l.put(ctx, m)
}

// read reads the values of nodes.
func read(ctx context.Context, server *session, nodes []*ua.NodeID) (values []*ua.DataValue, err error) {
	for some := range slices.Chunk(nodes, mostItems) {
		request := &ua.ReadRequest{TimestampsToReturn: ua.TimestampsToReturnBoth}
		for _, id := range some {
			request.NodesToRead = append(request.NodesToRead, &ua.ReadValueID{NodeID: id, AttributeID: ua.AttributeIDValue, DataEncoding: &ua.QualifiedName{}})
		}
		answer, err := call[*ua.ReadResponse](ctx, server, request, server.config.Timeout)
		if err != nil {
			return nil, err
		}
		if len(answer.Results) != len(some) || slices.Contains(answer.Results, nil) {
			return nil, fmt.Errorf("%d answers to %d nodes", len(answer.Results), len(some))
		}
		values = append(values, answer.Results...)
	}
	return values, nil
}

// Once reads the nodes of a group, or of all, over the session that there is. Nothing is recorded by it.
func (s *Source) Once(ctx context.Context, name string) ([]poll.Answer, error) {
	if name != "" && !slices.ContainsFunc(s.groups, func(g *group) bool { return g.Name == name }) {
		return nil, poll.ErrNoGroup
	}
	select {
	case <-s.ended:
		return nil, poll.ErrEnded
	default:
	}
	s.mu.Lock()
	server := s.current
	s.mu.Unlock()
	if server == nil {
		return []poll.Answer{{Group: name, Err: errors.New(cmp.Or(s.link.Stats().Why, "there is no session with the server yet"))}}, nil
	}
	return s.readGroups(ctx, server, name), ctx.Err()
}

// readGroups reads the nodes of a group, or of all.
func (s *Source) readGroups(ctx context.Context, server *session, name string) (answers []poll.Answer) {
	for _, g := range s.groups {
		if name != "" && g.Name != name {
			continue
		}
		values, err := read(ctx, server, g.ids())
		received := time.Now()
		for i, n := range g.nodes {
			a := poll.Answer{Group: g.Name, Read: n.text, Err: err}
			if err == nil {
				a.Message, a.Err = s.answer(n, values[i], received)
			}
			answers = append(answers, a)
		}
	}
	return answers
}

// answer is message for a value that was asked for; one that the server does not give is refused.
func (s *Source) answer(n *node, v *ua.DataValue, received time.Time) (*sensors.Message, error) {
	if !v.Has(ua.DataValueValue) && v.Status&severity != 0 {
		return nil, &poll.RefusedError{Err: v.Status}
	}
	payload, err := appendPayload(nil, n.id, v)
	if err != nil {
		return nil, &poll.RefusedError{Err: err}
	}
	quiet := &Source{config: s.config, options: Options{PayloadMax: s.options.PayloadMax}.filled()}
	return quiet.read(n, payload, received), nil
}

// ReadOnce is Once for a server with which there is no session.
func ReadOnce(ctx context.Context, c *Config, o Options, name string) ([]poll.Answer, error) {
	s := New(*c, o)
	if name != "" && !slices.ContainsFunc(s.groups, func(g *group) bool { return g.Name == name }) {
		return nil, poll.ErrNoGroup
	}
	server, err := connect(ctx, c, &s.options)
	if err != nil {
		return []poll.Answer{{Group: name, Err: err}}, ctx.Err()
	}
	defer server.close()
	if err := s.learnStructures(ctx, server); err != nil {
		return []poll.Answer{{Group: name, Err: fmt.Errorf("reading the nodes: %w", err)}}, ctx.Err()
	}
	return s.readGroups(ctx, server, name), ctx.Err()
}
