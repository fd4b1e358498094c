package agent

import (
	"context"
	"crypto/ed25519"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors"
	"edgechain.example/sensors/mqttsource"
	headersync "edgechain.example/sync"
	"edgechain.example/tomlconf"
)

// startAgent begins a chain and records until the test ends. The agent reloads whatever *next points to.
func startAgent(t *testing.T, c *Config) *Agent {
	t.Helper()
	return startAgentOn(t, c, nil)
}

// startAgentOn is [startAgent] on a disk of which so much is free; nil: whatever is.
func startAgentOn(t *testing.T, c *Config, disk func() (free, total uint64, err error)) *Agent {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if _, err := Init(c, log); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	a := New(c, Options{Log: log, DiskUsage: disk, Fatal: func(err error) { panic(err) }, Ready: func(*Agent) { close(ready) }})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	return a
}

// quickConfig is of a gateway that seals every message at once, with an upstream for each broker.
func quickConfig(t *testing.T, brokers ...*testenv.Broker) *Config {
	dir, err := os.MkdirTemp("", "edgeagent") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := DefaultConfig()
	c.Gateway.Name, c.Gateway.Data = "press", dir
	c.Key.File, c.API.Socket = filepath.Join(dir, "key"), filepath.Join(dir, "s")
	c.Store.AllowVolatile, c.Store.Reserve, c.Store.ReservePercent = true, 1<<20, 0
	c.Block.Interval, c.Block.MaxEntries, c.Block.Heartbeat = 100*time.Millisecond, 1, time.Hour
	c.Sync.Announce, c.Sync.ConfirmWait = time.Second, time.Second
	for i, b := range brokers {
		c.Upstream = append(c.Upstream, upstreamOf([]string{"north", "south"}[i], b))
	}
	return c
}

// upstreamOf leads over a broker to an aggregator that never answers.
func upstreamOf(name string, b *testenv.Broker) UpstreamConfig {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(name[:1], 32))).Public().(ed25519.PublicKey)
	return UpstreamConfig{
		Config: mqttconn.Config{Name: name, Servers: []mqttconn.Server{mqttconn.Server("tcp://" + b.Addr)}, KeepAlive: time.Hour, ConnectTimeout: time.Minute},
		Prefix: headersync.DefaultPrefix, Aggregator: []AggregatorConfig{{Name: name, Key: lightchain.FormatPublicKey(lightchain.PublicKey(key))}},
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	testenv.Await(t, what, holds)
}

func awaitUpstream(t *testing.T, a *Agent, name, what string, holds func(api.Upstream) bool) {
	t.Helper()
	await(t, what, func() bool {
		return slices.ContainsFunc(a.upstreamStatus(), func(u api.Upstream) bool { return u.Name == name && holds(u) })
	})
}

func isConnected(u api.Upstream) bool { return u.Connected }

// awaitBlock records an entry, and waits until a block above the head is sealed.
func awaitBlock(t *testing.T, a *Agent) {
	t.Helper()
	before := a.store.Tip().Height
	a.record(t.Context(), "gap", map[string]string{"why": "a test's"})
	await(t, "a block", func() bool { return a.store.Tip().Height > before })
}

