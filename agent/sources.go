package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/agent/homeassistant"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
	"edgechain.example/sensors/broker"
	"edgechain.example/sensors/hwmon"
	"edgechain.example/sensors/mqttsource"
	"edgechain.example/sensors/poll"
	"edgechain.example/sensors/sparkplug"
)

// source is one source of messages, whichever kind.
type source struct {
	name    string
	config  any                                       // what it was made of: one whose configuration has not changed goes on over a reload
	run     func(context.Context, sensors.Sink) error // may be called again after a [broker.ListenError]
	ready   <-chan struct{}
	stats   func() api.Source // what the source itself knows of how it stands
	listens bool              // run listens first of all, or fails
	// adopt returns what takes over a changed configuration without a break, or nil if that cannot be; adopt itself
	// may be nil.
	adopt func(config any) (func(), error)
	// refresh reads again the files that the configuration names and that are not watched, and returns what brings them into
	// force; nil: there are none.
	refresh func() (apply func(), err error)
	// broker is the embedded one; nil for all others.
	broker *broker.Broker
	// publish passes a message of the gateway's own on to those who subscribed; nil for all but the embedded broker.
	publish func(topic string, payload []byte, qos byte, retained bool)
	// request sends a message with QoS 0 to a client of the source's broker; nil where there is none.
	request func(topic string, payload []byte) error
	// once asks a group for what it reads, or all; nil for sources that do not ask.
	once func(ctx context.Context, group string) ([]poll.Answer, error)

	cancel context.CancelFunc // set while it runs
	done   chan struct{}      // closed when it has stopped
	trials trials             // made anew when it starts
	begun  atomic.Int64       // when it was started last, nanoseconds since the Unix epoch; 0: it was not yet
}

// wantedSources builds a source for everything that the configuration names, but takes from running those that are
// there already and need no change, or can adopt it: adopt does that. None is started.
func (a *Agent) wantedSources(c *Config, running []*source) (wanted []*source, adopt []func(), err error) {
	add := func(name string, config any, make func() (*source, error)) error {
		for _, old := range running {
			if old.name != name || old.notListening() != nil { // a port may be free by now: at once, not when its turn comes
				continue
			}
			if reflect.DeepEqual(old.config, config) {
				wanted = append(wanted, old)
				return nil
			}
			if old.adopt != nil {
				takeOver, err := old.adopt(config)
				if err != nil {
					return err
				}
				if takeOver != nil {
					wanted = append(wanted, old)
					adopt = append(adopt, func() { takeOver(); old.config = config })
					return nil
				}
			}
		}
		s, err := make()
		if err != nil {
			return err
		}
		s.name, s.config = name, config
		wanted = append(wanted, s)
		return nil
	}
	if c.Broker.Enabled {
		config := brokerSettings{c.Broker, c.Payload, nil}
		for _, u := range c.Upstream {
			config.prefixes = append(config.prefixes, u.Prefix)
		}
		if err := add("broker", config, func() (*source, error) { return a.newBroker(config) }); err != nil {
			return nil, nil, err
		}
	}
	for _, m := range c.MQTT {
		config := mqttSettings{m, c.Payload}
		if err := add("mqtt:"+m.Name, config, func() (*source, error) { return a.newMQTT(config) }); err != nil {
			return nil, nil, err
		}
	}
	if err := a.wantPolled(c, add); err != nil {
		return nil, nil, err
	}
	if c.Hwmon.Enabled {
		config := c.Hwmon
		if config.Device == "" {
			config.Device = c.name()
		}
		if err := add("hwmon", config, func() (*source, error) { return a.newHwmon(config), nil }); err != nil {
			return nil, nil, err
		}
	}
	return wanted, adopt, nil
}

