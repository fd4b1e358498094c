package mqttwire

import (
	"encoding/binary"
	"iter"
)

// PropertyID names a property (2.2.2.2).
type PropertyID byte

// The properties.
const (
	PayloadFormat          PropertyID = 0x01
	MessageExpiry          PropertyID = 0x02
	ContentType            PropertyID = 0x03
	ResponseTopic          PropertyID = 0x08
	CorrelationData        PropertyID = 0x09
	SubscriptionIdentifier PropertyID = 0x0b
	SessionExpiry          PropertyID = 0x11
	AssignedClientID       PropertyID = 0x12
	ServerKeepAlive        PropertyID = 0x13
	AuthMethod             PropertyID = 0x15
	AuthData               PropertyID = 0x16
	RequestProblemInfo     PropertyID = 0x17
	WillDelay              PropertyID = 0x18
	RequestResponseInfo    PropertyID = 0x19
	ResponseInfo           PropertyID = 0x1a
	ServerReference        PropertyID = 0x1c
	ReasonString           PropertyID = 0x1f
	ReceiveMaximum         PropertyID = 0x21
	TopicAliasMaximum      PropertyID = 0x22
	TopicAlias             PropertyID = 0x23
	MaximumQoS             PropertyID = 0x24
	RetainAvailable        PropertyID = 0x25
	UserProperty           PropertyID = 0x26
	MaximumPacketSize      PropertyID = 0x27
	WildcardAvailable      PropertyID = 0x28
	SubscriptionIDs        PropertyID = 0x29 // Available
	SharedAvailable        PropertyID = 0x2a
)

// form is how a property's value is written.
type form byte

const (
	flag   form = iota + 1 // one byte, 0 or 1
	two                    // bytes
	two1                   // bytes, and not 0
	four                   // bytes
	four1                  // bytes, and not 0
	number                 // a variable byte integer, and not 0
	binary16
	text
	topic // a text that may be a topic's name
	pair  // of texts
)

var properties = [SharedAvailable + 1]struct {
	form form
	in   places
}{
	PayloadFormat:          {flag, in(PUBLISH) | inWill},
	MessageExpiry:          {four, in(PUBLISH) | inWill},
	ContentType:            {text, in(PUBLISH) | inWill},
	ResponseTopic:          {topic, in(PUBLISH) | inWill},
	CorrelationData:        {binary16, in(PUBLISH) | inWill},
	SubscriptionIdentifier: {number, in(PUBLISH, SUBSCRIBE)},
	SessionExpiry:          {four, in(CONNECT, CONNACK, DISCONNECT)},
	AssignedClientID:       {text, in(CONNACK)},
	ServerKeepAlive:        {two, in(CONNACK)},
	AuthMethod:             {text, in(CONNECT, CONNACK, AUTH)},
	AuthData:               {binary16, in(CONNECT, CONNACK, AUTH)},
	RequestProblemInfo:     {flag, in(CONNECT)},
	WillDelay:              {four, inWill},
	RequestResponseInfo:    {flag, in(CONNECT)},
	ResponseInfo:           {text, in(CONNACK)},
	ServerReference:        {text, in(CONNACK, DISCONNECT)},
	ReasonString:           {text, in(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)},
	ReceiveMaximum:         {two1, in(CONNECT, CONNACK)},
	TopicAliasMaximum:      {two, in(CONNECT, CONNACK)},
	TopicAlias:             {two1, in(PUBLISH)},
	MaximumQoS:             {flag, in(CONNACK)},
	RetainAvailable:        {flag, in(CONNACK)},
	UserProperty:           {pair, ^places(0)},
	MaximumPacketSize:      {four1, in(CONNECT, CONNACK)},
	WildcardAvailable:      {flag, in(CONNACK)},
	SubscriptionIDs:        {flag, in(CONNACK)},
	SharedAvailable:        {flag, in(CONNACK)},
}

// Properties are a packet's properties as they stand on the wire, without the length before them. Those of a decoded packet
// are in order: none in a place where it must not be, none twice that must not be, no value that is forbidden.
type Properties []byte

// Property is one of them. A number is in Number, all else in Value, and the key of a user property in Key.
type Property struct {
	ID     PropertyID
	Number uint32
	Key    []byte
	Value  []byte
	raw    []byte
}

