// Factory is `make demo-factory`: a press that speaks Modbus TCP, an oven behind a server of OPC UA and an edge node of Sparkplug B,
// each a real counterpart in this process, beside the gateway as it is shipped, which records them; then it proves the newest reading
// of each, and edgeverify checks the proofs.
//
//	factory [-bin FOLDER] [-for DURATION]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	bin := flag.String("bin", "../../bin", "the `FOLDER` with edgeagent and edgeverify")
	length := flag.Duration("for", 0, "how `LONG` to record (default until Ctrl-C)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *length, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "factory:", err)
		os.Exit(1)
	}
}

// reading is one that is proved.
type reading struct{ from, device, name string }

var readings = []reading{
	{"a register, asked for over Modbus TCP", "press-07", "temperature"},
	{"a node that an OPC UA server notified", "oven-02", "temperature"},
	{"a metric of a Sparkplug B edge node", "plant/mixer-3", "speed"},
}

// run starts the machines and the gateway, waits until all readings are recorded and the time is over, and proves them.
func run(ctx context.Context, bin string, length time.Duration, w io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "factory")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	press, err := newPress(ports[0])
	if err != nil {
		return fmt.Errorf("the press: %w", err)
	}
	defer press.Stop()
	oven, err := newOven(ctx, ports[1])
	if err != nil {
		return fmt.Errorf("the oven: %w", err)
	}
	defer oven.Close()
	g, err := startGateway(ctx, bin, dir, ports)
	if err != nil {
		return err
	}
	defer g.stop()
	mixer, err := newMixer(ctx, fmt.Sprintf("tcp://127.0.0.1:%d", ports[2]))
	if err != nil {
		return fmt.Errorf("the mixer: %w", err)
	}
	defer mixer.close()

	fmt.Fprintf(w, "A press (Modbus TCP, port %d), an oven (OPC UA, port %d) and a mixer (Sparkplug B) are recorded in %s\n", ports[0], ports[1], dir)
	begun := time.Now()
	for _, r := range readings {
		if err := g.await(ctx, r); err != nil {
			return err
		}
	}
	if left := length - time.Since(begun); length == 0 {
		fmt.Fprintln(w, "Ctrl-C ends it, and proves the newest reading of each.")
		<-ctx.Done()
	} else if left > 0 {
		select {
		case <-time.After(left):
		case <-ctx.Done():
		}
	}
	if err := g.stop(); err != nil { // which seals the last block
		return err
	}
	for _, r := range readings {
		if err := g.prove(r, w); err != nil {
			return err
		}
	}
	return nil
}

// freePorts returns ports of loopback that nobody listens on now.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

const configuration = `
[gateway]
name = "factory"
data = %q
[api]
socket = %q
[store]
allow_volatile = true
[block]
interval = "5s"

[[modbus]]
name = "line-1"
controller = "tcp://127.0.0.1:%d"
[[modbus.request]]
name = "press"
slave_id = 1
register = "holding"
interval = "1s"
device = "press-07"
fields = [
  { address = 100, name = "temperature", type = "INT16", scale = 0.1, unit = "°C" },
  { address = 101, name = "cycles", type = "UINT16" },
]

[[opcua]]
name = "ovens"
endpoint = "opc.tcp://127.0.0.1:%d"
security_policy = "None"
security_mode = "None"
[[opcua.subscribe]]
name = "oven"
interval = "500ms"
device = "oven-02"
nodes = [{ id = "ns=1;s=temperature", name = "temperature", unit = "°C" }]

[broker]
enabled = true
listen = "127.0.0.1:%d"
allow_anonymous = true
`

// gateway is the agent, as it is shipped, in a folder of its own.
type gateway struct {
	bin, dir, config string
	agent            *exec.Cmd
	said             bytes.Buffer
	ended            chan error
	stopped          bool
}

func startGateway(ctx context.Context, bin, dir string, ports []int) (*gateway, error) {
	g := &gateway{bin: bin, dir: dir, config: filepath.Join(dir, "edgeagent.toml"), ended: make(chan error, 1)}
	text := fmt.Sprintf(configuration, filepath.Join(dir, "data"), filepath.Join(dir, "api"), ports[0], ports[1], ports[2])
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	g.agent = exec.Command(filepath.Join(bin, "edgeagent"), "run", "--init", "--config", g.config)
	g.agent.Stdout, g.agent.Stderr = &g.said, &g.said
	g.agent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which still wants proofs
	if err := g.agent.Start(); err != nil {
		return nil, fmt.Errorf("%w: `make build` makes the programs", err)
	}
	go func() { g.ended <- g.agent.Wait() }()
	return g, g.until(ctx, "the gateway's broker", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[2]))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// until waits for something, as long as the gateway runs.
func (g *gateway) until(ctx context.Context, what string, is func() bool) error {
	for !is() {
		select {
		case err := <-g.ended:
			g.ended <- err
			return fmt.Errorf("the gateway ended: %v\n%s", err, g.said.Bytes())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// await waits until a reading was recorded.
func (g *gateway) await(ctx context.Context, r reading) error {
	return g.until(ctx, r.device+"'s "+r.name, func() bool {
		var heard struct {
			Devices []struct {
				Device   string
				Readings []struct{ Name string }
			}
		}
		out, err := g.command("edgeagent", "devices", "--output", "json")
		if err != nil || json.Unmarshal(out, &heard) != nil {
			return false
		}
		for _, d := range heard.Devices {
			for _, at := range d.Readings {
				if d.Device == r.device && at.Name == r.name {
					return true
				}
			}
		}
		return false
	})
}

// command runs a program, and returns what it prints.
func (g *gateway) command(program string, args ...string) ([]byte, error) {
	if program == "edgeagent" {
		args = append(args, "--config", g.config)
	}
	out, err := exec.Command(filepath.Join(g.bin, program), args...).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = fmt.Errorf("%s %v: %w\n%s%s", program, args, err, out, exit.Stderr)
	}
	return out, err
}

// stop ends the gateway in order. It may be called again.
func (g *gateway) stop() error {
	if g.stopped {
		return nil
	}
	g.stopped = true
	if err := g.agent.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := <-g.ended; err != nil {
		return fmt.Errorf("the gateway: %w\n%s", err, g.said.Bytes())
	}
	return nil
}

// prove writes the proof of the newest reading, and shows what edgeverify says of it.
func (g *gateway) prove(r reading, w io.Writer) error {
	file := filepath.Join(g.dir, r.name+filepath.Base(r.device)+".edgeproof")
	made, err := g.command("edgeagent", "prove", "--last", "--device", r.device, "--name", r.name, "--file", file, "--output", "json")
	if err != nil {
		return err
	}
	var proof struct{ Chain string }
	if err := json.Unmarshal(made, &proof); err != nil {
		return err
	}
	says, err := g.command("edgeverify", "--chain", proof.Chain, file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\n== %s, %s: %s\n%s", r.device, r.name, r.from, says)
	return err
}
