package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A checkpoint is a copy of a program's store beside it, in a folder of its own, that the program makes for a reader:
// for a backup, for instance. The reader holds it while it reads, so that nobody takes it for one that was left behind, and
// removes it with that folder.
const checkpointPrefix = "checkpoint-"

// CheckpointLife is how old a checkpoint is, at least, that its reader has left behind.
const CheckpointLife = 2 * 24 * time.Hour

// Checkpoint is one that a reader holds: until Remove or the end of the process nobody else removes it.
type Checkpoint struct {
	Dir  string // of the store's copy
	data string
	held *os.File // the folder that Dir is in, with a lock
}

// MakeCheckpoint has copyTo copy the store to a folder of that name, which is not there yet, in a new folder in data, and
// returns its path, for a reader who is to hold it. Checkpoints that readers left behind go.
func MakeCheckpoint(data, name string, now time.Time, log *slog.Logger, copyTo func(dir string) error) (dir string, err error) {
	c, err := TakeCheckpoint(data, name, now, log, copyTo)
	if err != nil {
		return "", err
	}
	return c.Dir, c.held.Close()
}

// TakeCheckpoint is MakeCheckpoint for one who reads it himself, and holds it already while it is made.
func TakeCheckpoint(data, name string, now time.Time, log *slog.Logger, copyTo func(dir string) error) (*Checkpoint, error) {
	RemoveCheckpoints(data, now.Add(-CheckpointLife), log)
	folder, err := os.MkdirTemp(data, checkpointPrefix)
	if err != nil {
		return nil, err
	}
	// Cut off here and everywhere below, the folder is one that was left behind.
	c := &Checkpoint{Dir: filepath.Join(folder, name), data: data}
	if err := giveFolders(data, folder); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if c.held, err = hold(folder); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if err = copyTo(c.Dir); err == nil {
		err = giveFolders(data, folder)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder), c.held.Close()) // of a disk without room it would take the rest
	}
	return c, nil
}

// HoldCheckpoint holds one that was made in data for the caller. It fails with an [fs.ErrNotExist] where it was removed
// meanwhile. Whoever answers on a program's socket names the path, and its reader may be root: a path that is no checkpoint
// in data is refused.
func HoldCheckpoint(data, dir string) (*Checkpoint, error) {
	name, err := checkpointFolder(data, dir)
	if err != nil {
		return nil, err
	}
	held, err := hold(filepath.Join(data, name))
	if err != nil {
		return nil, fmt.Errorf("the checkpoint %s: %w", dir, err)
	}
	return &Checkpoint{Dir: dir, data: data, held: held}, nil
}

// OpenToGroup lets the group of its files read them. A table is one file with the store's, whose folder stays closed.
func (c *Checkpoint) OpenToGroup() error {
	root, err := os.OpenRoot(c.data)
	if err != nil {
		return err
	}
	defer root.Close()
	name := filepath.Base(filepath.Dir(c.Dir))
	return fs.WalkDir(root.FS(), name, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o040
		if entry.IsDir() {
			mode |= 0o010
		} else if !info.Mode().IsRegular() {
			return nil
		}
		return root.Chmod(filepath.FromSlash(path), mode)
	})
}

// Release ends reading, and leaves the checkpoint to who made it.
func (c *Checkpoint) Release() error { return c.held.Close() }

// Remove ends reading, and removes the checkpoint.
func (c *Checkpoint) Remove() error {
	return errors.Join(RemoveCheckpoint(c.data, c.Dir), c.held.Close())
}

// hold locks a checkpoint's folder, or fails with an [fs.ErrNotExist] where somebody is removing it.
func hold(folder string) (*os.File, error) {
	f, err := openFolder(folder)
	if err != nil {
		return nil, err
	}
	locked := lockFolder(f, false)
	mine, err := f.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(folder); err == nil && (!locked || !os.SameFile(mine, there)) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ErrNoCheckpoint means that a path is not where a program that keeps its data in a folder makes checkpoints.
var ErrNoCheckpoint = errors.New("not a checkpoint in the data folder")

// checkpointFolder returns the name of the folder in data that a checkpoint is in.
func checkpointFolder(data, dir string) (name string, err error) {
	if data, err = filepath.Abs(data); err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", err
	}
	folder := filepath.Dir(dir)
	if name = filepath.Base(folder); filepath.Dir(folder) != data || !strings.HasPrefix(name, checkpointPrefix) {
		return "", fmt.Errorf("%s: %w, which is %s", dir, ErrNoCheckpoint, data)
	}
	for _, path := range []string{folder, dir} {
		if info, err := os.Lstat(path); err != nil {
			return "", err
		} else if !info.IsDir() { // a link would lead elsewhere
			return "", fmt.Errorf("%s: %w: it is no folder", path, ErrNoCheckpoint)
		}
	}
	return name, nil
}

// RemoveCheckpoint deletes a checkpoint that its reader has done with, and nothing else: a path that names another place
// is refused, and no link is followed out of data.
func RemoveCheckpoint(data, dir string) error {
	name, err := checkpointFolder(data, dir)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(data)
	if err != nil {
		return err
	}
	return errors.Join(root.RemoveAll(name), root.Close())
}

// RemoveCheckpoints deletes the checkpoints in data that were made before a moment, all if that is zero, and with them the
// disk space of what the store has deleted since. Those that a reader holds stay.
func RemoveCheckpoints(data string, before time.Time, log *slog.Logger) {
	old, err := fs.Glob(os.DirFS(data), checkpointPrefix+"*")
	if err != nil {
		return
	}
	for _, name := range old {
		dir := filepath.Join(data, name)
		if info, err := os.Stat(dir); err != nil || !before.IsZero() && !info.ModTime().Before(before) {
			continue
		}
		if err := removeUnheld(dir); err != nil {
			log.Warn("failed to remove an old checkpoint", "dir", dir, "err", err)
		}
	}
}

// openFolder opens a folder, and nothing else that its name may have become: a pipe would have the caller wait.
func openFolder(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if opened, err := f.Stat(); err != nil || !info.IsDir() || !os.SameFile(info, opened) {
		return nil, errors.Join(fmt.Errorf("%s: %w: it is no folder", path, ErrNoCheckpoint), err, f.Close())
	}
	return f, nil
}

// removeUnheld deletes a checkpoint's folder unless somebody reads it.
func removeUnheld(folder string) error {
	f, err := openFolder(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if !lockFolder(f, true) {
		return nil
	}
	return os.RemoveAll(folder)
}
