package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"edgechain.example/lightchain/store/salvage"
)

// life is a run of a store with all that moves its mark, and what has left of it: each header that a call returned, and
// what a checkpoint shows.
type life struct {
	mu    sync.Mutex // guards left
	left  []*lightchain.SignedHeader
	ready atomic.Bool
}

func (l *life) leaves(h *lightchain.SignedHeader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = append(l.left, h)
}

func (l *life) hasLeft() []*lightchain.SignedHeader {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left[:len(l.left):len(l.left)]
}

// live runs until something fails.
func (l *life) live(t *testing.T, o Options) {
	genesis, err := Create("chain", o, Genesis{})
	if err != nil {
		return
	}
	l.leaves(genesis)
	s, err := Open("chain", o)
	if err != nil {
		return
	}
	l.ready.Store(true)
	sealed := func(p SealParams) bool {
		g, err := s.Stage(testEntries(int(s.Next()), 2))
		if err != nil || g.Wait() != nil {
			return false
		}
		h, err := s.Seal(p)
		if err == nil {
			l.leaves(h)
		}
		return err == nil
	}
	if !sealed(SealParams{Sealed: 1}) || !sealed(SealParams{Sealed: 2, NextSigner: testSigner(t, 2)}) || !sealed(SealParams{Sealed: 3}) {
		return
	}
	if s.Checkpoint("copy") != nil || !sealed(SealParams{Sealed: 4}) {
		return
	}
	run := above(t, s)
	if s.Adopt(run) != nil {
		return
	}
	for i := range run {
		h, err := s.HeaderAt(run[i].Header.Height)
		if err != nil {
			t.Error(err)
			return
		}
		signed, _ := lightchain.NewSignedHeader(h, lightchain.HeaderSignature{})
		l.leaves(signed)
	}
	if !sealed(SealParams{Sealed: 5}) || s.Close() != nil {
		return
	}
	o.Signers = []lightchain.Signer{testSigner(t, 2)}
	if s, err = Open("chain", o); err != nil {
		return
	}
	if sealed(SealParams{Sealed: 6}) {
		s.Close()
	}
}

// above returns headers that were sealed above the end of the store, and that it does not know.
func above(t *testing.T, s *Store) (run []Adopted) {
	t.Helper()
	tip := s.Tip()
	for i := range 3 {
		root := lightchain.EmptyRoot()
		h, err := tip.Header(root, 0, int64(100+i), lightchain.Clock{}).Sign(testSigner(t, 2))
		if err == nil {
			err = tip.Extend(&h.Header, h.Hash(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		run = append(run, Adopted{Header: h.Header, Signature: &h.HeaderSignature})
	}
	return run
}

// reopen opens what a power cut or a failed write left, and holds it against what has left.
func reopen(t *testing.T, disk *vfs.MemFS, left []*lightchain.SignedHeader, lose ...string) {
	t.Helper()
	fs := disk.CrashClone(vfs.CrashCloneCfg{})
	for _, name := range lose {
		remove(t, fs, "chain/"+name)
	}
	o := testOptions(t, fs)
	o.Rand, o.Signers = &counter{1 << 40}, []lightchain.Signer{testSigner(t, 2)}
	s, err := Open("chain", o)
	if len(left) == 0 && errors.Is(err, ErrNoChain) {
		return
	}
	if err != nil {
		t.Fatalf("without %v, after %d headers had left: %v", lose, len(left), err)
	}
	tip := s.Tip()
	if int(tip.Height)+1 < len(left) {
		t.Fatalf("without %v: %d headers had left, the chain ends at %d", lose, len(left), tip.Height)
	}
	for at, h := range left {
		if leaf, err := s.Node(0, uint64(at)); err == nil && leaf != h.Hash() {
			t.Fatalf("without %v: header %d is another one than the one that left", lose, at)
		}
	}
	if len(lose) == 0 {
		if r := s.Info().Recovered; r.Lost() {
			t.Fatalf("a cut lost something: %+v", r)
		}
	}
	h := seal(t, s)
	if int(h.Header.Height) < len(left) || h.Header.Previous != tip.Hash {
		t.Fatalf("without %v: header %d is signed again", lose, h.Header.Height)
	}
	verify(t, &s.Reader)
	closeStore(t, s)
}

// At each write, of the database and of what stands beside it, the power fails: whatever of the two is there afterwards,
// the chain goes on above all that had left.
func TestAPowerCutAtAnyWriteLeavesNoHeaderToBeSignedAgain(t *testing.T) {
	every := 1
	if testing.Short() {
		every = 5
	}
	for _, percent := range []int{0, 50, 100} {
		type cut struct {
			disk *vfs.MemFS
			left []*lightchain.SignedHeader
		}
		disk := vfs.NewCrashableMem()
		l := &life{}
		var mu sync.Mutex // guards what follows
		var cuts []cut
		ops := 0
		rng := rand.New(rand.NewPCG(5, uint64(percent)))
		fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				mu.Lock()
				defer mu.Unlock()
				if ops++; ops%every == 0 || beside(op.Path) {
					left := l.hasLeft()
					cuts = append(cuts, cut{disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}), left})
				}
			}
			return nil
		}))
		l.live(t, testOptions(t, fs))
		if len(l.left) != 10 {
			t.Fatalf("the run was cut short: %d headers", len(l.left))
		}
		t.Logf("%d %%: %d cuts", percent, len(cuts))
		for _, c := range cuts {
			reopen(t, c.disk, c.left)
			if len(c.left) > 0 {
				reopen(t, c.disk, c.left, "data-1")
			}
		}
	}
}

