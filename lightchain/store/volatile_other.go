//go:build !linux

package store

import "github.com/cockroachdb/pebble/v2/vfs"

// volatileKind knows of no file systems that forget, outside Linux.
func volatileKind(vfs.FS, string) string { return "" }
