package pgstore

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"edgechain.example/build/testenv"
)

// proxy stands between a store and PostgreSQL, knows where one message ends and the next begins, and breaks a
// connection at the point it is told to.
type proxy struct {
	t       *testing.T
	address string

	mu      sync.Mutex
	backend string // guarded by mu: the server's socket
	next    *point // guarded by mu: nil once a connection was broken there
	held    *link  // guarded by mu: whose commit waits
	clients int    // guarded by mu: connections that a client has open
}

// A point lies within the exchange that begins when it is set.
type point struct {
	way  way
	nth  int // message on this way, from 1
	form form
	// At a commit, whichever message it is: hold has the client gone at once, and the server get it with release;
	// meanwhile happens after the server got as much as form says, and before the client is gone.
	hold      bool
	meanwhile func()

	name string // of the message where it was broken
	hit  chan struct{}
}

type way string

const (
	toServer way = "to the server"
	toClient way = "to the client"
)

// form is how much of the message passes before the connection breaks. Before counts those messages alone that answer the
// other side: what comes behind another one on the same way is not there yet after that one.
type form string

const (
	before form = "before"
	amid   form = "in the middle of"
	after  form = "after"
)

// link is one connection through the proxy.
type link struct {
	client *net.TCPConn
	server *net.UnixConn
	commit []byte // that is held; guarded by proxy.mu
	deaf   bool   // the client hears no more; guarded by proxy.mu
	last   way    // of the newest message; guarded by proxy.mu
}

// startProxy returns a proxy to the server of dsn, and the address by which a store reaches it.
func startProxy(t *testing.T, dsn string) (p *proxy, through string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	p = &proxy{t: t, backend: filepath.Join(query.Get("host"), ".s.PGSQL.5432"), address: listener.Addr().String()}
	query.Del("host")
	u.Host, u.RawQuery = p.address, query.Encode()
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() {
		listener.Close()
		p.release()
	})
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", p.setBackend(""))
			if err != nil {
				client.Close()
				continue
			}
			p.count(1)
			l := &link{client: client.(*net.TCPConn), server: server.(*net.UnixConn)}
			running.Go(func() {
				defer p.count(-1)
				p.pump(l, toServer, l.client, l.server)
			})
			running.Go(func() {
				defer l.server.Close()
				p.pump(l, toClient, l.server, l.client)
				io.Copy(io.Discard, l.server) // what it was given it works off, and then finds its client gone
			})
		}
	})
	return p, u.String()
}

func (p *proxy) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients += n
}

// awaitQuiet waits until nothing more is sent on behalf of what is over: a farewell, or the request to cancel what a
// broken connection had begun. Then a store's idle connections alone are left.
func (p *proxy) awaitQuiet(t *testing.T, s *Store) {
	t.Helper()
	testenv.Await(t, "only the store's idle connections are left", func() bool {
		idle := 0
		if s != nil {
			stat := s.pool.Stat()
			if idle = int(stat.IdleConns()); int(stat.TotalConns()) != idle {
				return false
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.clients == idle
	})
}

// pump passes messages on until one side ends or the connection is broken.
func (p *proxy) pump(l *link, w way, from io.Reader, to io.Writer) {
	defer p.part(l)
	for first := w == toServer; ; first = false { // which has no letter
		m, err := readMessage(from, first)
		if err != nil {
			return
		}
		pass, c := p.rule(l, w, m, first)
		if _, err := to.Write(pass); err != nil || c != nil && c.meanwhile == nil {
			return
		}
		if c != nil {
			l.server.CloseWrite()
			c.meanwhile()
			return
		}
	}
}

// part ends the connection for the client; the server keeps what it was given. Where a commit is held, it stays.
func (p *proxy) part(l *link) {
	l.client.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.commit == nil {
		l.server.CloseWrite()
	}
}

func readMessage(from io.Reader, first bool) ([]byte, error) {
	head := make([]byte, 5)
	if first {
		head = head[:4]
	}
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	rest := make([]byte, int(binary.BigEndian.Uint32(head[len(head)-4:]))-4)
	_, err := io.ReadFull(from, rest)
	return append(head, rest...), err
}

// rule says how much of a message passes, and, where the connection breaks then, at which point.
func (p *proxy) rule(l *link, w way, m []byte, first bool) (pass []byte, at *point) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, answers := p.next, l.last != w
	l.last = w
	switch {
	case l.deaf && w == toClient:
		return nil, nil
	case c == nil || w != c.way || c.form == before && !answers:
		return m, nil
	}
	name := "startup"
	if !first {
		name = messageName(m)
	}
	if c.hold || c.meanwhile != nil {
		if name != "Q commit" {
			return m, nil
		}
		l.deaf = true
	} else if c.nth--; c.nth > 0 {
		return m, nil
	}
	c.name, p.next = name, nil
	close(c.hit)
	switch {
	case c.hold:
		l.commit, p.held = m, l
		return nil, c
	case c.form == before:
		return nil, c
	case c.form == amid:
		return m[:len(m)/2], c
	}
	return m, c
}

// messageName returns the message's letter, with the text where that says what it is about.
func messageName(m []byte) string {
	if m[0] == 'Q' || m[0] == 'C' && len(m) < 40 {
		return fmt.Sprintf("%c %s", m[0], strings.TrimRight(string(m[5:]), "\x00"))
	}
	return string(m[:1])
}

// breakAt sets the point where the next connection breaks.
func (p *proxy) breakAt(c *point) {
	c.hit = make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = c
}

// broke reports whether that point came.
func (p *proxy) broke() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	came := p.next == nil
	p.next = nil
	return came
}

// release gives the server the commit that is held, if one is.
func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		return
	}
	if _, err := p.held.server.Write(p.held.commit); err != nil {
		p.t.Errorf("passing the commit on: %v", err)
	}
	p.held.server.CloseWrite()
	p.held = nil
}

// setBackend names the server's socket for the connections to come, unless it is "", and returns the one before.
func (p *proxy) setBackend(path string) (former string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	former = p.backend
	if path != "" {
		p.backend = path
	}
	return former
}