func TestReloadAddsAndRemovesUpstreamsAndLeavesTheOthersConnected(t *testing.T) {
	first, second := testenv.Mosquitto(t, ""), testenv.Mosquitto(t, "")
	c := quickConfig(t, first)
	a := startAgent(t, c)
	awaitUpstream(t, a, "north", "the first connection", isConnected)
	north := a.currentUpstreams()[0]
	awaitBlock(t, a)

	both := *c
	both.Upstream = []UpstreamConfig{upstreamOf("south", second), c.Upstream[0]}
	both.Sync.Announce = 2 * time.Second
	if reloaded, err := a.Reload(&both); err != nil || reloaded.Waiting != nil {
		t.Fatal(reloaded, err)
	}
	awaitUpstream(t, a, "south", "the second connection", isConnected)
	if u := a.currentUpstreams()[1]; u != north || u.terms.Announce != 2*time.Second {
		t.Errorf("the first upstream is another, or announces every %v", u.terms.Announce)
	}
	awaitBlock(t, a)

	// Another aggregator at the same broker, and then another address.
	other := both
	other.Upstream = []UpstreamConfig{both.Upstream[0], c.Upstream[0]}
	other.Upstream[1].Aggregator = append(slices.Clone(c.Upstream[0].Aggregator), both.Upstream[0].Aggregator...)
	if _, err := a.Reload(&other); err != nil {
		t.Fatal(err)
	}
	awaitUpstream(t, a, "north", "its second aggregator", func(u api.Upstream) bool { return len(u.Aggregators) == 2 })
	if st := north.link.Status(); st.Connections != 1 || !st.Connected {
		t.Errorf("the connection that stays: %+v", st)
	}
	moved := both
	moved.Upstream = []UpstreamConfig{upstreamOf("north", second)}
	if _, err := a.Reload(&moved); err != nil {
		t.Fatal(err)
	}
	awaitUpstream(t, a, "north", "the new address", func(u api.Upstream) bool { return u.Connected && strings.Contains(u.Detail, second.Addr) })
	if all := a.upstreamStatus(); len(all) != 1 || north.link.Status().Connected {
		t.Errorf("%+v", all)
	}
	awaitBlock(t, a)
}

func TestAReloadThatCannotBeDoneChangesNothing(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	c := quickConfig(t, b)
	a := startAgent(t, c)
	awaitUpstream(t, a, "north", "the connection", isConnected)
	before := a.currentUpstreams()
	for want, change := range map[string]func(*UpstreamConfig){
		"reading the authorities": func(u *UpstreamConfig) { u.TLSCA = "/nowhere/ca.pem" },
		"aggregator south":        func(u *UpstreamConfig) { u.Aggregator[0].Key = "ssh-ed25519 AAAA" },
		"reading the password":    func(u *UpstreamConfig) { u.Username, u.PasswordFile = "u", "/nowhere/password" },
	} {
		wrong := *c
		wrong.Block.MaxEntries = 7
		wrong.Upstream = []UpstreamConfig{upstreamOf("south", b)}
		change(&wrong.Upstream[0])
		if _, err := a.Reload(&wrong); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `upstream "south"`) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	if st := before[0].link.Status(); !slices.Equal(a.currentUpstreams(), before) || st.Connections != 1 || a.config != c {
		t.Errorf("something changed: %+v", st)
	}
}

func TestReloadNamesTheKeysThatWaitAndSealsWhatIsInForce(t *testing.T) {
	c := quickConfig(t)
	a := startAgent(t, c)
	var told *Config
	a.options.Reloaded = func(c *Config) { told = c }
	next := *c
	next.Store.Cache, next.API.Listen, next.Log.Format, next.Log.Level = 16<<20, "127.0.0.1:0", "json", "debug"
	next.Commit.MaxEntries = 17
	reloaded, err := a.Reload(&next)
	if want := []string{"store.cache", "api.listen", "log.format"}; err != nil || !slices.Equal(reloaded.Waiting, want) {
		t.Errorf("%v wait, %v; want %v", reloaded.Waiting, err, want)
	}
	if told.Commit.MaxEntries != 17 || told.Log.Level != "debug" || told.Log.Format != c.Log.Format || told.Store != c.Store {
		t.Errorf("in force is %+v", told)
	}
	hash := told.Hash(sensors.DecoderVersion).String()
	await(t, "the hash of what is in force", func() bool {
		for e, err := range a.store.Find(store.Query{}) {
			if err == nil && e.Entry.Source == "agent:config" && strings.Contains(string(e.Entry.Payload), hash) {
				return true
			}
		}
		return false
	})
}

// Sealing waits for an upstream; if that is taken away, nobody is left to wait for.
func TestRemovingTheUpstreamThatIsWaitedForLetsSealingBegin(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	c := quickConfig(t, b)
	c.Sync.ConfirmHead = "always"
	a := startAgent(t, c)
	awaitUpstream(t, a, "north", "the connection", isConnected)
	next := *c
	next.Upstream = nil
	if height := a.store.Tip().Height; height != 0 {
		t.Fatalf("sealed %d without an aggregator's word", height)
	}
	if _, err := a.Reload(&next); err != nil {
		t.Fatal(err)
	}
	awaitBlock(t, a)
}

