// Package synctest has what the tests of both sides of the protocol need: a gateway's chain in memory, keys that follow from a
// name, nonces that follow from a seed.
package synctest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"edgechain.example/lightchain"
	headersync "edgechain.example/sync"
)

// Signer returns the key that a name stands for, always the same.
func Signer(name string) lightchain.Signer {
	seed := sha256.Sum256([]byte("edgechain test key " + name))
	s, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return s
}

// NodeAt is where a node of the history stands.
type NodeAt struct {
	Level int
	Index uint64
}

// Chain is a gateway's real chain, in memory instead of on a card: what was put into it is durable at once.
type Chain struct {
	Signer      lightchain.Signer
	Tip         *lightchain.Tip
	Headers     map[uint64]*lightchain.SignedHeader // a zero signature: held without one
	Nodes       map[NodeAt]lightchain.Hash
	keys        []uint64
	Receipts    map[string]map[uint64]lightchain.Receipt
	Rotations   int
	Unconfirmed bool
	Heard       func(height uint64, hash lightchain.Hash) // told of each header that is signed
}

// Time is when the tests begin, seconds since the Unix epoch.
const Time = 1_800_000_000

// NewChain returns a chain that has its genesis; its name and key follow from the nonce.
func NewChain(nonce uint64) *Chain {
	c := &Chain{
		Signer: Signer(fmt.Sprint("gateway ", nonce)), Headers: map[uint64]*lightchain.SignedHeader{},
		Nodes: map[NodeAt]lightchain.Hash{}, Receipts: map[string]map[uint64]lightchain.Receipt{},
	}
	g := lightchain.Genesis{}
	binary.BigEndian.PutUint64(g.Nonce[:], nonce)
	genesis, err := lightchain.NewGenesis(g, c.Signer.Public(), Time*1e9, lightchain.Clock{}).Sign(c.Signer)
	if err != nil {
		panic(err)
	}
	if c.Tip, err = lightchain.Begin(genesis); err != nil {
		panic(err)
	}
	c.Headers[0], c.keys, c.Nodes[NodeAt{}] = genesis, []uint64{0}, genesis.Hash()
	return c
}

func (c *Chain) node(level int, index uint64, h lightchain.Hash) {
	c.Nodes[NodeAt{level, index}] = h
}

// Seal adds a block; next, if not nil, is the key from then on.
func (c *Chain) Seal(entries uint64, sealed int64, next lightchain.Signer) *lightchain.SignedHeader {
	root := lightchain.EmptyRoot()
	if entries > 0 {
		root = sha256.Sum256(fmt.Append(nil, c.Tip.Height, sealed, entries, c.Signer.Public()))
	}
	h := c.Tip.Header(root, entries, sealed, lightchain.Clock{State: lightchain.ClockSynchronised, Boot: 1, Uptime: uint64(sealed - Time*1e9 + 1e9)})
	if next != nil {
		key := next.Public()
		h.NextKey = &key
	}
	s, err := h.Sign(c.Signer)
	if err != nil {
		panic(err)
	}
	if err := c.Tip.Extend(h, s.Hash(), c.node); err != nil {
		panic(err)
	}
	c.Headers[h.Height] = s
	if next != nil {
		c.Signer, c.keys = next, append(c.keys, h.Height)
	}
	if c.Heard != nil {
		c.Heard(h.Height, s.Hash())
	}
	return s
}

// Image returns a copy of the card.
func (c *Chain) Image() *Chain {
	i := *c
	i.Tip, i.Headers, i.Nodes, i.keys = c.Tip.Clone(), maps.Clone(c.Headers), maps.Clone(c.Nodes), slices.Clone(c.keys)
	i.Receipts = map[string]map[uint64]lightchain.Receipt{}
	for name, r := range c.Receipts {
		i.Receipts[name] = maps.Clone(r)
	}
	return &i
}

func (c *Chain) Head() (*lightchain.Tip, *lightchain.SignedHeader, error) {
	return c.Tip.Clone(), c.Headers[c.Tip.Height], nil
}

