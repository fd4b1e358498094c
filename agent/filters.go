package agent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"edgechain.example/agent/api"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
	"edgechain.example/tomlconf"
)

// What a filter says of its messages.
const (
	recordAll     = "all"
	recordHash    = "hash"
	recordNothing = "nothing"
)

// Bounds of all filters together, so that what they count has room in one entry.
const (
	mostFilters     = 256
	mostFilterBytes = 1024 // of one topic filter
)

// topicFilter is what is recorded of messages on some topics.
type topicFilter struct {
	mqttwire.Filter
	record string
	keep   sensors.Keeping
	count  *filterCount
}

// topicFilters are tried in their order; the first that covers a topic counts.
type topicFilters []topicFilter

// filterCount counts what one filter of one source kept out of the chain. It lives as long as the configuration names it.
type filterCount struct {
	source, filter  string
	ignored, hashed atomic.Uint64
	ignore          func() // counts one that is ignored

	told uint64 // of ignored, what an entry has; the committer's goroutine's
	gone bool   // the newest configuration does not name it; guarded by the mutex of filterCounts
}

// filterCounts are those of all sources.
type filterCounts struct {
	mu sync.Mutex
	of []*filterCount // by source and filter
}

// compareTo orders counts by source and filter.
func (c *filterCount) compareTo(source, filter string) int {
	return cmp.Or(cmp.Compare(c.source, source), cmp.Compare(c.filter, filter))
}

// get returns the count of a filter, which begins at 0 where there is none.
func (f *filterCounts) get(source, filter string) *filterCount {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, found := slices.BinarySearchFunc(f.of, filter, func(c *filterCount, filter string) int { return c.compareTo(source, filter) })
	if !found {
		c := &filterCount{source: source, filter: filter}
		c.ignore = func() { c.ignored.Add(1) }
		f.of = slices.Insert(f.of, i, c)
	}
	return f.of[i]
}

// know forgets the counts of filters that two configurations in a row do not name, and of which nothing is to be told: the first
// time a message may be on its way to it.
func (f *filterCounts) know(c *Config) {
	named := map[[2]string]bool{}
	note := func(source string, filters []FilterConfig) {
		for _, each := range filters {
			for _, topic := range each.Topics {
				named[[2]string{source, topic}] = true
			}
		}
	}
	note("broker", c.Broker.Filter)
	for i := range c.MQTT {
		note("mqtt:"+c.MQTT[i].Name, c.MQTT[i].Filter)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of = slices.DeleteFunc(f.of, func(c *filterCount) bool {
		was := c.gone
		c.gone = !named[[2]string{c.source, c.filter}]
		return was && c.gone && c.ignored.Load() == c.told
	})
}

// filteredEvent says what was not recorded.
type filteredEvent struct {
	Filters []filteredCount `json:"filters"`
}

type filteredCount struct {
	Source string `json:"source"`
	Filter string `json:"filter"`
	Count  uint64 `json:"count"`
}

// Waits implements [recorder.Unrecorded]: whether something was ignored that no entry tells of.
func (f *filterCounts) Waits() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.of, func(c *filterCount) bool { return c.ignored.Load() > c.told })
}

// Untold implements [recorder.Unrecorded]: the payload of an entry that tells what was ignored since the one before, nil if nothing
// was, and what says that the entry is made. Both are the committer's goroutine's.
func (f *filterCounts) Untold() (payload []byte, told func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var event filteredEvent
	var counts []*filterCount
	for _, c := range f.of {
		if n := c.ignored.Load() - c.told; n > 0 {
			event.Filters = append(event.Filters, filteredCount{c.source, c.filter, n})
			counts = append(counts, c)
		}
	}
	if len(counts) == 0 {
		return nil, nil
	}
	payload, err := json.Marshal(event)
	if err != nil {
		panic(fmt.Sprintf("an agent:filtered entry that is no JSON: %v", err))
	}
	return payload, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, c := range counts {
			c.told += event.Filters[i].Count
		}
	}
}

