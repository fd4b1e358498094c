package arm

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"testing"
)

func TestTheServiceManagerHearsThatTheProgramIsAliveAndNotWhenItIsNot(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no datagrams over Unix sockets there")
	}
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "3000")
	heard := func() string {
		b := make([]byte, 64)
		n, err := manager.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	Notify("READY=1")
	if got := heard(); got != "READY=1" {
		t.Errorf("%q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan bool)
	ended := make(chan struct{})
	go func() { defer close(ended); PetWatchdog(ctx, func() bool { return <-asked }) }()
	asked <- false
	asked <- true
	if got := heard(); got != "WATCHDOG=1" {
		t.Errorf("%q", got)
	}
	asked <- false // had the first one been told, this would be the second datagram to read
	cancel()
	close(asked)
	<-ended
	Notify("END")
	if got := heard(); got != "END" {
		t.Errorf("%q came for a program that is not alive", got)
	}
}
