package sparkplug

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"
)

// What is one kind of thing that happens to a node and that its data does not say.
type What uint8

// What is told of nodes.
const (
	Gap          What = iota // numbers are missing
	Late                     // a message came behind ones that were sent after it
	Death                    // its NDEATH came: it is offline, with all its devices, and what was known of them is stale
	DeviceDeath              // a DDEATH came
	StaleDeath               // an NDEATH came that belongs to another birth than its newest
	WrongBdSeq               // the number of its birth does not follow from the one before
	Unborn                   // it sends, and its birth, or its device's, is not known
	Born                     // its birth came, behind messages without
	UnknownAlias             // it sends an alias that its birth did not give
	Full                     // there is no room for a node, a device or a birth
	whats
)

var whatWords = [whats]string{"gap", "late", "death", "device_death", "stale_death", "bdseq", "unborn", "born", "alias", "full"}

// String is the word for it, as an entry has it.
func (w What) String() string { return whatWords[w] }

// Sentence says it.
func (w What) Sentence() string {
	return [whats]string{
		"numbers are missing: messages did not come", "a message came behind later ones", "a node has died", "a device has died",
		"a death of an earlier connection came, and does not count", "the number of a birth does not follow from the one before",
		"data comes and no birth is known that says what it means", "a birth came behind data without one",
		"data has an alias that the birth does not", "there is no room for more nodes, devices or births",
	}[w]
}

// Event is what happened to a node, once or, within one episode, again and again.
type Event struct {
	Node     string
	Device   string // the last one that it concerned; "" the node itself
	What     What
	Times    uint64
	Messages uint64 // that are missing, or concerned; 0 where that says nothing

	// Of Gap the numbers that the newest one was from and to; of Late and the births what was expected, and what came. Wrapped
	// numbers may hide 256 messages, or a multiple, more.
	Numbered bool
	From, To int
}

// An episode is told of at once, and where it goes on after some time, which doubles.
const (
	episodeLeast = time.Minute
	episodeMost  = time.Hour
)

type episode struct {
	times, messages uint64
	device          string
	numbered        bool
	from, to        int

	next time.Time // before which no more is told
	wait time.Duration
}

func (e *episode) pending() bool { return e.times > 0 }

func (e *episode) numbers(from, to int) { e.numbered, e.from, e.to = true, from, to }

// note notes that something happened to the message's node.
func (r *reading) note(what What) *episode {
	h := r.h
	if h.recalling || r.n == nil {
		return new(episode)
	}
	e := &r.n.told[what]
	e.device = r.t.device
	h.happened(e)
	return e
}

func (h *Host) happened(e *episode) {
	if e.times == 0 {
		h.pending++
		if now := h.now(); e.wait > 0 && now.After(e.next.Add(e.wait)) {
			e.wait = 0 // it is another episode
		}
	}
	e.times++
}

// isFull notes that there is no room for something.
func (h *Host) isFull() {
	h.stats.Full++
	if !h.recalling {
		h.happened(&h.full)
		h.full.messages++
	}
}

// Events returns what is to be told now, of at most most nodes, the names in order, and how many more wait.
func (h *Host) Events(most int) (events []Event, more int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pending == 0 {
		return nil, 0
	}
	now := h.now()
	take := func(node string, what What, e *episode) {
		if !e.pending() || now.Before(e.next) {
			return
		}
		if len(events) >= most {
			more++
			return
		}
		events = append(events, Event{node, e.device, what, e.times, e.messages, e.numbered, e.from, e.to})
		wait := min(max(2*e.wait, episodeLeast), episodeMost)
		*e = episode{next: now.Add(wait), wait: wait}
		h.pending--
	}
	take("", Full, &h.full)
	for _, n := range h.nodes {
		for what := range whats {
			take(n.name, what, &n.told[what])
		}
	}
	slices.SortFunc(events, func(a, b Event) int { return cmp.Or(strings.Compare(a.Node, b.Node), cmp.Compare(a.What, b.What)) })
	return events, more
}

// Request is a message to a node.
type Request struct {
	Topic   string
	Payload []byte
}

// How often a birth is asked for: of one node, and of all together, so that those of a whole plant do not come at once.
const (
	askLeast   = time.Minute
	askMost    = time.Hour
	askRate    = 5.0 // a second
	askBurst   = 20.0
	askUnheard = time.Hour // after which a node that says nothing is not asked any more
)

var zeroTime time.Time

// ask has a node's birth asked for after a while.
func (h *Host) ask(n *node, after time.Duration) {
	if !h.asks || h.recalling {
		return
	}
	if due := h.now().Add(after); n.due.IsZero() || due.Before(n.due) {
		n.due = due
	}
}

