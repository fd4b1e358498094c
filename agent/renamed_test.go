package agent

import (
	"fmt"
	"testing"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// A device that an older version called after its client, or one level of its topic, is told under its new name, with the rule
// that keeps the old one; until it is heard under the old name again.
func TestADeviceThatIsNamedAnewIsTold(t *testing.T) {
	dir := t.TempDir()
	old := newWatched(t, dir, time.Unix(1e9, 0))
	for _, name := range []string{"press-07", "plc-1", "oven"} {
		old.sends(name, 10, time.Minute)
	}
	old.write()

	w := newWatched(t, dir, time.Unix(2e9, 0))
	hears := func(source, device string) {
		w.at = w.at.Add(time.Second)
		w.heard([]*sensors.Message{{Source: source, Received: w.at, Readings: []lightchain.Reading{{Device: device}}}})
	}
	hears("mqtt:plant:line1/press-07/state", "line1/press-07/state") // several readings
	hears("broker:-/plc-1:line1/oven/temp", "line1/oven")            // a bare value, of a client that was known
	hears("mqtt:plant:line1/new/state", "line1/new/state")           // of nobody who was known
	hears("mqtt:plant:line1/oven/state", "by a rule")
	want := `[{plc-1 line1/oven device_from = "client"} {press-07 line1/press-07/state device_from = "level"}]`
	if got := fmt.Sprint(w.renamedStatus()); got != want {
		t.Errorf("told are %s, want %s", got, want)
	}
	hears("mqtt:plant:line1/press-07/state", "press-07")
	if got := w.renamedStatus(); len(got) != 1 || got[0].Was != "plc-1" {
		t.Errorf("heard under its old name again: %v", got)
	}
}
