package broker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"edgechain.example/build/testenv"
	"edgechain.example/mqttwire"
)

// Packet types, as they stand in the high half of a first byte.
const (
	typeConnect     = byte(mqttwire.CONNECT)
	typeConnack     = byte(mqttwire.CONNACK)
	typePublish     = byte(mqttwire.PUBLISH)
	typePuback      = byte(mqttwire.PUBACK)
	typePubrec      = byte(mqttwire.PUBREC)
	typePubrel      = byte(mqttwire.PUBREL)
	typePubcomp     = byte(mqttwire.PUBCOMP)
	typeSubscribe   = byte(mqttwire.SUBSCRIBE)
	typeSuback      = byte(mqttwire.SUBACK)
	typeUnsubscribe = byte(mqttwire.UNSUBSCRIBE)
	typePingreq     = byte(mqttwire.PINGREQ)
	typePingresp    = byte(mqttwire.PINGRESP)
	typeDisconnect  = byte(mqttwire.DISCONNECT)
)

// wire is an MQTT client that does what a test wants byte by byte: repeat, forget, say nothing.
type wire struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
	v5 bool

	present bool // the CONNACK said that there is a session
	code    byte // its return or reason code
	connack []byte
	qos     byte // of the PUBLISH read last
	flags   byte // of the packet read last
}

// connect options
type login struct {
	id             string
	v5, clean      bool
	keepAlive      uint16
	user, password string
	will           string // "topic payload"; QoS 1
	willDelay      uint32
	receiveMax     uint16 // of MQTT 5
	properties     mqttwire.Properties
}

func dial(t testing.TB, b *Broker, l login) *wire {
	t.Helper()
	nc, err := net.Dial("tcp", b.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	return connect(t, nc, l)
}

// attach makes a client of a connection.
func attach(t testing.TB, nc net.Conn) *wire {
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(testenv.Patience)) // a test that hangs says where
	return &wire{t: t, nc: nc, r: bufio.NewReader(nc)}
}

func connect(t testing.TB, nc net.Conn, l login) *wire {
	t.Helper()
	w := attach(t, nc)
	w.v5 = l.v5
	flags, version := byte(0), byte(4)
	if l.clean {
		flags |= 2
	}
	if l.v5 {
		version = 5
	}
	var tail []byte
	tail = str(tail, l.id)
	if topic, payload, ok := strings.Cut(l.will, " "); ok {
		flags |= 4 | 1<<3
		if l.v5 {
			tail = binary.BigEndian.AppendUint32(append(tail, 5, 0x18), l.willDelay)
		}
		tail = str(str(tail, topic), payload)
	}
	if l.user != "" {
		flags |= 0x80
		tail = str(tail, l.user)
	}
	if l.password != "" {
		flags |= 0x40
		tail = str(tail, l.password)
	}
	body := append(str(nil, "MQTT"), version, flags)
	body = binary.BigEndian.AppendUint16(body, l.keepAlive)
	if l.v5 {
		var props []byte
		if !l.clean {
			props = binary.BigEndian.AppendUint32(append(props, 0x11), 3600) // session expiry
		}
		if l.receiveMax > 0 {
			props = binary.BigEndian.AppendUint16(append(props, 0x21), l.receiveMax)
		}
		props = append(props, l.properties...)
		body = append(append(body, byte(len(props))), props...)
	}
	w.send(typeConnect<<4, append(body, tail...))
	kind, answer := w.read()
	if kind != typeConnack {
		t.Fatalf("got packet %d in answer to a CONNECT", kind)
	}
	w.present, w.code, w.connack = answer[0] == 1, answer[1], answer
	return w
}

