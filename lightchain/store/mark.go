package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"edgechain/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// markName is a file beside the database, with the chain's name in it for people. It says that a chain was begun
// here, so that a database which does not open is known to be damaged and not merely unfinished.
const markName = "CHAIN"

func isMarked(dir string, o Options) bool {
	_, err := o.FS.Stat(o.FS.PathJoin(dir, markName))
	return err == nil
}

// mark makes the mark, durably, if it is not there.
func mark(dir string, o Options, chain lightchain.ChainID) error {
	if isMarked(dir, o) {
		return nil
	}
	f, err := o.FS.Create(o.FS.PathJoin(dir, markName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, chain.String()+"\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", markName, err)
	}
	return syncFolder(dir, o)
}

func syncFolder(dir string, o Options) error {
	d, err := o.FS.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// pebbleFiles lists what a database that never was finished has left.
func pebbleFiles(dir string, o Options) (names []string) {
	all, err := o.FS.List(dir)
	if err != nil {
		return nil
	}
	for _, name := range all {
		if info, err := o.FS.Stat(o.FS.PathJoin(dir, name)); err == nil && !info.IsDir() && name != "LOCK" && name != markName {
			names = append(names, name)
		}
	}
	return names
}

// asideName is the folder in the store's folder that takes files which are of no use to the store any more, but may be
// to somebody who investigates. Nothing is ever deleted.
const asideName = "aside"

// asideFolder makes a new folder in there.
func asideFolder(dir string, o Options) (string, error) {
	for n := 1; ; n++ {
		to := o.FS.PathJoin(dir, asideName, strconv.Itoa(n))
		_, err := o.FS.Stat(to)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return to, o.FS.MkdirAll(to, 0o700)
		case err != nil:
			return "", err
		}
	}
}

// putAside moves files there.
func putAside(dir string, o Options, names []string) error {
	to, err := asideFolder(dir, o)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := o.FS.Rename(o.FS.PathJoin(dir, name), o.FS.PathJoin(to, name)); err != nil {
			return err
		}
	}
	return errors.Join(syncFolder(to, o), syncFolder(dir, o))
}
