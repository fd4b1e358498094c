package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"edgechain.example/arm"
)

// patience is how long anything is awaited that is sure to come on a machine with more to do. What comes is noticed at once.
const patience = 5 * time.Minute

// prepare builds the programs under test as they are shipped: for this machine, where no folder holds them, and for a board,
// where one is to be tried.
func (t *torture) prepare(ctx context.Context, programs, target string) (err error) {
	if t.native = programs; programs == "" {
		t.native = filepath.Join(t.dir, "programs")
		if err := build(ctx, t.native, nil); err != nil {
			return err
		}
	}
	if t.programs = t.native; target == "" {
		return nil
	}
	for _, board := range arm.Targets() {
		if board.Name == target {
			t.programs, t.emulator = filepath.Join(t.dir, target), board.Emulator
			return build(ctx, t.programs, board.Env())
		}
	}
	return fmt.Errorf("-target %s: no board is called so", target)
}

func build(ctx context.Context, to string, env []string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "edgechain.example").Output()
	if err != nil {
		return fmt.Errorf("where the module is: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", to+"/",
		"./cmd/edgeagent", "./cmd/edgeaggregator", "./cmd/edgeverify")
	build.Dir = strings.TrimSpace(string(root))
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building: %w\n%s", err, output)
	}
	return nil
}

// command prepares a program under test, free of what the environment would set in its configuration.
func (t *torture) command(name string, args ...string) *exec.Cmd {
	words := append([]string{t.program(name)}, args...)
	if !t.prepares {
		words = slices.Concat(t.emulator, words)
	}
	cmd := exec.Command(words[0], words[1:]...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "EDGEA") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

// asUser has a command run as another user than the harness, if user is not 0.
func (t *torture) asUser(cmd *exec.Cmd, user uint32) *exec.Cmd {
	if user != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	}
	return cmd
}

// wrapped has the program in words run a command.
func wrapped(words []string, cmd *exec.Cmd) *exec.Cmd {
	if len(words) == 0 {
		return cmd
	}
	w := exec.Command(words[0], slices.Concat(words[1:], cmd.Args)...)
	w.Env, w.SysProcAttr = cmd.Env, cmd.SysProcAttr
	return w
}

// A process is a program that runs beside the harness, and dies with it.
type process struct {
	cmd  *exec.Cmd
	log  string        // file
	from int64         // where in the log this run begins
	done chan struct{} // closed when it has ended
}

// start runs cmd, which writes what it says to the end of the file log.
func start(cmd *exec.Cmd, log string) (*process, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	info, err := output.Stat()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = output, output
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true // so that a program that runs another one goes with it
	p := &process{cmd: cmd, log: log, from: info.Size(), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the signal when the thread that started the process ends: this one stays as long as it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process as a power cut would, as far as the program is concerned.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// stop ends the process in good order.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			return fmt.Errorf("after SIGTERM it ended with %d: %s", code, p.last())
		}
		return nil
	case <-time.After(patience):
		p.kill()
		return errors.New("it does not end after SIGTERM")
	}
}

// said returns what the process has written in this run.
func (p *process) said() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	return string(b[min(p.from, int64(len(b))):])
}

// last returns the last line of the log, cut short.
func (p *process) last() string {
	text := strings.TrimSpace(p.said())
	line := text[strings.LastIndexByte(text, '\n')+1:]
	return line[:min(len(line), 300)]
}

// output runs a command to its end; code is what it exited with, -1 if it did not run or was killed.
func output(ctx context.Context, cmd *exec.Cmd) (stdout, stderr string, code int) {
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return "", err.Error(), -1
	}
	ended := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	hung := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	_ = cmd.Wait()
	ended()
	if !hung.Stop() {
		errs.WriteString("\n(it did not end, and was killed)")
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// await asks until something is so; ended, which may be nil, is a process without which it never will be.
func await(ctx context.Context, what string, p *process, so func() bool) error {
	ended := make(<-chan struct{})
	if p != nil {
		ended = p.done
	}
	deadline := time.After(patience)
	for !so() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return fmt.Errorf("waiting until %s: the program ended: %s", what, p.last())
		case <-deadline:
			return fmt.Errorf("after %v it is still not so that %s", patience, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// freePort returns a TCP port of 127.0.0.1, below those that Linux gives to clients: one of theirs could be taken while a
// program that is tortured is down. For another trial's, of this harness or of one beside it, the same holds: what is
// published would be acknowledged by another gateway, and be missing from this one. So the UDP port of the same number is held
// as long as the harness runs.
func freePort() (int, error) {
	for range 1000 {
		port := 10000 + rand.IntN(22000)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		held, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			held.Close()
			continue
		}
		heldPorts.Store(port, held) // else the garbage collector would give it back
		return port, listener.Close()
	}
	return 0, errors.New("no free port in 1000 attempts")
}

// heldPorts are the UDP sockets behind the ports given out, by port.
var heldPorts sync.Map

// freedPort gives a port back.
func freedPort(port int) {
	if held, ok := heldPorts.LoadAndDelete(port); ok {
		held.(net.PacketConn).Close()
	}
}
