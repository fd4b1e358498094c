package sensors

import (
	"strings"
	"testing"
)

// No two topics make one device: what tells them apart is in its name.
func TestADeviceIsItsTopicUnlessSomethingNamesIt(t *testing.T) {
	for _, c := range []struct{ from, topic, clientID, bare, several string }{
		{"", "plant/press/temp", "", "plant/press|temp", "plant/press/temp|x"},
		{"", "plant/press/temp", "plc-1", "plant/press|temp", "plant/press/temp|x"},
		{"topic", "temp", "", "temp|temp", "temp|x"},
		{"", "/temp", "", "temp|temp", "temp|x"},
		{"", "press/temp/", "", "press|temp", "press/temp|x"},
		{"", "plant//temp", "", "plant|temp", "plant//temp|x"},
		{"", "", "", "|", "|x"},
		{"level", "plant/press/temp", "plc-1", "press|temp", "press|x"},
		{"level", "temp", "", "temp|temp", "temp|x"},
		{"level", "plant//temp", "", "plant|temp", "plant|x"},
		{"client", "plant/press/temp", "plc-1", "plc-1|temp", "plc-1|x"},
		{"client", "plant/press/temp", "", "press|temp", "press|x"},
	} {
		d := mustNew(t, Config{DeviceFrom: c.from})
		if got := decodeLines(d, c.topic, c.clientID, "1"); got != c.bare+"||int 1||" {
			t.Errorf("%q, topic %q, client %q: %s, want %s", c.from, c.topic, c.clientID, got, c.bare)
		}
		if got := decodeLines(d, c.topic, c.clientID, `{"x":1}`); got != c.several+"||int 1||" {
			t.Errorf("%q, topic %q, client %q: %s, want %s", c.from, c.topic, c.clientID, got, c.several)
		}
	}
	d := mustNew(t, Config{})
	if got := decodeLines(mustNew(t, Config{Device: "fixed"}), "a/b", "client", "1"); got != "fixed|b||int 1||" {
		t.Errorf("configured device: %s", got)
	}
	for _, topic := range []string{"a/\xff", "\xff/a"} {
		if got := decodeLines(d, topic, "", "1"); got != "error: utf8" {
			t.Errorf("topic %q: %s", topic, got)
		}
	}
}

