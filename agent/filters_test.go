package agent

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/tomlconf"
)

func filterOf(record string, topics ...string) FilterConfig {
	return FilterConfig{Topics: topics, Record: record}
}

// entriesBelow returns what is recorded of sources that begin so.
func entriesBelow(t *testing.T, r *store.Reader, prefix string) (found []store.Match) {
	t.Helper()
	for m, err := range r.Find(store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(m.Entry.Source, prefix) {
			found = append(found, m)
		}
	}
	return found
}

// toldFiltered sums up what entries agent:filtered tell, by source and filter.
func toldFiltered(t *testing.T, r *store.Reader) map[string]uint64 {
	t.Helper()
	told := map[string]uint64{}
	for _, m := range entriesBelow(t, r, "agent:filtered") {
		var event filteredEvent
		if err := json.Unmarshal(m.Entry.Payload, &event); err != nil || len(event.Filters) == 0 || m.Entry.Flags != lightchain.ByAgent {
			t.Errorf("%s, flags %b: %v", m.Entry.Payload, m.Entry.Flags, err)
		}
		for _, f := range event.Filters {
			if f.Count == 0 {
				t.Errorf("a count of nothing: %s", m.Entry.Payload)
			}
			told[f.Source+" "+f.Filter] += f.Count
		}
	}
	return told
}

// What a filter keeps out is acknowledged and counted, in status and in the chain; of what it keeps the hash of there is that, and
// a smaller limit holds. A reload changes filters and rate under the connections.
func TestFiltersOfTheEmbeddedBroker(t *testing.T) {
	c := quickConfig(t)
	c.Broker = openBroker()
	c.Broker.Filter = []FilterConfig{filterOf(recordAll, "plant/debug/alarm"), filterOf(recordNothing, "plant/debug/#"), filterOf(recordHash, "people/#"),
		{Topics: []string{"spectrum"}, Record: recordAll, PayloadMax: 64}}
	a := startAgent(t, c)
	running := a.running()[0]
	client := connect(t, running.stats().Detail, "press-07")
	private, spectrum := `{"pulse":71}`, `{"a":1`+strings.Repeat(" ", 60)+`}`
	for _, m := range [][2]string{{"plant/debug/x", "1"}, {"plant/debug/alarm", `{"on":1}`}, {"plant/debug/y", "2"}, {"people/ada", private}, {"spectrum", spectrum}, {"spectrum", `{"a":1}`}} {
		client.publish(t, m[0], m[1])
	}
	entries := entriesBelow(t, &a.store.Reader, "broker:")
	var got []string
	for _, m := range entries {
		got = append(got, fmt.Sprintf("%s %d %d %t", m.Entry.Source[strings.LastIndexByte(m.Entry.Source, ':')+1:], m.Entry.Flags, len(m.Entry.Readings), m.Entry.Decoder != ""))
	}
	if want := []string{"plant/debug/alarm 0 1 true", "people/ada 16 0 false", "spectrum 16 1 true", "spectrum 0 1 true"}; !slices.Equal(got, want) {
		t.Fatalf("recorded are %q", got)
	}
	for i, payload := range map[int]string{1: private, 2: spectrum} {
		if sum := sha256.Sum256([]byte(payload)); string(entries[i].Entry.Payload) != string(sum[:]) {
			t.Errorf("%d: not the hash of %s", i, payload)
		}
	}
	want := []api.Filter{{Topics: "plant/debug/alarm", Record: recordAll}, {Topics: "plant/debug/#", Record: recordNothing, Ignored: 2},
		{Topics: "people/#", Record: recordHash, Hashed: 1}, {Topics: "spectrum", Record: recordAll, Hashed: 1}}
	if s := sourceOf(a, "broker"); !slices.Equal(s.Filters, want) || s.Received != 6 {
		t.Errorf("the status says %+v", s)
	}
	await(t, "a block that tells", func() bool { return toldFiltered(t, &a.store.Reader)["broker plant/debug/#"] == 2 })

	next := *c
	next.Broker.Filter = []FilterConfig{filterOf(recordNothing, "#")}
	next.Broker.MaxRate = 5
	would, err := a.WouldReload(&next)
	if err != nil || len(would.Restarts) != 0 || would.Sessions != 0 || !slices.Equal(would.Changed, []string{"broker.max_rate", "broker.filter"}) {
		t.Errorf("it would do %+v, %v", would, err)
	}
	if _, err := a.Reload(&next); err != nil {
		t.Fatal(err)
	}
	before := len(entriesBelow(t, &a.store.Reader, "broker:"))
	client.publish(t, "plant/debug/alarm", "3")
	if now := len(entriesBelow(t, &a.store.Reader, "broker:")); now != before || a.running()[0] != running {
		t.Errorf("%d entries instead of %d after the reload", now, before)
	}
	awaitBlock(t, a)
	await(t, "its count", func() bool { return toldFiltered(t, &a.store.Reader)["broker #"] == 1 })
	if n := shown(t, a.metrics, "edgeagent_filter_ignored_total"); n["# broker"] != 1 {
		t.Errorf("the metrics count %v", n)
	}
}

