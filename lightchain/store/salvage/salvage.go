// Package salvage reads what can be read of a Pebble database's files, past what is damaged in them, and keeps Pebble from
// removing any of them before that was done. It owns the files' forms: logs, tables, the record of files (MANIFEST) and its
// markers. What their pairs mean, when a database is damaged and what becomes of it then, each store decides.
package salvage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
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
func ReadFile(fs vfs.FS, name string) ([]byte, error) { return ReadSmall(fs, name, math.MaxInt64) }

// ReadSmall reads a file, of which no more than most bytes are looked at: whatever length a damaged folder gives a small file, it
// takes no more memory.
func ReadSmall(fs vfs.FS, name string, most int64) ([]byte, error) {
	f, err := OpenFile(fs, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(io.LimitReader(f, most))
	return b.Bytes(), err
}

// ReadSectors reads a file past sectors that the disk does not give any more, which are zeros then. Whole pieces of zeros at the
// file's end are left out, however many there are: a log and a record of files end in zeros as they end without.
func ReadSectors(fs vfs.FS, name string) (b []byte, err error) {
	f, err := OpenFile(fs, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	piece, zeros := make([]byte, readPiece), make([]byte, readPiece)
	empty := 0    // pieces that nothing has followed yet
	sound := true // so far
	for at := int64(0); at < info.Size(); at += readPiece {
		p := piece[:min(readPiece, info.Size()-at)]
		if sound {
			n, err := io.ReadFull(f, p)
			if sound = !errors.Is(err, syscall.EIO); sound && err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
				return nil, err
			}
			clear(p[n:]) // it became shorter
		}
		if !sound {
			if err := readPast(f, p, at); err != nil {
				return nil, err
			}
		}
		if bytes.Equal(p, zeros) {
			empty++
			continue
		}
		for ; empty > 0; empty-- {
			b = append(b, zeros...)
		}
		b = append(b, p...)
	}
	return b, nil
}

// readPiece is read at once: so many blocks of a log, across which no chunk of it stands.
const readPiece = 8 * logBlock

// readPast fills b from an offset of a file, sector by sector. What the disk does not give, and what is no longer there, is zeros.
func readPast(f vfs.File, b []byte, at int64) error {
	for from := 0; from < len(b); from += Sector {
		sector := b[from:min(len(b), from+Sector)]
		switch n, err := f.ReadAt(sector, at+int64(from)); {
		case errors.Is(err, syscall.EIO):
			clear(sector)
		case err != nil && !errors.Is(err, io.EOF):
			return err
		default:
			clear(sector[n:])
		}
	}
	return nil
}

// Sector is how much is lost where a disk cannot read: what it holds at once is no more, mostly.
const Sector = 4096
