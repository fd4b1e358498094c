package agent

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain.example/arm"
)

// How often the board is looked at. The kernel asks the firmware about the supply and about heat every two seconds, and a
// flag lasts as long: it is read each second, which is one or two small files. The rest changes slowly.
const (
	powerInterval = time.Second
	boardInterval = 30 * time.Second
)

// boardWatch is what is known of the board. One goroutine reads it, so that whoever asks, for a status or for metrics,
// waits for no driver.
type boardWatch struct {
	board arm.Board

	mu    sync.Mutex
	state boardState // guarded by mu
}

// boardState is what was last read.
type boardState struct {
	arm.State       // its flags are held for [arm.PowerHold]
	heat            arm.Temperature
	underVoltage    uint64 // how often each of these began, since the start
	throttled       uint64
	capped, softHot uint64
}

// now returns what was last read.
func (w *boardWatch) now() boardState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// observe notes what was read, and returns what it changes about the chain.
func (w *boardWatch) observe(next arm.State, heat arm.Temperature) []arm.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, after := w.state.Power, next.Power
	for _, flag := range []struct {
		was, is bool
		times   *uint64
	}{
		{before.UnderVoltage, after.UnderVoltage, &w.state.underVoltage},
		{before.Throttled, after.Throttled, &w.state.throttled},
		{before.Capped, after.Capped, &w.state.capped},
		{before.SoftLimit, after.SoftLimit, &w.state.softHot},
	} {
		if flag.is && !flag.was {
			*flag.times++
		}
	}
	changes := arm.Changes(w.state.State, next)
	w.state.State, w.state.heat = next, heat
	return changes
}

// watchBoard records changes of the board itself, under-voltage and another card among them, until ctx ends.
func (a *Agent) watchBoard(ctx context.Context) {
	w := &a.board
	var latch arm.PowerLatch
	var probe *arm.PowerProbe
	var looked time.Time
	var cards []arm.Card
	var heat arm.Temperature
	tick := time.NewTicker(powerInterval)
	defer tick.Stop()
	for {
		if now := time.Now(); probe == nil || now.Sub(looked) >= boardInterval {
			looked, probe = now, w.board.PowerProbe()
			cards, heat = w.board.Cards(), w.board.Temperature()
		}
		power := latch.Observe(probe.Read(), time.Now())
		for _, change := range w.observe(arm.State{Power: power, Cards: cards}, heat) {
			a.log.Warn("the board has changed", "what", change.Source, "state", string(change.Payload))
			a.record(ctx, strings.TrimPrefix(change.Source, "agent:"), json.RawMessage(change.Payload))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// boardCollector shows what the board tells. What it does not tell has no line: 0 would say that all is well. Labels are
// the cards that are plugged in, a handful.
type boardCollector struct {
	watch *boardWatch
	clock arm.Clock
	sha2  arm.CPU

	life, spare, underVoltage, throttled, capped, softLimit *prometheus.Desc
	events, temperature, rtc, instructions                  *prometheus.Desc
}

func newBoardCollector(watch *boardWatch, clock arm.Clock) *boardCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &boardCollector{
		watch: watch, clock: clock, sha2: watch.board.CPU(),
		life:         desc("edgeagent_card_life_used_ratio", "Part of its life that a card has used by its own account, in tenths begun; beyond 1 it is used up. SD cards do not tell.", "card", "cells"),
		spare:        desc("edgeagent_card_spare_level", "A card's spare blocks: 1 is normal, 2 that four fifths are used, 3 urgent.", "card"),
		underVoltage: desc("edgeagent_under_voltage", "1 if the board's supply fell below its limit within the last minute, else 0."),
		throttled:    desc("edgeagent_throttled", "1 if the processor was slowed within the last minute, by low voltage or heat; else 0."),
		capped:       desc("edgeagent_frequency_capped", "1 if the processor's clock was held down within the last minute, else 0."),
		softLimit:    desc("edgeagent_soft_temperature_limit", "1 if the board reached its first temperature limit within the last minute, else 0."),
		events:       desc("edgeagent_power_events_total", "How often that began since the start, with a minute at least between two: under_voltage, throttled, frequency_capped, soft_temperature_limit.", "what"),
		temperature:  desc("edgeagent_temperature_celsius", "Temperature of the processor."),
		rtc:          desc("edgeagent_clock_rtc", "1 if the board has a real-time clock, with a battery or without, else 0."),
		instructions: desc("edgeagent_cpu_sha2", "1 if the processor has instructions for SHA-256, else 0."),
	}
}

// Describe implements [prometheus.Collector].
func (c *boardCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.life, c.spare, c.underVoltage, c.throttled, c.capped, c.softLimit, c.events, c.temperature, c.rtc, c.instructions} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *boardCollector) Collect(out chan<- prometheus.Metric) {
	show := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	flag := func(d *prometheus.Desc, is bool, what string, times uint64) {
		show(d, truth(is))
		out <- prometheus.MustNewConstMetric(c.events, prometheus.CounterValue, float64(times), what)
	}
	now := c.watch.now()
	for _, card := range now.Cards {
		for cells, tenths := range map[string]int{"a": card.LifeA, "b": card.LifeB} {
			if tenths > 0 {
				show(c.life, float64(tenths)/10, card.Device, cells)
			}
		}
		if card.PreEOL > 0 {
			show(c.spare, float64(card.PreEOL), card.Device)
		}
	}
	if power := now.Power; power.VoltageKnown {
		flag(c.underVoltage, power.UnderVoltage, "under_voltage", now.underVoltage)
	}
	if power := now.Power; power.ThrottlingKnown {
		flag(c.throttled, power.Throttled, "throttled", now.throttled)
		flag(c.capped, power.Capped, "frequency_capped", now.capped)
		flag(c.softLimit, power.SoftLimit, "soft_temperature_limit", now.softHot)
	}
	if now.heat.Known {
		show(c.temperature, float64(now.heat.MilliCelsius)/1000)
	}
	show(c.rtc, truth(c.clock.Status().RTC))
	if c.sha2.Known {
		show(c.instructions, truth(c.sha2.SHA2))
	}
}
