package sparkplug

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// Metrics with a meaning of their own.
const (
	bdSeqMetric   = "bdSeq"
	rebirthMetric = "Node Control/Rebirth"
)

// Bounds of what is made of one message.
const (
	maxReadings = 16384
	maxSize     = 4 << 20 // bytes that they take in an entry
	maxElements = 1024    // of an array that are readings: more are summed up
)

// reading is a message of a node on its way through a Host, whose mutex is held.
type reading struct {
	h        *Host
	t        *topic
	p        *payload
	flags    lightchain.Flags
	received int64
	payload  []byte

	n        *node // nil: there was no room for it
	place    int   // among its node's messages, by its number, see node.at; 0: it has none
	birth    *birth
	device   string // of the readings
	out      []lightchain.Reading
	size     int
	full     bool // there was no room for a reading
	nameless int  // metrics that nothing names
	doubt    string
}

// read takes the message.
func (r *reading) read() (sensors.Result, error) {
	h := r.h
	if r.n = h.node(r.t); r.n != nil {
		if !r.t.certificate {
			r.oddities()
		}
		r.follow()
	}
	r.device = r.t.name()
	if r.t.device != "" {
		r.device += "/" + r.t.device
	}
	r.out = h.out[:0]
	defer func() {
		clear(r.out)
		h.out = r.out[:0]
	}()
	for i := range r.p.metrics {
		if err := r.metric("", &r.p.metrics[i], 0); err != nil {
			return sensors.Result{}, err
		}
	}
	if r.nameless > 0 {
		h.stats.Nameless += uint64(r.nameless)
		if err := r.tellNameless(); err != nil {
			return sensors.Result{}, err
		}
	}
	return sensors.Result{Readings: append([]lightchain.Reading(nil), r.out...), Decoder: h.decoder, Doubt: r.doubt}, nil
}

// follow brings what is known of the node up to this message, and finds the birth that names its metrics.
func (r *reading) follow() {
	n := r.n
	replay := r.flags&lightchain.Retained != 0
	switch r.t.kind {
	case nbirth:
		r.nodeBirth(replay)
	case ndeath:
		r.nodeDeath(replay)
	case dbirth:
		if !replay {
			r.number()
		}
		r.deviceBirth(replay)
	case ddeath:
		if replay {
			return
		}
		r.number()
		if d := n.devices[r.t.device]; d != nil {
			if d.birth != nil {
				if r.late(d.birth) {
					return
				}
				d.died = d.birth.sent
			}
			r.h.drop(n, &d.birth)
			d.alive, d.died = false, max(d.died, r.p.timestamp)
		}
		r.h.stats.Deaths++
		r.note(DeviceDeath)
	case ndata:
		if !replay {
			r.number()
		}
		r.birth = n.birth
	case ddata:
		if !replay {
			r.number()
		}
		if d := n.devices[r.t.device]; d != nil {
			r.birth = d.birth
		}
	}
	if r.birth != nil && (r.late(r.birth) || replay && r.p.timestamp < r.birth.sent) {
		r.birth = nil // what it means was said by the one before
		return
	}
	if (r.t.kind == ndata || r.t.kind == ddata) && r.birth == nil && !replay {
		n.unborn++
		e := r.note(Unborn)
		e.messages++
		r.h.ask(n, 0)
	}
}

// late reports whether the message was sent before a birth that came before it, as its number says.
func (r *reading) late(b *birth) bool { return b != nil && r.place > 0 && r.place < b.at }

// nodeBirth takes an NBIRTH. A retained one is a replay: it may be older than what is known, and counts where nothing is, or where it
// was sent later.
func (r *reading) nodeBirth(replay bool) {
	n, h := r.n, r.h
	bdSeq := bdSeqOf(r.p)
	if replay && (n.birth != nil && r.p.timestamp <= n.birth.sent || n.dead && bdSeq == n.bdSeq) {
		return // a newer one is known, or it has died
	}
	if !replay {
		r.checkBdSeq(bdSeq)
		n.before, n.bdSeq = n.bdSeq, bdSeq
		n.seq = -1
		r.number()
	} else {
		n.bdSeq = bdSeq
	}
	r.endUnborn()
	// Sparkplug 3.0, chapter 5: each device is born again behind its node. Replays come in any order.
	for _, d := range n.devices {
		if d.birth != nil && (!replay || d.birth.sent < r.p.timestamp) {
			h.drop(n, &d.birth)
			d.alive = false
		}
	}
	h.stats.Births++
	n.known, n.dead, n.open, n.due = true, false, 0, zeroTime
	h.keep(n, &n.birth, r.newBirth(), r.payload)
}

