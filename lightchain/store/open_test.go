package store

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"edgechain.example/lightchain"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpeningRefusesWhatItMustNotTouch(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t, fs)
	if _, err := Open("chain", o); !errors.Is(err, ErrNoChain) {
		t.Fatalf("no folder: %v", err)
	}
	if _, err := OpenReader("chain", o); !errors.Is(err, ErrNoChain) {
		t.Fatalf("no folder, reading: %v", err)
	}
	s := newStore(t, o)
	if _, err := Open("chain", o); !errors.Is(err, ErrLocked) {
		t.Fatalf("open already: %v", err)
	}
	if _, err := OpenReader("chain", o); !errors.Is(err, ErrLocked) {
		t.Fatalf("open already, reading: %v", err)
	}
	if _, err := Create("chain", o, Genesis{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("open already, creating: %v", err)
	}
	closeStore(t, s)
	if _, err := Create("chain", o, Genesis{}); !errors.Is(err, ErrExists) {
		t.Fatalf("creating a second chain: %v", err)
	}
	r, err := OpenReader("chain", Options{FS: fs})
	if err != nil {
		t.Fatalf("reading without a key: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, openStore(t, o))
}

// Without the key in force a store takes entries all the same, and seals when it is given.
func TestWithoutTheKeyEntriesAreTakenAndNothingIsSealed(t *testing.T) {
	for name, signer := range map[string]lightchain.Signer{"no key": nil, "another gateway's": testSigner(t, 2)} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(t, vfs.NewMem())
			s := newStore(t, o)
			stage(t, s, testEntries(0, 3))
			closeStore(t, s)
			right := o.Signer
			o.Signer = signer
			for range 2 {
				s = openStore(t, o)
				stage(t, s, testEntries(int(s.Next()), 3))
				if _, err := s.Seal(SealParams{}); !errors.Is(err, ErrWrongKey) {
					t.Fatalf("sealing: %v", err)
				}
				closeStore(t, s)
			}
			s = openStore(t, o)
			if s.AddSigner(testSigner(t, 3)) {
				t.Error("a third key is in force")
			}
			if !s.AddSigner(right) {
				t.Fatal("the key is not in force")
			}
			seal(t, s)
			if sum := verify(t, &s.Reader); sum.Entries != 9 || sum.Open != 0 {
				t.Errorf("%+v", sum)
			}
			closeStore(t, s)
		})
	}
}

