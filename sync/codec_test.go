package headersync

import (
	"bytes"
	"testing"

	"edgechain.example/lightchain"
)

// fuzzCodec claims, of a decoder: it never panics, and what it accepts encodes back to the same bytes.
func fuzzCodec[T any](f *testing.F, decode func([]byte) (T, error), encode func(T) ([]byte, error), seeds ...[]byte) {
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			return
		}
		again, err := encode(v)
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("accepts %x\nencodes %x (%v)", b, again, err)
		}
	})
}

// request is a signed message as its decoder leaves it.
type request[T any] struct {
	message T
	sealed  *sealed
}

// fuzzRequest claims the same of a signed message, whose signature it takes over.
func fuzzRequest[T any](f *testing.F, media string, decode func([]byte) (T, *sealed, error), sign func(T, lightchain.Signer) ([]byte, error), seeds ...[]byte) {
	fuzzCodec(f, func(b []byte) (request[T], error) {
		m, s, err := decode(b)
		return request[T]{m, s}, err
	}, func(r request[T]) ([]byte, error) {
		b, err := sign(r.message, signed{r.sealed})
		if err != nil {
			return nil, err
		}
		// The key id is that of the key that signed, which a signature does not give back.
		m := sign1{Protected: encode(protected{algEdDSA, media, r.sealed.keyID[:]}), Signature: r.sealed.signature}
		again, err := unseal(media, b, maxWelcome)
		if err != nil {
			return nil, err
		}
		m.Payload = again.payload
		return append([]byte{tagSign1}, encode(m)...), nil
	}, seeds...)
}

// signed signs with a signature that is there already.
type signed struct{ s *sealed }

func (s signed) Public() lightchain.PublicKey { return testSigner("any").Public() }

func (s signed) Sign([]byte) (sig lightchain.Signature, _ error) {
	copy(sig[:], s.s.signature)
	return sig, nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func FuzzHello(f *testing.F) {
	c := newMemChain(1)
	h := Hello{Chain: c.tip.Chain, Nonce: Nonce{1}, Height: 7, Hash: lightchain.Hash{2}}
	full := h
	full.Restore = &RestoreRequest{Aggregator: "north", Session: Nonce{3}, Sequence: 4, Most: 65536}
	full.Enrol = NewEnrolment("a token", c.tip.Chain)
	fuzzRequest(f, mediaHello, decodeHello, (*Hello).Sign, must(h.Sign(c.signer)), must(full.Sign(c.signer)))
}

func FuzzWelcome(f *testing.F) {
	c := newMemChain(1)
	w := Welcome{Chain: c.tip.Chain, Name: "north", Nonce: Nonce{1}, Sequence: 9, Session: Nonce{2}}
	full := w
	full.Head, full.Keys = c.seal(1, testTime*1e9, nil), []*lightchain.SignedHeader{c.headers[0]}
	key := c.signer.Public()
	full.Key, full.Held, full.Restores, full.Busy = &key, 1, 7, 600
	fuzzRequest(f, mediaWelcome, decodeWelcome, (*Welcome).Sign, must(w.Sign(c.signer)), must(full.Sign(c.signer)))
}

func FuzzPull(f *testing.F) {
	c := newMemChain(1)
	p := Pull{Chain: c.tip.Chain, Name: "north", Sequence: 1, Most: 65536, Want: Sparse, Last: noCeiling}
	later := p
	later.First, later.Below = 8, lightchain.Hash{5}
	fuzzRequest(f, mediaPull, decodePull, (*Pull).Sign, must(p.Sign(c.signer)), must(later.Sign(c.signer)))
}

// pages returns one page of each kind.
func pages(t testing.TB) (all []*Pulled) {
	c := newMemChain(1)
	for i := range 30 {
		var next lightchain.Signer
		if i == 11 {
			next = testSigner("next")
		}
		c.seal(uint64(i%3), testTime*1e9+int64(i)*60e9, next)
	}
	g, err := NewGateway(GatewayConfig{Chain: c, Receipts: c, Signer: c.signer})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Pull{
		{Want: EveryHeader, Last: noCeiling},
		{Want: Sparse, Last: noCeiling},
		{Want: EveryHeader, First: 5, Below: c.nodes[nodeAt{0, 4}], Last: 20},
		{Want: Sparse, First: 5, Below: c.nodes[nodeAt{0, 4}], Last: noCeiling},
		{Want: Sparse, First: 5, Last: noCeiling},
		{Want: Sparse, First: 31, Below: c.tip.Hash, Last: noCeiling},
		{Want: Sparse, First: 50, Last: noCeiling},
	} {
		p.Chain, p.Name, p.Sequence = c.tip.Chain, "north", 77
		page, err := g.page(&p, DefaultPage)
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
		seeds = append(seeds, must(p.Encode()))
	}
	fuzzCodec(f, DecodePulled, (*Pulled).Encode, seeds...)
}

// A page's number is read without reading the page.
func TestAPagesNumberIsReadByItself(t *testing.T) {
	for _, p := range pages(t) {
		for _, number := range []uint64{0, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<63 - 1} {
			p.Correlation = number
			if got, ok := pageNumber(must(p.Encode())); !ok || got != number {
				t.Errorf("%d is read as %d, %t", number, got, ok)
			}
		}
		b := must(p.Encode())
		for n := range 13 {
			if _, ok := pageNumber(b[:n]); ok {
				t.Errorf("%d bytes are a page", n)
			}
		}
	}
}

func FuzzRestored(f *testing.F) {
	all := pages(f)
	run := Restored{Correlation: 3, Run: all[0].Run}
	sparse := Restored{Correlation: 3, Sparse: &SparseCopy{all[1].Consistency.Head, make([]lightchain.Hash, 4), []*lightchain.SignedHeader{all[0].Genesis}}}
	fuzzCodec(f, DecodeRestored, (*Restored).Encode, must(run.Encode()), must(sparse.Encode()))
}

func FuzzState(f *testing.F) {
	c := newMemChain(1)
	empty := State{Chain: c.tip.Chain}
	full := State{Chain: c.tip.Chain, Last: 5, Spent: Spent{3, 4}}
	for _, p := range pages(f)[:1] {
		if _, err := Judge(&full, p, true, nil, func(Held) error { return nil }); err != nil {
			f.Fatal(err)
		}
	}
	r, err := full.Head.Head.Countersign(testSigner("north"), "north", testTime)
	if err != nil {
		f.Fatal(err)
	}
	full.Receipt = &r
	fuzzCodec(f, DecodeState, (*State).Encode, must(empty.Encode()), must(full.Encode()))
}

func TestEnrolmentShowsATokenToNobodyElse(t *testing.T) {
	chain := newMemChain(1).tip.Chain
	e := NewEnrolment("secret", chain)
	if !e.Check("secret", chain) {
		t.Error("its token is not recognised")
	}
	if e.Check("guess", chain) || e.Check("secret", newMemChain(2).tip.Chain) {
		t.Error("it enrols another chain, or with another token")
	}
	if id := NewEnrolment("secret", newMemChain(2).tip.Chain); id.Token != e.Token {
		t.Error("an aggregator cannot find the token by its name")
	}
}
