package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgechain/agent/api"
	"edgechain/backup"
	"edgechain/lightchain/store"
)

// Snapshot is the chain as it stood at one moment, for a long job that must neither stop recording nor be done by the
// program that it examines: a checkpoint that the running agent made, or, where none runs, the chain itself, which
// nobody can record on until Close.
type Snapshot struct {
	Dir    string // of the store
	Reader *store.Reader
	data   string // folder that the checkpoint is in; "" where it is the chain itself
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
		// Whoever answers on the socket names the folder, and this may be root's command.
		if err := backup.CheckCheckpoint(c.Gateway.Data, s.Dir); err != nil {
			return nil, fmt.Errorf("the agent's answer: %w", err)
		}
		s.data = c.Gateway.Data
	case !errors.Is(err, api.ErrNotRunning):
		return nil, err
	}
	if s.Reader, err = store.OpenReader(s.Dir, store.Options{}); err != nil {
		return nil, errors.Join(err, s.removeCheckpoint())
	}
	return s, nil
}

// seize opens the configured chain itself, and keeps any agent from recording on it until Close.
func seize(c *Config) (*Snapshot, error) {
	reader, err := store.OpenReader(c.ChainDir(), store.Options{MustLock: true})
	if err != nil {
		return nil, err
	}
	return &Snapshot{Dir: c.ChainDir(), Reader: reader}, nil
}

// Close ends reading, and removes the checkpoint.
func (s *Snapshot) Close() error { return errors.Join(s.Reader.Close(), s.removeCheckpoint()) }

func (s *Snapshot) removeCheckpoint() error {
	if s.data == "" {
		return nil
	}
	if err := backup.RemoveCheckpoint(s.data, s.Dir); err != nil {
		return fmt.Errorf("the checkpoint stays, until the agent's next start: %w", err)
	}
	return nil
}

// checkpoint makes a copy of the chain beside it, for a reader that must not disturb the recording.
func (a *Agent) checkpoint(ctx context.Context) (string, error) {
	return backup.MakeCheckpoint(a.data, "chain", time.Now(), a.log, func(dir string) (err error) {
		if doErr := a.committer.do(ctx, func() { err = a.store.Checkpoint(dir) }); doErr != nil {
			return doErr
		}
		return err
	})
}
