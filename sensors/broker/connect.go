package broker

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"
	"unicode"

	"edgechain.example/mqttwire"
	"edgechain.example/sensors"
)

var errNoConnect = errors.New("the first packet is not a CONNECT")

// connect takes the first packet, lets the client in or refuses it, and answers. Nothing is allocated for a stranger but what
// it has sent.
func (b *Broker) connect(c *conn, in *bufio.Reader) error {
	var h mqttwire.Header
	var p mqttwire.Connect
	err := c.handshake()
	if err == nil {
		h, err = mqttwire.ReadHeader(in, maxConnect)
	}
	if err == nil && h.Type != mqttwire.CONNECT { // [MQTT-3.1.0-1]
		err = errNoConnect
	}
	if err == nil {
		var body []byte
		if body, err = grow(in, h.Length); err == nil {
			c.packet = body
			p, err = mqttwire.DecodeConnect(h, body)
		}
	}
	if err != nil {
		b.turnAway(c, p.Version, err)
		return err
	}
	defer clear(p.Password)
	c.version, c.v5 = p.Version, p.Version == mqttwire.V5
	b.heardOf(c)
	// What is kept must not be a part of the packet, which holds a password and perhaps a long will.
	c.clientID, c.user = string(p.ClientID), string(p.User)
	c.named = c.clientID
	if p.HasWill {
		c.will = newWill(c, &p.Will)
	}
	c.largest = int(p.Properties.Number(mqttwire.MaximumPacketSize, 0))
	switch code, why := b.check(c, &p); {
	case b.isStopping() || c.isGone():
		return errGone
	case code != mqttwire.Success:
		b.stats.unauthenticated.Add(1)
		b.told.Warn("MQTT client refused", code.String(), "client", c.clientID, "user", c.user, "remote", c.RemoteAddr().String(), "why", why)
		c.refuse(code, why)
		return errGone
	}
	user := sensors.SourceName(c.user)
	switch user {
	case "":
		user = "-"
	case "-":
		user = "%2D"
	}
	c.source = "broker:" + user + "/" + sensors.SourceName(c.clientID) + ":"
	return b.establish(c, &p)
}

// handshakeError is why a client that speaks TLS was not let in.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS: " + e.err.Error() }

func (e *handshakeError) Unwrap() error { return e.err }

// handshake makes that of TLS, where it is not made yet. Its error is a [*handshakeError], unless the client has gone.
func (c *conn) handshake() error {
	t := tlsOf(c.Conn)
	if t == nil {
		return nil
	}
	err := t.HandshakeContext(context.Background()) // within connectTimeout
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || timedOut(err) {
		return err
	}
	return &handshakeError{err}
}

// grow reads n bytes, and makes room for them as they come.
func grow(in *bufio.Reader, n int) (b []byte, err error) {
	for len(b) < n {
		part := make([]byte, min(n-len(b), max(512, len(b))))
		m, err := in.Read(part)
		if err != nil {
			return nil, err
		}
		b = append(b, part[:m]...)
	}
	return b, nil
}

// turnAway answers what is no CONNECT of a version that is spoken here, as far as its sender would understand an answer.
func (b *Broker) turnAway(c *conn, v mqttwire.Version, err error) {
	var version *mqttwire.VersionError
	var wrong *mqttwire.Error
	var handshake *handshakeError
	reason := err.Error()
	switch {
	case errors.As(err, &version):
		// A Mosquitto bridge tries 0x84 first, MQTT 3.1.1 with a bit of its own, and goes on with 3.1.1 when it hears this
		// code. It is that of MQTT 3.1.1 (3.1.2.2), since no other version is known to be understood.
		_ = c.send([]byte{byte(mqttwire.CONNACK) << 4, 2, 0, 1})
		b.told.tell(slog.LevelInfo, "MQTT client refused", "its version of the protocol is not spoken here", "remote", c.RemoteAddr().String(), "version", fmt.Sprintf("%#02x", version.Level))
		return
	case errors.As(err, &wrong):
		c.version, reason = v, wrong.Code.String()
		c.refuse(wrong.Code, wrong.Why)
	case timedOut(err):
		reason = "no CONNECT within " + connectTimeout.String()
	case errors.As(err, &handshake):
		reason = handshake.Error()
	case !errors.Is(err, errNoConnect):
		return // it has gone
	}
	b.stats.unauthenticated.Add(1)
	b.told.Warn("MQTT client refused", reason, "remote", c.RemoteAddr().String())
}

