package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A checkpoint is a copy of a program's store beside it, in a folder of its own, that the program makes for a reader:
// for a backup, for instance. The reader removes it with that folder.
const checkpointPrefix = "checkpoint-"

// CheckpointLife is how old a checkpoint is, at least, that its reader has left behind.
const CheckpointLife = 2 * 24 * time.Hour

// MakeCheckpoint has copyTo copy the store to a folder of that name, which is not there yet, in a new folder in data, and
// returns its path. Checkpoints that readers left behind go.
func MakeCheckpoint(data, name string, now time.Time, log *slog.Logger, copyTo func(dir string) error) (dir string, err error) {
	RemoveCheckpoints(data, now.Add(-CheckpointLife), log)
	folder, err := os.MkdirTemp(data, checkpointPrefix)
	if err != nil {
		return "", err
	}
	dir = filepath.Join(folder, name)
	if err := copyTo(dir); err != nil {
		return "", errors.Join(err, os.RemoveAll(folder)) // of a disk without room it would take the rest
	}
	return dir, nil
}

// ErrNoCheckpoint means that a path is not where a program that keeps its data in a folder makes checkpoints.
var ErrNoCheckpoint = errors.New("not a checkpoint in the data folder")

// CheckCheckpoint refuses a path that is not one that MakeCheckpoint gives in data. Whoever answers on a program's socket
// names the path, and its reader may be root.
func CheckCheckpoint(data, dir string) error {
	_, err := checkpointFolder(data, dir)
	return err
}

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
// disk space of what the store has deleted since.
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
		if err := os.RemoveAll(dir); err != nil {
			log.Warn("an old checkpoint stays", "dir", dir, "err", err)
		}
	}
}
