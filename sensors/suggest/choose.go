package suggest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// bridged tells of Sparkplug's topics that a bridge has put something before.
func bridged(topic string) bool { return strings.Contains(topic, "/"+sensors.SparkplugNamespace) }

// choose finds the configuration of a topic by itself.
func (c *Collector) choose(t *topic) {
	t.config, t.area, t.hints = sensors.Config{}, "", nil
	if before, _, is := strings.Cut(t.name, sensors.SparkplugNamespace); is && (before == "" || bridged(t.name)) {
		t.area = before + sensors.SparkplugNamespace + "#"
		if before != "" {
			t.config.Dialect = "sparkplug_b"
		}
		return
	}
	if preset, sign := recognise(t); sign != nil {
		t.config.Preset = preset
		t.area = areaOf(t.levels, sign.Root)
		t.zone(t.read(t.config))
		return
	}
	trial := t.read(sensors.Config{})
	switch {
	case trial.understood == 0:
		t.other("ndjson", "cbor")
	case trial.named() && !t.isBare(&trial):
		t.discovery()
		t.refine(trial)
	default:
		t.text(trial)
	}
}

// areaOf returns the filter of all below the levels that a sign's root names.
func areaOf(levels []string, root int) string {
	if root < 0 {
		root += len(levels)
	}
	if root <= 0 || root >= len(levels) {
		return ""
	}
	return strings.Join(levels[:root], "/") + "/#"
}

// recognise returns the preset whose sign a topic shows; of several the one whose sign names its topic most closely.
func recognise(t *topic) (preset string, sign *sensors.Sign) {
	var names map[string]bool
	for _, p := range sensors.Presets() {
		for i := range p.Signs {
			s := &p.Signs[i]
			if !mqttwire.MatchPattern(s.Topic, t.name) || mqttwire.Reserved(t.name) || sign != nil && !closer(s, sign) {
				continue
			}
			if names == nil {
				names = t.fieldNames()
			}
			if !slices.ContainsFunc(s.Fields, func(f string) bool { return !names[f] }) && clean(t, &p, s) {
				preset, sign = p.Name, s
			}
		}
	}
	return preset, sign
}

// clean reports whether a preset reads the topic. Of a sign that names no level of the topic there must be no doubt either.
func clean(t *topic, p *sensors.Preset, s *sensors.Sign) bool {
	before, after := t.read(sensors.Config{}), t.read(sensors.Config{Preset: p.Name})
	if after.understood < before.understood {
		return false
	}
	return s.Topic != "#" || after.doubts == 0 && (after.bad <= before.bad || p.Config.QualityPath != "")
}

// closer compares two signs that both show, level by level: a name is closer than any one level, and that than any number of them;
// of two with the same topic it is the one with more fields.
func closer(a, b *sensors.Sign) bool {
	rank := func(level string) int {
		switch level {
		case "#":
			return 0
		case "+":
			return 1
		}
		return 2
	}
	names := func(s *sensors.Sign) (n int) {
		for level := range strings.SplitSeq(s.Topic, "/") {
			n += rank(level) / 2
		}
		return n
	}
	if x, y := names(a), names(b); x != y {
		return x > y
	}
	as, bs := strings.Split(a.Topic, "/"), strings.Split(b.Topic, "/")
	for i := range min(len(as), len(bs)) {
		if x, y := rank(as[i]), rank(bs[i]); x != y {
			return x > y
		}
	}
	return len(a.Fields) > len(b.Fields)
}

// fieldNames returns the names of all fields in the samples, of the objects around them, and of both with "*" for what is numbered.
func (t *topic) fieldNames() map[string]bool {
	names := map[string]bool{}
	for _, r := range t.read(sensors.Config{}).readings {
		levels := strings.Split(r.Name, ".")
		starred := slices.Clone(levels)
		for i, level := range starred {
			if isIndex(level) {
				starred[i] = "*"
			}
		}
		for n := range levels {
			names[strings.Join(levels[:n+1], ".")] = true
			names[strings.Join(starred[:n+1], ".")] = true
		}
	}
	return names
}

func isIndex(level string) bool {
	_, err := strconv.ParseUint(level, 10, 16)
	return err == nil
}

// discovery tells of what says how devices are to be shown, and measures nothing.
func (t *topic) discovery() {
	if t.levels[len(t.levels)-1] != "config" {
		return
	}
	names := t.fieldNames()
	for _, name := range []string{"unique_id", "uniq_id", "state_topic", "stat_t", "components", "cmps"} {
		if names[name] {
			t.hint(`this is Home Assistant's discovery, which measures nothing: a filter with record = "nothing" keeps it out of the chain`)
			return
		}
	}
}

