package agent

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"edgechain.example/agent/api"
	"edgechain.example/agent/recorder"
	"edgechain.example/arm"
	"edgechain.example/tomlconf"
)

// CardConfig bounds what a card suffers.
type CardConfig struct {
	BytesPerDay tomlconf.Size `toml:"bytes_per_day"` // 0: no limit
}

// What a card bears is assumed: an SD card does not tell. Flash with three bits a cell is good for so many erasures of each of its
// blocks; and where each write is small, a card erases as many times what is written.
const (
	cardErasures      = 1000
	cardAmplification = 4
)

// Bounds of the budget: below the first an idle gateway alone may exceed it, below the second a reading each second does.
const (
	leastPerDay  = 20e6
	singlePerDay = 24 * 60 * 60 * 4096
)

// The delays where the configuration says one of both only.
const (
	usualDelay = 25 * time.Millisecond
	usualIdle  = 2 * time.Millisecond
)

// checkCommit looks at when groups are closed: as the card's budget wants, unless the configuration says how long they wait. A delay of
// 0s, as shipped, is one that is not set, written or not.
func (c *Config) checkCommit(d *tomlconf.Document) {
	const mostDelay = 5 * time.Second
	delay, idle := &c.Commit.MaxDelay, &c.Commit.Idle
	switch {
	case *delay == 0 && *idle == 0:
	case *delay == 0:
		if *idle > usualDelay && *idle <= mostDelay {
			d.Refuse(idle, "no group waits for longer than %v where commit.max_delay is not set: set that too, to %v or more", usualDelay, *idle)
		} else {
			tomlconf.Between(d, idle, 0, mostDelay)
		}
		*delay = usualDelay
	default:
		tomlconf.Between(d, delay, time.Millisecond, mostDelay)
		tomlconf.Between(d, idle, 0, *delay)
		if *idle == 0 {
			*idle = min(usualIdle, *delay)
		}
	}
	tomlconf.Between(d, &c.Commit.MaxEntries, 1, 10000)
	switch perDay := &c.Card.BytesPerDay; {
	case *perDay == 0:
	case *perDay < leastPerDay:
		d.Refuse(perDay, "expected 0B, for no limit, or at least %v: less an idle gateway may write by itself", tomlconf.Size(leastPerDay))
	case c.Commit.MaxDelay > 0 && d.IsSet("card.bytes_per_day"):
		d.Warn(perDay, "it is not kept: commit.max_delay and commit.idle say how long readings wait. Leave both out, and the budget decides")
	case *perDay < singlePerDay:
		d.Warn(perDay, "a reading after a quiet second is put to disk at once, whatever this says: one each second takes %d MB a day", singlePerDay/1_000_000)
	}
}

// cardStatus says what is written, and how that stands to the budget, on a disk of so many bytes; 0: that is not known.
func cardStatus(s recorder.Spending, disk uint64) api.Card {
	c := api.Card{Rate: math.Round(s.Rate), Written: s.Total, Budget: s.PerDay, Wait: s.Wait.Seconds(), Fixed: s.Fixed, Disk: disk, Endurance: disk * cardErasures / cardAmplification}
	for _, l := range s.Limited {
		c.Limited = append(c.Limited, api.Limited{Sender: l.Sender, Window: l.Window})
	}
	if s.Rate > 0 && disk > 0 {
		years := float64(c.Endurance) / s.Rate / 365
		c.Years = &years
	}
	if c.Exceeded = uint64(s.Over); c.Exceeded > 0 {
		c.Why = whyExceeded(&s)
	}
	return c
}

// mostNamed is of how many senders a sentence has the names.
const mostNamed = 3

func whyExceeded(s *recorder.Spending) string {
	switch {
	case s.Fixed:
		return "commit.max_delay and commit.idle say how long readings wait"
	case len(s.Limited) > 0:
		var names []string
		for _, l := range s.Limited[:min(mostNamed, len(s.Limited))] {
			names = append(names, fmt.Sprintf("%s waits with window %d", l.Sender, l.Window))
		}
		if more := len(s.Limited) - mostNamed; more > 0 {
			names = append(names, fmt.Sprintf("%d others likewise", more))
		}
		return strings.Join(names, ", ")
	case s.Wait >= recorder.MostWait:
		return "the readings alone take as much: no more of them share a sync than come in a second, or commit.max_entries allows"
	}
	return "more was written before than now"
}

// cardSize returns how large the file system is that a folder lies on; 0: it does not tell.
func cardSize(b arm.Board, folder string) uint64 { return b.Filesystem(folder).Size }

// cardCollector shows what a card suffers, which is looked up once for all lines.
type cardCollector struct {
	now                                                   func() api.Card
	budget, written, rate, exceeded, wait, years, limited *prometheus.Desc
}

func newCardCollector(now func() api.Card) *cardCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, nil, nil)
	}
	return &cardCollector{now: now,
		budget:   desc("edgeagent_card_budget_bytes_per_day", "Bytes that may be written in a day, card.bytes_per_day; 0: no limit."),
		written:  desc("edgeagent_card_written_bytes", "Bytes written since the start, the rest of each sync's pages included."),
		rate:     desc("edgeagent_card_written_bytes_per_day", "The same in a day, over the last one or what there is of it; NaN: not known yet."),
		exceeded: desc("edgeagent_card_exceeded_bytes_per_day", "By how much that exceeds the budget and what may have been saved up, 0 where it does not."),
		wait:     desc("edgeagent_card_group_seconds", "Time between two groups that the budget wants now; 0: each is put to disk at once."),
		years:    desc("edgeagent_card_years", "How long a card of the disk's size lasts at this rate, if it bears 250 times its size; NaN: not known."),
		limited:  desc("edgeagent_card_limited_senders", "Those whose window limits them, for whom groups are closed at once.")}
}

// Describe implements [prometheus.Collector].
func (c *cardCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements [prometheus.Collector].
func (c *cardCollector) Collect(out chan<- prometheus.Metric) {
	card := c.now()
	rate, years := math.NaN(), math.NaN()
	if card.Rate > 0 {
		rate = card.Rate
	}
	if card.Years != nil {
		years = *card.Years
	}
	for desc, value := range map[*prometheus.Desc]float64{
		c.budget: float64(card.Budget), c.written: float64(card.Written), c.rate: rate, c.exceeded: float64(card.Exceeded),
		c.wait: card.Wait, c.years: years, c.limited: float64(len(card.Limited)),
	} {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
}