// refuse answers a CONNECT with a code, and closes.
func (c *conn) refuse(code mqttwire.Reason, why string) {
	p := mqttwire.Connack{Code: byte(code)}
	switch {
	case c.version == mqttwire.V5:
		if p.Properties = p.Properties.AddText(mqttwire.ReasonString, why); !c.takes(len(p.Append(c.version, nil))) { // [MQTT-3.2.2-19]
			p.Properties = nil
		}
	case c.version != 0 && code.Return() <= 5:
		p.Code = code.Return()
	default:
		c.Close()
		return
	}
	if answer := p.Append(c.version, nil); c.takes(len(answer)) {
		_ = c.send(answer) // it is closed either way
	}
	c.Close()
}

// check tells whether the client may come in.
func (b *Broker) check(c *conn, p *mqttwire.Connect) (code mqttwire.Reason, why string) {
	switch _, method := p.Properties.Get(mqttwire.AuthMethod); {
	case method:
		return mqttwire.BadAuthenticationMethod, "no authentication method is known here"
	case len(c.clientID) > maxClientID || !printable(c.clientID):
		return mqttwire.ClientIdentifierNotValid, fmt.Sprintf("a client id is %d bytes at most, without control characters", maxClientID)
	case c.clientID == "" && (c.version == mqttwire.V31 || c.version == mqttwire.V311 && !p.CleanStart): // 3.1.1: [MQTT-3.1.3-8]
		return mqttwire.ClientIdentifierNotValid, "a session that is to be kept needs a client id"
	}
	if code, why := b.authenticate(c, p); code != mqttwire.Success {
		return code, why
	}
	if c.clientID == "" { // [MQTT-3.1.3-6]
		c.clientID = "auto-" + rand.Text()
	}
	return mqttwire.Success, ""
}

func printable(s string) bool { return !strings.ContainsFunc(s, unicode.IsControl) }

