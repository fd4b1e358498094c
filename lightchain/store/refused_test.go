package store

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// refusingFS refuses calls as a system does that has no more of something, from the n-th one on.
type refusingFS struct {
	vfs.FS
	err error

	mu    sync.Mutex
	after int // calls that succeed
}

func (fs *refusingFS) refuse(op, name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.after--; fs.after >= 0 {
		return nil
	}
	return &iofs.PathError{Op: op, Path: name, Err: fs.err}
}

func (fs *refusingFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := fs.refuse("open", name); err != nil {
		return nil, err
	}
	return fs.FS.Open(name, opts...)
}

func (fs *refusingFS) OpenDir(name string) (vfs.File, error) {
	if err := fs.refuse("open", name); err != nil {
		return nil, err
	}
	return fs.FS.OpenDir(name)
}

func (fs *refusingFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := fs.refuse("open", name); err != nil {
		return nil, err
	}
	return fs.FS.OpenReadWrite(name, c, opts...)
}

func (fs *refusingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.refuse("open", name); err != nil {
		return nil, err
	}
	return fs.FS.Create(name, c)
}

// What the system refuses is no damage: whatever it refuses a start from the n-th call on, for every n, the start fails
// with what it said or succeeds, nothing is rebuilt, and the next start finds everything.
func TestWhatTheSystemRefusesIsNoDamage(t *testing.T) {
	r := newRotten(t)
	for n := 0; ; n++ {
		mem := r.copy()
		fs := &refusingFS{FS: mem, err: syscall.EMFILE, after: n}
		o := testOptions(t, fs)
		o.Signer, o.Rand = testSigner(t, r.signer), &counter{1 << 40}
		failed := make(chan error, 1)
		o.Fatal = func(err error) { failed <- err }
		opened := make(chan error, 1)
		go func() {
			s, err := Open("chain", o)
			if err == nil {
				rebuilt := s.Info().Recovered.Rebuilt
				fs.mu.Lock()
				fs.after = 1 << 40
				fs.mu.Unlock()
				if err = s.Close(); rebuilt != "" {
					err = errors.New("the database was rebuilt")
				}
				opened <- err
				return
			}
			if !errors.Is(err, syscall.EMFILE) {
				t.Errorf("refused from call %d on: %v", n, err)
			}
			opened <- nil
		}()
		select {
		case err := <-opened:
			if err != nil {
				t.Errorf("refused from call %d on: %v", n, err)
			}
		case err := <-failed: // the program ends
			if !strings.Contains(err.Error(), syscall.EMFILE.Error()) {
				t.Errorf("refused from call %d on, the store fails: %v", n, err)
			}
		}
		for _, name := range []string{"chain/data-2", "chain/aside"} {
			if _, err := mem.Stat(name); err == nil {
				t.Fatalf("refused from call %d on: %s was made", n, name)
			}
		}
		fs.mu.Lock()
		whole := fs.after > 0
		fs.mu.Unlock()
		if whole {
			t.Logf("%d calls", n)
			return
		}
		if n%4 == 0 {
			left := vfs.NewMem() // of a program that has ended
			if _, err := vfs.Clone(mem, left, "chain", "chain"); err != nil {
				t.Fatal(err)
			}
			r.judge(fmt.Sprintf("after calls were refused from %d on", n), left)
		}
	}
}

// A lock's file that cannot be made says nothing about another program.
func TestALockThatCannotBeTakenIsNotHeld(t *testing.T) {
	r := newRotten(t)
	for _, err := range []error{syscall.EROFS, syscall.EMFILE, syscall.ENOSPC, syscall.EACCES, syscall.EIO} {
		fs := lockRefusing{r.copy(), &iofs.PathError{Op: "open", Path: "LOCK", Err: err}}
		o := testOptions(t, fs)
		o.Signer = testSigner(t, r.signer)
		if _, got := Open("chain", o); !errors.Is(got, err) || errors.Is(got, ErrLocked) {
			t.Errorf("%v: %v", err, got)
		}
	}
	fs := r.copy()
	lock, err := fs.Lock("chain/LOCK")
	if err != nil {
		t.Fatal(err)
	}
	o := testOptions(t, fs)
	o.Signer = testSigner(t, r.signer)
	if _, err := Open("chain", o); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
	if err := errors.Join(lock.Close(), fs.Remove("chain/LOCK"), fs.MkdirAll("chain/LOCK", 0o700)); err != nil {
		t.Fatal(err)
	}
	r.judge("LOCK is a folder", fs)
}

type lockRefusing struct {
	vfs.FS
	err error
}

func (fs lockRefusing) Lock(string) (io.Closer, error) { return nil, fs.err }
