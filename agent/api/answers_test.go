package api

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/localhttp"
)

// newChain returns a chain of one sealed block with so many entries.
func newChain(t *testing.T, entries int) *store.Store {
	t.Helper()
	signer, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	o := store.Options{FS: vfs.NewMem(), Signer: signer, AllowVolatile: true, Reserve: -1}
	if _, err := store.Create("chain", o, store.Genesis{}); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open("chain", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil { // also where somebody still reads
			t.Error(err)
		}
	})
	all := make([]lightchain.Entry, entries)
	for i := range all {
		all[i] = lightchain.Entry{Source: "test:x", Flags: lightchain.NotUnderstood, Payload: bytes.Repeat([]byte{byte(i)}, 1000)}
	}
	staged, err := s.Stage(all)
	if err == nil {
		err = staged.Wait()
	}
	if err == nil {
		_, err = s.Seal(store.SealParams{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNumbersThatCannotBeAreAWrongQuestion(t *testing.T) {
	client := Local(&Server{Chain: &newChain(t, 1).Reader})
	for _, values := range []url.Values{{"from": {"-1"}}, {"limit": {"-1"}}, {"to": {"18446744073709551616"}}, {"from": {"1e3"}}} {
		for _, ask := range []func() error{
			func() error { return first(client.Entries(t.Context(), values)) },
			func() error { return first(client.Blocks(t.Context(), values)) },
		} {
			var answer *AnswerError
			if err := ask(); !errors.As(err, &answer) || answer.Code != http.StatusBadRequest {
				t.Errorf("%v: %v", values, err)
			}
		}
	}
}

func first[T any](answers func(func(T, error) bool)) error {
	for _, err := range answers {
		return err
	}
	return nil
}

func TestAnAnswerThatTheEndCutsOffSaysSo(t *testing.T) {
	s := &Server{Chain: &newChain(t, 4000).Reader}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan struct{})
	go func() {
		defer close(served)
		localhttp.Serve(ctx, s.Handler(), slog.New(slog.DiscardHandler), localhttp.Access{}, l)
	}()
	client, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, err = range client.Entries(t.Context(), nil) {
		if err != nil {
			break
		}
		read++
		stop() // most of the answer does not fit into what lies between
	}
	if err == nil {
		t.Errorf("%d entries, and no word of there being more", read)
	}
	<-served
}

// Whoever pages through a long answer stops reading for minutes, and the agent cuts him off: he is to see all of it once.
func TestACutOffAnswerGoesOnWhereItsReaderIs(t *testing.T) {
	s := &Server{Chain: &newChain(t, 400).Reader}
	answers := s.Handler()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		answers.ServeHTTP(&cutting{ResponseWriter: w, left: 20_000}, r)
	}))
	defer server.Close()
	client := &Client{localhttp.NewClient("gateway", toServer{server.Listener.Addr().String()}, refused)}
	for _, values := range []url.Values{nil, {"reverse": {"true"}}, {"limit": {"300"}}, {"from": {"17"}, "limit": {"300"}, "reverse": {"true"}}, {"from": {"50"}, "to": {"390"}}, {"source": {"test"}}} {
		ask := func(client *Client) (numbers []uint64) {
			for e, err := range client.Entries(t.Context(), values) {
				if err != nil {
					t.Fatalf("%v: %v after %d entries", values, err, len(numbers))
				}
				numbers = append(numbers, e.Number)
			}
			return numbers
		}
		want := ask(Local(s))
		asked = 0
		if got := ask(client); !slices.Equal(got, want) || values["source"] == nil && asked < 2 {
			t.Errorf("%v: %d entries of %d, asked %d times", values, len(got), len(want), asked)
		}
	}
}

// toServer carries requests for whatever host to one address.
type toServer struct{ address string }

func (s toServer) RoundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Host = s.address
	return http.DefaultTransport.RoundTrip(r)
}

// cutting closes the connection after so many bytes of an answer.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Write(b []byte) (int, error) {
	if c.left -= len(b); c.left < 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(b)
}