// intake is how the messages of one subscription, of the source with that name, are read.
func (a *Agent) intake(source, key string, c sensors.Config, payload PayloadConfig, stateful reader) (*sensors.Intake, error) {
	d, err := sensors.New(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return &sensors.Intake{
		Decoder: d, PayloadMax: int(payload.Max), Stateful: stateful,
		Refused: func(topic string, err error) {
			a.metrics.notUnderstood.WithLabelValues(string(sensors.ReasonOf(err))).Inc()
			a.unread.refused(source, topic, err)
		},
		Doubted: func(topic, what string) { a.unread.doubted(source, topic, what) },
	}, nil
}

// brokerSettings is what the embedded broker is made of.
type brokerSettings struct {
	BrokerConfig
	payload  PayloadConfig
	prefixes []string // of the topics of the gateway's upstreams
}

func (c *BrokerConfig) limits() broker.Limits {
	return broker.Limits{MaxClients: c.MaxClients, MaxPacket: int(c.MaxPacket), MaxInFlight: c.MaxInflight,
		MaxKeepAlive: c.MaxKeepalive, MaxIdle: c.MaxIdle, Rate: c.MaxRate}
}

// decodeRule is how messages on some topics of the embedded broker are read.
type decodeRule struct {
	filter mqttwire.Filter
	intake *sensors.Intake
}

// decodeRules returns the rules in the order in which they are tried; the last one takes everything.
func (a *Agent) decodeRules(c brokerSettings, stateful reader) ([]decodeRule, error) {
	var rules []decodeRule
	for i, d := range append(slices.Clone(c.Decode), DecodeConfig{Topics: []string{"#"}}) {
		in, err := a.intake("broker", fmt.Sprintf("broker.decode[%d]", i), d.Config, c.payload, stateful)
		if err != nil {
			return nil, err
		}
		for _, text := range d.Topics {
			filter, err := mqttwire.ParseFilter(text)
			if err != nil {
				return nil, fmt.Errorf("broker.decode[%d]: %w", i, err)
			}
			rules = append(rules, decodeRule{filter, in})
		}
	}
	return rules, nil
}

func (a *Agent) newBroker(c brokerSettings) (*source, error) {
	nodes := a.sparkplug.host("broker", nil)
	var host hostState
	contradicted := contradicted{id: host.name, again: host.again}
	first, err := a.decodeRules(c, nodes.Read)
	if err != nil {
		return nil, err
	}
	var rules atomic.Pointer[[]decodeRule] // swapped whole by a reload
	rules.Store(&first)
	var prefixes atomic.Pointer[[]string] // likewise
	prefixes.Store(&c.prefixes)
	firstFilters, err := a.filters("broker", c.Filter)
	if err != nil {
		return nil, err
	}
	var filters atomic.Pointer[topicFilters] // likewise
	filters.Store(&firstFilters)
	decode := func(topic, clientID, _ string, flags lightchain.Flags, payload []byte, received time.Time) *sensors.Message {
		if string(payload) == homeassistant.Online && topic == a.presence.topics.Load().birth {
			a.presence.announce()
		}
		rules := *rules.Load()
		rule := slices.IndexFunc(rules, func(r decodeRule) bool { return r.filter.Matches(topic) })
		if rule < 0 {
			rule = len(rules) - 1 // "#" covers no topic that begins with $
		}
		return filters.Load().message(topic, func(keep sensors.Keeping) *sensors.Message {
			return rules[rule].intake.MessageKeeping(keep, "", topic, clientID, flags, payload, received)
		})
	}
	config := broker.Config{
		PassOn: func(topic string) (bool, func()) {
			if upstreamTopic(*prefixes.Load(), topic) {
				return true, nil
			}
			unwanted, count := filters.Load().unwanted(topic)
			if unwanted {
				nodes.Unseen(topic)
			}
			return unwanted, count
		},
		// What a client says of this host is what the broker keeps only now: a word before that would be overwritten by it.
		Passed: contradicted.hear,
		// A birth that is lost here ends the one before.
		Exceeded: nodes.Unseen,
		Lost:     func(n int, why string) { a.losses.add("broker", n, why) },
		Users:    c.Users, Passwords: c.PasswordFile, ACL: c.ACLFile, Decode: decode, Limits: c.limits(), Log: a.log,
		Bounds: broker.Bounds{
			Reading: int(c.MaxReading), Retained: int(c.MaxRetained), Queue: int(c.MaxQueue), Queued: int(c.MaxQueued),
			Sessions: c.MaxSessions, Subscriptions: c.MaxSubscriptions, PerAddress: c.MaxPerAddress,
		},
	}
	for _, l := range [...]struct {
		kind    broker.Kind
		address string
	}{{broker.TCP, c.Listen}, {broker.TLS, c.TLSListen}, {broker.WS, c.WSListen}, {broker.WSS, c.WSSListen}} {
		if l.address != "" {
			config.Listeners = append(config.Listeners, broker.Listener{Kind: l.kind, Address: l.address, Anonymous: c.AllowAnonymous})
		}
	}
	if c.TLSCert != "" {
		certificate, err := broker.Certificate(c.tlsFiles(), a.log)
		if err != nil {
			return nil, fmt.Errorf("broker.tls_cert: %w", err)
		}
		certificate.MinVersion = tls.VersionTLS12
		config.TLS = certificate
		if c.TLSClientCA != "" {
			config.CertificateUser = c.TLSClientUser
		}
	}
	config.Subscribers = a.subscribers(&c.BrokerConfig)
	b, err := broker.New(config)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	host.publish = b.Publish
	adopt := func(changed any) (func(), error) {
		next := changed.(brokerSettings)
		same := next
		same.Decode, same.payload, same.prefixes = c.Decode, c.payload, c.prefixes
		same.MaxClients, same.MaxPacket, same.MaxInflight = c.MaxClients, c.MaxPacket, c.MaxInflight
		same.MaxKeepalive, same.MaxIdle = c.MaxKeepalive, c.MaxIdle
		same.Filter, same.MaxRate, same.HostConfig = c.Filter, c.MaxRate, c.HostConfig
		if !reflect.DeepEqual(same, c) {
			return nil, nil // where it listens, or who is let in there: that takes a new broker
		}
		changedRules, err := a.decodeRules(next, nodes.Read)
		if err != nil {
			return nil, err
		}
		changedFilters, err := a.filters("broker", next.Filter)
		if err != nil {
			return nil, err
		}
		return func() {
			rules.Store(&changedRules)
			filters.Store(&changedFilters)
			prefixes.Store(&next.prefixes)
			nodes.SetAsks(next.HostID != "", next.ReorderTimeout)
			host.become(next.HostID)
			if err := b.SetLimits(next.limits()); err != nil {
				a.log.Error("failed to change the limits of the embedded broker, which keeps those it has", "err", err)
			}
			c = next
		}, nil
	}
	run := func(ctx context.Context, sink sensors.Sink) error {
		a.forgetSubscribers(&c.BrokerConfig) // the broker before has ended
		nodes.SetAsks(c.HostID != "", c.ReorderTimeout)
		host.become(c.HostID)
		return host.run(ctx, b.Ready(), func(ctx context.Context) error { return b.Run(ctx, sink) })
	}
	request := func(topic string, payload []byte) error { b.Publish(topic, payload, 0, false); return nil }
	return &source{run: run, broker: b, ready: b.Ready(), listens: true, adopt: adopt, refresh: b.ReadUsers, publish: b.Publish, request: request, stats: func() api.Source {
		s := b.Stats()
		var listening []string
		select {
		case <-b.Ready():
			for _, addr := range b.Addrs() {
				listening = append(listening, addr.String())
			}
		default:
		}
		return api.Source{Name: "broker", Connected: len(listening) > 0, Detail: strings.Join(listening, " "),
			Received: s.Received[0] + s.Received[1] + s.Received[2], Clients: s.Connected,
			Recognised: s.Recognised, Refused: s.Refused + s.Unauthenticated, Undelivered: s.Undelivered, Broker: brokerStatus(&s),
			Slowed: s.Slowed, Exceeded: s.Exceeded, Filters: filters.Load().status(), Sparkplug: nodes.status(host.name())}
	}}, nil
}

// mqttSettings is what one MQTT source is made of.
type mqttSettings struct {
	MQTTConfig
	payload PayloadConfig
}

func (a *Agent) newMQTT(c mqttSettings) (*source, error) {
	name := "mqtt:" + c.Name
	syncs := a.ignoresSync(a.log.With("source", name))
	first, err := a.filters(name, c.Filter)
	if err != nil {
		return nil, err
	}
	var filters atomic.Pointer[topicFilters] // swapped whole by a reload
	filters.Store(&first)
	nodes := a.sparkplug.host(name, c.Servers)
	config := mqttsource.Config{
		Config: c.Config, Options: mqttconn.Options{TimeFloor: a.timeFloor, Log: a.log},
		Gateway: a.gatewayID(), MaxPayload: sensors.MostPayloadMax,
		Lost:    func(n int, why string) { a.losses.add(name, n, why) },
		Ignored: func(topic string) bool { return a.presence.topics.Load().owns(topic) || syncs(topic) },
		Unwanted: func(topic string) bool {
			unwanted, count := filters.Load().unwanted(topic)
			if unwanted {
				count()
				nodes.Unseen(topic)
			}
			return unwanted
		},
		Rate: c.MaxRate, Exceeded: nodes.Unseen,
	}
	session := sessionOf(a.store.Chain(), &c.Config)
	config.Session = func() mqttsource.Session { return a.sessions.state(session) }
	config.NoteSession = func(state mqttsource.Session) { a.sessions.note(session, state) }
	config.Held = func() []string { return a.sessions.filters(session) }
	clientID := mqttsource.ClientID(&c.Config, a.gatewayID())
	config.Hold = func(filters []string) {
		a.sessions.hold(session, filters)
		a.sessions.at(session, clientID, c.Servers)
	}
	var s *mqttsource.Source
	hostID, reorder := c.HostID, c.ReorderTimeout
	contradicted := contradicted{id: func() string { return hostID }, again: func() { s.SayOnline() }}
	stateful := func(topic string, flags lightchain.Flags, payload []byte, received time.Time) (sensors.Result, error) {
		contradicted.hear(topic, payload)
		return nodes.Read(topic, flags, payload, received)
	}
	subscribe := c.Subscribe
	if hostID != "" {
		state := sparkplug.StateTopic(hostID)
		config.Presence = &mqttsource.Presence{Topic: state, Says: func(online bool, since time.Time) []byte {
			return sparkplug.StatePayload(online, uint64(since.UnixMilli()))
		}}
		if !covered(c.Subscribe, state) {
			// Sparkplug 3.0, tck-id-payloads-state-subscribe: a host hears its own word.
			subscribe = append(slices.Clone(subscribe), SubscribeConfig{Topics: []string{state}, QoS: 1})
		}
	}
	for i, sub := range subscribe {
		in, err := a.intake("mqtt:"+c.Name, fmt.Sprintf("mqtt %q, subscribe[%d]", c.Name, i), sub.Config, c.payload, stateful)
		if err != nil {
			return nil, err
		}
		for _, filter := range sub.Topics {
			config.Subscriptions = append(config.Subscriptions, mqttsource.Subscription{Filter: filter, QoS: byte(sub.QoS),
				Decode: func(topic string, flags lightchain.Flags, payload []byte, received time.Time) *sensors.Message {
					return filters.Load().message(topic, func(keep sensors.Keeping) *sensors.Message {
						return in.MessageKeeping(keep, "", topic, "", flags, payload, received)
					})
				}})
		}
	}
	s, err = mqttsource.New(config)
	if err != nil {
		return nil, fmt.Errorf("mqtt %q: %w", c.Name, err)
	}
	adopt := func(changed any) (func(), error) {
		next := changed.(mqttSettings)
		same := next
		same.Filter, same.MaxRate = c.Filter, c.MaxRate
		if !reflect.DeepEqual(same, c) {
			return nil, nil // another connection
		}
		changedFilters, err := a.filters(name, next.Filter)
		if err != nil {
			return nil, err
		}
		return func() {
			filters.Store(&changedFilters)
			s.SetRate(next.MaxRate)
			c = next
		}, nil
	}
	run := func(ctx context.Context, sink sensors.Sink) error {
		a.sparkplug.use(name, nodes)
		nodes.SetAsks(hostID != "", reorder)
		return s.Run(ctx, sink)
	}
	return &source{run: run, ready: s.Ready(), adopt: adopt, request: s.Publish, stats: func() api.Source {
		stats := s.Stats()
		out := api.Source{Name: name, State: api.SourceStarting, Connected: stats.Subscribed, Detail: stats.Server, Received: uint64(stats.Received), Ignored: uint64(stats.Ignored), Recognised: uint64(stats.Recognised + stats.Replays),
			Slowed: uint64(stats.Slowed), Exceeded: uint64(stats.Exceeded), Filters: filters.Load().status(), Sparkplug: nodes.status(hostID)}
		switch {
		case stats.Subscribed:
		case stats.LastError != "":
			out.State, out.Since, out.Detail = api.SourceFailing, stats.Since, stats.LastError
		case len(stats.Refused) > 0:
			out.State, out.Since = api.SourceFailing, stats.RefusedSince
			out.Detail = fmt.Sprintf("%s refuses the subscription to %s", stats.Server, strings.Join(stats.Refused, " "))
		}
		return out
	}}, nil
}

// covered reports whether messages on a topic come by one of the subscriptions.
func covered(subscribe []SubscribeConfig, topic string) bool {
	return slices.ContainsFunc(subscribe, func(s SubscribeConfig) bool {
		return slices.ContainsFunc(s.Topics, func(filter string) bool { return mqttwire.Covers(filter, topic) })
	})
}

func (a *Agent) newHwmon(c HwmonConfig) *source {
	h := hwmon.New(hwmon.Config{Root: c.Root, Interval: c.Interval, Device: c.Device, Logger: a.log})
	ready := make(chan struct{})
	close(ready)
	return &source{run: h.Run, ready: ready, stats: func() api.Source {
		stats := h.Stats()
		out := api.Source{Name: "hwmon", Connected: true, Received: uint64(stats.Messages)}
		if stats.Failures > 0 {
			out.Detail = fmt.Sprintf("%d readings failed", stats.Failures)
		}
		return out
	}}
}

// timeFloor is a time that is certainly past: the program's own, or the newest header's. A board without a real-time
// clock may start in 1970, and no certificate is valid then.
func (a *Agent) timeFloor() time.Time {
	floor := a.options.Built
	if h, err := a.store.HeaderAt(a.store.Tip().Height); err == nil {
		if sealed := time.Unix(0, h.Sealed); sealed.After(floor) {
			return sealed
		}
	}
	return floor
}
