package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"edgechain.example/lightchain"
)

// Whatever a chain went through, no honest file of it may be refused: evidence that its own maker's verifier does not take
// is worth nothing. Keys change, aggregators countersign what they like, and an old image goes on with headers, or with one
// head alone, that came back.
func TestEveryProofAndBundleOfAnHonestChainVerifies(t *testing.T) {
	names := []string{"north", "south", "west"}
	for seed := range adoptions() {
		rng := rand.New(rand.NewPCG(seed, 9))
		ahead, s := setBack(t, 200+seed, seed%2 == 0)
		trust := &lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}}
		for i, name := range names {
			trust.Aggregators = append(trust.Aggregators, lightchain.Aggregator{Name: name, Key: testSigner(t, 10+i).Public()})
		}
		var err error
		if seed%3 == 0 {
			err = s.AdoptHead(headOf(t, ahead, s))
		} else {
			err = s.Adopt(runAbove(t, ahead, s.Tip().Height))
		}
		if err != nil {
			t.Fatal(err)
		}
		now, key := uint64(1000), 3
		receipted := func() {
			who, height := rng.IntN(len(names)), s.Tip().Height
			if rng.IntN(3) == 0 {
				height = rng.Uint64N(height + 1)
			}
			h, err := s.Header(height)
			if errors.Is(err, ErrNotHeld) || errors.Is(err, ErrUnsigned) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			now++
			r, err := h.Countersign(testSigner(t, 10+who), names[who], now)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.PutReceipt(height, r, func() uint64 { return 0 }); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 60 + rng.IntN(90) {
			if size := rng.IntN(4); size > 0 {
				stage(t, s, testEntries(9000+4*n, size))
			}
			if rng.IntN(12) == 0 {
				if _, err := s.Seal(SealParams{NextSigner: testSigner(t, 30+key)}); err != nil {
					t.Fatal(err)
				}
				key++
			} else {
				seal(t, s)
			}
			for range rng.IntN(3) {
				receipted()
			}
		}
		proofs, bundles, step, tries := 0, 0, uint64(1), 150
		if testing.Short() {
			step, tries = 7, 20
		}
		for number := uint64(0); number < s.Tip().Next; number += step {
			p, err := s.Prove(number, rng.IntN(4))
			if errors.Is(err, ErrNotHeld) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			b, err := p.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := lightchain.Verify(b, trust); err != nil {
				t.Fatalf("seed %d: the proof of entry %d of block %d: %v", seed, number, p.Header.Header.Height, err)
			}
			proofs++
		}
		for range tries {
			var b bytes.Buffer
			to := rng.Uint64N(s.Tip().Height + 1)
			from := to - min(to, rng.Uint64N(70))
			if rng.IntN(4) == 0 {
				from = rng.Uint64N(min(to, 2) + 1)
			}
			err := s.Bundle(t.Context(), &b, from, to, rng.IntN(4), nil)
			if errors.Is(err, ErrUnsigned) {
				if n, err := s.HeaderAt(to); err != nil || n.Count > 0 {
					t.Fatalf("seed %d: no bundle of blocks %d to %d for want of a signature, although entries are missing: %v", seed, from, to, err)
				}
				continue
			}
			if errors.Is(err, ErrNotHeld) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := verifyBundle(b.Bytes(), trust); err != nil {
				t.Fatalf("seed %d: the bundle of blocks %d to %d: %v", seed, from, to, err)
			}
			bundles++
		}
		if proofs == 0 || bundles == 0 {
			t.Errorf("seed %d: %d proofs, %d bundles", seed, proofs, bundles)
		}
		closeStore(t, s)
		closeStore(t, ahead)
	}
}

func verifyBundle(b []byte, trust *lightchain.Trust) error {
	v := lightchain.NewBundleVerifier(trust)
	for len(b) > 0 {
		start, end, err := lightchain.BundleItem(b)
		if err == nil {
			err = v.Add(b[start:end])
		}
		if err != nil {
			return err
		}
		b = b[end:]
	}
	_, err := v.Report()
	return err
}
