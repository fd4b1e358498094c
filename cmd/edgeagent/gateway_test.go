package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv"
	"edgechain.example/build/testenv/program"
)

// patience is how long anything is awaited.
const patience = program.Patience

// A gateway is an edgeagent of the test's own: a data folder, a configuration, and the program that runs on them. Its
// methods belong to the test's goroutine, unless they say otherwise.
type gateway struct {
	t        testing.TB
	programs string   // folder of edgeagent and edgeverify
	emulator []string // in front of each of them, where they are another machine's
	dir      string
	config   string // file
	port     int    // of the embedded broker, where it is on

	process *program.Process // nil when the agent does not run
	http    *http.Client
}

// newGateway writes a configuration with the embedded broker open on loopback, followed by extra, and begins a chain.
func newGateway(t testing.TB, extra string) *gateway {
	t.Helper()
	g := prepareGateway(t, t.TempDir(), extra)
	g.must("init")
	return g
}

func prepareGateway(t testing.TB, dir, extra string) *gateway {
	t.Helper()
	g := &gateway{t: t, programs: wholeSystem(t), dir: dir, config: filepath.Join(t.TempDir(), "edgeagent.toml"), port: testenv.FreePort(t)}
	text := fmt.Sprintf(sampleSettings, g.data(), g.socket(), g.port) + extra
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", g.socket())
		},
	}}
	program.ShowLog(t, "the agent", g.log())
	return g
}

// The folders of tests may lie in memory; how durable they are is not what is tested here.
const sampleSettings = `
[gateway]
name = "press-hall"
data = %q
[store]
allow_volatile = true
reserve = "1MiB"
reserve_percent = 0
[api]
socket = %q
[broker]
enabled = true
listen = "127.0.0.1:%d"
allow_anonymous = true
`

func (g *gateway) data() string   { return filepath.Join(g.dir, "data") }
func (g *gateway) socket() string { return filepath.Join(g.dir, "s") } // its path must stay short
func (g *gateway) log() string    { return filepath.Join(filepath.Dir(g.config), "log") }

// command prepares one of the programs.
func (g *gateway) command(name string, args ...string) *exec.Cmd {
	args = append(append([]string{}, g.emulator...), append([]string{filepath.Join(g.programs, name)}, args...)...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = g.dir
	cmd.Env = withoutSettings()
	return cmd
}

// start runs the agent with the given arguments, and returns when it records.
func (g *gateway) start(args ...string) {
	g.t.Helper()
	g.launch(args...)
	g.await("ready", g.records)
}

// records reports whether the agent takes messages, and all its sources are connected. /readyz says more, and less: it is not ready
// where the key is missing, and ready while a source has only begun to connect.
func (g *gateway) records() bool {
	code, body := g.get("/v1/status")
	return code == http.StatusOK && recordsBy(body)
}

// recordsBy is records by an answer of /v1/status.
func recordsBy(body string) bool {
	var s api.Status
	if json.Unmarshal([]byte(body), &s) != nil || s.Live == nil || s.Live.Waiting || s.Live.Full {
		return false
	}
	return !slices.ContainsFunc(s.Live.Sources, func(one api.Source) bool { return one.State != api.SourceUp })
}

// launch runs the agent and does not wait.
func (g *gateway) launch(args ...string) {
	g.t.Helper()
	g.process = program.Start(g.t, g.command("edgeagent", append([]string{"run", "--config", g.config}, args...)...), g.log())
}

// await waits until something is so of a running agent.
func (g *gateway) await(what string, so func() bool) {
	g.t.Helper()
	g.process.Await("the agent is "+what, so)
}

// ended waits for the agent's end and returns its exit code, -1 after a signal.
func (g *gateway) ended() int {
	g.t.Helper()
	code := g.process.Ended()
	g.process = nil
	return code
}

// stop ends the agent in good order.
func (g *gateway) stop() {
	g.t.Helper()
	g.process.Stop()
	g.process = nil
}

// kill ends the agent as a power cut would, as far as the program is concerned.
func (g *gateway) kill() {
	g.process.Kill()
	g.process = nil
}

// output runs a program to its end; code is what it exited with.
func (g *gateway) output(name string, args ...string) (stdout, stderr string, code int) {
	g.t.Helper()
	return program.Output(g.t, g.command(name, args...))
}

// must runs a command of edgeagent that must succeed.
func (g *gateway) must(args ...string) string {
	g.t.Helper()
	return program.Must(g.t, g.command("edgeagent", append(args, "--config", g.config)...))
}

// entries returns the chain's entries from the first number on that devices sent, in their order: those that the
// agent makes itself are left out.
func (g *gateway) entries() (sent []api.Entry) {
	g.t.Helper()
	for _, e := range g.all() {
		if !strings.HasPrefix(e.Source, "agent:") {
			sent = append(sent, e)
		}
	}
	return sent
}

// events returns the payloads of the entries with the given word that the agent made itself.
func (g *gateway) events(word string) (payloads []map[string]any) {
	g.t.Helper()
	for _, e := range g.all() {
		if e.Source != "agent:"+word {
			continue
		}
		var p map[string]any
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			g.t.Fatalf("entry %d, %s: %v", e.Number, e.Source, err)
		}
		payloads = append(payloads, p)
	}
	return payloads
}

