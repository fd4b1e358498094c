package agent

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain.example/agent/api"
)

// sourceCollector shows how the sources stand that run when it is asked.
type sourceCollector struct {
	running  func() []*source
	counts   map[*prometheus.Desc]func(*api.Source) uint64
	up       *prometheus.Desc
	clients  *prometheus.Desc
	standing *prometheus.Desc
	ignored  *prometheus.Desc // by filter
	hashed   *prometheus.Desc // likewise
	broker   []metricOf[api.Broker]
	groups   []metricOf[api.Group]
}

// metricOf is one number of what is told of a T.
type metricOf[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*T) float64
}

// metricsOf returns what makes gauges and counters of a T, which have these labels.
func metricsOf[T any](labels ...string) (gauge, counter func(name, help string, of func(*T) float64) metricOf[T]) {
	of := func(kind prometheus.ValueType) func(name, help string, of func(*T) float64) metricOf[T] {
		return func(name, help string, of func(*T) float64) metricOf[T] {
			return metricOf[T]{prometheus.NewDesc(name, help, labels, nil), kind, of}
		}
	}
	return of(prometheus.GaugeValue), of(prometheus.CounterValue)
}

// groupMetrics are those of what is polled together.
func groupMetrics() []metricOf[api.Group] {
	gauge, counter := metricsOf[api.Group]("source", "group")
	return []metricOf[api.Group]{
		gauge("edgeagent_poll_failing_reads", "Reads of a group that is polled which are not answered now.", func(g *api.Group) float64 { return float64(g.Failing) }),
		gauge("edgeagent_poll_late", "1 if a group misses its interval, since its bus is busy, or what it gives is not taken; else 0.", func(g *api.Group) float64 { return truth(g.Late) }),
		counter("edgeagent_polls_total", "Polls of a group.", func(g *api.Group) float64 { return float64(g.Polls) }),
		counter("edgeagent_polls_failed_total", "Polls of these of which not all was answered.", func(g *api.Group) float64 { return float64(g.Failed) }),
		counter("edgeagent_polls_missed_total", "Polls of a group that were due and not made.", func(g *api.Group) float64 { return float64(g.Missed) }),
	}
}

// brokerMetrics are those of the embedded broker alone.
func brokerMetrics() []metricOf[api.Broker] {
	gauge, counter := metricsOf[api.Broker]()
	return []metricOf[api.Broker]{
		gauge("edgeagent_broker_sessions", "Sessions at the embedded broker, connected or not.", func(b *api.Broker) float64 { return float64(b.Sessions) }),
		gauge("edgeagent_broker_subscriptions", "Subscriptions at the embedded broker.", func(b *api.Broker) float64 { return float64(b.Subscriptions) }),
		gauge("edgeagent_broker_retained_messages", "Retained messages at the embedded broker.", func(b *api.Broker) float64 { return float64(b.Retained) }),
		gauge("edgeagent_broker_retained_bytes", "Bytes of these.", func(b *api.Broker) float64 { return float64(b.RetainedBytes) }),
		gauge("edgeagent_broker_queued_bytes", "Bytes of messages that wait for subscribers of the embedded broker.", func(b *api.Broker) float64 { return float64(b.QueuedBytes) }),
		gauge("edgeagent_broker_reading_bytes", "Bytes of large packets that the embedded broker is reading.", func(b *api.Broker) float64 { return float64(b.ReadingBytes) }),
		gauge("edgeagent_broker_will_bytes", "Bytes of wills that wait at the embedded broker.", func(b *api.Broker) float64 { return float64(b.WillBytes) }),
		gauge("edgeagent_broker_kept", "1 if what subscribers are to find again is on disk, else 0.", func(b *api.Broker) float64 { return truth(b.Kept) }),
		gauge("edgeagent_broker_kept_bytes", "Bytes that this takes on disk.", func(b *api.Broker) float64 { return float64(b.KeptBytes) }),
		counter("edgeagent_broker_kept_written_bytes_total", "Bytes written for this since the broker was started, the file system's own not counted.", func(b *api.Broker) float64 { return float64(b.KeptWritten) }),
		counter("edgeagent_broker_delivered_total", "Messages that the embedded broker sent to subscribers.", func(b *api.Broker) float64 { return float64(b.Delivered) }),
		counter("edgeagent_broker_unretained_total", "Retained messages for which there was no room at the embedded broker.", func(b *api.Broker) float64 { return float64(b.Unretained) }),
		counter("edgeagent_broker_unauthenticated_total", "Clients that the embedded broker did not let in.", func(b *api.Broker) float64 { return float64(b.Strangers) }),
		counter("edgeagent_broker_cut_total", "Connections that the embedded broker ended: protocol, time-out, limit.", func(b *api.Broker) float64 { return float64(b.Cut) }),
		counter("edgeagent_broker_panics_total", "Connections that a packet ended by a fault of the embedded broker.", func(b *api.Broker) float64 { return float64(b.Panics) }),
	}
}

