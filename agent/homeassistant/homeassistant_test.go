package homeassistant

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	topics  = NewTopics(DefaultDiscovery, DefaultPrefix, "i5pvzxi6wid7")
	gateway = Device{ID: "i5pvzxi6wid7", Name: "press-hall", Chain: "i5pvzxi6wid7cj7wotugbx4y5gksrcvrmsfq7nmxxj4axa3jfrua", Model: "Raspberry Pi 5", Version: "v1.4.0"}
)

func ptr[T any](v T) *T { return &v }

// What Home Assistant requires and allows: homeassistant/components/mqtt, schemas.py, sensor.py, binary_sensor.py,
// abbreviations.py, and the classes and units of homeassistant/components/sensor/const.py.
var (
	deviceKeys = []string{"dev", "o", "cmps", "state_topic", "availability_topic", "qos"}
	entityKeys = []string{"p", "unique_id", "name", "value_template", "entity_category", "device_class", "icon", "json_attributes_topic", "json_attributes_template", "expire_after"}
	sensorKeys = append([]string{"unit_of_measurement", "state_class"}, entityKeys...)
	objectID   = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	units      = map[string][]string{"duration": {"d", "h", "min", "s", "ms"}, "data_size": {"B", "kB", "MB", "GB"}, "timestamp": {""}}
	binary     = []string{"", "problem"}
)

func TestDiscoveryIsAsHomeAssistantWantsIt(t *testing.T) {
	if parts := strings.Split(topics.Config, "/"); len(parts) != 4 || parts[1] != "device" || parts[3] != "config" || !objectID.MatchString(parts[2]) {
		t.Errorf("discovery is published at %s", topics.Config)
	}
	var message map[string]json.RawMessage
	if err := json.Unmarshal(Discovery(gateway, topics, time.Minute), &message); err != nil {
		t.Fatal(err)
	}
	for key := range message {
		if !slices.Contains(deviceKeys, key) {
			t.Errorf("%q is no key of a device's discovery", key)
		}
	}
	var m struct {
		Dev struct {
			IDs      []string `json:"ids"`
			Name, SN string
		}
		O     struct{ Name, SW string }
		Cmps  map[string]map[string]any
		State string `json:"state_topic"`
		Avail string `json:"availability_topic"`
	}
	if err := json.Unmarshal(Discovery(gateway, topics, time.Minute), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Dev.IDs) == 0 || m.Dev.Name != "press-hall" || m.Dev.SN != gateway.Chain || m.O.Name == "" || m.O.SW != "v1.4.0" || m.State != topics.State || m.Avail != topics.Availability {
		t.Errorf("%+v", m)
	}
	var state map[string]any
	if err := json.Unmarshal(State{}.payload(), &state); err != nil {
		t.Fatal(err)
	}
	seen := map[any]bool{}
	shown := map[string]bool{}
	for id, e := range m.Cmps {
		allowed := entityKeys
		class, _ := e["device_class"].(string)
		unit, _ := e["unit_of_measurement"].(string)
		switch e["p"] {
		case "sensor":
			allowed = sensorKeys
			if known, ok := units[class]; class != "" && (!ok || !slices.Contains(known, unit)) {
				t.Errorf("%s has class %q and unit %q", id, class, unit)
			}
			if class == "timestamp" && e["state_class"] != nil {
				t.Errorf("%s is a time, which is no measurement", id)
			}
			if s := e["state_class"]; s != nil && s != "measurement" && s != "total" && s != "total_increasing" {
				t.Errorf("%s has state class %v", id, s)
			}
		case "binary_sensor":
			if !slices.Contains(binary, class) {
				t.Errorf("%s has class %q", id, class)
			}
		default:
			t.Errorf("%s is on platform %v", id, e["p"])
		}
		for key := range e {
			if !slices.Contains(allowed, key) {
				t.Errorf("%s: %q is no key of a %v", id, key, e["p"])
			}
		}
		if c := e["entity_category"]; c != nil && c != "diagnostic" {
			t.Errorf("%s is of category %v", id, c)
		}
		if unique, _ := e["unique_id"].(string); !objectID.MatchString(unique) || seen[unique] {
			t.Errorf("%s has id %q, which another has or nobody may", id, unique)
		}
		seen[e["unique_id"]] = true
		if e["expire_after"] != 180. {
			t.Errorf("%s expires after %v s", id, e["expire_after"])
		}
		for _, field := range regexp.MustCompile(`value_json\.(\w+)`).FindAllStringSubmatch(e["value_template"].(string), -1) {
			if _, ok := state[field[1]]; !ok {
				t.Errorf("%s reads %s, which the state does not have", id, field[1])
			}
			shown[field[1]] = true
		}
	}
	for key := range state {
		if !shown[key] {
			t.Errorf("nothing shows %s", key)
		}
	}
}

// Home Assistant's templates are Jinja's.
const jinja = `
import json, sys, jinja2.sandbox
question = json.load(sys.stdin)
environment = jinja2.sandbox.ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
print(json.dumps({k: environment.from_string(t).render(value_json=question["state"]) for k, t in question["templates"].items()}))
`

