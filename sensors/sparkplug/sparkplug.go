// Package sparkplug reads Sparkplug B 3.0 as a host application would: it remembers what each node's birth said its metrics are,
// counts what is missing, and says when a node asks to be asked for its birth again.
//
// It is fed each message of one broker, in the order in which they came, and does no I/O: what it says of nodes is handed out as
// [Event]s, what it would send as [Request]s, what it remembers as [Birth]s, and whose entries, messages and files these become is
// its caller's. Payloads are read by the numbers of their fields; nothing is generated, and nothing of the schema's text is here.
//
// # Whose reading it is
//
// The device of a reading is its node, "group/node", or "group/node/device". No id has a slash in it, so no two of them are one.
//
// # What an alias means
//
// Data names its metrics by numbers that the newest birth of its node, or device, gave them. A reading that was named so has the
// hash of that birth's payload beside it. After the death of its node, before a birth, or under an alias that no birth gave, a
// metric has no reading: it is told, and stays in the payload.
//
// # Lenient and strict
//
// What breaks the specification and leaves no doubt is taken, and counted ([Stats].Oddities): the reference client in JavaScript
// breaks it in five ways. What is sent follows it to the letter.
package sparkplug

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"
	"unicode/utf8"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// Limits bound what a Host remembers, whatever nodes send.
type Limits struct {
	Nodes   int // edge nodes
	Devices int // of all nodes together
	Bytes   int // that all births cost in memory; one node may have a quarter
}

// DefaultLimits are those of a gateway.
var DefaultLimits = Limits{Nodes: 1024, Devices: 8192, Bytes: 32 << 20}

// Config says how a Host works. Its zero value remembers within [DefaultLimits], and sends nothing.
type Config struct {
	Limits Limits
	Now    func() time.Time // a clock that never jumps; nil: time.Now

	// Asks has births asked for where they are missing, [Host.Requests] then has the requests; Reorder is how long missing
	// messages may still come before one is.
	Asks    bool
	Reorder time.Duration
}

// Host knows the nodes of one broker. It is safe for concurrent use; messages of one node must come in their order.
type Host struct {
	limits Limits
	now    func() time.Time

	mu        sync.Mutex
	asks      bool
	reorder   time.Duration
	nodes     map[string]*node // guarded by mu, like all below
	devices   int
	bytes     int // of births
	unsaved   int // of these, whose payload is held
	recalling bool
	barren    time.Time // when it was last seen that no node may be forgotten
	full      episode   // there is no room for a node, a device or a birth
	pending   int       // episodes of which something is to be told
	stats     Stats
	oddities  map[Oddity]*Odd
	scratch   payload
	out       []lightchain.Reading
	budget    float64 // requests that may be made at once
	refilled  time.Time
	decoder   string
}

// Stats counts what a Host has seen, and what it remembers.
type Stats struct {
	Messages uint64 `json:"messages"`
	Nodes    int    `json:"nodes"`   // that are known
	Online   int    `json:"online"`  // of these, born and not dead
	Unborn   int    `json:"unborn"`  // of these, sending without a birth that is known
	Devices  int    `json:"devices"` // that are online
	Births   uint64 `json:"births"`
	Deaths   uint64 `json:"deaths"`
	Gaps     uint64 `json:"gaps"`
	Missing  uint64 `json:"missing"`           // messages, by their numbers
	Nameless uint64 `json:"nameless"`          // metrics without a reading, since no birth names them
	Repeated uint64 `json:"repeated"`          // messages under the number of the one before
	Requests uint64 `json:"requests"`          // made for births
	Full     uint64 `json:"full"`              // messages of nodes and devices, and births, that there was no room for
	Bytes    int    `json:"bytes"`             // that births cost
	Oddities []Odd  `json:"oddities,omitzero"` // the most frequent first
}

// node is an edge node.
type node struct {
	topic  topic
	name   string
	known  bool // its NBIRTH is: it is online
	dead   bool // its NDEATH came after that
	birth  *birth
	bdSeq  int // of its NBIRTH; -1: not known
	before int // of the NBIRTH before it; -1
	seq    int // of its next message; -1: not known
	at     int // place of its next message among all of them, those that are missing counted
	open   int // missing messages that may still come, see Config.Reorder

	devices map[string]*device
	bytes   int // of all its births
	heard   time.Time

	told   [whats]episode
	unborn uint64    // messages without a known birth, since there was one
	due    time.Time // when its birth is to be asked for; zero: it is not
	asked  time.Time
	waits  time.Duration // between two requests
	wrong  bool          // its numbers of births are not as they should be, and that was told
}

