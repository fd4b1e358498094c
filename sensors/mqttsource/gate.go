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

// gate is the connection as paho sees it. It looks at each packet's header, and holds a PUBLISH back until there is
// room for it: then TCP's own flow control reaches the broker. While it does, it answers paho's pings, whose true
// answers stand unread behind the PUBLISH. paho reads a byte, then a length, then a body; the gate turns that into
// few system calls.
type gate struct {
	net.Conn
	link *link
	in   *bufio.Reader

	// Owned by the one goroutine of paho that reads.
	buf  [8]byte
	made []byte // to be handed out before anything else: a parsed header, or a made-up packet
	left int    // bytes of the current packet's rest, handed out straight from in
	held *publish

	writing sync.Mutex // over Write: paho writes from two goroutines and the link from a third
	timeout time.Duration
	parting atomic.Bool   // a DISCONNECT was sent
	ended   chan struct{} // closed by the goroutine that reads when it can read no more
	ending  sync.Once
	dropped atomic.Pointer[error] // why the link closed the connection
}

// publish is a PUBLISH packet whose header has been read and which paho has not seen yet.
type publish struct {
	first    byte
	length   int // what remains of the packet to be read, at first all that follows its length field
	size     int // what to count
	admitted bool
	variable []byte    // of a large one: topic and packet id, as on the wire
	sum      hash.Hash // of one too large to hold: what was read of its payload
	hashing  bool
}

// maxControl bounds every packet but PUBLISH: paho allocates what a header announces.
const maxControl = 64 << 10

var errMalformed = errors.New("the broker sends a malformed packet")

func newGate(conn net.Conn, l *link, timeout time.Duration) *gate {
	g := &gate{Conn: conn, link: l, timeout: timeout, ended: make(chan struct{})}
	g.in = bufio.NewReaderSize(untilParting{g}, 16<<10)
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

// next brings the following packet into made and left: the broker's next, or an answer to a ping.
func (g *gate) next() error {
	if g.held != nil {
		return g.pass()
	}
	header, err := mqttwire.ReadHeader(g.in, mqttwire.MaxLength)
	if wrong := new(mqttwire.Error); errors.As(err, &wrong) {
		return fmt.Errorf("%w: %w", errMalformed, err)
	}
	if err != nil {
		return err
	}
	length := header.Length
	switch header.Type {
	case mqttwire.PUBLISH:
		if header.Flags&6 == 6 {
			return errMalformed // MQTT-3.3.1-4: there is no QoS 3
		}
		g.held = &publish{first: header.First(), length: length}
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

// pass hands the held PUBLISH on when there is room, or, until then, an answer to paho's ping.
func (g *gate) pass() error {
	h := g.held
	if !h.admitted {
		if h.variable == nil && h.length > g.link.source.cfg.MaxPayload {
			if err := g.readVariable(h); err != nil {
				return err
			}
		}
		h.size = h.length + overhead
		if h.hashing {
			h.size = sha256.Size + overhead
		}
		h.size += len(h.variable)
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
	if h.hashing {
		return g.hashOn(h)
	}
	g.held = nil
	g.made = mqttwire.AppendHeader(g.buf[:0], h.first, len(h.variable)+h.length)
	g.made = append(g.made, h.variable...)
	g.left = h.length
	return nil
}

// readVariable reads a large PUBLISH as far as its payload, whose size is known only then.
func (g *gate) readVariable(h *publish) error {
	b, err := g.in.Peek(2)
	if err != nil {
		return unexpected(err)
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if h.first&6 != 0 {
		n += 2 // the packet id
	}
	if n > h.length {
		return errMalformed
	}
	h.variable = make([]byte, n)
	if _, err := io.ReadFull(g.in, h.variable); err != nil {
		return unexpected(err)
	}
	h.length -= n
	if h.length > g.link.source.cfg.MaxPayload {
		h.hashing, h.sum = true, sha256.New()
	}
	return nil
}

// hashOn reads more of a payload that is too large to hold. It may take longer than a keep-alive on a slow line, so
// that pings are answered here too: the bytes that arrive show that the broker lives.
func (g *gate) hashOn(h *publish) error {
	for h.length > 0 {
		if g.link.cover() {
			g.made = append(g.buf[:0], byte(mqttwire.PINGRESP)<<4, 0)
			return nil
		}
		n, err := io.CopyN(h.sum, g.in, int64(min(h.length, max(1, g.in.Buffered()))))
		h.length -= int(n)
		if err != nil {
			return unexpected(err)
		}
	}
	g.held = nil
	g.made = mqttwire.AppendHeader(nil, h.first, len(h.variable)+sha256.Size)
	g.made = h.sum.Sum(append(g.made, h.variable...))
	g.left = 0
	return nil
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
