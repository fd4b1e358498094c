package wire

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"edgechain.example/lightchain"
)

// What is taken for a signed message encodes back to the same bytes, whoever signed it.
func FuzzUnseal(f *testing.F) {
	const media, most = "application/vnd.edgechain.test+cbor", 1 << 10
	signer, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		f.Fatal(err)
	}
	for _, payload := range []string{"", "payload"} {
		b, err := Seal(media, signer, []byte(payload))
		if err != nil {
			f.Fatal(err)
		}
		s, err := Unseal(media, b, most)
		if err != nil || string(s.Payload) != payload || !s.Check(signer.Public()) {
			f.Fatalf("%x is not taken for what was signed: %v", b, err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Unseal(media, b, most)
		if err != nil {
			return
		}
		m := sign1{Protected: Encode(protected{algEdDSA, media, s.KeyID[:]}), Payload: s.Payload, Signature: s.signature}
		if again := append([]byte{tagSign1}, Encode(m)...); !bytes.Equal(b, again) {
			t.Errorf("accepts %x\nencodes %x", b, again)
		}
	})
}
