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
	// Dialect is "auto" (the default), "senml+json", "senml+cbor", "json", "ndjson", "cbor", "influx", "csv", "pairs", "regexp", "p1",
	// "nmea", "value", "raw", or "sparkplug_b".
	Dialect string `toml:"dialect" json:"dialect"`

	// Preset sets defaults for what is left empty here; [Presets] lists them.
	Preset string `toml:"preset" json:"-"`

	// TopicParsing takes device, name and unit from the topic.
	TopicParsing []TopicRule `toml:"topic_parsing" json:"topic_parsing"`

	// Device names the device of all messages. DeviceFrom says what does where nothing else names it: "topic" (the default) the
	// whole topic, without its last level where that names a bare value; "level" the last level but one; "client" the client id
	// at the embedded broker, else as "level".
	Device     string `toml:"device" json:"-"`
	DeviceFrom string `toml:"device_from" json:"-"`

	// Unit is the unit of all numbers; Units of single readings, by their name in the payload. Common spellings
	// become SenML's symbols; a SenML payload's own units go before them. In Units "*" is any one level of a name.
	Unit  string            `toml:"unit" json:"-"`
	Units map[string]string `toml:"units" json:"units"`

	// Numbers are readings, by their name in the payload, whose texts are numbers, with a unit behind them or not. "*" is any one
	// level of a name, and a name stands for all below it, too.
	Numbers []string `toml:"numbers" json:"numbers"`

	// The rest is for the dialects that name their values. A path is the name that the field would have as a reading: the
	// names of members joined by ".", elements of arrays numbered from 0. A field named here is no reading itself.

	// TimestampPath is the field that says when the device measured.
	TimestampPath string `toml:"timestamp_path" json:"timestamp_path"`
	// TimestampFormat is "rfc3339", "unix", "unix_ms", "unix_us", "unix_ns", "rfc3339_or_unix_ms" (text or number), or a layout
	// of Go's package time. Left empty, what says by itself when it is, is taken: a date and time in one of many forms, one
	// without a zone among them, which is marked; or a count since 1970 in any of these units.
	TimestampFormat string `toml:"timestamp_format" json:"timestamp_format"`
	// TimestampTimezone is where times without a zone are from: a name of the time-zone database, "Local", or an
	// offset such as "+02:00". The default is UTC. Such readings are marked whether or not it is set.
	TimestampTimezone string `toml:"timestamp_timezone" json:"-"`
	// DevicePath is the field that names the device, NamePath the one that names the readings; of several, with "," between
	// them, the values are joined. UnitPath is the one that holds the unit of all numbers.
	DevicePath string `toml:"device_path" json:"device_path"`
	NamePath   string `toml:"name_path" json:"name_path"`
	UnitPath   string `toml:"unit_path" json:"unit_path"`
	// ValuePath is the field that is the value, or holds several: then no other field is a reading, but for those of Fields.
	// NamePath names it, else the key at the last "*" of MessagesPath, else the topic as a bare value.
	ValuePath string `toml:"value_path" json:"value_path"`
	// QualityPath is the field that says how good the values are; QualityGood lists what it says of good ones. Left empty, these
	// are true, texts that begin with "good", and status codes of OPC UA below 2^30.
	QualityPath string   `toml:"quality_path" json:"quality_path"`
	QualityGood []string `toml:"quality_good" json:"quality_good"`
	// Fields are the readings to take, Ignore those to leave out, by their names as in Numbers.
	Fields []string `toml:"fields" json:"fields"`
	Ignore []string `toml:"ignore" json:"ignore"`
	// MessagesPath is where messages of several devices lie in one payload: every object or array at that path is a
	// message by itself, in which the paths above start and names begin. "*" is any member or element; the members'
	// names that it stands for are the device, joined by "/", unless DevicePath finds one. What a message lacks is looked
	// for in the objects around it, from the nearest on, those that are named here last. Examples: "*", "readings.*", "params".
	MessagesPath string `toml:"messages_path" json:"messages_path"`
	// MessagesOnly leaves out what stands outside of messages.
	MessagesOnly bool `toml:"messages_only" json:"messages_only"`

	// Columns names the values of a line of "csv"; "_" skips one. Left empty, the payload's first line names them.
	Columns []string `toml:"columns" json:"columns"`
	// Separator parts the values of "csv", "," by default, and the pairs of "pairs", where the default is what comes first of
	// a line's end, ";", "&", "," and a space that the payload has.
	Separator string `toml:"separator" json:"separator"`

	// Pattern is what a payload of "regexp" looks like: a regular expression as Go's package regexp has them, whose named groups
	// are the values.
	Pattern string `toml:"pattern" json:"pattern"`
}

