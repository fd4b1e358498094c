package broker

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"edgechain/sensors"
)

// hook is the wall: all that mochi asks us, and all that we take out of its hands.
type hook struct {
	mqtt.HookBase
	b *Broker
}

// ID names the hook in mochi.
func (*hook) ID() string { return "edgechain" }

// Provides lists the calls that the hook wants.
func (*hook) Provides(call byte) bool {
	return bytes.IndexByte([]byte{
		mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnPacketEncode,
		mqtt.OnDisconnect, mqtt.OnClientExpired, mqtt.OnPublishDropped, mqtt.OnSubscribe, mqtt.OnSubscribed,
	}, call) >= 0
}

// connOf is the connection behind mochi's client; nil for the broker's own inline client.
func connOf(cl *mqtt.Client) *conn {
	c, _ := cl.Net.Conn.(*conn)
	return c
}

// OnConnect is asked before anybody has shown who he is.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	c := connOf(cl)
	c.cl = cl
	c.v5 = pk.ProtocolVersion == 5
	// mochi's strings are parts of the packet, which holds a password and perhaps a long will.
	c.clientID = strings.Clone(cl.ID)
	if pk.Connect.ClientIdentifier != "" {
		c.named = c.clientID
	}
	c.user = string(pk.Connect.Username)
	cl.ID = c.clientID
	cl.Properties.Username = []byte(c.user)

	// Wills are entries before they are published: mochi must not know them.
	if pk.Connect.WillFlag {
		c.will = newWill(c, pk)
		cl.Properties.Will = mqtt.Will{}
	}

	// A quota that it counts makes mochi lock its table of messages in flight twice for reading, which stops client and
	// fan-out for good if the fan-out comes between. The hook keeps the client's window instead, in OnACLCheck.
	if c.v5 {
		c.window = int(pk.Properties.ReceiveMaximum)
		cl.State.Inflight.ResetSendQuota(0)
		cl.Properties.Props.ReceiveMaximum = 0 // from which a resumed session would take it again
	}
	// mochi counts an alias as known to the client even where it dropped the message that would have told it.
	cl.Properties.Props.TopicAliasMaximum = 0

	if code := h.b.checkClient(c, pk); code != packets.CodeSuccess {
		h.b.log.Warn("MQTT client refused", "client", c.clientID, "remote", cl.Net.Remote, "reason", code.Reason)
		_ = h.b.srv.SendConnack(cl, code, false, nil)
		return code
	}
	return nil
}

func (b *Broker) checkClient(c *conn, pk packets.Packet) packets.Code {
	switch {
	case len(c.clientID) > maxClientID || !printable(c.clientID):
		return packets.ErrClientIdentifierNotValid
	case !utf8.ValidString(c.user):
		return packets.ErrBadUsernameOrPassword
	}
	return packets.CodeSuccess
}

// checkVersion refuses a version of the protocol that is not spoken here, in the way that a client of such a version
// understands. A Mosquitto bridge tries 0x84 first, MQTT 3.1.1 with a bit of its own, and goes on with 3.1.1 when it hears
// that code; mochi's would be one of MQTT 5.
func (b *Broker) checkVersion(c *conn, pk packets.Packet) error {
	switch pk.ProtocolVersion {
	case 3, 4, 5:
		return nil
	}
	const unacceptable = 0x01 // MQTT 3.1.1, 3.1.2.2
	_, err := c.Write([]byte{packets.Connack << 4, 2, 0, unacceptable})
	b.log.Info("MQTT client refused: its version of the protocol is not spoken here", "remote", c.RemoteAddr().String(), "version", fmt.Sprintf("%#02x", pk.ProtocolVersion), "err", err)
	return packets.ErrRejectPacket
}

func printable(s string) bool { return !strings.ContainsFunc(s, unicode.IsControl) }

// OnConnectAuthenticate is asked who may come in.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	c := connOf(cl)
	defer clear(pk.Connect.Password)
	if !h.b.authenticate(c, pk) {
		h.b.stats.unauthenticated.Add(1)
		h.b.log.Warn("MQTT client refused: wrong user or password", "client", c.clientID, "user", c.user, "remote", cl.Net.Remote)
		return false
	}
	if !h.b.ownSession(c) {
		h.b.stats.unauthenticated.Add(1)
		h.b.log.Warn("MQTT client refused: another user is connected with its client id", "client", c.clientID, "user", c.user, "remote", cl.Net.Remote)
		return false
	}
	h.b.makeRoom(c.clientID)
	user := sensors.SourceName(c.user)
	switch user {
	case "":
		user = "-"
	case "-":
		user = "%2D"
	}
	c.source = "broker:" + user + "/" + sensors.SourceName(c.clientID) + ":"
	return true
}

