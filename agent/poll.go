package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
	"edgechain.example/sensors/modbus"
	"edgechain.example/sensors/opcua"
	"edgechain.example/sensors/poll"
	"edgechain.example/sensors/serial"
	"edgechain.example/tomlconf"
)

// Sources that ask, and what the chain says of their failures.

// pollEvent is what became of a group of reads in one poll.
type pollEvent struct {
	Source    string          `json:"source"`              // without what follows the name
	Group     string          `json:"group"`               // its name in the configuration
	Failing   []pollFailing   `json:"failing,omitempty"`   // reads that failed, and did not before
	Recovered []pollRecovered `json:"recovered,omitempty"` // reads that are answered again
	Late      *pollLate       `json:"late,omitempty"`      // it begins to miss its interval, or keeps it again
}

type pollFailing struct {
	Read string `json:"read"` // as in an entry's source behind the name
	Why  string `json:"why"`
}

type pollRecovered struct {
	Read  string `json:"read"`
	From  int64  `json:"from"` // nanoseconds since the Unix epoch: the first poll that failed
	To    int64  `json:"to"`   // and the one that was answered
	Polls uint64 `json:"polls"`
}

type pollLate struct {
	Since  int64  `json:"since"` // nanoseconds since the Unix epoch: when the first poll was due that was missed
	Missed uint64 `json:"missed"`
	Over   bool   `json:"over,omitempty"`
}

// recordChange makes the entry about what became of a group.
func (a *Agent) recordChange(source string) func(context.Context, poll.Change) error {
	return func(ctx context.Context, c poll.Change) error {
		e := pollEvent{Source: source, Group: c.Group}
		for _, f := range c.Failing {
			e.Failing = append(e.Failing, pollFailing{f.Read, f.Why})
		}
		for _, r := range c.Recovered {
			e.Recovered = append(e.Recovered, pollRecovered{r.Read, sensors.Nanoseconds(r.From), sensors.Nanoseconds(r.To), r.Polls})
		}
		if l := c.Late; l != nil {
			e.Late = &pollLate{sensors.Nanoseconds(l.Since), l.Missed, l.Over}
		}
		return a.recordWith(ctx, "poll", e, nil)
	}
}

// polled is a source that asks.
type polled struct {
	*poll.Source
	name, where string
}

func (a *Agent) newModbus(c modbus.Config) (*source, error) {
	name := modbus.SourceName(c.Name)
	bus, err := modbus.NewBus(c, a.log)
	if err != nil {
		return nil, fmt.Errorf("modbus %q: %w", c.Name, err)
	}
	p := &polled{name: name, where: c.Controller, Source: poll.New(poll.Config{
		Name: name, Groups: bus.Groups(&c), Changed: a.recordChange(modbus.SourceName(sensors.SourceName(c.Name))), Rest: bus.Rest, End: bus.Close, Log: a.log})}
	adopt := func(changed any) (func(), error) {
		next := changed.(modbus.Config)
		if !c.SameBus(&next) {
			return nil, nil // another line
		}
		return func() {
			p.SetGroups(bus.Groups(&next))
			c = next
		}, nil
	}
	return p.source(adopt), nil
}

func (p *polled) source(adopt func(any) (func(), error)) *source {
	ready := make(chan struct{})
	close(ready)
	return &source{run: p.Run, ready: ready, adopt: adopt, once: p.Once, stats: p.stats}
}

// stats says how the source stands: it is up where any read of any group is answered.
func (p *polled) stats() api.Source {
	out := api.Source{Name: p.name, State: api.SourceStarting, Detail: p.where}
	asked, silent := false, true
	for _, s := range p.Stats() {
		out.Received += s.Messages
		out.Groups = append(out.Groups, api.Group{Name: s.Name, Reads: s.Reads, Failing: s.Failing, Since: s.Since, Why: s.Why, Late: s.Late,
			Answered: s.Answered, Polls: s.Polls, Failed: s.Failed, Missed: s.Missed})
		if s.Polls == 0 {
			continue
		}
		asked = true
		if s.Failing < s.Reads {
			silent = false
			continue
		}
		if s.Silent.After(out.Since) {
			out.Since = s.Silent
		}
	}
	switch {
	case asked && silent:
		out.State = api.SourceFailing
		for _, g := range out.Groups {
			if g.Why != "" {
				out.Detail = fmt.Sprintf("%s, group %s: %s", p.where, g.Name, g.Why)
				break
			}
		}
	case asked:
		out.State, out.Connected, out.Since = api.SourceUp, true, time.Time{}
	}
	return out
}

// tables returns the hashes of the tables by which what was polled is read, by source and group.
func (c *Config) tables() map[string]string {
	var all map[string]string
	for i := range c.Modbus {
		m := &c.Modbus[i]
		for group, table := range m.Tables() {
			if all == nil {
				all = map[string]string{}
			}
			all[modbus.SourceName(m.Name)+"/"+group] = table.Hash().String()
		}
	}
	return all
}

// Table returns the text of the table by which a group is read: of "line-1/press", or "modbus:line-1/press".
func (c *Config) Table(name string) (string, error) {
	asked := parsePolledName(name)
	for i := range c.Modbus {
		if m := &c.Modbus[i]; asked.is(modbusKind, m.Name) {
			if table, ok := m.Tables()[asked.group]; ok {
				return table.Text(), nil
			}
		}
	}
	return "", noSuchGroup(name)
}

// The kinds of what is polled, or listened to, as the source of an entry has them.
const (
	modbusKind = "modbus"
	opcuaKind  = "opcua"
	serialKind = "serial"
)