// device is one of a node's.
type device struct {
	birth *birth // nil: none that counts is known
	alive bool
	died  uint64 // when its newest death was sent, as a birth's sent
}

// New returns a Host that knows nothing yet.
func New(c Config) *Host {
	if c.Limits == (Limits{}) {
		c.Limits = DefaultLimits
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Host{limits: c.Limits, now: c.Now, asks: c.Asks, reorder: c.Reorder, nodes: map[string]*node{},
		oddities: map[Oddity]*Odd{}, decoder: sensors.SparkplugName()}
}

// SetAsks changes [Config].Asks and Reorder.
func (h *Host) SetAsks(asks bool, reorder time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asks, h.reorder = asks, reorder
}

// Read reads a message, and remembers what it says of later ones. It is what [sensors.Intake].Stateful wants: what it returns can
// stand in an entry, and its errors are [*sensors.NotUnderstoodError]s.
func (h *Host) Read(name string, flags lightchain.Flags, b []byte, received time.Time) (sensors.Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.Messages++
	return h.read(name, flags, b, received)
}

// Recall takes a message that was read before, when nothing is told of it any more: what it said of later ones counts.
func (h *Host) Recall(name string, flags lightchain.Flags, b []byte, received time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recalling = true
	defer func() { h.recalling = false }()
	_, _ = h.read(name, flags, b, received)
}

// Unseen says that a message on a topic came which nobody wants read: where numbers go on after it, nothing is missing, and what
// a birth or a death among them ended means nothing any more.
func (h *Host) Unseen(name string) {
	t, ok := parseTopic(name)
	if !ok || t.certificate {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unread(&t)
}

// unread takes a message of which only its topic is known. By a birth before one that cannot be read an alias may mean something
// else: so none is in force. It is under h.mu.
func (h *Host) unread(t *topic) {
	n := h.nodes[t.name()]
	if n == nil {
		return
	}
	n.seq = -1 // it came, and its number is not known
	switch t.kind {
	case nbirth:
		h.dropAll(n)
		n.known, n.dead, n.bdSeq = true, false, -1
	case ndeath:
		h.dropAll(n)
		n.known, n.dead, n.bdSeq = false, true, -1
	case dbirth, ddeath:
		if d := n.devices[t.device]; d != nil {
			h.drop(n, &d.birth)
			d.alive = t.kind == dbirth
		}
	}
}

// UnseenAll says it of all nodes: messages came that were not read.
func (h *Host) UnseenAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.nodes {
		n.seq = -1
	}
}

// mostName bounds in bytes a topic, whose ids stand in entries beside those of many others, and the name of a metric, which stands
// in each of its readings.
const mostName = 1024

// read is under h.mu.
func (h *Host) read(name string, flags lightchain.Flags, b []byte, received time.Time) (sensors.Result, error) {
	if !utf8.ValidString(name) || len(name) > mostName {
		return sensors.Result{}, sensors.NotUnderstood(sensors.BadUTF8, "a topic of Sparkplug that is not UTF-8, or longer than %d bytes", mostName)
	}
	t, ok := parseTopic(name)
	if !ok {
		return sensors.Result{}, sensors.NotUnderstood(sensors.Syntax, "%.80q is no topic of Sparkplug", name)
	}
	if t.certificate {
		// Sparkplug 3.0, chapter 10: a replay of a birth that was on its own topic, too.
		if t.kind != nbirth && t.kind != dbirth {
			return sensors.Result{Decoder: h.decoder}, nil
		}
		flags |= lightchain.Retained
	}
	if t.kind == state {
		return h.readState(name, b, received)
	}
	if flags&lightchain.PayloadHashed != 0 {
		if flags&lightchain.Retained == 0 {
			h.unread(&t)
		}
		return sensors.Result{}, nil
	}
	if len(b) == 0 && t.kind != ndeath { // erases a retained one
		return sensors.Result{Decoder: h.decoder}, nil
	}
	p := &h.scratch
	defer p.forget()
	if err := p.readAny(b); err != nil {
		if flags&lightchain.Retained == 0 {
			h.unread(&t)
		}
		return sensors.Result{}, h.refused(err)
	}
	r := reading{h: h, t: &t, p: p, flags: flags, received: sensors.Nanoseconds(received), payload: b}
	switch t.kind {
	case ncmd, dcmd:
		return sensors.Result{Decoder: h.decoder}, nil // what somebody wants is nothing that was measured
	case nbirth, ndeath, ndata, dbirth, ddeath, ddata:
		return r.read()
	}
	return sensors.Result{Decoder: h.decoder, Doubt: "a kind of message that this version does not know; its metrics are in the payload"}, nil
}

// refused says why a payload cannot be read.
func (h *Host) refused(err error) error {
	if sensors.ReasonOf(err) != "" {
		return err
	}
	if errors.Is(err, errMetrics) {
		return sensors.NotUnderstood(sensors.TooMany, "more than %d metrics", maxMetrics)
	}
	return sensors.NotUnderstood(sensors.Syntax, "no payload of Sparkplug B: %.120v", err)
}

// node returns a node, made where there is room for another one; nil: there is none.
func (h *Host) node(t *topic) *node {
	name := t.name()
	n := h.nodes[name]
	if n == nil {
		if len(h.nodes) >= h.limits.Nodes && !h.forgetOne() {
			h.isFull()
			return nil
		}
		n = &node{topic: *t, name: name, bdSeq: -1, before: -1, seq: -1, at: 256, devices: map[string]*device{}}
		h.nodes[name] = n
	}
	n.heard = h.now()
	return n
}

// device returns a node's device, made where there is room for another one; nil: there is none.
func (h *Host) device(n *node, name string) *device {
	d := n.devices[name]
	if d == nil {
		if h.devices >= h.limits.Devices && !(len(n.devices) <= h.limits.Devices/4 && h.forgetOne()) {
			h.isFull()
			return nil
		}
		if len(n.devices) >= h.limits.Devices/4+1 {
			h.isFull()
			return nil
		}
		d = new(device)
		n.devices[name] = d
		h.devices++
	}
	return d
}

// A node that is not online may be forgotten for another one after a while, and one that is after a long while: a flood of names
// must not push out what is at work.
const (
	forgetDead  = time.Minute
	forgetAlive = 30 * 24 * time.Hour
)

// forgetOne forgets the node that was silent for longest, of those that may be forgotten, the ones that are not online first.
func (h *Host) forgetOne() bool {
	now := h.now()
	if !h.barren.IsZero() && now.Sub(h.barren) < time.Second {
		return false // a flood of names would have all nodes looked at for each
	}
	var oldest *node
	for _, n := range h.nodes {
		after := forgetAlive
		if !n.known {
			after = forgetDead
		}
		if now.Sub(n.heard) < after {
			continue
		}
		if oldest == nil || oldest.known && !n.known || oldest.known == n.known && n.heard.Before(oldest.heard) {
			oldest = n
		}
	}
	if oldest == nil {
		h.barren = now
		return false
	}
	h.forgetDevices(oldest)
	h.drop(oldest, &oldest.birth)
	for i := range oldest.told {
		if oldest.told[i].pending() {
			h.pending--
		}
	}
	delete(h.nodes, oldest.name)
	return true
}

func (h *Host) forgetDevices(n *node) {
	for _, d := range n.devices {
		h.drop(n, &d.birth)
	}
	h.devices -= len(n.devices)
	clear(n.devices)
}

// dropAll forgets the births of a node and its devices.
func (h *Host) dropAll(n *node) {
	h.drop(n, &n.birth)
	for _, d := range n.devices {
		h.drop(n, &d.birth)
		d.alive = false
	}
}

// Stats returns what was counted.
func (h *Host) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Nodes, s.Bytes = len(h.nodes), h.bytes
	for _, n := range h.nodes {
		if n.known {
			s.Online++
		}
		if n.unborn > 0 {
			s.Unborn++
		}
		for _, d := range n.devices {
			if d.alive {
				s.Devices++
			}
		}
	}
	s.Oddities = h.odd()
	return s
}

func hashOf(b []byte) lightchain.Hash { return sha256.Sum256(b) }
