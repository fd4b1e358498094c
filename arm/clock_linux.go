package arm

import (
	"time"

	"golang.org/x/sys/unix"
)

// readTimex asks the kernel without changing anything (modes is 0), which needs no privilege.
func readTimex() (timex, error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return timex{}, err
	}
	return timex{
		unsynchronised: t.Status&unix.STA_UNSYNC != 0,
		maxError:       time.Duration(t.Maxerror) * time.Microsecond,
		estError:       time.Duration(t.Esterror) * time.Microsecond,
	}, nil
}

func uptime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}
