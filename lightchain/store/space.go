package store

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	leastReserve   = 64 << 20 // bytes
	reservePercent = 2
)

// spaceCheck looks at the free space before each group. Pebble cannot come back from a full disk, so the store stops
// taking entries while there is still room for what a block, a flush and a start need.
type spaceCheck struct {
	usage    func() (free, total uint64, err error)
	reserve  int64  // as configured
	percent  int    // as configured
	volatile string // kind of file system that forgets everything, "" if it does not
	folders  []folderAt
}

// folderAt is a folder that the store has files open in, and where it was found.
type folderAt struct {
	path string
	info iofs.FileInfo
}

// hold remembers which folders the store has files open in. Only those of the system can be told from others with their names.
func (c *spaceCheck) hold(fs vfs.FS, paths ...string) error {
	if fs != vfs.Default {
		return nil
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		c.folders = append(c.folders, folderAt{path, info})
	}
	return nil
}

// inPlace fails if a folder is gone, or another one has its name.
func (c *spaceCheck) inPlace() error {
	for _, f := range c.folders {
		switch info, err := os.Stat(f.path); {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("%w: %w", errGone, err)
		case err == nil && !os.SameFile(info, f.info):
			return fmt.Errorf("%w, and another one is in the place of %s", errGone, f.path)
		}
	}
	return nil
}

func newSpaceCheck(dir string, o Options) *spaceCheck {
	c := &spaceCheck{usage: o.DiskUsage, reserve: o.Reserve, percent: o.ReservePercent}
	if c.usage == nil {
		c.usage = func() (free, total uint64, err error) {
			u, err := o.FS.GetDiskUsage(dir)
			return u.AvailBytes, u.TotalBytes, err
		}
	}
	return c
}

// state returns the bytes that are free and those that are to stay so. A file system that does not tell has no bounds.
func (c *spaceCheck) state() (free, reserve uint64, known bool) {
	free, total, err := c.usage()
	switch {
	case err != nil:
		return 0, 0, false
	case c.reserve < 0:
		return free, 0, true
	case c.reserve > 0:
		return free, max(uint64(c.reserve), total/100*uint64(c.percent)), true
	}
	return free, max(leastReserve, total/100*reservePercent), true
}

// memtablesBesideReserve is how many memtables of room a chain needs beside the reserve: logs and tables of what was taken last,
// what a deletion writes anew, and blocks to delete.
const memtablesBesideReserve = 16

// SmallDisk says why the disk that dir is on is too small for a chain, "" if it is not. On such a disk room may run out that no
// deletion gives back, and on one that is smaller than the reserve nothing is ever recorded.
func SmallDisk(dir string, o Options) string {
	o, err := o.withDefaults()
	if err != nil {
		return ""
	}
	c := newSpaceCheck(dir, o)
	_, total, err := c.usage()
	_, reserve, known := c.state()
	want := reserve + memtablesBesideReserve*o.MemTableSize
	if err != nil || !known || total >= want {
		return ""
	}
	return fmt.Sprintf("it has %d MiB, of which store.reserve and store.reserve_percent keep %d MiB free; with this store.memtable %d MiB or more are expected", total>>20, reserve>>20, want>>20)
}

// errGone says that a folder is not there any more: what is written goes into files that have no name, and with the program.
var errGone = errors.New("its folder was removed or renamed")

func (c *spaceCheck) enough(divisor uint64) error {
	if err := c.inPlace(); err != nil {
		return err
	}
	if free, reserve, known := c.state(); known && free < reserve/divisor {
		return fmt.Errorf("%w: %d MiB free, %d MiB wanted", ErrNoSpace, free>>20, reserve/divisor>>20)
	}
	return nil
}

// enoughToStage keeps the whole reserve free; a header and a start may use half and three quarters of it, so that what
// was taken can still be sealed and found. A deletion may use as much as a start, since it makes room.
func (c *spaceCheck) enoughToStage() error { return c.enough(1) }

func (c *spaceCheck) enoughToSeal() error { return c.enough(2) }

func (c *spaceCheck) enoughToOpen() error { return c.enough(4) }

func (c *spaceCheck) enoughToPrune() error { return c.enough(4) }

// room fails where enough does, and ends all writing where the folder is gone.
func (s *Store) room(enough func() error) error {
	err := enough()
	if errors.Is(err, errGone) {
		return s.guard.fail(err)
	}
	return err
}

// checkVolatile refuses a folder that does not outlive a power cut, or warns of it. It returns the kind of file system.
func checkVolatile(dir string, o Options) (string, error) {
	kind := volatileKind(o.FS, dir)
	if kind == "" {
		return "", nil
	}
	if !o.AllowVolatile {
		return kind, fmt.Errorf("%w: it is on %s (store.allow_volatile = true accepts that)", ErrVolatile, kind)
	}
	o.Logger.Warn("the store is in a folder that does not outlive a power cut", "folder", dir, "filesystem", kind)
	return kind, nil
}
