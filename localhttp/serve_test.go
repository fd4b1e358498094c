package localhttp

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Longer than a shutdown waits for, a handler goes on after the end; what it reads must not be closed before it has ended.
func TestServeReturnsWhenNoHandlerRunsAnyMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
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
		Serve(ctx, handler, slog.New(slog.DiscardHandler), nil, l)
	}()
	carrier, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		request, _ := http.NewRequest(http.MethodGet, "http://here/", nil)
		if response, err := carrier.RoundTrip(request); err == nil {
			response.Body.Close()
		}
	}()
	<-begun
	stop()
	<-asked // its connection was closed: nothing is waited for but the handler
	select {
	case <-served:
		t.Error("it returned while the handler ran")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	<-served
	if !ended.Load() {
		t.Error("the handler has not ended")
	}
}
