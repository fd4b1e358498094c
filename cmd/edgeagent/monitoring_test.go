package main

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
)

func TestMetricsAreWhatPromtoolAccepts(t *testing.T) {
	t.Parallel()
	wholeSystem(t)
	promtool := testenv.Promtool(t)
	broker := testenv.Mosquitto(t, testenv.KeepsAll)
	g := newGateway(t, subscribes(broker)+"[hwmon]\nenabled = true\ninterval = \"1s\"\n")
	g.start()
	publish(t, g, "press/state", `{"temperature":73.9}`)
	publish(t, g, "press/state", `{"temperature":`)
	g.await("recording the machine's own sensors", func() bool { return g.metric(`edgeagent_entries_total{source="hwmon"}`) > 0 })

	code, metrics := g.get("/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics says %d", code)
	}
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = strings.NewReader(metrics)
	if output, err := check.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("promtool: %v\n%s", err, output)
	}
	for _, line := range []string{
		`edgeagent_entries_total{source="broker"} 2`,
		`edgeagent_source_connected{source="broker"} 1`,
		`edgeagent_source_connected{source="mqtt:plant"} 1`,
		`edgeagent_waiting_for_space 0`,
		`edgeagent_buffer_seconds NaN`, // of a chain that is minutes old nobody knows how fast it grows
		`edgeagent_held_back_bytes 0`,
		`edgeagent_pruned_entries_total 0`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	g.stop()
}

func TestReadyzFollowsBrokerAndHealthzDoesNot(t *testing.T) {
	t.Parallel()
	wholeSystem(t)
	broker := testenv.Mosquitto(t, testenv.KeepsAll)
	g := newGateway(t, subscribes(broker))
	g.start()
	broker.Stop()
	g.await("not ready", func() bool {
		code, body := g.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "mqtt:plant")
	})
	if code, body := g.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz says %d %s because a broker is down, which no restart of the agent mends", code, body)
	}
	if s := g.status(); s.Live.Sources[1].Connected {
		t.Errorf("status says that the source is connected: %+v", s.Live.Sources[1])
	}
	broker.Restart()
	g.await("ready again", func() bool {
		code, _ := g.get("/readyz")
		return code == http.StatusOK
	})
	g.stop()
}

// A broker that is down at the start is waited for; what the embedded broker hears is recorded meanwhile.
func TestBrokerThatIsDownAtTheStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	wholeSystem(t)
	broker := testenv.Mosquitto(t, testenv.KeepsAll)
	broker.Stop()
	g := newGateway(t, subscribes(broker))
	g.launch()
	g.await("listening", func() bool { return g.metric(`edgeagent_source_connected{source="broker"}`) == 1 })
	publish(t, g, "press/state", `{"temperature":73.9}`)
	broker.Restart()
	g.await("ready", func() bool {
		code, _ := g.get("/readyz")
		return code == http.StatusOK
	})
	g.stop()
	if n := len(g.entries()); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
}

// What a crash loop is told by: the count of starts and the end of the run before, over runs of the program as they are.
func TestACrashShowsInStatusAndMetrics(t *testing.T) {
	t.Parallel()
	wholeSystem(t)
	g := newGateway(t, "")
	g.start()
	if text := g.must("status"); !strings.Contains(text, "start 1, after a stop of the program") {
		t.Error(text)
	}
	g.kill()
	g.start()
	for _, line := range []string{`edgeagent_started_after{end="crash"}`, "edgeagent_unclean_starts_total"} {
		if n := g.metric(line); n != 1 {
			t.Errorf("%s is %v", line, n)
		}
	}
	if s := g.status(); s.Live.Starts != 2 || s.Live.Unclean != 1 || s.Live.After != "crash" {
		t.Errorf("%+v", s.Live)
	}
	if text := g.must("status"); !strings.Contains(text, "start 2, after A CRASH of the program; 1 of them after a run") {
		t.Error(text)
	}
	g.stop()
}