// openBroker is the embedded broker on a free port of loopback, for anybody.
func openBroker() BrokerConfig {
	b := DefaultConfig().Broker
	b.Enabled, b.Listen, b.AllowAnonymous = true, "127.0.0.1:0", true
	return b
}

// mqttClient is a client of the embedded broker, with a session that it keeps.
type mqttClient struct{ net.Conn }

func connect(t *testing.T, address, id string) *mqttClient {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	d := &mqttClient{c}
	packet := append([]byte{0x10, byte(12 + len(id)), 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 0, 0, byte(len(id))}, id...)
	if answer := d.ask(t, packet); answer != [4]byte{0x20, 2, 0, 0} {
		t.Fatalf("CONNACK % x", answer)
	}
	return d
}

// publish publishes with QoS 1, and returns when that is acknowledged.
func (d *mqttClient) publish(t *testing.T, topic, payload string) {
	t.Helper()
	packet := append([]byte{0x32, byte(4 + len(topic) + len(payload)), 0, byte(len(topic))}, topic...)
	packet = append(append(packet, 0, 1), payload...)
	if answer := d.ask(t, packet); answer != [4]byte{0x40, 2, 0, 1} {
		t.Fatalf("PUBACK % x", answer)
	}
}

// ask sends a packet, and returns the next one of four bytes: the broker may send PINGRESPs before.
func (d *mqttClient) ask(t *testing.T, packet []byte) (answer [4]byte) {
	t.Helper()
	if err := d.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write(packet); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := io.ReadFull(d, answer[:2]); err != nil {
			t.Fatal(err)
		}
		if answer[1] == 2 {
			break
		}
	}
	if _, err := io.ReadFull(d, answer[2:]); err != nil {
		t.Fatal(err)
	}
	return answer
}

// What a client may cost changes under its connection: no session ends, and no client is sent away.
func TestLimitsOfTheBrokerDropNoSession(t *testing.T) {
	c := quickConfig(t)
	c.Broker = openBroker()
	a := startAgent(t, c)
	running := a.running()[0]
	address := running.stats().Detail
	clients := []*mqttClient{connect(t, address, "one"), connect(t, address, "two")}
	for _, most := range []int{1, 3, 300} {
		next := *c
		next.Broker.MaxClients, next.Broker.MaxPacket, next.Broker.MaxInflight = most, tomlconf.Size(most)*tomlconf.KiB, most
		if would, err := a.WouldReload(&next); err != nil || would.Sessions != 0 || len(would.Restarts) != 0 || len(would.Changed) != 3 {
			t.Errorf("it would do %+v, %v", would, err)
		}
		if _, err := a.Reload(&next); err != nil {
			t.Fatal(err)
		}
		for _, client := range clients {
			client.publish(t, "plant/x", "1")
		}
		if now := a.running()[0]; now != running || now.stats().Broker.Sessions != 2 {
			t.Fatalf("after a reload with %d: %+v", most, now.stats())
		}
	}
}

// sessionsOf is how many sessions the embedded broker has.
func sessionsOf(sources []*source) int {
	if b := brokerOf(sources); b != nil {
		return b.Stats().Sessions
	}
	return 0
}