func (b *Broker) authenticate(c *conn, pk packets.Packet) bool {
	users := b.users.Load()
	if users == nil {
		// A name that nothing proves must not stand in an entry.
		c.user, c.cl.Properties.Username = "", nil
		return c.anonymous
	}
	if !pk.Connect.UsernameFlag {
		return c.anonymous && users.anonymous != nil
	}
	if c.user == "" {
		return false
	}
	if users.remembers(c.user, pk.Connect.Password) {
		return true // whatever waits for the slow check
	}
	from := host(c.RemoteAddr())
	if !b.queue(from) {
		b.log.Warn("MQTT client refused: too many passwords from its address wait to be checked", "user", c.user, "remote", from)
		return false
	}
	defer b.unqueue(from)
	select {
	case b.bcrypt <- struct{}{}:
		defer func() { <-b.bcrypt }()
		return users.authenticate(c.user, pk.Connect.Password)
	case <-c.gone:
	case <-b.stopping:
	}
	return false
}

// maxChecking is how many clients of one address may wait for their password to be checked: each check takes a tenth of a
// second of CPU, and they are made in the order of arrival.
const maxChecking = 8

// queue takes a place among those of an address that wait for a password check, if there is one.
func (b *Broker) queue(from string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.checking[from] >= maxChecking {
		return false
	}
	b.checking[from]++
	return true
}

func (b *Broker) unqueue(from string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.checking[from]--; b.checking[from] == 0 {
		delete(b.checking, from)
	}
}

// host returns an address without its port.
func host(a net.Addr) string {
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}

// ownSession keeps one user from the session of another, whose client id he names: a connected one is left alone, a
// disconnected one is forgotten.
func (b *Broker) ownSession(c *conn) bool {
	existing, ok := b.srv.Clients.Get(c.clientID)
	if !ok || string(existing.Properties.Username) == c.user {
		return !ok || !existing.Net.Inline
	}
	if !existing.Closed() || existing.Net.Inline {
		return false
	}
	b.dropSession(existing)
	return true
}

// makeRoom ends the session that nobody has come back to for longest, if there are too many for one more.
func (b *Broker) makeRoom(clientID string) {
	if _, known := b.srv.Clients.Get(clientID); known || b.srv.Clients.Len() < sessionsPerSlot*b.cfg.MaxClients {
		return
	}
	var oldest *mqtt.Client
	for _, cl := range b.srv.Clients.GetAll() {
		if cl.Closed() && (oldest == nil || cl.StopTime() < oldest.StopTime()) {
			oldest = cl
		}
	}
	if oldest != nil {
		b.log.Warn("MQTT session ended: there are too many", "client", oldest.ID)
		b.dropSession(oldest)
	}
}

// dropSession ends a session that has no connection.
func (b *Broker) dropSession(cl *mqtt.Client) {
	b.srv.UnsubscribeClient(cl) // which mochi leaves out when a session expires
	cl.ClearInflights()
	b.srv.Clients.Delete(cl.ID)
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sessions, cl.ID)
	if w := b.wills[cl.ID]; w != nil {
		w.due = time.Now() // 3.1.3.2.2: at the end of the session at the latest
	}
}

// OnACLCheck is asked with a filter when a client subscribes, and with a topic when a message is about to be
// delivered to it. Publications are checked before mochi sees them.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	c := connOf(cl)
	if c == nil || write {
		return c == nil
	}
	if c.window > 0 && !c.subscribing.Load() && cl.State.Inflight.Len() >= c.window {
		h.b.stats.undelivered.Add(1)
		return false
	}
	if h.b.may(c, topic, Subscribe) {
		return true
	}
	if c.subscribing.Load() {
		h.b.stats.refused.Add(1)
		h.b.log.Warn("MQTT subscription refused", "client", c.clientID, "user", c.user, "filter", topic)
	}
	return false
}

// may tells whether the client may publish to a topic, or subscribe to a filter.
func (b *Broker) may(c *conn, topic string, what Access) bool {
	users := b.users.Load()
	return users == nil || users.allow(c.user, c.clientID, topic, what)
}

// OnSubscribe marks what OnACLCheck is asked next.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	connOf(cl).subscribing.Store(true)
	return pk
}

