package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"edgechain.example/agent"
	"edgechain.example/agent/api"
	"edgechain.example/aggregator"
	"edgechain.example/build/testenv"
)

func TestSIGTERMSealsAllThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "[[broker.decode]]"+readsMachine)
	payloads, _ := machineMessages(t)
	payloads = payloads[:5000]
	g.start()
	p := publishInBackground(t, fmt.Sprintf("127.0.0.1:%d", g.port), payloads)
	p.allow(len(payloads))
	g.acknowledged(p, 1000)
	g.stop() // amid the publishing
	acked, sent := p.promised()
	checkRows(g, payloads, acked, sent)
	if s := g.status(); s.Open != 0 || s.Running {
		t.Errorf("after the stop %d entries are not sealed, running %v", s.Open, s.Running)
	}
	g.verify()

	g.start()
	g.acknowledged(p, len(payloads))
	g.stop()
	checkRows(g, payloads, nil, len(payloads))
	for i, boot := range g.events("boot") {
		if boot["clean"] != true || boot["start"] != float64(i+1) {
			t.Errorf("start %d was recorded as %v, want a clean one", i+1, boot)
		}
	}
}

func TestSecondRunOnSameFolderIsRefused(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	_, stderr, code := g.output("edgeagent", "run", "--config", g.config)
	if code != 5 || !strings.Contains(stderr, "an agent answers on "+g.socket()+" already") {
		t.Errorf("a second run exits with %d, want 5 and where the first one answers\n%s", code, stderr)
	}
	if code, body := g.get("/healthz"); code != 200 {
		t.Errorf("after that the first one is not well: %d %s", code, body)
	}
	g.stop()
}

// The agent goes on without its broker, says who has the port, and listens when that is free.
func TestTakenBrokerPortIsNamedWithItsOwner(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "[hwmon]\nenabled = true\ninterval = \"1s\"\n")
	taken := take(t, g.port)
	g.launch()
	owner := "taken by edgeagent.test"
	g.await("failing", func() bool { code, body := g.get("/readyz"); return code == 503 && strings.Contains(body, owner) })
	g.await("recording what else there is", func() bool { return g.metric(`edgeagent_entries_total{source="hwmon"}`) > 0 })
	s := g.status().Live.Sources[0]
	if s.State != api.SourceFailing || s.Since.IsZero() || !strings.Contains(s.Detail, owner) || !strings.Contains(s.Detail, taken.Addr().String()) {
		t.Errorf("the status says %+v", s)
	}
	if text := strings.Join(strings.Fields(g.stands(7)), " "); !strings.HasPrefix(text, "NOT OK: source broker is not connected since ") || !strings.Contains(text, "WARNING nothing comes from source broker: failing since ") || !strings.Contains(text, owner) {
		t.Errorf("the status does not name the owner:\n%s", text)
	}
	if !g.logged("failed to listen; it is tried again") || !g.logged(owner) {
		t.Error("the log does not name it")
	}
	if is := g.metric(`edgeagent_source_state{source="broker",state="failing"}`); is != 1 {
		t.Errorf("the metric says %v", is)
	}
	taken.Close()
	g.await("listening", func() bool { code, _ := g.get("/readyz"); return code == 200 })
	publish(t, g, "press/state", `{"temperature":73.9}`)
	if s := g.status().Live.Sources[0]; s.State != api.SourceUp || !s.Since.IsZero() || g.metric(`edgeagent_source_state{source="broker",state="up"}`) != 1 {
		t.Errorf("the status says %+v", s)
	}
	g.stop()
}