// trial is how the samples of a topic read by a configuration.
type trial struct {
	understood int // samples
	doubts     int // of these
	bad        int // readings
	timed      int
	zoneless   int
	readings   []lightchain.Reading // of all samples
	each       [][]lightchain.Reading
	decoder    string // of the last that was understood
}

func (t *topic) read(c sensors.Config) (out trial) {
	d, err := sensors.New(c)
	if err != nil {
		return out
	}
	for i := range t.samples {
		got, err := t.samples[i].by(d, t.name)
		if err != nil {
			continue
		}
		out.understood++
		if got.Doubt != "" {
			out.doubts++
		}
		out.decoder = got.Decoder
		for _, r := range got.Readings {
			if r.Quality&lightchain.Bad != 0 {
				out.bad++
			}
			if r.Timed {
				out.timed++
			}
			if r.Quality&lightchain.Zoneless != 0 {
				out.zoneless++
			}
		}
		out.readings = append(out.readings, got.Readings...)
		out.each = append(out.each, got.Readings)
	}
	return out
}

// by reads a sample as the agent would.
func (s *sample) by(d *sensors.Decoder, topic string) (sensors.Result, error) {
	in := sensors.Intake{Decoder: d}
	if s.stateful {
		in.Stateful = func(string, lightchain.Flags, []byte, time.Time) (sensors.Result, error) { return s.told, s.err }
	}
	return in.Look(topic, 0, s.payload, s.received)
}

// named reports whether payloads name their values.
func (r *trial) named() bool {
	return len(r.readings) > 0 && !strings.HasPrefix(r.decoder, "value/") && !strings.HasPrefix(r.decoder, "raw/")
}

// improves reports whether a trial reads all that the one before did, and leaves no more doubt.
func (r *trial) improves(before *trial) bool {
	return r.understood >= before.understood && r.doubts <= before.doubts && r.bad <= before.bad && len(r.readings) > 0
}

// other tries dialects that must be named.
func (t *topic) other(dialects ...string) {
	for _, name := range dialects {
		c := sensors.Config{Dialect: name}
		if got := t.read(c); got.understood == len(t.samples) && len(got.readings) > 0 {
			t.config = c
			t.refine(got)
			return
		}
	}
}

// refine adds paths to the configuration of a topic whose payloads name their values.
func (t *topic) refine(before trial) {
	before = t.elements(before)
	before = t.clock(before)
	before = t.device(before)
	before = t.unit(before)
	t.numbers(before)
}

// try takes a configuration if it improves on the one before, and wanted says yes.
func (t *topic) try(c sensors.Config, before trial, wanted func(trial) bool) (trial, bool) {
	after := t.read(c)
	if !after.improves(&before) || !wanted(after) {
		return before, false
	}
	t.config = c
	return after, true
}

// known are names of fields, compared without case and without "_", "-" and blanks.
type known []string

func (k known) is(name string) bool {
	name = name[strings.LastIndexByte(name, '.')+1:]
	return slices.Contains(k, strings.ToLower(wordParts.Replace(name)))
}

var wordParts = strings.NewReplacer("_", "", "-", "", " ", "")

var (
	timeNames = known{"time", "timestamp", "ts", "t", "datetime", "date", "lastseen", "receivedat", "measuredat", "createdat", "utc", "utctime",
		"sampletime", "eventtime", "epoch", "tst", "measurementtime", "zeit", "zeitstempel"}
	unitNames   = known{"unit", "units", "uom", "unitofmeasurement", "einheit"}
	deviceNames = known{"device", "deviceid", "devicename", "dev", "deveui", "id", "mac", "serial", "serialnumber", "sn", "sensor", "sensorid", "sensorname",
		"node", "nodeid", "machine", "machineid", "asset", "assetid", "addr", "address", "uid"}
)

// fields returns the names of readings that are of a kind, those nearest to the top first.
func (r *trial) fields(is func(string) bool) (names []string) {
	for _, reading := range r.readings {
		if !reading.Derived && is(reading.Name) && !slices.Contains(names, reading.Name) {
			names = append(names, reading.Name)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return strings.Count(a, ".") - strings.Count(b, ".") })
	return names
}

// values returns what a field says, in every sample that has it.
func (r *trial) values(name string) (all []lightchain.Value) {
	for _, reading := range r.readings {
		if reading.Name == name && reading.Value.Kind() != lightchain.KindNull {
			all = append(all, reading.Value)
		}
	}
	return all
}

