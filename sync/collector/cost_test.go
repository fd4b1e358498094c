package collector

import (
	"context"
	"testing"
	"time"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/synctest"
)

// stranger is what anybody on the broker can send to an aggregator of a chain of many keys.
type stranger struct {
	name    string
	message func(w *costs, i int) headersync.Message
}

// costs is an aggregator that follows one chain, and what strangers know of it.
type costs struct {
	*succession
	forger lightchain.Signer
}

func newCosts(t testing.TB) *costs {
	w := &costs{succession: newSuccession(t, 1), forger: synctest.Signer("mallory")}
	for i := range 201 {
		next := synctest.Signer(string(rune('a'+i%26)) + string(rune('a'+i/26)))
		w.chain.Seal(1, w.now.UnixNano(), next)
		w.g.SetSigner(next)
		w.chain.Seal(1, w.now.UnixNano(), nil)
	}
	w.hear(w.head(w.chain.Tip.Height))
	w.settle()
	return w
}

func (w *costs) forged(height uint64, i int) headersync.Message {
	h := w.chain.Headers[height].Header
	h.Count += uint64(i)
	signed, err := h.Sign(w.forger)
	if err != nil {
		w.t.Fatal(err)
	}
	payload, err := signed.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	return headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, w.chain.Tip.Chain, headersync.TopicHead, ""), Payload: payload}
}

// page makes a page of somebody's, as the answer to a question that nobody asked.
func (w *costs) page(p *headersync.Pulled) headersync.Message {
	payload, err := p.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	return headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, w.chain.Tip.Chain, headersync.TopicPulled, "north"), Payload: payload}
}

var strangers = []stranger{
	{"forged head above", func(w *costs, i int) headersync.Message {
		m := w.forged(w.chain.Tip.Height, i+1)
		return m
	}},
	{"forged head below, 201 keys", func(w *costs, i int) headersync.Message { return w.forged(200, i+1) }},
	{"genuine old head, repeated", func(w *costs, i int) headersync.Message { return w.head(uint64(10 + i%300)) }},
	{"newest head, repeated", func(w *costs, _ int) headersync.Message { return w.head(w.chain.Tip.Height) }},
	{"forged run, not asked for", func(w *costs, i int) headersync.Message {
		var headers []lightchain.RunHeader
		for range 20 {
			h := w.chain.Headers[w.chain.Tip.Height]
			headers = append(headers, lightchain.NewRunHeader(&h.Header, &h.HeaderSignature))
		}
		return w.page(&headersync.Pulled{Correlation: uint64(1000 + i), Head: w.chain.Tip.Height + 20, Run: &lightchain.Run{First: w.chain.Tip.Height + 1, Headers: headers[:1]}})
	}},
	{"unavailable, not asked for", func(w *costs, i int) headersync.Message {
		return w.page(&headersync.Pulled{Correlation: uint64(1000 + i), Head: 9, Unavailable: true})
	}},
	{"forged hello", func(w *costs, i int) headersync.Message {
		h := headersync.Hello{Chain: w.chain.Tip.Chain, Nonce: headersync.Nonce{byte(i), byte(i >> 8), byte(i >> 16)}, Height: 3}
		payload, err := h.Sign(w.forger)
		if err != nil {
			w.t.Fatal(err)
		}
		return headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, w.chain.Tip.Chain, headersync.TopicHello, ""), Payload: payload}
	}},
	{"head of another chain under this topic", func(w *costs, i int) headersync.Message {
		other := synctest.NewChain(uint64(99))
		other.Seal(1, synctest.Time*1e9, nil)
		payload, _ := other.Headers[1].Encode()
		return headersync.Message{Topic: headersync.Topic(headersync.DefaultPrefix, w.chain.Tip.Chain, headersync.TopicHead, ""), Payload: payload}
	}},
	{"a chain that another owns", func(w *costs, _ int) headersync.Message {
		m := w.head(w.chain.Tip.Height)
		m.Topic = headersync.Topic(headersync.DefaultPrefix, lightchain.ChainID{1}, headersync.TopicHead, "")
		return m
	}},
}

// BenchmarkStrangers says what a message costs that proves nothing, in a flood of 1,000 a second.
func BenchmarkStrangers(b *testing.B) {
	for _, s := range strangers {
		b.Run(s.name, func(b *testing.B) {
			w := newCosts(b)
			w.foreign = lightchain.ChainID{1}
			messages := make([]headersync.Message, 512)
			for i := range messages {
				messages[i] = s.message(w, i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				w.now = w.now.Add(time.Millisecond)
				w.owners[0].Receive(context.Background(), w.now, messages[i%len(messages)])
				i++
			}
		})
	}
}
