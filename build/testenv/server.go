package testenv

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A server is one program that runs beside a test. Its output goes to a file and not through a pipe, so that a child it
// leaves behind can keep nobody waiting. One goroutine at a time may use it.
type server struct {
	t    testing.TB
	name string
	log  string
	end  syscall.Signal // what it gets when the test process dies, and at the end of the test
	exit chan error     // receives once, when the process has ended; nil when none runs
	cmd  *exec.Cmd
}

// newServer also sees to the test's end: what still runs is ended, and a failed test shows the log.
func newServer(t testing.TB, name, log string, end syscall.Signal) *server {
	s := &server{t: t, name: name, log: log, end: end}
	t.Cleanup(func() {
		s.stop(end)
		if t.Failed() {
			s.showLog()
		}
	})
	return s
}

// start runs cmd, and waits until ready says yes. It reports false, and the server is gone, if it ended before.
func (s *server) start(cmd *exec.Cmd, ready func() bool) bool {
	s.t.Helper()
	output, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatalf("starting %s: %v", s.name, err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	dieWithParent(cmd, s.end)
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("starting %s: %v", s.name, err)
	}
	s.cmd, s.exit = cmd, make(chan error, 1)
	go func(exit chan<- error) { exit <- cmd.Wait() }(s.exit)

	deadline := time.After(Patience)
	for !ready() {
		select {
		case <-s.exit:
			s.exit = nil
			return false
		case <-deadline:
			s.t.Fatalf("%s is not ready after %v", s.name, Patience)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return true
}

// stop asks with sig, and waits for the end. It asks again and again: Mosquitto opens its ports first and forgets a signal
// that comes before its loop begins.
func (s *server) stop(sig syscall.Signal) {
	s.t.Helper()
	again := time.NewTicker(5 * time.Second)
	defer again.Stop()
	for deadline := time.After(Patience); s.exit != nil; {
		s.cmd.Process.Signal(sig) // an error says that it has ended, which is awaited next
		select {
		case <-s.exit:
			s.exit = nil
		case <-again.C:
		case <-deadline:
			s.kill()
			s.t.Errorf("%s has not stopped %v after %v, and was killed", s.name, Patience, sig)
		}
	}
}

// kill ends the process as a power cut would, and returns when it is gone.
func (s *server) kill() {
	if s.exit == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.exit
	s.exit = nil
}

func (s *server) showLog() {
	const most = 16 << 10
	text, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Logf("the log of %s: %v", s.name, err)
		return
	}
	if len(text) > most {
		text = text[len(text)-most:]
	}
	s.t.Logf("the end of %s's log:\n%s", s.name, text)
}
