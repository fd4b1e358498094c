package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// CopyAtRest makes a copy of the chain in dir, which nobody records on, in the folder to, which must not exist: for a
// reader who must not keep anybody from recording. It keeps the lock for as long only as that takes. Nothing in dir
// changes, and nothing is repaired: what is damaged there is so in the copy. Errors a caller branches on: [ErrNoChain] and
// [ErrLocked]. After others the chain can be read where it is: the medium may be read-only, full, or know no links.
func CopyAtRest(dir, to string, o Options) error {
	if err := copyAtRest(dir, to, o); err != nil {
		return fmt.Errorf("copying the chain in %s: %w", dir, err)
	}
	return nil
}

func copyAtRest(dir, to string, o Options) (err error) {
	if o, err = o.withDefaults(); err != nil {
		return err
	}
	if _, err := readable(dir, o); err != nil {
		return err
	}
	lock, err := lockFolder(dir, o, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	files, err := listFiles(dir, o)
	if err != nil {
		return err
	}
	for _, name := range files {
		from, copied := o.FS.PathJoin(dir, name), o.FS.PathJoin(to, name)
		if err := o.FS.MkdirAll(o.FS.PathDir(copied), 0o700); err != nil {
			return err
		}
		info, err := o.FS.Stat(from)
		if err != nil || info.IsDir() { // a reader says of it what is to be said
			continue
		}
		// A table never changes. A log, a manifest and what lies beside the database are written on where they are.
		if salvage.IsTable(name) {
			err = o.FS.Link(from, copied)
		} else {
			err = vfs.Copy(o.FS, from, copied)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
