package localhttp

import (
	"net"
	"syscall"
)

// peerUID asks the kernel who connected.
func peerUID(c *net.UnixConn) (uid uint32, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) {
		if credentials, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			uid, ok = credentials.Uid, true
		}
	})
	return uid, ok && err == nil
}
