package main

import (
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	gatewayapi "edgechain.example/agent/api"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/build/testenv/program"
	headersync "edgechain.example/sync"
	syncgateway "edgechain.example/sync/gateway"
)

// A broker is only asked to let gateways and aggregators pass. Here stands what others on it cannot do.

func TestTwoGatewaysFromOneCardAreFoundOut(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	first := newGateway(t, "press-hall", broker.Addr, "", n)
	first.start()
	first.record(3)
	countersigned(first, n)
	first.stop()
	second := prepareGateway(t, "press-hall", broker.Addr, "", n)
	second.chain = first.chain
	copyTree(t, first.data(), second.data())

	// Brokers disconnect the older of two clients with one name; each gateway gets its turn to speak.
	first.start()
	first.record(4)
	countersigned(first, n)
	n.process.Stop() // which would tell the second one what it is before it has sealed anything
	second.start("--set", "sync.confirm_head=never")
	second.record(8)
	n.start()
	second.process.Await("the aggregator shows the fork", func() bool {
		known, _ := n.gateway(first.chain)
		return finding(known, registry.Forked)
	})
	fork := n.evidence(first.chain)
	for _, g := range []*gateway{first, second} {
		if !slices.ContainsFunc(g.blocks(), func(b gatewayapi.Block) bool { return b.Hash != nil && slices.Contains(leaves(fork), *b.Hash) }) {
			t.Errorf("neither side of the evidence, %v, is a block of the gateway in %s", leaves(fork), g.dir)
		}
	}
}

func TestKeyChangeIsFollowedAndImageFromBeforeCannotGoOn(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	var key string
	outdated(t, g, n, func() {
		g.record(1)
		g.must("key", "rotate")
		g.record(2)
		head := countersigned(g, n)
		key = head.Key
		if known, _ := n.gateway(g.chain); known.Key != key || known.Keys != 2 {
			t.Errorf("the aggregator follows %d keys up to %s, want 2 up to %s", known.Keys, known.Key, key)
		}
	})
	g.startPatiently()
	g.process.Await("the gateway says that its key was changed", func() bool { return g.standing() == string(syncgateway.KeyChanged) })
	if says := g.stands(7); !strings.Contains(says, "head key changed") {
		t.Errorf("edgeagent status does not say it plainly:\n%s", says)
	}
	before, _ := g.ask()
	g.publish(3) // kept, and not sealed
	after, _ := g.ask()
	if after.Height != before.Height || after.Open < 3 {
		t.Errorf("after the head was found out of date the chain went from %d to %d with %d entries open", before.Height, after.Height, after.Open)
	}
	if known, _ := n.gateway(g.chain); finding(known, registry.Forked) || known.Key != key {
		t.Errorf("nothing was forked; the aggregator shows %+v under key %s", known.Findings, known.Key)
	}
}

// eavesdropper is a user of the broker who hears everything and may publish anything.
type eavesdropper struct {
	client mqtt.Client
	mu     sync.Mutex
	heard  []headersync.Message
	words  map[string]int // how many of each kind were heard
	quiet  bool
}

// enoughOfAKind bounds how many messages of a kind are recorded. Both sides refuse what comes too fast, from anybody, so
// that a flood costs time; how much is not the claim here.
const enoughOfAKind = 2

func eavesdrop(t testing.TB, broker string) *eavesdropper {
	t.Helper()
	e := &eavesdropper{words: map[string]int{}}
	e.client = join(t, broker, "eavesdropper")
	hear(t, e.client, func(m headersync.Message) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if w := word(m); w != "" && !e.quiet && e.words[w] < enoughOfAKind {
			e.heard = append(e.heard, m)
			e.words[w]++
		}
	}, "#")
	return e
}

// join makes a connection of the test's own to a broker.
func join(t testing.TB, broker, id string) mqtt.Client {
	t.Helper()
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + broker).SetClientID(id))
	done(t, client.Connect())
	t.Cleanup(func() { client.Disconnect(0) })
	return client
}

// done waits for what a client was told to do. Paho leaves what it had asked for when a connection ended waiting for ever.
func done(t testing.TB, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(program.Patience) {
		t.Fatalf("not done within %v", program.Patience)
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

// hear calls heard for each message on topics that match, one after the other. It may publish, and must not wait for
// that.
func hear(t testing.TB, client mqtt.Client, heard func(headersync.Message), filters ...string) {
	t.Helper()
	for _, filter := range filters {
		token := client.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) {
			heard(headersync.Message{Topic: m.Topic(), Payload: slices.Clone(m.Payload())})
		})
		done(t, token)
	}
}

