package localhttp

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Longer than a shutdown waits for, a handler goes on after the end; what it reads must not be closed before it has ended.
func TestServeReturnsWhenNoHandlerRunsAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{dialled: make(chan net.Conn), closed: make(chan struct{})}
		begun, release := make(chan struct{}), make(chan struct{})
		var ended atomic.Bool
		handler := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(begun)
			<-release
			ended.Store(true)
		})
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan struct{})
		go func() {
			defer close(served)
			Serve(ctx, handler, slog.New(slog.DiscardHandler), []string{"here"}, l)
		}()
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			carrier := &http.Transport{DialContext: l.dial}
			request, _ := http.NewRequest(http.MethodGet, "http://here/", nil)
			if response, err := carrier.RoundTrip(request); err == nil {
				response.Body.Close()
			}
		}()
		<-begun
		stop()
		<-asked // its connection was closed: nothing is waited for but the handler
		synctest.Wait()
		select {
		case <-served:
			t.Error("it returned while the handler ran")
		default:
		}
		close(release)
		<-served
		if !ended.Load() {
			t.Error("the handler has not ended")
		}
	})
}

// pipes is a listener in memory, to which virtual time applies.
type pipes struct {
	dialled chan net.Conn
	closed  chan struct{}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.dialled <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialled:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (*pipes) Addr() net.Addr { return &net.TCPAddr{} }
