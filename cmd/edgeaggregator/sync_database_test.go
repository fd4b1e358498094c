package main

import (
	"strings"
	"testing"

	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
)

// On a database that a crash sets back the program does not run, and says what to set; it does where that is allowed, and
// shows it. What was decided can be read either way.
func TestDatabaseThatMayLoseIsRefusedAndShown(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	database := testenv.NewPostgres(t).DSN() + "&synchronous_commit=off"
	n := newNode(t, broker.Addr, "", "--store", database)
	_, output, code := program.Output(t, n.command("run"))
	if code != 2 {
		t.Errorf("run ends with %d, want exit code 2", code)
	}
	for _, want := range []string{"the database may lose what is countersigned", "ALTER ROLE edgechain SET synchronous_commit = on", `or set store.crash_loss = "warn"`} {
		if !strings.Contains(output, want) {
			t.Errorf("it does not say %q:\n%s", want, output)
		}
	}
	n.must("gateways", "list")
	n.words = append(n.words, "--set", "store.crash_loss=warn")
	n.start()
	status := n.must("status")
	for _, want := range []string{"no standbys, synchronous_commit off", "timeline 1", "a crash of the database takes what was countersigned"} {
		if !strings.Contains(status, want) {
			t.Errorf("status does not show %q:\n%s", want, status)
		}
	}
	t.Log(status)
}
