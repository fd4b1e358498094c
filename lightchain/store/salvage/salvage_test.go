package salvage

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// badSector is a file of which one sector cannot be read.
type badSector struct {
	vfs.FS
	at int64
}

func (fs badSector) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, o...)
	return &badFile{File: f, bad: fs.at}, err
}

type badFile struct {
	vfs.File
	bad, next int64
}

func (f *badFile) Read(b []byte) (int, error) {
	n, err := f.ReadAt(b, f.next)
	f.next += int64(n)
	if n > 0 {
		return n, nil
	}
	return n, err
}

func (f *badFile) ReadAt(b []byte, at int64) (int, error) {
	if at < f.bad+Sector && at+int64(len(b)) > f.bad {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, at)
}

// A sector that the disk does not give is zeros, and nothing else is.
func TestReadSectorsReadsPastBadOnes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	whole := bytes.Repeat([]byte("something "), 100_000)
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 5 * Sector, readPiece - Sector, readPiece, int64(len(whole)) / Sector * Sector} {
		want := bytes.Clone(whole)
		clear(want[at:min(at+Sector, int64(len(want)))])
		if got, err := ReadSectors(badSector{vfs.Default, at}, path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("without the sector at %d: %d bytes of %d, %v", at, len(got), len(want), err)
		}
	}
}

// Whatever length a damaged folder gives a file, no more of it is kept in memory than what stands in it.
func TestAFileThatIsLongInNameAloneTakesNoMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	whole := bytes.Repeat([]byte("something "), 50_000)
	if err := errors.Join(os.WriteFile(path, whole, 0o600), os.Truncate(path, 1<<28)); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSectors(vfs.Default, path)
	if err != nil || cap(got) > 1<<21 || !bytes.Equal(got[:len(whole)], whole) || len(bytes.Trim(got[len(whole):], "\x00")) > 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if small, err := ReadSmall(vfs.Default, path, 1000); err != nil || !bytes.Equal(small, whole[:1000]) {
		t.Errorf("%d bytes of 1000, %v", len(small), err)
	}
}
