package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Line is a serial line whose both ends are on this machine.
type Line struct {
	One, Other string // device files
	program    string
	s          *server
}

// NewLine returns a line that is plugged in.
func NewLine(t testing.TB) *Line {
	t.Helper()
	folder := t.TempDir()
	l := &Line{One: filepath.Join(folder, "one"), Other: filepath.Join(folder, "other"), program: Program(t, "socat"),
		s: newServer(t, "socat", filepath.Join(folder, "log"), syscall.SIGKILL)}
	l.Plug()
	return l
}

// Plug makes the device files, as when an adapter is plugged in.
func (l *Line) Plug() {
	l.s.t.Helper()
	end := func(link string) string { return fmt.Sprintf("PTY,link=%s,raw,echo=0", link) }
	there := func() bool {
		_, err1 := os.Stat(l.One)
		_, err2 := os.Stat(l.Other)
		return err1 == nil && err2 == nil
	}
	if !l.s.start(exec.Command(l.program, end(l.One), end(l.Other)), there) {
		l.s.showLog()
		l.s.t.Fatal("socat does not start")
	}
}

// Unplug takes the device files away, and ends what is open of them.
func (l *Line) Unplug() {
	l.s.kill()
	_, _ = os.Remove(l.One), os.Remove(l.Other) // socat had no time to
}

// Say writes to the other end.
func (l *Line) Say(text string) {
	l.s.t.Helper()
	f, err := os.OpenFile(l.Other, os.O_WRONLY|syscall.O_NOCTTY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		l.s.t.Fatal(err)
	}
}

// SerialLine returns the device files of both ends of a line.
func SerialLine(t testing.TB) (one, other string) {
	t.Helper()
	l := NewLine(t)
	return l.One, l.Other
}
