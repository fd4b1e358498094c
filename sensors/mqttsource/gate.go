package mqttsource

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/mqttwire"
)

// overhead is what a message counts for in the queue beside its bytes on the wire.
const overhead = 256

// gate is the connection as paho sees it. It takes each PUBLISH out of what the broker sends and gives it to the link itself, when
// there is room for it: until then TCP's own flow control reaches the broker. All other packets are paho's. While the gate waits for
// room, or for the rest of a large PUBLISH, it answers paho's pings, whose true answers stand unread behind it. paho reads a
// byte, then a length, then a body; the gate turns that into few system calls.
type gate struct {
	net.Conn
	link *link
	in   *bufio.Reader

	// Owned by the one goroutine of paho that reads.
	buf  [8]byte
	made []byte // to be handed out before anything else: a parsed header, or a made-up packet
	left int    // bytes of the current packet's rest, handed out straight from in
	held *publish
	one  publish // what held points to

	receive func(*publish) // given each PUBLISH that was let in, whole; it must not block

	writing sync.Mutex // over Write: paho writes from two goroutines and the link from a third
	timeout time.Duration
	asked   atomic.Bool   // something was sent, which is a CONNECT at first
	heard   atomic.Bool   // and the broker has answered that
	parting atomic.Bool   // a DISCONNECT was sent
	ended   chan struct{} // closed by the goroutine that reads when it can read no more
	ending  sync.Once
	dropped atomic.Pointer[error] // why the link closed the connection
}

// publish is a PUBLISH packet whose header has been read.
type publish struct {
	first    byte
	length   int // what remains of the packet to be read, at first all that follows its length field
	size     int // what to count
	admitted bool
	body     []byte    // topic, packet id and payload, as on the wire, or the payload's hash; nil until it is read
	read     int       // bytes of body that were read
	payload  int       // where in body that begins, once it is whole
	sum      hash.Hash // of a payload too large to hold: what was read of it
	hashing  bool
}

func (p *publish) qos() byte { return p.first >> 1 & 3 }

// parse finds the parts of the packet in its body. A topic that MQTT forbids passes, as it does with paho: the connection would
// end over it, and over the same message again on the next one.
func (p *publish) parse() (topic []byte, id uint16, err error) {
	if len(p.body) < 2 {
		return nil, 0, errMalformed
	}
	at := 2 + int(binary.BigEndian.Uint16(p.body))
	p.payload = at
	if p.qos() > 0 {
		p.payload += 2
	}
	if p.payload > len(p.body) {
		return nil, 0, errMalformed
	}
	if p.qos() > 0 {
		id = binary.BigEndian.Uint16(p.body[at:])
	}
	return p.body[2:at], id, nil
}

// maxControl bounds every packet but PUBLISH: paho allocates what a header announces.
const maxControl = 64 << 10

var errMalformed = errors.New("the broker sends a malformed packet")

func newGate(conn net.Conn, l *link, timeout time.Duration) *gate {
	g := &gate{Conn: conn, link: l, timeout: timeout, ended: make(chan struct{})}
	g.in = bufio.NewReaderSize(untilParting{g}, 16<<10)
	g.receive = l.receive
	return g
}

// untilParting reads the connection until a DISCONNECT was sent: from then on Close reads it too, and what comes is nobody's.
type untilParting struct{ *gate }

func (u untilParting) Read(p []byte) (int, error) {
	n, err := u.Conn.Read(p)
	if u.parting.Load() {
		return 0, errClosed
	}
	return n, err
}

// Read hands out the packets, one byte after the other.
func (g *gate) Read(p []byte) (int, error) {
	for {
		switch {
		case len(p) == 0:
			return 0, nil
		case len(g.made) > 0:
			n := copy(p, g.made)
			g.made = g.made[n:]
			return n, nil
		case g.left > 0:
			n, err := g.in.Read(p[:min(len(p), g.left)])
			g.left -= n
			return n, g.end(err)
		}
		if err := g.next(); err != nil {
			return 0, g.end(err)
		}
	}
}