// endUnborn tells that a birth came, where messages came before it.
func (r *reading) endUnborn() {
	if n := r.n; n.unborn > 0 {
		e := r.note(Born)
		e.messages += n.unborn
		n.unborn = 0
	}
}

// checkBdSeq tells of a birth whose number does not follow from the one before.
//
// Sparkplug 3.0, tck-id-topics-nbirth-bdseq-increment: it goes up by one with each connection, and stays with a birth that was
// asked for (tck-id-operational-behavior-data-commands-rebirth-action-3).
func (r *reading) checkBdSeq(bdSeq int) {
	n := r.n
	var right bool
	switch {
	case bdSeq < 0:
		r.odd(NoBdSeq)
	case n.bdSeq < 0:
		return
	case n.dead:
		right = bdSeq == (n.bdSeq+1)&255
	default: // born again on one connection, or on another whose end was not heard
		right = bdSeq == n.bdSeq || bdSeq == (n.bdSeq+1)&255
	}
	if !right && !n.wrong {
		e := r.note(WrongBdSeq)
		e.numbers(n.bdSeq, bdSeq)
	}
	n.wrong = !right
}

// nodeDeath takes an NDEATH, unless it is of a connection before the node's newest birth: brokers publish wills when they notice.
func (r *reading) nodeDeath(replay bool) {
	n, h := r.n, r.h
	bdSeq := bdSeqOf(r.p)
	if replay && n.known {
		return
	}
	switch {
	case bdSeq < 0:
		r.odd(NoBdSeq)
	case n.known && n.bdSeq >= 0 && bdSeq != n.bdSeq && (bdSeq == n.before || (n.bdSeq-bdSeq)&255 < 128):
		// Sparkplug 3.0, tck-id-payloads-ndeath-bdseq: it tells which birth a death belongs to. That of a later one, which did
		// not come, ends what is known as well.
		e := r.note(StaleDeath)
		e.numbers(n.bdSeq, bdSeq)
		return
	}
	h.stats.Deaths++
	e := r.note(Death)
	e.numbers(n.bdSeq, bdSeq)
	if bdSeq >= 0 && (n.bdSeq < 0 || (bdSeq-n.bdSeq)&255 < 128) {
		n.bdSeq = bdSeq
	}
	n.known, n.dead, n.seq, n.open, n.due = false, true, -1, 0, zeroTime
	h.dropAll(n)
}

func (r *reading) deviceBirth(replay bool) {
	n, h := r.n, r.h
	d := h.device(n, r.t.device)
	if d == nil || replay && (n.dead || d.died > 0 && r.p.timestamp <= d.died || d.birth != nil && r.p.timestamp <= d.birth.sent || n.birth != nil && r.p.timestamp < n.birth.sent) {
		return
	}
	if r.late(d.birth) || r.late(n.birth) {
		return // a newer one is known, or the node was born again since
	}
	if n.known {
		r.endUnborn() // of its device, as of it
	} else if !replay {
		n.unborn++
		e := r.note(Unborn)
		e.messages++
		h.ask(n, 0)
	}
	h.stats.Births++
	d.alive = true
	h.keep(n, &d.birth, r.newBirth(), r.payload)
}

// late is by how much a number may lie behind what was expected and be of a message that comes late, and not of one behind so many
// that are missing.
const late = 10

// number checks the number of a message.
//
// Sparkplug 3.0, tck-id-payloads-sequence-num-incrementing: 0 to 255, one more with each message of the node and its devices.
func (r *reading) number() {
	n, p := r.n, r.p
	if !p.sequenced {
		n.seq = -1
		n.at++
		return
	}
	defer func() {
		if r.place == 0 {
			r.place = n.at
			n.at++
		}
	}()
	seq := int(p.seq & 255)
	if n.seq < 0 || r.t.kind == nbirth {
		n.seq = (seq + 1) & 255
		return
	}
	missing := (seq - n.seq) & 255
	switch {
	case missing == 0:
	case missing == 255 || r.flags&lightchain.Redelivered != 0 && missing > 255-late:
		r.place = n.at - 256 + missing
		r.h.stats.Repeated++
		return
	case missing > 255-late:
		r.place = n.at - 256 + missing
		e := r.note(Late)
		e.numbers(n.seq, seq)
		e.messages++
		if n.open > 0 {
			if n.open--; n.open == 0 && n.unborn == 0 {
				n.due = zeroTime // all that was missing came
			}
		}
		return
	default:
		r.h.stats.Gaps++
		r.h.stats.Missing += uint64(missing)
		e := r.note(Gap)
		e.numbers(n.seq, (seq-1)&255)
		e.messages += uint64(missing)
		n.open = missing
		r.h.ask(n, r.h.reorder)
		n.at += missing
	}
	n.seq = (seq + 1) & 255
}

