package agent

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"edgechain.example/agent/api"
	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// metrics is what the agent counts. Labels are bounded by the configuration: sources by their names, reasons by the
// decoders' closed set.
type metrics struct {
	registry *prometheus.Registry

	entries       *prometheus.CounterVec
	readings      prometheus.Counter
	payloadBytes  *prometheus.CounterVec
	notUnderstood *prometheus.CounterVec
	qos0          prometheus.Counter
	redelivered   prometheus.Counter
	lost          *prometheus.CounterVec
	losses        *prometheus.CounterVec
	lastMessage   *prometheus.GaugeVec
	blocks        prometheus.Counter
	commit        prometheus.Histogram
	group         prometheus.Histogram
	clockSteps    prometheus.Counter
	pruned        prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		entries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgeagent_entries_total", Help: "Entries put to disk and acknowledged, by source."}, []string{"source"}),
		readings: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edgeagent_readings_total", Help: "Readings in the entries put to disk."}),
		payloadBytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgeagent_payload_bytes_total", Help: "Bytes of payload put to disk, by source, before compression."}, []string{"source"}),
		notUnderstood: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgeagent_not_understood_total", Help: "Entries whose payload no decoder read, by reason. The payload is kept."}, []string{"reason"}),
		qos0: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edgeagent_qos0_entries_total", Help: "Entries that arrived with QoS 0, for which no delivery was promised."}),
		redelivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edgeagent_redelivered_entries_total", Help: "Entries that came again and were kept in doubt, flag 1."}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgeagent_lost_messages_total", Help: "Messages known to be lost before they could be recorded, by source. Each loss is an entry too."}, []string{"source"}),
		losses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgeagent_losses_total", Help: "Times that messages were known to be lost, by source, those of which nobody can tell how many included."}, []string{"source"}),
		lastMessage: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "edgeagent_source_last_message_timestamp_seconds", Help: "When the newest message that is on disk arrived, by source and the gateway's clock; 0: none since the start."}, []string{"source"}),
		blocks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edgeagent_blocks_total", Help: "Blocks sealed since the start."}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "edgeagent_commit_duration_seconds", Help: "Time from staging a group of entries to its being on disk.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10}}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "edgeagent_commit_entries", Help: "Entries that share one write to disk.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}}),
		clockSteps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edgeagent_clock_steps_total", Help: "Times that the wall clock was stepped since the start."}),
	}
	m.pruned = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "edgeagent_pruned_entries_total", Help: "Entries whose payload retention has deleted since the start."})
	for _, reason := range sensors.Reasons() {
		m.notUnderstood.WithLabelValues(string(reason))
	}
	m.registry.MustRegister(m.entries, m.readings, m.payloadBytes, m.notUnderstood, m.qos0, m.redelivered, m.lost, m.losses, m.lastMessage, m.blocks, m.commit, m.group, m.clockSteps, m.pruned,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// know has the series of sources be there from the start: of a counter that is born with its first loss, no rate would see
// that loss.
func (m *metrics) know(sources []*source) {
	names := []string{"agent"} // its own entries
	for _, s := range sources {
		names = append(names, s.name)
	}
	for _, name := range names {
		m.entries.WithLabelValues(name)
		m.payloadBytes.WithLabelValues(name)
		m.lost.WithLabelValues(name)
		m.losses.WithLabelValues(name)
		m.lastMessage.WithLabelValues(name)
	}
}

// counter registers a count that is read when it is asked for.
func (m *metrics) counter(name, help string, labels prometheus.Labels, read func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, read))
}

