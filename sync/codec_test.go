package headersync_test

import (
	"bytes"
	"testing"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
	"edgechain.example/sync/gateway"
	"edgechain.example/sync/internal/wire"
	"edgechain.example/sync/synctest"
)

// fuzzRequest claims, of a signed message's decoder: it never panics, and what it accepts is signed again as the same payload.
func fuzzRequest[T any](f *testing.F, decode func([]byte) (T, *wire.Sealed, error), sign func(T, lightchain.Signer) ([]byte, error), seeds ...[]byte) {
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, sealed, err := decode(b)
		if err != nil {
			return
		}
		again, err := sign(m, synctest.Signer("any"))
		if err != nil {
			t.Fatal(err)
		}
		if _, s, err := decode(again); err != nil || !bytes.Equal(s.Payload, sealed.Payload) {
			t.Errorf("accepts %x\nsigns %x (%v)", b, again, err)
		}
	})
}

func FuzzHello(f *testing.F) {
	c := synctest.NewChain(1)
	h := headersync.Hello{Chain: c.Tip.Chain, Nonce: headersync.Nonce{1}, Height: 7, Hash: lightchain.Hash{2}}
	full := h
	full.Restore = &headersync.RestoreRequest{Aggregator: "north", Session: headersync.Nonce{3}, Sequence: 4, Most: 65536}
	full.Enrol = headersync.NewEnrolment("a token", c.Tip.Chain)
	fuzzRequest(f, headersync.DecodeHello, (*headersync.Hello).Sign, synctest.Must(h.Sign(c.Signer)), synctest.Must(full.Sign(c.Signer)))
}

func FuzzWelcome(f *testing.F) {
	c := synctest.NewChain(1)
	w := headersync.Welcome{Chain: c.Tip.Chain, Name: "north", Nonce: headersync.Nonce{1}, Sequence: 9, Session: headersync.Nonce{2}}
	full := w
	full.Head, full.Keys = c.Seal(1, synctest.Time*1e9, nil), []*lightchain.SignedHeader{c.Headers[0]}
	key := c.Signer.Public()
	full.Key, full.Held, full.Restores, full.Busy = &key, 1, 7, 600
	fuzzRequest(f, headersync.DecodeWelcome, (*headersync.Welcome).Sign, synctest.Must(w.Sign(c.Signer)), synctest.Must(full.Sign(c.Signer)))
}

func FuzzPull(f *testing.F) {
	c := synctest.NewChain(1)
	p := headersync.Pull{Chain: c.Tip.Chain, Name: "north", Sequence: 1, Most: 65536, Want: headersync.Sparse, Last: headersync.NoCeiling}
	later := p
	later.First, later.Below = 8, lightchain.Hash{5}
	fuzzRequest(f, headersync.DecodePull, (*headersync.Pull).Sign, synctest.Must(p.Sign(c.Signer)), synctest.Must(later.Sign(c.Signer)))
}

// pages returns one page of each kind.
func pages(t testing.TB) (all []*headersync.Pulled) {
	c := synctest.NewChain(1)
	for i := range 30 {
		var next lightchain.Signer
		if i == 11 {
			next = synctest.Signer("next")
		}
		c.Seal(uint64(i%3), synctest.Time*1e9+int64(i)*60e9, next)
	}
	g, err := gateway.New(gateway.Config{Chain: c, Receipts: c, Signer: c.Signer})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []headersync.Pull{
		{Want: headersync.EveryHeader, Last: headersync.NoCeiling},
		{Want: headersync.Sparse, Last: headersync.NoCeiling},
		{Want: headersync.EveryHeader, First: 5, Below: c.Nodes[synctest.NodeAt{Index: 4}], Last: 20},
		{Want: headersync.Sparse, First: 5, Below: c.Nodes[synctest.NodeAt{Index: 4}], Last: headersync.NoCeiling},
		{Want: headersync.Sparse, First: 5, Last: headersync.NoCeiling},
		{Want: headersync.Sparse, First: 31, Below: c.Tip.Hash, Last: headersync.NoCeiling},
		{Want: headersync.Sparse, First: 50, Last: headersync.NoCeiling},
	} {
		p.Chain, p.Name, p.Sequence = c.Tip.Chain, "north", 77
		page, err := g.Page(&p, headersync.DefaultPage)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page)
	}
	return all
}

func FuzzPulled(f *testing.F) {
	var seeds [][]byte
	for _, p := range pages(f) {
		seeds = append(seeds, synctest.Must(p.Encode()))
	}
	synctest.FuzzCodec(f, headersync.DecodePulled, (*headersync.Pulled).Encode, seeds...)
}

// A page's number is read without reading the page.
func TestAPagesNumberIsReadByItself(t *testing.T) {
	for _, p := range pages(t) {
		for _, number := range []uint64{0, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<63 - 1} {
			p.Correlation = number
			if got, ok := headersync.PageNumber(synctest.Must(p.Encode())); !ok || got != number {
				t.Errorf("%d is read as %d, %t", number, got, ok)
			}
		}
		b := synctest.Must(p.Encode())
		for n := range 13 {
			if _, ok := headersync.PageNumber(b[:n]); ok {
				t.Errorf("%d bytes are a page", n)
			}
		}
	}
}

func FuzzRestored(f *testing.F) {
	all := pages(f)
	run := headersync.Restored{Correlation: 3, Run: all[0].Run}
	sparse := headersync.Restored{Correlation: 3, Sparse: &headersync.SparseCopy{all[1].Consistency.Head, make([]lightchain.Hash, 4), []*lightchain.SignedHeader{all[0].Genesis}}}
	synctest.FuzzCodec(f, headersync.DecodeRestored, (*headersync.Restored).Encode, synctest.Must(run.Encode()), synctest.Must(sparse.Encode()))
}

func TestEnrolmentShowsATokenToNobodyElse(t *testing.T) {
	chain := synctest.NewChain(1).Tip.Chain
	e := headersync.NewEnrolment("secret", chain)
	if !e.Check("secret", chain) {
		t.Error("its token is not recognised")
	}
	if e.Check("guess", chain) || e.Check("secret", synctest.NewChain(2).Tip.Chain) {
		t.Error("it enrols another chain, or with another token")
	}
	if id := headersync.NewEnrolment("secret", synctest.NewChain(2).Tip.Chain); id.Token != e.Token {
		t.Error("an aggregator cannot find the token by its name")
	}
}
