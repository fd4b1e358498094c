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

// writePatience is how long a part of an answer may take to be read. Whoever stops reading would keep what is read for him
// from being deleted, and a handler busy, for ever.
const writePatience = time.Minute

// Serve answers on the listeners until ctx ends; then it closes them, ends long answers, and returns when no handler
// runs any more, so that what they read may be closed. An answer ends, too, once nobody reads on for a minute. Over TCP
// nothing but GET is answered, and only where the request names this machine's loopback interface or one of access.Hosts, and
// no web page of another origin has sent it; over a Unix socket nothing but GET to others than its owner and root.
func Serve(ctx context.Context, handler http.Handler, log *slog.Logger, access Access, listeners ...net.Listener) {
	handler = guarded(handler, access)
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
			timed := timedWriter{w, http.NewResponseController(w)}
			timed.begin()
			handler.ServeHTTP(timed, r)
		}),
		ReadHeaderTimeout: time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
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

// timedWriter gives each write of an answer a time of its own.
type timedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

// begin sets the time of the next write, and of what is written when the handler has ended.
func (w timedWriter) begin() { _ = w.control.SetWriteDeadline(time.Now().Add(writePatience)) }

func (w timedWriter) WriteHeader(code int) {
	w.begin()
	w.ResponseWriter.WriteHeader(code)
}

func (w timedWriter) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// FlushError is for [http.ResponseController].
func (w timedWriter) FlushError() error {
	w.begin()
	return w.control.Flush()
}

func (w timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

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
