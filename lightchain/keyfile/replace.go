package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"edgechain.example/shellword"
)

// Changing a key takes three steps, and a power cut between any two must leave a gateway that can go on:
//
//  1. [Create] writes the next key beside the present one. Stopping here leaves a key that nothing has named:
//     [Destroy] it, or use it the next time.
//  2. The chain commits to the next key in a header signed by the present one. From here on only the next key
//     continues the chain, and it is on disk since step 1.
//  3. [Replace] puts the next key into the present one's place. Stopping before leaves both files; the chain's
//     newest header says which key is in force, and Replace is called again.

// Replace puts both files of the key next into the place of those of the key at path, and destroys what was there. When
// it returns without error, the change is durable. Interrupted at any point, each of the two files at path holds one of
// the two keys, whole, and what is left of next is whole, too: it is called again. passphrase is asked for only where
// the files of next differ.
//
// Destroying means overwriting the old file's blocks and letting them go. On a hard disk that removes the key. On
// flash it mostly does not: the card writes the zeros elsewhere and keeps the old cells until it needs them, out of
// the file system's reach, within reach of somebody who reads the chips; and a journal or a copy-on-write file system
// may hold copies of its own. What a passphrase kept off the card encrypted stays unreadable there, so a key that
// must be forgotten for certain is an encrypted one.
func Replace(next, path string, passphrase Passphrase) error {
	// A damaged successor must not take the place of a good key.
	_, err := Mend(next, passphrase)
	if err == nil {
		err = replace(next, path)
	}
	// The new key counts already. If the power fails now its copy is still the old key's, and the new one's waits beside.
	if err == nil {
		err = replace(CopyPath(next), CopyPath(path))
	}
	if err != nil {
		return fmt.Errorf("replacing key file %s by %s: %w", path, next, err)
	}
	return nil
}

// CheckReplace tells whether [Replace] would be allowed to replace the key at path: whoever hands over to another key
// asks first, since a key that was handed over and is still there cannot be taken back.
func CheckReplace(path string) error {
	for _, file := range Files(path) {
		if info, err := os.Stat(file); err == nil {
			if err := checkFile(file, info); err != nil {
				return fmt.Errorf("key file %s could not be replaced: %w", file, err)
			}
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("key file %s could not be replaced: %w: run `chmod 600 %s`", file, reason(err), shellword.Path(file))
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	temporary, err := writeTemporary(path, nil)
	if err == nil {
		err = os.Remove(temporary)
	}
	if err != nil {
		return fmt.Errorf("key file %s could not be replaced: its folder must be writable: %w", path, err)
	}
	return nil
}

func replace(next, path string) error {
	info, err := os.Stat(next)
	if err != nil {
		return err
	}
	if err := checkFile(next, info); err != nil {
		return err
	}
	if there, err := os.Stat(path); err == nil {
		if err := checkFile(path, there); err != nil {
			return err
		}
	}
	if err := checkPrivate(next, info); err != nil {
		return err
	}
	// Opened before the rename, the old file can still be written to when its name is gone.
	var old *os.File
	if overwritesAfterRename {
		old, err = os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	err = os.Rename(next, path)
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if old != nil {
		if err == nil {
			err = overwrite(old)
		}
		err = errors.Join(err, old.Close())
	}
	return err
}

// Destroy overwrites and removes both files of a key; [Replace] says how little that may mean on flash. A file that is
// not there is not an error. One that was overwritten and not removed, the power having failed, is none any more.
func Destroy(path string) error {
	return errors.Join(destroy(CopyPath(path)), destroy(path))
}

func destroy(path string) error {
	if info, err := os.Stat(path); err == nil {
		if err := checkFile(path, info); err != nil {
			return fmt.Errorf("destroying key file %s: %w", path, err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = overwrite(f)
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("destroying key file %s: %w", path, err)
	}
	return nil
}

// IsDestroyed reports whether no key is at path any more: the file is gone, or overwritten by a [Destroy] that was cut off
// before it removed it.
func IsDestroyed(path string) (bool, error) {
	b, err := readAny(path, maxKeyFile)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	return err == nil && len(bytes.Trim(b, "\x00")) == 0, err
}

// overwrite writes zeros over the whole of f, in place, and waits for the device.
func overwrite(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.NewOffsetWriter(f, 0), zeros{}, info.Size()); err != nil {
		return err
	}
	return f.Sync()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
