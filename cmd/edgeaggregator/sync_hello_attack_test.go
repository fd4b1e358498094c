package main

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	headersync "edgechain.example/sync"
	syncgateway "edgechain.example/sync/gateway"
)

// hellos records what a gateway asks on a broker, and what is answered.
type hellos struct {
	mu       sync.Mutex
	heard    [][]byte // guarded by mu: each once
	welcomes [][]byte // guarded by mu
}

func listenForHellos(t testing.TB, broker, chain string) (*hellos, mqtt.Client) {
	t.Helper()
	h := &hellos{}
	client := join(t, broker, "listener")
	topic := headersync.DefaultPrefix + "/" + chain[:1] + "/" + chain + "/"
	hear(t, client, func(m headersync.Message) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if word(m) == "welcome" {
			h.welcomes = append(h.welcomes, m.Payload)
		} else if !contains(h.heard, m.Payload) {
			h.heard = append(h.heard, m.Payload)
		}
	}, topic+"hello", topic+"welcome/+")
	return h, client
}

func contains(all [][]byte, one []byte) bool {
	return slices.ContainsFunc(all, func(b []byte) bool { return bytes.Equal(b, one) })
}

func (h *hellos) all() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.heard)
}

// answered reports whether a hello was welcomed, whose nonce a welcome repeats.
func (h *hellos) answered(t testing.TB, hello []byte) bool {
	t.Helper()
	nonce, err := nonceOf(hello)
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.welcomes, func(b []byte) bool { return bytes.Contains(b, nonce[:]) })
}

// Whoever repeats a gateway's hellos, as often as he likes, does not keep its next one from being answered: the gateway
// would wait for that before it seals.
func TestReplayedHellosDelayNoStart(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, `confirm_head = "always"`, n)
	h, mallory := listenForHellos(t, broker.Addr, g.chain)
	for range 3 {
		g.start()
		g.record(1)
		countersigned(g, n)
		g.stop()
	}
	own := h.all()
	var replayed [][]byte
	for _, payload := range own {
		damaged := slices.Clone(payload)
		damaged[len(damaged)-1] ^= 1
		replayed = append(replayed, payload, damaged)
	}
	replay := func() {
		for range 20 {
			for _, payload := range replayed {
				say(t, mallory, headersync.DefaultPrefix+"/"+g.chain[:1]+"/"+g.chain+"/hello", payload)
			}
		}
	}
	replay()
	n.restart() // what it counted in memory is gone
	replay()
	g.start()
	g.process.Await("the head is settled", func() bool { return g.standing() == string(syncgateway.Agreed) })
	// How often the gateway has asked by then is a matter of the machine's speed: what it asked first was answered.
	// The listener hears it behind all that was replayed.
	var asked [][]byte
	g.process.Await("the first hello of the last start is answered", func() bool {
		asked = slices.DeleteFunc(h.all(), func(b []byte) bool { return contains(replayed, b) })
		return len(asked) > 0 && h.answered(t, asked[0])
	})
	if says := g.must("status"); !strings.Contains(says, "agreed") {
		t.Errorf("edgeagent status:\n%s", says)
	}
}