// gauge registers a value that is read when it is asked for.
func (m *metrics) gauge(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// registerGauges shows what is read when it is asked for.
func (a *Agent) registerGauges() {
	m := a.metrics
	m.know(a.sources)
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "edgeagent_build_info", Help: "1, with the gateway's name, its chain and the program's version.",
		ConstLabels: prometheus.Labels{"gateway": a.gatewayName(), "chain": a.store.Chain().String(), "version": a.options.Version}})
	info.Set(1)
	m.registry.MustRegister(info)
	m.gauge("edgeagent_time_seconds", "The gateway's clock.", func() float64 { return float64(time.Now().UnixMilli()) / 1e3 })
	a.registerStarts()
	m.gauge("edgeagent_chain_height", "Height of the newest header.", func() float64 { return float64(a.store.Tip().Height) })
	m.gauge("edgeagent_chain_entries", "Entries that the chain numbers, the open block's included.", func() float64 { return float64(a.store.Next()) })
	m.gauge("edgeagent_last_block_timestamp_seconds", "When the newest block was sealed, by the gateway's clock.", func() float64 {
		h, err := a.store.HeaderAt(a.store.Tip().Height)
		if err != nil {
			return 0
		}
		return float64(h.Sealed) / 1e9
	})
	m.gauge("edgeagent_since_last_block_seconds", "Time since a block was sealed, or since the start, by a clock that never jumps.", func() float64 { return time.Since(a.committer.LastSealed()).Seconds() })
	m.gauge("edgeagent_block_due_seconds", "Time within which a block is sealed at the latest: block.heartbeat and block.interval.", func() float64 {
		block := a.inForce().Block
		return (block.Heartbeat + block.Interval).Seconds()
	})
	m.gauge("edgeagent_stuck_seconds", "How long messages have waited without any of them reaching the disk, 0 where none waits. At 120 the watchdog is left alone.", func() float64 { return a.committer.Stuck().Seconds() })
	m.gauge("edgeagent_in_flight_bytes", "Bytes of messages taken and not yet on disk.", func() float64 { _, b := a.queue.Pending(); return float64(b) })
	m.gauge("edgeagent_in_flight_messages", "Messages taken and not yet on disk.", func() float64 { n, _ := a.queue.Pending(); return float64(n) })
	m.gauge("edgeagent_waiting_for_space", "1 while staging has stopped because the disk's reserve is reached, else 0.", func() float64 { _, waiting := a.committer.Waiting(); return truth(waiting) })
	for _, kind := range sealgate.Kinds() {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "edgeagent_sealing_stopped", ConstLabels: prometheus.Labels{"reason": string(kind)},
			Help: "1 while nothing is sealed for this reason, else 0.",
		}, func() float64 { return truth(a.gate.Has(kind)) }))
	}
	m.gauge("edgeagent_store_bytes", "Bytes that the chain takes up on disk.", func() float64 { return float64(a.store.Stats().DiskBytes) })
	m.gauge("edgeagent_store_written_bytes", "Bytes written to the disk by the store since the start, its log included.", func() float64 { s := a.store.Stats(); return float64(s.WALBytes + s.TableBytes) })
	m.gauge("edgeagent_free_bytes", "Bytes free for the chain.", func() float64 { return float64(a.store.Stats().Free) })
	m.gauge("edgeagent_reserve_bytes", "Bytes of free space below which nothing is staged.", func() float64 { return float64(a.store.Stats().Reserve) })
	m.gauge("edgeagent_held_back_bytes", "Bytes that retention would delete, were they receipted.", func() float64 {
		if s, _ := a.keptBack(); s != nil {
			return float64(s.Bytes)
		}
		return 0
	})
	for _, key := range api.Keepers() {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "edgeagent_kept_bytes", ConstLabels: prometheus.Labels{"by": key},
			Help: "Bytes that retention would delete for size or for want of room, but for this key of its configuration.",
		}, func() (bytes float64) {
			_, kept := a.keptBack()
			for i := range kept {
				if kept[i].By == key {
					bytes += float64(kept[i].Bytes)
				}
			}
			return bytes
		}))
	}
	m.gauge("edgeagent_store_volatile", "1 if a power cut takes the data folder, else 0.", func() float64 { return truth(a.store.Stats().Volatile != "") })
	m.gauge("edgeagent_clock_synchronised", "1 if the clock is synchronised, else 0.", func() float64 { return truth(a.clock.Status().State == lightchain.ClockSynchronised) })
	m.gauge("edgeagent_clock_error_bound_seconds", "The kernel's bound of the clock's error.", func() float64 { return a.clock.Status().MaxError.Seconds() })
	a.registerScrubGauges()
	m.registry.MustRegister(newSourceCollector(a.running), newBoardCollector(&a.board, a.clock), newDevicesCollector(a.devices),
		newUpstreamCollector(a), newBufferCollector(a),
		newCardCollector(func() api.Card { return cardStatus(a.committer.Spending(), cardSize(a.board.board, a.data)) }))
}