type dialect uint8

const (
	auto dialect = iota
	senmlJSON
	senmlCBOR
	jsonText
	jsonLines
	cborMap
	influx
	csvLines
	pairs
	byPattern
	p1
	nmea
	value
	raw
	sparkplugB
	dialects
)

// dialectNames are as a configuration has them, decoderNames as an entry does.
var (
	dialectNames = [dialects]string{"auto", "senml+json", "senml+cbor", "json", "ndjson", "cbor", "influx", "csv", "pairs", "regexp", "p1", "nmea", "value", "raw", "sparkplug_b"}
	decoderNames = func() (names [dialects]string) {
		for d := senmlJSON; d < dialects; d++ {
			names[d] = fmt.Sprintf("%s/%d", strings.ReplaceAll(dialectNames[d], "+", "-"), DecoderVersion)
		}
		names[sparkplugB] = fmt.Sprintf("sparkplug/%d", DecoderVersion)
		return names
	}()
)

// named reports whether the dialect names its values itself, so that paths lead to them.
func (d dialect) named() bool { return d == auto || jsonText <= d && d <= nmea }

func parseDialect(name string) (dialect, error) {
	if name == "" {
		return auto, nil
	}
	if at := slices.Index(dialectNames[:], name); at >= 0 {
		return dialect(at), nil
	}
	return 0, fmt.Errorf("dialect: %q is none; expected %s or %s", name, strings.Join(dialectNames[:dialects-1], ", "), dialectNames[dialects-1])
}

// New returns the decoder that a configuration describes. Its errors begin with the key at fault. To find a zone by its name it
// reads the time-zone database; nothing else touches the machine.
func New(own Config) (*Decoder, error) {
	cfg, err := own.withPreset()
	if err != nil {
		return nil, err
	}
	d := &Decoder{
		device:       cfg.Device,
		unit:         unitSymbol(cfg.Unit),
		qualityGood:  cfg.QualityGood,
		messagesOnly: cfg.MessagesOnly,
		columns:      cfg.Columns,
		separator:    cfg.Separator,
	}
	if d.dialect, err = parseDialect(cfg.Dialect); err != nil {
		return nil, err
	}
	if err := own.checkUse(d.dialect); err != nil {
		return nil, err
	}
	if err := d.compilePaths(&cfg); err != nil {
		return nil, err
	}
	if d.timePath == "" && d.dialect != influx && d.dialect != p1 && (own.TimestampFormat != "" || own.TimestampTimezone != "") {
		return nil, fmt.Errorf("timestamp_path: missing, where timestamp_format or timestamp_timezone says how to read that field")
	}
	if d.dialect == byPattern {
		if d.pattern, err = compilePattern(cfg.Pattern); err != nil {
			return nil, err
		}
	}
	d.zoned = cfg.TimestampTimezone != ""
	if d.dialect == influx {
		cfg.TimestampFormat = cmp.Or(cfg.TimestampFormat, "unix_ns")
	}
	if d.clock, err = newClock(cfg.TimestampFormat, cfg.TimestampTimezone); err != nil {
		return nil, err
	}
	if d.deviceFrom, err = parseDeviceFrom(cfg.DeviceFrom); err != nil {
		return nil, err
	}
	if d.rules, err = compileRules(cfg.TopicParsing); err != nil {
		return nil, err
	}
	if d.cbor, err = cborModes(); err != nil {
		return nil, err
	}
	d.units = make(map[string]string, len(cfg.Units))
	for _, name := range slices.Sorted(maps.Keys(cfg.Units)) {
		if unit := unitSymbol(cfg.Units[name]); strings.Contains(name, "*") {
			d.anyUnits = append(d.anyUnits, anyUnit{strings.Split(name, "."), unit})
		} else {
			d.units[name] = unit
		}
	}
	return d, nil
}

