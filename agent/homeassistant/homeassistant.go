// Package homeassistant shows a gateway itself to Home Assistant: the device discovery message, the state that its
// entities read, and when each is published (Home Assistant's MQTT integration, as of 2024.12, the first with discovery
// of whole devices).
//
// What a gateway knows of itself is given by its caller, and so is the connection: the package says what is published
// under which topic, and knows no MQTT library. Of the readings that a gateway records nothing is published here.
package homeassistant

import (
	"encoding/json"
	"strings"
	"time"
)

// Defaults of Home Assistant's MQTT integration, which its users can change there.
const (
	DefaultDiscovery = "homeassistant"    // before the topics of discovery, and of Home Assistant's own status
	DefaultPrefix    = "edgechain/status" // before the gateway's own topics; not Home Assistant's to say
)

// What is published as availability, and by Home Assistant about itself.
const (
	Online  = "online"
	Offline = "offline"
)

// Topics are where a gateway appears.
type Topics struct {
	Config       string `json:"config"`       // of the discovery message
	State        string `json:"state"`        // of the JSON that all entities read
	Availability string `json:"availability"` // Online or Offline
}

// NewTopics returns the topics of the gateway with the given id: letters, digits, _ and - (what discovery allows an
// object's id). Discovery and prefix are as configured.
func NewTopics(discovery, prefix, id string) Topics {
	return Topics{
		Config:       discovery + "/device/edgechain_" + id + "/config",
		State:        prefix + "/" + id + "/state",
		Availability: prefix + "/" + id + "/availability",
	}
}

// Own reports whether a topic is one of these. A gateway that hears its own state as a device's would record it, thereby
// change it, and so on for ever.
func (t Topics) Own(topic string) bool {
	return topic == t.Config || topic == t.State || topic == t.Availability
}

// Birth returns the topic on which Home Assistant says of itself that it is [Online].
func Birth(discovery string) string { return discovery + "/status" }

// CheckPrefix reports whether topics may begin with the text: one to four levels, none empty, without wildcards.
func CheckPrefix(text string) bool {
	levels := strings.Split(text, "/")
	for _, level := range levels {
		if level == "" || strings.ContainsAny(level, "+#$\x00") {
			return false
		}
	}
	return len(levels) <= 4 && len(text) <= 200
}

// Device is what does not change about a gateway while it runs.
type Device struct {
	ID      string // the same at every start, and nobody else's; see [NewTopics]
	Name    string // the gateway's
	Chain   string
	Model   string // of the board; "" is not known
	Version string // of the program
}

// State is how a gateway stands. What is nil is not known, which Home Assistant shows as such.
type State struct {
	Height       uint64    `json:"height"`
	LastBlock    time.Time `json:"last_block"`
	Unreceipted  *uint64   `json:"unreceipted"`  // newest blocks that an aggregator has not countersigned
	Synchronised *bool     `json:"synchronised"` // the clock
	ClockError   *float64  `json:"clock_error"`  // seconds, at most
	Free         uint64    `json:"free"`         // bytes, less the reserve
	DaysLeft     *float64  `json:"days_left"`    // until they are full, if no receipt came from now on; nil: endless, too
	PowerLimit   *bool     `json:"power_limit"`  // the supply is too weak or the processor too hot: it is slowed
	Lost         uint64    `json:"lost"`         // entries that were recorded, and cannot be read or proved any more
	Problems     []string  `json:"problems"`     // what keeps the gateway from its work, for people to read
}

// payload returns what is published of s.
func (s State) payload() []byte {
	s.LastBlock = s.LastBlock.UTC().Truncate(time.Second)
	if s.Problems == nil {
		s.Problems = []string{}
	}
	return encode(s)
}

// discovery is the message that makes a device of the gateway. Keys that have no short form in use are written out.
type discovery struct {
	Device       device            `json:"dev"`
	Origin       origin            `json:"o"`
	Components   map[string]entity `json:"cmps"`
	StateTopic   string            `json:"state_topic"`
	Availability string            `json:"availability_topic"`
	QoS          int               `json:"qos"`
}

type device struct {
	Identifiers  []string `json:"ids"`
	Name         string   `json:"name"`
	Manufacturer string   `json:"mf"`
	Model        string   `json:"mdl,omitempty"`
	Version      string   `json:"sw,omitempty"`
	Serial       string   `json:"sn"`
}

