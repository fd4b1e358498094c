package lightchain_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"

	"edgechain.example/lightchain"
)

func exampleSigner() (lightchain.Signer, error) {
	return lightchain.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
}

// The same block as a bundle.
func exampleBundle() (bundle []byte, trust *lightchain.Trust, err error) {
	proof, trust, err := exampleProof()
	if err != nil {
		return nil, nil, err
	}
	p, err := lightchain.DecodeProof(proof)
	if err != nil {
		return nil, nil, err
	}
	if bundle, err = lightchain.AppendBundleStart(nil, p.Keys, []lightchain.Hash{p.Header.Header.Previous}); err != nil {
		return nil, nil, err
	}
	bundle = lightchain.AppendBundleBlock(bundle, p.Header.Bytes())
	bundle = lightchain.AppendBundleEntry(bundle, p.Entry)
	bundle, err = lightchain.AppendBundleEnd(bundle, p.Header, nil)
	return bundle, trust, err
}

// A chain of one block, and the proof of its one entry, as a gateway without an aggregator makes it.
func exampleProof() (proof []byte, trust *lightchain.Trust, err error) {
	signer, err := exampleSigner()
	if err != nil {
		return nil, nil, err
	}
	genesis, err := lightchain.NewGenesis(lightchain.Genesis{}, signer.Public(), 1700000000e9, lightchain.Clock{}).Sign(signer)
	if err != nil {
		return nil, nil, err
	}
	tip, err := lightchain.Begin(genesis)
	if err != nil {
		return nil, nil, err
	}
	entry, err := (&lightchain.Entry{Source: "mqtt:plant:line1/press-07", Payload: []byte(`{"temperature":20.5}`)}).Append(nil)
	if err != nil {
		return nil, nil, err
	}
	header, err := tip.Header(lightchain.LeafHash(entry), 1, 1700000060e9, lightchain.Clock{}).Sign(signer)
	if err != nil {
		return nil, nil, err
	}
	p := lightchain.Proof{Entry: entry, EntryPath: lightchain.Path{Size: 1}, Header: header, Keys: []*lightchain.SignedHeader{genesis}}
	proof, err = p.Append(nil)
	return proof, &lightchain.Trust{Chains: []lightchain.ChainID{tip.Chain}}, err
}

// What a proof shows, to somebody who trusts the chain that it belongs to.
func ExampleVerify() {
	proof, trust, err := exampleProof()
	if err != nil {
		fmt.Println(err)
		return
	}
	report, err := lightchain.Verify(proof, trust)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("entry %d, from %s: %s\n", report.Number, report.Entry.Source, report.Entry.Payload)
	fmt.Println("aggregators that countersigned it:", len(report.ReceiptedBy))
	// Output:
	// entry 0, from mqtt:plant:line1/press-07: {"temperature":20.5}
	// aggregators that countersigned it: 0
}

// The first check that fails has a name, on which a caller may branch.
func ExampleCheckError() {
	proof, trust, err := exampleProof()
	if err != nil {
		fmt.Println(err)
		return
	}
	proof = bytes.Replace(proof, []byte("20.5"), []byte("95.0"), 1)
	_, err = lightchain.Verify(proof, trust)
	var failed *lightchain.CheckError
	if errors.As(err, &failed) {
		fmt.Println(failed.Check)
	}
	// Output: entry
}

// Whoever cares for one check alone asks for it by name.
func ExampleCheck() {
	proof, _, err := exampleProof()
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = lightchain.Verify(proof, new(lightchain.Trust))
	fmt.Println(errors.Is(err, lightchain.CheckChain), errors.Is(err, lightchain.CheckEntry))
	// Output: true false
}

// A bundle is read item by item, here from memory.
func ExampleBundleVerifier() {
	bundle, trust, err := exampleBundle()
	if err != nil {
		fmt.Println(err)
		return
	}
	v := lightchain.NewBundleVerifier(trust)
	for len(bundle) > 0 {
		start, end, err := lightchain.BundleItem(bundle)
		if err == nil && end > len(bundle) {
			err = errors.New("cut short")
		}
		if err == nil {
			err = v.Add(bundle[start:end])
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		bundle = bundle[end:]
	}
	report, err := v.Report()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("entries %d to %d, none missing\n", report.First, report.Next-1)
	// Output: entries 0 to 0, none missing
}

// Two proofs that verify, each by itself, show together that the chain's key signed two histories.
func ExampleContradiction() {
	one, trust, err := exampleProof()
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := lightchain.DecodeProof(one)
	if err != nil {
		fmt.Println(err)
		return
	}
	// Whoever has the key signs another header at the height of the block.
	signer, err := exampleSigner()
	if err != nil {
		fmt.Println(err)
		return
	}
	b := *a
	other := a.Header.Header
	other.Sealed++
	if b.Header, err = other.Sign(signer); err != nil {
		fmt.Println(err)
		return
	}
	fork := lightchain.Contradiction(a.Sides(), b.Sides(), trust)
	if fork == nil {
		fmt.Println("they can be of one history")
		return
	}
	evidence, err := fork.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	report, err := lightchain.VerifyFork(evidence, trust)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("two headers at height", report.Height)
	// Output: two headers at height 1
}

// A trust file says whom a verifier believes.
func ExampleParseTrust() {
	trust, err := lightchain.ParseTrust([]byte(`
# the press hall
chain uw7ctcrfhtd74ezuifzxi46vdjvusemf4kwkfl6qb6favucvlmua
aggregator north ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU
quorum 1
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(trust.Chains), trust.Aggregators[0].Name, trust.Quorum)
	// Output: 1 north 1
}