// tellNameless tells of metrics that nothing names, and is an error where nothing else was read.
func (r *reading) tellNameless() error {
	if r.n == nil || r.birth == nil {
		if len(r.out) == 0 {
			return sensors.NotUnderstood(sensors.NoBirth, "no birth of %.80q is known that names its metrics", r.device)
		}
		r.says("of some metrics no birth is known that names them")
		return nil
	}
	e := r.note(UnknownAlias)
	e.messages++
	r.h.ask(r.n, 0)
	if len(r.out) == 0 {
		return sensors.NotUnderstood(sensors.NoBirth, "the birth of %.80q gives no metric this alias", r.device)
	}
	r.says("of some metrics the birth has no such alias")
	return nil
}

// metric makes the readings of a metric, or of a template's member; prefix is the template's name and a dot.
func (r *reading) metric(prefix string, m *metric, depth int) error {
	if m.named && (!utf8.Valid(m.name) || len(m.name) > mostName) {
		r.says("a metric's name is not UTF-8, or very long")
		return nil
	}
	means := r.birth.find(prefix, m)
	if means == nil && !m.named {
		r.nameless++
		return nil
	}
	name, datatype, unit := "", m.datatype, ""
	if means != nil {
		name, unit = means.name, means.unit
		if datatype == 0 {
			datatype = means.datatype
		}
	} else {
		name = prefix + string(m.name)
	}
	quality := lightchain.Quality(0)
	if len(m.properties) > 0 {
		if u := unitOf(m.properties); u != "" {
			unit = u
		}
		if isBad(m.properties) {
			quality |= lightchain.Bad
		}
	}
	if m.historical {
		quality |= lightchain.Historical
	}
	first := len(r.out)
	if err := r.values(name, datatype, m, depth); err != nil {
		return err
	}
	if r.full {
		return sensors.NotUnderstood(sensors.TooLarge, "more readings than one message may have")
	}
	for i := first; i < len(r.out); i++ {
		o := &r.out[i]
		o.Quality |= quality
		if o.Device != "" {
			continue // a template's member: it has all else
		}
		o.Device = r.device
		if k := o.Value.Kind(); (k == lightchain.KindInt || k == lightchain.KindFloat) && !(o.Derived && strings.HasSuffix(o.Name, "/count")) {
			o.Unit = unit
		}
		switch {
		case m.timed:
			sensors.Measured(o, m.timestamp, r.received)
		case r.p.timed:
			sensors.Measured(o, r.p.timestamp, r.received)
		}
		if means != nil {
			o.Meaning = &r.birth.hash
		}
	}
	return nil
}

// values makes the readings of a metric, with names and values alone.
func (r *reading) values(name string, datatype uint32, m *metric, depth int) error {
	switch {
	case m.null:
	case m.field == valueDataSet:
		r.dataSet(name, m.data)
		return nil
	case m.field == valueTemplate:
		return r.template(name, m, depth)
	case datatype >= typeInt8Array && datatype <= typeDateTimeArray && m.field == valueBytes:
		r.array(name, datatype, m.data)
		return nil
	}
	v, doubt := scalar(datatype, m)
	if doubt != "" {
		r.says("the metric %s "+doubt, name)
	}
	r.put(name, v)
	return nil
}

// put adds a reading, unless that brings the message above its bounds.
func (r *reading) put(name string, v lightchain.Reading) {
	v.Name = name
	t, _ := v.Value.Text()
	if r.size += len(r.device) + len(name) + len(t) + mostUnit + 96; r.size > maxSize || len(r.out) >= maxReadings {
		r.full = true
		return
	}
	r.out = append(r.out, v)
}

// says notes a doubt about the message, the first one.
func (r *reading) says(format string, name ...string) {
	if r.doubt != "" {
		return
	}
	r.doubt = format
	if len(name) > 0 {
		n := name[0]
		if len(n) > 60 {
			n = n[:60] + "…"
		}
		r.doubt = sprintf(format, strconv.Quote(n))
	}
}
