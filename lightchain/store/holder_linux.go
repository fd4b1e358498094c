package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// LockHolder says which process holds the lock of the store in dir, or shares it, for people; "" where that cannot be
// told. The caller must not hold it itself: closing any of its files gives a process's lock away.
func LockHolder(dir string) string {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return ""
	}
	defer f.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK} // which a shared lock is in the way of, too
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil || lock.Type == syscall.F_UNLCK || lock.Pid <= 0 {
		return ""
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", lock.Pid))
	if err != nil {
		return fmt.Sprintf("process %d", lock.Pid)
	}
	return fmt.Sprintf("process %d: %s", lock.Pid, bytes.ReplaceAll(bytes.TrimRight(line, "\x00"), []byte{0}, []byte{' '}))
}

var errOwnLock = errors.New("this process holds it")

// fileLocks are the locks of files that this process holds. The system never finds a process in its own way, and takes
// all its locks on a file when it closes one of that file's descriptors: so they are counted here.
var fileLocks = struct {
	sync.Mutex
	readers map[string]int      // how many share it; -1: it is not shared
	files   map[string]*os.File // of those that are shared
}{readers: map[string]int{}, files: map[string]*os.File{}}

// lockFile takes the lock of a file; a shared one keeps out nobody but who wants it alone.
func lockFile(path string, share bool) (io.Closer, error) {
	locks := &fileLocks
	locks.Lock()
	defer locks.Unlock()
	switch n := locks.readers[path]; {
	case n > 0 && share:
		locks.readers[path]++
		return fileLock{path, io.NopCloser(nil)}, nil
	case n != 0:
		return nil, errOwnLock
	case !share:
		lock, err := vfs.Default.Lock(path)
		if err != nil {
			return nil, err
		}
		locks.readers[path] = -1
		return fileLock{path, lock}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_RDLCK})
	if err != nil && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES)) {
		f.Close()
		return nil, errors.New("somebody else holds it") // not EACCES: that would say that the medium takes no lock
	}
	// A file system that knows no locks is read without one.
	locks.readers[path], locks.files[path] = 1, f
	return fileLock{path, io.NopCloser(nil)}, nil
}

// fileLock gives a lock back.
type fileLock struct {
	path string
	lock io.Closer
}

func (l fileLock) Close() error {
	locks := &fileLocks
	locks.Lock()
	defer locks.Unlock()
	if locks.readers[l.path]--; locks.readers[l.path] > 0 {
		return nil
	}
	err := l.lock.Close()
	if f := locks.files[l.path]; f != nil {
		err = errors.Join(err, f.Close())
	}
	delete(locks.readers, l.path)
	delete(locks.files, l.path)
	return err
}
