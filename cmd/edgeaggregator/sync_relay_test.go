package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	gatewayapi "edgechain.example/agent/api"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/registry"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/keyfile"
	headersync "edgechain.example/sync"
	syncgateway "edgechain.example/sync/gateway"
)

// Here stands between a gateway and an aggregator somebody who may change whatever passes, and who holds in some of the
// tests the gateway's own key.

// A relay is all that a gateway and an aggregator hear of each other: each has a broker of its own.
type relay struct {
	t         testing.TB
	near, far mqtt.Client // of the gateway's broker and the aggregator's

	mu    sync.Mutex
	held  map[string]*headersync.Message // guarded by mu: words kept back, and the newest message of each
	pages []*headersync.Pulled           // guarded by mu: that passed, and heads as pages
}

func newRelay(t testing.TB, near, far string) *relay {
	t.Helper()
	r := &relay{t: t, near: join(t, near, "relay"), far: join(t, far, "relay"), held: map[string]*headersync.Message{}}
	hear(t, r.near, r.carry(r.far), "edgechain/v1/+/+/head", "edgechain/v1/+/+/status", "edgechain/v1/+/+/hello", "edgechain/v1/+/+/pulled/+")
	hear(t, r.far, r.carry(r.near), "edgechain/v1/+/+/welcome/+", "edgechain/v1/+/+/pull", "edgechain/v1/+/+/receipt/+", "edgechain/v1/+/+/restore/+")
	return r
}

// carry passes messages on, but for those that are held.
func (r *relay) carry(to mqtt.Client) func(headersync.Message) {
	return func(m headersync.Message) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, held := r.held[word(m)]; held {
			r.held[word(m)] = &m
			return
		}
		switch word(m) {
		case "pulled":
			if page, err := headersync.DecodePulled(m.Payload); err == nil {
				r.pages = append(r.pages, page)
			}
		case "head": // one that continues the head known is a page of its own to the aggregator
			if head, err := lightchain.DecodeSignedHeader(m.Payload); err == nil {
				h := head.Header
				one := lightchain.Run{First: h.Height, Headers: []lightchain.RunHeader{lightchain.NewRunHeader(&h, &head.HeaderSignature)}}
				r.pages = append(r.pages, &headersync.Pulled{Head: h.Height, Run: &one})
			}
		}
		to.Publish(m.Topic, 1, false, m.Payload)
	}
}

// hold keeps back what comes under these words from now on.
func (r *relay) hold(words ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range words {
		r.held[w] = nil
	}
}

// newest is the newest message of a word that is kept back, nil if there is none.
func (r *relay) newest(word string) *headersync.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[word]
}

// release passes on the newest message that was kept back, and all that follow.
func (r *relay) release(word string, to mqtt.Client) {
	r.t.Helper()
	r.mu.Lock()
	m := r.held[word]
	delete(r.held, word)
	r.mu.Unlock()
	if m == nil {
		r.t.Fatalf("no %s was kept back", word)
	}
	say(r.t, to, m.Topic, m.Payload)
}

// tip is the tip at a height, as the pages that passed lead there.
func (r *relay) tip(height uint64) *lightchain.Tip {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	tips := map[uint64]*lightchain.Tip{} // pages may overlap
	for _, p := range r.pages {
		if p.Genesis != nil {
			begun, err := lightchain.Begin(p.Genesis)
			if err != nil {
				r.t.Fatal(err)
			}
			tips[0] = begun
		}
		var from uint64
		switch {
		case p.Run != nil:
			from = p.Run.First - 1
		case p.Consistency != nil:
			from = p.Consistency.From - 1
		}
		if tips[from] == nil {
			continue
		}
		tip, err := tips[from].Clone(), error(nil)
		if p.Run != nil {
			_, err = tip.Follow(p.Run, func(d lightchain.Derived) error {
				tips[d.Before.Height] = d.Before.Clone()
				return nil
			})
		} else if p.Consistency != nil {
			err = tip.Leap(p.Consistency)
		}
		if err != nil {
			r.t.Fatal(err)
		}
		tips[tip.Height] = tip
	}
	if tips[height] == nil {
		r.t.Fatalf("nothing that passed ends at height %d", height)
	}
	return tips[height]
}

