package suggest

import (
	"fmt"
	"strings"
	"unicode"

	"edgechain.example/sensors"
)

// Tables a configuration is written into.
const (
	Subscribe = "mqtt.subscribe"
	Decode    = "broker.decode"
)

// TOML returns the tables that read the groups as they are shown: one for each configuration, with the filters of all its groups.
func (r *Report) TOML(name string) string {
	var b strings.Builder
	for i := 0; i < len(r.Groups); {
		keys := table(r.Groups[i].Config)
		var filters, hints []string
		for ; i < len(r.Groups) && table(r.Groups[i].Config) == keys; i++ {
			g := &r.Groups[i]
			filters = append(filters, g.Filters...)
			for _, h := range g.Hints {
				hints = append(hints, fmt.Sprintf("# %s: %s\n", oneLine(g.Filters[0]), oneLine(h)))
			}
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(strings.Join(hints, ""))
		fmt.Fprintf(&b, "[[%s]]\ntopics = %s\n%s", name, list(filters), keys)
	}
	return b.String()
}

// table returns the keys of a configuration as lines of TOML, of those keys that are ever suggested.
func table(c sensors.Config) string {
	var b strings.Builder
	for _, k := range []struct{ key, value string }{
		{"preset", c.Preset}, {"dialect", c.Dialect},
		{"timestamp_path", c.TimestampPath}, {"device_path", c.DevicePath}, {"unit_path", c.UnitPath},
		{"messages_path", c.MessagesPath}, {"separator", c.Separator},
	} {
		if k.value != "" {
			fmt.Fprintf(&b, "%s = %s\n", k.key, Quote(k.value))
		}
	}
	if len(c.Numbers) > 0 {
		fmt.Fprintf(&b, "numbers = %s\n", list(c.Numbers))
	}
	if len(c.Columns) > 0 {
		fmt.Fprintf(&b, "columns = %s\n", list(c.Columns))
	}
	return b.String()
}

func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = Quote(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// Quote writes a text as TOML, with "$" doubled where the configuration would take it for a variable.
func Quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '$' && i+1 < len(text) && (text[i+1] == '$' || text[i+1] == '{'):
			b.WriteString("$$")
		case r < ' ' || 0x7f <= r && r < 0xa0 || 0x2028 <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 || r == 0xfeff:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// oneLine keeps a comment from ending where whoever chose a topic wants it to.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
