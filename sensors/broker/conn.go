package broker

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// conn is one client's connection. It is the net.Conn that mochi reads and writes, and so what the hook finds at
// each of mochi's clients.
type conn struct {
	net.Conn
	b         *Broker
	anonymous bool // the listener lets in clients that name no user

	// Written by the reader, which is mochi's goroutine for this client, before the CONNACK; never changed then.
	cl       *mqtt.Client
	user     string // "" is anonymous
	clientID string
	named    string // the client id, unless the broker had to make one up: then it names no device
	source   string // what an entry's source begins with: "broker:press/press-07:"
	v5       bool
	window   int // of MQTT 5, how many QoS 1 and 2 messages the client takes before it has acknowledged one; 0 is any number
	sess     *session
	// Set once the above is: others may then read it.
	established atomic.Bool
	subscribing atomic.Bool // a SUBSCRIBE is being answered

	// The reader's own.
	first      firstPacket
	will       *will
	subscribed uint16 // the packet id of the SUBSCRIBE or UNSUBSCRIBE being answered
	refused    int    // publications that it had no right to
	tookLeave  bool   // a DISCONNECT came that lets the will lapse
	last       []byte // what was read last: a part of mochi's buffer

	// Guarded by the lock of cl, which whoever writes holds.
	writeUntil time.Time // the write deadline now set

	// Guarded by sess.mu.
	writing bool           // a writer runs
	writer  sync.WaitGroup // that writer

	room chan struct{} // has room for one; told when the queue has become shorter
	idle chan struct{} // has room for one; told when a writer ends

	closing sync.Once
	gone    chan struct{} // closed with the connection
}

// serve runs one connection to its end.
func (b *Broker) serve(nc net.Conn, anonymous bool) {
	c := &conn{
		Conn: nc, b: b, anonymous: anonymous,
		room: make(chan struct{}, 1), idle: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	defer c.Close()
	if !b.admit(c) {
		return
	}
	defer b.forget(c)
	// mochi sets a deadline of its own once it has read the CONNECT.
	if err := nc.SetReadDeadline(time.Now().Add(connectTimeout)); err != nil {
		return
	}
	err := b.read(c)
	if c.sess != nil {
		c.sess.detach(c)
		c.Close() // a writer that is stuck in the socket returns
		c.writer.Wait()
	}
	b.log.Debug("MQTT client gone", "client", c.clientID, "remote", nc.RemoteAddr().String(), "reason", err)
}

// read lets mochi read the connection to its end. A packet that makes it panic ends this connection and nothing else: what
// a client was promised is on disk, and its session stays.
func (b *Broker) read(c *conn) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		b.stats.panics.Add(1)
		err = fmt.Errorf("panic: %v", p)
		b.log.Error("an MQTT packet made the broker panic: the connection was closed; please report the bytes", "client", c.clientID, "user", c.user,
			"remote", c.RemoteAddr().String(), "panic", p, "bytes", fmt.Sprintf("%x", c.last[:min(len(c.last), maxLogged)]), "stack", string(debug.Stack()))
		if c.cl != nil {
			(&hook{b: b}).OnDisconnect(c.cl, err, false) // which mochi did not come to
		}
	}()
	return b.srv.EstablishConnection("", c)
}

// maxLogged is how many bytes of a packet are logged.
const maxLogged = 256

func (b *Broker) admit(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.conns) >= b.cfg.MaxClients+maxHandshaking {
		return false
	}
	b.conns[c] = struct{}{}
	b.readers.Add(1)
	return true
}

func (b *Broker) forget(c *conn) {
	b.mu.Lock()
	delete(b.conns, c)
	b.mu.Unlock()
	b.readers.Done()
}

// Read reads for mochi, which allocates a packet's whole announced length before it has read it: a stranger's first
// packet is therefore looked at before mochi sees it.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if ferr := c.first.check(p[:n]); ferr != nil {
		return 0, ferr
	}
	c.last = p[:n]
	return n, err
}

// Write writes within [Config.WriteTimeout]. A client that does not read for so long is disconnected: whoever writes
// holds a lock that the fan-out to all other clients needs as well.
func (c *conn) Write(p []byte) (int, error) {
	timeout := c.b.cfg.WriteTimeout
	// Setting a deadline costs as much as a short write: one that is nearly right is left as it is.
	if until := time.Now().Add(timeout); until.Sub(c.writeUntil) > timeout/4 {
		if err := c.Conn.SetWriteDeadline(until); err != nil {
			return 0, err
		}
		c.writeUntil = until
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		c.Close() // part of a packet may have gone out: nothing may follow
	}
	return n, err
}

// SetDeadline is mochi's way to time out a client that sends no pings. It must not touch writes: while the reader
// waits for a slow disk the deadline passes, and acknowledgements still have to go out.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *conn) Close() error {
	c.closing.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

// disconnect ends the connection and tells a client of MQTT 5 why; MQTT 3.1.1 has no word for it.
func (c *conn) disconnect(code packets.Code) {
	if c.established.Load() && c.v5 {
		_ = c.b.srv.DisconnectClient(c.cl, code)
	}
	c.Close()
}

// violate ends the connection of a client that breaks the protocol. Its result is what the hook returns to make
// mochi stop reading.
func (c *conn) violate(code packets.Code) error {
	c.b.log.Warn("MQTT client disconnected", "client", c.clientID, "user", c.user, "reason", code.Reason)
	c.disconnect(code)
	return packets.ErrRejectPacket
}

// keepAlive answers the pings of a client whose packets are not read while one of its messages waits for the disk:
// its PINGREQ stands behind that message, and unanswered would cost it the connection. A PINGRESP too many does no
// harm. The function it returns ends this.
func (c *conn) keepAlive() (stop func()) {
	if c.cl.State.Keepalive == 0 {
		return func() {}
	}
	const patience = 2 * time.Second // well below what clients wait for a PINGRESP, 10 s as a rule
	every := min(patience, time.Duration(c.cl.State.Keepalive)*time.Second/4)
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-end:
				return
			case <-c.gone:
				return
			case <-t.C:
				if c.cl.WritePacket(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingresp}}) != nil {
					return
				}
			}
		}
	})
	return func() { close(end); wg.Wait() }
}

// firstPacket checks the fixed header of a connection's first packet: a CONNECT of moderate length.
type firstPacket struct {
	n, length int
	passed    bool
}

var errNoConnect = errors.New("the first packet is not a CONNECT")

func (f *firstPacket) check(b []byte) error {
	for i := 0; i < len(b) && !f.passed; i, f.n = i+1, f.n+1 {
		switch {
		case f.n == 0 && b[i]>>4 != packets.Connect, f.n > 4:
			return errNoConnect
		case f.n == 0:
			continue
		}
		f.length |= int(b[i]&0x7f) << (7 * (f.n - 1))
		f.passed = b[i] < 0x80
	}
	if f.length > maxConnect {
		return fmt.Errorf("a CONNECT of %d bytes is above the limit of %d", f.length, maxConnect)
	}
	return nil
}