func TestARotatedKeyIsInForceFromTheNextHeaderOn(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	s := newStore(t, o)
	stage(t, s, testEntries(0, 3))
	if _, err := s.Seal(SealParams{NextSigner: testSigner(t, 2)}); err != nil {
		t.Fatal(err)
	}
	stage(t, s, testEntries(3, 3))
	seal(t, s)
	seal(t, s)
	closeStore(t, s)
	s = openStore(t, o) // as if the program had died before it replaced the key file
	if s.Signer() != nil {
		t.Fatal("the old key is in force")
	}
	if !s.AddSigner(testSigner(t, 2)) {
		t.Fatal("the new key is not in force")
	}
	stage(t, s, testEntries(6, 3))
	seal(t, s)
	if sum := verify(t, &s.Reader); sum.Entries != 9 || sum.Signed != 5 {
		t.Fatalf("%+v", sum)
	}
	trust := &lightchain.Trust{Chains: []lightchain.ChainID{s.Chain()}}
	for n := range uint64(9) {
		p, err := s.Prove(n, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Verify(trust); err != nil {
			t.Fatalf("proof of entry %d: %v", n, err)
		}
		if want := 1 + min(1, int(n/3)); len(p.Keys) != want {
			t.Fatalf("proof of entry %d holds %d headers that set the key, want %d", n, len(p.Keys), want)
		}
	}
	closeStore(t, s)
}

func TestANewerLayoutIsRefusedAndAnOlderOneMigratesStepByStep(t *testing.T) {
	disk := vfs.NewCrashableMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	stage(t, s, testEntries(0, 3))
	seal(t, s)
	closeStore(t, s)

	newer := o
	steps := 0
	step := func(r *Reader, b *pebble.Batch) error {
		steps++
		set(b, metaKey("step"), binary.AppendUvarint(nil, uint64(steps)))
		return nil
	}
	failing := func(*Reader, *pebble.Batch) error { return os.ErrInvalid }
	if r, err := OpenReader("chain", withMigrations(newer, step)); err == nil {
		r.Close()
		t.Fatal("a reader migrates")
	}
	if _, err := Open("chain", withMigrations(newer, step, failing)); !errors.Is(err, os.ErrInvalid) {
		t.Fatal(err)
	}
	// The first step is durable, the second is done by the next start.
	s = openStore(t, withMigrations(newer, step, step))
	if v, err := s.layoutVersion(); err != nil || v != firstLayout+2 || steps != 2 {
		t.Fatalf("layout %d after %d steps: %v", v, steps, err)
	}
	verify(t, &s.Reader)
	closeStore(t, s)
	if _, err := Open("chain", o); !errors.Is(err, ErrNewer) {
		t.Fatalf("an older program: %v", err)
	}
	if _, err := OpenReader("chain", o); !errors.Is(err, ErrNewer) {
		t.Fatalf("an older program, reading: %v", err)
	}
}

func withMigrations(o Options, m ...migration) Options {
	o.migrations = m
	return o
}

func TestOpeningsAndBootsAreCounted(t *testing.T) {
	disk := vfs.NewCrashableMem()
	o := testOptions(t, disk)
	s := newStore(t, o)
	if i := s.Info(); i.Opens != 1 || i.Boots != 1 || !i.NewBoot || !i.Clean {
		t.Fatalf("%+v", i)
	}
	cut := disk.CrashClone(vfs.CrashCloneCfg{})
	closeStore(t, s)
	s = openStore(t, o)
	if i := s.Info(); i.Opens != 2 || i.Boots != 1 || i.NewBoot || !i.Clean {
		t.Fatalf("%+v", i)
	}
	closeStore(t, s)
	o.FS, o.BootID = cut, "another"
	s = openStore(t, o)
	if i := s.Info(); i.Opens != 2 || i.Boots != 2 || !i.NewBoot || i.Clean {
		t.Fatalf("after a power cut: %+v", i)
	}
	closeStore(t, s)
}

// A chain that is begun and opened in one boot has seen one; begun before, it has seen two.
func TestTheBootInWhichAChainBeginsIsCountedOnce(t *testing.T) {
	for id, boots := range map[string]uint64{"boot-1": 1, "another": 2, "": 2} {
		o := testOptions(t, vfs.NewCrashableMem())
		o.BootID = "boot-1"
		if _, err := Create("chain", o, Genesis{Name: "press-hall", Clock: lightchain.Clock{Boot: 1}}); err != nil {
			t.Fatal(err)
		}
		o.BootID = id
		s := openStore(t, o)
		if i := s.Info(); i.Boots != boots || !i.NewBoot || i.Opens != 1 {
			t.Errorf("opened in boot %q: %+v", id, i)
		}
		closeStore(t, s)
	}
}

func TestStagingStopsBeforeTheDiskIsFullAndGoesOnWhenThereIsRoom(t *testing.T) {
	free := uint64(1 << 30)
	o := testOptions(t, vfs.NewMem())
	o.DiskUsage = func() (uint64, uint64, error) { return free, 8 << 30, nil }
	s := newStore(t, o)
	stage(t, s, testEntries(0, 3))
	free = 150 << 20 // below 2 % of 8 GiB
	if _, err := s.Stage(testEntries(3, 3)); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	seal(t, s) // what was taken is sealed all the same
	stats := s.Stats()
	if stats.Free != free || stats.Reserve != 8<<30/100*2 {
		t.Fatalf("%+v", stats)
	}
	free = 1 << 30
	stage(t, s, testEntries(3, 3))
	free = 50 << 20
	if _, err := s.Seal(SealParams{}); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = openStore(t, o) // there is room enough to start and read
	free = 1 << 30
	seal(t, s)
	closeStore(t, s)
	free = 10 << 20
	if _, err := Open("chain", o); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	free = 1 << 30
	s = openStore(t, o)
	if sum := verify(t, &s.Reader); sum.Entries != 6 {
		t.Fatalf("%+v", sum)
	}
	closeStore(t, s)
}

func TestAGroupIsTakenWholeOrNotAtAll(t *testing.T) {
	o := testOptions(t, vfs.NewMem())
	o.MaxBlockEntries = 10
	s := newStore(t, o)
	stage(t, s, testEntries(0, 4))
	bad := testEntries(4, 3)
	bad[1].Source = "\xff"
	var wrong *EntryError
	if _, err := s.Stage(bad); !errors.As(err, &wrong) || wrong.Index != 1 {
		t.Fatal(err)
	}
	if err := Check(&bad[1]); err == nil {
		t.Fatal("an entry that cannot stand in a chain passes")
	}
	if err := Check(&bad[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stage(testEntries(4, 7)); !errors.Is(err, ErrBlockFull) {
		t.Fatal(err)
	}
	if s.Room() != 6 {
		t.Fatalf("room for %d", s.Room())
	}
	stage(t, s, testEntries(4, 6))
	if h := seal(t, s); h.Header.Count != 10 {
		t.Fatalf("%d entries in the block", h.Header.Count)
	}
	verify(t, &s.Reader)
	closeStore(t, s)
}

func TestAFolderInMemoryIsRefusedUnlessAllowed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("file systems that forget are known on Linux only")
	}
	dir, err := os.MkdirTemp("/dev/shm", "store")
	if err != nil {
		t.Skip("no tmpfs here:", err)
	}
	defer os.RemoveAll(dir)
	dir = filepath.Join(dir, "chain")
	o := testOptions(t, vfs.Default)
	o.Reserve = -1
	if _, err := Create(dir, o, Genesis{}); !errors.Is(err, ErrVolatile) {
		t.Fatal(err)
	}
	o.AllowVolatile = true
	if _, err := Create(dir, o, Genesis{}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if v := s.Stats().Volatile; v != "tmpfs" {
		t.Fatalf("volatile: %q", v)
	}
	closeStore(t, s)
	o.AllowVolatile = false
	if _, err := Open(dir, o); !errors.Is(err, ErrVolatile) {
		t.Fatal(err)
	}
	r, err := OpenReader(dir, o)
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAnAuditorsImageIsReadAndNotChanged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "chain")
	o := testOptions(t, vfs.Default)
	o.AllowVolatile, o.Reserve = true, -1
	if _, err := Create(dir, o, Genesis{}); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	stage(t, s, testEntries(0, 30))
	seal(t, s)
	stage(t, s, testEntries(30, 3))
	beside := filepath.Join(t.TempDir(), "image")
	if err := s.Checkpoint(beside); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, beside)
	if err := os.Chmod(beside, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(beside, 0o700)
	r, err := OpenReader(beside, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if sum := verify(t, r); sum.Entries != 30 || sum.Open != 3 {
		t.Fatalf("%+v", sum)
	}
	stage(t, s, testEntries(33, 3)) // the store goes on beside its reader
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if after := snapshot(t, beside); after != before {
		t.Fatalf("before:\n%s\nafter:\n%s", before, after)
	}
	closeStore(t, s)
}

// snapshot lists the files of a folder with their sizes and times.
func snapshot(t *testing.T, dir string) (s string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		s += f.Name() + " " + info.ModTime().String() + " " + info.Mode().String() + "\n"
	}
	return s
}
