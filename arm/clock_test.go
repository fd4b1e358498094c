package arm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"edgechain.example/lightchain"
)

func TestClockIsSynchronisedOnlyWithinTheBound(t *testing.T) {
	for _, c := range []struct {
		name  string
		timex timex
		known bool
		want  lightchain.ClockState
	}{
		{"the kernel does not say", timex{}, false, lightchain.ClockUnknown},
		{"after boot, without network", timex{true, 16 * time.Second, 16 * time.Second}, true, lightchain.ClockUnsynchronised},
		{"just answered", timex{false, 0, 0}, true, lightchain.ClockSynchronised},
		{"one answer of timesyncd missed", timex{false, 2 * 2048 * 500 * time.Microsecond, 0}, true, lightchain.ClockSynchronised},
		{"at the bound", timex{false, MaxClockError, 0}, true, lightchain.ClockSynchronised},
		{"network gone for hours, timedatectl still content", timex{false, 9 * time.Second, 0}, true, lightchain.ClockUnsynchronised},
		{"flagged, however small the bound", timex{true, time.Millisecond, 0}, true, lightchain.ClockUnsynchronised},
		{"nonsense", timex{false, -1, 0}, true, lightchain.ClockUnsynchronised},
	} {
		s := c.timex.status(c.known)
		if s.State != c.want {
			t.Errorf("%s: %v, want %v", c.name, s.State, c.want)
		}
		if c.known && s.MaxError != c.timex.maxError {
			t.Errorf("%s: the bound of %v is reported as %v", c.name, c.timex.maxError, s.MaxError)
		}
	}
}

func TestClockFilesAreReadUnderTheRoot(t *testing.T) {
	root := t.TempDir()
	c := Clock{Root: root}
	if s := c.Status(); s.RTC || s.Timesync {
		t.Errorf("in an empty tree: %+v", s)
	}
	if _, err := c.BootID(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("boot id of an empty tree: %v", err)
	}
	const id = "6f5d2ad9-3c1e-4f0c-9c5f-0f3b1f1e77aa"
	for name, content := range map[string]string{
		"run/systemd/timesync/synchronized": "",
		"sys/class/rtc/rtc0/name":           "rpi-rtc",
		"proc/sys/kernel/random/boot_id":    id + "\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.Status(); !s.RTC || !s.Timesync {
		t.Errorf("%+v", s)
	}
	if got, err := c.BootID(); err != nil || got != id {
		t.Errorf("boot id %q, %v", got, err)
	}
	if err := os.WriteFile(c.path("proc/sys/kernel/random/boot_id"), []byte("no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := c.BootID(); err == nil {
		t.Errorf("boot id %q", got)
	}
}

func TestStepIsToldFromSlewing(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var s Steps
	at := func(wall, uptime time.Duration) time.Duration {
		return s.Observe(Instant{start.Add(wall), time.Hour + uptime})
	}
	for _, c := range []struct {
		name         string
		wall, uptime time.Duration
		want         time.Duration
	}{
		{"the first moment", 0, 0, 0},
		{"an hour later", time.Hour, time.Hour, 0},
		{"read 3 ms apart", 2*time.Hour + 3*time.Millisecond, 2 * time.Hour, 0},
		{"back by twenty years", -20 * 365 * 24 * time.Hour, 3 * time.Hour, -20*365*24*time.Hour - 3*time.Hour},
		{"and going on from there", -20*365*24*time.Hour + time.Hour, 4 * time.Hour, 0},
		{"forwards again", 5 * time.Hour, 5 * time.Hour, 20*365*24*time.Hour + 3*time.Hour},
		{"a nudge of 60 ms", 6*time.Hour + 60*time.Millisecond, 6 * time.Hour, 0},
		{"a second nudge", 7*time.Hour + 120*time.Millisecond, 7 * time.Hour, 120 * time.Millisecond},
	} {
		if got := at(c.wall, c.uptime); got != c.want {
			t.Errorf("%s: a step of %v, want %v", c.name, got, c.want)
		}
	}
}

func TestThisMachineTellsItsClocks(t *testing.T) {
	var c Clock
	first, err := c.Now()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("no CLOCK_BOOTTIME on this system")
	}
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Now()
	if err != nil {
		t.Fatal(err)
	}
	if first.Uptime <= 0 || second.Uptime < first.Uptime {
		t.Errorf("uptime %v, then %v", first.Uptime, second.Uptime)
	}
	if s := c.Status(); s.State > lightchain.ClockSynchronised || s.MaxError < 0 {
		t.Errorf("%+v", s)
	} else {
		t.Logf("%+v", s)
	}
	if _, err := os.Stat("/proc/sys/kernel/random/boot_id"); err == nil {
		if _, err := c.BootID(); err != nil {
			t.Error(err)
		}
	}
}
