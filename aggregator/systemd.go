package aggregator

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

// tellManager tells the service manager something, if one listens (sd_notify(3)). It is a datagram to a Unix socket;
// what becomes of it is not our business.
func tellManager(state string) {
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

// petWatchdog tells the service manager's watchdog that the program runs. That a broker or a database is away is no
// ailment of the program: starting it again would help nobody.
func (a *Aggregator) petWatchdog(ctx context.Context) {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return
	}
	tick := time.NewTicker(time.Duration(usec) * time.Microsecond / 3)
	defer tick.Stop()
	for {
		tellManager("WATCHDOG=1")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