// newSigner makes a key that nobody has heard of.
func newSigner(t testing.TB) lightchain.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := lightchain.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// signer is the gateway's own key.
func (g *gateway) signer() lightchain.Signer {
	g.t.Helper()
	signer, err := keyfile.Load(filepath.Join(g.data(), "key"), keyfile.Passphrase{})
	if err != nil {
		g.t.Fatal(err)
	}
	return signer
}

// A lie is a page that is not what the gateway sent.
type lie struct {
	name string
	tell func(p *headersync.Pulled) []byte // changes a copy of the true page
	why  string                            // what the aggregator says of it
}

// changed is a lie that leaves the page's form as it is.
func changed(t testing.TB, name, why string, change func(p *headersync.Pulled)) lie {
	return lie{name, func(p *headersync.Pulled) []byte {
		change(p)
		b, err := p.Encode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return b
	}, why}
}

func signed(t testing.TB, h *lightchain.Header, signer lightchain.Signer) *lightchain.SignedHeader {
	t.Helper()
	s, err := h.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	unsigned = "does not check" // a header whose signature is not one of the key in force
	notAsked = "answers something else"
)

// smuggled is a run in which the header at index sets mallory's key, and everything from there on is signed with it.
func smuggled(t testing.TB, from *lightchain.Tip, of *lightchain.Run, index int, mallory lightchain.Signer) *lightchain.Run {
	t.Helper()
	tip, key := from.Clone(), mallory.Public()
	run := new(lightchain.Run)
	for i := range of.Headers {
		said := &of.Headers[i]
		h := tip.Header(said.Root, said.Count, said.Sealed, said.Clock)
		h.Beacon, h.NextKey = said.Beacon, said.NextKey
		if i == index {
			h.NextKey = &key
		}
		s := signed(t, h, mallory)
		signature := &s.HeaderSignature
		if i < index && said.NextKey != nil {
			// Of the gateway's own changes of key nothing is changed.
			signature = &lightchain.HeaderSignature{KeyID: tip.Key.KeyID(), Signature: *said.Signature}
		}
		run.Add(h, signature)
		if err := tip.Extend(h, s.Hash(), nil); err != nil {
			t.Fatal(err)
		}
	}
	return run
}

