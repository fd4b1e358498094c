package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"math"
	"strings"
	"sync"
	"syscall"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2/vfs"

	"edgechain.example/lightchain/store/salvage"
)

// refusingFS refuses calls as a system does that has no more of something, from the n-th one on.
type refusingFS struct {
	vfs.FS
	err error

	mu    sync.Mutex
	after int  // calls that succeed
	ended bool // the program has: no call returns
}

func (fs *refusingFS) refuse(op, name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.ended {
		fs.mu.Unlock()
		select {}
	}
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
				fs.after = math.MaxInt
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
			fs.mu.Lock()
			fs.ended = true
			fs.mu.Unlock()
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

// A card of another gateway is refused as it is, whatever state it is in; so is one whose chain can be told only when it
// is open.
func TestAnotherChainIsNotTouched(t *testing.T) {
	r := newRotten(t)
	other := r.copy()
	s := openStore(t, func() Options {
		o := testOptions(t, other)
		o.Signer, o.Rand = testSigner(t, r.signer), &counter{1 << 40}
		return o
	}())
	chain := s.Chain().String()
	closeStore(t, s)
	for _, c := range []struct {
		what  string
		spoil func(fs vfs.FS)
	}{
		{"whole", func(vfs.FS) {}},
		{"without a mark", func(fs vfs.FS) {
			for _, name := range slotNames {
				if err := fs.Remove("chain/" + name); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"with a damaged log", func(fs vfs.FS) {
			name, size := newest(t, fs, ".log")
			flip(t, fs, name, size/2)
		}},
		{"without a database", func(fs vfs.FS) {
			if err := fs.RemoveAll("chain/data-1"); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		fs := r.copy()
		c.spoil(fs)
		before := contentsOf(t, fs, "chain")
		o := testOptions(t, fs)
		o.Signer, o.Rand, o.Chain = testSigner(t, r.signer), &counter{1 << 40}, lightchain.ChainID{1}.String()
		if _, err := Open("chain", o); !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), chain) {
			t.Errorf("%s: %v", c.what, err)
		}
		if !maps.Equal(contentsOf(t, fs, "chain"), before) {
			t.Errorf("%s: the folder was changed", c.what)
		}
		o.Chain = chain
		s, err := Open("chain", o)
		if err != nil {
			t.Fatalf("%s, expected: %v", c.what, err)
		}
		closeStore(t, s)
	}
}

// contentsOf returns what stands in the files of a folder.
func contentsOf(t *testing.T, fs vfs.FS, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		if info, err := fs.Stat(path); err == nil && info.IsDir() {
			maps.Copy(all, contentsOf(t, fs, path))
			continue
		}
		b, err := salvage.ReadFile(fs, path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(b)
	}
	return all
}

// A full disk is one that tells so.
func TestAFullDiskHasNoRoomAndIsKnown(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	free := uint64(1 << 30)
	o.DiskUsage = func() (uint64, uint64, error) { return free, 1 << 31, nil }
	s := newStore(t, o)
	free = 0
	if stats := s.Stats(); !stats.Told || stats.Free != 0 || stats.Reserve == 0 {
		t.Errorf("%+v", stats)
	}
	closeStore(t, s)
}

// Damaged sectors are errors, not bytes: those of the log and of the record of files are read past like others.
func TestASectorThatCannotBeReadCostsItselfAlone(t *testing.T) {
	r := newRotten(t)
	for _, file := range r.files() {
		b, err := salvage.ReadFile(r.fs, "chain/"+file)
		if err != nil {
			t.Fatal(err)
		}
		size := len(bytes.TrimRight(b, "\x00"))
		for at := 0; at < size; at += 4 * salvage.Sector {
			r.judge(fmt.Sprintf("%s cannot be read from %d on", file, at), &badSectorFS{FS: r.copy(), name: "chain/" + file, at: int64(at)})
		}
	}
}

// badSectorFS is a disk that cannot read one sector of a file.
type badSectorFS struct {
	vfs.FS
	name string
	at   int64
}

func (fs *badSectorFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(name, opts...)
	if err != nil || name != fs.name {
		return f, err
	}
	return &badSectorFile{File: f, at: fs.at}, nil
}

type badSectorFile struct {
	vfs.File
	at, read int64
}

func (f *badSectorFile) Read(b []byte) (int, error) {
	if f.read <= f.at && f.read+int64(len(b)) > f.at {
		return 0, &iofs.PathError{Op: "read", Path: "bad", Err: syscall.EIO}
	}
	n, err := f.File.Read(b)
	f.read += int64(n)
	return n, err
}

func (f *badSectorFile) ReadAt(b []byte, at int64) (int, error) {
	if at < f.at+salvage.Sector && at+int64(len(b)) > f.at {
		return 0, &iofs.PathError{Op: "read", Path: "bad", Err: syscall.EIO}
	}
	return f.File.ReadAt(b, at)
}

// A log does not grow while groups are written to it: that costs a file system more than the groups do.
func TestANewLogHasItsSizeBeforeItsFirstGroup(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	s := newStore(t, o)
	name, _ := newest(t, fs, ".log")
	before := fileSize(t, fs, name)
	for i := range 100 {
		stage(t, s, testEntries(10*i, 10))
	}
	if after := fileSize(t, fs, name); before < defaultMemTableSize || after != before {
		t.Errorf("the log had %d bytes and has %d", before, after)
	}
	copied := cloneFolder(t, fs) // as SIGKILL leaves it
	closeStore(t, s)
	o = testOptions(t, copied)
	o.Rand = &counter{1 << 40}
	s = openStore(t, o)
	if r := s.Info().Recovered; r.Lost() || s.Next() != 1000 {
		t.Errorf("%d entries, %+v", s.Next(), r)
	}
	closeStore(t, s)
}
