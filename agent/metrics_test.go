package agent

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"edgechain.example/agent/recorder"
	"edgechain.example/build/testenv"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

// shown returns the values of a gathered metric by the values of its labels, in the order of their names.
func shown(t *testing.T, m *metrics, name string) map[string]float64 {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, one := range f.GetMetric() {
			var labels []string
			for _, l := range one.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			got[strings.Join(labels, " ")] = one.GetGauge().GetValue() + one.GetCounter().GetValue()
		}
	}
	return got
}

// Of a counter that is born with its first loss no rate would see that loss: each is there before, for each source that is
// configured, those of a reload among them, for each reason, each upstream and each aggregator.
func TestSeriesAreThereBeforeAnythingHappens(t *testing.T) {
	away := testenv.Mosquitto(t, "")
	away.Stop()
	c := quickConfig(t, away)
	a := startAgent(t, c)
	next := *c
	next.MQTT = []MQTTConfig{plantAt(away, "plant/#")}
	next.Broker.Enabled, next.Broker.Listen, next.Broker.AllowAnonymous = true, "127.0.0.1:0", true
	if _, err := a.Reload(&next); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"broker", "mqtt:plant"} {
		for _, name := range []string{"entries_total", "payload_bytes_total", "lost_messages_total", "losses_total", "source_last_message_timestamp_seconds",
			"source_received_total", "source_recognised_total", "source_refused_total", "source_undelivered_total", "source_ignored_total", "source_slowed_total", "source_exceeded_total"} {
			if value, there := shown(t, a.metrics, "edgeagent_"+name)[source]; !there || value != 0 {
				t.Errorf("edgeagent_%s of %s is %v, there: %v", name, source, value, there)
			}
		}
	}
	for _, reason := range sensors.Reasons() {
		if value, there := shown(t, a.metrics, "edgeagent_not_understood_total")[string(reason)]; !there || value != 0 {
			t.Errorf("%s is %v, there: %v", reason, value, there)
		}
	}
	if got := shown(t, a.metrics, "edgeagent_receipted_height"); len(got) != 1 || got["north north"] != -1 {
		t.Errorf("receipted: %v", got)
	}
	if got := shown(t, a.metrics, "edgeagent_upstream_connected"); len(got) != 1 || got["north"] != 0 {
		t.Errorf("upstreams: %v", got)
	}
	if got := shown(t, a.metrics, "edgeagent_build_info"); len(got) != 1 || got[a.Chain().String()+" press "] != 1 {
		t.Errorf("which gateway it is: %v", got)
	}
}

// A loss of which nobody can tell how much it was is a loss.
func TestALossOfUnknownSizeIsCounted(t *testing.T) {
	a := New(DefaultConfig(), Options{Log: slog.New(slog.DiscardHandler)})
	a.queue = recorder.NewQueue(1<<20, 100)
	a.losses.add("mqtt:plant", 0, "the broker has forgotten the session")
	ended, end := context.WithCancel(t.Context())
	end()
	a.recordLosses(ended)
	if times, messages := shown(t, a.metrics, "edgeagent_losses_total"), shown(t, a.metrics, "edgeagent_lost_messages_total"); times["mqtt:plant"] != 1 || messages["mqtt:plant"] != 0 {
		t.Errorf("%v times, %v messages", times, messages)
	}
	if gaps := a.tally.condition().Gaps.Times; gaps != 1 {
		t.Errorf("%d gaps", gaps)
	}
}

func TestAStartSaysHowTheRunBeforeEnded(t *testing.T) {
	for _, c := range []struct {
		info store.OpenInfo
		want string
	}{
		{store.OpenInfo{Opens: 1, NewBoot: true}, afterStop},
		{store.OpenInfo{Opens: 2, Clean: true}, afterStop},
		{store.OpenInfo{Opens: 2, Clean: true, NewBoot: true}, afterShutdown},
		{store.OpenInfo{Opens: 2}, afterCrash},
		{store.OpenInfo{Opens: 2, NewBoot: true}, afterPowerCut},
	} {
		if got := endBefore(c.info); got != c.want {
			t.Errorf("%+v: %s, want %s", c.info, got, c.want)
		}
	}
}

// Starts are counted in the chain: a rise between two scrapes is seen whatever lay between them.
func TestStartsAreCountedOverRuns(t *testing.T) {
	c, _ := keptGateway(t)
	for start := 1.0; start <= 3; start++ {
		a, stop := runAgent(t, c)
		if got := shown(t, a.metrics, "edgeagent_starts_total")[""]; got != start {
			t.Errorf("start %v says %v", start, got)
		}
		ends := shown(t, a.metrics, "edgeagent_started_after")
		if len(ends) != 4 || ends[afterStop] != 1 {
			t.Errorf("start %v was after %v", start, ends)
		}
		stop()
	}
}
