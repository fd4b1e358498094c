package sensors

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Config says how the payloads of one subscription become readings. Its zero value is the dialect "auto".
type Config struct {
	// Dialect is "auto" (the default), "senml+json", "senml+cbor", "json", "value" or "raw".
	Dialect string `toml:"dialect"`

	// Preset sets defaults for what is left empty here: "zigbee2mqtt", "tasmota", "esphome" or "shelly".
	Preset string `toml:"preset"`

	// TopicParsing takes device, name and unit from the topic.
	TopicParsing []TopicRule `toml:"topic_parsing"`

	// Device names the device of all messages.
	Device string `toml:"device"`

	// Unit is the unit of all numbers; Units of single readings, by their name in the payload. Common spellings
	// become SenML's symbols; a SenML payload's own units go before them.
	Unit  string            `toml:"unit"`
	Units map[string]string `toml:"units"`

	// The rest is for "json" and "auto". A path is the name that the field would have as a reading: the names of
	// members joined by ".", elements of arrays numbered from 0. A field named here is no reading itself.

	// TimestampPath is the field that says when the device measured.
	TimestampPath string `toml:"timestamp_path"`
	// TimestampFormat is "rfc3339" (the default; a time without a zone is taken too, and marked), "unix", "unix_ms",
	// "unix_us", "unix_ns", "rfc3339_or_unix_ms" (text or number), or a layout of Go's package time.
	TimestampFormat string `toml:"timestamp_format"`
	// TimestampTimezone is where times without a zone are from: a name of the time-zone database, "Local", or an
	// offset such as "+02:00". The default is UTC. Such readings are marked whether or not it is set.
	TimestampTimezone string `toml:"timestamp_timezone"`
	// DevicePath is the field that names the device, UnitPath the one that holds the unit of all numbers.
	DevicePath string `toml:"device_path"`
	UnitPath   string `toml:"unit_path"`
	// MessagesPath is where messages of several devices lie in one payload: every object or array at that path is a
	// message by itself, in which the paths above start and names begin. "*" is any member or element; a member's
	// name that the last "*" stands for is the device, unless DevicePath finds one. What a message lacks is looked
	// for at the same path of the whole payload. Examples: "*", "readings.*", "params".
	MessagesPath string `toml:"messages_path"`
}

type dialect uint8

const (
	auto dialect = iota
	senmlJSON
	senmlCBOR
	jsonText
	value
	raw
)

func parseDialect(name string) (dialect, error) {
	switch name {
	case "", "auto":
		return auto, nil
	case "senml+json":
		return senmlJSON, nil
	case "senml+cbor":
		return senmlCBOR, nil
	case "json":
		return jsonText, nil
	case "value":
		return value, nil
	case "raw":
		return raw, nil
	}
	return 0, fmt.Errorf("dialect: %q is none; expected auto, senml+json, senml+cbor, json, value or raw", name)
}

// New returns the decoder that cfg describes. Its errors begin with the key at fault. To find a zone by its name it
// reads the time-zone database; nothing else touches the machine.
func New(cfg Config) (*Decoder, error) {
	own := cfg
	cfg, err := cfg.withPreset()
	if err != nil {
		return nil, err
	}
	d := &Decoder{
		device:     cfg.Device,
		unit:       unitSymbol(cfg.Unit),
		timePath:   cfg.TimestampPath,
		devicePath: cfg.DevicePath,
		unitPath:   cfg.UnitPath,
	}
	if d.dialect, err = parseDialect(cfg.Dialect); err != nil {
		return nil, err
	}
	if err := own.checkJSONOnly(d.dialect); err != nil {
		return nil, err
	}
	if cfg.TimestampPath == "" && (own.TimestampFormat != "" || own.TimestampTimezone != "") {
		return nil, fmt.Errorf("timestamp_path: missing, where timestamp_format or timestamp_timezone says how to read that field")
	}
	if d.clock, err = newClock(cfg.TimestampFormat, cfg.TimestampTimezone); err != nil {
		return nil, err
	}
	if d.rules, err = compileRules(cfg.TopicParsing); err != nil {
		return nil, err
	}
	if d.cbor, err = cborModes(); err != nil {
		return nil, err
	}
	if cfg.MessagesPath != "" {
		d.messages = strings.Split(cfg.MessagesPath, ".")
		if len(d.messages) > maxDepth {
			return nil, fmt.Errorf("messages_path: %d levels, above the limit of %d", len(d.messages), maxDepth)
		}
	}
	if len(cfg.Units) > 0 {
		d.units = make(map[string]string, len(cfg.Units))
		for _, name := range slices.Sorted(maps.Keys(cfg.Units)) {
			d.units[name] = unitSymbol(cfg.Units[name])
		}
	}
	return d, nil
}