func (g *gateway) all() (all []api.Entry) {
	g.t.Helper()
	in := json.NewDecoder(strings.NewReader(g.must("export", "--format", "jsonl")))
	for {
		var e api.Entry
		if err := in.Decode(&e); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			g.t.Fatal(err)
		}
		if e.Gone != "" || e.Number != uint64(len(all)) {
			g.t.Fatalf("instead of entry %d the export has %d %s", len(all), e.Number, e.Gone)
		}
		all = append(all, e)
	}
}

// status asks how the gateway stands, once its chain is open.
func (g *gateway) status() (s api.Status) {
	g.t.Helper()
	testenv.Await(g.t, "the chain is open", func() bool {
		s = api.Status{}
		stdout, stderr, code := g.output("edgeagent", "status", "--output", "json", "--config", g.config)
		if err := json.Unmarshal([]byte(stdout), &s); err != nil {
			g.t.Fatalf("status ends with %d: %v\n%s%s", code, err, stdout, stderr)
		}
		if want := endsWith(&s); code != want {
			g.t.Fatalf("status ends with %d, want %d\n%s%s", code, want, stdout, stderr)
		}
		return s.Opening == nil
	})
	return s
}

// endsWith is the exit code that goes with a status.
func endsWith(s *api.Status) int {
	switch {
	case !s.Running:
		return 5
	case !s.OK:
		return 7
	}
	return 0
}

// stands returns what status says, which must end with the given code.
func (g *gateway) stands(code int, args ...string) string {
	g.t.Helper()
	stdout, stderr, got := g.output("edgeagent", append([]string{"status", "--config", g.config}, args...)...)
	if got != code {
		g.t.Errorf("edgeagent status ends with %d, want %d\n%s%s", got, code, stdout, stderr)
	}
	return stdout
}

// verify checks the whole chain and returns its name.
func (g *gateway) verify() string {
	g.t.Helper()
	var summary struct{ Chain string }
	if err := json.Unmarshal([]byte(g.must("verify", "--output", "json")), &summary); err != nil {
		g.t.Fatal(err)
	}
	return summary.Chain
}

// prove makes the proof of an entry, has edgeverify check it, and returns the file and what edgeverify says.
func (g *gateway) prove(chain string, number uint64) (file, says string) {
	g.t.Helper()
	file = filepath.Join(g.t.TempDir(), strconv.FormatUint(number, 10)+".edgeproof")
	g.must("prove", strconv.FormatUint(number, 10), "--file", file)
	says, stderr, code := g.output("edgeverify", "--chain", chain, file)
	if code != 0 {
		g.t.Fatalf("edgeverify refuses the proof of entry %d with %d\n%s%s", number, code, says, stderr)
	}
	return file, says
}

// get asks the running agent over HTTP. The code is 0 where nobody answers.
func (g *gateway) get(path string) (code int, body string) {
	response, err := g.http.Get("http://gateway" + path)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, ""
	}
	return response.StatusCode, string(b)
}

// metric returns the value of one line of /metrics, 0 if it is not there.
func (g *gateway) metric(name string) float64 {
	g.t.Helper()
	_, body := g.get("/metrics")
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				g.t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// mosquittoPub returns a mosquitto_pub that publishes with QoS 1 to the broker at the given port.
func mosquittoPub(t testing.TB, port int, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(port), "-q", "1"}, args...)
	return exec.Command(testenv.Program(t, "mosquitto_pub"), args...)
}

func (g *gateway) logged(text string) bool {
	b, err := os.ReadFile(g.log())
	return err == nil && strings.Contains(string(b), text)
}