// liesInRuns are lies in a page that holds a change of key and, behind it, at least seven headers.
func liesInRuns(t testing.TB, tip *lightchain.Tip, own lightchain.Signer) []lie {
	mallory := newSigner(t)
	// at is a header in the midst of those behind the change of key.
	at := func(p *headersync.Pulled) int { return len(p.Run.Headers) - 4 }
	keyAt := func(p *headersync.Pulled) int {
		for i := range p.Run.Headers {
			if p.Run.Headers[i].NextKey != nil {
				return i
			}
		}
		t.Fatal("the page holds no change of key")
		return 0
	}
	// alone is a page with one header that the gateway's own key signed.
	alone := func(change func(h *lightchain.Header)) func(*headersync.Pulled) {
		return func(p *headersync.Pulled) {
			said := &p.Run.Headers[0]
			h := tip.Header(said.Root, said.Count, said.Sealed, said.Clock)
			change(h)
			p.Run = new(lightchain.Run)
			p.Run.Add(h, &signed(t, h, own).HeaderSignature)
		}
	}
	return []lie{
		changed(t, "a count", unsigned, func(p *headersync.Pulled) { p.Run.Headers[at(p)].Count++ }),
		changed(t, "a time", unsigned, func(p *headersync.Pulled) { p.Run.Headers[at(p)].Sealed-- }),
		changed(t, "a root", unsigned, func(p *headersync.Pulled) { p.Run.Headers[at(p)].Root[5] ^= 1 }),
		changed(t, "a clock", unsigned, func(p *headersync.Pulled) { p.Run.Headers[at(p)].Clock.Uptime++ }),
		changed(t, "a beacon", unsigned, func(p *headersync.Pulled) { p.Run.Headers[at(p)].Beacon = new(lightchain.Hash) }),
		changed(t, "a field of a later version", unsigned, func(p *headersync.Pulled) {
			p.Run.Headers[at(p)].Extra = []lightchain.Field{{Key: 99, Raw: []byte{1}}}
		}),
		changed(t, "another order", unsigned, func(p *headersync.Pulled) {
			h := p.Run.Headers
			h[at(p)], h[at(p)+1] = h[at(p)+1], h[at(p)]
		}),
		changed(t, "a header left out", unsigned, func(p *headersync.Pulled) {
			p.Run.Headers = append(p.Run.Headers[:at(p):at(p)], p.Run.Headers[at(p)+1:]...)
		}),
		changed(t, "a header twice", unsigned, func(p *headersync.Pulled) {
			h := p.Run.Headers
			p.Run.Headers = append(h[:at(p):at(p)], append([]lightchain.RunHeader{h[at(p)]}, h[at(p):]...)...)
		}),
		changed(t, "another height", notAsked, func(p *headersync.Pulled) { p.Run.First++ }),
		changed(t, "a last signature of nobody", unsigned, func(p *headersync.Pulled) {
			p.Run.Headers[len(p.Run.Headers)-1].Signature = new(lightchain.Signature)
		}),
		changed(t, "a last signature of another header", unsigned, func(p *headersync.Pulled) {
			p.Run.Headers[len(p.Run.Headers)-1].Signature = p.Run.Headers[keyAt(p)].Signature
		}),
		changed(t, "a change of key hidden", unsigned, func(p *headersync.Pulled) {
			h := &p.Run.Headers[keyAt(p)]
			h.NextKey, h.Signature = nil, nil
		}),
		changed(t, "another key under the gateway's signature", unsigned, func(p *headersync.Pulled) {
			key := mallory.Public()
			p.Run.Headers[keyAt(p)].NextKey = &key
		}),
		changed(t, "a key smuggled in and used", unsigned, func(p *headersync.Pulled) {
			p.Run = smuggled(t, tip, p.Run, at(p), mallory)
		}),
		changed(t, "a key smuggled into the last header", unsigned, func(p *headersync.Pulled) {
			p.Run = smuggled(t, tip, p.Run, len(p.Run.Headers)-1, mallory)
		}),
		changed(t, "a head that nobody signed instead of ours", "no key of the chain signed", func(p *headersync.Pulled) {
			h := tip.Header(lightchain.EmptyRoot(), 0, 1, lightchain.Clock{})
			h.Height = tip.Height
			p.Run, p.Other = nil, []*lightchain.SignedHeader{signed(t, h, mallory)}
		}),
		// Whoever holds the gateway's key can continue the chain, and nothing but continue it.
		changed(t, "the key in force set anew", "sets the key that is in force", alone(func(h *lightchain.Header) { h.NextKey = &tip.Key })),
		changed(t, "more entries than can be numbered", "more entries than can be numbered", alone(func(h *lightchain.Header) { h.Count = 1<<63 - 1 })),
		// Headers of a few bytes each, whose roots need not be in the page: they are checked, and that is all.
		changed(t, "thousands of headers in a page", unsigned, func(p *headersync.Pulled) {
			const many = 2000
			h := lightchain.RunHeader{Root: lightchain.EmptyRoot(), Sealed: 1}
			p.Run = &lightchain.Run{First: p.Run.First}
			for range many {
				p.Run.Headers = append(p.Run.Headers, h)
			}
			p.Run.Headers[many-1].Signature = new(lightchain.Signature)
		}),
	}
}