func TestTopicParsingNamesLevels(t *testing.T) {
	for _, c := range []struct {
		claim          string
		rules          []TopicRule
		topic, payload string
		want           string
	}{
		{"as Telegraf's documentation shows it", []TopicRule{{Topic: "sensors/+/+/temperature", Measurement: "_/_/_/measurement", Tags: "_/line/device/_"}},
			"sensors/l1/press-07/temperature", "76.2", "press-07|temperature||float 76.2||"},
		{"a measurement goes before the names of a payload", []TopicRule{{Topic: "+/+/+", Measurement: "_/_/motor", Tags: "_/device/_"}},
			"plant/p7/m1", `{"temp":1,"x":{"y":2}}`, "p7|m1.temp||int 1||\np7|m1.x.y||int 2||"},
		{"the unit", []TopicRule{{Topic: "+/+/+", Tags: "device/name/unit"}}, "p7/temp/°C", "20", "p7|temp|Cel|int 20||"},
		{"a word that stands twice", []TopicRule{{Topic: "+/+/+/+", Measurement: "_/_/n/n", Tags: "device/device/_/_"}},
			"hall/p7/oil/temp", "20", "hall/p7|oil.temp||int 20||"},
		{"a field is a reading", []TopicRule{{Topic: "+/+/+/+", Tags: "device/_/_/_", Fields: "_/line/batch/_"}},
			"p7/4/b-2/temp", "20", "p7|temp||int 20||\np7|line||int 4||\np7|batch||text b-2||"},
		{"a field may name the device", []TopicRule{{Topic: "+/+/+", Fields: "_/device/unit"}}, "x/p7/V", "1", "p7|V|V|int 1||"},
		{"another topic", []TopicRule{{Topic: "a/+/+", Tags: "_/_/device"}}, "b/p7/temp", "1", "p7|temp||int 1||"},
		{"# in the middle of a topic", []TopicRule{{Topic: "plant/#/+/temp", Tags: "#/device/_"}}, "plant/a/b/p7/temp", "1", "p7|temp||int 1||"},
		{"# standing for nothing", []TopicRule{{Topic: "plant/#/temp", Tags: "device/#"}}, "plant/temp", "1", "plant|temp||int 1||"},
		{"# in the words alone", []TopicRule{{Topic: "+/+/+/+", Tags: "device/#/name"}}, "p7/x/y/temp", "1", "p7|temp||int 1||"},
		{"words that end before the topic", []TopicRule{{Topic: "#", Tags: "_/device"}}, "x/p7/y/temp", "1", "p7|temp||int 1||"},
		{"words that end after the topic", []TopicRule{{Topic: "#", Tags: "_/_/_/device"}}, "x/temp", "1", "x|temp||int 1||"},
		{"# that has no room", []TopicRule{{Topic: "#", Tags: "_/_/_/#/device"}}, "x/temp", "1", "x|temp||int 1||"},
		{"every topic", []TopicRule{{Tags: "device/#"}}, "p7/x/temp", "1", "p7|temp||int 1||"},
		{"a later rule overrides", []TopicRule{{Tags: "device/#"}, {Topic: "+/x/+", Tags: "_/device/_"}}, "p7/x/temp", "1", "x|temp||int 1||"},
	} {
		d := mustNew(t, Config{TopicParsing: c.rules, DeviceFrom: "level"})
		if got := decodeLines(d, c.topic, "", c.payload); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.claim, got, c.want)
		}
	}
}

func TestTopicParsingGoesBeforeTheClient(t *testing.T) {
	d := mustNew(t, Config{TopicParsing: []TopicRule{{Topic: "+/+", Tags: "device/_"}}})
	if got := decodeLines(d, "p7/temp", "client", "1"); got != "p7|temp||int 1||" {
		t.Error(got)
	}
}

func TestTopicParsingErrorsNameTheKey(t *testing.T) {
	for _, c := range []struct {
		rule TopicRule
		want string
	}{
		{TopicRule{Topic: "a/+"}, `topic_parsing 1: the rule for "a/+" takes nothing from the topic; expected measurement, tags or fields`},
		{TopicRule{Topic: "#/#", Tags: "device"}, `topic_parsing 1: topic: "#/#" has 2 levels "#", where one is the most`},
		{TopicRule{Topic: "a+/b", Tags: "device/_"}, `topic_parsing 1: topic: "a+/b" has the level "a+"; "+" and "#" are whole levels`},
		{TopicRule{Topic: "+/+", Tags: "device"}, `topic_parsing 1: tags: "device" has 1 levels, where the topic "+/+" has 2`},
		{TopicRule{Topic: "+/+", Tags: "device/_/_/#"}, `topic_parsing 1: tags: "device/_/_/#" has more levels than the topic "+/+"`},
		{TopicRule{Topic: "+/+", Tags: "devcie/_"}, `topic_parsing 1: tags: "devcie/_" names no level device, name or unit, and other tags have no place in a reading`},
		{TopicRule{Topic: "+/+", Measurement: "_/_"}, `topic_parsing 1: measurement: "_/_" skips all levels`},
		{TopicRule{Topic: "+/+", Fields: "a/"}, `topic_parsing 1: fields: "a/" has an empty word; "_" skips a level`},
		{TopicRule{Topic: "+/+", Fields: "#/#"}, `topic_parsing 1: fields: "#/#" has 2 levels "#", where one is the most`},
	} {
		_, err := New(Config{TopicParsing: []TopicRule{c.rule}})
		if err == nil || err.Error() != c.want {
			t.Errorf("%+v:\n got %v\nwant %s", c.rule, err, c.want)
		}
	}
}

