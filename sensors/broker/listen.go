package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// listener is an open [Listener].
type listener struct {
	Listener
	b    *Broker
	ln   net.Listener
	http *http.Server // of WS and WSS
}

// ListenError says that one of the listeners could not be opened: its port is taken, or its address is not up. That may mend
// by itself.
type ListenError struct {
	Address string
	Err     error
}

func (e *ListenError) Error() string { return "listening on " + e.Address + ": " + e.Err.Error() }

// Unwrap returns why.
func (e *ListenError) Unwrap() error { return e.Err }

// Bind listens already where that is possible beside another broker, which listens and whose place b is to take; what connects
// there waits until b runs. It is called before Run, and opens all of these listeners or none. If it fails the other one had
// better go on.
func (b *Broker) Bind(ctx context.Context, beside *Broker) error {
	if !beside.ran() {
		return nil
	}
	for i, l := range b.cfg.Listeners {
		if slices.ContainsFunc(beside.addrs, func(a net.Addr) bool { return collides(l.Address, a.String()) }) {
			continue
		}
		ln, err := open(ctx, l.Address)
		if err != nil {
			b.Unbind()
			return fmt.Errorf("embedded broker: %w", err)
		}
		b.bound[i] = ln
	}
	return nil
}

// Unbind closes what Bind opened, where Run is not called.
func (b *Broker) Unbind() {
	for i, ln := range b.bound {
		_ = ln.Close()
		delete(b.bound, i)
	}
}

// collides tells of an address whether it may be in the way of one that is listened on.
func collides(address, taken string) bool {
	host, port, err := net.SplitHostPort(address)
	other, at, otherErr := net.SplitHostPort(taken)
	if err != nil || otherErr != nil {
		return true
	}
	if port != at {
		return port != "0" && strings.Trim(port, "0123456789") != "" // a port's name may stand for any
	}
	ip, err := netip.ParseAddr(host)
	otherIP, otherErr := netip.ParseAddr(other)
	return err != nil || otherErr != nil || ip.IsUnspecified() || otherIP.IsUnspecified() || ip.Unmap() == otherIP.Unmap()
}

func open(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &ListenError{address, explain(err, address)}
	}
	return ln, nil
}

// listen opens all listeners, or none but those that Bind has opened.
func (b *Broker) listen(ctx context.Context) ([]*listener, error) {
	open, err := b.openAll(ctx)
	if err != nil {
		for i, o := range open {
			if _, bound := b.bound[i]; !bound {
				o.close()
			}
		}
		b.addrs = nil
		return nil, err
	}
	clear(b.bound)
	return open, nil
}

func (b *Broker) openAll(ctx context.Context) (all []*listener, err error) {
	for i, l := range b.cfg.Listeners {
		ln := b.bound[i]
		if ln == nil {
			if ln, err = open(ctx, l.Address); err != nil {
				return all, err
			}
		}
		o := &listener{Listener: l, b: b, ln: ln}
		if l.Kind == WS || l.Kind == WSS {
			o.http = o.newHTTP()
		}
		all = append(all, o)
		b.addrs = append(b.addrs, ln.Addr())
	}
	return all, nil
}

// explain names the process that has the port, where that can be found out.
func explain(err error, address string) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	if owner := portOwner(address); owner != "" {
		return fmt.Errorf("the port is taken by %s: stop it, or let this broker listen elsewhere: %w", owner, err)
	}
	return fmt.Errorf("another process has the port: stop it, or let this broker listen elsewhere: %w", err)
}

// serve accepts until close.
func (l *listener) serve() {
	if l.http != nil {
		var ln net.Listener = &visitors{l.ln, l}
		if l.Kind == WSS {
			ln = tls.NewListener(ln, l.b.cfg.TLS)
		}
		_ = l.http.Serve(ln)
		return
	}
	for {
		nc, err := l.accept()
		if err != nil {
			return
		}
		if l.Kind == TLS {
			nc = tls.Server(nc, l.b.cfg.TLS) // the handshake is made when it is first read, within connectTimeout
		}
		// Whoever connects faster than connections are admitted waits in the system's backlog, and costs the broker nothing.
		if c := l.b.newConn(nc, l.Anonymous); l.b.admit(c) {
			go l.b.attend(c)
		} else {
			go c.Close() // closing TLS may write
		}
	}
}

// accept returns the next connection. Its error is that of a listener that is closed.
func (l *listener) accept() (net.Conn, error) {
	for {
		nc, err := l.ln.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return nc, err
		}
		// As a rule the process has no file descriptor left: it will again.
		l.b.told.Warn("accepting an MQTT connection failed", err.Error(), "address", l.Address)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-l.b.stopping:
		}
	}
}

func (l *listener) close() {
	if l.http != nil {
		_ = l.http.Close() // leaves the connections that are MQTT's by now
	}
	_ = l.ln.Close()
}
