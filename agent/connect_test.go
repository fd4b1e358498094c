package agent

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain/store"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors"
	"edgechain.example/sensors/modbus"
	"edgechain.example/sensors/serial"
	"edgechain.example/tomlconf"
)

// While an agent records, its brokers can be tried: it keeps its connections, and gets all messages, those of a shared subscription too.
func TestTryingConnectionsDoesNotDisturbTheAgent(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	publishRetained(t, b, "line1/press/temp", "21.5")
	publishRetained(t, b, "line1/press/secret", "x")
	publishRetained(t, b, "line1/press/debug", "y")
	publishRetained(t, b, "plc/torn", `{"a":`)
	for _, more := range []string{"line1/press/a", "line1/press/b"} { // so that it is done when it has heard all of them
		publishRetained(t, b, more, "1")
	}
	c := quickConfig(t, b)
	c.MQTT = []MQTTConfig{plantAt(b, "$share/gateways/shared/#", "line1/#", "plc/#")}
	c.MQTT[0].Subscribe[0].Config = sensors.Config{DeviceFrom: "level"}
	c.MQTT[0].Filter = []FilterConfig{{Topics: []string{"line1/+/secret"}, Record: recordHash}, {Topics: []string{"line1/+/debug"}, Record: recordNothing}}
	a := startAgent(t, c)
	await(t, "the source and the upstream", func() bool { return a.ready() == nil && b.Connections("edgechain-") == 2 })

	all := c.TryConnections(t.Context(), Trying{For: time.Minute})
	if len(all) != 2 || !all[0].Reached || all[0].Server != "tcp://"+b.Addr || !all[1].Reached {
		t.Fatalf("connections are %+v", all)
	}
	read := map[string]TriedMessage{}
	for _, m := range all[0].Messages {
		read[m.Topic] = m
	}
	if m := read["line1/press/temp"]; len(m.Readings) != 1 || m.Readings[0].Device != "press" || m.Readings[0].Name != "temp" || m.Filter != "line1/#" {
		t.Errorf("the temperature reads as %+v", m)
	}
	if m := read["line1/press/secret"]; !m.Hash || len(m.Readings) != 0 {
		t.Errorf("what is kept as its hash reads as %+v", m)
	}
	if m := read["plc/torn"]; m.Reason != string(sensors.Syntax) {
		t.Errorf("what is torn reads as %+v", m)
	}
	if _, shown := read["line1/press/debug"]; shown {
		t.Error("what is not recorded is shown")
	}
	if n := b.Connections("edgechain-"); n != 2 {
		t.Errorf("the agent has connected %d times, want 2", n)
	}
	for range 4 {
		publishAt(t, b, "shared/x", "1")
	}
	await(t, "all messages of the shared subscription", func() bool {
		return len(slices.DeleteFunc(recorded(t, a), func(topic string) bool { return topic != "shared/x" })) == 4
	})
}

func TestTryingConnectionsSaysWhyOneIsNotReached(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	c := quickConfig(t)
	c.Broker = openBroker()
	c.Broker.AllowAnonymous, c.Broker.Users = false, filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(c.Broker.Users, []byte("user reader "+string(hash)+"\nallow subscribe line1/#\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, c)
	await(t, "the broker", func() bool { return a.ready() == nil })
	addr := sourceOf(a, "broker").Detail
	if _, _, err := net.SplitHostPort(addr); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		server, user string
		password     tomlconf.Secret
		topic, want  string // "" is reached
	}{
		{"tcp://" + addr, "reader", "right", "line1/#", ""},
		{"tcp://" + addr, "reader", "right", "line2/#", `refused the subscription to ["line2/#"]`},
		{"tcp://" + addr, "reader", "wrong", "line1/#", `refuses user "reader" with this password`},
		{"tcp://" + addr, "", "", "line1/#", "refuses a client without user and password"},
		{"ssl://" + addr, "reader", "right", "line1/#", "is not reached"},
		{"tcp://127.0.0.1:1", "", "", "line1/#", "connection refused"},
		{"tcp://no-such-host.invalid", "", "", "line1/#", "no-such-host.invalid"},
	} {
		var m MQTTConfig
		m.SetDefaults()
		m.Name, m.Servers, m.Username, m.Password = "plant", []mqttconn.Server{mqttconn.Server(x.server)}, x.user, x.password
		m.Subscribe = []SubscribeConfig{{Topics: []string{x.topic}, QoS: 1}}
		tried := DefaultConfig()
		tried.MQTT = []MQTTConfig{m}
		got := tried.TryConnections(t.Context(), Trying{For: time.Millisecond})[0]
		if got.Reached != (x.want == "") || !strings.Contains(got.Error, x.want) {
			t.Errorf("%+v: %+v", x, got)
		}
	}
}

func TestWhatIsPolledIsAskedOnce(t *testing.T) {
	c := DefaultConfig()
	for _, name := range []string{"answers", "silent", "unknown"} {
		c.Modbus = append(c.Modbus, modbus.Config{Name: name})
	}
	c.Serial = []serial.Config{{Name: "answers"}}
	all := c.TryConnections(t.Context(), Trying{Poll: func(name string) ([]api.Polled, error) {
		switch name {
		case "serial:answers":
			return []api.Polled{{Error: "no telegram"}}, nil
		case "modbus:answers":
			return []api.Polled{{Group: "press", Read: "1/3/0"}}, nil
		case "modbus:silent":
			return []api.Polled{{Group: "press", Read: "1/3/0"}, {Group: "oven", Read: "1/3/8", Error: "no answer"}}, nil
		}
		return nil, store.ErrNotFound
	}})
	if !all[0].Reached || all[1].Reached || all[1].Error != "group oven, read 1/3/8: no answer" || all[2].Reached || all[3].Error != "no telegram" {
		t.Errorf("connections are %+v", all)
	}
}
