package broker

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"edgechain.example/build/testenv"
)

func webSocket(t *testing.T, b *Broker, l login) *wire {
	t.Helper()
	ws, answer, err := (&websocket.Dialer{Subprotocols: []string{"mqtt"}}).Dial("ws://"+b.Addrs()[0].String()+"/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return connect(t, &wsConn{Conn: ws.NetConn(), ws: ws}, l)
}

// Its library hides what ended a read.
func TestASilentClientHearsWhyOverWebSocketToo(t *testing.T) {
	b := start(t, newDisk(1), func(c *Config) { c.Listeners[0].Kind = WS })
	w := webSocket(t, b, login{id: "a", v5: true, clean: true, keepAlive: 600})
	w.silent()
	await(t, func() bool {
		c := b.connection("a")
		if c != nil { // as when the time is over
			_ = c.SetReadDeadline(time.Unix(1, 0))
		}
		return c == nil
	})
	w.closed("DISCONNECT 8d")
	if n := b.Stats().Cut; n != 1 {
		t.Errorf("%d connections are counted as cut off, want 1", n)
	}
}

// A stranger who speaks HTTP, or says nothing, keeps nobody out: his connections are as few as those of one who speaks MQTT.
func TestHTTPConnectionsKeepNobodyOut(t *testing.T) {
	b := start(t, autoDisk(t, 0), func(c *Config) { c.Listeners[0].Kind = WS })
	address := b.Addrs()[0].String()
	strangers := func() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.strangers) }
	for i := range 3 * maxHandshaking {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if i%3 > 0 {
			_, _ = nc.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n"))
		}
	}
	w := webSocket(t, b, login{id: "device", clean: true})
	w.publish(1, 1, "x", "m")
	w.wants("PUBACK 1")
	await(t, func() bool { return strangers() <= maxHandshaking })
	// One request is answered, and its connection is closed.
	for range 2 * maxHandshaking {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(testenv.Patience))
		if _, err := nc.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if answer, err := io.ReadAll(nc); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
			t.Errorf("%q (%v)", answer, err)
		}
		nc.Close()
	}
	w.silent()
	w.nc.Close()
	await(t, func() bool { return b.Stats().Connected == 0 })
}

// A browser says whose page asks. Where no password is wanted not even one that has given its name a loopback address is let in.
func TestNoForeignPageSpeaksMQTT(t *testing.T) {
	for _, c := range []struct {
		host, origin string
		anonymous    bool
		in           bool
	}{
		{"127.0.0.1:8083", "", true, true},
		{"evil.example:8083", "", true, true}, // no browser
		{"127.0.0.1:8083", "http://127.0.0.1:8083", true, true},
		{"LocalHost:8083", "http://localhost:8083", true, true},
		{"[::1]:8083", "http://[::1]:8083", true, true},
		{"127.0.0.1:8083", "https://evil.example", true, false},
		{"127.0.0.1:8083", "null", true, false},
		{"127.0.0.1:8083", "http://127.0.0.1:80", true, false},
		{"evil.example:8083", "http://evil.example:8083", true, false},
		{"evil.example:8083", "http://evil.example:8083", false, true}, // it has no password
		{"gateway.plant:8083", "https://evil.example", false, false},
	} {
		r := httptest.NewRequest("GET", "http://"+c.host+"/mqtt", nil)
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if l := (&listener{Listener: Listener{Anonymous: c.anonymous}}); l.own(r) != c.in {
			t.Errorf("%+v", c)
		}
	}
	b := start(t, newDisk(1), func(c *Config) { c.Listeners[0].Kind = WS })
	_, answer, err := (&websocket.Dialer{Subprotocols: []string{"mqtt"}}).Dial("ws://"+b.Addrs()[0].String()+"/mqtt", http.Header{"Origin": {"https://evil.example"}})
	if err == nil || answer == nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("a foreign page is let in: %v", err)
	}
}

func TestTheHTTPServerWaitsForNothingForEver(t *testing.T) {
	s := (&listener{b: &Broker{log: slog.New(slog.DiscardHandler)}}).newHTTP()
	if s.ReadTimeout <= 0 || s.WriteTimeout <= 0 {
		t.Errorf("reading ends after %v, writing after %v", s.ReadTimeout, s.WriteTimeout)
	}
}
