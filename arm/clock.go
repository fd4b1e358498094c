package arm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgechain.example/lightchain"
)

// MaxClockError is the largest error bound with which a clock still counts as synchronised.
//
// The kernel raises its bound by 500 µs a second from the last answer of a time server, whatever the clock really
// does. systemd-timesyncd asks every 2048 s at most, so that one answer may be missed (2.05 s); without any, a clock
// stops counting as synchronised 83 minutes after the last. The kernel itself waits for 16 s, almost nine hours, and
// `timedatectl` says "synchronized" all that time: hence a bound of our own, and the bound reported beside the state.
const MaxClockError = 2500 * time.Millisecond

// Clock reads what the machine knows of the time. Its zero value reads this machine.
type Clock struct {
	Root string // what stands for "/" where files are read; empty for "/" itself
}

// ClockStatus is what is known of the wall clock's quality.
type ClockStatus struct {
	State    lightchain.ClockState `json:"state"`
	MaxError time.Duration         `json:"max_error"` // the wall clock is at most that wrong, says the kernel; at most 16 s, where it means "or more"; 0 if State is unknown
	EstError time.Duration         `json:"est_error"` // the time daemon's estimate, with less behind it; 0 if State is unknown
	Timesync bool                  `json:"timesync"`  // systemd-timesyncd has had an answer, or a saved one, since the boot; never taken back
	RTC      bool                  `json:"rtc"`       // there is a real-time clock; a Raspberry Pi 5 always has one, with or without a battery
}

// Status reads the state of the wall clock. What cannot be read (a seccomp filter without adjtimex, another operating
// system) is unknown, not an error: nothing but what an entry says of its time depends on it.
func (c Clock) Status() ClockStatus {
	t, err := readTimex()
	s := t.status(err == nil)
	_, err = os.Stat(c.path("run/systemd/timesync/synchronized"))
	s.Timesync = err == nil
	rtcs, _ := filepath.Glob(c.path("sys/class/rtc/rtc*"))
	s.RTC = len(rtcs) > 0
	return s
}

// timex is what adjtimex(2) says, as far as it matters here.
type timex struct {
	unsynchronised     bool // STA_UNSYNC
	maxError, estError time.Duration
}

// status decides what the header says of the clock.
//
// The kernel sets STA_UNSYNC at its start, when somebody sets the clock, and when its own bound of 16 s is reached. A
// time daemon may leave it set on purpose, so that the kernel keeps its hands off the real-time clock (timesyncd where
// that runs in local time, chrony without `rtcsync`): such a clock is called unsynchronised here although it may be
// right, since what a header claims is better too little than too much.
func (t timex) status(known bool) ClockStatus {
	if !known {
		return ClockStatus{State: lightchain.ClockUnknown}
	}
	s := ClockStatus{State: lightchain.ClockUnsynchronised, MaxError: t.maxError, EstError: t.estError}
	if !t.unsynchronised && t.maxError >= 0 && t.maxError <= MaxClockError {
		s.State = lightchain.ClockSynchronised
	}
	return s
}

// BootID returns the kernel's random name of this boot, 36 characters. It says that two moments lie in one boot; how
// many boots there were, the store counts.
func (c Clock) BootID() (string, error) {
	b, err := os.ReadFile(c.path("proc/sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	id := strings.TrimSpace(string(b))
	if len(id) != 36 || strings.Trim(id, "0123456789abcdef-") != "" {
		return "", fmt.Errorf("reading the boot id: %.60q is not one", id)
	}
	return id, nil
}

func (c Clock) path(name string) string { return under(c.Root, name) }

// under returns the path of a file that is named from the root of the file system.
func under(root, name string) string {
	if root == "" {
		root = string(filepath.Separator)
	}
	return filepath.Join(root, filepath.FromSlash(name))
}

// Instant is one moment on two clocks.
type Instant struct {
	Wall   time.Time     // may jump
	Uptime time.Duration // CLOCK_BOOTTIME: since the boot, suspended time included; never jumps
}

// Now reads both clocks at one moment. On systems without CLOCK_BOOTTIME the error is [errors.ErrUnsupported].
func (Clock) Now() (Instant, error) {
	// The scheduler may stop us between two readings for longer than any threshold. So the wall clock is read between
	// two readings of the other; the narrowest of a few such pairs counts.
	var best Instant
	narrowest := time.Duration(-1)
	for range 5 {
		before, err := uptime()
		if err != nil {
			return Instant{}, fmt.Errorf("reading CLOCK_BOOTTIME: %w", err)
		}
		wall := time.Now()
		after, err := uptime()
		if err != nil {
			return Instant{}, fmt.Errorf("reading CLOCK_BOOTTIME: %w", err)
		}
		if width := after - before; narrowest < 0 || width < narrowest {
			narrowest, best = width, Instant{wall, before + width/2}
		}
		if narrowest < 10*time.Microsecond {
			break
		}
	}
	return best, nil
}

// StepThreshold is a step of the wall clock worth an entry. Time daemons slew what is smaller (ntpd up to 128 ms,
// timesyncd 400 ms), and the reading itself is good to microseconds.
const StepThreshold = 100 * time.Millisecond

// Steps finds steps of the wall clock. The zero value is ready, with [StepThreshold]. It belongs to one goroutine.
type Steps struct {
	Threshold time.Duration // the smallest step reported; 0 means StepThreshold

	ahead   time.Duration // the wall clock's lead over the uptime when the last step was reported
	started bool
}

// Observe compares now with the moments observed before, all of one boot, and returns the step of the wall clock since
// then, positive forwards; 0 if there is none beyond the threshold. Small steps count together until they are one.
//
// Slewing does not show: the kernel steers both clocks at the same rate, and their distance changes only when
// somebody sets one (or at a leap second, which is a step too).
func (s *Steps) Observe(now Instant) time.Duration {
	threshold := s.Threshold
	if threshold == 0 {
		threshold = StepThreshold
	}
	// In nanoseconds since the epoch, past Go's own monotonic reading, which would hide the step.
	ahead := time.Duration(now.Wall.UnixNano()) - now.Uptime
	if !s.started {
		s.ahead, s.started = ahead, true
		return 0
	}
	step := ahead - s.ahead
	if step.Abs() < threshold {
		return 0
	}
	s.ahead = ahead
	return step
}
