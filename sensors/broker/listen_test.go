package broker

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

func TestAddressesThatMayCollide(t *testing.T) {
	for _, x := range []struct {
		address, taken string
		want           bool
	}{
		{"127.0.0.1:1883", "127.0.0.1:1883", true}, {"127.0.0.1:1884", "127.0.0.1:1883", false}, {"127.0.0.1:0", "127.0.0.1:1883", false},
		{"0.0.0.0:1883", "127.0.0.1:1883", true}, {"127.0.0.1:1883", "[::]:1883", true}, {"10.0.0.1:1883", "127.0.0.1:1883", false},
		{":1883", "127.0.0.1:1883", true}, {"localhost:1883", "127.0.0.1:1883", true}, {"localhost:1884", "127.0.0.1:1883", false},
		{"[::1]:1883", "127.0.0.1:1883", false}, {"[::ffff:127.0.0.1]:1883", "127.0.0.1:1883", true}, {"127.0.0.1:mqtt", "127.0.0.1:1883", true},
	} {
		if got := collides(x.address, x.taken); got != x.want {
			t.Errorf("%s beside %s: %v", x.address, x.taken, got)
		}
	}
}

// What connects between Bind and Run is served then; where Bind fails nothing stays open.
func TestWhatBindOpensIsServedWhenTheBrokerRuns(t *testing.T) {
	first := start(t, autoDisk(t, 0), nil)
	cfg := Config{Decode: undecoded, Grace: 50 * time.Millisecond,
		Listeners: []Listener{{Kind: TCP, Address: "127.0.0.1:0", Anonymous: true}, {Kind: WS, Address: first.Addrs()[0].String(), Anonymous: true}}}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Bind(t.Context(), first); err != nil || len(b.bound) != 1 {
		t.Fatalf("%d are bound, %v", len(b.bound), err)
	}
	at := b.bound[0].Addr().String()
	nc, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	// The other address is taken as long as the first one runs: what is bound stays.
	var cannot *ListenError
	if err := b.Run(context.Background(), autoDisk(t, 0)); !errors.As(err, &cannot) || len(b.bound) != 1 {
		t.Errorf("%d are bound, %v", len(b.bound), err)
	}
	b.cfg.Listeners[1].Address = "127.0.0.1:0"
	run(t, b, autoDisk(t, 0))
	connect(t, nc, login{id: "early", clean: true}).publish(0, 0, "x", "1")

	cfg.Listeners = []Listener{{Kind: TCP, Address: "127.0.0.1:0", Anonymous: true}, {Kind: TCP, Address: at, Anonymous: true}}
	third, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := third.Bind(t.Context(), first); !errors.As(err, &cannot) || len(third.bound) != 0 {
		t.Errorf("%d are bound, %v", len(third.bound), err)
	}
}
