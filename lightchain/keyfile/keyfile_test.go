package keyfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"edgechain.example/lightchain"
)

var message = []byte("what a header says")

// signs fails the test unless s signs under its own public key.
func signs(t *testing.T, s lightchain.Signer) {
	t.Helper()
	sig, err := s.Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	k := s.Public()
	if !ed25519.Verify(k[:], message, sig[:]) {
		t.Fatal("the signature does not check under the signer's own public key")
	}
}

func write(t *testing.T, name string, mode fs.FileMode, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
	return path
}

// inEnv is a passphrase in an environment of its own.
func inEnv(value string) Passphrase {
	return Passphrase{kind: "env", name: "PW"}.WithEnv(func(string) (string, bool) { return value, true })
}

func marshal(t *testing.T, key any) []byte {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func seed(b byte) *bytes.Reader { return bytes.NewReader(bytes.Repeat([]byte{b}, ed25519.SeedSize)) }

func TestCreatedKeyLoads(t *testing.T) {
	for name, passphrase := range map[string]Passphrase{"clear": {}, "encrypted": inEnv("correct horse")} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			made, err := Create(path, Options{Passphrase: passphrase, Comment: "press hall 2"})
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := Load(path, passphrase)
			if err != nil {
				t.Fatal(err)
			}
			if made.Public() != loaded.Public() {
				t.Error("the key loaded is not the key made")
			}
			signs(t, made)
			signs(t, loaded)
			names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
			if err != nil || len(names) != 2 { // it and its copy
				t.Errorf("left in the folder: %q, %v", names, err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
				t.Errorf("mode %#o", info.Mode().Perm())
			}
		})
	}
}

func TestCreateNeverTakesThePlaceOfAFile(t *testing.T) {
	path := write(t, "key", 0o600, []byte("somebody's"))
	if _, err := Create(path, Options{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want fs.ErrExist", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "somebody's" {
		t.Errorf("the file now holds %q", b)
	}
	if names, _ := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
		t.Errorf("left in the folder: %v", names)
	}
}

func TestCreateWithoutPassphraseOrRandomnessMakesNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Create(filepath.Join(dir, "a"), Options{Passphrase: inEnv("")}); !errors.Is(err, ErrPassphraseMissing) {
		t.Errorf("an empty passphrase: %v", err)
	}
	if _, err := Create(filepath.Join(dir, "b"), Options{Random: strings.NewReader("too short")}); err == nil {
		t.Error("nine random bytes made a key")
	}
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("left in the folder: %v", names)
	}
}

func TestPassphraseErrorsAreTold(t *testing.T) {
	dir := t.TempDir()
	locked, open := filepath.Join(dir, "locked"), filepath.Join(dir, "open")
	if _, err := Create(locked, Options{Passphrase: inEnv("right")}); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(open, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path       string
		passphrase Passphrase
		want       error
		says       string
	}{
		{locked, Passphrase{}, ErrPassphraseMissing, "credential:NAME"},
		{locked, inEnv(""), ErrPassphraseMissing, "env:PW is empty"},
		{locked, inEnv("wrong"), ErrPassphraseWrong, "env:PW"},
		{open, inEnv("right"), ErrNotEncrypted, "ssh-keygen -p"},
		{filepath.Join(dir, "none"), inEnv("right"), fs.ErrNotExist, "none"},
	} {
		_, err := Load(c.path, c.passphrase)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s with %v: %v, want %q with %q in it", filepath.Base(c.path), c.passphrase, err, c.want, c.says)
		}
	}
}

