package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"edgechain.example/agent/api"
)

type entry = api.Entry

// plainGateway has run four times: it has tables, a log, and an open block, and was killed.
func (t *torture) plainGateway(ctx context.Context) (*gateway, error) {
	g, err := t.prepared(ctx, "", nil)
	if err != nil {
		return nil, err
	}
	return g, g.lastRun(ctx)
}

// rotatedGateway has changed its key several times, once shortly before its end.
func (t *torture) rotatedGateway(ctx context.Context) (*gateway, error) {
	rotate := func(g *gateway) error {
		_, err := g.must(ctx, "key", "rotate")
		return err
	}
	g, err := t.prepared(ctx, "", rotate)
	if err != nil {
		return nil, err
	}
	if err := g.start(ctx); err != nil {
		return nil, err
	}
	if err := rotate(g); err != nil {
		return nil, err
	}
	g.kill()
	return g, g.lastRun(ctx)
}

// prepared runs a new gateway four times. Between is called in each run, with the agent at work.
func (t *torture) prepared(ctx context.Context, extra string, between func(*gateway) error) (*gateway, error) {
	g, err := t.newGateway(extra)
	if err != nil {
		return nil, err
	}
	return g, g.runs(ctx, between)
}

// runs begins a chain and runs the agent on it four times.
func (g *gateway) runs(ctx context.Context, between func(*gateway) error) error {
	if _, err := g.must(ctx, "init"); err != nil {
		return err
	}
	for run := range 4 {
		if err := g.start(ctx); err != nil {
			return err
		}
		if err := g.publish(ctx, 60, 1+run%2); err != nil {
			return err
		}
		if between != nil {
			if err := between(g); err != nil {
				return err
			}
		}
		if run == 1 {
			g.kill()
		} else if err := g.stop(); err != nil {
			return err
		}
	}
	return nil
}

// lastRun leaves an open block behind, has the world see all of the chain, and ends as a power cut would.
func (g *gateway) lastRun(ctx context.Context) error {
	if err := g.start(ctx, "--set", "block.interval=1h"); err != nil {
		return err
	}
	if err := g.publish(ctx, 90, 1); err != nil {
		return err
	}
	f, err := g.look(ctx, 0, 0)
	if err != nil {
		return err
	}
	if f.err != nil || f.gone > 0 && f.status.Held == 0 {
		return fmt.Errorf("the prepared chain is not whole: %d gone, %w", f.gone, f.err)
	}
	g.ledger.see(f)
	g.ledger.forget(f.status.Held)
	var sealed []uint64
	for _, e := range f.entries {
		if e.Sealed && g.ledger.acked[string(e.Payload)] {
			sealed = append(sealed, e.Number)
		}
	}
	for _, i := range []int{0, len(sealed) / 2, len(sealed) - 1} {
		proof, err := g.proof(ctx, sealed[i])
		if err != nil {
			return err
		}
		g.ledger.proofs = append(g.ledger.proofs, proof)
	}
	g.kill()
	return nil
}

// prunedGateway has deleted the payloads of its oldest blocks: for want of room, which is the only limit that a small store
// reaches, on a small disk in memory.
func (t *torture) prunedGateway(ctx context.Context) (*gateway, error) {
	g, err := t.newGateway("[retention]\nmax_size = \"1GiB\"\nmin_age = \"0s\"\ndelete_unreceipted_evidence = true\n")
	if err != nil {
		return nil, err
	}
	disk, err := t.folder("disk")
	if err != nil {
		return nil, err
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
		return nil, fmt.Errorf("a small disk in memory: %w", err)
	}
	defer syscall.Unmount(disk, syscall.MNT_DETACH)
	lasting := g.data
	g.data = filepath.Join(disk, "data")
	defer g.kill()
	if err := g.runs(ctx, nil); err != nil {
		return nil, err
	}
	if err := g.start(ctx); err != nil {
		return nil, err
	}
	before, err := g.look(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	g.ledger.see(before)
	filler := filepath.Join(disk, "filler")
	for held := uint64(0); held < 60; {
		if err := fill(filler, 1200<<10); err != nil { // less than the reserve, and enough for what deletes
			return nil, err
		}
		if _, err := g.must(ctx, "prune"); err != nil {
			return nil, err
		}
		s, err := g.status(ctx)
		if err != nil {
			return nil, err
		}
		if s.Held == held {
			return nil, errors.New("nothing more is deleted")
		}
		held = s.Held
	}
	if err := os.Remove(filler); err != nil {
		return nil, err
	}
	if err := g.publish(ctx, 60, 1); err != nil {
		return nil, err
	}
	if err := g.stop(); err != nil {
		return nil, err
	}
	if err := copyTree(g.data, lasting); err != nil {
		return nil, err
	}
	g.data = lasting
	return g, g.lastRun(ctx)
}

// restoredGateway goes on from a backup.
func (t *torture) restoredGateway(ctx context.Context) (*gateway, error) {
	old, err := t.prepared(ctx, "", nil)
	if err != nil {
		return nil, err
	}
	defer old.remove()
	stick, err := t.folder("stick")
	if err != nil {
		return nil, err
	}
	if _, err := old.must(ctx, "backup", stick, "--with-key"); err != nil {
		return nil, err
	}
	g, err := t.emptyGateway()
	if err != nil {
		return nil, err
	}
	if err := copyFile(old.config(), g.config()); err != nil {
		return nil, err
	}
	g.ledger = old.ledger.clone()
	g.ledger.proofs = nil
	for _, args := range [][]string{{"restore", stick}, {"restore", "--newest"}} {
		if _, err := g.must(ctx, args...); err != nil {
			return nil, err
		}
	}
	if err := g.start(ctx); err != nil {
		return nil, err
	}
	if err := g.publish(ctx, 60, 1); err != nil {
		return nil, err
	}
	if err := g.stop(); err != nil {
		return nil, err
	}
	return g, g.lastRun(ctx)
}

// fill makes the file so large that so many bytes are left free on its disk.
func fill(file string, leave int64) error {
	if err := os.RemoveAll(file); err != nil {
		return err
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(file), &disk); err != nil {
		return err
	}
	return os.WriteFile(file, make([]byte, max(0, int64(disk.Bavail)*disk.Bsize-leave)), 0o600)
}