// elements finds an array whose elements each say when they were measured.
func (t *topic) elements(before trial) trial {
	for _, name := range before.fields(timeNames.is) {
		levels := strings.Split(name, ".")
		at := slices.IndexFunc(levels, isIndex)
		if at < 0 || at != len(levels)-2 {
			continue
		}
		c := t.config
		c.MessagesPath = strings.Join(append(slices.Clone(levels[:at]), "*"), ".")
		c.TimestampPath = levels[at+1]
		after, taken := t.try(c, before, func(r trial) bool { return r.timed > 0 && r.timed >= len(r.readings)/2 })
		if taken {
			return after
		}
	}
	return before
}

// clock finds the field that says when.
func (t *topic) clock(before trial) trial {
	if t.config.TimestampPath == "" && before.timed == 0 {
		for _, name := range before.fields(timeNames.is) {
			c := t.config
			c.TimestampPath = name
			after, taken := t.try(c, before, func(r trial) bool { return r.timed > 0 })
			if taken {
				before = after
				break
			}
			for _, v := range before.values(name) {
				if text, ok := v.Text(); ok && v.Kind() == lightchain.KindText && strings.ContainsAny(text, "0123456789") {
					t.hint("%q says %.40q, which may be a time and is not read as one: if it is, set timestamp_path = %s, and timestamp_format to how it is written",
						name, text, Quote(name))
					break
				}
			}
		}
	}
	t.zone(before)
	return before
}

// zone says what only a person knows about times without one.
func (t *topic) zone(r trial) {
	if r.zoneless > 0 {
		t.hint(`its times have no zone, and are taken for UTC: where that is wrong, set timestamp_timezone, such as "Europe/Berlin"`)
	}
}

// device finds the field that tells apart several devices that speak under one topic.
func (t *topic) device(before trial) trial {
	for _, name := range before.fields(deviceNames.is) {
		values := before.values(name)
		different := map[string]bool{}
		counts := len(values) > 1
		for _, v := range values {
			different[v.String()] = true
			counts = counts && v.Kind() == lightchain.KindInt
		}
		// A number that is another one each time counts messages.
		if len(different) < 2 || counts && len(different) == len(values) {
			continue
		}
		c := t.config
		c.DevicePath = name
		after, taken := t.try(c, before, func(r trial) bool { return len(r.readings) > 0 })
		if taken {
			t.hint("under one topic %q is %d different things: each is a device by that name, wherever else it is used", name, len(different))
			return after
		}
	}
	return before
}

// unit finds the field that is the unit of the only number.
func (t *topic) unit(before trial) trial {
	for _, name := range before.fields(unitNames.is) {
		if strings.Contains(name, ".") || slices.ContainsFunc(before.each, func(of []lightchain.Reading) bool {
			numbers := 0
			for i := range of {
				if k := of[i].Value.Kind(); k == lightchain.KindInt || k == lightchain.KindFloat {
					numbers++
				}
			}
			return numbers > 1 && t.config.MessagesPath == ""
		}) {
			continue
		}
		for _, v := range before.values(name) {
			if text, ok := v.Text(); !ok || v.Kind() != lightchain.KindText || len(text) > 12 {
				return before
			}
		}
		c := t.config
		c.UnitPath = name
		after, taken := t.try(c, before, func(r trial) bool {
			return slices.ContainsFunc(r.readings, func(x lightchain.Reading) bool { return x.Unit != "" })
		})
		if taken {
			return after
		}
	}
	return before
}

// noNumber are names whose texts are no numbers, whatever they look like.
var noNumber = regexp.MustCompile(`(?i)version|firmware|^fw|^sw|^hw|serial|(^|[._-])id$|Id$|mac|code|date|time|phone|ip$|addr|name|ssid|model|tag|key|token|hash|uid|eui|number|raw|zip|channel`)

// numbers finds texts that are numbers.
func (t *topic) numbers(before trial) {
	var names []string
	for _, name := range before.fields(func(name string) bool { return !noNumber.MatchString(name) }) {
		values := before.values(name)
		if len(values) > 0 && !slices.ContainsFunc(values, func(v lightchain.Value) bool { return !numberText(v) }) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return
	}
	c := t.config
	c.Numbers = names
	if _, taken := t.try(c, before, func(trial) bool { return true }); taken {
		t.hint("texts of %s are numbers: they are read as such by numbers", strings.Join(names, ", "))
	}
}

var leadingZero = regexp.MustCompile(`^\s*[+-]?0\d`)

