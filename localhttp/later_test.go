package localhttp

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A port that somebody has keeps nobody from anything: it is said, and listened on when it is free.
func TestAPortThatIsTakenIsListenedOnLater(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	var log bytes.Buffer
	l := ListenLater(address, slog.New(slog.NewTextHandler(&log, nil)))
	if since, err := l.Failing(); err == nil || since.IsZero() || !strings.Contains(log.String(), "failed to listen for the API") || l.Addr().String() != address {
		t.Errorf("failing since %v, %v; the log says %s", since, err, &log)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		Serve(ctx, http.NotFoundHandler(), slog.New(slog.DiscardHandler), Access{}, l)
	}()
	taken.Close()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		response, err := http.Get("http://" + address)
		if err == nil {
			response.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if _, err := l.Failing(); err != nil {
		t.Error(err)
	}
	cancel()
	<-served
}

func TestWhoeverWaitsForAPortCanStop(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l := ListenLater(taken.Addr().String(), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	Serve(ctx, http.NotFoundHandler(), slog.New(slog.DiscardHandler), Access{}, l)
	if _, err := l.Accept(); err == nil {
		t.Error("it listens when it is closed")
	}
}
