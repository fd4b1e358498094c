package arm

import "golang.org/x/sys/unix"

func statfs(path string) (space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return space{}, err
	}
	unit := uint64(s.Frsize) // blocks are counted in fragments, where there are such
	if unit == 0 {
		unit = uint64(s.Bsize)
	}
	kinds := map[uint32]string{ // the field is signed, with 32 or 64 bits
		unix.TMPFS_MAGIC:           "tmpfs",
		unix.RAMFS_MAGIC:           "ramfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	}
	return space{size: s.Blocks * unit, free: s.Bavail * unit, kind: kinds[uint32(s.Type)]}, nil
}
