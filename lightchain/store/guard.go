package store

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// guard stands between the store and Pebble's writes: a write that failed leaves unknown what is on disk, so after
// the first one nothing is ever reported as durable.
type guard struct {
	fatal func(error)

	mu     sync.Mutex
	failed error // the first failure; guarded by mu
}

func newGuard(fatal func(error)) *guard { return &guard{fatal: fatal} }

func (g *guard) err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

// fail notes a failure and tells Fatal of the first one.
func (g *guard) fail(err error) error {
	g.mu.Lock()
	first := g.failed == nil
	if first {
		g.failed = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	err = g.failed
	g.mu.Unlock()
	if first {
		g.fatal(err)
	}
	return err
}

// caught turns a panic of Pebble's, which is how some failed writes come back from it, into a failure.
func (g *guard) caught(err *error) {
	if p := recover(); p != nil {
		*err = g.fail(fmt.Errorf("pebble: %v", p))
	}
}

// begin applies the batch and begins its sync.
func (g *guard) begin(db *pebble.DB, b *pebble.Batch) (err error) {
	defer g.caught(&err)
	if err := db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return g.fail(err)
	}
	return nil
}

// wait waits until a batch begun is durable, and closes it.
func (g *guard) wait(b *pebble.Batch) (err error) {
	defer g.caught(&err)
	if err := b.SyncWait(); err != nil {
		return g.fail(err)
	}
	b.Close()
	return g.err() // an earlier group failed: this one must not be acknowledged before it
}

// commit makes a batch durable.
func (g *guard) commit(b *pebble.Batch) (err error) {
	defer g.caught(&err)
	if err := g.err(); err != nil {
		return err
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return g.fail(err)
	}
	return g.err()
}

// pebbleLogger takes Pebble's word. Its Fatalf must not return: where the program does not exit, the goroutine stays
// here, for what it would do next was never meant to happen.
type pebbleLogger struct {
	log   *slog.Logger
	guard *guard
}

func (l pebbleLogger) Infof(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }

func (l pebbleLogger) Errorf(format string, args ...any) { l.log.Warn(fmt.Sprintf(format, args...)) }

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.guard.fail(fmt.Errorf(format, args...))
	select {}
}
