package agent

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors/mqttsource"
)

// keepsSession asks a broker whether it keeps a session for a client id, by connecting with it.
func keepsSession(t *testing.T, b *testenv.Broker, id string) bool {
	t.Helper()
	c, err := net.Dial("tcp", b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(testenv.Patience)); err != nil {
		t.Fatal(err)
	}
	packet := append([]byte{0x10, byte(12 + len(id)), 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 0, 0, byte(len(id))}, id...)
	if _, err := c.Write(packet); err != nil {
		t.Fatal(err)
	}
	var connack [4]byte
	if _, err := io.ReadFull(c, connack[:]); err != nil || connack[0] != 0x20 || connack[3] != 0 {
		t.Fatalf("CONNACK % x, %v", connack, err)
	}
	return connack[2] == 1
}

// The session of a source that a reload takes away ends at the broker; a dry run says so, and what is put back goes on.
func TestTheSessionOfASourceThatIsTakenAwayEnds(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	c := quickConfig(t)
	c.MQTT = []MQTTConfig{plantAt(b, "line/#")}
	a := startAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	id := mqttsource.ClientID(&c.MQTT[0].Config, a.gatewayID())
	without := *c
	without.MQTT = nil
	would, err := a.WouldReload(&without)
	if err != nil || !slices.Equal(would.Forgotten, []string{"mqtt:plant"}) {
		t.Errorf("it would do %+v, %v", would, err)
	}
	if _, err := a.Reload(&without); err != nil {
		t.Fatal(err)
	}
	await(t, "the session to be forgotten", func() bool { return len(a.Status().Live.Abandoned) == 0 })
	if keepsSession(t, b, id) {
		t.Error("the broker keeps it")
	}
	if known := openSessions(c.Gateway.Data, a.log).known; len(known) != 0 {
		t.Errorf("noted is %+v", known)
	}
	if _, err := a.Reload(c); err != nil {
		t.Fatal(err)
	}
	await(t, "the source again", func() bool { return a.ready() == nil })
	publishAt(t, b, "line/1", "1")
	await(t, "its entry", func() bool { return slices.Contains(recorded(t, a), "line/1") })
}

// While the broker is away the status names the session; a source that comes back takes it over, with what is queued.
func TestASessionThatIsBeingEndedIsTakenOverAgain(t *testing.T) {
	b := testenv.Mosquitto(t, testenv.Persistent+testenv.KeepsAll)
	c := quickConfig(t)
	c.MQTT = []MQTTConfig{plantAt(b, "line/#")}
	a := startAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	id := mqttsource.ClientID(&c.MQTT[0].Config, a.gatewayID())
	b.Stop()
	without := *c
	without.MQTT = nil
	if _, err := a.Reload(&without); err != nil {
		t.Fatal(err)
	}
	want := []api.Abandoned{{Source: "plant", ClientID: id, Servers: []string{"tcp://" + b.Addr}}}
	if got := a.Status().Live.Abandoned; len(got) != 1 || got[0].String() != want[0].String() {
		t.Errorf("the status says %+v", got)
	}
	if _, err := a.Reload(c); err != nil {
		t.Fatal(err)
	}
	if got := a.Status().Live.Abandoned; len(got) != 0 || len(a.endings.running) != 0 {
		t.Errorf("the status says %+v", got)
	}
	b.Restart()
	await(t, "the source again", func() bool { return a.ready() == nil })
	if st := sourceOf(a, "mqtt:plant"); st.State != api.SourceUp {
		t.Errorf("%+v", st)
	}
}

