package backup

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"edgechain.example/asowner"
)

// A backup folder lies on a stick that anybody may have had, a data folder belongs to the service's user, and whoever makes or
// restores a backup is root as a rule. So what is read there is a regular file, and no link is followed: a pipe would have the
// reader wait for ever, a link have root copy what the service's user may not read.

var errNotRegular = errors.New("it is no regular file")

// openRegular opens a regular file below a folder for reading. Neither it nor a folder on the way to it may be a link.
func openRegular(folder, name string) (*os.File, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if info, err := root.Lstat(dir); err != nil {
			return nil, err
		} else if !info.IsDir() {
			return nil, &fs.PathError{Op: "open", Path: filepath.Join(folder, dir), Err: errNotRegular}
		}
	}
	named, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	notRegular := &fs.PathError{Op: "open", Path: filepath.Join(folder, name), Err: errNotRegular}
	if !named.Mode().IsRegular() {
		return nil, notRegular
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if opened, err := f.Stat(); err != nil || !os.SameFile(named, opened) { // it was replaced meanwhile, or its folder was
		return nil, errors.Join(notRegular, err, f.Close())
	}
	return f, nil
}

// open opens what is to be backed up. What lies in the folder within belongs to others than who reads: see openRegular. Elsewhere
// the operator has named it, and a link is his.
func (s *Source) open(within string) (*os.File, error) {
	if within != "" {
		folder, err := filepath.Abs(within)
		if err != nil {
			return nil, err
		}
		file, err := filepath.Abs(s.File)
		if err != nil {
			return nil, err
		}
		if name, err := filepath.Rel(folder, file); err == nil && filepath.IsLocal(name) {
			var f *os.File
			err := asowner.AsOwner(func() (err error) {
				f, err = openRegular(folder, name)
				return err
			})
			return f, err
		}
	}
	f, err := os.OpenFile(s.File, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: s.File, Err: errNotRegular}, err, f.Close())
	}
	return f, nil
}

// putInto takes the file into a pool.
func (s *Source) putInto(p *pool, within string, file *File) (copied bool, err error) {
	f, err := s.open(within)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return p.put(f, file)
}

// readSmall reads a regular file below a folder that is not larger than most.
func readSmall(folder, name string, most int64) ([]byte, error) {
	f, err := openRegular(folder, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = &fs.PathError{Op: "read", Path: filepath.Join(folder, name), Err: errors.New("it is too large")}
	}
	return text, err
}