// filters returns what a source's configuration says of its messages.
func (a *Agent) filters(source string, config []FilterConfig) (topicFilters, error) {
	return filtersOf(source, config, a.filtered.get)
}

// filtersOf is filters with what gives the count of each.
func filtersOf(source string, config []FilterConfig, count func(source, filter string) *filterCount) (topicFilters, error) {
	var filters topicFilters
	for i, c := range config {
		for _, topic := range c.Topics {
			filter, err := mqttwire.ParseFilter(topic)
			if err != nil {
				return nil, fmt.Errorf("%s: filter[%d]: %w", source, i, err)
			}
			keep := sensors.Keeping{Max: int(c.PayloadMax), Hash: c.Record == recordHash}
			filters = append(filters, topicFilter{filter, c.Record, keep, count(source, topic)})
		}
	}
	return filters, nil
}

// of returns the filter that counts for a topic; nil: none covers it.
func (f topicFilters) of(topic string) *topicFilter {
	for i := range f {
		if f[i].Matches(topic) {
			return &f[i]
		}
	}
	return nil
}

// unwanted reports whether messages on a topic are not recorded, and what counts one.
func (f topicFilters) unwanted(topic string) (bool, func()) {
	if by := f.of(topic); by != nil && by.record == recordNothing {
		return true, by.count.ignore
	}
	return false, nil
}

// message makes a message of what is recorded of a payload on a topic.
func (f topicFilters) message(topic string, make func(sensors.Keeping) *sensors.Message) *sensors.Message {
	by := f.of(topic)
	if by == nil {
		return make(sensors.Keeping{})
	}
	m := make(by.keep)
	if m.Hashed() {
		by.count.hashed.Add(1)
	}
	return m
}

// status says what each filter kept out.
func (f topicFilters) status() (all []api.Filter) {
	for i := range f {
		c := f[i].count
		all = append(all, api.Filter{Topics: c.filter, Record: f[i].record, Ignored: c.ignored.Load(), Hashed: c.hashed.Load()})
	}
	return all
}

// checkFilters looks at the filters of a source.
func checkFilters(d *tomlconf.Document, filters []FilterConfig, most tomlconf.Size) {
	var before []string
	for i := range filters {
		f := &filters[i]
		checkTopics(d, f, f.Topics)
		tomlconf.OneOf(d, &f.Record, recordAll, recordHash, recordNothing)
		if f.PayloadMax != 0 && (f.PayloadMax < minPayload || f.PayloadMax > most) {
			d.Refuse(&f.PayloadMax, "expected %v to payload.max, %v, or 0B for that", tomlconf.Size(minPayload), most)
		}
		if f.PayloadMax != 0 && f.Record != recordAll {
			d.Warn(&f.PayloadMax, "it is of no use where record is not %q", recordAll)
		}
		for j := range f.Topics {
			topic := &f.Topics[j]
			switch earlier := slices.IndexFunc(before, func(b string) bool { return mqttwire.Covers(b, *topic) }); {
			case len(*topic) > mostFilterBytes:
				d.Refuse(topic, "expected at most %d bytes", mostFilterBytes)
			case strings.HasPrefix(*topic, "$share/"):
				d.Refuse(topic, "expected the topics alone: what is recorded does not depend on the group that a message was sent to")
			case earlier >= 0:
				d.Warn(topic, "it is never reached: %q before it covers all of it, and the first that covers a topic counts", before[earlier])
			}
			before = append(before, *topic)
		}
	}
}

// checkFilterNumber bounds what filters count.
func (c *Config) checkFilterNumber(d *tomlconf.Document) {
	n := 0
	check := func(filters []FilterConfig) {
		for i := range filters {
			if n += len(filters[i].Topics); n > mostFilters {
				d.Refuse(&filters[i], "expected at most %d topics in all tables filter together", mostFilters)
				return
			}
		}
	}
	check(c.Broker.Filter)
	for i := range c.MQTT {
		check(c.MQTT[i].Filter)
	}
}
