//go:build !nomodbus

package modbus

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// line is a serial line that this program alone has, beside the library that reads and writes it.
type line struct{ f *os.File }

// mostFiles is below what the serial library can wait for, which is a set of 1,024 descriptors. With one beyond it watches
// another file in its place, and the kernel writes beyond the set. The library opens the line soon after [openLine], and so
// gets a number near the one seen there: the difference is for what others open meanwhile.
const mostFiles = 960

// openLine fails with [ErrBusy] where another program has the line that locks it, too, as one of these does.
func openLine(device string) (*line, error) {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil { // the serial library would write to it, and to stderr
		f.Close()
		return nil, fmt.Errorf("it is no serial line: %w", err)
	}
	if f.Fd() >= mostFiles {
		f.Close()
		return nil, fmt.Errorf("the agent has more than %d files open: with so many no serial line can be read", mostFiles)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrBusy
		}
		return nil, err
	}
	return &line{f}, nil
}

// flush throws away what came and was not read: nobody has asked for it any more. The kernel's buffer is one for all who have
// the line open.
func (l *line) flush() error { return unix.IoctlSetInt(int(l.f.Fd()), unix.TCFLSH, unix.TCIFLUSH) }

func (l *line) close() { _ = l.f.Close() }
