package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
	"edgechain.example/sensors/opcua"
	"edgechain.example/sensors/poll"
)

// opcuaFolder is where the gateway's own OPC UA certificate is, in the data folder.
const opcuaFolder = "opcua"

// opcuaSettings is what the source of an OPC UA server is made of.
type opcuaSettings struct {
	opcua.Config
	payload PayloadConfig
}

// opcuaOptions is what all that speaks OPC UA is given.
func (c *Config) opcuaOptions() opcua.Options {
	return opcua.Options{Folder: filepath.Join(c.Gateway.Data, opcuaFolder), Gateway: c.name(), PayloadMax: int(c.Payload.Max)}
}

func (a *Agent) newOPCUA(c opcuaSettings, o opcua.Options) *source {
	name := opcua.SourceName(c.Name)
	o.TimeFloor, o.Log = a.timeFloor, a.log
	o.Lost = func(n int, why string) { a.losses.add(name, n, why) }
	o.Changed = a.recordChange(opcua.SourceName(sensors.SourceName(c.Name)))
	o.Refused = func(node string, why error) {
		a.metrics.notUnderstood.WithLabelValues(string(sensors.ReasonOf(why))).Inc()
		a.unread.refused(name, node, why)
	}
	s := opcua.New(c.Config, o)
	ready := make(chan struct{})
	close(ready)
	return &source{run: s.Run, ready: ready, once: s.Once, stats: func() api.Source {
		stats := s.Stats()
		out := linkSource(name, c.Endpoint, stats.LinkStats, stats.Messages)
		for _, g := range stats.Groups {
			out.Groups = append(out.Groups, api.Group{Name: g.Name, Reads: g.Nodes, Failing: g.Failing, Since: g.Since, Why: g.Why, Polls: g.Came})
		}
		return out
	}}
}

// readOPCUA reads the nodes of a server, or of one of its subscriptions, without an agent.
func (c *Config) readOPCUA(ctx context.Context, u *opcua.Config, group string) ([]poll.Answer, error) {
	o := c.opcuaOptions()
	o.TimeFloor = func() time.Time { return time.Time{} }
	return opcua.ReadOnce(ctx, u, o, group)
}

// BrowseOPCUA lists the nodes below one of a server that the configuration names.
func (c *Config) BrowseOPCUA(ctx context.Context, server, below string, depth int) ([]opcua.Node, error) {
	for i := range c.OPCUA {
		if u := &c.OPCUA[i]; u.Name == server {
			return opcua.Browse(ctx, u, c.opcuaOptions(), below, depth)
		}
	}
	return nil, fmt.Errorf("no [[opcua]] is called %q: %w", server, store.ErrNotFound)
}
