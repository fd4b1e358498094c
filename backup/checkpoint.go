package backup

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
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
