package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"edgechain.example/agent/api"
	"edgechain.example/build/testenv/program"
)

// A slowReader is a command that has written more than anybody has read of it.
type slowReader struct {
	t   *testing.T
	cmd *exec.Cmd
	out io.ReadCloser
	err bytes.Buffer
	had []byte
}

// readSlowly begins a command whose output does not fit into a pipe, and reads its first line.
func readSlowly(t *testing.T, g *gateway, args ...string) *slowReader {
	t.Helper()
	r := &slowReader{t: t, cmd: g.command("edgeagent", append(args, "--config", g.config)...)}
	r.cmd.Stderr = &r.err
	var err error
	if r.out, err = r.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
		}
	})
	line, err := bufio.NewReaderSize(r.out, 16).ReadBytes('\n')
	if r.had = line; err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &r.err)
	}
	return r
}

// rest reads on to the end, and returns all that was written.
func (r *slowReader) rest() string {
	r.t.Helper()
	b, err := io.ReadAll(r.out)
	if err := errors.Join(err, r.cmd.Wait()); err != nil {
		r.t.Errorf("%v: %v\n%s", r.cmd.Args, err, &r.err)
	}
	return string(append(r.had, b...))
}

// fill has the running agent record payloads that together fit into no pipe.
func fill(t *testing.T, g *gateway, payloads []string) {
	t.Helper()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), payloads)
	p.allow(len(payloads))
	g.acknowledged(p, len(payloads))
}

func checkpoints(t *testing.T, g *gateway) []string {
	t.Helper()
	there, err := filepath.Glob(filepath.Join(g.data(), "checkpoint-*"))
	if err != nil {
		t.Fatal(err)
	}
	return there
}

// Whoever reads, however slowly, and whenever he began, neither keeps the agent from recording nor loses what he reads to it.
func TestReadersAndTheAgentDoNotKeepEachOtherOut(t *testing.T) {
	t.Parallel()
	payloads := spectra(300)
	g := newGateway(t, "[block]\nmax_entries = 50\n")
	g.start()
	fill(t, g, payloads)
	g.stop()
	entries := func(exported string) int { return strings.Count(exported, "/machine-7:") }

	atRest := []*slowReader{readSlowly(t, g, "export", "--format", "jsonl"), readSlowly(t, g, "export", "--format", "jsonl"), readSlowly(t, g, "log", "--limit", "0", "--output", "json")}
	for _, command := range [][]string{{"verify"}, {"blocks"}, {"prove", "2", "--file", filepath.Join(t.TempDir(), "p")}, {"backup", filepath.Join(t.TempDir(), "b")}, {"log"}} {
		g.must(command...) // beside the others
	}
	g.stands(5)
	g.start()
	running := []*slowReader{readSlowly(t, g, "export", "--format", "jsonl"), readSlowly(t, g, "export", "--format", "jsonl")}
	g.stop()
	g.start() // which tidies up
	fill(t, g, spectra(400)[300:])
	g.verify()
	for _, r := range append(atRest, running...) {
		if got := r.rest(); entries(got) != len(payloads) {
			t.Errorf("%v: %d entries, want %d", r.cmd.Args[1:3], entries(got), len(payloads))
		}
	}
	g.stop()
	if got := g.entries(); len(got) != 400 {
		t.Errorf("%d entries", len(got))
	}
	if left := checkpoints(t, g); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// As head does.
func TestAReaderWhoseOutputIsClosedLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	fill(t, g, spectra(300))
	for _, running := range []bool{true, false} {
		if !running {
			g.stop()
		}
		for _, command := range []string{"export", "log"} {
			args := []string{command}
			if command == "log" {
				args = append(args, "--limit", "0", "--output", "json")
			}
			r := readSlowly(t, g, args...)
			r.out.Close()
			err := r.cmd.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE {
				t.Errorf("%s ended with %v", command, err)
			}
			if left := checkpoints(t, g); len(left) > 0 {
				t.Errorf("%s left behind: %v", command, left)
			}
		}
	}
}

func TestAProbeAtTheMomentOfAStartFailsNoStart(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	for range 3 {
		stop, done := make(chan struct{}), make(chan error, 2)
		for range cap(done) {
			go func() {
				for {
					select {
					case <-stop:
						done <- nil
						return
					default:
					}
					c := g.command("edgeagent", "status", "--config", g.config)
					output, err := c.CombinedOutput()
					if code := c.ProcessState.ExitCode(); code != 0 && !strings.HasPrefix(string(output), "NOT OK: the agent ") {
						done <- fmt.Errorf("%w\n%s", err, output) // it neither runs, nor does not run, nor opens its chain
						return
					}
				}
			}()
		}
		g.start()
		close(stop)
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		g.stop()
	}
}

