package keyfile

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"edgechain.example/build/testenv"
)

// run runs a program that the test cannot do without, and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(testenv.Program(t, name), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return strings.TrimSpace(string(out))
}

func TestKeysOfSSHKeygenLoad(t *testing.T) {
	dir := t.TempDir()
	for name, passphrase := range map[string]string{"clear": "", "encrypted": "correct horse"} {
		path := filepath.Join(dir, name)
		run(t, "ssh-keygen", "-q", "-t", "ed25519", "-C", "a comment", "-N", passphrase, "-f", path)
		var p Passphrase
		if passphrase != "" {
			p = inEnv(passphrase + "\n")
		}
		s, err := Load(path, p)
		if err != nil {
			t.Fatal(err)
		}
		signs(t, s)
		line, err := os.ReadFile(path + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		k, comment, err := ParsePublicKey(string(line))
		if err != nil || k != s.Public() || comment != "a comment" {
			t.Errorf("%s.pub: %v, %q, %v; the private key has %v", name, k, comment, err, s.Public())
		}
	}
	rsa := filepath.Join(dir, "rsa")
	run(t, "ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa)
	if _, err := Load(rsa, Passphrase{}); err == nil || !strings.Contains(err.Error(), "RSA") {
		t.Errorf("an RSA key: %v", err)
	}
}

func TestSSHKeygenReadsOurKeys(t *testing.T) {
	dir := t.TempDir()
	for name, passphrase := range map[string]string{"clear": "", "encrypted": "correct horse"} {
		path := filepath.Join(dir, name)
		o := Options{Comment: "gw-07"}
		if passphrase != "" {
			o.Passphrase = inEnv(passphrase)
		}
		s, err := Create(path, o)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := run(t, "ssh-keygen", "-y", "-P", passphrase, "-f", path), FormatPublicKey(s.Public(), "gw-07"); got != want {
			t.Errorf("%s: ssh-keygen shows %q, want %q", name, got, want)
		}
	}
	// As operation has it: a key that stood in the clear is given a passphrase.
	path := filepath.Join(dir, "clear")
	run(t, "ssh-keygen", "-q", "-p", "-P", "", "-N", "later", "-f", path)
	s, err := Load(path, inEnv("later"))
	if err != nil {
		t.Fatal(err)
	}
	signs(t, s)
}

func TestKeysOfOpenSSLLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	run(t, "openssl", "genpkey", "-algorithm", "ed25519", "-out", path)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Load(path, Passphrase{})
	if err != nil {
		t.Fatal(err)
	}
	signs(t, s)

	locked := filepath.Join(t.TempDir(), "locked.pem")
	run(t, "openssl", "pkey", "-in", path, "-aes256", "-passout", "pass:x", "-out", locked)
	if err := os.Chmod(locked, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(locked, inEnv("x")); err == nil || !strings.Contains(err.Error(), "openssl pkey") {
		t.Errorf("encrypted PKCS#8: %v", err)
	}
}
