// Package mqttwire is MQTT as bytes: the packets of MQTT 3.1, 3.1.1 and 5, topic names and topic filters.
//
// It owns what the standards say of one packet by itself, and says no to everything that they forbid: text that is not
// UTF-8, reserved bits that are set, lengths that do not fit, properties where they have no place or twice, reason codes
// of other packets. It does not own what packets mean to each other (sessions, packet ids in use, topic aliases), and
// knows no socket, clock or goroutine.
//
// Decoding copies nothing: text and payload of a decoded packet are parts of the bytes that were given, and lists are walked
// where they lie. So a packet costs what it weighs, never what it claims. Properties are kept as they came, which makes
// encoding give back the bytes that were decoded; only an acknowledgement that spells out what may be left away, and a
// length of MQTT 3.1.1 that is longer than need be, come back shorter.
//
// Sections and the numbers in brackets are those of MQTT 5, unless 3.1.1 is named.
package mqttwire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Version is the protocol's version, as a CONNECT carries it.
type Version byte

// The versions.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// Type is a packet's type: the high half of its first byte.
type Type byte

// The types.
const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

var typeNames = [16]string{
	"0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

func (t Type) String() string { return typeNames[t&15] }

// An Error says what is wrong with a packet, and with which reason code MQTT 5 answers it.
type Error struct {
	Code Reason
	Why  string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Why) }

func malformed(why string) *Error { return &Error{MalformedPacket, why} }
func protocol(why string) *Error  { return &Error{ProtocolError, why} }

// MaxLength is the largest number that a remaining length can state (2.1.4).
const MaxLength = 268_435_455

// Header is what each packet begins with.
type Header struct {
	Type   Type
	Flags  byte // the low half of the first byte
	Length int  // of what follows the header
	size   int
}

// Size is how many bytes the header had.
func (h Header) Size() int { return h.size }

// First is the packet's first byte.
func (h Header) First() byte { return byte(h.Type)<<4 | h.Flags }

// ReadHeader reads a packet's header. Its error is the reader's, or an [Error] for a length of more than four bytes, one of
// more than most, or flags that the type does not have. An end in the middle of the header is [io.ErrUnexpectedEOF].
//
// A length may be written longer than need be: MQTT 3.1.1 allows it, and the version is not known here.
func ReadHeader(r io.ByteReader, most int) (h Header, err error) {
	first, err := r.ReadByte()
	if err != nil {
		return h, err
	}
	h.Type, h.Flags, h.size = Type(first>>4), first&15, 1
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return h, err
		}
		h.size++
		h.Length |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
		if shift == 21 {
			return h, malformed("a length of more than four bytes") // 1.5.5
		}
	}
	if h.Length > most {
		return h, &Error{PacketTooLarge, fmt.Sprintf("%s of %d bytes, where %d are the most", h.Type, h.Length, most)}
	}
	return h, h.checkFlags()
}

// checkFlags: 2.1.3, "Where a flag bit is marked as 'Reserved' it is reserved for future use and MUST be set to the value
// listed".
func (h Header) checkFlags() error {
	switch h.Type {
	case 0:
		return protocol("a packet of type 0") // 2.1.2
	case PUBLISH:
		return nil
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		if h.Flags != 2 {
			return malformed(h.Type.String() + " with other flags than 2")
		}
	default:
		if h.Flags != 0 {
			return malformed(h.Type.String() + " with flags")
		}
	}
	return nil
}

// AppendHeader appends a packet's first byte and its remaining length, which is [MaxLength] at most.
func AppendHeader(b []byte, first byte, length int) []byte {
	return appendNumber(append(b, first), uint32(length))
}

// appendNumber appends a variable byte integer (1.5.5).
func appendNumber(b []byte, n uint32) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// numberSize is how many bytes appendNumber appends.
func numberSize(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

func appendBinary[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// cursor takes a packet's fields one after the other. The first thing wrong stays in err; from then on it yields nothing.
type cursor struct {
	b   []byte
	err *Error
}

func (c *cursor) fail(e *Error) {
	if c.err == nil {
		c.err, c.b = e, nil
	}
}

func (c *cursor) take(n int) []byte {
	if c.err != nil || n > len(c.b) {
		c.fail(malformed("it ends in the middle of a field"))
		return nil
	}
	taken := c.b[:n:n]
	c.b = c.b[n:]
	return taken
}

func (c *cursor) octet() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// number takes a variable byte integer. [MQTT-1.5.5-1]: "The encoded value MUST use the minimum number of bytes".
func (c *cursor) number() (n uint32) {
	for shift := 0; shift <= 21; shift += 7 {
		b := c.octet()
		n |= uint32(b&0x7f) << shift
		if b < 0x80 {
			if b == 0 && shift > 0 {
				c.fail(malformed("a number that is longer than need be"))
			}
			return n
		}
	}
	c.fail(malformed("a number of more than four bytes"))
	return 0
}

func (c *cursor) binary() []byte { return c.take(int(c.uint16())) }

// text takes a UTF-8 string (1.5.4).
func (c *cursor) text() []byte {
	b := c.binary()
	if c.err == nil && !ValidText(b) {
		c.fail(malformed("text that is not UTF-8, or has a zero in it"))
	}
	return b
}

// id takes a packet id. [MQTT-2.2.1-3]: "non-zero".
func (c *cursor) id() uint16 {
	id := c.uint16()
	if id == 0 {
		c.fail(protocol("packet id 0"))
	}
	return id
}

// end returns what went wrong, which may be that something is left.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.fail(malformed("more bytes than its fields"))
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

// minimal is what MQTT 5 says of the header's length, as of any such number: [MQTT-1.5.5-1].
func (c *cursor) minimal(v Version, h Header) {
	if v == V5 && h.size > 1+numberSize(h.Length) {
		c.fail(malformed("a length that is longer than need be"))
	}
}
