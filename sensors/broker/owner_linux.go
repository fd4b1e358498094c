package broker

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// portOwner names the process that listens on an address, or another one of that port's, as far as /proc tells this user: "mosquitto (pid 812)".
func portOwner(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return ""
	}
	inodes := append(listening("/proc/net/tcp", uint16(n)), listening("/proc/net/tcp6", uint16(n))...)
	if len(inodes) == 0 {
		return ""
	}
	pid := socketOwner(inodes)
	if pid == "" {
		return "a process of another user"
	}
	name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
}

// listening returns the inodes of the sockets that listen on a port, from a table as proc(5) describes it.
func listening(table string, port uint16) (inodes []string) {
	text, err := os.ReadFile(table)
	if err != nil {
		return nil
	}
	const listen = "0A"
	suffix := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 9 && f[3] == listen && strings.HasSuffix(f[1], suffix) {
			inodes = append(inodes, "socket:["+f[9]+"]")
		}
	}
	return inodes
}

// socketOwner finds a process that has one of the sockets open.
func socketOwner(sockets []string) (pid string) {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && slices.Contains(sockets, target) {
			return strings.Split(fd, "/")[2]
		}
	}
	return ""
}
