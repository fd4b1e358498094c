package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors"
	"edgechain.example/sensors/sparkplug"
	"edgechain.example/sensors/suggest"
)

// Looking at brokers beside the agent, which is not disturbed: under a client id of its own, with a session that ends with the
// connection, and with QoS 0, so that no message waits for an answer.

// SuggestKeys are what is needed of the configuration to listen at one of its brokers: what is there need not be complete yet.
func SuggestKeys() []string { return append(ReadingKeys(), "mqtt", "upstream", "broker") }

// EmbeddedBroker names the gateway's own broker where that of an [[mqtt]] is expected.
const EmbeddedBroker = "broker"

// glanceID returns a client id that nobody has.
func glanceID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // it never fails
	return "edgeagent-look-" + hex.EncodeToString(b[:])
}

// glanceFlags are those of a message that comes to it.
func glanceFlags(retained bool) lightchain.Flags {
	if retained {
		return lightchain.QoS0 | lightchain.Retained
	}
	return lightchain.QoS0
}

// Source returns where to listen for what a source of the configuration would hear.
func (c *Config) Source(name string) (mqttconn.Config, error) {
	if name == EmbeddedBroker {
		host, port, err := net.SplitHostPort(c.Broker.Listen)
		if err != nil {
			return mqttconn.Config{}, fmt.Errorf("broker.listen: %w: expected an address, or --server with one of the others that [broker] listens on", err)
		}
		if host == "" || host == "0.0.0.0" || host == "::" {
			host = "127.0.0.1"
		}
		return mqttconn.Config{Name: EmbeddedBroker, Servers: []mqttconn.Server{mqttconn.Server("tcp://" + net.JoinHostPort(host, port))}}, nil
	}
	var names []string
	for i := range c.MQTT {
		if c.MQTT[i].Name == name {
			return c.MQTT[i].Config, nil
		}
		names = append(names, c.MQTT[i].Name)
	}
	return mqttconn.Config{}, fmt.Errorf("no [[mqtt]] of the configuration is called %q: expected %s, or --server with an address: %w",
		name, strings.Join(append(names, EmbeddedBroker), ", "), store.ErrNotFound)
}

// NewSuggestions returns what messages are given to for [suggest.Collector.Report].
func NewSuggestions() *suggest.Collector {
	return suggest.New(suggest.DefaultLimits, sparkplug.New(sparkplug.Config{}).Read)
}

// Listening is what [Config.Listen] wants to hear.
type Listening struct {
	Filters []string
	For     time.Duration
	Granted func(server string, refused []string) // may be nil, as in [mqttconn.Listening]
	Tick    func()
}

// Heard is what came beside what a collector knows.
type Heard struct {
	TooLong int // messages that were not taken in
	Own     int // of gateways and aggregators, under the prefix of an [[upstream]]
}

// Listen gives what comes at a broker to into, and counts the rest. What came counts even where it ends with an error.
func (c *Config) Listen(ctx context.Context, broker mqttconn.Config, l Listening, into *suggest.Collector, heard *Heard) error {
	broker.ClientID = glanceID()
	b, err := mqttconn.New(&broker, &mqttconn.Options{})
	if err != nil {
		return err
	}
	return b.Listen(ctx, mqttconn.Listening{
		Filters: l.Filters, For: l.For, Most: suggest.DefaultLimits.Payload + topicRoom, Granted: l.Granted, Tick: l.Tick,
		TooLong: func() { heard.TooLong++ },
		Hear: func(topic string, payload []byte, retained bool) {
			if ofSync(c.Upstream, topic) {
				heard.Own++
				return
			}
			into.Add(suggest.Message{Topic: topic, Payload: payload, Flags: glanceFlags(retained), Received: time.Now()})
		},
	})
}

// topicRoom is what a topic may add to a message, in bytes.
const topicRoom = 64 << 10

// Suggestion is what is suggested, for programs.
type Suggestion struct {
	Messages int               `json:"messages"`
	Retained int               `json:"retained"`
	Topics   int               `json:"topics"`
	Groups   []SuggestionGroup `json:"groups"`
	Warnings []string          `json:"warnings"`
	LeftOut  suggest.LeftOut   `json:"left_out"`
	Own      int               `json:"own,omitempty"`
	TOML     string            `json:"toml"`
}

// SuggestionGroup is messages that are read alike.
type SuggestionGroup struct {
	Filters  []string         `json:"filters"`
	Preset   string           `json:"preset,omitempty"`
	Dialect  string           `json:"dialect,omitempty"` // "" is "auto", or the preset's
	Topics   int              `json:"topics"`
	Messages int              `json:"messages"`
	Retained int              `json:"retained"`
	Example  SuggestedReading `json:"example"`
	Unread   []suggest.Unread `json:"unread"`
	Hints    []string         `json:"hints"`
}

// SuggestedReading is how one message would read.
type SuggestedReading struct {
	Topic    string        `json:"topic"`
	Payload  []byte        `json:"payload"` // base64
	Decoder  string        `json:"decoder,omitempty"`
	Readings []api.Reading `json:"readings"`
	Doubt    string        `json:"doubt,omitempty"`
	Reason   string        `json:"reason,omitempty"` // why it is not understood: a [sensors.Reason]
	Error    string        `json:"error,omitempty"`
}

func readingOf(topic string, payload []byte, got sensors.Result, err error) SuggestedReading {
	out := SuggestedReading{Topic: topic, Payload: payload, Decoder: got.Decoder, Doubt: got.Doubt, Readings: api.Readings(got.Readings)}
	if err != nil {
		out.Reason, out.Error = string(sensors.ReasonOf(err)), err.Error()
	}
	return out
}

// Suggest returns what a collector suggests, with tables of that name.
func Suggest(from *suggest.Collector, heard Heard, table string) Suggestion {
	r := from.Report()
	r.LeftOut.Size += heard.TooLong
	s := Suggestion{Messages: r.Messages + heard.TooLong, Retained: r.Retained, Topics: r.Topics, Warnings: append([]string{}, r.Warnings...), LeftOut: r.LeftOut, Own: heard.Own,
		Groups: []SuggestionGroup{}, TOML: r.TOML(table)}
	for i := range r.Groups {
		g := &r.Groups[i]
		s.Groups = append(s.Groups, SuggestionGroup{
			Filters: g.Filters, Preset: g.Config.Preset, Dialect: g.Config.Dialect, Topics: g.Topics, Messages: g.Messages, Retained: g.Retained,
			Example: readingOf(g.Example.Topic, g.Example.Payload, g.Example.Result, g.Example.Err),
			Unread:  append([]suggest.Unread{}, g.Unread...), Hints: append([]string{}, g.Hints...),
		})
	}
	return s
}
