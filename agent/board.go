package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"edgechain/arm"
)

// boardCollector shows what the board tells when it is asked. What a board does not tell has no line: 0 would say that
// all is well. Labels are the cards that are plugged in, a handful.
type boardCollector struct {
	board arm.Board
	clock arm.Clock

	life, spare, capped, softLimit, rtc, sha2 *prometheus.Desc
}

func newBoardCollector(board arm.Board, clock arm.Clock) *boardCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &boardCollector{board, clock,
		desc("edgeagent_card_life_used_ratio", "Part of its life that a card has used by its own account, in tenths begun; beyond 1 it is used up. SD cards do not tell.", "card", "cells"),
		desc("edgeagent_card_spare_level", "A card's spare blocks: 1 is normal, 2 that four fifths are used, 3 urgent.", "card"),
		desc("edgeagent_frequency_capped", "1 if the processor's clock is held down, else 0."),
		desc("edgeagent_soft_temperature_limit", "1 if the board has reached its first temperature limit, else 0."),
		desc("edgeagent_clock_rtc", "1 if the board has a real-time clock, with a battery or without, else 0."),
		desc("edgeagent_cpu_sha2", "1 if the processor has instructions for SHA-256, else 0."),
	}
}

// Describe implements [prometheus.Collector].
func (c *boardCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.life, c.spare, c.capped, c.softLimit, c.rtc, c.sha2} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *boardCollector) Collect(out chan<- prometheus.Metric) {
	show := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, card := range c.board.Cards() {
		for cells, tenths := range map[string]int{"a": card.LifeA, "b": card.LifeB} {
			if tenths > 0 {
				show(c.life, float64(tenths)/10, card.Device, cells)
			}
		}
		if card.PreEOL > 0 {
			show(c.spare, float64(card.PreEOL), card.Device)
		}
	}
	if power := c.board.Power(); power.ThrottlingKnown {
		show(c.capped, truth(power.Capped))
		show(c.softLimit, truth(power.SoftLimit))
	}
	show(c.rtc, truth(c.clock.Status().RTC))
	if cpu := c.board.CPU(); cpu.Known {
		show(c.sha2, truth(cpu.SHA2))
	}
}