// checkJSONOnly refuses settings that the dialect would never look at.
func (c *Config) checkJSONOnly(d dialect) error {
	if d == jsonText || d == auto {
		return nil
	}
	for _, s := range []struct{ key, value string }{
		{"timestamp_path", c.TimestampPath}, {"timestamp_format", c.TimestampFormat},
		{"timestamp_timezone", c.TimestampTimezone}, {"device_path", c.DevicePath}, {"unit_path", c.UnitPath},
		{"messages_path", c.MessagesPath},
	} {
		if s.value != "" {
			return fmt.Errorf("%s: has no use with the dialect %s; expected the dialect json or auto", s.key, c.Dialect)
		}
	}
	return nil
}

// withPreset fills what is empty from the preset.
func (c Config) withPreset() (Config, error) {
	p, err := preset(c.Preset)
	if err != nil {
		return c, err
	}
	c.Dialect = cmp.Or(c.Dialect, p.Dialect)
	c.TimestampFormat = cmp.Or(c.TimestampFormat, p.TimestampFormat)
	c.TimestampPath = cmp.Or(c.TimestampPath, p.TimestampPath)
	c.MessagesPath = cmp.Or(c.MessagesPath, p.MessagesPath)
	if len(c.TopicParsing) == 0 {
		c.TopicParsing = p.TopicParsing
	}
	if len(c.Units) == 0 {
		c.Units = p.Units
	}
	return c, nil
}

// preset returns the defaults that belong to a kind of device.
func preset(name string) (Config, error) {
	switch name {
	case "":
		return Config{}, nil

	case "zigbee2mqtt":
		// BASE/FRIENDLY_NAME, BASE/FRIENDLY_NAME/availability, BASE/bridge/…; a friendly name may hold "/".
		return Config{
			TimestampPath:   "last_seen", // where the operator has switched it on
			TimestampFormat: "rfc3339_or_unix_ms",
			Units:           map[string]string{"temperature": "Cel", "humidity": "%RH", "pressure": "hPa", "battery": "%EL"},
			TopicParsing: []TopicRule{
				{Topic: "+/+", Tags: "_/device"},
				{Topic: "+/+/+", Tags: "_/device/device"},
				{Topic: "+/+/+/+", Tags: "_/device/device/device"},
				{Topic: "+/+/availability", Tags: "_/device/_", Measurement: "_/_/name"},
				{Topic: "+/+/+/availability", Tags: "_/device/device/_", Measurement: "_/_/_/name"},
				{Topic: "+/bridge/+", Tags: "_/device/_", Measurement: "_/_/name"},
			},
		}, nil

	case "tasmota":
		// tele/TOPIC/SENSOR {"Time":"2017-02-16T10:13:52",…}: local time without a zone; tele/TOPIC/LWT Online.
		return Config{
			TimestampPath: "Time",
			TopicParsing:  []TopicRule{{Topic: "+/#/+", Tags: "_/device/#"}},
		}, nil

	case "esphome":
		// PREFIX/COMPONENT_TYPE/NAME/state 23.5, PREFIX/status online; PREFIX is the node, and may hold "/".
		return Config{
			Dialect: "value",
			TopicParsing: []TopicRule{
				{Topic: "#/+/status", Tags: "#/device/_"},
				{Topic: "#/+/+/+/state", Tags: "#/device/_/_/_", Measurement: "#/_/_/name/_"},
			},
		}, nil

	case "shelly":
		// Of the second generation: PREFIX/status/switch:0 {…}, PREFIX/online true, and PREFIX/events/rpc
		// {"method":"NotifyStatus","params":{"ts":1631186545.04,"switch:0":{…}}}.
		return Config{
			TimestampPath:   "ts",
			TimestampFormat: "unix",
			MessagesPath:    "params",
			TopicParsing: []TopicRule{
				{Topic: "#/+/online", Tags: "#/device/_"},
				{Topic: "#/+/status/+", Tags: "#/device/_/_", Measurement: "#/_/_/name"},
				{Topic: "#/+/events/rpc", Tags: "#/device/_/_"},
			},
		}, nil
	}
	return Config{}, fmt.Errorf("preset: %q is none; expected zigbee2mqtt, tasmota, esphome or shelly", name)
}
