package localhttp

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serve answers every request with its method until the test ends, over both kinds of listeners.
func serve(t *testing.T, hosts ...string) (tcp string, socket http.RoundTripper) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	unix, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "answered "+r.Method) })
	go func() {
		defer close(served)
		Serve(ctx, handler, slog.New(slog.DiscardHandler), Access{Hosts: hosts}, unix, l)
	}()
	t.Cleanup(func() { stop(); <-served })
	if socket, err = Dial(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), socket
}

func ask(t *testing.T, via http.RoundTripper, method, address, host, origin string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+address+"/v1/rotate", nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Host = host; origin != "" {
		r.Header.Set("Origin", origin)
	}
	answer, err := via.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// Any local user, and any web page in a browser on this machine, reaches a port on a loopback address.
func TestOverTCPNothingIsChangedAndNoForeignPageReads(t *testing.T) {
	address, socket := serve(t, "gateway.example")
	_, port, _ := net.SplitHostPort(address)
	for _, c := range []struct {
		about, method, host, origin string
		code                        int
	}{
		{"curl on this machine", "GET", "", "", 200},
		{"by name", "GET", "localhost:" + port, "", 200},
		{"by the other family's address", "GET", "[::1]:" + port, "", 200},
		{"by a name of the configuration", "GET", "Gateway.Example", "", 200},
		{"a page of the interface's own", "GET", "localhost:" + port, "http://localhost:" + port, 200},
		{"HEAD", "HEAD", "", "", 200},
		{"a change", "POST", "", "", 405},
		{"a change by a page of the interface's own", "POST", "localhost:" + port, "http://localhost:" + port, 405},
		{"DELETE", "DELETE", "", "", 405},
		{"PUT", "PUT", "", "", 405},
		{"a method that nobody knows", "ROTATE", "", "", 405},
		{"a preflight", "OPTIONS", "", "https://evil.example", 405},
		{"a name that somebody gave this address", "GET", "evil.example:" + port, "", 421},
		{"a name that begins like ours", "GET", "localhost.evil.example", "", 421},
		{"an address of the network", "GET", "192.0.2.7:" + port, "", 421},
		{"another page", "GET", "", "https://evil.example", 403},
		{"a page of another port", "GET", "localhost:" + port, "http://localhost:1", 403},
		{"a page from a file", "GET", "", "null", 403},
	} {
		code, body := ask(t, http.DefaultTransport, c.method, address, c.host, c.origin)
		if code != c.code || c.code != 200 && c.method != "HEAD" && strings.Contains(body, "answered") {
			t.Errorf("%s: %d %q, want %d", c.about, code, body, c.code)
		}
	}
	for _, method := range []string{"GET", "POST", "DELETE"} {
		if code, body := ask(t, socket, method, "anything", "anything", "https://whatever.example"); code != 200 || body != "answered "+method {
			t.Errorf("%s over the socket: %d %q", method, code, body)
		}
	}
}

// Whoever the file system lets in at the socket may read and add; what changes something wants its owner or root.
func TestOverTheSocketTheGroupReadsAndTheOwnerChanges(t *testing.T) {
	self := uint32(os.Geteuid())
	other := self + 4711
	for _, c := range []struct {
		about        string
		who          any // what the kernel says; nil: nothing
		groupWrites  bool
		method, path string
		code         int
	}{
		{"a member of the group reads", other, false, "GET", "/v1/status", 200},
		{"and asks for less", other, false, "HEAD", "/v1/status", 200},
		{"and adds", other, false, "POST", "/v1/note", 200},
		{"and changes", other, false, "POST", "/v1/rotate", 403},
		{"by another spelling", other, false, "POST", "/v1/note/../rotate", 403},
		{"by another spelling of what adds", other, false, "POST", "/v1//note", 403},
		{"by another method", other, false, "DELETE", "/v1/tokens/1", 403},
		{"by one that nobody knows", other, false, "ROTATE", "/v1/status", 403},
		{"the configuration lets the group change", other, true, "POST", "/v1/rotate", 200},
		{"the owner", self, false, "POST", "/v1/rotate", 200},
		{"root", uint32(0), false, "POST", "/v1/rotate", 200},
		{"a system that does not say who it is", nil, false, "POST", "/v1/rotate", 200},
	} {
		answered := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.UnixAddr{Net: "unix", Name: "s"})
		ctx = context.WithValue(ctx, peerKey{}, c.who)
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, c.method, c.path, nil)
		guarded(answered, Access{GroupWrites: c.groupWrites, Adds: []string{"/v1/note"}}).ServeHTTP(w, r)
		if w.Code != c.code {
			t.Errorf("%s: %d, want %d", c.about, w.Code, c.code)
		}
		if w.Code == 403 && !strings.HasPrefix(w.Body.String(), `{"error":"only root and the program's own user may do that, and this is `) {
			t.Errorf("%s: %q", c.about, w.Body)
		}
	}
}

func TestAHostIsANameAlone(t *testing.T) {
	if err := CheckHosts([]string{"gateway", "gateway.example", "192.0.2.7"}); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "http://gateway", "gateway:9470", "gateway/x", "gate way", "user@gateway"} {
		if CheckHosts([]string{bad}) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
