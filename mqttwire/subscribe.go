package mqttwire

import (
	"encoding/binary"
	"iter"
)

// Subscribe is a SUBSCRIBE (3.8).
type Subscribe struct {
	ID         uint16
	Properties Properties
	Count      int // of the subscriptions, at least 1
	raw        []byte
}

// Subscription is one of a SUBSCRIBE.
type Subscription struct {
	Filter []byte // text; CheckFilter has looked at it
	Options
}

// Options are a subscription's (3.8.3.1). MQTT 3.1.1 knows QoS alone.
type Options struct {
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0: retained messages are sent; 1: if the subscription is new; 2: not
}

func (o Options) octet() byte {
	b := o.QoS | o.RetainHandling<<4
	if o.NoLocal {
		b |= 4
	}
	if o.RetainAsPublished {
		b |= 8
	}
	return b
}

func optionsOf(b byte) Options { return Options{b & 3, b&4 != 0, b&8 != 0, b >> 4 & 3} }

// DecodeSubscribe reads what follows the header of a SUBSCRIBE.
func DecodeSubscribe(v Version, h Header, body []byte) (p Subscribe, err error) {
	c := cursor{b: body}
	c.minimal(v, h)
	p.ID = c.id()
	if v == V5 {
		p.Properties = c.properties(in(SUBSCRIBE))
	}
	p.raw = c.b
	for c.err == nil && len(c.b) > 0 {
		filter := c.filter()
		b := c.octet()
		o := optionsOf(b)
		switch {
		case c.err != nil:
		case v != V5 && b > 2, o.QoS > 2, b&0xc0 != 0: // [MQTT-3.8.3-5]; 3.1.1: [MQTT-3-8.3-4]
			c.fail(malformed("options that are reserved"))
		case o.RetainHandling > 2: // 3.8.3.1
			c.fail(protocol("retain handling 3"))
		case o.NoLocal && isShared(filter): // [MQTT-3.8.3-4]
			c.fail(protocol("no local with a shared subscription"))
		}
		p.Count++
	}
	if c.err == nil && p.Count == 0 { // [MQTT-3.8.3-2]
		c.fail(protocol("it names no filter"))
	}
	return p, c.end()
}

func isShared(filter []byte) bool { return len(filter) >= 7 && string(filter[:7]) == "$share/" }

func (c *cursor) filter() []byte {
	filter := c.text()
	if c.err != nil {
		return nil
	}
	if err := CheckFilter(string(filter)); err != nil {
		c.fail(malformed("a filter is none: " + err.Error()))
	}
	return filter
}

// All yields the subscriptions in their order.
func (p *Subscribe) All() iter.Seq[Subscription] {
	return func(yield func(Subscription) bool) {
		for c := (cursor{b: p.raw}); len(c.b) > 0; {
			if s := (Subscription{c.binary(), optionsOf(c.octet())}); c.err != nil || !yield(s) {
				return
			}
		}
	}
}

// Add adds a subscription to a packet that is to be sent.
func (p *Subscribe) Add(filter string, o Options) {
	p.raw = append(appendBinary(p.raw, filter), o.octet())
	p.Count++
}

// Append appends the packet.
func (p *Subscribe) Append(v Version, b []byte) []byte {
	return appendAsked(v, b, SUBSCRIBE, p.ID, p.Properties, p.raw)
}

// appendAsked appends a packet that consists of an id, properties, and a payload.
func appendAsked(v Version, b []byte, t Type, id uint16, ps Properties, payload []byte) []byte {
	first, n := byte(t)<<4, 2+len(payload)
	if v == V5 {
		n += ps.size()
	}
	if t == SUBSCRIBE || t == UNSUBSCRIBE {
		first |= 2
	}
	b = binary.BigEndian.AppendUint16(AppendHeader(b, first, n), id)
	if v == V5 {
		b = ps.append(b)
	}
	return append(b, payload...)
}

// Unsubscribe is an UNSUBSCRIBE (3.10).
type Unsubscribe struct {
	ID         uint16
	Properties Properties
	Count      int // of the filters, at least 1
	raw        []byte
}

// DecodeUnsubscribe reads what follows the header of an UNSUBSCRIBE.
func DecodeUnsubscribe(v Version, h Header, body []byte) (p Unsubscribe, err error) {
	c := cursor{b: body}
	c.minimal(v, h)
	p.ID = c.id()
	if v == V5 {
		p.Properties = c.properties(in(UNSUBSCRIBE))
	}
	for p.raw = c.b; c.err == nil && len(c.b) > 0; p.Count++ {
		c.filter()
	}
	if c.err == nil && p.Count == 0 { // [MQTT-3.10.3-2]
		c.fail(protocol("it names no filter"))
	}
	return p, c.end()
}

// All yields the filters in their order.
func (p *Unsubscribe) All() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for c := (cursor{b: p.raw}); len(c.b) > 0; {
			if f := c.binary(); c.err != nil || !yield(f) {
				return
			}
		}
	}
}

// Add adds a filter to a packet that is to be sent.
func (p *Unsubscribe) Add(filter string) {
	p.raw = appendBinary(p.raw, filter)
	p.Count++
}

// Append appends the packet.
func (p *Unsubscribe) Append(v Version, b []byte) []byte {
	return appendAsked(v, b, UNSUBSCRIBE, p.ID, p.Properties, p.raw)
}

// Suback is a SUBACK or UNSUBACK (3.9, 3.11). MQTT 3.1.1 knows of codes only those of a SUBACK from 0 to 2, and 0x80.
type Suback struct {
	ID         uint16
	Properties Properties
	Codes      []byte // one for each filter, in their order
}

// DecodeSuback reads what follows the header of a SUBACK or UNSUBACK.
func DecodeSuback(v Version, h Header, body []byte) (p Suback, err error) {
	c := cursor{b: body}
	c.minimal(v, h)
	p.ID = c.id()
	if v == V5 {
		p.Properties = c.properties(in(h.Type))
	}
	if v != V5 && h.Type == UNSUBACK {
		return p, c.end()
	}
	p.Codes = c.take(len(c.b))
	if c.err == nil && len(p.Codes) == 0 {
		c.fail(malformed("it has no code"))
	}
	for _, code := range p.Codes {
		if v == V5 && !Reason(code).belongs(h.Type) || v != V5 && code > 2 && code != 0x80 {
			c.fail(malformed("a code that is none of " + h.Type.String()))
		}
	}
	return p, c.end()
}

// Append appends the packet, of type t.
func (p *Suback) Append(v Version, t Type, b []byte) []byte {
	codes := p.Codes
	if v != V5 && t == UNSUBACK {
		codes = nil
	}
	return appendAsked(v, b, t, p.ID, p.Properties, codes)
}
