package keyfile

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"edgechain.example/lightchain"
)

func publicOf(t *testing.T, b byte) lightchain.PublicKey {
	t.Helper()
	var seed [ed25519.SeedSize]byte
	seed[0] = b
	s, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	return s.Public()
}

func TestPublicKeyLineReadsBack(t *testing.T) {
	k := publicOf(t, 1)
	for _, comment := range []string{"", "gw-07", "two words"} {
		line := FormatPublicKey(k, comment)
		for _, l := range []string{line, line + "\n", "  " + line + " ", strings.Replace(line, " ", "  ", 1)} {
			got, c, err := ParsePublicKey(l)
			if err != nil || got != k || c != comment {
				t.Errorf("%q: %v, %q, %v", l, got, c, err)
			}
		}
	}
	if line := FormatPublicKey(k, "a\nssh-ed25519 x"); strings.Contains(line, "\n") {
		t.Errorf("a comment broke the line: %q", line)
	}
}

func TestPublicKeyLineIsReadStrictly(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := ssh.NewPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	rsaLine := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(rsaKey)))
	good := FormatPublicKey(publicOf(t, 1), "")
	blob, _ := base64.StdEncoding.DecodeString(strings.Fields(good)[1])
	line := func(b []byte) string { return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(b) }
	for name, l := range map[string]string{
		"nothing":                "",
		"no key":                 "ssh-ed25519",
		"another kind":           rsaLine,
		"another kind inside":    "ssh-ed25519 " + strings.Fields(rsaLine)[1],
		"options before it":      `no-pty ` + good,
		"not base64":             "ssh-ed25519 ???",
		"cut short":              good[:len(good)-4],
		"a byte too many":        line(append(blob[:len(blob):len(blob)], 0)),
		"two lines":              good + " x\n" + good,
		"a line break in base64": good[:30] + "\n" + good[30:],
		"a private key":          "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret",
	} {
		if k, _, err := ParsePublicKey(l); err == nil {
			t.Errorf("%s: read as %v", name, k)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range len(blob) {
		if _, _, err := ParsePublicKey(line(blob[:n])); err == nil {
			t.Errorf("the first %d of %d bytes were taken for a key", n, len(blob))
		}
	}
}

func TestWeakPublicKeyIsRefused(t *testing.T) {
	for _, text := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000", // the identity
		"0000000000000000000000000000000000000000000000000000000000000000", // order 4
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // the identity, not canonical
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
	} {
		var k lightchain.PublicKey
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		copy(k[:], b)
		if _, _, err := ParsePublicKey(FormatPublicKey(k, "")); !errors.Is(err, lightchain.ErrWeakKey) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestPublicHalfIsReadWithoutThePassphrase(t *testing.T) {
	t.Setenv("KEYFILE_TEST_PASSPHRASE", "correct horse")
	passphrase, err := ParsePassphrase("env:KEYFILE_TEST_PASSPHRASE")
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{"clear": {}, "encrypted": {Passphrase: passphrase}} {
		path := filepath.Join(t.TempDir(), name)
		signer, err := Create(path, o)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := ReadPublicKey(path); err != nil || k != signer.Public() {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	if _, err := ReadPublicKey(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
