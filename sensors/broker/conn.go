package broker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"edgechain.example/mqttwire"
)

// conn is one client's connection.
type conn struct {
	net.Conn
	b         *Broker
	host      string // it comes from, without the port
	anonymous bool   // the listener lets in clients that name no user
	limits    Limits // as they were when it came; never changed

	// Written by the reader before the CONNACK; never changed then.
	version       mqttwire.Version
	v5            bool
	user          string // "" is anonymous
	clientID      string
	named         string // the client id, unless the broker had to make one up: then it names no device
	source        string // what an entry's source begins with: "broker:press/press-07:"
	keepAliveFor  time.Duration
	lasting       time.Duration // for how long its session is kept after it
	patience      time.Duration // how long it may send nothing; 0: for ever
	keepAliveTold bool          // it is not the one that the client asked for
	window        int           // how many QoS 1 and 2 messages the client takes before it has acknowledged one
	largest       int           // bytes of a packet that it takes; 0 is any number
	sess          *session
	// Set once the above is: others may then read it.
	established atomic.Bool

	replaced bool // a newer one has its session, and it has been told to go; guarded by Broker.mu

	// The reader's own.
	will       *will
	aliases    *[topicAliasMax + 1]string // what the client's topic aliases stand for
	aliasBytes int                        // of those topics
	tookLeave  bool                       // a DISCONNECT came that lets the will lapse
	readUntil  time.Time                  // the read deadline now set
	packet     []byte                     // being dealt with, as far as it is logged
	scratch    []byte                     // for packets that nothing is kept of

	sending    sync.Mutex // held during a write: packets go out whole
	writeUntil time.Time  // the write deadline now set

	// Guarded by sess.mu.
	writing   bool              // a writer runs
	writer    sync.WaitGroup    // that writer
	given     map[string]uint16 // topic aliases given to the client
	mostGiven int               // how many it takes

	room chan struct{} // has room for one; told when the queue has become shorter
	idle chan struct{} // has room for one; told when a writer ends

	closing sync.Once
	gone    chan struct{} // closed with the connection
}

// errGone ends the reading of a connection about which there is nothing more to say.
var errGone = errors.New("the connection is closed")

// serve runs one connection to its end.
func (b *Broker) serve(nc net.Conn, anonymous bool) {
	c := b.newConn(nc, anonymous)
	if !b.admit(c) {
		c.Close()
		return
	}
	b.attend(c)
}

func (c *conn) from() string { return c.host }

func (b *Broker) newConn(nc net.Conn, anonymous bool) *conn {
	return &conn{
		Conn: nc, b: b, anonymous: anonymous, host: hostOf(nc.RemoteAddr()),
		room: make(chan struct{}, 1), idle: make(chan struct{}, 1), gone: make(chan struct{}),
	}
}

// attend runs a connection that was admitted to its end.
func (b *Broker) attend(c *conn) {
	defer c.Close()
	err := b.read(c)
	if c.sess != nil {
		c.end(err)
		c.sess.detach(c)
		c.Close() // a writer that is stuck in the socket returns
		c.writer.Wait()
		b.leave(c)
	}
	b.forget(c)
	b.log.Debug("MQTT client gone", "client", c.clientID, "remote", c.RemoteAddr().String(), "reason", err)
}

// read reads the connection to its end. A packet that makes the broker panic ends this connection and nothing else: what
// a client was promised is on disk, and its session stays.
func (b *Broker) read(c *conn) (err error) {
	defer func() {
		if p := recover(); p != nil {
			b.stats.panics.Add(1)
			err = fmt.Errorf("panic: %v", p)
			b.log.Error("an MQTT packet made the broker panic: the connection was closed; please report the bytes", "client", c.clientID, "user", c.user,
				"remote", c.RemoteAddr().String(), "panic", p, "bytes", fmt.Sprintf("%x", c.packet[:min(len(c.packet), maxLogged)]), "stack", string(debug.Stack()))
		}
	}()
	in := bufio.NewReaderSize(c, 4096)
	c.readUntil = time.Now().Add(connectTimeout)
	if err := c.SetReadDeadline(c.readUntil); err != nil {
		return err
	}
	if err := b.connect(c, in); err != nil {
		return err
	}
	c.packet = nil
	for {
		if err := c.expect(); err != nil {
			return err
		}
		h, err := mqttwire.ReadHeader(in, c.limits.MaxPacket)
		if err != nil {
			return err
		}
		if err := b.handlePacket(c, h, in); err != nil {
			return err
		}
		c.packet = nil // a client may be silent for hours after a large one
	}
}

