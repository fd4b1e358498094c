package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"edgechain.example/agent/api"
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
	if text := strings.Join(strings.Fields(g.must("status")), " "); !strings.Contains(text, "WARNING nothing comes from source broker: failing since ") || !strings.Contains(text, owner) {
		t.Errorf("the status does not name the owner:\n%s", text)
	}
	if !g.logged("a source cannot listen") || !g.logged(owner) {
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

// A reload onto a port that is taken says so and ends nothing; the next reload tries at once.
func TestReloadOntoTakenPortSaysThatItIsTriedAgain(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	was := g.port
	g.port = testenv.FreePort(t)
	taken := take(t, g.port)
	text, err := os.ReadFile(g.config)
	if err == nil {
		err = os.WriteFile(g.config, []byte(strings.Replace(string(text), fmt.Sprintf(":%d\"", was), fmt.Sprintf(":%d\"", g.port), 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	reload := func(args ...string) (stdout, stderr string, code int) {
		return g.output("edgeagent", append([]string{"reload", "--config", g.config}, args...)...)
	}
	stdout, says, code := reload()
	if code != 7 || stdout != "The new configuration is in force.\n" {
		t.Errorf("reload ends with %d: %s", code, stdout)
	}
	for _, want := range []string{"in force, but the source broker cannot listen: listening on " + taken.Addr().String(), "taken by edgeagent.test", "; it is tried again"} {
		if !strings.Contains(says, want) {
			t.Errorf("it does not say %q: %s", want, says)
		}
	}
	var reloaded api.Reloaded
	stdout, _, code = reload("--output", "json")
	if err := json.Unmarshal([]byte(stdout), &reloaded); code != 7 || err != nil || len(reloaded.Failing) != 1 || reloaded.Failing[0].Source != "broker" {
		t.Errorf("the second time it ends with %d: %+v, %v", code, reloaded, err)
	}
	taken.Close()
	if says := g.must("reload"); says != "The new configuration is in force.\n" {
		t.Errorf("it says %s", says)
	}
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
	if text := strings.Join(strings.Fields(g.must("status")), " "); !strings.Contains(text, "WARNING nobody is answered over TCP: api.listen: not since ") {
		t.Errorf("the status does not tell:\n%s", text)
	}
	if !g.logged("the API cannot listen") {
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
