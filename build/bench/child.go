package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What is measured runs in a process of its own, which is this program again with childVariable naming what it is to
// do. It reads one JSON value, its task, and writes its result.
const (
	childVariable   = "EDGECHAIN_BENCH"
	profileVariable = "EDGECHAIN_BENCH_PROFILE"
)

// task is what a child does: in is read from its parent, whatever it encodes to out is read there.
type task func(in *json.Decoder, out *json.Encoder) error

func tasks() map[string]task {
	return map[string]task{
		"staging":    once(stage),
		"build":      once(buildHistory),
		"verify":     once(verifyHistory),
		"prove":      once(proveHistory),
		"hash":       once(hashEntries),
		"reading":    once(commitReadings),
		"headers":    once(checkHeaders),
		"blocks":     once(sealBlocks),
		"node":       once(takeIn),
		"groups":     appendGroups,
		"mochi":      serveMochi,
		"subscriber": subscribe,
	}
}

// once makes a task of a function from one value to another.
func once[In, Out any](f func(In) (Out, error)) task {
	return func(in *json.Decoder, out *json.Encoder) error {
		var v In
		if err := in.Decode(&v); err != nil {
			return err
		}
		result, err := f(v)
		if err != nil {
			return err
		}
		return out.Encode(result)
	}
}

func beChild(name string) (exit int) {
	t, ok := tasks()[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "bench: %s is no task\n", name)
		return 2
	}
	if dir := os.Getenv(profileVariable); dir != "" {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.prof", name, os.Getpid())))
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: profile:", err)
			return 1
		}
		defer pprof.StopCPUProfile()
	}
	if err := t(json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", name, err)
		return 1
	}
	return 0
}

// child is a running process and the way to talk with it.
type child struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *json.Decoder
	stderr bytes.Buffer
}

// startChild starts a task of this program. env goes over the environment.
func (b *bench) startChild(ctx context.Context, name string, in any, env ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self)}
	c.cmd.Env = append(append(os.Environ(), childVariable+"="+name), env...)
	if b.profile != "" {
		c.cmd.Env = append(c.cmd.Env, profileVariable+"="+b.profile)
	}
	c.cmd.Stderr = &c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = json.NewDecoder(bufio.NewReader(out))
	// The kernel sends the signal when the thread that started the child ends: this one must not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	return c, c.tell(in)
}

func (c *child) tell(v any) error { return json.NewEncoder(c.in).Encode(v) }

func (c *child) hear(v any) error {
	if err := c.out.Decode(v); err != nil {
		c.in.Close()
		return errors.Join(err, c.cmd.Wait(), errors.New(strings.TrimSpace(c.stderr.String())))
	}
	return nil
}

// end closes the child's input, which it takes as its end, and waits for it.
func (c *child) end() error {
	c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(c.stderr.String()))
	}
	return nil
}

// measure runs a task to its end.
func (b *bench) measure(ctx context.Context, name string, in, out any, env ...string) error {
	c, err := b.startChild(ctx, name, in, env...)
	if err != nil {
		return err
	}
	if err := c.hear(out); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return c.end()
}

// cost is what a stretch of a process took.
type cost struct {
	Wall    time.Duration
	CPU     time.Duration // user and system, all threads
	Written uint64        // bytes of pages that it made the kernel write
	Base    uint64        // bytes resident at the beginning
	Peak    uint64        // bytes resident at most
}

// meter measures the process that it runs in.
type meter struct {
	begin   time.Time
	cpu     time.Duration
	written uint64
	base    uint64
}

// newMeter begins. The peak of memory is counted from here on: what the workload took before is in it, garbage not.
func newMeter() meter {
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak becomes what is resident now
	return meter{base: memory("self", "VmRSS"), written: bytesWritten("self"), cpu: cpuTime("self"), begin: time.Now()}
}

// cost may be asked for several times.
func (m meter) cost() cost {
	return cost{
		Wall: time.Since(m.begin), CPU: cpuTime("self") - m.cpu, Written: bytesWritten("self") - m.written,
		Base: m.base, Peak: memory("self", "VmHWM"),
	}
}

// memory returns a line of a process's status, in bytes; 0 where it cannot be read. The maximum that the system reports
// at the end of a process would not do: it begins with that of its parent.
func memory(process, line string) uint64 {
	text, _ := os.ReadFile("/proc/" + process + "/status")
	_, after, _ := strings.Cut(string(text), "\n"+line+":")
	after, _, _ = strings.Cut(after, " kB")
	n, _ := strconv.ParseUint(strings.TrimSpace(after), 10, 64)
	return n << 10
}

// bytesWritten returns how many bytes of pages a process has made the kernel write so far.
func bytesWritten(process string) uint64 {
	text, _ := os.ReadFile("/proc/" + process + "/io")
	_, after, _ := strings.Cut(string(text), "\nwrite_bytes: ")
	after, _, _ = strings.Cut(after, "\n")
	n, _ := strconv.ParseUint(after, 10, 64)
	return n
}

// cpuTime returns the CPU time of a process so far, counted in hundredths of a second for another process.
func cpuTime(process string) time.Duration {
	if process == "self" {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err == nil {
			return time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	text, _ := os.ReadFile("/proc/" + process + "/stat")
	at := bytes.LastIndexByte(text, ')') // a program's name may hold anything
	fields := strings.Fields(string(text[at+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseUint(fields[11], 10, 64)
	system, _ := strconv.ParseUint(fields[12], 10, 64)
	return time.Duration(user+system) * (time.Second / 100)
}
