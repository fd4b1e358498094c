package sensors

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Filter is an MQTT topic filter (MQTT 3.1.1, section 4.7), split for matching.
type Filter struct {
	Shared bool // it was given as $share/<group>/<filter>
	levels []string
}

// ParseFilter reads a filter as an operator wrote it.
func ParseFilter(text string) (Filter, error) {
	var f Filter
	rest := text
	if strings.HasPrefix(text, "$share/") {
		group, after, found := strings.Cut(text[len("$share/"):], "/")
		if !found || group == "" || strings.ContainsAny(group, "+#") {
			return f, fmt.Errorf("filter %q: a shared subscription is $share/<group>/<filter>", text)
		}
		f.Shared, rest = true, after
	}
	switch {
	case rest == "":
		return f, fmt.Errorf("filter %q: it is empty", text)
	case len(text) > 65535:
		return f, errors.New("a filter of more than 65535 bytes")
	case !utf8.ValidString(rest) || strings.ContainsRune(rest, 0):
		return f, fmt.Errorf("filter %q: not UTF-8 text", text)
	}
	f.levels = strings.Split(rest, "/")
	for i, level := range f.levels {
		switch {
		case level == "#" && i < len(f.levels)-1:
			return f, fmt.Errorf("filter %q: # stands for all further levels and must be the last", text)
		case len(level) > 1 && strings.ContainsAny(level, "+#"):
			return f, fmt.Errorf("filter %q: + and # stand for a whole level, between slashes", text)
		}
	}
	return f, nil
}

// Matches reports whether the filter covers the topic. It allocates nothing.
func (f *Filter) Matches(topic string) bool {
	// MQTT-4.7.2-1: filters that start with a wildcard do not match topics that start with $.
	if strings.HasPrefix(topic, "$") && (f.levels[0] == "#" || f.levels[0] == "+") {
		return false
	}
	rest, more := topic, true
	for _, level := range f.levels {
		if level == "#" {
			return true // the parent level too: "a/#" matches "a"
		}
		if !more {
			return false
		}
		var have string
		have, rest, more = strings.Cut(rest, "/")
		if level != "+" && level != have {
			return false
		}
	}
	return !more
}
