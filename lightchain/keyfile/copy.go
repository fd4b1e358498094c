package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"edgechain.example/lightchain"
)

// A key stands in two files, byte for byte the same: the one that the configuration names, and a copy beside it. They
// are made together and destroyed together, so the copy gives nothing away that the first does not; but a bad block, a
// slip of the hand or a power cut on a poor card takes one of them, and a chain whose key is lost is at its end.

// CopyPath returns where the second copy of the key at path is.
func CopyPath(path string) string { return path + ".copy" }

// Files returns the paths of the two files of the key at path, the one that counts first.
func Files(path string) []string { return []string{path, CopyPath(path)} }

// Readable returns which of the two files of the key at path to take along where one is enough: the first, unless that
// cannot be read and the copy can.
func Readable(path string) string {
	if _, err := ReadPublicKey(path); err != nil {
		if _, err := ReadPublicKey(CopyPath(path)); err == nil {
			return CopyPath(path)
		}
	}
	return path
}

// Load reads the private key at path, like [LoadFile], or where that file cannot be read, its copy. A file that is open
// to others is not passed over: what stands in the copy has been open, too. If neither can be read, the error is the
// first file's, and that it does not exist only if neither does.
func Load(path string, passphrase Passphrase) (lightchain.Signer, error) {
	signer, err := LoadFile(path, passphrase)
	if err == nil || errors.Is(err, ErrExposed) {
		return signer, err
	}
	second, secondErr := LoadFile(CopyPath(path), passphrase)
	switch {
	case secondErr == nil:
		return second, nil
	case errors.Is(secondErr, ErrExposed), errors.Is(err, fs.ErrNotExist):
		return nil, secondErr
	}
	return nil, err
}

// Mend makes the two files of the key at path the same: from the first where that can be read, else from the copy. It
// returns which file was made anew, "" if none. Where both can be read and hold different keys the first one counts, so
// whoever calls it must know that this is the one in force.
//
// What was in the place of the file made anew is destroyed as [Replace] does it. A power cut leaves that or the new one.
func Mend(path string, passphrase Passphrase) (mended string, err error) {
	good, bad := path, CopyPath(path)
	first, firstErr := readKey(good)
	second, secondErr := readKey(bad)
	if firstErr == nil && secondErr == nil && bytes.Equal(first, second) {
		_, err := ReadPublicKey(path) // both may be zeros
		return "", err
	}
	if errors.Is(firstErr, ErrExposed) || errors.Is(secondErr, ErrExposed) {
		return "", fmt.Errorf("key file %w", errors.Join(firstErr, secondErr))
	}
	if _, err := LoadFile(good, passphrase); err != nil {
		if _, secondErr := LoadFile(bad, passphrase); secondErr != nil {
			return "", err
		}
		good, bad, first = bad, good, second
	}
	if err := putFile(bad, first); err != nil {
		return "", fmt.Errorf("making key file %s anew from %s: %w", bad, good, err)
	}
	return bad, nil
}
