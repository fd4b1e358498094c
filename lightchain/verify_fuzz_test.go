package lightchain

import (
	"bytes"
	"testing"
)

// judge verifies a file of any kind, as a program does that was handed it, and returns what it says of its chain.
func judge(b []byte, t *Trust) (sides []Side, err error) {
	sides, _, err = judgeWithBlocks(b, t)
	return sides, err
}

// judgeWithBlocks returns a bundle's blocks, too.
func judgeWithBlocks(b []byte, t *Trust) (sides []Side, blocks *BundleBlocks, err error) {
	switch {
	case IsBundle(b):
		v := NewBundleVerifier(t)
		v.KeepBlocks(1 << 20)
		for len(b) > 0 {
			start, end, err := BundleItem(b)
			if err != nil || end > len(b) {
				return nil, nil, errCutShort
			}
			if err := v.Add(b[start:end]); err != nil {
				return nil, nil, err
			}
			b = b[end:]
		}
		if _, err := v.Report(); err != nil {
			return nil, nil, err
		}
		return v.Sides(), v.Blocks(), nil
	case IsFork(b):
		_, err := VerifyFork(b, t)
		return nil, nil, err
	}
	p, err := DecodeProof(b)
	if err == nil {
		_, err = p.Verify(t)
	}
	if err != nil {
		return nil, nil, err
	}
	return p.Sides(), nil, nil
}

// FuzzVerify claims that no file and no trust file makes verification panic, and that a file which verifies does not
// contradict itself.
func FuzzVerify(f *testing.F) {
	c := vectorChain(f)
	head := c.receipted(8, map[string]uint64{"north": testTime + 600, "south": testTime + 590})
	a, b := forked(f)
	add := func(encoded []byte, err error, t *Trust) {
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded, t.Format())
	}
	for height := uint64(1); height < 8; height++ {
		if len(c.blocks[height]) > 0 {
			encoded, err := c.prove(height, 0, head).Append(nil)
			add(encoded, err, c.trust(height%3, "north", "south"))
		}
	}
	add(bytes.Join(c.bundle(1, 7, head), nil), nil, c.trust(1, "north"))
	add(bytes.Join(c.bundle(5, 5), nil), nil, c.trust(0))
	for _, height := range []uint64{20, 25, 29} {
		encoded, err := forkOf(f, a, b, height).Append(nil)
		add(encoded, err, a.trust(0, "north"))
	}
	f.Fuzz(func(t *testing.T, file, trustFile []byte) {
		trust, err := ParseTrust(trustFile)
		if err != nil {
			return
		}
		if sides, err := judge(file, trust); err == nil && Contradiction(sides, sides, trust) != nil {
			t.Errorf("it verifies and contradicts itself: %x", file)
		}
	})
}

// FuzzVerifyParts puts proofs, bundles and forks together from headers that are each well signed: chance changes of bytes
// hardly ever pass the decoding, and what a forger sends always does. Each byte picks one header.
func FuzzVerifyParts(f *testing.F) {
	d := dishonest(f)
	var pool []*SignedHeader
	for _, h := range d.headers {
		height := h.Header.Height
		pool = append(pool, h, d.receipted(height, map[string]uint64{"north": testTime + 60*height}), d.receipted(height, map[string]uint64{"south": testTime}))
		if height > 0 {
			pool = append(pool, d.sign(height, "gateway 0", unchanged), d.sign(height, "gateway 1", func(h *Header) { h.First = 0 }))
		}
	}
	paths := map[uint64]Path{} // of the first entry in its block
	for height, block := range d.blocks {
		if len(block) > 0 {
			paths[uint64(height)] = d.testChain.prove(uint64(height), 0).EntryPath
		}
	}
	trust := d.trust(0, "north")
	f.Add([]byte{1, 2, 1, 1, 9, 0, 4, 7, 3, 8, 9, 9, 9})
	f.Add([]byte{0, 3, 0, 0, 40, 0, 33, 18})
	f.Add([]byte{2, 1, 1, 1, 9, 0, 20, 30})
	f.Fuzz(func(t *testing.T, picks []byte) {
		if len(picks) < 5 {
			return
		}
		next := 4
		pick := func() *SignedHeader {
			next++
			if next >= len(picks) {
				return pool[0]
			}
			return pool[int(picks[next])%len(pool)]
		}
		several := func(n byte) (all []*SignedHeader) {
			for range n % 5 {
				all = append(all, pick())
			}
			return all
		}
		later := func(n byte, block *SignedHeader) (all []LaterHeader) {
			for _, h := range several(n) {
				one := LaterHeader{Header: h}
				if height := block.Header.Height; height < h.Header.Height {
					one.Path, _ = ProveInclusion(LeafNodes(d.leaves), h.Header.Height, height)
				}
				all = append(all, one)
			}
			return all
		}
		block := pool[int(picks[4])%len(pool)]
		var encoded []byte
		var err error
		switch picks[0] % 3 {
		case 0:
			p := &Proof{Header: block, Keys: several(picks[1]), Later: later(picks[2], block), Beacon: several(picks[3])}
			if entries := d.blocks[block.Header.Height]; len(entries) > 0 {
				p.Entry, p.EntryPath = entries[0], paths[block.Header.Height]
			} else {
				p.Entry = d.blocks[1][0]
			}
			encoded, err = p.Append(nil)
		case 1:
			blocks := append(several(picks[2]), block)
			if encoded, err = AppendBundleStart(nil, several(picks[1]), d.edge(blocks[0].Header.Height)); err == nil {
				for _, h := range blocks {
					encoded = AppendBundleBlock(encoded, h.Bytes())
					for _, e := range d.blocks[h.Header.Height] {
						encoded = AppendBundleEntry(encoded, e)
					}
				}
				var end []byte
				end, err = AppendBundleEnd(nil, block, later(picks[3], block))
				encoded = append(encoded, end...)
			}
		case 2:
			other := pick()
			fork := NewFork(several(picks[1]), Side{Keys: several(picks[2]), Head: block, Leaf: block.Hash()}, Side{Keys: several(picks[3]), Head: other, Leaf: other.Hash()})
			encoded, err = fork.Append(nil)
		}
		if err != nil {
			return // such a file cannot be
		}
		if sides, err := judge(encoded, trust); err == nil && Contradiction(sides, sides, trust) != nil {
			t.Errorf("it verifies and contradicts itself: %x", encoded)
		}
	})
}
