package mqttwire

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MaxText is how many bytes a text of MQTT has at most.
const MaxText = 65_535

// ValidText tells whether text is what MQTT calls a UTF-8 encoded string (1.5.4): well-formed, without surrogates and
// without U+0000. Control characters and code points that Unicode has given to no character are discouraged there, not
// forbidden, and pass.
func ValidText[T ~string | ~[]byte](s T) bool {
	for i := 0; i < len(s); {
		if s[i] == 0 {
			return false
		}
		if s[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && size == 1 {
			return false
		}
		i += size
	}
	return len(s) <= MaxText
}

// ValidTopic tells whether a valid text may be a topic's name (4.7): not empty, and without wildcards.
func ValidTopic[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if s[i] == '+' || s[i] == '#' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= MaxText
}

// SplitShare parts the filter of a shared subscription, $share/GROUP/FILTER (4.8.2), from its group. Of another filter it
// returns that filter and no group.
func SplitShare(text string) (group, filter string, shared bool) {
	rest, shared := strings.CutPrefix(text, "$share/")
	if !shared {
		return "", text, false
	}
	group, filter, _ = strings.Cut(rest, "/")
	return group, filter, true
}

// CheckFilter says what is wrong with a topic filter (4.7), or one of a shared subscription.
func CheckFilter(text string) error {
	group, filter, shared := SplitShare(text)
	switch {
	case shared && (group == "" || filter == "" || strings.ContainsAny(group, "+#")): // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
		return errors.New("expected $share/<group>/<filter>")
	case filter == "" || len(text) > MaxText || strings.ContainsRune(text, 0): // [MQTT-4.7.3-1] to [MQTT-4.7.3-3]
		return fmt.Errorf("expected 1 to %d bytes and no zero", MaxText)
	case !ValidText(text):
		return errors.New("expected UTF-8 text")
	}
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		switch {
		case level == "#" && more: // [MQTT-4.7.1-1]
			return errors.New("expected # as the last level only: it stands for all that follow")
		case len(level) > 1 && strings.ContainsAny(level, "+#"): // [MQTT-4.7.1-2]
			return errors.New(`expected + and # alone between slashes, such as "factory/+/state" or "factory/#"`)
		}
	}
	return nil
}

// Filter is a topic filter, without its group if it is one of a shared subscription.
type Filter struct {
	Shared bool
	text   string
}

// ParseFilter reads a filter as an operator wrote it.
func ParseFilter(text string) (Filter, error) {
	if err := CheckFilter(text); err != nil {
		return Filter{}, fmt.Errorf("filter %q: %w", text, err)
	}
	_, filter, shared := SplitShare(text)
	return Filter{shared, filter}, nil
}

// Matches tells whether the filter covers a topic. It allocates nothing.
func (f Filter) Matches(topic string) bool { return Match(f.text, topic) }

// Match tells whether a filter, which [CheckFilter] found nothing wrong with and which names no group, covers a topic.
func Match(filter, topic string) bool {
	// [MQTT-4.7.2-1]: filters that start with a wildcard do not match topics that start with $.
	return !(Reserved(topic) && wild(filter)) && match(filter, topic)
}

// Reserved tells of a topic that it begins with $.
func Reserved(topic string) bool { return topic != "" && topic[0] == '$' }

func wild(filter string) bool { return filter != "" && (filter[0] == '#' || filter[0] == '+') }

func match(filter, topic string) bool {
	for {
		want, filterRest, filterMore := strings.Cut(filter, "/")
		if want == "#" {
			if !filterMore {
				return true
			}
			// Of a pattern: as many levels are left as stand behind it.
			for spare := strings.Count(topic, "/") - strings.Count(filterRest, "/"); spare > 0; spare-- {
				_, topic, _ = strings.Cut(topic, "/")
			}
			filter = filterRest
			if strings.Count(topic, "/") != strings.Count(filter, "/") {
				return false
			}
			continue
		}
		have, topicRest, topicMore := strings.Cut(topic, "/")
		switch {
		case want != "+" && want != have:
			return false
		case !topicMore:
			// 4.7.1.2: "a/#" matches "a" as well.
			return !filterMore || filterRest == "#"
		case !filterMore:
			return false
		}
		filter, topic = filterRest, topicRest
	}
}

// CheckPattern says what is wrong with a pattern: a filter in which # may stand anywhere, once, for any number of levels,
// none included.
func CheckPattern(text string) error {
	stretches := 0
	for level := range strings.SplitSeq(text, "/") {
		switch {
		case level == "#":
			stretches++
		case len(level) > 1 && strings.ContainsAny(level, "+#"):
			return fmt.Errorf(`%q has the level %q; "+" and "#" are whole levels`, text, level)
		}
	}
	if stretches > 1 {
		return fmt.Errorf(`%q has %d levels "#", where one is the most`, text, stretches)
	}
	return nil
}

// MatchPattern tells whether a pattern covers a topic. Its wildcards cover topics that begin with $ as well.
func MatchPattern(pattern, topic string) bool { return match(pattern, topic) }

// Covers tells whether a filter covers every topic that another one covers, neither naming a group. A topic's name is a filter
// too.
func Covers(filter, other string) bool { return CoversAs(filter, other, nil) }

// CoversAs is [Covers] for a filter some of whose levels stand for others: own gives what a level stands for, and may be nil.
// A level that it gives another meaning is one level without wildcards, or covers nothing.
func CoversAs(filter, other string, own func(level string) string) bool {
	if Reserved(other) && wild(filter) {
		return false
	}
	for more := true; ; {
		want, filterRest, filterMore := strings.Cut(filter, "/")
		if want == "#" {
			return true
		}
		if !more {
			return false
		}
		var have string
		have, other, more = strings.Cut(other, "/")
		if want == "+" {
			if have == "#" {
				return false
			}
		} else {
			if own != nil {
				want = own(want)
			}
			// Whoever calls himself + covers nothing.
			if have != want || have == "+" || have == "#" {
				return false
			}
		}
		if !filterMore {
			return !more
		}
		filter = filterRest
	}
}
