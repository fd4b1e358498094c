package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"edgechain.example/agent/api"
	"edgechain.example/asowner"
	"edgechain.example/backup"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
)

// Snapshot is the chain as it stood at one moment, for whoever must neither stop recording nor keep it from beginning: a
// checkpoint that the running agent made, or, where none runs, one that the reader makes himself. On a medium that takes
// none, since it is read-only or full, it is the chain where it lies; the lock, where there is one, is then shared.
type Snapshot struct {
	Dir        string // of the store
	Reader     *store.Reader
	checkpoint *backup.Checkpoint // nil: it is the chain itself
	lent       io.Closer          // the agent removes the checkpoint once this is closed; nil: who reads removes it
}

const (
	lockPatience = 10 * time.Second // how long a reader waits for a lock: a copy takes less, and an agent answers soon
	lockAgain    = 50 * time.Millisecond
)

// Reach finds who can answer about the configured chain: the agent, or, where none runs, a snapshot. The other is nil. An
// agent that is opening the chain, and somebody who holds the lock, are waited for a moment. Root asks the agent as root; where
// none runs it becomes the owner of the data folder, and so it does in all that reads or writes there itself.
func Reach(ctx context.Context, c *Config) (agent *api.Client, rest *Snapshot, err error) {
	for begun := time.Now(); ; {
		agent, err = api.Dial(ctx, c.API.Socket)
		switch {
		case err == nil:
			err = answersFor(ctx, agent, c)
		case errors.Is(err, api.ErrNotRunning):
			agent = nil
			if err = asowner.Become(c.Gateway.Data); err != nil {
				return nil, nil, err
			}
			if rest, err = snapshotAtRest(c); err == nil {
				err = rest.of(c)
			}
		}
		if err == nil {
			return agent, rest, nil
		}
		if !errors.Is(err, store.ErrLocked) && !errors.Is(err, api.ErrOpening) || time.Since(begun) > lockPatience {
			return nil, nil, err
		}
		select {
		case <-time.After(lockAgain):
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// answersFor asks an agent whether it can answer about the configured chain.
func answersFor(ctx context.Context, agent *api.Client, c *Config) error {
	s, err := agent.Status(ctx)
	switch {
	case err != nil:
		return err
	case s.Opening != nil:
		return fmt.Errorf("%w: %s", api.ErrOpening, s.Opening)
	}
	return c.CheckChain(s.Chain)
}

// of closes a snapshot that is not of the configured chain.
func (s *Snapshot) of(c *Config) error {
	if err := c.CheckChain(s.Reader.Chain()); err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// CheckChain returns [ErrOtherChain] where a chain is not the one that the configuration names. Who reads another than he
// thinks believes of the one what is true of the other.
func (c *Config) CheckChain(chain lightchain.ChainID) error {
	if c.Gateway.Chain == "" || c.Gateway.Chain == chain.String() {
		return nil
	}
	return fmt.Errorf("%w: gateway.chain is %s, and in %s is %s. If that is the one that is meant, say so: --set gateway.chain=%s",
		ErrOtherChain, c.Gateway.Chain, c.Gateway.Data, chain, chain)
}

// OpenSnapshot opens the configured chain as it stands.
func OpenSnapshot(ctx context.Context, c *Config) (*Snapshot, error) {
	for {
		client, s, err := Reach(ctx, c)
		if client == nil {
			return s, err
		}
		if !asowner.Owns(c.Gateway.Data) {
			return borrow(ctx, client, c)
		}
		dir, err := client.Checkpoint(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking the agent for a checkpoint: %w", err)
		}
		if err := asowner.Become(c.Gateway.Data); err != nil {
			return nil, err
		}
		held, err := backup.HoldCheckpoint(c.Gateway.Data, dir)
		if errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil { // it was started anew between answering and this
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the agent's answer: %w", err)
		}
		return readCheckpoint(held)
	}
}

// borrow opens a checkpoint of the running agent's for who may not remove one: a member of the data folder's group.
func borrow(ctx context.Context, client *api.Client, c *Config) (*Snapshot, error) {
	dir, lent, err := client.Reading(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the agent for a checkpoint to read: %w", err)
	}
	held, err := backup.HoldCheckpoint(c.Gateway.Data, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the agent's answer: %w", err), lent.Close())
	}
	reader, err := store.OpenReader(held.Dir, store.Options{})
	if err != nil {
		return nil, errors.Join(err, held.Release(), lent.Close())
	}
	return &Snapshot{Dir: held.Dir, Reader: reader, checkpoint: held, lent: lent}, nil
}

// snapshotAtRest opens the chain of a gateway whose agent does not run.
func snapshotAtRest(c *Config) (*Snapshot, error) {
	held, err := backup.TakeCheckpoint(c.Gateway.Data, "chain", time.Now(), slog.New(slog.DiscardHandler), func(dir string) error {
		return store.CopyAtRest(c.ChainDir(), dir, store.Options{})
	})
	switch {
	case err == nil:
		return readCheckpoint(held)
	case errors.Is(err, store.ErrNoChain), errors.Is(err, store.ErrLocked):
		return nil, err
	}
	return readInPlace(c, store.Options{}) // if that cannot be, it says why
}

func readCheckpoint(held *backup.Checkpoint) (*Snapshot, error) {
	reader, err := store.OpenReader(held.Dir, store.Options{})
	if err != nil {
		return nil, errors.Join(err, held.Remove())
	}
	return &Snapshot{Dir: held.Dir, Reader: reader, checkpoint: held}, nil
}

func readInPlace(c *Config, o store.Options) (*Snapshot, error) {
	reader, err := store.OpenReader(c.ChainDir(), o)
	if err != nil {
		return nil, err
	}
	return &Snapshot{Dir: c.ChainDir(), Reader: reader}, nil
}

// seize opens the configured chain itself, and keeps any agent from recording on it until Close.
func seize(c *Config) (*Snapshot, error) {
	if err := asowner.Become(c.Gateway.Data); err != nil {
		return nil, err
	}
	s, err := readInPlace(c, store.Options{MustLock: true})
	if err != nil {
		return nil, err
	}
	if err := s.of(c); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends reading, and removes the checkpoint.
func (s *Snapshot) Close() error {
	err := s.Reader.Close()
	if s.checkpoint == nil {
		return err
	}
	if s.lent != nil {
		return errors.Join(err, s.checkpoint.Release(), s.lent.Close())
	}
	if removeErr := s.checkpoint.Remove(); removeErr != nil {
		err = errors.Join(err, fmt.Errorf("the checkpoint stays, until the agent's next start: %w", removeErr))
	}
	return err
}

// mostLent is how many checkpoints may be lent at one time: each keeps the space of what is deleted meanwhile.
const mostLent = 4

var errLent = fmt.Errorf("%d checkpoints are being read by members of the group, the most that may be: wait for one to end", mostLent)

// lend makes a copy of the chain for a reader who may change nothing, opens it to the data folder's group, and removes it when
// the reader has gone.
func (a *Agent) lend(ctx context.Context, ready func(dir string) error) error {
	if a.lent.Add(1) > mostLent {
		a.lent.Add(-1)
		return errLent
	}
	defer a.lent.Add(-1)
	held, err := backup.TakeCheckpoint(a.data, "chain", time.Now(), a.log, func(dir string) (err error) {
		if doErr := a.committer.Do(ctx, func() { err = a.store.Checkpoint(dir) }); doErr != nil {
			return doErr
		}
		return err
	})
	if err != nil {
		return err
	}
	if err = held.OpenToGroup(); err == nil {
		err = ready(held.Dir)
	}
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, held.Remove())
}

// checkpoint makes a copy of the chain beside it, for a reader that must not disturb the recording.
func (a *Agent) checkpoint(ctx context.Context) (string, error) {
	return backup.MakeCheckpoint(a.data, "chain", time.Now(), a.log, func(dir string) (err error) {
		if doErr := a.committer.Do(ctx, func() { err = a.store.Checkpoint(dir) }); doErr != nil {
			return doErr
		}
		return err
	})
}
