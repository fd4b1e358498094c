package headersync

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"edgechain.example/lightchain"
)

// testSigner returns the key that a name stands for, always the same.
func testSigner(name string) lightchain.Signer {
	seed := sha256.Sum256([]byte("edgechain test key " + name))
	s, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return s
}

type nodeAt struct {
	level int
	index uint64
}

// memChain is a gateway's real chain, in memory instead of on a card: what was put into it is durable at once.
type memChain struct {
	signer      lightchain.Signer
	tip         *lightchain.Tip
	headers     map[uint64]*lightchain.SignedHeader // a zero signature: held without one
	nodes       map[nodeAt]lightchain.Hash
	keys        []uint64
	receipts    map[string]map[uint64]lightchain.Receipt
	rotations   int
	unconfirmed bool
	heard       func(height uint64, hash lightchain.Hash) // told of each header that is signed
}

const testTime = 1_800_000_000

func newMemChain(nonce uint64) *memChain {
	c := &memChain{
		signer: testSigner(fmt.Sprint("gateway ", nonce)), headers: map[uint64]*lightchain.SignedHeader{},
		nodes: map[nodeAt]lightchain.Hash{}, receipts: map[string]map[uint64]lightchain.Receipt{},
	}
	g := lightchain.Genesis{}
	binary.BigEndian.PutUint64(g.Nonce[:], nonce)
	genesis, err := lightchain.NewGenesis(g, c.signer.Public(), testTime*1e9, lightchain.Clock{}).Sign(c.signer)
	if err != nil {
		panic(err)
	}
	if c.tip, err = lightchain.Begin(genesis); err != nil {
		panic(err)
	}
	c.headers[0], c.keys, c.nodes[nodeAt{}] = genesis, []uint64{0}, genesis.Hash()
	return c
}

func (c *memChain) node(level int, index uint64, h lightchain.Hash) {
	c.nodes[nodeAt{level, index}] = h
}

// seal adds a block; next, if not nil, is the key from then on.
func (c *memChain) seal(entries uint64, sealed int64, next lightchain.Signer) *lightchain.SignedHeader {
	root := lightchain.EmptyRoot()
	if entries > 0 {
		root = sha256.Sum256(fmt.Append(nil, c.tip.Height, sealed, entries, c.signer.Public()))
	}
	h := c.tip.Header(root, entries, sealed, lightchain.Clock{State: lightchain.ClockSynchronised, Boot: 1, Uptime: uint64(sealed - testTime*1e9 + 1e9)})
	if next != nil {
		key := next.Public()
		h.NextKey = &key
	}
	s, err := h.Sign(c.signer)
	if err != nil {
		panic(err)
	}
	if err := c.tip.Extend(h, s.Hash(), c.node); err != nil {
		panic(err)
	}
	c.headers[h.Height] = s
	if next != nil {
		c.signer, c.keys = next, append(c.keys, h.Height)
	}
	if c.heard != nil {
		c.heard(h.Height, s.Hash())
	}
	return s
}

// image returns a copy of the card.
func (c *memChain) image() *memChain {
	i := *c
	i.tip, i.headers, i.nodes, i.keys = c.tip.Clone(), maps.Clone(c.headers), maps.Clone(c.nodes), slices.Clone(c.keys)
	i.receipts = map[string]map[uint64]lightchain.Receipt{}
	for name, r := range c.receipts {
		i.receipts[name] = maps.Clone(r)
	}
	return &i
}

func (c *memChain) Head() (*lightchain.Tip, *lightchain.SignedHeader, error) {
	return c.tip.Clone(), c.headers[c.tip.Height], nil
}

func (c *memChain) Header(height uint64) (*lightchain.Header, *lightchain.HeaderSignature, error) {
	s := c.headers[height]
	if s == nil {
		return nil, nil, fmt.Errorf("header %d: %w", height, ErrUnavailable)
	}
	h, sig := s.Header, s.HeaderSignature
	if sig == (lightchain.HeaderSignature{}) {
		return &h, nil, nil
	}
	return &h, &sig, nil
}