// The same of a broker of the plant's, whose connection stands over the reload.
func TestFiltersOfASource(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	c := quickConfig(t)
	c.MQTT = []MQTTConfig{plantAt(b, "line/#")}
	c.MQTT[0].Filter = []FilterConfig{filterOf(recordNothing, "line/noise")}
	a := startAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	publishAt(t, b, "line/noise", "1")
	publishAt(t, b, "line/1", "2")
	await(t, "the count", func() bool { return toldFiltered(t, &a.store.Reader)["mqtt:plant line/noise"] == 1 })
	next := *c
	next.MQTT = []MQTTConfig{c.MQTT[0]}
	next.MQTT[0].Filter, next.MQTT[0].MaxRate = []FilterConfig{filterOf(recordHash, "line/noise")}, 100
	running := a.running()[0]
	if would, err := a.WouldReload(&next); err != nil || len(would.Restarts) != 0 || !slices.Equal(would.Changed, []string{"mqtt"}) {
		t.Errorf("it would do %+v, %v", would, err)
	}
	if _, err := a.Reload(&next); err != nil {
		t.Fatal(err)
	}
	publishAt(t, b, "line/noise", "3")
	await(t, "its entry", func() bool { return slices.Equal(recorded(t, a), []string{"line/1", "line/noise"}) })
	if s := sourceOf(a, "mqtt:plant"); a.running()[0] != running || s.Ignored != 0 || s.Filters[0].Hashed != 1 {
		t.Errorf("after the reload: %+v", s)
	}
}

func TestFiltersAreChecked(t *testing.T) {
	filter := func(text string) string { return "[[broker.filter]]\n" + text }
	for _, x := range []struct{ text, want string }{
		{filter("record = \"hash\""), `x.toml:1:10: broker.filter: expected topics, such as topics = ["factory/#"]`},
		{filter("topics = [\"a\"]\nrecord = \"none\""), `x.toml:3:1: broker.filter.record = "none": expected "all", "hash" or "nothing"`},
		{filter("topics = [\"a/#/b\"]"), `x.toml:2:11: broker.filter.topics = "a/#/b": expected # as the last level only: it stands for all that follow`},
		{filter("topics = [\"$$share/g/a\"]"), `x.toml:2:11: broker.filter.topics = "$share/g/a": expected the topics alone: what is recorded does not depend on the group that a message was sent to`},
		{filter("topics = [\"a\"]\npayload_max = \"1MiB\""), `x.toml:3:1: broker.filter.payload_max = "1MiB": expected 64B to payload.max, 256KiB, or 0B for that`},
		{filter("topics = [\"" + strings.Repeat("a", 1025) + "\"]"), `x.toml:2:11: broker.filter.topics = "` + strings.Repeat("a", 1025) + `": expected at most 1024 bytes`},
		{filter("topics = [" + strings.Repeat(`"a", `, 256) + `"b"]`), `x.toml:1:10: broker.filter: expected at most 256 topics in all tables filter together`},
		{"[broker]\nmax_rate = -1", `x.toml:2:1: broker.max_rate = -1: expected 0 to 1000000`},
		{strings.Replace(mqttTable, "[[mqtt.", "max_rate = -1\n[[mqtt.", 1), `x.toml:4:1: mqtt.max_rate = -1: expected 0 to 1000000`},
	} {
		if _, _, err := loadText(t, x.text, nil, nil); fmt.Sprint(err) != x.want {
			t.Errorf("got  %v\nwant %s", err, x.want)
		}
	}
	text := filter("topics = [\"plant/+/debug/#\"]\nrecord = \"nothing\"\npayload_max = \"1KiB\"\n") + filter("topics = [\"plant/1/#\", \"plant/2/debug/x\"]\n")
	_, warnings, err := loadText(t, "[broker]\nenabled = true\nallow_anonymous = true\n"+text, nil, nil)
	if err != nil || len(warnings) != 2 || !strings.Contains(warnings[0].Text, "it is of no use") ||
		!strings.Contains(warnings[1].Error(), `x.toml:9:24: broker.filter.topics = "plant/2/debug/x": it is never reached: "plant/+/debug/#" before it`) {
		t.Errorf("%v, %v", warnings, err)
	}
}

// What no configuration names any more is forgotten once it is told, and not while messages may be on their way to it.
func TestCountsOfFiltersThatAreGoneAreForgotten(t *testing.T) {
	counts := new(filterCounts)
	named := DefaultConfig()
	named.Broker.Filter = []FilterConfig{filterOf(recordNothing, "a", "b")}
	a, b := counts.get("broker", "a"), counts.get("broker", "b")
	without := DefaultConfig()
	without.Broker.Filter = []FilterConfig{filterOf(recordNothing, "a")}
	counts.know(named)
	a.ignore()
	counts.know(without)
	b.ignore()
	counts.know(without)
	if payload, told := counts.Untold(); string(payload) != `{"filters":[{"source":"broker","filter":"a","count":1},{"source":"broker","filter":"b","count":1}]}` {
		t.Errorf("untold is %s", payload)
	} else {
		told()
	}
	if counts.know(without); len(counts.of) != 1 || counts.get("broker", "a") != a {
		t.Errorf("known are %d", len(counts.of))
	}
}

// As many filters as there may be, as long as they may be, have room in one entry, and in its bounds.
func TestAllFiltersHaveRoomInOneEntry(t *testing.T) {
	counts := new(filterCounts)
	for i := range mostFilters {
		c := counts.get("mqtt:"+strings.Repeat("x", 64), fmt.Sprintf("%03d", i)+strings.Repeat("\x01", mostFilterBytes-3))
		c.ignored.Store(1<<64 - 1)
	}
	payload, _ := counts.Untold()
	if len(payload) > 4<<20 {
		t.Errorf("an entry of %v", tomlconf.Size(len(payload)))
	}
}
