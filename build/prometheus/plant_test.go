package prometheus_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent"
	"edgechain.example/aggregator"
	"edgechain.example/aggregator/pgstore"
	"edgechain.example/aggregator/registry"
	"edgechain.example/arm"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors"
	headersync "edgechain.example/sync"
	"edgechain.example/tomlconf"
)

// A plant is two gateways at work that have every kind of source, and the aggregator that countersigns their heads, all
// with the listeners at which a Prometheus asks.
type plant struct {
	gateways   []*gateway
	aggregator string // host:port
}

// A gateway is package agent as it runs in edgeagent, on the recording of a board that tells what boards can tell.
type gateway struct {
	name, api, broker string // the last two are host:port
}

func newPlant(t *testing.T) *plant {
	t.Helper()
	mosquitto := testenv.Mosquitto(t, testenv.KeepsAll)
	signer, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{aggregator: startAggregator(t, mosquitto, signer)}
	for _, name := range []string{"press-hall", "paint-shop"} {
		p.gateways = append(p.gateways, startGateway(t, name, mosquitto, signer.Public()))
	}
	for _, g := range p.gateways {
		g.publish(t, `{"temperature":73.9}`, `{"temperature":`)
	}
	for _, g := range p.gateways {
		testenv.Await(t, g.name+" is countersigned, and its board was looked at", func() bool {
			s := scrape(t, g.api)
			return s.value(`edgeagent_receipted_height{aggregator="agg-1",upstream="office"}`) > 0 && s.value("edgeagent_temperature_celsius") > 0 &&
				s.value(`edgeagent_source_connected{source="mqtt:plant"}`) == 1 && s.value(`edgeagent_device_late{device="press"}`) == 0 &&
				s.value(`edgeagent_entries_total{source="broker"}`) == 2
		})
	}
	return p
}

// publish has a device say something.
func (g *gateway) publish(t *testing.T, payloads ...string) {
	t.Helper()
	host, port, _ := strings.Cut(g.broker, ":")
	pub := exec.Command(testenv.Program(t, "mosquitto_pub"), "-h", host, "-p", port, "-q", "1", "-t", "press/state", "-l")
	pub.Stdin = strings.NewReader(strings.Join(payloads, "\n") + "\n")
	if out, err := pub.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// shortFolder is one for a socket, whose path has to be short.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "edge")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func serverAt(b *testenv.Broker) []mqttconn.Server {
	return []mqttconn.Server{mqttconn.Server("tcp://" + b.Addr)}
}

func localPort(t *testing.T) string { return fmt.Sprintf("127.0.0.1:%d", testenv.FreePort(t)) }

func startGateway(t *testing.T, name string, mosquitto *testenv.Broker, aggregatorKey lightchain.PublicKey) *gateway {
	t.Helper()
	dir := shortFolder(t)
	g := &gateway{name: name, api: localPort(t), broker: localPort(t)}
	c := agent.DefaultConfig()
	c.Gateway.Name, c.Gateway.Data = name, dir
	c.Key.File, c.API.Socket, c.API.Listen = filepath.Join(dir, "key"), filepath.Join(dir, "s"), g.api
	c.Store.AllowVolatile, c.Store.Reserve, c.Store.ReservePercent = true, 1<<20, 0
	c.Block.Interval, c.Block.Heartbeat = 500*time.Millisecond, time.Second
	c.Sync.Announce, c.Sync.ConfirmWait = 500*time.Millisecond, time.Second
	c.Broker.Enabled, c.Broker.Listen, c.Broker.AllowAnonymous = true, g.broker, true
	c.Broker.Decode = []agent.DecodeConfig{{Topics: []string{"#"}, Config: sensors.Config{DeviceFrom: "level"}}}
	c.Hwmon.Enabled, c.Hwmon.Interval = true, time.Second
	var source agent.MQTTConfig
	source.SetDefaults()
	source.Name, source.Servers, source.ClientID = "plant", serverAt(mosquitto), name
	source.Subscribe = []agent.SubscribeConfig{{Topics: []string{"plant/#"}, QoS: 1}}
	c.MQTT = []agent.MQTTConfig{source}
	c.Upstream = []agent.UpstreamConfig{{
		Config:     mqttconn.Config{Name: "office", Servers: serverAt(mosquitto), KeepAlive: time.Minute, ConnectTimeout: time.Minute},
		Prefix:     headersync.DefaultPrefix,
		Aggregator: []agent.AggregatorConfig{{Name: "agg-1", Key: lightchain.FormatPublicKey(aggregatorKey)}},
	}}
	log := slog.New(slog.DiscardHandler)
	if _, err := agent.Init(c, log); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	a := agent.New(c, agent.Options{
		Version: "test", Log: log, Fatal: func(err error) { panic(err) }, Ready: func(*agent.Agent) { close(ready) },
		Board: arm.Board{Root: testenv.Tree(t, "../../arm/testdata/boards/cm4.txtar")},
	})
	runUntilTheEnd(t, name, a.Run, ready)
	return g
}

