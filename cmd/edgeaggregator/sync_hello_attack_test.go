package main

import (
	"slices"
	"strings"
	"sync"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	headersync "edgechain/sync"
)

// hellos records what gateways ask on a broker.
type hellos struct {
	mu    sync.Mutex
	heard [][]byte
}

func listenForHellos(t testing.TB, broker, chain string) (*hellos, mqtt.Client) {
	t.Helper()
	h := &hellos{}
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("listener"))
	if token := client.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	t.Cleanup(func() { client.Disconnect(0) })
	token := client.Subscribe(headersync.DefaultPrefix+"/"+chain+"/hello", 1, func(_ mqtt.Client, m mqtt.Message) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if payload := string(m.Payload()); !slices.ContainsFunc(h.heard, func(b []byte) bool { return string(b) == payload }) {
			h.heard = append(h.heard, slices.Clone(m.Payload()))
		}
	})
	if token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	return h, client
}

func (h *hellos) all() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.heard)
}

// Whoever repeats a gateway's hellos, as often as he likes, does not keep its next one from being answered: the gateway
// would wait for that before it seals.
func TestReplayedHellosDelayNoStart(t *testing.T) {
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
	replay := func() {
		for range 20 {
			for _, payload := range h.all() {
				damaged := slices.Clone(payload)
				damaged[len(damaged)-1] ^= 1
				for _, b := range [][]byte{payload, damaged} {
					token := mallory.Publish(headersync.DefaultPrefix+"/"+g.chain+"/hello", 1, false, b)
					if token.Wait() && token.Error() != nil {
						t.Fatal(token.Error())
					}
				}
			}
		}
	}
	replay()
	n.restart() // what it counted in memory is gone
	replay()
	before := len(h.all())
	g.start()
	g.process.Await("the head is settled", func() bool { return g.standing() == string(headersync.Agreed) })
	// The first is answered; a second may have gone out before that, on a busy machine. The third would come after six
	// seconds, and the aggregator's patience with copies lets one pass each half minute.
	if said := len(h.all()) - before; said > 2 {
		t.Errorf("the gateway had to ask %d times", said)
	}
	if says := g.must("status"); !strings.Contains(says, "agreed") {
		t.Errorf("edgeagent status:\n%s", says)
	}
}
