package backup

import (
	"os"

	"golang.org/x/sys/unix"
)

// forgetCached lets the next reader of a synced file read the disk instead of memory, as far as the system can.
func forgetCached(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
