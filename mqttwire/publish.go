package mqttwire

import "encoding/binary"

// Publish is a PUBLISH (3.3).
type Publish struct {
	Dup, Retain bool
	QoS         byte
	ID          uint16 // 0 with QoS 0
	Topic       []byte // "" is one that its alias names
	Properties  Properties
	Payload     []byte
}

// DecodePublish reads what follows the header of a PUBLISH.
func DecodePublish(v Version, h Header, body []byte) (p Publish, err error) {
	c := cursor{b: body}
	c.minimal(v, h)
	p.Dup, p.QoS, p.Retain = h.Flags&8 != 0, h.Flags>>1&3, h.Flags&1 != 0
	switch {
	case p.QoS > 2: // [MQTT-3.3.1-4]
		c.fail(malformed("QoS 3"))
	case p.QoS == 0 && p.Dup: // [MQTT-3.3.1-2]
		c.fail(malformed("a repetition with QoS 0"))
	}
	p.Topic = c.text()
	if p.QoS > 0 {
		p.ID = c.id()
	}
	if v == V5 {
		p.Properties = c.properties(in(PUBLISH))
	}
	if c.err != nil {
		return p, c.err
	}
	if len(p.Topic) == 0 && v == V5 {
		if _, ok := p.Properties.Get(TopicAlias); !ok { // 3.3.2.1
			return p, protocol("neither a topic nor its alias")
		}
	} else if !ValidTopic(p.Topic) { // [MQTT-3.3.2-2], 3.1.1 [MQTT-4.7.3-1]
		return p, &Error{TopicNameInvalid, "a topic that is no topic's name"}
	}
	p.Payload = c.b
	return p, nil
}

// Size is how many bytes the packet has.
func (p *Publish) Size(v Version) int {
	n := p.length(v)
	return 1 + numberSize(n) + n
}

func (p *Publish) length(v Version) int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += p.Properties.size()
	}
	return n
}

// Append appends the packet.
func (p *Publish) Append(v Version, b []byte) []byte { return append(p.AppendHead(v, b), p.Payload...) }

// AppendHead appends all of the packet but its payload.
func (p *Publish) AppendHead(v Version, b []byte) []byte {
	first := byte(PUBLISH)<<4 | p.QoS<<1
	if p.Dup {
		first |= 8
	}
	if p.Retain {
		first |= 1
	}
	b = appendBinary(AppendHeader(b, first, p.length(v)), p.Topic)
	if p.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, p.ID)
	}
	if v == V5 {
		b = p.Properties.append(b)
	}
	return b
}

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7).
type Ack struct {
	ID         uint16
	Code       Reason     // of MQTT 5
	Properties Properties // of MQTT 5
}

// DecodeAck reads what follows the header of a packet of those four types.
func DecodeAck(v Version, h Header, body []byte) (p Ack, err error) {
	c := cursor{b: body}
	c.minimal(v, h)
	p.ID = c.id()
	if v == V5 && len(c.b) > 0 {
		if p.Code = Reason(c.octet()); !p.Code.belongs(h.Type) {
			c.fail(protocol("a reason code that is none of " + h.Type.String()))
		}
		if len(c.b) > 0 {
			p.Properties = c.properties(in(h.Type))
		}
	}
	return p, c.end()
}

// Append appends the packet, of one of the four types.
func (p *Ack) Append(v Version, t Type, b []byte) []byte {
	first := byte(t) << 4
	if t == PUBREL {
		first |= 2
	}
	switch {
	case v != V5 || p.Code == Success && len(p.Properties) == 0:
		return binary.BigEndian.AppendUint16(append(b, first, 2), p.ID)
	case len(p.Properties) == 0:
		return append(binary.BigEndian.AppendUint16(append(b, first, 3), p.ID), byte(p.Code))
	}
	b = AppendHeader(b, first, 3+p.Properties.size())
	return p.Properties.append(append(binary.BigEndian.AppendUint16(b, p.ID), byte(p.Code)))
}
