package agent

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/agent/recorder"
	"edgechain.example/agent/sealgate"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
	"edgechain.example/sensors"
)

func testSigner(t testing.TB) lightchain.Signer {
	t.Helper()
	s, err := lightchain.NewSigner(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testOptions(t testing.TB, fs vfs.FS) store.Options {
	return store.Options{FS: fs, Signer: testSigner(t), AllowVolatile: true, Reserve: -1, MaxBlockEntries: 8}
}

// recording is a chain in memory that is recorded to, for those of whom an agent needs no more.
type recording struct {
	store     *store.Store
	queue     *recorder.Queue
	committer *recorder.Committer
	metrics   *metrics
	ended     chan error
}

// newRecording begins a chain. The test starts the committer.
func newRecording(t *testing.T, change func(*store.Options, *recorder.Config)) *recording {
	t.Helper()
	o := testOptions(t, vfs.NewMem())
	r := &recording{metrics: newMetrics(), ended: make(chan error, 1)}
	c := recorder.Config{
		Queue: recorder.NewQueue(1<<20, 4), Gate: new(sealgate.Gate),
		Commit: recorder.CommitConfig{MaxDelay: 5 * time.Millisecond, MaxEntries: 4, Idle: time.Millisecond},
		Block:  recorder.BlockConfig{Interval: time.Hour, MaxEntries: 8, Heartbeat: time.Hour},
		Clock:  func() lightchain.Clock { return lightchain.Clock{} },
		Now:    time.Now, Log: slog.New(slog.DiscardHandler), Durable: r.metrics.committed,
	}
	if change != nil {
		change(&o, &c)
	}
	if _, err := store.Create("chain", o, store.Genesis{}); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.store, err = store.Open("chain", o); err != nil {
		t.Fatal(err)
	}
	c.Store = r.store
	r.queue, r.committer = c.Queue, recorder.New(c)
	return r
}

func (r *recording) start() { go func() { r.ended <- r.committer.Run() }() }

// drain ends the committer and leaves the store open.
func (r *recording) drain(t *testing.T) {
	t.Helper()
	r.queue.Close()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

// stop drains the committer and closes the store.
func (r *recording) stop(t *testing.T) {
	t.Helper()
	r.drain(t)
	if err := r.store.Close(); err != nil {
		t.Error(err)
	}
}

// put hands over n messages and waits until all are durable.
func (r *recording) put(t *testing.T, n int) {
	t.Helper()
	done := make(chan error, n)
	for i := range n {
		m := &sensors.Message{Source: "test:x", Received: time.Unix(1_700_000_000, 0), Payload: []byte(fmt.Sprint(i)), Flags: lightchain.NotUnderstood, Done: func(err error) { done <- err }}
		if err := r.queue.Put(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}
