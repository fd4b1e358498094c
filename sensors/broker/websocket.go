package broker

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// newHTTP makes the server that turns HTTP connections into MQTT ones, on any path.
func (l *listener) newHTTP() *http.Server {
	up := websocket.Upgrader{
		HandshakeTimeout: connectTimeout,
		Subprotocols:     []string{"mqtt"}, // [MQTT-6.0.0-4]
		CheckOrigin:      l.own,
	}
	s := &http.Server{
		ReadTimeout:    connectTimeout, // a body included, which is of no use here
		WriteTimeout:   connectTimeout,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       log.New(httpErrors{l.b}, "", 0),
		TLSNextProto:   map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/2 has no upgrade
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := up.Upgrade(w, r, nil)
			if err != nil {
				return // it has answered
			}
			c.SetReadLimit(maxPacket + 16) // what a packet may have is looked at where it is read
			l.b.serve(&wsConn{Conn: c.NetConn(), ws: c}, l.Anonymous)
		}),
	}
	s.SetKeepAlivesEnabled(false) // one request, which is for a WebSocket or is the last
	return s
}

// httpErrors tells what a server of net/http says: of a TLS handshake that failed, as of one where no HTTP is spoken.
type httpErrors struct{ b *Broker }

func (e httpErrors) Write(text []byte) (int, error) {
	said := strings.TrimSpace(string(text))
	rest, handshake := strings.CutPrefix(said, "http: TLS handshake error from ")
	remote, why, ok := strings.Cut(rest, ": ")
	switch {
	case !handshake || !ok:
		e.b.log.Debug(said)
	case why != "EOF": // it has gone
		e.b.stats.unauthenticated.Add(1)
		e.b.told.Warn("MQTT client refused", "TLS: "+why, "remote", remote)
	}
	return len(text), nil
}

// own reports whether no page of another host asks. Else any page that is looked at on this machine could publish where no
// password is wanted; there its host must be loopback's as well, since a page can give its own name that address. What is no
// browser names no origin.
func (l *listener) own(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	from, err := url.Parse(origin)
	return err == nil && strings.EqualFold(from.Host, r.Host) && (!l.Anonymous || isLoopback(strings.ToLower(from.Hostname())))
}

// visitors are the HTTP connections of a listener. Each takes a place among those that have not shown who they are, like one
// that speaks MQTT from the start.
type visitors struct {
	net.Listener
	l *listener
}

// visitor is one of them, until it speaks MQTT.
type visitor struct {
	*net.TCPConn
	b    *Broker
	host string
	left atomic.Bool // its place is given back, or taken over
}

func (v *visitors) Accept() (net.Conn, error) {
	nc, err := v.l.accept()
	if err != nil {
		return nil, err
	}
	c := &visitor{TCPConn: nc.(*net.TCPConn), b: v.l.b, host: hostOf(nc.RemoteAddr())}
	if !c.b.enter(c) {
		nc.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

func (v *visitor) from() string { return v.host }

func (v *visitor) Close() error {
	if !v.left.Swap(true) {
		v.b.mu.Lock()
		v.b.shakenHands(v)
		v.b.mu.Unlock()
	}
	return v.TCPConn.Close()
}

// visitorOf returns what a WebSocket came in by, nil if nc is none.
func visitorOf(nc net.Conn) *visitor {
	ws, ok := nc.(*wsConn)
	if !ok {
		return nil
	}
	nc = ws.Conn
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	v, _ := nc.(*visitor)
	return v
}

// wsConn is the stream of bytes inside a WebSocket: MQTT packets need not end where its messages do [MQTT-6.0.0-1].
type wsConn struct {
	net.Conn
	ws      *websocket.Conn
	message io.Reader // being read, or nil
}

var errNotBinary = errors.New("a WebSocket message that is not binary")

func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.message == nil {
			kind, r, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errNotBinary
			}
			c.message = r
		}
		n, err := c.message.Read(p)
		if errors.Is(err, io.EOF) {
			c.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *wsConn) Write(p []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetWriteDeadline tells the WebSocket, which sets the connection's own before each write.
func (c *wsConn) SetWriteDeadline(t time.Time) error { return c.ws.SetWriteDeadline(t) }