func newSourceCollector(running func() []*source) *sourceCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"source"}, labels...), nil)
	}
	return &sourceCollector{
		running:  running,
		broker:   brokerMetrics(),
		groups:   groupMetrics(),
		up:       desc("edgeagent_source_connected", "1 if the source is connected to its broker, or listens; else 0."),
		clients:  desc("edgeagent_source_clients", "Clients that are connected to the embedded broker."),
		ignored:  desc("edgeagent_filter_ignored_total", "Messages that a filter of the configuration keeps out of the chain, acknowledged and not recorded.", "filter"),
		hashed:   desc("edgeagent_filter_hashed_total", "Payloads of which, by a filter of the configuration, the hash alone is recorded.", "filter"),
		standing: desc("edgeagent_source_state", "1 for the state that the source is in, 0 for the others.", "state"),
		counts: map[*prometheus.Desc]func(*api.Source) uint64{
			desc("edgeagent_source_received_total", "Messages that a source received, repetitions included."):                                                                                         func(s *api.Source) uint64 { return s.Received },
			desc("edgeagent_source_ignored_total", "Messages of these that are the gateways' own and came back: traffic with aggregators, what Home Assistant is shown. They are not recorded."):      func(s *api.Source) uint64 { return s.Ignored },
			desc("edgeagent_source_recognised_total", "Messages of these that were certain repetitions: acknowledged and not recorded again."):                                                        func(s *api.Source) uint64 { return s.Recognised },
			desc("edgeagent_source_refused_total", "Publications, subscriptions and wills to which a client of the embedded broker had no right, and clients that it did not let in."):                func(s *api.Source) uint64 { return s.Refused },
			desc("edgeagent_source_slowed_total", "Messages that were taken later than they came, because of the rate that the configuration allows the source, or a client of the embedded broker."): func(s *api.Source) uint64 { return s.Slowed },
			desc("edgeagent_source_exceeded_total", "Messages that came with QoS 0 beyond that rate, and are lost."):                                                                                  func(s *api.Source) uint64 { return s.Exceeded },
			desc("edgeagent_source_undelivered_total", "Messages that a subscriber of the embedded broker did not get. They are recorded."):                                                           func(s *api.Source) uint64 { return s.Undelivered },
		},
	}
}

// Describe implements [prometheus.Collector].
func (c *sourceCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.up
	out <- c.clients
	out <- c.standing
	out <- c.ignored
	out <- c.hashed
	for d := range c.counts {
		out <- d
	}
	for _, m := range c.broker {
		out <- m.desc
	}
	for _, m := range c.groups {
		out <- m.desc
	}
}

// Collect implements [prometheus.Collector].
func (c *sourceCollector) Collect(out chan<- prometheus.Metric) {
	for _, s := range c.running() {
		stats := s.status()
		out <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, truth(stats.Connected), s.name)
		out <- prometheus.MustNewConstMetric(c.clients, prometheus.GaugeValue, float64(stats.Clients), s.name)
		for _, state := range api.SourceStates() {
			out <- prometheus.MustNewConstMetric(c.standing, prometheus.GaugeValue, truth(stats.State == state), s.name, string(state))
		}
		seen := map[string]bool{} // a filter that stands twice has one count
		for _, f := range stats.Filters {
			if !seen[f.Topics] {
				seen[f.Topics] = true
				out <- prometheus.MustNewConstMetric(c.ignored, prometheus.CounterValue, float64(f.Ignored), s.name, f.Topics)
				out <- prometheus.MustNewConstMetric(c.hashed, prometheus.CounterValue, float64(f.Hashed), s.name, f.Topics)
			}
		}
		for d, count := range c.counts {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(count(&stats)), s.name)
		}
		for i := range stats.Groups {
			for _, m := range c.groups {
				out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(&stats.Groups[i]), s.name, stats.Groups[i].Name)
			}
		}
		for _, m := range c.broker {
			if stats.Broker != nil {
				out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(stats.Broker))
			}
		}
	}
}

