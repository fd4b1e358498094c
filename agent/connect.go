package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
	"edgechain.example/sensors/sparkplug"
	"edgechain.example/sensors/suggest"
	headersync "edgechain.example/sync"
)

// Connection is whether what the configuration names can be reached, and what it says.
type Connection struct {
	Table   string   `json:"table"` // "mqtt", "upstream", "modbus", "opcua" or "serial"
	Name    string   `json:"name"`
	Reached bool     `json:"reached"`           // it answers, and gives all that was asked for
	Server  string   `json:"server,omitempty"`  // of a broker, the one that took the client
	Refused []string `json:"refused,omitempty"` // filters that it does not grant
	Error   string   `json:"error,omitempty"`

	Messages []TriedMessage `json:"messages,omitempty"` // the first of so many topics
	Unwanted int            `json:"unwanted,omitempty"` // messages that a filter keeps out of the chain
	Polled   []api.Polled   `json:"polled,omitempty"`
}

// TriedMessage is how a message reads by the configuration.
type TriedMessage struct {
	SuggestedReading
	Filter string `json:"filter"`         // that reads it
	Hash   bool   `json:"hash,omitempty"` // the chain would have its hash alone
}

// Trying is how connections are tried.
type Trying struct {
	For   time.Duration // how long to wait for messages at each broker
	Built time.Time     // of the program: no certificate is judged by an earlier clock
	// Poll asks what is polled, or listened to, for what it reads; nil: nothing is asked.
	Poll func(name string) ([]api.Polled, error)
}

const (
	connectWithin = 10 * time.Second // for one server
	mostTried     = 5                // messages shown
)

// TryConnections reaches every broker of the configuration, and everything that is polled, all at once. It changes nothing there: it has
// client ids of its own, with sessions that end with it.
func (c *Config) TryConnections(ctx context.Context, how Trying) []Connection {
	devices := c.polled()
	all := make([]Connection, len(c.MQTT)+len(c.Upstream)+len(devices))
	var wait sync.WaitGroup
	for i := range all {
		wait.Go(func() {
			up, polled := i-len(c.MQTT), i-len(c.MQTT)-len(c.Upstream)
			switch {
			case up < 0:
				all[i] = c.tryMQTT(ctx, &c.MQTT[i], how)
			case polled < 0:
				all[i] = tryUpstream(ctx, c.Gateway.Chain, &c.Upstream[up], how)
			default:
				all[i] = tryPolled(devices[polled].kind, devices[polled].name, how)
			}
		})
	}
	wait.Wait()
	return all
}

// try connects, and listens by l, which lacks what is the same for all.
func (t *Connection) try(ctx context.Context, broker mqttconn.Config, how Trying, l mqttconn.Listening) {
	broker.ClientID = glanceID()
	broker.ConnectTimeout = min(broker.ConnectTimeout, connectWithin)
	b, err := mqttconn.New(&broker, &mqttconn.Options{TimeFloor: func() time.Time { return how.Built }})
	if err == nil {
		l.For, l.Most, l.TooLong = how.For, suggest.DefaultLimits.Payload+topicRoom, func() {}
		l.Granted = func(server string, refused []string) { t.Server, t.Refused = server, refused }
		err = b.Listen(ctx, l)
	}
	switch {
	case len(t.Refused) > 0:
		t.Error = fmt.Sprintf("connected, and refused the subscription to %q: this user may not read there", t.Refused)
	case err != nil:
		t.Error = err.Error()
	}
	t.Reached = t.Error == ""
}

// triedSubscription is one filter and how its messages are read.
type triedSubscription struct {
	mqttwire.Filter
	text    string
	decoder *sensors.Decoder
}

func (c *Config) tryMQTT(ctx context.Context, m *MQTTConfig, how Trying) Connection {
	t := Connection{Table: "mqtt", Name: m.Name}
	var subscriptions []triedSubscription
	var filters []string
	for i := range m.Subscribe {
		d, err := sensors.New(m.Subscribe[i].Config)
		if err != nil {
			t.Error = err.Error()
			return t
		}
		for _, text := range m.Subscribe[i].Topics {
			f, err := mqttwire.ParseFilter(text)
			if err != nil {
				t.Error = err.Error()
				return t
			}
			subscriptions = append(subscriptions, triedSubscription{f, text, d})
			// One more member of a shared subscription would take messages away from the others.
			_, filter, _ := mqttwire.SplitShare(text)
			if !slices.Contains(filters, filter) {
				filters = append(filters, filter)
			}
		}
	}
	record, err := filtersOf("mqtt:"+m.Name, m.Filter, new(filterCounts).get)
	if err != nil {
		t.Error = err.Error()
		return t
	}
	nodes := sparkplug.New(sparkplug.Config{})
	enough, stop := context.WithCancel(ctx)
	defer stop()
	t.try(enough, m.Config, how, mqttconn.Listening{Filters: filters, Hear: func(topic string, payload []byte, retained bool) {
		if len(t.Messages) == mostTried {
			return
		}
		by := slices.IndexFunc(subscriptions, func(s triedSubscription) bool { return s.Matches(topic) })
		if by < 0 || ofSync(c.Upstream, topic) || slices.ContainsFunc(t.Messages, func(other TriedMessage) bool { return other.Topic == topic }) {
			return
		}
		if not, _ := record.unwanted(topic); not {
			t.Unwanted++
			return
		}
		got, err := sensors.Intake{Decoder: subscriptions[by].decoder, Stateful: nodes.Read}.Look(topic, glanceFlags(retained), payload, time.Now())
		f := record.of(topic)
		hash := f != nil && f.keep.Hash
		if hash {
			got, err = sensors.Result{}, nil
		}
		t.Messages = append(t.Messages, TriedMessage{readingOf(topic, payload, got, err), subscriptions[by].text, hash})
		if len(t.Messages) == mostTried && t.Server != "" { // else the filters are not granted yet, and it is to be seen whether they are
			stop()
		}
	}})
	return t
}

// tryUpstream asks for the filters of the gateway's chain where the configuration names it: what they are is not known before.
func tryUpstream(ctx context.Context, name string, u *UpstreamConfig, how Trying) Connection {
	t := Connection{Table: "upstream", Name: u.Name}
	var filters []string
	if chain, err := lightchain.ParseChainID(name); err == nil {
		filters = append(filters, headersync.Topic(u.Prefix, chain, headersync.TopicPull, ""))
		for _, a := range u.Aggregator {
			filters = append(filters, headersync.Topic(u.Prefix, chain, headersync.TopicReceipt, a.Name))
		}
	}
	how.For = 0 // what comes is not for this client
	t.try(ctx, u.Config, how, mqttconn.Listening{Filters: filters, Hear: func(string, []byte, bool) {}})
	return t
}

func tryPolled(kind, name string, how Trying) Connection {
	t := Connection{Table: kind, Name: name}
	if how.Poll == nil {
		return t
	}
	polled, err := how.Poll(kind + ":" + name)
	t.Polled = polled
	failed := slices.IndexFunc(polled, func(p api.Polled) bool { return p.Error != "" })
	switch {
	case err != nil:
		t.Error = err.Error()
	case failed >= 0 && polled[failed].Read == "": // a line, or a server
		t.Error = polled[failed].Error
	case failed >= 0:
		t.Error = fmt.Sprintf("group %s, read %s: %s", polled[failed].Group, polled[failed].Read, polled[failed].Error)
	}
	t.Reached = t.Error == ""
	return t
}
