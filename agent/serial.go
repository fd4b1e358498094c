package agent

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain"
	"edgechain.example/sensors"
	"edgechain.example/sensors/poll"
	"edgechain.example/sensors/serial"
	"edgechain.example/tomlconf"
)

// serialSettings is what the source of a serial line is made of.
type serialSettings struct {
	serial.Config
	payload PayloadConfig
}

func (a *Agent) newSerial(c serialSettings) (*source, error) {
	name := serial.SourceName(c.Name)
	read := func(c serialSettings) (*sensors.Intake, error) {
		return a.intake(name, fmt.Sprintf("serial %q", c.Name), c.Decoding(), c.payload, nil)
	}
	first, err := read(c)
	if err != nil {
		return nil, err
	}
	var in atomic.Pointer[sensors.Intake] // swapped by a reload
	in.Store(first)
	s := serial.New(c.Config, serial.Options{
		Decode: func(telegram []byte, torn bool, received time.Time) *sensors.Message {
			return serialMessage(in.Load(), c.Name, telegram, torn, received)
		},
		Lost:    func(n int, why string) { a.losses.add(name, n, why) },
		Changed: a.recordChange(serial.SourceName(sensors.SourceName(c.Name))),
		Log:     a.log,
	})
	adopt := func(changed any) (func(), error) {
		next := changed.(serialSettings)
		if !c.SameLine(&next.Config) {
			return nil, nil // another line
		}
		changedIntake, err := read(next)
		if err != nil {
			return nil, err
		}
		return func() { in.Store(changedIntake) }, nil
	}
	ready := make(chan struct{})
	close(ready)
	return &source{run: s.Run, ready: ready, adopt: adopt, once: s.Once, stats: func() api.Source {
		stats := s.Stats()
		return linkSource(name, c.Port, stats.LinkStats, stats.Messages)
	}}, nil
}

// serialMessage makes the message of a telegram. Of one whose beginning may be missing nothing is read: the end of a number is
// another number.
func serialMessage(in *sensors.Intake, name string, telegram []byte, torn bool, received time.Time) *sensors.Message {
	source := serial.EntrySource(name)
	if !torn {
		return in.Message(source, name, "", 0, telegram, received)
	}
	silent := *in
	silent.Refused, silent.Doubted = nil, nil
	m := silent.Message(source, name, "", lightchain.NotUnderstood, telegram, received)
	m.Readings, m.Decoder = nil, ""
	return m
}

// linkSource says how a source stands that listens over a link.
func linkSource(name, where string, l poll.LinkStats, messages uint64) api.Source {
	out := api.Source{Name: name, State: api.SourceStarting, Detail: where, Received: messages}
	switch {
	case l.Open:
		out.State, out.Connected = api.SourceUp, true
	case !l.Since.IsZero():
		out.State, out.Since, out.Detail = api.SourceFailing, l.Since, where+": "+l.Why
	}
	return out
}

// listenOnce waits for one telegram of a line, without an agent.
func listenOnce(ctx context.Context, c *Config, line *serial.Config, group string) ([]poll.Answer, error) {
	decoder, err := sensors.New(line.Decoding())
	if err != nil {
		return nil, err
	}
	in := &sensors.Intake{Decoder: decoder, PayloadMax: int(c.Payload.Max)}
	s := serial.New(*line, serial.Options{Decode: func(telegram []byte, torn bool, received time.Time) *sensors.Message {
		return serialMessage(in, line.Name, telegram, torn, received)
	}})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, nowhere{}) }()
	answers, err := s.Once(ctx, group)
	cancel()
	<-done
	return answers, err
}

// nowhere is a sink that keeps nothing.
type nowhere struct{}

// Put implements [sensors.Sink].
func (nowhere) Put(ctx context.Context, _ *sensors.Message) error { return ctx.Err() }

// TryPut implements [sensors.Sink].
func (nowhere) TryPut(*sensors.Message) bool { return true }

// checkSerial looks at the serial lines. lines are those that others have, by whom.
func (c *Config) checkSerial(d *tomlconf.Document, lines map[string]string) {
	names := map[string]bool{}
	for i := range c.Serial {
		s := &c.Serial[i]
		s.Check(d, names, lines)
		as := s.Decoding()
		checkDecoder(d, s, &as)
	}
}
