package command

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"edgechain.example/asowner"
)

// CreateFile makes the file that a command writes its result to, with the rights of who started the command, who has named
// it; in the program's data folder with its owner's. One that exists is not overwritten. All errors are those of
// [Unwritten].
func CreateFile(data, file string) (io.WriteCloser, error) {
	var f *os.File
	err := asowner.Named(data, file, func() (err error) {
		f, err = os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		return err
	})
	if err != nil {
		return nil, Unwritten(file, err)
	}
	return &created{f}, nil
}

// Unwritten says that a result could not be written to a file, and what to do. Whatever the reason, that is [ExitFailed]:
// it tells nothing about the chain or the store, nor whether a program runs, which other codes stand for. nil stays nil.
func Unwritten(file string, err error) error {
	if err == nil {
		return nil
	}
	whole := file
	if abs, absErr := filepath.Abs(file); absErr == nil {
		whole = abs
	}
	var at *fs.PathError
	if errors.As(err, &at) && at.Path == file { // it need not be named twice
		err = at.Err
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return Failf(ExitFailed, "%s is there already, and is not overwritten: name another file, or remove that one", whole)
	case errors.Is(err, fs.ErrNotExist) && !isThere(filepath.Dir(whole)):
		return Failf(ExitFailed, "writing %s: there is no folder %s", whole, filepath.Dir(whole))
	case errors.Is(err, fs.ErrPermission):
		return Failf(ExitFailed, "writing %s: %w: name a file in a folder that you may write to", whole, err)
	}
	return Failf(ExitFailed, "writing %s: %w", whole, err)
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// created is a file whose errors are those of [Unwritten].
type created struct{ f *os.File }

func (c *created) Write(b []byte) (int, error) {
	n, err := c.f.Write(b)
	return n, Unwritten(c.f.Name(), err)
}

func (c *created) Close() error { return Unwritten(c.f.Name(), c.f.Close()) }
