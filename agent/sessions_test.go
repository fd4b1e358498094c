package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/mqttconn"
	"edgechain.example/sensors/mqttsource"
)

func TestSessionsAreRememberedOverAStartAndByWhatIdentifiesThem(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	c := mqttconn.Config{Name: "plant", Servers: []mqttconn.Server{"tcp://user:secret@plc:1883"}}
	chain := lightchain.ChainID{1}
	name := sessionOf(chain, &c)
	s := openSessions(dir, log)
	if s.state(name) != mqttsource.SessionNone {
		t.Fatal("it is known before it was noted")
	}
	s.note(name, mqttsource.SessionKept)
	s.note(name, mqttsource.SessionDoubtful)
	if again := openSessions(dir, log); again.state(name) != mqttsource.SessionDoubtful {
		t.Errorf("remembered is %+v", again.known)
	}
	s.note(name, mqttsource.SessionKept)
	s.hold(name, []string{"b/#", "a"})
	s.hold("another", []string{"c"})
	if again := openSessions(dir, log); again.state(name) != mqttsource.SessionKept || !slices.Equal(again.filters(name), []string{"a", "b/#"}) || again.state("another") != mqttsource.SessionNone {
		t.Errorf("remembered is %+v", again.known)
	}
	other := c
	other.Servers = []mqttconn.Server{"tcp://elsewhere:1883"}
	id := c
	id.ClientID = "another"
	for _, n := range []string{sessionOf(chain, &other), sessionOf(chain, &id), sessionOf(lightchain.ChainID{2}, &c)} {
		if openSessions(dir, log).state(n) != mqttsource.SessionNone {
			t.Error("another session is taken for it")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "sessions.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openSessions(dir, log)
	if s.state(name) != mqttsource.SessionNone {
		t.Error("from half a file")
	}
	s.note(name, mqttsource.SessionKept)
	if openSessions(dir, log).state(name) != mqttsource.SessionKept {
		t.Error("a damaged file keeps sessions from being noted")
	}
}

// A filter that a reload takes out brings nothing more, though the broker keeps the session.
func TestAFilterThatAReloadTakesOutIsGivenUp(t *testing.T) {
	b := testenv.Mosquitto(t, "")
	c := quickConfig(t)
	c.MQTT = []MQTTConfig{plantAt(b, "line/#", "old/#")}
	a := startAgent(t, c)
	await(t, "the source", func() bool { return a.ready() == nil })
	publishAt(t, b, "old/1", "1")
	next := *c
	next.MQTT = []MQTTConfig{plantAt(b, "line/#")}
	if _, err := a.Reload(&next); err != nil {
		t.Fatal(err)
	}
	await(t, "the source", func() bool { return a.ready() == nil })
	publishAt(t, b, "old/1", "2")
	publishAt(t, b, "line/1", "3")
	await(t, "the last message", func() bool { return slices.Contains(recorded(t, a), "line/1") })
	if got := recorded(t, a); !slices.Equal(got, []string{"old/1", "line/1"}) {
		t.Errorf("recorded are %s", got)
	}
	if known := openSessions(c.Gateway.Data, a.log).known; len(known) != 1 {
		t.Errorf("noted is %+v", known)
	} else {
		for _, held := range known {
			if !held.Kept || !slices.Equal(held.Filters, []string{"line/#"}) {
				t.Errorf("noted is %+v", held)
			}
		}
	}
}
