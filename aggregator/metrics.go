package aggregator

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"edgechain.example/aggregator/registry"
	"edgechain.example/sync/collector"
)

// metrics is what an aggregator counts. Labels are bounded: standings, findings and verdicts are closed sets, brokers
// and replicas a handful. There is none for a gateway: who has a hundred thousand asks the API which.
type metrics struct {
	registry *prometheus.Registry

	verdicts  *prometheus.CounterVec
	receipts  prometheus.Counter
	strangers prometheus.Counter
	dropped   *prometheus.CounterVec
	gateways  *prometheus.GaugeVec
	findings  *prometheus.GaugeVec
	lost      *prometheus.GaugeVec
	unheard   prometheus.Gauge
	owned     prometheus.Gauge
	scanned   prometheus.Gauge
}

func newMetrics(version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgeaggregator_pages_total", Help: "Pages and heads of gateways that were judged, by verdict."}, []string{"verdict"}),
		receipts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edgeaggregator_receipts_total", Help: "Heads countersigned since the start."}),
		strangers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edgeaggregator_strangers_total", Help: "Messages of gateways that are not followed."}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgeaggregator_ignored_total", Help: "Observations not written down because too many came at once, by what they are about."}, []string{"about"}),
		gateways: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "edgeaggregator_gateways", Help: "Gateways known, by standing."}, []string{"standing"}),
		findings: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "edgeaggregator_gateways_ailing", Help: "Approved gateways about which there is a finding, by finding."}, []string{"finding"}),
		lost: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "edgeaggregator_lost", Help: "Messages and entries, at most, that approved gateways say they lost and nobody has acknowledged, by finding."}, []string{"finding"}),
		unheard: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "edgeaggregator_gateways_unheard", Help: "Approved gateways that are silent, offline or both."}),
		owned: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "edgeaggregator_gateways_owned", Help: "Approved gateways that this process follows; others fall to other replicas."}),
		scanned: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "edgeaggregator_scan_timestamp_seconds", Help: "When the gateways were last counted."}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "edgeaggregator_build_info", Help: "1, with the program's version.", ConstLabels: prometheus.Labels{"version": version}})
	info.Set(1)
	m.registry.MustRegister(m.verdicts, m.receipts, m.strangers, m.dropped, m.gateways, m.findings, m.lost, m.unheard, m.owned, m.scanned, info,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// What is born with the first event is a series in which no rate sees that event.
	for _, verdict := range []collector.Verdict{collector.Extended, collector.Known, collector.Lagging, collector.Split, collector.Overtaken, collector.Lacking, collector.Invalid} {
		m.verdicts.WithLabelValues(string(verdict))
	}
	for _, about := range []string{"stranger", "finding"} {
		m.dropped.WithLabelValues(about)
	}
	for _, kind := range registry.Kinds {
		m.findings.WithLabelValues(string(kind))
	}
	for _, kind := range registry.LossKinds {
		m.lost.WithLabelValues(string(kind))
	}
	for _, s := range []registry.Standing{registry.Waiting, registry.Approved, registry.Rejected, registry.Forgotten} {
		m.gateways.WithLabelValues(string(s))
	}
	return m
}

// gauge registers a value that is read when it is asked for.
func (m *metrics) gauge(name, help string, labels prometheus.Labels, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, read))
}

// counter registers a count that is read when it is asked for.
func (m *metrics) counter(name, help string, labels prometheus.Labels, read func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, read))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