// What a dry run says is what the reload does then, and a dry run itself changes nothing.
func TestADryRunTellsWhatTheReloadDoes(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	c := quickConfig(t, b)
	c.Broker = openBroker()
	c.MQTT = []MQTTConfig{plantAt(b, "plant/#", "line/+/state")}
	a := startAgent(t, c)
	at := a.running()[0].stats().Detail
	connect(t, at, "press") // its session is kept, and the other one's is not
	passing := append([]byte{0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 4}, "once"...)
	other, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if answer := (&mqttClient{other}).ask(t, passing); answer != [4]byte{0x20, 2, 0, 0} {
		t.Fatalf("CONNACK % x", answer)
	}
	await(t, "the broker has granted the filters", func() bool { return a.running()[1].status().State == api.SourceUp })
	await(t, "the upstream's session", func() bool {
		return a.sessions.state(upstreamSession(a.store.Chain(), &c.Upstream[0].Config)) == mqttsource.SessionKept
	})
	for _, x := range []struct {
		name   string
		change func(*Config)
		want   api.Reloaded
	}{
		{"nothing", func(*Config) {}, api.Reloaded{}},
		{"a limit", func(c *Config) { c.Broker.MaxClients = 5 }, api.Reloaded{Changed: []string{"broker.max_clients"}}},
		{"a key that waits", func(c *Config) { c.Store.Cache = 16 << 20 }, api.Reloaded{Waiting: []string{"store.cache"}}},
		{"another filter", func(c *Config) { c.MQTT = []MQTTConfig{plantAt(b, "line/+/state", "more/#")} },
			api.Reloaded{Changed: []string{"mqtt"}, Restarts: []string{"mqtt:plant"}, GivenUp: []api.GivenUp{{Source: "mqtt:plant", Filter: "plant/#"}}}},
		{"a source more", func(c *Config) { c.Hwmon.Enabled = true }, api.Reloaded{Changed: []string{"hwmon.enabled"}, Starts: []string{"hwmon"}}},
		{"a source less", func(c *Config) { c.MQTT = nil }, api.Reloaded{Changed: []string{"mqtt"}, Stops: []string{"mqtt:plant"}, Forgotten: []string{"mqtt:plant"}}},
		{"another upstream", func(c *Config) { c.Upstream = nil }, api.Reloaded{Changed: []string{"upstream"}, Forgotten: []string{"upstream:north"}, Disconnects: []string{"north"}}},
		{"a broker that listens elsewhere", func(c *Config) { c.Broker.WSListen = "127.0.0.1:0" },
			api.Reloaded{Changed: []string{"broker.ws_listen"}, Restarts: []string{"broker"}, Sessions: 1}},
		{"a broker that keeps in memory", func(c *Config) { c.Broker.Subscribers = inMemory }, api.Reloaded{Changed: []string{"broker.subscribers"}, Restarts: []string{"broker"}}},
		{"and listens elsewhere again", func(c *Config) { c.Broker.WSListen = "" }, api.Reloaded{Changed: []string{"broker.ws_listen"}, Restarts: []string{"broker"}}},
		{"and is there no more", func(c *Config) { c.Broker.Enabled = false }, api.Reloaded{Changed: []string{"broker.enabled"}, Stops: []string{"broker"}, Sessions: 1}},
	} {
		next := *a.inForce()
		x.change(&next)
		before, running := a.inForce(), a.running()
		would, err := a.WouldReload(&next)
		if err != nil || !reflect.DeepEqual(would, x.want) {
			t.Errorf("%s: it would do %+v, %v; want %+v", x.name, would, err, x.want)
		}
		if a.inForce() != before || !slices.Equal(a.running(), running) {
			t.Fatalf("%s: the dry run changed something", x.name)
		}
		sessions := sessionsOf(running)
		did, err := a.Reload(&next)
		if err != nil || !reflect.DeepEqual(did, would) {
			t.Errorf("%s: it did %+v, %v; want %+v", x.name, did, err, would)
		}
		for _, s := range a.running() {
			kept := slices.Contains(running, s)
			anew := slices.Contains(would.Restarts, s.name) || slices.Contains(would.Starts, s.name)
			if kept == anew {
				t.Errorf("%s: source %s is the same: %v", x.name, s.name, kept)
			}
		}
		await(t, "the sources are up", func() bool {
			return !slices.ContainsFunc(a.running(), func(s *source) bool { return s.status().State != api.SourceUp })
		})
		if now := sessionsOf(a.running()); next.Broker.Enabled && now != sessions-would.Sessions {
			t.Errorf("%s: %d sessions of %d are left, and %d were to end", x.name, now, sessions, would.Sessions)
		}
	}
	wrong := *a.inForce()
	wrong.Broker.Enabled, wrong.Broker.Users = true, "/nowhere/users"
	if _, err := a.WouldReload(&wrong); err == nil || !strings.Contains(err.Error(), "/nowhere/users") {
		t.Errorf("a users' file that is not there: %v", err)
	}
}
