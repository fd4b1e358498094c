package localhttp

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Serve answers on the listeners until ctx ends; then it closes them, ends long answers, and returns when no handler
// runs any more, so that what they read may be closed. Over TCP nothing but GET is answered, and only where the request
// names this machine's loopback interface or one of hosts, and no web page of another origin has sent it.
func Serve(ctx context.Context, handler http.Handler, log *slog.Logger, hosts []string, listeners ...net.Listener) {
	handler = guarded(handler, hosts)
	var (
		answering sync.WaitGroup
		mu        sync.Mutex
		over      bool // guarded by mu: no answer begins any more
	)
	begin := func() bool {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			answering.Add(1)
		}
		return !over
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !begin() {
				panic(http.ErrAbortHandler) // its connection is closed already
			}
			defer answering.Done()
			handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{}, len(listeners))
	for _, l := range listeners {
		go func() {
			_ = server.Serve(l) // ends with ErrServerClosed
			done <- struct{}{}
		}()
	}
	<-ctx.Done()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		server.Close()
	}
	for range listeners {
		<-done
	}
	mu.Lock()
	over = true
	mu.Unlock()
	answering.Wait()
}

// Check answers 200 while f returns nil, and 503 with its error otherwise. Where f is nil, absent says why.
func Check(f func() error, absent string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if f == nil {
			http.Error(w, absent, http.StatusServiceUnavailable)
			return
		}
		if err := f(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	}
}
