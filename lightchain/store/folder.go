package store

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// A store's folder holds:
//
//	LOCK       held while the store is open
//	data-N     the database; the highest N counts
//	data-N.new one that is being made; whatever is in it, nobody relies on it yet
//	aside/     what is of no use to the store any more, but may be to somebody who investigates
//	head-a, head-b    the head mark: see mark.go
//	keys              the headers that set the key: see mark_keys.go
//	acknowledged      the number of the next entry and the newest height: see acknowledged.go
//	RESTORED, MOVED   see moved.go
//
// A database gets its name when it is complete and durable, in one rename: a power cut while a chain is begun leaves
// no chain, and one while a damaged database is rebuilt leaves the damaged one. Databases are never deleted.
const (
	dataPrefix = "data-"
	newSuffix  = ".new"
	asideName  = "aside"
	lockName   = "LOCK"
)

// dataName returns the name of the n-th database.
func dataName(n int) string { return dataPrefix + strconv.Itoa(n) }

// current returns the path and number of the database that counts, or ErrNoChain.
func current(dir string, o Options) (path string, n int, err error) {
	names, err := listFolder(dir, o)
	if errors.Is(err, os.ErrNotExist) {
		return "", 0, ErrNoChain
	}
	if err != nil {
		return "", 0, err
	}
	holds := false // whether the n-th holds anything
	for _, name := range names {
		m, ok := databaseNumber(name)
		if !ok {
			continue
		}
		path := o.FS.PathJoin(dir, name)
		// One of which nothing is left but names does not hide another that can be read.
		if held := holdsAnything(o.FS, path); held && (!holds || m > n) || !holds && m > n && isDatabase(o.FS, path) {
			n, holds = m, held
		}
	}
	if n == 0 {
		return "", 0, ErrNoChain
	}
	return o.FS.PathJoin(dir, dataName(n)), n, nil
}

// databaseNumber returns which database has a name; false if none has.
func databaseNumber(name string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(name, dataPrefix)
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n > 0 && name == dataName(n)
}

// listFolder returns the names in the folder of a store. What is no folder is not opened, which could have us wait for ever.
func listFolder(dir string, o Options) ([]string, error) {
	if o.FS == vfs.Default {
		if _, err := os.Lstat(dir); err == nil { // a link that leads to none is something
			if info, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("%s is %s: is the disk mounted that it leads to?", dir, kindOf(dir))
			} else if err == nil && !info.IsDir() {
				return nil, fmt.Errorf("%s is no folder, but %s: move it elsewhere", dir, kindOf(dir))
			}
		}
	}
	return o.FS.List(dir)
}

// isDatabase tells a database from a stray file or folder of its name: one gets its name when it is complete, so that at
// least one of its files is in it, whatever was lost since.
func isDatabase(fs vfs.FS, path string) bool {
	names, err := fs.List(path)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(names, func(name string) bool {
		return salvage.IsTable(name) || strings.HasSuffix(name, ".log") || strings.HasPrefix(name, "MANIFEST-") || strings.HasPrefix(name, "marker.") || strings.HasPrefix(name, "OPTIONS-")
	})
}

// holdsAnything tells whether any table or log in the folder has a byte: a database has one from its first batch on.
func holdsAnything(fs vfs.FS, path string) bool {
	names, err := fs.List(path)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(names, func(name string) bool {
		info, err := fs.Stat(fs.PathJoin(path, name))
		return (salvage.IsTable(name) || salvage.IsLog(name)) && err == nil && !info.IsDir() && info.Size() > 0
	})
}

// Empty reports whether dir is not there, or holds nothing that a chain could have left: the lock, and what was being made
// when a chain was to begin there, are nothing.
func Empty(dir string, o Options) (bool, error) {
	names, err := namesLeft(dir, o)
	return len(names) == 0, err
}