// numberText reports whether a value is a text that is a number, and not a code with zeros in front.
func numberText(v lightchain.Value) bool {
	text, _ := v.Text()
	if v.Kind() != lightchain.KindText {
		return false
	}
	_, unit, ok := sensors.NumberIn(text)
	return ok && (unit != "" || !leadingZero.MatchString(text))
}

// text looks at payloads that are one text for auto: several values, or a number with its unit.
func (t *topic) text(before trial) {
	isText := len(before.readings) > 0 && !slices.ContainsFunc(before.readings, func(r lightchain.Reading) bool {
		return r.Value.Kind() != lightchain.KindText
	})
	if !isText {
		return
	}
	withUnit := !slices.ContainsFunc(before.readings, func(r lightchain.Reading) bool {
		text, _ := r.Value.Text()
		_, unit, ok := sensors.NumberIn(text)
		return !ok || unit == ""
	})
	if withUnit {
		t.config.Numbers = []string{"*"}
		return
	}
	for _, c := range []sensors.Config{t.influx(), t.pairs(), t.csv()} {
		if c.Dialect == "" {
			continue
		}
		if after, taken := t.try(c, before, func(r trial) bool { return c.Dialect == "influx" || len(r.readings) > r.understood || r.timed > 0 }); taken {
			if c.Dialect != "csv" {
				t.refine(after)
			} else {
				t.zone(after)
				t.hint("nobody has said what the columns are called: name them in columns, and \"_\" leaves one out")
			}
			return
		}
	}
}

var (
	influxLine = regexp.MustCompile(`^[^=\s,]+(,[^=\s]+=[^\s]+)? [^=\s]+=[^=]+`)
	pairText   = regexp.MustCompile(`^[A-Za-z_][\w. -]*=[^=]*$`)
)

func (t *topic) every(is func(text string) bool) bool {
	return !slices.ContainsFunc(t.samples, func(s sample) bool { return !is(strings.TrimRight(string(s.payload), "\r\n\x00")) })
}

// influx returns the configuration of InfluxDB's lines without times, which auto takes for a text.
func (t *topic) influx() (c sensors.Config) {
	if t.every(influxLine.MatchString) {
		c.Dialect = "influx"
	}
	return c
}

// pairs returns the configuration of NAME=VALUE, where several of them stand behind each other.
func (t *topic) pairs() (c sensors.Config) {
	for _, separator := range []string{";", "&", ",", " ", "\n"} {
		if t.every(func(text string) bool {
			pairs := 0
			for part := range strings.SplitSeq(text, separator) {
				if pairText.MatchString(strings.TrimSpace(part)) {
					pairs++
				}
			}
			return pairs >= 2
		}) {
			c.Dialect, c.Separator = "pairs", separator
			return c
		}
	}
	return c
}

var thousands = regexp.MustCompile(`^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$`)

// csv returns the configuration of values that stand behind each other without names.
func (t *topic) csv() (c sensors.Config) {
	for _, separator := range []string{";", "\t", "|", ",", ":"} {
		columns := 0
		if !t.every(func(text string) bool {
			if strings.Contains(text, "\n") || separator == "," && thousands.MatchString(text) {
				return false
			}
			cells := strings.Split(text, separator)
			if columns != 0 && columns != len(cells) {
				return false
			}
			columns = len(cells)
			numbers := 0
			for _, cell := range cells {
				if _, err := strconv.ParseFloat(strings.TrimSpace(cell), 64); err == nil {
					numbers++
				}
			}
			if separator == ":" { // collectd's TIME:VALUE…, and neither a time of day nor an address
				return numbers == columns && columns >= 2 && unixTime.MatchString(cells[0])
			}
			return columns >= 3 && numbers >= 2
		}) {
			continue
		}
		c = sensors.Config{Dialect: "csv", Separator: separator}
		for i := range columns {
			c.Columns = append(c.Columns, fmt.Sprintf("value%d", i+1))
		}
		if columns == 2 {
			c.Columns[1] = "value"
		}
		timed := c
		timed.Columns = slices.Clone(c.Columns)
		timed.Columns[0], timed.TimestampPath = "time", "time"
		if got := t.read(timed); got.understood == len(t.samples) && got.timed > 0 && got.doubts == 0 {
			return timed
		}
		return c
	}
	return c
}

var unixTime = regexp.MustCompile(`^1\d{9}(\.\d+)?$`)

func (t *topic) hint(format string, args ...any) {
	t.hints = append(t.hints, fmt.Sprintf(format, args...))
}