func (c *memChain) Node(level int, index uint64) (lightchain.Hash, error) {
	h, ok := c.nodes[nodeAt{level, index}]
	if !ok {
		return h, fmt.Errorf("node %d/%d: %w", level, index, ErrUnavailable)
	}
	return h, nil
}

func (c *memChain) KeyHeights(to uint64) ([]uint64, error) {
	n := len(c.keys)
	for n > 0 && c.keys[n-1] >= to {
		n--
	}
	return c.keys[:n:n], nil
}

func (c *memChain) NewestReceipt(name string) (newest uint64, found bool, _ error) {
	for height := range c.receipts[name] {
		newest, found = max(newest, height), true
	}
	return newest, found, nil
}

func (c *memChain) Countersigned(name string) (uint64, bool, error) { return c.NewestReceipt(name) }

func (c *memChain) HasReceipt(height uint64, name string) (bool, error) {
	_, ok := c.receipts[name][height]
	return ok, nil
}

func (c *memChain) PutReceipt(height uint64, r lightchain.Receipt) error {
	if c.receipts[r.Name] == nil {
		c.receipts[r.Name] = map[uint64]lightchain.Receipt{}
	}
	c.receipts[r.Name][height] = r
	return nil
}

func (c *memChain) RestoreRun(run *lightchain.Run) error {
	tip := c.tip.Clone()
	_, err := tip.Follow(run, func(d lightchain.Derived) error {
		sig := lightchain.HeaderSignature{}
		if d.Signature != nil {
			sig = *d.Signature
		}
		s, err := lightchain.NewSignedHeader(*d.Header, sig)
		if err != nil {
			return err
		}
		c.headers[d.Header.Height] = s
		if d.Header.NextKey != nil {
			c.keys = append(c.keys, d.Header.Height)
		}
		return c.tip.Extend(&s.Header, d.Hash, c.node)
	})
	return err
}

func (c *memChain) RestoreHead(tip *lightchain.Tip, copied *SparseCopy, _ []*lightchain.SignedHeader) error {
	c.tip, c.headers[tip.Height] = tip.Clone(), copied.Head
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

func (c *memChain) SealedUnconfirmed() (bool, error) { return c.unconfirmed, nil }

// memStore is an aggregator's store; states go through their encoding, as they would on disk.
type memStore struct {
	sync.Mutex
	states  map[lightchain.ChainID][]byte
	headers map[lightchain.ChainID]map[uint64]Held
	writes  int
}

func newMemStore() *memStore {
	return &memStore{states: map[lightchain.ChainID][]byte{}, headers: map[lightchain.ChainID]map[uint64]Held{}}
}

func (m *memStore) load(chain lightchain.ChainID) (*State, error) {
	b, ok := m.states[chain]
	if !ok {
		return nil, nil
	}
	return DecodeState(b)
}

func (m *memStore) Load(_ context.Context, chain lightchain.ChainID) (*State, error) {
	m.Lock()
	defer m.Unlock()
	return m.load(chain)
}

func (m *memStore) Update(_ context.Context, chain lightchain.ChainID, f func(*State, func(Held) error) error) error {
	m.Lock()
	s, err := m.load(chain)
	m.Unlock()
	if err != nil {
		return err
	}
	if s == nil {
		s = &State{Chain: chain}
	}
	var put []Held
	err = f(s, func(h Held) error { put = append(put, h); return nil })
	if err == ErrUnchanged {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := s.Encode()
	if err != nil {
		return err
	}
	m.Lock()
	defer m.Unlock()
	m.states[chain] = b
	m.writes++
	if m.headers[chain] == nil {
		m.headers[chain] = map[uint64]Held{}
	}
	for _, h := range put {
		m.headers[chain][h.Height] = h
	}
	return nil
}

func (m *memStore) Headers(_ context.Context, chain lightchain.ChainID, from, to uint64, visit func(Held) error) error {
	m.Lock()
	held := m.headers[chain]
	m.Unlock()
	for height := from; height <= to; height++ {
		if h, ok := held[height]; ok {
			if err := visit(h); err != nil {
				return err
			}
		}
	}
	return nil
}