// next brings the following packet into made and left, the broker's next or an answer to a ping, or takes a PUBLISH in.
func (g *gate) next() error {
	if g.held != nil {
		return g.pass()
	}
	header, err := mqttwire.ReadHeader(g.in, mqttwire.MaxLength)
	if err != nil {
		if wrong := new(mqttwire.Error); errors.As(err, &wrong) {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		return err
	}
	length := header.Length
	switch header.Type {
	case mqttwire.PUBLISH:
		if header.Flags&6 == 6 {
			return errMalformed // MQTT-3.3.1-4: there is no QoS 3
		}
		g.one = publish{first: header.First(), length: length}
		g.held = &g.one
		return g.pass()
	case mqttwire.PINGRESP:
		g.link.ponged()
	case mqttwire.SUBACK:
		// paho takes the return codes for as many as there were filters.
		if length > 2+g.link.filtersAsked() {
			return errMalformed
		}
	case mqttwire.CONNACK:
		b, err := g.in.Peek(min(length, 2))
		if err != nil {
			return unexpected(err)
		}
		g.heard.Store(len(b) == 2)
		if len(b) == 2 && b[1] == 0 {
			g.link.begin(b[0]&1 == 1)
		}
	}
	if length > maxControl {
		return errMalformed
	}
	g.made, g.left = mqttwire.AppendHeader(g.buf[:0], header.First(), length), length
	return nil
}

// pass takes the held PUBLISH in when there is room, or, until then, makes an answer to paho's ping.
func (g *gate) pass() error {
	h := g.held
	if !h.admitted {
		if h.body == nil && h.length > g.link.source.cfg.MaxPayload {
			if err := g.readVariable(h); err != nil {
				return err
			}
		}
		h.size = h.length + overhead
		if h.hashing {
			h.size = sha256.Size + overhead
		}
		h.size += len(h.body)
		switch v, err := g.link.admit(h); {
		case err != nil:
			return err
		case v == answerPing:
			g.made = append(g.buf[:0], byte(mqttwire.PINGRESP)<<4, 0)
			return nil
		case v == discard:
			g.held = nil
			_, err := g.in.Discard(h.length)
			return err
		}
		h.admitted = true
	}
	var whole bool
	var err error
	if h.hashing {
		whole, err = g.hashOn(h)
	} else {
		whole, err = g.readOn(h)
	}
	if err != nil || !whole {
		return err
	}
	g.held = nil
	if _, _, err := h.parse(); err != nil {
		g.link.giveUp(h)
		return err
	}
	g.receive(h)
	return nil
}

// readVariable reads a large PUBLISH as far as its payload, whose size is known only then.
func (g *gate) readVariable(h *publish) error {
	b, err := g.in.Peek(2)
	if err != nil {
		return unexpected(err)
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if h.qos() > 0 {
		n += 2 // the packet id
	}
	if n > h.length {
		return errMalformed
	}
	h.body = make([]byte, n)
	if _, err := io.ReadFull(g.in, h.body); err != nil {
		return unexpected(err)
	}
	h.length -= n
	h.read = n
	if h.length > g.link.source.cfg.MaxPayload {
		h.hashing, h.sum = true, sha256.New()
	}
	return nil
}

// stretch is how much of a PUBLISH is read before a ping is looked for: on a slow line the whole of a large one may take longer
// than a keep-alive. The bytes that arrive show that the broker lives.
const stretch = 64 << 10

// covered reports whether paho's ping waited for an answer, which then is made.
func (g *gate) covered() bool {
	if !g.link.cover() {
		return false
	}
	g.made = append(g.buf[:0], byte(mqttwire.PINGRESP)<<4, 0)
	return true
}

// readOn reads more of a PUBLISH, and reports whether that was all.
func (g *gate) readOn(h *publish) (whole bool, err error) {
	if len(h.body) < h.read+h.length {
		h.body = append(make([]byte, 0, h.read+h.length), h.body...)[:h.read+h.length]
	}
	for h.length > 0 {
		if h.read > 0 && g.covered() {
			return false, nil
		}
		n, err := io.ReadFull(g.in, h.body[h.read:h.read+min(h.length, stretch)])
		h.read += n
		h.length -= n
		if err != nil {
			return false, unexpected(err)
		}
	}
	return true, nil
}

// hashOn reads more of a payload that is too large to hold, and reports whether that was all.
func (g *gate) hashOn(h *publish) (whole bool, err error) {
	for h.length > 0 {
		if g.covered() {
			return false, nil
		}
		n, err := io.CopyN(h.sum, g.in, int64(min(h.length, max(1, g.in.Buffered()))))
		h.length -= int(n)
		if err != nil {
			return false, unexpected(err)
		}
	}
	h.body = h.sum.Sum(h.body)
	return true, nil
}

// Write sends p. It fails if the broker takes nothing for as long as the timeout.
func (g *gate) Write(p []byte) (int, error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	if len(p) == 2 && p[0] == byte(mqttwire.PINGREQ)<<4 {
		g.link.pinging()
	}
	if err := g.SetWriteDeadline(time.Now().Add(g.timeout)); err != nil {
		return 0, g.reason(err)
	}
	g.asked.Store(true)
	n, err := g.Conn.Write(p)
	if err != nil {
		// Else nobody would notice while nothing is read: paho only logs a ping that it could not send.
		g.drop(fmt.Errorf("writing: %w", err))
		return n, g.reason(err)
	}
	if len(p) == 2 && p[0] == byte(mqttwire.DISCONNECT)<<4 {
		g.parting.Store(true)
	}
	return n, nil
}

// unanswered reports whether the broker may have taken a CONNECT whose answer never came.
func (g *gate) unanswered() bool { return g.asked.Load() && !g.heard.Load() }

// Close is called by paho, and wakes what waits in the gate.
//
// After a DISCONNECT it first reads until the broker closes: a socket closed with bytes unread resets the connection, and
// then the broker throws away what it did not read either, the last acknowledgements and the DISCONNECT among it.
func (g *gate) Close() error {
	if g.parting.Load() && g.dropped.Load() == nil {
		_ = g.SetReadDeadline(time.Now().Add(g.link.source.cfg.DrainTimeout))
		_, _ = io.Copy(io.Discard, g.Conn) // what is lost with a broker that does not close comes again
	}
	g.link.closing()
	return g.Conn.Close()
}

// drop ends the connection for a reason of ours. paho takes the bare error of a closed connection for its own doing
// and then does not notice the end; so it gets the reason instead.
func (g *gate) drop(why error) {
	g.dropped.CompareAndSwap(nil, &why)
	_ = g.Close() // the connection is given up
}

// end notes that nothing more is read.
func (g *gate) end(err error) error {
	if err != nil {
		g.ending.Do(func() { close(g.ended) })
	}
	return g.reason(err)
}

func (g *gate) reason(err error) error {
	if err != nil {
		if why := g.dropped.Load(); why != nil {
			return *why
		}
	}
	return err
}

// unexpected names an end in the middle of a packet.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