func TestPresetsReadWhatTheirDevicesSend(t *testing.T) {
	for _, c := range []struct{ preset, topic, payload, want string }{
		{"zigbee2mqtt", "zigbee2mqtt/kitchen", `{"temperature":27.34,"humidity":44.72,"linkquality":80,"last_seen":1715000000123}`,
			"kitchen|temperature|Cel|float 27.34|2024-05-06T12:53:20.123Z|\n" +
				"kitchen|humidity|%RH|float 44.72|2024-05-06T12:53:20.123Z|\n" +
				"kitchen|linkquality||int 80|2024-05-06T12:53:20.123Z|"},
		{"zigbee2mqtt", "zigbee2mqtt/kitchen", `{"last_seen":"2024-05-06T09:08:09+02:00","contact":true}`, "kitchen|contact||bool true|2024-05-06T07:08:09Z|"},
		{"zigbee2mqtt", "zigbee2mqtt/hall/door", `{"contact":true}`, "hall/door|contact||bool true||"},
		{"zigbee2mqtt", "zigbee2mqtt/hall/door/availability", `{"state":"online"}`, "hall/door|availability.state||text online||"},
		{"zigbee2mqtt", "zigbee2mqtt/bridge/state", `online`, "bridge|state||text online||"},
		{"tasmota", "tele/kitchen/SENSOR", `{"Time":"2017-02-16T10:13:52","DS18B20":{"Temperature":20.6}}`,
			"kitchen|DS18B20.Temperature||float 20.6|2017-02-16T10:13:52Z|zoneless"},
		{"tasmota", "tele/kitchen/LWT", `Online`, "kitchen|LWT||text Online||"},
		{"esphome", "livingroom/sensor/outside_temperature/state", `23.5`, "livingroom|outside_temperature||float 23.5||"},
		{"esphome", "home/livingroom/sensor/outside_temperature/state", `23.5`, "home/livingroom|outside_temperature||float 23.5||"},
		{"esphome", "livingroom/sensor/outside_temperature/state", `nan`, "error: not_finite"},
		{"esphome", "livingroom/status", `online`, "livingroom|status||text online||"},
		{"shelly", "shellyplus1-a8032abe54dc/status/switch:0", `{"id":0,"output":true}`,
			"shellyplus1-a8032abe54dc|switch:0.id||int 0||\nshellyplus1-a8032abe54dc|switch:0.output||bool true||"},
		{"shelly", "shellyplus1-a8032abe54dc/events/rpc", `{"src":"shellyplus1-a8032abe54dc","method":"NotifyStatus","params":{"ts":1631186545.04,"switch:0":{"id":0,"output":true}}}`,
			"shellyplus1-a8032abe54dc|src||text shellyplus1-a8032abe54dc||\n" +
				"shellyplus1-a8032abe54dc|method||text NotifyStatus||\n" +
				"shellyplus1-a8032abe54dc|switch:0.id||int 0|2021-09-09T11:22:25.04Z|\n" +
				"shellyplus1-a8032abe54dc|switch:0.output||bool true|2021-09-09T11:22:25.04Z|"},
		{"shelly", "shellyplus1-a8032abe54dc/online", `true`, "shellyplus1-a8032abe54dc|online||bool true||"},
	} {
		if got := decodeLines(mustNew(t, Config{Preset: c.preset}), c.topic, "CLIENT_1", c.payload); got != c.want {
			t.Errorf("%s: %s %s\n got %s\nwant %s", c.preset, c.topic, c.payload, got, c.want)
		}
	}
}

