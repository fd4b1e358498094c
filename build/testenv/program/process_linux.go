package program

import (
	"os/exec"
	"syscall"
)

// dieWithTest has the kernel end the process when the test process ends without having stopped it.
func dieWithTest(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
