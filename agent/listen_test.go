package agent

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/mqttconn"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
	"edgechain.example/sensors/suggest"
	headersync "edgechain.example/sync"
	"edgechain.example/tomlconf"
)

// listenFor listens until messages came on so many topics, and so many others.
func listenFor(t *testing.T, c *Config, b *testenv.Broker, topics, others int) (into *suggest.Collector, heard Heard) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	into = NewSuggestions()
	broker := mqttconn.Config{Name: "plant", Servers: []mqttconn.Server{mqttconn.Server("tcp://" + b.Addr)}}
	all := func() bool { return into.Topics() >= topics && heard.TooLong+heard.Own >= others }
	err := c.Listen(ctx, broker, Listening{Filters: []string{"#"}, For: time.Minute, Tick: func() {
		if all() {
			cancel()
		}
	}}, into, &heard)
	if err != nil {
		t.Fatal(err)
	}
	if !all() {
		t.Fatalf("messages on %d topics came in a minute, and %+v, want %d and %d", into.Topics(), heard, topics, others)
	}
	return into, heard
}

// What is suggested for a broker loads, and reads its messages as was shown.
func TestTheSuggestedConfigurationReadsWhatWasHeardAsItWasShown(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	messages := map[string]string{
		"line1/press/temp": "21.5", "line1/press/state": "on", "line2/press/json": `{"ts":1772352000,"v":1}`,
		"zigbee2mqtt/x": `{"linkquality":1,"temperature":"21.6"}`, "zigbee2mqtt/x/availability": "online",
		"plc/csv": "100;2.5;3", "odd/${HOME}/$$": "1", "torn": `{"a":`, "water/temp": "23.5 °C",
	}
	for topic, payload := range messages {
		publishRetained(t, b, topic, payload)
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, 4*suggest.DefaultLimits.Payload), 0o600); err != nil {
		t.Fatal(err)
	}
	publishFile(t, b, "big", large)
	into, heard := listenFor(t, DefaultConfig(), b, len(messages), 1)
	if n := b.Connections("edgeagent-look-"); n != 1 {
		t.Errorf("the broker has seen %d connections under an id of its own, want 1", n)
	}
	if heard.TooLong != 1 {
		t.Errorf("%d messages were too long, want 1", heard.TooLong)
	}
	s := Suggest(into, heard, suggest.Subscribe)
	c, _, err := loadText(t, "[[mqtt]]\nname = \"plant\"\nservers = [\"tcp://"+b.Addr+"\"]\n"+s.TOML, nil, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, s.TOML)
	}
	for _, g := range s.Groups {
		read := false
		for _, sub := range c.MQTT[0].Subscribe {
			for _, filter := range sub.Topics {
				if !mqttwire.Match(filter, g.Example.Topic) {
					continue
				}
				d, err := sensors.New(sub.Config)
				if err != nil {
					t.Fatal(err)
				}
				read = true
				got, err := d.Read(g.Example.Topic, "", g.Example.Payload, time.Now())
				if as := readingOf(g.Example.Topic, g.Example.Payload, got, err); !reflect.DeepEqual(as, g.Example) {
					t.Errorf("%s reads as %+v, shown was %+v", g.Example.Topic, as, g.Example)
				}
			}
		}
		if !read {
			t.Errorf("nothing of what is suggested covers %s", g.Example.Topic)
		}
	}
	if _, _, err := loadText(t, "[broker]\nenabled = true\nallow_anonymous = true\n"+strings.ReplaceAll(s.TOML, suggest.Subscribe, suggest.Decode), nil, nil); err != nil {
		t.Errorf("as tables of the embedded broker: %v", err)
	}
}

func publishFile(t *testing.T, b *testenv.Broker, topic, file string) {
	t.Helper()
	host, port, _ := strings.Cut(b.Addr, ":")
	mustRun(t, "mosquitto_pub", "-h", host, "-p", port, "-q", "1", "-r", "-t", topic, "-f", file)
}

func TestListeningPassesOverTheTrafficWithAggregators(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	publishRetained(t, b, headersync.Topic(headersync.DefaultPrefix, lightchain.ChainID{}, headersync.TopicHead, ""), "x")
	publishRetained(t, b, "line1/press/temp", "21.5")
	c := DefaultConfig()
	var up UpstreamConfig
	up.SetDefaults()
	c.Upstream = []UpstreamConfig{up}
	into, heard := listenFor(t, c, b, 1, 1)
	if into.Topics() != 1 || heard.Own != 1 {
		t.Errorf("messages on %d topics count, and %d do not, want 1 and 1", into.Topics(), heard.Own)
	}
}

func TestListeningSaysWhyItHearsNothing(t *testing.T) {
	folder := t.TempDir()
	passwords := filepath.Join(folder, "passwords")
	mustRun(t, "mosquitto_passwd", "-b", "-c", passwords, "reader", "right")
	b := testenv.Mosquitto(t, "allow_anonymous false\npassword_file "+passwords+"\n")
	for _, c := range []struct {
		server, user string
		password     tomlconf.Secret
		want         string
	}{
		{"tcp://" + b.Addr, "", "", "refuses a client without user and password"},
		{"tcp://" + b.Addr, "reader", "wrong", `refuses user "reader" with this password`},
		{"ssl://" + b.Addr, "reader", "right", "is not reached"},
		{"tcp://127.0.0.1:1", "", "", "connection refused"},
	} {
		config := mqttconn.Config{Name: "plant", Servers: []mqttconn.Server{mqttconn.Server(c.server)}, Username: c.user, ConnectTimeout: 10 * time.Second}
		config.Password = c.password
		err := DefaultConfig().Listen(t.Context(), config, Listening{Filters: []string{"#"}, For: time.Minute}, NewSuggestions(), new(Heard))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c, err, c.want)
		}
	}
}

func TestASourceIsFoundByItsName(t *testing.T) {
	c := DefaultConfig()
	c.MQTT = []MQTTConfig{{Config: mqttconn.Config{Name: "line-1", Servers: []mqttconn.Server{"tcp://plant"}}}}
	if got, err := c.Source("line-1"); err != nil || got.Servers[0] != "tcp://plant" {
		t.Errorf("line-1 is %+v, %v", got, err)
	}
	c.Broker.Listen = "0.0.0.0:1884"
	if got, err := c.Source(EmbeddedBroker); err != nil || got.Servers[0] != "tcp://127.0.0.1:1884" {
		t.Errorf("the embedded broker is %+v, %v", got, err)
	}
	if _, err := c.Source("line-2"); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "expected line-1, broker") {
		t.Errorf("line-2: %v", err)
	}
}

func mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(testenv.Program(t, name), args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}
