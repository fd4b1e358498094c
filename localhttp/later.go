package localhttp

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

// Later is a listener on an address that may not be free yet: it is tried again for as long as the server waits for requests,
// so that what a program is there for does not wait for whoever has its port.
type Later struct {
	address string
	log     *slog.Logger
	closing chan struct{}
	over    func() // closes closing, once

	mu       sync.Mutex
	listener net.Listener // guarded by mu; nil: it could not listen yet
	since    time.Time    // guarded by mu: since when not
	failed   error        // guarded by mu: why not
}

const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// ListenLater listens on a TCP address, now or as soon as that is possible; it has been tried once when it returns.
func ListenLater(address string, log *slog.Logger) *Later {
	l := &Later{address: address, log: log, closing: make(chan struct{})}
	l.over = sync.OnceFunc(func() { close(l.closing) })
	if err := l.listen(); err != nil {
		log.Warn("failed to listen for the API; it is tried again", "address", address, "err", err)
	}
	return l
}

func (l *Later) listen() error {
	listener, err := net.Listen("tcp", l.address)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil && isOver(l.closing): // meanwhile
		return listener.Close()
	case err == nil:
		l.listener, l.failed = listener, nil
	case l.failed == nil:
		l.since, l.failed = time.Now(), err
	default:
		l.failed = err
	}
	return err
}

func isOver(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Failing returns since when it cannot listen, and why; nil: it does.
func (l *Later) Failing() (since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since, l.failed
}

// Accept implements [net.Listener]. It waits until there is something to listen on.
func (l *Later) Accept() (net.Conn, error) {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		l.mu.Lock()
		listener := l.listener
		l.mu.Unlock()
		if listener != nil {
			return listener.Accept()
		}
		timer := time.NewTimer(pause)
		select {
		case <-l.closing:
			timer.Stop()
			return nil, net.ErrClosed
		case <-timer.C:
		}
		if err := l.listen(); err == nil && !isOver(l.closing) {
			l.log.Info("the API listens", "address", l.address)
		}
	}
}

// Close implements [net.Listener].
func (l *Later) Close() error {
	l.over()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener == nil {
		return nil
	}
	return l.listener.Close()
}

// Addr implements [net.Listener]: where it listens, or will.
func (l *Later) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		return l.listener.Addr()
	}
	return laterAddr(l.address)
}

type laterAddr string

func (laterAddr) Network() string  { return "tcp" }
func (a laterAddr) String() string { return string(a) }