func str(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func (w *wire) send(first byte, body []byte) {
	w.t.Helper()
	b := []byte{first}
	n := len(body)
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	if _, err := w.nc.Write(append(append(b, byte(n)), body...)); err != nil {
		w.t.Fatal(err)
	}
}

const dup = true

func (w *wire) publish(id uint16, qos byte, topic, payload string, repeated ...bool) {
	w.t.Helper()
	first := typePublish<<4 | qos<<1
	if len(repeated) > 0 {
		first |= 8
	}
	body := str(nil, topic)
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	if w.v5 {
		body = append(body, 0)
	}
	w.send(first, append(body, payload...))
}

func (w *wire) subscribe(id uint16, filter string, qos byte) {
	w.t.Helper()
	body := binary.BigEndian.AppendUint16(nil, id)
	if w.v5 {
		body = append(body, 0)
	}
	w.send(typeSubscribe<<4|2, append(str(body, filter), qos))
}

// id sends a packet that consists of a packet id.
func (w *wire) sendID(first byte, id uint16) {
	w.t.Helper()
	w.send(first, binary.BigEndian.AppendUint16(nil, id))
}

func (w *wire) tryRead() (kind byte, body []byte, err error) {
	first, err := w.r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	w.qos, w.flags = first>>1&3, first&15
	n, err := binary.ReadUvarint(w.r) // the same as MQTT's variable byte integer
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(w.r, body)
	return first >> 4, body, err
}

func (w *wire) read() (kind byte, body []byte) {
	w.t.Helper()
	kind, body, err := w.tryRead()
	if err != nil {
		w.t.Fatalf("reading from the broker: %v", err)
	}
	return kind, body
}

// wants reads packets and compares them with what is wanted: "PUBACK 1", "PUBACK 1 87", "PINGRESP", "PUBLISH topic payload".
func (w *wire) wants(all ...string) {
	w.t.Helper()
	for _, want := range all {
		if kind, body := w.read(); w.format(kind, body) != want {
			w.t.Fatalf("got %s, want %s", w.format(kind, body), want)
		}
	}
}

func (w *wire) format(kind byte, body []byte) string {
	name := mqttwire.Type(kind).String()
	switch {
	case kind == typePublish:
		n := int(binary.BigEndian.Uint16(body))
		rest := body[2+n:]
		if w.qos > 0 {
			rest = rest[2:]
		}
		if w.v5 {
			rest = rest[1:]
		}
		return fmt.Sprintf("%s %s %s", name, body[2:2+n], rest)
	case kind == typeSuback && w.v5:
		return fmt.Sprintf("%s %d %x", name, binary.BigEndian.Uint16(body), body[3])
	case kind == typeDisconnect && len(body) > 0:
		return fmt.Sprintf("%s %x", name, body[0])
	case len(body) == 2:
		return fmt.Sprintf("%s %d", name, binary.BigEndian.Uint16(body))
	case len(body) > 2:
		return fmt.Sprintf("%s %d %x", name, binary.BigEndian.Uint16(body), body[2])
	}
	return name
}

// silent checks that nothing was sent before the answer to a ping.
func (w *wire) silent() {
	w.t.Helper()
	w.send(typePingreq<<4, nil)
	w.wants("PINGRESP")
}

// closed checks that the broker closes the connection and says nothing but the packets named.
func (w *wire) closed(but ...string) {
	w.t.Helper()
	w.wants(but...)
	switch kind, body, err := w.tryRead(); {
	case err == nil:
		w.t.Fatalf("got %s, want the connection closed", w.format(kind, body))
	case isTimeout(err):
		w.t.Fatal("the connection was not closed")
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// drop closes the connection without a DISCONNECT, and waits until the broker knows.
func (w *wire) drop(b *Broker, id string) {
	w.t.Helper()
	w.nc.Close()
	await(w.t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for c := range b.conns {
			if c.established.Load() && c.clientID == id && c.LocalAddr().String() == w.nc.RemoteAddr().String() && c.RemoteAddr().String() == w.nc.LocalAddr().String() {
				return false
			}
		}
		return true
	})
}

// await polls for what sends no event.
func await(t testing.TB, cond func() bool) {
	t.Helper()
	testenv.Await(t, "what this line waits for", cond)
}

// connection returns the broker's side of a client's connection, or nil.
func (b *Broker) connection(id string) *conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		if c.established.Load() && c.clientID == id {
			return c
		}
	}
	return nil
}
