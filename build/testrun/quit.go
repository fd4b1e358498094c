package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// quit asks a process, and all that descend from it, for their end. A Go program prints the stacks of its goroutines
// first. The go command is asked before the tests that it runs: else it would begin the next.
func quit(pid int) error {
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // elsewhere than on Linux nothing is found, and only the one is asked
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // a program's name may hold anything
		child, err1 := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if len(fields) < 2 || err1 != nil {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	var ask func(pid int) error
	ask = func(pid int) error {
		process, err := os.FindProcess(pid)
		if err == nil {
			err = process.Signal(syscall.SIGQUIT)
		}
		for _, child := range children[pid] {
			_ = ask(child) // it may have ended meanwhile
		}
		return err
	}
	return ask(pid)
}