// maxLogged is how many bytes of a packet are logged.
const maxLogged = 256

// handlePacket reads and handles what follows a header.
func (b *Broker) handlePacket(c *conn, h mqttwire.Header, in *bufio.Reader) error {
	body, done, err := c.body(h, in)
	if err != nil {
		return err
	}
	defer done()
	c.packet = body
	switch h.Type {
	case mqttwire.PUBLISH:
		p, err := mqttwire.DecodePublish(c.version, h, body)
		if err != nil {
			return err
		}
		return b.publish(c, &p)
	case mqttwire.PUBACK, mqttwire.PUBREC, mqttwire.PUBREL, mqttwire.PUBCOMP:
		p, err := mqttwire.DecodeAck(c.version, h, body)
		if err != nil {
			return err
		}
		return c.acknowledged(h.Type, p)
	case mqttwire.SUBSCRIBE:
		p, err := mqttwire.DecodeSubscribe(c.version, h, body)
		if err != nil {
			return err
		}
		return b.subscribe(c, &p)
	case mqttwire.UNSUBSCRIBE:
		p, err := mqttwire.DecodeUnsubscribe(c.version, h, body)
		if err != nil {
			return err
		}
		return b.unsubscribe(c, &p)
	case mqttwire.PINGREQ:
		if err := mqttwire.DecodePing(c.version, h, body); err != nil {
			return err
		}
		return c.send(pingresp)
	case mqttwire.DISCONNECT:
		p, err := mqttwire.DecodeDisconnect(c.version, h, body)
		if err != nil {
			return err
		}
		return b.takeLeave(c, p)
	case mqttwire.CONNECT: // [MQTT-3.1.0-2]
		return &mqttwire.Error{Code: mqttwire.ProtocolError, Why: "a second CONNECT"}
	default: // AUTH, of which no method was agreed, and what only a broker sends
		return &mqttwire.Error{Code: mqttwire.ProtocolError, Why: h.Type.String() + " from a client"}
	}
}

var pingresp = []byte{byte(mqttwire.PINGRESP) << 4, 0}

// acknowledged takes the client's part in the acknowledgement of a message, in either direction.
func (c *conn) acknowledged(t mqttwire.Type, p mqttwire.Ack) error {
	if t == mqttwire.PUBREL {
		code, ok := c.sess.release(c, p.ID)
		if !ok {
			return &mqttwire.Error{Code: mqttwire.ProtocolError, Why: "a PUBREL before its PUBREC"}
		}
		if err := c.b.kept.letGo(c, p.ID); err != nil {
			return err
		}
		answer := mqttwire.Ack{ID: p.ID, Code: code}
		return c.send(answer.Append(c.version, mqttwire.PUBCOMP, nil))
	}
	answer, err := c.sess.delivered(c, t, p)
	if err != nil || answer == nil {
		return err
	}
	return c.send(answer)
}

// takeLeave takes a DISCONNECT. Its error ends the reading.
func (b *Broker) takeLeave(c *conn, p mqttwire.Disconnect) error {
	if _, ok := p.Properties.Get(mqttwire.ServerReference); ok { // 3.14.2.2.5
		return &mqttwire.Error{Code: mqttwire.ProtocolError, Why: "a server reference from a client"}
	}
	if expiry, ok := p.Properties.Get(mqttwire.SessionExpiry); ok {
		b.mu.Lock()
		never := c.sess.expiry == 0
		if !never {
			c.sess.expiry = expiryOf(expiry.Number)
		}
		b.mu.Unlock()
		if never && expiry.Number > 0 { // 3.14.2.2.2
			return &mqttwire.Error{Code: mqttwire.ProtocolError, Why: "a session that ends with the connection cannot be kept"}
		}
	}
	c.tookLeave = p.Code != mqttwire.DisconnectWithWill
	return errGone
}