// Remains returns the names in dir where a chain was and is gone: nothing of it tells any more which one it was, or how it
// began. Where there is a chain, and where none ever was, it returns none.
func Remains(dir string, o Options) (names []string, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	names, err = namesLeft(dir, o)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	if _, _, err := current(dir, o); !errors.Is(err, ErrNoChain) || chainLeft(dir, o) {
		return nil, nil // what is wrong with it, whoever opens it says
	}
	return names, nil
}

func namesLeft(dir string, o Options) (names []string, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	names, err = listFolder(dir, o)
	if errors.Is(err, os.ErrPermission) { // the program's own, whose mode a copy or a wrong command has taken away
		regainAccess(dir, o)
		names, err = listFolder(dir, o)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for a chain in %s: %w", dir, err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == lockName || strings.HasSuffix(name, newSuffix) }), nil
}

// install lets build make the n-th database in a folder that nobody relies on, and gives it its name.
func install(dir string, n int, o Options, build func(path string) error) error {
	path := o.FS.PathJoin(dir, dataName(n))
	if err := o.FS.RemoveAll(path + newSuffix); err != nil {
		return err
	}
	if err := build(path + newSuffix); err != nil {
		return err
	}
	if err := syncFolder(path+newSuffix, o); err != nil {
		return err
	}
	if _, err := o.FS.Stat(path); err == nil { // whatever it is, it is no database
		if err := moveAside(dir, path, o); err != nil {
			return err
		}
	}
	// Before the rename is durable there is the old database, or none; after it, the new one.
	if err := o.FS.Rename(path+newSuffix, path); err != nil {
		return err
	}
	return syncFolder(dir, o)
}

// lockFolder takes the lock that a store holds while it is open. A reader takes it where it can, unless it must, and
// shares it with other readers.
func lockFolder(dir string, o Options, readOnly bool) (io.Closer, error) {
	path := o.FS.PathJoin(dir, lockName)
	if info, err := o.FS.Stat(path); err == nil && info.IsDir() && !readOnly {
		if err := moveAside(dir, path, o); err != nil {
			return nil, err
		}
	}
	lock, err := (&storeFS{FS: o.FS, readOnly: readOnly && !o.MustLock}).Lock(path)
	if !errors.Is(err, errLocked) {
		return lock, err
	}
	if o.FS == vfs.Default && !errors.Is(err, errOwnLock) {
		if who := LockHolder(dir); who != "" {
			return nil, fmt.Errorf("%w: %s", ErrLocked, who)
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrLocked, err)
}

// regainAccess gives the program's own files back to it whose modes a copy or a wrong command has taken away. Whatever it
// cannot change is met, and told, where it is opened.
func regainAccess(dir string, o Options) {
	if o.FS != vfs.Default {
		return
	}
	_ = filepath.WalkDir(dir, func(path string, _ iofs.DirEntry, _ error) error {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
			return nil
		}
		want := iofs.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		if mode := info.Mode().Perm(); mode&want != want && os.Chmod(path, mode|want) == nil {
			o.Logger.Warn("a file of the store could not be read or written: its mode was changed", "file", path, "mode", mode|want, "was", mode)
		}
		return nil
	})
}

func syncFolder(dir string, o Options) error {
	d, err := o.FS.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// asideFolder makes a new folder for what is put aside.
func asideFolder(dir string, o Options) (string, error) {
	if err := clearOfStray(o.FS.PathJoin(dir, asideName), o); err != nil {
		return "", err
	}
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

// clearOfStray gives another name to what has a folder's name and is none.
func clearOfStray(path string, o Options) error {
	if info, err := o.FS.Stat(path); err != nil || info.IsDir() {
		return nil
	}
	return rename(path, o)
}

// rename gives what stands in the way another name beside its own.
func rename(path string, o Options) error {
	for n := 1; ; n++ {
		to := path + "-" + strconv.Itoa(n)
		_, err := o.FS.Stat(to)
		switch {
		case errors.Is(err, os.ErrNotExist):
			o.Logger.Warn("a file has the name of the folder for what is put aside, and was given another one", "file", path, "renamed_to", to)
			return o.FS.Rename(path, to)
		case err != nil:
			return err
		}
	}
}
