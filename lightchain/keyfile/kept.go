package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/crypto/ssh"

	"edgechain.example/lightchain"
)

// Kept is a key file as it stood, encrypted or not, in memory: whoever runs with a key for years can put its files back. Its
// zero value is none.
type Kept struct {
	public lightchain.PublicKey
	data   []byte
}

// Keep reads the file at path, or its copy, if that holds the key with a public half.
func Keep(path string, public lightchain.PublicKey) (Kept, error) {
	var failed error
	for _, file := range Files(path) {
		holds, err := ReadPublicKey(file)
		if err == nil && holds == public {
			data, err := readKey(file)
			return Kept{public, data}, err
		}
		failed = errors.Join(failed, err)
	}
	return Kept{}, errors.Join(errors.New("no file holds the key"), failed)
}

// Holds reports whether it is the key with a public half.
func (k *Kept) Holds(public lightchain.PublicKey) bool { return k.data != nil && k.public == public }

// Forget overwrites it.
func (k *Kept) Forget() {
	clear(k.data)
	*k = Kept{}
}

// PutBack makes those of the two files at path anew that are missing, or hold no key any more, and returns which. It writes
// over nothing else: not over another key, nor the same one in another form (its owner may just have encrypted it), a file
// that cannot be read or is open to others, a folder. Of those the error tells.
func (k *Kept) PutBack(path string) (made []string, err error) {
	for _, file := range Files(path) {
		holds, readErr := ReadPublicKey(file)
		switch {
		case readErr == nil && holds == k.public:
			continue
		case readErr == nil:
			err = errors.Join(err, fmt.Errorf("%s holds another key than the one in force: put it elsewhere", file))
			continue
		case !errors.Is(readErr, fs.ErrNotExist) && !isNoKey(file):
			err = errors.Join(err, readErr)
			continue
		}
		if writeErr := putFile(file, k.data); writeErr != nil {
			err = errors.Join(err, fmt.Errorf("putting key file %s back: %w", file, writeErr))
			continue
		}
		made = append(made, file)
	}
	return made, err
}

// isNoKey reports whether a file can be read, and nothing in it is a private key of any kind.
func isNoKey(path string) bool {
	data, err := readKey(path)
	if err != nil {
		return false
	}
	_, err = ssh.ParseRawPrivateKey(data)
	_, encrypted := errors.AsType[*ssh.PassphraseMissingError](err)
	return err != nil && !encrypted && !bytes.Contains(data, []byte("BEGIN ENCRYPTED PRIVATE KEY"))
}

// putFile puts data at path, durably and in one step, and destroys what was there.
func putFile(path string, data []byte) error {
	temporary, err := writeTemporary(path, data)
	if err != nil {
		return err
	}
	err = replace(temporary, path)
	if _, left := os.Lstat(temporary); left == nil {
		err = errors.Join(err, os.Remove(temporary))
	}
	return err
}