// At a start no password is known, and status and log say what is to be done; a source that only has another way to the same
// broker has its session still.
func TestAStartNamesTheSessionsThatNoSourceUses(t *testing.T) {
	c := quickConfig(t)
	running := startAgent(t, c)
	log := new(testenv.Log)
	a := &Agent{store: running.store, sessions: running.sessions, log: log.Logger()}
	gone := mqttconn.Config{Name: "gone", Servers: []mqttconn.Server{"tcp://plc:1883"}, ClientID: "gateway-7"}
	moved := mqttconn.Config{Name: "moved", Servers: []mqttconn.Server{"tcp://hall:1883"}, ClientID: "gateway-8"}
	for _, m := range []*mqttconn.Config{&gone, &moved} {
		name := sessionOf(a.store.Chain(), m)
		a.sessions.note(name, mqttsource.SessionKept)
		a.sessions.at(name, m.ClientID, m.Servers)
	}
	next := *c
	var now MQTTConfig
	now.SetDefaults()
	now.Config = mqttconn.Config{Name: "moved", Servers: []mqttconn.Server{"ssl://hall:8883"}, ClientID: "gateway-8"}
	next.MQTT = []MQTTConfig{now}
	a.tellAbandoned(&next)
	got := a.abandoned(&next)
	if len(got) != 1 || got[0].Source != "gone" || got[0].ClientID != "gateway-7" || !slices.Equal(got[0].Servers, []string{"tcp://plc:1883"}) {
		t.Errorf("the status says %+v", got)
	}
	if text := log.String(); strings.Count(text, "end it by hand") != 1 || !strings.Contains(text, "gateway-7") {
		t.Errorf("the log says %s", text)
	}
	if text := got[0].String(); !strings.Contains(text, "client id gateway-7") || !strings.Contains(text, "tcp://plc:1883") {
		t.Error(text)
	}
}

// So does that of an upstream, once it has disconnected, and not where another connection has its client id.
func TestTheSessionOfAnUpstreamThatIsTakenAwayEnds(t *testing.T) {
	north, south := testenv.Mosquitto(t, ""), testenv.Mosquitto(t, "")
	c := quickConfig(t, north, south)
	a := startAgent(t, c)
	for _, name := range []string{"north", "south"} {
		awaitUpstream(t, a, name, "the connection", isConnected)
	}
	id := upstreamClientID(a.store.Chain(), &c.Upstream[1].Config)
	other := *c
	other.Upstream = []UpstreamConfig{c.Upstream[0], c.Upstream[1]}
	other.Upstream[1].Prefix = "elsewhere/v1" // the same session
	if would, err := a.WouldReload(&other); err != nil || len(would.Forgotten) != 0 || !slices.Equal(would.Disconnects, []string{"south"}) {
		t.Errorf("it would do %+v, %v", would, err)
	}
	without := *c
	without.Upstream = c.Upstream[:1]
	if would, err := a.WouldReload(&without); err != nil || !slices.Equal(would.Forgotten, []string{"upstream:south"}) {
		t.Errorf("it would do %+v, %v", would, err)
	}
	if _, err := a.Reload(&without); err != nil {
		t.Fatal(err)
	}
	await(t, "the session to be forgotten", func() bool { return len(a.Status().Live.Abandoned) == 0 })
	if keepsSession(t, south, id) {
		t.Error("the broker keeps it")
	}
	// Where it cannot be ended it is named.
	south.Stop()
	if _, err := a.Reload(c); err != nil {
		t.Fatal(err)
	}
	south.Restart()
	awaitUpstream(t, a, "south", "the connection", isConnected)
	await(t, "its note", func() bool {
		return a.sessions.state(upstreamSession(a.store.Chain(), &c.Upstream[1].Config)) == mqttsource.SessionKept
	})
	south.Stop()
	if _, err := a.Reload(&without); err != nil {
		t.Fatal(err)
	}
	got := a.Status().Live.Abandoned
	if len(got) != 1 || got[0].Source != "upstream:south" || got[0].ClientID != id || !strings.Contains(got[0].String(), "upstream south at tcp://"+south.Addr) ||
		!strings.Contains(got[0].String(), "[[upstream]]") {
		t.Errorf("the status says %+v", got)
	}
}
