package sparkplug

import (
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// birth is what a birth message said of its metrics. It does not change.
type birth struct {
	hash     lightchain.Hash // of the message's payload
	received int64
	sent     uint64 // milliseconds since the Unix epoch, by the node's clock; 0: it does not say
	at       int    // its place among its node's messages, see node.at; 0: not known
	retained bool
	names    map[string]*meaning // those of templates' members are paths
	aliases  map[uint64]*meaning
	cost     int
	payload  []byte // until it is saved; guarded by the Host's mutex
}

// meaning is what one metric is.
type meaning struct {
	name     string
	datatype uint32
	unit     string
}

// meaningCost is what a metric costs in memory beside its texts, with its places in two maps.
const meaningCost = 200

// newBirth reads a birth message, whose payload is in p.
func (r *reading) newBirth() *birth {
	b := &birth{hash: hashOf(r.payload), received: r.received, sent: r.p.timestamp, at: r.place, retained: r.flags&lightchain.Retained != 0,
		names: make(map[string]*meaning, len(r.p.metrics)), aliases: map[uint64]*meaning{}, cost: 512 + len(r.payload)}
	most := r.h.limits.Bytes / 4
	for i := range r.p.metrics {
		b.add(r, "", &r.p.metrics[i], most, 0)
	}
	return b
}

// add adds a metric, and the members of a template. What a template's definition has says nothing of any instance: an alias there
// is no metric's.
func (b *birth) add(r *reading, prefix string, m *metric, most, depth int) {
	if !m.named || !utf8.Valid(m.name) || len(m.name) > mostName || b.cost > most {
		return
	}
	means := &meaning{name: prefix + string(m.name), datatype: m.datatype, unit: unitOf(m.properties)}
	b.cost += meaningCost + len(means.name) + len(means.unit)
	if other, twice := b.names[means.name]; twice {
		r.odd(SameName)
		if *other != *means {
			// Data by that name alone may be of either: what they do not have in common it has not.
			b.names[means.name] = &meaning{name: means.name}
		}
	} else {
		b.names[means.name] = means
	}
	if m.aliased {
		if _, twice := b.aliases[m.alias]; twice {
			r.odd(SameAlias)
			// Which of them is meant nobody can tell: neither is.
			b.aliases[m.alias] = nil
		} else {
			b.aliases[m.alias] = means
		}
	}
	if m.field == valueTemplate && depth < maxDepth && !isDefinition(m.data) {
		_ = members(m.data, func(member *metric) error {
			b.add(r, means.name+".", member, most, depth+1)
			return nil
		}, nil)
	}
}

// find returns what a metric of data means by this birth; nil: it does not say, or there is none.
func (b *birth) find(prefix string, m *metric) *meaning {
	switch {
	case b == nil:
		return nil
	case m.named && prefix == "":
		return b.names[string(m.name)]
	case m.named:
		return b.names[prefix+string(m.name)]
	case m.aliased:
		if means := b.aliases[m.alias]; means != nil && strings.HasPrefix(means.name, prefix) {
			return means // and no member of another template
		}
	}
	return nil
}

// keep puts a birth in the place of another one, if there is room for it.
func (h *Host) keep(n *node, at **birth, b *birth, payload []byte) {
	h.drop(n, at)
	for h.bytes+b.cost > h.limits.Bytes {
		if n.bytes+b.cost > h.limits.Bytes/4 || !h.forgetOne() {
			break
		}
	}
	if h.bytes+b.cost > h.limits.Bytes || n.bytes+b.cost > h.limits.Bytes/4 {
		h.isFull()
		return
	}
	h.bytes += b.cost
	n.bytes += b.cost
	*at = b
	b.payload = append([]byte{}, payload...)
	h.unsaved++
}

// drop forgets a birth.
func (h *Host) drop(n *node, at **birth) {
	if b := *at; b != nil {
		h.bytes -= b.cost
		n.bytes -= b.cost
		if b.payload != nil {
			h.unsaved--
		}
		*at = nil
	}
}

// Names of properties that say a unit. The specification names none; these are in use.
var unitProperties = map[string]bool{
	"engunit": true, "engunits": true, "engineeringunit": true, "engineeringunits": true, "unit": true, "units": true, "eu": true, "uom": true,
}

var apart = strings.NewReplacer(" ", "", "_", "") // what their words are kept apart by

// mostUnit is how many bytes a unit may have.
const mostUnit = 64

// unitOf returns the unit that a property set says, "" if none.
func unitOf(set []byte) (unit string) {
	properties(set, func(key []byte, m *metric) {
		if unit != "" || m.field != valueString || m.null || !utf8.Valid(m.data) || len(m.data) > mostUnit {
			return
		}
		if unitProperties[strings.ToLower(apart.Replace(string(key)))] {
			unit = sensors.UnitSymbol(string(m.data))
		}
	})
	return unit
}

// Quality codes of the property "Quality". Sparkplug 3.0, chapter 6: 0 BAD, 192 GOOD, 500 STALE.
const qualityGood = 192

// isBad reports whether a property set says that the value is not good.
func isBad(set []byte) (is bool) {
	properties(set, func(key []byte, m *metric) {
		if string(key) == "Quality" && (m.field == valueInt || m.field == valueLong) && !m.null {
			is = m.bits != qualityGood
		}
	})
	return is
}

// properties calls do for each property of a set. One whose keys and values do not go together says nothing.
func properties(set []byte, do func(key []byte, m *metric)) {
	if len(set) == 0 {
		return
	}
	const most = 256
	var keys, values [][]byte
	err := fields(set, func(n protowire.Number, t protowire.Type, _ uint64, data []byte) error {
		switch {
		case t != protowire.BytesType:
		case len(keys) > most || len(values) > most:
			return errMetrics
		case n == 1:
			keys = append(keys, data)
		case n == 2:
			values = append(values, data)
		}
		return nil
	})
	if err != nil || len(keys) != len(values) {
		return
	}
	for i, key := range keys {
		var m metric
		if m.readProperty(values[i]) == nil {
			do(key, &m)
		}
	}
}

// bdSeqOf returns the number of births that a birth or a death has, -1 if none.
func bdSeqOf(p *payload) int {
	for i := range p.metrics {
		m := &p.metrics[i]
		if string(m.name) != bdSeqMetric {
			continue
		}
		if (m.field == valueInt || m.field == valueLong) && m.bits <= math.MaxInt32 {
			return int(m.bits)
		}
	}
	return -1
}