// OnSubscribed ends what OnSubscribe began.
func (h *hook) OnSubscribed(cl *mqtt.Client, _ packets.Packet, _ []byte) {
	connOf(cl).subscribing.Store(false)
}

// nothing is a packet that mochi looks at and does nothing about: an acknowledgement of a packet id that does not exist.
func nothing(pk packets.Packet) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, ProtocolVersion: pk.ProtocolVersion}
}

// OnPacketRead sees each packet before mochi does anything about it. An error, which must be ErrRejectPacket, ends the
// connection.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	c := connOf(cl)
	if c.sess == nil {
		return pk, h.b.checkVersion(c, pk) // the CONNECT
	}
	switch pk.FixedHeader.Type {
	case packets.Publish:
		if err := h.b.publish(c, &pk); err != nil {
			return pk, err
		}
		return nothing(pk), nil
	case packets.Pubrel:
		code, ok := c.sess.release(c, pk.PacketID)
		if !ok {
			return pk, c.violate(packets.ErrProtocolViolation)
		}
		if err := c.complete(pk.PacketID, code); err != nil {
			return pk, packets.ErrRejectPacket
		}
		return nothing(pk), nil
	case packets.Subscribe, packets.Unsubscribe:
		// mochi refuses one whose packet id a message on its way to the client happens to have. Ids of the two
		// directions have nothing to do with each other [MQTT-2.3.1]: OnPacketEncode puts this one back.
		if pk.PacketID == 0 {
			return pk, nil // mochi has the error for it
		}
		c.subscribed = pk.PacketID
		pk.PacketID, pk.FixedHeader.Qos = 0, 0
	case packets.Disconnect:
		c.tookLeave = pk.ReasonCode != packets.CodeDisconnectWillMessage.Code
	}
	return pk, nil
}

// complete sends PUBCOMP.
func (c *conn) complete(id uint16, code packets.Code) error {
	if !c.v5 {
		code = packets.CodeSuccess
	}
	return c.cl.WritePacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Pubcomp},
		PacketID:    id,
		ReasonCode:  code.Code,
	})
}

// OnPacketEncode sees each packet that mochi is about to send.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	c := connOf(cl)
	if c == nil {
		return pk
	}
	switch pk.FixedHeader.Type {
	case packets.Connack:
		if pk.ReasonCode == packets.CodeSuccess.Code {
			h.b.establish(c, pk.SessionPresent)
			if c.v5 {
				pk.Properties.MaximumPacketSize = uint32(h.b.cfg.MaxPacket)
				pk.Properties.TopicAliasMaximum = topicAliasMax
			}
		}
	case packets.Suback, packets.Unsuback:
		pk.PacketID = c.subscribed
	case packets.Disconnect:
		if !c.v5 {
			pk.FixedHeader.Type = packets.Reserved // MQTT 3.1.1 knows none from a server: mochi will fail to encode it
		}
	}
	return pk
}

// establish gives the connection its session, at the moment when the client is about to be told whether it has one.
func (b *Broker) establish(c *conn, resumed bool) {
	b.mu.Lock()
	s, w := b.sessions[c.clientID], b.wills[c.clientID]
	if s == nil || !resumed {
		s = new(session)
		b.sessions[c.clientID] = s
	}
	delete(b.wills, c.clientID)
	b.mu.Unlock()
	c.sess = s
	s.attach(c)
	c.established.Store(true)
	if w != nil && !resumed {
		// [MQTT-3.1.3-9]: the will lapses if its session is continued; here the session has ended.
		b.publishWill(w)
	}
	b.log.Debug("MQTT client connected", "client", c.clientID, "user", c.user, "remote", c.RemoteAddr().String(), "resumed", resumed)
}

// OnDisconnect is told when a client that was let in has gone.
func (h *hook) OnDisconnect(cl *mqtt.Client, _ error, expire bool) {
	c, b := connOf(cl), h.b
	if c == nil || c.sess == nil {
		return
	}
	c.sess.detach(c)
	b.lastWill(c, cl.Properties.Props)
	if expire {
		b.mu.Lock()
		if b.sessions[c.clientID] == c.sess && !cl.IsTakenOver() {
			delete(b.sessions, c.clientID)
		}
		b.mu.Unlock()
	}
}

// OnClientExpired is told when a session has ended that nobody came back to.
func (h *hook) OnClientExpired(cl *mqtt.Client) { h.b.dropSession(cl) }

// OnPublishDropped is told of each message that a subscriber was too slow for.
func (h *hook) OnPublishDropped(*mqtt.Client, packets.Packet) { h.b.stats.undelivered.Add(1) }