type origin struct {
	Name    string `json:"name"`
	Version string `json:"sw,omitempty"`
}

// entity is one thing that Home Assistant shows of the device.
type entity struct {
	Platform   string `json:"p"`
	UniqueID   string `json:"unique_id"`
	Name       string `json:"name"`
	Value      string `json:"value_template"`
	Category   string `json:"entity_category,omitempty"`
	Class      string `json:"device_class,omitempty"`
	Unit       string `json:"unit_of_measurement,omitempty"`
	StateClass string `json:"state_class,omitempty"`
	Icon       string `json:"icon,omitempty"`
	Attributes string `json:"json_attributes_topic,omitempty"`
	Picked     string `json:"json_attributes_template,omitempty"` // of the attributes' topic
	Expires    int    `json:"expire_after,omitempty"`             // seconds without news until the state is not known
}

const (
	sensor       = "sensor"
	binarySensor = "binary_sensor"
	diagnostic   = "diagnostic"
	measurement  = "measurement"
)

// entities are what is shown, by the part of their ids that never changes: Home Assistant keeps what people made of an
// entity under its id.
func entities(t Topics) map[string]entity {
	return map[string]entity{
		"height": {Platform: sensor, Name: "Chain height", Value: value("height"),
			StateClass: measurement, Category: diagnostic, Icon: "mdi:link-variant"},
		"last_block": {Platform: sensor, Name: "Last block", Value: value("last_block"), Class: "timestamp"},
		"unreceipted": {Platform: sensor, Name: "Blocks without receipt", Value: value("unreceipted"),
			Unit: "blocks", StateClass: measurement, Icon: "mdi:cloud-upload-outline"},
		"clock": {Platform: binarySensor, Name: "Clock synchronised", Value: truth("synchronised"),
			Category: diagnostic, Icon: "mdi:clock-check-outline"},
		"clock_error": {Platform: sensor, Name: "Clock error at most", Value: value("clock_error"),
			Class: "duration", Unit: "s", StateClass: measurement, Category: diagnostic},
		"free": {Platform: sensor, Name: "Free for readings", Value: value("free"),
			Class: "data_size", Unit: "B", StateClass: measurement, Category: diagnostic},
		"days_left": {Platform: sensor, Name: "Days left for readings", Value: value("days_left"),
			Class: "duration", Unit: "d", StateClass: measurement},
		"power_limit": {Platform: binarySensor, Name: "Power or heat limit", Value: truth("power_limit"), Class: "problem", Category: diagnostic},
		"damage":      {Platform: binarySensor, Name: "Damaged entries", Value: truth("lost"), Class: "problem", Category: diagnostic},
		"problem": {Platform: binarySensor, Name: "Recording", Value: `{{ 'ON' if value_json.problems else 'OFF' }}`, Class: "problem",
			Attributes: t.State, Picked: `{{ {'problems': value_json.problems} | tojson }}`},
	}
}

// value is the template of a number, a text or a time. What is null becomes None, which is not known.
func value(key string) string { return "{{ value_json." + key + " }}" }

// truth is the template of yes or no, in the words of a binary sensor.
func truth(key string) string {
	return "{{ none if value_json." + key + " is none else 'ON' if value_json." + key + " else 'OFF' }}"
}

// Discovery returns the message for the topic Config. State is published every interval; entities whose state has not
// come for three of them are shown as unavailable.
func Discovery(d Device, t Topics, interval time.Duration) []byte {
	m := discovery{
		Device: device{Identifiers: []string{"edgechain_" + d.ID}, Name: d.Name, Manufacturer: "Edgechain", Model: d.Model, Version: d.Version, Serial: d.Chain},
		Origin: origin{Name: "edgeagent", Version: d.Version}, Components: entities(t),
		StateTopic: t.State, Availability: t.Availability, QoS: 1,
	}
	for key, e := range m.Components {
		e.UniqueID = "edgechain_" + d.ID + "_" + key
		e.Expires = int((3 * interval).Seconds())
		m.Components[key] = e
	}
	return encode(m)
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of text, numbers and times of four-digit years always encode
	}
	return b
}
