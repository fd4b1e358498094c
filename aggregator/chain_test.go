package aggregator_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"edgechain.example/lightchain"
	"edgechain.example/sync/collector"
)

// testSigner returns the key that a name stands for, always the same.
func testSigner(name string) lightchain.Signer {
	seed := sha256.Sum256([]byte("edgechain aggregator test key " + name))
	s, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return s
}

// chainTime is when the chains of these tests begin, in seconds since the Unix epoch.
const chainTime = 1_790_000_000

// chain is a gateway's chain without its entries.
type chain struct {
	t       testing.TB
	signer  lightchain.Signer
	tip     *lightchain.Tip
	headers []*lightchain.SignedHeader // by height
	leaves  []lightchain.Hash
	clock   lightchain.Clock
	now     int64 // nanoseconds since the Unix epoch
}

func newChain(t testing.TB, name string) *chain {
	t.Helper()
	c := &chain{t: t, signer: testSigner("gateway " + name), now: chainTime * 1e9,
		clock: lightchain.Clock{State: lightchain.ClockSynchronised, Boot: 1, Uptime: 1e9}}
	nonce := sha256.Sum256([]byte(name))
	g := lightchain.NewGenesis(lightchain.Genesis{Name: &name, Nonce: [16]byte(nonce[:16])}, c.signer.Public(), c.now, c.clock)
	signed, err := g.Sign(c.signer)
	if err != nil {
		t.Fatal(err)
	}
	if c.tip, err = lightchain.Begin(signed); err != nil {
		t.Fatal(err)
	}
	c.headers, c.leaves = []*lightchain.SignedHeader{signed}, []lightchain.Hash{signed.Hash()}
	return c
}

func (c *chain) id() lightchain.ChainID { return c.tip.Chain }

// copy returns a gateway that runs from a copy of this one's card.
func (c *chain) copy() *chain {
	d := *c
	d.tip = c.tip.Clone()
	d.headers = c.headers[:len(c.headers):len(c.headers)]
	d.leaves = c.leaves[:len(c.leaves):len(c.leaves)]
	return &d
}

// seal adds a block a minute later; change, which may be nil, has the last word on its header.
func (c *chain) seal(change func(*lightchain.Header)) *lightchain.SignedHeader {
	c.t.Helper()
	c.now += 60e9
	c.clock.Uptime += 60e9
	root := lightchain.Hash(sha256.Sum256(c.tip.Hash[:]))
	h := c.tip.Header(root, 3, c.now, c.clock)
	if change != nil {
		change(h)
	}
	signed, err := h.Sign(c.signer)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.tip.FollowOne(signed); err != nil {
		c.t.Fatal(err)
	}
	c.headers, c.leaves = append(c.headers, signed), append(c.leaves, signed.Hash())
	return signed
}

func (c *chain) sealMany(n int) {
	for range n {
		c.seal(nil)
	}
}

func (c *chain) head() *lightchain.SignedHeader { return c.headers[len(c.headers)-1] }

// run returns the headers from one height to another as they travel.
func (c *chain) run(from, to uint64) *lightchain.Run {
	r := new(lightchain.Run)
	for _, h := range c.headers[from : to+1] {
		sig := h.HeaderSignature
		r.Add(&h.Header, &sig)
	}
	return r
}

// held returns the headers from one height to another as they are kept, signed where they end a run.
func (c *chain) held(from, to uint64) (held []collector.Held) {
	for _, h := range c.headers[from : to+1] {
		one := collector.Held{Height: h.Header.Height, Bytes: h.Bytes()}
		if h.Header.Height == to || h.Header.NextKey != nil {
			one.Signature = &h.HeaderSignature
		}
		held = append(held, one)
	}
	return held
}

// testRandom gives nonces that differ from each other.
type testRandom struct{}

func (testRandom) Read(p []byte) (int, error) { return rand.Read(p) }
