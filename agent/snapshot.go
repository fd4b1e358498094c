package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"edgechain/agent/api"
	"edgechain/lightchain/store"
)

// Snapshot is the chain as it stood at one moment, for a long job that must neither stop recording nor be done by the
// program that it examines: a checkpoint that the running agent made, or, where none runs, the chain itself, which
// nobody can record on until Close.
type Snapshot struct {
	Dir    string // of the store
	Reader *store.Reader
	remove string // folder of the checkpoint, "" for none
}

// OpenSnapshot opens the configured chain as it stands.
func OpenSnapshot(ctx context.Context, c *Config) (*Snapshot, error) {
	s := &Snapshot{Dir: c.ChainDir()}
	client, err := api.Dial(ctx, c.API.Socket)
	switch {
	case err == nil:
		if s.Dir, err = client.Checkpoint(ctx); err != nil {
			return nil, fmt.Errorf("asking the agent for a checkpoint: %w", err)
		}
		s.remove = filepath.Dir(s.Dir)
	case !errors.Is(err, api.ErrNotRunning):
		return nil, err
	}
	if s.Reader, err = store.OpenReader(s.Dir, store.Options{}); err != nil {
		return nil, errors.Join(err, s.removeCheckpoint())
	}
	return s, nil
}

// Close ends reading, and removes the checkpoint.
func (s *Snapshot) Close() error { return errors.Join(s.Reader.Close(), s.removeCheckpoint()) }

func (s *Snapshot) removeCheckpoint() error {
	if s.remove == "" {
		return nil
	}
	if err := os.RemoveAll(s.remove); err != nil {
		return fmt.Errorf("the checkpoint stays, until the agent's next start: %w", err)
	}
	return nil
}

// checkpoint makes a copy of the chain beside it, for a reader that must not disturb the recording.
func (a *Agent) checkpoint(ctx context.Context) (dir string, err error) {
	a.removeCheckpoints(checkpointLife)
	folder, err := os.MkdirTemp(a.data, checkpointPrefix)
	if err != nil {
		return "", err
	}
	dir = filepath.Join(folder, "chain")
	if doErr := a.committer.do(ctx, func() { err = a.store.Checkpoint(dir) }); doErr != nil {
		err = doErr
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(folder)) // of a disk without room it would take the rest
	}
	return dir, nil
}

// checkpointPrefix begins the names of folders with checkpoints. Those that a reader left behind, and with them the disk
// space of what was deleted since, go at the next start, or when another is made after their time.
const (
	checkpointPrefix = "checkpoint-"
	checkpointLife   = 2 * 24 * time.Hour
)

// removeCheckpoints deletes copies that readers left behind, of at least the given age.
func (a *Agent) removeCheckpoints(age time.Duration) {
	old, err := fs.Glob(os.DirFS(a.data), checkpointPrefix+"*")
	if err != nil {
		return
	}
	for _, name := range old {
		dir := filepath.Join(a.data, name)
		if info, err := os.Stat(dir); err != nil || age > 0 && time.Since(info.ModTime()) < age {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			a.log.Warn("an old checkpoint stays", "dir", dir, "err", err)
		}
	}
}