// A reload that moves the embedded broker onto a port that is taken says by whom, and moves nothing: clients go on at the old one.
func TestReloadOntoTakenPortChangesNothing(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	was := g.port
	now := testenv.FreePort(t)
	taken := take(t, now)
	text, err := os.ReadFile(g.config)
	if err == nil {
		err = os.WriteFile(g.config, []byte(strings.Replace(string(text), fmt.Sprintf(":%d\"", was), fmt.Sprintf(":%d\"", now), 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	stdout, says, code := g.output("edgeagent", "reload", "--config", g.config)
	if code == 0 || stdout != "" {
		t.Errorf("reload ends with %d: %s", code, stdout)
	}
	for _, want := range []string{"listening on " + taken.Addr().String(), "taken by edgeagent.test", "the old configuration stays in force"} {
		if !strings.Contains(says, want) {
			t.Errorf("it does not say %q: %s", want, says)
		}
	}
	publish(t, g, "press/state", `{"temperature":73.8}`)
	taken.Close()
	if says := g.must("reload"); says != "The new configuration is in force.\n" {
		t.Errorf("it says %s", says)
	}
	g.port = now
	publish(t, g, "press/state", `{"temperature":73.9}`)
	g.stop()
	if starts := len(g.events("boot")); starts != 1 {
		t.Errorf("%d starts, want 1", starts)
	}
}

// The chain records whoever has the API's port, says so, and answers there when it is free.
func TestTakenAPIPortKeepsNothingFromRecording(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	port := testenv.FreePort(t)
	taken := take(t, port)
	g.start("--set", fmt.Sprintf("api.listen=127.0.0.1:%d", port))
	publish(t, g, "press/state", `{"temperature":73.9}`)
	if text := strings.Join(strings.Fields(g.stands(7)), " "); !strings.HasPrefix(text, "NOT OK: nobody is answered over TCP: ") || !strings.Contains(text, "WARNING nobody is answered over TCP: api.listen: not since ") {
		t.Errorf("the status does not tell:\n%s", text)
	}
	if !g.logged("failed to listen for the API") {
		t.Error("the log does not tell")
	}
	taken.Close()
	g.await("answering over TCP", func() bool {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz", port))
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	if deaf := g.status().Live.Deaf; deaf != "" {
		t.Errorf("the status says %q", deaf)
	}
	g.stop()
}

// take listens on a port of loopback.
func take(t *testing.T, port int) net.Listener {
	t.Helper()
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	return taken
}

// A mistake in the configuration ends a run with a code of its own, by which the service manager knows that no restart mends
// it; for all other commands it is a wrong use.
func TestAConfigurationThatCannotStartHasItsOwnExitCode(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"run", "--set", "block.interval=soon"}, 78},
		{[]string{"run", "--set", "gateway.chain=" + strings.Repeat("a", 52)}, 78},
		{[]string{"check-config", "--set", "block.interval=soon"}, 2},
		{[]string{"run", "--no-such-flag"}, 2},
	} {
		if _, stderr, code := g.output("edgeagent", append(c.args, "--config", g.config)...); code != c.code {
			t.Errorf("%v ends with %d, want %d\n%s", c.args, code, c.code, stderr)
		}
	}
}

// So do files that the configuration names, missing or wrong.
func TestAFileWithWhichTheBrokerCannotStartHasThatExitCode(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	none, wrong := filepath.Join(g.dir, "none"), filepath.Join(g.dir, "wrong")
	right := filepath.Join(g.dir, "right")
	for file, text := range map[string]string{wrong: "no such word\n", right: ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, keys := range [][]string{
		{"broker.users=" + none}, {"broker.users=" + wrong}, {"broker.password_file=" + none}, {"broker.password_file=" + wrong},
		{"broker.password_file=" + right, "broker.acl_file=" + none}, {"broker.password_file=" + right, "broker.acl_file=" + wrong},
		{"broker.tls_listen=127.0.0.1:0", "broker.tls_cert=" + none, "broker.tls_key=" + none},
	} {
		args := []string{"run", "--config", g.config}
		for _, key := range keys {
			args = append(args, "--set", key)
		}
		if _, stderr, code := g.output("edgeagent", args...); code != 78 || !strings.Contains(stderr, g.dir) {
			t.Errorf("%v ends with %d, want 78\n%s", keys, code, stderr)
		}
	}
}

// A pipe or a device in the place of a file that a configuration names is refused at its line, and nobody waits for it. In the
// place of the gateway's own key it is a warning: recording goes on without.
func TestNoFileOfAConfigurationIsAPipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	aFile := regexp.MustCompile(`^#((?:\w+_)?(?:file|cert|key|ca|users|passphrase)) = `)
	table := regexp.MustCompile(`^#?\[+([\w.]+)\]+$`)
	load := map[string]func(path string) (warned any, err error){
		"edgeagent": func(path string) (any, error) { _, warned, err := agent.LoadConfig(path, nil, nil); return warned, err },
		"edgeaggregator": func(path string) (any, error) {
			_, warned, err := aggregator.LoadConfig(path, nil, nil)
			return warned, err
		},
	}
	for program, sample := range map[string]string{"edgeagent": agent.Sample, "edgeaggregator": aggregator.Sample} {
		var keys []string
		in := ""
		for line := range strings.Lines(sample) {
			line = strings.TrimSpace(line)
			if m := table.FindStringSubmatch(line); m != nil {
				in = m[1]
			}
			if m := aFile.FindStringSubmatch(line); m != nil && in != "upstream.aggregator" && m[1] != "tls_client_cert" {
				keys = append(keys, in+"."+m[1])
			}
		}
		if least := map[string]int{"edgeagent": 15, "edgeaggregator": 6}[program]; len(keys) < least {
			t.Fatalf("%s has only %d keys of files: %q", program, len(keys), keys)
		}
		for _, key := range keys {
			for _, path := range []string{pipe, "/dev/zero", dir} {
				in, name, _ := strings.Cut(key, ".")
				header := "[" + in + "]"
				if in == "mqtt" || in == "opcua" || in == "upstream" || in == "broker" && program == "edgeaggregator" {
					header = "[[" + in + "]]"
				}
				value := path
				if name == "passphrase" {
					value = "file:" + path
				}
				config := filepath.Join(t.TempDir(), "c.toml")
				text := fmt.Appendf(nil, "%s\n%s = %q\n", header, name, value)
				if key == "key.file" && program == "edgeaggregator" {
					text = append(text, "[aggregator]\nname = \"agg-1\"\n"...)
				}
				if err := os.WriteFile(config, text, 0o600); err != nil {
					t.Fatal(err)
				}
				want := fmt.Sprintf("%s:2:1: %s = %q: expected a regular file, and this is ", config, key, value)
				loaded := make(chan string, 1)
				go func() {
					warned, err := load[program](config)
					if key == "key.file" && err == nil { // its copy may serve, and an agent without one records
						loaded <- fmt.Sprint(warned)
					} else {
						loaded <- fmt.Sprint(err)
					}
				}()
				select {
				case said := <-loaded:
					if !strings.Contains(said, want) {
						t.Errorf("%s does not say\n%s\nbut\n%s", program, want, said)
					}
				case <-time.After(patience):
					t.Fatalf("%s waits for %s", program, key)
				}
			}
		}
	}
}
