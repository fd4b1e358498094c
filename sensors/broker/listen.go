package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
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

// listen opens all listeners or none.
func (b *Broker) listen(ctx context.Context) ([]*listener, error) {
	var open []*listener
	for _, l := range b.cfg.Listeners {
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", l.Address)
		if err != nil {
			for _, o := range open {
				o.close()
			}
			b.addrs = nil
			return nil, &ListenError{l.Address, explain(err, l.Address)}
		}
		o := &listener{Listener: l, b: b, ln: ln}
		if l.Kind == WS || l.Kind == WSS {
			o.http = o.newHTTP()
		}
		open = append(open, o)
		b.addrs = append(b.addrs, ln.Addr())
	}
	return open, nil
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
		go l.b.serve(nc, l.Anonymous)
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
