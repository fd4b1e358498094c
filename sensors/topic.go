package sensors

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
)

// TopicRule takes device, name and unit from the levels of a topic, with the words of Telegraf's topic_parsing. All
// rules that match a topic apply, in their order; a later one overrides.
type TopicRule struct {
	// Topic is the filter: "+" is any one level, "#" (once, anywhere) any number of them, none included. An empty
	// filter matches every topic.
	Topic string `toml:"topic" json:"topic"`

	// Measurement, Tags and Fields name the levels, one word for each level of Topic; "_" skips a level, "#" (once)
	// any number of them.
	//
	// In Measurement any word marks a level of the name: the name of a bare value, and a prefix, joined by ".", of
	// names that a JSON payload brings. Of Tags the words "device", "name" (as in Measurement) and "unit" have a
	// place in a reading; other tags remain in the entry's source alone. A word of Fields makes the level a reading
	// of that name, except those three words again. A word that stands twice joins its levels: a device's by "/", a
	// name's by ".".
	Measurement string `toml:"measurement" json:"measurement"`
	Tags        string `toml:"tags" json:"tags"`
	Fields      string `toml:"fields" json:"fields"`
}

// place is what the topic and the connection say about a message.
type place struct {
	device string
	owner  string // of a bare value: its device
	name   string // of a bare value
	prefix string // of other names: what a rule made of the topic, or ""
	unit   string
	fields []lightchain.Reading
	named  bool // a rule or the configuration names the device
}

type topicRule struct {
	pattern                   string
	measurement, tags, fields []string
}

func compileRules(rules []TopicRule) ([]topicRule, error) {
	out := make([]topicRule, len(rules))
	for i, r := range rules {
		c, err := r.compile()
		if err != nil {
			return nil, fmt.Errorf("topic_parsing %d: %w", i+1, err)
		}
		out[i] = c
	}
	return out, nil
}

func (r TopicRule) compile() (c topicRule, err error) {
	c.pattern = cmp.Or(r.Topic, "#")
	if err := mqttwire.CheckPattern(c.pattern); err != nil {
		return c, fmt.Errorf("topic: %w", err)
	}
	for _, list := range []struct {
		key, words string
		into       *[]string
	}{{"measurement", r.Measurement, &c.measurement}, {"tags", r.Tags, &c.tags}, {"fields", r.Fields, &c.fields}} {
		if list.words == "" {
			continue
		}
		if *list.into, err = splitWords(list.words, strings.Split(c.pattern, "/")); err != nil {
			return c, fmt.Errorf("%s: %w", list.key, err)
		}
	}
	if c.measurement == nil && c.tags == nil && c.fields == nil {
		return c, fmt.Errorf("the rule for %q takes nothing from the topic; expected measurement, tags or fields", r.Topic)
	}
	if c.tags != nil && !slices.ContainsFunc(c.tags, isOwnWord) {
		return c, fmt.Errorf("tags: %q names no level device, name or unit, and other tags have no place in a reading", r.Tags)
	}
	return c, nil
}

func splitWords(list string, filter []string) ([]string, error) {
	words := strings.Split(list, "/")
	open, stretch := count(filter, "#") > 0, count(words, "#")
	switch {
	case stretch > 1:
		return nil, fmt.Errorf(`%q has %d levels "#", where one is the most`, list, stretch)
	case slices.Contains(words, ""):
		return nil, fmt.Errorf(`%q has an empty word; "_" skips a level`, list)
	case !open && stretch == 0 && len(words) != len(filter):
		return nil, fmt.Errorf("%q has %d levels, where the topic %q has %d", list, len(words), strings.Join(filter, "/"), len(filter))
	case !open && stretch == 1 && len(words)-1 > len(filter):
		return nil, fmt.Errorf("%q has more levels than the topic %q", list, strings.Join(filter, "/"))
	case !slices.ContainsFunc(words, func(w string) bool { return w != "_" && w != "#" }):
		return nil, fmt.Errorf("%q skips all levels", list)
	}
	return words, nil
}

