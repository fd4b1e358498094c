package suggest

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

var received = time.Date(2026, time.March, 1, 8, 0, 0, 0, time.UTC)

// reported returns what is suggested for messages: a topic, a space and a payload each.
func reported(messages ...string) Report {
	c := New(DefaultLimits, nil)
	for _, m := range messages {
		topic, payload, _ := strings.Cut(m, " ")
		c.Add(Message{Topic: topic, Payload: []byte(payload), Received: received})
	}
	return c.Report()
}

// tables returns the filters of all groups, with the keys of their configuration on one line.
func tables(r *Report) string {
	var lines []string
	for _, g := range r.Groups {
		lines = append(lines, strings.TrimSpace(strings.Join(g.Filters, " ")+": "+strings.ReplaceAll(strings.TrimSpace(table(g.Config)), "\n", "; ")))
	}
	return strings.Join(lines, "\n")
}

func TestAPresetIsRecognisedByThePayloadsThatItsMakerDocuments(t *testing.T) {
	file, err := os.ReadFile("../testdata/presets.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ Preset, Topic, Payload string }
	if err := json.Unmarshal(file, &cases); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, c := range cases {
		r := reported(c.Topic + " " + c.Payload)
		switch got := r.Groups[0].Config.Preset; got {
		case c.Preset:
			known[c.Preset] = true
		case "":
		case "rtl_433": // what OpenMQTTGateway hands on of it
		default:
			t.Errorf("%s %.80s is taken for %s, want %s", c.Topic, c.Payload, got, c.Preset)
		}
	}
	for _, p := range sensors.Presets() {
		if !known[p.Name] {
			t.Errorf("none of the payloads of %s is recognised by its signs", p.Name)
		}
		for _, s := range p.Signs {
			if err := mqttwire.CheckPattern(s.Topic); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		}
	}
}

func TestLevelsAreMergedOnlyWherePayloadsLookAlike(t *testing.T) {
	for _, c := range []struct {
		what, want string
		messages   []string
	}{
		{"one level varies", "line1/+/state:", []string{`line1/a/state {"t":1,"h":2}`, `line1/b/state {"t":3,"h":4}`}},
		{"two levels vary", "plant/+/+/temp:", []string{"plant/l1/a/temp 1", "plant/l1/b/temp 2", "plant/l2/a/temp 3", "plant/l2/b/temp 4"}},
		{"a number and null are alike", "line1/+/state:", []string{`line1/a/state {"t":1}`, `line1/b/state {"t":null,"x":1}`, `line1/b/state {"t":2}`, `line1/a/state {"x":7}`}},
		{"bare values of all kinds are alike", "line1/press/+:", []string{"line1/press/temp 21.5", "line1/press/state on"}},
		{"other names", "line1/a/state:\nline1/b/state:", []string{`line1/a/state {"t":1}`, `line1/b/state {"h":1}`}},
		{"other kinds", "line1/a/state:\nline1/b/state:", []string{`line1/a/state {"t":1}`, `line1/b/state {"t":"x"}`}},
		{"what the filter would cover besides", "l/a/s:\nl/b/s:\nl/c/s:", []string{`l/a/s {"t":1}`, `l/b/s {"h":1}`, `l/c/s {"t":1}`}},
		{"the first level is a plant's name", "a/state:\nb/state:", []string{`a/state {"t":1}`, `b/state {"t":1}`}},
		{"unless three are alike", "+/state:", []string{`a/state {"t":1}`, `b/state {"t":1}`, `c/state {"t":1}`}},
		{"no filter is wildcards alone", "a:\nb:\nc:", []string{"a 1", "b 2", "c 3"}},
		{"a preset has all of its sender", `zigbee2mqtt/#: preset = "zigbee2mqtt"`, []string{`zigbee2mqtt/x {"linkquality":1}`, "zigbee2mqtt/x/availability online", `zigbee2mqtt/bridge/state {"state":"online"}`}},
		{"but for what it cannot read better", "b/#: preset = \"zigbee2mqtt\"", []string{`b/x {"linkquality":1}`, "b/y on"}},
	} {
		r := reported(c.messages...)
		if got := tables(&r); got != c.want {
			t.Errorf("%s: suggested is\n%s\nwant\n%s", c.what, got, c.want)
		}
	}
}

func TestThePathsOfFieldsAreFound(t *testing.T) {
	for _, c := range []struct {
		want     string
		messages []string
	}{
		{`timestamp_path = "ts"`, []string{`a/b {"ts":1772352000,"v":1}`}},
		{`timestamp_path = "head.time"`, []string{`a/b {"head":{"time":"2026-03-01T07:00:00Z"},"v":1}`}},
		{``, []string{`a/b {"t":21.5,"h":40}`}},
		{``, []string{`a/b {"time":"22/11/2026 10:00","v":1}`}},
		{`timestamp_path = "time"; messages_path = "series.*"`, []string{`a/b {"series":[{"time":"2026-03-01T07:00:00Z","v":1},{"time":"2026-03-01T07:00:01Z","v":2}]}`}},
		{`device_path = "id"`, []string{`a/b {"id":"press","v":1}`, `a/b {"id":"oven","v":1}`}},
		{``, []string{`a/b {"id":1,"v":1}`, `a/b {"id":2,"v":1}`, `a/b {"id":3,"v":1}`}},
		{`unit_path = "unit"`, []string{`a/b {"unit":"kWh","e":21.5}`}},
		{``, []string{`a/b {"unit":"kWh","e":21.5,"t":3}`}},
		{`numbers = ["temp"]`, []string{`a/b {"temp":"19.6","version":"1.10","code":"007","state":"on"}`}},
		{``, []string{`a/b {"temp":"19.6"}`, `a/b {"temp":"off"}`}},
		{`numbers = ["*"]`, []string{"a/temp 23.5 °C"}},
		{``, []string{"a/temp 02"}},
		{`dialect = "influx"`, []string{"a/b weather,hall=3 temperature=82.1"}},
		{`dialect = "pairs"; separator = ";"`, []string{"a/b TEMP=21;HUM=45;"}},
		{`dialect = "csv"; separator = ","; columns = ["value1", "value2", "value3"]`, []string{"a/b 100,230.5,-5"}},
		{`dialect = "csv"; timestamp_path = "time"; separator = ";"; columns = ["time", "value2", "value3"]`, []string{"a/b 2026-03-01 07:00:00;21.5;45"}},
		{``, []string{"a/b 1,016,760"}},
		{`dialect = "ndjson"`, []string{"a/b {\"v\":1}\n{\"w\":2}"}},
		{`dialect = "cbor"`, []string{"a/b \xa1\x61t\x15"}},
		{``, []string{"a/b \x82\xa4temp"}},
	} {
		r := reported(c.messages...)
		if got, want := tables(&r), strings.TrimSpace("a/b: "+c.want); got != want && got != strings.Replace(want, "a/b", "a/temp", 1) {
			t.Errorf("%q: suggested is %s, want %s", c.messages, got, want)
		}
	}
}

func TestWhatIsNotUnderstoodIsToldWithItsReason(t *testing.T) {
	r := reported(`a/b {"v":1`, "a/b \xffx")
	if len(r.Groups) != 1 || r.Groups[0].Example.Err == nil {
		t.Fatalf("groups are %+v", r.Groups)
	}
	var reasons []string
	for _, u := range r.Groups[0].Unread {
		reasons = append(reasons, u.Reason)
	}
	if !slices.Equal(reasons, []string{"syntax", "utf8"}) {
		t.Errorf("reasons are %q", reasons)
	}
}

func TestTwoTopicsThatGiveOneDeviceTheSameReadingAreWarnedOf(t *testing.T) {
	r := reported(`a/b {"c":1}`, "a/b/c 2", "a/d 3")
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], `the device "a/b" has a reading "c" from each of a/b, a/b/c`) {
		t.Errorf("warnings are %q", r.Warnings)
	}
	if r := reported("a/b 1", "a/c 1"); len(r.Warnings) > 0 {
		t.Errorf("warnings are %q, want none", r.Warnings)
	}
}

