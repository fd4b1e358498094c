package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"edgechain/lightchain"
	"edgechain/mqttconn"
)

func TestSessionsAreRememberedOverAStartAndByWhatIdentifiesThem(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	c := mqttconn.Config{Name: "plant", Servers: []mqttconn.Server{"tcp://user:secret@plc:1883"}}
	chain := lightchain.ChainID{1}
	name := sessionOf(chain, &c)
	s := openSessions(dir, log)
	if s.has(name) {
		t.Fatal("it is known before it was noted")
	}
	s.note(name)
	s.note(name)
	if again := openSessions(dir, log); !again.has(name) {
		t.Error("it is forgotten")
	}
	other := c
	other.Servers = []mqttconn.Server{"tcp://elsewhere:1883"}
	id := c
	id.ClientID = "another"
	for _, n := range []string{sessionOf(chain, &other), sessionOf(chain, &id), sessionOf(lightchain.ChainID{2}, &c)} {
		if openSessions(dir, log).has(n) {
			t.Error("another session is taken for it")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "sessions.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = openSessions(dir, log)
	if s.has(name) {
		t.Error("from half a file")
	}
	s.note(name)
	if !openSessions(dir, log).has(name) {
		t.Error("a damaged file keeps sessions from being noted")
	}
}
