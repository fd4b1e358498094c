package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A MemoryLimit is room for a program that may take no more memory than a test allows: the kernel kills it, or gives it
// none, when it does.
type MemoryLimit struct {
	// Command begins the command line of a program that is to live within the limit.
	Command []string
	// Kind is what keeps the limit, for the test to tell.
	Kind string

	group string // folder of the control group; "" where there is none
}

// LimitMemory makes room for so many bytes, for one test: a control group below the test's own, of either version, or
// beside it. It holds what the program and all that it starts have in memory, the page cache of what they read and
// write included, and no swap besides.
//
// Where the test may make no group, the limit is RLIMIT_DATA: each process's private memory that can be written, touched
// or not. Go reserves its heap in pieces of 64 MB on 64-bit machines, which count whole, so that is a stricter limit
// than the other. RLIMIT_AS would say nothing: Go sets aside more than a gigabyte of addresses that it never touches.
func LimitMemory(t testing.TB, bytes int64) *MemoryLimit {
	t.Helper()
	for _, parent := range groupFolders() {
		group, err := os.MkdirTemp(parent, "edgechain-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(group); err != nil { // its processes have ended by now
				t.Errorf("removing the control group: %v", err)
			}
		})
		value := strconv.FormatInt(bytes, 10)
		for _, limit := range []string{"memory.max", "memory.limit_in_bytes"} {
			if !set(group, limit, value) {
				continue
			}
			// Without swap, as on a board; where the kernel does not count swap there is no such file.
			set(group, "memory.swap.max", "0")
			set(group, "memory.memsw.limit_in_bytes", value)
			enter := []string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(group, "cgroup.procs")}
			return &MemoryLimit{Command: enter, Kind: limit + " of a control group", group: group}
		}
	}
	limit := fmt.Sprintf(`ulimit -d %d && exec "$0" "$@"`, bytes>>10)
	return &MemoryLimit{Command: []string{"sh", "-c", limit}, Kind: "RLIMIT_DATA"}
}

// groupFolders returns the folders of control groups below which a group of the test's own may be limited, the most
// fitting first: the test's own, of version 1 and 2, and the one above it, since version 2 limits no group beside
// processes of its parent's.
func groupFolders() (folders []string) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	const root = "/sys/fs/cgroup"
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch controllers, group := fields[1], fields[2]; {
		case controllers == "memory":
			folders = append(folders, filepath.Join(root, "memory", group))
		case controllers == "" && fields[0] == "0":
			folders = append(folders, filepath.Join(root, group), filepath.Join(root, filepath.Dir(group)))
		}
	}
	return folders
}

// set writes one of a control group's files, and reports whether it is there and takes the value.
func set(group, file, value string) bool {
	f, err := os.OpenFile(filepath.Join(group, file), os.O_WRONLY, 0) // never made: it would mean nothing
	if err != nil {
		return false
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close()) == nil
}

// Kills returns how many processes the kernel has killed because the room was full. Where no control group keeps the
// limit it is none: the program then gets no memory, and ends itself.
func (m *MemoryLimit) Kills(t testing.TB) (n int) {
	t.Helper()
	for _, name := range []string{"memory.events", "memory.oom_control"} {
		text, err := os.ReadFile(filepath.Join(m.group, name))
		if m.group == "" || err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
				if n, err = strconv.Atoi(strings.TrimSpace(count)); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
		}
	}
	return n
}

// PeakResident returns the most memory that a running process has had resident at once, in bytes.
func PeakResident(t testing.TB, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("process %d does not tell its peak", pid)
	return 0
}