// word is what a message is, as its topic says, behind the prefix, the chain's first character and the chain.
func word(m headersync.Message) string {
	if parts := strings.Split(m.Topic, "/"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}

// recorded stops listening and returns what was heard.
func (e *eavesdropper) recorded() []headersync.Message {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.quiet = true
	return e.heard
}

func (e *eavesdropper) has(words ...string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !slices.ContainsFunc(words, func(w string) bool { return e.words[w] == 0 })
}

func (e *eavesdropper) say(t testing.TB, topic string, payload []byte) {
	t.Helper()
	say(t, e.client, topic, payload)
}

// say publishes, and waits until the broker has it.
func say(t testing.TB, client mqtt.Client, topic string, payload []byte) {
	t.Helper()
	done(t, client.Publish(topic, 1, false, payload))
}

func TestForgeriesAndReplaysOnTheBrokerChangeNothing(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	e := eavesdrop(t, broker.Addr)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	// A restore, so that its messages are among those recorded too.
	outdated(t, g, n, func() {})
	g.startPatiently()
	g.record(2)
	before := countersigned(g, n)
	g.process.Await("all kinds of messages were heard", func() bool {
		return e.has("head", "status", "hello", "welcome", "pull", "pulled", "receipt", "restore")
	})
	heard := e.recorded()
	for _, m := range heard {
		e.say(t, m.Topic, m.Payload)
		damaged := slices.Clone(m.Payload)
		if len(damaged) > 0 {
			damaged[len(damaged)/2] ^= 1
			e.say(t, m.Topic, damaged)
			e.say(t, m.Topic, damaged[:len(damaged)/2])
		}
		noise := make([]byte, 200)
		rand.Read(noise)
		e.say(t, m.Topic, noise)
		e.say(t, m.Topic, nil)
	}
	// And under the name of a chain that nobody has.
	stranger := strings.Repeat("b", 51) + "a"
	for _, m := range heard {
		e.say(t, strings.ReplaceAll(m.Topic, g.chain, stranger), m.Payload)
	}

	g.record(5)
	head := countersigned(g, n)
	if head.Height < before.Height+5 {
		t.Errorf("the head is %d, was %d before", head.Height, before.Height)
	}
	known, _ := n.gateway(g.chain)
	if slices.ContainsFunc(known.Findings, func(f api.Finding) bool {
		return f.Kind == registry.Forked || f.Kind == registry.Rollback && f.Height > before.Height
	}) {
		t.Errorf("the aggregator shows %+v", known.Findings)
	}
	if held := n.headers(g.chain); uint64(len(held)) != head.Height+1 || held[head.Height].Hash != head.Head {
		t.Errorf("the aggregator holds %d headers, want all %d", len(held), head.Height+1)
	}
	if asked, known := n.gateway(stranger); known && (asked.Head != (api.Head{}) || asked.Receipt != (api.Receipt{})) {
		t.Errorf("a chain that nobody has is %+v", asked)
	}
	g.stop()
	g.lacksEntries()
}

func TestForgottenChainIsNeverCountersignedShorter(t *testing.T) {
	t.Parallel()
	broker := newBroker(t)
	n := newNode(t, broker.Addr, everyone)
	n.start()
	g := newGateway(t, "press-hall", broker.Addr, "", n)
	old, newest := outdated(t, g, n, func() {})
	n.must("gateways", "forget", g.chain)

	// The old image comes back with a shorter chain, and asks nobody.
	g.start("--set", "sync.confirm_head=never")
	g.publish(1)
	n.must("gateways", "approve", g.chain)
	g.process.Await("the aggregator shows that two histories are signed", func() bool {
		known, _ := n.gateway(g.chain)
		return finding(known, registry.Forked) || finding(known, registry.Rollback)
	})
	g.publish(3)
	g.process.Await("the gateway has stopped sealing", func() bool {
		standing := syncgateway.Standing(g.standing())
		return standing != "" && !standing.MaySeal()
	})
	if s, _ := g.ask(); s.Height >= newest || *s.Live.Upstreams[0].Aggregators[0].Receipted > old {
		t.Errorf("the image's chain ended at %d; now it is at %d, and has a receipt on %d", old, s.Height, *s.Live.Upstreams[0].Aggregators[0].Receipted)
	}
	if known, _ := n.gateway(g.chain); known.Receipt.Height < newest || known.Head.Height < newest {
		t.Errorf("the head went from %d to %d, the newest receipt is %d", newest, known.Head.Height, known.Receipt.Height)
	}
}
