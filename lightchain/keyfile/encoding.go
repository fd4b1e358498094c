package keyfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// PEM types of the two kinds of file that are read.
const (
	typeOpenSSH = "OPENSSH PRIVATE KEY"
	typePKCS8   = "PRIVATE KEY" // RFC 5958
)

// encode returns the OpenSSH file of key, encrypted if passphrase is not empty.
func encode(key ed25519.PrivateKey, comment string, passphrase []byte) ([]byte, error) {
	var block *pem.Block
	var err error
	if len(passphrase) > 0 {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, comment, passphrase)
	} else {
		block, err = ssh.MarshalPrivateKey(key, comment)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	return pem.EncodeToMemory(block), nil
}

// decode reads the one private key that data holds.
func decode(data []byte, passphrase Passphrase) (ed25519.PrivateKey, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no private key in it: an OpenSSH private key or PKCS#8 PEM is expected")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("more than one key in it")
	}
	switch block.Type {
	case typeOpenSSH, typePKCS8:
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("encrypted PKCS#8 is not read: decrypt it with `openssl pkey`, or make an OpenSSH key")
	case "RSA PRIVATE KEY":
		return nil, wrongKind("RSA")
	case "EC PRIVATE KEY":
		return nil, wrongKind("ECDSA")
	case "DSA PRIVATE KEY":
		return nil, wrongKind("DSA")
	default:
		return nil, fmt.Errorf("a PEM block %q: an OpenSSH private key or PKCS#8 PEM is expected", block.Type)
	}

	parsed, err := ssh.ParseRawPrivateKey(data)
	if missing, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		// The public half stands in the clear. Nobody shall look for the passphrase of a key that is refused anyway.
		if pub := missing.PublicKey; pub != nil && pub.Type() != ssh.KeyAlgoED25519 {
			return nil, wrongKind(pub.Type())
		}
		if parsed, err = decrypt(data, passphrase); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, fmt.Errorf("damaged, or not a private key: %w", err)
	} else if passphrase.IsSet() {
		return nil, fmt.Errorf("%w: encrypt it with `ssh-keygen -p`, or configure none", ErrNotEncrypted)
	}

	var key ed25519.PrivateKey
	switch k := parsed.(type) {
	case ed25519.PrivateKey:
		key = k
	case *ed25519.PrivateKey:
		key = *k
	case *rsa.PrivateKey:
		return nil, wrongKind("RSA")
	case *ecdsa.PrivateKey:
		return nil, wrongKind("ECDSA")
	default:
		return nil, wrongKind(fmt.Sprintf("%T", parsed))
	}
	// An OpenSSH file holds the public half a second time, and the parser takes both as they stand. Signing under a
	// public half that is not the seed's own would give the private key away with the second signature.
	if !bytes.Equal(key, ed25519.NewKeyFromSeed(key.Seed())) {
		return nil, errors.New("damaged: its public half does not belong to its private half")
	}
	return key, nil
}

func decrypt(data []byte, source Passphrase) (any, error) {
	if !source.IsSet() {
		return nil, fmt.Errorf("%w: configure one as %s", ErrPassphraseMissing, passphraseForms)
	}
	passphrase, err := source.Read()
	if err != nil {
		return nil, err
	}
	parsed, err := ssh.ParseRawPrivateKeyWithPassphrase(data, passphrase)
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, fmt.Errorf("%w: the one from %s is wrong, or the file is damaged", ErrPassphraseWrong, source)
	}
	if err != nil {
		return nil, fmt.Errorf("damaged, or not a private key: %w", err)
	}
	return parsed, nil
}

func wrongKind(kind string) error {
	return fmt.Errorf("a key of kind %s: an Ed25519 key is expected, as `ssh-keygen -t ed25519` makes", kind)
}