func TestMemoryIsBoundedAndWhatIsLeftOutIsCounted(t *testing.T) {
	c := New(Limits{Topics: 2, Samples: 2, Payload: 8, Bytes: 20}, nil)
	for _, m := range []string{"a 1", "a 2", "a 3", "b 12345678", "b 87654321", "c 1", "a 123456789", "x/+ 1"} {
		topic, payload, _ := strings.Cut(m, " ")
		c.Add(Message{Topic: topic, Payload: []byte(payload), Received: received})
	}
	if want := (LeftOut{Topics: 1, Size: 1, Invalid: 1}); c.leftOut != want {
		t.Errorf("left out are %+v, want %+v", c.leftOut, want)
	}
	if c.bytes > 20 || len(c.topics["a"].samples) != 2 {
		t.Errorf("kept are %d bytes, and %d samples of a", c.bytes, len(c.topics["a"].samples))
	}
	c = New(Limits{Topics: 9, Samples: 2, Payload: 8, Bytes: 4}, nil)
	c.Add(Message{Topic: "a", Payload: []byte("12345"), Received: received})
	if c.leftOut.Memory != 1 || c.bytes != 0 {
		t.Errorf("left out are %+v", c.leftOut)
	}
}

func TestSparkplugIsGivenToWhatRemembersBirths(t *testing.T) {
	var asked []string
	c := New(DefaultLimits, func(topic string, _ lightchain.Flags, _ []byte, _ time.Time) (sensors.Result, error) {
		asked = append(asked, topic)
		return sensors.Result{Decoder: sensors.SparkplugName(), Readings: []lightchain.Reading{{Device: "G/E", Name: "t", Value: lightchain.Int(1)}}}, nil
	})
	for _, topic := range []string{"spBv1.0/G/NBIRTH/E", "spBv1.0/G/NDATA/E", "site/spBv1.0/G/NDATA/E", "a/b"} {
		c.Add(Message{Topic: topic, Payload: []byte("1"), Received: received})
	}
	if want := []string{"spBv1.0/G/NBIRTH/E", "spBv1.0/G/NDATA/E", "site/spBv1.0/G/NDATA/E"}; !slices.Equal(asked, want) {
		t.Errorf("asked are %q, want %q", asked, want)
	}
	r := c.Report()
	if got, want := tables(&r), "a/b:\nspBv1.0/#:\nsite/spBv1.0/#: dialect = \"sparkplug_b\""; got != want {
		t.Errorf("suggested is\n%s\nwant\n%s", got, want)
	}
}

