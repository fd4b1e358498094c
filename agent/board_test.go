package agent

import (
	"fmt"
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain/arm"
	"edgechain/build/testenv"
)

func TestMetricsTellWhatTheBoardDoesAndNothingElse(t *testing.T) {
	for board, want := range map[string]map[string]float64{
		"cm4": {
			"edgeagent_card_life_used_ratio mmcblk0 a": 0.2, "edgeagent_card_life_used_ratio mmcblk0 b": 0.3, "edgeagent_card_spare_level mmcblk0": 1,
			"edgeagent_frequency_capped": 0, "edgeagent_soft_temperature_limit": 0, "edgeagent_clock_rtc": 0, "edgeagent_cpu_sha2": 0,
		},
		"3bplus": {"edgeagent_frequency_capped": 0, "edgeagent_soft_temperature_limit": 1, "edgeagent_clock_rtc": 0, "edgeagent_cpu_sha2": 0},
		"5":      {"edgeagent_clock_rtc": 1, "edgeagent_cpu_sha2": 1},
	} {
		root := testenv.Tree(t, "../arm/testdata/boards/"+board+".txtar")
		registry := prometheus.NewRegistry()
		registry.MustRegister(newBoardCollector(arm.Board{Root: root}, arm.Clock{Root: root}))
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
				got[name] = m.GetGauge().GetValue()
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s tells %v, want %v", board, got, want)
		}
	}
}
