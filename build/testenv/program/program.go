// Package program builds Edgechain's programs as they are shipped, and runs them beside a test: started, awaited,
// asked, stopped, killed.
//
// It knows how a program is built and what becomes of its process; what a program is configured to do is the
// business of the test that runs it. Only tests import it.
package program

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"edgechain.example/build/testenv"
)

// Patience is for a machine with more to do than the test, or an emulated one. What is awaited is noticed at once.
const Patience = testenv.Patience

// Builds are the programs that were built for the tests of one process. One value serves all of them, and Remove ends
// it.
type Builds struct {
	root  string // of the module, from the folder of the tests
	names []string

	mu     sync.Mutex
	folder string            // guarded by mu; "" before the first
	begun  map[string]*build // guarded by mu; by platform
}

// A build is of one platform: a test that needs another does not wait for it.
type build struct {
	once   sync.Once
	folder string
	err    error
}

// NewBuilds names the programs of cmd/ to build. Root is the path from the tests' folder to the module's.
func NewBuilds(root string, names ...string) *Builds { return &Builds{root: root, names: names} }

// Native builds the programs for this machine, or skips a test where only quick ones are wanted, and returns the
// folder that holds them.
func (b *Builds) Native(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts whole programs")
	}
	return b.For(t, "native")
}

// For builds the programs for the platform that env names, or for this machine, and returns the folder that holds
// them. The flags are those with which they are shipped and weighed, so that what is compiled here is not compiled
// again there.
func (b *Builds) For(t testing.TB, platform string, env ...string) string {
	t.Helper()
	p, err := b.of(platform)
	if err != nil {
		t.Fatal(err)
	}
	p.once.Do(func() { p.err = b.build(p.folder, env) })
	if p.err != nil {
		t.Fatalf("building for %s: %v", platform, p.err)
	}
	return p.folder
}

// of returns the build of a platform, which may have to be done.
func (b *Builds) of(platform string) (*build, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.folder == "" {
		folder, err := os.MkdirTemp("", "edgechain-programs-")
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(folder, 0o755); err != nil { // a test may run a program as another user
			return nil, err
		}
		b.folder, b.begun = folder, map[string]*build{}
	}
	p := b.begun[platform]
	if p == nil {
		p = &build{folder: filepath.Join(b.folder, platform)}
		b.begun[platform] = p
	}
	return p, nil
}

func (b *Builds) build(folder string, env []string) error {
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", folder + "/"}
	for _, name := range b.names {
		args = append(args, "./cmd/"+name)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = b.root
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}

// Remove deletes what was built.
func (b *Builds) Remove() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.folder != "" {
		os.RemoveAll(b.folder)
	}
}

// A Process is a program at work beside a test, and dies with it. Its methods belong to the test's goroutine.
type Process struct {
	t    testing.TB
	cmd  *exec.Cmd
	gone chan struct{}
}

// Start runs cmd, which writes what it says to the end of the file log.
func Start(t testing.TB, cmd *exec.Cmd, log string) *Process {
	t.Helper()
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	dieWithTest(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Process{t: t, cmd: cmd, gone: make(chan struct{})}
	go func() {
		defer close(p.gone)
		_ = cmd.Wait() // its state is read once gone is closed
	}()
	t.Cleanup(p.Kill)
	return p
}

// Gone is closed when the process has ended.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// State is what the process ended with, once it has.
func (p *Process) State() *os.ProcessState { return p.cmd.ProcessState }

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal. A process that has ended gets none.
func (p *Process) Signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// Await waits until something is so of a process that goes on. It asks less often the longer it waits: an answer costs the
// program more than the wait does.
func (p *Process) Await(what string, so func() bool) {
	p.t.Helper()
	const shortest, longest = 20 * time.Millisecond, 100 * time.Millisecond
	began, deadline := time.Now(), time.After(Patience)
	for !so() {
		select {
		case <-p.gone:
			p.t.Fatalf("waiting until %s: the program ended with %v", what, p.cmd.ProcessState)
		case <-deadline:
			p.t.Fatalf("after %v it is still not so that %s", Patience, what)
		case <-time.After(min(max(time.Since(began)/20, shortest), longest)):
		}
	}
}

// Ended waits for the end and returns the exit code, -1 after a signal.
func (p *Process) Ended() int {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(Patience):
		p.Signal(syscall.SIGQUIT) // for the stacks of its goroutines
		<-p.gone
		p.t.Fatal("the program does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stop ends the process in good order.
func (p *Process) Stop() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	if code := p.Ended(); code != 0 {
		p.t.Fatalf("after SIGTERM the program ended with %d", code)
	}
}

// Kill ends the process as a power cut would, as far as the program is concerned.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.gone
}

// Output runs a program to its end, which must come; code is what it exited with.
func Output(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := Run(cmd)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out.String(), errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// longest is how long a program that ends by itself may take: it may have much to do.
const longest = 4 * Patience

// Run is [exec.Cmd.Run] of a program that ends by itself. One that does not is an error, once it has written the stacks of
// its goroutines: a test that waits for ever keeps all others from being told.
func Run(cmd *exec.Cmd) error {
	dieWithTest(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	cmd.WaitDelay = time.Minute // for what a child of it still writes
	hangs := make(chan struct{})
	quit := time.AfterFunc(longest, func() {
		defer close(hangs)
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	})
	err := cmd.Wait()
	if !quit.Stop() {
		<-hangs
		return fmt.Errorf("it did not end within %v", longest)
	}
	return err
}

// Must runs a program to its end, which must be a good one, and returns what it printed on standard output.
func Must(t testing.TB, cmd *exec.Cmd) (stdout string) {
	t.Helper()
	stdout, stderr, code := Output(t, cmd)
	if code != 0 {
		t.Fatalf("%s exits with %d\n%s%s", strings.Join(cmd.Args, " "), code, stdout, stderr)
	}
	return stdout
}

// Environment is this process's, less the variables with the prefix, which set keys of a program's configuration.
func Environment(prefix string) (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, prefix) {
			env = append(env, v)
		}
	}
	return env
}

// ShowLog shows the end of a program's log if the test has failed by its end.
func ShowLog(t testing.TB, name, log string) {
	const most = 16 << 10
	t.Cleanup(func() {
		b, err := os.ReadFile(log)
		if err != nil || !t.Failed() {
			return // it was never started, or nobody wants to see it
		}
		t.Logf("the end of %s's log:\n%s", name, b[max(0, len(b)-most):])
	})
}
