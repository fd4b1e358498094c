package localhttp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// Who asks over the socket is the kernel's word; over TCP it is not known, and within the process it is the process's user.
func TestWhoAsksOverTheSocketIsKnown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	unix, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, PeerOf(r.Context()))
	})
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		Serve(ctx, handler, slog.New(slog.DiscardHandler), Access{}, unix, tcp)
	}()
	t.Cleanup(func() { stop(); <-served })
	socket, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	self := Self()
	if self == nil || self.UID != uint32(os.Getuid()) {
		t.Fatalf("this process is of %v", self)
	}
	for about, c := range map[string]struct {
		via  http.RoundTripper
		want string
	}{
		"the socket": {socket, self.String()},
		"TCP":        {http.DefaultTransport, "not known"},
		"no socket":  {InProcess(handler), self.String()},
	} {
		r, err := http.NewRequest(http.MethodGet, "http://"+tcp.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.via.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || string(b) != c.want {
			t.Errorf("%s: %s (%v), want %s", about, b, err, c.want)
		}
	}
}
