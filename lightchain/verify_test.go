package lightchain

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/veraison/go-cose"
)

// SPEC: what is free to change are receipts that are ignored, and evidence from outside.
func TestNoBitOfAProofIsFreeToChange(t *testing.T) {
	c := vectorChain(t)
	p := c.prove(6, 2, c.receipted(8, map[string]uint64{"north": testTime + 600, "south": testTime + 590}))
	b, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	trust := c.trust(2, "north", "south") // with a quorum of 1, a renamed receipt would be a stranger's and do no harm
	if _, err := Verify(b, trust); err != nil {
		t.Fatal(err)
	}
	step := 1
	if testing.Short() {
		step = 61 // emulated, each try takes milliseconds
	}
	for i := 0; i < len(b); i += step {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := Verify(b, trust); err == nil {
				t.Errorf("bit %d of byte %d may change", bit, i)
			}
			b[i] ^= 1 << bit
		}
	}
	for n := 0; n < len(b); n += step {
		if _, err := Verify(b[:n], trust); err == nil {
			t.Errorf("the first %d bytes verify by themselves", n)
		}
	}
}

func TestEveryEntryOfAChainIsProved(t *testing.T) {
	c := vectorChain(t)
	trust := c.trust(1, "north")
	head := c.receipted(c.tip.Height, map[string]uint64{"north": testTime + 3600})
	for height, block := range c.blocks {
		for index := range block {
			var later []*SignedHeader
			p := c.prove(uint64(height), uint64(index))
			if uint64(height) < c.tip.Height {
				later = append(later, head)
				p = c.prove(uint64(height), uint64(index), later...)
			} else {
				p.Header = head
			}
			report, err := p.Verify(trust)
			if err != nil {
				t.Fatalf("entry %d of block %d: %v", index, height, err)
			}
			if want := c.headers[height].Header.First + uint64(index); report.Number != want {
				t.Errorf("entry %d of block %d is number %d, want %d", index, height, report.Number, want)
			}
		}
	}
}

// What is signed here is read by others: go-cose knows nothing of this package.
func TestAnotherCOSELibraryChecksOurSignatures(t *testing.T) {
	c := newTestChain(t)
	head := c.receipted(0, map[string]uint64{"north": testTime})
	encoded, err := head.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var message cose.Sign1Message
	if err := message.UnmarshalCBOR(encoded); err != nil {
		t.Fatal(err)
	}
	key := c.signer.Public()
	verifier, err := cose.NewVerifier(cose.AlgorithmEdDSA, ed25519.PublicKey(key[:]))
	if err != nil {
		t.Fatal(err)
	}
	if err := message.Verify(nil, verifier); err != nil {
		t.Errorf("header: %v", err)
	}
	// RFC 9943: a Signed Statement names its key and, as claims, issuer and subject.
	id, chain := key.KeyID(), c.tip.Chain.String()
	if kid, ok := message.Headers.Protected[cose.HeaderLabelKeyID].([]byte); !ok || !bytes.Equal(kid, id[:]) {
		t.Errorf("kid %x", message.Headers.Protected[cose.HeaderLabelKeyID])
	}
	claims, _ := message.Headers.Protected[int64(labelClaims)].(map[any]any)
	if claims[int64(claimIssuer)] != chain || claims[int64(claimSubject)] != chain+"/0" || len(claims) != 2 {
		t.Errorf("claims %v", claims)
	}
	receipt := head.Receipts[0].mustEncode()
	var countersignature cose.Countersignature
	if err := countersignature.UnmarshalCBOR(receipt); err != nil {
		t.Fatal(err)
	}
	north := testSigner("north").Public()
	verifier, err = cose.NewVerifier(cose.AlgorithmEdDSA, ed25519.PublicKey(north[:]))
	if err != nil {
		t.Fatal(err)
	}
	if err := countersignature.Verify(verifier, &message, nil); err != nil {
		t.Errorf("receipt: %v", err)
	}
}

func TestPEMIsProofToo(t *testing.T) {
	c := newTestChain(t)
	c.seal(3, nil)
	b, err := c.prove(1, 1).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := EncodeText(b)
	for _, spelling := range [][]byte{text, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))} {
		if _, err := Verify(spelling, c.trust(0)); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkVerifyProof(b *testing.B) {
	c := newTestChain(b)
	c.seal(4096, nil)
	proof, err := c.prove(1, 77).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	trust := c.trust(0)
	for b.Loop() {
		if _, err := Verify(proof, trust); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendEntry(b *testing.B) {
	e := testEntry(0)
	buffer := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buffer, err = e.Append(buffer[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEntry(b *testing.B) {
	encoded, err := testEntry(0).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEntry(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