func TestTemplatesReadTheStateAsItIsMeant(t *testing.T) {
	if exec.Command("python3", "-c", "import jinja2.sandbox").Run() != nil {
		t.Skip("python3 with jinja2 is not installed")
	}
	render := func(s State) map[string]string {
		t.Helper()
		templates := map[string]string{}
		for id, e := range entities(topics) {
			templates[id] = e.Value
		}
		templates["attributes"] = entities(topics)["problem"].Picked
		question, err := json.Marshal(map[string]any{"state": json.RawMessage(s.payload()), "templates": templates})
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command("python3", "-c", jinja)
		c.Stdin = strings.NewReader(string(question))
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		var said map[string]string
		if err := json.Unmarshal(out, &said); err != nil {
			t.Fatal(err)
		}
		return said
	}
	berlin := time.FixedZone("", 3600)
	for _, c := range []struct {
		state State
		want  map[string]string
	}{
		{State{Height: 7, LastBlock: time.Date(2026, 11, 23, 13, 0, 0, 5, berlin), Unreceipted: ptr[uint64](2), Synchronised: ptr(true),
			ClockError: ptr(0.25), Free: 1 << 30, DaysLeft: ptr(400.5), PowerLimit: ptr(false)},
			map[string]string{"height": "7", "last_block": "2026-11-23T12:00:00Z", "unreceipted": "2", "clock": "ON", "clock_error": "0.25",
				"free": "1073741824", "days_left": "400.5", "power_limit": "OFF", "damage": "OFF", "problem": "OFF", "attributes": `{"problems": []}`}},
		{State{Synchronised: ptr(false), PowerLimit: ptr(true), Lost: 3, Problems: []string{`source "plant" is not connected`}},
			map[string]string{"height": "0", "last_block": "0001-01-01T00:00:00Z", "unreceipted": "None", "clock": "OFF", "clock_error": "None",
				"free": "0", "days_left": "None", "power_limit": "ON", "damage": "ON", "problem": "ON", "attributes": `{"problems": ["source \"plant\" is not connected"]}`}},
		{State{}, map[string]string{"clock": "None", "power_limit": "None"}},
	} {
		said := render(c.state)
		for id, want := range c.want {
			if said[id] != want {
				t.Errorf("%s of %s shows %q, want %q", id, c.state.payload(), said[id], want)
			}
		}
	}
}

func TestOnlyTheGatewaysOwnTopicsAreItsOwn(t *testing.T) {
	for topic, want := range map[string]bool{
		topics.Config: true, topics.State: true, topics.Availability: true,
		"homeassistant/status": false, "homeassistant/device/edgechain_other/config": false,
		"edgechain/status/other/state": false, topics.State + "/more": false, "edgechain/v1/x": false,
	} {
		if got := topics.Own(topic); got != want {
			t.Errorf("%s is its own: %v", topic, got)
		}
	}
}

func TestPrefixesThatMakeNoTopicAreRefused(t *testing.T) {
	for prefix, want := range map[string]bool{
		"homeassistant": true, "plant/ha": true, "": false, "/a": false, "a//b": false, "a/#": false, "$SYS": false, "a/b/c/d/e": false,
	} {
		if got := CheckPrefix(prefix); got != want {
			t.Errorf("%q is accepted: %v", prefix, got)
		}
	}
}

// A heard connection hands on what is published, as one text; nil takes nothing.
type heard chan string

func (h heard) Publish(topic string, payload []byte, retained bool) error {
	if h == nil {
		return errors.New("there is no room")
	}
	if !retained {
		topic += " (not retained)"
	}
	h <- topic + " " + string(payload)
	return nil
}

func (h heard) expect(t *testing.T, messages ...string) {
	t.Helper()
	for _, want := range messages {
		if got := <-h; got != want {
			t.Errorf("published %s, want %s", got, want)
		}
	}
}

// run has a report run until the test ends.
func run(t *testing.T, interval time.Duration) (*Report, heard) {
	said := make(heard, 100)
	r := New(Config{Conn: said, Topics: topics, Device: gateway, Interval: interval, State: func() State { return State{Height: 7} }, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		for {
			select {
			case <-said:
			case <-ended:
				return
			}
		}
	})
	return r, said
}

func announcement(interval time.Duration) []string {
	return []string{topics.Config + " " + string(Discovery(gateway, topics, interval)), topics.Availability + " online", news}
}

var news = topics.State + " " + string(State{Height: 7}.payload())

func TestAReportAnnouncesTheGatewayAtFirstAndWheneverItIsAsked(t *testing.T) {
	r, said := run(t, time.Hour)
	said.expect(t, announcement(time.Hour)...)
	r.Announce()
	said.expect(t, announcement(time.Hour)...)
}

func TestAReportTellsTheStateAfterEachInterval(t *testing.T) {
	_, said := run(t, time.Millisecond)
	said.expect(t, append(announcement(time.Millisecond), news, news, news)...)
}

func TestWithdrawingLeavesNothingRetained(t *testing.T) {
	said := make(heard, 3)
	if err := Withdraw(said, topics); err != nil {
		t.Fatal(err)
	}
	said.expect(t, topics.Config+" ", topics.State+" ", topics.Availability+" ")
	if Withdraw(heard(nil), topics) == nil {
		t.Error("a connection that takes nothing withdraws the gateway")
	}
}