// polledName is what a person calls something that is polled.
type polledName struct {
	kind  string // "" where it was not said
	name  string
	group string // "": all
}

// parsePolledName parts a name that a person gave.
func parsePolledName(text string) (n polledName) {
	n.name = text
	for _, kind := range []string{modbusKind, opcuaKind, serialKind} {
		if rest, ok := strings.CutPrefix(text, kind+":"); ok {
			n.kind, n.name = kind, rest
		}
	}
	n.name, n.group, _ = strings.Cut(n.name, "/")
	return n
}

func (n *polledName) is(kind, name string) bool {
	return (n.kind == "" || n.kind == kind) && n.name == name
}

func noSuchGroup(name string) error {
	return fmt.Errorf("nothing that is polled is called %q: expected the name of a [[modbus]], [[opcua]] or [[serial]], or one of the former two with a slash and the name of one of its [[modbus.request]] or [[opcua.subscribe]]: %w", name, store.ErrNotFound)
}

// polledDevice is something of the configuration that is polled, or listened to.
type polledDevice struct {
	kind, name string
	once       func(ctx context.Context, group string) ([]poll.Answer, error) // without an agent
}

// polled returns all of these.
func (c *Config) polled() (all []polledDevice) {
	for i := range c.Modbus {
		m := &c.Modbus[i]
		all = append(all, polledDevice{modbusKind, m.Name, func(ctx context.Context, group string) ([]poll.Answer, error) { return askModbus(ctx, m, group) }})
	}
	for i := range c.OPCUA {
		u := &c.OPCUA[i]
		all = append(all, polledDevice{opcuaKind, u.Name, func(ctx context.Context, group string) ([]poll.Answer, error) { return c.readOPCUA(ctx, u, group) }})
	}
	for i := range c.Serial {
		s := &c.Serial[i]
		all = append(all, polledDevice{serialKind, s.Name, func(ctx context.Context, group string) ([]poll.Answer, error) { return listenOnce(ctx, c, s, group) }})
	}
	return all
}

// pollOnce asks what a running source polls.
func (a *Agent) pollOnce(ctx context.Context, name string) ([]api.Polled, error) {
	asked := parsePolledName(name)
	for _, s := range a.running() {
		kind, own, _ := strings.Cut(s.name, ":")
		if s.once == nil || !asked.is(kind, own) {
			continue
		}
		answers, err := s.once(ctx, asked.group)
		if errors.Is(err, poll.ErrNoGroup) {
			break
		}
		return polledAnswers(answers), err
	}
	return nil, noSuchGroup(name)
}

// PollOnce asks what a configuration polls, without an agent.
func PollOnce(ctx context.Context, c *Config, name string) ([]api.Polled, error) {
	asked := parsePolledName(name)
	for _, p := range c.polled() {
		if !asked.is(p.kind, p.name) {
			continue
		}
		answers, err := p.once(ctx, asked.group)
		if errors.Is(err, poll.ErrNoGroup) {
			break
		}
		return polledAnswers(answers), err
	}
	return nil, noSuchGroup(name)
}

// askModbus asks one bus, or one of its groups.
func askModbus(ctx context.Context, m *modbus.Config, group string) ([]poll.Answer, error) {
	b, err := modbus.NewBus(*m, nil)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var wanted []poll.Group
	for _, g := range b.Groups(m) {
		if group == "" || g.Name == group {
			wanted = append(wanted, g)
		}
	}
	if len(wanted) == 0 {
		return nil, poll.ErrNoGroup
	}
	return poll.Ask(ctx, wanted), ctx.Err()
}

func polledAnswers(answers []poll.Answer) (all []api.Polled) {
	for _, x := range answers {
		p := api.Polled{Group: x.Group, Read: x.Read, Readings: []api.Reading{}}
		switch {
		case x.Err != nil:
			p.Error, p.Refused = x.Err.Error(), errors.As(x.Err, new(*poll.RefusedError))
		default:
			m := x.Message
			p.Source, p.Received, p.Payload, p.Decoder = m.Source, m.Received.UTC(), m.Payload, m.Decoder
			p.Readings = api.Readings(m.Readings)
		}
		all = append(all, p)
	}
	return all
}

// checkPolled looks at what is polled.
func (c *Config) checkPolled(d *tomlconf.Document) {
	names, lines, readings := map[string]bool{}, map[string]string{}, map[[2]string]bool{}
	for i := range c.Modbus {
		c.Modbus[i].Check(d, names, lines, readings)
	}
	servers := map[string]bool{}
	for i := range c.OPCUA {
		c.OPCUA[i].Check(d, servers, readings)
	}
	c.checkSerial(d, lines)
}

// wantPolled adds the sources that ask, or listen to a line.
func (a *Agent) wantPolled(c *Config, add func(name string, config any, make func() (*source, error)) error) error {
	for i := range c.Modbus {
		m := c.Modbus[i]
		if err := add(modbus.SourceName(m.Name), m, func() (*source, error) { return a.newModbus(m) }); err != nil {
			return err
		}
	}
	for i := range c.OPCUA {
		u, o := opcuaSettings{c.OPCUA[i], c.Payload}, c.opcuaOptions()
		if err := add(opcua.SourceName(u.Name), u, func() (*source, error) { return a.newOPCUA(u, o), nil }); err != nil {
			return err
		}
	}
	for i := range c.Serial {
		s := serialSettings{c.Serial[i], c.Payload}
		if err := add(serial.SourceName(s.Name), s, func() (*source, error) { return a.newSerial(s) }); err != nil {
			return err
		}
	}
	return nil
}
