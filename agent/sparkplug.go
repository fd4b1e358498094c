package agent

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors/sparkplug"
)

// mostNodesTold is how many nodes one entry tells of.
const mostNodesTold = 100

// sparkplugs are the nodes of all sources.
type sparkplugs struct {
	folder string
	log    *slog.Logger

	mu      sync.Mutex
	hosts   map[string]plant // guarded by mu; by the name of their source
	written time.Time        // by the goroutine that writes; zero: never
	seen    uint64           // messages up to then
	next    uint64           // entries of the chain up to then
}

// plant is what knows the nodes of a source, and where they are: at another broker others may have the same ids.
type plant struct {
	*sparkplug.Host
	servers []mqttconn.Server // nil: the embedded broker
}

func (p plant) isAt(servers []mqttconn.Server) bool {
	return len(p.servers) == 0 && len(servers) == 0 || slices.ContainsFunc(servers, func(s mqttconn.Server) bool { return slices.Contains(p.servers, s) })
}

// host returns what knows the nodes of a source at a broker, or what will once [sparkplugs.use] is told.
func (s *sparkplugs) host(source string, servers []mqttconn.Server) plant {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, is := s.hosts[source]
	if is && known.isAt(servers) {
		return plant{known.Host, servers}
	}
	p := plant{sparkplug.New(sparkplug.Config{}), servers}
	if !is {
		s.put(source, p)
	}
	return p
}

// use says that a source runs with what [sparkplugs.host] returned.
func (s *sparkplugs) use(source string, p plant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(source, p)
}

// put is under s.mu.
func (s *sparkplugs) put(source string, p plant) {
	if s.hosts == nil {
		s.hosts = map[string]plant{}
	}
	s.hosts[source] = p
}

// only forgets the nodes of all sources but some: whoever is not heard any more may be born again, and nobody hears it.
func (s *sparkplugs) only(sources []*source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.hosts {
		if !slices.ContainsFunc(sources, func(s *source) bool { return s.name == name }) {
			delete(s.hosts, name)
		}
	}
}

func (s *sparkplugs) all() map[string]plant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.hosts)
}

// status says what is known of a source's nodes; nil: it has none, and is no host.
func (p plant) status(hostID string) *api.Sparkplug {
	stats := p.Stats()
	if stats.Messages == 0 && stats.Nodes == 0 && hostID == "" {
		return nil
	}
	return &api.Sparkplug{HostID: hostID, Stats: stats}
}

// nodeEvent is what happened to a node, in an entry.
type nodeEvent struct {
	Node     string  `json:"node,omitempty"`
	Device   string  `json:"device,omitempty"`
	What     string  `json:"what,omitempty"`
	Times    uint64  `json:"times"`
	Messages uint64  `json:"messages,omitempty"`
	Numbers  *[2]int `json:"numbers,omitempty"`
}

// sparkplugEvent is what happened to nodes of a source.
type sparkplugEvent struct {
	Source string      `json:"source"`
	Nodes  []nodeEvent `json:"nodes"`
	More   int         `json:"more,omitempty"` // that a later entry tells of
}

// watchSparkplug records what happens to nodes, asks for births that are missing, and writes down what is known, until ctx ends.
func (a *Agent) watchSparkplug(ctx context.Context) {
	untilEnded(ctx, time.Second, func() {
		for source, host := range a.sparkplug.all() {
			a.recordNodes(ctx, source, host.Host)
			a.askForBirths(source, host.Host)
		}
		a.sparkplug.keep(&a.store.Reader, ctx.Err() != nil)
	})
}

// recordNodes makes entries of what happened to nodes: one of those of which messages are missing, one of all else.
func (a *Agent) recordNodes(ctx context.Context, source string, host *sparkplug.Host) {
	events, more := host.Events(mostNodesTold)
	gap := gapEvent{Source: source, Why: "numbers of Sparkplug messages are missing"}
	other := sparkplugEvent{Source: source}
	var first [256]*sparkplug.Event // of each kind
	var nodes [256]int
	for i := range events {
		e := &events[i]
		told := nodeEvent{Node: e.Node, Device: e.Device, What: e.What.String(), Times: e.Times, Messages: e.Messages}
		if e.Numbered {
			told.Numbers = &[2]int{e.From, e.To}
		}
		if nodes[e.What]++; first[e.What] == nil {
			first[e.What] = e
		}
		if e.What != sparkplug.Gap {
			other.Nodes = append(other.Nodes, told)
			continue
		}
		told.What = ""
		gap.Nodes, gap.Count = append(gap.Nodes, told), gap.Count+e.Messages
	}
	for what, e := range first { // one line for all that happened alike, whatever strangers are called
		if e != nil {
			a.log.Warn("Sparkplug: "+e.What.Sentence(), "source", source, "node", e.Node, "device", e.Device, "times", e.Times, "messages", e.Messages, "nodes", nodes[what])
		}
	}
	if len(gap.Nodes) > 0 {
		a.metrics.lost.WithLabelValues(source).Add(float64(gap.Count))
		a.metrics.losses.WithLabelValues(source).Inc()
		gap.More = more
		a.record(ctx, "gap", gap)
	}
	if len(other.Nodes) > 0 {
		other.More = more
		a.record(ctx, "sparkplug", other)
	}
}

// askForBirths sends requests for births to nodes of a source, if that is a host.
func (a *Agent) askForBirths(source string, host *sparkplug.Host) {
	for _, request := range host.Requests(uint64(time.Now().UnixMilli())) {
		for _, s := range a.running() {
			if s.name != source || s.request == nil {
				continue
			}
			if err := s.request(request.Topic, request.Payload); err != nil {
				a.log.Warn("failed to ask a Sparkplug node for its birth", "source", source, "topic", request.Topic, "err", err)
			}
		}
	}
}