func TestPresetsOnlySetDefaults(t *testing.T) {
	for _, c := range []struct {
		cfg            Config
		topic, payload string
		want           string
	}{
		{Config{Preset: "tasmota", TimestampTimezone: "+02:00"}, "tele/k/SENSOR", `{"Time":"2017-02-16T10:13:52","t":1}`, "k|t||int 1|2017-02-16T08:13:52Z|zoneless"},
		{Config{Preset: "tasmota", TimestampPath: "x"}, "tele/k/SENSOR", `{"Time":"now","t":1}`, "k|Time||text now||\nk|t||int 1||"},
		{Config{Preset: "tasmota", Dialect: "raw"}, "tele/k/SENSOR", `{}`, "k|SENSOR||text {}||"},
		{Config{Preset: "esphome", Dialect: "auto"}, "n/sensor/t/state", `{"a":1}`, "n|t.a||int 1||"},
		{Config{Preset: "zigbee2mqtt", Units: map[string]string{"temperature": "[degF]"}}, "z/k", `{"temperature":1,"humidity":2}`, "k|temperature|[degF]|int 1||\nk|humidity||int 2||"},
		{Config{Preset: "zigbee2mqtt", TopicParsing: []TopicRule{{Topic: "+/+", Tags: "device/_"}}}, "z/k", `{"x":1}`, "z|x||int 1||"},
	} {
		if got := decodeLines(mustNew(t, c.cfg), c.topic, "", c.payload); got != c.want {
			t.Errorf("%+v\n got %s\nwant %s", c.cfg, got, c.want)
		}
	}
}

func TestConfigurationErrorsNameTheKeyAndTheFormExpected(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want []string
	}{
		{Config{Dialect: "xml"}, []string{`dialect: "xml"`, "senml+json", "auto"}},
		{Config{Preset: "hue"}, []string{`preset: "hue"`, "zigbee2mqtt"}},
		{Config{Dialect: "value", TimestampPath: "t"}, []string{"timestamp_path: has no use with the dialect value"}},
		{Config{Dialect: "senml+json", MessagesPath: "t"}, []string{"messages_path:"}},
		{Config{TimestampFormat: "unix"}, []string{"timestamp_path: missing"}},
		{Config{TimestampPath: "t", TimestampFormat: "unixms"}, []string{`timestamp_format: "unixms"`, "unix_ms", "Go layout"}},
		{Config{TimestampPath: "t", TimestampFormat: "15:04:05"}, []string{"timestamp_format:", "does not give a date"}},
		{Config{TimestampPath: "t", TimestampFormat: "2006-01-02 15:04:05 MST"}, []string{"timestamp_format:", "abbreviation"}},
		{Config{TimestampPath: "t", TimestampFormat: "unix", TimestampTimezone: "UTC"}, []string{"timestamp_timezone:", "unix"}},
		{Config{TimestampPath: "t", TimestampTimezone: "Berlin"}, []string{`timestamp_timezone: "Berlin"`, "Europe/Berlin", "+02:00"}},
		{Config{DeviceFrom: "payload"}, []string{`device_from: "payload"`, "topic, level or client"}},
		{Config{Columns: []string{"a"}}, []string{"columns: has no use with the dialect auto"}},
		{Config{Dialect: "csv", Separator: "\n"}, []string{"separator:", "one character"}},
		{Config{Dialect: "csv", MessagesPath: "a"}, []string{"messages_path: has no use"}},
		{Config{MessagesOnly: true}, []string{"messages_only:", "messages_path"}},
		{Config{QualityGood: []string{"ok"}}, []string{"quality_path: missing"}},
		{Config{DevicePath: "a,b,c,d,e"}, []string{"device_path: 5 fields"}},
		{Config{Fields: []string{""}}, []string{"fields: expected names"}},
		{Config{Ignore: []string{"/a"}}, []string{"ignore:", "JSON Pointer"}},
		{Config{MessagesPath: strings.Repeat("a.", 40) + "a"}, []string{"messages_path:", "32"}},
	} {
		_, err := New(c.cfg)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %q lacks %q", c.cfg, err, want)
			}
		}
	}
}
