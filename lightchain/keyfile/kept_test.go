package keyfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
)

// What is put back takes the place of nothing and of rubble, and of no key that somebody may have put there.
func TestAKeyIsPutBackOverNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	signer, err := Create(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := Keep(path, signer.Public())
	if err != nil || !kept.Holds(signer.Public()) {
		t.Fatal(err)
	}
	otherPath := filepath.Join(t.TempDir(), "key")
	other, err := Create(otherPath, Options{})
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := os.ReadFile(otherPath)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strangeKey, err := ssh.MarshalPrivateKey(strange, "")
	if err != nil {
		t.Fatal(err)
	}
	strangeEncrypted, err := ssh.MarshalPrivateKeyWithPassphrase(strange, "", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		stands []byte
		back   bool
	}{
		{"rubble", []byte("rubble"), true},
		{"a key that is cut off", own[:100], true},
		{"nothing", []byte{}, true},
		{"zeros", make([]byte, len(own)), true},
		{"another chain's key", otherKey, false},
		{"a key of another kind", pem.EncodeToMemory(strangeKey), false},
		{"an encrypted one of another kind", pem.EncodeToMemory(strangeEncrypted), false},
		{"an encrypted PKCS #8 key", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), false},
	} {
		for _, file := range Files(path) {
			if err := os.WriteFile(file, c.stands, 0o600); err != nil {
				t.Fatal(err)
			}
			made, err := kept.PutBack(path)
			now, readErr := os.ReadFile(file)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if c.back && (err != nil || len(made) != 1 || made[0] != file || !bytes.Equal(now, own)) || !c.back && (err == nil || len(made) > 0 || !bytes.Equal(now, c.stands)) {
				t.Errorf("%s: made %v, %v", c.what, made, err)
			}
			if err := os.WriteFile(file, own, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := Keep(path, other.Public()); err == nil {
		t.Error("another key is kept")
	}
	kept.Forget()
	if kept.Holds(signer.Public()) {
		t.Error("it is not forgotten")
	}
}
