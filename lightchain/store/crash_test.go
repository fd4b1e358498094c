package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// crash is the disk as a power cut would leave it, and what the outside world had been told by then.
type crash struct {
	disk    *vfs.MemFS
	acked   uint64
	headers int // that Seal had returned
}

// history is a run of the store as seen from outside.
type history struct {
	acked   atomic.Uint64
	left    atomic.Int64 // headers that Seal returned, genesis included
	opening atomic.Bool
	entries []lightchain.Entry
	headers []*lightchain.SignedHeader
}

// run stages, seals and restarts on fs, in a rhythm drawn from rng; it stops quietly when the store fails.
func (h *history) run(t *testing.T, o Options, rng *rand.Rand) {
	genesis, err := Create("chain", o, Genesis{})
	if err != nil {
		return
	}
	h.headers = append(h.headers, genesis)
	h.left.Add(1)
	s, err := h.open(o)
	if err != nil {
		return
	}
	for step := range 60 {
		switch {
		case step%7 == 6:
			header, err := s.Seal(SealParams{Sealed: int64(step)})
			if err != nil {
				return
			}
			h.headers = append(h.headers, header)
			h.left.Add(1)
		case step%23 == 22:
			if err := s.Close(); err != nil {
				return
			}
			if s, err = h.open(o); err != nil {
				return
			}
		default:
			group := testEntries(len(h.entries), 1+rng.IntN(30))
			h.entries = append(h.entries, group...)
			g, err := s.Stage(group)
			if err != nil || g.Wait() != nil {
				return
			}
			h.acked.Store(uint64(len(h.entries)))
		}
	}
	s.Close()
}

func (h *history) open(o Options) (*Store, error) {
	h.opening.Store(true)
	defer h.opening.Store(false)
	return Open("chain", o)
}

// check opens what the power cut left, and holds it against what the world knows.
func (h *history) check(t *testing.T, o Options, c crash) {
	t.Helper()
	o.FS, o.Rand = c.disk, &counter{1 << 40}
	s, err := Open("chain", o)
	if errors.Is(err, ErrNoChain) && c.headers == 0 {
		return
	}
	if err != nil {
		t.Fatalf("after %d acknowledged entries and %d headers: %v", c.acked, c.headers, err)
	}
	if lost := s.Info().Recovered; lost.Lost() {
		t.Fatalf("a power cut lost something: %+v", lost)
	}
	if s.Next() < c.acked {
		t.Fatalf("%d entries were acknowledged, %d are there", c.acked, s.Next())
	}
	i := 0
	for rec, err := range s.Entries(0, 1<<60) {
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(rec.Entry.Payload, h.entries[i].Payload) {
			t.Fatalf("entry %d is another one", i)
		}
		i++
	}
	if uint64(i) != s.Next() {
		t.Fatalf("%d entries can be read, the next one is %d", i, s.Next())
	}
	if int(s.Tip().Height)+1 < c.headers {
		t.Fatalf("%d headers had left, the tip is %d", c.headers, s.Tip().Height)
	}
	for header, err := range s.Headers(0, 1<<60) {
		if err != nil {
			t.Fatal(err)
		}
		// One more than had left may be there: it was durable, and would have left next.
		if at := header.Header.Height; at < uint64(len(h.headers)) && !bytes.Equal(header.Bytes(), h.headers[at].Bytes()) {
			t.Fatalf("header %d is another one than the one that left: a fork", at)
		}
	}
	stage(t, s, testEntries(i, 3))
	seal(t, s)
	sum := verify(t, &s.Reader)
	if sum.Entries != uint64(i)+3 {
		t.Fatalf("%d entries verify, want %d", sum.Entries, i+3)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAPowerCutAtAnyWriteLosesNothingAcknowledgedAndForksNothing(t *testing.T) {
	every := 2
	if testing.Short() {
		every = 12
	}
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 0))
		disk := vfs.NewCrashableMem()
		h := &history{}
		var mu sync.Mutex // guards crashes, ops and pick
		var crashes []crash
		ops := 0
		pick := rand.New(rand.NewPCG(seed, 1))
		fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				mu.Lock()
				defer mu.Unlock()
				if ops++; ops%every == int(seed)%every {
					c := crash{acked: h.acked.Load(), headers: int(h.left.Load())}
					c.disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[seed%3], RNG: pick})
					crashes = append(crashes, c)
				}
			}
			return nil
		}))
		o := testOptions(t, fs)
		o.MemTableSize = 64 << 10 // so that tables are written too
		h.run(t, o, rng)
		if len(h.headers) < 8 {
			t.Fatalf("the run was cut short: %d headers", len(h.headers))
		}
		mu.Lock()
		t.Logf("seed %d: %d writes, %d crashes, %d entries", seed, ops, len(crashes), len(h.entries))
		mu.Unlock()
		for _, c := range crashes {
			h.check(t, o, c)
		}
	}
}

// A write that fails may still have reached the disk. Either way the store says no more, and the next start finds a
// chain that holds all it had acknowledged.
func TestAFailedWriteIsNeverAcknowledgedWhetherItPersistedOrNot(t *testing.T) {
	failure := errors.New("the card said no")
	for _, persisted := range []bool{false, true} {
		step := int32(31)
		if testing.Short() {
			step = 97
		}
		for k := int32(0); k < 400; k += step {
			disk := vfs.NewCrashableMem()
			h := &history{}
			var count, failed atomic.Int32
			fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind != errorfs.OpFileSync && op.Kind != errorfs.OpFileWrite && op.Kind != errorfs.OpFileSyncData && op.Kind != errorfs.OpFileSyncTo {
					return nil
				}
				// Where opening fails, Pebble tears down what a compaction on another goroutine still uses, and panics
				// there: the process ends, which a test cannot follow.
				if count.Add(1) > k && !h.opening.Load() {
					failed.Add(1)
					return failure
				}
				return nil
			}))
			o := testOptions(t, fs)
			o.MemTableSize = 64 << 10
			fatal := make(chan struct{})
			o.Fatal = func(error) {
				close(fatal)
				runtime.Goexit()
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				h.run(t, o, rand.New(rand.NewPCG(uint64(k), 0)))
			}()
			select {
			case <-done:
			case <-fatal: // the program would exit now
			}
			percent := 0
			if persisted {
				percent = 100
			}
			c := crash{acked: h.acked.Load(), headers: int(h.left.Load())}
			c.disk = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))})
			clean := testOptions(t, nil)
			h.check(t, clean, c)
		}
	}
}
