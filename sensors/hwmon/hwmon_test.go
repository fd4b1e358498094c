package hwmon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// kept is a sink that keeps what it is given, and can be closed.
type kept struct {
	mu       sync.Mutex
	messages []*sensors.Message
	closed   error
	took     func(n int) // called after the n-th message
}

func (k *kept) Put(ctx context.Context, m *sensors.Message) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := errors.Join(ctx.Err(), k.closed); err != nil {
		return err
	}
	k.messages = append(k.messages, m)
	if k.took != nil {
		k.took(len(k.messages))
	}
	return nil
}

func (k *kept) TryPut(m *sensors.Message) bool { return k.Put(context.Background(), m) == nil }

// bySource returns what was kept since the last call, and fails the test if a source comes twice.
func (k *kept) bySource(t *testing.T) map[string]*sensors.Message {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make(map[string]*sensors.Message)
	for _, m := range k.messages {
		if all[m.Source] != nil {
			t.Errorf("%s came twice", m.Source)
		}
		all[m.Source] = m
	}
	k.messages = nil
	return all
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func source(root string) *Source {
	return New(Config{Root: root, Device: "gw-07", Now: func() time.Time { return noon }})
}

// line shows a message as "payload | name value unit, …"; the payload's line break is left out.
func line(m *sensors.Message) string {
	var readings []string
	for _, r := range m.Readings {
		text := fmt.Sprintf("%s %v %s", r.Name, r.Value, r.Unit)
		if r.Quality != 0 {
			text += fmt.Sprintf(" quality %d", r.Quality)
		}
		readings = append(readings, text)
	}
	return strings.TrimSuffix(string(m.Payload), "\n") + " | " + strings.Join(readings, ", ")
}

func TestRecordedMachinesAreReadWhole(t *testing.T) {
	for recording, want := range map[string]map[string]string{
		"pi4b": {
			"hwmon:cpu_thermal/temp1":                   "48199 | cpu_thermal/temp1 48.199 Cel",
			"hwmon:sht3x/temp1":                         "21543 | sht3x/temp1 21.543 Cel",
			"hwmon:sht3x/humidity1":                     "43217 | sht3x/humidity1 43.217 %RH",
			"hwmon:ina219/in0":                          "6 | ina219/in0 0.006 V",
			"hwmon:ina219/in1":                          "5084 | ina219/in1 5.084 V",
			"hwmon:ina219/curr1":                        "642 | ina219/curr1 0.642 A",
			"hwmon:ina219/power1":                       "3260000 | ina219/power1 3.26 W",
			"hwmon:w1_slave_temp-28-0000055a1b2c/temp1": "-1187 | w1_slave_temp-28-0000055a1b2c/temp1 -1.187 Cel",
			"hwmon:w1_slave_temp-28-00000a61c3de/temp1": "85000 | w1_slave_temp-28-00000a61c3de/temp1 85.0 Cel",
			"hwmon:proc/loadavg":                        "0.20 0.18 0.12 2/187 11206 | load/1min 0.2 1, load/5min 0.18 1, load/15min 0.12 1",
			"hwmon:proc/meminfo":                        "MemTotal:        1893244 kB\nMemFree:          412036 kB\nMemAvailable:    1405992 kB | memory/total 1938681856 B, memory/available 1439735808 B",
		},
		"pc": {
			"hwmon:acpitz/temp1":               "27800 | acpitz/temp1 27.8 Cel",
			"hwmon:nvme-nvme0/temp1":           "38850 | nvme-nvme0/Composite 38.85 Cel",
			"hwmon:nvme-nvme1/temp1":           "41850 | nvme-nvme1/Composite 41.85 Cel",
			"hwmon:coretemp/temp1":             "45000 | coretemp/Package id 0 45.0 Cel",
			"hwmon:coretemp/temp2":             "43000 | coretemp/Core 0 43.0 Cel",
			"hwmon:coretemp/temp3":             "44000 | coretemp/Core 1 44.0 Cel",
			"hwmon:adt7475/in1":                "1191 | adt7475/in1 1.191 V",
			"hwmon:adt7475/in2":                "3300 | adt7475/in2 3.3 V",
			"hwmon:adt7475/fan1":               "1187 | adt7475/fan1 1187 1/min",
			"hwmon:adt7475/temp1":              "-128000 | adt7475/temp1 -128.0 Cel quality 2",
			"hwmon:adt7475/temp2":              "36500 | adt7475/temp2 36.5 Cel",
			"hwmon:adt7475/temp3":              "33250 | adt7475/temp3 33.25 Cel",
			"hwmon:thermal/INT3400 Thermal":    "20000 | thermal/INT3400 Thermal 20.0 Cel",
			"hwmon:thermal/x86_pkg_temp":       "45000 | thermal/x86_pkg_temp 45.0 Cel",
			"hwmon:thermal/SEN1-thermal_zone3": "39050 | thermal/SEN1-thermal_zone3 39.05 Cel",
			"hwmon:thermal/SEN1-thermal_zone4": "40050 | thermal/SEN1-thermal_zone4 40.05 Cel",
			"hwmon:proc/loadavg":               "1.05 0.70 0.44 3/1192 52077 | load/1min 1.05 1, load/5min 0.7 1, load/15min 0.44 1",
			"hwmon:proc/meminfo":               "MemTotal:       16286036 kB\nMemFree:         6213896 kB\nMemAvailable:   12017744 kB | memory/total 16676900864 B, memory/available 12306169856 B",
		},
	} {
		t.Run(recording, func(t *testing.T) {
			sink := &kept{}
			if err := source(testenv.Tree(t, "testdata/"+recording+".txtar")).poll(t.Context(), sink); err != nil {
				t.Fatal(err)
			}
			got := sink.bySource(t)
			for source, m := range got {
				if line(m) != want[source] {
					t.Errorf("%s: %q, want %q", source, line(m), want[source])
				}
				for _, r := range m.Readings {
					if r.Device != "gw-07" || r.Timed {
						t.Errorf("%s: %+v", source, r)
					}
				}
				if !m.Received.Equal(noon) || m.Flags != 0 || m.Done != nil {
					t.Errorf("%s: %+v", source, m)
				}
			}
			for source := range want {
				if got[source] == nil {
					t.Errorf("%s is missing", source)
				}
			}
		})
	}
}

func TestSensorThatFailsStopsNoOtherAndIsLoggedOnce(t *testing.T) {
	root := testenv.Tree(t, "testdata/pi4b.txtar")
	var log bytes.Buffer
	s := source(root)
	s.config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	sink := &kept{}
	poll := func() map[string]*sensors.Message {
		t.Helper()
		if err := s.poll(t.Context(), sink); err != nil {
			t.Fatal(err)
		}
		return sink.bySource(t)
	}
	all := len(poll())

	bad := filepath.Join(root, "sys/class/hwmon/hwmon2/temp1_input")
	pulled := filepath.Join(root, "sys/class/hwmon/hwmon3")
	if err := os.Rename(pulled, filepath.Join(root, "pulled")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(bad, bad+"_good"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(bad, 0o755); err != nil { // reading it fails, whoever reads
		t.Fatal(err)
	}
	for range 3 {
		if got := len(poll()); got != all-5 {
			t.Errorf("%d messages, want %d", got, all-5)
		}
	}
	if got := s.Stats().Failures; got != 3*5 {
		t.Errorf("%d failures counted, want %d", got, 3*5)
	}
	if n := strings.Count(log.String(), "\n"); n != 5 {
		t.Errorf("%d lines logged, want one for each of 5 sensors:\n%s", n, log.String())
	}

	log.Reset()
	if err := errors.Join(os.Remove(bad), os.Rename(bad+"_good", bad), os.Rename(filepath.Join(root, "pulled"), pulled)); err != nil {
		t.Fatal(err)
	}
	if got := len(poll()); got != all {
		t.Errorf("back again: %d messages, want %d", got, all)
	}
	if n := strings.Count(log.String(), "sensor is back"); n != 5 {
		t.Errorf("back again:\n%s", log.String())
	}
}

func TestFileNobodyUnderstandsIsRecordedAllTheSame(t *testing.T) {
	root := testenv.Tree(t, "testdata/pi4b.txtar")
	for name, content := range map[string]string{
		"sys/class/hwmon/hwmon0/temp1_input": "N/A\n",
		"proc/loadavg":                       "NaN 1 2 3/4 5\n",
		"proc/meminfo":                       "MemTotal:  many kB\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sink := &kept{}
	if err := source(root).poll(t.Context(), sink); err != nil {
		t.Fatal(err)
	}
	got := sink.bySource(t)
	for source, payload := range map[string]string{
		"hwmon:cpu_thermal/temp1": "N/A\n",
		"hwmon:proc/loadavg":      "NaN 1 2 3/4 5\n",
		"hwmon:proc/meminfo":      "MemTotal:  many kB\n",
	} {
		m := got[source]
		if m == nil || m.Flags != lightchain.NotUnderstood || len(m.Readings) != 0 || string(m.Payload) != payload {
			t.Errorf("%s: %+v", source, m)
		}
	}
}

func TestNameOfADriverCannotBreakTheSource(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "sys/class/hwmon/hwmon0")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"name": "a/b\x01\xff\n", "fan1_input": "900\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sink := &kept{}
	if err := source(root).poll(t.Context(), sink); err != nil {
		t.Fatal(err)
	}
	if m := sink.bySource(t)["hwmon:a_b__/fan1"]; m == nil {
		t.Error("not found under the name cleaned")
	} else {
		encodes(t, m)
	}
}

// encodes fails the test unless m can stand in a chain.
func encodes(t *testing.T, m *sensors.Message) {
	t.Helper()
	e := lightchain.Entry{Received: m.Received.UnixNano(), Source: m.Source, Flags: m.Flags, Payload: m.Payload, Readings: m.Readings}
	if _, err := e.Append(nil); err != nil {
		t.Error(err)
	}
}

func TestRunPollsAtOnceAndAgainUntilTheContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const perPoll = 11
	sink := &kept{took: func(n int) {
		if n == 3*perPoll {
			cancel()
		}
	}}
	s := New(Config{Root: testenv.Tree(t, "testdata/pi4b.txtar"), Interval: time.Millisecond})
	if err := s.Run(ctx, sink); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got != (Stats{Messages: 3 * perPoll}) {
		t.Errorf("%+v", got)
	}
}

func TestRunEndsWithTheSink(t *testing.T) {
	closed := errors.New("closed")
	err := source(testenv.Tree(t, "testdata/pi4b.txtar")).Run(t.Context(), &kept{closed: closed})
	if !errors.Is(err, closed) {
		t.Errorf("error %v", err)
	}
}

func TestThisMachineHasLoadAndMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no /proc")
	}
	sink := &kept{}
	if err := New(Config{Device: "here"}).poll(t.Context(), sink); err != nil {
		t.Fatal(err)
	}
	got := sink.bySource(t)
	for _, m := range got {
		t.Log(m.Source, line(m))
		encodes(t, m)
	}
	for source, readings := range map[string]int{"hwmon:proc/loadavg": 3, "hwmon:proc/meminfo": 2} {
		if m := got[source]; m == nil || len(m.Readings) != readings || m.Payload[len(m.Payload)-1] != '\n' {
			t.Errorf("%s: %+v", source, m)
		}
	}
}
