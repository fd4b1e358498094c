// Package keyfile keeps Ed25519 private keys at rest: it makes, reads, replaces and destroys key files, finds their
// passphrases, and reads and writes the one-line form of a public key.
//
// Each key is kept in two files, so that one bad block does not end a chain: see copy.go.
//
// It writes OpenSSH private keys, which ssh-keygen makes, shows and encrypts too, and also reads PKCS#8 PEM, which
// openssl makes. It does not decide which key is in force, nor when one is replaced: the chain does. It does not
// hide a key from whoever holds the card; a passphrase kept elsewhere does, and only while the program is not
// running.
package keyfile

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"edgechain.example/lightchain"
)

// Errors on which a caller branches. Each comes wrapped in a text that names the file and what to do.
var (
	ErrPassphraseMissing = errors.New("the key is encrypted and there is no passphrase")
	ErrPassphraseWrong   = errors.New("the passphrase does not open the key")

	// ErrNotEncrypted means that a passphrase is configured for a key that stands in the clear: whoever set the
	// passphrase believes the key protected, so it is not used in silence.
	ErrNotEncrypted = errors.New("a passphrase is configured but the key is not encrypted")

	// ErrExposed means that others than the key's owner may read or change the file.
	ErrExposed = errors.New("the file is open to others")
)

// maxKeyFile is far above any Ed25519 key, and above a 16,384-bit RSA key, so that one of those is refused by name.
const maxKeyFile = 64 << 10

// Options says how [Create] makes a key. The zero value makes an unencrypted one without a comment.
type Options struct {
	Passphrase Passphrase // encrypts the file, unless it is the zero value
	Comment    string     // stands in the file, and in what ssh-keygen shows of it
	Random     io.Reader  // the private key's 32 bytes; nil means crypto/rand
}

// Create makes a new key and writes it to path and to its copy, which both must not exist: then the error is
// [fs.ErrExist] and nothing has changed. When it returns without error, files and folder entries are durable. A power
// cut before leaves no file of either name, or the file at path whole and no copy, which [Mend] makes then.
func Create(path string, o Options) (lightchain.Signer, error) {
	signer, err := create(path, o)
	if err != nil {
		return nil, fmt.Errorf("making key file %s: %w", path, err)
	}
	return signer, nil
}

func create(path string, o Options) (lightchain.Signer, error) {
	if _, err := os.Lstat(CopyPath(path)); err == nil {
		return nil, fmt.Errorf("its copy %s: %w", CopyPath(path), fs.ErrExist)
	}
	var passphrase []byte
	if o.Passphrase.IsSet() {
		var err error
		if passphrase, err = o.Passphrase.Read(); err != nil {
			return nil, err
		}
	}
	random := o.Random
	if random == nil {
		random = rand.Reader
	}
	var seed [ed25519.SeedSize]byte
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", err)
	}
	key := ed25519.NewKeyFromSeed(seed[:])
	data, err := encode(key, o.Comment, passphrase)
	if err != nil {
		return nil, err
	}
	if err := writeNew(path, data); errors.Is(err, fs.ErrExist) {
		return nil, fs.ErrExist
	} else if err != nil {
		return nil, err
	}
	// The key is there, and counts. If the power fails now it has no copy.
	if err := writeNew(CopyPath(path), data); err != nil {
		return nil, fmt.Errorf("its copy: %w", err)
	}
	return lightchain.NewSigner(key)
}

// writeNew puts data into a new file at path, whole or not at all. Opening path itself with O_EXCL would refuse an
// existing file too, but a power cut could then leave half a key that nothing ever replaces.
func writeNew(path string, data []byte) error {
	// Mode 0600 and O_EXCL. A power cut may leave this name behind: beside no key, as one that was never used; or as
	// a second name of the key, on the same blocks, which destroying the key overwrites with it.
	temporary, err := writeTemporary(path, data)
	if err != nil {
		return err
	}
	err = os.Link(temporary, path) // which, unlike a rename, does not take the place of another file
	if err := errors.Join(err, os.Remove(temporary)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeTemporary puts data into a new file beside path, with a name of its own, durably.
func writeTemporary(path string, data []byte) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// LoadFile reads the private key in the one file at path: an OpenSSH private key, encrypted or not, or an unencrypted
// PKCS#8 PEM file. passphrase is looked up only if the key is encrypted.
//
// It fails with [ErrExposed] if others than the owner have any right to the file, with [ErrPassphraseMissing],
// [ErrPassphraseWrong] or [ErrNotEncrypted] if key and passphrase do not fit, with [fs.ErrNotExist], and for anything
// but one well-formed Ed25519 key.
func LoadFile(path string, passphrase Passphrase) (lightchain.Signer, error) {
	data, err := readKey(path)
	if err != nil {
		return nil, fmt.Errorf("key file %w", err)
	}
	key, err := decode(data, passphrase)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	signer, err := lightchain.NewSigner(key)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return signer, nil
}

// readKey is readPrivate for a key.
func readKey(path string) ([]byte, error) { return readPrivate(path, maxKeyFile) }

// checkFile fails where something else stands in the place of a key file.
func checkFile(path string, info os.FileInfo) error {
	switch {
	case info.IsDir():
		return isFolder(path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: %w: move it elsewhere, the key's file belongs there", path, errNotRegular)
	}
	return nil
}

// errNotRegular says that a name leads to a pipe, or a device: the first would be waited for, the second has no end.
var errNotRegular = errors.New("it is no regular file")

// readPrivate reads a regular file that nobody but its owner may read. Its errors begin with the path.
func readPrivate(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is not waited for
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, reason(err))
	}
	defer f.Close()
	// The open file is looked at, not the name, which could lead elsewhere by now.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, reason(err))
	}
	if err := checkFile(path, info); err != nil {
		return nil, err
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, reason(err))
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}

// isFolder is the error of a folder in the place of a key file.
func isFolder(path string) error {
	return fmt.Errorf("%s is a folder: move it elsewhere, the key's file belongs there", path)
}

// reason takes operation and path from an error of package os; the texts here name the path themselves.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
