// Package localhttp is HTTP between programs of one machine: over a Unix socket, or with no socket at all where the
// handlers are in the same process. It owns how they meet; what is asked and answered belongs to those who do.
package localhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Errors on which a caller branches.
var (
	ErrNobody = errors.New("nobody answers on the socket")
	ErrTaken  = errors.New("somebody answers on the socket already")
)

// Listen listens on a Unix socket that its owner and group may use, or fails with [ErrTaken]. A socket file that nobody
// listens on any more, as a crash leaves it, is replaced.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, ErrTaken
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Dial returns what carries requests to whoever listens on the socket at path, or fails with [ErrNobody].
func Dial(ctx context.Context, path string) (http.RoundTripper, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNobody
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: join the socket's group, or use sudo", err)
	case err != nil:
		return nil, err
	}
	conn.Close()
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", path)
	}}, nil
}

// InProcess returns what carries requests to a handler in this process. Answers stream through a pipe; when a body's
// Close returns the handler has, too, so that what it read may be closed.
func InProcess(h http.Handler) http.RoundTripper { return inProcess{h} }

type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	reader, writer := io.Pipe()
	w := &pipeWriter{header: http.Header{}, body: writer, ready: make(chan struct{})}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	ctx, cancel := context.WithCancel(withSelf(r.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.handler.ServeHTTP(w, r.WithContext(ctx))
		w.WriteHeader(http.StatusOK)
		writer.Close()
	}()
	<-w.ready
	return &http.Response{StatusCode: w.code, Header: w.header, Body: &streamed{reader, cancel, ended}, Request: r}, nil
}

// streamed is the body of an answer that a handler may still be writing.
type streamed struct {
	*io.PipeReader
	cancel context.CancelFunc
	ended  <-chan struct{}
}

func (s *streamed) Close() error {
	s.cancel()
	err := s.PipeReader.Close()
	<-s.ended
	return err
}

type pipeWriter struct {
	header http.Header
	body   *io.PipeWriter
	ready  chan struct{}
	code   int
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
		close(w.ready)
	}
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// IsLoopback reports whether nobody but this machine can reach an address to listen at.
func IsLoopback(address string) (bool, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return false, errors.New(`expected an address and a port, such as "127.0.0.1:1883" or "[::1]:1883"`)
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback(), nil
}