// startAggregator runs one that follows whoever comes, on a database: only then it has all its metrics.
func startAggregator(t *testing.T, mosquitto *testenv.Broker, signer lightchain.Signer) (api string) {
	t.Helper()
	api = localPort(t)
	c := aggregator.DefaultConfig()
	c.Aggregator.Name, c.Aggregator.Data, c.Aggregator.Replica = "agg-1", shortFolder(t), "one"
	c.Store.URL = tomlconf.Secret(testenv.NewPostgres(t).DSN())
	c.API.Socket, c.API.Listen = filepath.Join(c.Aggregator.Data, "s"), api
	c.Trust.Gateways = registry.TrustAll
	b := aggregator.BrokerConfig{Config: mqttconn.Config{Name: "office", Servers: serverAt(mosquitto)}}
	b.SetDefaults()
	c.Broker = []aggregator.BrokerConfig{b}
	c.Transparency.Origin, c.Transparency.KeyFile = "agg-1.example", filepath.Join(c.Aggregator.Data, "key-log")
	log := slog.New(slog.DiscardHandler)
	store, err := pgstore.Open(t.Context(), string(c.Store.URL), pgstore.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	logKey, err := c.LogKey(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	a, err := aggregator.New(c, aggregator.Options{
		Version: "test", Store: store, Signer: signer, LogKey: logKey, Log: log, Ready: func() { close(ready) },
		Clock: func() lightchain.ClockState { return lightchain.ClockSynchronised },
	})
	if err != nil {
		t.Fatal(err)
	}
	runUntilTheEnd(t, "the aggregator", a.Run, ready)
	return api
}

// runUntilTheEnd runs something until the test ends, and returns when it is ready.
func runUntilTheEnd(t *testing.T, name string, run func(context.Context) error, ready <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && ctx.Err() == nil {
			t.Errorf("%s ended: %v", name, err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("%s ended: %v", name, err)
	}
}

// A series is one of a scrape.
type series struct {
	name   string // of the metric
	labels string // as they stand in the scrape, without braces
	value  float64
}

func (s *series) String() string {
	if s.labels == "" {
		return s.name
	}
	return s.name + "{" + s.labels + "}"
}

// A scraped is what a program answered at one moment.
type scraped struct {
	at    time.Time
	all   []series
	kinds map[string]string // counter, gauge, histogram, by family
}

var label = regexp.MustCompile(`(\w+)="`)

// scrape asks for the metrics once.
func scrape(t *testing.T, api string) *scraped {
	t.Helper()
	response, err := http.Get("http://" + api + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	s := &scraped{at: time.Now(), kinds: map[string]string{}}
	lines := bufio.NewScanner(io.LimitReader(response.Body, 1<<20))
	for lines.Scan() {
		line := lines.Text()
		if kind, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(kind, " ")
			s.kinds[name] = kind
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		space := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		name, labels, _ := strings.Cut(line[:space], "{")
		s.all = append(s.all, series{name, strings.TrimSuffix(labels, "}"), value})
	}
	if err := lines.Err(); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s: %v", api, response.Status, err)
	}
	return s
}

// value returns what a series says, -1 where it is not there.
func (s *scraped) value(name string) float64 {
	for i := range s.all {
		if s.all[i].String() == name {
			return s.all[i].value
		}
	}
	return -1
}

// labels returns the names of the labels that a metric's series have.
func (s *scraped) labels(metric string) map[string]bool {
	names := map[string]bool{}
	for i := range s.all {
		if s.all[i].name == metric {
			for _, found := range label.FindAllStringSubmatch(s.all[i].labels, -1) {
				names[found[1]] = true
			}
		}
	}
	return names
}