// end says why the broker ends a connection, to the log and to a client of MQTT 5, if it was the broker who did.
func (c *conn) end(err error) {
	var wrong *mqttwire.Error
	switch {
	case errors.As(err, &wrong):
		c.b.stats.cut.Add(1)
		c.b.told.Warn("MQTT client disconnected", wrong.Code.String(), "client", c.clientID, "user", c.user, "remote", c.RemoteAddr().String(), "why", wrong.Why)
		c.farewell(wrong.Code, wrong.Why)
		c.linger()
		c.Close()
	case timedOut(err) && !c.isGone():
		c.b.stats.cut.Add(1)
		c.b.told.Warn("MQTT client disconnected", mqttwire.KeepAliveTimeout.String(), "client", c.clientID, "user", c.user, "remote", c.RemoteAddr().String())
		c.disconnect(mqttwire.KeepAliveTimeout, "")
	}
}

// takes tells whether the client takes a packet of n bytes [MQTT-3.1.2-24].
func (c *conn) takes(n int) bool { return c.largest == 0 || n <= c.largest }

// takesAnswer tells whether the client takes the SUBACK or UNSUBACK of so many codes, before anything is done.
func (c *conn) takesAnswer(codes int) error {
	p := mqttwire.Suback{Codes: make([]byte, codes)}
	if c.largest > 0 && !c.takes(len(p.Append(c.version, mqttwire.SUBACK, nil))) {
		return &mqttwire.Error{Code: mqttwire.PacketTooLarge, Why: "a client that takes no answer for so many filters"}
	}
	return nil
}

// send writes whole packets.
func (c *conn) send(packets []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	_, err := c.Write(packets)
	return err
}

// Write writes within [Config.WriteTimeout]: a client that does not read for so long is disconnected. The caller holds
// sending.
func (c *conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
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
		if timedOut(err) && !c.isGone() && c.established.Load() {
			c.b.stats.cut.Add(1)
			c.b.told.Warn("MQTT client disconnected", "it does not read what it is sent", "client", c.clientID, "user", c.user, "remote", c.RemoteAddr().String())
		}
		c.Close() // part of a packet may have gone out: nothing may follow
	}
	return n, err
}

func (c *conn) Close() error {
	c.closing.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

// What a client sends on while it is told that it must go is read and dropped, for so long and so much: a connection that is
// closed with something unread is reset, and the reason that was written last is lost with it.
const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// linger waits until a client of MQTT 5 has heard why it must go. It runs on the reader.
func (c *conn) linger() {
	half, ok := c.Conn.(interface{ CloseWrite() error }) // TCP and TLS; a WebSocket ends by a word of its own
	if !ok || !c.v5 || !c.established.Load() || c.isGone() || half.CloseWrite() != nil {
		return
	}
	if c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
}

// disconnect ends the connection and tells a client of MQTT 5 why; MQTT 3.1.1 has no word for it.
func (c *conn) disconnect(code mqttwire.Reason, why string) {
	c.farewell(code, why)
	c.Close()
}

// farewell tells a client of MQTT 5 why it must go.
func (c *conn) farewell(code mqttwire.Reason, why string) {
	if c.established.Load() && c.v5 {
		p := mqttwire.Disconnect{Code: code}
		if why != "" {
			p.Properties = p.Properties.AddText(mqttwire.ReasonString, why)
		}
		packet := p.Append(c.version, mqttwire.DISCONNECT, nil)
		if !c.takes(len(packet)) { // [MQTT-3.14.2-3]
			p.Properties = nil
			packet = p.Append(c.version, mqttwire.DISCONNECT, nil)
		}
		if c.takes(len(packet)) {
			_ = c.send(packet) // it goes either way
		}
	}
}

// keepAlive answers the pings of a client whose packets are not read while one of its messages waits for the disk:
// its PINGREQ stands behind that message, and unanswered would cost it the connection. A PINGRESP too many does no
// harm. The function it returns ends this.
func (c *conn) keepAlive() (stop func()) {
	if c.keepAliveFor == 0 {
		return func() {}
	}
	const patience = 2 * time.Second // well below what clients wait for a PINGRESP, 10 s as a rule
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(min(patience, c.keepAliveFor/4))
		defer t.Stop()
		for {
			select {
			case <-end:
				return
			case <-c.gone:
				return
			case <-t.C:
				if c.send(pingresp) != nil {
					return
				}
			}
		}
	})
	return func() {
		close(end)
		wg.Wait()
		c.readUntil = time.Time{} // the deadline may have passed meanwhile
	}
}
