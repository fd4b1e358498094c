package program

import (
	"os/exec"
	"syscall"
)

// dieWithTest has the kernel end the process when the test process ends without having stopped it.
func dieWithTest(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
