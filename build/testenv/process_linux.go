package testenv

import (
	"os/exec"
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