// properties takes the properties of a packet in one of places.
func (c *cursor) properties(where places) Properties {
	n := int(c.number())
	all := c.take(n)
	inner := cursor{b: all, err: c.err}
	var seen uint64
	for inner.err == nil && len(inner.b) > 0 {
		p := inner.property(where)
		bit := uint64(1) << p.ID
		repeats := p.ID == UserProperty || p.ID == SubscriptionIdentifier && where == in(PUBLISH)
		if inner.err == nil && seen&bit != 0 && !repeats {
			inner.fail(protocol("a property that stands twice"))
		}
		seen |= bit
	}
	if inner.err == nil && seen&(1<<AuthData) != 0 && seen&(1<<AuthMethod) == 0 {
		inner.fail(protocol("authentication data without a method"))
	}
	if inner.err != nil {
		c.fail(inner.err)
		return nil
	}
	return all
}

// property takes one property. For one that has no place 2.2.2.2 says malformed packet, and brokers that are in use say
// protocol error, except in SUBSCRIBE and UNSUBSCRIBE: so does this one.
func (c *cursor) property(where places) (p Property) {
	before := c.b
	id := c.number()
	if c.err != nil {
		return p
	}
	if id >= uint32(len(properties)) || properties[id].form == 0 {
		c.fail(malformed("an unknown property"))
		return p
	}
	p.ID = PropertyID(id)
	switch f := properties[id].form; f {
	case flag:
		if p.Number = uint32(c.octet()); p.Number > 1 {
			c.fail(protocol("a property that is neither 0 nor 1"))
		}
	case two, two1:
		if p.Number = uint32(c.uint16()); p.Number == 0 && f == two1 && c.err == nil {
			c.fail(zero(p.ID))
		}
	case four, four1:
		if p.Number = c.uint32(); p.Number == 0 && f == four1 && c.err == nil {
			c.fail(zero(p.ID))
		}
	case number:
		if p.Number = c.number(); p.Number == 0 && c.err == nil {
			c.fail(zero(p.ID))
		}
	case binary16:
		p.Value = c.binary()
	case topic:
		if p.Value = c.text(); c.err == nil && !ValidTopic(p.Value) {
			c.fail(protocol("a response topic that is no topic's name"))
		}
	case pair:
		p.Key = c.text()
		p.Value = c.text()
	default:
		p.Value = c.text()
	}
	if c.err == nil && properties[id].in&where == 0 {
		misplaced := protocol("a property that has no place in such a packet")
		if where&in(SUBSCRIBE, UNSUBSCRIBE) != 0 {
			misplaced.Code = MalformedPacket
		}
		c.fail(misplaced)
	}
	if c.err == nil {
		p.raw = before[:len(before)-len(c.b)]
	}
	return p
}

func zero(id PropertyID) *Error {
	if id == TopicAlias {
		return &Error{TopicAliasInvalid, "topic alias 0"}
	}
	return protocol("a property that is 0, and must not be")
}

// All yields the properties in their order.
func (ps Properties) All() iter.Seq[Property] {
	return func(yield func(Property) bool) {
		c := cursor{b: ps}
		for len(c.b) > 0 {
			if p := c.property(^places(0)); c.err != nil || !yield(p) {
				return
			}
		}
	}
}

// Get returns the first property of that name.
func (ps Properties) Get(id PropertyID) (Property, bool) {
	c := cursor{b: ps}
	for len(c.b) > 0 {
		p := c.property(^places(0))
		if c.err != nil {
			break
		}
		if p.ID == id {
			return p, true
		}
	}
	return Property{}, false
}

// Number returns the number that a property has, or what to take where it is absent.
func (ps Properties) Number(id PropertyID, absent uint32) uint32 {
	if p, ok := ps.Get(id); ok {
		return p.Number
	}
	return absent
}

// Without returns a copy without the properties named; nil if nothing is left.
func (ps Properties) Without(ids ...PropertyID) (rest Properties) {
	for p := range ps.All() {
		keep := true
		for _, id := range ids {
			keep = keep && p.ID != id
		}
		if keep {
			rest = append(rest, p.raw...)
		}
	}
	return rest
}

// AddNumber appends a property whose value is a number, which is within what the property allows.
func (ps Properties) AddNumber(id PropertyID, n uint32) Properties {
	ps = append(ps, byte(id))
	switch properties[id].form {
	case flag:
		return append(ps, byte(n))
	case two, two1:
		return binary.BigEndian.AppendUint16(ps, uint16(n))
	case number:
		return appendNumber(ps, n)
	default:
		return binary.BigEndian.AppendUint32(ps, n)
	}
}

// AddText appends a property whose value is a text or binary data, of at most [MaxText] bytes.
func (ps Properties) AddText(id PropertyID, s string) Properties {
	return appendBinary(append(ps, byte(id)), s)
}

func (ps Properties) append(b []byte) []byte { return append(appendNumber(b, uint32(len(ps))), ps...) }

func (ps Properties) size() int { return numberSize(len(ps)) + len(ps) }
