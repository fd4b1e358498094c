package sensors

import "testing"

// The examples of MQTT 3.1.1, section 4.7.
func TestFiltersMatchAsMQTTSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/#", "sport", true},
		{"sport/#", "sports", false},
		{"#", "a/b", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+", "/finance", false},
		{"#", "$SYS/monitor/Clients", false},
		{"+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"$SYS/#", "$SYS/monitor/Clients", true},
		{"$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"a/b", "a/b", true},
		{"a/b", "a/b/", false},
		{"a/b", "a/B", false},
		{"a//b", "a//b", true},
		{"a/+/b", "a//b", true},
		{"$share/group/a/+", "a/b", true},
		{"$share/group/#", "$SYS/x", false},
		{"$share/group//a", "/a", true},
	} {
		f, err := ParseFilter(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Matches(c.topic); got != c.want {
			t.Errorf("%q matches %q: %t", c.filter, c.topic, got)
		}
	}
}

func TestFiltersThatMQTTForbidsAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "sport/tennis#", "sport/#/ranking", "sport+", "#/a", "a\x00b", "a\xff", "$share/g", "$share//a", "$share/a+/b", "$share/g/"} {
		if _, err := ParseFilter(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
