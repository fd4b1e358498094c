package mqttwire

import (
	"encoding/binary"
	"fmt"
)

// Connect is a CONNECT (3.1).
type Connect struct {
	Version    Version
	CleanStart bool // of MQTT 3.1.1: clean session
	Unused     bool // bit 0 of the flags, which means nothing and only MQTT 3.1 lets be set
	KeepAlive  uint16
	ClientID   []byte
	Properties Properties

	HasWill, HasUser, HasPassword bool
	Will                          Will
	User, Password                []byte
}

// Will is the message that a CONNECT leaves with the broker.
type Will struct {
	Topic, Payload []byte
	QoS            byte
	Retain         bool
	Properties     Properties
}

// A VersionError is a CONNECT of a version of the protocol that is none of [V31], [V311] and [V5].
type VersionError struct {
	Name  string
	Level byte
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("version %#02x of the protocol %q", e.Level, e.Name)
}

// Bits of a CONNECT's flags (3.1.2.3).
const (
	connectReserved = 1 << iota
	connectClean
	connectWill
	_
	_
	connectWillRetain
	connectPassword
	connectUser
)

// DecodeConnect reads what follows the header of a CONNECT. Its error is a [VersionError] or an [Error].
func DecodeConnect(h Header, body []byte) (p Connect, err error) {
	c := cursor{b: body}
	name := c.text()
	p.Version = Version(c.octet())
	switch {
	case c.err != nil:
		return p, c.err
	case string(name) == "MQIsdp" && p.Version == V31, string(name) == "MQTT" && (p.Version == V311 || p.Version == V5):
	case string(name) == "MQIsdp" || string(name) == "MQTT":
		return p, &VersionError{string(name), byte(p.Version)}
	default: // [MQTT-3.1.2-1]
		return p, malformed("another protocol's name")
	}
	c.minimal(p.Version, h)
	flags := c.octet()
	p.CleanStart, p.Unused = flags&connectClean != 0, flags&connectReserved != 0
	p.HasWill, p.HasUser, p.HasPassword = flags&connectWill != 0, flags&connectUser != 0, flags&connectPassword != 0
	p.Will.QoS, p.Will.Retain = flags>>3&3, flags&connectWillRetain != 0
	switch {
	case p.Unused && p.Version != V31: // [MQTT-3.1.2-3]; MQTT 3.1 says that it is not used, and has nobody refuse it
		c.fail(malformed("a reserved flag"))
	case !p.HasWill && (p.Will.QoS > 0 || p.Will.Retain): // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
		c.fail(malformed("flags of a will, and no will"))
	case p.Will.QoS > 2: // [MQTT-3.1.2-12]
		c.fail(malformed("a will of QoS 3"))
	case p.HasPassword && !p.HasUser && p.Version != V5: // 3.1.1, [MQTT-3.1.2-22]
		c.fail(malformed("a password without a user name"))
	}
	p.KeepAlive = c.uint16()
	if p.Version == V5 {
		p.Properties = c.properties(in(CONNECT))
	}
	p.ClientID = c.text()
	if p.HasWill {
		if p.Version == V5 {
			p.Will.Properties = c.properties(inWill)
		}
		if p.Will.Topic = c.text(); c.err == nil && !ValidTopic(p.Will.Topic) {
			c.fail(&Error{TopicNameInvalid, "a will whose topic is no topic's name"})
		}
		p.Will.Payload = c.binary()
	}
	if p.HasUser {
		p.User = c.text()
	}
	if p.HasPassword {
		p.Password = c.binary()
	}
	return p, c.end()
}

// Append appends the packet.
func (p *Connect) Append(b []byte) []byte {
	name := "MQTT"
	if p.Version == V31 {
		name = "MQIsdp"
	}
	flags := p.Will.QoS << 3
	for bit, set := range map[byte]bool{
		connectReserved: p.Unused, connectClean: p.CleanStart, connectWill: p.HasWill, connectWillRetain: p.Will.Retain, connectUser: p.HasUser, connectPassword: p.HasPassword,
	} {
		if set {
			flags |= bit
		}
	}
	body := append(appendBinary(nil, name), byte(p.Version), flags)
	body = binary.BigEndian.AppendUint16(body, p.KeepAlive)
	if p.Version == V5 {
		body = p.Properties.append(body)
	}
	body = appendBinary(body, p.ClientID)
	if p.HasWill {
		if p.Version == V5 {
			body = p.Will.Properties.append(body)
		}
		body = appendBinary(appendBinary(body, p.Will.Topic), p.Will.Payload)
	}
	if p.HasUser {
		body = appendBinary(body, p.User)
	}
	if p.HasPassword {
		body = appendBinary(body, p.Password)
	}
	return append(AppendHeader(b, byte(CONNECT)<<4, len(body)), body...)
}

// Connack is a CONNACK (3.2). Its code is a return code where the version is not [V5].
type Connack struct {
	SessionPresent bool
	Code           byte
	Properties     Properties
}

// DecodeConnack reads what follows the header of a CONNACK.
func DecodeConnack(v Version, h Header, body []byte) (p Connack, err error) {
	c := cursor{b: body}
	c.minimal(v, h)
	flags := c.octet()
	p.SessionPresent, p.Code = flags&1 != 0, c.octet()
	switch {
	case c.err != nil:
	case flags > 1:
		c.fail(malformed("reserved flags"))
	case p.SessionPresent && p.Code != 0: // [MQTT-3.2.2-6]
		c.fail(protocol("a session together with a refusal"))
	case v == V5 && !Reason(p.Code).belongs(CONNACK), v != V5 && p.Code > 5:
		c.fail(malformed("a code that is none of CONNACK's"))
	}
	if v == V5 {
		p.Properties = c.properties(in(CONNACK))
	}
	return p, c.end()
}

// Append appends the packet.
func (p *Connack) Append(v Version, b []byte) []byte {
	n := 2
	if v == V5 {
		n += p.Properties.size()
	}
	b = append(AppendHeader(b, byte(CONNACK)<<4, n), 0, p.Code)
	if p.SessionPresent {
		b[len(b)-2] = 1
	}
	if v == V5 {
		b = p.Properties.append(b)
	}
	return b
}