// liesInProofs are lies in a page that crosses a change of key by a proof.
func liesInProofs(t testing.TB, tip *lightchain.Tip, own lightchain.Signer) []lie {
	mallory := newSigner(t)
	key := mallory.Public()
	// ahead is a head some way above the tip that the gateway's own key signed.
	ahead := func(change func(h *lightchain.Header)) func(*headersync.Pulled) {
		return func(p *headersync.Pulled) {
			c := p.Consistency
			h := c.Head.Header
			h.NextKey = nil
			change(&h)
			c.Head, c.Keys = signed(t, &h, own), nil
		}
	}
	return []lie{
		changed(t, "a subtree", "does not begin with", func(p *headersync.Pulled) { p.Consistency.Nodes[0][0] ^= 1 }),
		changed(t, "a subtree less", "does not begin with", func(p *headersync.Pulled) { p.Consistency.Nodes = p.Consistency.Nodes[1:] }),
		changed(t, "another beginning", "a proof from a history", func(p *headersync.Pulled) { p.Consistency.From-- }),
		changed(t, "a change of key hidden", "signed it should be under key", func(p *headersync.Pulled) { p.Consistency.Keys = nil }),
		changed(t, "a change of key that is not in the history", "does not stand in the history", func(p *headersync.Pulled) {
			k := &p.Consistency.Keys[0]
			h := k.Header.Header
			h.NextKey = &key
			k.Header = signed(t, &h, mallory)
		}),
		changed(t, "a change of key with another path", "does not stand in the history", func(p *headersync.Pulled) {
			p.Consistency.Keys[0].Path.Hashes[0][0] ^= 1
		}),
		changed(t, "a head that another signed", "signed it should be under key", func(p *headersync.Pulled) {
			p.Consistency.Head = signed(t, &p.Consistency.Head.Header, mallory)
		}),
		changed(t, "the head's time", unsigned, func(p *headersync.Pulled) {
			h := p.Consistency.Head.Header
			h.Sealed++
			s, err := lightchain.NewSignedHeader(h, p.Consistency.Head.HeaderSignature)
			if err != nil {
				t.Fatal(err)
			}
			p.Consistency.Head = s
		}),
		changed(t, "another history under the gateway's own key", "does not begin with", ahead(func(h *lightchain.Header) { h.History[0] ^= 1 })),
		changed(t, "entries numbered twice under the gateway's own key", "are taken", ahead(func(h *lightchain.Header) { h.First = tip.Next - 1 })),
		changed(t, "another header below under the gateway's own key", "header before it is another one", func(p *headersync.Pulled) {
			h := tip.Header(lightchain.EmptyRoot(), 0, 1, lightchain.Clock{})
			h.Previous[0] ^= 1
			p.Consistency = &lightchain.Consistency{From: tip.Height + 1, Head: signed(t, h, own)}
		}),
	}
}

// junk are messages that do not even look like the answer to a request: they are dropped, and nobody is told.
func junk() [][]byte {
	return [][]byte{
		make([]byte, headersync.MaxPage+1),
		make([]byte, 8<<20),
		{0xa4, 1, 1, 2, 0x1a, 0xff, 0xff, 0xff, 0xff, 3, 1, 8, 0x9a, 0xff, 0xff, 0xff, 0xff},
		append([]byte{0xa4, 1, 1, 2, 0x1a, 0xff, 0xff, 0xff, 0xff, 3, 1, 8}, strings.Repeat("\x81", 10000)...),
		{0xa4, 1, 0x18, 1, 2, 1},
		[]byte("ok"),
		nil,
	}
}

// liesInAnyForm are no pages, and begin like one that was asked for.
func liesInAnyForm() []lie {
	raw := func(name, why string, bytes func(whole []byte) []byte) lie {
		return lie{name, func(p *headersync.Pulled) []byte {
			whole, _ := p.Encode() // it was decoded from what it is encoded to
			return bytes(whole)
		}, why}
	}
	return []lie{
		raw("half a page", "EOF", func(whole []byte) []byte { return whole[:len(whole)/2] }),
		raw("a byte too many", "extraneous", func(whole []byte) []byte { return append(whole, 0) }),
		raw("an array of four thousand million", "", func(whole []byte) []byte {
			return append(numbered(whole), 3, 1, 8, 0x9a, 0xff, 0xff, 0xff, 0xff)
		}),
		raw("a string of four thousand million bytes", "", func(whole []byte) []byte {
			return append(numbered(whole), 3, 1, 6, 0x5a, 0xff, 0xff, 0xff, 0xff)
		}),
		raw("arrays within arrays", "", func(whole []byte) []byte {
			return append(append(numbered(whole), 3, 1, 8), strings.Repeat("\x81", 100)...)
		}),
	}
}

