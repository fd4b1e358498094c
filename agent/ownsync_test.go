package agent

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/mqttconn"
	headersync "edgechain.example/sync"
)

// plantAt is an [[mqtt]] that takes in what the filters cover at a broker.
func plantAt(b *testenv.Broker, filters ...string) MQTTConfig {
	var c MQTTConfig
	c.SetDefaults()
	c.Name, c.Servers = "plant", []mqttconn.Server{mqttconn.Server("tcp://" + b.Addr)}
	c.Subscribe = []SubscribeConfig{{Topics: filters, QoS: 1}}
	return c
}

// publishAt publishes a message with QoS 1.
func publishAt(t *testing.T, b *testenv.Broker, topic, payload string) {
	t.Helper()
	host, port, _ := strings.Cut(b.Addr, ":")
	out, err := exec.Command(testenv.Program(t, "mosquitto_pub"), "-h", host, "-p", port, "-q", "1", "-t", topic, "-m", payload).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// recorded returns the topics of the entries that came from the plant's broker.
func recorded(t *testing.T, a *Agent) (topics []string) {
	t.Helper()
	for m, err := range a.store.Find(store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if topic, ok := strings.CutPrefix(m.Entry.Source, "mqtt:plant:"); ok {
			topics = append(topics, topic)
		}
	}
	return topics
}

func sourceOf(a *Agent, name string) api.Source {
	for _, s := range a.Status().Live.Sources {
		if s.Name == name {
			return s
		}
	}
	return api.Source{}
}

// A gateway that subscribes to everything hears its own announcements, and those of others.
func TestTheTrafficWithAggregatorsIsNotRecorded(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	c := quickConfig(t, b)
	c.MQTT = []MQTTConfig{plantAt(b, "#")}
	a := startAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	awaitUpstream(t, a, "north", "the connection", isConnected)

	publishAt(t, b, "press/state", "1")
	await(t, "the block's announcement to come back", func() bool { return a.store.Tip().Height > 0 && sourceOf(a, "mqtt:plant").Ignored > 0 })
	before := sourceOf(a, "mqtt:plant").Ignored
	other := headersync.ChainTopics(headersync.DefaultPrefix, lightchain.ChainID{7})
	publishAt(t, b, other+"/head", "another gateway's")
	publishAt(t, b, other+"/receipt/north", "another gateway's")
	publishAt(t, b, other+"/temperature", "2")
	publishAt(t, b, headersync.DefaultPrefix+"/press/head", "3")
	await(t, "the last message", func() bool { return len(recorded(t, a)) >= 3 })
	want := "press/state " + other + "/temperature " + headersync.DefaultPrefix + "/press/head"
	if got := strings.Join(recorded(t, a), " "); got != want {
		t.Errorf("recorded are %s", got)
	}
	if ignored := sourceOf(a, "mqtt:plant").Ignored; ignored < before+2 {
		t.Errorf("%d are counted, %d before", ignored, before)
	}
}

func TestFiltersThatNameTheTrafficWithAggregatorsAreWarnedOf(t *testing.T) {
	const upstream = "[[upstream]]\nname = \"north\"\nservers = [\"tcp://plc\"]\nprefix = \"a/b\"\n[[upstream.aggregator]]\nname = \"n\"\nkey = \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop\"\n"
	for filter, warned := range map[string]bool{
		"#": false, "+/b/#": false, "a/#": false, "a/bc": false,
		"a/b": true, "a/b/#": true, "a/b/+/head": true, "$share/g/a/b/#": true,
	} {
		_, warnings, err := loadText(t, "[[mqtt]]\nname = \"plant\"\nservers = [\"tcp://plc\"]\n[[mqtt.subscribe]]\ntopics = [\""+filter+"\"]\n"+upstream, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		var told bool
		for _, w := range warnings {
			told = told || strings.Contains(fmt.Sprint(w), "gateways speak with aggregators, by upstream \"north\"")
		}
		if told != warned {
			t.Errorf("%s: warned %v: %v", filter, told, warnings)
		}
	}
}
