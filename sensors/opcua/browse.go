//go:build !noopcua

package opcua

import (
	"context"
	"fmt"
	"strings"

	"github.com/gopcua/opcua/ua"
)

// mostBrowsed is how many nodes are listed at most.
const mostBrowsed = 10000

// Standard nodes (OPC UA Part 6, annex A).
const (
	objectsFolder          = "i=85"
	hierarchicalReferences = 33
)

// Browse lists the nodes below one, "" the folder of all objects, down to a depth of 1 or more.
func Browse(ctx context.Context, c *Config, o Options, below string, depth int) ([]Node, error) {
	if below == "" {
		below = objectsFolder
	}
	if err := checkNodeID(below); err != nil {
		return nil, err
	}
	id, err := ua.ParseNodeID(below)
	if err != nil {
		return nil, err
	}
	o = o.filled()
	server, err := connect(ctx, c, &o)
	if err != nil {
		return nil, err
	}
	defer server.close()
	b := &browsing{server: server, seen: map[string]bool{id.String(): true}}
	err = b.below(ctx, id, 1, depth)
	return b.all, err
}

// browsing is a walk from node to node. References make a net, not a tree: a node is listed once.
type browsing struct {
	server *session
	seen   map[string]bool
	all    []Node
}

func (b *browsing) below(ctx context.Context, id *ua.NodeID, at, depth int) error {
	references, err := b.references(ctx, id)
	if err != nil {
		return fmt.Errorf("browsing %s: %w", id, err)
	}
	for _, r := range references {
		if r == nil || r.NodeID == nil || r.NodeID.NodeID == nil || r.NodeID.ServerIndex != 0 {
			continue
		}
		child := r.NodeID.NodeID
		if b.seen[child.String()] {
			continue
		}
		b.seen[child.String()] = true
		n := Node{ID: child.String(), Class: strings.TrimPrefix(r.NodeClass.String(), "NodeClass"), Depth: at}
		if r.DisplayName != nil {
			n.Name = r.DisplayName.Text
		}
		if b.all = append(b.all, n); len(b.all) > mostBrowsed {
			return fmt.Errorf("more than %d nodes: name one further down, or a lower depth", mostBrowsed)
		}
		if at < depth {
			if err := b.below(ctx, child, at+1, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// references returns those that lead down from a node, however many answers that takes.
func (b *browsing) references(ctx context.Context, id *ua.NodeID) (all []*ua.ReferenceDescription, err error) {
	first, err := call[*ua.BrowseResponse](ctx, b.server, &ua.BrowseRequest{View: &ua.ViewDescription{ViewID: ua.NewTwoByteNodeID(0)}, NodesToBrowse: []*ua.BrowseDescription{{
		NodeID: id, BrowseDirection: ua.BrowseDirectionForward, ReferenceTypeID: ua.NewNumericNodeID(0, hierarchicalReferences), IncludeSubtypes: true,
		ResultMask: uint32(ua.BrowseResultMaskAll),
	}}}, b.server.config.Timeout)
	if err != nil {
		return nil, err
	}
	results := first.Results
	for {
		if len(results) != 1 || results[0] == nil {
			return nil, fmt.Errorf("%d answers to one node", len(results))
		}
		if status := results[0].StatusCode; status&severity != 0 {
			return nil, status
		}
		all = append(all, results[0].References...)
		more := results[0].ContinuationPoint
		if len(more) == 0 || len(all) > mostBrowsed {
			return all, nil
		}
		next, err := call[*ua.BrowseNextResponse](ctx, b.server, &ua.BrowseNextRequest{ContinuationPoints: [][]byte{more}}, b.server.config.Timeout)
		if err != nil {
			return nil, err
		}
		results = next.Results
	}
}