// numbered is how a page begins, up to its number.
func numbered(whole []byte) []byte {
	length := map[byte]int{24: 1, 25: 2, 26: 4, 27: 8}[whole[4]]
	return append([]byte{0xa4}, whole[1:5+length]...)
}

func TestPagesThatLieChangeNothingAndTheTrueOneStillCounts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode registry.Mode
		lies func(testing.TB, *lightchain.Tip, lightchain.Signer) []lie
	}{{registry.Dense, liesInRuns}, {registry.Sparse, liesInProofs}} {
		t.Run(string(c.mode), func(t *testing.T) {
			t.Parallel()
			near, far := newBroker(t), newBroker(t)
			n := newNode(t, far.Addr, everyone+"[pull]\nmode = \""+string(c.mode)+"\"\n")
			n.start()
			g := newGateway(t, "press-hall", near.Addr, "", n)
			r := newRelay(t, near.Addr, far.Addr)
			g.start()
			g.record(2)
			before := countersigned(g, n)
			tip, own := r.tip(before.Height), g.signer()
			held := len(n.headers(g.chain))

			// One page for many headers: the head is announced when all are there.
			r.hold("head", "pulled")
			g.must("key", "rotate")
			after := g.record(8)
			g.process.Await("the newest head is announced", func() bool {
				m := r.newest("head")
				if m == nil {
					return false
				}
				head, err := lightchain.DecodeSignedHeader(m.Payload)
				return err == nil && head.Header.Height == after.Height
			})
			say(t, r.far, r.newest("head").Topic, r.newest("head").Payload)
			g.process.Await("the gateway has answered", func() bool { return r.newest("pulled") != nil })

			for _, b := range junk() {
				say(t, r.far, r.newest("pulled").Topic, b)
			}
			lies := append(c.lies(t, tip, own), liesInAnyForm()...)
			told := uint64(0)
			for _, l := range lies {
				m := r.newest("pulled")
				page, err := headersync.DecodePulled(m.Payload)
				if err != nil {
					t.Fatal(err)
				}
				say(t, r.far, m.Topic, l.tell(page))
				var known api.Gateway
				g.process.Await("the aggregator finds: "+l.name, func() bool {
					known, _ = n.gateway(g.chain)
					f := known.Finding(registry.Invalid)
					return f != nil && f.Count > told
				})
				f := known.Finding(registry.Invalid)
				told = f.Count
				if f.Text == "" || !strings.Contains(f.Text, l.why) {
					t.Errorf("%s: the aggregator says %q, want %q in it", l.name, f.Text, l.why)
				}
				if known.Head.Hash != before.Head || known.Receipt.Height != before.Height || finding(known, registry.Forked) {
					t.Fatalf("%s: the head went from %d to %d, countersigned is %d; %+v", l.name, before.Height, known.Head.Height, known.Receipt.Height, known.Findings)
				}
			}
			if now := len(n.headers(g.chain)); now != held {
				t.Errorf("%d headers were held before, now %d", held, now)
			}
			if count, err := strconv.Atoi(n.metric(`edgeaggregator_pages_total{verdict="invalid"}`)); err != nil || count < len(lies) {
				t.Errorf("of %d lies the metric counts %d, %v", len(lies), count, err)
			}
			n.process.Await("the log tells of each lie", func() bool {
				log, err := os.ReadFile(n.log())
				return err == nil && strings.Count(string(log), `"finding":"invalid"`) >= len(lies)
			})

			// A page that brings nothing, and one whose hints lie, do not keep the true one from being taken.
			m := r.newest("pulled")
			page, err := headersync.DecodePulled(m.Payload)
			if err != nil {
				t.Fatal(err)
			}
			empty, err := (&headersync.Pulled{Correlation: page.Correlation}).Encode()
			if err != nil {
				t.Fatal(err)
			}
			say(t, r.far, m.Topic, empty)
			most := uint64(1<<63 - 1)
			page.Head, page.Receipted = most, &most
			hints, err := page.Encode()
			if err != nil {
				t.Fatal(err)
			}
			say(t, r.far, m.Topic, hints)
			r.release("head", r.far)
			r.release("pulled", r.far)
			g.record(2)
			head := countersigned(g, n)
			if known, _ := n.gateway(g.chain); finding(known, registry.Invalid) || finding(known, registry.Forked) || known.Keys != 2 {
				t.Errorf("after the true page: %d keys, %+v", known.Keys, known.Findings)
			}
			if c.mode == registry.Dense {
				// A height that lies makes the aggregator leap to the newest head; what it leapt over comes behind.
				g.process.Await("the aggregator holds all headers", func() bool { return uint64(len(n.headers(g.chain))) == head.Height+1 })
			}
			g.stop()
			g.must("verify")
		})
	}
}

