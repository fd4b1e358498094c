package keyfile

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"

	"edgechain.example/lightchain"
)

// FormatPublicKey returns the one-line form of k, as OpenSSH writes it into *.pub files and without a line break:
// "ssh-ed25519 <base64>", and the comment where there is one. A comment that would break the line (a control
// character) is left out.
func FormatPublicKey(k lightchain.PublicKey, comment string) string {
	blob := ssh.Marshal(struct {
		Kind string
		Key  []byte
	}{ssh.KeyAlgoED25519, k[:]})
	line := ssh.KeyAlgoED25519 + " " + base64.StdEncoding.EncodeToString(blob)
	if comment != "" && !strings.ContainsFunc(comment, unicode.IsControl) {
		line += " " + comment
	}
	return line
}

// ParsePublicKey reads the one-line form of an Ed25519 public key, "ssh-ed25519 <base64>" and perhaps a comment, and
// refuses weak keys with [lightchain.ErrWeakKey].
func ParsePublicKey(line string) (k lightchain.PublicKey, comment string, err error) {
	kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if kind != ssh.KeyAlgoED25519 {
		if kind == "-----BEGIN" { // never repeat a private key
			return k, "", errors.New("public key: a PEM file; the line of its *.pub file is expected: ssh-ed25519 <base64>")
		}
		return k, "", fmt.Errorf("public key of kind %.40q: ssh-ed25519 <base64> is expected", kind)
	}
	text, comment, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	comment = strings.TrimSpace(comment)
	if strings.ContainsFunc(comment, unicode.IsControl) {
		return k, "", errors.New("public key: more than one line")
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return k, "", errors.New("public key: what follows ssh-ed25519 is not base64")
	}
	parsed, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return k, "", fmt.Errorf("public key: %w", err)
	}
	holder, ok := parsed.(ssh.CryptoPublicKey)
	if !ok || parsed.Type() != ssh.KeyAlgoED25519 || !bytes.Equal(parsed.Marshal(), blob) {
		return k, "", fmt.Errorf("public key: the line says ssh-ed25519, its base64 %.40q", parsed.Type())
	}
	public, ok := holder.CryptoPublicKey().(ed25519.PublicKey)
	if !ok || len(public) != len(k) {
		return k, "", fmt.Errorf("public key: %d bytes are expected", len(k))
	}
	copy(k[:], public)
	if err := k.Check(); err != nil {
		return lightchain.PublicKey{}, "", fmt.Errorf("public key: %w", err)
	}
	return k, comment, nil
}

// ReadPublicKey returns the public half of the private key in the file at path. In an OpenSSH file it stands in the
// clear, so no passphrase is needed. It fails like [LoadFile] for everything else.
func ReadPublicKey(path string) (k lightchain.PublicKey, err error) {
	data, err := readKey(path)
	if err != nil {
		return k, fmt.Errorf("key file %w", err)
	}
	_, err = ssh.ParseRawPrivateKey(data)
	if missing, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok && missing.PublicKey != nil {
		k, _, err = ParsePublicKey(string(ssh.MarshalAuthorizedKey(missing.PublicKey)))
		if err != nil {
			return k, fmt.Errorf("key file %s: %w", path, err)
		}
		return k, nil
	}
	signer, err := LoadFile(path, Passphrase{})
	if err != nil {
		return k, err
	}
	return signer.Public(), nil
}
