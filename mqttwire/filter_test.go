package mqttwire

import (
	"strings"
	"testing"
)

// The examples of 4.7, and those at its borders.
var matching = []struct {
	filter, topic string
	want          bool
}{
	{"sport/tennis/player1/#", "sport/tennis/player1", true},
	{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
	{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
	{"sport/#", "sport", true},
	{"sport/#", "sports", false},
	{"#", "a/b", true},
	{"#", "/", true},
	{"sport/tennis/+", "sport/tennis/player1", true},
	{"sport/tennis/+", "sport/tennis/player1/ranking", false},
	{"sport/+", "sport", false},
	{"sport/+", "sport/", true},
	{"+/+", "/finance", true},
	{"/+", "/finance", true},
	{"+", "/finance", false},
	{"+/#", "a", true},
	{"+/tennis/#", "a/tennis", true},
	{"#", "$SYS/monitor/Clients", false},
	{"+/monitor/Clients", "$SYS/monitor/Clients", false},
	{"$SYS/#", "$SYS/monitor/Clients", true},
	{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
	{"a/b", "a/b", true},
	{"a/b", "a/b/", false},
	{"a/b/", "a/b", false},
	{"a/b", "a/B", false},
	{"a//b", "a//b", true},
	{"a/+/b", "a//b", true},
	{"a/#", "a/$b", true},
	{"a/+", "a/b/c", false},
	{"a/+/#", "a", false},
	{"a", "a/b", false},
	{"a/b", "a", false},
}

func TestFiltersMatch(t *testing.T) {
	for _, c := range matching {
		if err := CheckFilter(c.filter); err != nil {
			t.Fatal(err)
		}
		if got := Match(c.filter, c.topic); got != c.want {
			t.Errorf("%q matches %q: %t", c.filter, c.topic, got)
		}
		if got := Covers(c.filter, c.topic); got != c.want {
			t.Errorf("%q covers %q: %t", c.filter, c.topic, got)
		}
	}
}

func TestFiltersCoverFilters(t *testing.T) {
	for _, c := range []struct {
		filter, other string
		want          bool
	}{
		{"a/#", "a/+/b", true}, {"a/#", "a/#", true}, {"a/+", "a/+", true}, {"a/+", "a/#", false}, {"a/b", "a/+", false}, {"a/#", "#", false},
		{"a/#", "+/b", false}, {"+", "#", false}, {"#", "#", true}, {"#", "$SYS/#", false}, {"$SYS/#", "$SYS/+/x", true}, {"+/+", "a/#", false}, {"+/#", "#", false},
		{"#", "+/b", true}, {"+/b", "+/b", true}, {"a/#", "a", true},
	} {
		if got := Covers(c.filter, c.other); got != c.want {
			t.Errorf("%q covers %q: %t", c.filter, c.other, got)
		}
	}
}

func TestFiltersThatAreForbidden(t *testing.T) {
	long := strings.Repeat("x", MaxText+1)
	for _, text := range []string{"", "sport/tennis#", "sport/#/ranking", "sport+", "#/a", "a\x00b", "a\xff", "$share/g", "$share//a", "$share/a+/b", "$share/g/", "$share/\xff/a", "+a/b", "a/##", long} {
		if CheckFilter(text) == nil {
			t.Errorf("%.20q is accepted", text)
		}
	}
	for _, text := range []string{"/", "+", "#", "$share/g/a", "$share/g//", "a b/c", "$SYS", "$share", long[1:]} {
		if err := CheckFilter(text); err != nil {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	for _, topic := range []string{"", "#", "a/+", "a#", long} {
		if ValidTopic(topic) {
			t.Errorf("%.20q is a topic's name", topic)
		}
	}
}

func TestPatternsMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, topic string
		want           bool
	}{
		{"plant/#/+/temp", "plant/a/b/p7/temp", true}, {"plant/#/temp", "plant/temp", true}, {"plant/#/temp", "plant/x", false}, {"#/a/b", "b", false},
		{"#/b", "b", true}, {"#/b", "a/b", true}, {"#", "$SYS/x", true}, {"+/x", "$SYS/x", true}, {"a/#", "a", true}, {"a/#/b", "a", false}, {"#", "", true},
	} {
		if err := CheckPattern(c.pattern); err != nil {
			t.Fatal(err)
		}
		if got := MatchPattern(c.pattern, c.topic); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.topic, got)
		}
	}
	for _, text := range []string{"#/#", "a+/b", "a#"} {
		if CheckPattern(text) == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

// FuzzMatch: a filter covers a topic exactly if its levels do, looked at one by one; and what covers a filter covers what that
// matches.
func FuzzMatch(f *testing.F) {
	for _, c := range matching {
		f.Add(c.filter, c.topic, "a/#")
	}
	f.Fuzz(func(t *testing.T, filter, topic, wider string) {
		_, filter, _ = SplitShare(filter)
		if CheckFilter(filter) != nil || !ValidText(topic) || !ValidTopic(topic) {
			return
		}
		got := Match(filter, topic)
		if want := plainly(strings.Split(filter, "/"), strings.Split(topic, "/")); got != want {
			t.Fatalf("%q matches %q: %t", filter, topic, got)
		}
		if CheckFilter(wider) == nil && got && Covers(wider, filter) && !Match(wider, topic) {
			t.Fatalf("%q covers %q, and not %q", wider, filter, topic)
		}
	})
}

func plainly(filter, topic []string) bool {
	if strings.HasPrefix(topic[0], "$") && (filter[0] == "+" || filter[0] == "#") {
		return false
	}
	for i, level := range filter {
		switch {
		case level == "#":
			return true
		case i >= len(topic) || level != "+" && level != topic[i]:
			return false
		}
	}
	return len(filter) == len(topic)
}