// beside tells the files of the mark.
func beside(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, "head-") || strings.HasPrefix(base, keysName)
}

// A write of the mark that fails is a failure of the store, whether it reached the disk or not: nothing leaves after it.
func TestAMarkThatCannotBeWrittenLetsNoHeaderOut(t *testing.T) {
	failure := errors.New("the card said no")
	for _, percent := range []int{0, 50, 100} {
		for k := int32(0); ; k++ {
			disk := vfs.NewCrashableMem()
			l := &life{}
			var count atomic.Int32
			failed := func() bool { return count.Load() > k }
			fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && beside(op.Path) && l.ready.Load() && count.Add(1) > k {
					return failure
				}
				return nil
			}))
			o := testOptions(t, fs)
			fatal := false
			o.Fatal = func(error) {
				fatal = true
				runtime.Goexit()
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				l.live(t, o)
			}()
			<-done
			if !failed() {
				break
			}
			sofar := len(l.left)
			rng := rand.New(rand.NewPCG(7, uint64(k)))
			cut := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
			if !fatal && sofar > 4 && sofar < 9 {
				t.Errorf("write %d of the mark failed, and the store went on to header %d", k, sofar)
			}
			reopen(t, cut, l.left)
			reopen(t, cut, l.left, "data-1")
		}
	}
}

// What a checkpoint holds has left: the mark says so before.
func TestACheckpointHoldsNothingThatTheMarkDoesNot(t *testing.T) {
	fs := vfs.NewMem()
	s := marked(t, testOptions(t, fs), 3)
	for range 20 {
		seal(t, s)
		name := "copy"
		remove(t, fs, name)
		if err := s.Checkpoint(name); err != nil {
			t.Fatal(err)
		}
		head, err := ReadHead("chain", s.options)
		if err != nil {
			t.Fatal(err)
		}
		r, err := OpenReader(name, s.options)
		if err != nil {
			t.Fatal(err)
		}
		if r.Tip().Height > head.Height || r.SetBack() != nil {
			t.Fatalf("the checkpoint ends at %d, the mark at %d", r.Tip().Height, head.Height)
		}
		r.Close()
		for _, file := range append(slotNames[:], keysName) {
			if b, err := salvage.ReadFile(fs, "copy/"+file); err != nil || len(b) == 0 || bytes.Equal(b, make([]byte, len(b))) {
				t.Fatalf("%s: %v", file, err)
			}
		}
	}
	closeStore(t, s)
}
