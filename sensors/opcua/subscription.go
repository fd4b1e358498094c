//go:build !noopcua

package opcua

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/gopcua/opcua/ua"

	"edgechain.example/sensors"
	"edgechain.example/sensors/poll"
)

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

// tellOverflows tells that the server had no room for all values, if it is time.
func (l *listening) tellOverflows() {
	if l.overflows == 0 || !l.rarely.Tell() {
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
