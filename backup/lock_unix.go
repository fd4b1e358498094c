//go:build unix

package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lock keeps others from adding and dropping generations until unlock is called or the program ends. A file system
// that has no locks gives none.
func (f *Folder) lock() (unlock func(), err error) {
	mark, err := os.OpenFile(filepath.Join(f.dir, markName), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("backup folder %s: %w", f.dir, explain(reason(err)))
	}
	if err := unix.Flock(int(mark.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		mark.Close()
		return nil, fmt.Errorf("%s: %w", f.dir, ErrBusy)
	}
	return func() { mark.Close() }, nil
}

// lockFolder locks an open folder until it is closed, alone or beside others, and reports whether nobody was in the way. A
// file system that has no locks gives none.
func lockFolder(f *os.File, alone bool) bool {
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	return !errors.Is(unix.Flock(int(f.Fd()), how|unix.LOCK_NB), unix.EWOULDBLOCK)
}
