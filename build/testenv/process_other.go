//go:build !linux

package testenv

import (
	"os/exec"
	"syscall"
)

// Elsewhere a test process that is killed leaves its servers running.
func dieWithParent(*exec.Cmd, syscall.Signal) {}

// Elsewhere servers run as the user who runs the tests.
func runAs(*exec.Cmd, uint32, uint32) {}
