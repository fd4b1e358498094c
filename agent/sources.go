package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"time"

	"edgechain/agent/api"
	"edgechain/lightchain"
	"edgechain/sensors"
	"edgechain/sensors/broker"
	"edgechain/sensors/hwmon"
	"edgechain/sensors/mqttsource"
)

// source is one running source of messages, whichever kind.
type source struct {
	name  string
	run   func(context.Context, sensors.Sink) error
	ready <-chan struct{}
	stats func() api.Source
}

// makeSources builds what the configuration names.
func (a *Agent) makeSources() error {
	if a.config.Broker.Enabled {
		if err := a.makeBroker(); err != nil {
			return err
		}
	}
	for i := range a.config.MQTT {
		if err := a.makeMQTT(&a.config.MQTT[i]); err != nil {
			return err
		}
	}
	if a.config.Hwmon.Enabled {
		a.makeHwmon()
	}
	return nil
}

// runSources starts every source; the channel tells of the first that ended by itself.
func (a *Agent) runSources(ctx context.Context, running *sync.WaitGroup) <-chan error {
	failed := make(chan error, len(a.sources)+1)
	for _, s := range a.sources {
		running.Go(func() {
			if err := s.run(ctx, a.queue); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("source %s: %w", s.name, err)
			}
		})
	}
	running.Go(func() { a.watchClock(ctx) })
	running.Go(func() { a.recordLosses(ctx) })
	return failed
}

// intake is how the messages of one subscription are read.
func (a *Agent) intake(key string, c sensors.Config) (*sensors.Intake, error) {
	d, err := sensors.New(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return &sensors.Intake{
		Decoder: d, PayloadMax: int(a.config.Payload.Max),
		Refused: func(r sensors.Reason) { a.metrics.notUnderstood.WithLabelValues(string(r)).Inc() },
	}, nil
}

func (a *Agent) makeBroker() error {
	c := &a.config.Broker
	type rule struct {
		filter sensors.Filter
		intake *sensors.Intake
	}
	var rules []rule
	for i, d := range append(c.Decode, DecodeConfig{Topics: []string{"#"}}) {
		in, err := a.intake(fmt.Sprintf("broker.decode[%d]", i), d.Config)
		if err != nil {
			return err
		}
		for _, text := range d.Topics {
			filter, err := sensors.ParseFilter(text)
			if err != nil {
				return fmt.Errorf("broker.decode[%d]: %w", i, err)
			}
			rules = append(rules, rule{filter, in})
		}
	}
	decode := func(topic, clientID, _ string, flags lightchain.Flags, payload []byte, received time.Time) *sensors.Message {
		for i := range rules {
			if r := &rules[i]; r.filter.Matches(topic) {
				return r.intake.Message("", topic, clientID, flags, payload, received)
			}
		}
		return nil
	}
	config := broker.Config{
		Users: c.Users, Decode: decode, MaxClients: c.MaxClients, MaxPacket: int(c.MaxPacket), MaxInFlight: c.MaxInflight, Log: a.log,
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
		certificate, err := broker.Certificate(c.TLSCert, c.TLSKey, a.log)
		if err != nil {
			return fmt.Errorf("broker.tls_cert: %w", err)
		}
		certificate.MinVersion = tls.VersionTLS12
		config.TLS = certificate
	}
	b, err := broker.New(config)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	a.sources = append(a.sources, source{"broker", b.Run, b.Ready(), func() api.Source {
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
			Received: s.Received[0] + s.Received[1] + s.Received[2], Clients: s.Connected}
	}})
	return nil
}

func (a *Agent) makeMQTT(c *MQTTConfig) error {
	name := "mqtt:" + c.Name
	password, err := c.ReadPassword()
	if err != nil {
		return err
	}
	config := mqttsource.Config{
		Name: c.Name, User: c.Username, Password: password, ClientID: c.ClientID, Gateway: a.store.Chain().String()[:12],
		KeepAlive: c.KeepAlive, ConnectTimeout: c.ConnectTimeout, MaxPayload: sensors.MostPayloadMax,
		TLS:       &mqttsource.TLS{CAFile: c.TLSCA, CertFile: c.TLSCert, KeyFile: c.TLSKey, ServerName: c.TLSServerName},
		TimeFloor: a.timeFloor, Log: a.log,
		Lost: func(n int, why string) { a.losses.add(name, n, why) },
	}
	for _, s := range c.Servers {
		config.Servers = append(config.Servers, string(s))
	}
	for i, s := range c.Subscribe {
		in, err := a.intake(fmt.Sprintf("mqtt %q, subscribe[%d]", c.Name, i), s.Config)
		if err != nil {
			return err
		}
		for _, filter := range s.Topics {
			config.Subscriptions = append(config.Subscriptions, mqttsource.Subscription{Filter: filter, QoS: byte(s.QoS),
				Decode: func(topic string, flags lightchain.Flags, payload []byte, received time.Time) *sensors.Message {
					return in.Message("", topic, "", flags, payload, received)
				}})
		}
	}
	s, err := mqttsource.New(config)
	if err != nil {
		return fmt.Errorf("mqtt %q: %w", c.Name, err)
	}
	a.sources = append(a.sources, source{name, s.Run, s.Ready(), func() api.Source {
		stats := s.Stats()
		out := api.Source{Name: name, Connected: stats.Subscribed, Detail: stats.Server, Received: uint64(stats.Received)}
		if !stats.Subscribed && stats.LastError != "" {
			out.Detail = stats.LastError
		}
		return out
	}})
	return nil
}

func (a *Agent) makeHwmon() {
	c := &a.config.Hwmon
	device := c.Device
	if device == "" {
		device = a.config.name()
	}
	h := hwmon.New(hwmon.Config{Root: c.Root, Interval: c.Interval, Device: device, Logger: a.log})
	ready := make(chan struct{})
	close(ready)
	a.sources = append(a.sources, source{"hwmon", h.Run, ready, func() api.Source {
		stats := h.Stats()
		out := api.Source{Name: "hwmon", Connected: true, Received: uint64(stats.Messages)}
		if stats.Failures > 0 {
			out.Detail = fmt.Sprintf("%d readings failed", stats.Failures)
		}
		return out
	}})
}

// timeFloor is a time that is certainly past: the newest header's. A board without a real-time clock may start in
// 1970, and no certificate is valid then.
func (a *Agent) timeFloor() time.Time {
	h, err := a.store.HeaderAt(a.store.Tip().Height)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, h.Sealed)
}
