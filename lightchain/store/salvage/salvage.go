// Package salvage reads what can be read of a Pebble database's files, past what is damaged in them, and keeps Pebble from
// removing any of them before that was done. It owns the files' forms: logs, tables, the record of files (MANIFEST) and its
// markers. What their pairs mean, when a database is damaged and what becomes of it then, each store decides.
package salvage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// errDamaged is Pebble's word for a file that is not as it was written.
var errDamaged = pebble.ErrCorruption

// Refused tells whether the system refused something: then nothing is known of the file.
func Refused(err error) bool {
	for _, refusal := range [...]error{os.ErrPermission, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// KeySchemas returns the one way in which tables lay out keys, which is Pebble's own.
func KeySchemas() sstable.KeySchemas {
	var o pebble.Options
	o.EnsureDefaults()
	return o.KeySchemas
}

// LogNumber returns the number in a log's name, which stands in its chunks too.
func LogNumber(name string) uint32 { return uint32(FileNumber(name)) }

// FileNumber returns the number in the name of a log or a table; 0 where there is none.
func FileNumber(name string) uint64 {
	digits, _, _ := strings.Cut(strings.TrimPrefix(name, KeptPrefix), ".")
	n, _ := strconv.ParseUint(digits, 10, 64)
	return n
}

// IsLog tells a write-ahead log by its name.
func IsLog(name string) bool { return strings.HasSuffix(name, ".log") }

// OpenFile opens a regular file for reading. Anything else is an error at once: opening a pipe would wait.
func OpenFile(fs vfs.FS, name string) (vfs.File, error) {
	info, err := fs.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file: %v", name, info.Mode().Type())
	}
	return fs.Open(name)
}

// ReadFile reads a whole file.
func ReadFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := OpenFile(fs, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(f)
	return b.Bytes(), err
}

// ReadSectors reads a file past sectors that the disk does not give any more, which are zeros then.
func ReadSectors(fs vfs.FS, name string) ([]byte, error) {
	b, err := ReadFile(fs, name)
	if !errors.Is(err, syscall.EIO) {
		return b, err
	}
	f, err := OpenFile(fs, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b = make([]byte, info.Size())
	for at := 0; at < len(b); at += Sector {
		piece := b[at:min(len(b), at+Sector)]
		switch _, err := f.ReadAt(piece, int64(at)); {
		case errors.Is(err, syscall.EIO):
			clear(piece)
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
	}
	return b, nil
}

// Sector is how much is lost where a disk cannot read: what it holds at once is no more, mostly.
const Sector = 4096