// upstreamCollector shows how the upstreams stand, and what their aggregators have countersigned.
type upstreamCollector struct {
	agent                      *Agent
	connected, height, waiting *prometheus.Desc
}

func newUpstreamCollector(a *Agent) *upstreamCollector {
	return &upstreamCollector{a,
		prometheus.NewDesc("edgeagent_upstream_connected", "1 if the broker of an upstream is connected, else 0.", []string{"upstream"}, nil),
		prometheus.NewDesc("edgeagent_receipted_height", "Height of the newest header that an aggregator has countersigned; -1: none.", []string{"upstream", "aggregator"}, nil),
		prometheus.NewDesc("edgeagent_unreceipted_seconds", "How long the lowest header above that has waited for its receipt, by the gateway's clock; 0: there is none above.", []string{"upstream", "aggregator"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c *upstreamCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.connected
	out <- c.height
	out <- c.waiting
}

// Collect implements [prometheus.Collector].
func (c *upstreamCollector) Collect(out chan<- prometheus.Metric) {
	tip := c.agent.store.Tip().Height
	for _, u := range c.agent.upstreamStatus() {
		out <- prometheus.MustNewConstMetric(c.connected, prometheus.GaugeValue, truth(u.Connected), u.Name)
		for _, g := range u.Aggregators {
			next, height := uint64(0), float64(-1)
			if g.Receipted != nil {
				next, height = *g.Receipted+1, float64(*g.Receipted)
			}
			out <- prometheus.MustNewConstMetric(c.height, prometheus.GaugeValue, height, u.Name, g.Name)
			var waiting float64
			if next <= tip {
				if h, err := c.agent.store.HeaderAt(next); err == nil {
					waiting = max(0, time.Since(time.Unix(0, h.Sealed)).Seconds())
				}
			}
			out <- prometheus.MustNewConstMetric(c.waiting, prometheus.GaugeValue, waiting, u.Name, g.Name)
		}
	}
}

// bufferCollector shows how long recording could go on, which is computed once for both lines.
type bufferCollector struct {
	agent         *Agent
	seconds, room *prometheus.Desc
}

func newBufferCollector(a *Agent) *bufferCollector {
	return &bufferCollector{a,
		prometheus.NewDesc("edgeagent_buffer_seconds", "How long recording could go on at the present rate if no receipt came from now on: NaN while the rate is not known, +Inf where retention may delete what is not receipted.", nil, nil),
		prometheus.NewDesc("edgeagent_room_bytes", "Bytes by which the chain can grow until recording stops: what is free above the reserve, and what retention by size may delete; NaN: not known, +Inf where that is all.", nil, nil)}
}

// Describe implements [prometheus.Collector].
func (c *bufferCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.seconds
	out <- c.room
}

// Collect implements [prometheus.Collector].
func (c *bufferCollector) Collect(out chan<- prometheus.Metric) {
	b := c.agent.buffer()
	room := float64(b.Room + b.Deletable)
	switch {
	case !c.agent.store.Stats().Told:
		room = math.NaN()
	case b.Endless:
		room = math.Inf(1)
	}
	out <- prometheus.MustNewConstMetric(c.seconds, prometheus.GaugeValue, bufferSeconds(&b))
	out <- prometheus.MustNewConstMetric(c.room, prometheus.GaugeValue, room)
}

func bufferSeconds(b *api.Buffer) float64 {
	switch {
	case b.Endless:
		return math.Inf(1)
	case b.Days == nil:
		return math.NaN()
	default:
		return *b.Days * (24 * time.Hour).Seconds()
	}
}
