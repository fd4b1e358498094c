package arm

import (
	"context"
	"net"
	"os"
	"strconv"
	"time"
)

// Notify tells the service manager something, if one listens (sd_notify(3)): "READY=1", say. It is a datagram to a
// Unix socket; what becomes of it is not the program's business.
func Notify(state string) {
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

// PetWatchdog tells the service manager's watchdog that the program is alive, three times in each of its periods, for
// as long as alive says so, until ctx ends. It returns at once where there is no watchdog.
func PetWatchdog(ctx context.Context, alive func() bool) {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return
	}
	tick := time.NewTicker(time.Duration(usec) * time.Microsecond / 3)
	defer tick.Stop()
	for {
		if alive() {
			Notify("WATCHDOG=1")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
