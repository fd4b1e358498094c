package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// device is a card of its own for one writer: ext4 with a card's journal, in a file that the kernel serves as a block
// device and whose writes it counts, those of the file system included. Nothing but the writer uses it.
type device struct {
	mount string // the folder
	stat  string // the kernel's counters of the device
}

// deviceSize is taken up by what is written alone.
const deviceSize = 1 << 30

// errNoDevice means that this user may not make block devices here.
var errNoDevice = errors.New("no loop device with ext4, which takes root and mkfs.ext4")

// newDevice makes a file system in dir and mounts it there; the error wraps errNoDevice where that is not allowed.
func newDevice(ctx context.Context, dir string) (*device, error) {
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	if err := os.MkdirAll(mount, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Create(image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(deviceSize), f.Close()); err != nil {
		return nil, err
	}
	// A journal as mke2fs gives cards of 32 GB and more. Tables are written out now and not by the kernel later, which
	// would be counted.
	for _, args := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-N", "4096", "-J", "size=128", "-E", "lazy_itable_init=0,lazy_journal_init=1,nodiscard", image},
		{"mount", "-o", "loop,noatime", image, mount},
	} {
		if out, err := sbin(ctx, args).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w: %s: %w: %s", errNoDevice, args[0], err, strings.TrimSpace(string(out)))
		}
	}
	d := &device{mount: mount}
	var s unix.Stat_t
	if err := unix.Stat(mount, &s); err != nil {
		return nil, errors.Join(err, d.close())
	}
	d.stat = fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(uint64(s.Dev)), unix.Minor(uint64(s.Dev)))
	return d, nil
}

// sbin returns a command that may lie where only root looks.
func sbin(ctx context.Context, args []string) *exec.Cmd {
	name := args[0]
	if _, err := exec.LookPath(name); err != nil {
		name = filepath.Join("/usr/sbin", name)
	}
	return exec.CommandContext(ctx, name, args[1:]...)
}

// written returns the bytes that were written to the device so far, after everything that waits in memory was.
func (d *device) written() (uint64, error) {
	f, err := os.Open(d.mount)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(d.stat)
	if err != nil {
		return 0, err
	}
	const sectorsWritten, sector = 6, 512 // Documentation/admin-guide/iostats.rst: the seventh field, always in 512 bytes
	fields := strings.Fields(string(text))
	if len(fields) <= sectorsWritten {
		return 0, fmt.Errorf("%s: %d fields", d.stat, len(fields))
	}
	n, err := strconv.ParseUint(fields[sectorsWritten], 10, 64)
	return n * sector, err
}

// close unmounts, which gives the device back too.
func (d *device) close() error {
	if err := unix.Unmount(d.mount, 0); err != nil {
		return fmt.Errorf("unmounting %s: %w", d.mount, err)
	}
	return nil
}
