//go:build !noopcua

package opcua

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gopcua/opcua/ua"

	"edgechain.example/sensors"
	"edgechain.example/sensors/poll"
)

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
