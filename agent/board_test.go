package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain.example/arm"
	"edgechain.example/build/testenv"
)

func TestMetricsTellWhatTheBoardDoesAndNothingElse(t *testing.T) {
	for board, want := range map[string]map[string]float64{
		"cm4": {
			"edgeagent_card_life_used_ratio mmcblk0 a": 0.2, "edgeagent_card_life_used_ratio mmcblk0 b": 0.3, "edgeagent_card_spare_level mmcblk0": 1,
			"edgeagent_under_voltage": 0, "edgeagent_throttled": 0, "edgeagent_power_events_total under_voltage": 0, "edgeagent_power_events_total throttled": 0, "edgeagent_power_events_total frequency_capped": 0,
			"edgeagent_power_events_total soft_temperature_limit": 0, "edgeagent_temperature_celsius": 44.312,
			"edgeagent_frequency_capped": 0, "edgeagent_soft_temperature_limit": 0, "edgeagent_clock_rtc": 0, "edgeagent_cpu_sha2": 0,
		},
		"3bplus": {
			"edgeagent_under_voltage": 0, "edgeagent_throttled": 0, "edgeagent_power_events_total under_voltage": 0, "edgeagent_power_events_total throttled": 0, "edgeagent_power_events_total frequency_capped": 0,
			"edgeagent_power_events_total soft_temperature_limit": 1, "edgeagent_temperature_celsius": 61.224,
			"edgeagent_frequency_capped": 0, "edgeagent_soft_temperature_limit": 1, "edgeagent_clock_rtc": 0, "edgeagent_cpu_sha2": 0,
		},
		"5": {
			"edgeagent_under_voltage": 0, "edgeagent_power_events_total under_voltage": 0, "edgeagent_temperature_celsius": 55.3,
			"edgeagent_clock_rtc": 1, "edgeagent_cpu_sha2": 1,
		},
	} {
		root := testenv.Tree(t, "../arm/testdata/boards/"+board+".txtar")
		registry := prometheus.NewRegistry()
		watch := &boardWatch{board: arm.Board{Root: root}}
		watch.observe(watch.board.State(), watch.board.Temperature())
		registry.MustRegister(newBoardCollector(watch, arm.Clock{Root: root}))
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += fmt.Sprint(" ", l.GetValue())
				}
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s tells %v, want %v", board, got, want)
		}
	}
}

// The firmware tells of an under-voltage for two seconds. It is seen, counted, shown for a minute, and two entries: when it
// began and when it was over. One that comes back each few seconds is no more.
func TestAnUnderVoltageOfTwoSecondsIsSeen(t *testing.T) {
	root := testenv.Tree(t, "../arm/testdata/boards/4b.txtar")
	alarms, err := filepath.Glob(filepath.Join(root, "sys/class/hwmon/*/in0_lcrit_alarm"))
	if err != nil || len(alarms) != 1 {
		t.Fatal(alarms, err)
	}
	for _, times := range []int{1, 5} {
		synctest.Test(t, func(t *testing.T) {
			flag := func(value string) {
				if err := os.WriteFile(alarms[0], []byte(value+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			b := newRecording(t, nil)
			b.start()
			a := &Agent{log: slog.New(slog.DiscardHandler), queue: b.queue, board: boardWatch{board: arm.Board{Root: root}}}
			ctx, stop := context.WithCancel(t.Context())
			watched := make(chan struct{})
			go func() { defer close(watched); a.watchBoard(ctx) }()
			time.Sleep(100*time.Second + time.Millisecond)
			for range times {
				flag("1")
				time.Sleep(2 * time.Second)
				flag("0")
				time.Sleep(5 * time.Second)
			}
			time.Sleep(50 * time.Second)
			if now := a.board.now(); !now.Power.UnderVoltage || now.underVoltage != 1 || now.throttled != 0 {
				t.Errorf("%d times, and a minute is not over: %+v", times, now)
			}
			time.Sleep(10 * time.Second)
			if now := a.board.now(); now.Power.UnderVoltage || now.underVoltage != 1 {
				t.Errorf("%d times, and a minute is over: %+v", times, now)
			}
			stop()
			<-watched
			b.drain(t)
			if power := len(entriesBelow(t, &b.store.Reader, arm.SourcePower)); power != 2 {
				t.Errorf("%d times: %d entries, want 2", times, power)
			}
			if err := b.store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
