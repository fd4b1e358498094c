package agent

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// watched is a table of devices by a clock of the test's own.
type watched struct {
	*devices
	at time.Time
}

func newWatched(t *testing.T, dir string, at time.Time) *watched {
	t.Helper()
	w := &watched{at: at}
	w.devices = openDevices(dir, func() time.Time { return w.at }, slog.New(slog.DiscardHandler))
	return w
}

// sends has a device send now, and so often again after the pause.
func (w *watched) sends(name string, times int, pause time.Duration) {
	for range times {
		w.heard([]*sensors.Message{{Received: w.at, Readings: []lightchain.Reading{{Device: name}, {Device: name}}}})
		w.at = w.at.Add(pause)
	}
}

func (w *watched) lateOnes() (names []string) {
	late, _ := w.status()
	for _, l := range late {
		names = append(names, l.Name)
	}
	return names
}

func TestADeviceIsLateByItsOwnRhythm(t *testing.T) {
	const minute, hour = time.Minute, time.Hour
	for _, c := range []struct {
		name   string
		live   func(w *watched)
		silent time.Duration // after its last message
		late   bool
	}{
		{"each minute, for two days", func(w *watched) { w.sends("press", 2880, minute) }, 4 * minute, true},
		{"each minute, and one is missing", func(w *watched) { w.sends("press", 2880, minute) }, 2 * minute, false},
		{"each minute, known for an hour", func(w *watched) { w.sends("press", 60, minute) }, 12 * hour, false},
		{"known for days, by seven messages", func(w *watched) { w.sends("press", 7, 10*hour) }, 40 * hour, false},
		{"off at night, on the next evening", func(w *watched) {
			for range 3 {
				w.sends("press", 600, minute)
				w.at = w.at.Add(14 * hour)
			}
			w.sends("press", 600, minute)
		}, 14 * hour, false},
		{"off at night, and not on the next morning but one", func(w *watched) {
			for range 3 {
				w.sends("press", 600, minute)
				w.at = w.at.Add(14 * hour)
			}
		}, 30 * hour, true},
		{"off for a week-end once, long ago", func(w *watched) {
			w.sends("press", 2880, minute)
			w.at = w.at.Add(60 * hour)
			w.sends("press", 20*24*60, minute)
		}, 4 * minute, true},
		{"off for a month: taken away", func(w *watched) { w.sends("press", 2880, minute) }, 31 * 24 * hour, false},
	} {
		w := newWatched(t, t.TempDir(), time.Unix(1e9, 0))
		c.live(w)
		w.at = time.Unix(0, w.known["press"].At.UnixNano()).Add(c.silent)
		if late := len(w.lateOnes()) > 0; late != c.late {
			t.Errorf("%s: late %v after %s, want %v", c.name, late, c.silent, c.late)
		}
	}
}

// A device that falls silent while the gateway is off, or is started again, is missed all the same; the gateway's own
// silence is nobody's.
func TestTheRhythmOfADeviceOutlivesAStart(t *testing.T) {
	dir := t.TempDir()
	w := newWatched(t, dir, time.Unix(1e9, 0))
	w.sends("press", 2880, time.Minute)
	last := w.known["press"].At
	w.write()
	w = newWatched(t, dir, w.at.Add(48*time.Hour))
	if late := w.lateOnes(); late != nil {
		t.Errorf("%v are late at the start", late)
	}
	w.at = w.at.Add(5 * time.Minute)
	late, watched := w.status()
	if len(late) != 1 || watched != 1 || !late[0].Last.Equal(last) || late[0].Silent != 300 || late[0].Usual != 60 {
		t.Errorf("%+v", late)
	}
}

// Names can be made up by whoever may publish: they take neither memory nor the place of devices that are known.
func TestAFloodOfNamesPushesNoKnownDeviceOut(t *testing.T) {
	w := newWatched(t, t.TempDir(), time.Unix(1e9, 0))
	w.sends("press", 2880, time.Minute)
	for i := range 3 * mostDevices {
		w.sends(fmt.Sprint("name-", i), 1, 0)
	}
	if _, watched := w.status(); watched != mostDevices || w.overflow != 2*mostDevices+1 {
		t.Errorf("%d are watched, %d messages are of others", watched, w.overflow)
	}
	w.at = w.at.Add(2 * time.Minute)
	w.sends("new", 1, 0)
	if w.known["press"] == nil || w.known["new"] == nil {
		t.Error("the known device is gone, or the new one finds no place when the flood is over")
	}
}

// Each damaged file is read as none.
func TestDevicesAreLearnedAnewFromADamagedFile(t *testing.T) {
	for _, text := range []string{"", "{", "null", `{"a":null}`, `[]`, "\x00\x00"} {
		dir := t.TempDir()
		writeConfig(t, dir+"/"+devicesFile, text)
		w := newWatched(t, dir, time.Unix(1e9, 0))
		w.sends("press", 2, time.Minute)
		if _, watched := w.status(); watched != 1 {
			t.Errorf("%q: %d are watched", text, watched)
		}
	}
}

// A name that cannot be a label is not watched: one device must not take all metrics away.
func TestNamesThatAreNoLabelsAreNotWatched(t *testing.T) {
	w := newWatched(t, t.TempDir(), time.Unix(1e9, 0))
	for _, name := range []string{"a\xff", strings.Repeat("n", deviceNameMax+1), "Halle 3/\"Presse\"\n{é}", ""} {
		w.sends(name, 2, time.Minute)
	}
	m := newMetrics()
	m.registry.MustRegister(newDevicesCollector(w.devices))
	if got := shown(t, m, "edgeagent_device_late"); len(got) != 1 || shown(t, m, "edgeagent_devices_unwatched_messages_total")[""] != 4 {
		t.Errorf("%v", got)
	}
}
