package localhttp

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
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
			Serve(ctx, handler, slog.New(slog.DiscardHandler), Access{Hosts: []string{"here"}}, l)
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

// A reader that stops reading must not keep for ever what is read for him; one that is slow gets all of it.
func TestAnAnswerEndsWhenNobodyReadsItAnyMore(t *testing.T) {
	const parts, part = 20, 64 << 10
	for pause, whole := range map[time.Duration]bool{writePatience / 2: true, 3 * writePatience: false} {
		synctest.Test(t, func(t *testing.T) {
			l := &pipes{dialled: make(chan net.Conn), closed: make(chan struct{})}
			ended := make(chan error, 1)
			handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				var err error
				for range parts {
					if _, err = w.Write(make([]byte, part)); err != nil {
						break
					}
				}
				ended <- err
			})
			ctx, stop := context.WithCancel(t.Context())
			served := make(chan struct{})
			go func() {
				defer close(served)
				Serve(ctx, handler, slog.New(slog.DiscardHandler), Access{Hosts: []string{"here"}}, l)
			}()
			carrier := &http.Transport{DialContext: l.dial}
			request, _ := http.NewRequest(http.MethodGet, "http://here/", nil)
			response, err := carrier.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			read := 0
			for b := make([]byte, part); err == nil && read < parts*part; {
				time.Sleep(pause)
				var n int
				n, err = response.Body.Read(b)
				read += n
			}
			if err := <-ended; (err == nil) != whole {
				t.Errorf("a reader who pauses for %v: %v after %d bytes", pause, err, read)
			}
			response.Body.Close()
			carrier.CloseIdleConnections()
			stop()
			<-served
		})
	}
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
