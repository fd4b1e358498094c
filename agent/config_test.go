package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/agent/recorder"
	"edgechain.example/sensors"
	"edgechain.example/sensors/modbus"
	"edgechain.example/sensors/opcua"
	"edgechain.example/sensors/serial"
	"edgechain.example/tomlconf"
)

// loadText reads a configuration file with the given text, found as x.toml in the working directory.
func loadText(t *testing.T, text string, env []string, flags map[string]string) (*Config, []tomlconf.Problem, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	writeConfig(t, "x.toml", text)
	return LoadConfig("x.toml", env, flags)
}

func writeConfig(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// uncommented is the sample with every key and table in force.
func uncommented() string {
	return regexp.MustCompile(`(?m)^#(\[|[a-z_]+ = )`).ReplaceAllString(Sample, "$1")
}

func TestTheSampleSetsNothing(t *testing.T) {
	c, _, err := loadText(t, Sample, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, DefaultConfig()) {
		t.Errorf("got\n%s", tomlconf.Format(c))
	}
}

func TestTheSampleShowsEveryKeyWithItsDefault(t *testing.T) {
	t.Chdir(t.TempDir())
	writeConfig(t, "x.toml", uncommented())
	read := &Config{}
	doc, err := tomlconf.Read(read, tomlconf.Source{Files: []string{"x.toml"}})
	if err == nil {
		err = doc.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	// What the program holds where nothing is set; a table of an array, one that is empty, has its own defaults.
	defaults := DefaultConfig()
	defaults.Key.File, defaults.API.Socket = "", ""
	defaults.Broker.Decode = []DecodeConfig{{Config: sensors.Config{TopicParsing: make([]sensors.TopicRule, 1)}}}
	defaults.MQTT = []MQTTConfig{{Subscribe: []SubscribeConfig{{Config: sensors.Config{TopicParsing: make([]sensors.TopicRule, 1)}}}}}
	defaults.MQTT[0].SetDefaults()
	defaults.Modbus = []modbus.Config{{Request: []modbus.Request{{Fields: make([]modbus.Field, 1)}}}}
	defaults.Modbus[0].SetDefaults()
	defaults.Modbus[0].Request[0].SetDefaults()
	defaults.Modbus[0].Request[0].Fields[0].SetDefaults()
	defaults.OPCUA = []opcua.Config{{Subscribe: []opcua.Subscribe{{Nodes: make([]opcua.NodeConfig, 1)}}}}
	defaults.OPCUA[0].SetDefaults()
	defaults.OPCUA[0].Subscribe[0].SetDefaults()
	defaults.Serial = []serial.Config{{Config: sensors.Config{TopicParsing: make([]sensors.TopicRule, 1)}}}
	defaults.Serial[0].SetDefaults()
	defaults.Broker.Filter, defaults.MQTT[0].Filter = make([]FilterConfig, 1), make([]FilterConfig, 1)
	defaults.Broker.Filter[0].SetDefaults()
	defaults.MQTT[0].Filter[0].SetDefaults()
	defaults.MQTT[0].Subscribe[0].SetDefaults()
	defaults.Upstream = []UpstreamConfig{{Aggregator: make([]AggregatorConfig, 1)}}
	defaults.Upstream[0].SetDefaults()

	got, want := strings.Split(tomlconf.Format(read), "\n"), strings.Split(tomlconf.Format(defaults), "\n")
	if len(got) != len(want) {
		t.Fatalf("the sample has %d keys, Config %d", len(got), len(want))
	}
	for i := range want {
		path, value, _ := strings.Cut(want[i], " = ")
		if path != "" && !doc.IsSet(path) {
			t.Errorf("the sample lacks %s", path)
		}
		// A table of an array shows examples where there is no default.
		example := strings.Contains(path, "[") && (value == `""` || value == "[]")
		if got[i] != want[i] && !example {
			t.Errorf("the sample says %s, the default is %s", got[i], want[i])
		}
	}
}

func TestTheSampleInForceIsValid(t *testing.T) {
	if _, warnings, err := loadText(t, uncommented(), nil, nil); err != nil {
		t.Error(err, warnings)
	}
}

func TestEveryKeyButThoseOfArraysCanBeSetFromOutside(t *testing.T) {
	var env []string
	for line := range strings.Lines(tomlconf.Format(DefaultConfig())) {
		path, _, _ := strings.Cut(line, " = ")
		env = append(env, "EDGEAGENT_"+strings.ToUpper(strings.ReplaceAll(path, ".", "_"))+"=?")
	}
	_, warnings, err := loadText(t, "", env, nil)
	for _, w := range warnings {
		if strings.Contains(w.Text, "sets no key") {
			t.Error(w)
		}
	}
	if err == nil {
		t.Error("a question mark was taken for every value")
	}
}

func TestPrecedence(t *testing.T) {
	text := "[block]\ninterval = \"2s\"\nmax_entries = 2\nheartbeat = \"2h\"\n"
	c, _, err := loadText(t, text, []string{"EDGEAGENT_BLOCK_INTERVAL=3s", "EDGEAGENT_BLOCK_MAX_ENTRIES=3"}, map[string]string{"block.interval": "4s"})
	if err != nil {
		t.Fatal(err)
	}
	want := recorder.BlockConfig{Interval: 4 * time.Second, MaxEntries: 3, Heartbeat: 2 * time.Hour}
	if c.Block != want || c.Commit != DefaultConfig().Commit {
		t.Errorf("got %+v, %+v", c.Block, c.Commit)
	}
}

func TestKeyAndSocketFollowTheDataFolder(t *testing.T) {
	c, _, err := loadText(t, "", nil, map[string]string{"gateway.data": "/data"})
	if err != nil || c.Key.File != filepath.Join("/data", "key") || c.API.Socket != filepath.Join("/data", "edgeagent.sock") {
		t.Errorf("got %+v, %v", c, err)
	}
}

// mqttTable is a valid [[mqtt]] of five lines.
// clientTable is an [[mqtt]] of six lines.
func clientTable(name, clientID, server string) string {
	return fmt.Sprintf("[[mqtt]]\nname = %q\nservers = [\"tcp://%s\"]\nclient_id = %q\n[[mqtt.subscribe]]\ntopics = [\"a\"]\n", name, server, clientID)
}

// sparkplugTable is an [[mqtt]] of six lines that is a host of Sparkplug's.
func sparkplugTable(name string) string {
	return fmt.Sprintf("[[mqtt]]\nname = %q\nservers = [\"tcp://127.0.0.1\"]\nhost_id = \"Hall\"\n[[mqtt.subscribe]]\ntopics = [\"spBv1.0/#\"]\n", name)
}

const mqttTable = `[[mqtt]]
name = "line-1"
servers = ["tcp://127.0.0.1"]
[[mqtt.subscribe]]
topics = ["a/#"]
`

// upstreamTable is a valid [[upstream]] of six lines.
const upstreamTable = `[[upstream]]
name = "office"
servers = ["ssl://broker.example"]
[[upstream.aggregator]]
name = "agg-1"
key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
`

// Of a payload that is configured to be kept nothing else has the hash kept alone.
func TestNoPayloadMaxIsTakenForMoreThanIsKept(t *testing.T) {
	if maxPayload != sensors.MostPayloadMax {
		t.Errorf("payload.max may be %v, and %d bytes are kept", maxPayload, sensors.MostPayloadMax)
	}
}

func TestConfigurationsThatCannotWorkAreRefusedAtTheirLine(t *testing.T) {
	long := "/" + strings.Repeat("x", 120)
	for _, test := range []struct{ text, want string }{
		{"[block]\nintervall = \"1s\"", `x.toml:2:1: unknown key block.intervall; did you mean interval?`},
		{"[gateway]\nname = \"a\\u0007\"", `x.toml:2:1: gateway.name = "a\a": expected at most 64 bytes without control characters`},
		{"[gateway]\nchain = \"abc\"", "x.toml:2:1: gateway.chain = \"abc\": expected the 52 characters that `edgeagent init` printed"},
		{"[gateway]\ndata = \"\"", `x.toml:2:1: gateway.data = "": expected a folder, such as "/var/lib/edgeagent"`},
		{"[key]\npassphrase = \"hunter2\"", `x.toml:2:1: key.passphrase: a passphrase is given as file:PATH, env:NAME or credential:NAME`},
		{"[key]\nrotate_every = -1", `x.toml:2:1: key.rotate_every = -1: expected 0 to 1073741824`},
		{"[store]\nreserve = \"64 Mb\"", `x.toml:2:1: store.reserve: "64 Mb": expected a size with its unit, such as "64MiB", "256KiB" or "10MB"`},
		{"[store]\ncache = \"4MiB\"\nmemtable = \"4MiB\"", `x.toml:2:1: store.cache = "4MiB": expected at least twice store.memtable, 8MiB, which takes its room from it`},
		{"[store]\nmemtable = \"5MiB\"", `x.toml:1:2: store.cache: expected at least twice store.memtable, 10MiB, which takes its room from it`},
		{"[commit]\nmax_delay = 25", `x.toml:2:1: commit.max_delay = 25: expected a duration with its unit, such as "90s" or "1h"`},
		{"[commit]\nidle = \"30ms\"", `x.toml:2:1: commit.idle = "30ms": no group waits for longer than 25ms where commit.max_delay is not set: set that too, to 30ms or more`},
		{"[block]\nmax_entries = 65537", `x.toml:2:1: block.max_entries = 65537: expected 1 to 65536`},
		{"[block]\nheartbeat = \"30s\"", `x.toml:2:1: block.heartbeat = "30s": expected 1m to 7d`},
		{"[block]\ncadence = \"1h\"", `x.toml:2:1: block.cadence = "1h": expected 0, for no promise, or whole seconds from block.heartbeat and block.interval together, 1h1m0s, to 31 days`},
		{"[block]\ncadence = \"2h0m0.5s\"", `x.toml:2:1: block.cadence = "2h0m0.5s": expected 0, for no promise, or whole seconds from block.heartbeat and block.interval together, 1h1m0s, to 31 days`},
		{"[payload]\nmax = \"16MiB\"", `x.toml:2:1: payload.max = "16MiB": expected 64B to 12032KiB`},
		{"[ingest]\nmax_bytes = \"1MiB\"\n[payload]\nmax = \"2MiB\"", `x.toml:2:1: ingest.max_bytes = "1MiB": expected 2MiB to 1GiB`},
		{"[api]\nsocket = \"" + long + "\"", `x.toml:2:1: api.socket = "` + long + `": a path of 121 bytes, where the system allows 107 (by default the socket is in gateway.data): expected a shorter one, such as "/run/edgeagent/edgeagent.sock"`},
		{"[api]\nlisten = \"0.0.0.0:9470\"", `x.toml:2:1: api.listen = "0.0.0.0:9470": expected this machine's own address, such as "127.0.0.1:9470": the API asks nobody who he is, and shows payloads`},
		{"[api]\nlisten = \"9470\"", `x.toml:2:1: api.listen = "9470": expected an address and a port, such as "127.0.0.1:1883" or "[::1]:1883"`},
		{"[log]\nlevel = \"verbose\"", `x.toml:2:1: log.level = "verbose": expected "debug", "info", "warn" or "error"`},
		{"[hwmon]\nroot = \"sys\"", `x.toml:2:1: hwmon.root = "sys": expected a full path, such as "/"`},
		{"[broker]\nacl_file = \"/etc/mosquitto/acl\"", `x.toml:2:1: broker.acl_file = "/etc/mosquitto/acl": expected broker.password_file beside it`},
		{"[broker]\nusers = \"/none\"\npassword_file = \"/none\"", `x.toml:3:1: broker.password_file = "/none": expected this or broker.users, not both`},
		{"[broker]\nenabled = true", `x.toml:2:1: broker.enabled = true: nobody could connect: expected a file in broker.users or password_file, or broker.allow_anonymous = true`},
		{"[broker]\nenabled = true\nlisten = \"\"\nusers = \"u\"", `x.toml:2:1: broker.enabled = true: expected an address in broker.listen, tls_listen, ws_listen or wss_listen`},
		{"[broker]\nallow_anonymous = true\nlisten = \":1883\"", `x.toml:3:1: broker.listen = ":1883": expected this machine's own address, such as "127.0.0.1:1883", since broker.allow_anonymous lets anybody in: anybody on the network could write into the chain`},
		{"[broker]\ntls_client_cert = \"required\"", `x.toml:2:1: broker.tls_client_cert = "required": expected broker.tls_client_ca beside it: without authorities no certificate is asked for`},
		{"[broker]\ntls_listen = \":8883\"", `x.toml:2:1: broker.tls_listen = ":8883": expected broker.tls_cert and broker.tls_key beside it`},
		{"[broker]\ntls_key = \"k\"", `x.toml:2:1: broker.tls_key = "k": expected tls_cert beside it, the file of its certificate`},
		{"[[broker.decode]]\ndialect = \"json\"", `x.toml:1:10: broker.decode: expected topics, such as topics = ["factory/#"]`},
		{"[mqtt]\nname = \"a\"", `x.toml:1:2: mqtt: there may be several such tables: expected [[mqtt]]`},
		{"[[mqtt]]\nservers = [\"tcp://a\"]\n[[mqtt.subscribe]]\ntopics = [\"a\"]", `x.toml:1:3: mqtt: expected a name, such as name = "line-1"`},
		{"[[mqtt]]\nname = \"a:b\"\nservers = [\"tcp://a\"]\n[[mqtt.subscribe]]\ntopics = [\"a\"]", `x.toml:2:1: mqtt.name = "a:b": expected 1 to 64 letters, digits, '.', '_' and '-'`},
		{"[[mqtt]]\nname = \"a\"\n[[mqtt.subscribe]]\ntopics = [\"a\"]", `x.toml:1:3: mqtt: expected at least one server, such as servers = ["tcp://127.0.0.1:1883"]`},
		{"[[mqtt]]\nname = \"a\"\nservers = [\"tcp://a\"]", `x.toml:1:3: mqtt: expected [[mqtt.subscribe]] with topics below it: nothing would arrive`},
		{mqttTable + mqttTable, `x.toml:7:1: mqtt.name = "line-1": expected a name that no other has`},
		{strings.Replace(mqttTable, "[[mqtt.sub", "host_id = \"a/b\"\n[[mqtt.sub", 1), `x.toml:4:1: mqtt.host_id = "a/b": expected 1 to 256 bytes without '+', '/' and '#'`},
		{"[broker]\nreorder_timeout = \"2h\"", `x.toml:2:1: broker.reorder_timeout = "2h": expected 0s to 1h`},
		{mqttTable + "dialect = \"sparkplug_b\"\nunit = \"Cel\"", `x.toml:7:1: mqtt.subscribe.unit = "Cel": has no use with the dialect sparkplug_b`},
		{sparkplugTable("a") + sparkplugTable("b"), `x.toml:10:1: mqtt.host_id = "Hall": expected another one: "a" says at the same broker whether it is online`},
		{clientTable("a", "x", "broker:1883") + clientTable("b", "x", "broker:1884") + clientTable("c", "y", "broker") + clientTable("d", "x", "other\", \"tcp://BROKER"),
			`x.toml:22:1: mqtt.client_id = "x": expected another one, or none: "a" uses it at the same broker, where they would throw each other out, and give up each other's filters`},
		{clientTable("a", "x", "broker") + strings.Replace(upstreamTable, "ssl://broker.example\"]", "tcp://broker\"]\nclient_id = \"x\"", 1),
			`x.toml:10:1: upstream.client_id = "x": expected another one, or none: "a" uses it at the same broker, where they would throw each other out, and give up each other's filters`},
		{strings.Replace(mqttTable, "tcp:", "http:", 1), `x.toml:3:12: mqtt.servers: http:// is not a way to a broker: expected tcp://, ssl://, ws:// or wss://`},
		{strings.Replace(mqttTable, "tcp://127.0.0.1", "broker", 1), `x.toml:3:12: mqtt.servers: expected tcp://, ssl://, ws:// or wss:// and the broker's name, such as "ssl://broker.example:8883"`},
		{strings.Replace(mqttTable, "[[mqtt.", "password = \"p\"\n[[mqtt.", 1), `x.toml:4:1: mqtt.password: expected username beside it: MQTT 3.1.1 sends no password without one`},
		{strings.Replace(mqttTable, "[[mqtt.", "username = \"u\"\npassword = \"p\"\npassword_file = \"f\"\n[[mqtt.", 1), `x.toml:6:1: mqtt.password_file = "f": expected one of password and password_file`},
		{strings.Replace(mqttTable, "[[mqtt.", "tls_ca = \"ca.pem\"\n[[mqtt.", 1), `x.toml:4:1: mqtt.tls_ca = "ca.pem": it is of no use, for no server is ssl:// or wss://`},
		{strings.Replace(mqttTable, "[[mqtt.", "keep_alive = \"24h\"\n[[mqtt.", 1), `x.toml:4:1: mqtt.keep_alive = "24h": expected 1s to 18h12m15s`},
		{strings.Replace(mqttTable, "[[mqtt.", "insecure_skip_verify = true\n[[mqtt.", 1), `x.toml:4:1: unknown key mqtt.insecure_skip_verify; expected name, servers, username, password, password_file, client_id, keep_alive, connect_timeout, tls_ca, tls_cert, tls_key, tls_server_name, max_rate, host_id, reorder_timeout, filter or subscribe`},
		{strings.Replace(mqttTable, "a/#", "a/#/b", 1), `x.toml:5:11: mqtt.subscribe.topics = "a/#/b": expected # as the last level only: it stands for all that follow`},
		{strings.Replace(mqttTable, "a/#", "a+/b", 1), `x.toml:5:11: mqtt.subscribe.topics = "a+/b": expected + and # alone between slashes, such as "factory/+/state" or "factory/#"`},
		{strings.Replace(mqttTable, "a/#", "$$share/x", 1), `x.toml:5:11: mqtt.subscribe.topics = "$share/x": expected $share/<group>/<filter>`},
		{mqttTable + "qos = 3", `x.toml:6:1: mqtt.subscribe.qos = 3: expected 0 to 2`},
		{mqttTable + "dialect = \"senml\"", `x.toml:6:1: mqtt.subscribe.dialect = "senml": "senml" is none; expected auto, senml+json, senml+cbor, json, ndjson, cbor, influx, csv, pairs, regexp, p1, nmea, value, raw or sparkplug_b`},
		{mqttTable + "timestamp_format = \"unix\"", `x.toml:4:8: mqtt.subscribe.timestamp_path: missing, where timestamp_format or timestamp_timezone says how to read that field`},
		{mqttTable + "timestamp_path = \"t\"\ntimestamp_timezone = \"Nowhere\"", `x.toml:7:1: mqtt.subscribe.timestamp_timezone = "Nowhere": "Nowhere" is not known here; expected a name such as "Europe/Berlin", "UTC", "Local", or an offset such as "+02:00"`},
		{mqttTable + "[[mqtt.subscribe.topic_parsing]]\ntopic = \"a/+\"\ntags = \"_/device\"\n[[mqtt.subscribe.topic_parsing]]\ntopic = \"a/+/+\"\ntags = \"_/device\"",
			`x.toml:9:18: mqtt.subscribe.topic_parsing: tags: "_/device" has 2 levels, where the topic "a/+/+" has 3`},
		{"[sync]\nconfirm_head = \"sometimes\"", `x.toml:2:1: sync.confirm_head = "sometimes": expected "always", "if_reachable" or "never"`},
		{strings.Replace(upstreamTable, "[[upstream.", "prefix = \"a/b/c/d\"\n[[upstream.", 1), `x.toml:4:1: upstream.prefix = "a/b/c/d": expected 1 to 3 levels without + # $, such as "edgechain/v1"`},
		{strings.Replace(upstreamTable, "AAAA", "", 1), `x.toml:6:1: upstream.aggregator.key = "ssh-ed25519 C3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea": public key: ssh: short read; expected the line that ` + "`edgeaggregator key show` prints"},
		{strings.Replace(upstreamTable, "agg-1", "Agg", 1), `x.toml:5:1: upstream.aggregator.name = "Agg": expected 1 to 63 of a-z, 0-9, and, but for the first, '.' and '-'`},
		{upstreamTable + strings.NewReplacer("agg-1", "agg-2", "[[upstream]]\nname = \"office\"\nservers = [\"ssl://broker.example\"]\n", "").Replace(upstreamTable), `x.toml:9:1: upstream.aggregator.key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea": expected another one: this is the key of agg-1`},
		{"[homeassistant]\nenabled = true", `x.toml:2:1: homeassistant.enabled = true: expected the name of an [[mqtt]] in homeassistant.broker, since the embedded broker is not enabled`},
		{"[homeassistant]\nenabled = true\nbroker = \"line-2\"\n" + mqttTable, `x.toml:3:1: homeassistant.broker = "line-2": expected the name of an [[mqtt]], or none for the embedded broker`},
		{"[homeassistant]\nprefix = \"a/+\"", `x.toml:2:1: homeassistant.prefix = "a/+": expected 1 to 4 levels without + # $, such as "edgechain/status"`},
		{"[homeassistant]\ninterval = \"1s\"", `x.toml:2:1: homeassistant.interval = "1s": expected 5s to 1h`},
	} {
		_, _, err := loadText(t, test.text, nil, nil)
		if fmt.Sprint(err) != test.want {
			t.Errorf("%s\ngot  %v\nwant %s", test.text, err, test.want)
		}
	}
}

func TestAPasswordInAnAddressIsRefusedAndNotRepeated(t *testing.T) {
	_, _, err := loadText(t, strings.Replace(mqttTable, "tcp://", "tcp://user:hunter2@", 1), nil, nil)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func TestWhatIsHardlyMeantIsWarnedOf(t *testing.T) {
	_, warnings, err := loadText(t, "[store]\nallow_volatile = true\n[key]\npassphrase = \"env:EDGEAGENT_PASSPHRASE\"\n",
		[]string{"EDGEAGENT_PASSPHRASE=x", "EDGEAGENT_BLOK_INTERVAL=1s"}, nil)
	var got []string
	for _, w := range warnings {
		got = append(got, w.Error())
	}
	want := []string{
		"x.toml: mqtt: there is nothing to record: no [[mqtt]], [[modbus]], [[opcua]] or [[serial]], and neither [broker] nor [hwmon] is enabled",
		"x.toml:2:1: store.allow_volatile = true: on a volatile data folder, what was acknowledged is gone when the power is",
		"environment variable EDGEAGENT_BLOK_INTERVAL: it sets no key; did you mean EDGEAGENT_BLOCK_INTERVAL?",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestATableThatIsWrittenAndNotEnabledIsWarnedOf(t *testing.T) {
	text := mqttTable + "[hwmon]\nenabled = false\n[broker]\nlisten = \"127.0.0.1:1884\"\n[homeassistant]\n"
	_, warnings, err := loadText(t, text, nil, nil)
	var got []string
	for _, w := range warnings {
		_, what, _ := strings.Cut(w.Error(), ": ")
		got = append(got, what)
	}
	want := []string{"broker: nothing of it is in force: expected enabled = true, or enabled = false", "homeassistant: nothing of it is in force: expected enabled = true, or enabled = false"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestFilesThatAreNotThereAreWarnedOfAtTheirLine(t *testing.T) {
	text := "[broker]\nenabled = true\nusers = \"/nowhere/users\"\n[[mqtt]]\nname = \"a\"\nservers = [\"ssl://b\"]\ntls_ca = \"/nowhere/ca.pem\"\n[[mqtt.subscribe]]\ntopics = [\"#\"]\n"
	_, warnings, err := loadText(t, text, nil, nil)
	if err != nil || len(warnings) != 2 {
		t.Fatal(warnings, err)
	}
	for i, want := range []string{`x.toml:3:1: broker.users = "/nowhere/users": there is no such file`, `x.toml:7:1: mqtt.tls_ca = "/nowhere/ca.pem": there is no such file`} {
		if got := warnings[i].Error(); !strings.Contains(got, want) {
			t.Errorf("%s instead of %s", got, want)
		}
	}
}

// What this lets pass, the agent starts with.
func TestFilesThatTheBrokerCannotUseAreRefusedAtTheirLine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	users := write("users", "anonymous\nallow publish #\n", 0o600)
	wrong, none := write("wrong", "user x\n", 0o600), write("none", "no certificate", 0o600)
	for _, c := range []struct{ keys, want string }{
		{fmt.Sprintf("users = %q", users), ""},
		{fmt.Sprintf("users = %q", wrong), fmt.Sprintf("x.toml:3:1: broker.users = %q: %s:1: expected `user NAME BCRYPT-HASH`", wrong, wrong)},
		{fmt.Sprintf("users = %q", dir), fmt.Sprintf("x.toml:3:1: broker.users = %q: reading", dir)},
		{fmt.Sprintf("users = %q\ntls_cert = %q\ntls_key = %q", users, none, none), fmt.Sprintf("x.toml:4:1: broker.tls_cert = %q: loading the certificate", none)},
	} {
		_, warnings, err := loadText(t, "[broker]\nenabled = true\n"+c.keys, nil, nil)
		switch {
		case c.want == "" && (err != nil || len(warnings) > 0):
			t.Errorf("%s: %v, %v", c.keys, warnings, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got error %v, want %s", c.keys, err, c.want)
		}
	}
	if os.Getuid() != 0 { // root may read anything
		secret := write("secret", "user x\n", 0)
		if _, warnings, err := loadText(t, fmt.Sprintf("[broker]\nenabled = true\nusers = %q", secret), nil, nil); err != nil || len(warnings) != 1 {
			t.Errorf("a file that only the service may read: %v, %v", warnings, err)
		}
	}
}

func TestAPasswordInTheClearIsWarnedOf(t *testing.T) {
	for server, warned := range map[string]bool{"tcp://broker": true, "ws://10.0.0.1:80": true, "ssl://broker": false,
		"tcp://127.0.0.1": false, "tcp://localhost:1883": false, "tcp://[::1]:1883": false} {
		text := strings.Replace(mqttTable, "[[mqtt.", "username = \"u\"\n[[mqtt.", 1)
		_, warnings, err := loadText(t, strings.Replace(text, "tcp://127.0.0.1", server, 1), nil, nil)
		if err != nil || len(warnings) > 0 != warned {
			t.Errorf("%s: %v, %v", server, warnings, err)
		}
	}
}

func TestFilesInConfDAreReadInOrder(t *testing.T) {
	t.Chdir(t.TempDir())
	writeConfig(t, "x.toml", "[block]\nmax_entries = 7\n")
	writeConfig(t, "conf.d/20.toml", strings.Replace(mqttTable, "line-1", "b", 1))
	writeConfig(t, "conf.d/10.toml", strings.Replace(mqttTable, "line-1", "a", 1))
	writeConfig(t, "conf.d/30.toml.disabled", "this is not TOML")
	c, _, err := LoadConfig("x.toml", nil, nil)
	if err != nil || c.Block.MaxEntries != 7 || len(c.MQTT) != 2 || c.MQTT[0].Name != "a" || c.MQTT[1].Name != "b" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestANamedFileMustExist(t *testing.T) {
	_, _, err := LoadConfig(filepath.Join(t.TempDir(), "edgeagent.toml"), nil, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestTheHashIsOfTheMeaningAndOfNoPassword(t *testing.T) {
	hash := func(text string, env []string, decoders int) string {
		c, _, err := loadText(t, text, env, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Hash(decoders).String()
	}
	secret := strings.Replace(mqttTable, "[[mqtt.", "username = \"u\"\npassword = \"${P}\"\n[[mqtt.", 1)
	base := hash(secret, []string{"P=one"}, 1)
	for what, same := range map[string]string{
		"order and comments": hash("# x\n[block]\ninterval = \"60s\"\n"+secret, []string{"P=one"}, 1),
		"another password":   hash(secret, []string{"P=two"}, 1),
	} {
		if same != base {
			t.Errorf("%s changed the hash", what)
		}
	}
	for what, other := range map[string]string{
		"a decoder's version": hash(secret, []string{"P=one"}, 2),
		"a topic":             hash(strings.Replace(secret, "a/#", "b/#", 1), []string{"P=one"}, 1),
		"no password":         hash(mqttTable, nil, 1),
	} {
		if other == base {
			t.Errorf("%s did not change the hash", what)
		}
	}
}

// A reserve that the store's own files may fill is told, and accepted.
func TestAReserveTooSmallToStartFromIsTold(t *testing.T) {
	for text, told := range map[string]bool{
		"[store]\nreserve = \"15MiB\"":                      true,
		"[store]\nreserve = \"16MiB\"":                      false,
		"[store]\nmemtable = \"4MiB\"\nreserve = \"63MiB\"": true,
		"[store]\nmemtable = \"4MiB\"":                      false,
		"[store]\nmemtable = \"8MiB\"\ncache = \"32MiB\"":   true,
	} {
		_, warnings, err := loadText(t, text, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got := slices.ContainsFunc(warnings, func(w tomlconf.Problem) bool {
			return strings.Contains(w.Error(), "store.reserve") && strings.Contains(w.Error(), "open its chain")
		})
		if got != told {
			t.Errorf("%q: warnings %v", text, warnings)
		}
	}
}

// A period of key changes that a chain would not bear for ten years is told, and accepted.
func TestAPeriodOfKeyChangesThatAChainDoesNotBearIsTold(t *testing.T) {
	for text, told := range map[string]bool{
		"[key]\nrotate_every = 60":   true,
		"[key]\nrotate_every = 5137": true,
		"[key]\nrotate_every = 5138": false,
		"[key]\nrotate_every = 60\n[block]\ninterval = \"1h30m\"\nheartbeat = \"2h\"": false,
		"": false,
	} {
		_, warnings, err := loadText(t, text, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := false
		for _, w := range warnings {
			got = got || strings.Contains(w.Error(), "key.rotate_every") && strings.Contains(w.Error(), "1023")
		}
		if got != told {
			t.Errorf("%q: warnings %v", text, warnings)
		}
	}
}
