package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// dieWithParent has the kernel send sig to the process when the test process ends without having stopped it: a panic in
// another goroutine, a timeout, SIGKILL.
func dieWithParent(cmd *exec.Cmd, sig syscall.Signal) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = sig
}

// runAs has the process run as another user; only root may ask for that.
func runAs(cmd *exec.Cmd, uid, gid uint32) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
}

// reserve takes a port for the caller, unless another test has it, by a lock on one byte of a file that all tests share.
// The kernel takes the lock back from a process that ends.
func reserve(port int) (release func(), ok bool) {
	const tryLock = 37 // F_OFD_SETLK: the lock is the open file's, not the process's
	shared, err := os.OpenFile(filepath.Join(os.TempDir(), "edgechain-test-ports"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return func() {}, true // another user's, whose tests take their chance
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: int64(port), Len: 1}
	if err := syscall.FcntlFlock(shared.Fd(), tryLock, &lock); err != nil {
		shared.Close()
		return nil, false
	}
	return func() { shared.Close() }, true
}
