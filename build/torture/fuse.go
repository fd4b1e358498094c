package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// A cutDisk is a disk whose every write and flush is noted, so that each state that a power cut could have left can be built
// afterwards. It is one file, "disk", of a file system of our own (the kernel's FUSE protocol, by hand): a loop device above
// it gives ext4 a block device, and each flush of that arrives here as fsync.
type cutDisk struct {
	dir  string // where it is mounted
	fd   int    // of /dev/fuse; its goroutine alone reads and writes there
	done chan struct{}

	mu   sync.Mutex
	disk []byte   // as it is now
	base []byte   // as it was when the notes began
	log  []diskOp // since then
}

// diskOp is a write, or a flush where data is nil: all writes before it are on the disk.
type diskOp struct {
	at   int64
	data []byte
}

// Operations of the protocol, and errors, as the kernel numbers them (linux/fuse.h).
const (
	fuseLookup, fuseForget, fuseGetattr, fuseSetattr = 1, 2, 3, 4
	fuseOpen, fuseRead, fuseWrite, fuseStatfs        = 14, 15, 16, 17
	fuseRelease, fuseFsync, fuseFlush, fuseInit      = 18, 20, 25, 26
	fuseOpendir, fuseReleasedir, fuseInterrupt       = 27, 29, 36
	fuseDestroy, fuseBatchForget                     = 38, 42

	rootNode, diskNode = 1, 2
	fuseHeader         = 40      // bytes of a request's
	fuseMaxWrite       = 1 << 20 // bytes
)

// lacksMount says why nothing can be mounted here.
func lacksMount() string {
	dir, err := os.MkdirTemp("", "torture-mount")
	if err != nil {
		return err.Error()
	}
	defer os.Remove(dir)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Sprintf("mounting takes root: %v", err)
	}
	_ = unix.Unmount(dir, unix.MNT_DETACH)
	return ""
}

func lacksFuse() string {
	switch {
	case lacksMount() != "":
		return lacksMount()
	case unix.Access("/dev/fuse", unix.R_OK|unix.W_OK) != nil:
		return "there is no /dev/fuse"
	case unix.Access("/dev/loop-control", unix.R_OK|unix.W_OK) != nil:
		return "there are no loop devices"
	}
	return lacks("mkfs.ext4", "e2fsck")
}

// mountCutDisk mounts a disk of so many bytes.
func mountCutDisk(dir string, size int) (*cutDisk, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	d := &cutDisk{dir: dir, fd: fd, disk: make([]byte, size), done: make(chan struct{})}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("torture", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mounting FUSE: %w", err)
	}
	go d.serve()
	return d, nil
}

func (d *cutDisk) file() string { return filepath.Join(d.dir, "disk") }

func (d *cutDisk) unmount() {
	_ = unix.Unmount(d.dir, unix.MNT_DETACH)
	<-d.done
	unix.Close(d.fd)
}

// note begins the notes anew: the disk as it is now is what everything is built upon.
func (d *cutDisk) note() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.base, d.log = bytes.Clone(d.disk), nil
}

// position is how much has been noted by now.
func (d *cutDisk) position() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// serve answers the kernel until the file system is unmounted.
func (d *cutDisk) serve() {
	defer close(d.done)
	request := make([]byte, fuseMaxWrite+4*pageSize)
	for {
		n, err := unix.Read(d.fd, request)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil || n < fuseHeader: // ENODEV: unmounted
			return
		}
		operation := binary.NativeEndian.Uint32(request[4:])
		unique := binary.NativeEndian.Uint64(request[8:])
		node := binary.NativeEndian.Uint64(request[16:])
		if answer, errno, due := d.answer(operation, node, request[fuseHeader:n]); due {
			b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(answer)))
			b = binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
			b = binary.NativeEndian.AppendUint64(b, unique)
			_, _ = unix.Write(d.fd, append(b, answer...)) // ENOENT: the request was given up
		}
	}
}

func (d *cutDisk) answer(operation uint32, node uint64, body []byte) (answer []byte, errno unix.Errno, due bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch operation {
	case fuseInit: // version 7.31, pages of 1 MiB, FUSE_BIG_WRITES | FUSE_MAX_PAGES
		return words(7, 31, 1<<20, 0x20|1<<22, 64|48<<16, fuseMaxWrite, 1, 256, 0, 0, 0, 0, 0, 0, 0, 0), 0, true
	case fuseLookup:
		if string(bytes.TrimRight(body, "\x00")) != "disk" {
			return nil, unix.ENOENT, true
		}
		return append(words(diskNode, 0, 0, 0, 3600, 0, 3600, 0, 0, 0), d.attributes(diskNode)...), 0, true
	case fuseGetattr, fuseSetattr:
		return append(words(3600, 0, 0, 0), d.attributes(node)...), 0, true
	case fuseOpen, fuseOpendir:
		return words(1, 0, 1, 0), 0, true // FOPEN_DIRECT_IO: no page cache in between
	case fuseRead:
		at, size := span64(body)
		return bytes.Clone(d.disk[min(at, int64(len(d.disk))):min(at+size, int64(len(d.disk)))]), 0, true
	case fuseWrite:
		at, size := span64(body)
		data := bytes.Clone(body[40 : 40+size])
		if at+size > int64(len(d.disk)) {
			return nil, unix.ENOSPC, true
		}
		copy(d.disk[at:], data)
		d.log = append(d.log, diskOp{at, data})
		return words(uint32(size), 0), 0, true
	case fuseFsync:
		d.log = append(d.log, diskOp{})
		return nil, 0, true
	case fuseRelease, fuseFlush, fuseReleasedir, fuseDestroy:
		return nil, 0, true
	case fuseStatfs:
		return words(1<<20, 0, 1<<19, 0, 1<<19, 0, 100, 0, 50, 0, 4096, 255, 4096, 0, 0, 0, 0, 0, 0, 0), 0, true
	case fuseForget, fuseBatchForget, fuseInterrupt:
		return nil, 0, false
	}
	return nil, unix.ENOSYS, true
}

// span64 is where a request reads or writes, and how much.
func span64(body []byte) (at, size int64) {
	return int64(binary.NativeEndian.Uint64(body[8:])), int64(binary.NativeEndian.Uint32(body[16:]))
}

func (d *cutDisk) attributes(node uint64) []byte {
	size, mode, links := uint64(len(d.disk)), uint32(unix.S_IFREG|0o600), uint32(1)
	if node == rootNode {
		size, mode, links = 0, unix.S_IFDIR|0o755, 2
	}
	b := binary.NativeEndian.AppendUint64(nil, node)
	b = binary.NativeEndian.AppendUint64(b, size)
	b = binary.NativeEndian.AppendUint64(b, size/512)
	b = append(b, make([]byte, 3*8+3*4)...) // times
	return append(b, words(mode, links, 0, 0, 0, pageSize, 0)...)
}

func words(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

// A blockDevice is a loop device above a file.
type blockDevice struct {
	file *os.File
	path string
}

// attach puts a loop device above the file.
func attach(file string) (*blockDevice, error) {
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 100 { // another program may take the device first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		path := fmt.Sprintf("/dev/loop%d", n)
		if _, err := os.Stat(path); err != nil {
			if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(n)))); err != nil && !errors.Is(err, unix.EEXIST) {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
		device, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR // it goes with its last user
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return &blockDevice{device, path}, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil, errors.New("no loop device is free")
}

// mount mounts the ext4 on the device, which goes with the mount from then on.
func (b *blockDevice) mount(dir string) error {
	defer b.file.Close()
	if err := unix.Mount(b.path, dir, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", b.path, err)
	}
	return nil
}