func TestManyFiltersOfOneTableBecomeOne(t *testing.T) {
	var messages []string
	for i := range mostFilters + 1 {
		messages = append(messages, fmt.Sprintf(`plant/%d/%c {"name%d":1}`, i, 'a'+i, i))
	}
	r := reported(messages...)
	if got := tables(&r); got != "plant/#:" {
		t.Errorf("suggested is\n%s", got)
	}
	r = reported(append(messages, "plant/x/y 1;2;3")...)
	if len(r.Groups) != mostFilters+2 {
		t.Errorf("suggested is\n%s\nthough one topic below plant is read otherwise", tables(&r))
	}
}

func TestATopicCannotLeaveItsTextOfTOML(t *testing.T) {
	for text, want := range map[string]string{
		`a"b\c`: `"a\"b\\c"`, "a\nb": `"a\u000Ab"`, "${HOME}": `"$${HOME}"`, "a$$b": `"a$$$b"`, "a$b": `"a$b"`, "\x7f\u202e": `"\u007F\u202E"`,
	} {
		if got := Quote(text); got != want {
			t.Errorf("%q becomes %s, want %s", text, got, want)
		}
	}
}

// Whatever comes: each topic is covered by filters of one configuration alone, its own, and of groups none is without topics.
func FuzzSuggest(f *testing.F) {
	for _, seed := range []string{
		"a/b 1\na/c 2\nx/y/z {\"t\":1}", "zigbee2mqtt/x {\"linkquality\":1}\nzigbee2mqtt/y \xff", "/a/b 1\n//b 2\n/ 3\n$SYS/x 1", "tele/x/SENSOR {\"Time\":\"x\"}\ntele/x 1",
		"b/x {\"linkquality\":1}\nb/x/events/rpc {\"src\":1,\"method\":2}\nb/x/y 1;2;3",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := New(Limits{Topics: 64, Samples: 4, Payload: 1 << 10, Bytes: 1 << 16}, nil)
		for m := range strings.SplitSeq(text, "\n") {
			topic, payload, _ := strings.Cut(m, " ")
			c.Add(Message{Topic: topic, Payload: []byte(payload), Received: received})
		}
		r := c.Report()
		topics := 0
		for _, g := range r.Groups {
			topics += g.Topics
			for _, filter := range g.Filters {
				if err := mqttwire.CheckFilter(filter); err != nil {
					t.Errorf("filter %q: %v", filter, err)
				}
			}
		}
		if topics != len(c.topics) {
			t.Errorf("%d topics are in groups, of %d", topics, len(c.topics))
		}
		for name, one := range c.topics {
			covered := false
			for _, g := range r.Groups {
				for _, filter := range g.Filters {
					if !mqttwire.Match(filter, name) {
						continue
					}
					covered = true
					if table(g.Config) != table(one.config) {
						t.Errorf("%q is read by %q, and by the filter %q with %q", name, table(one.config), filter, table(g.Config))
					}
				}
			}
			if !covered {
				t.Errorf("no filter covers %q", name)
			}
		}
	})
}