// Requests returns what is to be sent now, where [Config].Asks; sent is when, in milliseconds since the Unix epoch.
func (h *Host) Requests(sent uint64) (requests []Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.asks {
		return nil
	}
	now := h.now()
	if h.refilled.IsZero() {
		h.budget = askBurst
	} else {
		h.budget = min(askBurst, h.budget+askRate*now.Sub(h.refilled).Seconds())
	}
	h.refilled = now
	for _, n := range h.nodes {
		switch {
		case n.due.IsZero() || now.Before(n.due):
			continue
		case n.waits > 0 && now.Before(n.asked.Add(n.waits)):
			continue
		case now.Sub(n.heard) > askUnheard:
			n.due = zeroTime
			continue
		case h.budget < 1:
			return requests
		}
		h.budget--
		// What comes next without a birth has it asked for again; that births come, and messages go missing ever again, does not
		// have it asked for more often.
		waits := askLeast
		if n.waits > 0 && now.Sub(n.asked) < 4*n.waits {
			waits = min(2*n.waits, askMost)
		}
		n.due, n.asked, n.waits = zeroTime, now, waits
		h.stats.Requests++
		requests = append(requests, Request{n.topic.command(), appendRequest(nil, sent)})
	}
	return requests
}

// Oddity is a way in which a client breaks the specification, and is read all the same.
type Oddity string

// The ways.
const (
	RetainedMessage Oddity = "retained"          // a message of a node that the broker keeps
	DeathQoS0       Oddity = "death_qos0"        // an NDEATH with QoS 0, where 1 is wanted
	NotQoS0         Oddity = "qos"               // another message of a node with more than QoS 0
	NoSeq           Oddity = "no_seq"            // a message without its number
	SeqRange        Oddity = "seq_range"         // a number above 255
	BirthSeq        Oddity = "birth_seq"         // an NBIRTH whose number is not 0
	DeathSeq        Oddity = "death_seq"         // an NDEATH with a number
	NoBdSeq         Oddity = "no_bdseq"          // an NBIRTH or NDEATH without the number of its birth
	BdSeqType       Oddity = "bdseq_type"        // one with another datatype than Int64
	NoTimestamp     Oddity = "no_timestamp"      // a message that does not say when it was sent
	NoRebirth       Oddity = "no_rebirth"        // an NBIRTH without the metric Node Control/Rebirth
	BirthDatatype   Oddity = "birth_no_datatype" // a birth with a metric without its datatype
	BirthName       Oddity = "birth_no_name"     // a birth with a metric without its name
	DataDatatype    Oddity = "data_datatype"     // data with datatypes, which the birth said
	DataName        Oddity = "data_name"         // data with a name where the birth gave an alias
	SameAlias       Oddity = "same_alias"        // a birth that gives an alias twice
	SameName        Oddity = "same_name"         // a birth that names two metrics alike
	Compressed      Oddity = "compressed"        // a compressed payload, which the specification does not know
)

// Odd says how often one was met, and where last.
type Odd struct {
	What     Oddity `json:"what"`
	Messages uint64 `json:"messages"`
	Node     string `json:"node"`
}

// odd counts an oddity of the message.
func (r *reading) odd(what Oddity) {
	if r.h.recalling || r.n == nil {
		return
	}
	o := r.h.oddities[what]
	if o == nil {
		o = &Odd{What: what}
		r.h.oddities[what] = o
	}
	o.Messages++
	o.Node = r.n.name
}

func (h *Host) odd() (all []Odd) {
	for _, o := range h.oddities {
		all = append(all, *o)
	}
	slices.SortFunc(all, func(a, b Odd) int { return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.What, b.What)) })
	return all
}

// oddities counts those of the message as it stands.
func (r *reading) oddities() {
	p, kind := r.p, r.t.kind
	check := func(is bool, what Oddity) {
		if is {
			r.odd(what)
		}
	}
	check(r.flags&lightchain.Retained != 0, RetainedMessage)
	check(!p.timed, NoTimestamp)
	check(p.sequenced && p.seq > 255, SeqRange)
	check(p.inflated, Compressed)
	if kind == ndeath {
		check(p.sequenced, DeathSeq)
		check(r.flags&lightchain.QoS0 != 0, DeathQoS0)
	} else {
		check(!p.sequenced, NoSeq)
		check(r.flags&(lightchain.QoS0|lightchain.Retained) == 0, NotQoS0)
	}
	var untyped, unnamed, rebirth, typed, named, bdSeqType bool
	for i := range p.metrics {
		m := &p.metrics[i]
		untyped = untyped || m.datatype == 0
		unnamed = unnamed || !m.named
		typed = typed || m.datatype != 0
		named = named || m.named
		switch kind {
		case nbirth, ndeath:
			rebirth = rebirth || string(m.name) == rebirthMetric
			bdSeqType = bdSeqType || string(m.name) == bdSeqMetric && m.datatype != 0 && m.datatype != typeInt64
		}
	}
	switch kind {
	case nbirth:
		check(p.sequenced && p.seq != 0, BirthSeq)
		check(!rebirth, NoRebirth)
		check(bdSeqType, BdSeqType)
		check(untyped, BirthDatatype)
		check(unnamed, BirthName)
	case dbirth:
		check(untyped, BirthDatatype)
		check(unnamed, BirthName)
	case ndata, ddata:
		check(typed, DataDatatype)
		check(named && r.gaveAlias(), DataName)
	}
}

// gaveAlias reports whether the birth gave an alias to a metric that the message names.
func (r *reading) gaveAlias() bool {
	b := r.n.birth
	if r.t.device != "" {
		b = nil
		if d := r.n.devices[r.t.device]; d != nil {
			b = d.birth
		}
	}
	return b != nil && len(b.aliases) > 0
}

func sprintf(format string, a ...any) string { return fmt.Sprintf(format, a...) }