// gatewayName is the name in genesis, or else that of the configuration.
func (a *Agent) gatewayName() string {
	if name := ChainStatus(&a.store.Reader).Gateway; name != "" {
		return name
	}
	return a.inForce().name()
}

// registerStarts shows the starts of the program. They are counted in the chain, so that a program that is started again
// and again shows as a rise.
func (a *Agent) registerStarts() {
	m, info := a.metrics, a.store.Info()
	m.counter("edgeagent_starts_total", "Starts of the program since the chain began, this one included.", nil, func() float64 { return float64(info.Opens) })
	m.counter("edgeagent_boots_total", "Boots of the machine since the chain began.", nil, func() float64 { return float64(info.Boots) })
	m.counter("edgeagent_unclean_starts_total", "Starts after a run that was not stopped in order, since the chain began.", nil, func() float64 { return float64(a.tally.condition().Unclean) })
	m.counter("edgeagent_gaps_total", "Entries agent:gap since the chain began: times that messages or entries were known to be lost.", nil, func() float64 { return float64(a.tally.condition().Gaps.Times) })
	for _, after := range []string{afterStop, afterShutdown, afterCrash, afterPowerCut} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "edgeagent_started_after", ConstLabels: prometheus.Labels{"end": after}, Help: "1 for how the run before this one ended, 0 for the others.",
		}, func() float64 { return truth(a.startedAfter() == after) }))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// committed counts a group that is on disk.
func (m *metrics) committed(group []*sensors.Message, took time.Duration) {
	m.commit.Observe(took.Seconds())
	m.group.Observe(float64(len(group)))
	readings, qos0, redelivered := 0, 0, 0
	for from := 0; from < len(group); { // messages of one source come in runs
		name, to, bytes := sourceName(group[from].Source), from, 0
		for ; to < len(group) && sourceName(group[to].Source) == name; to++ {
			message := group[to]
			bytes += len(message.Payload)
			readings += len(message.Readings)
			if message.Flags&lightchain.QoS0 != 0 {
				qos0++
			}
			if message.Flags&lightchain.Redelivered != 0 {
				redelivered++
			}
		}
		m.entries.WithLabelValues(name).Add(float64(to - from))
		m.payloadBytes.WithLabelValues(name).Add(float64(bytes))
		m.lastMessage.WithLabelValues(name).Set(float64(group[to-1].Received.UnixMilli()) / 1e3)
		from = to
	}
	m.readings.Add(float64(readings))
	m.qos0.Add(float64(qos0))
	m.redelivered.Add(float64(redelivered))
}

// sourceName returns the name of the source that made an entry's source, which the configuration bounds: "mqtt:plant" of
// "mqtt:plant:factory/line1", else the kind of source alone.
func sourceName(source string) string {
	kind, rest, _ := strings.Cut(source, ":")
	switch kind {
	case "mqtt", "modbus", "opcua", "serial":
	default:
		return kind
	}
	name, _, _ := strings.Cut(rest, ":")
	if !strings.Contains(name, "%") { // each message is asked for its source: no text is made for that
		return source[:len(kind)+1+len(name)]
	}
	return kind + ":" + sensors.NameInSource(name)
}