// compilePaths brings all paths into the form in which they are compared.
func (d *Decoder) compilePaths(cfg *Config) (err error) {
	for _, p := range []struct {
		key, path string
		into      *string
	}{
		{"timestamp_path", cfg.TimestampPath, &d.timePath}, {"unit_path", cfg.UnitPath, &d.unitPath},
		{"value_path", cfg.ValuePath, &d.valuePath}, {"quality_path", cfg.QualityPath, &d.qualityPath},
	} {
		if *p.into, err = plainPath(p.path, false); err != nil {
			return fmt.Errorf("%s: %w", p.key, err)
		}
	}
	if d.devicePath, err = plainPaths("device_path", cfg.DevicePath); err != nil {
		return err
	}
	if d.namePath, err = plainPaths("name_path", cfg.NamePath); err != nil {
		return err
	}
	if d.fields, err = fieldPatterns("fields", cfg.Fields); err != nil {
		return err
	}
	if d.ignore, err = fieldPatterns("ignore", cfg.Ignore); err != nil {
		return err
	}
	if d.numbers, err = fieldPatterns("numbers", cfg.Numbers); err != nil {
		return err
	}
	messages, err := plainPath(cfg.MessagesPath, true)
	if err != nil {
		return fmt.Errorf("messages_path: %w", err)
	}
	switch {
	case messages != "":
		d.messages = strings.Split(messages, ".")
	case cfg.MessagesOnly:
		return fmt.Errorf("messages_only: has no use without messages_path")
	}
	if len(d.messages) > maxDepth {
		return fmt.Errorf("messages_path: %d levels, above the limit of %d", len(d.messages), maxDepth)
	}
	if len(cfg.QualityGood) > 0 && d.qualityPath == "" {
		return fmt.Errorf("quality_path: missing, where quality_good says how to read that field")
	}
	d.named = d.timePath != "" || d.unitPath != "" || d.valuePath != "" || d.qualityPath != "" || len(d.devicePath) > 0 || len(d.namePath) > 0
	return nil
}

// checkUse refuses settings that the dialect would never look at.
func (c *Config) checkUse(d dialect) error {
	names := d != sparkplugB // or else devices, readings and units have theirs from births
	for _, s := range []struct {
		key string
		set bool
		use bool
	}{
		{"topic_parsing", len(c.TopicParsing) > 0, names},
		{"device", c.Device != "", names},
		{"device_from", c.DeviceFrom != "", names},
		{"unit", c.Unit != "", names},
		{"units", len(c.Units) > 0, names},
		{"timestamp_path", c.TimestampPath != "", d.named() && d != influx && d != p1},
		{"timestamp_format", c.TimestampFormat != "", d.named() && d != p1},
		{"timestamp_timezone", c.TimestampTimezone != "", d.named() && d != influx},
		{"device_path", c.DevicePath != "", d.named()},
		{"name_path", c.NamePath != "", d.named()},
		{"unit_path", c.UnitPath != "", d.named()},
		{"value_path", c.ValuePath != "", d.named()},
		{"quality_path", c.QualityPath != "", d.named()},
		{"quality_good", len(c.QualityGood) > 0, d.named()},
		{"fields", len(c.Fields) > 0, d.named()},
		{"ignore", len(c.Ignore) > 0, d.named()},
		{"messages_path", c.MessagesPath != "", d == auto || d == jsonText || d == jsonLines || d == cborMap},
		{"messages_only", c.MessagesOnly, d == auto || d == jsonText || d == jsonLines || d == cborMap},
		{"columns", len(c.Columns) > 0, d == csvLines},
		{"separator", c.Separator != "", d == csvLines || d == pairs},
		{"pattern", c.Pattern != "", d == byPattern},
		{"numbers", len(c.Numbers) > 0, d.named() || d == value},
	} {
		if s.set && !s.use {
			return fmt.Errorf("%s: has no use with the dialect %s", s.key, dialectNames[d])
		}
	}
	if d == csvLines && c.Separator != "" && (len(c.Separator) != 1 || strings.ContainsAny(c.Separator, "\"\r\n")) {
		return fmt.Errorf("separator: expected one character of ASCII that is no quotation mark and no line's end")
	}
	return nil
}
