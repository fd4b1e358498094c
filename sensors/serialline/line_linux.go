package serialline

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Line is a serial line that this program alone has.
type Line struct{ f *os.File }

// Open opens the device file of a line. It fails with [ErrBusy] where another program has the line that locks it, too, as one of
// these does.
func Open(device string) (*Line, error) {
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil { // a file, of which nothing but its end would be read
		f.Close()
		return nil, fmt.Errorf("it is no serial line: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrBusy
		}
		return nil, err
	}
	return &Line{f}, nil
}

// speeds are the kernel's names of the rates.
var speeds = map[int]uint32{300: unix.B300, 600: unix.B600, 1200: unix.B1200, 1800: unix.B1800, 2400: unix.B2400, 4800: unix.B4800, 9600: unix.B9600,
	19200: unix.B19200, 38400: unix.B38400, 57600: unix.B57600, 115200: unix.B115200, 230400: unix.B230400, 460800: unix.B460800, 500000: unix.B500000,
	576000: unix.B576000, 921600: unix.B921600, 1000000: unix.B1000000, 1152000: unix.B1152000, 1500000: unix.B1500000, 2000000: unix.B2000000,
	2500000: unix.B2500000, 3000000: unix.B3000000, 3500000: unix.B3500000, 4000000: unix.B4000000}

// Set has the line carry characters as they come, in a form that was checked.
func (l *Line) Set(m Mode) error {
	speed, known := speeds[m.BaudRate]
	if !known {
		return fmt.Errorf("no serial line has %d baud", m.BaudRate)
	}
	t := unix.Termios{Cflag: unix.CREAD | unix.CLOCAL | speed, Ispeed: speed, Ospeed: speed}
	if t.Cflag |= unix.CS8; m.DataBits == 7 {
		t.Cflag = t.Cflag&^unix.CSIZE | unix.CS7
	}
	if m.StopBits == 2 {
		t.Cflag |= unix.CSTOPB
	}
	if m.Parity != "N" {
		t.Cflag |= unix.PARENB
		t.Iflag |= unix.INPCK // a character with a wrong parity is a zero byte
	}
	if m.Parity == "O" {
		t.Cflag |= unix.PARODD
	}
	t.Cc[unix.VMIN] = 1 // else a line on which nothing comes would read as one that has ended
	return unix.IoctlSetTermios(int(l.f.Fd()), unix.TCSETS, &t)
}

// Read waits for what comes, until the deadline is over ([os.ErrDeadlineExceeded]) or the line has gone ([io.EOF]).
func (l *Line) Read(b []byte) (int, error) {
	n, err := l.f.Read(b)
	if errors.Is(err, unix.EIO) { // what it stood in was pulled out
		err = io.EOF
	}
	return n, err
}

// SetReadDeadline ends a Read that is under way, or begins, after t.
func (l *Line) SetReadDeadline(t time.Time) error { return l.f.SetReadDeadline(t) }

// Number returns that of the line's descriptor.
func (l *Line) Number() uintptr { return l.f.Fd() }

// Flush throws away what came and was not read. The kernel's buffer is one for all who have the line open.
func (l *Line) Flush() error { return unix.IoctlSetInt(int(l.f.Fd()), unix.TCFLSH, unix.TCIFLUSH) }

// Close lets go of the line.
func (l *Line) Close() { _ = l.f.Close() }
