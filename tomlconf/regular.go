package tomlconf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// A file that a configuration names is a regular file: a pipe has its reader wait until somebody writes, and a device has no end.

// ErrNotRegular says that a name leads to something else than a regular file.
var ErrNotRegular = errors.New("it is no regular file")

// ReadFile reads a regular file of at most so many bytes, which may be reached by links. It waits for nothing.
func ReadFile(path string, most int64) ([]byte, error) {
	// The open file is looked at, not the name, which could lead elsewhere by now.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it is larger than %v", Size(most))}
	}
	return text, err
}

// File looks at a field that names a file: see [Named].
func File(d *Document, field *string) { Named(d, field, *field) }

// Named looks at a file that a field names; "" is none. It refuses what is no regular file, which nothing reads, and warns where
// there is none. That is no mistake of the configuration, which may have been written elsewhere; but nobody should learn of it from
// a program that does not start.
func Named(d *Document, field any, path string) {
	if path == "" {
		return
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		d.Warn(field, "there is no such file on this machine")
		return
	}
	if is := Irregular(path); is != "" {
		d.Refuse(field, "expected a regular file, and this is %s", is)
	}
}

// Irregular says what stands in the place of a regular file: "a folder", "a pipe". It is "" for a regular file, and where nothing is.
func Irregular(path string) string {
	info, err := os.Stat(path)
	if path == "" || err != nil || info.Mode().IsRegular() {
		return ""
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "something else"
}
