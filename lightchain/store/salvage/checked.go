package salvage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableFile is a table as Pebble reads it. Each of its reads is one whole block, whose last four bytes are the checksum
// of the others; but for the footer, which ends with the file and has a checksum of its own.
//
// Pebble answers a wrong checksum with a search: it turns each of the first 327,680 bits and computes the checksum of
// the whole block each time, to tell in its error which bit it was. That takes 3.4 s for a block of 150 KB on a PC and
// minutes on a small board, again at each read, and no option forgoes it. So the checksum is looked at here first, and
// Pebble never gets to see a damaged block.
type tableFile struct {
	vfs.File
	size int64
	met  func(why string) // told of each block that cannot be read; nil: nobody is
}

// Checked wraps a table that was opened to be read, so that each block is checked before Pebble sees it. met is told of each
// that cannot be read; nil: nobody is.
func Checked(f vfs.File, met func(why string)) (vfs.File, error) {
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return tableFile{f, info.Size(), met}, nil
}

// IsTable tells a table by its name.
func IsTable(name string) bool { return strings.HasSuffix(name, ".sst") }

// BlockTrailer is the length of what follows the data of a table's block: how it is compressed, and the checksum.
const BlockTrailer = 5

// ReadAt implements [io.ReaderAt]. Its error is Pebble's for a damaged file where a block's checksum is wrong.
func (f tableFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	if errors.Is(err, syscall.EIO) {
		f.tell(fmt.Sprintf("the part of a table of %d bytes at %d: %v", len(b), at, syscall.EIO))
	}
	if err != nil || at+int64(n) >= f.size || n < BlockTrailer {
		return n, err
	}
	sum := n - 4
	if want, got := binary.LittleEndian.Uint32(b[sum:]), logChecksum(b[:sum]); want != got {
		why := fmt.Sprintf("the part of a table of %d bytes at %d has the checksum %08x, not %08x", n, at, got, want)
		f.tell(why)
		return n, fmt.Errorf("%w: %s", pebble.ErrCorruption, why)
	}
	return n, nil
}

func (f tableFile) tell(why string) {
	if f.met != nil {
		f.met(why)
	}
}