func isOwnWord(w string) bool { return w == "device" || w == "name" || w == "unit" }

func count(words []string, w string) (n int) {
	for _, x := range words {
		if x == w {
			n++
		}
	}
	return n
}

// each calls f with every word of the list and the level that it names. Before "#" levels are counted from the left,
// behind it from the right; a list without "#" under a filter with one simply ends.
func each(words, levels []string, f func(word, level string)) {
	if len(levels) < len(words)-1 && slices.Contains(words, "#") {
		return
	}
	shift := 0
	for i, w := range words {
		switch {
		case w == "#":
			shift = len(levels) - len(words)
		case i+shift < len(levels) && w != "_":
			f(w, levels[i+shift])
		}
	}
}

// deviceFrom is what names a device that nothing else names.
type deviceFrom uint8

const (
	fromTopic deviceFrom = iota
	fromLevel
	fromClient
)

func parseDeviceFrom(s string) (deviceFrom, error) {
	switch s {
	case "", "topic":
		return fromTopic, nil
	case "level":
		return fromLevel, nil
	case "client":
		return fromClient, nil
	}
	return 0, fmt.Errorf("device_from: %q is none; expected topic, level or client", s)
}

// locate says what topic and client id make of device, name and unit.
//
// The name of a bare value is the topic's last level, and its device what stands before that; the device of a message that
// names its values is the whole topic. Whatever a machine calls its topics, no two of them become one so.
func (d *Decoder) locate(topic, clientID string) (p place) {
	t := strings.Trim(topic, "/")
	cut := strings.LastIndexByte(t, '/')
	p.name, p.device, p.owner = t[cut+1:], t, t
	if cut >= 0 {
		p.owner = strings.TrimRight(t[:cut], "/")
	}
	switch {
	case d.deviceFrom == fromClient && clientID != "":
		p.device, p.owner = clientID, clientID
	case d.deviceFrom != fromTopic:
		p.owner = p.owner[strings.LastIndexByte(p.owner, '/')+1:]
		p.device = p.owner
	}
	if len(d.rules) > 0 {
		d.applyRules(&p, topic)
	}
	if d.device != "" {
		p.device, p.owner, p.named = d.device, d.device, true
	}
	if d.unit != "" {
		p.unit = d.unit
	}
	return p
}

func (d *Decoder) applyRules(p *place, topic string) {
	levels := strings.Split(topic, "/")
	for i := range d.rules {
		r := &d.rules[i]
		if !mqttwire.MatchPattern(r.pattern, topic) {
			continue
		}
		var device, name, unit string
		own := func(word, level string) bool {
			switch word {
			case "device":
				device = join(device, "/", level)
			case "name":
				name = join(name, ".", level)
			case "unit":
				unit = join(unit, "/", level)
			default:
				return false
			}
			return true
		}
		each(r.measurement, levels, func(_, level string) { name = join(name, ".", level) })
		each(r.tags, levels, func(word, level string) { own(word, level) })
		each(r.fields, levels, func(word, level string) {
			if !own(word, level) {
				p.fields = append(p.fields, lightchain.Reading{Name: word, Value: levelValue(level)})
			}
		})
		if device != "" {
			p.device, p.owner, p.named = device, device, true
		}
		if name != "" {
			p.name, p.prefix = name, name
		}
		if unit != "" {
			p.unit = unitSymbol(unit)
		}
	}
}

func join(a, sep, b string) string {
	if a == "" {
		return b
	}
	return a + sep + b
}

// Levels returns the values that the levels of a topic are: a rule's Fields may have made readings of them.
func Levels(topic string) iter.Seq[lightchain.Value] {
	return func(yield func(lightchain.Value) bool) {
		for level := range strings.SplitSeq(topic, "/") {
			if !yield(levelValue(level)) {
				return
			}
		}
	}
}

// levelValue reads a level as a bare value, and what is none as the text that it is.
func levelValue(level string) lightchain.Value {
	v, err := bareValue(level)
	if err != nil {
		return lightchain.Text(level)
	}
	return v
}
