package agent

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

// notify tells the service manager something, if one listens (sd_notify(3)). It is a datagram to a Unix socket; what
// becomes of it is not our business.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}) // "@" begins an abstract name
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}

// petWatchdog tells the service manager's watchdog that the agent is alive, for as long as it is: a program that hangs
// with messages waiting is started again, one that waits for room on its disk is not.
func (a *Agent) petWatchdog(ctx context.Context) {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return
	}
	tick := time.NewTicker(time.Duration(usec) * time.Microsecond / 3)
	defer tick.Stop()
	for {
		if err := a.alive(); err != nil {
			a.log.Error("the watchdog is left alone", "err", err)
		} else {
			notify("WATCHDOG=1")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
