package localhttp

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

func answer(t *testing.T, carrier http.RoundTripper) string {
	t.Helper()
	r, err := (&http.Client{Transport: carrier}).Get("http://local/x")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusTeapot {
		t.Fatalf("%s, %v", r.Status, err)
	}
	return string(b)
}

func TestTheSameAnswerComesOverASocketAndWithoutOne(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "answer to "+r.URL.Path)
	})
	path := filepath.Join(t.TempDir(), "folder", "s")
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNobody) {
		t.Fatalf("without a socket: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	if _, err := Listen(path); !errors.Is(err, ErrTaken) {
		t.Errorf("a second listener: %v", err)
	}
	carrier, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if over, without := answer(t, carrier), answer(t, InProcess(h)); over != without || over != "answer to /x" {
		t.Errorf("%q and %q", over, without)
	}
}

// Whoever else is on the machine is kept out by the file system.
func TestTheSocketIsForItsOwnerAndGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, others := range map[string]os.FileMode{path: 0o660, filepath.Dir(path): 0o750} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&^others != 0 {
			t.Errorf("%s: %v, want no more than %o (%v)", name, info.Mode(), others, err)
		}
	}
}

func TestASocketThatACrashLeftIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	again, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestAHandlerHasEndedWhenItsAnswerIsClosed(t *testing.T) {
	ended := false
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "the first line, of many\n")
		<-r.Context().Done()
		ended = true
	})
	r, err := (&http.Client{Transport: InProcess(h)}).Get("http://local/x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if !ended {
		t.Error("it still runs")
	}
}