func TestKeyOpenToOthersIsRefusedWithTheCommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("mode bits do not say here who may read a file")
	}
	data := marshal(t, ed25519.NewKeyFromSeed(make([]byte, 32)))
	for _, mode := range []fs.FileMode{0o604, 0o640, 0o660, 0o644, 0o620, 0o601, 0o777} {
		path := write(t, "it's a key", mode, data)
		_, err := Load(path, Passphrase{})
		if !errors.Is(err, ErrExposed) {
			t.Errorf("mode %#o: %v", mode, err)
			continue
		}
		_, command, _ := strings.Cut(err.Error(), "`")
		command = strings.TrimSuffix(command, "`")
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		if _, err := Load(path, Passphrase{}); err != nil {
			t.Errorf("after %s: %v", command, err)
		}
	}
	for _, mode := range []fs.FileMode{0o400, 0o600, 0o700} {
		if _, err := Load(write(t, "key", mode, data), Passphrase{}); err != nil {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
}

func TestOtherKindsOfKeyAreRefusedByName(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(rsaKey, "", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
	}
	for _, c := range []struct {
		says string
		data []byte
	}{
		{"RSA", marshal(t, rsaKey)},
		{"RSA", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))},
		{"ssh-rsa", pem.EncodeToMemory(locked)}, // without a word about its passphrase
		{"ECDSA", marshal(t, ecKey)},
		{"ECDSA", block("PRIVATE KEY", pkcs8)},
		{"ECDSA", block("EC PRIVATE KEY", nil)},
		{"DSA", block("DSA PRIVATE KEY", nil)},
		{"encrypted PKCS#8", block("ENCRYPTED PRIVATE KEY", pkcs8)},
		{`"CERTIFICATE"`, block("CERTIFICATE", pkcs8)},
		{"no private key in it", []byte("ssh-ed25519 AAAA\n")},
		{"no private key in it", nil},
		{"larger than", bytes.Repeat([]byte("x"), maxKeyFile+1)},
	} {
		_, err := Load(write(t, "key", 0o600, c.data), Passphrase{})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %q in it", err, c.says)
		}
	}
}

func TestKeyWithForeignPublicHalfIsRefused(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	copy(key[32:], other[32:])
	if _, err := Load(write(t, "key", 0o600, marshal(t, key)), Passphrase{}); err == nil ||
		!strings.Contains(err.Error(), "public half") {
		t.Errorf("%v", err)
	}
}

func TestTwoKeysInOneFileAreRefused(t *testing.T) {
	data := marshal(t, ed25519.NewKeyFromSeed(make([]byte, 32)))
	if _, err := Load(write(t, "key", 0o600, append(data, data...)), Passphrase{}); err == nil {
		t.Error("one of two keys was taken")
	}
}

// A key cut short, in its text or in the bytes under its base64, is refused and never a panic.
func TestTruncatedKeyIsRefused(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encrypted, err := encode(key, "comment", []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"openssh":   marshal(t, key),
		"pkcs8":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		"encrypted": encrypted,
	} {
		var pw Passphrase
		if name == "encrypted" {
			pw = inEnv("pw")
		}
		if _, err := decode(data, pw); err != nil {
			t.Fatalf("%s, whole: %v", name, err)
		}
		for n := range len(bytes.TrimSpace(data)) {
			if _, err := decode(data[:n], pw); err == nil {
				t.Errorf("%s: the first %d of %d characters were taken for a key", name, n, len(data))
			}
		}
		block, _ := pem.Decode(data)
		for n := range len(block.Bytes) {
			cut := pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes[:n]})
			if _, err := decode(cut, pw); err == nil {
				t.Errorf("%s: the first %d of %d bytes were taken for a key", name, n, len(block.Bytes))
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	data, err := encode(key, "c", nil)
	if err != nil {
		f.Fatal(err)
	}
	block, _ := pem.Decode(data)
	f.Add(block.Bytes, true)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pkcs8, false)
	f.Fuzz(func(t *testing.T, b []byte, openSSH bool) {
		kind := typePKCS8
		if openSSH {
			kind = typeOpenSSH
		}
		key, err := decode(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), Passphrase{})
		if err != nil {
			return
		}
		if !ed25519.Verify(key.Public().(ed25519.PublicKey), message, ed25519.Sign(key, message)) {
			t.Error("a key was read that does not sign under its own public half")
		}
	})
}
