package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where the figures are from; without it they say nothing.
type machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	Go         string  `json:"go"`
	Sync       float64 `json:"fsync_ms"` // median of one page and its fsync
	LoadBefore string  `json:"load_before"`
	LoadAfter  string  `json:"load_after"`
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, fsync of a page %.2f ms, load average before %s, after %s",
		m.CPU, m.Cores, m.Go, m.Sync, m.LoadBefore, m.LoadAfter)
}

// where looks at the machine and at the disk below dir. Memory is refused: syncing it costs nothing.
func where(dir string) (machine, error) {
	m := machine{CPU: "unknown CPU", Cores: runtime.NumCPU(), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, LoadBefore: loadAverage()}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && (uint32(fs.Type) == unix.TMPFS_MAGIC || uint32(fs.Type) == unix.RAMFS_MAGIC) {
		return m, fmt.Errorf("%s is in memory: name a folder on a disk with -dir", dir)
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(text), "model name\t: "); ok {
			m.CPU, _, _ = strings.Cut(after, "\n")
		}
	}
	sync, err := syncTime(dir)
	m.Sync = sync.Seconds() * 1000
	return m, err
}

func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var page [4096]byte
	var took []float64
	for range 50 {
		begin := time.Now()
		if _, err := f.Write(page[:]); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(begin)))
	}
	return time.Duration(median(took)), nil
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	load, _, _ := strings.Cut(string(text), " ")
	return load
}
