package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"edgechain.example/agent/api"
)

// patience is for a machine with more to do.
const patience = time.Minute

// program is a process that runs beside the measurement, with its output kept for the case that it fails.
type program struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan struct{} // closed when it has ended
}

func startProgram(ctx context.Context, path string, args ...string) (*program, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return startCommand(cmd)
}

func startCommand(cmd *exec.Cmd) (*program, error) {
	p := &program{cmd: cmd, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	started := make(chan error)
	go func() {
		// The kernel sends the signal when the thread that started the process ends: this one stays as long as it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// await asks ready until it says yes.
func (p *program) await(ready func() bool) error {
	deadline := time.After(patience)
	for !ready() {
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended: %s", p.cmd.Path, &p.output)
		case <-deadline:
			p.stop()
			return fmt.Errorf("%s is not ready after %v: %s", p.cmd.Path, patience, &p.output)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// ended reports whether the process has.
func (p *program) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop ends the process in good order.
func (p *program) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func (p *program) pid() string { return strconv.Itoa(p.cmd.Process.Pid) }

// root returns the folder of the module that is measured.
func root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "edgechain.example").Output()
	return strings.TrimSpace(string(out)), err
}

// build builds a program as it is shipped.
func build(ctx context.Context, name, file string, env ...string) error {
	dir, err := root(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "./cmd/"+name)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return nil
}

// program builds a program once in a run.
func (b *bench) program(ctx context.Context, name string) (string, error) {
	file := filepath.Join(b.dir, name)
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	return file, build(ctx, name, file)
}

// gateway is a running agent with a chain of its own.
type gateway struct {
	*program
	dir    string
	socket string
	client *api.Client
	broker string // where its embedded broker listens, "" where it has none
	before uint64 // entries that it made itself when it began
}

const gatewayConfig = `
[gateway]
name = "bench"
data = %q

[api]
socket = %q

[log]
level = "warn"
`

const decoding = `
topics = ["plant/#"]
dialect = "json"
timestamp_path = "time"
unit_path = "unit"
device_path = "device"
`

// noBudget measures what the agent can do, and not what a card is spared; what that costs is a figure of its own.
const noBudget = `
[card]
bytes_per_day = "0B"
`

const brokerConfig = noBudget + `
[broker]
enabled = true
listen = "127.0.0.1:0"
allow_anonymous = true
max_clients = 64
[[broker.decode]]` + decoding

const mqttConfig = noBudget + `
[[mqtt]]
name = "line-1"
servers = ["tcp://%s"]
[[mqtt.subscribe]]
qos = %d` + decoding

// startGateway starts an agent with a new chain; sources is the rest of its configuration, flags are added to its command.
func (b *bench) startGateway(ctx context.Context, sources string, flags ...string) (*gateway, error) {
	dir, err := os.MkdirTemp(b.dir, "gateway-")
	if err != nil {
		return nil, err
	}
	return b.startGatewayIn(ctx, dir, sources, flags...)
}

// startGatewayIn starts an agent whose files lie below dir, on the chain that is there or a new one.
func (b *bench) startGatewayIn(ctx context.Context, dir, sources string, flags ...string) (*gateway, error) {
	path, err := b.program(ctx, "edgeagent")
	if err != nil {
		return nil, err
	}
	socket, err := socketPath()
	if err != nil {
		return nil, err
	}
	g := &gateway{dir: dir, socket: socket}
	file := filepath.Join(dir, "edgeagent.toml")
	if err := os.WriteFile(file, []byte(fmt.Sprintf(gatewayConfig, filepath.Join(dir, "data"), g.socket)+sources), 0o600); err != nil {
		return nil, err
	}
	if g.program, err = startProgram(ctx, path, append([]string{"run", "--init", "--config", file}, flags...)...); err != nil {
		return nil, err
	}
	return g, g.await(func() bool {
		if g.client == nil {
			if g.client, err = api.Dial(ctx, g.socket); err != nil {
				g.client = nil
				return false
			}
		}
		s, err := g.client.Status(ctx)
		if err != nil || s.Live == nil || len(s.Live.Sources) == 0 {
			return false
		}
		for _, source := range s.Live.Sources {
			if !source.Connected {
				return false
			}
			if source.Name == "broker" {
				g.broker = source.Detail
			}
		}
		g.before = s.Entries
		return s.Live.InFlight == 0
	})
}

// socketPath returns the path of a new socket. It is apart from all else: it may have 107 bytes at most.
func socketPath() (string, error) {
	f, err := os.CreateTemp("", "edgechain-bench-*.sock")
	if err != nil {
		return "", err
	}
	return f.Name(), errors.Join(f.Close(), os.Remove(f.Name()))
}

// entries returns how many entries are on disk since the gateway began to take some.
func (g *gateway) entries(ctx context.Context) (int, error) {
	s, err := g.client.Status(ctx)
	return int(s.Entries - g.before), err
}

func (g *gateway) close() error {
	g.stop()
	if !g.cmd.ProcessState.Success() {
		return fmt.Errorf("the agent ended with %v: %s", g.cmd.ProcessState, &g.output)
	}
	return os.RemoveAll(g.dir)
}

// mosquitto is a Mosquitto that drops nothing.
type mosquitto struct {
	*program
	address string
	dir     string
}

// errNoMosquitto means that Mosquitto is not installed.
var errNoMosquitto = errors.New("mosquitto is not installed: build/testenv/install.sh installs it")

// startMosquitto starts one that has so many messages on their way to each client at most; settings are further lines of
// its configuration.
func (b *bench) startMosquitto(ctx context.Context, inFlight int, settings ...string) (*mosquitto, error) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			return nil, errNoMosquitto
		}
	}
	for range 5 { // another program may take the port before Mosquitto does, which then ends
		m, err := b.startMosquittoOnce(ctx, path, inFlight, settings)
		if err == nil {
			return m, nil
		}
		if m == nil || !m.ended() {
			return nil, err
		}
	}
	return nil, errors.New("mosquitto ended five times, each on another port")
}

func (b *bench) startMosquittoOnce(ctx context.Context, path string, inFlight int, settings []string) (*mosquitto, error) {
	dir, err := os.MkdirTemp(b.dir, "mosquitto-")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &mosquitto{address: listener.Addr().String(), dir: dir}
	listener.Close()
	_, port, _ := strings.Cut(m.address, ":")
	file := filepath.Join(dir, "mosquitto.conf")
	config := "user root\nlog_dest stderr\nlog_type error\nallow_anonymous true\npersistence false\n" +
		"max_inflight_messages " + strconv.Itoa(inFlight) + "\nmax_queued_messages 10000000\n" +
		strings.Join(append(slices.Clone(settings), "listener "+port+" 127.0.0.1"), "\n") + "\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if m.program, err = startProgram(ctx, path, "-c", file); err != nil {
		return nil, err
	}
	return m, m.await(func() bool {
		nc, err := net.Dial("tcp", m.address)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
}

func (m *mosquitto) close() error {
	m.stop()
	return os.RemoveAll(m.dir)
}
