package store

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// volatileKind names the file system that dir is on if what is written there does not outlive a power cut, or may
// not: the upper layer of an overlay is usually memory. "" means that nothing of the kind is known.
func volatileKind(fs vfs.FS, dir string) string {
	if fs != vfs.Default {
		return ""
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return ""
	}
	switch uint32(s.Type) { // its width differs between architectures
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.RAMFS_MAGIC:
		return "ramfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	}
	return ""
}
