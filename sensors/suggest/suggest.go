// Package suggest looks at messages of devices that nobody has configured yet, and says which configuration reads them: which
// preset or dialect, with which keys, on which topic filters; how a message of each kind reads then; and what of it only a person
// can decide.
//
// It reads payloads by package sensors alone, with the configuration that it proposes, so that what it shows is what the agent
// would record. It does no I/O, and its memory has bounds, whatever comes.
package suggest

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

// Message is one message as it came.
type Message struct {
	Topic    string
	Payload  []byte
	Flags    lightchain.Flags
	Received time.Time
}

// Limits bound what a Collector keeps.
type Limits struct {
	Topics  int // of which messages are kept
	Samples int // different payloads of one topic
	Payload int // bytes of one payload
	Bytes   int // of all payloads
}

// DefaultLimits are for a board.
var DefaultLimits = Limits{Topics: 4096, Samples: 8, Payload: 64 << 10, Bytes: 8 << 20}

// LeftOut counts messages that were not looked at.
type LeftOut struct {
	Topics  int `json:"topics,omitempty"`  // of topics beyond the limit
	Size    int `json:"size,omitempty"`    // too large
	Memory  int `json:"memory,omitempty"`  // of topics for whose first message there was no room left
	Invalid int `json:"invalid,omitempty"` // under what is no topic
}

// Stateful reads what takes more than the message itself, as [sensors.Intake] has it.
type Stateful func(topic string, flags lightchain.Flags, payload []byte, received time.Time) (sensors.Result, error)

// Collector keeps samples of messages. It belongs to one goroutine.
type Collector struct {
	limits   Limits
	stateful Stateful
	auto     *sensors.Decoder
	topics   map[string]*topic
	bytes    int
	messages int
	retained int
	leftOut  LeftOut
}

// topic is what is known of one.
type topic struct {
	name     string
	levels   []string
	messages int
	retained int
	samples  []sample

	config sensors.Config
	area   string // the filter of all that is read alike there; "": nothing is known of other topics
	hints  []string
}

// sample is one message of a topic.
type sample struct {
	payload  []byte
	received time.Time
	stateful bool
	told     sensors.Result // of one that was read by what others said
	err      error
}

// New returns a Collector. stateful is asked of each message of Sparkplug in the order in which they come.
func New(limits Limits, stateful Stateful) *Collector {
	auto, err := sensors.New(sensors.Config{})
	if err != nil {
		panic("suggest: the decoder that nothing is said about: " + err.Error())
	}
	return &Collector{limits: limits, stateful: stateful, auto: auto, topics: map[string]*topic{}}
}

// Add takes a message, whose payload it may keep.
func (c *Collector) Add(m Message) {
	c.messages++
	if m.Flags&lightchain.Retained != 0 {
		c.retained++
	}
	if !mqttwire.ValidText(m.Topic) || !mqttwire.ValidTopic(m.Topic) {
		c.leftOut.Invalid++
		return
	}
	s := sample{payload: m.Payload, received: m.Received}
	if s.stateful = c.stateful != nil && (c.auto.Stateful(m.Topic) || bridged(m.Topic)); s.stateful {
		s.told, s.err = c.stateful(m.Topic, m.Flags, m.Payload, m.Received)
	}
	if len(m.Payload) > c.limits.Payload {
		c.leftOut.Size++
		return
	}
	t := c.topics[m.Topic]
	switch {
	case t == nil && len(c.topics) >= c.limits.Topics:
		c.leftOut.Topics++
		return
	case t == nil && c.bytes+len(m.Payload) > c.limits.Bytes:
		c.leftOut.Memory++
		return
	case t == nil:
		t = &topic{name: m.Topic, levels: strings.Split(m.Topic, "/")}
		c.topics[m.Topic] = t
	}
	t.messages++
	if m.Flags&lightchain.Retained != 0 {
		t.retained++
	}
	c.keep(t, s)
}

// keep keeps a payload that differs from those of its topic. The second half of the room is for topics that come late.
func (c *Collector) keep(t *topic, s sample) {
	first := len(t.samples) == 0
	if !first && (len(t.samples) >= c.limits.Samples || c.bytes+len(s.payload) > c.limits.Bytes/2) {
		return
	}
	if slices.ContainsFunc(t.samples, func(other sample) bool { return bytes.Equal(other.payload, s.payload) }) {
		return
	}
	t.samples = append(t.samples, s)
	c.bytes += len(s.payload)
}

// Messages is how many came, and Topics of how many topics some are kept.
func (c *Collector) Messages() int { return c.messages }

// Topics is of how many topics messages are kept.
func (c *Collector) Topics() int { return len(c.topics) }

// Report is what a Collector suggests.
type Report struct {
	Messages int
	Retained int // of these
	Topics   int
	Groups   []Group  // those of one configuration follow each other
	Warnings []string // what goes wrong with this configuration
	LeftOut  LeftOut
}

// Group is messages that look alike, and are read alike.
type Group struct {
	Filters  []string
	Config   sensors.Config
	Topics   int
	Messages int
	Retained int
	Example  Example
	Unread   []Unread // what was not understood, or leaves a doubt, of all its samples
	Hints    []string // what only a person can decide
}

// Example is one message and how it reads.
type Example struct {
	Topic   string
	Payload []byte
	sensors.Result
	Err error
}

// Unread is a kind of messages that were not understood, or lack something.
type Unread struct {
	Topic    string `json:"topic"`  // of the first
	Reason   string `json:"reason"` // a [sensors.Reason], or "doubt"
	Detail   string `json:"detail"`
	Messages int    `json:"messages"` // among the samples
}

// Report says which configuration reads what came.
func (c *Collector) Report() Report {
	all := slices.SortedFunc(maps.Values(c.topics), func(a, b *topic) int { return strings.Compare(a.name, b.name) })
	for _, t := range all {
		c.choose(t)
	}
	c.spread(all)
	r := Report{Messages: c.messages, Retained: c.retained, Topics: len(all), LeftOut: c.leftOut}
	r.Groups = group(all)
	r.Warnings = collisions(all)
	return r
}
