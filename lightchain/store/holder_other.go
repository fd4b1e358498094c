//go:build !linux

package store

import (
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// LockHolder says which process holds the lock of the store in dir, for people; "" where that cannot be told.
func LockHolder(string) string { return "" }

var errOwnLock = errors.New("this process holds it")

// lockFile takes the lock of a file; here nobody shares it.
func lockFile(path string, _ bool) (io.Closer, error) { return vfs.Default.Lock(path) }