// An agent that cannot open its chain yet says so, for whom it waits, and how far it is.
func TestAnAgentThatOpensItsChainAnswers(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	lock, err := os.OpenFile(filepath.Join(g.data(), "chain", "LOCK"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.FcntlFlock(lock.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	me := fmt.Sprintf("process %d: %s", os.Getpid(), os.Args[0])
	g.launch()
	g.await("waiting for the lock", func() bool { _, body := g.get("/readyz"); return strings.Contains(body, me) })
	g.await("telling so", func() bool { return g.logged("another program has it open") && g.logged(me) })
	if code, _ := g.get("/healthz"); code != 200 {
		t.Errorf("/healthz answers %d", code)
	}
	if code, _ := g.get("/metrics"); code != 200 {
		t.Errorf("/metrics answers %d", code)
	}
	if says := g.stands(7); !strings.HasPrefix(says, "NOT OK: the agent is opening its chain since ") || !strings.Contains(says, "is opening its chain") || !strings.Contains(says, fmt.Sprintf("process %d:", os.Getpid())) {
		t.Errorf("status says:\n%s", says)
	}
	var s api.Status
	if err := json.Unmarshal([]byte(g.stands(7, "--output", "json")), &s); err != nil || s.Opening == nil || !s.Running {
		t.Errorf("%+v, %v", s, err)
	}
	verifying := g.command("edgeagent", "verify", "--config", g.config)
	if err := verifying.Start(); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := program.Output(t, g.command("edgeagent", "run", "--config", g.config)); code != 5 {
		t.Errorf("a second agent exits with %d\n%s", code, stderr)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	g.await("ready", func() bool { code, _ := g.get("/readyz"); return code == 200 })
	_ = verifying.Wait() // it waits for a moment, and either is told or reads
	g.stop()

	// While it waits it can be stopped, too.
	if lock, err = os.OpenFile(lock.Name(), os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.FcntlFlock(lock.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	g.launch()
	g.await("waiting again", func() bool { _, body := g.get("/readyz"); return strings.Contains(body, me) })
	g.stop()
}

// The service has what the operator's shell lacks; and a mistake where nobody reads is nothing to whoever reads.
func TestCommandsNeedNoMoreOfTheConfigurationThanTheyUse(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `
[sync]
enrol_token = "${EDGE_TOKEN}"
[[mqtt]]
name = "line-1"
servers = ["mqtt://${PLANT_BROKER}:1883"]
username = "gateway"
password = "${LINE_1_PASSWORD}"
tls_ca = "/etc/ssl/plant.pem"
[[mqtt.subscribe]]
topics = ["factory/#"]
qos = 9
`)
	usb := filepath.Join(t.TempDir(), "b")
	for _, command := range [][]string{{"log"}, {"blocks"}, {"verify"}, {"export"}, {"receipts"}, {"trust"}, {"prune", "--dry-run"}, {"key", "show"}, {"backup", usb}} {
		g.must(command...)
	}
	g.stands(5)
	if _, stderr, code := g.output("edgeagent", "check-config", "--config", g.config); code != 2 || !strings.Contains(stderr, "LINE_1_PASSWORD") || !strings.Contains(stderr, "qos") {
		t.Errorf("check-config exits with %d\n%s", code, stderr)
	}
	if _, stderr, code := g.output("edgeagent", "run", "--config", g.config); code != 78 {
		t.Errorf("run exits with %d\n%s", code, stderr)
	}
	if _, stderr, code := g.output("edgeagent", "status", "--config", g.config, "--set", "store.reserve=much"); code != 2 {
		t.Errorf("a mistake in what it uses: status exits with %d\n%s", code, stderr)
	}
}

// An agent that takes connections and answers nothing must not hang whoever asks it.
func TestACommandGivesUpInItsTime(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	l, err := net.Listen("unix", g.socket())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, command := range [][]string{{"status"}, {"log"}, {"verify"}, {"reload"}, {"key", "rotate"}, {"backup", filepath.Join(t.TempDir(), "b")}} {
		_, stderr, code := g.output("edgeagent", append(command, "--config", g.config, "--timeout", "300ms")...)
		if code != 5 || !strings.Contains(stderr, "--timeout") {
			t.Errorf("%v exits with %d\n%s", command, code, stderr)
		}
	}
}
