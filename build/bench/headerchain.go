package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"time"

	"edgechain.example/lightchain"
)

// headerChain is a gateway's chain without its entries: what a gateway that seals every minute would send, with timers
// that are a millisecond late, some six hundred entries in each block, and a beacon that stays.
type headerChain struct {
	signer  lightchain.Signer
	genesis *lightchain.SignedHeader
	tip     *lightchain.Tip
	rng     *rand.Rand
	beacon  lightchain.Hash
	began   int64 // nanoseconds since the Unix epoch
}

// benchSigner returns the key that a number stands for, always the same.
func benchSigner(n int) (lightchain.Signer, error) {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("edgechain bench"), uint64(n)))
	return lightchain.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
}

// newHeaderChain begins the chain that a number stands for.
func newHeaderChain(n int) (*headerChain, error) {
	signer, err := benchSigner(n)
	if err != nil {
		return nil, err
	}
	c := &headerChain{
		signer: signer, rng: rand.New(rand.NewPCG(9, uint64(n))),
		beacon: sha256.Sum256([]byte("beacon")), began: time.Now().Add(-240 * time.Hour).UnixNano(),
	}
	g := lightchain.Genesis{}
	binary.BigEndian.PutUint64(g.Nonce[:], uint64(n))
	clock := lightchain.Clock{State: lightchain.ClockSynchronised, Boot: 1, Uptime: 1e9}
	if c.genesis, err = lightchain.NewGenesis(g, signer.Public(), c.began, clock).Sign(signer); err != nil {
		return nil, err
	}
	c.tip, err = lightchain.Begin(c.genesis)
	return c, err
}

// leap puts the tip where so many headers had come before it, whatever they were: a long history takes more hashing.
func (c *headerChain) leap(headers uint64) (err error) {
	c.tip.Height = headers - 1
	c.tip.History, err = lightchain.NewCompactRange(headers, make([]lightchain.Hash, bits.OnesCount64(headers)))
	return err
}

// next returns the next header; the tip moves by taking it.
func (c *headerChain) next() *lightchain.Header {
	minutes := int64(c.tip.Height) * 60e9
	late := int64(c.rng.ExpFloat64() * 1e6)
	var root lightchain.Hash
	for i := 0; i < len(root); i += 8 {
		binary.BigEndian.PutUint64(root[i:], c.rng.Uint64())
	}
	h := c.tip.Header(root, 600+c.rng.Uint64N(20), c.began+minutes+late,
		lightchain.Clock{State: lightchain.ClockSynchronised, Boot: 1, Uptime: uint64(12e9+minutes+late) + c.rng.Uint64N(2000)})
	h.Beacon = &c.beacon
	return h
}

// seal signs the next header.
func (c *headerChain) seal() (*lightchain.SignedHeader, error) {
	s, err := c.next().Sign(c.signer)
	if err != nil {
		return nil, err
	}
	return s, c.tip.Extend(&s.Header, s.Hash(), nil)
}

// run returns the next n headers as they travel, of which the last alone is signed.
func (c *headerChain) run(n int) ([]byte, error) {
	r := new(lightchain.Run)
	var encoded []byte
	for range n - 1 {
		h := c.next()
		var err error
		if encoded, err = h.Append(encoded[:0]); err != nil {
			return nil, err
		}
		r.Add(h, nil)
		if err := c.tip.Extend(h, lightchain.LeafHash(encoded), nil); err != nil {
			return nil, err
		}
	}
	last, err := c.seal()
	if err != nil {
		return nil, err
	}
	r.Add(&last.Header, &last.HeaderSignature)
	return r.Append(nil)
}