func (c *Chain) Header(height uint64) (*lightchain.Header, *lightchain.HeaderSignature, error) {
	s := c.Headers[height]
	if s == nil {
		return nil, nil, fmt.Errorf("header %d: %w", height, headersync.ErrUnavailable)
	}
	h, sig := s.Header, s.HeaderSignature
	if sig == (lightchain.HeaderSignature{}) {
		return &h, nil, nil
	}
	return &h, &sig, nil
}

func (c *Chain) Node(level int, index uint64) (lightchain.Hash, error) {
	h, ok := c.Nodes[NodeAt{level, index}]
	if !ok {
		return h, fmt.Errorf("node %d/%d: %w", level, index, headersync.ErrUnavailable)
	}
	return h, nil
}

func (c *Chain) KeyHeights(to uint64) ([]uint64, error) {
	n := len(c.keys)
	for n > 0 && c.keys[n-1] >= to {
		n--
	}
	return c.keys[:n:n], nil
}

func (c *Chain) NewestReceipt(name string) (newest uint64, found bool, _ error) {
	for height := range c.Receipts[name] {
		newest, found = max(newest, height), true
	}
	return newest, found, nil
}

func (c *Chain) Countersigned(name string) (uint64, bool, error) { return c.NewestReceipt(name) }

func (c *Chain) HasReceipt(height uint64, name string) (bool, error) {
	_, ok := c.Receipts[name][height]
	return ok, nil
}

func (c *Chain) PutReceipt(height uint64, r lightchain.Receipt) error {
	if c.Receipts[r.Name] == nil {
		c.Receipts[r.Name] = map[uint64]lightchain.Receipt{}
	}
	c.Receipts[r.Name][height] = r
	return nil
}

func (c *Chain) RestoreRun(run *lightchain.Run) error {
	tip := c.Tip.Clone()
	_, err := tip.Follow(run, func(d lightchain.Derived) error {
		sig := lightchain.HeaderSignature{}
		if d.Signature != nil {
			sig = *d.Signature
		}
		s, err := lightchain.NewSignedHeader(*d.Header, sig)
		if err != nil {
			return err
		}
		c.Headers[d.Header.Height] = s
		if d.Header.NextKey != nil {
			c.keys = append(c.keys, d.Header.Height)
		}
		return c.Tip.Extend(&s.Header, d.Hash, c.node)
	})
	return err
}

func (c *Chain) RestoreHead(tip *lightchain.Tip, copied *headersync.SparseCopy, _ []*lightchain.SignedHeader) error {
	c.Tip, c.Headers[tip.Height] = tip.Clone(), copied.Head
	first := uint64(0)
	for _, h := range tip.History.Edge() {
		level := 63
		for tip.History.Size()-first < 1<<level {
			level--
		}
		c.node(level, first>>level, h)
		first += 1 << level
	}
	c.node(0, tip.Height, tip.Hash)
	return nil
}

func (c *Chain) SealedUnconfirmed() (bool, error) { return c.Unconfirmed, nil }

// Must returns v, and panics where there is an error.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Offline is a gateway that was offline for n blocks, each minute one.
func Offline(n int) *Chain {
	c := NewChain(11)
	for i := range n {
		c.Seal(uint64(500+i*7919%97), Time*1e9+int64(i)*60e9+int64(i*7919%1000)*1000, nil)
	}
	return c
}

// Random returns a reader of nonces that follow from rng's seed.
func Random(rng *rand.Rand) io.Reader { return seeded{rng} }

type seeded struct{ rng *rand.Rand }

func (s seeded) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s.rng.Uint32())
	}
	return len(b), nil
}

// Tap puts what is published into a queue.
type Tap struct{ To *[]headersync.Message }

func (p *Tap) Publish(topic string, payload []byte, _ bool) error {
	*p.To = append(*p.To, headersync.Message{Topic: topic, Payload: payload})
	return nil
}

func (p *Tap) Subscribe([]string, func(headersync.Message)) error { return nil }

// FuzzCodec claims, of a decoder: it never panics, and what it accepts encodes back to the same bytes.
func FuzzCodec[T any](f *testing.F, decode func([]byte) (T, error), encode func(T) ([]byte, error), seeds ...[]byte) {
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
