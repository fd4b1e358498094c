package sensors

import (
	"bytes"
	"cmp"
	_ "embed" // presets.json
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed presets.json
var presetsFile []byte

// A Preset is what the payloads of one kind of device are known to look like. All of them stand in presets.json, where a new
// one is a few lines; testdata/presets.json has payloads of each, from its maker's manual, and what they must become.
type Preset struct {
	Name   string `json:"name"`
	For    string `json:"for"`    // whose payloads these are
	Topics string `json:"topics"` // and the topics under which they come
	Signs  []Sign `json:"signs"`  // any of them tells such a message from others
	Config Config `json:"config"`
}

// A Sign is a topic that a pattern covers, with a payload that has all of these fields.
type Sign struct {
	Topic  string   `json:"topic"`  // see [mqttwire.CheckPattern]
	Fields []string `json:"fields"` // by the names that they have as readings, or of objects around them; "*" is any one level

	// Root is how many levels of such a topic lead to all that the same sender says; a negative number is how many do not, counted
	// from the end. 0: nothing is known of other topics.
	Root int `json:"root"`
}

// Presets returns all presets in the order of their names.
var Presets = sync.OnceValue(func() (all []Preset) {
	file := json.NewDecoder(bytes.NewReader(presetsFile))
	file.DisallowUnknownFields()
	if err := file.Decode(&all); err != nil {
		panic("presets.json: " + err.Error())
	}
	slices.SortFunc(all, func(a, b Preset) int { return strings.Compare(a.Name, b.Name) })
	return all
})

// withPreset fills what is empty from the preset.
func (c Config) withPreset() (Config, error) {
	if c.Preset == "" {
		return c, nil
	}
	all := Presets()
	at := slices.IndexFunc(all, func(p Preset) bool { return p.Name == c.Preset })
	if at < 0 {
		var names []string
		for _, p := range all {
			names = append(names, p.Name)
		}
		return c, fmt.Errorf("preset: %q is none; expected one of %s", c.Preset, strings.Join(names, ", "))
	}
	p := &all[at].Config
	c.Dialect = cmp.Or(c.Dialect, p.Dialect)
	c.TimestampFormat = cmp.Or(c.TimestampFormat, p.TimestampFormat)
	c.TimestampPath = cmp.Or(c.TimestampPath, p.TimestampPath)
	c.DevicePath = cmp.Or(c.DevicePath, p.DevicePath)
	c.NamePath = cmp.Or(c.NamePath, p.NamePath)
	c.UnitPath = cmp.Or(c.UnitPath, p.UnitPath)
	c.ValuePath = cmp.Or(c.ValuePath, p.ValuePath)
	c.QualityPath = cmp.Or(c.QualityPath, p.QualityPath)
	c.MessagesPath = cmp.Or(c.MessagesPath, p.MessagesPath)
	c.MessagesOnly = c.MessagesOnly || p.MessagesOnly
	c.Separator = cmp.Or(c.Separator, p.Separator)
	c.Pattern = cmp.Or(c.Pattern, p.Pattern)
	c.TopicParsing = orOther(c.TopicParsing, p.TopicParsing)
	c.Numbers = orOther(c.Numbers, p.Numbers)
	c.Fields = orOther(c.Fields, p.Fields)
	c.Ignore = orOther(c.Ignore, p.Ignore)
	c.Columns = orOther(c.Columns, p.Columns)
	c.QualityGood = orOther(c.QualityGood, p.QualityGood)
	if len(c.Units) == 0 {
		c.Units = p.Units
	}
	return c, nil
}

func orOther[T any](list, other []T) []T {
	if len(list) == 0 {
		return other
	}
	return list
}
