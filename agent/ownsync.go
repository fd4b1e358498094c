package agent

import (
	"log/slog"
	"slices"
	"strings"
	"sync"

	"edgechain.example/mqttwire"
	headersync "edgechain.example/sync"
	"edgechain.example/tomlconf"
)

// A gateway's traffic with its aggregators may come back to it: through the embedded broker, or where a filter of an
// [[mqtt]] covers it. Recorded, each announcement of a block would be an entry of the next one, for ever.

// upstreamTopic reports whether a topic of the embedded broker is kept for the traffic with aggregators.
func upstreamTopic(prefixes []string, topic string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool {
		rest, under := strings.CutPrefix(topic, prefix)
		return under && strings.HasPrefix(rest, "/")
	})
}

// ofSync reports whether a topic at a broker of the plant's is of some gateway's traffic with aggregators, under a prefix that an
// upstream has.
func ofSync(upstreams []UpstreamConfig, topic string) bool {
	return slices.ContainsFunc(upstreams, func(u UpstreamConfig) bool { return headersync.IsTopic(u.Prefix, topic) })
}

// ignoresSync returns [ofSync] of the upstreams in force. The first such message is told.
func (a *Agent) ignoresSync(log *slog.Logger) func(topic string) bool {
	var told sync.Once
	return func(topic string) bool {
		is := ofSync(a.inForce().Upstream, topic)
		if is {
			told.Do(func() {
				log.Warn("a filter covers the traffic of gateways with aggregators: it is not recorded, since each announcement of a block would be an entry of the next one", "topic", topic)
			})
		}
		return is
	}
}

// checkSyncFilters warns of filters that name the topics of the traffic with aggregators, and do not merely cover them.
func (c *Config) checkSyncFilters(d *tomlconf.Document) {
	for i := range c.MQTT {
		for j := range c.MQTT[i].Subscribe {
			topics := c.MQTT[i].Subscribe[j].Topics
			for k := range topics {
				for _, u := range c.Upstream {
					if _, filter, _ := mqttwire.SplitShare(topics[k]); u.Prefix != "" && (filter == u.Prefix || strings.HasPrefix(filter, u.Prefix+"/")) {
						d.Warn(&topics[k], "under %q gateways speak with aggregators, by upstream %q: what they say there is not recorded, since each announcement of a block would be an entry of the next one. Expected another filter, or another prefix of the upstream", u.Prefix, u.Name)
						break
					}
				}
			}
		}
	}
}