// Who may answer in the aggregator's place when a gateway has lost its newest headers can keep it waiting, and no more.
func TestPagesThatLieRestoreNothing(t *testing.T) {
	t.Parallel()
	for _, mode := range []registry.Mode{registry.Dense, registry.Sparse} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			near, far := newBroker(t), newBroker(t)
			n := newNode(t, far.Addr, everyone+"[pull]\nmode = \""+string(mode)+"\"\n")
			n.start()
			g := newGateway(t, "press-hall", near.Addr, "", n)
			r := newRelay(t, near.Addr, far.Addr)
			_, newest := outdated(t, g, n, func() {})
			var image gatewayapi.Status
			parse(t, g.stands(5, "--output", "json"), &image)

			mallory := newSigner(t)
			r.hold("restore")
			g.startPatiently()
			g.process.Await("the aggregator has answered", func() bool { return r.newest("restore") != nil })
			lies := map[string]func(*headersync.Restored){
				"a key smuggled in": func(p *headersync.Restored) {
					p.Run = smuggled(t, r.tip(image.Height), p.Run, 0, mallory)
				},
				"a count": func(p *headersync.Restored) { p.Run.Headers[0].Count++ },
				"another signature": func(p *headersync.Restored) {
					p.Run.Headers[len(p.Run.Headers)-1].Signature = new(lightchain.Signature)
				},
			}
			if mode == registry.Sparse {
				lies = map[string]func(*headersync.Restored){
					"another edge": func(p *headersync.Restored) { p.Sparse.Edge[0][0] ^= 1 },
					"no edge":      func(p *headersync.Restored) { p.Sparse.Edge = nil },
				}
				// One of another head than the welcome named is dropped, and nobody is told.
				m := r.newest("restore")
				page, err := headersync.DecodeRestored(m.Payload)
				if err != nil {
					t.Fatal(err)
				}
				h := page.Sparse.Head.Header
				h.Height += 1000
				page.Sparse.Head = signed(t, &h, mallory)
				b, err := page.Encode()
				if err != nil {
					t.Fatal(err)
				}
				say(t, r.near, m.Topic, b)
			}
			for name, tell := range lies {
				m := r.newest("restore")
				page, err := headersync.DecodeRestored(m.Payload)
				if err != nil {
					t.Fatal(err)
				}
				tell(page)
				b, err := page.Encode()
				if err != nil {
					t.Fatal(err)
				}
				refused := g.said("failed to take a page of lost headers")
				say(t, r.near, m.Topic, b)
				g.process.Await("the gateway refuses: "+name, func() bool { return g.said("failed to take a page of lost headers") > refused })
				if s, ok := g.ask(); !ok || s.Head != image.Head || g.standing() != "" {
					t.Fatalf("%s: the head went from %d to %d, %s", name, image.Height, s.Height, g.standing())
				}
			}
			r.release("restore", r.near)
			g.process.Await("the gateway has its own headers back", func() bool { return g.standing() == string(syncgateway.Recovered) })
			g.record(2)
			if head := countersigned(g, n); head.Height <= newest {
				t.Errorf("after the restore the head is %d; it had been %d", head.Height, newest)
			}
			g.stop()
			g.lacksEntries()
		})
	}
}

// said counts the lines of the gateway's log with a text.
func (g *gateway) said(text string) int {
	g.t.Helper()
	log, err := os.ReadFile(g.log())
	if err != nil {
		g.t.Fatal(err)
	}
	return strings.Count(string(log), text)
}