func (b *Broker) authenticate(c *conn, p *mqttwire.Connect) (code mqttwire.Reason, why string) {
	users := b.users.Load()
	switch name, why := b.certified(c); {
	case why != "":
		return mqttwire.NotAuthorized, why
	case name != "" && users.byName[name] == nil:
		return mqttwire.NotAuthorized, fmt.Sprintf("its certificate names %s, who is no user here", name)
	case name != "":
		c.user = name
		return mqttwire.Success, ""
	}
	switch {
	case users == nil:
		c.user = "" // a name that nothing proves must not stand in an entry
		if c.anonymous {
			return mqttwire.Success, ""
		}
		return mqttwire.NotAuthorized, "anonymous clients are not let in"
	case !p.HasUser && c.anonymous && users.anonymous != nil:
		return mqttwire.Success, ""
	case !p.HasUser:
		return mqttwire.NotAuthorized, "it names no user, and anonymous clients are not let in"
	}
	const wrong = "wrong user or password"
	if c.user == "" {
		return mqttwire.BadUserNameOrPassword, wrong
	}
	if users.remembers(c.user, p.Password) {
		return mqttwire.Success, "" // whatever waits for the slow check
	}
	if !b.queue(c.host) { // its password may well be right
		return mqttwire.ServerBusy, "too many passwords from its address wait to be checked"
	}
	defer b.unqueue(c.host)
	select {
	case b.bcrypt <- struct{}{}:
		defer func() { <-b.bcrypt }()
		if users.authenticate(c.user, p.Password) {
			return mqttwire.Success, ""
		}
		return mqttwire.BadUserNameOrPassword, wrong
	case <-c.gone:
	case <-b.stopping:
	}
	return mqttwire.ServerUnavailable, "the broker is stopping, or the client has gone"
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

// hostOf returns an address without its port.
func hostOf(a net.Addr) string {
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}

func (b *Broker) forget(c *conn) {
	b.mu.Lock()
	delete(b.conns, c)
	b.shakenHands(c)
	if c.established.Load() {
		b.clients--
		if b.addresses[c.host]--; b.addresses[c.host] == 0 {
			delete(b.addresses, c.host)
		}
	}
	if c.replaced {
		b.replaced--
	}
	b.mu.Unlock()
	b.readers.Done()
}

// expiryOf is how long a session is kept for which so many seconds were asked.
func expiryOf(seconds uint32) time.Duration {
	return time.Duration(min(seconds, sessionExpiry)) * time.Second
}

// establish gives the connection its session and answers with the CONNACK.
func (b *Broker) establish(c *conn, p *mqttwire.Connect) error {
	asked := p.Properties.Number(mqttwire.SessionExpiry, 0)
	if !c.v5 && !p.CleanStart {
		asked = sessionExpiry
	}
	c.lasting = expiryOf(asked)
	c.agreeKeepAlive(time.Duration(p.KeepAlive) * time.Second)
	c.window = min(int(p.Properties.Number(mqttwire.ReceiveMaximum, 65_535)), maxOutbound)
	c.mostGiven = min(int(p.Properties.Number(mqttwire.TopicAliasMaximum, 0)), topicAliasMax)

	b.mu.Lock()
	if b.closed || b.isStopping() || b.placeOf(c) < 0 {
		b.mu.Unlock()
		return errGone // as if it had come a moment later, when nothing listens: some clients give up if they hear a code
	}
	old := b.sessions[c.clientID]
	if code, why := b.place(c, old); code != mqttwire.Success {
		b.mu.Unlock()
		b.stats.unauthenticated.Add(1)
		b.told.Warn("MQTT client refused", code.String(), "client", c.clientID, "user", c.user, "remote", c.RemoteAddr().String(), "why", why)
		c.refuse(code, why)
		return errGone
	}
	resumed := old != nil && old.user == c.user && !p.CleanStart
	var before *conn
	if old != nil {
		if before = old.connection(); before != nil && !before.replaced {
			before.replaced = true
			b.replaced++
		}
		if !resumed {
			b.endSession(old)
		}
	}
	s := old
	if !resumed {
		b.makeRoom(1)
		s = &session{id: c.clientID, user: c.user, pace: b.paceOf(client{c.user, c.clientID}, old)}
		b.sessions[c.clientID] = s
	} else {
		b.lapse(c.clientID) // [MQTT-3.1.3-9]: with the session's going on
	}
	s.expiry, s.left = c.lasting, time.Now() // between its connection's end and leave, no earlier one's end counts
	if s.expiry > 0 {
		b.kept.begin(s)
	}
	c.sess = s
	b.shakenHands(c)
	b.clients++
	b.addresses[c.host]++
	b.mostClients = max(b.mostClients, b.clients)
	c.established.Store(true)
	b.mu.Unlock()

	if !resumed {
		if err := b.kept.afresh(c); err != nil {
			return err
		}
	}
	if before != nil {
		go before.disconnect(mqttwire.SessionTakenOver, "") // [MQTT-3.1.4-3]; its write may take its time
	}
	// What was left for the client goes out behind the CONNACK: its writer waits for sending.
	c.sending.Lock()
	defer c.sending.Unlock()
	s.attach(c)
	b.keepSession(s)
	answer := b.connack(c, resumed, asked)
	if !c.takes(len(answer)) { // [MQTT-3.1.2-24]
		return &mqttwire.Error{Code: mqttwire.PacketTooLarge, Why: "a client that takes no CONNACK"}
	}
	_, err := c.Write(answer)
	b.log.Debug("MQTT client connected", "client", c.clientID, "user", c.user, "remote", c.RemoteAddr().String(), "resumed", resumed)
	return err
}

// agreeKeepAlive settles how long the client may be silent, by what it asks for; 0 is no keep-alive.
func (c *conn) agreeKeepAlive(asked time.Duration) {
	c.keepAliveFor = asked
	if c.v5 { // 3.2.2.3.14: told another one, it uses that
		most := c.limits.MaxKeepAlive
		if idle := min(c.limits.MaxIdle, 65_535*time.Second); asked == 0 && idle > 0 && (most == 0 || idle < most) {
			most = idle
		}
		if most > 0 && (asked == 0 || asked > most) {
			c.keepAliveFor = most.Truncate(time.Second)
			c.keepAliveTold = true
		}
	}
	c.patience = c.keepAliveFor * 3 / 2 // [MQTT-3.1.2-22]
	if c.keepAliveFor == 0 {
		c.patience = c.limits.MaxIdle
	}
}

// place tells whether there is room for the client, and no other user's session in its way. The caller holds mu.
func (b *Broker) place(c *conn, old *session) (mqttwire.Reason, string) {
	switch {
	case old != nil && old.user != c.user && old.connected():
		return mqttwire.NotAuthorized, "another user is connected with its client id"
	case old != nil && old.connected():
		if b.replaced >= reservedClients {
			return mqttwire.ServerBusy, "too many connections whose client came again are still ending"
		}
	case b.clients >= b.limits.MaxClients && (old == nil || b.clients >= b.limits.MaxClients+reservedClients):
		return mqttwire.ServerUnavailable, fmt.Sprintf("%d clients are connected, the most that may be", b.clients)
	case old == nil && b.cfg.Bounds.PerAddress > 0 && b.addresses[c.host] >= b.cfg.Bounds.PerAddress:
		return mqttwire.QuotaExceeded, fmt.Sprintf("%d clients are connected from its address, the most that may be", b.cfg.Bounds.PerAddress)
	}
	return mqttwire.Success, ""
}

func (b *Broker) connack(c *conn, resumed bool, asked uint32) []byte {
	p := mqttwire.Connack{SessionPresent: resumed}
	if c.v5 {
		p.Properties = p.Properties.AddNumber(mqttwire.ReceiveMaximum, uint32(c.limits.MaxInFlight)).
			AddNumber(mqttwire.TopicAliasMaximum, topicAliasMax).
			AddNumber(mqttwire.MaximumPacketSize, uint32(c.limits.MaxPacket))
		if c.keepAliveTold {
			p.Properties = p.Properties.AddNumber(mqttwire.ServerKeepAlive, uint32(c.keepAliveFor/time.Second))
		}
		if asked > sessionExpiry {
			p.Properties = p.Properties.AddNumber(mqttwire.SessionExpiry, sessionExpiry)
		}
	}
	if c.v5 && c.named == "" {
		p.Properties = p.Properties.AddText(mqttwire.AssignedClientID, c.clientID)
	}
	return p.Append(c.version, nil)
}

// mostSessions is how many there may be. The caller holds mu.
func (b *Broker) mostSessions() int {
	if n := b.cfg.Bounds.Sessions; n > 0 {
		return n
	}
	return sessionsPerSlot * b.limits.MaxClients
}

// makeRoom ends the sessions that nobody has come back to for longest, if there are too many for so many more: limits may have
// become smaller. The caller holds mu.
func (b *Broker) makeRoom(more int) {
	for len(b.sessions)+more > b.mostSessions() {
		var oldest *session
		for _, s := range b.sessions {
			if !s.connected() && (oldest == nil || s.left.Before(oldest.left)) {
				oldest = s
			}
		}
		if oldest == nil {
			return
		}
		b.told.Warn("MQTT session ended", "there are too many", "client", oldest.id)
		b.endSession(oldest)
	}
}

// endSession forgets a session, which no connection takes anything from any more. The caller holds mu.
func (b *Broker) endSession(s *session) {
	if b.sessions[s.id] == s {
		delete(b.sessions, s.id)
	}
	b.keepPace(s)
	b.tree.removeAll(s)
	s.discard(b)
	b.kept.endSession(s)
	if w := b.forgetWill(s.id); w != nil { // 3.1.3.2.2: at the end of the session at the latest
		b.willIsDue(w)
	}
}

// keepSession writes down how a session stands, unless it has ended.
func (b *Broker) keepSession(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions[s.id] == s {
		b.kept.session(s)
	}
}

// forgetWill returns the will that waits out its delay, nil if there is none, and lets it wait no longer. The caller holds mu.
func (b *Broker) forgetWill(clientID string) *will {
	w := b.wills[clientID]
	if w != nil {
		delete(b.wills, clientID)
		b.kept.unwill(clientID)
	}
	return w
}

// leave does what there is to do when a client's connection has ended.
func (b *Broker) leave(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := c.sess
	current := b.sessions[c.clientID] == s
	connected := current && s.connected()
	b.lastWill(c, current, connected)
	if !current || connected {
		return
	}
	s.left = time.Now()
	if s.expiry == 0 {
		b.endSession(s)
		return
	}
	b.kept.session(s)
}

// housekeeping ends sessions and lets wills become due when their time is over, and publishes $SYS.
func (b *Broker) housekeeping(done <-chan struct{}) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	sys := time.Now()
	for {
		select {
		case <-done:
			return
		case now := <-t.C:
			b.keepHouse(now)
			b.kept.tick()
			b.losses.tell(b.log, now, false)
			b.tellExceeded(now, false)
			if now.Sub(sys) >= sysInterval {
				sys = now
				b.publishSys()
			}
		}
	}
}

func (b *Broker) keepHouse(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions {
		if !s.connected() && !s.left.IsZero() && now.Sub(s.left) >= s.expiry {
			b.endSession(s)
		}
	}
	for id, w := range b.wills {
		if !now.Before(w.due) {
			b.forgetWill(id)
			b.willIsDue(w)
		}
	}
	b.retained.expire(now)
}
